"""The explorer of chapter 2: what an output costs on average under each loss, and which output costs least."""

import re

import altair as alt

from fixlib.explorers import ACCENT, FAINT, INK, WIDTH, Explorer, menu, slider
from fixlib.plots import BLUE

# What an output p costs where the pixel is white, and where it is black, as Vega (and Python) reads it. Dice belongs to
# a frame: here all other pixels are black. The composite's distance is chapter 1's mean saccade.
FOCAL = ("-alpha * pow(1 - p, gamma) * log(p)", "-(1 - alpha) * pow(p, gamma) * log(1 - p)")
SPARSITY = ("pow(1 - p, 2) + lambda_ * p", "pow(p, 2) + lambda_ * p")
AWAY = 6.4  # px
FORMULAS = {
    "MSE": ("pow(1 - p, 2)", "pow(p, 2)"),
    "BCE": ("-log(p)", "-log(1 - p)"),
    "focal": FOCAL,
    "sparsity (MSE + L1)": SPARSITY,
    "weighted MSE": ("pos_weight * pow(1 - p, 2)", "pow(p, 2)"),
    "Dice": (
        "1 - (2 * p + pow(10, smooth)) / (p + 1 + pow(10, smooth))",
        "1 - pow(10, smooth) / (p + 1 + pow(10, smooth))",
    ),
    "composite": (
        f"{FOCAL[0]} + 0.8 * ({SPARSITY[0]})",
        f"{FOCAL[1]} + 0.8 * ({SPARSITY[1]}) + 1.5 * {AWAY**2:.2f} * p",
    ),
}
CONTROLS = (
    menu("loss", "loss", list(FORMULAS)),
    slider("eta", "eta (true probability)", 0, 1, 0.01, 0.3),
    slider("alpha", "alpha (focal, composite)", 0, 1, 0.05, 0.25),
    slider("gamma", "gamma (focal, composite)", 0, 5, 0.5, 2),
    slider("pos_weight", "white's weight (weighted MSE)", 1, 200, 1, 100),
    slider("lambda_", "lambda (sparsity, composite)", 0, 1, 0.01, 1),
    slider("smooth", "log10 of smoothing (Dice)", -5, 1, 0.5, -5),
)
STEP = 0.001  # between two outputs that are tried, from 0.001 to 0.999


def loss_explorer() -> Explorer:
    """The mean cost of every output p of a pixel that is white with probability eta, the cheapest output marked."""
    cost = "0"
    for name, (white, black) in FORMULAS.items():
        cost = f"loss == '{name}' ? eta * ({white}) + (1 - eta) * ({black}) : {cost}"
    tried = alt.Chart(alt.sequence(STEP, 1, STEP, as_="p")).transform_calculate(cost=re.sub(r"\bp\b", "datum.p", cost))
    best = (
        tried.transform_aggregate(best="argmin(cost)")
        .transform_calculate(p="datum.best.p", cost="datum.best.cost", white=f"datum.best.p > 0.5 + {STEP} / 2")
        .transform_calculate(
            said="'cheapest: p = ' + format(datum.p, '.2f') + (datum.white ? ', called white' : ', not called white')"
        )
    )
    p = alt.X("p:Q", title="output p of the pixel", scale=alt.Scale(domain=[0, 1]))
    height = alt.Y("cost:Q", title="mean cost", scale=alt.Scale(zero=False))
    color = alt.condition("datum.white", alt.value(ACCENT), alt.value(INK))
    half = alt.Chart().mark_rule(color=FAINT, strokeDash=[4, 3]).encode(x=alt.datum(0.5, type="quantitative"))
    curve = tried.mark_line(color=BLUE, strokeWidth=2.5).encode(x=p, y=height)
    mark = best.mark_point(size=110, filled=True, opacity=1).encode(x=p, y=height, color=color)
    said = best.mark_text(align="left", fontSize=14, fontWeight="bold").encode(
        x=alt.value(0), y=alt.value(-12), text="said:N", color=color
    )
    return Explorer(alt.layer(half, curve, mark, said, width=WIDTH, height=220).add_params(*CONTROLS))
