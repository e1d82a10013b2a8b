"""How well a map finds the white pixel over all thresholds."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fixlib.metrics.intervals import percentile_interval, ratio

# Thresholds kept a window for the intervals; the values themselves use every threshold there is.
_COARSE = 512
_CURVE_POINTS = 100
_CHUNK = 64


def _at_or_above(counts: np.ndarray) -> np.ndarray:
    """Sums from each threshold to the highest, along the last axis."""
    return np.cumsum(counts[..., ::-1], axis=-1)[..., ::-1]


def _scores(found: np.ndarray, predicted: np.ndarray, thresholds: np.ndarray) -> dict[str, np.ndarray]:
    """Average precision, the highest F1 and where it is reached, from counts between thresholds (..., U)."""
    white, called = _at_or_above(found), _at_or_above(predicted)
    precision = ratio(white, called, undefined=0.0)
    f1 = ratio(2 * white, called + found.sum(axis=-1, keepdims=True))
    best = np.where(np.isnan(f1), -1.0, f1).argmax(axis=-1)
    return dict(
        average_precision=ratio((found * precision).sum(axis=-1), found.sum(axis=-1)),
        best_f1=np.take_along_axis(f1, best[..., None], axis=-1)[..., 0],
        best_f1_threshold=np.where(np.isnan(f1).all(axis=-1), np.nan, thresholds[best]),
    )


@dataclass(frozen=True)
class Ranking:
    """Where the white pixels stand among all pixels, ordered by score.

    Only scores of white pixels matter as thresholds: recall rises, and F1 is highest, only there.
    """

    thresholds: np.ndarray  #: (U,) distinct scores of the white pixels, ascending
    #: found, predicted: (U,) white pixels, and all pixels, from each threshold to the next
    found: np.ndarray
    predicted: np.ndarray
    coarse: np.ndarray  #: (K,) some of the thresholds, K <= 512, with as many between any two
    #: window_found, window_predicted: (N, K) found and predicted of each window, between the coarse ones
    window_found: np.ndarray
    window_predicted: np.ndarray

    def scores(self, weights: np.ndarray) -> dict[str, list[float]]:
        """Value, low and high of average_precision, best_f1 and its threshold (white: score >= it); weights (B, N).

        Average precision is the sum over thresholds of (rise in recall) x (precision), without interpolation; equal
        scores are one threshold, so that an all-equal map scores the share of white pixels. The best threshold is
        chosen anew in each resample. The coarse thresholds' small offset from the exact value is taken off.
        """
        exact = _scores(self.found, self.predicted, self.thresholds)
        samples, coarse = (
            _scores(each @ self.window_found, each @ self.window_predicted, self.coarse)
            for each in (weights, np.ones((1, weights.shape[1])))
        )
        for name in ("average_precision", "best_f1"):
            samples[name] = samples[name] + (exact[name] - coarse[name])
        return {name: [float(exact[name]), *percentile_interval(samples[name]).tolist()] for name in exact}

    def curve(self) -> dict[str, list[float]]:
        """Recall and precision at <= 100 thresholds, from the highest to the lowest."""
        found, predicted = _at_or_above(self.found), _at_or_above(self.predicted)
        shown = np.unique(np.linspace(0, len(found) - 1, _CURVE_POINTS).round().astype(int))[::-1]
        return dict(recall=(found / found[0])[shown].tolist(), precision=(found / predicted)[shown].tolist())


def rank(scores: Tensor, white: Tensor, valid: Tensor) -> Ranking:
    """Rank the pixels (N, T, H*W) of N windows by their scores, a few windows at a time.

    `white` is the number of each frame's white pixel, int64 (N, T), and `valid` says which frames count, bool (N, T).
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
    exact, lowest = thresholds.cpu().numpy(), np.unique(bins.cpu().numpy(), return_index=True)[1]
    return Ranking(exact, found, predicted, exact[lowest], window_found, window_predicted)
