"""The figure of chapter 3 that asks whether the imbalance itself is the problem."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from fixlib import plots
from fixlib.chapters.imbalance.runs import NAME
from fixlib.plots import OPTIMUM_COLOR, color_of, figure, name_of
from fixlib.runs.study import Study

TITLES = {"average_precision": "Average precision", "white_pixel_recall": "Recall at 0.5"}


@figure("03_imbalance", of=NAME, dataset="patterns", grids=(8, 16, 32))
def imbalance(study: Study) -> Figure:
    """What networks find where the next pixel can be known, against the black pixels beside each white one."""
    frame = study.frame()
    frame["black"] = frame["size"] ** 2 - 1
    networks, sizes = frame[frame["model"] == "simvp"], sorted(frame["size"].unique())
    black = [size**2 - 1 for size in sizes]
    drawn, panels = plt.subplots(1, len(TITLES), figsize=(9.2, 4), sharey=True)
    for axes, (metric, title) in zip(panels, TITLES.items()):
        best = [study.run(f"exact.{size}px").payload["exact"]["mse"]["metrics"][metric]["value"] for size in sizes]
        axes.plot(black, best, color=OPTIMUM_COLOR, lw=3, zorder=1)
        for name, rows in networks[networks["metric"] == metric].groupby("loss", sort=False):
            means = rows.groupby("black")["value"].mean()
            axes.plot(means.index, means, "-", color=color_of(name))
            axes.vlines(rows["black"], rows["low"], rows["high"], color=color_of(name), alpha=0.4, lw=2)
            axes.plot(rows["black"], rows["value"], "o", color=color_of(name), ms=5)
        axes.set(title=title, xlabel="black pixels for each white one", xscale="log", ylim=(-0.04, 1.04))
        plots.only_ticks(axes.xaxis, black)
    looks: dict[str, dict[str, Any]] = {
        name_of(name): dict(color=color_of(name), marker="o") for name in networks["loss"].unique()
    }
    looks["Best possible"] = dict(color=OPTIMUM_COLOR, lw=3)
    plots.legend(drawn, looks, ncols=4, loc="outside upper center")
    return drawn
