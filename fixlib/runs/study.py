"""Asking for the runs of a chapter, and what they say as one table.

`obtain` reads those recorded and trains those missing; `recorded` reads, and says what is missing.
"""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from fixlib import data
from fixlib.metrics import paired_difference
from fixlib.runs.store import Results, Run, RunSpec
from fixlib.runs.sweep import carry_out, experiment_module, remove_old_checkpoints
from fixlib.training import check_precision

FALLBACK, SIMULATED = "simulated", "*** SIMULATED GAZE, NOT RECORDINGS ***"
OWN_RESULTS = "build/results"  # of recordings of one's own, so that they do not mix with the book's
OWN = (
    "Recordings of your own. In a chapter, figures and tables that name them are about them; its text, and what it "
    "shows as recorded, are about the book's data."
)
Number = dict[str, float]  # value, low, high: ends of a 95% interval
SINGLE = ("test_loss", "parameters")


class ExperimentError(RuntimeError):
    """One or more runs of an experiment failed; the others are recorded, and `study` has them."""

    def __init__(self, message: str, study: "Study | None" = None) -> None:
        super().__init__(message)
        self.study = study


class NotRecorded(FileNotFoundError):
    """Runs that are only to be shown are not recorded."""


@dataclass(frozen=True)
class Study:
    """The runs of one experiment on one dataset."""

    requested: str  # the dataset that was asked for
    dataset: str  # that the runs are on; another than `requested` only where that cannot be had
    runs: tuple[Run, ...]  # in the order of the experiment's specifications
    trained: int = 0  # how many of them were trained just now rather than read

    @property
    def own(self) -> bool:
        """Whether the data are the reader's own, a folder."""
        return self.dataset not in data.DATASETS

    @property
    def label(self) -> str:
        """What the data is, for captions: e.g. "OSIE (recorded gaze)"."""
        return self.runs[0].payload["data_label"] if self.runs else data.describe(self.dataset).label

    @property
    def simulated(self) -> bool:
        """Whether the data was made, and not recorded of anybody."""
        return self.runs[0].payload["simulated"] if self.runs else data.describe(self.dataset).simulated

    @property
    def notice(self) -> str:
        """What a reader has to know first: whose gaze this is, and whether it is gaze at all."""
        if self.dataset != self.requested:
            return fallback_notice(self.requested)
        told = f"Data: {self.label}. Runs: {len(self.runs)}, of which trained just now: {self.trained}."
        more = [data.describe(self.dataset).notice, OWN if self.own else ""]
        return "\n".join([told, *filter(None, more)])

    def variants(self, **wanted: Any) -> list[str]:
        """Names of the variants, each once, in order; of those that have these `facts`, e.g. `trained=True`."""
        found = [run for run in self.runs if not wanted or wanted.items() <= facts(run).items()]
        return list(dict.fromkeys(run.spec.variant for run in found))

    def run(self, variant: str, seed: int | None = None) -> Run:
        """The run of that variant (and seed: the first recorded by default); KeyError naming those there are."""
        for run in self.runs_of(variant):
            if seed in (None, run.spec.seed):
                return run
        raise KeyError(f"no run of variant {variant!r} with seed {seed}; there are: {', '.join(self.variants())}")

    def runs_of(self, variant: str) -> list[Run]:
        """The runs of a variant, one a seed; none where there is no such variant."""
        return [run for run in self.runs if run.spec.variant == variant]

    def frame(self) -> pd.DataFrame:
        """One row a run and metric: `facts` of the run; options; metric, value, low, high (95% interval).

        `options` says in words what differs from the first run of the same model, loss and framing. Metrics without
        an interval: `test_loss` and `parameters`, NaN where nothing was trained.
        """
        rows: list[dict[str, Any]] = []
        usual: dict[tuple, Run] = {}
        for run in self.runs:
            about = facts(run)
            unchanged = usual.setdefault((about["model"], about["loss"], about["framing"]), run)
            about["options"] = changes(run, unchanged)
            numbers = run.metrics | {name: dict(value=run.payload.get(name, np.nan)) for name in SINGLE}
            rows += [about | dict(metric=name, **number) for name, number in numbers.items()]
        return pd.DataFrame(rows)

    def table(self) -> pd.DataFrame:
        """One row a run that has metrics: variant, seed, and every metric's value."""
        names = dict(index=["variant", "seed"], columns="metric", values="value")
        return self.frame().pivot_table(**names, sort=False).reset_index().rename_axis(columns=None)

    def difference(self, a: str, b: str, metric: str, other: "Study | None" = None) -> Number:
        """Mean over windows of variant a's metric minus b's, with its 95% interval; b is of `other`, where given."""
        return difference(self.runs_of(a), (other or self).runs_of(b), metric)


# How a run's configuration is read, by figures and tables too: only here.


def predictor_of(run: Run) -> str:
    """What names and colors go by: a frame network's loss, "hybrid_l1", "gru_l1", "density_gru", a baseline's name."""
    kind, loss = run.spec.config.model.kind, run.spec.config.loss.name
    if kind == "simvp":
        return loss
    if kind == "density":
        return f"density_{run.spec.config.model.options['core']}"
    name = {"regression": "hybrid", "gru": "gru"}.get(kind)
    return f"{name}_{'mse' if loss == 'l2' else loss}" if name else kind


def optimum(study: Study, framing: str, *losses: str) -> Run:
    """The optimum of a framing under the first of those losses for which it is known; KeyError where there is none."""
    for loss in losses:
        for name in study.variants(model="optimum", framing=framing, loss=loss):
            return study.run(name)
    raise KeyError(f"no optimum under {' or '.join(losses)}, {framing.lower()}")


def facts(run: Run) -> dict[str, Any]:
    """What was run, in plain values; `framing` and `task` in words."""
    where, rate = run.spec.config.data, run.spec.config.data.rate_hz
    return dict(
        variant=run.spec.variant,
        predictor=predictor_of(run),
        model=run.spec.config.model.kind,
        loss=run.spec.config.loss.name,
        framing="One frame a fixation" if rate is None else f"One frame every {1000 / rate:g} ms",
        rate_hz=rate,
        task=f"{where.n_in} frames in, {where.n_out} out",
        size=where.size,
        dataset=run.spec.dataset,
        profile=run.spec.profile,
        seed=run.spec.seed,
        trained=bool(run.spec.config.epochs),
    )


def changes(run: Run, unchanged: Run) -> str:
    """What differs between the models and losses of two runs, in a few words."""
    configs = (one.spec.config for one in (run, unchanged))
    ours, theirs = (config.model.options | config.loss.options for config in configs)
    return ", ".join(_in_words(name, ours[name], theirs.get(name)) for name in ours if ours[name] != theirs.get(name))


def _in_words(option: str, value: Any, before: Any) -> str:
    if option in (said := dict(normalise="concentration normalised", density="concentration of a density")):
        return said[option]
    if option.endswith("_weight") and option != "pos_weight" and before:  # a part of the composite
        return f"{option.removesuffix('_weight')} " + (f"x {value / before:g}" if value else "off")
    if value is False:
        return f"no {option}"
    name = dict(prior_probability="prior bias", pos_weight="weight").get(option, option)
    return f"{name} {value}" if isinstance(value, str) else f"{name} {value:g}"


def mean(runs: Sequence[Run], metric: str) -> Number:
    """A metric and the ends of its 95% interval, each averaged over runs."""
    return {key: float(np.mean([run.metrics[metric][key] for run in runs])) for key in ("value", "low", "high")}


def value(runs: Sequence[Run], metric: str) -> float:
    """A metric averaged over runs; NaN where none of them has it."""
    values = [run.metrics[metric]["value"] for run in runs if metric in run.metrics]
    return float(np.mean(values)) if values else np.nan


def px_difference(a: Sequence[Run], b: Sequence[Run]) -> Number:
    """Error of a minus that of b, see `difference` and `px_of`."""
    return difference(a, b, px_of(a), px_of(b))


def px_of(runs: Sequence[Run]) -> str:
    """The metric that is a predictor's error in px; where it gives maps, that of their geometric median."""
    return "error_median" if "error_median" in runs[0].metrics else "error"


def difference(a: Sequence[Run], b: Sequence[Run], metric: str, metric_of_b: str = "") -> Number:
    """Mean over windows of a's metric minus b's, with its paired 95% interval.

    Args:
        a, b: the runs of a predictor each, one a seed: averaged window by window.
        metric, metric_of_b: that runs keep by window (`fixlib.runs.store.PER_WINDOW`); the same by default.

    Raises:
        ValueError: they were scored on different windows, or the metric is undershoot, a ratio of sums, whose
            difference is no mean over windows.
    """
    if metric.startswith("undershoot"):
        raise ValueError(f"{metric} is a ratio of two sums over all windows: its difference is no mean over windows")
    if len({run.payload["content_sha256"]["test"] for run in (*a, *b)}) != 1:
        names = " and ".join(f"{runs[0].spec.experiment}/{runs[0].spec.filename}" for runs in (a, b))
        raise ValueError(f"{names} were scored on different test windows: their difference means nothing")
    sides = ((a, metric), (b, metric_of_b or metric))
    ours, theirs = (np.mean([run.per_window[name].astype(float) for run in runs], axis=0) for runs, name in sides)
    windows = a[0].per_window
    frames = windows["changed_frames" if metric.startswith("changed_") else "frames"]
    return paired_difference(ours, theirs, windows["subject"], windows["stimulus"], weight=frames)


def fallback_notice(requested: str) -> str:
    """The warning that simulated scanpaths stand in for recordings."""
    file = data.DATASETS[requested].file
    assert file, "what is made from a seed can always be had"
    return (
        f"{SIMULATED}\nThe recordings of '{requested}' could not be had (no prepared copy, no mirror, no download). "
        "Every number and figure below is about scanpaths made by a generator.\n"
        f"To use the recordings: {file.how_to_get}, or set FIXLIB_DATA_MIRROR to a "
        f"folder that holds {requested}/, then run: fixlib data prepare {requested}"
    )


def recorded(
    experiment: str,
    dataset: str,
    profile: str,
    seeds: Sequence[int] = (0,),
    results_dir: str = "",
    precision: str = "float32",
    **choices: Any,
) -> Study:
    """The runs of an experiment as recorded; nothing is trained. Arguments as of `obtain`.

    Raises:
        NotRecorded: runs are missing; it names them, and the command that records them.
    """
    specs, results = _specs(experiment, dataset, profile, seeds, choices, precision), results_of(dataset, results_dir)
    if missing := [f"{spec.variant} (seed {spec.seed})" for spec in specs if not results.has(spec)]:
        lists = {name: ",".join(map(str, value)) for name, value in (dict(seeds=seeds) | choices).items()}
        options = dict(dataset=dataset, profile=profile, results=results_dir) | lists
        if precision != "float32":
            options["precision"] = precision
        command = " ".join(f"--{name} {value}" for name, value in options.items() if value)
        raise NotRecorded(
            f"{len(missing)} of {len(specs)} runs of {experiment} are not recorded: {', '.join(missing[:5])}"
            f"{' and others' if missing[5:] else ''}. What only shows them does not train; record them with: "
            f"fixlib run {experiment} {command}"
        )
    return Study(dataset, dataset, tuple(results.read(spec) for spec in specs))


def if_recorded(*which: Any, **choices: Any) -> Study | None:
    """As `recorded`; None where runs are missing."""
    try:
        return recorded(*which, **choices)
    except NotRecorded:
        return None


def obtain(
    experiment: str,
    dataset: str = "osie",
    profile: str = "quick",
    seeds: Sequence[int] = (0,),
    results_dir: str = "",
    workers: int | None = None,
    dask: str = "",
    precision: str = "float32",
    **choices: Any,
) -> Study:
    """The runs of an experiment: read where they are recorded, trained where they are not.

    Args:
        experiment: a folder of `fixlib/chapters` with runs.
        dataset: a dataset's name or a folder with {train,val,test}_data.pt. Where the recordings of a named
            dataset are needed but cannot be had, `simulated` stands in and `Study.notice` says so.
        profile: "smoke", "quick", "paper" or "tuned".
        seeds: one run of every network for each.
        results_dir: where runs are read from and written to, relative to the project; "" is `results`, and
            `build/results` for a folder.
        workers: processes; by default one a processor core, and one altogether where there is a GPU.
        dask: "" for processes of this machine, "local" or a scheduler's address for a Dask cluster.
        precision: of the training, see `fixlib.training`; one other than the default makes other runs.
        choices: passed to the experiment's `specs` (e.g. losses=("mse", "dice")).

    Raises:
        ValueError: an unknown experiment, dataset, profile, precision or choice.
        ExperimentError: a run failed; the others are recorded and will not be trained again. Why is kept in
            build/failed until the run succeeds.
    """
    precision = check_precision(precision)
    results = results_of(dataset, results_dir)
    for used in (dataset, FALLBACK):
        specs = _specs(experiment, used, profile, seeds, choices, precision)
        missing = [spec for spec in specs if not results.has(spec)]
        if _at_hand(used, missing):
            break
    remove_old_checkpoints((spec for spec in specs if spec not in missing), results)
    read = {spec.key: results.read(spec) for spec in specs if spec not in missing}  # a damaged file is found first
    outcomes = carry_out(missing, results, workers, dask) if missing else []
    read |= {spec.key: results.read(spec) for spec in missing if results.has(spec)}
    trained = sum(outcome.state == "trained" for outcome in outcomes)
    study = Study(dataset, used, tuple(read[spec.key] for spec in specs if spec.key in read), trained)
    if failed := [f"{o.spec.filename}: {o.reason}" for o in outcomes if o.state == "failed"]:
        head = f"{len(failed)} of {len(missing)} runs failed, the others are recorded:"
        raise ExperimentError("\n  ".join([head, *failed]), study)
    return study


def results_of(dataset: str, folder: str = "") -> Results:
    """Where the runs on a dataset are recorded: those on a folder apart from the book's, unless a place is named."""
    return Results(folder or ("" if not dataset or dataset in data.DATASETS else OWN_RESULTS))


def _specs(
    experiment: str, dataset: str, profile: str, seeds: Sequence[int], choices: dict, precision: str
) -> list[RunSpec]:
    """What an experiment runs, each once, however often it was asked for; ValueError for a choice that it has not."""
    module = experiment_module(experiment)
    known = list(inspect.signature(module.specs).parameters)[3:]
    for name in choices:
        if name not in known:
            raise ValueError(f"{module.NAME} has no choice {name!r}; it has: {', '.join(known) or 'none'}")
    specs = module.specs(dataset, profile, seeds, **choices)
    specs = [replace(spec, config=spec.config.in_precision(precision)) for spec in specs]
    return list({spec.key: spec for spec in specs}.values())


def _at_hand(dataset: str, specs: list[RunSpec]) -> bool:
    """Whether the frames that these runs ask for can be had; prepared here, once, where they can."""
    try:
        for rate_hz, size in {(spec.config.data.rate_hz, spec.config.data.size) for spec in specs}:
            data.open_dataset(dataset, rate_hz, size)
    except data.DataUnavailable as reason:
        print(f"{reason}\n{fallback_notice(dataset)}", flush=True)
        return False
    return True
