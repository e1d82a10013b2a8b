"""`fixlib doctor`: is this environment fit to run the book, and what data is at hand?"""

from __future__ import annotations

import json
import os
import platform
import re
import sys
from importlib import metadata
from pathlib import Path

import torch

from fixlib import data, system
from fixlib.runs.store import Results
from fixlib.system import EXPECTED_ERRORS
from fixlib.training import best_device


def report() -> list[tuple[str, bool, str]]:
    """What was examined, whether it is as it should be, and what was found."""
    return [_python(), _packages(), _device(), *_datasets(), _results(), _failures()]


def examine() -> int:
    """Print the report; 1 if something is wrong, 0 otherwise."""
    lines = report()
    for what, good, found in lines:
        print(f"{'ok ' if good else 'BAD'}  {what}: {found}")
    return int(not all(good for _, good, _ in lines))


def _python() -> tuple[str, bool, str]:
    return "Python", sys.version_info >= (3, 11), f"{platform.python_version()} (3.11 or newer)"


def _packages() -> tuple[str, bool, str]:
    """Installed versions against the pins; other versions may work but are not those that the book was made with."""
    pinned = system.root() / "constraints.txt"
    if not pinned.is_file():
        return (
            "packages",
            False,
            (
                f"there are no pinned versions at {pinned}: run this in a checkout of the project, "
                "or set FIXLIB_ROOT to one"
            ),
        )
    pins = dict(re.findall(r"^([\w.-]+)==(\S+)", pinned.read_text(), re.MULTILINE))
    other = []
    for name in ("torch", "numpy", "scipy", "pandas", "matplotlib", "joblib", "papermill", "jupyterlab", "nbval"):
        try:
            installed = metadata.version(name).partition("+")[0]
        except metadata.PackageNotFoundError:
            installed = "missing"
        if installed != pins[name]:
            other.append(f"{name} {installed}, pinned {pins[name]}")
    return "packages", not other, "; ".join(other) or "the pinned versions"


def _device() -> tuple[str, bool, str]:
    bfloat16 = "has" if best_device().type == "cuda" or _bfloat16_instructions() else "has no"
    found = f"{best_device().type}, {os.cpu_count()} processor cores, {torch.get_num_threads()} threads"
    return "device", True, f"{found}, {bfloat16} bfloat16 instructions (with them --precision bf16-mixed pays)"


def _bfloat16_instructions() -> bool:
    information = Path("/proc/cpuinfo")
    return information.exists() and re.search(r"\b(avx512_bf16|amx_bf16|bf16)\b", information.read_text()) is not None


def _datasets() -> list[tuple[str, bool, str]]:
    found = []
    for name, dataset in data.DATASETS.items():
        what = f"data '{name}'"
        if dataset.file and not dataset.file.url and not (system.data_dir() / name).is_dir():
            # No address gives it away, and preparing it only to say so would take a quarter of a minute.
            found.append((what, True, f"not prepared, and no chapter needs it: {dataset.file.how_to_get}"))
            continue
        try:
            windows = data.open_dataset(name, 10.0)["train"]
            found.append((what, True, f"{len(windows['coordinates'])} training sequences"))
        except EXPECTED_ERRORS as reason:
            found.append((what, False, str(reason)))
    return found


def _results() -> tuple[str, bool, str]:
    try:
        found = len(Results().table())
    except EXPECTED_ERRORS as reason:
        return "recorded runs", False, str(reason)
    return "recorded runs", found > 0, f"{found} in results/"


def _failures() -> tuple[str, bool, str]:
    """Runs whose last attempt failed; the same command tries them again, unless data or code have changed."""
    failed = sorted((system.root() / "build" / "failed").glob("*.json"))
    reasons = [f"{path.stem}: {json.loads(path.read_text(encoding='utf-8'))['failed']}" for path in failed]
    hint = "; repeat the command, or delete those in build/failed/ that no longer matter"
    return "failed runs", not failed, "; ".join(reasons) + hint if failed else "none"
