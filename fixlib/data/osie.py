"""OSIE: 700 images, 15 viewers, free viewing (Xu et al. 2014, Journal of Vision 14(1):28).

``fixations.mat`` is a cell array with one struct an image: ``img`` and ``subjects``, a cell array with one
struct a viewer: ``fix_x``, ``fix_y`` (px of the 800 x 600 image) and ``fix_duration`` (ms); no onsets.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from fixlib import paths
from fixlib.atomic import atomic_write
from fixlib.data.errors import ChecksumError, DataFileError, DataUnavailable
from fixlib.data.registry import OSIE_FILE, OSIE_SOURCE, Download
from fixlib.data.scanpaths import Scanpaths

IMAGE_SIZE = (800, 600)  # px, width and height
TIMEOUT_S = (5, 30)  # to connect, and between two packets


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
                tables.append(pd.DataFrame({
                    "scanpath": len(tables), "subject": subject, "stimulus": stimulus,
                    "order": np.arange(len(x)), "x": x, "y": y, "duration_ms": duration,
                }))
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
    """OSIE's raw file, verified: the local copy, else the mirror's, else a download.

    The local copy is ``data_dir()/osie/raw/fixations.mat``; the mirror is ``FIXLIB_DATA_MIRROR``, a folder or
    an address, with the file at ``MIRROR/osie/fixations.mat``. What is fetched is checked before it is put in
    place.

    Raises:
        ChecksumError: a file was had, but it is not the published one; nothing is kept or replaced.
        DataUnavailable: it could be had from nowhere; the message lists what was tried.
    """
    target = paths.data_dir() / "osie" / "raw" / "fixations.mat"
    if target.is_file():
        _verify(target, OSIE_FILE)
        return target
    tried = []
    for address in _addresses(OSIE_FILE):
        with tempfile.TemporaryDirectory() as folder:
            try:
                fetched = _retrieve(address, OSIE_FILE, folder)
            except OSError as error:  # no such file, no connection, timeout, HTTP error
                tried.append(f"{address} ({type(error).__name__}: {_short(error)})")
                continue
            content = fetched.read_bytes()
        with atomic_write(target) as file:
            file.write(content)
        return target
    raise DataUnavailable(
        f"the OSIE recordings are not at {target} and could not be fetched from " + "; ".join(tried)
        + ". Connect to the internet, or set FIXLIB_DATA_MIRROR to a folder or address that holds "
        f"{OSIE_FILE.path}"
    )


def _addresses(file: Download) -> list[str]:
    mirror = os.environ.get("FIXLIB_DATA_MIRROR")
    return ([f"{mirror.rstrip('/')}/{file.path}"] if mirror else []) + [file.url]


def _retrieve(address: str, file: Download, folder: str) -> Path:
    """Downloads or copies into ``folder`` and checks the sha256, by pooch."""
    import pooch

    pooch.get_logger().setLevel("WARNING")  # its notes on progress would land in notebooks as stderr
    is_url = address.startswith(("http://", "https://"))
    downloader = pooch.HTTPDownloader(timeout=TIMEOUT_S) if is_url else _copy
    try:
        known = f"sha256:{file.sha256}"
        return Path(pooch.retrieve(address, known, "fetched", folder, downloader=downloader))
    except OSError:
        raise
    except ValueError as error:  # pooch: the hash differs
        raise ChecksumError(
            f"{address} is not the published file: its sha256 is not {file.sha256}. Nothing was kept of it. "
            "Correct the mirror (FIXLIB_DATA_MIRROR) or unset it to download the original"
        ) from error


def _copy(address: str, output_file: str, _pooch: object) -> None:
    shutil.copyfile(Path(address).expanduser(), output_file)


def _verify(path: Path, file: Download) -> None:
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != file.sha256:
        raise ChecksumError(
            f"{path} is not the published file: its sha256 is {found}, not {file.sha256}. "
            "Move it away, and it will be fetched again"
        )


def _short(error: Exception) -> str:
    return str(error).splitlines()[0][:160] if str(error) else "no details"
