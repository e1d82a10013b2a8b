"""Networks beside the exact optimum, on simulated gaze whose every probability is known (chapters 4 and 6).

A study here is one of `simulated_control`: networks, baselines, and the optimum, the best that anyone could have said
on the same windows: under a loss, by the true probabilities ("density"), by the point of least expected error
("distance").
"""

import numpy as np

from fixlib.chapters.loss_comparison.tables import constant_of
from fixlib.runs.store import Run
from fixlib.runs.study import Study, facts, optimum


def optimum_of(study: Study, variant: str) -> Run:
    """The best that a network could have said: under its own loss, or else the point of least expected error."""
    about = facts(study.run(variant))
    return optimum(study, about["framing"], about["loss"], "distance", "density")


def left_to_learn(run: Run, best: Run) -> float:
    """How much of what could be learnt was not: 0 at the optimum, 1 where the loss is that of the best constant.

    NaN where there is nothing to learn: the constant is the optimum. Above 1 a network is worse than a constant.
    """
    if "test_loss" not in best.payload:
        return np.nan
    constant, least = constant_of(run), best.payload["test_loss"]
    if constant - least < 1e-6 * abs(constant) + 1e-9:
        return np.nan
    return (run.payload["test_loss"] - least) / (constant - least)
