"""Figures of chapter 3: motion whose continuation is known, and the same with noise."""

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fixlib import plots
from fixlib.chapters.predictable_motion import tables
from fixlib.chapters.predictable_motion.runs import AHEAD, N_IN, NAME, NOISY
from fixlib.chapters.predictable_motion.tables import METRICS, by_horizon, exact_score, networks, noises, score
from fixlib.data.lattice import KINDS, SPEEDS, lattice_paths
from fixlib.plots import AMBER, BLUE, OPTIMUM_COLOR, SKY, VERMILION, Row, color_of, dots, figure, name_of
from fixlib.runs.study import Study

RECALL = "white_pixel_recall"  # at 0.5
SEEN, LATER = AMBER, SKY
MOTION = dict(of=NAME, dataset="patterns")
TOP = dict(loc="outside upper center")


@figure("03_hidden_in_pixels")
def hidden_in_pixels(speeds: Sequence[float] = (0.5, 1.0, 1.5, 2.0)) -> Figure:
    """Two straight lines with the same ten pixels and different next ones; how much of the next pixel is given away."""
    drawn, (left, right) = plt.subplots(1, 2, figsize=(8.4, 4.2), width_ratios=(1, 1.5))
    pair = tables.same_past()
    for line, shade, name in zip(pair, (BLUE, VERMILION), ("one line", "another")):
        left.plot(*line.T, "-", color=shade, lw=0.8)
        left.plot(*line[:N_IN].T, "o", color=shade, ms=3)
        left.plot(*line[N_IN], "*", color=shade, ms=12, label=name)
    for pixel in np.unique(np.floor(pair[0][:N_IN]), axis=0):
        left.add_patch(plt.Rectangle(pixel, 1, 1, color="#dddddd", zorder=0))
    low, high = np.floor(np.concatenate(pair).min(0)), np.floor(np.concatenate(pair).max(0)) + 1
    for axis, first, last in zip((left.xaxis, left.yaxis), low, high):
        axis.set_ticks(np.arange(first, last + 1), [""] * int(last + 1 - first))
    left.set(xlim=(low[0] - 0.2, high[0] + 0.2), ylim=(high[1] + 0.2, low[1] - 0.2), aspect="equal")
    left.set_title("The same ten pixels (grey),\nanother eleventh (star)")
    left.grid(color="#bbbbbb", lw=0.5)
    best = [tables.recall_from_pixels(speed) for speed in speeds]
    right.plot(speeds, best, "o-", color="#333333")
    for speed, value in zip(speeds, best):
        plots.note(right, f"{value:.2f}", (speed, value), (0, -13), ha="center", fontsize=9)
    plots.reference(right, "0.95", (speeds[0], 0.95))
    right.set(xlabel="speed (px a frame)", ylabel="best possible recall, one frame ahead")
    right.set(xticks=speeds, ylim=(0.7, 1.0), title="Lines that start anywhere")
    return plots.stamp(drawn, "computed straight lines", simulated=True)


@figure("03_paths", **MOTION)
def paths(study: Study, shown: Sequence[float] = (0.0, 0.4), seed: int = 4) -> Figure:
    """One path of each kind as the frames show it, at two noises: ten pixels seen and the next one."""
    size, length = study.run("exact.noise0").spec.config.data.size, N_IN + 1
    every, generator = lattice_paths(size, length), np.random.default_rng(seed)
    slow = every.speed == SPEEDS[0]
    chosen = [generator.choice(np.flatnonzero((every.kind == number) & slow)) for number in range(len(KINDS))]
    drawn, panels = plt.subplots(len(shown), len(KINDS), figsize=(7.6, 2.6 * len(shown) + 0.3), squeeze=False)
    for row, noise in zip(panels, shown):
        for axes, path, kind in zip(row, chosen, KINDS):
            replaced = generator.random(length) < noise
            pixels = np.where(replaced, generator.integers(0, size**2, length), every.pixels[path])
            _draw_path(axes, pixels, replaced, size)
            axes.set_title(f"{kind}, {every.speed[path]} px a frame, noise {noise:g}", fontsize=9)
    marks = {
        "seen": dict(marker="s", ls="", color=SEEN),
        "to be predicted": dict(marker="o", ls="", color=LATER),
        "replaced by noise": dict(marker="s", ls="", color=SEEN, mfc="none"),
    }
    plots.legend(drawn, marks, ncols=3, **TOP)
    return drawn


def _draw_path(axes: Axes, pixels: np.ndarray, replaced: np.ndarray, size: int) -> None:
    y, x = np.divmod(pixels, size)
    plots.image_axes(axes, black=size)
    for first, last, marker, shade in ((0, N_IN, "s", SEEN), (N_IN, len(x), "o", LATER)):
        for there, fill in ((~replaced[first:last], shade), (replaced[first:last], "none")):
            axes.plot(x[first:last][there], y[first:last][there], marker, ms=4.5, mec=shade, mfc=fill, ls="")


@figure("03_finding_the_pixel", **MOTION)
def finding_the_pixel(study: Study) -> Figure:
    """METRICS one frame ahead without noise: from scratch, from a network that knows, and the best."""
    losses = networks(study, "scratch")
    drawn, panels = plt.subplots(1, len(METRICS), figsize=(11.2, 0.44 * len(losses) + 1.5), sharey=True)
    for axes, (metric, title) in zip(panels, METRICS.items()):
        for way, shift, hollow in (("scratch", 0.16, True), ("onwards", -0.16, False)):
            found = {name: [score(study, f"{way}.{name}", metric)] for name in losses}
            dots(axes, [Row(name_of(name), color_of(name), found[name], hollow=hollow) for name in losses], "", shift)
        for height, name in zip(range(len(losses))[::-1], losses):
            best = exact_score(study, name, metric)["value"]
            axes.plot([best, best], [height - 0.36, height + 0.36], color=OPTIMUM_COLOR, lw=3, zorder=1)
        velocity = exact_score(study, "constant_velocity", metric)["value"]
        axes.axvline(velocity, color=color_of("constant_velocity"), ls="-.", zorder=0)
        axes.set_title(title, fontsize=9)
        axes.set(xlim=(-0.04, 1.06), ylim=(-0.6, len(losses) - 0.25))
    marks: dict[str, dict[str, Any]] = {
        "from scratch": dict(marker="o", color="#333333", mfc="white"),
        "from a network that knows": dict(marker="o", color="#333333"),
        "best possible under that loss": dict(color=OPTIMUM_COLOR, lw=3),
        "constant velocity": dict(color=color_of("constant_velocity"), ls="-."),
    }
    plots.legend(drawn, marks, ncols=4, **TOP)
    return drawn


@figure("03_falling_with_noise", **MOTION)
def falling_with_noise(study: Study) -> Figure:
    """Against noise: what the networks find beside the best possible, and which recall each loss's best output has."""
    drawn, (found, predicted) = plt.subplots(1, 2, figsize=(9.2, 4), sharey=True)
    looks: dict[str, dict[str, Any]] = {}
    for name, line in zip(NOISY, (":", "-", "-", "-", "--")):  # MSE's and softmax's best recalls are the same
        look, levels = dict(color=color_of(name), ls=line), noises(study, f"onwards.{name}")
        numbers = [score(study, f"onwards.{name}", "average_precision", level) for level in levels]
        low, high = ([one[end] for one in numbers] for end in ("low", "high"))
        found.vlines(levels, low, high, look["color"], alpha=0.4, lw=2)
        found.plot(levels, [one["value"] for one in numbers], "o", **look, ms=5)
        best = [exact_score(study, name, RECALL, level)["value"] for level in noises(study)]
        predicted.plot(noises(study), best, **look, lw=3 if line == ":" else 1.5)
        looks[name_of(name)] = look | dict(marker="o")
    best = [exact_score(study, "softmax_cross_entropy", "average_precision", level)["value"] for level in noises(study)]
    found.plot(noises(study), best, color=OPTIMUM_COLOR, lw=3, zorder=1)
    looks["Best possible"] = dict(color=OPTIMUM_COLOR, lw=3)
    found.set(title="Measured: average precision after one epoch", ylim=(-0.04, 1.04))
    predicted.set(title="Predicted: recall at 0.5 of the best output")
    for axes in (found, predicted):
        axes.set_xlabel("noise (share of frames replaced)")
    plots.legend(drawn, looks, ncols=3, **TOP)
    return drawn


@figure("03_horizon_and_speed", **MOTION)
def horizon_and_speed(study: Study) -> Figure:
    """Error one to ten frames ahead, without noise, by speed; beside it, that of a copied input."""
    lines = dict.fromkeys(networks(study, "ahead"), "o-") | {"constant_velocity": "-.", "repeat_last": "--"}
    drawn, panels = plt.subplots(1, len(SPEEDS), figsize=(9.2, 3.9), sharey=True)
    for axes, speed in zip(panels, SPEEDS):
        frames = np.arange(1, AHEAD + 1)
        axes.plot(frames, tables.copied_input(study, speed), color=OPTIMUM_COLOR, lw=5, alpha=0.5)
        for name, line in lines.items():
            found = by_horizon(study, name, "error_argmax", f"speed {speed}")
            axes.plot(frames, found, line, color=color_of(name), ms=4)
        axes.set(title=f"{speed} px a frame", xlabel="frames ahead", xticks=(1, 4, 7, 10))
    panels[0].set(ylabel="mean pixel error (px)", ylim=(0, None))
    looks: dict[str, Any] = {name_of(name): dict(color=color_of(name), ls=ls.strip("o")) for name, ls in lines.items()}
    looks["The k-th given frame, copied"] = dict(color=OPTIMUM_COLOR, lw=5, alpha=0.5)
    plots.legend(drawn, looks, ncols=3, **TOP)
    return drawn
