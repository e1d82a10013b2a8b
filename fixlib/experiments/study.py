"""Asking for the runs of a chapter: those recorded are read, those missing are trained."""

from __future__ import annotations

import inspect
import os
import re
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pandas as pd
import psutil
import torch

from fixlib import data, paths
from fixlib.results import Results, Run, RunSpec, environment
from fixlib.training import best_device

FALLBACK = "simulated"


class ExperimentError(RuntimeError):
    """One or more runs of an experiment failed; the others are recorded."""


@dataclass(frozen=True)
class Study:
    """The runs of one experiment on one dataset.

    Attributes:
        requested: the dataset that was asked for.
        dataset: the dataset that the runs are on; another than `requested` only where that cannot be had.
        runs: in the order of the experiment's specifications.
        trained: how many of them were trained just now rather than read.
    """

    requested: str
    dataset: str
    runs: tuple[Run, ...]
    trained: int

    @property
    def label(self) -> str:
        """What the data is, for captions: e.g. "OSIE (Xu et al. 2014)"."""
        return data.describe(self.dataset).label

    @property
    def notice(self) -> str:
        """What a reader has to know first: whose gaze this is, and whether it is gaze at all."""
        if self.dataset != self.requested:
            return fallback_notice(self.requested)
        return f"Data: {self.label}. Runs: {len(self.runs)}, of which trained just now: {self.trained}."

    def run(self, variant: str, seed: int | None = None) -> Run:
        """The run of that variant (and seed: the first recorded by default); KeyError naming those there are."""
        for run in self.runs:
            if run.spec.variant == variant and seed in (None, run.spec.seed):
                return run
        known = ", ".join(dict.fromkeys(run.spec.variant for run in self.runs))
        raise KeyError(f"no run of variant {variant!r} with seed {seed}; there are: {known}")

    def table(self) -> pd.DataFrame:
        """One row a run: variant, seed, parameters, test_loss where there are any, and every metric's value."""
        return pd.DataFrame([dict(
            variant=run.spec.variant, seed=run.spec.seed, parameters=run.payload.get("parameters"),
            test_loss=run.payload.get("test_loss"),
            **{name: metric["value"] for name, metric in run.payload["metrics"].items()}) for run in self.runs])

    def intervals(self, metric: str) -> pd.DataFrame:
        """One row a run that has the metric: variant, seed, value, low, high (95% interval)."""
        return pd.DataFrame([dict(variant=run.spec.variant, seed=run.spec.seed, **run.payload["metrics"][metric])
                             for run in self.runs if metric in run.payload["metrics"]])

    def variants(self) -> list[str]:
        """Names of the variants, each once, in order."""
        return list(dict.fromkeys(run.spec.variant for run in self.runs))


def fallback_notice(requested: str) -> str:
    """The warning that simulated scanpaths stand in for recordings."""
    return (f"*** SIMULATED GAZE, NOT RECORDINGS ***\n"
            f"The recordings of '{requested}' could not be had (no prepared copy, no mirror, no download). Every "
            f"number and figure below is about scanpaths made by a generator.\n"
            f"To use the recordings: connect to the internet, or set FIXLIB_DATA_MIRROR to a folder that holds "
            f"{requested}/, then run: fixlib data prepare {requested}")


def experiment_module(name: str) -> ModuleType:
    """The module of an experiment; ValueError naming the known ones otherwise."""
    from fixlib.experiments import EXPERIMENTS
    if name not in EXPERIMENTS:
        raise ValueError(f"unknown experiment {name!r}; choose one of {', '.join(EXPERIMENTS)}")
    return import_module(f"fixlib.experiments.{name}")


def obtain(experiment: str, dataset: str = "osie", profile: str = "quick", seeds: Sequence[int] = (0,),
           results_dir: str = "", workers: int | None = None, **choices) -> Study:
    """The runs of an experiment: read where they are recorded, trained where they are not.

    Args:
        experiment: one of `fixlib.experiments.EXPERIMENTS`.
        dataset: a dataset's name or a folder with {train,val,test}_data.pt. Where the recordings of a named
            dataset are needed but cannot be had, `simulated` stands in and `Study.notice` says so.
        profile: "smoke", "quick" or "paper".
        seeds: one run of every network for each.
        results_dir: where runs are read from and written to, relative to the project; "" is `results`.
        workers: processes; by default one a processor core, and one altogether where there is a GPU.
        choices: passed to the experiment's `specs` (e.g. losses=("mse", "dice")).

    Raises:
        ValueError: an unknown experiment, dataset, profile or choice.
        ExperimentError: a run failed; the others are recorded and will not be trained again.
    """
    module = experiment_module(experiment)
    _check_choices(module, choices)
    results = Results(paths.root() / results_dir if results_dir else None)
    specs = module.specs(dataset, profile, seeds, **choices)
    missing = [spec for spec in specs if not results.has(spec)]
    used = dataset
    if missing and not _at_hand(dataset):
        used = FALLBACK
        _at_hand(used)
        specs = module.specs(used, profile, seeds, **choices)
        missing = [spec for spec in specs if not results.has(spec)]
    if missing:
        _run_all(missing, results, workers)
    study = Study(dataset, used, tuple(results.read(spec) for spec in specs), len(missing))
    if missing and hasattr(module, "finish"):
        module.finish(study)
    return study


def _check_choices(module: ModuleType, choices: dict) -> None:
    known = list(inspect.signature(module.specs).parameters)[3:]
    for name in choices:
        if name not in known:
            raise ValueError(f"{module.NAME} has no choice {name!r}; it has: {', '.join(known) or 'none'}")


def _at_hand(dataset: str) -> bool:
    try:
        data.open_dataset(dataset)
    except data.DataUnavailable as reason:
        print(f"{reason}\n{fallback_notice(dataset)}", flush=True)
        return False
    return True


def _run_all(specs: list[RunSpec], results: Results, workers: int | None) -> None:
    """Train the runs, several at a time; all are tried before a failure is raised."""
    if workers is None:
        workers = 1 if best_device().type == "cuda" else os.cpu_count() or 1
    workers = min(workers, len(specs))
    log = log_file(specs[0].experiment)
    log.parent.mkdir(parents=True, exist_ok=True)
    with _progress(specs, log):
        if workers == 1:
            errors = [_run_one(spec, results.folder, None) for spec in specs]
        else:
            from joblib import Parallel, delayed
            threads = max(1, (os.cpu_count() or 1) // workers)
            errors = Parallel(n_jobs=workers, backend="loky", inner_max_num_threads=threads)(
                delayed(_run_one)(spec, results.folder, threads) for spec in specs)
    failed = [f"{spec.filename}: {error}" for spec, error in zip(specs, errors) if error]
    if failed:
        raise ExperimentError(f"{len(failed)} of {len(specs)} runs failed, the others are recorded:\n  "
                              + "\n  ".join(failed))


def _run_one(spec: RunSpec, folder: Path, threads: int | None) -> str | None:
    """Train and record one run; the error as text, so that one failure does not end the others."""
    if threads:
        torch.set_num_threads(threads)
    try:
        record(spec, Results(folder))
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return None


def record(spec: RunSpec, results: Results) -> Path:
    """Carry out one run and write its file. Goes on from its checkpoint if an earlier attempt left one."""
    checkpoint = paths.root() / "build" / "checkpoints" / f"{Path(spec.filename).stem}.pt"
    source = data.describe(spec.config["data"]["dataset"])
    start = time.perf_counter()
    with _peak_memory() as peak:
        payload = experiment_module(spec.experiment).run(spec, checkpoint, _epoch_logger(spec))
    payload |= dict(seconds=round(time.perf_counter() - start, 2), peak_memory_mb=round(peak["mb"]),
                    environment=environment(best_device()), data_label=source.label, simulated=source.simulated)
    path = results.write(spec, payload)
    checkpoint.unlink(missing_ok=True)
    return path


def log_file(experiment: str) -> Path:
    """Where a run of that experiment writes a line an epoch."""
    return paths.root() / "logs" / f"training_log_{experiment}.txt"


def _epoch_logger(spec: RunSpec):
    epochs = spec.config.get("training", {}).get("epochs")

    def write(entry: dict) -> None:
        line = (f"{Path(spec.filename).stem} epoch {entry['epoch']}/{epochs} train {entry['train_loss']:.6g} "
                f"val {entry['val_loss']:.6g} lr {entry['learning_rate']:g} {entry['seconds']:.1f} s\n")
        log_file(spec.experiment).parent.mkdir(parents=True, exist_ok=True)
        with open(log_file(spec.experiment), "a", encoding="utf-8") as file:
            file.write(line)
    return write


@contextmanager
def _peak_memory() -> Iterator[dict]:
    """Measures this process's largest resident memory (MB) in a thread; a GPU's peak instead where one is used."""
    peak, done = {"mb": 0.0}, threading.Event()

    def watch() -> None:
        process = psutil.Process()
        while True:
            peak["mb"] = max(peak["mb"], process.memory_info().rss / 2**20)
            if done.wait(0.05):
                return

    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        done.set()
        thread.join()
        if torch.cuda.is_available():
            peak["mb"] = torch.cuda.max_memory_allocated() / 2**20


@contextmanager
def _progress(specs: list[RunSpec], log: Path) -> Iterator[None]:
    """A bar over all epochs of all runs, whichever process they are in: it counts the log's new lines."""
    from tqdm.auto import tqdm
    epochs = {Path(spec.filename).stem: spec.config.get("training", {}).get("epochs", 1) for spec in specs}
    start, done = log.stat().st_size if log.exists() else 0, threading.Event()
    bar = tqdm(total=sum(epochs.values()), unit="epoch", desc=f"{specs[0].experiment}: {len(specs)} runs")

    def watch() -> None:
        while not done.wait(2.0):
            bar.n = sum(_last_epochs(log, start).get(name, 0) for name in epochs)
            bar.refresh()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
        bar.n = bar.total
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
