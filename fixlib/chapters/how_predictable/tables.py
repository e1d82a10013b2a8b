"""The comparisons behind chapter 5: predictors from the centre bias to sequence models, in bits and in px."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import pandas as pd

from fixlib.chapters.how_predictable.runs import NAME
from fixlib.plots import interval
from fixlib.runs.store import Run
from fixlib.runs.study import Number, Study, difference, px_difference, px_of, recorded, value

SEEDS = (0, 1, 2)
IN_WORDS = {"10to10": "ten frames ahead", "4to1_10hz": "the next frame (100 ms)", "4to1_fixations": "the next fixation"}
WRITTEN = dict(bits=".2f", px=".2f", AP=".3f")
BEST = dict(bits="max", px="min", AP="max")
# What a predictor knows more than another one.
STEPS = {
    "typical displacements": ("displacement_table", "transition_table"),
    "how long it has rested": ("dwell_table", "displacement_table"),
    "where it was before": ("return_table", "dwell_table"),
    "all of it, by a network": ("gru", "return_table"),
    "the picture (estimate)": ("others_and_history", "return_table"),
}
# Where gaze is in a frame, held against the frames seen (`fixlib.metrics.kinds_of_frames`).
KINDS = {
    "stay": "in the last pixel seen",
    "near": "at most 3 px from it",
    "back": "elsewhere, within 1.5 px of an earlier pixel",
    "elsewhere": "anywhere else",
}
# The sequence model with one part changed or less.
PARTS = {
    "transformer": "Transformer for GRU",
    "no_recurrence": "no recurrence: each frame alone",
    "no_pointer": "no pointer",
    "no_stay": "no stay",
    "no_gaussians": "a softmax for Gaussians and pointer",
    "no_mirror": "no mirroring",
}


@lru_cache
def record(task: str) -> Study:
    """Every predictor of a task on OSIE."""
    return recorded(NAME, "osie", "quick", SEEDS, tasks=(task,), networks=("gru",))


@lru_cache
def control(task: str) -> Study:
    """The same on simulated gaze, whose best possible prediction is known."""
    seeds = SEEDS if task != "4to1_10hz" else SEEDS[:1]
    return recorded(NAME, "simulated", "quick", seeds, tasks=(task,), networks=("gru",))


def regret(task: str, name: str) -> float:
    """Bits that a predictor gives away on simulated gaze, mean over its seeds."""
    runs = control(task).runs_of(f"{name}.{task}")
    return sum(run.payload["regret"]["bits"] for run in runs) / len(runs)


def parts() -> dict[str, list[Run]]:
    """The runs of `PARTS` by their words, ten frames ahead on OSIE: of the seed that all have."""
    study = recorded(NAME, "osie", "quick", (0,), tasks=("10to10",), networks=tuple(PARTS))
    return {words: study.runs_of(f"{name}.10to10") for name, words in PARTS.items()}


def transformer() -> list[Run]:
    """The Transformer in the GRU's place, ten frames ahead on OSIE: two seeds."""
    study = recorded(NAME, "osie", "quick", (0, 1), tasks=("10to10",), networks=("transformer",))
    return study.runs_of("transformer.10to10")


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


def of_task(study: Study, task: str, label: Mapping[str, str]) -> pd.DataFrame:
    """`compared` of those predictors of a study (name -> label) that are recorded at a task."""
    runs = {name: study.runs_of(f"{name}.{task}") for name in label}
    named = {label[name]: found for name, found in runs.items() if found}
    return compared(named, runs["transition_table"], runs["hold_then_prior"])


def _row(runs: Sequence[Run], table: Sequence[Run], rule: Sequence[Run]) -> dict[str, Any]:
    alone = runs[0].spec == table[0].spec or "bits" not in runs[0].per_window
    gained = "–" if alone else interval(difference(runs, table, "bits"))
    moved = "–" if runs[0].spec == rule[0].spec else interval(px_difference(runs, rule))
    found = {"bits": value(runs, "bits"), "bits − transition table": gained, "px": value(runs, px_of(runs))}
    return found | {"px − hold, then prior": moved, "AP": value(runs, "average_precision")}


def by_kind(named: Mapping[str, Sequence[Run]], reference: Sequence[Run]) -> pd.DataFrame:
    """A row per kind of frame: its share, the bits that each predictor has in such frames, and the last's gain.

    Args:
        named: name -> runs of a predictor that gives a density.
        reference: those that the last one's contribution to the bits is held against.
    """
    rows = {}
    for kind, words in KINDS.items():
        share = value(reference, f"share_{kind}")
        inside = {name: value(runs, f"bits_{kind}") / share for name, runs in named.items()}
        gained = difference([*named.values()][-1], reference, f"bits_{kind}")
        rows[words] = {"share": share} | inside | {f"{[*named][-1]} adds": interval(gained)}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("gaze is …")
