"""Score predictions of gaze against recorded fixations.

Almost every metric is a ratio of two sums over frames (an error: a sum of errors over a number of frames), so that one
table of numerators and denominators gives its value, its course over the horizon, its value in each window and, by one
matrix product, its interval. Frames whose mask is False are left out of everything: the truth is unknown.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fixlib.data import Gaze
from fixlib.grid import create_sparse_frames, decode_argmax, decode_mean, decode_median
from fixlib.metrics.intervals import cluster_weights, percentile_interval, ratio
from fixlib.metrics.white_pixels import Ranking, rank

RADII = (1, 2, 3, 5)
NEAR, BACK = 3.0, 1.5  # px, of `kinds_of_frames`
_ZERO_WHERE_UNDEFINED = ("white_pixel_recall", "white_pixel_precision", "f1_score")
_CHUNK = 64
OfMaps = Callable[[Tensor], Tensor]
# Metrics of frames, before summing: name -> (numerator, denominator), each broadcastable to (N, T).
Frames = dict[str, tuple[np.ndarray | float, np.ndarray | float]]


@dataclass(frozen=True)
class Truth:
    """What was recorded, and predictions are scored against; checked once, and kept as tensors on the CPU.

    Anything array-like of these shapes is taken; labels are numbers.

    Raises:
        TypeError: a mask that is not bool.
        ValueError: shapes that do not fit, a mask that is False everywhere, or a point that is not finite.
    """

    coordinates: Tensor  #: float64 (N, T, 2) recorded points, (x, y) px; 0 where the mask is False
    mask: Tensor  #: bool (N, T), False where the truth is unknown
    last_point: Tensor  #: float64 (N, 2) the last point the predictor saw, px
    #: subject, stimulus: (N,) labels, for the intervals
    subject: Tensor
    stimulus: Tensor

    @classmethod
    def of(cls, windows: Gaze, n_in: int) -> "Truth":
        """All frames of `windows` after the first `n_in`."""
        points, mask = windows.coordinates, windows.fixation_mask
        return cls(points[:, n_in:], mask[:, n_in:], points[:, n_in - 1], windows.subject, windows.stimulus)

    def __post_init__(self) -> None:
        given = {each.name: torch.as_tensor(getattr(self, each.name)).detach().cpu() for each in fields(self)}
        points, mask, last = given["coordinates"].double(), given["mask"], given["last_point"].double()
        if mask.dtype != torch.bool:
            raise TypeError(f"mask must be bool, not {mask.dtype}; say which frames count, e.g. mask > 0.5")
        shape, n = tuple(points.shape), len(points)
        if len(shape) != 3 or shape[-1] != 2:
            raise ValueError(f"coordinates must be (N, T, 2), got {shape}")
        for name, needed in dict(mask=shape[:2], last_point=(n, 2), subject=(n,), stimulus=(n,)).items():
            if given[name].shape != needed:
                raise ValueError(f"{name} must be {needed} to fit coordinates {shape}, got {tuple(given[name].shape)}")
        if not mask.any():
            raise ValueError("mask is False everywhere: there is no frame to score")
        _refuse(~points.isfinite().all(-1) & mask, "coordinates are not finite under a True mask")
        _refuse(~last.isfinite().all(-1), "last_point is not finite")
        for name, value in (given | dict(coordinates=points.where(mask[..., None], 0.0), last_point=last)).items():
            object.__setattr__(self, name, value)

    def __getitem__(self, rows: Any) -> "Truth":
        """The truth of some windows."""
        return Truth(*(getattr(self, each.name)[rows] for each in fields(self)))

    def frames(self, size: int) -> Tensor:
        """What networks that give frames are asked for, float32 (N, T, 1, size, size)."""
        return create_sparse_frames(self.coordinates, self.mask, size)

    def white_pixel(self, width: int) -> Tensor:
        """Number y * width + x of each frame's white pixel, int64 (N, T); 0 where the mask is False."""
        x, y = self.coordinates.floor().long().unbind(-1)
        return y * width + x


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
        average_precision, best_f1, best_f1_threshold: over all thresholds (white: p >= it), pixels pooled over frames.
        max_probability: mean over frames of the largest p.
        error_argmax, error_mean, error_median (`error` for points): mean L2 distance to the fixation.
        changed_error_*: the same where the fixation lies in another pixel than the last observed point.
        hit_1px … hit_5px: share of frames within that distance (argmax decoding, or the point).
        undershoot (argmax decoding, or the point), undershoot_mean, undershoot_median: over the changed frames, sum of
            the predicted distance from the last observed point / sum of the true one. Below 1 the prediction stays too
            near. A ratio of sums, since the mean of ratios is ruled by the smallest movements.
        information_gain_uniform, information_gain_reference (densities): bits per fixation, mean of log2 p(fixated
            pixel) minus that of the uniform map, or of the reference (Kuemmerer, Wallis & Bethge 2015, PNAS
            112(52):16054).
        bits: the same of the prediction made a density (`Calibration`), so that it is defined for every map.
        share_KIND, bits_KIND (densities, of the kinds asked for): share of the frames of that kind, and what they add
            to the bits; over kinds that leave no frame out, both sum to the whole.
    """

    summary: dict[str, dict[str, float]]
    by_horizon: dict[str, list[float]]
    per_window: dict[str, np.ndarray]
    pr_curve: dict[str, list[float]] | None = None


def evaluate_frames(logits: Tensor, truth: Truth, calibrated: Tensor | None = None, n_boot: int = 1000) -> Evaluation:
    """Score predicted frames. p = sigmoid(logit); for decoding, p is normalised to sum 1 in each frame.

    Args:
        logits: (N, T, 1, H, W) or (N, T, H, W), any device.
        truth: what was recorded, inside the grid where its mask is True.
        calibrated: the same prediction as a log density (N, T, H, W), see `Calibration`; gives bits.
        n_boot: resamples behind the intervals.

    Raises:
        ValueError: shapes that do not fit, NaN, or what must be probabilities: no value is negative or above 1, and
            most are below a tenth of the largest. As logits they would call every pixel white.
    """
    maps = _read_maps(logits, "logits", truth)
    frames, ranking = _score_maps(maps, truth, lambda logits: logits.float().sigmoid(), _weights_of_logits)
    if calibrated is not None:
        frames["bits"] = _bits(_read_maps(calibrated, "calibrated", truth), truth, "calibrated")
    return _evaluate(frames, truth, n_boot, (ranking, torch.sigmoid))


def evaluate_density(
    log_density: Tensor,
    truth: Truth,
    reference_log_density: Tensor | None = None,
    calibrated: Tensor | None = None,
    kinds: dict[str, Tensor] | None = None,
    n_boot: int = 1000,
) -> Evaluation:
    """Score predicted densities: as `evaluate_frames`, with p the pixel's probability, and information gain.

    Args:
        log_density: (N, T, H, W) natural log of pixel probabilities, which sum to 1 in each frame.
        reference_log_density: of the density to compare with (centre bias), of a shape broadcastable to it; gives
            information_gain_reference.
        calibrated: the density whose bits are asked for; this one by default.
        kinds: name -> bool (N, T), the frames of a kind, see `kinds_of_frames`.
        others: see `evaluate_frames`.

    Raises:
        ValueError: also where probabilities do not sum to 1, or are 0 at a recorded fixation.
    """
    maps = _read_maps(log_density, "log_density", truth)
    frames, ranking = _score_maps(maps, truth, torch.exp, torch.exp)
    frames["information_gain_uniform"] = _bits(maps, truth, "log_density")
    asked = maps if calibrated is None else _read_maps(calibrated, "calibrated", truth)
    frames["bits"] = _bits(asked, truth, "calibrated")
    for name, of_kind in (kinds or {}).items():
        frames |= {f"share_{name}": (of_kind.numpy(), 1.0), f"bits_{name}": (frames["bits"][0] * of_kind.numpy(), 1.0)}
    if reference_log_density is not None:
        reference = _read_maps(reference_log_density.expand_as(maps), "reference_log_density", truth)
        gain = frames["information_gain_uniform"][0] - _bits(reference, truth, "reference_log_density")[0]
        frames["information_gain_reference"] = (gain, 1.0)
    return _evaluate(frames, truth, n_boot, (ranking, torch.exp))


def evaluate_points(points: Tensor, truth: Truth, n_boot: int = 1000) -> Evaluation:
    """Score predicted points (N, T, 2) px, which may lie outside the grid. Others: see `evaluate_frames`."""
    points, shape = torch.as_tensor(points).detach().cpu().double(), tuple(truth.coordinates.shape)
    if points.shape != shape:
        raise ValueError(f"points {tuple(points.shape)} and coordinates {shape} must have the same shape (N, T, 2)")
    _refuse(~points.isfinite().all(-1) & truth.mask, "points are not finite")
    return _evaluate(_score_points(points.numpy(), truth), truth, n_boot)


def _refuse(wrong: Tensor, what: str) -> None:
    if wrong.any():
        raise ValueError(f"{what} at index {tuple(wrong.nonzero()[0].tolist())} ({int(wrong.sum())} such in all)")


def _read_maps(maps: Tensor, name: str, truth: Truth) -> Tensor:
    """(N, T, H, W), detached, checked against the truth."""
    maps = maps.detach()
    maps = maps.squeeze(2) if maps.dim() == 5 and maps.shape[2] == 1 else maps
    if maps.dim() != 4 or maps.shape[:2] != truth.mask.shape:
        raise ValueError(f"{name} must be (N, T, H, W) with N, T = {tuple(truth.mask.shape)}, got {tuple(maps.shape)}")
    height, width = maps.shape[-2:]
    inside = ((truth.coordinates >= 0) & (truth.coordinates < torch.tensor([width, height]))).all(-1)
    _refuse(truth.mask & ~inside, f"coordinates are outside the {width}x{height} grid under a True mask")
    _refuse(maps.isnan().any(-1).any(-1), f"{name}: NaN in a map")
    if name == "logits":
        if maps.min() >= 0 and maps.max() <= 1 and maps.float().median() < maps.max() / 10:
            raise ValueError("logits look like probabilities: give what comes before the sigmoid, e.g. torch.logit(p)")
    else:
        total = torch.cat([chunk.float().exp().sum((-2, -1)) for chunk in maps.split(_CHUNK)])
        _refuse((total - 1).abs() > 1e-3, f"exp({name}) does not sum to 1 over the pixels")
    return maps


def _bits(log_density: Tensor, truth: Truth, name: str) -> tuple[np.ndarray, float]:
    """log2 p(fixated pixel) over that of the uniform map, of each frame; of no meaning where the mask is False."""
    white = truth.white_pixel(log_density.shape[-1]).to(log_density.device)
    nats = log_density.flatten(-2).gather(-1, white[..., None])[..., 0].cpu().double().where(truth.mask, 0.0)
    _refuse(nats.isneginf(), f"{name} gives probability 0 to a recorded fixation")
    return (nats.numpy() + np.log(log_density[0, 0].numel())) / np.log(2), 1.0


def _weights_of_logits(logits: Tensor) -> Tensor:
    """sigmoid(logit) / its sum over the frame, in log space: no frame is so dark that it loses its shape."""
    return torch.nn.functional.logsigmoid(logits.float()).flatten(-2).softmax(dim=-1).view(logits.shape)


def _score_maps(maps: Tensor, truth: Truth, probability_of: OfMaps, weights_of: OfMaps) -> tuple[Frames, Ranking]:
    """Frame metrics of maps (N, T, H, W) whose order is that of the probabilities, and their ranking."""
    white = truth.white_pixel(maps.shape[-1])
    of_chunks = zip(maps.split(_CHUNK), white.to(maps.device).split(_CHUNK))
    chunks = [_look_at(chunk, index, probability_of, weights_of) for chunk, index in of_chunks]
    seen = {name: np.concatenate([chunk[name] for chunk in chunks]) for name in chunks[0]}
    found, predicted, n_pixels = seen["found"], seen["predicted"], maps[0, 0].numel()
    frames: Frames = dict(
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


def _look_at(maps: Tensor, white: Tensor, probability_of: OfMaps, weights_of: OfMaps) -> dict[str, np.ndarray]:
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


def _movement(truth: Truth) -> tuple[np.ndarray, np.ndarray]:
    """Whether the fixation is in another pixel than the last point seen (False where unknown), and how far from it."""
    points, last = truth.coordinates.numpy(), truth.last_point.numpy()[:, None]
    changed = (np.floor(points) != np.floor(last)).any(axis=-1) & truth.mask.numpy()
    return changed, np.linalg.norm(points - last, axis=-1)


def kinds_of_frames(windows: Gaze, n_in: int) -> dict[str, Tensor]:
    """Where gaze is in the frames after the first `n_in`, held against those: name -> bool (N, T), one True a frame.

    stay: in the last pixel seen. near: at most NEAR px from it. back: not there, and at most BACK px from a pixel seen
    before. elsewhere: the others.
    """
    pixels = windows.coordinates.floor() + 0.5  # their centers
    distance = torch.cdist(pixels[:, n_in:], pixels[:, :n_in])  # (N, T, n_in) px
    from_last, nearest = distance[..., -1], distance.amin(-1)
    stay, near = from_last < 0.5, (from_last >= 0.5) & (from_last <= NEAR)
    back = (from_last > NEAR) & (nearest <= BACK)
    return dict(stay=stay, near=near, back=back, elsewhere=~(stay | near | back))


def _score_points(points: np.ndarray, truth: Truth) -> Frames:
    error = np.linalg.norm(points - truth.coordinates.numpy(), axis=-1)
    jump = np.linalg.norm(points - truth.last_point.numpy()[:, None], axis=-1)
    changed, amplitude = _movement(truth)
    hits: Frames = {f"hit_{radius}px": (error <= radius, 1.0) for radius in RADII}
    return hits | dict(
        error=(error, 1.0), changed_error=(error * changed, changed), undershoot=(jump * changed, amplitude * changed)
    )


def _evaluate(frames: Frames, truth: Truth, n_boot: int, ranked: tuple[Ranking, OfMaps] | None = None) -> Evaluation:
    """All metrics; of maps also those over all thresholds, with what makes a score a probability."""
    valid, who = truth.mask.numpy(), dict(subject=truth.subject.numpy(), stimulus=truth.stimulus.numpy())
    weights = cluster_weights(who["subject"], who["stimulus"], n_boot)
    summary, by_horizon, per_window = {}, {}, {}
    for name, parts in frames.items():
        numerator, denominator = (np.where(valid, part, 0.0) for part in parts)
        undefined = 0.0 if name in _ZERO_WHERE_UNDEFINED else np.nan
        tops, bottoms = numerator.sum(axis=1), denominator.sum(axis=1)
        samples = ratio(weights @ tops, weights @ bottoms, undefined)
        low, high = percentile_interval(samples).tolist()
        summary[name] = dict(value=float(ratio(tops.sum(), bottoms.sum(), undefined)), low=low, high=high)
        by_horizon[name] = ratio(numerator.sum(axis=0), denominator.sum(axis=0), undefined).tolist()
        per_window[name] = ratio(tops, bottoms, undefined)
    n_frames, (changed, amplitude) = valid.sum(axis=1), _movement(truth)
    moved = ratio((amplitude * valid).sum(axis=1), n_frames)
    per_window |= who | dict(frames=n_frames, changed_frames=changed.sum(axis=1), amplitude=moved)
    if ranked is None:
        return Evaluation(summary, by_horizon, per_window)
    ranking, to_probability = ranked
    over_thresholds = ranking.scores(weights)
    threshold = torch.tensor(over_thresholds["best_f1_threshold"], dtype=torch.float64)
    over_thresholds["best_f1_threshold"] = to_probability(threshold).tolist()
    summary |= {name: dict(zip(("value", "low", "high"), found)) for name, found in over_thresholds.items()}
    return Evaluation(summary, by_horizon, per_window, ranking.curve())
