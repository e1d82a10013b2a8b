"""What a result follows from besides its configuration and data: versions and hardware."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fixlib import __version__

# Where all of these are equal, a run repeats bit for bit; where one differs, only approximately: another processor
# or number of threads adds the same numbers in another order.
DECIDES_BITS = ("fixlib", "torch", "numpy", "system", "machine", "processor", "vector_instructions", "threads",
                "device", "devices")


def devices() -> int:
    """Over how many processes or GPUs one model is trained: ``FIXLIB_DEVICES``, else 1.

    Raises:
        ValueError: it is not a whole number from 1.
    """
    asked = os.environ.get("FIXLIB_DEVICES", "1")
    if not asked.isdecimal() or int(asked) < 1:
        raise ValueError(f"the number of devices must be a whole number from 1, not {asked!r}")
    return int(asked)


def environment(device: torch.device | str = "cpu") -> dict[str, Any]:
    """Versions and hardware behind a run. Names no machine, user or path."""
    device = torch.device(device)
    return dict(fixlib=__version__, python=platform.python_version(), torch=str(torch.__version__),
                numpy=np.__version__, system=platform.system(), machine=platform.machine(), processor=_processor(),
                vector_instructions=torch.backends.cpu.get_cpu_capability(), processors=os.cpu_count(),
                threads=torch.get_num_threads(), devices=devices(),
                device=torch.cuda.get_device_name(device) if device.type == "cuda" else device.type)


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
