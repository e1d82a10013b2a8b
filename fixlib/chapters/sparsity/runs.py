"""Chapter 1: how sparse gaze is, how it moves, and what predictors that learn nothing score.

The analysis is a run like any other: its histograms and tables are recorded, so that the chapter can be read
without the recordings.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from fixlib import data, metrics
from fixlib.data import Gaze, Scanpaths
from fixlib.grid import SURE, certain_frames, pixel_index
from fixlib.models import BASELINES
from fixlib.runs.config import DESCRIPTION, Config, Model, RunSpec, get_profile, make_spec
from fixlib.runs.execute import Attempt, load_windows, seen
from fixlib.runs.store import pack

NAME = "sparsity"
RATES_HZ = (1.0, 2.0, 4.0, 5.0, 10.0, 20.0, 30.0, 60.0)
WINDOW = 10
# Edges of the recorded histograms: px, degrees (0 = right, 90 = down), ms.
AMPLITUDE_EDGES = np.arange(0, 33, 0.5)
DIRECTION_EDGES = np.arange(-180, 181, 10)
DURATION_EDGES = np.arange(0, 1001, 20)
LAGS = dict(fixations=10, frames_10hz=20)
TRIVIAL = ("black", "repeat_last", "centre")


def specs(dataset: str, profile: str, seeds: Sequence[int] = (0,)) -> list[RunSpec]:
    """The description of the recordings, and one run for each predictor that learns nothing.

    The seeds are ignored: nothing here is random. The description needs durations: without them it is left out.
    """
    size = get_profile(profile)
    where = size.data(dataset, rate_hz=10.0, n_in=WINDOW, n_out=WINDOW, stride=WINDOW)
    described = Config(where, Model(DESCRIPTION, dict(rates_hz=list(RATES_HZ), lags=LAGS["fixations"])))
    description = [make_spec(NAME, DESCRIPTION, size, 0, described)] if data.has_fixations(dataset) else []
    return description + [make_spec(NAME, name, size, 0, Config(where, Model(name))) for name in TRIVIAL]


def run(spec: RunSpec, attempt: Attempt) -> dict:
    """Describe the recordings, or score a predictor that learns nothing."""
    if spec.config.model.kind == DESCRIPTION:
        return describe(data.open_scanpaths(spec.config.data.source))
    return _score_trivial(spec.config)


def _score_trivial(config: Config) -> dict:
    where, windows = config.data, load_windows(config.data)
    truth, kind, size = metrics.Truth.of(windows["test"], where.n_in), config.model.kind, where.size
    if kind == "black":
        logits = torch.full((*truth.mask.shape, 1, size, size), -SURE)
    else:
        baseline = BASELINES[kind](size)
        baseline.fit(windows["train"].coordinates, where.n_in)
        inputs = windows["test"].coordinates[:, : where.n_in]
        logits = certain_frames(baseline.predict(inputs, where.n_out), size)
    evaluation = metrics.evaluate_frames(logits, truth)
    return dict(metrics=evaluation.summary, by_horizon=evaluation.by_horizon) | seen(windows)


def describe(scanpaths: Scanpaths) -> dict:
    """Everything chapter 1 shows of a set of scanpaths, as plain values and packed histograms."""
    frames = dict(fixations=scanpaths.frames(None), frames_10hz=scanpaths.frames(10.0))
    saccades, rows, edges = _saccades(frames["fixations"]), scanpaths.fixations, np.arange(scanpaths.size + 1)
    counts = {
        "positions": np.histogram2d(rows["y"], rows["x"], bins=(edges, edges))[0],
        "amplitudes": np.histogram(saccades["amplitude"], AMPLITUDE_EDGES)[0],
        "directions": np.histogram(saccades.loc[~saccades["same_pixel"], "direction"], DIRECTION_EDGES)[0],
        "durations": np.histogram(rows["duration_ms"], DURATION_EDGES)[0],
        "fixations_per_scanpath": np.bincount(rows.groupby("scanpath").size(), minlength=30)[:40],
    }
    intervals = dict(
        amplitude_mean=_interval(saccades["amplitude"], saccades),
        same_pixel=_interval(saccades["same_pixel"], saccades),
        duration_mean=_interval(rows["duration_ms"], rows),
    )
    return dict(
        metrics={},
        statistics=_statistics(scanpaths, saccades),
        intervals=intervals,
        counts={name: pack(values, "int32") for name, values in counts.items()},
        edges=dict(amplitudes=AMPLITUDE_EDGES, directions=DIRECTION_EDGES, durations=DURATION_EDGES),
        rates=[_describe_rate(scanpaths.frames(rate), rate) for rate in RATES_HZ],
        pixels=scanpaths.size**2,
        # Share of the frames that show gaze; the others pad the rows to the longest scanpath.
        valid={name: float(each.fixation_mask.double().mean()) for name, each in frames.items()},
        visited={str(n): {name: _visited(each, n) for name, each in frames.items()} for n in (WINDOW, 2 * WINDOW)},
        autocorrelation={name: _autocorrelation(frames[name], lags) for name, lags in LAGS.items()},
    )


def _statistics(scanpaths: Scanpaths, saccades: pd.DataFrame) -> dict[str, float]:
    rows = scanpaths.fixations
    found: dict[str, float] = dict(scanpaths=len(scanpaths), fixations=len(rows))
    found |= dict(subjects=rows["subject"].nunique(), stimuli=rows["stimulus"].nunique())
    found["scanpaths_of_8_or_more"] = int((rows.groupby("scanpath").size() >= 8).sum())
    found["same_pixel"] = float(saccades["same_pixel"].mean())
    for name, values in (("amplitude", saccades["amplitude"]), ("duration", rows["duration_ms"])):
        found |= {f"{name}_mean": float(values.mean()), f"{name}_median": float(values.median())}
    for name in "xy":
        found |= {f"{name}_mean": float(rows[name].mean()), f"{name}_sd": float(rows[name].std())}
    return found


def _interval(values: pd.Series, rows: pd.DataFrame) -> list[float]:
    who = dict(subject=rows["subject"].to_numpy(), stimulus=rows["stimulus"].to_numpy())
    return list(metrics.clustered_bootstrap(values.to_numpy(dtype=float), **who))


def steps(frames: Gaze) -> tuple[Tensor, Tensor, Tensor]:
    """From each frame to the next: whether both show gaze, whether in one pixel, (N, T - 1), and the way, px."""
    both = frames.fixation_mask[:, 1:] & frames.fixation_mask[:, :-1]
    same = (frames.coordinates.floor().diff(dim=1) == 0).all(-1) & both
    return both, same, frames.coordinates.double().diff(dim=1)


def _saccades(fixations: Gaze) -> pd.DataFrame:
    """One row a step from a fixation to the next: amplitude (px), direction (degrees), whether the pixel stays."""
    both, same, step = steps(fixations)
    row, (x, y) = both.nonzero()[:, 0], step[both].T
    columns = dict(amplitude=torch.hypot(x, y), direction=torch.rad2deg(torch.atan2(y, x)), same_pixel=same[both])
    columns |= dict(subject=fixations.subject[row], stimulus=fixations.stimulus[row])
    return pd.DataFrame({name: values.numpy() for name, values in columns.items()})


def _describe_rate(frames: Gaze, rate_hz: float) -> dict:
    """How often gaze is in the same pixel a frame later, and by how much it has moved; each with its interval."""
    both, same, step = steps(frames)
    pairs = both.sum(1)
    found: dict[str, Any] = dict(rate_hz=rate_hz, frames=int(frames.fixation_mask.sum()))
    for name, each in (("same_pixel", same), ("repeat_last_error", step.norm(dim=-1) * both)):
        found[name] = float(each.sum() / pairs.sum())
        interval = metrics.clustered_bootstrap(each.sum(1), pairs, subject=frames.subject, stimulus=frames.stimulus)
        found[f"{name}_interval"] = list(interval)
    return found


def _visited(frames: Gaze, length: int) -> dict:
    """Distinct pixels in the first `length` frames: the mean over the scanpaths that have so many, and their number."""
    whole = frames.fixation_mask[:, :length].all(1)
    if frames.fixation_mask.shape[1] < length or not whole.any():
        return dict(pixels=None, scanpaths=0)
    pixels = pixel_index(frames.coordinates[whole, :length], frames.size).sort(1).values
    distinct = 1 + (pixels.diff(dim=1) != 0).sum(1)
    return dict(pixels=float(distinct.double().mean()), scanpaths=int(whole.sum()))


def _autocorrelation(frames: Gaze, lags: int) -> dict:
    """Correlation of x, and of y, with themselves some frames later, over all scanpaths."""
    points, mask = frames.coordinates.double(), frames.fixation_mask
    normal = (points - points[mask].mean(0)) / points[mask].std(0)
    found = []
    for lag in range(lags + 1):
        both = mask[:, lag:] & mask[:, : mask.shape[1] - lag]
        found.append((normal[:, lag:] * normal[:, : points.shape[1] - lag])[both].mean(0).tolist())
    return dict(x=[pair[0] for pair in found], y=[pair[1] for pair in found])
