"""Scores pooled over the splits in which every viewer is tested once."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pandas as pd

from fixlib.chapters.rotated.runs import FOLDS, NAME
from fixlib.metrics import paired_difference
from fixlib.plots import interval, name_of
from fixlib.runs.study import Number, Study, recorded

ERROR_OF = {"hold_then_prior": "error", "transition_table": "error_median", "return_table": "error_median"}
ERROR_OF |= {"gru": "error_median"}


@lru_cache
def record(task: str) -> Study:
    """Every predictor of a task on OSIE, on every split."""
    return recorded(NAME, "osie", "quick", tasks=(task,))


def pooled(task: str, name: str, metric: str) -> np.ndarray:
    """A metric or label that runs keep by window, of the windows of all splits one after the other."""
    runs = [record(task).run(f"{name}.{task}.fold{fold}") for fold in range(FOLDS)]
    return np.concatenate([run.per_window[metric] for run in runs]).astype(float)


def difference(task: str, a: str, b: str, of_a: str = "bits", of_b: str = "") -> Number:
    """Mean over all windows of a's metric minus b's (without b: a's alone), with its 95% interval over all viewers."""
    subject, stimulus, frames = (pooled(task, a, label) for label in ("subject", "stimulus", "frames"))
    ours = pooled(task, a, of_a)
    theirs = pooled(task, b, of_b or of_a) if b else np.zeros_like(ours)
    return paired_difference(ours, theirs, subject, stimulus, weight=frames)


def compared(task: str) -> pd.DataFrame:
    """A row per predictor: bits, px, and what they are held against, each with its interval, as text."""
    rows = {}
    for name, error in ERROR_OF.items():
        row = {"bits": "–", "bits − transition table": "–", "px − hold, then prior": "–"}
        if error == "error_median":
            row["bits"] = interval(difference(task, name, ""))
            row["px − hold, then prior"] = interval(difference(task, name, "hold_then_prior", error, "error"))
        if name not in ("hold_then_prior", "transition_table"):
            row["bits − transition table"] = interval(difference(task, name, "transition_table"))
        row["px"] = interval(difference(task, name, "", error))
        rows[name_of(f"density_{name}" if name == "gru" else name)] = row
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("predictor")
