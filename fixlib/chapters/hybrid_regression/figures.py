"""Figures of chapter 6: regressing the next point against predicting its frame."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from fixlib.chapters.hybrid_regression import tables
from fixlib.chapters.hybrid_regression.tables import HOPED_PX, REPORTED_PX, Predictor, best_frames, find, predictors_of
from fixlib.plots import LINES, Row, dots, figure, name_of, note, only_ticks, reference
from fixlib.runs.study import Number, Study

CLAIM: dict[str, Any] = dict(color="#D55E00", ls="--")
CONTROL: dict[str, Any] = dict(of="simulated_control", dataset="simulated", seeds=(0, 1, 2))
# Edges of the bins of true movement, px; the diagonal of the grid is 45 px.
AMPLITUDE_EDGES = (0, 1, 3, 6, 10, 14, 46)


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
    reference(axes, f"one frame a fixation: {step:.2f} px", (hertz[-1] * 1.1, step), ha="right")
    axes.set(xscale="log", xlim=(hertz[0] * 0.9, hertz[-1] * 1.15), ylim=(0, None))
    axes.set(xlabel="frames a second", ylabel="error of repeating\nthe last frame (px)")
    only_ticks(axes.xaxis, hertz)
    return drawn


@figure("06_errors", of="hybrid_regression")
def errors(study: Study) -> Figure:
    """Mean pixel error of every predictor, by framing, with the two figures of the original claim."""
    drawn = plt.figure(figsize=(11.2, 5.4))
    for axes, framing in _panels(drawn, study):
        predictors = predictors_of(study, framing)
        _draw_errors(axes, predictors)
        for value, text, side in ((REPORTED_PX, " reported 5.12", "left"), (HOPED_PX, "hoped 3 ", "right")):
            reference(axes, text, (value, len(predictors) - 0.4), upright=True, ha=side, **CLAIM)
    return drawn


@figure("06_beside_optimum", **CONTROL)
def beside_optimum(control: Study) -> Figure:
    """Mean pixel error on simulated gaze beside the least possible; takes a `simulated_control` study."""
    drawn = plt.figure(figsize=(11.6, 5.6))
    for axes, framing in _panels(drawn, control):
        predictors = [one for one in predictors_of(control, framing) if one.about["model"] != "optimum"]
        _draw_errors(axes, predictors)
        floor = tables.least_possible(control, framing).error["value"]
        reference(axes, f" best possible {floor:.2f}", (floor, len(predictors) - 0.4), upright=True, **CLAIM)
    return drawn


def _draw_errors(axes: Axes, predictors: Sequence[Predictor]) -> None:
    """A line a predictor, least error first, a dot a seed."""
    lines = ((one, [run.metrics[f"error{one.decoding}"] for run in one.runs]) for one in predictors)
    dots(axes, [_row(predictor, numbers) for predictor, numbers in lines])
    axes.set(xlabel="mean pixel error (px, L2)", xlim=(0, None), ylim=(-0.6, len(predictors) + 0.4))


def _row(predictor: Predictor, numbers: Sequence[Number], **look) -> Row:
    """Networks are circles, baselines diamonds."""
    marker = "o" if predictor.about["trained"] else "D"
    return Row(predictor.label, predictor.color, numbers, marker=marker, **look)


@figure("06_differences", of="hybrid_regression")
def differences(study: Study, against: str = "hybrid_l1") -> Figure:
    """Error of every predictor minus that of one network on the same windows; filled where the interval misses 0."""
    drawn = plt.figure(figsize=(11.2, 5.2))
    for axes, framing in _panels(drawn, study):
        hybrid = find(study, framing, against)
        rows = []
        for predictor in predictors_of(study, framing):
            if predictor != hybrid:
                found = predictor.minus(hybrid)
                unclear = found["low"] <= 0 <= found["high"]
                rows.append(_row(predictor, [found], text=f"{found['value']:+.2f}", hollow=unclear))
        dots(axes, rows)
        axes.axvline(0, color="#444444", lw=1, zorder=0)
        for text, side in (("better  ", "right"), ("  worse", "left")):
            axes.text(0, len(rows) - 0.4, text, fontsize=9, ha=side, va="bottom", color="#555555")
        left, right = axes.get_xlim()
        axes.set(xlabel=f"error minus that of {name_of(against)} (px)", xlim=(min(left, -0.25 * right), right))
        axes.set_ylim(-0.6, len(rows) + 0.4)
    return drawn


@figure("06_error_histogram", of="hybrid_regression")
def error_histogram(study: Study) -> Figure:
    """How the errors of single windows are spread: share of windows with an error below each value."""
    drawn = plt.figure(figsize=(9.8, 4))
    for axes, framing in _panels(drawn, study, "% of windows with a smaller error"):
        for predictor in shown(study, framing):
            values = np.sort(predictor.window_errors().mean(axis=0))
            axes.plot(values, 100 * np.arange(1, len(values) + 1) / len(values), **_line(predictor))
        for value in (REPORTED_PX, HOPED_PX):
            reference(axes, f"{value:g}", (value, 101), upright=True, ha="center", **CLAIM)
        axes.set(xlabel="pixel error (px)", xlim=(0, 22), ylim=(0, 100))
        axes.legend(loc="lower right")
    return drawn


@figure("06_error_by_amplitude", of="hybrid_regression")
def error_by_amplitude(study: Study, edges: Sequence[float] = AMPLITUDE_EDGES) -> Figure:
    """Error against how far gaze really moved from the last observed frame (mean in each bin); below, windows a bin."""
    drawn = plt.figure(figsize=(9.8, 4.4))
    for axes, framing in _panels(drawn, study, "mean pixel error (px)"):
        amplitude = find(study, framing, "hybrid_l1").runs[0].per_window["amplitude"].astype(float)
        bins = pd.Series(amplitude).groupby(np.digitize(amplitude, edges))
        for predictor in shown(study, framing):
            means = pd.Series(predictor.window_errors().mean(axis=0)).groupby(np.digitize(amplitude, edges)).mean()
            axes.plot(bins.mean(), means, marker="o", ms=4, **_line(predictor))
        for center, share in zip(bins.mean(), 100 * bins.size() / len(amplitude)):
            note(axes, f"{share:.0f}%", (center, 0), (0, -3), ha="center", va="top", color="#555555")
        axes.set(xlabel="true movement from the last frame (px)\nabove: % of the windows", xlim=(-1, None))
        axes.legend(loc="upper left")
    axes.set_ylim(bottom=-0.08 * axes.get_ylim()[1])
    return drawn


@figure("06_undershoot", of="hybrid_regression")
def undershoot(study: Study) -> Figure:
    """How far predictions move from the last observed point, over how far gaze moved, where it left its pixel."""
    drawn = plt.figure(figsize=(11.2, 5.2))
    for axes, framing in _panels(drawn, study):
        predictors = predictors_of(study, framing)
        dots(axes, [_row(predictor, [predictor.undershoot]) for predictor in predictors])
        for height, one in zip(range(len(predictors))[::-1], predictors):
            axes.barh(height, one.undershoot["value"], height=0.3, color=one.color, alpha=0.25)
        reference(axes, " as far as gaze", (1, len(predictors) - 0.4), upright=True, **CLAIM)
        axes.set(xlabel="predicted / true movement", ylim=(-0.6, len(predictors) + 0.4))
    return drawn


@figure("06_convergence", of="hybrid_regression")
def convergence(study: Study) -> Figure:
    """Validation loss (solid) and training loss (dotted) by epoch, over the network's least validation loss."""
    drawn = plt.figure(figsize=(9.2, 4))
    for axes, framing in _panels(drawn, study, "loss / least validation loss"):
        for network in (network for network in tables.networks_of(study) if network.about["framing"] == framing):
            history = network.runs[0].history
            training, validation = (np.array([entry[key] for entry in history]) for key in ("train_loss", "val_loss"))
            least, epochs = validation.min(), np.arange(1, len(history) + 1)
            axes.plot(epochs, validation / least, color=network.color, label=network.label)
            axes.plot(epochs, training / least, color=network.color, ls=":", lw=1.3)
            axes.plot(validation.argmin() + 1, 1, "o", color=network.color, ms=6)
        axes.set(xlabel="epoch", yscale="log", ylim=(0.1, 10))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.yaxis.set_major_formatter("{x:g}")
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1))
    return drawn


def shown(study: Study, framing: str) -> list[Predictor]:
    """What the pictures of single windows show: the hybrid, its best rivals, two baselines."""
    others = [find(study, framing, name) for name in ("gru_l1", *LINES)]
    return [find(study, framing, "hybrid_l1"), best_frames(study, framing), *others]


def _line(predictor: Predictor) -> dict:
    """How a predictor's curve looks."""
    return dict(label=predictor.label, color=predictor.color, ls=LINES.get(predictor.about["predictor"], "-"))


def _panels(drawn: Figure, study: Study, ylabel: str = "") -> Iterator[tuple[Axes, str]]:
    """A titled panel a framing; where they have a label in common, on one scale."""
    framings = study.framings()
    panels = drawn.subplots(1, len(framings), squeeze=False, sharey=bool(ylabel))
    panels[0, 0].set_ylabel(ylabel)
    for axes, framing in zip(panels.flat, framings):
        axes.set_title(framing, pad=18)
        yield axes, framing
