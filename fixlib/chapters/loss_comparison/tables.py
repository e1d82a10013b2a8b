"""The comparisons behind chapter 4: networks beside the best constant of their loss, and by how far they look ahead."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from fixlib.chapters.loss_comparison.runs import FURTHER_LOSSES, LOSSES, NAME
from fixlib.losses import make_loss
from fixlib.runs.store import Run
from fixlib.runs.study import Study, recorded
from fixlib.theory.outputs import best_constant_loss


def recorded_sizes() -> list[Study]:
    """Every loss on OSIE as recorded: a study of the `quick` runs, and one of the `paper` runs."""
    losses = (*LOSSES, *FURTHER_LOSSES)
    return [recorded(NAME, "osie", "quick", losses=losses), recorded(NAME, "osie", "paper", (0, 1, 2), losses=losses)]


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


def beaten_constant(run: Run) -> bool:
    """Whether a network's test loss is below that of its loss's best constant."""
    return run.payload["test_loss"] < constant_of(run)
