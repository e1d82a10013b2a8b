"""Timing by turns: every side in a fresh process of its own, one step each in turn, so that all meet the same load."""

from __future__ import annotations

import multiprocessing
import resource
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

MB = 1024  # ru_maxrss counts KB


@dataclass(frozen=True)
class Side:
    """What one process does: `build(**options)`, an importable function, gives the step that is timed."""

    build: Callable[..., Callable[[], object]]
    options: dict


@dataclass(frozen=True)
class Timed:
    """Seconds of every turn, by the clock and of processor time, and the memory of the process.

    Attributes:
        memory_mb: the largest memory of the whole process, MB: resident, or on the GPU where it uses one.
        grown_mb: what it was more than before `build`, MB: model, data and step alone, without Python and PyTorch.
    """

    seconds: list[float]
    processor_seconds: list[float]
    memory_mb: float
    grown_mb: float

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)


def take_turns(sides: dict[str, Side], turns: int, threads: int, warm_up: int = 2) -> dict[str, Timed]:
    """Let `sides` take `turns` steps each in turn, after `warm_up` untimed ones, on `threads` threads each."""
    context = multiprocessing.get_context("spawn")
    workers = {}
    for name, side in sides.items():
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs, side, threads, warm_up), daemon=True)
        process.start()
        theirs.close()  # so that a worker that dies ends our waiting with EOFError
        workers[name] = process, ours
    for _, connection in workers.values():
        connection.recv()
    spent = {name: [] for name in sides}
    for _ in range(turns):
        for name, (_, connection) in workers.items():
            connection.send("step")
            spent[name].append(connection.recv())
    timed = {}
    for name, (process, connection) in workers.items():
        connection.send("end")
        timed[name] = Timed(*map(list, zip(*spent[name])), *connection.recv())
        process.join()
    return timed


def paired_ratio(slow: Sequence[float], fast: Sequence[float]) -> tuple[float, float, float]:
    """Median and quartiles of slow / fast over the turns: neighbours in time, so a drift of the load cancels."""
    low, middle, high = statistics.quantiles((a / b for a, b in zip(slow, fast)), n=4)
    return middle, low, high


def _serve(connection, side: Side, threads: int, warm_up: int) -> None:
    torch.set_num_threads(threads)
    before = _largest_memory()
    step = side.build(**side.options)
    for _ in range(warm_up):
        step()
    connection.send("ready")
    while connection.recv() == "step":
        clock, processor = time.perf_counter(), time.process_time()
        step()
        connection.send((time.perf_counter() - clock, time.process_time() - processor))
    connection.send((_largest_memory(), _largest_memory() - before))


def _largest_memory() -> float:
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / MB
