"""The figure of the control: networks beside the exact optimum, on simulated gaze (chapter 4)."""

from __future__ import annotations

from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from fixlib.chapters.simulated_control.runs import NAME
from fixlib.chapters.simulated_control.tables import left_to_learn, optimum_of
from fixlib.plots import Row, color_of, dots, figure, name_of
from fixlib.runs.study import Study, facts

MOST_LEFT = 2.0  # where the panel of what is left to be learnt ends; networks beyond are drawn as arrows there
# Metric -> the title of its panel, how its numbers are written.
SCORES = {
    "white_pixel_recall": ("Recall at 0.5\n", ".2f"),
    "best_f1": ("Best F1 at any threshold\n", ".3f"),
    "error_median": ("Mean pixel error (px),\nby the geometric median", ".2f"),
}


@figure("04_beside_optimum", of=NAME, dataset="simulated", seeds=(0, 1, 2))
def beside_optimum(study: Study) -> Figure:
    """Each frame network (a dot a seed, with its 95% interval) beside the best possible (diamond), a row a framing."""
    networks = {framing: study.variants(framing=framing, model="simvp") for framing in study.framings()}
    counts = [max(4, len(names)) for names in networks.values()]
    size = (2.1 * (1 + len(SCORES)) + 2.2, 0.36 * sum(counts) + 1.1 * len(counts) + 0.4)
    grid = dict(squeeze=False, sharey="row", height_ratios=counts, figsize=size)
    drawn, panels = plt.subplots(len(counts), 1 + len(SCORES), **grid)
    for (framing, names), (share, *others) in zip(networks.items(), panels):
        dots(share, [_left(study, name) for name in names])
        share.set_title("Still to be learnt\n(1 constant, 0 optimum)", fontsize=9)
        share.set_ylabel(framing, weight="bold")
        for axes, (metric, (title, written)) in zip(others, SCORES.items()):
            dots(axes, [_scored(study, name, metric, written) for name in names])
            axes.set_title(title, fontsize=9)
    return drawn


def _left(study: Study, name: str) -> Row:
    """How much each run still had to learn; those beyond MOST_LEFT at the edge."""
    left = [left_to_learn(run, optimum_of(study, name)) for run in study.runs_of(name)]
    loss, mean = facts(study.run(name))["loss"], float(np.mean(left))
    row = Row(
        name_of(loss), color_of(loss), [dict(value=min(value, MOST_LEFT), low=np.nan, high=np.nan) for value in left]
    )
    if np.isnan(left).all():
        return replace(row, text="nothing to learn")
    text = f"{mean:.2f}" if mean < 10 else f"{mean:.0f}"
    return replace(row, best=0.0, text=text, marker=">" if mean > MOST_LEFT else "o")


def _scored(study: Study, name: str, metric: str, written: str) -> Row:
    """Each run's score beside that of the best possible."""
    loss = facts(study.run(name))["loss"]
    best = optimum_of(study, name).metrics[metric]["value"]
    numbers = [run.metrics[metric] for run in study.runs_of(name)]
    mean = np.mean([number["value"] for number in numbers])
    return Row(name_of(loss), color_of(loss), numbers, best, f"{mean:{written}} | {best:{written}}")
