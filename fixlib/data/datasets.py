"""Datasets by name: from raw recordings to prepared files to sequence sets, with a fingerprint of it all."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fixlib import paths
from fixlib.data.errors import DataFileError
from fixlib.data.files import FORMAT_VERSION, load_parts, load_sequences, resolve_folder, save_sequences
from fixlib.data.frames import fixation_frames, fixed_rate_frames
from fixlib.data.lattice import SOURCE as PATTERNS
from fixlib.data.lattice import lattice_fingerprint, lattice_windows
from fixlib.data.osie import fetch_osie, read_osie
from fixlib.data.registry import OSIE_SOURCE
from fixlib.data.scanpaths import PARTS, Scanpaths, Source, split_by_stimulus_and_subject
from fixlib.data.simulator import simulate_scanpaths, simulator_source

SPLIT = {"rule": "stimulus and subject", "seed": 0, "subjects": (8, 3, 4), "stimuli": (0.6, 0.15, 0.25)}
PREPARED = {10.0: ".", None: "fixations"}  # frames kept in files, and in which folder of the dataset
PREPARED_SIZE = 32
PATTERN_WINDOWS = {"train": 2000, "val": 200, "test": 600}  # of 20 frames
SIMULATED = {"n_subjects": 15, "n_stimuli": 700, "seed": 0}  # as many scanpaths as OSIE


@dataclass(frozen=True)
class Dataset:
    """How a registered dataset is had: its source (known without the data) and its scanpaths on a grid."""

    source: Source
    read: Callable[[int], Scanpaths]


DATASETS = {
    "osie": Dataset(OSIE_SOURCE, lambda size: read_osie(fetch_osie(), size)),
    "simulated": Dataset(
        simulator_source(**SIMULATED), lambda size: simulate_scanpaths(**SIMULATED, size=size)
    ),
}


def open_scanpaths(name: str, size: int = 32) -> Scanpaths:
    """All fixations of a registered dataset, with their durations.

    Raises:
        ValueError: unknown name.
        DataUnavailable: recordings that cannot be had.
    """
    return _registered(name).read(size)


def open_dataset(name: str, rate_hz: float | None = 10.0, size: int = 32) -> dict[str, dict]:
    """Train, val and test sequence sets of a dataset.

    Args:
        name: "osie", "simulated", "patterns" (lattice motion without noise, a frame a step, whatever ``rate_hz``), or a
            folder that holds ``{train,val,test}_data.pt`` (its subfolder ``fixations`` where ``rate_hz`` is None and it
            has one).
        rate_hz: frames a second; None for one frame a fixation.
        size: side of the grid, px.

    Raises:
        ValueError: neither a known name nor such a folder, or a folder with another rate or size.
        DataUnavailable: recordings that cannot be had.
        DataFileError: a file of the folder is damaged.
        FileExistsError: a prepared file of a registered dataset is damaged or not ours, see ``prepare``.
    """
    if name == PATTERNS.name:
        return lattice_windows(size, 20, 0.0, PATTERN_WINDOWS)
    if name not in DATASETS:
        return _open_folder(name, rate_hz, size)
    if rate_hz in PREPARED and size == PREPARED_SIZE:
        return load_parts(prepare(name) / PREPARED[rate_hz])
    parts = split_by_stimulus_and_subject(open_scanpaths(name, size), **_split_arguments())
    return {part: _frames(scanpaths, rate_hz) for part, scanpaths in parts.items()}


def prepare(name: str, out: Path | str | None = None, overwrite: bool = False) -> Path:
    """Writes a registered dataset's train, val and test files.

    Twice: at 10 Hz, and one frame a fixation in the subfolder ``fixations``.
    Files that are already there and up to date are left alone. Any other file in their place is somebody's
    work and is not replaced unless ``overwrite``.

    Returns:
        The folder: ``out``, or ``data_dir()/name``.

    Raises:
        ValueError: unknown name.
        FileExistsError: a file with other content is in the way; nothing is written.
        DataUnavailable: recordings that cannot be had; nothing is written.
    """
    dataset = _registered(name)
    folder = paths.data_dir() / name if out is None else Path(out).expanduser()
    missing = [
        (rate, part, file) for rate, subfolder in PREPARED.items() for part in PARTS
        if not _is_current(file := folder / subfolder / f"{part}_data.pt", name, rate, part, overwrite)
    ]
    if missing:
        parts = split_by_stimulus_and_subject(dataset.read(PREPARED_SIZE), **_split_arguments())
        for rate, part, file in missing:
            sequences = _frames(parts[part], rate)
            sequences["meta"] |= {"part": part, "fingerprint": fingerprint(name, rate),
                                  "content_sha256": content_sha256(sequences)}
            save_sequences(sequences, file)
    return folder


def _is_current(file: Path, name: str, rate_hz: float | None, part: str, overwrite: bool) -> bool:
    """Whether the file is what ``prepare`` would write; an error where it is something else."""
    if not file.exists():
        return False
    try:
        sequences = load_sequences(file)
        meta, content = sequences["meta"], content_sha256(sequences)
        unchanged = meta.get("content_sha256", content) == content  # earlier versions wrote no hash
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


def _frames(scanpaths: Scanpaths, rate_hz: float | None) -> dict:
    return fixation_frames(scanpaths) if rate_hz is None else fixed_rate_frames(scanpaths, rate_hz)


def _split_arguments() -> dict:
    return {key: value for key, value in SPLIT.items() if key != "rule"}


def _registered(name: str) -> Dataset:
    if name not in DATASETS:
        raise ValueError(f"unknown dataset {name!r}; known: {', '.join(DATASETS)}")
    return DATASETS[name]


def _folder(name: str, rate_hz: float | None) -> Path:
    """The folder that holds a user's own files, or an error that says what could have been meant."""
    folder = resolve_folder(name)
    if not folder.is_dir():
        raise ValueError(f"unknown dataset {name!r}; known: {', '.join(DATASETS)}, or a folder that holds "
                         + ", ".join(f"{part}_data.pt" for part in PARTS))
    per_fixation = folder / "fixations"
    if rate_hz is not None:
        return folder
    if per_fixation.is_dir():
        return per_fixation
    if load_sequences(folder / "train_data.pt")["meta"]["frames"] == "unknown":
        raise ValueError(f"{folder} has no subfolder `fixations` with the same gaze, one frame a fixation: add it (see "
                         "data/README.md), or leave these runs out (--framings 10hz)")
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
        ValueError: neither a known name nor a folder.
        FileNotFoundError: a folder that lacks one of the files.
    """
    if name in DATASETS:
        given = {"source": DATASETS[name].source.sha256, "split": SPLIT, "size": size,
                 "rate_hz": None if rate_hz is None else float(rate_hz), "format_version": FORMAT_VERSION}
        return hashlib.sha256(json.dumps(given, sort_keys=True).encode()).hexdigest()[:16]
    if name == PATTERNS.name:
        return lattice_fingerprint(size)
    digest = hashlib.sha256()
    for part in PARTS:
        file = _folder(name, rate_hz) / f"{part}_data.pt"
        if not file.is_file():
            raise FileNotFoundError(f"no data file at {file}: a dataset's folder holds one for each of "
                                    + ", ".join(PARTS))
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()[:16]


def content_sha256(sequences: dict) -> str:
    """sha256 of the numbers themselves (shape, coordinates and mask): equal if and only if the gaze is."""
    digest = hashlib.sha256(repr(tuple(sequences["coordinates"].shape)).encode())
    for key in ("coordinates", "fixation_mask"):
        digest.update(sequences[key].cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def describe(name: str) -> Source:
    """Where a dataset comes from; for a folder, what its training file says of itself."""
    if name in DATASETS:
        return DATASETS[name].source
    if name == PATTERNS.name:
        return PATTERNS
    meta = load_sequences(_folder(name, rate_hz=10.0) / "train_data.pt")["meta"]
    return Source(meta["name"], meta["label"], meta["source_sha256"], meta["licence"], meta["citation"],
                  meta["simulated"])
