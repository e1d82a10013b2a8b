"""GazeCom: 18 natural films of 20 s, 54 viewers, gaze at 250 Hz (Dorr et al. 2010, Journal of Vision 10(10):28).

One text file a recording, ``VIEWER_film.coord``: the line ``gaze 1280 720`` (px of the film), a line ``geometry ...``
(the screen, in metres), then a line a sample: time (µs since the film began), x, y (px of the film) and confidence
(0 or 1). No fixations are told from saccades, pursuit and blinks.
"""

from __future__ import annotations

import hashlib
import lzma
import tarfile
import zlib
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pandas as pd

from fixlib.data.errors import DataFileError
from fixlib.data.fetch import fetch
from fixlib.data.registry import GAZECOM_FILE, GAZECOM_SOURCE
from fixlib.data.scanpaths import Recordings

FILM_SIZE = (1280, 720)  # px, width and height
FILM_MS = 20_000
INTERVAL_MS = 4  # 250 Hz
HEADER = 2  # lines
FIELDS = ("time", "x", "y", "confidence")
QUOTED = 80  # characters


def fetch_gazecom() -> Path:
    """GazeCom's archive, verified; where it is looked for and the errors are those of ``fixlib.data.fetch.fetch``."""
    return fetch(GAZECOM_FILE)


def read_gazecom(path: Path | str, size: int = 32) -> Recordings:
    """Reads GazeCom's ``.coord`` files; positions are scaled from 1280 x 720 px to ``size`` x ``size`` px.

    Subjects and stimuli are numbered by the alphabet. The source's sha256 is that of the list of all files' sha256,
    so an unpacked folder and any archive of the same files have the same one.

    Args:
        path: a tar archive of ``.coord`` files, or the folder that holds them. Nothing is unpacked. Hidden files are
            left out.
        size: side of the grid, px.

    Raises:
        FileNotFoundError: no such archive or folder.
        PermissionError: it may not be read.
        DataFileError: not an archive, or a file not as described above; the message names file and line.
    """
    path = Path(path)
    contents = _folder(path) if path.is_dir() else _archive(path)
    if not contents:
        raise DataFileError(f"{path} holds no .coord file: give the folder or archive of GazeCom's natural movies")
    names = sorted(contents)
    listing = "".join(f"{hashlib.sha256(contents[name]).hexdigest()}  ./{name}\n" for name in names)
    samples = tuple(_samples(contents[name], f"{path}: {name}", size) for name in names)
    return Recordings(
        _who_saw_what(names, path),
        samples,
        INTERVAL_MS,
        FILM_MS,
        size,
        replace(GAZECOM_SOURCE, sha256=hashlib.sha256(listing.encode()).hexdigest()),
    )


def _folder(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.iterdir() if _is_recording(file.name)}


def _archive(path: Path) -> dict[str, bytes]:
    if not path.is_file():
        raise FileNotFoundError(f"no GazeCom archive or folder at {path}")
    with open(path, "rb") as file:  # here, so that only what it holds can be the matter below
        try:
            return _members(file)
        except (tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, OSError) as error:  # by kind of compression
            raise DataFileError(
                f"{path} cannot be read as a tar archive ({error}); fetch it anew, or unpack it "
                "yourself and give the folder"
            ) from error


def _members(file: BinaryIO) -> dict[str, bytes]:
    with tarfile.open(fileobj=file) as archive:
        return {
            Path(member.name).name: archive.extractfile(member).read()
            for member in archive
            if member.isfile() and _is_recording(Path(member.name).name)
        }


def _is_recording(name: str) -> bool:
    """Hidden files are none: macOS puts a ``._A_sea.coord`` of its own beside an ``A_sea.coord``."""
    return name.endswith(".coord") and not name.startswith(".")


def _who_saw_what(names: list[str], path: Path) -> pd.DataFrame:
    parts = [name.removesuffix(".coord").partition("_") for name in names]
    for name, (viewer, _, film) in zip(names, parts):
        if not (viewer and film):
            raise DataFileError(f"{path}: {name} is not named VIEWER_film.coord")
    viewers, films = (np.unique([part[i] for part in parts], return_inverse=True)[1] for i in (0, 2))
    return pd.DataFrame({"subject": viewers, "stimulus": films})


def _samples(content: bytes, where: str, size: int) -> np.ndarray:
    """A file's samples (n, 4): time (ms), x, y (px of the grid), confidence."""
    lines = content.decode("utf-8", errors="replace").splitlines()
    expected = f"gaze {FILM_SIZE[0]} {FILM_SIZE[1]}"
    if not lines or lines[0].split() != expected.split():
        raise DataFileError(
            f"{where}, line 1: '{expected}' was expected, not {_cut(str(lines[:1]))}: positions are "
            "scaled from a film of that size, another would need another scale"
        )
    if len(lines) < HEADER or not lines[1].startswith("geometry "):
        raise DataFileError(f"{where}, line 2: 'geometry ...' was expected, not {_cut(str(lines[1:HEADER]))}")
    if len(lines) == HEADER:
        raise DataFileError(f"{where}: no sample follows the header")
    samples = np.array(_numbers(lines[HEADER:], where)).reshape(-1, len(FIELDS))
    rising = np.diff(samples[:, 0], prepend=-np.inf) > 0
    _refuse_first(~np.isfinite(samples).all(axis=1), where, "every value must be a finite number")
    _refuse_first(~rising, where, "the time must be later than on the line before")
    _refuse_first(~np.isin(samples[:, 3], (0, 1)), where, "the confidence must be 0 or 1")
    return samples / [1000, FILM_SIZE[0] / size, FILM_SIZE[1] / size, 1]


def _numbers(lines: list[str], where: str) -> list[float]:
    found: list[float] = []
    for number, line in enumerate(lines, HEADER + 1):
        fields = line.split()
        if len(fields) != len(FIELDS):
            raise DataFileError(
                f"{where}, line {number}: {len(FIELDS)} numbers were expected "
                f"({', '.join(FIELDS)}), not {_cut(repr(line))}"
            )
        try:
            found += map(float, fields)
        except ValueError as error:
            raise DataFileError(f"{where}, line {number}: {_cut(str(error))}") from error
    return found


def _cut(text: str) -> str:
    """What a message quotes: a damaged file may be one line from end to end."""
    return text if len(text) <= QUOTED else f"{text[:QUOTED]}..."


def _refuse_first(wrong: np.ndarray, where: str, why: str) -> None:
    if wrong.any():
        raise DataFileError(f"{where}, line {HEADER + 1 + int(wrong.argmax())}: {why}")
