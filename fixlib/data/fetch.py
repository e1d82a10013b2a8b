"""Raw recordings: a local copy, a mirror's or a download, never without the sha256 that they must have."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from pathlib import Path

from fixlib import paths
from fixlib.atomic import atomic_write
from fixlib.data.errors import ChecksumError, DataUnavailable
from fixlib.data.registry import Download

TIMEOUT_S = (5, 30)  # to connect, and between two packets


def fetch(file: Download) -> Path:
    """A raw file, verified: the local copy, else the mirror's, else a download where there is an address.

    For a ``file.path`` of ``osie/fixations.mat`` the local copy is ``data_dir()/osie/raw/fixations.mat``; the
    mirror is ``FIXLIB_DATA_MIRROR``, a folder or an address, with the file at ``MIRROR/osie/fixations.mat``. What
    is fetched is checked before it is put in place.

    Raises:
        ChecksumError: a file was had, but it is not the published one; nothing is kept or replaced.
        DataUnavailable: it could be had from nowhere; the message lists what was tried.
    """
    folder, name = file.path.split("/")
    target = paths.data_dir() / folder / "raw" / name
    if target.is_file():
        _verify(target, file)
        return target
    tried = []
    for address in _addresses(file):
        with tempfile.TemporaryDirectory() as temporary:
            try:
                fetched = _retrieve(address, file, temporary)
            except OSError as error:  # no such file, no connection, timeout, HTTP error
                tried.append(f"{address} ({type(error).__name__}: {_short(error)})")
                continue
            content = fetched.read_bytes()
        with atomic_write(target) as stream:
            stream.write(content)
        return target
    raise DataUnavailable(
        f"the {file.what} recordings are not at {target} and could not be fetched from "
        + ("; ".join(tried) or "anywhere") + f". {file.how_to_get[0].upper()}{file.how_to_get[1:]}, or set "
        f"FIXLIB_DATA_MIRROR to a folder or address that holds {file.path}"
    )


def _addresses(file: Download) -> list[str]:
    mirror = os.environ.get("FIXLIB_DATA_MIRROR")
    return ([f"{mirror.rstrip('/')}/{file.path}"] if mirror else []) + ([file.url] if file.url else [])


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
            "Correct the mirror (FIXLIB_DATA_MIRROR) or unset it"
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
