"""The comparisons behind chapter 4: the book's first table, and networks beside the best constant of their loss."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd

from fixlib.chapters.loss_comparison.runs import FURTHER_LOSSES, LOSSES, NAME
from fixlib.losses import make_loss
from fixlib.plots import in_text, interval, name_of
from fixlib.runs.store import Run
from fixlib.runs.study import Study, difference, if_recorded, recorded, value
from fixlib.theory.outputs import best_constant_loss

EVERY_LOSS = (*LOSSES, *FURTHER_LOSSES)
SEEDS = (0, 1, 2)
SEQUENCE = "Sequence model (chapter 5)"
BASELINES = ("repeat_last", "hold_then_prior", "dwell_table", "return_table")
REFERENCE = "hold_then_prior"  # what the errors of all others are held against
# Metric -> its column in `headline`, how its numbers are written, which is best.
COLUMNS = {
    "white_pixel_recall": ("recall at 0.5", ".3f", "max"),
    "average_precision": ("average precision", ".3f", "max"),
    "bits": ("bits", ".2f", "max"),
    "error_median": ("px", ".2f", "min"),
}
LOSS, DIFFERENCE = "loss / constant", "px − hold, then prior"
WRITTEN = {column: written for column, written, _ in COLUMNS.values()}
BEST = {column: best for column, _, best in COLUMNS.values()}


def record() -> Study:
    """Every loss on OSIE at the original size, three seeds, and what needs no network."""
    return recorded(NAME, "osie", "paper", SEEDS, losses=EVERY_LOSS)


def tuned(dataset: str = "osie") -> dict[str, list[Run]]:
    """Each loss at its best: three seeds where every loss has them, else the first, of the losses that have it."""
    for seeds in (SEEDS, SEEDS[:1]):
        every = {name: if_recorded(NAME, dataset, "tuned", seeds, losses=(name,)) for name in EVERY_LOSS}
        found = {name: study.runs_of(name) for name, study in every.items() if study}
        if len(found) == len(EVERY_LOSS):
            break
    return found


def sequence() -> list[Run]:
    """Chapter 5's model of positions, on the same windows, three seeds."""
    study = recorded("how_predictable", "osie", "quick", SEEDS, tasks=("10to10",), networks=("gru",))
    return study.runs_of("gru.10to10")


def headline() -> pd.DataFrame:
    """The book's first table: a row per predictor, means over its seeds, all on the same test windows of OSIE.

    A network's seed that has `failed` has a row of its own as well. NaN where there is no such number: a baseline has
    no loss; bits are of networks that were kept, at the original size those `repeated` whose px lie within the
    intervals of the record. Show it with `fixlib.plots.table(found, WRITTEN, BEST)`.
    """
    study = record()
    named = {name_of(name): study.runs_of(name) for name in BASELINES}
    for name in EVERY_LOSS:
        runs = study.runs_of(name)
        named[name_of(name)] = runs
        named |= {f"– {in_text(name)}, seed {run.spec.seed}, failed": [run] for run in runs if failed(run, runs)}
    named |= {f"{name_of(name)}, {at_its_best(runs)}": runs for name, runs in tuned().items()}
    found = compared(named | {SEQUENCE: sequence()}, study.runs_of(REFERENCE))
    for name, again in repeated().items():
        if _inside(again, study.runs_of(name))["error_median"]:  # else it is another network than the recorded ones
            found.loc[name_of(name), "bits"] = again.metrics["bits"]["value"]
    return found


def repeated() -> dict[str, Run]:
    """Loss -> seed 0 of the `record` once more, in bfloat16, with its network kept; of the losses that have it."""
    seed_0 = NAME, "osie", "paper", SEEDS[:1]
    found = {name: if_recorded(*seed_0, precision="bf16", losses=(name,)) for name in EVERY_LOSS}
    return {name: study.run(name) for name, study in found.items() if study}


def agreement() -> pd.DataFrame:
    """What bfloat16 changes: a row per loss `repeated`; metrics of three seeds in float32, seed 0 again in bfloat16.

    "within": how many of all metrics lie between the ends of the 95% intervals of the three seeds.
    """
    study, rows = record(), {}
    for name, again in repeated().items():
        row: dict[str, Any] = {}
        for metric in ("average_precision", "error_median"):
            column, written, _ = COLUMNS[metric]
            seeds = [run.metrics[metric]["value"] for run in study.runs_of(name)]
            row[f"{column}, float32"] = ", ".join(f"{value:{written}}" for value in seeds)
            row[f"{column}, bfloat16"] = f"{again.metrics[metric]['value']:{written}}"
        inside = _inside(again, study.runs_of(name)).values()
        rows[name_of(name)] = row | {"within": f"{sum(inside)} of {len(inside)}"}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("loss")


def _inside(again: Run, seeds: Sequence[Run]) -> dict[str, bool]:
    """Metric -> whether it lies between the ends of the 95% intervals of the seeds."""
    names = [name for name in seeds[0].metrics if name in again.metrics]
    ends = {name: [run.metrics[name][end] for run in seeds for end in ("low", "high")] for name in names}
    return {name: min(ends[name]) <= again.metrics[name]["value"] <= max(ends[name]) for name in names}


def compared(named: Mapping[str, Sequence[Run]], reference: Sequence[Run]) -> pd.DataFrame:
    """The columns of `headline` for other runs: name -> those of a predictor, on the windows of `reference`."""
    rows = {name: _row(runs, reference) for name, runs in named.items()}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("predictor")


def _row(runs: Sequence[Run], reference: Sequence[Run]) -> dict[str, Any]:
    cost = np.mean([over_constant(run) for run in runs]) if runs[0].history else np.nan
    row: dict[str, Any] = {LOSS: "> 1000" if cost > 1000 else "–" if np.isnan(cost) else f"{cost:.3f}"}
    row |= {column: value(runs, metric) for metric, (column, _, _) in COLUMNS.items()}
    itself = runs[0].spec == reference[0].spec
    return row | {DIFFERENCE: "–" if itself else interval(difference(runs, reference, "error_median"))}


def at_its_best(runs: Sequence[Run]) -> str:
    """How a table calls runs of the size `tuned`."""
    return "tuned" if len(runs) > 1 else "tuned (one seed)"


def by_horizon(study: Study, variant: str, metric: str) -> np.ndarray:
    """A metric frame by frame, (T,), mean over seeds."""
    return np.mean([run.by_horizon[metric] for run in study.runs_of(variant)], axis=0)


def constant_of(run: Run) -> float:
    """What the loss of a network costs where every pixel is given the loss's own best constant."""
    loss = run.spec.config.loss
    return _constant_loss(loss.name, run.spec.config.data.size, **loss.options)


@lru_cache
def _constant_loss(name: str, size: int, **options: float) -> float:
    return best_constant_loss(make_loss(name, **options), size)


def over_constant(run: Run) -> float:
    """A network's test loss over that of its best constant: from 1 on, it learnt nothing of use.

    Huge where the constant costs next to nothing (concentration).
    """
    return run.payload["test_loss"] / constant_of(run)


def failed(run: Run, runs: Sequence[Run]) -> bool:
    """Whether a seed gained less than half of what the best seed of its loss gained over the best constant."""
    most = 1 - min(map(over_constant, runs))
    return most > 0.01 and 1 - over_constant(run) < most / 2
