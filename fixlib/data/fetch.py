"""Raw recordings: a local copy, a mirror's or a download, never without the sha256 that they must have."""

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path

from fixlib import system
from fixlib.data.gaze import ChecksumError, DataUnavailable

TIMEOUT_S = (5, 30)  # to connect, and between two packets


@dataclass(frozen=True)
class Download:
    """A file of recordings."""

    path: str  # its place in a mirror, `dataset/name`
    sha256: str  # what it must be
    url: str | None  # where it is published; None where no address has this very file
    how_to_get: str  # what to do without a mirror, for messages

    @property
    def local(self) -> Path:
        """Where it is kept: ``data_dir()/dataset/raw/name``."""
        dataset, name = self.path.split("/")
        return system.data_dir() / dataset / "raw" / name

    def fetch(self) -> Path:
        """The file, verified: the local copy, else that of the mirror (``FIXLIB_DATA_MIRROR``), else a download.

        Raises:
            ChecksumError: a file was had, but it is not the published one; nothing is kept or replaced.
            DataUnavailable: it could be had from nowhere; the message lists what was tried.
        """
        if self.local.is_file():
            self._verify(self.local.read_bytes(), self.local, "Move it away, and it will be fetched again")
            return self.local
        mirror, tried = system.data_mirror(), []
        named = f"set FIXLIB_DATA_MIRROR to a folder or address that holds {self.path}"
        for address, if_another in (
            (mirror and f"{mirror.rstrip('/')}/{self.path}", "Correct the mirror (FIXLIB_DATA_MIRROR) or unset it"),
            (self.url, f"A login page or a proxy may have answered: open the address in a browser, or {named}"),
        ):
            if not address:
                continue
            try:
                content = _retrieve(address)
            except (OSError, ValueError) as error:  # no such file, no connection, timeout, HTTP error; not an address
                tried.append(f"{address} ({error!r:.200})")
            else:
                return self.keep(content, address, f"Nothing was kept of it. {if_another}")
        raise DataUnavailable(
            f"the recordings {self.path} are not at {self.local} and could not be fetched from "
            f"{'; '.join(tried) or 'anywhere'}. To have them, {self.how_to_get}, or {named}"
        )

    def keep(self, content: bytes, where: Path | str, if_another: str = "Give the published one") -> Path:
        """Makes what was found somewhere the local copy, if it is the published file."""
        self._verify(content, where, if_another)
        with system.atomic_write(self.local) as file:
            file.write(content)
        return self.local

    def _verify(self, content: bytes, where: Path | str, if_another: str) -> None:
        found = hashlib.sha256(content).hexdigest()
        if found != self.sha256:
            raise ChecksumError(
                f"{where} is not the published file: its sha256 is not {self.sha256} but {found}. {if_another}"
            )


def _retrieve(address: str) -> bytes:
    """What is at an address, or in a folder."""
    if not address.startswith(("http://", "https://")):
        return Path(address).expanduser().read_bytes()
    import pooch

    content = io.BytesIO()
    pooch.HTTPDownloader(timeout=TIMEOUT_S)(address, content, None)
    return content.getvalue()
