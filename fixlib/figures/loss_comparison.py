"""Figures of chapter 3: what each loss makes of the same network and the same gaze."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from fixlib.figures.style import BASELINE_COLOUR, book_style, colour_of, image_axes, name_of, stamp_study

DECODINGS = {"error_argmax": ("brightest pixel", "o"), "error_mean": ("mean", "s"), "error_median": ("geometric median", "^")}


def networks_of(study) -> list[str]:
    """The variants that were trained."""
    return [name for name in study.variants() if study.run(name).history]


def baselines_of(study) -> list[str]:
    """The variants that were not."""
    return [name for name in study.variants() if not study.run(name).history]


def training_curves(study) -> Figure:
    """Training and validation loss by epoch, one panel a loss: their scales cannot be compared, their shapes can."""
    names = networks_of(study)
    columns = min(4, len(names))
    rows = -(-len(names) // columns)
    with book_style():
        figure, panels = plt.subplots(rows, columns, figsize=(2.5 * columns, 2.1 * rows), squeeze=False, sharex=True)
        for axes in panels.flat[len(names):]:
            axes.remove()
        for axes, name in zip(panels.flat, names):
            history = study.run(name).history
            epochs = [entry["epoch"] for entry in history]
            axes.plot(epochs, [entry["train_loss"] for entry in history], color=colour_of(name), lw=1, ls=":", label="training")
            axes.plot(epochs, [entry["val_loss"] for entry in history], color=colour_of(name), label="validation")
            best = min(history, key=lambda entry: entry["val_loss"])
            axes.plot(best["epoch"], best["val_loss"], "o", color=colour_of(name), ms=5)
            axes.set(title=name_of(name), yscale="log", xlabel="epoch")
            axes.tick_params(axis="y", which="both", labelsize=7)
        panels.flat[0].set_ylabel("loss (log scale)")
        panels.flat[0].legend(fontsize=8)
        return stamp_study(figure, study)


def scores(study, metrics: dict[str, str]) -> Figure:
    """One panel a metric, one row a predictor: value and 95% interval. `metrics` maps metric to title."""
    names = networks_of(study) + baselines_of(study)
    rows = np.arange(len(names))[::-1]
    with book_style():
        figure, panels = plt.subplots(1, len(metrics), figsize=(2.4 * len(metrics) + 2, 0.28 * len(names) + 1.1), sharey=True,
                                      squeeze=False)
        for axes, (metric, title) in zip(panels.flat, metrics.items()):
            for row, name in zip(rows, names):
                found = study.run(name).metrics[metric]
                axes.plot([found["low"], found["high"]], [row, row], color=colour_of(name), lw=2, alpha=0.5)
                axes.plot(found["value"], row, "o", color=colour_of(name))
                axes.annotate(f"{found['value']:.3f}", (found["value"], row), xytext=(0, 4), fontsize=7,
                              textcoords="offset points", ha="center")
            axes.set(title=title, yticks=rows, yticklabels=[name_of(name) for name in names])
            axes.margins(x=0.12)
            axes.set_xlim(left=min(0, axes.get_xlim()[0]))
        return stamp_study(figure, study)


def scores_at_half(study) -> Figure:
    """The original experiment's scores: a pixel counts as white where p > 0.5."""
    return scores(study, {"white_pixel_recall": "Recall at 0.5", "white_pixel_precision": "Precision at 0.5",
                          "f1_score": "F1 at 0.5"})


def threshold_free_scores(study) -> Figure:
    """Scores that do not depend on where the threshold lies."""
    return scores(study, {"average_precision": "Average precision", "best_f1": "Best F1 at any threshold",
                          "hit_3px": "Brightest pixel within 3 px"})


def errors_by_decoding(study) -> Figure:
    """Mean pixel error of the next ten frames by how a map is turned into a point; baselines as lines."""
    names = networks_of(study)
    rows = np.arange(len(names))[::-1]
    with book_style():
        figure, axes = plt.subplots(figsize=(8, 0.42 * len(names) + 1.5))
        for offset, (metric, (label, marker)) in zip((0.2, 0, -0.2), DECODINGS.items()):
            for row, name in zip(rows, names):
                found = study.run(name).metrics[metric]
                axes.plot([found["low"], found["high"]], [row + offset] * 2, color=colour_of(name), lw=2, alpha=0.5)
                axes.plot(found["value"], row + offset, marker, color=colour_of(name), ms=6)
            axes.plot([], [], marker, color="#444444", label=label)
        for name, height in (("repeat_last", 1.0), ("centre", 1.0)):
            value = study.run(name).metrics["error_argmax"]["value"]
            axes.axvline(value, color=BASELINE_COLOUR, lw=1, ls="--")
            axes.text(value, height, f" {name_of(name)}", transform=axes.get_xaxis_transform(), fontsize=8,
                      color=BASELINE_COLOUR, va="bottom", ha="center")
        axes.set(yticks=rows, yticklabels=[name_of(name) for name in names], xlabel="mean pixel error (px, L2)")
        axes.legend(title="map decoded by its", loc="center left", bbox_to_anchor=(1.01, 0.5))
        return stamp_study(figure, study)


def error_by_horizon(study, metric: str = "error_median") -> Figure:
    """Error against how far ahead the frame lies."""
    with book_style():
        figure, axes = plt.subplots(figsize=(7.5, 3.8))
        ends = []
        for name in networks_of(study) + ["repeat_last", "centre"]:
            errors = study.run(name).by_horizon[metric]
            style = dict(color=colour_of(name), ls="--" if name in ("repeat_last", "centre") else "-")
            axes.plot(np.arange(1, len(errors) + 1), errors, **style)
            ends.append((errors[-1], name))
        _label_ends(axes, ends, len(errors))
        axes.set(xlabel="frames ahead (100 ms each)", ylabel="mean pixel error (px)", xlim=(1, len(errors) + 3.5), ylim=(0, None),
                 xticks=np.arange(1, len(errors) + 1))
        return stamp_study(figure, study)


def _label_ends(axes, ends: list[tuple[float, str]], last: int) -> None:
    """Name each curve at its right end, pushed apart where they would overlap."""
    gap = 0.055 * max(value for value, _ in ends)
    lowest = -np.inf
    for value, name in sorted(ends):
        height = max(value, lowest + gap)
        axes.text(last + 0.15, height, name_of(name), color=colour_of(name), fontsize=8, va="center")
        lowest = height


def confidence_and_rank(study) -> Figure:
    """Recall at 0.5 against the largest probability a network gives, and what its brightest pixel is worth."""
    names = networks_of(study)
    with book_style():
        figure, (left, right) = plt.subplots(1, 2, figsize=(9.5, 3.6), sharex=True)
        for name in names:
            metrics = study.run(name).metrics
            confidence = max(metrics["max_probability"]["value"], 1e-6)
            for axes, metric in ((left, "white_pixel_recall"), (right, "hit_3px")):
                value = metrics[metric]
                axes.plot([confidence] * 2, [100 * value["low"], 100 * value["high"]], color=colour_of(name), lw=2, alpha=0.5)
                axes.plot(confidence, 100 * value["value"], "o", color=colour_of(name))
                axes.annotate(name_of(name), (confidence, 100 * value["value"]), xytext=(5, 5), textcoords="offset points",
                              fontsize=8, color=colour_of(name))
        for axes in (left, right):
            axes.axvline(0.5, color=BASELINE_COLOUR, lw=1, ls=":")
            axes.set(xscale="log", xlabel="mean of the largest p in a frame")
            axes.margins(x=0.15, y=0.12)
        reference = 100 * study.run("centre").metrics["hit_3px"]["value"]
        right.axhline(reference, color=BASELINE_COLOUR, lw=1, ls="--")
        right.text(0.02, reference, "always the centre", transform=right.get_yaxis_transform(), fontsize=8, va="bottom",
                   color=BASELINE_COLOUR)
        left.set(ylabel="% of white pixels with p > 0.5", title="Recall at 0.5")
        right.set(ylabel="% within 3 px", title="Brightest pixel within 3 px")
        return stamp_study(figure, study)


def examples(study, window: int = 0) -> Figure:
    """One test window: the gaze so far, and each network's map 1, 5 and 10 frames ahead with the true pixel ringed."""
    names = networks_of(study)
    first = study.run(names[0]).payload["examples"]
    horizons, n_in = first["horizons"], first["n_in"]
    size = first["maps"].shape[-1]
    with book_style():
        figure, panels = plt.subplots(len(horizons), len(names) + 1, figsize=(1.35 * (len(names) + 1), 1.45 * len(horizons) + 0.5))
        for row, horizon in enumerate(horizons):
            pixels = first["pixels"][window]
            _draw_input(panels[row, 0], pixels[:n_in], size, "gaze so far" if row == 0 else "")
            panels[row, 0].set_ylabel(f"{100 * horizon} ms ahead", fontsize=9)
            for column, name in enumerate(names, 1):
                found = study.run(name).payload["examples"]
                axes = image_axes(panels[row, column], name_of(name).replace(" (MSE + L1)", "") if row == 0 else "")
                axes.imshow(found["maps"][window, row], vmin=0, vmax=255)
                y, x = divmod(int(pixels[n_in + horizon - 1]), size)
                axes.plot(x, y, "o", mfc="none", mec="#56B4E9", ms=8, mew=1.4)
                axes.set_xlabel(f"max p {float(found['peaks'][window, row].ravel()[0]):.2g}", fontsize=7, labelpad=2)
                axes.title.set_fontsize(8.5)
        return stamp_study(figure, study)


def _draw_input(axes, pixels: np.ndarray, size: int, title: str) -> None:
    y, x = np.divmod(pixels.astype(int), size)
    image_axes(axes, title).set(xlim=(-0.5, size - 0.5), ylim=(size - 0.5, -0.5), aspect="equal", facecolor="black")
    axes.plot(x, y, "-", color="#777777", lw=0.8)
    axes.scatter(x, y, c=np.arange(len(x)), cmap="Greys_r", vmin=-6, s=14)
    axes.plot(x[-1], y[-1], "s", mfc="none", mec="#E69F00", ms=6)
    axes.title.set_fontsize(8.5)
