"""Carrying out many runs: each once, none lost, on this machine's cores or on a Dask cluster.

Every run has a lock, which ends with the process that holds it, however that ends. Two sweeps over the same runs
share them out: a run that another process is training is left for later, waited for at the end, and then read.
"""

import json
import os
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import filelock
import torch
from torch import nn

from fixlib import data, system
from fixlib.runs import cluster
from fixlib.runs.config import RunSpec
from fixlib.runs.execute import (
    METRICS_VERSION,
    Attempt,
    check_data,
    experiment_module,
    keep_network,
    load_network,
    run_predictor,
)
from fixlib.runs.store import Results, weights_file
from fixlib.system import atomic_write, environment, one_thread, remove_leftovers
from fixlib.training import Checkpoint, best_device

POLL_SECONDS = 0.5


@dataclass(frozen=True)
class Outcome:
    """What became of a run: "trained", "read" (another process recorded it), "busy" (one is at it), "failed"."""

    spec: RunSpec
    state: str
    reason: str = ""


def carry_out(specs: list[RunSpec], results: Results, workers: int | None = None, dask: str = "") -> list[Outcome]:
    """Train and record the runs, several at a time, each with one thread; all are tried, whatever happens to one.

    `workers` and `dask` as of `fixlib.runs.obtain`; ValueError for fewer than one worker, and errors of `connected`.
    One outcome a run ("trained", "read" or "failed"), in the order of `specs`.
    """
    found: dict[str, Outcome] = {}
    with _progress(specs, results) as show, _pool(workers, dask, len(specs), results) as pool:
        for waiting in (False, True):
            left = [spec for spec in specs if spec.key not in found or found[spec.key].state == "busy"]
            here = (_run_one(results, spec, waiting, show) for spec in left)
            for outcome in _outcomes(pool, results, left, waiting, show) if pool else here:
                found[outcome.spec.key] = outcome
                show(outcome)
    return [found[spec.key] for spec in specs]


class Pool(NamedTuple):
    """Processes that carry out runs: how one is handed out, what is raised if its process dies, how many at once."""

    submit: Callable[[RunSpec, bool], Future]
    died: type[Exception]
    at_once: int


@contextmanager
def _pool(workers: int | None, dask: str, runs: int, results: Results) -> Iterator[Pool | None]:
    """Processes here or on a Dask cluster; None where this process is to do the work."""
    if workers is None:
        workers = 1 if best_device().type == "cuda" else os.cpu_count() or 1
    if workers < 1:
        raise ValueError(f"workers must be at least 1, not {workers}")
    workers = min(workers, runs)
    work = partial(_in_worker, results, system.project_variables())
    if dask:
        with cluster.connected(dask, workers, see=system.root()) as (executor, died):
            yield Pool(partial(executor.submit, work), died, runs)
    elif workers == 1:
        yield None
    else:
        from joblib.externals.loky import get_reusable_executor

        one_thread_each = dict.fromkeys(cluster.THREAD_VARIABLES, "1")
        here = partial(get_reusable_executor, workers, timeout=300, env=one_thread_each)  # a new one if one broke
        try:
            yield Pool(lambda *task: here().submit(work, *task), BrokenProcessPool, workers)
        except BaseException:  # interrupted: nobody waits for what is under way
            here().shutdown(kill_workers=True)
            raise
        here().shutdown()


def _outcomes(
    pool: Pool, results: Results, specs: list[RunSpec], waiting: bool, show: Callable[[], None]
) -> Iterator[Outcome]:
    """Outcomes as they come.

    A process that is killed, e.g. for want of memory, takes its pool along. Any of the runs under way may have done it:
    each of them is tried once more, alone.
    """
    left, suspects = list(specs), []
    running: dict[Future, RunSpec] = {}
    while left or running:
        while left and len(running) < pool.at_once:
            spec = left.pop(0)
            running[pool.submit(spec, waiting)] = spec
        for future in wait(running, POLL_SECONDS, FIRST_COMPLETED).done:
            spec = running.pop(future)
            try:
                yield future.result()
            except pool.died:
                suspects.append(spec)
        show()
    for spec in suspects:
        try:
            yield pool.submit(spec, waiting).result()
        except pool.died:
            yield _failed(results, spec, "its process was killed, most likely for want of memory: use fewer workers")


def _in_worker(results: Results, project: dict[str, str], spec: RunSpec, waiting: bool) -> Outcome:
    system.set_project_variables(project)  # a worker may be older than the sweep, and on another machine
    return _run_one(results, spec, waiting)


def _run_one(results: Results, spec: RunSpec, waiting: bool, show: Callable[[], None] = lambda: None) -> Outcome:
    """Train and record one run, unless another process has done it or (where not told to wait) is doing it."""
    try:
        with one_thread(), lock(spec, results).acquire(timeout=-1 if waiting else 0, poll_interval=POLL_SECONDS):
            if results.has(spec):
                return Outcome(spec, "read")
            record(spec, results, show)
            return Outcome(spec, "trained")
    except filelock.Timeout:
        return Outcome(spec, "busy")
    except Exception as error:  # whatever it was, the other runs go on
        return _failed(results, spec, f"{type(error).__name__}: {error}")


def _work_file(spec: RunSpec, results: Results, kind: str) -> Path:
    """A file under build/ that one run, recorded in one place, has to itself."""
    name = f"{spec.stem}-{results.place}" + (".json" if kind == "failed" else "")
    return system.root() / "build" / kind / name


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
        if _checkpoints(spec, results):
            with suppress(filelock.Timeout), lock(spec, results).acquire(timeout=0):
                _remove_traces(spec, results)


def _checkpoints(spec: RunSpec, results: Results) -> list[Path]:
    """Of all its stages; those set aside are the user's."""
    path = checkpoint_of(spec, results).path
    return [found for found in path.parent.glob(f"{path.name}*") if ".set-aside" not in found.name]


def _remove_traces(spec: RunSpec, results: Results) -> None:
    for path in (*_checkpoints(spec, results), *(_work_file(spec, results, kind) for kind in ("progress", "failed"))):
        path.unlink(missing_ok=True)


def remove_place(results: Results) -> None:
    """Remove what attempts at runs recorded there left under build/, where nobody will go on with them."""
    for path in (system.root() / "build").glob(f"*/*-{results.place}*"):
        path.unlink()


def _failed(results: Results, spec: RunSpec, reason: str) -> Outcome:
    """The outcome of a run that failed; its reason is kept until it succeeds, no obstacle to trying again."""
    content = dict(spec=spec.to_json(), failed=reason, environment=environment(best_device()))
    try:
        with atomic_write(_work_file(spec, results, "failed")) as file:
            file.write(json.dumps(content, indent=1).encode())
    except OSError as error:
        reason += f" (nor could this be recorded: {error})"
    return Outcome(spec, "failed", reason)


def record(spec: RunSpec, results: Results, show: Callable[[], None] = lambda: None) -> None:
    """Carry out one run, keep its network and write its file, going on from where an earlier attempt was stopped.

    Only for who holds the run's lock. A file that is there already stays.
    """
    checkpoint = checkpoint_of(spec, results)
    for path in (checkpoint.path, results.path(spec), results.weights / spec.stem):
        remove_leftovers(path)

    def tell(entry: dict) -> None:
        _log_epoch(spec, results, entry)
        show()

    keep = partial(keep_network, spec, results.weights)
    payload = measured(spec, Attempt(checkpoint, tell, keep, partial(_network_of, results)))
    if not results.has(spec):
        results.write(spec, payload)
    _remove_traces(spec, results)


def _network_of(results: Results, spec: RunSpec) -> nn.Module:
    """The network of another run, which is carried out first where it is not recorded or its weights are not kept."""
    with lock(spec, results):
        if not results.has(spec) or not weights_file(spec, folder=results.weights).exists():
            record(spec, results)
        return load_network(spec, folder=results.weights)


def measured(spec: RunSpec, attempt: Attempt) -> dict[str, Any]:
    """What a run gives, with what it took: memory, environment, seconds (with those of earlier attempts' epochs)."""
    source = data.describe(spec.config.data.source)
    start = time.perf_counter()
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    check_data(spec)
    payload = getattr(experiment_module(spec.experiment), "run", run_predictor)(spec, attempt)
    check_data(spec)
    histories = [payload.get("history", []), *(each["history"] for each in payload.get("stages", {}).values())]
    seconds = max(time.perf_counter() - start, sum(entry["seconds"] for history in histories for entry in history))
    return payload | dict(
        seconds=round(seconds, 2),
        peak_memory_mb=system.peak_memory_mb(),
        environment=environment(best_device()),
        data_label=source.label,
        simulated=source.simulated,
        metrics_version=METRICS_VERSION,
    )


def _log_epoch(spec: RunSpec, results: Results, entry: dict) -> None:
    """A line in the experiment's log, and for the sweep's bar the number of the epoch."""
    log = system.root() / "logs" / f"training_log_{spec.experiment}.txt"
    log.parent.mkdir(parents=True, exist_ok=True)
    numbers = "train {train_loss:.6g} val {val_loss:.6g} lr {learning_rate:g} {seconds:.1f} s".format(**entry)
    with open(log, "a", encoding="utf-8") as file:
        file.write(f"{spec.stem} epoch {entry['epoch']}/{spec.config.epochs} {numbers}\n")
    progress = _work_file(spec, results, "progress")
    progress.parent.mkdir(parents=True, exist_ok=True)
    progress.write_text(str(entry["epoch"]))


@contextmanager
def _progress(specs: list[RunSpec], results: Results) -> Iterator[Callable[..., None]]:
    """What shows a bar over the epochs of all runs, and may be told an outcome; runs say in a file how far they are."""
    from tqdm.auto import tqdm

    epochs = {spec.key: max(1, spec.config.epochs) for spec in specs}
    left, failed = {spec.key: spec for spec in specs}, 0

    def show(outcome: Outcome | None = None) -> None:
        nonlocal failed
        if outcome and outcome.state != "busy":
            del left[outcome.spec.key]
            failed += outcome.state == "failed"
        under_way = 0
        for spec in left.values():
            with suppress(FileNotFoundError, ValueError):  # not begun, just being written, or just ended
                under_way += int(_work_file(spec, results, "progress").read_text())
        done = f"{len(specs) - len(left)} of {len(specs)} runs done" + (f", {failed} failed" if failed else "")
        bar.set_postfix_str(done, refresh=bool(outcome))
        bar.update(bar.total - sum(epochs[key] for key in left) + under_way - bar.n)

    experiments = ", ".join(dict.fromkeys(spec.experiment for spec in specs))
    with tqdm(total=sum(epochs.values()), unit="epoch", desc=f"{experiments}: {len(specs)} runs") as bar:
        yield show
