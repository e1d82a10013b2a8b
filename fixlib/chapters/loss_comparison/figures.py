"""Figures of chapter 3: what each loss makes of the same network and the same gaze."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fixlib.chapters._old_plots import BASELINE_COLOUR, book_style, colour_of, image_axes, name_of, stamp_study
from fixlib.chapters.loss_comparison.runs import FURTHER_LOSSES, LOSSES, NAME
from fixlib.losses import MSE, FocalLoss, SoftmaxCrossEntropy, WeightedMSE, make_loss
from fixlib.metrics import paired_difference
from fixlib.runs.store import Run
from fixlib.runs.study import Study, recorded
from fixlib.theory.frames import crossing_threshold
from fixlib.theory.pixels import best_constant

DECODINGS = {
    "error_argmax": ("brightest pixel", "o"),
    "error_mean": ("mean", "s"),
    "error_median": ("geometric median", "^"),
}
OTHER_COLOUR = "#882255"
# The two that any error in px should be held against.
YARDSTICKS = {"repeat_last": "--", "centre": ":"}
CONSTANT_COLOUR = "#B07500"


@dataclass(frozen=True)
class Column:
    """A metric as a panel of a dot plot: its title, how its numbers are written, whether its axis is logarithmic."""

    metric: str
    title: str
    written: str = ".3f"
    log: bool = False


@dataclass(frozen=True)
class Row:
    """A line of a dot plot: its label, its runs (one a seed), its colour; a heading where there are no runs."""

    label: str
    runs: Sequence[Run] = ()
    colour: str = "#000000"


AT_HALF = (
    Column("white_pixel_recall", "Recall at 0.5"),
    Column("white_pixel_precision", "Precision at 0.5"),
    Column("f1_score", "F1 at 0.5"),
)
FREE = (
    Column("white_pixel_recall", "Recall at 0.5"),
    Column("max_probability", "Largest p in a frame", ".2g", True),
    Column("average_precision", "Average precision", ".2g", True),
    Column("hit_3px", "Brightest pixel within 3 px"),
    Column("error_argmax", "Error of brightest pixel (px)", ".1f"),
)
ABLATED = (
    Column("max_probability", "Largest p in a frame", ".2g", True),
    Column("white_pixel_recall", "Recall at 0.5"),
    Column("average_precision", "Average precision", ".2g", True),
    Column("error_argmax", "Error of brightest pixel (px)", ".1f"),
)

BY_SIZE = (
    Column("white_pixel_recall", "Recall at 0.5"),
    Column("white_pixel_precision", "Precision at 0.5"),
    Column("average_precision", "Average precision"),
    Column("hit_3px", "Brightest pixel within 3 px"),
    Column("error_argmax", "Error of brightest pixel (px)", ".1f"),
)


def recorded_sizes() -> list[Study]:
    """Every loss on OSIE as recorded: a study of the `quick` runs, and one of the `paper` runs."""
    losses = (*LOSSES, *FURTHER_LOSSES)
    return [recorded(NAME, "osie", "quick", losses=losses), recorded(NAME, "osie", "paper", (0, 1, 2), losses=losses)]


def recorded_elsewhere() -> list[Study]:
    """The `paper` runs as recorded on other gaze: every loss on simulated, some on films."""
    return [
        recorded(NAME, "simulated", "paper", losses=(*LOSSES, *FURTHER_LOSSES)),
        recorded(NAME, "gazecom", "paper", losses=("focal", "composite", "dice")),
    ]


def networks_of(study) -> list[str]:
    """The variants that were trained."""
    return [name for name in study.variants() if study.run(name).history]


def baselines_of(study) -> list[str]:
    """The variants that were not."""
    return [name for name in study.variants() if not study.run(name).history]


def runs_of(study, variant: str) -> list[Run]:
    """The runs of a variant, one a seed."""
    return [run for run in study.runs if run.spec.variant == variant]


def by_horizon(study, variant: str, metric: str) -> np.ndarray:
    """A metric frame by frame, (T,), mean over seeds."""
    return np.mean([run.by_horizon[metric] for run in runs_of(study, variant)], axis=0)


def best_constant_loss(loss: dict, size: int = 32) -> float:
    """What the loss costs where every pixel is given the loss's own best constant: the score of knowing nothing.

    Args:
        loss: name and options, as in a run's configuration.
        size: of the frames; each has one white pixel, which visits every row and column once.
    """
    options = {key: value for key, value in loss.items() if key != "name"}
    return _best_constant_loss(loss["name"], size, **options)


@lru_cache
def _best_constant_loss(name: str, size: int, **options) -> float:
    loss = make_loss(name, **options)
    if isinstance(loss, SoftmaxCrossEntropy):  # every constant is the uniform density
        return float(np.log(size**2))
    frames = torch.eye(size, dtype=torch.float64).unsqueeze(-1) * torch.eye(size, dtype=torch.float64).unsqueeze(1)
    p = torch.full_like(frames, best_constant(loss, 1 / size**2, size))
    return float(loss(torch.logit(p, eps=1e-13), frames))


def constant_of(run: Run) -> float:
    """`best_constant_loss` of the loss that a network was trained with, on frames of its size."""
    loss = run.spec.config.loss
    return _best_constant_loss(loss.name, run.spec.config.data.size, **loss.options)


def beaten_constant(run: Run) -> bool:
    """Whether a network's test loss is below that of its loss's best constant: whether it learnt anything of use."""
    return run.payload["test_loss"] < constant_of(run)


def over_constant(run: Run) -> float:
    """A network's test loss over the loss of its best constant; huge where that is next to 0 (concentration)."""
    return run.payload["test_loss"] / constant_of(run)


def difference(study, a: str, b: str, metric: str, other=None) -> dict[str, float]:
    """Mean over windows of a's metric minus b's, with its paired 95% interval: dict(value, low, high).

    Args:
        study, other: where variant a, and variant b, are found (b in `study` too by default). Seeds are averaged.
        metric: one that runs keep by window (see `fixlib.runs.store.PER_WINDOW`).
    """
    sides = [runs_of(study, a), runs_of(other or study, b)]
    numbers = [np.mean([run.per_window[metric].astype(float) for run in runs], axis=0) for runs in sides]
    windows = sides[0][0].per_window
    return paired_difference(*numbers, windows["subject"], windows["stimulus"], weight=windows["frames"])


def training_curves(study) -> Figure:
    """Training and validation loss by epoch, one panel a loss: their scales cannot be compared, their shapes can."""
    names = networks_of(study)
    columns = min(4, len(names))
    rows = -(-len(names) // columns)
    with book_style():
        figure, panels = plt.subplots(rows, columns, figsize=(2.5 * columns, 2.1 * rows), squeeze=False)
        for axes in panels.flat[len(names) :]:
            axes.set_axis_off()
        for axes, name in zip(panels.flat, names):
            _draw_history(axes, runs_of(study, name), colour_of(name))
            axes.set_title(name_of(name))
        for axes in panels[:, 0]:
            axes.set_ylabel("loss")
        for axes in panels.flat[max(0, len(names) - columns) : len(names)]:
            axes.set_xlabel("epoch")
        handles = [
            plt.Line2D([], [], color="#444444", ls=":", lw=1),
            plt.Line2D([], [], color="#444444"),
            plt.Line2D([], [], color="#444444", marker="o", ls=""),
            plt.Line2D([], [], color=CONSTANT_COLOUR, ls="--", lw=1.2),
        ]
        labels = ["training", "validation", "best epoch, kept", "best constant output"]
        last = panels.flat[-1]
        if len(names) < panels.size:
            last.legend(handles, labels, loc="center")
        else:
            last.legend(handles, labels, loc="center left", bbox_to_anchor=(1, 0.5))
        return stamp_study(figure, study)


def _draw_history(axes: Axes, runs: Sequence[Run], colour: str) -> None:
    values = []
    for run in runs:
        epochs = [entry["epoch"] for entry in run.history]
        training, validation = ([entry[key] for entry in run.history] for key in ("train_loss", "val_loss"))
        axes.plot(epochs, training, color=colour, lw=1, ls=":")
        axes.plot(epochs, validation, color=colour)
        axes.plot(epochs[int(np.argmin(validation))], min(validation), "o", color=colour, ms=5)
        values += training + validation
    constant = constant_of(runs[0])
    axes.set_xticks(epochs if len(epochs) < 4 else np.unique(np.linspace(1, len(epochs), 4).round().astype(int)))
    if max(values) > 3 * min(values):
        axes.set_yscale("log")
    if constant > max(values) / 1e5:  # else it lies too deep to be drawn
        axes.axhline(constant, color=CONSTANT_COLOUR, ls="--", lw=1.2)
    else:
        text = f"{constant:.0e}" if constant > 1e-9 else "0"
        axes.text(
            0.98,
            0.9,
            f"best constant: {text}",
            transform=axes.transAxes,
            ha="right",
            fontsize=7.5,
            color=CONSTANT_COLOUR,
        )
    axes.tick_params(axis="y", which="both", labelsize=8)
    axes.minorticks_off()


def dot_panels(study, rows: Sequence[Row], columns: Sequence[Column], height: float = 0.27) -> Figure:
    """One panel a metric, one line a predictor: value and 95% interval of each seed, the mean written beside."""
    heights = np.arange(len(rows))[::-1]
    with book_style():
        figure, panels = plt.subplots(
            1, len(columns), figsize=(1.75 * len(columns) + 2.4, height * len(rows) + 1.1), sharey=True, squeeze=False
        )
        for axes, column in zip(panels.flat, columns):
            if column.log:
                axes.set_xscale("log")
            for at, row in zip(heights, rows):
                _draw_dots(axes, at, row, column)
            axes.set_title(column.title, fontsize=9.5)
            axes.margins(x=0.12)
            low, high = axes.get_xlim()
            axes.set_xlim(low if column.log else min(0, low), high * (high / low) ** 0.3 if column.log else high * 1.22)
            if column.log:  # probabilities: the room right of 1 is for the numbers
                lowest = int(np.ceil(np.log10(axes.get_xlim()[0])))
                axes.set_xticks([10.0**power for power in range(0, lowest - 1, -1 if lowest > -4 else -2)])
                axes.minorticks_off()
            axes.tick_params(axis="x", labelsize=8)
            axes.tick_params(axis="y", length=0)
        panels[0, 0].set(yticks=heights, yticklabels=[row.label for row in rows], ylim=(-0.6, len(rows) - 0.4))
        for row, label in zip(rows, panels[0, 0].get_yticklabels()):
            label.set(color=row.colour, weight="normal" if row.runs else "bold")
        return stamp_study(figure, study)


def _draw_dots(axes: Axes, at: float, row: Row, column: Column) -> None:
    if not row.runs:
        return
    found = [run.metrics[column.metric] for run in row.runs]
    offsets = np.linspace(0.22, -0.22, len(found)) if len(found) > 1 else [0.0]
    for number, offset in zip(found, offsets):
        axes.plot([number["low"], number["high"]], [at + offset] * 2, color=row.colour, lw=2, alpha=0.5)
        axes.plot(number["value"], at + offset, "o", color=row.colour, ms=5)
    mean, right = np.mean([n["value"] for n in found]), max([n["high"] for n in found] + [n["value"] for n in found])
    axes.annotate(
        f"{mean:{column.written}}", (right, at), xytext=(4, 0), textcoords="offset points", fontsize=7.5, va="center"
    )


def _rows(study) -> list[Row]:
    return [
        Row(name_of(name), runs_of(study, name), colour_of(name)) for name in networks_of(study) + baselines_of(study)
    ]


def scores_at_half(study) -> Figure:
    """The original experiment's scores: a pixel counts as white where p > 0.5."""
    return dot_panels(study, _rows(study), AT_HALF)


def scores_without_threshold(study) -> Figure:
    """Recall at 0.5 beside the largest p, and beside what the order of the pixels is worth."""
    return dot_panels(study, _rows(study), FREE)


def ablation_rows(study) -> list[Row]:
    """The lines of `ablations`: each loss as it is, then with one setting changed; last, losses with none changed."""
    groups: dict[str, list[str]] = {}
    for name in networks_of(study):
        groups.setdefault(study.run(name).spec.config.loss.name, []).append(name)
    rows, alone = [], [Row("As they are", colour=OTHER_COLOUR)]
    for loss, variants in groups.items():
        if variants == [loss]:
            alone.append(Row(name_of(loss), runs_of(study, loss), OTHER_COLOUR))
            continue
        rows += [Row(name_of(loss), colour=colour_of(loss)), Row("as compared", runs_of(study, loss), colour_of(loss))]
        rows += [
            Row(setting_of(study.run(name), study.run(loss)), runs_of(study, name), colour_of(loss))
            for name in variants
            if name != loss
        ]
    return rows + (alone if len(alone) > 1 else [])


def setting_of(run: Run, unchanged: Run) -> str:
    """What differs between the configurations of two runs of one loss, in a few words."""
    ours, theirs = run.spec.config, unchanged.spec.config
    if "prior_probability" in ours.model.options:
        return f"prior bias {ours.model.options['prior_probability']:g}"
    usual = theirs.loss.options
    ((name, value),) = ((name, value) for name, value in ours.loss.options.items() if usual.get(name) != value)
    if name == "normalise":
        return "concentration normalised"
    if name in usual and name.endswith("_weight") and name != "pos_weight":
        return f"{name.removesuffix('_weight')} " + (f"x {value / usual[name]:g}" if value else "off")
    return f"{name.removeprefix('pos_')} {value:g}"


def ablations(study) -> Figure:
    """One setting changed at a time (a study of `loss_ablations`)."""
    return dot_panels(study, ablation_rows(study), ABLATED, height=0.2)


def size_rows(studies: Sequence) -> list[Row]:
    """The lines of `sizes`: a heading a loss that was trained at the last size, then its networks, one line a size."""
    rows = []
    for name in networks_of(studies[-1]):
        rows.append(Row(name_of(name), colour=colour_of(name)))
        for found in filter(None, (runs_of(study, name) for study in studies)):
            label = f"{found[0].payload['parameters'] / 1e6:.2g}M, {len(found[0].history)} epochs"
            rows.append(Row(label, found, colour_of(name)))
    return rows


def sizes(studies: Sequence) -> Figure:
    """The same losses at several sizes of network and lengths of training: one study a size, the smallest first."""
    return dot_panels(studies[-1], size_rows(studies), BY_SIZE, height=0.22)


def certainty_by_horizon(study, known: str = "transition_table") -> Figure:
    """How sure one can be, beside what the losses ask for; and the recall at 0.5 that comes of it, frame by frame."""
    thresholds = {
        "focal": crossing_threshold(FocalLoss()),
        "mse": crossing_threshold(MSE()),
        "weighted_mse": crossing_threshold(WeightedMSE()),
    }
    with book_style():
        figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4))
        sure = by_horizon(study, known, "max_probability")
        frames = np.arange(1, len(sure) + 1)
        left.plot(frames, sure, "o-", color=BASELINE_COLOUR)
        left.annotate(
            "transition table:\nits most probable pixel",
            (frames[len(frames) // 4], sure[len(frames) // 4]),
            xytext=(8, 4),
            textcoords="offset points",
            fontsize=8,
            color="#555555",
        )
        for name, limit in thresholds.items():
            left.plot([0.6, len(frames)], [limit] * 2, color=colour_of(name), lw=1, ls="--")
            left.text(
                len(frames) + 0.2,
                limit,
                f"{name_of(name)}: {limit:.2g}",
                color=colour_of(name),
                fontsize=8,
                va="center",
            )
        left.set(yscale="log", ylim=(5e-3, 1.3), ylabel="probability of the pixel", title="How sure one can be")
        left.set_yticks([0.01, 0.03, 0.1, 0.3, 1], ["0.01", "0.03", "0.1", "0.3", "1"])
        left.minorticks_off()
        left.text(len(frames) + 0.2, 1.15, "p > 0.5 pays above", fontsize=8, color="#777777")
        ends = []
        for name in [*networks_of(study), "repeat_last", known]:
            recall = 100 * by_horizon(study, name, "white_pixel_recall")
            style = "-" if study.run(name).history else YARDSTICKS.get(name, "-.")
            right.plot(frames, recall, color=colour_of(name), ls=style)
            ends.append((recall[-1], name_of(name), colour_of(name)))
        label_ends(right, ends, len(frames))
        right.set(ylabel="% of white pixels with p > 0.5", title="Recall at 0.5", ylim=(-3, None))
        for axes, room in ((left, 0.34), (right, 0.42)):
            axes.set(xlabel="frames ahead (100 ms each)", xlim=(0.6, len(frames) * (1 + room) + 0.3), xticks=frames)
        return stamp_study(figure, study)


def label_ends(axes: Axes, ends: Sequence[tuple[float, str, str]], last: float, gap: float = 0.055) -> None:
    """Name curves (end value, name, colour) at their right end x = `last`, moved apart where they would overlap.

    `gap`: the least distance between names, as a share of the axes' height.
    """
    bottom, top = axes.get_ylim()
    gap *= top - bottom
    ends = sorted(ends)
    heights = np.array([value for value, _, _ in ends], dtype=float)
    for _ in range(200):  # push neighbours apart, each half the way
        overlap = np.clip(gap - np.diff(heights), 0, None) / 2
        heights -= np.append(overlap, 0)
        heights += np.insert(overlap, 0, 0)
        heights += max(0, bottom + gap / 2 - heights[0])
    for height, (value, name, colour) in zip(heights, ends):
        axes.plot([1.005 * last, 1.035 * last], [value, height], color=colour, lw=0.5, clip_on=False)
        axes.text(1.04 * last, height, name, color=colour, fontsize=8, va="center")


def errors(study) -> Figure:
    """Mean pixel error by how a map becomes a point, and by how far ahead the frame lies; two baselines beside."""
    names = networks_of(study)
    with book_style():
        figure, panels = plt.subplots(1, 3, figsize=(11.5, 4.1), width_ratios=(1.25, 1, 1.45))
        _draw_decodings(panels[0], study, names)
        for axes, metric in zip(panels[1:], ("error_argmax", "error_median")):
            ends = []
            for name in names + list(YARDSTICKS):
                error = by_horizon(study, name, metric)
                axes.plot(np.arange(1, len(error) + 1), error, color=colour_of(name), ls=YARDSTICKS.get(name, "-"))
                ends.append((error[-1], name_of(name), colour_of(name)))
            axes.set(
                xlabel="frames ahead (100 ms each)",
                title=f"By the {DECODINGS[metric][0]}",
                ylim=(0, None),
                xticks=np.arange(1, len(error) + 1, max(1, len(error) // 5)),
            )
        top = max(axes.get_ylim()[1] for axes in panels[1:])
        for axes in panels[1:]:
            axes.set_ylim(0, top)
        label_ends(panels[2], ends, len(error))
        panels[2].set_xlim(right=1.62 * len(error))
        panels[1].set_ylabel("mean pixel error (px)")
        return stamp_study(figure, study)


def _draw_decodings(axes: Axes, study, names: Sequence[str]) -> None:
    rows = np.arange(len(names))[::-1]
    for offset, (metric, (label, marker)) in zip((0.22, 0, -0.22), DECODINGS.items()):
        for row, name in zip(rows, names):
            found = [run.metrics[metric] for run in runs_of(study, name)]
            low, value, high = (np.mean([number[key] for number in found]) for key in ("low", "value", "high"))
            axes.plot([low, high], [row + offset] * 2, color=colour_of(name), lw=2, alpha=0.5)
            axes.plot(value, row + offset, marker, color=colour_of(name), ms=5)
        axes.plot([], [], marker, color="#444444", label=label)
    for name, style in YARDSTICKS.items():
        axes.axvline(
            study.run(name).metrics["error_argmax"]["value"], color=BASELINE_COLOUR, lw=1, ls=style, label=name_of(name)
        )
    axes.set(
        yticks=rows, yticklabels=[name_of(name) for name in names], xlabel="mean pixel error (px)", title="All frames"
    )
    axes.legend(
        loc="upper center", bbox_to_anchor=(0.35, -0.17), ncols=2, columnspacing=1, handletextpad=0.4, fontsize=8
    )


def examples(study, window: int = 0) -> Figure:
    """One test window: each network's map as a threshold sees it, then stretched, with the true pixel ringed."""
    names = networks_of(study)
    first = study.run(names[0]).payload["examples"]
    horizons, n_in, pixels = first["horizons"], first["n_in"], first["pixels"][window]
    size = first["maps"].shape[-1]
    shown = [(0, "as it is"), *((index, "stretched") for index in range(len(horizons)))]
    with book_style():
        figure, panels = plt.subplots(
            len(shown), len(names) + 1, squeeze=False, figsize=(1.33 * (len(names) + 1), 1.5 * len(shown) + 0.4)
        )
        for row, (index, scale) in enumerate(shown):
            _draw_input(panels[row, 0], pixels[:n_in], size, "gaze so far" if row == 0 else "")
            panels[row, 0].set_ylabel(f"{100 * horizons[index]} ms,\n{scale}", fontsize=8.5)
            y, x = divmod(int(pixels[n_in + horizons[index] - 1]), size)
            for axes, name in zip(panels[row, 1:], names):
                found = study.run(name).payload["examples"]
                peak = float(found["peaks"][window, index].ravel()[0])
                image_axes(axes, name_of(name).replace(" (MSE + L1)", "") if row == 0 else "")
                axes.imshow(found["maps"][window, index] * (peak if scale == "as it is" else 1), vmin=0, vmax=255)
                axes.plot(x, y, "o", mfc="none", mec="#56B4E9", ms=8, mew=1.4)
                if row > 0:
                    axes.set_xlabel(f"max p {peak:.2g}", fontsize=8, labelpad=2)
                axes.title.set_fontsize(9)
        return stamp_study(figure, study)


def _draw_input(axes: Axes, pixels: np.ndarray, size: int, title: str) -> None:
    y, x = np.divmod(pixels.astype(int), size)
    image_axes(axes, title).set(xlim=(-0.5, size - 0.5), ylim=(size - 0.5, -0.5), aspect="equal", facecolor="black")
    axes.plot(x, y, "-", color="#777777", lw=0.8)
    axes.scatter(x, y, c=np.arange(len(x)), cmap="Greys_r", vmin=-6, s=14)
    axes.plot(x[-1], y[-1], "s", mfc="none", mec="#E69F00", ms=6)
    axes.title.set_fontsize(9)
