"""The explorer of chapter 4: recorded maps beside the truth, and what a threshold makes of them."""

from itertools import product
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import torch

from fixlib.explorers import ACCENT, WIDTH, Explorer, as_text, black, in_grid, menu, picture, slider
from fixlib.plots import GREY, OPTIMUM_COLOR, SKY, name_of
from fixlib.runs.store import Run
from fixlib.runs.study import Study

SHOWN = ("softmax_cross_entropy", "dice", "weighted_mse", "focal", "composite", "concentration", "mse", "dwell_table")
THRESHOLDS = np.arange(-50, 1) / 10  # powers of ten
SIDE = 160  # px, of a map: five for one
BRIGHTEST = 8 * 31  # in a recorded map
CHOSEN = "datum.predictor == predictor && datum.window == window && datum.ahead == ahead"


def prediction_browser(record: Study) -> Explorer:
    """The maps that runs keep of a few test windows: who, which window, how far ahead, and at which threshold.

    Precision and recall are counted in all kept maps of the predictor. A recorded map has 32 shades up to its peak.
    """
    runs = {name_of(name): record.run(name) for name in SHOWN}
    kept = record.run(SHOWN[0]).payload["examples"]
    windows = [str(1 + number) for number in range(len(kept["pixels"]))]
    ahead = [f"{100 * n} ms" for n in kept["horizons"]]
    maps = pd.DataFrame(
        dict(predictor=name, window=window, ahead=time, **found)
        for name, run in runs.items()
        for (window, time), found in zip(product(windows, ahead), _maps(run))
    )
    gaze = pd.DataFrame(
        dict(window=window, frame=frame, pixel=int(pixel))
        for window, pixels in zip(windows, kept["pixels"])
        for frame, pixel in enumerate(pixels[: kept["n_in"]])
    )
    scores = pd.DataFrame(dict(predictor=name, **score) for name, run in runs.items() for score in _scores(run))
    size = kept["maps"].shape[-1]
    controls = [
        menu("predictor", "predictor", list(runs)),
        menu("window", "test window", windows),
        menu("ahead", "time ahead", ahead),
        slider("threshold", "log10 of the threshold", THRESHOLDS[0], THRESHOLDS[-1], 0.1, -0.3),
    ]
    pictures = alt.hconcat(_map(maps, size), _truth(maps, gaze, size), spacing=10)
    return Explorer(alt.vconcat(pictures, _counts(maps, scores), spacing=6).add_params(*controls))


def _kept(run: Run) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Kept maps (K, H, W) up to 1, their peaks (K,), and the number of the true pixel in each (K,)."""
    kept = run.payload["examples"]
    white = kept["pixels"][:, [kept["n_in"] + ahead - 1 for ahead in kept["horizons"]]]
    maps = kept["maps"] / BRIGHTEST
    peaks = np.array([float(f"{peak:.3g}") for peak in kept["peaks"].ravel()])
    return maps.reshape(-1, *maps.shape[-2:]), peaks, white.ravel()


def _maps(run: Run) -> list[dict[str, Any]]:
    maps, peaks, white = _kept(run)
    recall, precision = (run.metrics[f"white_pixel_{score}"]["value"] for score in ("recall", "precision"))
    recorded = f"all test frames, p > 0.5: recall {recall:.2f}, precision {precision:.2f}"
    found = zip(as_text(torch.from_numpy(maps)), peaks.tolist(), white.tolist())
    return [dict(text=text, peak=peak, white=pixel, recorded=recorded) for text, peak, pixel in found]


def _scores(run: Run) -> list[dict[str, Any]]:
    """What is called white at each threshold, and how many of the true pixels are, in all kept maps together."""
    maps, peaks, white = _kept(run)
    p = (maps * peaks[:, None, None]).reshape(len(maps), -1)
    found = []
    for threshold in THRESHOLDS:
        called = p > 10**threshold
        hits = called[range(len(p)), white]
        found.append(dict(threshold=round(float(threshold), 1), called=int(called.sum()), right=int(hits.sum())))
    return found


def _map(maps: pd.DataFrame, size: int) -> alt.LayerChart:
    """The chosen map, stretched to its peak; what the threshold calls white in orange, the true pixel ringed."""
    chosen = alt.Chart(maps).transform_filter(CHOSEN)
    # Square roots, so that what is dim can be seen.
    shade = alt.Fill("level:Q", scale=alt.Scale(type="sqrt", domain=[0, 1], range=["black", "white"]), legend=None)
    called = alt.condition("datum.peak * datum.level > pow(10, threshold)", alt.value(OPTIMUM_COLOR), shade)
    pixels = picture(chosen, size, SIDE, called)
    title = alt.Title(alt.expr("'orange: p > ' + format(pow(10, threshold), '.2~g')"))
    return alt.layer(pixels, _ring(maps, size), width=SIDE, height=SIDE, title=title)


def _truth(maps: pd.DataFrame, gaze: pd.DataFrame, size: int) -> alt.LayerChart:
    """The points that were given, from dark to light, and the true pixel."""
    seen = _centered(alt.Chart(gaze).transform_filter("datum.window == window"), size, "pixel")
    path = seen.mark_line(color=GREY, strokeWidth=1).encode(**in_grid(size), order="frame:Q")
    points = seen.mark_point(filled=True, size=22).encode(
        **in_grid(size), color=alt.value("white"), opacity=alt.Opacity("frame:Q", legend=None)
    )
    title = "gaze so far; ring: the truth"
    return alt.layer(black(SIDE), path, points, _ring(maps, size), width=SIDE, height=SIDE, title=title)


def _ring(maps: pd.DataFrame, size: int) -> alt.Chart:
    place = _centered(alt.Chart(maps).transform_filter(CHOSEN), size, "white")
    return place.mark_point(size=110, color=SKY, strokeWidth=2, opacity=1).encode(**in_grid(size))


def _centered(chart: alt.Chart, size: int, name: str) -> alt.Chart:
    """The center of the pixel whose number stands in a field."""
    return chart.transform_calculate(x=f"datum.{name} % {size} + 0.5", y=f"floor(datum.{name} / {size}) + 0.5")


def _counts(maps: pd.DataFrame, scores: pd.DataFrame) -> alt.LayerChart:
    """Two lines of text: what the threshold makes of the kept maps, and what was recorded of all test frames."""
    of_each = len(maps) // maps["predictor"].nunique()
    said = (
        f"'{of_each} frames: ' + datum.called + ' called white, recall ' + datum.right + '/{of_each}, precision '"
        " + (datum.called > 0 ? format(datum.right / datum.called, '.2f') : '–')"
    )
    now = alt.Chart(scores).transform_filter("datum.predictor == predictor && abs(datum.threshold - threshold) < 0.05")
    look = dict(align="left", fontSize=12)
    first = now.transform_calculate(said=said).mark_text(**look, color=ACCENT)
    second = alt.Chart(maps).transform_filter(CHOSEN).mark_text(**look)
    return alt.layer(
        first.encode(x=alt.value(0), y=alt.value(8), text="said:N"),
        second.encode(x=alt.value(0), y=alt.value(26), text="recorded:N"),
        width=WIDTH,
        height=34,
    )
