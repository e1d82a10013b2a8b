"""Raw recordings: a local copy, a mirror's or a download, never without the sha256 that they must have."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from pathlib import Path

from fixlib import system
from fixlib.data.errors import ChecksumError, DataUnavailable
from fixlib.data.registry import Download
from fixlib.system import atomic_write

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
    target = _local_copy(file)
    if target.is_file():
        _verify(target.read_bytes(), file, target, "Move it away, and it will be fetched again")
        return target
    tried = []
    for address, if_another in _addresses(file).items():
        try:
            content = _retrieve(address)
        except (OSError, ValueError) as error:  # no such file, no connection, timeout, HTTP error; not an address
            tried.append(f"{address} ({type(error).__name__}: {_short(error)})")
            continue
        _put(content, file, address, f"Nothing was kept of it. {if_another}")
        return target
    raise DataUnavailable(
        f"the {file.what} recordings are not at {target} and could not be fetched from "
        + ("; ".join(tried) or "anywhere")
        + f". {file.how_to_get[0].upper()}{file.how_to_get[1:]}, or set "
        f"FIXLIB_DATA_MIRROR to a folder or address that holds {file.path}"
    )


def keep(path: Path, file: Download) -> None:
    """Makes the user's own copy of a raw file, at ``path``, the local copy that ``fetch`` finds, if there is none."""
    if not _local_copy(file).exists():
        _put(path.read_bytes(), file, path, "Give the published one")


def _put(content: bytes, file: Download, where: Path | str, if_another: str) -> None:
    """Makes what was found somewhere the local copy, if it is the published file."""
    _verify(content, file, where, if_another)
    with atomic_write(_local_copy(file)) as stream:
        stream.write(content)


def _local_copy(file: Download) -> Path:
    folder, name = file.path.split("/")
    return system.data_dir() / folder / "raw" / name


def _addresses(file: Download) -> dict[str, str]:
    """Where to look, in this order, and what to do where something other than the published file is there."""
    mirror, addresses = os.environ.get("FIXLIB_DATA_MIRROR"), {}
    if mirror:
        addresses[f"{mirror.rstrip('/')}/{file.path}"] = "Correct the mirror (FIXLIB_DATA_MIRROR) or unset it"
    if file.url:
        addresses[file.url] = (
            "A login page or a proxy may have answered in its place: open the address in a browser, "
            f"or set FIXLIB_DATA_MIRROR to a folder or address that holds {file.path}"
        )
    return addresses


def _retrieve(address: str) -> bytes:
    """What is at an address or in a folder, by pooch."""
    import pooch

    pooch.get_logger().setLevel("WARNING")  # its notes on progress would land in notebooks as stderr
    is_url = address.startswith(("http://", "https://"))
    downloader = pooch.HTTPDownloader(timeout=TIMEOUT_S) if is_url else _copy
    with tempfile.TemporaryDirectory() as folder:
        # Without a hash: of another file pooch says so by a ValueError, as it says other things.
        return Path(pooch.retrieve(address, None, "fetched", folder, downloader=downloader)).read_bytes()


def _copy(address: str, output_file: str, _pooch: object) -> None:
    shutil.copyfile(Path(address).expanduser(), output_file)


def _verify(content: bytes, file: Download, where: Path | str, what_to_do: str) -> None:
    found = hashlib.sha256(content).hexdigest()
    if found != file.sha256:
        raise ChecksumError(
            f"{where} is not the published file: its sha256 is not {file.sha256} but {found}. {what_to_do}"
        )


def _short(error: Exception) -> str:
    return str(error).splitlines()[0][:160] if str(error) else "no details"
