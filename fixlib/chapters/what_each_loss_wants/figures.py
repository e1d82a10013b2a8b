"""Figures of chapter 2: what each loss asks for. No recordings: everything is computed from the losses themselves.

Where gaze is needed (a belief about the next pixel, how sure anyone can be), it is the simulator's, whose
probabilities are exact; those figures say so.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from fixlib.chapters.what_each_loss_wants import tables
from fixlib.chapters.what_each_loss_wants.tables import COMPOSITE_WEIGHTS, DICE, PIXELWISE, WHERE
from fixlib.data.simulator import LABEL
from fixlib.losses import LOSSES
from fixlib.plots import color_of, figure, image_axes, name_of, note, only_ticks, reference, stamp
from fixlib.theory.outputs import balance, best_constant, crossing_threshold, painting_threshold

DARKEST = 1e-6  # where the pictures end; 0 is drawn there
NO_PULL = 1e-6  # where a gradient of 0 is written on a logarithmic axis
WHITE_COLOR = "#D55E00"  # of the white pixel's part
NAMES = {"mse": "MSE, BCE, softmax", "dice": "Dice, s → 0", "dice_smooth_1": "Dice, s = 1", "sparsity": "MSE + L1"}


@figure("02_best_outputs")
def best_outputs(size: int = 32) -> Figure:
    """Best output against true probability, whole range and the part in which fixations live."""
    drawn, panels = plt.subplots(1, 2, figsize=(10, 4.6), sharey=True)
    for axes, largest in zip(panels, (1.0, 0.1)):
        # A hair below 1: at certainty itself concentration does not care what p is.
        etas = np.linspace(largest / 1000, largest - 1e-6, 400)
        for name, best in tables.best_output_curves(etas, size).items():
            axes.plot(etas, best, color=color_of(name), ls="--" if name == "dice_smooth_1" else "-")
        reference(axes, "p = 0.5" if axes is panels[0] else "", (0.09, 0.5))
        axes.set(xlabel="true probability eta that the pixel is white", xlim=(0, largest), ylim=(-0.02, 1.06))
    left, right = panels
    left.set(ylabel="best output p of the pixel", title="Every probability")
    right.set(title="Small probabilities (ten times closer)")
    for axes, x, y, text, name in (
        (left, 0.40, 1.03, "Dice, Tversky, s → 0", "dice"),
        (left, 0.262, 0.10, "Dice, s = 1", "dice"),
        (left, 0.03, 0.70, "Weighted MSE", "weighted_mse"),
        (left, 0.58, 0.39, "Focal", "focal"),
        (left, 0.40, 0.70, "MSE, BCE,\nsoftmax: p = eta", "mse"),
        (left, 0.70, 0.13, "MSE + L1", "sparsity"),
        (left, 0.73, 0.20, "Composite", "composite"),
        (left, 0.275, 0.03, "Concentration", "concentration"),
        (right, 0.035, 1.03, "Dice, Tversky, s → 0", "dice"),
        (right, 0.034, 0.70, "Weighted MSE", "weighted_mse"),
        (right, 0.06, 0.26, "Focal", "focal"),
        (right, 0.058, 0.135, "MSE, BCE, softmax: p = eta", "mse"),
    ):
        axes.text(x, y, text, color=color_of(name), fontsize=9, va="center")
    right.text(0.1, 0.028, "all others: black", fontsize=9, ha="right", va="center", color="#777777")
    return drawn


@figure("02_frames_wanted")
def frames_wanted(size: int = 32, x: int = 20, y: int = 12) -> Figure:
    """The same knowledge, and the frame that each loss would like best."""
    x, y = x * size // 32, y * size // 32
    drawn, panels = plt.subplots(2, 4, figsize=(10, 5.7))
    for axes, (name, frame) in zip(panels.flat, tables.wanted_frames(tables.belief_after(x, y, size)).items()):
        image = axes.imshow(np.maximum(frame, DARKEST), norm=LogNorm(DARKEST, 1))
        image_axes(axes, NAMES.get(name, name_of(name)))
        axes.plot(x, y, "+", color="#56B4E9", ms=9, mew=1.5)
        peak = f"{frame.max():.2g}" if frame.max() > DARKEST else "0"
        axes.set_xlabel(f"largest p {peak}; {int((frame > 0.5).sum())} px above 0.5", fontsize=9)
    drawn.colorbar(image, ax=panels, label="best output p (log scale)", shrink=0.8)
    return stamp(drawn, LABEL, simulated=True)


@figure("02_pulls")
def pulls(size: int = 32, prior: float = 0.01) -> Figure:
    """Who pulls on a fresh network: the white pixel upwards, the black pixels together downwards."""
    drawn, panels = plt.subplots(1, 2, figsize=(10, 4.2), sharey=True, sharex=True)
    _draw_pulls(panels[0], 0.5, size)
    panels[0].set_title("No prior bias: p = 0.5 everywhere")
    _draw_pulls(panels[1], prior, size)
    panels[1].set_title(f"Prior bias: p = {prior:g} everywhere")
    top, above = balance(LOSSES["mse"](), 0.5, size), len(LOSSES) - 0.68
    text = dict(ha="center", va="bottom", fontsize=8)
    panels[0].text(top.white_gradient, above, "white pixel", color=WHITE_COLOR, **text)
    panels[0].text(top.black_gradient, above, "all black pixels", **text)
    panels[0].set_ylim(-0.6, len(LOSSES) + 0.1)
    return drawn


def _draw_pulls(axes: Axes, p: float, size: int) -> None:
    rows = np.arange(len(LOSSES))[::-1]
    edge: dict[str, Any] = dict(ha="right", fontsize=8, color=WHITE_COLOR)
    for row, loss in zip(rows, LOSSES.values()):
        found = balance(loss(), p, size)
        white = max(found.white_gradient, NO_PULL)
        axes.plot([white, found.black_gradient], [row, row], color="#cccccc", lw=1, zorder=1)
        axes.plot(found.black_gradient, row, "v", color="black", ms=6)
        if found.white_gradient > NO_PULL:
            axes.plot(white, row, "^", color=WHITE_COLOR, ms=7)
        else:
            axes.text(white, row, "0", color=WHITE_COLOR, va="center", ha="center", fontsize=9)
        axes.text(9e4, row, percent(found.gradient_share), va="center", **edge)
    axes.text(9e4, len(LOSSES) - 0.35, "white's\npart", va="bottom", **edge)
    axes.set(yticks=rows, yticklabels=[name_of(name) for name in LOSSES])
    axes.set(xscale="log", xlim=(4e-7, 1e5), xlabel="size of the gradient by the logits, a frame")
    axes.set_xticks([1e-6, 1e-4, 1e-2, 1, 100])


def percent(share: float) -> str:
    """A share for readers: three digits, "-" where there is none."""
    if np.isnan(share):
        return "-"
    return "<0.01%" if 0 < share < 1e-4 else f"{100 * share:.3g}%"


@figure("02_pull_on_the_white_pixel")
def pull_on_the_white_pixel(size: int = 32) -> Figure:
    """How hard each loss pulls a missed white pixel up, against how dark the frame has become."""
    outputs = np.geomspace(1e-6, 0.5, 60)
    drawn, axes = plt.subplots(figsize=(7.5, 3.9))
    for name in ("softmax_cross_entropy", "dice", "bce", "focal", "weighted_mse", "mse"):
        pull = [balance(LOSSES[name](), p, size).white_gradient for p in outputs]
        text = NAMES["dice"] if name == "dice" else name_of(name)
        axes.plot(outputs, pull, color=color_of(name), ls="--" if name == "softmax_cross_entropy" else "-")
        axes.text(outputs[0] / 1.25, pull[0], text, color=color_of(name), fontsize=9, ha="right", va="center")
    axes.set(xscale="log", yscale="log", xlim=(1e-8, 0.6), title="What is left of the pull when a frame has gone dark")
    axes.set(xlabel="p of every pixel, the white one included", ylabel="gradient on the white pixel")
    axes.set_xticks([1e-6, 1e-4, 1e-2, 0.5], ["$10^{-6}$", "$10^{-4}$", "0.01", "0.5"])
    axes.minorticks_off()
    return drawn


@figure("02_composite_scale")
def composite_scale(size: int = 32, prior: float = 0.01) -> Figure:
    """What the composite's three terms weigh, and how sure it wants one to be."""
    drawn, (left, right) = plt.subplots(1, 2, figsize=(10, 3.7), width_ratios=(1.15, 1))
    _draw_terms(left, size, prior)
    distances = np.geomspace(0.5, 26, 10)
    forms = tables.composite_certainty(distances, size).items()
    for (form, eta), style, x, y in zip(forms, ("-", "--"), (0.55, 9), (0.012, 0.125)):
        right.plot(distances, 1 - eta, color=color_of("composite"), ls=style)
        right.text(x, y, form, color=color_of("composite"), fontsize=9)
    reference(right, "MSE, BCE", (0.5, 0.5))
    reference(right, "mean saccade", (WHERE, 1.6e-4), upright=True, rotation=90, ha="right")
    right.set(xscale="log", yscale="log", ylim=(1e-4, 1.2), title="How sure it wants one to be")
    right.set(xlabel="distance of the white pixel if it is elsewhere (px)", ylabel="doubt 1 - eta allowed")
    only_ticks(right.xaxis, [0.5, 1, 2, 5, 10, 26])
    return drawn


def _draw_terms(axes: Axes, size: int, prior: float) -> None:
    constant = best_constant(LOSSES["composite"](), 1 / size**2, size)
    levels = {0.5: "p = 0.5 (fresh network)", prior: f"p = {prior:g} (prior bias)"}
    levels[constant] = "p = the composite's best constant"
    for (p, text), marker, offset in zip(levels.items(), "os^", (0.2, 0, -0.2)):
        for row, (name, term) in zip((3, 2, 1, 0), tables.composite_terms(p, size).items()):
            axes.plot([1e-10, term], [row + offset] * 2, color="#dddddd", lw=1, zorder=1)
            axes.plot(term, row + offset, marker, color=color_of(name.split()[-1]), ms=6)
            note(axes, f"{term:.0f}" if term >= 100 else f"{term:.2g}", (term, row + offset), (6, 0))
        axes.plot([], [], marker, color="#444444", ls="", label=text)
    labels = [f"{weight:g} x {name}" for name, weight in COMPOSITE_WEIGHTS.items()]
    axes.set_yticks((3, 2, 1, 0), [*labels, f"{labels[-1]},\nnormalized"])
    axes.set(xscale="log", xlim=(1e-8, 3e4), ylim=(-0.5, 3.5))
    axes.set(xlabel="weighted term, mean over a frame", title="What the terms weigh")
    axes.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.45, -0.2), ncols=3, columnspacing=0.8)


@figure("02_how_sure_one_can_be")
def how_sure_one_can_be(size: int = 32) -> Figure:
    """How probable the likeliest pixel is by frames ahead, beside what each loss asks for."""
    by_fixation, by_frame = tables.highest_probability(size=size)
    limits = [(name, name_of(name), crossing_threshold(PIXELWISE[name])) for name in ("focal", "weighted_mse")]
    limits.append(("mse", "MSE, BCE", crossing_threshold(PIXELWISE["mse"])))
    limits.append(("dice", NAMES["dice_smooth_1"], painting_threshold(DICE["dice_smooth_1"], size)))
    drawn, axes = plt.subplots(figsize=(8, 4.2))
    draw_certainty(axes, by_frame, limits)
    axes.text(2.2, by_frame[1] * 1.03, "one frame every 100 ms", fontsize=9, color="#555555", va="bottom")
    axes.plot(1, by_fixation, "D", color="#CC79A7", ms=7)
    axes.text(1.2, by_fixation, "one frame a fixation", fontsize=9, color="#CC79A7", va="center")
    return stamp(drawn, LABEL, simulated=True)


def draw_certainty(axes: Axes, sure: np.ndarray, limits: Sequence[tuple[str, str, float]]) -> None:
    """The probability of the likeliest pixel by frames ahead; and of what losses (name, label) ask for it, as lines."""
    frames = np.arange(1, len(sure) + 1)
    axes.plot(frames, sure, "o-", color="#555555")
    for name, label, limit in limits:
        axes.plot([0.7, len(sure)], [limit, limit], color=color_of(name), lw=1, ls="--")
        text = f"{label}: {limit:.2g}"
        axes.text(1.015 * len(sure), limit, text, color=color_of(name), fontsize=9, va="center")
    axes.text(1.015 * len(sure), 1, "p > 0.5\npays above", fontsize=8, va="bottom", color="#777777")
    axes.set(yscale="log", ylim=(3e-3, 1.3), xlim=(0.7, 1.36 * len(sure)), xticks=frames, title="How sure one can be")
    axes.set(xlabel="frames ahead", ylabel="probability of the likeliest pixel")
    only_ticks(axes.yaxis, [0.01, 0.03, 0.1, 0.3, 1])
