"""Every viewer tested once: chapter 5's comparisons on each split of `fixlib.data.open_rotated`.

The usual test part has few viewers, so that a level (bits, px) is known to half a bit. Pooled over splits, all count.
"""

from collections.abc import Sequence
from dataclasses import replace

from fixlib.chapters.how_predictable import runs as how_predictable
from fixlib.runs.config import RunSpec, get_profile, make_spec

NAME = "rotated"
TASKS = ("10to10", "4to1_fixations")
KINDS = ("hold_then_prior", "transition_table", "return_table", "density")
FOLDS = 4


def specs(dataset: str, profile: str, seeds: Sequence[int] = (0,), tasks: Sequence[str] = TASKS) -> list[RunSpec]:
    """One run a predictor (tables, the sequence model), task, split and seed; variants read NAME.TASK.foldK."""
    size, usual = get_profile(profile), how_predictable.specs(dataset, profile, seeds, tasks, networks=("gru",))
    rotated = [spec for spec in usual if spec.config.model.kind in KINDS]
    return [
        make_spec(NAME, f"{spec.variant}.fold{fold}", size, spec.seed, replace(spec.config, data=where))
        for spec in rotated
        for fold in range(FOLDS)
        for where in [replace(spec.config.data, fold=fold)]
    ]
