"""The figure of the control: networks and baselines beside the exact optimum, on simulated gaze (chapter 4)."""

from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from fixlib.chapters.simulated_control.runs import IDLE, NAME
from fixlib.chapters.simulated_control.tables import left_to_learn, optimum_of
from fixlib.plots import OPTIMUM_COLOR, Row, color_of, dots, figure, name_of
from fixlib.runs.study import Study

MOST_LEFT = 2.0  # where the panel of what is left to be learnt ends; networks beyond are drawn as arrows there
NOTHING = dict.fromkeys(("value", "low", "high"), np.nan)
# Metric -> the title of its panel, how its numbers are written, whose value is the best possible.
SCORES = {
    "bits": ("Bits over uniform,\nas a density", ".2f", "density"),
    "average_precision": ("Average precision\n", ".3f", "density"),
    "error_median": ("Mean pixel error (px),\nby the geometric median", ".2f", "distance"),
}


@figure("04_beside_optimum", of=NAME, dataset="simulated", tasks=("10to10",))
def beside_optimum(study: Study) -> Figure:
    """Ten frames ahead: each loss (a dot a seed, with its 95% interval) beside its own best output (diamond).

    Below them what needs no network; across all of them a line at the best that anyone can do.
    """
    names, idle = study.variants(trained=True), [name for name in IDLE if name in study.variants()]
    size = (2.1 * (1 + len(SCORES)) + 2.2, 0.36 * len(names + idle) + 1.4)
    drawn, (share, *others) = plt.subplots(1, 1 + len(SCORES), sharey=True, figsize=size)
    nothing = [Row(name_of(name), color_of(name), [NOTHING]) for name in idle]
    dots(share, [_left(study, name) for name in names] + nothing)
    share.set_title("Still to be learnt\n(1 constant, 0 optimum)", fontsize=9)
    for axes, (metric, (title, written, best)) in zip(others, SCORES.items()):
        dots(axes, [_scored(study, name, metric, written) for name in names + idle])
        anyone = study.run(f"optimum_{best}").metrics["error" if best == "distance" else metric]["value"]
        axes.axvline(anyone, color=OPTIMUM_COLOR, lw=1, zorder=0)
        axes.set_title(title, fontsize=9)
    return drawn


def _left(study: Study, name: str) -> Row:
    """How much each run still had to learn; those beyond MOST_LEFT at the edge."""
    left = [left_to_learn(run, optimum_of(study, name)) for run in study.runs_of(name)]
    mean = float(np.mean(left))
    numbers = [dict(value=min(value, MOST_LEFT), low=np.nan, high=np.nan) for value in left]
    row = Row(name_of(name), color_of(name), numbers)
    if np.isnan(left).all():
        return replace(row, text="nothing to learn")
    text = f"{mean:.2f}" if mean < 10 else f"{mean:.0f}"
    return replace(row, best=0.0, text=text, marker=">" if mean > MOST_LEFT else "o")


def _scored(study: Study, name: str, metric: str, written: str) -> Row:
    """Each run's score; a network's beside that of the best output under its loss."""
    if metric not in study.run(name).metrics:  # bits of what is no density
        return Row(name_of(name), color_of(name), [NOTHING])
    numbers = [run.metrics[metric] for run in study.runs_of(name)]
    text = f"{np.mean([number['value'] for number in numbers]):{written}}"
    if name in IDLE:
        return Row(name_of(name), color_of(name), numbers, text=text, marker="D")
    best = optimum_of(study, name).metrics[metric]["value"]
    return Row(name_of(name), color_of(name), numbers, best, f"{text} | {best:{written}}")
