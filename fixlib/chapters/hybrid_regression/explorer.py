"""The explorer of chapter 6: one map, the three points it can be turned into, and the error of each."""

import altair as alt
import numpy as np
import pandas as pd
import torch

from fixlib.explorers import INK, Explorer, as_text, in_grid, picture, slider
from fixlib.grid import decode_argmax, decode_mean, decode_median
from fixlib.plots import SKY, VERMILION

SIZE, SIDE = 32, 320
DECODERS = {
    "brightest pixel": (decode_argmax, "#F0E442"),
    "mean": (decode_mean, VERMILION),
    "geometric median": (decode_median, SKY),
}
# Gaze is about to stay, or to leave for a wider place: center (x, y) and spread, px.
STAYS, LEAVES = ((8.5, 20.5), 0.8), ((23.5, 10.5), 3.0)
SHARES = np.arange(0, 21) / 20


def maps(share: np.ndarray) -> torch.Tensor:
    """The densities (N, H, W) of gaze that leaves with the probabilities `share` (N,)."""
    parts = torch.stack([_spot(*STAYS), _spot(*LEAVES)])
    weights = torch.from_numpy(np.stack([1 - share, share], axis=1))
    return torch.einsum("np,phw->nhw", weights, parts)


def decoder_explorer() -> Explorer:
    """A map of two places, and the three points that it can be turned into, as the second place becomes likelier."""
    density = maps(SHARES)
    middles = torch.stack(torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="xy"), dim=-1) + 0.5
    rows = []
    for name, (decode, _) in DECODERS.items():
        points = decode(density).double()  # (N, 2)
        distance = (middles - points[:, None, None]).norm(dim=-1)
        error = (density * distance).sum((1, 2))
        near = (density * (distance < 1.01)).sum((1, 2))
        for share, (x, y), px, hit in zip(SHARES, points.tolist(), error.tolist(), near.tolist()):
            rows.append(dict(share=share, point=name, x=round(x, 2), y=round(y, 2), px=round(px, 2), hit=round(hit, 2)))
    # Square roots, so that the wide place can be seen beside the narrow one.
    shades = (density / density.amax((1, 2), keepdim=True)).sqrt()
    shown = pd.DataFrame(dict(share=SHARES, text=as_text(shades)))
    chosen = slider("share", "chance that gaze leaves", 0, 1, 0.05, 0.4)
    return Explorer(alt.vconcat(_picture(shown, pd.DataFrame(rows)), _errors(pd.DataFrame(rows))).add_params(chosen))


def _spot(center: tuple[float, float], spread: float) -> torch.Tensor:
    """A round normal density on the grid, (H, W)."""
    x, y = (torch.exp(-((torch.arange(SIZE) + 0.5 - at) ** 2).double() / (2 * spread**2)) for at in center)
    return torch.outer(y, x) / (x.sum() * y.sum())


NOW = "abs(datum.share - share) < 0.01"
COLORS = alt.Scale(domain=list(DECODERS), range=[color for _, color in DECODERS.values()])


def _picture(maps: pd.DataFrame, points: pd.DataFrame) -> alt.LayerChart:
    named = alt.Legend(title=None, orient="top")
    shade = alt.Fill("level:Q", scale=alt.Scale(domain=[0, 1], range=["black", "white"]), legend=None)
    marks = alt.Chart(points).transform_filter(NOW).mark_point(size=160, strokeWidth=3, opacity=1)
    layers = (
        picture(alt.Chart(maps).transform_filter(NOW), SIZE, SIDE, shade),
        marks.encode(
            **in_grid(SIZE),
            color=alt.Color("point:N", scale=COLORS, legend=named),
            shape=alt.Shape("point:N", scale=alt.Scale(domain=list(DECODERS)), legend=named),
        ),
    )
    return alt.layer(*layers, width=SIDE, height=SIDE)


def _errors(points: pd.DataFrame) -> alt.LayerChart:
    """The mean error of each point under the map, and the chance that gaze is within a pixel of it."""
    now = alt.Chart(points).transform_filter(NOW)
    said = "format(datum.px, '.1f') + ' px; within 1 px: ' + format(datum.hit, '.0%')"
    name = alt.Y("point:N", title=None, sort=list(DECODERS), axis=alt.Axis(labels=False, ticks=False, domain=False))
    long = alt.X("px:Q", title="mean error (px)", scale=alt.Scale(domain=[0, 30]), axis=alt.Axis(tickCount=5))
    bars = now.mark_bar(height=14).encode(y=name, x=long, color=alt.Color("point:N", scale=COLORS))
    text = now.transform_calculate(said=said).mark_text(align="left", dx=5, fontSize=11, color=INK)
    return alt.layer(bars, text.encode(y=name, x=long, text="said:N"), width=SIDE, height=66)
