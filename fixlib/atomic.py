"""Writing a file so that its name always holds the whole old content or the whole new one.

    with atomic_write("results/run.json") as file:
        file.write(content)

Whatever ends the block (an exception, a full disk, Ctrl-C), the old file is left as it was and nothing lies beside
it. Only a killed process leaves its temporary file; `remove_leftovers` takes it away.
"""

from __future__ import annotations

import glob
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def atomic_write(path: Path | str) -> Iterator[BinaryIO]:
    """A binary file that takes the place of `path` when the block ends; the folder is made where it is missing.

    Raises:
        OSError: the file could not be written (full disk, no permission); it names `path`.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")  # same folder: renaming is atomic
    try:
        with open(partial, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
        _sync_folder(path.parent)
    except (OSError, RuntimeError) as error:
        # torch.save answers a failed write with a RuntimeError of its own, raised while handling the OSError.
        failed = error if isinstance(error, OSError) else error.__context__
        if not isinstance(failed, OSError):
            raise
        raise OSError(failed.errno, f"{path} could not be written ({failed.strerror or failed}); what it held before "
                                    "is whole. Make room, or correct the folder's permissions, and repeat") from error
    finally:
        partial.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Have the renaming itself survive a power cut, where a folder can be opened for it."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def remove_leftovers(path: Path | str) -> None:
    """Remove what killed writers of `path` left; only for who knows that nobody is writing it now."""
    path = Path(path)
    for leftover in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        leftover.unlink(missing_ok=True)
