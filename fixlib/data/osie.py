"""OSIE, 700 images and 15 viewers (Xu et al. 2014); and crowd, 500 images and 16 viewers (Jiang et al. 2014).

Both come as a ``fixations.mat``, a cell array with one struct an image: ``img`` and ``subjects``, a cell array with one
struct a viewer: ``fix_x``, ``fix_y`` (px of the image) and ``fix_duration`` (ms); no onsets.
"""

import hashlib
import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd

from fixlib.data.datasets import DATASETS, SPLIT, Recorded
from fixlib.data.fetch import Download
from fixlib.data.gaze import DataFileError, Source
from fixlib.data.recordings import COLUMNS, IDS, Scanpaths

FIELDS = ("fix_x", "fix_y", "fix_duration")


class FixationsFile(Recorded):
    """A ``fixations.mat``."""

    file: Download
    image_size: ClassVar[tuple[int, int]]  # px, width and height
    has_fixations = True

    def read(self, path: Path | None, size: int) -> Scanpaths:
        return read_osie(path or self.file.fetch(), size, self.image_size, self.source)


@DATASETS.register("osie")
class Osie(FixationsFile):
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
    image_size = (800, 600)


@DATASETS.register("crowd")
class Crowd(FixationsFile):
    file = Download(
        path="crowd/fixations.mat",
        sha256="ecf99dcbb4d44c3caa5740361461f6b5775da978f32a87d1cd801c202c3beab6",
        url="https://raw.githubusercontent.com/NUS-VIP/saliency-in-crowd/"
        "8bb0416ee9942346f0a990f87a1325742fe3293f/data/eye/fixations.mat",
        how_to_get="connect to the internet",
    )
    source = Source(
        name="crowd",
        label="Crowd (recorded gaze)",
        sha256=file.sha256,
        license="MIT, Copyright (c) 2014 Ming Jiang",
        citation="Jiang M., Xu J., Zhao Q. (2014). Saliency in crowd. European Conference on Computer Vision.",
        simulated=False,
    )
    image_size = (1024, 768)
    split: ClassVar = {**SPLIT, "subjects": (0.5, 0.25, 0.25)}  # 8, 4, 4 of 16; OSIE's 8, 3, 4 of 15


def read_osie(
    path: Path | str, size: int = 32, image_size: tuple[int, int] = Osie.image_size, source: Source = Osie.source
) -> Scanpaths:
    """Reads OSIE's ``fixations.mat``, or another of its layout; positions become px of a ``size`` x ``size`` grid.

    Subjects and stimuli are numbered in the file's order (OSIE's stimulus k is image 1001 + k). A viewer without any
    fixation on an image gives no scanpath.

    Args:
        path: of the file.
        size: side of the grid, px.
        image_size: width and height of the images that positions are recorded on, px.
        source: where it comes from; its sha256 will be that of the file.

    Raises:
        FileNotFoundError: no such file.
        DataFileError: not a .mat file, or not with this structure; the message names the image and viewer.
    """
    from scipy.io import loadmat

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no {source.name} file at {path}: `fixlib data prepare {source.name}` downloads it")
    raw = path.read_bytes()
    try:
        content = loadmat(io.BytesIO(raw), variable_names=["fixations"])
    except Exception as error:  # scipy raises many kinds on damaged files; all mean the same to the user
        raise DataFileError(f"{path} cannot be read as a MATLAB file ({error}); fetch it anew") from error
    if "fixations" not in content:
        raise DataFileError(f"{path} holds no variable 'fixations': it is not the fixations.mat of {source.name}")
    source = replace(source, sha256=hashlib.sha256(raw).hexdigest())
    try:
        rows = np.concatenate(list(_scanpaths(content["fixations"])) or [np.empty((0, len(COLUMNS)))])
        table = pd.DataFrame(rows, columns=COLUMNS).astype(dict.fromkeys(IDS, np.int64))
        table[["x", "y"]] *= size / np.array(image_size)
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
