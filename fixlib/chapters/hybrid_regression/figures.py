"""Figures of chapter 6: regressing the next point against predicting its frame."""

from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from fixlib.chapters.hybrid_regression import tables
from fixlib.chapters.hybrid_regression.tables import HOPED_PX, REPORTED_PX, ByTask, Predictor, find, predictors_of
from fixlib.plots import BASELINE_COLOR, VERMILION, Row, book_style, dots, figure, note, only_ticks, reference, stamp
from fixlib.runs.study import Study

CLAIM: dict[str, Any] = dict(color=VERMILION, ls="--")


@figure("06_frame_rate", of="sparsity")
def frame_rate(description: Study) -> Figure:
    """Error of repeating the last frame by frame rate, with the two lines of the claim; takes a `sparsity` study."""
    payload = description.run("description").payload
    rates = payload["rates"]
    hertz, errors = ([rate[key] for rate in rates] for key in ("rate_hz", "repeat_last_error"))
    drawn, axes = plt.subplots(figsize=(7.5, 4))
    axes.fill_between(hertz, *np.transpose([rate["repeat_last_error_interval"] for rate in rates]), alpha=0.2, lw=0)
    axes.plot(hertz, errors, "o-")
    for value, claim in ((REPORTED_PX, "reported before: 5.12 px"), (HOPED_PX, "hoped for: 3 px")):
        reference(axes, claim, (hertz[-1] * 1.1, value), ha="right", **CLAIM)
        if np.isfinite(rate := tables.rate_of_error(rates, value)):
            note(axes, f"{rate:.1f} Hz", (rate, value), (8, 8), color=CLAIM["color"], fontsize=9)
            axes.plot(rate, value, "D", color=CLAIM["color"], ms=5)
    step = payload["statistics"]["amplitude_mean"]
    reference(axes, f"one frame per fixation: {step:.2f} px", (hertz[-1] * 1.1, step), ha="right")
    axes.set(xscale="log", xlim=(hertz[0] * 0.9, hertz[-1] * 1.15), ylim=(0, None))
    axes.set(xlabel="frames per second", ylabel="error of repeating\nthe last frame (px)")
    only_ticks(axes.xaxis, hertz)
    return drawn


@figure("06_errors", of="hybrid_regression")
def errors(study: Study) -> Figure:
    """Mean pixel error of every network and of two tables, by framing, beside repeating, which holding is here, too."""
    ahead = tables.tasks(study)
    drawn, panels = plt.subplots(1, len(ahead), figsize=(11.2, 4.8), squeeze=False)
    for axes, (framing, task) in zip(panels.flat, ahead.items()):
        counted = [find(study, framing, name) for name in ("dwell_table", "return_table")]
        rows = sorted([*predictors_of(study, framing, trained=True), *counted], key=lambda one: one.error["value"])
        dots(axes, [_row(one) for one in rows])
        idle = find(study, framing, "repeat_last").error["value"]
        axes.set_title(task.capitalize(), pad=18)
        axes.set(xlabel="mean pixel error (px)", xlim=(0, None), ylim=(-0.6, len(rows) + 0.4))
        reference(axes, f" repeat: {idle:.2f}", (idle, len(rows) - 0.4), upright=True, color="#333333")
    return drawn


def _row(predictor: Predictor) -> Row:
    """One dot per seed; networks are circles, tables diamonds; hollow where it sees more than the others."""
    numbers = [run.metrics[f"error{predictor.decoding}"] for run in predictor.runs]
    marker = "o" if predictor.about["trained"] else "D"
    return Row(predictor.label, predictor.color, numbers, marker=marker, hollow=predictor.sees_more)


@book_style()
def by_movement(shown: Mapping[str, ByTask], idle: ByTask, study: Study) -> Figure:
    """Error minus that of repeating (`idle`), by how far gaze really moved; `shown`: a legend's text -> predictor."""
    ahead = tables.tasks(study)
    drawn, panels = plt.subplots(1, len(ahead), figsize=(9.8, 4.2))
    for axes, (framing, task) in zip(panels, ahead.items()):
        axes.axhline(0, color=BASELINE_COLOR, ls="--", label="repeat (= hold, then the prior)")
        for label, predictor in shown.items():
            bins = tables.by_movement(predictor[framing], idle[framing])
            look = dict(color=predictor[framing].color, ls="-." if "displacement" in label else "-", marker="o", ms=4)
            axes.plot(bins["movement"], bins["more"], **look, label=label)
        for movement, share in zip(bins["movement"], bins["share"]):
            text = f"{100 * share:.0f}"
            axes.text(movement, 0.02, text, transform=axes.get_xaxis_transform(), ha="center", fontsize=8)
        axes.margins(y=0.12)
        axes.set(xlabel="true movement from the last frame (px)", title=task.capitalize(), xlim=(-1, 19.5))
    panels[0].text(9, 0.08, "% of windows:", transform=panels[0].get_xaxis_transform(), ha="center", fontsize=8)
    panels[0].set_ylabel("error minus that of repeating (px)")
    panels[-1].legend(loc="upper right")
    return stamp(drawn, study.label, study.simulated)


@book_style()
def training_course(network: ByTask, study: Study) -> Figure:
    """Training and validation loss by epoch, one line per seed, with the epoch whose weights are kept."""
    ahead = tables.tasks(study)
    drawn, panels = plt.subplots(1, len(ahead), figsize=(9.2, 3.8), sharey=True)
    for axes, (framing, task) in zip(panels, ahead.items()):
        color = network[framing].color
        for losses in (pd.DataFrame(run.history).set_index("epoch") for run in network[framing].runs):
            kept = losses["val_loss"].idxmin()
            axes.plot(losses["val_loss"], color=color, lw=1.3, label="validation windows")
            axes.plot(losses["train_loss"], color=color, ls=":", lw=1.3, label="training windows")
            axes.plot(kept, losses["val_loss"][kept], "o", color=color, label="epoch that is kept")
        axes.set(xlabel="epoch", title=task.capitalize(), ylim=(0, None))
    panels[0].set_ylabel("L1 per coordinate (px)")
    panels[-1].legend(handles=panels[-1].lines[:3], loc="upper right")
    return stamp(drawn, study.label, study.simulated)
