"""Freed memory stays with the process, so that the next training step does not have to ask for it again."""

from __future__ import annotations

import ctypes
import platform

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
