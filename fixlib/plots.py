"""What all figures and tables share: the style, names and colors, dot plots, the note of where the data come from.

A figure is a function that draws from a study (`fixlib.runs.Study`), registered where it stands, so that `fixlib
figures` finds it. It is drawn, and saved, in the book's style; nothing process-wide is changed.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from html import escape
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

STYLE = Path(__file__).with_name("fixlib.mplstyle")
# The colors that marks share (Okabe and Ito's), each told here and nowhere else.
BLUE, VERMILION, AMBER, SKY, PINK, GREY = "#0072B2", "#D55E00", "#E69F00", "#56B4E9", "#CC79A7", "#777777"
BASELINE_COLOR, OPTIMUM_COLOR = GREY, AMBER
# Each predictor's name in the middle of a sentence, and its color (Okabe and Ito's, and Tol's), the same everywhere.
PREDICTORS = {
    "mse": ("MSE", "#000000"),
    "focal": ("focal", BLUE),
    "sparsity": ("sparsity (MSE + L1)", "#999999"),
    "concentration": ("concentration", PINK),
    "composite": ("composite", SKY),
    "dice": ("Dice", "#009E73"),
    "weighted_mse": ("weighted MSE", VERMILION),
    "dice_smooth_1": ("Dice, smooth 1", "#009E73"),
    "bce": ("BCE", "#661100"),
    "softmax_cross_entropy": ("softmax cross-entropy", "#882255"),
    "tversky": ("Tversky", "#44AA99"),
    "focal_tversky": ("focal Tversky", "#117733"),
    "soft_argmax": ("soft-argmax", "#AA3377"),
    "mixture": ("mixture of Gaussians", "#DDCC77"),
    "hybrid_l1": ("hybrid, L1", "#6A3FD1"),
    "hybrid_mse": ("hybrid, MSE", "#B48EF0"),
    "gru_l1": ("GRU on points, L1", "#999933"),
    "density_gru": ("GRU, density", "#332288"),
    "density_transformer": ("Transformer, density", "#88CCEE"),
    "density_mlp": ("no recurrence, density", "#AA4499"),
    "other_viewers": ("other viewers of the picture", "#CC6677"),
    "knows_path": ("knows the path", "#BBBBBB"),
    "black": ("all black", BASELINE_COLOR),
    "repeat_last": ("repeat last pixel", BASELINE_COLOR),
    "repeat_last_subpixel": ("repeat last point, sub-pixel", BASELINE_COLOR),
    "hold_then_prior": ("hold, then the prior", BASELINE_COLOR),
    "centre_bias": ("centre bias (density)", BASELINE_COLOR),
}
ENDS = re.compile(r"(\[[-+−\d.%]+,) (?=[-+−\d.%]+\])")  # of an interval: they stay on one line
# Baselines share a grey; the two that any error should be held against are told apart by their lines.
LINES = {"repeat_last": "--", "centre": ":"}


@dataclass(frozen=True)
class Drawing:
    """A registered figure: how it is drawn, the experiment that it shows ("" for pure theory), and of which runs."""

    draw: Callable[..., Figure]
    experiment: str
    choices: dict[str, Any]


FIGURES: dict[str, Drawing] = {}  # by file name, in the order of definition


@contextmanager
def book_style() -> Iterator[None]:
    """What is drawn inside (or in a function so decorated) looks as the book does; its settings are set back after it.

    Only its own: matplotlib's context would set back what a notebook turns on with its first figure, too, and no figure
    after that would be shown.
    """
    style = dict(mpl.rc_params_from_file(STYLE, use_default_template=False))
    before = {name: mpl.rcParams[name] for name in style}
    mpl.rcParams.update(style)
    try:
        yield
    finally:
        mpl.rcParams.update(before)


def figure(name: str, of: str = "", **choices: Any) -> Callable[[Callable[..., Figure]], Callable[..., Figure]]:
    """Register a figure under its file's name; drawn in the book's style, with its data named in the corner.

    Args:
        of: the experiment whose study is the function's first argument; "" for pure theory, which takes none.
        choices: of the runs shown by `fixlib figures`, where they are not the default: dataset, profile, seeds.
    """

    def register(draw: Callable[..., Figure]) -> Callable[..., Figure]:
        @wraps(draw)
        @book_style()
        def drawn(*args: Any, **options: Any) -> Figure:
            made = draw(*args, **options)
            return stamp(made, args[0].label, args[0].simulated) if of else made

        FIGURES[name] = Drawing(drawn, of, choices)
        return drawn

    return register


def in_text(predictor: str) -> str:
    """A predictor's name in the middle of a sentence."""
    return PREDICTORS.get(predictor, (predictor.replace("_", " "), ""))[0]


def name_of(predictor: str) -> str:
    """A predictor's name as a label."""
    return in_text(predictor)[:1].upper() + in_text(predictor)[1:]


def listed(predictors: Iterable[str]) -> str:
    """Names in the middle of a sentence: "MSE, focal and Dice"; "none" where there are none."""
    *first, last = [in_text(name) for name in predictors] or ["none"]
    return f"{', '.join(first)} and {last}" if first else last


def say(text: str) -> None:
    """A paragraph of a notebook, in Markdown, whose numbers a cell has computed."""
    from IPython.display import Markdown, display  # there wherever a notebook runs, and nowhere else needed

    display(Markdown(text))


def color_of(predictor: str) -> str:
    """A predictor's color; baselines share a grey."""
    return PREDICTORS.get(predictor, ("", BASELINE_COLOR))[1]


def stamp(figure: Figure, label: str, simulated: bool) -> Figure:
    """Say in the figure's corner whose gaze it shows; in red capitals where it is nobody's."""
    text, color = (label.upper(), "#C00000") if simulated else (f"Data: {label}", GREY)
    figure.supxlabel(text, x=0.99, ha="right", fontsize=8, color=color, weight="bold" if simulated else "normal")
    return figure


@book_style()
def save(figure: Figure, folder: Path, name: str) -> list[Path]:
    """Write a figure as PNG and PDF, without dates, so that the same figure is the same file."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {folder / f"{name}.png": "Software", folder / f"{name}.pdf": "CreationDate"}
    for path, left_out in files.items():
        figure.savefig(path, metadata={left_out: None})
    return list(files)


@dataclass(frozen=True)
class Row:
    """A line of a dot plot; a heading where it has no numbers."""

    label: str
    color: str = "#000000"
    numbers: Sequence[dict[str, float]] = ()  # dict(value, low, high), one a seed
    best: float = np.nan  # the best possible value, drawn as an empty diamond below the dots; none where NaN
    text: str = ""  # written right of the dots; by default the mean
    marker: str = "o"  # of the dots
    hollow: bool = False


def dots(axes: Axes, rows: Sequence[Row], written: str = ".2f", shift: float = 0.0) -> None:
    """One line a row, from top to bottom: value and 95% interval of each seed, about the line.

    Args:
        written: how the mean is written beside the dots; "" for not at all.
        shift: how far above the middle of its line each row is drawn.
    """
    for height, row in zip(range(len(rows))[::-1], rows):
        offsets = shift + (np.linspace(0.22, -0.22, len(row.numbers)) if len(row.numbers) > 1 else np.zeros(1))
        for number, at in zip(row.numbers, height + offsets):
            axes.plot([number["low"], number["high"]], [at, at], color=row.color, lw=2, alpha=0.5)
            face = "white" if row.hollow else row.color
            axes.plot(number["value"], at, row.marker, color=row.color, mfc=face, ms=5)
        axes.plot(row.best, height - 0.28, "D", mfc="none", mec=OPTIMUM_COLOR, ms=5, mew=1.5)
        values = [number["value"] for number in row.numbers]
        drawn = np.array([row.best, *values, *(number["high"] for number in row.numbers)])
        if text := row.text or (f"{np.mean(values):{written}}" if written and np.isfinite(values).any() else ""):
            note(axes, text, (np.nanmax(drawn) if np.isfinite(drawn).any() else 0.0, height))
    axes.set(yticks=range(len(rows))[::-1], yticklabels=[row.label for row in rows], ylim=(-0.6, len(rows) - 0.4))
    for row, label in zip(rows, axes.get_yticklabels()):
        label.set(color=row.color, weight="normal" if row.numbers else "bold")
    axes.margins(x=0.14)
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labelsize=8)


def note(axes: Axes, text: str, at: tuple[float, float], offset: tuple[float, float] = (5, 0), **style: Any) -> None:
    """Text beside a point, `offset` from it in points of print; on white, since lines may run through it."""
    white = dict(facecolor="white", edgecolor="none", pad=0.6)
    look: dict[str, Any] = dict(fontsize=8, va="center", bbox=white) | style
    axes.annotate(text, at, offset, textcoords="offset points", **look)


def reference(axes: Axes, text: str, at: tuple[float, float], upright: bool = False, **style: Any) -> None:
    """A line across the axes, level or upright, through the point where its name is written.

    `style`: ls and color of the line; else of the text, which has the line's color.
    """
    color = style.setdefault("color", BASELINE_COLOR)
    line: dict[str, Any] = dict(lw=1, ls=style.pop("ls", ":"), color=color, zorder=0)
    axes.axvline(at[0], **line) if upright else axes.axhline(at[1], **line)
    axes.text(*at, text, **{"fontsize": 9, "va": "bottom", **style})


def only_ticks(axis: Axis, values: Sequence[float]) -> None:
    """Ticks at these values and no others, written in full: for logarithmic axes."""
    axis.set_ticks(values, [f"{value:g}" for value in values])
    axis.set_ticks([], minor=True)


def legend(where: Axes | Figure, lines: dict[str, dict[str, Any]], **place: Any) -> None:
    """A legend of lines and marks that need not be drawn: label -> how it looks."""
    where.legend(handles=[plt.Line2D([], [], label=label, **look) for label, look in lines.items()], **place)


def label_ends(axes: Axes, ends: Sequence[tuple[float, str, str]], last: float) -> None:
    """Name curves (end value, name, color) at their right end x = `last`, moved apart where they would overlap."""
    bottom, top = axes.get_ylim()
    gap = 0.055 * (top - bottom)
    ends = sorted(ends)
    heights = np.array([value for value, _, _ in ends], dtype=float)
    for _ in range(200):  # push neighbors apart, each half the way
        overlap = np.clip(gap - np.diff(heights), 0, None) / 2
        heights -= np.append(overlap, 0)
        heights += np.insert(overlap, 0, 0)
        heights += max(0, bottom + gap / 2 - heights[0])
    for height, (value, name, color) in zip(heights, ends):
        axes.plot([1.005 * last, 1.035 * last], [value, height], color=color, lw=0.5, clip_on=False)
        axes.text(1.04 * last, height, name, color=color, fontsize=8, va="center")


def image_axes(axes: Axes, title: str = "", black: int = 0) -> Axes:
    """Axes for a picture of a frame: no ticks, a thin frame; where marks are drawn on a black one, with its side."""
    axes.set(xticks=[], yticks=[], title=title)
    if black:
        axes.set(xlim=(-0.5, black - 0.5), ylim=(black - 0.5, -0.5), aspect="equal", facecolor="black")
    for side in axes.spines.values():
        side.set(visible=True, linewidth=0.5, color=GREY)
    return axes


def box(axes: Axes, at: tuple[float, float], size: tuple[float, float], text: str = "", **look: Any) -> None:
    """A rounded box of a drawing, `at` its centre, with its text. `look`: of the box, e.g. edgecolor, linestyle."""
    style: dict[str, Any] = dict(facecolor="white", edgecolor=BASELINE_COLOR, linewidth=1.2, zorder=2) | look
    corner, shape = (at[0] - size[0] / 2, at[1] - size[1] / 2), "round,pad=0,rounding_size=0.12"
    axes.add_patch(FancyBboxPatch(corner, *size, boxstyle=shape, **style))
    axes.text(*at, text, ha="center", va="center", fontsize=9, zorder=3)


def arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float], **look: Any) -> None:
    """An arrow of a drawing. `look`: e.g. color, linestyle, connectionstyle."""
    look = dict(arrowstyle="->", color=BASELINE_COLOR, shrinkA=0, shrinkB=0) | look
    axes.annotate("", end, start, arrowprops=look, zorder=1)


@dataclass(frozen=True)
class Table:
    """What a notebook shows of `table`: the same characters on every machine."""

    html: str
    text: str

    def _repr_html_(self) -> str:
        return self.html

    def __repr__(self) -> str:
        return self.text


def table(
    frame: pd.DataFrame, written: Mapping[str, str] = {}, best: Mapping[str, str] = {}, shown: Mapping[str, str] = {}
) -> Table:
    """A table as the book shows it: text left, numbers right, the best of a column in bold, "–" for what there is not.

    Args:
        frame: one row per thing, with its name in the index; the index's name heads the names.
        written: column -> the format of its numbers, e.g. {"error (px)": ".2f"}.
        best: column -> "min" or "max": which of its numbers is the best.
        shown: a cell's text -> the HTML that stands for it: a color, a link.

    Raises:
        ValueError: more than seven columns, or a cell of more than 60 characters: nobody reads those.
    """
    cells = pd.DataFrame({name: [_cell(value, written.get(name, "")) for value in frame[name]] for name in frame})
    cells.insert(0, frame.index.name or "", [str(name) for name in frame.index])
    if cells.shape[1] > 7 or cells.map(len).gt(60).any(axis=None):
        raise ValueError("a table has at most seven columns, and cells of at most 60 characters")
    right = [bool(column.str.match(r"[-+−]?[\d.]|[–∞]|$").all()) for _, column in cells.items()]
    marked = pd.DataFrame(False, cells.index, cells.columns)
    for name, which in best.items():
        numbers = frame[name].astype(float)
        marked[name] = cells[name] == _cell(getattr(numbers, which)(), written.get(name, ""))

    def row(tag: str, texts: Sequence[str], bold: Sequence[bool]) -> str:
        sides = ["right" if number else "left" for number in right]
        html = [shown.get(text, ENDS.sub(r"\1&nbsp;", escape(text))) for text in texts]
        html = [f"<b>{text}</b>" if best else text for text, best in zip(html, bold)]
        return "".join(f'<{tag} style="text-align: {side}">{text}</{tag}>' for side, text in zip(sides, html))

    head = row("th", list(cells), [False] * len(right))
    body = "\n".join(f"<tr>{row('td', list(cells.loc[i]), list(marked.loc[i]))}</tr>" for i in cells.index)
    html = f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>"
    return Table(html, cells.to_string(index=False))


def interval(number: Mapping[str, float], written: str = "+.2f") -> str:
    """A number with its 95% interval, as text: dict(value, low, high)."""
    value, low, high = (_cell(number[name], written) for name in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"


def _cell(value: Any, written: str) -> str:
    if isinstance(value, str):
        return value
    return "–" if value is None or np.isnan(value) else f"{value:{written}}".replace("-", "−")
