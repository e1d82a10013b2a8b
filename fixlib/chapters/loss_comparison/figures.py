"""Figures of chapter 4: what each loss makes of the same network and the same gaze."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fixlib import plots
from fixlib.chapters.loss_comparison.tables import by_horizon, constant_of, recorded_sizes
from fixlib.chapters.what_each_loss_wants.figures import draw_certainty
from fixlib.losses import MSE, FocalLoss, WeightedMSE
from fixlib.plots import BASELINE_COLOR, LINES, Row, color_of, dots, figure, name_of
from fixlib.runs.store import Run
from fixlib.runs.study import Study, mean
from fixlib.theory.outputs import crossing_threshold

DECODINGS = {
    "error_argmax": ("brightest pixel", "o"),
    "error_mean": ("mean", "s"),
    "error_median": ("geometric median", "^"),
}
CONSTANT_COLOR = "#B07500"
# Metric -> the title of its panel, how its numbers are written, whether its axis is logarithmic.
SCORES = {
    "white_pixel_recall": ("Recall at 0.5", ".3f", False),
    "white_pixel_precision": ("Precision at 0.5", ".3f", False),
    "f1_score": ("F1 at 0.5", ".3f", False),
    "max_probability": ("Largest p in a frame", ".2g", True),
    "average_precision": ("Average precision", ".2g", True),
    "hit_3px": ("Brightest pixel within 3 px", ".3f", False),
    "error_argmax": ("Error of brightest pixel (px)", ".1f", False),
}
Line = tuple[Row, Sequence[Run]]  # of a dot plot, and the runs whose scores it shows, one a seed


@figure("04_training_curves", of="loss_comparison")
def training_curves(study: Study) -> Figure:
    """Training and validation loss by epoch, one panel a loss: their scales cannot be compared, their shapes can."""
    names = study.variants(trained=True)
    columns, rows = 4, len(names) // 4 + 1  # one panel more than losses, for the legend
    drawn, panels = plt.subplots(rows, columns, figsize=(2.5 * columns, 2.1 * rows), squeeze=False)
    for axes in panels.flat[len(names) :]:
        axes.set_axis_off()
    for axes, name in zip(panels.flat, names):
        _draw_history(axes, study.runs_of(name), color_of(name))
        axes.set(title=name_of(name), xlabel="epoch")
    drawn.supylabel("loss", fontsize=10)
    marks: dict[str, dict[str, Any]] = {
        "training": dict(color="#444444", ls=":", lw=1),
        "validation": dict(color="#444444"),
        "best epoch, kept": dict(color="#444444", marker="o", ls=""),
        "best constant output": dict(color=CONSTANT_COLOR, ls="--", lw=1.2),
    }
    plots.legend(panels.flat[-1], marks, loc="center")
    return drawn


def _draw_history(axes: Axes, runs: Sequence[Run], color: str) -> None:
    values = []
    for run in runs:
        epochs = [entry["epoch"] for entry in run.history]
        training, validation = ([entry[key] for entry in run.history] for key in ("train_loss", "val_loss"))
        axes.plot(epochs, training, color=color, lw=1, ls=":")
        axes.plot(epochs, validation, color=color)
        axes.plot(epochs[int(np.argmin(validation))], min(validation), "o", color=color, ms=5)
        values += training + validation
    axes.set_xticks(epochs if len(epochs) < 4 else np.unique(np.linspace(1, len(epochs), 4).round().astype(int)))
    if max(values) > 3 * min(values):
        axes.set_yscale("log")
    constant = constant_of(runs[0])
    if constant > max(values) / 1e5:
        axes.axhline(constant, color=CONSTANT_COLOR, ls="--", lw=1.2)
    else:  # it lies too deep to be drawn
        text = f"best constant: {f'{constant:.0e}' if constant > 1e-9 else '0'}"
        axes.text(0.98, 0.9, text, transform=axes.transAxes, ha="right", fontsize=7.5, color=CONSTANT_COLOR)
    axes.tick_params(axis="y", which="both", labelsize=8)
    axes.minorticks_off()


def dot_panels(lines: Sequence[Line], metrics: Sequence[str], height: float = 0.27) -> Figure:
    """One panel a metric, one line a predictor: value and 95% interval of each seed, the mean written beside."""
    size = (1.75 * len(metrics) + 2.4, height * len(lines) + 1.1)
    drawn, panels = plt.subplots(1, len(metrics), figsize=size, sharey=True, squeeze=False)
    for axes, metric in zip(panels.flat, metrics):
        title, written, log = SCORES[metric]
        axes.set_xscale("log" if log else "linear")
        dots(axes, [replace(row, numbers=[run.metrics[metric] for run in runs]) for row, runs in lines], written)
        axes.set_title(title, fontsize=9.5)
        low, high = axes.get_xlim()  # room on the right is for the numbers
        axes.set_xlim(low if log else min(0, low), high * (high / low) ** 0.3 if log else high * 1.22)
        if log:  # probabilities
            lowest = int(np.ceil(np.log10(low)))
            axes.set_xticks([10.0**power for power in range(0, lowest - 1, -1 if lowest > -4 else -2)])
            axes.minorticks_off()
    return drawn


def lines_of(study: Study) -> list[Line]:
    """Every network, then every baseline."""
    names = study.variants(trained=True) + study.variants(trained=False)
    return [(Row(name_of(name), color_of(name)), study.runs_of(name)) for name in names]


@figure("04_scores_at_half", of="loss_comparison")
def scores_at_half(study: Study) -> Figure:
    """The original experiment's scores: a pixel counts as white where p > 0.5."""
    return dot_panels(lines_of(study), ("white_pixel_recall", "white_pixel_precision", "f1_score"))


@figure("04_scores_without_threshold", of="loss_comparison")
def scores_without_threshold(study: Study) -> Figure:
    """Beside recall at 0.5 what does not depend on a threshold: ranking of pixels, and where the brightest one is."""
    metrics = ("white_pixel_recall", "max_probability", "average_precision", "hit_3px", "error_argmax")
    return dot_panels(lines_of(study), metrics)


def ablation_lines(study: Study) -> list[Line]:
    """The lines of `ablations`: each loss as it is, then with one setting changed; last, losses with none changed."""
    lines: list[Line] = []
    alone: list[Line] = [(Row("As they are"), [])]
    for loss, group in study.frame().drop_duplicates("variant").groupby("loss", sort=False):
        settings = dict(zip(group["variant"], group["options"]))
        if len(settings) == 1:
            alone.append((Row(name_of(loss), color_of(loss)), study.runs_of(*settings)))
            continue
        lines.append((Row(name_of(loss), color_of(loss)), []))
        lines += [(Row(text or "as compared", color_of(loss)), study.runs_of(name)) for name, text in settings.items()]
    return lines + (alone if len(alone) > 1 else [])


@figure("04_ablations", of="loss_ablations")
def ablations(study: Study) -> Figure:
    """One setting changed at a time (a study of `loss_ablations`)."""
    metrics = ("max_probability", "white_pixel_recall", "average_precision", "error_argmax")
    return dot_panels(ablation_lines(study), metrics, height=0.2)


def size_lines(studies: Sequence[Study]) -> list[Line]:
    """The lines of `sizes`: a heading a loss that was trained at the last size, then its networks, one line a size."""
    lines: list[Line] = []
    for name in studies[-1].variants(trained=True):
        lines.append((Row(name_of(name), color_of(name)), []))
        for runs in filter(None, (study.runs_of(name) for study in studies)):
            label = f"{runs[0].payload['parameters'] / 1e6:.2g}M, {len(runs[0].history)} epochs"
            lines.append((Row(label, color_of(name)), runs))
    return lines


@figure("04_sizes")
def sizes(studies: Sequence[Study] = ()) -> Figure:
    """The same losses at several sizes of network and lengths of training: one study a size, the smallest first."""
    studies = studies or recorded_sizes()
    metrics = ("white_pixel_recall", "white_pixel_precision", "average_precision", "hit_3px", "error_argmax")
    return plots.stamp(dot_panels(size_lines(studies), metrics, height=0.22), studies[-1].label, studies[-1].simulated)


@figure("04_certainty_by_horizon", of="loss_comparison")
def certainty_by_horizon(study: Study, known: str = "transition_table") -> Figure:
    """How sure one can be, beside what the losses ask for; and the recall at 0.5 that comes of it, frame by frame."""
    drawn, (left, right) = plt.subplots(1, 2, figsize=(10, 4))
    sure = by_horizon(study, known, "max_probability")
    frames = np.arange(1, len(sure) + 1)
    losses = dict(focal=FocalLoss(), mse=MSE(), weighted_mse=WeightedMSE())
    draw_certainty(left, sure, [(name, name_of(name), crossing_threshold(loss)) for name, loss in losses.items()])
    text = "transition table:\nits most probable pixel"
    plots.note(left, text, (frames[len(sure) // 4], sure[len(sure) // 4]), (8, 8), color="#555555")
    ends = []
    for name in [*study.variants(trained=True), "repeat_last", known]:
        recall = 100 * by_horizon(study, name, "white_pixel_recall")
        right.plot(frames, recall, color=color_of(name), ls=LINES.get(name, "-." if name == known else "-"))
        ends.append((recall[-1], name_of(name), color_of(name)))
    plots.label_ends(right, ends, len(frames))
    right.set(ylabel="% of white pixels with p > 0.5", title="Recall at 0.5", ylim=(-3, None))
    right.set(xlabel="frames ahead", xlim=(0.6, 1.42 * len(frames) + 0.3), xticks=frames)
    return drawn


@figure("04_errors", of="loss_comparison")
def errors(study: Study) -> Figure:
    """Mean pixel error by how a map becomes a point, and by how far ahead the frame lies; two baselines beside."""
    drawn, panels = plt.subplots(1, 3, figsize=(11.5, 4.1), width_ratios=(1.25, 1, 1.45))
    names = study.variants(trained=True)
    _draw_decodings(panels[0], study, names)
    for axes, metric in zip(panels[1:], ("error_argmax", "error_median")):
        ends = []
        for name in [*names, *LINES]:
            error = by_horizon(study, name, metric)
            axes.plot(np.arange(1, len(error) + 1), error, color=color_of(name), ls=LINES.get(name, "-"))
            ends.append((error[-1], name_of(name), color_of(name)))
        ticks = np.arange(1, len(error) + 1, max(1, len(error) // 5))
        axes.set(xlabel="frames ahead (100 ms each)", title=f"By the {DECODINGS[metric][0]}", xticks=ticks)
    top = max(axes.get_ylim()[1] for axes in panels[1:])
    for axes in panels[1:]:
        axes.set_ylim(0, top)
    plots.label_ends(panels[2], ends, len(error))
    panels[2].set_xlim(right=1.62 * len(error))
    panels[1].set_ylabel("mean pixel error (px)")
    return drawn


def _draw_decodings(axes: Axes, study: Study, names: Sequence[str]) -> None:
    """Three dots a network, with their intervals: its error by each way to make a point of its map."""
    for shift, (metric, (_, marker)) in zip((0.22, 0, -0.22), DECODINGS.items()):
        found = {name: [mean(study.runs_of(name), metric)] for name in names}
        dots(axes, [Row(name_of(name), color_of(name), found[name], marker=marker) for name in names], "", shift)
    for name, line in LINES.items():
        axes.axvline(mean(study.runs_of(name), "error_argmax")["value"], color=BASELINE_COLOR, lw=1, ls=line)
    axes.set(xlabel="mean pixel error (px)", title="All frames")
    marks: dict[str, dict[str, Any]] = {
        text: dict(color="#444444", marker=marker, ls="") for text, marker in DECODINGS.values()
    }
    marks |= {name_of(name): dict(color=BASELINE_COLOR, lw=1, ls=line) for name, line in LINES.items()}
    place = dict(loc="upper center", bbox_to_anchor=(0.35, -0.17), columnspacing=1, handletextpad=0.4)
    plots.legend(axes, marks, ncols=2, fontsize=8, **place)


@figure("04_examples", of="loss_comparison")
def examples(study: Study, window: int = 0) -> Figure:
    """One test window: each network's map as a threshold sees it, then stretched, with the true pixel ringed."""
    names = study.variants(trained=True)
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
            plots.image_axes(axes, name_of(name).replace(" (MSE + L1)", "") if row == 0 else "").title.set_fontsize(9)
            axes.imshow(found["maps"][window, index] * (peak if scale == "as it is" else 1), vmin=0, vmax=255)
            axes.plot(x, y, "o", mfc="none", mec="#56B4E9", ms=8, mew=1.4)
            if row > 0:
                axes.set_xlabel(f"max p {peak:.2g}", fontsize=8, labelpad=2)
    return drawn


def _draw_input(axes: Axes, pixels: np.ndarray, size: int, title: str) -> None:
    y, x = np.divmod(pixels.astype(int), size)
    plots.image_axes(axes, title, size)
    axes.plot(x, y, "-", color="#777777", lw=0.8)
    axes.scatter(x, y, c=np.arange(len(x)), cmap="Greys_r", vmin=-6, s=14)
    axes.plot(x[-1], y[-1], "s", mfc="none", mec="#E69F00", ms=6)
    axes.title.set_fontsize(9)
