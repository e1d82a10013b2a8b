"""Figures of chapter 2: what each loss asks for. No recordings: everything is computed from the losses themselves.

Where gaze is needed (a belief about the next pixel, how sure anyone can be), it is the simulator's, whose
probabilities are exact; those figures say so.
"""

from __future__ import annotations

from functools import cache

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from fixlib.chapters._old_plots import BASELINE_COLOUR, book_style, colour_of, image_axes, name_of, stamp
from fixlib.data.simulator import LABEL, transition_matrix
from fixlib.losses import LOSSES, MSE, CompositeLoss, DiceLoss, FocalLoss, SparsityLoss, WeightedMSE
from fixlib.theory.bayes import expected_squared_distance
from fixlib.theory.forecast import likeliest_pixel
from fixlib.theory.frames import CompositeAtPixel, balance, best_painting, crossing_threshold, painting_threshold
from fixlib.theory.pixels import best_constant, best_output

OTHER_COLOURS = {"bce": "#444444", "tversky": "#009E73", "focal_tversky": "#009E73", "softmax_cross_entropy": "#000000"}
WHERE = 6.4  # px: mean saccade amplitude on OSIE (chapter 1); how far the white pixel is when it is not here
DARKEST = 1e-6  # where the pictures end; 0 is drawn there
NO_PULL = 1e-6  # where a gradient of 0 is written on a logarithmic axis
COMPOSITE_WEIGHTS = {"focal": 1.0, "sparsity": 0.8, "concentration": 1.5}


def colour(loss: str) -> str:
    """A loss's colour, as in the other chapters."""
    return OTHER_COLOURS.get(loss) or colour_of(loss)


def uniform_squared_distance(size: int) -> float:
    """Mean squared distance (px^2) between two pixels of a size x size grid drawn at random."""
    return (size**2 - 1) / 3


def best_output_curves(etas: np.ndarray, size: int = 32) -> dict[str, np.ndarray]:
    """The best p of a pixel for each true probability eta, by loss.

    Dice: of one pixel in an otherwise black frame. Composite: where the white pixel is WHERE px away if not here.
    """
    return {
        "mse": best_output(MSE(), etas),
        "weighted_mse": best_output(WeightedMSE(), etas),
        "focal": best_output(FocalLoss(), etas),
        "sparsity": best_output(SparsityLoss(), etas),
        "composite": best_output(CompositeAtPixel(WHERE**2), etas),
        "concentration": best_output(CompositeAtPixel(WHERE**2, focal_weight=0, sparsity_weight=0), etas),
        "dice": np.where(etas > painting_threshold(DiceLoss(), size), 1.0, 0.0),
        "dice, s = 1": np.where(etas > painting_threshold(DiceLoss(smooth=1.0), size), 1.0, 0.0),
    }


def best_outputs(size: int = 32) -> Figure:
    """Best output against true probability, whole range and the part in which fixations live."""
    with book_style():
        figure, panels = plt.subplots(1, 2, figsize=(10, 4.6), sharey=True)
        for axes, largest in zip(panels, (1.0, 0.1)):
            # A hair below 1: at certainty itself concentration does not care what p is.
            etas = np.linspace(largest / 1000, largest - 1e-6, 400)
            for name, best in best_output_curves(etas, size).items():
                axes.plot(etas, best, color=colour(name.partition(",")[0]), ls="--" if "," in name else "-")
            axes.axhline(0.5, color=BASELINE_COLOUR, lw=1, ls=":")
            axes.set(xlabel="true probability eta that the pixel is white", xlim=(0, largest), ylim=(-0.02, 1.06))
        left, right = panels
        left.set(ylabel="best output p of the pixel", title="Every probability")
        right.set(title="Small probabilities (ten times closer)")
        left.text(0.09, 0.51, "p = 0.5", color=BASELINE_COLOUR, fontsize=8)
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
            axes.text(x, y, text, color=colour(name), fontsize=9, va="center")
        right.text(0.1, 0.028, "all others: black", fontsize=9, ha="right", va="center", color="#777777")
        return figure


def belief_after(x: int, y: int, size: int = 32) -> np.ndarray:
    """The simulator's exact probability (size, size) of each pixel being next, after a fixation at (x, y) px."""
    return transition_matrix(size=size)[y * size + x].reshape(size, size)


def wanted_frames(belief: np.ndarray) -> dict[str, np.ndarray]:
    """The frame of least expected loss under a belief (H, W) that sums to 1, by loss."""
    away = expected_squared_distance(torch.from_numpy(belief)).numpy()
    return {
        "mse": best_output(MSE(), belief),
        "weighted_mse": best_output(WeightedMSE(), belief),
        "focal": best_output(FocalLoss(), belief),
        "sparsity": best_output(SparsityLoss(), belief),
        "concentration": np.zeros_like(belief),
        "composite": best_output(
            CompositeLoss(concentration_weight=0), belief, COMPOSITE_WEIGHTS["concentration"] * away
        ),
        "dice": best_painting(DiceLoss(), belief),
        "dice, s = 1": best_painting(DiceLoss(smooth=1.0), belief),
    }


def frames_wanted(size: int = 32, x: int = 20, y: int = 12) -> Figure:
    """The same knowledge, and the frame that each loss would like best."""
    x, y = x * size // 32, y * size // 32
    belief = belief_after(x, y, size)
    titles = {"mse": "MSE, BCE, softmax", "dice": "Dice, s → 0", "dice, s = 1": "Dice, s = 1", "sparsity": "MSE + L1"}
    with book_style():
        figure, panels = plt.subplots(2, 4, figsize=(10, 5.7))
        for axes, (name, frame) in zip(panels.flat, wanted_frames(belief).items()):
            image = axes.imshow(np.maximum(frame, DARKEST), norm=LogNorm(DARKEST, 1))
            image_axes(axes, titles.get(name) or name_of(name))
            axes.plot(x, y, "+", color="#56B4E9", ms=9, mew=1.5)
            crossed, peak = int((frame > 0.5).sum()), frame.max()
            peak = f"{peak:.2g}" if peak > DARKEST else "0"
            axes.set_xlabel(f"largest p {peak}; {crossed} px above 0.5", fontsize=9)
        figure.colorbar(image, ax=panels, label="best output p (log scale)", shrink=0.8)
        return stamp(figure, LABEL, simulated=True)


def pulls(size: int = 32, prior: float = 0.01) -> Figure:
    """Who pulls on a fresh network: the white pixel upwards, the black pixels together downwards."""
    names = list(LOSSES)
    rows = np.arange(len(names))[::-1]
    with book_style():
        figure, panels = plt.subplots(1, 2, figsize=(10, 4.2), sharey=True, sharex=True)
        for axes, p, title in zip(
            panels, (0.5, prior), ("No prior bias: p = 0.5 everywhere", f"Prior bias: p = {prior:g} everywhere")
        ):
            for row, name in zip(rows, names):
                found = balance(LOSSES[name](), p, size)
                white = max(found.white_gradient, NO_PULL)
                axes.plot([white, found.black_gradient], [row, row], color="#cccccc", lw=1, zorder=1)
                axes.plot(found.black_gradient, row, "v", color="black", ms=6)
                if found.white_gradient > NO_PULL:
                    axes.plot(white, row, "^", color="#D55E00", ms=7)
                else:
                    axes.text(white, row, "0", color="#D55E00", va="center", ha="center", fontsize=9)
                axes.text(9e4, row, percent(found.gradient_share), va="center", ha="right", fontsize=8, color="#D55E00")
            axes.text(9e4, len(names) - 0.35, "white's\npart", va="bottom", ha="right", fontsize=8, color="#D55E00")
            axes.set(
                xscale="log",
                xlim=(4e-7, 1e5),
                xticks=[1e-6, 1e-4, 1e-2, 1, 100],
                title=title,
                xlabel="size of the gradient by the logits, a frame",
                yticks=rows,
                yticklabels=[name_of(name) for name in names],
            )
        top = balance(LOSSES["mse"](), 0.5, size)
        panels[0].text(
            top.white_gradient, rows[0] + 0.32, "white pixel", ha="center", va="bottom", fontsize=8, color="#D55E00"
        )
        panels[0].text(top.black_gradient, rows[0] + 0.32, "all black pixels", ha="center", va="bottom", fontsize=8)
        panels[0].set_ylim(-0.6, len(names) + 0.1)
        return figure


def percent(share: float) -> str:
    """A share for readers: three digits, "-" where there is none."""
    if np.isnan(share):
        return "-"
    return "<0.01%" if 0 < share < 1e-4 else f"{100 * share:.3g}%"


def pull_on_the_white_pixel(size: int = 32) -> Figure:
    """How hard each loss pulls a missed white pixel up, against how dark the frame has become."""
    outputs = np.geomspace(1e-6, 0.5, 60)
    ends = {
        "softmax_cross_entropy": "Softmax cross-entropy",
        "dice": "Dice, s → 0",
        "bce": "BCE",
        "focal": "Focal",
        "weighted_mse": "Weighted MSE",
        "mse": "MSE",
    }
    with book_style():
        figure, axes = plt.subplots(figsize=(7.5, 3.9))
        for name, text in ends.items():
            pull = [balance(LOSSES[name](), p, size).white_gradient for p in outputs]
            axes.plot(outputs, pull, color=colour(name), ls="--" if name == "softmax_cross_entropy" else "-")
            axes.text(outputs[0] / 1.25, pull[0], text, color=colour(name), fontsize=9, ha="right", va="center")
        axes.set(
            xscale="log",
            yscale="log",
            xlim=(1e-8, 0.6),
            xlabel="p of every pixel, the white one included",
            ylabel="gradient on the white pixel",
            title="What is left of the pull when a frame has gone dark",
        )
        axes.set_xticks([1e-6, 1e-4, 1e-2, 0.5], ["$10^{-6}$", "$10^{-4}$", "0.01", "0.5"])
        axes.minorticks_off()
        return figure


def composite_terms(p: float, size: int = 32) -> dict[str, float]:
    """The composite's weighted terms where every pixel has the output p, mean over a frame."""
    terms = {name: weight * balance(LOSSES[name](), p, size).loss for name, weight in COMPOSITE_WEIGHTS.items()}
    return terms | {"normalised concentration": terms["concentration"] / (2 * size**2)}


def composite_certainty(distances: np.ndarray, size: int = 32) -> dict[str, np.ndarray]:
    """The eta above which p > 0.5 pays, where the white pixel is that far (px) if not here; by form of composite."""
    forms = {"d in px": 1.0, "normalised": 1 / (2 * size**2)}
    return {
        name: np.array([crossing_threshold(CompositeAtPixel(scale * d**2)) for d in distances])
        for name, scale in forms.items()
    }


def composite_scale(size: int = 32, prior: float = 0.01) -> Figure:
    """What the composite's three terms weigh, and how sure it wants one to be."""
    names = [*COMPOSITE_WEIGHTS, "normalised concentration"]
    rows = np.arange(len(names))[::-1]
    with book_style():
        figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.7), width_ratios=(1.15, 1))
        levels = {
            "p = 0.5 (fresh network)": 0.5,
            f"p = {prior:g} (prior bias)": prior,
            "p = the composite's best constant": best_constant(LOSSES["composite"](), 1 / size**2, size),
        }
        for (text, p), marker, offset in zip(levels.items(), "os^", (0.2, 0, -0.2)):
            terms = composite_terms(p, size)
            for row, name in zip(rows, names):
                left.plot([1e-10, terms[name]], [row + offset] * 2, color="#dddddd", lw=1, zorder=1)
                left.plot(terms[name], row + offset, marker, color=colour(name.split()[-1]), ms=6)
                left.annotate(
                    _short(terms[name]),
                    (terms[name], row + offset),
                    xytext=(6, 0),
                    fontsize=8,
                    textcoords="offset points",
                    va="center",
                )
            left.plot([], [], marker, color="#444444", ls="", label=text)
        labels = [f"{weight:g} x {name}" for name, weight in COMPOSITE_WEIGHTS.items()]
        labels.append(f"{COMPOSITE_WEIGHTS['concentration']:g} x concentration,\nnormalised")
        left.set(
            xscale="log",
            xlim=(1e-8, 3e4),
            yticks=rows,
            yticklabels=labels,
            ylim=(-0.5, 3.5),
            xlabel="weighted term, mean over a frame",
            title="What the terms weigh",
        )
        left.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.45, -0.2), ncols=3, columnspacing=0.8)
        distances = np.geomspace(0.5, 26, 10)
        forms = composite_certainty(distances, size).items()
        for (form, eta), style, x, y in zip(forms, ("-", "--"), (0.55, 9), (0.012, 0.125)):
            right.plot(distances, 1 - eta, color=colour("composite"), ls=style)
            right.text(x, y, form, color=colour("composite"), fontsize=9)
        right.axhline(0.5, color=BASELINE_COLOUR, lw=1, ls=":")
        right.text(0.5, 0.52, "MSE, BCE", fontsize=8, color=BASELINE_COLOUR, va="bottom")
        right.axvline(WHERE, color=BASELINE_COLOUR, lw=1, ls=":")
        right.text(WHERE * 0.95, 1.6e-4, "mean saccade", fontsize=8, color=BASELINE_COLOUR, rotation=90, ha="right")
        right.set(
            xscale="log",
            yscale="log",
            xlabel="distance of the white pixel if it is elsewhere (px)",
            ylabel="doubt 1 - eta allowed",
            title="How sure it wants one to be",
            ylim=(1e-4, 1.2),
        )
        right.set_xticks([0.5, 1, 2, 5, 10, 26], ["0.5", "1", "2", "5", "10", "26"])
        right.tick_params(axis="x", which="minor", bottom=False)
        return figure


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.2g}"


@cache
def highest_probability(frames_ahead: int = 10, size: int = 32, interval_ms: float = 100.0) -> tuple[float, np.ndarray]:
    """Probability of the likeliest next pixel for one who knows the simulator and the present pixel, on average.

    Returns:
        For one frame a fixation, one ahead; for frames every `interval_ms`, 1 to `frames_ahead` ahead.
    """
    return float(likeliest_pixel(1, size, None)[0]), likeliest_pixel(frames_ahead, size, interval_ms)


def how_sure_one_can_be(size: int = 32) -> Figure:
    """How probable the likeliest pixel is by frames ahead, beside what each loss asks for."""
    by_fixation, by_frame = highest_probability(size=size)
    limits = {
        "focal": crossing_threshold(FocalLoss()),
        "mse": crossing_threshold(MSE()),
        "dice": painting_threshold(DiceLoss(smooth=1.0), size),
        "weighted_mse": crossing_threshold(WeightedMSE()),
    }
    with book_style():
        figure, axes = plt.subplots(figsize=(8, 4.2))
        axes.plot(np.arange(1, len(by_frame) + 1), by_frame, "o-", color="#555555")
        axes.text(2.2, by_frame[1] * 1.03, "one frame every 100 ms", fontsize=9, color="#555555", va="bottom")
        axes.plot(1, by_fixation, "D", color="#CC79A7", ms=7)
        axes.text(1.2, by_fixation, "one frame a fixation", fontsize=9, color="#CC79A7", va="center")
        names = {"mse": "MSE, BCE", "dice": "Dice, s = 1", "weighted_mse": "Weighted MSE"}
        for name, limit in limits.items():
            axes.plot([0.7, 10], [limit, limit], color=colour(name), lw=1, ls="--")
            axes.text(
                10.15,
                limit,
                f"{names.get(name, name_of(name))}: {limit:.2g}",
                color=colour(name),
                fontsize=9,
                va="center",
            )
        axes.text(10.15, 1, "crossing 0.5\npays above", fontsize=8, va="bottom", color="#777777")
        axes.set(
            yscale="log",
            ylim=(3e-3, 1.05),
            xlim=(0.7, 12.4),
            xticks=np.arange(1, 11),
            xlabel="frames ahead",
            ylabel="probability of the likeliest pixel",
            title="How sure one can be",
        )
        axes.set_yticks([0.01, 0.03, 0.1, 0.3, 1], ["0.01", "0.03", "0.1", "0.3", "1"])
        axes.minorticks_off()
        return stamp(figure, LABEL, simulated=True)
