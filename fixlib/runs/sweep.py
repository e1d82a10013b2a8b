"""Carrying out many runs: each once, none lost, on this machine's cores or on a Dask cluster.

Every run has a lock, which ends with the process that holds it, however that ends. Two sweeps over the same runs
share them out: a run that another process is training is left for later, waited for at the end, and then read.
"""

from __future__ import annotations

import hashlib
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
from typing import Any

import filelock
import torch
from torch import nn

from fixlib import data, system
from fixlib.runs import cluster
from fixlib.runs.config import RunSpec
from fixlib.runs.execute import METRICS_VERSION, Attempt, experiment_module, keep_network, load_network, run_predictor
from fixlib.runs.store import Results, weights_file
from fixlib.system import atomic_write, environment, one_thread, remove_leftovers
from fixlib.training import Checkpoint, best_device

POLL_SECONDS = 0.5
Engine = Callable[[list[RunSpec], bool, Callable[[], None]], Iterator["Outcome"]]


@dataclass(frozen=True)
class Outcome:
    """What became of a run: "trained", "read" (another process recorded it), "busy" (one is at it), "failed"."""

    spec: RunSpec
    state: str
    reason: str = ""


def carry_out(specs: list[RunSpec], results: Results, workers: int | None = None, dask: str = "") -> list[Outcome]:
    """Train and record the runs, several at a time, each with one thread; all are tried, whatever happens to one.

    Args:
        specs: runs that are not recorded.
        results: where they are recorded.
        workers: processes; by default one a processor core, and one altogether where there is a GPU.
        dask: "" for processes of this machine, "local" for a Dask cluster on it, or a Dask scheduler's address.

    Returns:
        One outcome a run ("trained", "read" or "failed"), in the order of `specs`.

    Raises:
        ValueError: fewer than one worker, or a Dask cluster whose workers cannot do the work (see
            `fixlib.runs.cluster`).
    """
    found: dict[str, Outcome] = {}
    with Progress(specs, results) as progress, _engine(workers, dask, len(specs), results) as engine:
        for waiting in (False, True):
            left = [spec for spec in specs if spec.key not in found or found[spec.key].state == "busy"]
            for outcome in engine(left, waiting, progress.show):
                found[outcome.spec.key] = outcome
                progress.ended(outcome)
    return [found[spec.key] for spec in specs]


@contextmanager
def _engine(workers: int | None, dask: str, runs: int, results: Results) -> Iterator[Engine]:
    """What takes (specs, whether to wait for other processes, what shows progress) and yields outcomes as they come."""
    if workers is None:
        workers = 1 if best_device().type == "cuda" else os.cpu_count() or 1
    if workers < 1:
        raise ValueError(f"workers must be at least 1, not {workers}")
    workers = min(workers, runs)
    work = partial(_in_worker, results, system.project_variables())
    if dask:
        with cluster.connected(dask, workers, see=system.root()) as (executor, died):
            yield partial(_outcomes, partial(executor.submit, work), died, partial(_failed, results), runs)
    elif workers > 1:
        with _processes(workers) as executor:
            yield partial(
                _outcomes,
                lambda *task: executor().submit(work, *task),
                BrokenProcessPool,
                partial(_failed, results),
                workers,
            )
    else:
        yield lambda specs, waiting, show: (_run_one(results, spec, waiting, show) for spec in specs)


@contextmanager
def _processes(workers: int) -> Iterator[Callable]:
    """What gives the pool of processes, a new one where one of its processes was killed."""
    from joblib.externals.loky import get_reusable_executor

    pool = partial(get_reusable_executor, workers, timeout=300, env=dict.fromkeys(cluster.THREAD_VARIABLES, "1"))
    try:
        yield pool
    except BaseException:  # interrupted: nobody waits for what is under way
        pool().shutdown(kill_workers=True)
        raise
    pool().shutdown()


def _outcomes(
    submit: Callable[[RunSpec, bool], Future],
    died: type[Exception],
    failed: Callable[[RunSpec, str], Outcome],
    at_once: int,
    specs: list[RunSpec],
    waiting: bool,
    show: Callable[[], None],
) -> Iterator[Outcome]:
    """Outcomes as they come, so many runs handed out at a time.

    A process that is killed, e.g. for want of memory, takes its pool along. Any of the runs under way may have done it:
    each of them is tried once more, alone.
    """
    left, suspects = list(specs), []
    running: dict[Future, RunSpec] = {}
    while left or running:
        while left and len(running) < at_once:
            spec = left.pop(0)
            running[submit(spec, waiting)] = spec
        for future in wait(running, POLL_SECONDS, FIRST_COMPLETED).done:
            spec = running.pop(future)
            try:
                yield future.result()
            except died:
                suspects.append(spec)
        show()
    for spec in suspects:
        try:
            yield submit(spec, waiting).result()
        except died:
            yield failed(spec, "its process was killed, most likely for want of memory: use fewer workers")


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
    return system.root() / "build" / kind / f"{spec.stem}-{_place(results)}"


def _place(results: Results) -> str:
    return hashlib.sha256(str(results.folder.resolve()).encode()).hexdigest()[:6]


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
    for path in (*_checkpoints(spec, results), _work_file(spec, results, "progress"), failure_file(spec, results)):
        path.unlink(missing_ok=True)


def remove_place(results: Results) -> None:
    """Remove what attempts at runs recorded there left under build/, where nobody will go on with them."""
    for path in (system.root() / "build").glob(f"*/*-{_place(results)}*"):
        path.unlink()


def failure_file(spec: RunSpec, results: Results) -> Path:
    """Where a failed run's reason is kept until the run succeeds; no obstacle to trying again."""
    return _work_file(spec, results, "failed")


def _failed(results: Results, spec: RunSpec, reason: str) -> Outcome:
    content = dict(spec=spec.to_json(), failed=reason, environment=environment(best_device()))
    try:
        with atomic_write(failure_file(spec, results)) as file:
            file.write(json.dumps(content, indent=1).encode())
    except OSError as error:
        reason += f" (nor could this be recorded: {error})"
    return Outcome(spec, "failed", reason)


def record(spec: RunSpec, results: Results, show: Callable[[], None] = lambda: None) -> None:
    """Carry out one run, keep its network and write its file, going on from where an earlier attempt was stopped.

    Only for who holds the run's lock. A file that is there already stays.
    """
    checkpoint = checkpoint_of(spec, results)
    for path in (checkpoint.path, results.path(spec), weights_file(spec, folder=results.weights)):
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
    with _same_data(spec):
        payload = getattr(experiment_module(spec.experiment), "run", run_predictor)(spec, attempt)
    seconds = max(time.perf_counter() - start, sum(entry["seconds"] for entry in payload.get("history", [])))
    return payload | dict(
        seconds=round(seconds, 2),
        peak_memory_mb=system.peak_memory_mb(),
        environment=environment(best_device()),
        data_label=source.label,
        simulated=source.simulated,
        metrics_version=METRICS_VERSION,
    )


@contextmanager
def _same_data(spec: RunSpec) -> Iterator[None]:
    """Refuses to give a run's name to numbers of other data: files of a folder may change while a sweep goes on."""

    def check() -> None:
        if spec.config.data.fingerprint != spec.fingerprint:
            raise ValueError(
                f"the data of {spec.dataset!r} are not those that this run is named after: they were "
                "changed. Nothing is recorded; for runs on the data as they are now repeat the command"
            )

    check()
    yield
    check()


def log_file(experiment: str) -> Path:
    """Where a run of that experiment writes a line an epoch."""
    return system.root() / "logs" / f"training_log_{experiment}.txt"


def _log_epoch(spec: RunSpec, results: Results, entry: dict) -> None:
    """A line in the experiment's log, and for the sweep's bar the number of the epoch."""
    line = (
        f"{spec.stem} epoch {entry['epoch']}/{spec.config.epochs} "
        f"train {entry['train_loss']:.6g} val {entry['val_loss']:.6g} lr {entry['learning_rate']:g} "
        f"{entry['seconds']:.1f} s\n"
    )
    log_file(spec.experiment).parent.mkdir(parents=True, exist_ok=True)
    with open(log_file(spec.experiment), "a", encoding="utf-8") as file:
        file.write(line)
    with atomic_write(_work_file(spec, results, "progress")) as file:
        file.write(str(entry["epoch"]).encode())


class Progress:
    """A bar over the epochs of all runs, with the time left; those under way say in a file how far they are."""

    def __init__(self, specs: list[RunSpec], results: Results) -> None:
        from tqdm.auto import tqdm

        self.left = {spec.key: spec for spec in specs}
        self.results, self.runs, self.epochs, self.failed = results, len(specs), 0, 0
        experiments = ", ".join(dict.fromkeys(spec.experiment for spec in specs))
        self.bar = tqdm(total=sum(map(_epochs, specs)), unit="epoch", desc=f"{experiments}: {len(specs)} runs")

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.close()

    def show(self) -> None:
        """As far as it is known now."""
        files = [_work_file(spec, self.results, "progress") for spec in self.left.values()]
        self.bar.n = self.epochs + sum(int(file.read_text()) for file in files if file.exists())
        self.bar.refresh()

    def ended(self, outcome: Outcome) -> None:
        if outcome.state == "busy":
            self.bar.set_postfix_str("another process is at some of these runs")
            return
        del self.left[outcome.spec.key]
        self.epochs += _epochs(outcome.spec)
        self.failed += outcome.state == "failed"
        done = f"{self.runs - len(self.left)} of {self.runs} runs done"
        self.bar.set_postfix_str(done + (f", {self.failed} failed" if self.failed else ""))
        self.show()


def _epochs(spec: RunSpec) -> int:
    return max(1, spec.config.epochs)
