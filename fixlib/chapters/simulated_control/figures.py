"""Networks beside the exact optimum, on simulated gaze whose every probability is known (chapters 3 and 4).

A study here is one of `simulated_control`: variants NAME.FRAMING, and optimum_LOSS.FRAMING, the best that anyone could
have said on the same windows under that loss.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fixlib.chapters._old_plots import FRAMING_TITLES, book_style, colour_of, framings_of, name_of, stamp_study
from fixlib.chapters.loss_comparison.figures import constant_of, runs_of
from fixlib.metrics import paired_difference
from fixlib.runs.store import Run

OPTIMUM_COLOUR = "#E69F00"
MOST_LEFT = 2.0  # where the panel of what is left to be learnt ends; networks beyond are drawn as arrows there
POINT_OPTIMUM = "optimum_distance"
TRUE_PROBABILITIES = "optimum_density"
LUCK = 0.03  # of a loss: more than 600 windows can be kind by


@dataclass(frozen=True)
class Compared:
    """A panel: the metrics it may show (the first that a run has), its title, how numbers are written."""

    metrics: tuple[str, ...]
    title: str
    written: str = ".2f"


SHARE = Compared(("left_to_learn",), "Still to be learnt\n(1 constant, 0 optimum)")
RECALL = Compared(("white_pixel_recall",), "Recall at 0.5\n")
F1 = Compared(("best_f1",), "Best F1 at any threshold\n", ".3f")
ERROR = Compared(("error", "error_median"), "Mean pixel error (px),\nby the geometric median")


def networks_of(study, framing: str, kind: str = "") -> list[str]:
    """The trained variants of a framing whose names begin with `kind` ("frames_", "hybrid_")."""
    return [
        name
        for name in study.variants()
        if name.endswith(f".{framing}") and name.startswith(kind) and study.run(name).history
    ]


def optimum_of(study, variant: str) -> Run:
    """The best that a network could have said: under its own loss, or else the point of least expected error."""
    framing = variant.partition(".")[2]
    own = f"optimum_{study.run(variant).spec.config.loss.name}"
    there = [f"{name}.{framing}" for name in (own, POINT_OPTIMUM, TRUE_PROBABILITIES)]
    return study.run(next((name for name in there if name in study.variants()), there[-1]))


def scored_optimum(study, variant: str) -> Run:
    """The optimum whose scores are shown. Softmax's best output is a density, and scored as one."""
    optimum = optimum_of(study, variant)
    if optimum.spec.variant.startswith("optimum_softmax"):
        return study.run(f"{TRUE_PROBABILITIES}.{variant.partition('.')[2]}")
    return optimum


def left_to_learn(run: Run, optimum: Run) -> float:
    """How much of what could be learnt was not: 0 at the optimum, 1 where the loss is that of the best constant.

    NaN where there is nothing to learn: the constant is the optimum. Above 1 a network is worse than a constant.
    """
    constant, best = constant_of(run), optimum.payload["test_loss"]
    if constant - best < 1e-6 * abs(constant) + 1e-9:
        return np.nan
    return (run.payload["test_loss"] - best) / (constant - best)


def value_of(run: Run, compared: Compared, optimum: Run | None = None) -> dict[str, float]:
    """value, low, high of what a panel shows of a run; NaN where the run has no such metric."""
    if compared is SHARE:
        value = left_to_learn(run, optimum) if optimum and "test_loss" in optimum.payload else np.nan
        return dict(value=value, low=np.nan, high=np.nan)
    metric = next((name for name in compared.metrics if name in run.metrics), None)
    return run.metrics[metric] if metric else dict(value=np.nan, low=np.nan, high=np.nan)


def beyond_possible(study, variant: str) -> list[str]:
    """Where a network's runs are better than anyone can be, beyond their 95% interval: not luck, but a bug.

    No ranking of pixels beats that of the true probabilities (average precision, best F1), no density their bits, no
    point their geometric median (errors, paired by window), no output the optimum under its own loss. Runs keep no
    interval of the loss: below the optimum's by more than LUCK is called beyond.
    """
    framing = variant.partition(".")[2]
    true, found = study.run(f"{TRUE_PROBABILITIES}.{framing}"), []
    for run in runs_of(study, variant):
        better = [
            name
            for name in ("average_precision", "best_f1", "information_gain_uniform")
            if name in run.metrics and run.metrics[name]["low"] > true.metrics[name]["value"]
        ]
        for name in sorted({"error", "error_argmax", "error_median"} & set(run.per_window)):
            gain = paired_difference(
                true.per_window["error_median"],
                run.per_window[name],
                run.per_window["subject"],
                run.per_window["stimulus"],
            )
            better += [name] if gain["low"] > 0 else []
        if "test_loss" in run.payload and "information_gain_uniform" not in run.metrics:
            best = optimum_of(study, variant).payload["test_loss"]
            better += ["test_loss"] if run.payload["test_loss"] < (1 - LUCK) * best else []
        found += [f"{variant}, seed {run.spec.seed}: {name}" for name in better]
    return found


def label_of(variant: str) -> str:
    """A network's name for readers: a frame predictor goes by its loss."""
    return name_of(variant.removeprefix("frames_"))


def beside_optimum(
    study, kind: str = "", shown: Sequence[Compared] = (SHARE, RECALL, F1, ERROR), framings: Sequence[str] = ()
) -> Figure:
    """Each trained network (a dot a seed, with its 95% interval) beside the best possible (diamond).

    Args:
        kind: the beginning of the networks' names: "frames_" for chapter 3.
        shown: the panels, from left to right.
        framings: one row of panels each; all by default.
    """
    framings = list(framings) or framings_of(study)
    counts = [max(4, len(networks_of(study, framing, kind))) for framing in framings]
    with book_style():
        figure, panels = plt.subplots(
            len(framings),
            len(shown),
            squeeze=False,
            sharey="row",
            height_ratios=counts,
            figsize=(2.1 * len(shown) + 2.2, 0.36 * sum(counts) + 1.1 * len(framings) + 0.4),
        )
        for framing, across in zip(framings, panels):
            names = networks_of(study, framing, kind)
            heights = np.arange(len(names))[::-1]
            for axes, compared in zip(across, shown):
                for height, name in zip(heights, names):
                    _draw_network(axes, height, study, name, compared)
                axes.set_title(compared.title, fontsize=9)
                axes.margins(x=0.14)
                axes.tick_params(axis="x", labelsize=8)
                axes.tick_params(axis="y", length=0)
            across[0].set(yticks=heights, yticklabels=[label_of(name) for name in names], ylim=(-0.6, len(names) - 0.4))
            across[0].set_ylabel(FRAMING_TITLES.get(framing, framing), weight="bold")
        return stamp_study(figure, study)


def _draw_network(axes: Axes, height: float, study, name: str, compared: Compared) -> None:
    runs, optimum = runs_of(study, name), optimum_of(study, name)
    colour = colour_of(name.removeprefix("frames_"))
    found = [value_of(run, compared, optimum) for run in runs]
    if np.isnan([number["value"] for number in found]).all():
        if compared is SHARE:
            axes.text(0, height, "nothing to learn", fontsize=7.5, va="center", color="#777777")
        return
    for number, offset in zip(found, np.linspace(0.25, -0.05, len(found)) if len(found) > 1 else [0.1]):
        beyond = compared is SHARE and number["value"] > MOST_LEFT
        axes.plot([number["low"], number["high"]], [height + offset] * 2, color=colour, lw=1.6, alpha=0.5)
        axes.plot(MOST_LEFT if beyond else number["value"], height + offset, ">" if beyond else "o", color=colour, ms=4)
    best = 0.0 if compared is SHARE else value_of(scored_optimum(study, name), compared)["value"]
    mean = np.mean([number["value"] for number in found])
    axes.plot(best, height - 0.25, "D", mfc="none", mec=OPTIMUM_COLOUR, ms=5, mew=1.5)
    right = max(best, max(np.nanmax([number["high"], number["value"]]) for number in found))
    text = f"{mean:{compared.written}} | {best:{compared.written}}"
    if compared is SHARE:
        right, text = min(right, MOST_LEFT), f"{mean:.2f}" if mean < 10 else f"{mean:.0f}"
    axes.annotate(text, (right, height), xytext=(6, 0), textcoords="offset points", fontsize=7.5, va="center")
