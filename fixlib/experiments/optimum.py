"""The best that any predictor can score on simulated gaze, whose density is known (`fixlib.data.simulator_exact`).

From the exact probability eta of each pixel follow, for each loss, the output of least expected loss (the Bayes
output) and what it costs; the best bits; the best recall and precision at every threshold; and the point of least
expected error. A network that does better than these, beyond its interval, is a bug.

How each loss is minimised, frame by frame (eta sums to 1: a frame has exactly one white pixel):

* pixel by pixel (MSE, BCE, weighted MSE, MSE + L1, focal): `best_output` of the pixel's eta;
* concentration: its expectation is p E[d^2], with E[d^2] > 0 the expected squared distance of the pixel to the white
  one, and nothing rewards p > 0: black everywhere. Composite: `best_output` of the other two parts plus the ramp
  weight E[d^2] p, for each pixel's own E[d^2];
* Dice and Tversky (alpha + beta = 1): the expectation is linear in p over linear in sum p, so that a set of the k
  most probable pixels is best: k maximises (eta_1 + ... + eta_k + s) / (alpha k + beta + s). Focal Tversky (gamma >=
  1) is concave in p at a given sum p: the same sets, with at most one pixel in between; that one is left out, having
  never paid on a grid of values;
* softmax cross-entropy: the density itself, whose cost is its entropy.

Exact: bits, expected losses of a given output, recall, precision, F1 (at a threshold they are linear in the number of
white pixels found). To about 0.001 px: expected errors, which count a position in its cell of half a pixel.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from scipy.ndimage import map_coordinates
from torch import Tensor

from fixlib import metrics
from fixlib.data import SimulatorParameters, content_sha256, create_sparse_frames
from fixlib.data.simulator_exact import CELLS, Forecast, forecast, window_starts
from fixlib.experiments.predictors import SURE, test_truth
from fixlib.losses import (
    CompositeLoss,
    ConcentrationLoss,
    DiceLoss,
    FocalTverskyLoss,
    Loss,
    SoftmaxCrossEntropy,
    TverskyLoss,
    best_output,
    get_loss_function,
)
from fixlib.models import BASELINES
from fixlib.results import payload_of

DENSITY = "density"
POINTS = ("distance", "l1", "l2")
# Tables of the best output: logit of eta (finely; coarsely where there is a ramp too), and log(1 + ramp).
FINE, COARSE, RAMPS = np.linspace(-40, 40, 4097), np.linspace(-40, 40, 513), np.linspace(0, 9, 73)
_CHUNK_NUMBERS = 4_000_000  # bounds the memory of what is computed a few windows at a time
_TOLERANCE_PX = 1e-3


def optimum_payload(config: dict, windows: dict[str, dict]) -> dict[str, Any]:
    """What is to be recorded of the optimum on the test windows of a run's data configuration.

    Args:
        config: `data` as in `data_config`; `optimum`: dict(name=..., observer="pixels" or "points", and the
            loss's options). The name is a loss's, "density", or "distance", "l1" or "l2" for points.
        windows: train, val and test as `load_windows` gives them; information gain is over the centre bias of train.

    Raises:
        ValueError: windows that are not of `simulated`; an unknown name or observer.
    """
    where, options = config["data"], dict(config["optimum"])
    name, observer, n_in, n_out = options.pop("name"), options.pop("observer", "pixels"), where["n_in"], where["n_out"]
    reference = None
    if name == DENSITY:
        centre_bias = BASELINES["centre_bias"](where["size"])
        centre_bias.fit(windows["train"]["coordinates"], n_in)
        reference = centre_bias.log_density(windows["test"]["coordinates"][:, :n_in], n_out)
    starts = window_starts(n_in + n_out, where["stride"], where["rate_hz"])
    found = evaluate_optimum(windows["test"], n_in, where["rate_hz"], name, options, starts, observer, reference)
    return found | dict(content_sha256={part: content_sha256(windows[part]) for part in windows},
                        windows={part: len(windows[part]["coordinates"]) for part in windows})


def evaluate_optimum(windows: dict, n_in: int, rate_hz: float | None, loss_name: str = DENSITY,
                     loss_options: dict | None = None, starts: tuple[int, ...] = (0,), observer: str = "pixels",
                     reference_log_density: Tensor | None = None,
                     parameters: SimulatorParameters = SimulatorParameters()) -> dict[str, Any]:
    """Score the best predictor of all frames after the first `n_in`, as networks are scored, and in expectation.

    Args:
        windows, n_in, rate_hz, starts, observer, parameters: see `forecast`.
        loss_name, loss_options: the Bayes output of that loss, as frames; "density": the exact density; "distance",
            "l1", "l2": the point of least expected distance, absolute difference per coordinate, or square.
        reference_log_density: for "density", see `evaluate_density`.

    Returns:
        metrics, by_horizon, per_window (and pr_curve) as of any run; for losses, test_loss; and expected: name ->
        dict(value, by_horizon), what the windows' inputs alone make of it: loss, white_pixel_recall, _precision and
        f1_score (at 0.5) of the Bayes output; information_gain_uniform, best_f1, best_f1_threshold, average_precision
        and error of the density; error of a point.
    """
    known = forecast(windows, n_in, rate_hz, windows["coordinates"].shape[1] - n_in, starts, observer, parameters)
    truth = test_truth(windows, n_in)
    if loss_name in POINTS:
        points = best_points(known, loss_name)
        return payload_of(metrics.evaluate_points(points, **truth)) | dict(
            expected=dict(error=_over_frames(expected_distance(known, points))))
    log_density = known.log_density()
    if loss_name == DENSITY:
        scored = metrics.evaluate_density(log_density, **truth, reference_log_density=reference_log_density)
        return payload_of(scored) | dict(expected=_expected_of_density(known, log_density))
    loss = get_loss_function(loss_name, **loss_options or {})
    logits = bayes_logits(loss, log_density)
    frames = create_sparse_frames(truth["coordinates"], truth["mask"], known.size)
    expected = dict(loss=_over_frames(expected_loss(loss, logits, log_density)),
                    **expected_scores(logits, log_density))
    return payload_of(metrics.evaluate_frames(logits.float(), **truth)) | dict(
        test_loss=float(loss(logits, frames.to(logits.dtype))), expected=expected)


def next_pixel_density(windows: dict, n_in: int, rate_hz: float | None, starts: tuple[int, ...] = (0,),
                       observer: str = "pixels") -> Tensor:
    """Exact log density (N, 1, H, W) of the first frame after `n_in`, float64 nats; see `forecast`."""
    return forecast(windows, n_in, rate_hz, 1, starts, observer).log_density()


def bayes_logits(loss: Loss, log_density: Tensor) -> Tensor:
    """The output of least expected loss for each frame, logits (N, T, 1, H, W) float64.

    0 and 1 are given as logits of -30 and 30. Where `best_output` is used it is tabulated and interpolated: p is right
    to 1e-5, but for corners of p(eta), as of MSE + L1 at eta = weight / 2, near which it is right to 0.005.

    Args:
        loss: one of the library's, or any that `best_output` takes.
        log_density: (N, T, H, W), exp sums to 1 in each frame.

    Raises:
        ValueError: Tversky with alpha + beta other than 1, or focal Tversky with gamma < 1: no optimum is derived.
    """
    if isinstance(loss, SoftmaxCrossEntropy):
        return log_density.unsqueeze(2)
    if isinstance(loss, DiceLoss | TverskyLoss | FocalTverskyLoss):
        return _chunked(lambda maps: _best_set(loss, maps), log_density)
    pixels, weight = _pixel_part(loss, log_density.shape[-1])
    logit = torch.logit(log_density.exp(), eps=1e-17).unsqueeze(2)
    if weight == 0:
        table = _logits_of(best_output(pixels, 1 / (1 + np.exp(-FINE))))
        return torch.from_numpy(np.interp(logit.numpy(), FINE, table))
    table = np.stack([_logits_of(best_output(_Ramped(pixels, ramp), 1 / (1 + np.exp(-COARSE))))
                      for ramp in np.expm1(RAMPS)])
    ramp = torch.log1p(weight * _expected_squared_distance(log_density.exp())).unsqueeze(2)
    at = [(axis.numpy() - grid[0]) / (grid[1] - grid[0]) for axis, grid in ((ramp, RAMPS), (logit, COARSE))]
    return torch.from_numpy(map_coordinates(table, at, order=1, mode="nearest"))


def expected_loss(loss: Loss, logits: Tensor, log_density: Tensor) -> Tensor:
    """Expected loss (N, T) of each frame of `logits` (N, T, 1, H, W) where white pixels follow the density."""
    return _chunked(lambda output, maps: _expected_loss(loss, output[:, :, 0], maps.exp()), logits, log_density)


def expected_scores(logits: Tensor, log_density: Tensor) -> dict[str, dict]:
    """Expected white_pixel_recall, white_pixel_precision and f1_score at p > 0.5; 0 where nothing is called white."""
    called = logits[:, :, 0] > 0
    found, count = (log_density.exp() * called).sum((-2, -1)), called.sum((-2, -1))
    one = torch.ones_like(found)
    return dict(white_pixel_recall=_over_frames(found, one), white_pixel_precision=_over_frames(found, count),
                f1_score=_over_frames(2 * found, count + one))


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
    return dict(best_f1=float(f1[best]), best_f1_threshold=float(eta[best]),
                average_precision=float((eta * found / called).sum() / frames))


def best_points(known: Forecast, loss: str = "distance") -> Tensor:
    """The points (N, T, 2) px, float32, of least expected "distance", "l1" (per coordinate) or "l2" (square)."""
    solve = {"distance": _medians, "l1": _marginal_medians, "l2": _means}[loss]
    return torch.from_numpy(np.concatenate([solve(*part) for part in _positions(known)])).float()


def expected_distance(known: Forecast, points: Tensor) -> Tensor:
    """Expected distance (N, T) in px from each point (N, T, 2) to the fixation, which is anywhere in its pixel."""
    numbers, done, found = points.double().numpy(), 0, []
    for weights, centres, atom, seen in _positions(known):
        here = numbers[done:done + len(weights)]
        done += len(weights)
        found.append((weights * _distances(here, centres)).sum(-1) + atom * np.linalg.norm(here - seen, axis=-1))
    return torch.from_numpy(np.concatenate(found))


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
    return dict(value=float(numerator.sum() / denominator.sum().clamp(min=1)),
                by_horizon=(numerator.sum(0) / denominator.sum(0).clamp(min=1)).tolist())


def _chunked(function: Callable[..., Tensor], *maps: Tensor) -> Tensor:
    rows = max(1, _CHUNK_NUMBERS // maps[0][0].numel())
    return torch.cat([function(*parts) for parts in zip(*(m.split(rows) for m in maps))])


def _logits_of(p: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return np.clip(np.log(p) - np.log1p(-p), -SURE, SURE)


class _Ramped(Loss):
    """A loss on pixels plus `ramp` * p in each pixel."""

    def __init__(self, loss: Loss, ramp: float, reduction: str = "mean") -> None:
        super(Loss, self).__init__()
        self.loss, self.ramp, self.reduction = loss, ramp, reduction

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        value = _per_pixel(self.loss, input, target) + self.ramp * torch.sigmoid(input)
        return value if self.reduction == "none" else value.mean()


def _per_pixel(loss: Loss, logits: Tensor, target: Tensor) -> Tensor:
    return type(loss).function(logits, target, **loss.options | dict(reduction="none"))


def _pixel_part(loss: Loss, size: int) -> tuple[Loss, float]:
    """The part of a loss that treats every pixel by itself, and the weight of p * (squared distance, px^2)."""
    if not isinstance(loss, CompositeLoss | ConcentrationLoss):
        return loss, 0.0
    scale = 1 / (2 * size**2) if loss.normalise else 1.0
    if isinstance(loss, ConcentrationLoss):
        return CompositeLoss(0.0, 0.0, 0.0), scale
    return CompositeLoss(**loss.options | dict(concentration_weight=0.0)), scale * loss.concentration_weight


def _expected_squared_distance(density: Tensor) -> Tensor:
    """E |pixel - white pixel|^2, px^2, for each pixel of (..., H, W): distance to the mean, plus the variance."""
    total = 0.0
    for axis, marginal in ((-2, density.sum(-1)), (-1, density.sum(-2))):
        index = torch.arange(density.shape[axis], dtype=density.dtype)
        mean, square = ((marginal * power).sum(-1, keepdim=True) for power in (index, index**2))
        total = total + (index**2 - 2 * index * mean + square).unsqueeze(-1 if axis == -2 else -2)
    return total


def _expected_loss(loss: Loss, logits: Tensor, density: Tensor) -> Tensor:
    if isinstance(loss, SoftmaxCrossEntropy):
        return -(density * torch.log_softmax(logits.flatten(-2), -1).view_as(logits)).sum((-2, -1))
    if isinstance(loss, DiceLoss | TverskyLoss | FocalTverskyLoss):
        p, (alpha, beta, smooth, gamma) = torch.sigmoid(logits), _tversky_options(loss)
        mass = p.sum((-2, -1), keepdim=True)
        index = (p + smooth) / (alpha * mass + beta + smooth + (1 - alpha - beta) * p)
        return (density * (1 - index).clamp(min=0) ** (1 / gamma)).sum((-2, -1))
    pixels, weight = _pixel_part(loss, logits.shape[-1])
    white, black = (_per_pixel(pixels, logits, torch.full_like(logits, target)) for target in (1.0, 0.0))
    ramp = weight * _expected_squared_distance(density)
    return (density * white + (1 - density) * black + ramp * torch.sigmoid(logits)).mean((-2, -1))


def _tversky_options(loss: Loss) -> tuple[float, float, float, float]:
    """alpha, beta, smooth, gamma; Dice is Tversky with 1/2, 1/2 and half the smooth."""
    if isinstance(loss, DiceLoss):
        return 0.5, 0.5, loss.smooth / 2, 1.0
    return loss.alpha, loss.beta, loss.smooth, getattr(loss, "gamma", 1.0)


def _best_set(loss: Loss, log_density: Tensor) -> Tensor:
    """Logits of the best set of most probable pixels, for each frame."""
    alpha, beta, smooth, gamma = _tversky_options(loss)
    if abs(alpha + beta - 1) > 1e-9 or gamma < 1:
        raise ValueError(f"{type(loss).__name__}: the optimum is derived for alpha + beta = 1 and gamma >= 1 only, "
                         f"not for alpha={alpha}, beta={beta}, gamma={gamma}")
    eta, order = log_density.flatten(-2).exp().sort(dim=-1, descending=True)
    hit = torch.cat([torch.zeros_like(eta[..., :1]), eta.cumsum(-1)], dim=-1)
    size = alpha * torch.arange(hit.shape[-1], dtype=eta.dtype) + beta + smooth
    cost = hit * (1 - (1 + smooth) / size).clamp(min=0) ** (1 / gamma) + (1 - hit) * (1 - smooth / size) ** (1 / gamma)
    chosen = torch.arange(eta.shape[-1]) < cost.argmin(-1, keepdim=True)
    return torch.empty_like(eta).scatter_(-1, order, SURE * (2 * chosen.to(eta.dtype) - 1)).view_as(log_density).unsqueeze(2)


def _positions(known: Forecast):
    """A few windows at a time: weights (n, T, M) of cells, their centres (M, 2), weight (n, T) and place of the atom."""
    side, frames = known.size * CELLS, known.saccades.shape[1]
    row, column = np.divmod(np.arange(side**2), side)
    centres = (np.stack([column, row], axis=-1) + 0.5) / CELLS
    step = max(1, _CHUNK_NUMBERS // (frames * side**2))
    for first in range(0, len(known), step):
        rows = slice(first, first + step)
        weights = known.cells(rows).reshape(-1, frames, side**2)
        atom = np.zeros(weights.shape[:2]) if known.point is None else known.saccades[rows, :, 0]
        seen = np.zeros((len(weights), 1, 2)) if known.point is None else known.point[rows, None]
        yield weights, centres, atom, seen


def _distances(points: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Distance (n, T, M) from points (n, T, 2) to cells: root mean square over the cell, right to second order."""
    square = (points**2).sum(-1, keepdims=True) + (centres**2).sum(-1) - 2 * points @ centres.T
    return np.sqrt(np.maximum(square, 0) + 1 / (6 * CELLS**2))


def _means(weights, centres, atom, seen) -> np.ndarray:
    return weights @ centres + atom[..., None] * seen


def _medians(weights, centres, atom, seen) -> np.ndarray:
    """Geometric medians (Weiszfeld); the point seen itself where the rest does not pull harder than it weighs."""
    pull = weights / _distances(np.broadcast_to(seen, (*atom.shape, 2)), centres)
    force = np.linalg.norm(pull @ centres - pull.sum(-1, keepdims=True) * seen, axis=-1)
    point = np.where((force <= atom)[..., None], seen, _means(weights, centres, atom, seen))
    for _ in range(200):
        pull = weights / _distances(point, centres)
        held = atom / np.maximum(np.linalg.norm(point - seen, axis=-1), 1e-9)
        moved = (pull @ centres + held[..., None] * seen) / (pull.sum(-1) + held)[..., None]
        far = np.abs(moved - point).max()
        point = moved
        if far < _TOLERANCE_PX:
            break
    return point


def _marginal_medians(weights, centres, atom, seen) -> np.ndarray:
    """Median of each coordinate: cells are spread evenly over their width, the atom is a step."""
    side = int(np.sqrt(weights.shape[-1]))
    maps, edges = weights.reshape(*atom.shape, side, side), np.arange(side + 1) / CELLS
    medians = np.empty((*atom.shape, 2))
    for axis, marginal in enumerate((maps.sum(-2), maps.sum(-1))):
        for index in np.ndindex(atom.shape):
            below = np.concatenate([[0], np.cumsum(marginal[index])])
            at = seen[index[0], 0, axis]
            before = np.interp(at, edges, below)
            rank = before if before < 0.5 < before + atom[index] else 0.5 - atom[index] * (before + atom[index] <= 0.5)
            medians[(*index, axis)] = np.interp(rank, below, edges)
    return medians
