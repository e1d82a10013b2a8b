"""Figures of chapter 4: regressing the next point against predicting its frame."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from fixlib.figures.style import BASELINE_COLOUR, book_style, colour_of, name_of, stamp_study

FRAMING_TITLES = {"fixations": "One frame a fixation", "10hz": "One frame every 100 ms"}
# The error reported for the approaches before the hybrid, and the one hoped for, by the original document (px).
REPORTED_PX, HOPED_PX = 5.12, 3.0


def point_metric(run, metric: str = "error") -> str:
    """The metric's name for this run: frame predictors are decoded by their geometric median."""
    return metric if metric in run.metrics else f"{metric}_median"


def framings_of(study) -> list[str]:
    """The framings that the study's variants name."""
    return list(dict.fromkeys(name.partition(".")[2] for name in study.variants()))


def predictors_of(study, framing: str) -> list[str]:
    """The variants of that framing, best first."""
    names = [name for name in study.variants() if name.endswith(f".{framing}")]
    return sorted(names, key=lambda name: _error(study.run(name))["value"])


def _error(run) -> dict:
    return run.metrics[point_metric(run)]


def errors(study) -> Figure:
    """Mean pixel error of every predictor, by framing, with the two figures of the original claim."""
    framings = framings_of(study)
    with book_style():
        figure, panels = plt.subplots(1, len(framings), figsize=(5.4 * len(framings), 4.6), squeeze=False)
        for axes, framing in zip(panels.flat, framings):
            names = predictors_of(study, framing)[::-1]
            for row, name in enumerate(names):
                found = _error(study.run(name))
                axes.plot([found["low"], found["high"]], [row, row], color=colour_of(name), lw=2, alpha=0.5)
                axes.plot(found["value"], row, "o" if study.run(name).history else "D", color=colour_of(name), ms=6)
                axes.annotate(f"{found['value']:.2f}", (found["high"], row), xytext=(4, 0), textcoords="offset points",
                              fontsize=8, va="center")
            for value, text in ((REPORTED_PX, "reported\nbefore: 5.12"), (HOPED_PX, "hoped\nfor: 3")):
                axes.axvline(value, color="#D55E00", lw=1, ls="--")
                axes.text(value, len(names) - 0.3, text, color="#D55E00", fontsize=8, ha="center", va="bottom")
            axes.set(yticks=range(len(names)), yticklabels=[name_of(name) for name in names], xlabel="mean pixel error (px, L2)",
                     ylim=(-0.6, len(names) + 0.9))
            axes.set_title(FRAMING_TITLES[framing], pad=14)
            axes.margins(x=0.1)
        return stamp_study(figure, study)


def error_histogram(study, names: tuple[str, ...] = ("hybrid_l1", "frames_weighted_mse", "repeat_last", "centre")) -> Figure:
    """How the errors of single windows are spread: share of windows with an error below each value."""
    framings = framings_of(study)
    with book_style():
        figure, panels = plt.subplots(1, len(framings), figsize=(4.7 * len(framings), 3.4), squeeze=False, sharey=True)
        styles = dict(repeat_last="--", centre=":")
        for axes, framing in zip(panels.flat, framings):
            for name in names:
                run = study.run(f"{name}.{framing}")
                values = np.sort(run.per_window[point_metric(run)].astype(float))
                axes.plot(values, 100 * np.arange(1, len(values) + 1) / len(values), label=name_of(name),
                          color=colour_of(name), ls=styles.get(name, "-"))
            axes.axvline(HOPED_PX, color="#D55E00", lw=1, ls="--")
            axes.text(HOPED_PX, 101, "3 px", color="#D55E00", fontsize=8, ha="center", va="bottom")
            axes.set(xlabel="pixel error (px)", xlim=(0, 22), ylim=(0, 100))
            axes.set_title(FRAMING_TITLES[framing], pad=14)
        panels.flat[0].set_ylabel("% of windows with a smaller error")
        panels.flat[-1].legend(loc="lower right")
        return stamp_study(figure, study)


def error_by_amplitude(study, names: tuple[str, ...] = ("hybrid_l1", "frames_weighted_mse", "repeat_last", "centre"),
                       edges: tuple[float, ...] = (0, 1, 2, 4, 8, 12, 16, 32)) -> Figure:
    """Error against how far gaze really moved from the last observed frame (mean in each bin)."""
    framings = framings_of(study)
    with book_style():
        figure, panels = plt.subplots(1, len(framings), figsize=(4.7 * len(framings), 3.6), squeeze=False, sharey=True)
        styles = dict(repeat_last="--", centre=":")
        for axes, framing in zip(panels.flat, framings):
            for name in names:
                run = study.run(f"{name}.{framing}")
                amplitude, error = (run.per_window[key].astype(float) for key in ("amplitude", point_metric(run)))
                centres, means = binned_means(amplitude, error, edges)
                axes.plot(centres, means, "o", ls=styles.get(name, "-"), ms=4, color=colour_of(name), label=name_of(name))
            axes.plot([0, 24], [0, 24], color=BASELINE_COLOUR, lw=0.6)
            axes.set(xlabel="true movement from the last frame (px)", ylim=(0, None))
            axes.set_title(FRAMING_TITLES[framing])
        panels.flat[0].set_ylabel("mean pixel error (px)")
        panels.flat[0].legend(loc="upper left")
        return stamp_study(figure, study)


def binned_means(values: np.ndarray, results: np.ndarray, edges: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Mean value and mean result in each bin [edge, next edge) that holds any value."""
    bins = np.digitize(values, edges)
    used = np.unique(bins)
    return (np.array([values[bins == b].mean() for b in used]), np.array([results[bins == b].mean() for b in used]))


def undershoot(study) -> Figure:
    """How far predictions move from the last observed point, as a share of how far gaze moved (1: as far)."""
    framings = framings_of(study)
    with book_style():
        figure, panels = plt.subplots(1, len(framings), figsize=(5.2 * len(framings), 4.2), squeeze=False, sharex=True)
        for axes, framing in zip(panels.flat, framings):
            names = predictors_of(study, framing)[::-1]
            for row, name in enumerate(names):
                run = study.run(name)
                found = run.metrics[point_metric(run, "undershoot")]
                axes.plot([0, found["value"]], [row, row], color=colour_of(name), lw=5, alpha=0.35, solid_capstyle="butt")
                axes.plot([found["low"], found["high"]], [row, row], color=colour_of(name), lw=2)
                axes.plot(found["value"], row, "o", color=colour_of(name), ms=5)
            axes.axvline(1, color="#D55E00", lw=1, ls="--")
            axes.text(1, len(names) - 0.4, "as far as gaze", color="#D55E00", fontsize=8, ha="center", va="bottom")
            axes.set(yticks=range(len(names)), yticklabels=[name_of(name) for name in names], ylim=(-0.6, len(names) + 0.3),
                     xlabel="predicted / true movement")
            axes.set_title(FRAMING_TITLES[framing], pad=10)
        return stamp_study(figure, study)


def convergence(study, names: tuple[str, ...] = ("hybrid_l1", "hybrid_mse", "frames_composite", "frames_weighted_mse")) -> Figure:
    """Validation loss by epoch, as a share of the way from the first epoch's to the best."""
    framings = framings_of(study)
    with book_style():
        figure, panels = plt.subplots(1, len(framings), figsize=(4.7 * len(framings), 3.2), squeeze=False, sharey=True)
        for axes, framing in zip(panels.flat, framings):
            for name in names:
                losses = np.array([entry["val_loss"] for entry in study.run(f"{name}.{framing}").history])
                span = losses[0] - losses.min()
                axes.plot(np.arange(1, len(losses) + 1), (losses - losses.min()) / (span or 1), "o-", ms=3,
                          color=colour_of(name), label=name_of(name))
            axes.set(xlabel="epoch", title=FRAMING_TITLES[framing], ylim=(-0.05, 2))
        panels.flat[0].set_ylabel("excess validation loss\n(1: after the first epoch, 0: best)")
        panels.flat[-1].legend(loc="upper right")
        return stamp_study(figure, study)
