"""Figures of chapter 3: motion whose continuation is known, and the same with noise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fixlib import plots
from fixlib.chapters.predictable_motion import tables
from fixlib.chapters.predictable_motion.runs import AHEAD, KNOWS_PATH, N_IN, NAME
from fixlib.chapters.predictable_motion.tables import METRICS, by_horizon, exact_score, networks, noises, score
from fixlib.data.lattice import KINDS, SPEEDS, lattice_paths
from fixlib.plots import BASELINE_COLOR, OPTIMUM_COLOR, Row, color_of, dots, figure, name_of
from fixlib.runs.study import Number, Study

RECALL, PRECISION = "white_pixel_recall", "white_pixel_precision"  # at 0.5; no precision where nothing is called
SEEN, LATER = "#E69F00", "#56B4E9"
MOTION = dict(of=NAME, dataset="patterns")
TOP = dict(loc="outside upper center")


@figure("03_hidden_in_pixels")
def hidden_in_pixels(speeds: Sequence[float] = (0.5, 1.0, 1.5, 2.0)) -> Figure:
    """Two straight lines with the same ten pixels and different next ones; how much of the next pixel is given away."""
    drawn, (left, right) = plt.subplots(1, 2, figsize=(8.4, 4.2), width_ratios=(1, 1.5))
    pair = tables.same_past()
    for line, shade, name in zip(pair, ("#0072B2", "#D55E00"), ("one line", "another")):
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
            found = {name: [_called(score(study, f"{way}.{name}", metric), metric)] for name in losses}
            dots(axes, [Row(name_of(name), color_of(name), found[name], hollow=hollow) for name in losses], "", shift)
        for height, name in zip(range(len(losses))[::-1], losses):
            best = _called(exact_score(study, name, metric), metric)["value"]
            axes.plot([best, best], [height - 0.36, height + 0.36], color=OPTIMUM_COLOR, lw=3, zorder=1)
        axes.set_title(title, fontsize=9)
        axes.set(xlim=(-0.04, 1.06), ylim=(-0.6, len(losses) - 0.25))
    marks: dict[str, dict[str, Any]] = {
        "from scratch": dict(marker="o", color="#333333", mfc="white"),
        "from a network that knows": dict(marker="o", color="#333333"),
        "best possible under that loss": dict(color=OPTIMUM_COLOR, lw=3),
    }
    plots.legend(drawn, marks, ncols=3, **TOP)
    return drawn


def _called(found: Number, metric: str) -> Number:
    """Precision is nothing, and not 0, where nothing was called white."""
    return dict.fromkeys(found, np.nan) if metric == PRECISION and found["value"] == 0 else found


@figure("03_falling_with_noise", **MOTION)
def falling_with_noise(study: Study, losses: Sequence[str] = ()) -> Figure:
    """METRICS against noise, a column a loss: exact optimum, networks, and where p > 0.5 should stop."""
    losses = losses or [name for name in networks(study, "onwards") if len(noises(study, f"onwards.{name}")) > 1]
    grid = dict(sharex=True, sharey=True, squeeze=False, figsize=(1.62 * len(losses) + 0.8, 8.4))
    drawn, panels = plt.subplots(len(METRICS), len(losses), **grid)
    for column, name in zip(panels.T, losses):
        needed = tables.certainty_needed(name)
        for axes, metric in zip(column, METRICS):
            axes.plot([0, 1], [1, 0], color=BASELINE_COLOR, lw=0.8, ls=":")
            if metric in (RECALL, PRECISION):
                axes.axvline(1 - needed, color=BASELINE_COLOR, lw=1, ls="--")
            best = [_called(exact_score(study, name, metric, level), metric)["value"] for level in noises(study)]
            axes.plot(noises(study), best, color=OPTIMUM_COLOR)
            for level in noises(study, f"onwards.{name}"):
                found = _called(score(study, f"onwards.{name}", metric, level), metric)
                axes.plot([level, level], [found["low"], found["high"]], color=color_of(name), lw=2, alpha=0.5)
                axes.plot(level, found["value"], "o", color=color_of(name), ms=5)
        wanted = f"wants η > {needed:.2g}" if needed else "paints at least one"
        column[0].set_title(f"{name_of(name)}\n{wanted}", fontsize=9)
        column[-1].set(xlabel="noise", xticks=(0, 0.5, 1), xticklabels=("0", "½", "1"))
    for axes, title in zip(panels[:, 0], METRICS.values()):
        axes.set(ylabel=title, ylim=(-0.04, 1.04))
    marks = {
        "best possible": dict(color=OPTIMUM_COLOR),
        "network": dict(color="#333333", marker="o", ls=""),
        "1 − noise": dict(color=BASELINE_COLOR, ls=":"),
        "where p > 0.5 stops to pay": dict(color=BASELINE_COLOR, ls="--"),
    }
    plots.legend(drawn, marks, ncols=4, **TOP)
    return drawn


@figure("03_horizon_and_speed", **MOTION)
def horizon_and_speed(study: Study) -> Figure:
    """Error and undershoot one to ten frames ahead, without noise, one column a speed."""
    trained = networks(study, "ahead")
    lines = dict.fromkeys(trained, "-") | {"constant_velocity": "--", "repeat_last": ":", KNOWS_PATH: "--"}
    rows = {"error_argmax": "mean pixel error (px)", "undershoot": "predicted / true distance\nfrom the last point"}
    drawn, panels = plt.subplots(len(rows), len(SPEEDS), figsize=(8.4, 5.4), sharex=True, sharey="row")
    for across, (metric, text) in zip(panels, rows.items()):
        for axes, speed in zip(across, SPEEDS):
            for name, line in lines.items():
                found = by_horizon(study, name, metric, f"speed {speed}")
                axes.plot(np.arange(1, AHEAD + 1), found, color=color_of(name), ls=line)
            axes.set_xticks((1, 4, 7, 10))
        across[0].set(ylabel=text, ylim=(0, None))
    for axes, speed in zip(panels[0], SPEEDS):
        axes.set_title(f"{speed} px a frame")
    for axes in panels[-1]:
        axes.set_xlabel("frames ahead")
    looks = {name_of(name): dict(color=color_of(name), ls=line) for name, line in lines.items()}
    plots.legend(drawn, looks, ncols=5, **TOP)
    return drawn


@figure("03_frames_and_regression", **MOTION)
def frames_and_regression(
    study: Study, losses: Sequence[str] = ("weighted_mse", "dice", "softmax_cross_entropy")
) -> Figure:
    """Error one frame ahead against noise: maps decoded, the hybrid, constant velocity, and the best possible."""
    levels = noises(study, "onwards.hybrid_l1")
    networks = {name: [score(study, f"onwards.{name}", "error_median", level) for level in levels] for name in losses}
    networks["hybrid_l1"] = [score(study, "onwards.hybrid_l1", "error", level) for level in levels]
    known = ("constant_velocity", "repeat_last", KNOWS_PATH)
    exact = {name: [exact_score(study, name, "error_argmax", level) for level in levels] for name in known}
    exact["best possible"] = [exact_score(study, "softmax_cross_entropy", "error_median", level) for level in levels]
    drawn, axes = plt.subplots(figsize=(8, 4.4))
    ends = []
    for name, found in {**networks, **exact}.items():
        shade = OPTIMUM_COLOR if name == "best possible" else color_of(name)
        values = [number["value"] for number in found]
        line = "o-" if name in networks else ":" if name == "repeat_last" else "--"
        axes.plot(levels, values, line, color=shade, ms=5)
        for level, number in zip(levels, found if name in networks else ()):
            axes.plot([level, level], [number["low"], number["high"]], color=shade, lw=2.5, alpha=0.4)
        ends.append((values[-1], name_of(name), shade))
    axes.set(xlabel="noise (share of frames replaced)", ylabel="mean pixel error, one frame ahead (px)")
    axes.set(xlim=(-0.02, levels[-1] + 0.22), ylim=(0, None), xticks=levels)
    plots.label_ends(axes, ends, levels[-1])
    return drawn
