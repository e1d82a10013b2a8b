"""The best that any predictor can score on simulated gaze, whose density is known (`fixlib.theory.forecast`).

From the exact probability eta of each pixel follow, for each loss, the output of least expected loss (the Bayes
output) and what it costs; the best bits; the best recall and precision at every threshold; and the point of least
expected error. A network that does better than these, beyond its interval, is a bug.

Exact: bits, expected losses of a given output, recall, precision and F1 (at a threshold they are linear in the number
of white pixels found). Within 0.005 px: expected errors, for which positions are counted in cells of half a pixel.
The targets are points anywhere in their pixel: to know the pixel for sure is still to be 0.38 px off.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fixlib.grid import create_sparse_frames
from fixlib.losses import FRAME, SoftmaxCrossEntropy
from fixlib.metrics import Evaluation, Truth, evaluate_density, evaluate_frames, evaluate_points
from fixlib.theory.bayes import CHUNK_NUMBERS, bayes_logits, expected_loss
from fixlib.theory.forecast import CELLS, Forecast

DENSITY, DISTANCE = "density", "distance"
CELL_SPREAD = 1 / (12 * CELLS**2)  # px^2, variance along an axis of a position in a cell
TOLERANCE_PX, MOST_STEPS = 1e-3, 200


def evaluate_optimum(
    known: Forecast, truth: Truth, loss: nn.Module | str = DENSITY, reference_log_density: Tensor | None = None
) -> tuple[Evaluation, dict[str, Any]]:
    """Score the best predictor of some windows, as networks are scored, and in expectation.

    Args:
        known: what could be known of the windows, from `forecast`.
        truth: what came.
        loss: whose Bayes output is scored, as frames; or "density": the exact density; or "distance": the point of
            least expected distance. (That of least |dx| + |dy|, which L1 asks for, has its error within 0.003 px.)
        reference_log_density: for "density", see `evaluate_density`.

    Returns:
        The evaluation; and, by name, for losses test_loss, and expected: name -> dict(value, by_horizon), what the
        windows' inputs alone make of it: loss, white_pixel_recall, _precision and f1_score (at 0.5) of the Bayes
        output; information_gain_uniform, best_f1, best_f1_threshold, average_precision and error of the density;
        error of a point.

    Raises:
        ValueError: a loss without a derived optimum (`bayes_logits`).
    """
    if loss == DISTANCE:
        points = best_points(known)
        return evaluate_points(points, truth), dict(expected=dict(error=_over_frames(expected_distance(known, points))))
    log_density = known.log_density()
    if isinstance(loss, str):
        scored = evaluate_density(log_density, truth, reference_log_density=reference_log_density)
        return scored, dict(expected=_expected_of_density(known, log_density))
    logits = bayes_logits(loss, log_density)
    frames = create_sparse_frames(truth.coordinates, truth.mask, known.size).to(logits.dtype)
    expected = dict(loss=_over_frames(expected_loss(loss, logits, log_density)), **expected_scores(logits, log_density))
    further = dict(test_loss=float(loss(logits, frames)), expected=expected)
    if isinstance(loss, SoftmaxCrossEntropy):  # its best output is the density itself, and is scored as one
        return evaluate_density(log_density, truth), further
    return evaluate_frames(logits.float(), truth), further


def expected_scores(logits: Tensor, log_density: Tensor) -> dict[str, dict]:
    """Expected white_pixel_recall, white_pixel_precision and f1_score at p > 0.5; 0 where nothing is called white."""
    called = logits[:, :, 0] > 0
    found, count = (log_density.exp() * called).sum(FRAME), called.sum(FRAME)
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


def best_points(known: Forecast) -> Tensor:
    """The points (N, T, 2) px, float32, of least expected distance: geometric medians over cells.

    By Weiszfeld's iteration from the mean. `grid.decode_median` knows no spread within a cell, and would be drawn to
    the centers of the four in which a fixation that goes on may be.
    """
    centers, found = _centers(known), []
    for arriving, going_on in _cells(known):
        medians = (arriving + going_on) @ centers
        active = np.arange(len(medians))
        for _ in range(MOST_STEPS):
            here = medians[active]
            to_new, to_old = _distances(here, centers)
            pull = arriving / to_new + going_on / to_old
            medians[active] = moved = pull @ centers / pull.sum(-1, keepdims=True)
            going = np.abs(moved - here).max(-1) >= TOLERANCE_PX
            if not going.any():
                break
            active, arriving, going_on = active[going], arriving[going], going_on[going]
        found.append(medians)
    return torch.from_numpy(np.concatenate(found)).float().view(len(known), -1, 2)


def expected_distance(known: Forecast, points: Tensor) -> Tensor:
    """Expected distance (N, T) in px from each point (N, T, 2) to the fixation, which is anywhere in its pixel."""
    centers, left, found = _centers(known), points.double().reshape(-1, 2).numpy(), []
    for arriving, going_on in _cells(known):
        here, left = left[: len(arriving)], left[len(arriving) :]
        to_new, to_old = _distances(here, centers)
        found.append((arriving * to_new + going_on * to_old).sum(-1))
    return torch.from_numpy(np.concatenate(found)).view(points.shape[:2])


def _centers(known: Forecast) -> np.ndarray:
    """(x, y) px of every cell, (C, 2)."""
    row, column = np.divmod(np.arange((known.size * CELLS) ** 2), known.size * CELLS)
    return (np.stack([column, row], axis=-1) + 0.5) / CELLS


def _cells(known: Forecast) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """`known.cells`, each (frames, C), a few windows at a time with all their frames."""
    numbers = known.saccades.shape[1] * (known.size * CELLS) ** 2
    step = max(1, CHUNK_NUMBERS // numbers)
    for first in range(0, len(known), step):
        arriving, going_on = known.cells(slice(first, first + step))
        yield arriving.reshape(-1, arriving[0, 0].size), going_on.reshape(-1, arriving[0, 0].size)


def _distances(points: np.ndarray, centers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """From points (M, 2) to each cell, (M, C), of a new fixation and of one that goes on.

    Right to second order in the side of a cell: a position spread evenly over its cell is a little further than the
    cell's center. New fixations have a smooth density, whose sums over cells are already as much too wide, and as much
    again (Sheppard's correction).
    """
    square = (points**2).sum(-1, keepdims=True) + (centers**2).sum(-1) - 2 * points @ centers.T
    return np.sqrt(np.maximum(square - CELL_SPREAD, CELL_SPREAD)), np.sqrt(np.maximum(square, 0) + CELL_SPREAD)


def _expected_of_density(known: Forecast, log_density: Tensor) -> dict[str, dict]:
    density = log_density.exp()
    bits = ((density * log_density).sum(FRAME) + np.log(density[0, 0].numel())) / np.log(2)
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
