"""OSIE: 700 images, 15 viewers, free viewing (Xu et al. 2014, Journal of Vision 14(1):28).

``fixations.mat`` is a cell array with one struct an image: ``img`` and ``subjects``, a cell array with one struct a
viewer: ``fix_x``, ``fix_y`` (px of the 800 x 600 image) and ``fix_duration`` (ms); no onsets.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from fixlib.data.datasets import DATASETS, Recorded
from fixlib.data.fetch import Download
from fixlib.data.gaze import DataFileError, Source
from fixlib.data.recordings import COLUMNS, IDS, Scanpaths

IMAGE_SIZE = (800, 600)  # px, width and height
FIELDS = ("fix_x", "fix_y", "fix_duration")


@DATASETS.register("osie")
class Osie(Recorded):
    file = Download(
        path="osie/fixations.mat",
        sha256="2aab9133a407e4eff3f57ab5799872b162dbc77ca462c0391762eb5e67deadb9",
        url="https://raw.githubusercontent.com/NUS-VIP/predicting-human-gaze-beyond-pixels/"
        "4a467890fcb40a2fec04cdded552760942bac7a4/data/eye/fixations.mat",
        how_to_get="connect to the internet",
    )
    source = Source(
        name="osie",
        label="OSIE (recorded gaze)",
        sha256=file.sha256,
        license="MIT, Copyright (c) 2014 NUS VIP - Visual Information Processing Lab",
        citation="Xu J., Jiang M., Wang S., Kankanhalli M. S., Zhao Q. (2014). Predicting human gaze beyond pixels. "
        "Journal of Vision 14(1):28. https://doi.org/10.1167/14.1.28",
        simulated=False,
    )
    has_fixations = True

    def read(self, path: Path | None, size: int) -> Scanpaths:
        return read_osie(path or self.file.fetch(), size)


def read_osie(path: Path | str, size: int = 32) -> Scanpaths:
    """Reads OSIE's ``fixations.mat``; positions are scaled from 800 x 600 px to ``size`` x ``size`` px.

    Subjects are numbered 0-14 and stimuli 0-699 in the file's order (stimulus k is image 1001 + k). A viewer without
    any fixation on an image gives no scanpath (the published file has none).

    Raises:
        FileNotFoundError: no such file.
        DataFileError: not a .mat file, or not with this structure; the message names the image and viewer.
    """
    from scipy.io import loadmat

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no OSIE file at {path}: `fixlib data prepare osie` downloads it")
    raw = path.read_bytes()
    try:
        content = loadmat(io.BytesIO(raw), variable_names=["fixations"])
    except Exception as error:  # scipy raises many kinds on damaged files; all mean the same to the user
        raise DataFileError(f"{path} cannot be read as a MATLAB file ({error}); fetch it anew") from error
    if "fixations" not in content:
        raise DataFileError(f"{path} holds no variable 'fixations': it is not OSIE's fixations.mat")
    source = replace(Osie.source, sha256=hashlib.sha256(raw).hexdigest())
    try:
        rows = np.concatenate(list(_scanpaths(content["fixations"])) or [np.empty((0, len(COLUMNS)))])
        table = pd.DataFrame(rows, columns=COLUMNS).astype(dict.fromkeys(IDS, np.int64))
        table[["x", "y"]] *= size / np.array(IMAGE_SIZE)
        return Scanpaths(table, size, source)
    except ValueError as error:
        raise DataFileError(f"{path}: {error}") from error


def _scanpaths(images: np.ndarray) -> Iterator[np.ndarray]:
    """The rows of each scanpath, (n, 7)."""
    number = 0
    for stimulus, image in enumerate(images.ravel()):
        for subject, viewer in enumerate(_field(image, "subjects", f"image {stimulus}").ravel()):
            where = f"image {stimulus}, viewer {subject}"
            found = [_field(viewer, name, where).ravel() for name in FIELDS]
            if len({len(values) for values in found}) > 1 or not all(values.dtype.kind in "iuf" for values in found):
                held = ", ".join(f"{len(values)} {name} ({values.dtype})" for values, name in zip(found, FIELDS))
                raise DataFileError(f"{where}: {held}; as many numbers of each were expected")
            if n := len(found[0]):
                yield np.column_stack([np.tile((number, subject, stimulus), (n, 1)), np.arange(n), *found])
                number += 1


def _field(struct: np.ndarray, name: str, where: str) -> np.ndarray:
    if struct.dtype.names is None or name not in struct.dtype.names or struct.size != 1:
        raise DataFileError(f"{where}: a MATLAB struct with the field '{name}' was expected")
    return struct[name].item()
