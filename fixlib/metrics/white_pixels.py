"""How well a map finds the white pixel: at one threshold, and over all of them."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from fixlib.metrics.intervals import percentile_interval, ratio

# Thresholds kept a window for the intervals; the values themselves use every threshold there is.
_COARSE = 512
_CURVE_POINTS = 100
_CHUNK = 64


class WhitePixelCounts(NamedTuple):
    """Pixels counted over all frames given."""

    true_positives: int
    false_positives: int
    false_negatives: int


def white_pixel_counts(probabilities: Tensor, target: Tensor, threshold: float = 0.5) -> WhitePixelCounts:
    """White pixels found, raised in vain, and missed, over all frames.

    Args:
        probabilities: any shape, in [0, 1] (sigmoid of the logits). White is predicted where p > threshold,
            strictly.
        target: the same shape; white where > 0.5.
        threshold: a probability.

    Raises:
        ValueError: shapes that differ, or a value outside [0, 1] (NaN, or a logit).
    """
    if probabilities.shape != target.shape:
        raise ValueError(
            f"probabilities {tuple(probabilities.shape)} and target {tuple(target.shape)} must have the same shape"
        )
    if not ((probabilities >= 0) & (probabilities <= 1)).all():
        raise ValueError("probabilities must lie in [0, 1]; of logits take the sigmoid, and look for NaN")
    predicted, white = probabilities > threshold, target > 0.5
    found = int((predicted & white).sum())
    return WhitePixelCounts(found, int(predicted.sum()) - found, int(white.sum()) - found)


def _at_or_above(counts: np.ndarray) -> np.ndarray:
    """Sums from each threshold to the highest, along the last axis."""
    return np.cumsum(counts[..., ::-1], axis=-1)[..., ::-1]


def _average_precision(found: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """From counts between thresholds (..., U): white pixels, and all pixels."""
    precision = ratio(_at_or_above(found), _at_or_above(predicted), undefined=0.0)
    return ratio((found * precision).sum(axis=-1), found.sum(axis=-1))


def _f1(found: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """F1 at each threshold (..., U), from counts between thresholds."""
    return ratio(2 * _at_or_above(found), _at_or_above(predicted) + found.sum(axis=-1, keepdims=True))


@dataclass(frozen=True)
class Ranking:
    """Where the white pixels stand among all pixels, ordered by score.

    Only scores of white pixels matter as thresholds: recall rises, and F1 is highest, only there.

    Attributes:
        thresholds: (U,) distinct scores of the white pixels, ascending.
        found, predicted: (U,) white pixels, and all pixels, from each threshold to the next.
        bins: (U,) the coarse bin of each threshold, of which there are K <= 512, equally full.
        window_found, window_predicted: (N, K) found and predicted of each window, over the coarse bins.
    """

    thresholds: np.ndarray
    found: np.ndarray
    predicted: np.ndarray
    bins: np.ndarray
    window_found: np.ndarray
    window_predicted: np.ndarray

    def average_precision(self) -> float:
        """Area under the precision-recall curve: sum over thresholds of (rise in recall) x (precision).

        No interpolation; equal scores are one threshold, so that an all-equal map scores the share of white pixels.
        """
        return float(_average_precision(self.found, self.predicted))

    def best_f1(self) -> tuple[float, float]:
        """The highest F1 and the score it is reached at (white: score >= it)."""
        f1 = _f1(self.found, self.predicted)
        return float(f1.max()), float(self.thresholds[f1.argmax()])

    def curve(self) -> dict[str, list[float]]:
        """Recall and precision at <= 100 thresholds, from the highest to the lowest."""
        found, predicted = _at_or_above(self.found), _at_or_above(self.predicted)
        shown = np.unique(np.linspace(0, len(found) - 1, _CURVE_POINTS).round().astype(int))[::-1]
        return dict(recall=(found / found[0])[shown].tolist(), precision=(found / predicted)[shown].tolist())

    def intervals(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """(low, high) of average_precision, best_f1 and its threshold (a score), from weights (B, N).

        The best threshold is chosen anew in each resample. The coarse thresholds' small offset from the exact value is
        taken off.
        """
        samples, coarse = self._coarse(weights), self._coarse(np.ones((1, len(self.window_found))))
        for name, value in dict(average_precision=self.average_precision(), best_f1=self.best_f1()[0]).items():
            samples[name] = samples[name] + (value - coarse[name])
        return {name: percentile_interval(values) for name, values in samples.items()}

    def _coarse(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        found, predicted = weights @ self.window_found, weights @ self.window_predicted
        f1 = _f1(found, predicted)
        at = np.where(np.isnan(f1), -1.0, f1).argmax(axis=-1)
        lowest = self.thresholds[np.unique(self.bins, return_index=True)[1]][at]
        return dict(
            average_precision=_average_precision(found, predicted),
            best_f1=np.take_along_axis(f1, at[:, None], axis=-1)[:, 0],
            best_f1_threshold=np.where(np.isnan(f1).all(axis=-1), np.nan, lowest),
        )


def rank(scores: Tensor, white: Tensor, valid: Tensor) -> Ranking:
    """Rank the pixels of the valid frames of N windows, a few windows at a time.

    Args:
        scores: (N, T, H*W), any device.
        white: int64 (N, T), the white pixel of each frame, at most one.
        valid: bool (N, T), the frames that count; at least one.
    """
    white, valid = white.to(scores.device), valid.to(scores.device)
    white_scores = scores.gather(-1, white[..., None])[..., 0].float()
    thresholds = white_scores[valid].unique()
    n = len(thresholds)
    bins = torch.arange(n, device=scores.device) * min(n, _COARSE) // n
    n_bins = int(bins[-1]) + 1

    def histograms(values: Tensor, counts: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Over all thresholds, and over the coarse bins window by window."""
        bucket = torch.bucketize(values.contiguous(), thresholds, right=True) - 1
        above = (bucket >= 0) & counts
        window = torch.arange(len(values), device=values.device).view(-1, *[1] * (values.dim() - 1))
        fine = torch.bincount(bucket[above], minlength=n)
        place = (window * n_bins + bins[bucket.clamp_min(0)])[above]
        coarse = torch.bincount(place, minlength=len(values) * n_bins).view(len(values), n_bins)
        return fine.cpu().numpy().astype(np.float64), coarse.cpu().numpy().astype(np.float64)

    found, window_found = histograms(white_scores, valid)
    chunks = [
        histograms(chunk.float(), counts[..., None].expand_as(chunk))
        for chunk, counts in zip(scores.split(_CHUNK), valid.split(_CHUNK))
    ]
    predicted = np.sum([fine for fine, _ in chunks], axis=0)
    window_predicted = np.concatenate([coarse for _, coarse in chunks])
    return Ranking(thresholds.cpu().numpy(), found, predicted, bins.cpu().numpy(), window_found, window_predicted)
