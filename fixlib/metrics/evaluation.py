"""Score predictions of gaze against recorded fixations.

Almost every metric is a ratio of two sums over frames (an error is a sum of errors over a number of frames),
so that one table of numerators and denominators gives its value, its course over the horizon, its value in
each window and, by one matrix product, its interval. Frames whose mask is False are left out of everything:
the truth is unknown.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from fixlib.grid import create_sparse_frames, decode_argmax, decode_mean, decode_median
from fixlib.metrics.intervals import cluster_weights, percentile_interval, ratio
from fixlib.metrics.white_pixels import Ranking, rank

RADII = (1, 2, 3, 5)
_ZERO_WHERE_UNDEFINED = ("white_pixel_recall", "white_pixel_precision", "f1_score")
_CHUNK = 64


@dataclass(frozen=True)
class Truth:
    """What was recorded, and predictions are scored against; checked once, and kept as tensors on the CPU.

    Attributes:
        coordinates: float64 (N, T, 2) recorded points, (x, y) px; 0 where the mask is False.
        mask: bool (N, T), False where the truth is unknown.
        last_point: float64 (N, 2) the last point the predictor saw, px.
        subject, stimulus: (N,) labels, for the intervals.

    Anything array-like of these shapes is taken.

    Raises:
        TypeError: a mask that is not bool.
        ValueError: shapes that do not fit, a mask that is False everywhere, or a point that is not finite.
    """

    coordinates: Tensor
    mask: Tensor
    last_point: Tensor
    subject: Tensor
    stimulus: Tensor

    @classmethod
    def of(cls, windows: Mapping[str, Any], n_in: int) -> Truth:
        """All frames of `windows` after the first `n_in`."""
        coordinates, mask = windows["coordinates"], windows["fixation_mask"]
        last = coordinates[:, n_in - 1]
        return cls(coordinates[:, n_in:], mask[:, n_in:], last, windows["subject"], windows["stimulus"])

    def __post_init__(self) -> None:
        given = {each.name: torch.as_tensor(getattr(self, each.name)).detach().cpu() for each in fields(self)}
        coordinates, mask, last = given["coordinates"].double(), given["mask"], given["last_point"].double()
        if mask.dtype != torch.bool:
            raise TypeError(f"mask must be bool, not {mask.dtype}; say which frames count, e.g. mask > 0.5")
        if coordinates.ndim != 3 or coordinates.shape[-1] != 2:
            raise ValueError(f"coordinates must be (N, T, 2), got {tuple(coordinates.shape)}")
        n = len(coordinates)
        shapes = dict(mask=tuple(coordinates.shape[:2]), last_point=(n, 2), subject=(n,), stimulus=(n,))
        for name, shape in shapes.items():
            if given[name].shape != shape:
                raise ValueError(
                    f"{name} must be {shape} to fit coordinates {tuple(coordinates.shape)}, "
                    f"got {tuple(given[name].shape)}"
                )
        if not mask.any():
            raise ValueError("mask is False everywhere: there is no frame to score")
        _refuse((~coordinates.isfinite().all(-1) & mask).numpy(), "coordinates are not finite under a True mask")
        _refuse(~last.isfinite().all(-1).numpy(), "last_point is not finite")
        given |= dict(coordinates=torch.where(mask[..., None], coordinates, 0.0), last_point=last)
        for name, value in given.items():
            object.__setattr__(self, name, value)

    def __getitem__(self, rows: Any) -> Truth:
        """The truth of some windows."""
        return Truth(*(getattr(self, each.name)[rows] for each in fields(self)))

    @cached_property
    def points(self) -> np.ndarray:
        return self.coordinates.numpy()

    @cached_property
    def valid(self) -> np.ndarray:
        return self.mask.numpy()

    @cached_property
    def moved(self) -> np.ndarray:
        """Whether the point lies in another pixel than the last one seen; bool (N, T), False where unknown."""
        return (np.floor(self.points) != np.floor(self.last_point.numpy()[:, None])).any(axis=-1) & self.valid

    @cached_property
    def amplitude(self) -> np.ndarray:
        """Distance from the last point seen, px (N, T)."""
        return np.linalg.norm(self.points - self.last_point.numpy()[:, None], axis=-1)

    def white_pixel(self, width: int) -> Tensor:
        """Number y * width + x of each frame's white pixel, int64 (N, T); 0 where the mask is False."""
        x, y = self.coordinates.floor().long().unbind(-1)
        return y * width + x

    def frames(self, size: int) -> Tensor:
        """What networks that give frames are asked for, float32 (N, T, 1, size, size)."""
        return create_sparse_frames(self.coordinates, self.mask, size)


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate_frames`, `evaluate_points` and `evaluate_density` return.

    Attributes:
        summary: metric -> dict(value, low, high), with the 95% interval of `clustered_bootstrap`.
        by_horizon: metric -> T values, one a predicted frame.
        per_window: metric -> (N,) array; and subject, stimulus, frames (valid ones), changed_frames,
            amplitude (mean distance in px from the last observed point to the fixation, over valid frames).
        pr_curve: dict(recall, precision), <= 100 points from the highest threshold down; None for points.

    Metrics (px; NaN where undefined, except the first three, which are 0 there):
        white_pixel_recall, white_pixel_precision, f1_score: at p > 0.5, pixels pooled over frames.
        accuracy: share of pixels called rightly at p > 0.5.
        average_precision, best_f1, best_f1_threshold: over all thresholds, pixels pooled over frames; white
            is called where p >= best_f1_threshold.
        max_probability: mean over frames of the largest p.
        error_argmax, error_mean, error_median (`error` for points): mean L2 distance to the fixation.
        changed_error_*: the same over the frames whose fixation lies in another pixel than the last observed
            point.
        hit_1px … hit_5px: share of frames within that distance (argmax decoding, or the point).
        undershoot (argmax decoding, or the point), undershoot_mean, undershoot_median: over the changed
            frames, sum of the predicted distance from the last observed point / sum of the true distance from
            it. Below 1 the prediction stays too near. A ratio of sums, since the mean of ratios is ruled by
            the smallest movements.
        information_gain_uniform, information_gain_reference (densities): bits per fixation, mean of
            log2 p(fixated pixel) minus that of the uniform map, or of the reference (Kuemmerer, Wallis &
            Bethge 2015, PNAS 112(52):16054).
    """

    summary: dict[str, dict[str, float]]
    by_horizon: dict[str, list[float]]
    per_window: dict[str, np.ndarray]
    pr_curve: dict[str, list[float]] | None = None


def evaluate_frames(logits: Tensor, truth: Truth, n_boot: int = 1000, seed: int = 0) -> Evaluation:
    """Score predicted frames. p = sigmoid(logit); for decoding, p is normalised to sum 1 in each frame.

    Args:
        logits: (N, T, 1, H, W) or (N, T, H, W), any device.
        truth: what was recorded, inside the grid where its mask is True.
        n_boot, seed: of the bootstrap.

    Raises:
        ValueError: shapes that do not fit, NaN, or what must be probabilities: no value is negative or above 1, and
            most are below a tenth of the largest. As logits they would call every pixel white.
    """
    maps = _read_maps(logits, "logits", truth)
    if maps.min() >= 0 and maps.max() <= 1 and maps.float().median() < maps.max() / 10:
        raise ValueError("logits look like probabilities: give what comes before the sigmoid, torch.logit(p, eps=1e-6)")
    frames, ranking = _score_maps(maps, truth, _probability_of_logits, _weights_of_logits)
    return _evaluate(frames, truth, n_boot, seed, ranking, _sigmoid)


def evaluate_density(
    log_density: Tensor, truth: Truth, reference_log_density: Tensor | None = None, n_boot: int = 1000, seed: int = 0
) -> Evaluation:
    """Score predicted densities: as `evaluate_frames`, with p the pixel's probability, and information gain.

    Args:
        log_density: (N, T, H, W) natural log of pixel probabilities, which sum to 1 in each frame.
        reference_log_density: the same of the density to compare with (centre bias), shape broadcastable to
            it; gives information_gain_reference.
        others: see `evaluate_frames`.

    Raises:
        ValueError: also where probabilities do not sum to 1, or are 0 at a recorded fixation.
    """
    maps = _read_maps(log_density, "log_density", truth)
    frames, ranking = _score_maps(maps, truth, torch.exp, torch.exp)
    white = truth.white_pixel(maps.shape[-1])
    nats = _at_white(maps, white, truth, "log_density")
    n_pixels = maps.shape[-2] * maps.shape[-1]
    frames["information_gain_uniform"] = ((nats + np.log(n_pixels)) / np.log(2), 1.0)
    if reference_log_density is not None:
        reference = _read_maps(reference_log_density.expand_as(maps), "reference_log_density", truth)
        gain = (nats - _at_white(reference, white, truth, "reference_log_density")) / np.log(2)
        frames["information_gain_reference"] = (gain, 1.0)
    return _evaluate(frames, truth, n_boot, seed, ranking, np.exp)


def evaluate_points(points: Tensor, truth: Truth, n_boot: int = 1000, seed: int = 0) -> Evaluation:
    """Score predicted points (N, T, 2) px, which may lie outside the grid. Others: see `evaluate_frames`."""
    points = _numbers(points)
    if points.shape != truth.points.shape:
        raise ValueError(
            f"points {points.shape} and coordinates {truth.points.shape} must have the same shape (N, T, 2)"
        )
    _refuse(~np.isfinite(points).all(axis=-1) & truth.valid, "points are not finite")
    return _evaluate(_score_points(points, truth), truth, n_boot, seed)


def _numbers(values: ArrayLike) -> np.ndarray:
    return torch.as_tensor(values).detach().cpu().double().numpy()


def _refuse(wrong: np.ndarray, what: str) -> None:
    if wrong.any():
        raise ValueError(
            f"{what} at index {tuple(map(int, np.argwhere(wrong)[0]))} ({np.count_nonzero(wrong)} such in all)"
        )


def _read_maps(maps: Tensor, name: str, truth: Truth) -> Tensor:
    """(N, T, H, W), detached, checked against the truth."""
    maps = maps.detach()
    maps = maps.squeeze(2) if maps.dim() == 5 and maps.shape[2] == 1 else maps
    if maps.dim() != 4 or maps.shape[:2] != truth.valid.shape:
        raise ValueError(f"{name} must be (N, T, H, W) with N, T = {truth.valid.shape}, got {tuple(maps.shape)}")
    height, width = maps.shape[-2:]
    outside = (truth.points < 0).any(-1) | (truth.points >= (width, height)).any(-1)
    _refuse(outside & truth.valid, f"coordinates are outside the {width}x{height} grid under a True mask")
    _refuse(maps.isnan().any(-1).any(-1).cpu().numpy(), f"{name}: NaN in a map")
    if name != "logits":
        total = torch.cat([chunk.float().exp().sum((-2, -1)) for chunk in maps.split(_CHUNK)]).cpu().numpy()
        _refuse(abs(total - 1) > 1e-3, f"exp({name}) does not sum to 1 over the pixels")
    return maps


def _at_white(log_density: Tensor, white: Tensor, truth: Truth, name: str) -> np.ndarray:
    """Log density at the recorded fixation, (N, T); 0 where the mask is False."""
    nats = log_density.flatten(-2).gather(-1, white.to(log_density.device)[..., None])[..., 0]
    nats = np.where(truth.valid, nats.cpu().double().numpy(), 0.0)
    _refuse(np.isneginf(nats), f"{name} gives probability 0 to a recorded fixation")
    return nats


def _sigmoid(score: ArrayLike) -> np.ndarray:
    return torch.as_tensor(score, dtype=torch.float64).sigmoid().numpy()


def _probability_of_logits(logits: Tensor) -> Tensor:
    return logits.float().sigmoid()


def _weights_of_logits(logits: Tensor) -> Tensor:
    """sigmoid(logit) / its sum over the frame, in log space: no frame is so dark that it loses its shape."""
    return torch.nn.functional.logsigmoid(logits.float()).flatten(-2).softmax(dim=-1).view(logits.shape)


# Metrics of frames, before summing: name -> (numerator, denominator), each broadcastable to (N, T).
_Frames = dict[str, tuple[np.ndarray | float, np.ndarray | float]]


def _score_maps(maps: Tensor, truth: Truth, probability_of, weights_of) -> tuple[_Frames, Ranking]:
    """Frame metrics of maps (N, T, H, W) whose order is that of the probabilities, and their ranking."""
    white = truth.white_pixel(maps.shape[-1])
    chunks = [
        _look_at(chunk, index.to(maps.device), probability_of, weights_of)
        for chunk, index in zip(maps.split(_CHUNK), white.split(_CHUNK))
    ]
    seen = {name: np.concatenate([chunk[name] for chunk in chunks]) for name in chunks[0]}
    found, predicted, n_pixels = seen["found"], seen["predicted"], maps.shape[-2] * maps.shape[-1]
    frames: _Frames = dict(
        white_pixel_recall=(found, 1.0),
        white_pixel_precision=(found, predicted),
        f1_score=(2 * found, predicted + 1),
        accuracy=((n_pixels - 1 - predicted + 2 * found) / n_pixels, 1.0),
        max_probability=(seen["largest"], 1.0),
    )
    for name in ("argmax", "mean", "median"):
        point = _score_points(seen[name], truth)
        if name == "argmax":
            frames |= {key: value for key, value in point.items() if key.startswith("hit")}
        frames[f"error_{name}"], frames[f"changed_error_{name}"] = point["error"], point["changed_error"]
        frames["undershoot" if name == "argmax" else f"undershoot_{name}"] = point["undershoot"]
    return frames, rank(maps.flatten(-2), white, truth.mask)


def _look_at(maps: Tensor, white: Tensor, probability_of, weights_of) -> dict[str, np.ndarray]:
    probability, weights = probability_of(maps), weights_of(maps)
    called = (probability > 0.5).flatten(-2)
    seen = dict(
        found=called.gather(-1, white[..., None])[..., 0],
        predicted=called.sum(-1),
        largest=probability.flatten(-2).amax(-1),
        argmax=decode_argmax(maps),
        mean=decode_mean(weights),
        median=decode_median(weights),
    )
    return {name: value.cpu().double().numpy() for name, value in seen.items()}


def _score_points(points: np.ndarray, truth: Truth) -> _Frames:
    error = np.linalg.norm(points - truth.points, axis=-1)
    jump = np.linalg.norm(points - truth.last_point.numpy()[:, None], axis=-1)
    hits = {f"hit_{radius}px": (error <= radius, 1.0) for radius in RADII}
    return dict(
        error=(error, 1.0),
        changed_error=(error * truth.moved, truth.moved),
        **hits,
        undershoot=(jump * truth.moved, truth.amplitude * truth.moved),
    )


def _evaluate(
    frames: _Frames, truth: Truth, n_boot: int, seed: int, ranking: Ranking | None = None, to_probability=None
) -> Evaluation:
    frames = {name: [np.where(truth.valid, part, 0.0) for part in parts] for name, parts in frames.items()}
    weights = cluster_weights(truth.subject.numpy(), truth.stimulus.numpy(), n_boot, seed)
    summary, by_horizon, per_window = {}, {}, {}
    for name, (numerator, denominator) in frames.items():
        undefined = 0.0 if name in _ZERO_WHERE_UNDEFINED else np.nan
        tops, bottoms = numerator.sum(axis=1), denominator.sum(axis=1)
        samples = ratio(weights @ tops, weights @ bottoms, undefined)
        summary[name] = _with_interval(ratio(tops.sum(), bottoms.sum(), undefined), percentile_interval(samples))
        by_horizon[name] = ratio(numerator.sum(axis=0), denominator.sum(axis=0), undefined).tolist()
        per_window[name] = ratio(tops, bottoms, undefined)
    n_frames = truth.valid.sum(axis=1)
    per_window |= dict(
        subject=truth.subject.numpy(),
        stimulus=truth.stimulus.numpy(),
        frames=n_frames,
        changed_frames=truth.moved.sum(axis=1),
        amplitude=ratio((truth.amplitude * truth.valid).sum(axis=1), n_frames),
    )
    if ranking is None:
        return Evaluation(summary, by_horizon, per_window)
    bounds = ranking.intervals(weights)
    best_f1, threshold = ranking.best_f1()
    summary |= dict(
        average_precision=_with_interval(ranking.average_precision(), bounds["average_precision"]),
        best_f1=_with_interval(best_f1, bounds["best_f1"]),
        best_f1_threshold=_with_interval(to_probability(threshold), to_probability(bounds["best_f1_threshold"])),
    )
    return Evaluation(summary, by_horizon, per_window, ranking.curve())


def _with_interval(value: float, bounds: np.ndarray) -> dict[str, float]:
    return dict(value=float(value), low=float(bounds[0]), high=float(bounds[1]))
