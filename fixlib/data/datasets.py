"""Datasets by name: each is registered where it is defined, and opens as train, val and test gaze."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any, ClassVar, cast

import pandas as pd

from fixlib import system
from fixlib.data.fetch import Download
from fixlib.data.gaze import FORMAT_VERSION, PARTS, ChecksumError, DataFileError, Gaze, Source, content_sha256
from fixlib.data.recordings import Recordings, Scanpaths, rotated_splits
from fixlib.registry import Registry

SPLIT = {"rule": "stimulus and subject", "seed": 0, "subjects": (8, 3, 4), "stimuli": (0.6, 0.15, 0.25)}
PREPARED = {10.0: ".", None: "fixations"}  # frames kept in files, and in which folder of the dataset
PREPARED_SIZE = 32


class Dataset:
    """What has a name and opens as gaze."""

    source: Source  # known without the data
    file: Download | None = None  # what is fetched, if anything
    has_fixations = False  # with their durations

    def open(self, rate_hz: float | None, size: int) -> dict[str, Gaze]:
        """Train, val and test."""
        raise NotImplementedError

    def fingerprint(self, rate_hz: float | None, size: int) -> str:
        """16 hex digits that change whenever a run on these data could."""
        raise NotImplementedError

    def describe(self) -> Source:
        """Where it comes from."""
        return self.source


DATASETS: Registry[type[Dataset]] = Registry("dataset")


class Recorded(Dataset):
    """Tables of fixations or samples, dealt to three parts (as `split` says) and kept in files."""

    split: ClassVar[dict[str, Any]] = SPLIT

    def read(self, path: Path | None, size: int) -> Scanpaths | Recordings:
        """All gaze on a grid of so many px, from the user's copy at a path, or (None) from where it is to be had."""
        raise NotImplementedError

    def table(self, size: int, path: Path | None = None) -> Scanpaths | Recordings:
        """All gaze; never that of files other than the published ones."""
        table = self.read(path, size)
        if table.source.sha256 != self.source.sha256:
            raise ChecksumError(
                f"{path or 'what was fetched'} does not hold the published recordings of {self.source.name}, all of "
                f"them and nothing else: it has {len(table)}, and its sha256 is {table.source.sha256}, not "
                f"{self.source.sha256}"
            )
        return table

    def splits(self, size: int, path: Path | None = None) -> Iterator[dict[str, Any]]:
        """All gaze, dealt to train, val and test; the first split is the dataset's, see `rotated_splits`."""
        split = {key: value for key, value in self.split.items() if key != "rule"}
        return rotated_splits(self.table(size, path), **split)

    def check_framing(self, rate_hz: float | None) -> None:
        """Refuses one frame a fixation, or durations, of samples."""
        if rate_hz is None and not self.has_fixations:
            raise ValueError(
                f"{self.source.name!r} has samples of gaze and no fixations, so neither one frame a fixation nor "
                "durations can be had of it: ask for frames at a rate (rate_hz=10.0; `fixlib run hybrid_regression` "
                "with --framings 10hz)"
            )

    def open(self, rate_hz: float | None, size: int) -> dict[str, Gaze]:
        self.check_framing(rate_hz)
        if rate_hz in PREPARED and size == PREPARED_SIZE:
            return _load(self.prepare() / PREPARED[rate_hz], size)
        return {part: table.frames(rate_hz) for part, table in next(self.splits(size)).items()}

    def fingerprint(self, rate_hz: float | None, size: int) -> str:
        self.check_framing(rate_hz)
        rate_hz = None if rate_hz is None else float(rate_hz)
        given = dict(source=self.source.sha256, split=self.split, size=size, rate_hz=rate_hz)
        text = json.dumps(given | dict(format_version=FORMAT_VERSION), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def prepare(self, out: Path | str | None = None, path: Path | str | None = None) -> Path:
        """Writes those of its files that are not there; see `fixlib.data.prepare`."""
        folder = Path(out).expanduser() if out else system.data_dir() / self.source.name
        copy, missing = None if path is None else Path(path).expanduser(), []
        for rate_hz, part in product(PREPARED if self.has_fixations else (10.0,), PARTS):
            file = folder / PREPARED[rate_hz] / f"{part}_data.pt"
            if not file.exists():
                missing.append((file, rate_hz, part))
            elif (gaze := Gaze.load(file)).extra != self._marks(gaze, rate_hz, part):
                raise DataFileError(
                    f"{file} is not the prepared {self.source.name} data of this version: it was edited, or prepared "
                    f"differently ({gaze.source.label}, {gaze.frames}). Nothing was changed: move it away, or prepare "
                    "into another folder (--out)"
                )
        if missing or copy:  # a wrong copy is said to be wrong even where it is not needed
            parts = next(self.splits(PREPARED_SIZE, copy))
            for file, rate_hz, part in missing:
                gaze = parts[part].frames(rate_hz)
                replace(gaze, extra=self._marks(gaze, rate_hz, part)).save(file)
        if copy and not out and self.has_fixations and self.file and not self.file.local.exists():
            self.file.keep(copy.read_bytes(), copy)
        return folder

    def _marks(self, gaze: Gaze, rate_hz: float | None, part: str) -> dict[str, str]:
        """What tells a prepared file from any other: how it was made, and what it holds."""
        return dict(
            part=part,
            fingerprint=self.fingerprint(rate_hz, PREPARED_SIZE),
            content_sha256=content_sha256(gaze),
            rows_sha256=content_sha256(gaze, "subject", "stimulus"),
        )


class Folder(Dataset):
    """A user's own ``{train,val,test}_data.pt``; in a subfolder ``fixations`` the same gaze, one frame a fixation.

    ``fixations.csv`` (`fixlib data prepare FILE` writes it) has the fixations' durations.
    """

    def __init__(self, name: str) -> None:
        self.path = resolve_folder(name)
        if not self.path.is_dir():
            files = ", ".join(f"{part}_data.pt" for part in PARTS)
            raise ValueError(
                f"unknown dataset {name!r}; known: {', '.join(DATASETS)}, or a folder that holds {files}, as "
                "`fixlib data prepare FILE` makes of an eye tracker's exports"
            )
        if (own_name := self.path.resolve().name) in DATASETS:
            raise ValueError(
                f"the folder {self.path} has the name of a dataset of the project, under which its runs would be "
                f"recorded: rename it, or ask for {own_name!r} if that is meant"
            )
        self.has_fixations = (self.path / "fixations.csv").is_file()

    def scanpaths(self, size: int) -> Scanpaths:
        """All fixations, with their durations."""
        if not self.has_fixations:
            raise ValueError(f"{self.path} has no fixations.csv: durations are in no other file of it")
        table = pd.read_csv(self.path / "fixations.csv")
        table = table.assign(**{axis: table[axis] * size / PREPARED_SIZE for axis in {"x", "y"}.intersection(table)})
        return Scanpaths(table, size, self.describe())

    def describe(self) -> Source:
        train = Gaze.load(self.path / "train_data.pt")
        return replace(train.source, notice=train.notice)

    def open(self, rate_hz: float | None, size: int) -> dict[str, Gaze]:
        folder = self._subfolder(rate_hz)
        found = _load(folder, size)
        asked = "one frame a fixation" if rate_hz is None else f"{rate_hz:g} Hz"
        for part, gaze in found.items():
            if gaze.frames != "unknown" and gaze.rate_hz != rate_hz:
                raise ValueError(f"{folder / part}_data.pt holds frames of {gaze.frames}, {asked} was asked for")
            if gaze.size != size:
                raise ValueError(f"{folder / part}_data.pt is on a {gaze.size} px grid, {size} px was asked for")
        return found

    def fingerprint(self, rate_hz: float | None, size: int) -> str:
        files = [self._subfolder(rate_hz) / f"{part}_data.pt" for part in PARTS]
        if self.has_fixations:
            files.append(self.path / "fixations.csv")
        digests = b"".join(hashlib.sha256(file.read_bytes()).digest() for file in files)
        return hashlib.sha256(digests).hexdigest()[:16]

    def _subfolder(self, rate_hz: float | None) -> Path:
        if rate_hz is not None:
            return self.path
        if (self.path / "fixations").is_dir():
            return self.path / "fixations"
        if Gaze.load(self.path / "train_data.pt").frames == "unknown":
            raise ValueError(
                f"{self.path} has no subfolder `fixations` with the same gaze, one frame a fixation: add it (see "
                "docs/data_formats.md), or leave these runs out (--framings 10hz, or --tasks)"
            )
        return self.path


def _load(folder: Path, size: int = PREPARED_SIZE) -> dict[str, Gaze]:
    return {part: Gaze.load(folder / f"{part}_data.pt", size) for part in PARTS}


def load_real_training_data(data_dir: Path | str = "data/osie") -> dict[str, Gaze]:
    """The prepared train, val and test gaze of a folder; ``gaze["coordinates"]`` reads it like a dict.

    Args:
        data_dir: holds ``{train,val,test}_data.pt``. A relative one that begins with ``data`` is first looked for in
            the project's data folder (``fixlib.system.data_dir``), then in the current folder.

    Raises:
        FileNotFoundError: naming the missing file and the command that makes it.
        DataFileError: a file is damaged or not as it must be.
    """
    return _load(resolve_folder(data_dir))


def resolve_folder(folder: Path | str) -> Path:
    """The folder that is meant, see `load_real_training_data`."""
    folder = Path(folder).expanduser()
    if folder.is_absolute() or folder.parts[:1] != ("data",):
        return folder
    in_project = system.data_dir().joinpath(*folder.parts[1:])
    return folder if folder.is_dir() and not in_project.is_dir() else in_project


def open_dataset(name: str, rate_hz: float | None = 10.0, size: int = 32) -> dict[str, Gaze]:
    """Train, val and test gaze of a dataset.

    Args:
        name: of `DATASETS`, or a folder that holds ``{train,val,test}_data.pt`` (its subfolder ``fixations`` where
            ``rate_hz`` is None and it has one).
        rate_hz: frames a second; None for one frame a fixation, which "gazecom" does not have. "patterns" has a frame
            a step, whatever is asked for.
        size: side of the grid, px.

    Raises:
        ValueError: neither a known name nor such a folder, a folder with another rate or size, or no fixations.
        DataUnavailable: recordings that cannot be had.
        DataFileError: a file is damaged, or a registered dataset's is not the prepared one.
    """
    return _named(name).open(rate_hz, size)


def open_rotated(name: str, rate_hz: float | None = 10.0, size: int = 32) -> list[dict[str, Gaze]]:
    """Train, val and test gaze of a registered dataset, so often that every viewer is tested exactly once.

    The first are those of `open_dataset`, and all test on the same stimuli. Pooled, the scores say more of other people
    than those of one test part with its few viewers; models of the splits share most of their training viewers, which
    intervals do not know. Errors are those of `open_dataset`.
    """
    dataset = _recorded(name)
    dataset.check_framing(rate_hz)
    return [{part: table.frames(rate_hz) for part, table in parts.items()} for parts in dataset.splits(size)]


def open_scanpaths(name: str, size: int = 32) -> Scanpaths:
    """All fixations of a registered dataset, or of a folder, with their durations; errors as of `open_dataset`."""
    if name not in DATASETS:
        return Folder(name).scanpaths(size)
    dataset = _recorded(name)
    dataset.check_framing(rate_hz=None)
    return cast(Scanpaths, dataset.table(size))


def fingerprint(name: str, rate_hz: float | None = 10.0, size: int = 32) -> str:
    """16 hex digits that change whenever a run on these data could: source, split, rate, grid, format.

    For a registered dataset the data themselves are not needed; for a folder it is a hash of its files.

    Raises:
        ValueError: neither a known name nor a folder, or one frame a fixation of a dataset without fixations.
        FileNotFoundError: a folder that lacks one of the files.
    """
    return _named(name).fingerprint(rate_hz, size)


def has_fixations(name: str) -> bool:
    """Whether a dataset or folder has fixations with their durations; ValueError for what is neither."""
    return _named(name).has_fixations


def describe(name: str) -> Source:
    """Where a dataset comes from; for a folder, what its training file says of itself."""
    return _named(name).describe()


def prepare(name: str, out: Path | str | None = None, path: Path | str | None = None) -> Path:
    """Writes a registered dataset's train, val and test files, and gives their folder.

    Twice: at 10 Hz, and (where the dataset has fixations) one frame a fixation in the subfolder ``fixations``. Files
    that are already there are left alone. Any other file in their place is somebody's work: an error.

    Args:
        out: folder to write to; ``data_dir()/name`` where not given or "" (as from a variable that is not set).
        path: the user's own copy of the raw recordings: OSIE's or crowd's file, GazeCom's archive or folder. Where not
            given, the recordings are fetched if they are needed. Without ``out``, a file is also kept where it is
            fetched to: the durations of the fixations are in no prepared file.

    Raises:
        ValueError: unknown name, or a ``path`` for data that are made here.
        FileNotFoundError: nothing is at ``path``.
        ChecksumError: ``path`` does not hold the published recordings.
        DataFileError: a file with other content is in the way; nothing is written.
        DataUnavailable: recordings that cannot be had; nothing is written.
    """
    return _recorded(name).prepare(out, path)


def _named(name: str) -> Dataset:
    return DATASETS[name]() if name in DATASETS else Folder(name)


def _recorded(name: str) -> Recorded:
    dataset = DATASETS[name]()
    if not isinstance(dataset, Recorded):
        raise ValueError(f"{name!r} is made when it is needed, and has no recordings or files")
    return dataset
