"""Figures of chapter 4: regressing the next point against predicting its frame."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from fixlib.chapters._old_plots import BASELINE_COLOUR, book_style, colour_of, name_of, stamp_study
from fixlib.chapters.hybrid_regression.tables import (
    FRAMING_TITLES,
    HOPED_PX,
    OPTIMUM,
    REPORTED_PX,
    Predictor,
    best,
    error,
    error_difference,
    framings_of,
    mean_over_seeds,
    predictors_of,
    rate_of_error,
    runs_of,
    window_errors,
)

CLAIM_COLOUR = "#D55E00"
LINES = {"repeat_last": "--", "centre": ":"}
# The control: the frame losses shown beside the hybrid.
CONTROL_LOSSES = ("frames_softmax_cross_entropy", "frames_dice", "frames_composite", "frames_weighted_mse")
# Edges of the bins of true movement, px; the diagonal of the grid is 45 px.
AMPLITUDE_EDGES = (0, 1, 3, 6, 10, 14, 46)


def shown(study, framing: str) -> list[Predictor]:
    """What the pictures of single windows show: the hybrid, its best rivals, two baselines."""
    return [
        Predictor(f"hybrid_l1.{framing}"),
        best(study, framing, "frames"),
        best(study, framing, "gru"),
        Predictor(f"repeat_last.{framing}"),
        Predictor(f"centre.{framing}"),
    ]


def frame_rate(description) -> Figure:
    """Error of repeating the last frame by frame rate, with the two lines of the claim; takes a `sparsity` study."""
    payload = description.run("description").payload
    rates = payload["rates"]
    hertz, errors = ([rate[key] for rate in rates] for key in ("rate_hz", "repeat_last_error"))
    low, high = np.transpose([rate["repeat_last_error_interval"] for rate in rates])
    with book_style():
        figure, axes = plt.subplots(figsize=(7.5, 4))
        axes.fill_between(hertz, low, high, color="#0072B2", alpha=0.2, lw=0)
        axes.plot(hertz, errors, "o-", color="#0072B2")
        for value, text in ((REPORTED_PX, "reported before: 5.12 px"), (HOPED_PX, "hoped for: 3 px")):
            rate = rate_of_error(rates, value)
            axes.axhline(value, color=CLAIM_COLOUR, lw=1, ls="--")
            axes.text(hertz[-1] * 1.1, value, text, color=CLAIM_COLOUR, fontsize=9, ha="right", va="bottom")
            if np.isfinite(rate):
                axes.annotate(
                    f"{rate:.1f} Hz",
                    (rate, value),
                    xytext=(8, 4),
                    textcoords="offset points",
                    fontsize=9,
                    color=CLAIM_COLOUR,
                )
                axes.plot(rate, value, "D", color=CLAIM_COLOUR, ms=5)
        step = payload["statistics"]["amplitude_mean"]
        axes.axhline(step, color=BASELINE_COLOUR, lw=1, ls=":")
        axes.text(
            hertz[-1] * 1.1,
            step,
            f"one frame a fixation: {step:.2f} px",
            color="#555555",
            fontsize=9,
            ha="right",
            va="bottom",
        )
        axes.set(
            xscale="log",
            xlabel="frames a second",
            ylabel="error of repeating\nthe last frame (px)",
            ylim=(0, None),
            xlim=(hertz[0] * 0.9, hertz[-1] * 1.15),
        )
        axes.set_xticks(hertz, [f"{rate:g}" for rate in hertz])
        axes.minorticks_off()
        return stamp_study(figure, description)


def errors(study) -> Figure:
    """Mean pixel error of every predictor, by framing, with the two figures of the original claim."""
    with book_style():
        figure, panels = _panels(study, 5.6, 5.4)
        for axes, framing in panels:
            predictors = predictors_of(study, framing)[::-1]
            _draw_errors(axes, study, predictors)
            for value, text, side in ((REPORTED_PX, "reported 5.12", "left"), (HOPED_PX, "hoped 3", "right")):
                _mark(axes, value, text, len(predictors), side)
            axes.set_xlim(left=0)
        return stamp_study(figure, study)


def beside_optimum(control, losses: tuple[str, ...] = CONTROL_LOSSES) -> Figure:
    """Mean pixel error of networks on simulated gaze beside the least possible; takes a `simulated_control` study."""
    with book_style():
        figure, panels = _panels(control, 5.8, 4.8)
        for axes, framing in panels:
            predictors = [
                predictor
                for predictor in predictors_of(control, framing)[::-1]
                if predictor.variant.partition(".")[0] in ("hybrid_l1", "hybrid_mse", *losses)
            ]
            _draw_errors(axes, control, predictors)
            floor = error(control, Predictor(f"{OPTIMUM}.{framing}"))["value"]
            _mark(axes, floor, f"best possible {floor:.2f}", len(predictors), "left")
            axes.set_xlim(left=0)
        return stamp_study(figure, control)


def _draw_errors(axes: Axes, study, predictors: list[Predictor]) -> None:
    for row, predictor in enumerate(predictors):
        found = [predictor.error_of(run) for run in runs_of(study, predictor)]
        for one in found:
            _dot(axes, row, one, predictor)
        _write(axes, f"{error(study, predictor)['value']:.2f}", max(one["high"] for one in found), row)
    _name_rows(axes, predictors)
    axes.set(xlabel="mean pixel error (px, L2)")
    axes.margins(x=0.12)


def _write(axes: Axes, text: str, x: float, row: int) -> None:
    """A number right of a row's interval; on white, since marked lines may run through it."""
    axes.annotate(
        text,
        (x, row),
        xytext=(5, 0),
        textcoords="offset points",
        fontsize=9,
        va="center",
        bbox=dict(facecolor="white", edgecolor="none", pad=0.6),
    )


def _mark(axes: Axes, value: float, text: str, rows: int, side: str) -> None:
    """A named vertical line; its name on the side given, above `rows` rows."""
    axes.axvline(value, color=CLAIM_COLOUR, lw=1, ls="--", zorder=0)
    axes.text(value, rows - 0.4, f" {text} ", color=CLAIM_COLOUR, fontsize=9, ha=side, va="bottom")


def differences(study, against: str = "hybrid_l1") -> Figure:
    """Error of every predictor minus that of one network on the same windows; filled where the interval misses 0."""
    with book_style():
        figure, panels = _panels(study, 5.6, 5.2)
        for axes, framing in panels:
            hybrid = Predictor(f"{against}.{framing}")
            predictors = [predictor for predictor in predictors_of(study, framing)[::-1] if predictor != hybrid]
            for row, predictor in enumerate(predictors):
                found = error_difference(study, predictor, hybrid)
                _dot(axes, row, found, predictor, filled=found["low"] > 0 or found["high"] < 0)
                _write(axes, f"{found['value']:+.2f}", found["high"], row)
            _name_rows(axes, predictors)
            axes.axvline(0, color="#444444", lw=1, zorder=0)
            for text, side in (("better  ", "right"), ("  worse", "left")):
                axes.text(0, len(predictors) - 0.4, text, fontsize=9, ha=side, va="bottom", color="#555555")
            axes.set(xlabel=f"error minus that of {name_of(against)} (px)")
            axes.margins(x=0.15)
            axes.set_xlim(left=min(axes.get_xlim()[0], -0.25 * axes.get_xlim()[1]))
        return stamp_study(figure, study)


def error_histogram(study) -> Figure:
    """How the errors of single windows are spread: share of windows with an error below each value."""
    with book_style():
        figure, panels = _panels(study, 4.9, 4, sharey=True)
        for axes, framing in panels:
            for predictor in shown(study, framing):
                values = np.sort(window_errors(study, predictor))
                axes.plot(values, 100 * np.arange(1, len(values) + 1) / len(values), **_line(predictor))
            for value in (REPORTED_PX, HOPED_PX):
                axes.axvline(value, color=CLAIM_COLOUR, lw=1, ls="--", zorder=0)
                axes.text(value, 101, f"{value:g}", color=CLAIM_COLOUR, fontsize=9, ha="center", va="bottom")
            axes.set(xlabel="pixel error (px)", xlim=(0, 22), ylim=(0, 100))
            axes.legend(loc="lower right")
        panels[0][0].set_ylabel("% of windows with a smaller error")
        return stamp_study(figure, study)


def error_by_amplitude(study, edges: tuple[float, ...] = AMPLITUDE_EDGES) -> Figure:
    """Error against how far gaze really moved from the last observed frame (mean in each bin); below, windows a bin."""
    with book_style():
        figure, panels = _panels(study, 4.9, 4.4, sharey=True)
        for axes, framing in panels:
            amplitude = study.run(f"hybrid_l1.{framing}").per_window["amplitude"].astype(float)
            for predictor in shown(study, framing):
                centres, means = binned_means(amplitude, window_errors(study, predictor), edges)
                axes.plot(centres, means, marker="o", ms=4, **_line(predictor))
            shares = 100 * np.histogram(amplitude, edges)[0] / len(amplitude)
            for centre, share in zip(centres, shares[shares > 0]):
                axes.annotate(
                    f"{share:.0f}%",
                    (centre, 0),
                    xytext=(0, -3),
                    textcoords="offset points",
                    fontsize=8,
                    ha="center",
                    va="top",
                    color="#555555",
                )
            axes.set(xlabel="true movement from the last frame (px)\nabove: % of the windows", xlim=(-1, None))
            axes.legend(loc="upper left")
        panels[0][0].set_ylim(bottom=-0.08 * panels[0][0].get_ylim()[1])
        panels[0][0].set_ylabel("mean pixel error (px)")
        return stamp_study(figure, study)


def binned_means(values: np.ndarray, results: np.ndarray, edges: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Mean value and mean result in each bin [edge, next edge) that holds any value."""
    bins = np.digitize(values, edges)
    used = np.unique(bins)
    return (np.array([values[bins == b].mean() for b in used]), np.array([results[bins == b].mean() for b in used]))


def undershoot(study) -> Figure:
    """How far predictions move from the last observed point, over how far gaze moved, where it left its pixel."""
    with book_style():
        figure, panels = _panels(study, 5.6, 5.2)
        for axes, framing in panels:
            predictors = predictors_of(study, framing)[::-1]
            for row, predictor in enumerate(predictors):
                found = mean_over_seeds(predictor.undershoot_of(run) for run in runs_of(study, predictor))
                axes.plot(
                    [0, found["value"]],
                    [row, row],
                    color=colour_of(predictor.variant),
                    lw=5,
                    alpha=0.25,
                    solid_capstyle="butt",
                )
                _dot(axes, row, found, predictor)
            _name_rows(axes, predictors)
            _mark(axes, 1, "as far as gaze", len(predictors), "left")
            axes.set(xlabel="predicted / true movement")
        return stamp_study(figure, study)


def convergence(study) -> Figure:
    """Validation loss (solid) and training loss (dotted) by epoch, over the network's least validation loss."""
    with book_style():
        figure, panels = _panels(study, 4.6, 4, sharey=True)
        for axes, framing in panels:
            for name in (name for name in study.variants() if name.endswith(f".{framing}") and Predictor(name).trained):
                history = study.run(name).history
                training, validation = (
                    np.array([entry[key] for entry in history]) for key in ("train_loss", "val_loss")
                )
                least, epochs, colour = validation.min(), np.arange(1, len(history) + 1), colour_of(name)
                axes.plot(epochs, validation / least, color=colour, label=name_of(name))
                axes.plot(epochs, training / least, color=colour, ls=":", lw=1.3)
                axes.plot(validation.argmin() + 1, 1, "o", color=colour, ms=6)
            axes.set(xlabel="epoch", yscale="log", ylim=(0.1, 10))
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.yaxis.set_major_formatter("{x:g}")
        panels[0][0].set_ylabel("loss / least validation loss")
        panels[-1][0].legend(loc="upper left", bbox_to_anchor=(1.01, 1))
        return stamp_study(figure, study)


def _panels(study, width: float, height: float, sharey: bool = False) -> tuple[Figure, list[tuple[Axes, str]]]:
    """A figure with a titled panel a framing, and (panel, framing) pairs."""
    framings = framings_of(study)
    figure, panels = plt.subplots(
        1, len(framings), figsize=(width * len(framings), height), squeeze=False, sharey=sharey
    )
    for axes, framing in zip(panels.flat, framings):
        axes.set_title(FRAMING_TITLES[framing], pad=18)
    return figure, list(zip(panels.flat, framings))


def _dot(axes: Axes, row: int, found: dict[str, float], predictor: Predictor, filled: bool = True) -> None:
    """A value (networks: circle, baselines: diamond) on its interval."""
    colour, marker = colour_of(predictor.variant), "o" if predictor.trained else "D"
    axes.plot([found["low"], found["high"]], [row, row], color=colour, lw=2.5, alpha=0.4)
    axes.plot(found["value"], row, marker, color=colour, ms=6, mfc=colour if filled else "white")


def _line(predictor: Predictor) -> dict:
    """How a predictor's curve looks."""
    name = predictor.variant.partition(".")[0]
    return dict(label=predictor.label, color=colour_of(name), ls=LINES.get(name, "-"))


def _name_rows(axes: Axes, predictors: list[Predictor]) -> None:
    axes.set_yticks(range(len(predictors)), [predictor.label for predictor in predictors])
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(-0.6, len(predictors) + 0.4)
