"""What the machine and the project around a run are: folders, files written whole, versions and hardware, memory."""

import ctypes
import glob
import os
import platform
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch

from fixlib import __version__

# What may go wrong and is said in one line, without a traceback: wrong input, files, and runs that fail.
EXPECTED_ERRORS = (ValueError, OSError, RuntimeError)


def root() -> Path:
    """The project's folder: `FIXLIB_ROOT` (FileNotFoundError if it is none), else the checkout, else where we are."""
    if os.environ.get("FIXLIB_ROOT"):
        folder = Path(os.environ["FIXLIB_ROOT"]).expanduser().resolve()
        if not folder.is_dir():
            raise FileNotFoundError(f"FIXLIB_ROOT is {folder}, which is not a folder: correct it or unset it")
        return folder
    checkout = Path(__file__).resolve().parent.parent
    return checkout if (checkout / "pyproject.toml").is_file() else Path.cwd()


def data_dir() -> Path:
    """The folder of downloads and prepared data: `FIXLIB_DATA`, else `root()/data`; need not exist."""
    return Path(os.environ.get("FIXLIB_DATA") or root() / "data").expanduser().resolve()


def data_mirror() -> str | None:
    """Where raw recordings are looked for before they are downloaded, a folder or address: `FIXLIB_DATA_MIRROR`."""
    return os.environ.get("FIXLIB_DATA_MIRROR")


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
        if os.name == "posix":  # else a folder cannot be opened; the renaming survives a power cut
            os.fsync(descriptor := os.open(path.parent, os.O_RDONLY))
            os.close(descriptor)
    except (OSError, RuntimeError) as error:
        # torch.save answers a failed write with a RuntimeError of its own, raised while handling the OSError.
        failed = error if isinstance(error, OSError) else error.__context__
        if not isinstance(failed, OSError):
            raise
        why = f"{path} could not be written ({failed.strerror or failed}); what it held before is whole"
        raise OSError(failed.errno, f"{why}. Make room, or correct the folder's permissions, and repeat") from error
    finally:
        partial.unlink(missing_ok=True)


def remove_leftovers(path: Path) -> None:
    """Remove what killed writers of `path` left; only for who knows that nobody is writing it now."""
    for leftover in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        leftover.unlink(missing_ok=True)


# Where all of these are equal, a run repeats bit for bit; where one differs, only approximately: another processor
# or number of threads adds the same numbers in another order.
VERSIONS = ("fixlib", "torch", "numpy")
DECIDES_BITS = (*VERSIONS, "system", "machine", "processor", "vector_instructions", "threads", "device")


def environment(device: torch.device | str = "cpu") -> dict[str, Any]:
    """Versions and hardware behind a run. Names no machine, user or path."""
    device = torch.device(device)
    return dict(
        fixlib=__version__,
        python=platform.python_version(),
        torch=str(torch.__version__),
        numpy=np.__version__,
        system=platform.system(),
        machine=platform.machine(),
        processor=_processor(),
        vector_instructions=torch.backends.cpu.get_cpu_capability(),
        processors=os.cpu_count(),
        threads=torch.get_num_threads(),
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
    )


def bits(known: dict[str, Any]) -> dict[str, Any]:
    """The part of an `environment` that decides the last bits; None for what an older record does not say."""
    return {name: known.get(name) for name in DECIDES_BITS}


def same_bits(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether a run in one environment must repeat bit for bit in the other; not where either leaves it open."""
    return None not in bits(one).values() and bits(one) == bits(other)


def _processor() -> str:
    """The processor's model, e.g. "AMD EPYC 7763": libraries choose their code by it."""
    information = Path("/proc/cpuinfo")
    known = information.read_text() if information.exists() else ""
    found = re.search(r"^model name\s*:\s*(.+)$", known, re.MULTILINE)
    return found[1].strip() if found else platform.processor() or platform.machine()


# Of <malloc.h>: from how much unused memory on the heap gives back, and how many blocks may lie outside it.
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
KEPT_BYTES = 2**31 - 1


def keep_freed_memory() -> bool:
    """Let the C library keep up to 2 GB of freed memory; True where that could be set (Linux with glibc).

    By default every large tensor is mapped anew and given back when freed: in a training step of the original
    configuration the kernel clears more than 60,000 pages.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(M_MMAP_MAX, 0) and mallopt(M_TRIM_THRESHOLD, KEPT_BYTES))


# What tells a process which project and data it works on.
PROJECT_VARIABLES = ("FIXLIB_ROOT", "FIXLIB_DATA", "FIXLIB_DATA_MIRROR")


def project_variables() -> dict[str, str]:
    """What this process was told of the project, for another one."""
    return {name: os.environ[name] for name in PROJECT_VARIABLES if name in os.environ}


def set_project_variables(known: dict[str, str]) -> None:
    """Work on the project of another process."""
    for name in PROJECT_VARIABLES:
        os.environ.pop(name, None)
    os.environ |= known


@contextmanager
def one_thread() -> Iterator[None]:
    """How runs are carried out, wherever: with one thread, so that their bits do not hang on what else is run."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    keep_freed_memory()
    try:
        yield
    finally:
        torch.set_num_threads(before)


def peak_memory_mb() -> int | None:
    """Of the GPU since `torch.cuda.reset_peak_memory_stats`, where there is one; else of this process, where known."""
    if torch.cuda.is_available():
        return round(torch.cuda.max_memory_allocated() / 2**20)
    if os.name != "posix":
        return None
    from resource import RUSAGE_SELF, getrusage

    return round(getrusage(RUSAGE_SELF).ru_maxrss / (2**20 if platform.system() == "Darwin" else 2**10))
