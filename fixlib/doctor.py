"""`fixlib doctor`: is this environment fit to run the book, what is at hand, what to do? It changes nothing."""

import json
import os
import platform
import re
import time
from importlib import metadata
from pathlib import Path

from fixlib import data, system
from fixlib.book import try_kernel
from fixlib.data.datasets import Recorded
from fixlib.runs.store import Results
from fixlib.system import EXPECTED_ERRORS
from fixlib.training import best_device

NEEDED = ("torch", "numpy", "scipy", "pandas", "matplotlib", "joblib", "papermill", "ipykernel", "jupyterlab", "nbval")
Line = tuple[str, bool, str]  # what was examined, whether it is as it should be, what was found and what to do


def examine() -> int:
    """Print what is found; 1 if something is wrong, 0 otherwise."""
    prepared = [name for name, dataset in data.DATASETS.items() if issubclass(dataset, Recorded)]
    lines = [_packages(), _kernel(), _device(), *map(_dataset, prepared), _results(), _failures()]
    for what, good, found in lines:
        print(f"{'ok ' if good else 'BAD'}  {what}: {found}")
    return int(not all(good for _, good, _ in lines))


def _packages() -> Line:
    """Other versions than the pinned ones may work but are not those that the book was made with."""
    pinned, python = system.root() / "constraints.txt", f"Python {platform.python_version()}"
    if not pinned.is_file():
        todo = "run this in a checkout of the project, or set FIXLIB_ROOT to one"
        return "packages", False, f"{python}; there are no pinned versions at {pinned}: {todo}"
    pins = dict(re.findall(r"^([\w.-]+)==(\S+)", pinned.read_text(), re.MULTILINE))
    installed = {each.name: each.version.partition("+")[0] for each in metadata.distributions() if each.version}
    found = {name: installed.get(name, "missing") for name in NEEDED}
    other = [f"{name} {version}, pinned {pins[name]}" for name, version in found.items() if version != pins[name]]
    told = f"{'; '.join(other)}; run make install" if other else "the pinned versions"
    return "packages", not other, f"{python}; {told}"


def _kernel() -> Line:
    """Started, because a kernel may be installed and not start: of another environment, or kept from its ports."""
    start = time.perf_counter()
    try:
        try_kernel()
    except (ImportError, *EXPECTED_ERRORS) as reason:
        todo = "run make install; if a firewall is in the way, let connections to 127.0.0.1 pass"
        return "kernel", False, f"chapters cannot run: {reason}; {todo}"
    seconds = time.perf_counter() - start
    return "kernel", True, f"starts and imports fixlib in {seconds:.0f} s; make lab opens the book in it"


def _device() -> Line:
    information = Path("/proc/cpuinfo")
    flags = information.read_text() if information.exists() else ""
    gpu = best_device().type == "cuda"
    pays = "pays" if gpu or re.search(r"\b(avx512_bf16|amx_bf16|bf16)\b", flags) else "gains nothing"
    return "device", True, f"{best_device().type}, {os.cpu_count()} processor cores; --precision bf16 {pays} here"


def _dataset(name: str) -> Line:
    """Looks at prepared files only: preparing takes time, and fetching is for who asks for it."""
    what, folder, source = f"data '{name}'", system.data_dir() / name, data.DATASETS[name].file
    try:
        counts = {file.stem: len(data.Gaze.load(file)) for file in sorted(folder.rglob("*_data.pt"))}
    except EXPECTED_ERRORS as reason:
        return what, False, f"{reason}; move it away and run `fixlib data prepare {name}`"
    if "train_data" not in counts:
        by_itself = f"a run that needs it does so, or you by `fixlib data prepare {name}`"
        return what, True, f"not prepared yet; {source.how_to_get if source and not source.url else by_itself}"
    return what, True, f"{counts['train_data']} training sequences in {os.path.relpath(folder, system.root())}"


def _results() -> Line:
    try:
        found = len(Results().runs())
    except EXPECTED_ERRORS as reason:
        return "recorded runs", False, str(reason)
    if not found:
        return "recorded runs", False, "none; `git checkout results` brings them back"
    return "recorded runs", True, f"{found} in results/; `fixlib verify --sample 5` repeats some"


def _failures() -> Line:
    """Runs whose last attempt failed; the same command tries them again, unless data or code have changed."""
    failed = sorted((system.root() / "build" / "failed").glob("*.json"))
    reasons = [f"{path.stem}: {json.loads(path.read_text(encoding='utf-8'))['failed']}" for path in failed]
    todo = "repeat the command, or delete those in build/failed/ that no longer matter"
    return "failed runs", not failed, f"{'; '.join(reasons)}; {todo}" if failed else "none"
