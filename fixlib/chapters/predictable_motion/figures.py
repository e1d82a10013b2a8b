"""Figures of chapter 5: motion whose continuation is known, and the same with noise.

A study here is one of `predictable_motion`: networks start.NAME, scratch.NAME, onwards.NAME and ahead.NAME (a loss, or
hybrid_l1), with scores by noise under payload["stages"]; and exact.noiseNN, exact.ahead, with scores by predictor under
payload["exact"].
"""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fixlib.chapters._old_plots import BASELINE_COLOUR, book_style, colour_of, image_axes, name_of, stamp, stamp_study
from fixlib.chapters.loss_comparison.figures import label_ends
from fixlib.chapters.predictable_motion.runs import AHEAD, KNOWS_PATH, N_IN, tag
from fixlib.chapters.simulated_control.figures import OPTIMUM_COLOUR
from fixlib.chapters.what_each_loss_wants import figures as loss_theory
from fixlib.data import make_patterns
from fixlib.data.lattice import KINDS, SPEEDS, drawn_paths, lattice_paths
from fixlib.losses import DiceLoss, SoftmaxCrossEntropy, make_loss
from fixlib.theory.frames import crossing_threshold

NAMES = {KNOWS_PATH: "Knows the path"}
COLOURS = {KNOWS_PATH: OPTIMUM_COLOUR, "softmax_cross_entropy": colour_of("softmax_cross_entropy")}
SEEN, LATER = "#E69F00", "#56B4E9"
SLANT = 4.0  # frames' worth of way along both axes, for a picture with room in it


def label(name: str) -> str:
    """A predictor's name for readers."""
    return NAMES.get(name) or name_of(name)


def colour(name: str) -> str:
    """A predictor's colour, as in the other chapters where it is in them."""
    return COLOURS.get(name) or loss_theory.colour(name)


def networks(study, way: str) -> list[str]:
    """The losses of the frame predictors "scratch", "onwards" or "ahead"."""
    names = [name.partition(".") for name in study.variants()]
    return [name for start, _, name in names if start == way and name != "hybrid_l1"]


def score(study, variant: str, metric: str, noise: float = 0.0) -> dict[str, float]:
    """dict(value, low, high) of a network's metric at a noise; KeyError where it was not trained there."""
    return numbers(study.run(variant).payload["stages"][tag(noise)]["metrics"][metric])


def exact_score(study, predictor: str, metric: str, noise: float = 0.0) -> dict[str, float]:
    """The same of the best output under a loss, or of another of the predictors under `exact`."""
    return numbers(study.run(f"exact.{tag(noise)}").payload["exact"][predictor]["metrics"][metric])


def numbers(found: dict) -> dict[str, float]:
    """null, of an undefined number, as NaN."""
    return {key: np.nan if value is None else value for key, value in found.items()}


def noises(study, variant: str | None = None) -> list[float]:
    """The noises that a network went through; by default those of which the exact answers are recorded."""
    if variant:
        return list(study.run(variant).spec.config.noises)
    return [run.spec.config.noises[0] for run in study.runs if run.spec.variant.startswith("exact.noise")]


def by_horizon(study, predictor: str, metric: str, group: str = "all") -> np.ndarray:
    """A metric 1 ... 10 frames ahead, over all test windows or those of a kind or speed ("arc", "speed 3")."""
    variant = f"ahead.{predictor}"
    found = (
        study.run(variant).payload["stages"][tag(0.0)]
        if variant in study.variants()
        else study.run("exact.ahead").payload["exact"][predictor]
    )
    return np.array([np.nan if value is None else value for value in found["by_horizon"][group][metric]])


def certainty_needed(loss: str) -> float:
    """The probability above which the best output of a pixel exceeds 0.5; 0 for Dice, which always paints one."""
    made = make_loss(loss)
    if isinstance(made, SoftmaxCrossEntropy):
        return 0.5
    return 0.0 if isinstance(made, DiceLoss) else crossing_threshold(made)


def copied_input(study) -> tuple[np.ndarray, np.ndarray]:
    """Without noise, taking the k-th given frame for the k-th to come, as SimVP's skip connection hands it over.

    Returns:
        Recall and mean pixel error (px) one to AHEAD frames ahead, each (AHEAD,), over the test windows.
    """
    where = study.run("exact.ahead").spec.config.data
    rows = drawn_paths(where.size, N_IN + AHEAD, 0.0, where.test, where.seed)
    y, x = np.divmod(lattice_paths(where.size, N_IN + AHEAD).pixels[rows], where.size)
    apart = np.hypot(x[:, :AHEAD] - x[:, N_IN:], y[:, :AHEAD] - y[:, N_IN:])
    return (apart == 0).mean(0), apart.mean(0)


def recall_from_pixels(speed: float, n: int = 300_000, size: int = 32, seed: int = 0) -> float:
    """Share of next pixels that the ten before give away, on straight lines of `make_patterns`, which start anywhere.

    The best guess after each sequence of pixel steps is its most frequent continuation in one half of `n` lines, tried
    on the other half. Lines that are mirror images of each other count as one sequence, so that few of the other half
    are new. Nobody can do better, except by what the walls say.
    """
    lines = make_patterns("line", n, N_IN + 1, speed, seed=seed, size=size)["coordinates"].floor().long()
    steps = _mirrored_alike(lines.diff(dim=1).numpy()) + 4  # at most 3 px either way, as digits of a number
    digits = steps[..., 1] * 8 + steps[..., 0]
    _, past = np.unique(digits[:, :-1] @ 64 ** np.arange(N_IN - 1), return_inverse=True)
    half = n // 2
    counts = np.zeros((past.max() + 1, 64), np.int32)
    np.add.at(counts, (past[:half], digits[:half, -1]), 1)
    return float((counts.argmax(1)[past[half:]] == digits[half:, -1]).mean())


def _mirrored_alike(steps: np.ndarray) -> np.ndarray:
    """Steps (N, T, 2), mirrored so that all but the last together lead right, down, and more right than down."""
    net = steps[:, :-1].sum(1, keepdims=True)
    steps = np.where(net < 0, -steps, steps)
    return np.where(abs(net[..., :1]) < abs(net[..., 1:]), steps[..., ::-1], steps)


def same_past(speed: float = 1.0, seed: int = 0, n: int = 20_000) -> tuple[np.ndarray, np.ndarray]:
    """Two slanting lines, (11, 2) px each, that share the pixels of ten frames and not the next; among `n` drawn.

    Raises:
        ValueError: none of them do.
    """
    lines = make_patterns("line", n, N_IN + 1, speed, seed=seed)["coordinates"].double().numpy()
    lines = lines - np.floor(lines[:, :1])  # the same pixel to begin with; frames elsewhere look alike
    lines = lines[(abs(lines[:, -1] - lines[:, 0]) > SLANT * speed).all(-1)]
    first_with: dict[bytes, int] = {}
    for number, pixels in enumerate(np.floor(lines).astype(np.int8)):
        other = first_with.setdefault(pixels[:N_IN].tobytes(), number)
        if (np.floor(lines[other, N_IN]) != np.floor(lines[number, N_IN])).any():
            return lines[other], lines[number]
    raise ValueError(f"no two of {n} lines at {speed} px a frame share ten pixels and part then; draw more")


def hidden_in_pixels(speeds: Sequence[float] = (0.5, 1.0, 1.5, 2.0)) -> Figure:
    """Two straight lines with the same ten pixels and different next ones; how much of the next pixel is given away."""
    with book_style():
        figure, (left, right) = plt.subplots(1, 2, figsize=(8.4, 4.2), width_ratios=(1, 1.5))
        pair = same_past()
        for line, shade, name in zip(pair, ("#0072B2", "#D55E00"), ("one line", "another")):
            left.plot(*line.T, "-", color=shade, lw=0.8)
            left.plot(*line[:N_IN].T, "o", color=shade, ms=3)
            left.plot(*line[N_IN], "*", color=shade, ms=12, label=name)
        for pixel in np.unique(np.floor(pair[0][:N_IN]), axis=0):
            left.add_patch(plt.Rectangle(pixel, 1, 1, color="#dddddd", zorder=0))
        low, high = np.floor(np.concatenate(pair).min(0)), np.floor(np.concatenate(pair).max(0)) + 1
        left.set(
            xticks=np.arange(low[0], high[0] + 1),
            yticks=np.arange(low[1], high[1] + 1),
            xticklabels=[],
            yticklabels=[],
            aspect="equal",
            title="The same ten pixels (grey),\nanother eleventh (star)",
            xlim=(low[0] - 0.2, high[0] + 0.2),
            ylim=(high[1] + 0.2, low[1] - 0.2),
        )
        left.grid(color="#bbbbbb", lw=0.5)
        best = [recall_from_pixels(speed) for speed in speeds]
        right.plot(speeds, best, "o-", color="#333333")
        for speed, value in zip(speeds, best):
            right.annotate(
                f"{value:.2f}", (speed, value), xytext=(0, -13), textcoords="offset points", ha="center", fontsize=9
            )
        right.axhline(0.95, color=BASELINE_COLOUR, lw=1, ls=":")
        right.text(speeds[0], 0.955, "0.95", va="bottom", fontsize=8, color=BASELINE_COLOUR)
        right.set(
            xlabel="speed (px a frame)",
            ylabel="best possible recall, one frame ahead",
            ylim=(0.7, 1.0),
            xticks=speeds,
            title="Lines that start anywhere",
        )
        return stamp(figure, "computed straight lines", False)


def paths(study, shown: Sequence[float] = (0.0, 0.4), seed: int = 4) -> Figure:
    """One path of each kind as the frames show it, at two noises: ten pixels seen and the next one."""
    size, length = study.run("exact.noise0").spec.config.data.size, N_IN + 1
    every, generator = lattice_paths(size, length), np.random.default_rng(seed)
    slow = every.speed == SPEEDS[0]
    chosen = [generator.choice(np.flatnonzero((every.kind == number) & slow)) for number in range(len(KINDS))]
    with book_style():
        figure, panels = plt.subplots(len(shown), len(KINDS), figsize=(7.6, 2.6 * len(shown) + 0.3), squeeze=False)
        for row, noise in zip(panels, shown):
            for axes, path, kind in zip(row, chosen, KINDS):
                replaced = generator.random(length) < noise
                pixels = np.where(replaced, generator.integers(0, size**2, length), every.pixels[path])
                _draw_path(axes, pixels, replaced, size)
                axes.set_title(f"{kind}, {every.speed[path]} px a frame, noise {noise:g}", fontsize=9)
        kinds = (
            ("s", SEEN, SEEN, "seen"),
            ("o", LATER, LATER, "to be predicted"),
            ("s", SEEN, "none", "replaced by noise"),
        )
        marks = [
            plt.Line2D([], [], marker=marker, color=shade, ls="", mfc=fill, label=text)
            for marker, shade, fill, text in kinds
        ]
        figure.legend(handles=marks, loc="outside upper center", ncols=3)
        return stamp_study(figure, study)


def _draw_path(axes: Axes, pixels: np.ndarray, replaced: np.ndarray, size: int) -> None:
    y, x = np.divmod(pixels, size)
    image_axes(axes).set(xlim=(-0.5, size - 0.5), ylim=(size - 0.5, -0.5), aspect="equal", facecolor="black")
    for first, last, marker, shade in ((0, N_IN, "s", SEEN), (N_IN, len(x), "o", LATER)):
        for there, fill in ((~replaced[first:last], shade), (replaced[first:last], "none")):
            axes.plot(x[first:last][there], y[first:last][there], marker, ms=4.5, mec=shade, mfc=fill, ls="")


def finding_the_pixel(study) -> Figure:
    """Recall and precision one frame ahead without noise: from scratch, from a network that knows, and the best."""
    losses = networks(study, "scratch")
    rows = np.arange(len(losses))[::-1]
    metrics = {"white_pixel_recall": "Recall at 0.5", "white_pixel_precision": "Precision at 0.5 (none: nothing found)"}
    with book_style():
        figure, panels = plt.subplots(1, 2, figsize=(9.2, 0.44 * len(losses) + 1.5), sharey=True)
        for axes, (metric, title) in zip(panels, metrics.items()):
            for row, name in zip(rows, losses):
                best = exact_score(study, name, metric)["value"]
                if metric == "white_pixel_recall" or best > 0:
                    axes.plot([best, best], [row - 0.36, row + 0.36], color=OPTIMUM_COLOUR, lw=3, zorder=1)
                for way, offset, face in (("scratch", 0.16, "white"), ("onwards", -0.16, colour(name))):
                    found = score(study, f"{way}.{name}", metric)
                    if metric == "white_pixel_recall" or found["value"] > 0:
                        _interval(axes, found, row + offset, colour(name), face)
            axes.axvline(0.95, color=BASELINE_COLOUR, lw=1, ls=":")
            axes.text(0.94, rows[0] + 0.48, "0.95", fontsize=8, color=BASELINE_COLOUR, ha="right")
            axes.set(
                title=title,
                yticks=rows,
                yticklabels=[label(name) for name in losses],
                xlim=(-0.04, 1.06),
                ylim=(-0.6, rows[0] + 0.75),
            )
            axes.tick_params(axis="y", length=0)
        marks = [
            plt.Line2D([], [], marker="o", mec="#333333", mfc=face, color="#333333", label=text, lw=1.6)
            for face, text in (("white", "from scratch"), ("#333333", "from a network that knows"))
        ]
        marks.append(plt.Line2D([], [], color=OPTIMUM_COLOUR, lw=3, label="best possible under that loss"))
        figure.legend(handles=marks, loc="outside upper center", ncols=3)
        return stamp_study(figure, study)


def _interval(axes: Axes, found: dict, row: float, shade: str, face: str) -> None:
    axes.plot([found["low"], found["high"]], [row, row], color=shade, lw=1.6, alpha=0.6)
    axes.plot(found["value"], row, "o", mec=shade, mfc=face, ms=5.5)


def falling_with_noise(study, losses: Sequence[str] = ()) -> Figure:
    """Recall and precision at 0.5 against noise, a column a loss: exact optimum, networks, and where it should stop."""
    losses = list(losses) or [name for name in networks(study, "onwards") if len(noises(study, f"onwards.{name}")) > 1]
    with book_style():
        figure, panels = plt.subplots(
            2, len(losses), figsize=(1.62 * len(losses) + 0.8, 4.6), sharex=True, sharey=True, squeeze=False
        )
        for column, name in zip(panels.T, losses):
            needed = certainty_needed(name)
            for axes, metric in zip(column, ("white_pixel_recall", "white_pixel_precision")):
                levels = noises(study)
                axes.plot([0, 1], [1, 0], color=BASELINE_COLOUR, lw=0.8, ls=":")
                axes.axvline(1 - needed, color=BASELINE_COLOUR, lw=1, ls="--")
                best = [exact_score(study, name, metric, level)["value"] for level in levels]
                axes.plot(
                    levels,
                    best if metric == "white_pixel_recall" else [value or np.nan for value in best],
                    color=OPTIMUM_COLOUR,
                )
                for level in noises(study, f"onwards.{name}"):
                    found = score(study, f"onwards.{name}", metric, level)
                    if metric == "white_pixel_recall" or found["value"] > 0:
                        axes.plot([level, level], [found["low"], found["high"]], color=colour(name), lw=2, alpha=0.5)
                        axes.plot(level, found["value"], "o", color=colour(name), ms=5)
            column[0].set_title(
                f"{label(name)}\n" + (f"wants η > {needed:.2g}" if needed else "paints at least one"), fontsize=9
            )
            column[1].set(xlabel="noise", xticks=(0, 0.5, 1), xticklabels=("0", "½", "1"))
        panels[0, 0].set(ylabel="recall at 0.5", ylim=(-0.04, 1.04))
        panels[1, 0].set_ylabel("precision at 0.5\n(none: nothing called)")
        marks = [
            plt.Line2D([], [], color=OPTIMUM_COLOUR, label="best possible"),
            plt.Line2D([], [], color="#333333", marker="o", ls="", label="network"),
            plt.Line2D([], [], color=BASELINE_COLOUR, ls=":", label="1 − noise"),
            plt.Line2D([], [], color=BASELINE_COLOUR, ls="--", label="where p > 0.5 stops to pay"),
        ]
        figure.legend(handles=marks, loc="outside upper center", ncols=4)
        return stamp_study(figure, study)


def horizon_and_speed(study) -> Figure:
    """Error and undershoot one to ten frames ahead, without noise, one column a speed."""
    shown = [*networks(study, "ahead"), "constant_velocity", "repeat_last", KNOWS_PATH]
    rows = {"error_argmax": "mean pixel error (px)", "undershoot": "predicted / true distance\nfrom the last point"}
    with book_style():
        figure, panels = plt.subplots(len(rows), len(SPEEDS), figsize=(8.4, 5.4), sharex=True, sharey="row")
        ahead = np.arange(1, AHEAD + 1)
        for across, (metric, text) in zip(panels, rows.items()):
            across[0].set_ylabel(text)
            for axes, speed in zip(across, SPEEDS):
                for name in shown:
                    axes.plot(
                        ahead,
                        by_horizon(study, name, metric, f"speed {speed}"),
                        color=colour(name),
                        ls="-" if name in networks(study, "ahead") else "--" if name != "repeat_last" else ":",
                    )
                axes.set_xticks((1, 4, 7, 10))
            across[0].set_ylim(0, None)
        for axes, speed in zip(panels[0], SPEEDS):
            axes.set_title(f"{speed} px a frame")
        for axes in panels[-1]:
            axes.set_xlabel("frames ahead")
        marks = [
            plt.Line2D([], [], color=line.get_color(), ls=line.get_linestyle(), label=label(name))
            for line, name in zip(panels[0, 0].lines, shown)
        ]
        figure.legend(handles=marks, loc="outside upper center", ncols=len(marks))
        return stamp_study(figure, study)


def frames_and_regression(study, losses: Sequence[str] = ("weighted_mse", "dice", "softmax_cross_entropy")) -> Figure:
    """Error one frame ahead against noise: maps decoded, the hybrid, constant velocity, and the best possible."""
    levels = noises(study, "onwards.hybrid_l1")
    curves = {name: [score(study, f"onwards.{name}", "error_median", level) for level in levels] for name in losses}
    curves["hybrid_l1"] = [score(study, "onwards.hybrid_l1", "error", level) for level in levels]
    lines = {
        name: [exact_score(study, name, "error_argmax", level) for level in levels]
        for name in ("constant_velocity", "repeat_last", KNOWS_PATH)
    }
    lines["best"] = [exact_score(study, "softmax_cross_entropy", "error_median", level) for level in levels]
    with book_style():
        figure, axes = plt.subplots(figsize=(8, 4.4))
        ends = []
        for name, found in {**curves, **lines}.items():
            shade = OPTIMUM_COLOUR if name == "best" else "#BBBBBB" if name == KNOWS_PATH else colour(name)
            values = [each["value"] for each in found]
            line = "o-" if name in curves else ":" if name == "repeat_last" else "--"
            axes.plot(levels, values, line, color=shade, ms=5)
            for level, each in zip(levels, found if name in curves else ()):
                axes.plot([level, level], [each["low"], each["high"]], color=shade, lw=2.5, alpha=0.4)
            ends.append((values[-1], "Best possible" if name == "best" else label(name), shade))
        axes.set(
            xlabel="noise (share of frames replaced)",
            ylabel="mean pixel error, one frame ahead (px)",
            xlim=(-0.02, levels[-1] + 0.22),
            ylim=(0, None),
            xticks=levels,
        )
        label_ends(axes, ends, levels[-1])
        return stamp_study(figure, study)
