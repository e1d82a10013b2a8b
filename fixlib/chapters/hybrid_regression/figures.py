"""Figures of chapter 6: regressing the next point against predicting its frame."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from fixlib.chapters.hybrid_regression import tables
from fixlib.chapters.hybrid_regression.tables import HOPED_PX, REPORTED_PX, Predictor, find, predictors_of
from fixlib.plots import BASELINE_COLOR, Row, color_of, dots, figure, note, only_ticks, reference
from fixlib.runs.study import Study

CLAIM: dict[str, Any] = dict(color="#D55E00", ls="--")
# The original hybrid from left to right: stage, what comes out of it, and how wide its box is.
STAGES = (
    ("4 frames", "4 × 1 × 32 × 32", 1.2),
    ("Encoder\neach frame\nby itself", "4 × 64 × 8 × 8", 1.4),
    ("Translator\nmixes the frames,\nstacked as channels", "4 × 64 × 8 × 8", 2.1),
    ("Newest\ntime step,\nflattened", "4,096", 1.4),
    ("Head\nMLP", "512, 256, 2", 1.1),
    ("(x, y)", "2", 0.8),
)


@figure("06_frame_rate", of="sparsity")
def frame_rate(description: Study) -> Figure:
    """Error of repeating the last frame by frame rate, with the two lines of the claim; takes a `sparsity` study."""
    payload = description.run("description").payload
    rates = payload["rates"]
    hertz, errors = ([rate[key] for rate in rates] for key in ("rate_hz", "repeat_last_error"))
    drawn, axes = plt.subplots(figsize=(7.5, 4))
    axes.fill_between(hertz, *np.transpose([rate["repeat_last_error_interval"] for rate in rates]), alpha=0.2, lw=0)
    axes.plot(hertz, errors, "o-")
    for value, claim in ((REPORTED_PX, "reported before: 5.12 px"), (HOPED_PX, "hoped for: 3 px")):
        reference(axes, claim, (hertz[-1] * 1.1, value), ha="right", **CLAIM)
        if np.isfinite(rate := tables.rate_of_error(rates, value)):
            note(axes, f"{rate:.1f} Hz", (rate, value), (8, 8), color=CLAIM["color"], fontsize=9)
            axes.plot(rate, value, "D", color=CLAIM["color"], ms=5)
    step = payload["statistics"]["amplitude_mean"]
    reference(axes, f"one frame per fixation: {step:.2f} px", (hertz[-1] * 1.1, step), ha="right")
    axes.set(xscale="log", xlim=(hertz[0] * 0.9, hertz[-1] * 1.15), ylim=(0, None))
    axes.set(xlabel="frames per second", ylabel="error of repeating\nthe last frame (px)")
    only_ticks(axes.xaxis, hertz)
    return drawn


@figure("06_hybrid")
def hybrid() -> Figure:
    """The original hybrid as boxes, with the shape that leaves each, and the part of SimVP that it does without."""
    drawn, axes = plt.subplots(figsize=(9.5, 3.4))
    left, color, gap = 0.0, color_of("hybrid_l1"), 0.75
    for i, (stage, shape, width) in enumerate(STAGES):
        _box(axes, (left, 0), width, stage, facecolor=f"{color}22", edgecolor=color)
        axes.text(left + width / 2, -0.25, shape, ha="center", va="top", fontsize=8, color="#444444")
        if i + 1 < len(STAGES):
            axes.annotate("", (left + width + gap, 0.6), (left + width, 0.6), arrowprops=dict(arrowstyle="->"))
        left += width + gap
    gone: dict[str, Any] = dict(color=BASELINE_COLOR, linestyle=":", connectionstyle="angle,angleA=90,angleB=0,rad=6")
    _box(axes, (6.6, 1.75), 1.4, "Decoder", facecolor="white", edgecolor=BASELINE_COLOR, linestyle=":")
    axes.annotate("", (6.6, 2.05), (4.95, 1.2), arrowprops=dict(arrowstyle="->", **gone))
    axes.annotate("", (6.6, 2.65), (2.65, 1.2), arrowprops=dict(arrowstyle="->", **gone))
    axes.annotate("", (8.75, 2.35), (8.0, 2.35), arrowprops=dict(arrowstyle="->", color=BASELINE_COLOR, linestyle=":"))
    for at, text in (((2.75, 2.72), "skip: full-resolution maps of one input frame"), ((8.85, 2.28), "a frame")):
        axes.text(*at, text, fontsize=8, color=BASELINE_COLOR)
    axes.text(0, 2.28, "SimVP,\nnot in the hybrid:", fontsize=8, color=BASELINE_COLOR, va="center")
    axes.set(xlim=(-0.1, left - gap + 0.1), ylim=(-0.8, 3.1))
    axes.set_axis_off()
    return drawn


def _box(axes: Axes, corner: tuple[float, float], width: float, text: str, **look: Any) -> None:
    axes.add_patch(FancyBboxPatch(corner, width, 1.2, boxstyle="round,pad=0,rounding_size=0.1", **look))
    axes.text(corner[0] + width / 2, corner[1] + 0.6, text, ha="center", va="center", fontsize=9)


@figure("06_errors", of="hybrid_regression")
def errors(study: Study) -> Figure:
    """Mean pixel error of every network and of two tables, by framing, beside repeating, which holding is here, too."""
    ahead = tables.tasks(study)
    drawn, panels = plt.subplots(1, len(ahead), figsize=(11.2, 4.8), squeeze=False)
    for axes, (framing, task) in zip(panels.flat, ahead.items()):
        counted = [find(study, framing, name) for name in ("dwell_table", "return_table")]
        rows = sorted([*predictors_of(study, framing, trained=True), *counted], key=lambda one: one.error["value"])
        dots(axes, [_row(one) for one in rows])
        idle = find(study, framing, "repeat_last").error["value"]
        axes.set_title(task.capitalize(), pad=18)
        axes.set(xlabel="mean pixel error (px)", xlim=(0, None), ylim=(-0.6, len(rows) + 0.4))
        text = f" repeat: {idle:.2f}"
        reference(axes, text, (idle, len(rows) - 0.4), upright=True, color="#333333")
    return drawn


def _row(predictor: Predictor) -> Row:
    """One dot per seed; networks are circles, tables diamonds; hollow where it sees more than the others."""
    numbers = [run.metrics[f"error{predictor.decoding}"] for run in predictor.runs]
    marker = "o" if predictor.about["trained"] else "D"
    return Row(predictor.label, predictor.color, numbers, marker=marker, hollow=predictor.sees_more)
