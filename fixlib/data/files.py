"""Sequence sets: what they are, and how they are written to and read from ``.pt`` files.

A sequence set is a plain dict: ``coordinates`` float32 (N, T, 2) in px, (x, y); ``fixation_mask`` bool (N,
T), False where there is no valid gaze (coordinates 0 there); ``subject`` and ``stimulus`` int64 (N,); and
``meta``, a dict with the keys of ``META``. A file holds exactly that, so ``torch.load(weights_only=True)``
reads it without running code.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from fixlib import system
from fixlib.data.errors import DataFileError
from fixlib.data.scanpaths import PARTS, Source
from fixlib.system import atomic_write

FORMAT_VERSION = 1
KEYS = ("coordinates", "fixation_mask", "subject", "stimulus", "meta")
META = {
    "name": str,
    "label": str,
    "frames": str,
    "rate_hz": (float, int, type(None)),
    "size": int,
    "source_sha256": str,
    "licence": str,
    "citation": str,
    "simulated": bool,
    "format_version": int,
}


def sequence_set(
    coordinates: np.ndarray,
    fixation_mask: np.ndarray,
    subject: np.ndarray,
    stimulus: np.ndarray,
    source: Source,
    frames: str,
    rate_hz: float | None,
    size: int,
) -> dict:
    """A sequence set from arrays; ``frames`` says what one frame is ("fixations", "10 Hz", "steps")."""
    return {
        "coordinates": torch.from_numpy(coordinates),
        "fixation_mask": torch.from_numpy(fixation_mask),
        "subject": torch.from_numpy(np.array(subject, dtype=np.int64)),
        "stimulus": torch.from_numpy(np.array(stimulus, dtype=np.int64)),
        "meta": {
            "name": source.name,
            "label": source.label,
            "frames": frames,
            "rate_hz": rate_hz,
            "size": size,
            "source_sha256": source.sha256,
            "licence": source.licence,
            "citation": source.citation,
            "simulated": source.simulated,
            "format_version": FORMAT_VERSION,
        },
    }


def as_coordinates(points: np.ndarray, size: int) -> np.ndarray:
    """float32; a point that is inside the grid in float64 does not leave it by rounding."""
    rounded = points.astype(np.float32)
    largest = np.nextafter(np.float32(size), np.float32(0))
    return np.where((points < size) & (rounded >= size), largest, rounded)


def check_sequences(content: object, where: str, size: int = 32) -> dict:
    """Checks a sequence set and gives it back complete.

    A bare ``coordinates`` + ``fixation_mask`` pair is accepted: subject and stimulus become the row's number,
    and the grid is taken to be ``size`` px. Nothing else is repaired.

    Args:
        content: what was read.
        where: what to call it in messages, usually its path.
        size: of the grid, where ``content`` does not say.

    Raises:
        DataFileError: anything is not as described; the message says where, which key, and what to do.
    """
    if not isinstance(content, dict):
        found = type(content).__name__
        raise DataFileError(f"{where}: a dict with {', '.join(KEYS)} was expected, not {found}")
    unknown = [str(key) for key in content if key not in KEYS]
    if unknown:
        raise DataFileError(f"{where}: unknown key(s) {', '.join(unknown)}; known: {', '.join(KEYS)}")
    for key in ("coordinates", "fixation_mask"):
        if key not in content:
            raise DataFileError(f"{where}: the key '{key}' is missing")
    coordinates = _tensor(content, "coordinates", torch.float32, where)
    if coordinates.ndim != 3 or coordinates.shape[2] != 2 or 0 in coordinates.shape:
        raise DataFileError(f"{where}: coordinates must have shape (N, T, 2), not {tuple(coordinates.shape)}")
    n, length = coordinates.shape[:2]
    mask = _tensor(content, "fixation_mask", torch.bool, where)
    if mask.shape != (n, length):
        raise DataFileError(
            f"{where}: fixation_mask must have shape {(n, length)} as coordinates, not {tuple(mask.shape)}"
        )
    meta = _check_meta(content["meta"], where) if "meta" in content else _bare_meta(where, size)
    checked = {"coordinates": coordinates, "fixation_mask": mask, "meta": meta}
    for key in ("subject", "stimulus"):
        checked[key] = _tensor(content, key, torch.int64, where) if key in content else torch.arange(n)
        if checked[key].shape != (n,):
            raise DataFileError(f"{where}: {key} must have shape {(n,)}, not {tuple(checked[key].shape)}")
    _check_values(coordinates, mask, meta["size"], where)
    return {key: checked[key] for key in KEYS}


def _tensor(content: dict, key: str, dtype: torch.dtype, where: str) -> torch.Tensor:
    value = content[key]
    if not isinstance(value, torch.Tensor):
        raise DataFileError(f"{where}: {key} must be a tensor, not {type(value).__name__}")
    if value.dtype != dtype:
        raise DataFileError(f"{where}: {key} must be {dtype}, not {value.dtype}; convert it with .to({dtype})")
    return value


def _check_values(coordinates: torch.Tensor, mask: torch.Tensor, size: int, where: str) -> None:
    finite = coordinates.isfinite().all(dim=-1)
    inside = ((coordinates >= 0) & (coordinates < size)).all(dim=-1)
    for wrong, why in (
        (~finite, "is not finite; set points without valid gaze to 0 and their fixation_mask to False"),
        (mask & ~inside, f"lies outside the grid, [0, {size}) px; scale it or set its mask to False"),
    ):
        if wrong.any():
            row, frame = wrong.nonzero()[0].tolist()
            point = ", ".join(f"{value:g}" for value in coordinates[row, frame].tolist())
            raise DataFileError(
                f"{where}: coordinates[{row}, {frame}] = ({point}) {why} ({int(wrong.sum())} such point(s) in all)"
            )


def _check_meta(meta: object, where: str) -> dict:
    if not isinstance(meta, dict):
        raise DataFileError(f"{where}: meta must be a dict, not {type(meta).__name__}")
    version = meta.get("format_version")
    if version != FORMAT_VERSION:
        raise DataFileError(
            f"{where}: meta['format_version'] is {version}, this library reads "
            f"{FORMAT_VERSION}; prepare the data again with this version"
        )
    for key, kind in META.items():
        if key not in meta:
            raise DataFileError(f"{where}: meta lacks '{key}'")
        if not isinstance(meta[key], kind):
            raise DataFileError(f"{where}: meta['{key}'] is {meta[key]!r}, of the wrong type")
    if meta["size"] < 1:
        raise DataFileError(f"{where}: meta['size'] must be at least 1 px, not {meta['size']}")
    return meta


def _bare_meta(where: str, size: int) -> dict:
    name = Path(where).stem
    return {
        "name": name,
        "label": f"{name} (provenance unknown)",
        "frames": "unknown",
        "rate_hz": None,
        "size": size,
        "source_sha256": "unknown",
        "licence": "unknown",
        "citation": "unknown",
        "simulated": False,
        "format_version": FORMAT_VERSION,
    }


def save_sequences(sequences: dict, path: Path | str) -> None:
    """Writes a sequence set; whatever happens, ``path`` holds either its old content or all of the new.

    Raises:
        DataFileError: ``sequences`` is not a sequence set; nothing is written.
        OSError: the file cannot be written.
    """
    path = Path(path)
    checked = check_sequences(sequences, f"the data for {path}")
    with atomic_write(path) as file:
        torch.save(_compact(checked), file)


def _compact(sequences: dict) -> dict:
    """Without memory that a view keeps alive: torch.save writes whole storages."""
    return {key: value if key == "meta" else value.cpu().clone() for key, value in sequences.items()}


def load_sequences(path: Path | str, size: int = 32) -> dict:
    """Reads and checks a sequence set, on the CPU. No code in the file is ever run.

    Raises:
        FileNotFoundError: no such file.
        DataFileError: truncated, not a .pt file, holding Python objects, or failing ``check_sequences``.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no data file at {path}: `fixlib data prepare osie` makes those of OSIE")
    with open(path, "rb") as file:
        try:
            content = torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:  # torch raises many kinds on damaged files; all mean the same to the user
            raise DataFileError(
                f"{path} cannot be read as tensors and plain values: it is truncated, not a .pt file, or "
                "holds pickled Python objects, which are refused because they could run code. Save a dict of "
                f"tensors with torch.save, or prepare the data again ({type(error).__name__})"
            ) from error
    return check_sequences(content, str(path), size)


def load_parts(folder: Path | str, size: int = 32) -> dict[str, dict]:
    """The three sequence sets ``{train,val,test}_data.pt`` of a folder; errors as ``load_sequences``."""
    return {part: load_sequences(Path(folder) / f"{part}_data.pt", size) for part in PARTS}


def load_real_training_data(data_dir: Path | str = "data/osie") -> dict[str, dict]:
    """The prepared train, val and test sequence sets of a folder.

    Args:
        data_dir: holds ``{train,val,test}_data.pt``. A relative one that begins with ``data`` is first looked
            for in the project's data folder (``fixlib.system.data_dir``), then in the current folder.

    Raises:
        FileNotFoundError: naming the missing file and the command that makes it.
        DataFileError: a file is damaged or not as it must be.
    """
    return load_parts(resolve_folder(data_dir))


def resolve_folder(folder: Path | str) -> Path:
    """The folder that is meant, see ``load_real_training_data``."""
    folder = Path(folder).expanduser()
    if folder.is_absolute() or folder.parts[:1] != ("data",):
        return folder
    in_project = system.data_dir().joinpath(*folder.parts[1:])
    return folder if folder.is_dir() and not in_project.is_dir() else in_project
