"""Gaze: who looked where, frame by frame. Checked once, cut into windows, kept in ``.pt`` files.

(x, y) in px of the grid, x right, y down; the pixel of a point is its floor, the point of a pixel its centre.
"""

import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fixlib import system

PARTS = ("train", "val", "test")
FORMAT_VERSION = 1
TENSORS = dict(coordinates=torch.float32, fixation_mask=torch.bool, subject=torch.int64, stimulus=torch.int64)
# What a file's meta holds: of the source (its key there, and its name here), and of the frames.
FACTS = {name: name for name in ("name", "label", "source_sha256", "licence", "citation", "simulated")}
FACTS |= dict(source_sha256="sha256", licence="license")
META = dict.fromkeys(FACTS, str) | dict(simulated=bool, frames=str, rate_hz=float | int | None, size=int)


class DataUnavailable(RuntimeError):
    """Recordings could be had from nowhere: no local copy, no mirror, no download."""


class DataFileError(ValueError):
    """Data are not what they must be; the message says where, what is wrong, and what to do."""


class ChecksumError(DataFileError):
    """A file is not the published one: its sha256 differs. Never a reason to go on with other data."""


@dataclass(frozen=True)
class Source:
    """Where data come from."""

    name: str  #: short name, as used in file names ("osie")
    label: str  #: what figures and tables print beside the data; says "SIMULATED" where it is
    sha256: str  #: of the raw file, or of everything a generator was given
    #: license, citation: what to respect and what to cite
    license: str
    citation: str
    simulated: bool  #: True where nobody's eye was recorded
    notice: str = ""  #: what else a reader has to know; "" if nothing


@dataclass(frozen=True, eq=False)
class Gaze:
    """Sequences of gaze, N of them, T frames long.

    ``gaze["coordinates"]`` and ``gaze["meta"]["size"]`` read it as the dict that its file holds.

    Raises:
        DataFileError: anything is not as described.
    """

    coordinates: Tensor  #: float32 (N, T, 2), (x, y) px; finite, and inside the grid where the mask is True
    fixation_mask: Tensor  #: bool (N, T), False where there is no valid gaze
    #: subject, stimulus: int64 (N,), who looked at what
    subject: Tensor
    stimulus: Tensor
    source: Source  #: where it comes from
    frames: str  #: what one frame is: "fixations", "10 Hz", "steps", or "unknown"
    rate_hz: float | None  #: frames a second; None where they are not equally far apart in time
    size: int = 32  #: side of the grid, px
    extra: dict[str, Any] = field(default_factory=dict)  #: what else its file says of it; plain values

    def __post_init__(self) -> None:
        for name, dtype in TENSORS.items():
            value = getattr(self, name)
            found = value.dtype if isinstance(value, Tensor) else type(value).__name__
            if found != dtype:
                todo = f"convert it with torch.as_tensor({name}, dtype={dtype})"
                raise DataFileError(f"{name} must be a tensor of {dtype}, not {found}; {todo}")
        shape = tuple(self.coordinates.shape)
        if len(shape) != 3 or shape[2] != 2 or shape[1] == 0 or self.size < 1:
            raise DataFileError(f"coordinates must have shape (N, T, 2), not {shape}, on a grid of 1 px or more")
        for name, expected in dict(fixation_mask=shape[:2], subject=shape[:1], stimulus=shape[:1]).items():
            if (other := tuple(getattr(self, name).shape)) != expected:
                raise DataFileError(f"{name} must have shape {expected} to fit coordinates {shape}, not {other}")
        inside = ((self.coordinates >= 0) & (self.coordinates < self.size)).all(dim=-1)
        for wrong, why in (
            (~self.coordinates.isfinite().all(dim=-1), "is not finite; set it to 0 and its fixation_mask to False"),
            (self.fixation_mask & ~inside, f"lies outside the grid, [0, {self.size}) px; scale it or mask it out"),
        ):
            if wrong.any():
                row, frame = wrong.nonzero()[0].tolist()
                point = ", ".join(f"{value:g}" for value in self.coordinates[row, frame].tolist())
                many = f"{int(wrong.sum())} such point(s) in all"
                raise DataFileError(f"coordinates[{row}, {frame}] = ({point}) {why} ({many})")

    @classmethod
    def of(cls, content: Any, name: str = "sequences", size: int = 32) -> "Gaze":
        """From a dict as files hold it.

        A bare pair of ``coordinates`` and ``fixation_mask`` will do: each row is then another viewer's of another
        picture, called ``name``, on a grid of ``size`` px.

        Raises:
            DataFileError: it is not as described above, has a key that is not known, or is in units of the
                picture's side instead of px.
        """
        if not isinstance(content, Mapping):
            raise DataFileError(f"a dict with {', '.join(TENSORS)} and meta was expected, not {type(content).__name__}")
        if unknown := [str(key) for key in content if key not in (*TENSORS, "meta")]:
            raise DataFileError(f"unknown key(s) {', '.join(unknown)}; known: {', '.join(TENSORS)}, meta")
        if missing := [key for key in ("coordinates", "fixation_mask") if key not in content]:
            raise DataFileError(f"the key '{missing[0]}' is missing")
        shape = tuple(np.shape(content["coordinates"]))
        rows = torch.arange(shape[0] if shape else 0)
        if not len(rows):
            raise DataFileError(f"coordinates must hold sequences, (N, T, 2), not {shape}")
        tensors = {key: content.get(key, rows) for key in TENSORS}
        bare = dict.fromkeys(META, "unknown") | dict(name=name, label=f"{name} (provenance unknown)", size=size)
        bare |= dict(simulated=False, rate_hz=None, format_version=FORMAT_VERSION)
        meta = _checked(content.get("meta", bare))
        source = Source(**{attribute: meta.pop(key) for key, attribute in FACTS.items()})
        frame = {key: meta.pop(key) for key in ("frames", "rate_hz", "size")}
        gaze = cls(**tensors, source=source, **frame, extra=meta)
        points = gaze.coordinates[gaze.fixation_mask]
        if len(points) and gaze.size > 2 and points.max() <= 1:
            corner = f"which is one corner of the {gaze.size} px grid: convert them to px, coordinates * {gaze.size}"
            raise DataFileError(f"all points lie between 0 and 1, {corner}")
        return gaze

    @property
    def meta(self) -> dict[str, Any]:
        """All but the tensors, as its file holds it."""
        facts = {key: getattr(self.source, name) for key, name in FACTS.items()}
        grid = dict(frames=self.frames, rate_hz=self.rate_hz, size=self.size, format_version=FORMAT_VERSION)
        return {key: _plain(value) for key, value in (facts | grid | self.extra).items()}

    @property
    def notice(self) -> str:
        """What a reader of its intervals has to know; "" if nothing."""
        alone = all(len(ids.unique()) == len(self) for ids in (self.subject, self.stimulus))
        told_apart = "Intervals take every row for another viewer and another picture: add `subject` and `stimulus`."
        return told_apart if alone and not self.source.simulated else ""

    def __len__(self) -> int:
        """Number of sequences."""
        return len(self.coordinates)

    def __getitem__(self, key: str) -> Any:
        return getattr(self, key) if key == "meta" or key in TENSORS else self.meta[key]

    def rows(self, chosen: Tensor | slice) -> "Gaze":
        """Some of the sequences: by numbers, by a mask, or a slice."""
        return replace(self, **{key: getattr(self, key)[chosen] for key in TENSORS})

    def windows(self, length: int, stride: int | None = None, limit: int | None = None, seed: int = 0) -> "Gaze":
        """Windows of ``length`` frames, each wholly inside one sequence, every frame valid, none padded.

        In each row windows begin at frames 0, stride, 2 stride, ...; those that hold an invalid frame are left out.

        Args:
            length: frames in a window (inputs and targets together).
            stride: frames between the beginnings of two windows; ``length`` (no overlap) where not given.
            limit, seed: see `drawn`; all where not given.

        Raises:
            ValueError: there is no window, or fewer than ``limit``; the message says how many.
        """
        stride = length if stride is None else stride
        if length < 1 or stride < 1:
            raise ValueError(f"length and stride must be at least 1 frame, not {length} and {stride}")
        padded = torch.nn.functional.pad(self.fixation_mask, (0, length))
        row, number = padded.unfold(1, length, stride).all(dim=-1).nonzero(as_tuple=True)
        if len(row) == 0:
            raise ValueError(
                f"no window of {length} valid frames in these {len(self)} scanpaths of {self.source.name} "
                f"({self.frames}): windows have to be shorter, or scanpaths longer"
            )
        where = row[:, None], number[:, None] * stride + torch.arange(length)
        found = replace(self.rows(row), coordinates=self.coordinates[where], fixation_mask=self.fixation_mask[where])
        return found if limit is None else found.drawn(limit, seed)

    def drawn(self, limit: int, seed: int = 0) -> "Gaze":
        """So many of the sequences, drawn without replacement, in their order; ValueError where there are fewer."""
        if not 1 <= limit <= len(self):
            raise ValueError(f"{limit} windows were asked for, but there are {len(self)}; limit must be at least 1")
        drawn = torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))[:limit]
        return self.rows(drawn.sort().values)

    def save(self, path: Path | str) -> None:
        """Write a file; whatever happens, ``path`` holds either its old content or all of the new.

        Raises:
            DataFileError: ``extra`` holds what cannot be read back; nothing is written.
            OSError: the file cannot be written.
        """
        written = io.BytesIO()
        # Cloned, as a view would bring all of the memory behind it along.
        torch.save({key: getattr(self, key).cpu().clone() for key in TENSORS} | dict(meta=self.meta), written)
        _read(io.BytesIO(written.getvalue()), f"what was to be {path}")
        with system.atomic_write(path) as file:
            file.write(written.getvalue())

    @classmethod
    def load(cls, path: Path | str, size: int = 32) -> "Gaze":
        """Read a file, on the CPU; ``size`` is that of the grid where it does not say. No code in it is ever run.

        Raises:
            FileNotFoundError: no such file.
            DataFileError: truncated, not a .pt file, holding Python objects, or not as described above.
        """
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"no data file at {path}: `fixlib data prepare osie` makes those of OSIE")
        with open(path, "rb") as file:
            content = _read(file, str(path))
        try:
            return cls.of(content, path.stem, size)
        except DataFileError as error:
            raise DataFileError(f"{path}: {error}") from error


def _read(file: Any, where: str) -> Any:
    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds on damaged files; all mean the same to the user
        raise DataFileError(
            f"{where} cannot be read as tensors and plain values: it is truncated, not a .pt file, or holds pickled "
            "Python objects, which are refused because they could run code. Save a dict of tensors with torch.save, "
            f"or move it away and prepare the data again ({type(error).__name__})"
        ) from error


def _checked(meta: Any) -> dict[str, Any]:
    if not isinstance(meta, dict):
        raise DataFileError(f"meta must be a dict, not {type(meta).__name__}")
    if meta.get("format_version") != FORMAT_VERSION:
        raise DataFileError(
            f"meta['format_version'] is {meta.get('format_version')}, this library reads {FORMAT_VERSION}; prepare "
            "the data again with this version"
        )
    meta = {key: _plain(value) for key, value in meta.items() if key != "format_version"}
    for key, kind in META.items():
        if key not in meta:
            raise DataFileError(f"meta lacks '{key}'")
        if not isinstance(meta[key], kind):
            raise DataFileError(f"meta['{key}'] is {meta[key]!r}, of the wrong type")
    return meta


def _plain(value: Any) -> Any:
    """A number or list of numpy's as one of Python's, which files may hold."""
    return value.tolist() if isinstance(value, np.generic | np.ndarray) else value


cut_windows = Gaze.windows


def content_sha256(gaze: Gaze | Mapping, *keys: str) -> str:
    """sha256 of the numbers themselves (coordinates and mask, or ``keys``): equal if and only if the gaze is."""
    digest = hashlib.sha256(repr(tuple(gaze["coordinates"].shape)).encode())
    for key in keys or ("coordinates", "fixation_mask"):
        digest.update(gaze[key].cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
