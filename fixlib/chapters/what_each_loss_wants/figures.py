"""Figures of chapter 2: what each loss asks for. No recordings: everything is computed from the losses themselves.

Where gaze is needed (a belief about the next pixel, how sure anyone can be), it is the simulator's, whose
probabilities are exact; those figures say so.
"""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from fixlib.chapters.what_each_loss_wants import tables
from fixlib.chapters.what_each_loss_wants.tables import DICE, PIXELWISE
from fixlib.data.simulator import LABEL
from fixlib.losses import LOSSES
from fixlib.plots import GREY, PINK, SKY, color_of, figure, image_axes, name_of, only_ticks, reference, stamp
from fixlib.theory.outputs import balance, crossing_threshold, painting_threshold

DARKEST = 1e-6  # where the pictures end; 0 is drawn there
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
    right.text(0.1, 0.028, "all others: black", fontsize=9, ha="right", va="center", color=GREY)
    return drawn


@figure("02_frames_wanted")
def frames_wanted(size: int = 32, x: int = 20, y: int = 12) -> Figure:
    """The same knowledge, and the frame that each loss would like best."""
    x, y = x * size // 32, y * size // 32
    drawn, panels = plt.subplots(2, 4, figsize=(10, 5.7))
    for axes, (name, frame) in zip(panels.flat, tables.wanted_frames(tables.belief_after(x, y, size)).items()):
        image = axes.imshow(np.maximum(frame, DARKEST), norm=LogNorm(DARKEST, 1))
        image_axes(axes, NAMES.get(name, name_of(name)))
        axes.plot(x, y, "+", color=SKY, ms=9, mew=1.5)
        peak = f"{frame.max():.2g}" if frame.max() > DARKEST else "0"
        axes.set_xlabel(f"largest p {peak}; {int((frame > 0.5).sum())} px above 0.5", fontsize=9)
    drawn.colorbar(image, ax=panels, label="best output p (log scale)", shrink=0.8)
    return stamp(drawn, LABEL, simulated=True)


@figure("02_pulls")
def pulls(size: int = 32, prior: float = 0.01) -> Figure:
    """The white pixel's share of all pulling, against the p that every pixel has."""
    outputs = np.geomspace(1e-7, 0.5, 80)
    drawn, axes = plt.subplots(figsize=(8, 4.2))
    for name, text, at, height in (
        ("dice", NAMES["dice"], 1e-5, 87),
        ("softmax_cross_entropy", "Softmax", 1.3e-7, 53),
        ("composite", "Composite", 1.6e-6, 31),
        ("mse", "MSE, BCE", 2.4e-3, 36),
        ("focal", "Focal", 8e-3, 103),
        ("weighted_mse", "Weighted\nMSE", 0.055, 79),
        ("sparsity", "MSE + L1, concentration", 1.3e-7, 3),
    ):
        share = [100 * balance(LOSSES[name](), p, size).gradient_share for p in outputs]
        axes.plot(outputs, share, color=color_of(name))
        axes.text(at, height, text, color=color_of(name), fontsize=9, va="center")
    for p, text in ((prior, "prior bias"), (0.5, "fresh network")):
        reference(axes, "", (p, 0), upright=True)
        axes.text(0.93 * p, 57, text, rotation=90, ha="right", fontsize=9, color=GREY)
    axes.set(xscale="log", xlabel="p of every pixel (training of a fresh network goes to the left)", ylim=(-2, 108))
    axes.set(ylabel="white pixel's share of the pull (%)")
    axes.set_title("Who wins: the white pixel (above 50%) or the black ones")
    return drawn


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
    axes.plot(1, by_fixation, "D", color=PINK, ms=7)
    axes.text(1.2, by_fixation, "one frame per fixation", fontsize=9, color=PINK, va="center")
    return stamp(drawn, LABEL, simulated=True)


def draw_certainty(axes: Axes, sure: np.ndarray, limits: Sequence[tuple[str, str, float]]) -> None:
    """The probability of the likeliest pixel by frames ahead; and of what losses (name, label) ask for it, as lines."""
    frames = np.arange(1, len(sure) + 1)
    axes.plot(frames, sure, "o-", color="#555555")
    for name, label, limit in limits:
        axes.plot([0.7, len(sure)], [limit, limit], color=color_of(name), lw=1, ls="--")
        text = f"{label}: {limit:.2g}"
        axes.text(1.015 * len(sure), limit, text, color=color_of(name), fontsize=9, va="center")
    axes.text(1.015 * len(sure), 1, "p > 0.5\npays above", fontsize=8, va="bottom", color=GREY)
    axes.set(yscale="log", ylim=(3e-3, 1.3), xlim=(0.7, 1.36 * len(sure)), xticks=frames, title="How sure one can be")
    axes.set(xlabel="frames ahead", ylabel="probability of the likeliest pixel")
    only_ticks(axes.yaxis, [0.01, 0.03, 0.1, 0.3, 1])
