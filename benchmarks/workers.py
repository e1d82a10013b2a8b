"""Do two workers of one thread finish more runs a minute than one worker of one thread?

python -m benchmarks workers [--quick]    # about 3 minutes on 2 idle cores

Both are timed in turns in one go, on the same runs, once their processes are up.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch

from benchmarks.kills import make_dataset
from fixlib.chapters.loss_comparison import runs as loss_comparison
from fixlib.runs.config import RunSpec
from fixlib.runs.store import Results
from fixlib.runs.sweep import carry_out


def specs(dataset: Path, count: int, epochs: int) -> list[RunSpec]:
    """Runs of the `quick` network, of equal size."""
    runs = loss_comparison.specs(str(dataset), "quick", range(count), losses=["weighted_mse"])[:count]
    return [
        replace(run, config=replace(run.config, training=replace(run.config.training, epochs=epochs))) for run in runs
    ]


def runs_a_minute(runs: list[RunSpec], workers: int, folder: Path) -> float:
    """How fast those runs are carried out by so many processes of one thread."""
    start = time.perf_counter()
    outcomes = carry_out(runs, Results(folder), workers)
    seconds = time.perf_counter() - start
    if failed := [outcome.reason for outcome in outcomes if outcome.state != "trained"]:
        raise RuntimeError(f"runs of the benchmark failed: {failed}")
    return 60 * len(runs) / seconds


def run(quick: bool, threads: int, dataset: str) -> list[dict]:
    """Rows of what, value, unit and note."""
    torch.set_num_threads(1)
    count, epochs, rounds = (4, 2, 1) if quick else (8, 10, 3)
    measured: dict[int, list[float]] = {1: [], 2: []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        runs = specs(make_dataset(folder / "gaze"), count, epochs)
        carry_out(runs[:2], Results(folder / "warm"), 2)  # starts the processes, imports torch in them
        for number in range(rounds):
            for workers, found in measured.items():
                found.append(runs_a_minute(runs, workers, folder / f"{workers}-{number}"))
    one, two = (statistics.median(measured[workers]) for workers in (1, 2))
    note = f"medians of {rounds}, {count} runs of {epochs} epochs each"
    return [
        dict(what="1 worker of 1 thread", value=one, unit="runs a minute", note=note),
        dict(what="2 workers of 1 thread", value=two, unit="runs a minute", note=note),
        dict(what="2 workers against 1", value=two / one, unit="x", note="aim: 1.7"),
    ]
