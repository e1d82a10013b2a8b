"""Scores pooled over the splits in which every viewer is tested once."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pandas as pd

from fixlib.chapters.rotated.runs import FOLDS, KINDS, NAME
from fixlib.metrics import paired_difference
from fixlib.plots import interval, name_of
from fixlib.runs.study import Number, Study, px_of, recorded

# The predictors of `KINDS`, as their runs are named.
PREDICTORS = tuple("gru" if kind == "density" else kind for kind in KINDS)
RULE, COUNTED = "hold_then_prior", "transition_table"


@lru_cache
def record(task: str) -> Study:
    """Every predictor of a task on OSIE, on every split."""
    return recorded(NAME, "osie", "quick", tasks=(task,))


def pooled(task: str, name: str, metric: str) -> np.ndarray:
    """A metric or label that runs keep by window, or "px", of the windows of all splits one after the other."""
    runs = [record(task).run(f"{name}.{task}.fold{fold}") for fold in range(FOLDS)]
    return np.concatenate([run.per_window[px_of([run]) if metric == "px" else metric] for run in runs]).astype(float)


def level(task: str, name: str, metric: str) -> Number:
    """Mean of "bits" or "px" over all windows, with its 95% interval over all viewers and pictures."""
    values = pooled(task, name, metric)
    return _over_all(task, values, np.zeros_like(values))


def difference(task: str, a: str, b: str, metric: str) -> Number:
    """The same of a's metric minus b's, window by window."""
    return _over_all(task, pooled(task, a, metric), pooled(task, b, metric))


def by_viewer(task: str, a: str, b: str, metric: str) -> list[float]:
    """The same of each viewer alone."""
    apart, subject = pooled(task, a, metric) - pooled(task, b, metric), pooled(task, RULE, "subject")
    weight = pooled(task, RULE, "frames")
    return [float(np.average(apart[subject == who], weights=weight[subject == who])) for who in np.unique(subject)]


def _over_all(task: str, a: np.ndarray, b: np.ndarray) -> Number:
    subject, stimulus, frames = (pooled(task, RULE, label) for label in ("subject", "stimulus", "frames"))
    return paired_difference(a, b, subject, stimulus, weight=frames)


def compared(task: str) -> pd.DataFrame:
    """A row per predictor: bits and px, and what they are held against, each with its interval, as text."""
    rows = {}
    for name in PREDICTORS:
        row = {
            "bits": interval(level(task, name, "bits"), ".2f") if name != RULE else "–",
            "bits − transition table": "–",
            "px": interval(level(task, name, "px"), ".2f"),
            "px − hold, then prior": "–",
        }
        if name not in (RULE, COUNTED):
            row["bits − transition table"] = interval(difference(task, name, COUNTED, "bits"))
        if name != RULE:
            row["px − hold, then prior"] = interval(difference(task, name, RULE, "px"))
        rows[name_of("density_gru" if name == "gru" else name)] = row
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("predictor")
