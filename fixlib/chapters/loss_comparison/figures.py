"""Figures of chapter 4: what each loss makes of the same network and the same gaze."""

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fixlib import plots
from fixlib.chapters.loss_comparison.runs import NAME
from fixlib.chapters.loss_comparison.tables import EVERY_LOSS, REFERENCE, SEEDS, by_horizon, constant_of, failed
from fixlib.chapters.what_each_loss_wants.figures import draw_certainty
from fixlib.losses import MSE, FocalLoss, WeightedMSE
from fixlib.plots import AMBER, GREY, LINES, SKY, color_of, figure, name_of
from fixlib.runs.store import Run
from fixlib.runs.study import Study
from fixlib.theory.outputs import crossing_threshold

RECORD: dict[str, Any] = dict(of=NAME, profile="paper", seeds=SEEDS, losses=EVERY_LOSS)
MAPS = ("mse", "focal", "concentration", "composite", "dice", "weighted_mse", "softmax_cross_entropy")  # that are shown
CURVES = ("focal", "composite", "dice", "weighted_mse", "softmax_cross_entropy", "dwell_table", "repeat_last")
LEAST_SHOWN = 0.01  # of recall: curves that stay below it are named in a line of text


@figure("04_training_curves", **RECORD)
def training_curves(study: Study) -> Figure:
    """Training and validation loss by epoch over that of the best constant, one panel a loss, all on one scale.

    Losses whose best constant costs next to nothing (concentration) have no such scale, and no panel.
    """
    names = [name for name in study.variants(trained=True) if constant_of(study.run(name)) > 1e-6]
    drawn, panels = plt.subplots(2, -(-len(names) // 2), figsize=(10, 4.6), sharex=True, sharey=True, squeeze=False)
    for axes in panels.flat[len(names) :]:
        axes.set_axis_off()
    for axes, name in zip(panels.flat, names):
        _draw_history(axes, study.runs_of(name), color_of(name))
        axes.set(title=name_of(name), yscale="log", ylim=(0.4, 4))
        plots.only_ticks(axes.yaxis, [0.5, 1, 2, 4])
    drawn.supxlabel("epoch", fontsize=10)
    drawn.supylabel("loss / that of the best constant", fontsize=10)
    marks: dict[str, dict[str, Any]] = {
        "training": dict(color="#444444", ls=":", lw=1),
        "validation": dict(color="#444444", lw=1.3),
        "epoch that is kept": dict(color="#444444", marker="o", ls=""),
        "best constant": dict(color=plots.BASELINE_COLOR, ls="--", lw=1),
    }
    plots.legend(drawn, marks, loc="outside upper center", ncols=4)
    return drawn


def _draw_history(axes: Axes, runs: Sequence[Run], color: str) -> None:
    axes.axhline(1, color=plots.BASELINE_COLOR, ls="--", lw=1)
    for run in runs:
        history = pd.DataFrame(run.history).set_index("epoch")[["train_loss", "val_loss"]] / constant_of(run)
        axes.plot(history["train_loss"], color=color, lw=1, ls=":")
        axes.plot(history["val_loss"], color=color, lw=1.3)
        axes.plot(history["val_loss"].idxmin(), history["val_loss"].min(), "o", color=color, ms=5)
        if failed(run, runs):
            last = (history.index[-1], history["val_loss"].iloc[-1])
            plots.note(axes, f"seed {run.spec.seed}", last, (-4, 9), ha="right")


@figure("04_examples", **RECORD)
def examples(study: Study, window: int = 1, names: Sequence[str] = MAPS) -> Figure:
    """One test window: each network's map as a threshold sees it, then stretched, with the true pixel ringed."""
    first = study.run(names[0]).payload["examples"]
    horizons, n_in, pixels = first["horizons"], first["n_in"], first["pixels"][window]
    size = first["maps"].shape[-1]
    shown = [(0, "as it is"), *((index, "stretched") for index in range(len(horizons)))]
    shape = (len(shown), len(names) + 1)
    drawn, panels = plt.subplots(*shape, squeeze=False, figsize=(1.33 * shape[1], 1.5 * shape[0] + 0.4))
    for row, (index, scale) in enumerate(shown):
        _draw_input(panels[row, 0], pixels[:n_in], size, "gaze so far" if row == 0 else "")
        panels[row, 0].set_ylabel(f"{100 * horizons[index]} ms,\n{scale}", fontsize=8.5)
        y, x = divmod(int(pixels[n_in + horizons[index] - 1]), size)
        for axes, name in zip(panels[row, 1:], names):
            found = study.run(name).payload["examples"]
            peak = float(found["peaks"][window, index].ravel()[0])
            label = name_of(name).replace(" (MSE + L1)", "").replace(" cross-entropy", "")
            plots.image_axes(axes, label if row == 0 else "").title.set_fontsize(9)
            axes.imshow(found["maps"][window, index] * (peak if scale == "as it is" else 1), vmin=0, vmax=255)
            axes.plot(x, y, "o", mfc="none", mec=SKY, ms=8, mew=1.4)
            if row > 0:
                axes.set_xlabel(f"max p {peak:.2g}", fontsize=8, labelpad=2)
    return drawn


def _draw_input(axes: Axes, pixels: np.ndarray, size: int, title: str) -> None:
    y, x = np.divmod(pixels.astype(int), size)
    plots.image_axes(axes, title, size)
    axes.plot(x, y, "-", color=GREY, lw=0.8)
    axes.scatter(x, y, c=np.arange(len(x)), cmap="Greys_r", vmin=-6, s=14)
    axes.plot(x[-1], y[-1], "s", mfc="none", mec=AMBER, ms=6)
    axes.title.set_fontsize(9)


@figure("04_certainty_by_horizon", **RECORD)
def certainty_by_horizon(study: Study, known: str = "dwell_table") -> Figure:
    """How sure one can be, beside what the losses ask for; and the recall at 0.5 that comes of it, frame by frame."""
    drawn, (left, right) = plt.subplots(1, 2, figsize=(10, 4))
    sure = by_horizon(study, known, "max_probability")
    frames = np.arange(1, len(sure) + 1)
    losses = dict(focal=FocalLoss(), mse=MSE(), weighted_mse=WeightedMSE())
    draw_certainty(left, sure, [(name, name_of(name), crossing_threshold(loss)) for name, loss in losses.items()])
    text = f"{name_of(known).lower()}:\nits most probable pixel"
    plots.note(left, text, (frames[len(sure) // 4], sure[len(sure) // 4]), (8, 8), color="#555555")
    ends, dark = [], []
    for name in [*study.variants(trained=True), "repeat_last", known]:
        recall = by_horizon(study, name, "white_pixel_recall")
        if recall.max() < LEAST_SHOWN:
            dark.append(plots.in_text(name))
            continue
        right.plot(frames, 100 * recall, color=color_of(name), ls=LINES.get(name, "-." if name == known else "-"))
        ends.append((100 * recall[-1], name_of(name), color_of(name)))
    plots.label_ends(right, ends, len(frames))
    if dark:
        text = f"below {LEAST_SHOWN:.0%} at every frame:\n" + ",\n".join(dark)
        right.text(0.98, 0.98, text, transform=right.transAxes, ha="right", va="top", fontsize=8, color="#555555")
    right.set(ylabel="% of white pixels with p > 0.5", title="Recall at 0.5", ylim=(-3, None))
    right.set(xlabel="frames ahead", xlim=(0.6, 1.42 * len(frames) + 0.3), xticks=frames)
    return drawn


@figure("04_errors", **RECORD)
def errors(study: Study, names: Sequence[str] = CURVES) -> Figure:
    """Error by the geometric median minus that of holding, then the prior, by how far ahead the frame lies."""
    drawn, axes = plt.subplots(figsize=(8, 4.2))
    held = by_horizon(study, REFERENCE, "error_median")
    frames, ends = np.arange(1, len(held) + 1), []
    for name in names:
        apart = by_horizon(study, name, "error_median") - held
        axes.plot(frames, apart, color=color_of(name), ls=LINES.get(name, "-"))
        ends.append((apart[-1], name_of(name), color_of(name)))
    axes.axhline(0, color=plots.BASELINE_COLOR, lw=1, zorder=0)
    axes.set(xlabel="frames ahead (100 ms each)", ylabel=f"px − {plots.in_text(REFERENCE)}")
    axes.set(xlim=(0.6, 1.32 * len(frames)), xticks=frames)
    plots.label_ends(axes, ends, len(frames))
    return drawn
