"""Figures of chapter 1: the recorded description of a set of scanpaths, and what learning nothing scores."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fixlib.plots import BLUE, GREY, LINES, VERMILION, Row, color_of, dots, figure, name_of, note, only_ticks, reference
from fixlib.runs.study import Study, facts

TRIVIAL = ("black", "centre", "repeat_last")


@figure("01_positions", of="sparsity")
def positions(study: Study) -> Figure:
    """Where fixations fall: counts a pixel on the grid, with the two marginal distributions."""
    payload = study.run("description").payload
    counts, statistics = payload["counts"]["positions"], payload["statistics"]
    height, width = counts.shape
    drawn, (axes, profile) = plt.subplots(1, 2, figsize=(9.5, 3.9), width_ratios=(1, 1.25))
    image = axes.imshow(100 * counts / counts.sum(), extent=(0, width, height, 0), vmin=0)
    drawn.colorbar(image, ax=axes, label="% of fixations in the pixel", shrink=0.85)
    axes.set(xlabel="x (px)", ylabel="y (px, downwards)", title="Where fixations fall")
    axes.set(xticks=range(0, width + 1, 8), yticks=range(0, height + 1, 8))
    for axis, name, at in ((0, "x", 0.97), (1, "y", 0.89)):
        share = 100 * counts.sum(axis) / counts.sum()
        (line,) = profile.plot(np.arange(len(share)) + 0.5, share)
        text = f"{name}: mean {statistics[f'{name}_mean']:.1f}, sd {statistics[f'{name}_sd']:.1f} px"
        profile.text(0.02, at, text, color=line.get_color(), transform=profile.transAxes, va="top")
    reference(profile, "uniform", (width, 100 / width), ha="right")
    profile.set(xlabel="x or y (px)", ylabel="% of fixations per px", title="Centre bias")
    profile.set(ylim=(0, 1.25 * profile.dataLim.ymax), xlim=(0, width), xticks=range(0, width + 1, 8))
    return drawn


@figure("01_saccades", of="sparsity")
def saccades(study: Study) -> Figure:
    """How far and which way the next fixation lies, and how long a fixation lasts."""
    payload = study.run("description").payload
    statistics = payload["statistics"]
    drawn = plt.figure(figsize=(10, 3.4))
    amplitude, duration = drawn.add_subplot(131), drawn.add_subplot(133)
    _histogram(amplitude, payload, "amplitudes", "How far")
    amplitude.set(xlabel="saccade amplitude (px)", ylabel="% of saccades per 0.5 px")
    _marks(amplitude, statistics["amplitude_median"], statistics["amplitude_mean"], "px")
    _histogram(duration, payload, "durations", "How long")
    duration.set(xlabel="fixation duration (ms)", ylabel="% of fixations per 20 ms")
    _marks(duration, statistics["duration_median"], statistics["duration_mean"], "ms")
    rose = drawn.add_subplot(132, projection="polar")
    edges = np.deg2rad(payload["edges"]["directions"].astype(float))
    share = 100 * payload["counts"]["directions"] / payload["counts"]["directions"].sum()
    rose.bar((edges[:-1] + edges[1:]) / 2, share, width=0.9 * np.diff(edges), color=BLUE)
    rose.set_theta_direction(-1)  # y runs downwards in a frame, so 90 degrees points down
    rose.set_xticks(np.deg2rad([0, 90, 180, 270]), ["right", "down", "left", "up"])
    rose.set_yticks([2, 4, 6], ["", "4%", "6%"], fontsize=8)
    rose.set_rlabel_position(45)
    rose.set_rmax(max(6.5, 1.05 * share.max()))
    rose.set_title("Which way (per 10°)")
    return drawn


def _histogram(axes: Axes, payload: dict, name: str, title: str) -> None:
    counts, edges = payload["counts"][name], payload["edges"][name]
    axes.stairs(100 * counts / counts.sum(), edges, fill=True, color=BLUE)
    axes.set(title=title, xlim=(edges[0], edges[-1]), ylim=(0, None))


def _marks(axes: Axes, median: float, mean: float, unit: str) -> None:
    """Median and mean as labelled lines."""
    look: dict[str, Any] = dict(ha="right", va="top", transform=axes.get_xaxis_transform(), color=VERMILION, fontsize=9)
    for name, value, height, style, line in (("median", median, 0.97, "-", "—"), ("mean", mean, 0.86, "--", "- -")):
        axes.axvline(value, color=VERMILION, lw=1.2, ls=style)
        axes.text(axes.get_xlim()[1], height, f"{name} {value:.3g} {unit}  {line}", **look)


@figure("01_staying", of="sparsity")
def staying(study: Study) -> Figure:
    """How often gaze is still in the same pixel one frame later, and what repeating the last frame costs, by rate."""
    payload = study.run("description").payload
    drawn, (left, right) = plt.subplots(1, 2, figsize=(9.5, 3.6))
    _by_rate(left, payload, "same_pixel", "same_pixel", 100)
    left.set(ylabel="% of frames in the same pixel", title="How often nothing moves", ylim=(0, 100))
    _by_rate(right, payload, "repeat_last_error", "amplitude_mean", 1)
    reference(right, "3 px", (1000, 3), ha="right")
    right.set(ylabel="mean error one frame ahead (px)", title="What repeating the last frame costs", ylim=(0, None))
    return drawn


def _by_rate(axes: Axes, payload: dict, name: str, by_fixation: str, scale: float) -> None:
    """A number of each frame rate, with its interval, over the time between frames; and where a frame is a fixation."""
    rates = payload["rates"]
    between = [1000 / rate["rate_hz"] for rate in rates]
    low, high = scale * np.array([rate[f"{name}_interval"] for rate in rates]).T
    axes.fill_between(between, low, high, color=BLUE, alpha=0.25, lw=0)
    axes.plot(between, [scale * rate[name] for rate in rates], "o-", color=BLUE)
    axes.set(xscale="log", xlabel="time between frames (ms)")
    only_ticks(axes.xaxis, [20, 50, 100, 200, 500, 1000])
    low, high = scale * np.array(payload["intervals"][by_fixation])
    axes.axhline(scale * payload["statistics"][by_fixation], color=VERMILION, lw=1.2)
    axes.axhspan(low, high, color=VERMILION, alpha=0.2, lw=0)
    axes.text(min(between), high, "one frame per fixation", color=VERMILION, va="bottom", fontsize=9)


@figure("01_memory", of="sparsity")
def memory(study: Study) -> Figure:
    """Autocorrelation of position: by fixations back, and by 100 ms frames back."""
    found = study.run("description").payload["autocorrelation"]
    drawn, panels = plt.subplots(1, 2, figsize=(9.5, 3.3), sharey=True)
    lags = {"fixations": "lag (fixations)", "frames_10hz": "lag (frames of 100 ms)"}
    for axes, (key, label) in zip(panels, lags.items()):
        for name, lag, offset in (("x", 1, (-8, -10)), ("y", 2, (8, 6))):
            values = found[key][name]
            (line,) = axes.plot(range(len(values)), values, "o-", ms=4)
            look = dict(color=line.get_color(), weight="bold", ha="center", fontsize=10)
            note(axes, name, (lag, values[lag]), offset, **look)
        axes.axhline(0, color=GREY, lw=0.8)
        axes.set(xlabel=label, xticks=range(0, len(values), 2))
    panels[0].set(ylabel="correlation", title="One frame per fixation", ylim=(-0.25, 1.05))
    panels[1].set(title="One frame every 100 ms")
    return drawn


@figure("01_doing_nothing", of="sparsity")
def doing_nothing(study: Study) -> Figure:
    """Wrong pixels in a frame, which is accuracy counted, beside recall: best by the one is worst by the other."""
    pixels = study.run("black").spec.config.data.size ** 2
    scores = [study.run(name).metrics for name in TRIVIAL]
    turned = dict(value="value", low="high", high="low")  # much accuracy is few mistakes
    wrong = [{end: pixels * (1 - score["accuracy"][of]) for end, of in turned.items()} for score in scores]
    recall = [{end: 100 * score["white_pixel_recall"][end] for end in turned} for score in scores]
    drawn, (left, right) = plt.subplots(1, 2, figsize=(9.5, 2.4), sharey=True)
    for axes, numbers, written in ((left, wrong, ".2f"), (right, recall, ".1f")):
        dots(axes, [Row(name_of(name), color_of(name), [number]) for name, number in zip(TRIVIAL, numbers)], written)
        axes.set_xlim(-0.02 * axes.get_xlim()[1], 1.06 * axes.get_xlim()[1])  # room for the number of the last dot
    left.set(xlabel="wrong pixels per frame", title="Accuracy, counted: fewer is better")
    right.set(xlabel="white pixels that were found (%)", title="Recall: more is better")
    return drawn


@figure("01_by_horizon", of="sparsity")
def by_horizon(study: Study) -> Figure:
    """Recall and pixel error of predictors that learn nothing, by how far ahead they predict."""
    drawn, (recall, error) = plt.subplots(1, 2, figsize=(9.5, 3.3))
    for axes, metric, scale in ((recall, "white_pixel_recall", 100), (error, "error_argmax", 1)):
        for name, lift in zip(LINES, (0, 10)):
            values = scale * np.array(study.run(name).by_horizon[metric], dtype=float)
            ahead = 1000 / facts(study.run(name))["rate_hz"] * np.arange(1, len(values) + 1)
            axes.plot(ahead, values, marker="o", ms=4, color=color_of(name), ls=LINES[name])
            note(axes, name_of(name), (ahead[1], values[1]), (8, lift), color=color_of(name), fontsize=9)
        axes.set(xlabel="time ahead (ms)", xlim=(0, None), ylim=(0, None))
    recall.set(ylabel="recall (% of fixated pixels)", title="Finding the pixel")
    error.set(ylabel="mean error (px)", title="Missing it by")
    return drawn
