"""The explorer of chapter 3: one lattice path with more and more noise, what can be known of its next pixel, and what
the best output under each loss can reach."""

from itertools import product

import altair as alt
import numpy as np
import pandas as pd

from fixlib.chapters.predictable_motion.runs import N_IN
from fixlib.chapters.predictable_motion.tables import exact_score, noises
from fixlib.data.lattice import lattice_density, lattice_paths
from fixlib.explorers import ACCENT, FAINT, Explorer, as_text, black, in_grid, picture, slider
from fixlib.plots import AMBER, SKY, color_of, name_of
from fixlib.runs.study import Study

PATH, SIDE = 2900, 144  # its number in `lattice_paths`; px of a picture
LOSSES = ("weighted_mse", "mse", "focal")
NOW = "abs(datum.noise - noise) < 0.01"


def noise_explorer(study: Study) -> Explorer:
    """Ten frames of one path, the exact density of the pixel after them, and the best possible recall at 0.5, by noise.

    `study`: runs of `predictable_motion`, for what is exact on all test windows.
    """
    size = study.run("exact.noise0").spec.config.data.size
    frames, maps = _seen_and_known(noises(study), size)
    each = list(product(noises(study), LOSSES))
    reach = pd.DataFrame([(noise, name_of(loss)) for noise, loss in each], columns=["noise", "loss"])
    best = [exact_score(study, loss, "white_pixel_recall", noise)["value"] for noise, loss in each]
    reach["recall"] = np.round(best, 3)
    chosen = slider("noise", "noise", 0, 1, 0.1, 0)
    pictures = alt.hconcat(_frames(frames, size), _density(maps, size), spacing=10)
    return Explorer(alt.vconcat(pictures, _reach(reach), spacing=8).add_params(chosen))


def _seen_and_known(levels: list[float], size: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The pixel seen, a row for each noise and frame; and the density of the next one as text, a row for each noise.

    The more noise there is, the more frames it takes; those that it took it keeps.
    """
    paths, generator = lattice_paths(size, N_IN + 1), np.random.default_rng(0)
    chance, anywhere = generator.random(N_IN), generator.integers(0, size**2, N_IN)
    frames, maps = [], []
    for noise in levels:
        replaced = chance < noise
        seen = np.where(replaced, anywhere, paths.pixels[PATH, :N_IN])
        density = lattice_density(paths, seen[None], noise)[0]  # (1, H, W)
        peak = density.max().item()
        frames += [
            dict(noise=noise, frame=frame, x=pixel % size + 0.5, y=pixel // size + 0.5, replaced=bool(noisy))
            for frame, (pixel, noisy) in enumerate(zip(seen.tolist(), replaced))
        ]
        # Square roots, so that what is dim can be seen.
        text = as_text((density / peak).sqrt())[0]
        maps.append(dict(noise=noise, text=text, peak=round(peak, 3), next=int(paths.pixels[PATH, N_IN])))
    return pd.DataFrame(frames), pd.DataFrame(maps)


def _frames(frames: pd.DataFrame, size: int) -> alt.LayerChart:
    color = alt.Fill("replaced:N", scale=alt.Scale(domain=[False, True], range=["white", AMBER]), legend=None)
    marks = (
        alt.Chart(frames)
        .transform_filter(NOW)
        .mark_square(size=70)
        .encode(
            **in_grid(size), fill=color, opacity=alt.Opacity("frame:Q", scale=alt.Scale(range=[0.35, 1]), legend=None)
        )
    )
    return alt.layer(black(SIDE), marks, width=SIDE, height=SIDE, title="orange: noise")


def _density(maps: pd.DataFrame, size: int) -> alt.LayerChart:
    """The density stretched to its peak, and where the path goes."""
    now = alt.Chart(maps).transform_filter(NOW)
    shade = alt.Fill("level:Q", scale=alt.Scale(domain=[0, 1], range=["black", "white"]), legend=None)
    ring = now.transform_calculate(x=f"datum.next % {size} + 0.5", y=f"floor(datum.next / {size}) + 0.5")
    said = now.transform_calculate(said="'likeliest pixel: ' + format(datum.peak, '.2f')").mark_text(
        align="left", fontSize=12, fontWeight="bold", color=ACCENT
    )
    return alt.layer(
        picture(now, size, SIDE, shade),
        ring.mark_point(size=140, color=SKY, strokeWidth=2, opacity=1).encode(**in_grid(size)),
        said.encode(x=alt.value(2), y=alt.value(SIDE + 12), text="said:N"),
        width=SIDE,
        height=SIDE,
        title="next; ring: the path",
    )


def _reach(reach: pd.DataFrame) -> alt.LayerChart:
    """Nobody's recall at 0.5 can be higher, who does what the loss asks for."""
    named = alt.Legend(title=None, orient="top")
    scale = alt.Scale(domain=[name_of(loss) for loss in LOSSES], range=[color_of(loss) for loss in LOSSES])
    place = dict(
        x=alt.X("noise:Q", axis=alt.Axis(grid=False, values=[0, 0.2, 0.4, 0.6, 0.8, 1])),
        y=alt.Y("recall:Q", title="best possible recall", axis=alt.Axis(values=[0, 0.5, 1])),
        color=alt.Color("loss:N", scale=scale, legend=named),
    )
    here = alt.Chart(reach).transform_filter(NOW)
    return alt.layer(
        here.mark_rule(color=FAINT).encode(x="noise:Q"),
        alt.Chart(reach).mark_line(strokeWidth=2).encode(**place),
        here.mark_point(filled=True, size=100, opacity=1).encode(**place),
        width=2 * SIDE + 10,
        height=110,
    )
