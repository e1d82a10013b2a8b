"""What all explorers share: charts with sliders, which move in JupyterLab and in the site without a kernel or a server.

An explorer is an Altair chart with parameters that sliders and menus are bound to. It is handed to the notebook as
Vega-Lite, which JupyterLab draws by itself; the site draws it with a script of its own (`script`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from torch import Tensor

from fixlib.plots import GREY, VERMILION

if TYPE_CHECKING:
    import altair as alt
    from nbformat import NotebookNode

MIME = "application/vnd.vegalite.v5+json"
WIDTH = 320  # px, of what fills a phone beside its axis
INK, FAINT, ACCENT = "#222222", GREY, VERMILION
# All colors are told, on white: readers in the dark get the same picture.
LOOK: dict[str, Any] = dict(
    background="white",
    view=dict(stroke=None),
    axis=dict(labelColor=INK, titleColor=INK, domainColor=FAINT, tickColor=FAINT, gridColor="#E5E5E5")
    | dict(labelFontSize=11, titleFontSize=12, titleFontWeight="normal"),
    title=dict(color=INK, subtitleColor=FAINT, anchor="start", fontSize=13, fontWeight="normal"),
    legend=dict(labelColor=INK, titleColor=INK, labelFontSize=12, titleFontWeight="normal"),
    text=dict(color=INK, fontSize=12),
)
LEVELS = "0123456789ABCDEFGHIJKLMNOPQRSTUV"  # of brightness, one character a pixel; 32, as recorded maps have
_DRAW = """
for (const place of document.querySelectorAll(".explorer")) {
  const spec = JSON.parse(place.querySelector("script").textContent);
  vegaEmbed(place, spec, {actions: false, renderer: "svg"}).then(shown => { place.view = shown.view; });
}
"""


@dataclass(frozen=True)
class Explorer:
    """A chart to play with, as a notebook shows it."""

    chart: alt.TopLevelMixin

    @property
    def spec(self) -> dict[str, Any]:
        """The chart as Vega-Lite, in the book's look."""
        return self.chart.to_dict() | dict(config=LOOK)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        text = "A chart with sliders. It moves where this chapter is opened in JupyterLab, and in the site."
        return {MIME: self.spec, "text/plain": text}


def slider(name: str, label: str, lowest: float, highest: float, step: float, value: float) -> alt.Parameter:
    """A parameter of a chart that the reader moves; expressions call it by its name."""
    import altair as alt

    return alt.param(name, value=value, bind=alt.binding_range(min=lowest, max=highest, step=step, name=f"{label} "))


def menu(name: str, label: str, options: Sequence[str]) -> alt.Parameter:
    """A parameter that is one of several texts, the first to begin with."""
    import altair as alt

    return alt.param(name, value=options[0], bind=alt.binding_select(options=list(options), name=f"{label} "))


def as_text(maps: Tensor) -> list[str]:
    """Maps (N, H, W) with values in [0, 1] as texts of one character a pixel, row by row (see `picture`)."""
    levels = (maps.clamp(0, 1) * (len(LEVELS) - 1)).round().long()
    return ["".join(LEVELS[level] for level in row) for row in levels.flatten(1).tolist()]


def picture(chart: alt.Chart, size: int, side: int, shade: Any) -> alt.LayerChart:
    """The map that the one row of a chart has as `text`, `side` px wide; `shade` makes a color of `level`, 0 to 1.

    Black pixels are left to the background, and the others stay when the map changes (`key`): a browser needs most of
    its time for what it has to make anew.
    """
    import altair as alt

    letters = chart.transform_calculate(letter="split(datum.text, '')", pixel=f"sequence({size**2})")
    pixels = letters.transform_flatten(["letter", "pixel"]).transform_calculate(
        level=f"indexof('{LEVELS}', datum.letter) / {len(LEVELS) - 1}"
    )
    lit = pixels.transform_filter("datum.level > 0").transform_calculate(
        x=f"datum.pixel % {size}",
        y=f"floor(datum.pixel / {size})",
        x1=f"datum.pixel % {size} + 1",
        y1=f"floor(datum.pixel / {size}) + 1",
    )
    place = dict(x2="x1", y2="y1", key="pixel:Q")
    return alt.layer(black(side), lit.mark_rect(stroke=None).encode(**in_grid(size), **place, fill=shade))


def black(side: int) -> alt.Chart:
    """What pictures of the grid are drawn on, `side` px wide."""
    import altair as alt

    corners = dict(x=alt.value(0), x2=alt.value(side), y=alt.value(0), y2=alt.value(side))
    return alt.Chart().mark_rect(color="black").encode(**corners)


def in_grid(size: int) -> dict[str, Any]:
    """Where a mark with its place in the fields x and y stands in a picture of the grid, px, y downwards."""
    import altair as alt

    look = dict(axis=None, type="quantitative")
    across, down = (alt.Scale(domain=ends, nice=False) for ends in ([0, size], [size, 0]))
    return dict(x=alt.X("x", scale=across, **look), y=alt.Y("y", scale=down, **look))


def as_html(chapter: NotebookNode, loaded: str) -> NotebookNode:
    """The chapter, its explorers as HTML; `loaded`, below the last of them, is the tag that brings `script`."""
    shown = [output for cell in chapter.cells for output in cell.get("outputs", []) if MIME in output.get("data", {})]
    for output in shown:
        spec = json.dumps(output.data[MIME]).replace("</", r"<\/")
        html = f'<div class="explorer"><script type="application/json">{spec}</script></div>'
        output.data = {"text/html": html + (loaded if output is shown[-1] else "")}
    return chapter


@cache
def script() -> str:
    """The JavaScript that draws every explorer of a page: Vega itself, which is asked of nobody, and a few lines."""
    import vl_convert

    bundle = vl_convert.javascript_bundle(_DRAW, vl_version="5.20")
    return f"(() => {{\n{bundle}\n}})();"  # its names in a scope of their own: pages of Sphinx have a `_`, too
