"""Carrying out many runs: each once, none lost, on this machine's cores or on a Dask cluster.

Every run has a lock, which ends with the process that holds it, however that ends. Two sweeps over the same runs
share them out: a run that another process is training is left for later, waited for at the end, and then read.
"""

from __future__ import annotations

import gc
import hashlib
import json
import os
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from types import ModuleType

import filelock
import psutil
import torch

from fixlib import data, system
from fixlib.runs.config import RunSpec
from fixlib.runs.execute import run_predictor
from fixlib.runs.store import Results
from fixlib.system import atomic_write, environment, keep_freed_memory, remove_leftovers
from fixlib.training import Checkpoint, best_device

# What tells a process which project and data it works on; given to worker processes, which may be older than it is.
PROJECT_VARIABLES = ("FIXLIB_ROOT", "FIXLIB_DATA", "FIXLIB_DATA_MIRROR")
POLL_SECONDS = 0.5


@dataclass(frozen=True)
class Outcome:
    """What became of a run: "trained", "read" (another process recorded it), "busy" (one is at it), "failed"."""

    spec: RunSpec
    state: str
    reason: str = ""


def experiment_module(name: str) -> ModuleType:
    """The module of an experiment, one a chapter's folder; ValueError naming the known ones otherwise."""
    known = sorted(path.parent.name for path in (Path(__file__).parents[1] / "chapters").glob("*/runs.py"))
    if name not in known:
        raise ValueError(f"unknown experiment {name!r}; choose one of {', '.join(known)}")
    return import_module(f"fixlib.chapters.{name}.runs")


def carry_out(specs: list[RunSpec], results: Results, workers: int | None = None, dask: str = "") -> list[Outcome]:
    """Train and record the runs, several at a time; all are tried, whatever happens to one.

    Args:
        specs: runs that are not recorded.
        results: where they are recorded.
        workers: processes; by default one a processor core, and one altogether where there is a GPU.
        dask: "" for processes of this machine, "local" for a Dask cluster on it, or a Dask scheduler's address.

    Returns:
        One outcome a run ("trained", "read" or "failed"), in the order of `specs`.

    Raises:
        ValueError: fewer than one worker, or a Dask cluster whose workers
            cannot do the work (see `fixlib.runs.cluster`).
    """
    found: dict[str, Outcome] = {}
    with _progress(specs) as progress, _pool(workers, dask, len(specs), results.folder) as pool:
        for wait in (False, True):
            left = [spec for spec in specs if found.get(spec.key, Outcome(spec, "busy")).state == "busy"]
            for outcome in pool(left, wait):
                found[outcome.spec.key] = outcome
                progress(outcome)
    return [found[spec.key] for spec in specs]


@contextmanager
def _pool(workers: int | None, dask: str, runs: int, folder: Path) -> Iterator[Callable]:
    """What takes (specs, wait) and yields their outcomes as they come."""
    cores = os.cpu_count() or 1
    if workers is None:
        workers = 1 if best_device().type == "cuda" else cores
    if workers < 1:
        raise ValueError(f"workers must be at least 1, not {workers}")
    workers = min(workers, runs)
    project = {name: os.environ[name] for name in PROJECT_VARIABLES if name in os.environ}
    # More threads than cores would only get in each other's way.
    threads = max(1, cores // workers)
    if dask:
        from fixlib.runs import cluster

        with cluster.connected(dask, workers, threads, see=system.root()) as client:
            work = partial(_in_worker, folder, project, None)
            yield lambda specs, wait: cluster.outcomes(client, work, _killed, [(spec, wait) for spec in specs])
    elif workers == 1:
        yield lambda specs, wait: (_run_one(folder, spec, wait) for spec in specs)
    else:
        yield partial(_in_processes, partial(_in_worker, folder, project, threads), workers, threads)


def _in_processes(work: Callable, workers: int, threads: int, specs: list[RunSpec], wait: bool) -> Iterator[Outcome]:
    """Outcomes as they come. A process killed from outside takes joblib's pool along, but no other run is lost."""
    from joblib import Parallel, delayed

    pool = partial(
        Parallel,
        n_jobs=workers,
        backend="loky",
        inner_max_num_threads=threads,
        return_as="generator_unordered",
        pre_dispatch="n_jobs",
        batch_size=1,
    )
    left = {spec.key: spec for spec in specs}
    started: list[RunSpec] = []

    def tasks(chosen: list[RunSpec]) -> Iterator:
        for spec in chosen:
            started.append(spec)
            yield delayed(work)(spec, wait)

    while left:
        started.clear()
        try:
            for outcome in pool()(tasks(list(left.values()))):
                del left[outcome.spec.key]
                yield outcome
        except BrokenProcessPool:
            # One of those under way did it, e.g. by asking for too much memory: each has a pool to itself.
            for spec in [spec for spec in started if spec.key in left]:
                del left[spec.key]
                try:
                    yield from pool()(tasks([spec]))
                except BrokenProcessPool:
                    yield _killed(spec)


def _killed(spec: RunSpec, *_) -> Outcome:
    return _failed(spec, "its process was killed, most likely for want of memory: use fewer workers")


def _in_worker(folder: Path, project: dict[str, str], threads: int | None, spec: RunSpec, wait: bool) -> Outcome:
    for name in PROJECT_VARIABLES:
        os.environ.pop(name, None)
    os.environ.update(project)
    if threads:
        torch.set_num_threads(threads)
    return _run_one(folder, spec, wait)


def _run_one(folder: Path, spec: RunSpec, wait: bool) -> Outcome:
    """Train and record one run, unless another process has done it or (where not told to wait) is doing it."""
    keep_freed_memory()
    results = Results(folder)
    try:
        with lock(spec, results).acquire(timeout=-1 if wait else 0, poll_interval=POLL_SECONDS):
            if results.has(spec):
                return Outcome(spec, "read")
            record(spec, results)
            return Outcome(spec, "trained")
    except filelock.Timeout:
        return Outcome(spec, "busy")
    except Exception as error:  # whatever it was, the other runs go on
        return _failed(spec, f"{type(error).__name__}: {error}")


def _work_file(spec: RunSpec, results: Results, kind: str) -> Path:
    """A file under build/ that one run, recorded in one place, has to itself."""
    place = hashlib.sha256(str(results.folder.resolve()).encode()).hexdigest()[:6]
    return system.root() / "build" / kind / f"{Path(spec.filename).stem}-{place}"


def lock(spec: RunSpec, results: Results) -> filelock.BaseFileLock:
    """Whoever holds it may train the run and write its files."""
    path = _work_file(spec, results, "locks")
    path.parent.mkdir(parents=True, exist_ok=True)
    return filelock.FileLock(path)


def checkpoint_of(spec: RunSpec, results: Results) -> Checkpoint:
    """Where the run's training is kept between epochs."""
    return Checkpoint(_work_file(spec, results, "checkpoints"), run=spec.key)


def remove_old_checkpoints(specs: Iterable[RunSpec], results: Results) -> None:
    """Remove those of recorded runs: a process that was killed just after it recorded one leaves it."""
    for spec in specs:
        if checkpoint_of(spec, results).path.exists():
            with suppress(filelock.Timeout), lock(spec, results).acquire(timeout=0):
                checkpoint_of(spec, results).path.unlink(missing_ok=True)


def remove_traces(spec: RunSpec, results: Results) -> None:
    """Remove what an attempt at a run leaves where nothing of it is to be kept: checkpoints, and why it failed."""
    state = checkpoint_of(spec, results).path
    for path in (*state.parent.glob(f"{state.name}*"), failure_file(spec)):
        path.unlink(missing_ok=True)


def failure_file(spec: RunSpec) -> Path:
    """Where a failed run's reason is kept until the run succeeds; no obstacle to trying again."""
    return system.root() / "build" / "failed" / f"{Path(spec.filename).stem}.json"


def _failed(spec: RunSpec, reason: str) -> Outcome:
    content = dict(spec=spec.to_json(), failed=reason, environment=environment(best_device()))
    try:
        with atomic_write(failure_file(spec)) as file:
            file.write(json.dumps(content, indent=1).encode())
    except OSError as error:
        reason += f" (nor could this be recorded: {error})"
    return Outcome(spec, "failed", reason)


def record(spec: RunSpec, results: Results) -> Path:
    """Carry out one run and write its file, going on from its checkpoint if an earlier attempt left one.

    Only for who holds the run's lock.
    """
    checkpoint = checkpoint_of(spec, results)
    for path in (checkpoint.path, results.path(spec), failure_file(spec)):
        remove_leftovers(path)
    path = results.write(spec, measured(spec, checkpoint, partial(_log_epoch, spec)))
    checkpoint.path.unlink(missing_ok=True)
    failure_file(spec).unlink(missing_ok=True)
    return path


def measured(spec: RunSpec, checkpoint: Checkpoint | None, on_epoch: Callable[[dict], None]) -> dict:
    """What a run gives, with what it took: memory, environment, seconds (with those of earlier attempts' epochs)."""
    source = data.describe(spec.config.data.source)
    start = time.perf_counter()
    with _same_data(spec), _peak_memory() as peak:
        run = getattr(experiment_module(spec.experiment), "run", run_predictor)
        payload = run(spec, checkpoint, on_epoch)
    seconds = max(time.perf_counter() - start, sum(entry["seconds"] for entry in payload.get("history", [])))
    return payload | dict(
        seconds=round(seconds, 2),
        peak_memory_mb=round(peak["mb"]),
        environment=environment(best_device()),
        data_label=source.label,
        simulated=source.simulated,
    )


@contextmanager
def _same_data(spec: RunSpec) -> Iterator[None]:
    """Refuses to give a run's name to numbers of other data: files of a folder may change while a sweep goes on."""
    where = spec.config.data

    def check() -> None:
        if where.fingerprint != spec.fingerprint:
            raise ValueError(
                f"the data of {where.source!r} are not those that this run is named after: they were "
                "changed. Nothing is recorded; for runs on the data as they are now repeat the command"
            )

    check()
    yield
    check()


def log_file(experiment: str) -> Path:
    """Where a run of that experiment writes a line an epoch."""
    return system.root() / "logs" / f"training_log_{experiment}.txt"


def _log_epoch(spec: RunSpec, entry: dict) -> None:
    line = (
        f"{Path(spec.filename).stem} epoch {entry['epoch']}/{spec.config.epochs} "
        f"train {entry['train_loss']:.6g} val {entry['val_loss']:.6g} lr {entry['learning_rate']:g} "
        f"{entry['seconds']:.1f} s\n"
    )
    log_file(spec.experiment).parent.mkdir(parents=True, exist_ok=True)
    with open(log_file(spec.experiment), "a", encoding="utf-8") as file:
        file.write(line)


@contextmanager
def _peak_memory() -> Iterator[dict]:
    """Measures this process's largest resident memory (MB) in a thread, with what earlier runs have left in it.

    Where there is a GPU, the peak there instead, beyond what was allocated before.
    """
    peak, done = {"mb": 0.0}, threading.Event()

    def watch() -> None:
        process = psutil.Process()
        while True:
            peak["mb"] = max(peak["mb"], process.memory_info().rss / 2**20)
            if done.wait(0.05):
                return

    if torch.cuda.is_available():
        gc.collect()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        done.set()
        thread.join()
        if torch.cuda.is_available():
            peak["mb"] = (torch.cuda.max_memory_allocated() - before) / 2**20


@contextmanager
def _progress(specs: list[RunSpec]) -> Iterator[Callable[[Outcome], None]]:
    """A bar with the time left over all epochs of all runs, whichever process they are in: it reads the log.

    Gives a function that is to be told each outcome.
    """
    from tqdm.auto import tqdm

    experiments = dict.fromkeys(spec.experiment for spec in specs)
    logs = {log: log.stat().st_size if log.exists() else 0 for log in map(log_file, experiments)}
    epochs = {Path(spec.filename).stem: max(1, spec.config.epochs) for spec in specs}
    ended: dict[str, int] = {}
    done, failed = threading.Event(), 0
    bar = tqdm(total=sum(epochs.values()), unit="epoch", desc=f"{', '.join(experiments)}: {len(specs)} runs")

    def show() -> None:
        read = {name: epoch for log, start in logs.items() for name, epoch in _last_epochs(log, start).items()}
        bar.n = sum(({name: epoch for name, epoch in read.items() if name in epochs} | ended).values())
        bar.refresh()

    def watch() -> None:
        while not done.wait(2.0):
            show()

    def tell(outcome: Outcome) -> None:
        nonlocal failed
        name = Path(outcome.spec.filename).stem
        if outcome.state == "busy":
            bar.set_postfix_str("another process is at some of these runs")
            return
        ended[name] = epochs[name]
        failed += outcome.state == "failed"
        bar.set_postfix_str(f"{len(ended)} of {len(specs)} runs done" + (f", {failed} failed" if failed else ""))

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield tell
        show()
    finally:
        done.set()
        thread.join()
        bar.close()


def _last_epochs(log: Path, start: int) -> dict[str, int]:
    """The last epoch of each run that the log names after byte `start`."""
    if not log.exists():
        return {}
    with open(log, encoding="utf-8") as file:
        file.seek(start)
        return {name: int(epoch) for name, epoch in re.findall(r"^(\S+) epoch (\d+)/", file.read(), re.MULTILINE)}
