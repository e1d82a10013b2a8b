"""The figure of chapter 3 that asks whether the imbalance itself is the problem."""

from typing import Any

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from fixlib import plots
from fixlib.chapters.imbalance.runs import NAME
from fixlib.plots import OPTIMUM_COLOR, color_of, figure, name_of
from fixlib.runs.study import Study

TITLES = {"average_precision": "Average precision", "white_pixel_recall": "Recall at 0.5"}

# What needs no network: the best output (that of MSE: without noise it is as good as any), and the last step repeated.
KNOWN: dict[str, dict[str, Any]] = {
    "mse": dict(color=OPTIMUM_COLOR, lw=3),
    "constant_velocity": dict(color=color_of("constant_velocity"), ls="-."),
}


@figure("03_imbalance", of=NAME, dataset="patterns")
def imbalance(study: Study) -> Figure:
    """What networks find where the next pixel can be known, against the black pixels beside each white one."""
    frame = study.frame()
    frame["black"] = frame["size"] ** 2 - 1
    networks, sizes = frame[frame["model"] == "simvp"], sorted(frame["size"].unique())
    black = [size**2 - 1 for size in sizes]
    drawn, panels = plt.subplots(1, len(TITLES), figsize=(9.2, 4), sharey=True)
    for axes, (metric, title) in zip(panels, TITLES.items()):
        exact = [study.run(f"exact.{size}px").payload["exact"] for size in sizes]
        for name, look in KNOWN.items():
            axes.plot(black, [found[name]["metrics"][metric]["value"] for found in exact], zorder=1, **look)
        for name, rows in networks[networks["metric"] == metric].groupby("loss", sort=False):
            means = rows.groupby("black")["value"].mean()
            axes.plot(means.index, means, "-", color=color_of(name))
            axes.vlines(rows["black"], rows["low"], rows["high"], color=color_of(name), alpha=0.4, lw=2)
            axes.plot(rows["black"], rows["value"], "o", color=color_of(name), ms=5)
        axes.set(title=title, xlabel="black pixels for each white one", xscale="log", ylim=(-0.04, 1.04))
        plots.only_ticks(axes.xaxis, black)
    looks: dict[str, Any] = {name_of(n): dict(color=color_of(n), marker="o") for n in networks["loss"].unique()}
    looks |= {"Best possible": KNOWN["mse"], name_of("constant_velocity"): KNOWN["constant_velocity"]}
    plots.legend(drawn, looks, ncols=4, loc="outside upper center")
    return drawn
