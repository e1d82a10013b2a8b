"""GazeCom: 18 natural films of 20 s, 54 viewers, gaze at 250 Hz (Dorr et al. 2010, Journal of Vision 10(10):28).

One text file a recording, ``VIEWER_film.coord``: the line ``gaze 1280 720`` (px of the film), a line ``geometry ...``
(the screen, in metres), then a line a sample: time (µs since the film began), x, y (px of the film) and confidence
(0 or 1). No fixations are told from saccades, pursuit and blinks.
"""

import hashlib
import lzma
import reprlib
import tarfile
import zlib
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd

from fixlib.data.datasets import DATASETS, SPLIT, Recorded
from fixlib.data.fetch import Download
from fixlib.data.gaze import DataFileError, Source
from fixlib.data.recordings import Recordings

FILM_SIZE = (1280, 720)  # px, width and height
FILM_MS = 20_000
INTERVAL_MS = 4  # 250 Hz
HEADER = ("gaze 1280 720", "geometry ")  # the first line, and how the second begins


@DATASETS.register("gazecom")
class GazeCom(Recorded):
    # The 844 files of GazeCom's natural films, packed for a mirror: the packing has no address of its own. They are
    # those of a third party's copy, see data/README.md.
    file = Download(
        path="gazecom/natural_movies_gaze.tar.xz",
        sha256="f764f8a45098dd18c202122be8f72b5dc65390b6e06b26d336ad9a9b62b36458",
        url=None,
        how_to_get="get the folder gaze/natural_movies_gaze of https://github.com/katherinelamb/eye-movement-prediction"
        " and run `fixlib data prepare gazecom FOLDER`",
    )
    source = Source(
        name="gazecom",
        label="GazeCom (recorded gaze)",
        # Of the list "sha256  ./name" of the .coord files by name, so that it is the same however they are packed.
        sha256="c6a0fa2dc7ed94c95b2eab100edcf160ed202c69e6e19fb929144b52116a919d",
        license='none stated; the authors ask: "Please cite the above paper if you use our data set in your own '
        'publications."',
        citation="Dorr M., Martinetz T., Gegenfurtner K. R., Barth E. (2010). Variability of eye movements when "
        "viewing dynamic natural scenes. Journal of Vision 10(10):28. https://doi.org/10.1167/10.10.28",
        simulated=False,
    )
    split: ClassVar = {**SPLIT, "subjects": (29, 11, 14)}  # as OSIE's 8:3:4, of 54 viewers

    def read(self, path: Path | None, size: int) -> Recordings:
        return read_gazecom(path or self.file.fetch(), size)


def read_gazecom(path: Path | str, size: int = 32) -> Recordings:
    """Reads GazeCom's ``.coord`` files; positions are scaled from 1280 x 720 px to ``size`` x ``size`` px.

    Subjects and stimuli are numbered by the alphabet.

    Args:
        path: a tar archive of ``.coord`` files, or the folder that holds them. Nothing is unpacked.
        size: side of the grid, px.

    Raises:
        FileNotFoundError: no such archive or folder.
        PermissionError: it may not be read.
        DataFileError: not an archive, or a file not as described above; the message names file and line or sample.
    """
    path = Path(path)
    contents = _contents(path)
    if not contents:
        raise DataFileError(f"{path} holds no .coord file: give the folder or archive of GazeCom's natural movies")
    names = sorted(contents)
    listing = "".join(f"{hashlib.sha256(contents[name]).hexdigest()}  ./{name}\n" for name in names)
    source = replace(GazeCom.source, sha256=hashlib.sha256(listing.encode()).hexdigest())
    try:
        samples = tuple(_samples(contents[name], name, size) for name in names)
        return Recordings(_who_saw_what(names), samples, INTERVAL_MS, FILM_MS, size, source)
    except ValueError as error:
        raise DataFileError(f"{path}: {error}") from error


def _contents(path: Path) -> dict[str, bytes]:
    """What the recordings of a folder or archive hold."""
    if path.is_dir():
        return {file.name: file.read_bytes() for file in path.iterdir() if _is_recording(file.name)}
    if not path.is_file():
        raise FileNotFoundError(f"no GazeCom archive or folder at {path}")
    found = {}
    with open(path, "rb") as file:  # here, so that only what it holds can be the matter below
        try:
            with tarfile.open(fileobj=file) as archive:
                for member in archive:
                    name, content = Path(member.name).name, archive.extractfile(member) if member.isfile() else None
                    if content and _is_recording(name):
                        found[name] = content.read()
        except (tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, OSError) as error:  # by kind of compression
            anew = "fetch it anew, or unpack it yourself and give the folder"
            raise DataFileError(f"{path} cannot be read as a tar archive ({error}); {anew}") from error
    return found


def _is_recording(name: str) -> bool:
    """Hidden files are not: macOS puts a ``._A_sea.coord`` of its own beside an ``A_sea.coord``."""
    return name.endswith(".coord") and not name.startswith(".")


def _who_saw_what(names: list[str]) -> pd.DataFrame:
    rows = pd.Series(names, index=names).str.extract(r"^(?P<subject>[^_]+)_(?P<stimulus>.+)\.coord$")
    if rows.isna().any(axis=None):
        raise DataFileError(f"{rows.index[rows.isna().any(axis=1)][0]} is not named VIEWER_film.coord")
    return rows.apply(lambda column: pd.factorize(column, sort=True)[0])


def _samples(content: bytes, name: str, size: int) -> np.ndarray:
    """A file's samples (n, 4): time (ms), x, y (px of the grid), confidence."""
    lines = content.decode("utf-8", errors="replace").splitlines()
    if not lines or lines[0].split() != HEADER[0].split():
        raise DataFileError(f"{name}, line 1: '{HEADER[0]}' was expected, not {reprlib.repr(lines[:1])}")
    if len(lines) < 2 or not lines[1].startswith(HEADER[1]):
        raise DataFileError(f"{name}, line 2: '{HEADER[1]}...' was expected, not {reprlib.repr(lines[1:2])}")
    samples = []
    for number, line in enumerate(lines[2:], 3):
        try:
            time, x, y, confidence = map(float, line.split())
        except ValueError as error:
            expected = "4 numbers were expected (time, x, y, confidence)"
            raise DataFileError(f"{name}, line {number}: {expected}, not {reprlib.repr(line)}") from error
        samples.append((time, x, y, confidence))
    return np.array(samples).reshape(-1, 4) / [1000, FILM_SIZE[0] / size, FILM_SIZE[1] / size, 1]
