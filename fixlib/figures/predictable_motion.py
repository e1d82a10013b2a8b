"""Figures of chapter 5: motion whose continuation is known, and the same with noise.

A study here is one of `predictable_motion`: variants LOSS.scratch, informed.noiseNN, hybrid_l1.noiseNN, exact.noiseNN, and
informed.ten_frames, exact.ten_frames, hidden_in_pixels. What runs hold of each loss is under payload["then"].
"""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fixlib.data import make_patterns
from fixlib.experiments.motion_catalogue import KINDS, catalogue
from fixlib.experiments.predictable_motion import HORIZONS, INFORMED, N_IN, NOISES, OPTIMUM_NOISES, SPEEDS, tag
from fixlib.figures.style import BASELINE_COLOUR, book_style, colour_of, image_axes, name_of, stamp_study
from fixlib.losses import get_loss_function
from fixlib.losses.analysis import crossing_threshold

EXACT = "exact_continuation"
NAMES = {EXACT: "Knows the path", "bce": "BCE (the start)", "hybrid_l1": "Hybrid, L1"}
COLOURS = {EXACT: "#E69F00", "bce": "#999999", "hybrid_l1": "#0072B2", "constant_velocity": "#CC79A7"}
WHITE, LATER, WRONG = "#E69F00", "#56B4E9", "#D55E00"


def label(name: str) -> str:
    """A predictor's name for readers."""
    return NAMES.get(name) or name_of(name)


def colour(name: str) -> str:
    """A predictor's colour, as in the other chapters where it is in them."""
    return COLOURS.get(name) or colour_of(name)


def score(study, variant: str, loss: str, metric: str) -> dict[str, float]:
    """dict(value, low, high) of a metric after training on with a loss; a run's own where `loss` is "bce"."""
    payload = study.run(variant).payload
    found = (payload["then"][loss] if loss != "bce" else payload)["metrics"][metric]
    return {key: np.nan if value is None else value for key, value in found.items()}


def by_horizon(study, variant: str, name: str, metric: str, group: str = "") -> np.ndarray:
    """A metric by frames ahead, (10,), over all test windows or those of a group ("arc", "speed 2")."""
    payload = study.run(variant).payload
    found = payload if name == "bce" else payload["then"][name]
    values = found["groups"][group][metric] if group else found["by_horizon"][metric]
    return np.array([np.nan if value is None else value for value in values])


def certainty_needed(loss: str) -> float:
    """The probability above which a loss on pixels wants p > 0.5."""
    return crossing_threshold(get_loss_function(loss))


def paths(study, noises: Sequence[float] = (0.0, 0.4), seed: int = 1) -> Figure:
    """One path of each kind as the frames show it, without and with noise: ten pixels seen and ten to come."""
    size = study.run("informed.ten_frames").spec.config["data"]["size"]
    every = catalogue(size, N_IN + HORIZONS, SPEEDS)
    generator = np.random.default_rng(seed)
    shown = [generator.choice(np.flatnonzero((every.kind == number) & (every.speed == (0.5 if kind == "line" else 1))))
             for number, kind in enumerate(KINDS)]
    with book_style():
        figure, panels = plt.subplots(len(noises), len(KINDS), figsize=(7.4, 2.5 * len(noises) + 0.3))
        for row, noise in zip(panels, noises):
            for axes, path, kind in zip(row, shown, KINDS):
                pixels = every.pixels[path]
                replaced = generator.random(len(pixels)) < noise
                seen = np.where(replaced, generator.integers(0, size**2, len(pixels)), pixels)
                _draw_path(axes, seen, replaced, size)
                axes.set_title(f"{kind}, noise {noise:g}", fontsize=10)
        return stamp_study(figure, study)


def _draw_path(axes: Axes, pixels: np.ndarray, replaced: np.ndarray, size: int) -> None:
    y, x = np.divmod(pixels, size)
    image_axes(axes).set(xlim=(-0.5, size - 0.5), ylim=(size - 0.5, -0.5), aspect="equal", facecolor="black")
    for first, last, marker, shade in ((0, N_IN, "s", WHITE), (N_IN, len(x), "o", LATER)):
        for hit, fill in ((~replaced[first:last], shade), (replaced[first:last], "none")):
            axes.plot(x[first:last][hit], y[first:last][hit], marker, ms=5, mec=shade, mfc=fill, ls="")


def hidden_in_pixels(study, speed: float = 1.0, seed: int = 0) -> Figure:
    """Two straight lines with the same ten pixels and different next ones; and how much of the next pixel is given away."""
    recall = study.run("hidden_in_pixels").payload["recall"]
    first, second = same_past(speed, seed)
    with book_style():
        figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), width_ratios=(1.3, 1))
        for line, shade, offset in ((first, "#0072B2", 0.8), (second, "#D55E00", -0.8)):
            left.plot(*line.T, "-", color=shade, lw=0.8)
            left.plot(*line[:N_IN].T, "o", color=shade, ms=3)
            left.plot(*line[N_IN], "*", color=shade, ms=11)
        both = np.concatenate([first, second])
        low, high = np.floor(both.min(0)), np.floor(both.max(0)) + 1
        for pixel in {tuple(p) for p in np.floor(first[:N_IN])}:
            left.add_patch(plt.Rectangle(pixel, 1, 1, color="#eeeeee", zorder=0))
        left.set(xticks=np.arange(low[0], high[0] + 1), yticks=np.arange(low[1], high[1] + 1), xticklabels=[],
                 yticklabels=[], aspect="equal", title="Same ten pixels, another next one (star)",
                 xlim=(low[0] - 0.2, high[0] + 0.2), ylim=(high[1] + 0.2, low[1] - 0.2))
        left.grid(color="#bbbbbb", lw=0.5)
        speeds = [float(value) for value in recall]
        right.plot(speeds, list(recall.values()), "o-", color="#555555")
        right.text(speeds[0], recall[str(speeds[0])] - 0.012, "starting anywhere", va="top", fontsize=9, color="#555555")
        largest = study.run("exact.noise0").payload["largest"][0]
        right.axhline(largest, color=WHITE, lw=1.5)
        right.text(speeds[0], largest - 0.006, "on the lattice (this chapter)", va="top", fontsize=9, color=WHITE)
        right.axhline(0.95, color=BASELINE_COLOUR, lw=1, ls=":")
        right.text(speeds[-1], 0.95, "0.95", ha="right", va="bottom", fontsize=8, color=BASELINE_COLOUR)
        right.set(xlabel="speed (px a frame)", ylabel="best recall one frame ahead", ylim=(0.75, 1.005), xticks=speeds,
                  title="What ten frames give away")
        return stamp_study(figure, study)


def same_past(speed: float = 1.0, seed: int = 0, n: int = 20_000) -> tuple[np.ndarray, np.ndarray]:
    """Two straight lines, (11, 2) px each, that share the pixels of ten frames and not the next; among `n` drawn."""
    lines = make_patterns("line", n, N_IN + 1, speed, seed=seed)["coordinates"].double().numpy()
    lines = lines - np.floor(lines[:, :1])  # the same pixel to begin with; frames elsewhere look alike
    seen: dict[bytes, int] = {}
    for number, pixels in enumerate(np.floor(lines).astype(np.int8)):
        other = seen.setdefault(pixels[:N_IN].tobytes(), number)
        if (np.floor(lines[other, N_IN]) != np.floor(lines[number, N_IN])).any():
            return lines[other], lines[number]
    raise ValueError(f"no two of {n} lines at {speed} px a frame share ten pixels and part then; draw more")


def finding_the_pixel(study) -> Figure:
    """Recall and precision one frame ahead without noise: from scratch, started from BCE, and the best there is."""
    names = [name.partition(".")[0] for name in study.variants() if name.endswith(".scratch")]
    rows = np.arange(len(names))[::-1]
    with book_style():
        figure, panels = plt.subplots(1, 2, figsize=(9, 0.42 * len(names) + 1.6), sharey=True)
        for axes, metric, title in zip(panels, ("white_pixel_recall", "white_pixel_precision"), ("Recall at 0.5", "Precision at 0.5")):
            for row, name in zip(rows, names):
                _interval(axes, score(study, f"{name}.scratch", name, metric), row + 0.18, colour(name), "o", "white")
                _interval(axes, score(study, "informed.noise0", name, metric), row - 0.18, colour(name), "o", colour(name))
                best = score(study, "exact.noise0", name, metric)["value"]
                axes.plot([best, best], [row - 0.38, row + 0.38], color=WHITE, lw=2.5, zorder=1)
            axes.axvline(0.95, color=BASELINE_COLOUR, lw=1, ls=":")
            axes.set(title=title, yticks=rows, yticklabels=[label(name) for name in names], xlim=(-0.04, 1.04))
        for marker, face, text in (("o", "white", "from scratch"), ("o", "#444444", "from the BCE network")):
            panels[1].plot([], [], marker, mec="#444444", mfc=face, ls="", label=text)
        panels[1].plot([], [], color=WHITE, lw=2.5, label="exact optimum")
        panels[1].legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
        return stamp_study(figure, study)


def _interval(axes: Axes, found: dict, row: float, shade: str, marker: str, face: str) -> None:
    axes.plot([found["low"], found["high"]], [row, row], color=shade, lw=2, alpha=0.5)
    axes.plot(found["value"], row, marker, mec=shade, mfc=face, ms=6)


def noise(study, losses: Sequence[str] = INFORMED) -> Figure:
    """Recall and precision one frame ahead against noise: networks (points) and the exact optimum of each loss (lines)."""
    with book_style():
        figure, panels = plt.subplots(2, len(losses), figsize=(2.5 * len(losses), 4.8), sharex=True, sharey=True)
        for column, name in zip(panels.T, losses):
            for axes, metric in zip(column, ("white_pixel_recall", "white_pixel_precision")):
                best = [score(study, f"exact.{tag(level)}", name, metric)["value"] for level in OPTIMUM_NOISES]
                axes.plot(OPTIMUM_NOISES, best, color=WHITE, lw=2)
                axes.plot([0, 1], [1, 0], color=BASELINE_COLOUR, lw=0.8, ls=":")
                for level in NOISES:
                    found = score(study, f"informed.{tag(level)}", name, metric)
                    axes.plot([level, level], [found["low"], found["high"]], color=colour(name), lw=2, alpha=0.5)
                    axes.plot(level, found["value"], "o", color=colour(name))
            if name != "dice":
                needed = certainty_needed(name)
                for axes in column:
                    axes.axvline(1 - needed, color=BASELINE_COLOUR, lw=1, ls="--")
                column[0].set_title(f"{label(name)}\n(certainty needed: {needed:.2g})", fontsize=10)
            else:
                column[0].set_title(f"{label(name)}\n(at least one pixel)", fontsize=10)
            column[1].set(xlabel="noise", xticks=(0, 0.25, 0.5, 0.75, 1), xticklabels=("0", "¼", "½", "¾", "1"))
        panels[0, 0].set(ylabel="recall at 0.5", ylim=(-0.04, 1.04))
        panels[1, 0].set_ylabel("precision at 0.5")
        panels[0, 0].text(0.98, 0.98, "line: exact optimum\npoints: networks", transform=panels[0, 0].transAxes, ha="right",
                          va="top", fontsize=8)
        panels[1, 0].text(0.3, 0.75, "1 - noise", fontsize=8, color=BASELINE_COLOUR)
        return stamp_study(figure, study)


def horizon(study, losses: Sequence[str] = ("bce", "dice", "weighted_mse")) -> Figure:
    """Error and undershoot one to ten frames ahead, without noise."""
    with book_style():
        figure, panels = plt.subplots(1, 2, figsize=(10, 3.9))
        ahead = np.arange(1, HORIZONS + 1)
        panels_of = (("error_median", "mean pixel error (px)"), ("undershoot_median", "predicted / true movement"))
        for axes, (metric, text) in zip(panels, panels_of):
            ends = []
            for name in (*losses, "constant_velocity", "repeat_last", EXACT):
                variant = "informed.ten_frames" if name in losses else "exact.ten_frames"
                values = by_horizon(study, variant, name, metric)
                axes.plot(ahead, values, color=colour(name), ls="-" if name in losses else "--")
                ends.append((values[-1], name))
            _label_ends(axes, ends)
            axes.set(xlabel="frames ahead", ylabel=text, xticks=ahead, xlim=(1, HORIZONS + 4.6), ylim=(0, None))
        return stamp_study(figure, study)


def _label_ends(axes: Axes, ends: list[tuple[float, str]]) -> None:
    """Name each curve at its right end, pushed apart where they would overlap."""
    gap = 0.065 * (axes.get_ylim()[1] - min(0, axes.get_ylim()[0]))
    lowest = -np.inf
    for value, name in sorted(ends):
        height = max(value, lowest + gap)
        axes.text(HORIZONS + 0.15, height, label(name), color=colour(name), fontsize=8, va="center")
        lowest = height


def speed(study, losses: Sequence[str] = ("bce", "dice", "weighted_mse")) -> Figure:
    """Error by frames ahead, one panel a speed, beside constant velocity."""
    groups = [f"speed {value:g}" for value in SPEEDS] + list(KINDS)
    with book_style():
        figure, panels = plt.subplots(2, 3, figsize=(9.5, 5.2), sharex=True, sharey="row")
        ahead = np.arange(1, HORIZONS + 1)
        for axes, group in zip(panels.flat, groups):
            there = study.run("exact.ten_frames").payload["then"][EXACT]["groups"]
            axes.set_title(f"{group} px a frame" if group.startswith("speed") else group)
            for name in (*losses, "constant_velocity") if group in there else ():
                variant = "informed.ten_frames" if name in losses else "exact.ten_frames"
                axes.plot(ahead, by_horizon(study, variant, name, "error_median", group), color=colour(name),
                          ls="-" if name in losses else "--", label=label(name))
            axes.set(xticks=(1, 4, 7, 10), ylim=(0, None))
        panels[0, 0].legend(fontsize=8)
        for axes in panels[:, 0]:
            axes.set_ylabel("mean pixel error (px)")
        for axes in panels[1]:
            axes.set_xlabel("frames ahead")
        return stamp_study(figure, study)


def frames_and_regression(study) -> Figure:
    """Error one frame ahead against noise: maps decoded, the hybrid, constant velocity, and who knows the path."""
    curves = {"hybrid_l1": ("hybrid_l1", "error", "-"), "bce": ("bce", "error_median", "-"), "dice": ("dice", "error_median", "-"),
              "weighted_mse": ("weighted_mse", "error_median", "-"), "constant_velocity": ("constant_velocity", "error_argmax", "--"),
              "repeat_last": ("repeat_last", "error_argmax", "--"), EXACT: (EXACT, "error_argmax", "--")}
    with book_style():
        figure, axes = plt.subplots(figsize=(7.5, 4.2))
        ends = []
        for name, metric, line in curves.values():
            exact = name in (EXACT, "constant_velocity", "repeat_last")
            levels = OPTIMUM_NOISES if exact else NOISES
            levels = [level for level in levels if level <= max(NOISES)]
            found = [_error(study, name, exact, level, metric) for level in levels]
            axes.plot(levels, [each["value"] for each in found], line, marker="" if exact else "o", color=colour(name))
            for level, each in zip(levels, () if exact else found):
                axes.plot([level, level], [each["low"], each["high"]], color=colour(name), lw=2, alpha=0.5)
            ends.append((found[-1]["value"], name))
        gap, lowest = 0.05 * axes.get_ylim()[1], -np.inf
        for value, name in sorted(ends):
            lowest = max(value, lowest + gap)
            axes.text(max(NOISES) + 0.012, lowest, label(name), color=colour(name), fontsize=8.5, va="center")
        axes.set(xlabel="noise", ylabel="mean pixel error one frame ahead (px)", xlim=(-0.02, max(NOISES) + 0.2), ylim=(0, None),
                 xticks=NOISES)
        return stamp_study(figure, study)


def _error(study, name: str, exact: bool, level: float, metric: str) -> dict[str, float]:
    if name == "hybrid_l1":
        return study.run(f"hybrid_l1.{tag(level)}").metrics["error"]
    return score(study, f"{'exact' if exact else 'informed'}.{tag(level)}", name, metric)
