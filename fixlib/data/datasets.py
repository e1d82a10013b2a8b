"""Datasets by name: from raw recordings to prepared files to sequence sets, with a fingerprint of it all."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fixlib import system
from fixlib.data.errors import ChecksumError, DataFileError
from fixlib.data.fetch import keep
from fixlib.data.files import FORMAT_VERSION, load_parts, load_sequences, resolve_folder, save_sequences
from fixlib.data.frames import fixation_frames, fixed_rate_frames, sampled_frames
from fixlib.data.gazecom import fetch_gazecom, read_gazecom
from fixlib.data.lattice import SOURCE as PATTERNS
from fixlib.data.lattice import lattice_fingerprint, lattice_windows
from fixlib.data.osie import fetch_osie, read_osie
from fixlib.data.registry import GAZECOM_FILE, GAZECOM_SOURCE, OSIE_FILE, OSIE_SOURCE, Download
from fixlib.data.scanpaths import PARTS, Recordings, Scanpaths, Source, split_by_stimulus_and_subject
from fixlib.data.simulator import simulate_scanpaths, simulator_source

SPLIT = {"rule": "stimulus and subject", "seed": 0, "subjects": (8, 3, 4), "stimuli": (0.6, 0.15, 0.25)}
GAZECOM_SPLIT = {**SPLIT, "subjects": (29, 11, 14)}  # as OSIE's 8:3:4, of 54 viewers
PREPARED = {10.0: ".", None: "fixations"}  # frames kept in files, and in which folder of the dataset
PREPARED_SIZE = 32
PATTERN_WINDOWS = {"train": 2000, "val": 200, "test": 600}  # of 20 frames
SIMULATED = {"n_subjects": 15, "n_stimuli": 700, "seed": 0}  # as many scanpaths as OSIE


@dataclass(frozen=True)
class Dataset:
    """How a registered dataset is had.

    Attributes:
        source: known without the data.
        file: what is fetched; None where nothing is.
        read: its gaze on a grid of so many px, from the user's copy at a path or (None) from ``file``.
        split: how it is dealt to train, val and test.
        has_fixations: False where it is samples of gaze at given times, so that only frames at a rate can be made.
    """

    source: Source
    file: Download | None
    read: Callable[[int, Path | None], Scanpaths | Recordings]
    split: dict
    has_fixations: bool = True


def _simulate(size: int, path: Path | None) -> Scanpaths:
    if path is not None:
        raise ValueError(f"the simulated scanpaths are made from a seed, not read from {path}: leave the path out")
    return simulate_scanpaths(**SIMULATED, size=size)


DATASETS = {
    "osie": Dataset(OSIE_SOURCE, OSIE_FILE, lambda size, path: read_osie(path or fetch_osie(), size), SPLIT),
    "gazecom": Dataset(
        GAZECOM_SOURCE,
        GAZECOM_FILE,
        lambda size, path: read_gazecom(path or fetch_gazecom(), size),
        GAZECOM_SPLIT,
        has_fixations=False,
    ),
    "simulated": Dataset(simulator_source(**SIMULATED), None, _simulate, SPLIT),
}


def open_scanpaths(name: str, size: int = 32) -> Scanpaths:
    """All fixations of a registered dataset, with their durations.

    Raises:
        ValueError: unknown name, or a dataset without fixations.
        DataUnavailable: recordings that cannot be had.
    """
    _registered(name)
    _check_framing(name, rate_hz=None)
    return _read(name, size)


def _read(name: str, size: int, path: Path | None = None) -> Scanpaths | Recordings:
    """A registered dataset's gaze; never that of files other than the published ones."""
    dataset = DATASETS[name]
    gaze, file = dataset.read(size, path), dataset.file
    if file and gaze.source.sha256 != dataset.source.sha256:
        raise ChecksumError(
            f"{path or 'what was fetched'} does not hold the published recordings of {name}, all of "
            f"them and nothing else: it has {len(gaze)} {file.recordings} where {file.n_recordings} "
            f"are expected, and its sha256 is {gaze.source.sha256}, not {dataset.source.sha256}"
        )
    return gaze


def _check_framing(name: str, rate_hz: float | None) -> None:
    if rate_hz is None and name in DATASETS and not DATASETS[name].has_fixations:
        raise ValueError(
            f"{name!r} has samples of gaze and no fixations, so neither one frame a fixation nor "
            "durations can be had of it: ask for frames at a rate (rate_hz=10.0; `fixlib run "
            "hybrid_regression` with --framings 10hz)"
        )


def open_dataset(name: str, rate_hz: float | None = 10.0, size: int = 32) -> dict[str, dict]:
    """Train, val and test sequence sets of a dataset.

    Args:
        name: "osie", "gazecom", "simulated", "patterns" (lattice motion without noise, a frame a step, whatever
            ``rate_hz``), or a folder that holds ``{train,val,test}_data.pt`` (its subfolder ``fixations`` where
            ``rate_hz`` is None and it has one).
        rate_hz: frames a second; None for one frame a fixation, which "gazecom" does not have.
        size: side of the grid, px.

    Raises:
        ValueError: neither a known name nor such a folder, a folder with another rate or size, or no fixations.
        DataUnavailable: recordings that cannot be had.
        DataFileError: a file of the folder is damaged.
        FileExistsError: a prepared file of a registered dataset is damaged or not ours, see ``prepare``.
    """
    if name == PATTERNS.name:
        return lattice_windows(size, 20, 0.0, PATTERN_WINDOWS)
    if name not in DATASETS:
        return _open_folder(name, rate_hz, size)
    _check_framing(name, rate_hz)
    if rate_hz in PREPARED and size == PREPARED_SIZE:
        return load_parts(prepare(name) / PREPARED[rate_hz])
    return {part: _frames(gaze, rate_hz) for part, gaze in _split(name, _read(name, size)).items()}


def prepare(name: str, out: Path | str | None = None, overwrite: bool = False, path: Path | str | None = None) -> Path:
    """Writes a registered dataset's train, val and test files.

    Twice: at 10 Hz, and (where the dataset has fixations) one frame a fixation in the subfolder ``fixations``.
    Files that are already there and up to date are left alone. Any other file in their place is somebody's
    work and is not replaced unless ``overwrite``.

    Args:
        name: of the dataset.
        out: folder to write to; ``data_dir()/name`` where not given or "" (as from a variable that is not set).
        overwrite: replace other files.
        path: the user's own copy of the raw recordings: OSIE's file, GazeCom's archive or folder. It is read and
            checked. Where not given, the recordings are fetched if they are needed. OSIE's file is also copied to
            where ``fetch_osie`` looks first, unless ``out`` is given: the durations of the fixations are in no
            prepared file, and ``open_scanpaths`` would have to fetch it. GazeCom's is not: it has no durations.

    Returns:
        The folder.

    Raises:
        ValueError: unknown name, or a ``path`` for data that are made here.
        FileNotFoundError: nothing is at ``path``.
        ChecksumError: ``path`` does not hold the published recordings.
        FileExistsError: a file with other content is in the way; nothing is written.
        DataUnavailable: recordings that cannot be had; nothing is written.
    """
    dataset = _registered(name)
    path = None if path is None else Path(path).expanduser()
    folder = Path(out).expanduser() if out else system.data_dir() / name
    missing = [
        (rate, part, file)
        for rate, subfolder in PREPARED.items()
        for part in PARTS
        if (dataset.has_fixations or rate is not None)
        and not _is_current(file := folder / subfolder / f"{part}_data.pt", name, rate, part, overwrite)
    ]
    if missing or path is not None:  # a wrong path is said to be wrong even where it is not needed
        parts = _split(name, _read(name, PREPARED_SIZE, path))
        for rate, part, file in missing:
            sequences = _frames(parts[part], rate)
            sequences["meta"] |= {"part": part, "fingerprint": fingerprint(name, rate)} | _hashes(sequences)
            save_sequences(sequences, file)
    if path is not None and not out and dataset.has_fixations:
        keep(path, dataset.file)
    return folder


def _is_current(file: Path, name: str, rate_hz: float | None, part: str, overwrite: bool) -> bool:
    """Whether the file is what ``prepare`` would write; an error where it is something else."""
    if not file.exists():
        return False
    try:
        sequences = load_sequences(file)
        meta = sequences["meta"]
        # Earlier versions wrote fewer hashes.
        unchanged = all(meta.get(name, found) == found for name, found in _hashes(sequences).items())
        why = f"it is {meta['label']}, {meta['frames']}, prepared differently" if unchanged else "it was edited"
    except DataFileError as error:
        meta, unchanged, why = {}, False, str(error)
    current = unchanged and (meta.get("fingerprint"), meta.get("part")) == (fingerprint(name, rate_hz), part)
    if not current and not overwrite:
        raise FileExistsError(
            f"{file} is not the prepared {name} data of this version ({why}). Nothing was changed: move it "
            "away, or prepare into another folder (--out)"
        )
    return current


def _split(name: str, gaze: Scanpaths | Recordings) -> dict:
    split = DATASETS[name].split
    return split_by_stimulus_and_subject(gaze, **{key: value for key, value in split.items() if key != "rule"})


def _frames(gaze: Scanpaths | Recordings, rate_hz: float | None) -> dict:
    if isinstance(gaze, Recordings):
        return sampled_frames(gaze, rate_hz)
    return fixation_frames(gaze) if rate_hz is None else fixed_rate_frames(gaze, rate_hz)


def _registered(name: str) -> Dataset:
    if name not in DATASETS:
        raise ValueError(f"unknown dataset {name!r}; known: {', '.join(DATASETS)}")
    return DATASETS[name]


def _folder(name: str, rate_hz: float | None) -> Path:
    """The folder that holds a user's own files, or an error that says what could have been meant."""
    folder = resolve_folder(name)
    if not folder.is_dir():
        raise ValueError(
            f"unknown dataset {name!r}; known: {', '.join(DATASETS)}, or a folder that holds "
            + ", ".join(f"{part}_data.pt" for part in PARTS)
        )
    if folder.resolve().name in (*DATASETS, PATTERNS.name):
        raise ValueError(
            f"the folder {folder} has the name of a dataset of the project, under which its runs would be "
            f"recorded: rename it, or ask for {folder.resolve().name!r} if that is meant"
        )
    per_fixation = folder / "fixations"
    if rate_hz is not None:
        return folder
    if per_fixation.is_dir():
        return per_fixation
    if load_sequences(folder / "train_data.pt")["meta"]["frames"] == "unknown":
        raise ValueError(
            f"{folder} has no subfolder `fixations` with the same gaze, one frame a fixation: add it (see "
            "data/README.md), or leave these runs out (--framings 10hz)"
        )
    return folder


def _open_folder(name: str, rate_hz: float | None, size: int) -> dict[str, dict]:
    folder = _folder(name, rate_hz)
    parts = load_parts(folder, size)
    for part, sequences in parts.items():
        meta, file = sequences["meta"], folder / f"{part}_data.pt"
        if meta["frames"] != "unknown" and meta["rate_hz"] != rate_hz:
            asked = "one frame a fixation" if rate_hz is None else f"{rate_hz:g} Hz"
            raise ValueError(f"{file} holds frames of {meta['frames']}, {asked} was asked for")
        if meta["size"] != size:
            raise ValueError(f"{file} is on a {meta['size']} px grid, {size} px was asked for")
    return parts


def fingerprint(name: str, rate_hz: float | None = 10.0, size: int = 32) -> str:
    """16 hex digits that change whenever a run on these data could: source, split, rate, grid, format.

    For a registered dataset the data themselves are not needed; for a folder it is a hash of its three files.

    Raises:
        ValueError: neither a known name nor a folder, or one frame a fixation of a dataset without fixations.
        FileNotFoundError: a folder that lacks one of the files.
    """
    _check_framing(name, rate_hz)
    if name in DATASETS:
        given = {
            "source": DATASETS[name].source.sha256,
            "split": DATASETS[name].split,
            "size": size,
            "rate_hz": None if rate_hz is None else float(rate_hz),
            "format_version": FORMAT_VERSION,
        }
        return hashlib.sha256(json.dumps(given, sort_keys=True).encode()).hexdigest()[:16]
    if name == PATTERNS.name:
        return lattice_fingerprint(size)
    digest = hashlib.sha256()
    for part in PARTS:
        file = _folder(name, rate_hz) / f"{part}_data.pt"
        if not file.is_file():
            raise FileNotFoundError(
                f"no data file at {file}: a dataset's folder holds one for each of " + ", ".join(PARTS)
            )
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()[:16]


def content_sha256(sequences: dict) -> str:
    """sha256 of the numbers themselves (shape, coordinates and mask): equal if and only if the gaze is."""
    return _sha256(sequences, "coordinates", "fixation_mask")


def _sha256(sequences: dict, *keys: str) -> str:
    digest = hashlib.sha256(repr(tuple(sequences["coordinates"].shape)).encode())
    for key in keys:
        digest.update(sequences[key].cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _hashes(sequences: dict) -> dict[str, str]:
    """What a prepared file says of its content: of the gaze, and of who looked at what, by which intervals are drawn."""
    return {"content_sha256": content_sha256(sequences), "rows_sha256": _sha256(sequences, "subject", "stimulus")}


def describe(name: str) -> Source:
    """Where a dataset comes from; for a folder, what its training file says of itself."""
    if name in DATASETS:
        return DATASETS[name].source
    if name == PATTERNS.name:
        return PATTERNS
    meta = load_sequences(_folder(name, rate_hz=10.0) / "train_data.pt")["meta"]
    return Source(
        meta["name"], meta["label"], meta["source_sha256"], meta["licence"], meta["citation"], meta["simulated"]
    )
