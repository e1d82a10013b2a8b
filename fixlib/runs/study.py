"""Asking for the runs of a chapter: those recorded are read, those missing are trained."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass, replace
from types import ModuleType

import pandas as pd

from fixlib import data, system
from fixlib.devices import check_precision
from fixlib.runs.store import Results, Run, RunSpec
from fixlib.runs.sweep import carry_out, experiment_module, remove_old_checkpoints

FALLBACK = "simulated"


class ExperimentError(RuntimeError):
    """One or more runs of an experiment failed; the others are recorded, and `study` has them."""

    def __init__(self, message: str, study: Study | None = None) -> None:
        super().__init__(message)
        self.study = study


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
        return pd.DataFrame(
            [
                dict(
                    variant=run.spec.variant,
                    seed=run.spec.seed,
                    parameters=run.payload.get("parameters"),
                    test_loss=run.payload.get("test_loss"),
                    **{name: metric["value"] for name, metric in run.payload["metrics"].items()},
                )
                for run in self.runs
            ]
        )

    def intervals(self, metric: str) -> pd.DataFrame:
        """One row a run that has the metric: variant, seed, value, low, high (95% interval)."""
        return pd.DataFrame(
            [
                dict(variant=run.spec.variant, seed=run.spec.seed, **run.payload["metrics"][metric])
                for run in self.runs
                if metric in run.payload["metrics"]
            ]
        )

    def variants(self) -> list[str]:
        """Names of the variants, each once, in order."""
        return list(dict.fromkeys(run.spec.variant for run in self.runs))


def fallback_notice(requested: str) -> str:
    """The warning that simulated scanpaths stand in for recordings."""
    return (
        f"*** SIMULATED GAZE, NOT RECORDINGS ***\n"
        f"The recordings of '{requested}' could not be had (no prepared copy, no mirror, no download). Every "
        f"number and figure below is about scanpaths made by a generator.\n"
        f"To use the recordings: {data.DATASETS[requested].file.how_to_get}, or set FIXLIB_DATA_MIRROR to a "
        f"folder that holds {requested}/, then run: fixlib data prepare {requested}"
    )


def obtain(
    experiment: str,
    dataset: str = "osie",
    profile: str = "quick",
    seeds: Sequence[int] = (0,),
    results_dir: str = "",
    workers: int | None = None,
    dask: str = "",
    precision: str = "32-true",
    **choices,
) -> Study:
    """The runs of an experiment: read where they are recorded, trained where they are not.

    Args:
        experiment: one of `fixlib.runs.EXPERIMENTS`.
        dataset: a dataset's name or a folder with {train,val,test}_data.pt. Where the recordings of a named
            dataset are needed but cannot be had, `simulated` stands in and `Study.notice` says so.
        profile: "smoke", "quick" or "paper".
        seeds: one run of every network for each.
        results_dir: where runs are read from and written to, relative to the project; "" is `results`.
        workers: processes; by default one a processor core, and one altogether where there is a GPU.
        dask: "" for processes of this machine, "local" or a scheduler's address for a Dask cluster.
        precision: of the training, see `fixlib.devices`; one other than the default makes other runs.
        choices: passed to the experiment's `specs` (e.g. losses=("mse", "dice")).

    Raises:
        ValueError: an unknown experiment, dataset, profile, precision or choice.
        ExperimentError: a run failed; the others are recorded and will not be trained again. Why is kept in
            build/failed until the run succeeds.
    """
    module = experiment_module(experiment)
    _check_choices(module, choices)
    check_precision(precision)

    def specs_on(name: str) -> list[RunSpec]:
        specs = [_in_precision(spec, precision) for spec in module.specs(name, profile, seeds, **choices)]
        return list({spec.key: spec for spec in specs}.values())  # each once, however often it was asked for

    results = Results(system.root() / results_dir if results_dir else None)
    specs = specs_on(dataset)
    missing = [spec for spec in specs if not results.has(spec)]
    used = dataset
    if missing and not _at_hand(dataset, missing):
        used = FALLBACK
        specs = specs_on(used)
        missing = [spec for spec in specs if not results.has(spec)]
        _at_hand(used, missing)
    remove_old_checkpoints((spec for spec in specs if spec not in missing), results)
    read = {spec.key: results.read(spec) for spec in specs if spec not in missing}  # a damaged file is found first
    outcomes = carry_out(missing, results, workers, dask) if missing else []
    read |= {spec.key: results.read(spec) for spec in missing if results.has(spec)}
    study = Study(
        dataset,
        used,
        tuple(read[spec.key] for spec in specs if spec.key in read),
        sum(outcome.state == "trained" for outcome in outcomes),
    )
    if failed := [f"{o.spec.filename}: {o.reason}" for o in outcomes if o.state == "failed"]:
        raise ExperimentError(
            "\n  ".join([f"{len(failed)} of {len(missing)} runs failed, the others are recorded:", *failed]), study
        )
    return study


def recorded(experiment: str, dataset: str, profile: str, seeds: Sequence[int] = (0,), **choices) -> Study:
    """Those of an experiment's runs that are recorded in `results`; nothing is trained. Arguments as of `obtain`."""
    module = experiment_module(experiment)
    _check_choices(module, choices)
    results = Results()
    specs = module.specs(dataset, profile, seeds, **choices)
    return Study(dataset, dataset, tuple(results.read(spec) for spec in specs if results.has(spec)), trained=0)


def _in_precision(spec: RunSpec, precision: str) -> RunSpec:
    """The default is not written into a configuration, so that runs recorded before there was a choice are found."""
    if precision == "32-true" or "training" not in spec.config:
        return spec
    return replace(spec, config=spec.config | dict(training=spec.config["training"] | dict(precision=precision)))


def _check_choices(module: ModuleType, choices: dict) -> None:
    known = list(inspect.signature(module.specs).parameters)[3:]
    for name in choices:
        if name not in known:
            raise ValueError(f"{module.NAME} has no choice {name!r}; it has: {', '.join(known) or 'none'}")


def _at_hand(dataset: str, specs: list[RunSpec]) -> bool:
    """Whether the frames that these runs ask for can be had; prepared here, once, where they can."""
    try:
        for rate_hz, size in {(spec.config["data"]["rate_hz"], spec.config["data"]["size"]) for spec in specs}:
            data.open_dataset(dataset, rate_hz, size)
    except data.DataUnavailable as reason:
        print(f"{reason}\n{fallback_notice(dataset)}", flush=True)
        return False
    return True
