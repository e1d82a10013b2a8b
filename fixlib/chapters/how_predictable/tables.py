"""The comparisons behind chapter 5: predictors from the centre bias to sequence models, in bits and in px."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import pandas as pd

from fixlib.chapters.how_predictable.runs import NAME, NETWORKS
from fixlib.plots import interval
from fixlib.runs.store import Run
from fixlib.runs.study import Number, Study, difference, px_difference, recorded, value

SEEDS = (0, 1, 2)
IN_WORDS = {"10to10": "ten frames ahead", "4to1_10hz": "the next frame (100 ms)", "4to1_fixations": "the next fixation"}
WRITTEN = dict(bits=".2f", px=".2f", AP=".3f")
BEST = dict(bits="max", px="min", AP="max")


@lru_cache
def record(task: str) -> Study:
    """Every predictor of a task on OSIE."""
    return recorded(NAME, "osie", "quick", SEEDS, tasks=(task,), networks=tuple(NETWORKS))


def gain(task: str, a: str, b: str) -> Number:
    """Bits of predictor a minus those of b, on OSIE."""
    return record(task).difference(f"{a}.{task}", f"{b}.{task}", "bits")


def compared(named: Mapping[str, Sequence[Run]], table: Sequence[Run], rule: Sequence[Run]) -> pd.DataFrame:
    """A row per predictor, means over its seeds: bits, px, average precision (AP); and paired differences, as text.

    Args:
        named: name -> runs of a predictor.
        table: what the bits are held against.
        rule: what the errors are held against.
    """
    rows = {name: _row(runs, table, rule) for name, runs in named.items()}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("predictor")


def _row(runs: Sequence[Run], table: Sequence[Run], rule: Sequence[Run]) -> dict[str, Any]:
    alone = runs[0].spec == table[0].spec or "bits" not in runs[0].per_window
    gained = "–" if alone else interval(difference(runs, table, "bits"))
    moved = "–" if runs[0].spec == rule[0].spec else interval(px_difference(runs, rule))
    px = value(runs, "error_median" if "error_median" in runs[0].metrics else "error")
    bits = {"bits": value(runs, "bits"), "bits − transition table": gained}
    return bits | {"px": px, "px − hold, then prior": moved, "AP": value(runs, "average_precision")}
