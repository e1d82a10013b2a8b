"""Drawings: the map of the book, the way of the data, and the two networks that the book is about."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fixlib.plots import AMBER, BASELINE_COLOR, BLUE, GREY, SKY, VERMILION, arrow, box, color_of, figure, image_axes

SKIP, SEEN, TRUTH = VERMILION, AMBER, SKY
# Chapter -> column and row on the map, and its question in short.
CHAPTERS = {
    "1": (0, 0, "What are\nthe data?"),
    "2": (1, 0, "What do\nlosses want?"),
    "3": (2, 0, "When there is\nan answer?"),
    "4": (0, 1, "Which losses\nfind gaze?"),
    "5": (1, 1, "How much can\nbe known?"),
    "6": (2, 1, "Points, or\nframes?"),
    "7": (0, 2, "What should\nI use?"),
    "8": (1, 2, "Which claims\nstand?"),
    "A": (2, 2, "My own data,\nloss, network"),  # appendices
}
ROWS = ("The problem", "The results", "The answers")
HALF_AN_HOUR = ("4", "7")  # after chapter 0
PATHS = (
    "Half an hour: the filled boxes, 4 down to its table, 7 down to its\n"
    "drawing. An afternoon: 1 to 7 in order. 8 is for looking up."
)
# A made-up recording: x and y on the grid, and for how many frames gaze rests there.
FIXATIONS = ((5.5, 24.5, 3), (14.5, 8.5, 2), (25.5, 13.5, 4), (15.5, 20.5, 1))
STAGES = {
    "1  A recording": "fixations: x, y, duration",
    "2  On the grid": "pixels of 32 × 32",
    "3  Frames": "one every 100 ms,\none white pixel each",
    "4  Three parts": "no viewer and no picture\nin two of them",
    "5  Windows": "ten frames are seen,\nten are to be predicted",
    "6  A score": "map against true pixel:\nbits, px, 95% interval",
}
# The original SimVP from top to bottom, and the hybrid: stage, and the shape that leaves it.
SIMVP = (
    ("Encoder: each frame by itself", "10 × 64 × 8 × 8"),
    ("Translator: mixes the frames,\nstacked as 640 channels", "10 × 64 × 8 × 8"),
    ("Decoder: each frame by itself", "10 × 1 × 32 × 32"),
)
HYBRID = (
    ("Encoder: each frame by itself", "4 × 64 × 8 × 8"),
    ("Translator: mixes the frames,\nstacked as 256 channels", "4 × 64 × 8 × 8"),
    ("Newest time step, flattened", "4,096"),
    ("Head: MLP", "512, 256, 2"),
)


@figure("00_map")
def book_map() -> Figure:
    """The chapters in their order, from question to answer; what to read in half an hour is filled."""
    drawn, axes = _blank((6.0, 4.2), (-0.9, 5.4), (-0.55, 3.9))
    box(axes, (2.5, 3.55), (5.6, 0.55), "0  Start here: the findings, and how to run the book", **_look(True))
    for row, name in enumerate(ROWS):
        axes.text(-0.7, 2.55 - row, name, rotation=90, ha="center", va="center", fontsize=9, color=BASELINE_COLOR)
    places = {chapter: (0.55 + 1.95 * column, 2.55 - row) for chapter, (column, row, _) in CHAPTERS.items()}
    for chapter, (x, y) in places.items():
        box(axes, (x, y), (1.7, 0.68), **_look(chapter in HALF_AN_HOUR))
        axes.text(x - 0.75, y, chapter, va="center", weight="bold", fontsize=13, color=BLUE, zorder=3)
        axes.text(x - 0.45, y, CHAPTERS[chapter][2], va="center", fontsize=9, zorder=3)
    for (x, y), (to_x, to_y) in zip(list(places.values()), list(places.values())[1:]):
        if y == to_y:
            arrow(axes, (x + 0.85, y), (to_x - 0.85, y))
        else:  # to the next row
            axes.plot([x, x, to_x, to_x], [y - 0.34, y - 0.5, y - 0.5, y - 0.5], color=BASELINE_COLOR, lw=1)
            arrow(axes, (to_x, y - 0.5), (to_x, to_y + 0.34))
    axes.text(-0.3, -0.25, PATHS, fontsize=9, va="center")
    return drawn


@figure("00_data")
def from_recording_to_score() -> Figure:
    """Six stages: a recording, its points on the grid, its frames, the parts, a window, and what is scored."""
    drawn, panels = plt.subplots(2, 3, figsize=(6.6, 5.0))
    (recording, grid, frames), (parts, window, score) = panels
    for axes, (title, below) in zip(panels.flat, STAGES.items()):
        image_axes(axes, title).set(xlabel=below, aspect="equal")
    x, y, rest = np.array(FIXATIONS).T
    for axes in (recording, grid):
        axes.set(xlim=(0, 32), ylim=(32, 0))
    recording.plot(x, y, "-", color=BLUE, lw=1)
    recording.scatter(x, y, 50 * rest, color=BLUE)
    grid.set_facecolor("black")
    grid.plot(x, y, "s", color="white", ms=3)
    for axes in (frames, parts, window):
        axes.set(xlim=(0, 1), ylim=(0, 1))
    for number, point in enumerate(np.repeat(np.column_stack([x, y]), rest.astype(int), axis=0)):
        _frame(frames, (0.1 + 0.2 * (number % 5), 0.65 - 0.3 * (number // 5)), 0.18, point)
    for low, high, name in ((0.0, 0.55, "train"), (0.55, 0.75, "val"), (0.75, 1.0, "test")):
        parts.add_patch(plt.Rectangle((low, 1 - high), high - low, high - low, color=BLUE))
        parts.text((low + high) / 2, 1 - (low + high) / 2, name, ha="center", va="center", color="white", fontsize=8)
    parts.text(0.98, 0.96, "pictures →", ha="right", va="top", fontsize=9)
    parts.text(0.03, 0.04, "↓ viewers", fontsize=9)
    for number in range(20):
        corner, color = ((number % 10) / 10, 0.6 - 0.35 * (number // 10)), SEEN if number < 10 else TRUTH
        window.add_patch(plt.Rectangle(corner, 0.1, 0.15, facecolor=color, edgecolor="white"))
    rows, columns = np.indices((32, 32))
    score.imshow(np.exp(-((columns - 20) ** 2 + (rows - 14) ** 2) / 40), vmax=1.3)
    score.plot(24, 12, "o", mfc="none", mec=TRUTH, ms=10, mew=1.6)
    return drawn


@figure("03_simvp")
def simvp() -> Figure:
    """The original SimVP, the shape that leaves each stage, and the skip, from frame k seen to frame k predicted."""
    drawn, axes = _blank((6.6, 5.2), (-0.2, 13.6), (-0.7, 9.4))
    path = np.linspace((4, 27), (28, 6), 10)
    for number, point in enumerate(path):
        centre = 0.5 + number
        _frame(axes, (centre, 8.1), 0.86, point)
        _frame(axes, (centre, 0.7), 0.86, point, SKIP)
        axes.text(centre, 8.7, f"{number + 1}", ha="center", fontsize=8)
        axes.text(centre, 0.05, f"{number + 1}", ha="center", va="top", fontsize=8)
        arrow(axes, (centre, 6.2), (centre, 2.75), color=SKIP)
        arrow(axes, (centre, 7.6), (centre, 7.0))
        arrow(axes, (centre, 1.85), (centre, 1.2))
    for (text, shape), y, (width, height) in zip(SIMVP, (6.55, 4.5, 2.3), ((10, 0.8), (5.4, 1.1), (10, 0.8))):
        box(axes, (5, y), (width, height), text, facecolor="#EAF1F8", edgecolor=BLUE)
        axes.text(10.3, y, shape, va="center", fontsize=9)
    for start, end in ((6.15, 5.05), (3.95, 2.7)):
        arrow(axes, (5, start), (5, end), color=BLUE, lw=2.5)
    axes.text(10.3, 8.1, "10 × 1 × 32 × 32", va="center", fontsize=9)
    axes.text(5, 9.1, "frames seen, the last is now", ha="center", fontsize=9)
    axes.text(5, -0.6, "frames predicted, the first is 100 ms ahead", ha="center", fontsize=9)
    axes.text(10.3, 5.6, "skip: 10 × 64 × 32 × 32,\nfrom k to k, 1 s apart", va="center", fontsize=9, color=SKIP)
    return drawn


@figure("06_hybrid")
def hybrid() -> Figure:
    """The original hybrid, the shape that leaves each stage, and, dotted, the part of SimVP that it does without."""
    drawn, axes = _blank((6.6, 4.6), (0.6, 12.0), (-0.1, 7.5))
    purple = color_of("hybrid_l1")
    for number, point in enumerate(np.linspace((8, 22), (24, 10), 4)):
        _frame(axes, (2 + number, 7.0), 0.86, point)
    axes.text(5.8, 7.0, "4 × 1 × 32 × 32", va="center", fontsize=9)
    for (text, shape), y in zip(HYBRID, (5.6, 4.2, 2.8, 1.4)):
        arrow(axes, (3.5, y + 0.9), (3.5, y + 0.45), color="black")
        box(axes, (3.5, y), (5.4, 0.85), text, facecolor=f"{purple}22", edgecolor=purple)
        axes.text(3.7, y - 0.68, shape, va="center", fontsize=9)
    arrow(axes, (3.5, 0.97), (3.5, 0.45), color="black")
    axes.text(3.5, 0.1, "(x, y)", ha="center", fontsize=10, weight="bold")
    gone = dict(linestyle=":", color=BASELINE_COLOR)
    box(axes, (10.4, 4.2), (2.6, 0.85), "Decoder", linestyle=":")
    arrow(axes, (6.2, 4.2), (9.1, 4.2), **gone)
    arrow(axes, (6.2, 5.6), (10.4, 4.62), connectionstyle="angle,angleA=0,angleB=90,rad=6", **gone)
    arrow(axes, (10.4, 3.77), (10.4, 3.0), **gone)
    for at, text in (
        ((8.4, 5.72), "skip: 64 × 32 × 32"),
        ((10.4, 2.7), "a frame"),
        ((10.4, 6.7), "Not in the hybrid:"),
    ):
        axes.text(*at, text, ha="center", fontsize=9, color=BASELINE_COLOR)
    return drawn


def _blank(size: tuple[float, float], x: tuple[float, float], y: tuple[float, float]) -> tuple[Figure, Axes]:
    drawn, axes = plt.subplots(figsize=size)
    axes.set(xlim=x, ylim=y)
    axes.set_axis_off()
    return drawn, axes


def _look(filled: bool) -> dict[str, str]:
    return dict(facecolor="#D6E6F4" if filled else "white", edgecolor=BLUE)


def _frame(axes: Axes, at: tuple[float, float], side: float, point: np.ndarray, color: str = "white") -> None:
    """A black square at that centre, with a pixel where a point (x, y) of the grid falls; larger than true to scale."""
    corner = np.array(at) - side / 2
    axes.add_patch(plt.Rectangle(corner, side, side, facecolor="black", edgecolor=GREY, lw=0.5, zorder=2))
    pixel = corner + side * np.array([point[0], 32 - point[1]]) / 32 - 0.06 * side
    axes.add_patch(plt.Rectangle(pixel, 0.12 * side, 0.12 * side, color=color, lw=0, zorder=2))
