"""OSIE: 700 images, 15 viewers, free viewing (Xu et al. 2014, Journal of Vision 14(1):28).

``fixations.mat`` is a cell array with one struct an image: ``img`` and ``subjects``, a cell array with one
struct a viewer: ``fix_x``, ``fix_y`` (px of the 800 x 600 image) and ``fix_duration`` (ms); no onsets.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from fixlib.data.errors import DataFileError
from fixlib.data.fetch import fetch
from fixlib.data.registry import OSIE_FILE, OSIE_SOURCE
from fixlib.data.scanpaths import Scanpaths

IMAGE_SIZE = (800, 600)  # px, width and height


def read_osie(path: Path | str, size: int = 32) -> Scanpaths:
    """Reads OSIE's ``fixations.mat``; positions are scaled from 800 x 600 px to ``size`` x ``size`` px.

    Subjects are numbered 0-14 and stimuli 0-699 in the file's order (stimulus k is image 1001 + k). A viewer
    without any fixation on an image gives no scanpath. The published file has neither such viewers, nor
    missing values, nor points outside the image; a point outside would be kept, a missing value is an error
    (see ``Scanpaths``).

    Raises:
        FileNotFoundError: no such file.
        DataFileError: not a .mat file, or not with this structure; the message names the image and viewer.
    """
    from scipy.io import loadmat

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no OSIE file at {path}: fetch_osie() downloads it")
    with open(path, "rb") as file:
        try:
            content = loadmat(file, variable_names=["fixations"])
        except Exception as error:  # scipy raises many kinds on damaged files; all mean the same to the user
            raise DataFileError(f"{path} cannot be read as a MATLAB file ({error}); fetch it anew") from error
    if "fixations" not in content:
        raise DataFileError(f"{path} holds no variable 'fixations': it is not OSIE's fixations.mat")
    table = pd.concat(_scanpath_tables(content["fixations"], path), ignore_index=True)
    table["x"] *= size / IMAGE_SIZE[0]
    table["y"] *= size / IMAGE_SIZE[1]
    source = replace(OSIE_SOURCE, sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    try:
        return Scanpaths(table, size, source)
    except ValueError as error:
        raise DataFileError(f"{path}: {error}") from error


def _scanpath_tables(images: np.ndarray, path: Path) -> list[pd.DataFrame]:
    tables = []
    for stimulus, image in enumerate(images.ravel()):
        for subject, viewer in enumerate(_field(image, "subjects", f"{path}: image {stimulus}").ravel()):
            where = f"{path}: image {stimulus}, viewer {subject}"
            x, y, duration = (_numbers(viewer, name, where) for name in ("fix_x", "fix_y", "fix_duration"))
            if not len(x) == len(y) == len(duration):
                counts = f"{len(x)} fix_x, {len(y)} fix_y and {len(duration)} fix_duration"
                raise DataFileError(f"{where}: {counts}, the same number was expected")
            if len(x):
                tables.append(
                    pd.DataFrame(
                        {
                            "scanpath": len(tables),
                            "subject": subject,
                            "stimulus": stimulus,
                            "order": np.arange(len(x)),
                            "x": x,
                            "y": y,
                            "duration_ms": duration,
                        }
                    )
                )
    if not tables:
        raise DataFileError(f"{path} holds no fixation at all")
    return tables


def _field(struct: np.ndarray, name: str, where: str) -> np.ndarray:
    if struct.dtype.names is None or name not in struct.dtype.names or struct.size != 1:
        raise DataFileError(f"{where}: a MATLAB struct with the field '{name}' was expected")
    return struct[name].item()


def _numbers(struct: np.ndarray, name: str, where: str) -> np.ndarray:
    values = _field(struct, name, where)
    if not np.issubdtype(values.dtype, np.number) or np.iscomplexobj(values):
        raise DataFileError(f"{where}: {name} holds {values.dtype}, numbers were expected")
    return values.ravel().astype(np.float64)


def fetch_osie() -> Path:
    """OSIE's raw file, verified; where it is looked for and the errors are those of ``fixlib.data.fetch.fetch``."""
    return fetch(OSIE_FILE)
