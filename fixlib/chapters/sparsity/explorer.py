"""The explorer of chapter 1: the same scanpath and the same gaze at 1 to 60 frames per second."""

import altair as alt
import pandas as pd

from fixlib.chapters.sparsity.runs import WINDOW, steps
from fixlib.data import Scanpaths
from fixlib.explorers import ACCENT, WIDTH, Explorer, slider
from fixlib.plots import AMBER, BLUE

RATES_HZ = range(1, 61)
ACROSS = 5  # frames side by side
GAP = 2  # px between them


def frame_rate_explorer(scanpaths: Scanpaths, number: int = 0) -> Explorer:
    """The first ten frames of one scanpath, and how often and how far gaze moves from frame to frame, at every rate.

    Args:
        scanpaths: with durations; about a thousand take two seconds.
        number: which of them is drawn, counted from 0.
    """
    size, frames, moves = scanpaths.size, [], []
    for rate in RATES_HZ:
        gaze = scanpaths.frames(rate)
        both, same, step = steps(gaze)
        moves.append([rate, *(round(float(each[both].double().mean()), 4) for each in (same, step.norm(dim=-1)))])
        shown = gaze.coordinates[number, :WINDOW][gaze.fixation_mask[number, :WINDOW]].long().tolist()
        frames += [[rate, frame, x, y] for frame, (x, y) in enumerate(shown)]
    moves = pd.DataFrame(moves, columns=["rate", "stays", "error"])
    first = pd.DataFrame(frames, columns=["rate", "frame", "x", "y"])
    moved = first.groupby("rate")[["x", "y"]].diff().abs().sum(axis=1) > 0
    chosen = slider("rate", "frames per second", min(RATES_HZ), max(RATES_HZ), 1, 10)
    charts = [
        _frames(first.assign(moved=moved), size, scanpaths.source.label),
        _by_rate(moves, "stays", "% that stay", "100 * datum.stays", "format(datum.value, '.0f') + '% stay'"),
        _by_rate(moves, "error", "error of repeating (px)", "datum.error", "format(datum.value, '.1f') + ' px'"),
    ]
    return Explorer(alt.vconcat(*charts, spacing=12).add_params(chosen))


def _frames(first: pd.DataFrame, size: int, data: str) -> alt.LayerChart:
    """Ten black squares, each with its pixel: white where it stays, colored where it has moved."""
    side, down = size + GAP, -(-WINDOW // ACROSS)
    left, top = f"{side} * (datum.frame % {ACROSS})", f"{side} * floor(datum.frame / {ACROSS})"
    bare = dict(axis=None)
    across = alt.Scale(domain=[0, ACROSS * side - GAP], nice=False)
    downwards = alt.Scale(domain=[down * side - GAP, 0], nice=False)

    def squares(chart: alt.Chart, x: str, y: str, width: int) -> alt.Chart:
        corners = dict(left=x, top=y, right=f"{x} + {width}", bottom=f"{y} + {width}")
        return chart.transform_calculate(**corners).encode(
            x=alt.X("left:Q", scale=across, **bare),
            x2="right:Q",
            y=alt.Y("top:Q", scale=downwards, **bare),
            y2="bottom:Q",
        )

    black = squares(alt.Chart(alt.sequence(WINDOW, as_="frame")).mark_rect(color="black"), left, top, size)
    pixels = alt.Chart(first).transform_filter("datum.rate == rate")
    pixels = squares(pixels.mark_rect(stroke=None), f"{left} + datum.x - 0.5", f"{top} + datum.y - 0.5", 2)
    color = alt.Color("moved:N", scale=alt.Scale(domain=[False, True], range=["white", AMBER]), legend=None)
    text = "'one frame every ' + format(1000 / rate, '.0f') + ' ms; orange: it has moved'"
    return alt.layer(
        black,
        pixels.encode(color=color),
        title=alt.Title(alt.expr(text), subtitle=f"data: {data}"),
        width=WIDTH,
        height=round(WIDTH * (down * side - GAP) / (ACROSS * side - GAP)),
    )


def _by_rate(moves: pd.DataFrame, name: str, title: str, value: str, said: str) -> alt.LayerChart:
    """A number of every rate as a curve, and of the chosen one as a dot."""
    curve = alt.Chart(moves[["rate", name]]).transform_calculate(
        value=value, said=said.replace("datum.value", f"({value})")
    )
    x = alt.X("rate:Q", title="frames per second", scale=alt.Scale(type="log", domain=[1, 60]))
    place = dict(x=x.axis(values=[1, 2, 5, 10, 20, 60], grid=False), y=alt.Y("value:Q", title=title))
    here = curve.transform_filter("datum.rate == rate").encode(**place)
    look = dict(align="left", fontSize=14, fontWeight="bold", color=ACCENT)
    return alt.layer(
        curve.mark_line(color=BLUE, strokeWidth=2).encode(**place),
        here.mark_point(filled=True, size=110, opacity=1, color=ACCENT),
        here.mark_text(**look).encode(x=alt.value(5), y=alt.value(-6), text="said:N"),
        width=WIDTH,
        height=110,
    )
