"""The best that any predictor can score on simulated gaze, whose density is known (`fixlib.theory.forecast`).

From the exact probability eta of each pixel follow, for each loss, the output of least expected loss (the Bayes
output) and what it costs; the best bits; the best recall and precision at every threshold; and the point of least
expected error. A network that does better than these, beyond its interval, is a bug; its `regret`, free of sampling
noise, cannot be negative at all.

Exact: bits, expected losses of a given output, recall, precision and F1 (at a threshold they are linear in the number
of white pixels found). Within 0.005 px: expected errors, for which positions are counted in cells of half a pixel.
The targets are points anywhere in their pixel: to know the pixel for sure is still to be 0.38 px off.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fixlib import metrics
from fixlib.data import SimulatorParameters
from fixlib.data.simulator import DEFAULT
from fixlib.losses import Loss, SoftmaxCrossEntropy, make_loss
from fixlib.models import BASELINES
from fixlib.runs.config import Config
from fixlib.runs.execute import seen
from fixlib.runs.store import payload_of
from fixlib.theory.bayes import bayes_logits, expected_loss
from fixlib.theory.forecast import CELLS, Forecast, forecast, window_starts

DENSITY = "density"
POINTS = ("distance", "l2")
_CHUNK_NUMBERS = 4_000_000  # bounds the memory of what is computed a few windows at a time
CELL_SPREAD = 1 / (12 * CELLS**2)  # px^2, variance along an axis of a position in a cell
_TOLERANCE_PX, _MOST_STEPS = 1e-3, 200


def optimum_payload(config: Config, windows: dict[str, dict]) -> dict[str, Any]:
    """What is to be recorded of the optimum on the test windows of a run's data configuration.

    Args:
        config: as of any predictor: `data` as in `data_config`, `loss` a dict of name and options, and `model`, here
            dict(kind="optimum", observer="pixels" (default) or "points"). The loss's name may also be "density", or
            "distance" or "l2" for points.
        windows: train, val and test as `load_windows` gives them; information gain is over the centre bias of train.

    Raises:
        ValueError: windows that are not of `simulated`; an unknown name or observer.
    """
    where, name, options = config.data, config.loss.name, config.loss.options
    n_in, n_out, observer = where.n_in, where.n_out, config.model.options.get("observer", "pixels")
    reference = None
    if name == DENSITY:
        centre_bias = BASELINES["centre_bias"](where.size)
        centre_bias.fit(windows["train"]["coordinates"], n_in)
        reference = centre_bias.log_density(windows["test"]["coordinates"][:, :n_in], n_out)
    starts = window_starts(n_in + n_out, where.stride, where.rate_hz)
    found = evaluate_optimum(windows["test"], n_in, where.rate_hz, name, options, starts, observer, reference)
    return found | seen(windows)


def evaluate_optimum(
    windows: dict,
    n_in: int,
    rate_hz: float | None,
    loss_name: str = DENSITY,
    loss_options: dict | None = None,
    starts: tuple[int, ...] = (0,),
    observer: str = "pixels",
    reference_log_density: Tensor | None = None,
    parameters: SimulatorParameters = DEFAULT,
) -> dict[str, Any]:
    """Score the best predictor of all frames after the first `n_in`, as networks are scored, and in expectation.

    Args:
        windows, n_in, rate_hz, starts, observer, parameters: see `forecast`.
        loss_name, loss_options: the Bayes output of that loss, as frames; "density": the exact density; "distance",
            "l2": the point of least expected distance, or square. (That of least |dx| + |dy|, which L1 asks for, has
            the error of "distance" within 0.003 px.)
        reference_log_density: for "density", see `evaluate_density`.

    Returns:
        metrics, by_horizon, per_window (and pr_curve) as of any run; for losses, test_loss; and expected: name ->
        dict(value, by_horizon), what the windows' inputs alone make of it: loss, white_pixel_recall, _precision and
        f1_score (at 0.5) of the Bayes output; information_gain_uniform, best_f1, best_f1_threshold, average_precision
        and error of the density; error of a point.

    Raises:
        ValueError: an unknown name; a loss without a derived optimum (`bayes_logits`); windows that do not fit
            (`forecast`).
    """
    known = forecast(windows, n_in, rate_hz, windows["coordinates"].shape[1] - n_in, starts, observer, parameters)
    truth = metrics.Truth.of(windows, n_in)
    if loss_name in POINTS:
        points = best_points(known, loss_name)
        return payload_of(metrics.evaluate_points(points, truth)) | dict(
            expected=dict(error=_over_frames(expected_distance(known, points)))
        )
    log_density = known.log_density()
    if loss_name == DENSITY:
        scored = metrics.evaluate_density(log_density, truth, reference_log_density)
        return payload_of(scored) | dict(expected=_expected_of_density(known, log_density))
    loss = make_loss(loss_name, **loss_options or {})
    logits = bayes_logits(loss, log_density)
    frames = truth.frames(known.size)
    expected = dict(loss=_over_frames(expected_loss(loss, logits, log_density)), **expected_scores(logits, log_density))
    if isinstance(loss, SoftmaxCrossEntropy):  # its best output is the density itself, and is scored as one
        scored = metrics.evaluate_density(log_density, truth)
    else:
        scored = metrics.evaluate_frames(logits.float(), truth)
    return payload_of(scored) | dict(test_loss=float(loss(logits, frames.to(logits.dtype))), expected=expected)


def next_pixel_density(
    windows: dict, n_in: int, rate_hz: float | None, starts: tuple[int, ...] = (0,), observer: str = "pixels"
) -> Tensor:
    """Exact log density (N, 1, H, W) of the first frame after `n_in`, float64 nats; see `forecast`."""
    return forecast(windows, n_in, rate_hz, 1, starts, observer).log_density()


def regret(known: Forecast, loss: Loss | str, output: Tensor) -> dict[str, Any]:
    """What a predictor's output costs above the optimum, in expectation: dict(value, by_horizon).

    No recorded target enters, so there is no sampling noise: below 0 (by more than rounding, or the 1e-8 or so by which
    a tabulated optimum is not the best) it cannot be, whatever the windows.

    Args:
        known: what could be known of the windows, from `forecast`.
        loss: a loss, with logits (N, T, 1, H, W) for output; or "distance", with points (N, T, 2) px.
    """
    output = output.detach().cpu().double()
    if loss == "distance":
        return _over_frames(expected_distance(known, output) - expected_distance(known, best_points(known)))
    log_density = known.log_density()
    best = expected_loss(loss, bayes_logits(loss, log_density), log_density)
    return _over_frames(expected_loss(loss, output, log_density) - best)


def expected_scores(logits: Tensor, log_density: Tensor) -> dict[str, dict]:
    """Expected white_pixel_recall, white_pixel_precision and f1_score at p > 0.5; 0 where nothing is called white."""
    called = logits[:, :, 0] > 0
    found, count = (log_density.exp() * called).sum((-2, -1)), called.sum((-2, -1))
    one = torch.ones_like(found)
    return dict(
        white_pixel_recall=_over_frames(found, one),
        white_pixel_precision=_over_frames(found, count),
        f1_score=_over_frames(2 * found, count + one),
    )


def best_curve(density: Tensor) -> dict[str, Any]:
    """The best expected recall and precision at every threshold on eta, over all frames of `density` (..., H, W).

    No other choice of as many pixels finds more white ones.

    Returns:
        best_f1, best_f1_threshold (call white where eta >= it), average_precision.
    """
    eta = density.flatten().sort(descending=True).values
    frames, called = density[..., 0, 0].numel(), torch.arange(1, len(eta) + 1, dtype=eta.dtype)
    found = eta.cumsum(0)
    f1 = 2 * found / (called + frames)
    best = int(f1.argmax())
    return dict(
        best_f1=float(f1[best]),
        best_f1_threshold=float(eta[best]),
        average_precision=float((eta * found / called).sum() / frames),
    )


def best_points(known: Forecast, loss: str = "distance") -> Tensor:
    """The points (N, T, 2) px, float32, of least expected "distance" (geometric median) or "l2" (square: the mean)."""
    solve = {"distance": _median, "l2": _Position.mean}[loss]
    return torch.from_numpy(np.concatenate([solve(part) for part in _positions(known)])).float().view(len(known), -1, 2)


def expected_distance(known: Forecast, points: Tensor) -> Tensor:
    """Expected distance (N, T) in px from each point (N, T, 2) to the fixation, which is anywhere in its pixel."""
    left, found = points.double().reshape(-1, 2).numpy(), []
    for part in _positions(known):
        here, left = left[: len(part.arriving)], left[len(part.arriving) :]
        to_cells, to_places = part.distances(here)
        found.append((part.arriving * to_cells).sum(-1) + (part.holding * to_places).sum(-1))
    return torch.from_numpy(np.concatenate(found)).view(points.shape[:2])


def _expected_of_density(known: Forecast, log_density: Tensor) -> dict[str, dict]:
    density = log_density.exp()
    bits = ((density * log_density).sum((-2, -1)) + np.log(density[0, 0].numel())) / np.log(2)
    pooled = best_curve(density)
    by_frame = [best_curve(density[:, t]) for t in range(density.shape[1])]
    curves = {name: dict(value=pooled[name], by_horizon=[curve[name] for curve in by_frame]) for name in pooled}
    error = expected_distance(known, best_points(known))
    return dict(information_gain_uniform=_over_frames(bits), error=_over_frames(error), **curves)


def _over_frames(numerator: Tensor, denominator: Tensor | None = None) -> dict[str, Any]:
    """Ratio of sums over frames (N, T), and over those of each horizon; 0 where nothing is counted."""
    denominator = torch.ones_like(numerator) if denominator is None else denominator
    return dict(
        value=float(numerator.sum() / denominator.sum().clamp(min=1)),
        by_horizon=(numerator.sum(0) / denominator.sum(0).clamp(min=1)).tolist(),
    )


@dataclass(frozen=True)
class _Position:
    """The distribution of the fixation in M frames: over all cells if a new one, over a few places if the same.

    Attributes:
        arriving, cells: weights (M, C) and centres (C, 2) px.
        holding, places: weights (M, Q) and places (M, Q, 2) px.
        spread: mean squared distance along an axis, px^2, of a position from its place: that of a cell, or 0.
    """

    arriving: np.ndarray
    cells: np.ndarray
    holding: np.ndarray
    places: np.ndarray
    spread: float

    def distances(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Distances (M, C) and (M, Q) from points (M, 2), right to second order in the side of a cell.

        A position spread evenly over its cell is a little further than the cell's centre. New fixations have a smooth
        density, whose sums over cells are already as much too wide, and as much again (Sheppard's correction).
        """
        square = (points**2).sum(-1, keepdims=True) + (self.cells**2).sum(-1) - 2 * points @ self.cells.T
        to_cells = np.sqrt(np.maximum(square - CELL_SPREAD, CELL_SPREAD))
        to_places = np.sqrt(((points[:, None] - self.places) ** 2).sum(-1) + self.spread)
        return to_cells, to_places

    def mean(self) -> np.ndarray:
        return self.arriving @ self.cells + (self.holding[..., None] * self.places).sum(-2)

    def select(self, keep: np.ndarray) -> _Position:
        return replace(self, arriving=self.arriving[keep], holding=self.holding[keep], places=self.places[keep])


def _positions(known: Forecast) -> Iterator[_Position]:
    """A few windows at a time, with all their frames."""
    side, frames = known.size * CELLS, known.saccades.shape[1]
    row, column = np.divmod(np.arange(side**2), side)
    cells = (np.stack([column, row], axis=-1) + 0.5) / CELLS
    step = max(1, _CHUNK_NUMBERS // (frames * side**2))
    for first in range(0, len(known), step):
        rows = slice(first, first + step)
        holding, places = known.held(rows)
        yield _Position(
            known.arrivals(rows).reshape(-1, side**2),
            cells,
            holding.reshape(-1, holding.shape[-1]),
            places.repeat(frames, axis=0),
            CELL_SPREAD if known.point is None else 0.0,
        )


def _median(position: _Position) -> np.ndarray:
    """Geometric medians (M, 2), by Weiszfeld's iteration from the mean.

    A single place is the median itself where the rest does not pull harder than it weighs.
    """
    medians = position.mean()
    held = position.places[:, 0]
    if position.spread == 0:
        pull = position.arriving / position.distances(held)[0]
        force = np.linalg.norm(pull @ position.cells - pull.sum(-1, keepdims=True) * held, axis=-1)
        medians = np.where((force <= position.holding[:, 0])[:, None], held, medians)
    active = np.arange(len(medians))
    for _ in range(_MOST_STEPS):
        here = medians[active]
        to_cells, to_places = position.distances(here)
        pull, hold = position.arriving / to_cells, position.holding / np.maximum(to_places, 1e-9)
        moved = pull @ position.cells + (hold[..., None] * position.places).sum(-2)
        medians[active] = moved = moved / (pull.sum(-1) + hold.sum(-1))[:, None]
        going = np.abs(moved - here).max(-1) >= _TOLERANCE_PX
        if not going.any():
            break
        active, position = active[going], position.select(going)
    return medians
