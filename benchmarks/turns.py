"""Timing by turns: every side in a fresh process of its own, one step each in turn, so that all meet the same load."""

import multiprocessing
import resource
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

Side = Callable[[], Callable[[], object]]  # gives the step that is timed; a `partial` of an importable function


@dataclass(frozen=True)
class Timed:
    """Seconds of every turn, by the clock and of processor time; MB that the process grew by from before `build`."""

    seconds: list[float]
    processor_seconds: list[float]
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
        timed[name] = Timed(*map(list, zip(*spent[name])), connection.recv())
        process.join()
    return timed


def against(slow: Timed, fast: Timed) -> dict[str, float]:
    """How many times as fast: median and quartiles over the turns, and the median in processor time.

    Of neighbours in time, so that a drift of the load cancels; processor time is disturbed less by other work.
    """
    low, middle, high = statistics.quantiles((a / b for a, b in zip(slow.seconds, fast.seconds)), n=4)
    of_processor = statistics.median(a / b for a, b in zip(slow.processor_seconds, fast.processor_seconds))
    return {"ratio": middle, "lower quartile": low, "upper quartile": high, "in processor time": of_processor}


def _serve(connection, side: Side, threads: int, warm_up: int) -> None:
    torch.set_num_threads(threads)
    before = _largest_memory()
    step = side()
    for _ in range(warm_up):
        step()
    connection.send("ready")
    while connection.recv() == "step":
        clock, processor = time.perf_counter(), time.process_time()
        step()
        connection.send((time.perf_counter() - clock, time.process_time() - processor))
    connection.send(_largest_memory() - before)


def _largest_memory() -> float:
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # of KB
