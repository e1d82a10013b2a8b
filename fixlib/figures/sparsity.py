"""Figures of chapter 1, from the recorded description of a set of scanpaths."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from fixlib.figures.style import book_style, image_axes, name_of, stamp_study

SCORES = {"accuracy": "Accuracy", "white_pixel_recall": "Recall", "white_pixel_precision": "Precision",
          "f1_score": "F1"}


def positions(study) -> Figure:
    """Where fixations fall: counts a pixel on the grid, with the two marginal distributions."""
    payload = study.run("description").payload
    counts, statistics = payload["counts"]["positions"], payload["statistics"]
    with book_style():
        figure, (axes, profile) = plt.subplots(1, 2, figsize=(8.5, 3.8), width_ratios=(1, 1.25))
        image = axes.imshow(100 * counts / counts.sum(), origin="upper")
        figure.colorbar(image, ax=axes, label="% of fixations in the pixel", shrink=0.85)
        axes.set(xlabel="x (px)", ylabel="y (px, downwards)", title="Where fixations fall")
        centres = np.arange(counts.shape[0]) + 0.5
        for axis, name in ((0, "x"), (1, "y")):
            mean, sd = statistics[f"{name}_mean"], statistics[f"{name}_sd"]
            profile.plot(centres, 100 * counts.sum(axis) / counts.sum(), label=f"{name}: mean {mean:.1f}, sd {sd:.1f} px")
        profile.axhline(100 / len(centres), color="#777777", lw=1, ls=":")
        profile.text(0.3, 100 / len(centres), "uniform", va="bottom", fontsize=8, color="#777777")
        profile.set(xlabel="position (px)", ylabel="% of fixations", title="Centre bias", ylim=(0, None))
        profile.legend(loc="upper right")
        return stamp_study(figure, study)


def saccades(study) -> Figure:
    """How far and which way the next fixation lies, and how long a fixation lasts."""
    payload = study.run("description").payload
    counts, statistics, edges = payload["counts"], payload["statistics"], payload["edges"]
    with book_style():
        figure = plt.figure(figsize=(10, 3.4))
        amplitude, duration = figure.add_subplot(131), figure.add_subplot(133)
        rose = figure.add_subplot(132, projection="polar")
        _histogram(amplitude, edges["amplitudes"], counts["amplitudes"], "saccade amplitude (px)", "How far",
                   {"median": statistics["amplitude_median"], "mean": statistics["amplitude_mean"]}, "px")
        angles = np.deg2rad(edges["directions"][:-1] + 5)
        rose.bar(angles, 100 * counts["directions"] / counts["directions"].sum(), width=np.deg2rad(9), alpha=0.8)
        rose.set_theta_direction(-1)  # y runs downwards in a frame, so 90 degrees points down
        rose.set_xticks(np.deg2rad([0, 90, 180, 270]), ["right", "down", "left", "up"])
        rose.set_yticks([2, 4, 6], ["2%", "4%", "6%"], fontsize=7)
        rose.set_title("Which way", loc="left")
        _histogram(duration, edges["durations"], counts["durations"], "fixation duration (ms)", "How long",
                   {"median": statistics["duration_median"], "mean": statistics["duration_mean"]}, "ms")
        return stamp_study(figure, study)


def _histogram(axes, edges, counts, label, title, marks, unit) -> None:
    axes.stairs(100 * counts / counts.sum(), edges, fill=True, alpha=0.8)
    axes.set(xlabel=label, ylabel="%", title=title, xlim=(edges[0], edges[-1]))
    for (name, value), height in zip(marks.items(), (0.95, 0.82)):
        axes.axvline(value, color="#D55E00", lw=1.2)
        axes.text(value, height, f" {name} {value:.3g} {unit}", transform=axes.get_xaxis_transform(), color="#D55E00",
                  fontsize=9)


def staying(study) -> Figure:
    """How often gaze is still in the same pixel one frame later, and what repeating the last frame costs, by rate."""
    payload = study.run("description").payload
    rates = payload["rates"]
    interval = [1000 / rate["rate_hz"] for rate in rates]
    fixation_stay = 100 * payload["statistics"]["same_pixel"]
    with book_style():
        figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4))
        left.plot(interval, [100 * rate["same_pixel"] for rate in rates], "o-")
        left.axhline(fixation_stay, color="#D55E00", lw=1.2)
        left.text(interval[-1], fixation_stay, "one frame a fixation", color="#D55E00", va="bottom", fontsize=9)
        left.set(xscale="log", xlabel="time between frames (ms)", ylabel="% of frames in the same pixel",
                 title="How often nothing moves", ylim=(0, 100))
        right.plot(interval, [rate["repeat_last_error"] for rate in rates], "o-")
        step = payload["statistics"]["amplitude_mean"]
        right.axhline(step, color="#D55E00", lw=1.2)
        right.text(interval[-1], step, "one frame a fixation", color="#D55E00", va="bottom", fontsize=9)
        right.set(xscale="log", xlabel="time between frames (ms)", ylabel="mean error (px)", ylim=(0, None),
                  title="What repeating the last frame costs")
        for axes in (left, right):
            axes.set_xticks([20, 50, 100, 200, 500, 1000], ["20", "50", "100", "200", "500", "1000"], minor=False)
            axes.minorticks_off()
        return stamp_study(figure, study)


def memory(study) -> Figure:
    """Autocorrelation of position: by fixations back, and by 100 ms frames back."""
    found = study.run("description").payload["autocorrelation"]
    with book_style():
        figure, panels = plt.subplots(1, 2, figsize=(9, 3.2), sharey=True)
        for axes, key, label in zip(panels, ("fixations", "frames_10hz"), ("lag (fixations)", "lag (frames of 100 ms)")):
            for name in ("x", "y"):
                axes.plot(found[key][name], "o-", ms=4, label=name)
                axes.text(len(found[key][name]) - 0.7, found[key][name][-1], name, va="center")
            axes.axhline(0, color="#777777", lw=0.8)
            axes.set(xlabel=label)
        panels[0].set(ylabel="correlation", title="One frame a fixation")
        panels[1].set(title="One frame every 100 ms")
        return stamp_study(figure, study)


def doing_nothing(study, predictors=("black", "centre", "repeat_last")) -> Figure:
    """What predictors that learn nothing score on every metric of the original experiment."""
    with book_style():
        figure, panels = plt.subplots(1, 4, figsize=(10, 2.4), sharey=True)
        for axes, (metric, title) in zip(panels, SCORES.items()):
            values = [study.run(name).metrics[metric] for name in predictors]
            centres = np.arange(len(predictors))
            numbers = np.array([value["value"] for value in values])
            axes.barh(centres, numbers, color="#0072B2")
            for centre, value in zip(centres, values):
                text = f"{value['value']:.3%}" if metric == "accuracy" else f"{value['value']:.1%}"
                axes.text(min(value["value"], 0.6) + 0.02, centre, text, va="center", fontsize=9,
                          color="white" if value["value"] > 0.6 else "black")
            axes.set(xlim=(0, 1.02), title=title, yticks=centres, yticklabels=[name_of(name) for name in predictors],
                     xticks=[0, 0.5, 1], xticklabels=["0", "0.5", "1"])
        return stamp_study(figure, study)


def windows_as_pictures(frames, title: str = "") -> Figure:
    """The frames of one window in a row, (T, 1, H, W), time from left to right."""
    with book_style():
        figure, panels = plt.subplots(1, len(frames), figsize=(10, 10 / len(frames) + 0.5))
        for number, (axes, frame) in enumerate(zip(panels, frames), 1):
            image_axes(axes.imshow(frame[0], cmap="gray", vmin=0, vmax=1).axes, str(number))
        figure.suptitle(title, x=0.01, ha="left", fontsize=11)
        return figure
