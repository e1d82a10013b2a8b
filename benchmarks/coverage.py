"""How often do 95% intervals hold the truth, with as few viewers as a test part has?

As many windows as OSIE's have, spread at random over viewers x 175 pictures. A window's score is the sum of what is its
viewer's, its picture's and its own: three normals, whose variances are those found in OSIE's test windows. The truth is
0. The library's interval resamples viewers and pictures; beside it stand those that know how few viewers there are.
"""

from collections.abc import Iterator

import numpy as np
from scipy import stats

from fixlib.metrics import clustered_bootstrap

PICTURES = 175
WINDOWS = {4: 567, 15: 1934}  # OSIE's test part, and every viewer tested once
# Variances of viewer, picture and window in OSIE's test part at 10 -> 10, of the transition table and of its difference
# from the centre bias: what pairs of windows of one viewer, of one picture, and of neither differ by.
SCORES = {
    "bits": (0.120, 0.060, 1.404),
    "bits, difference": (0.057, 0.066, 1.333),
    "px": (0.858, 1.443, 5.385),
    "px, difference": (0.063, 0.392, 3.303),
}
Interval = tuple[float, float]


def run(quick: bool, threads: int, dataset: str) -> Iterator[dict]:
    """A row a number of viewers and kind of score: coverage in %, and mean width as a multiple of the bootstrap's."""
    for viewers in WINDOWS:
        for score, variances in SCORES.items():
            held, widths = [], []
            for seed in range(100 if quick else 1000):
                found = intervals(*simulated(viewers, variances, seed))
                low, high = np.array(list(found.values())).T
                held.append((low <= 0) & (high >= 0))
                widths.append(high - low)
            shares, widths = 100 * np.mean(held, axis=0), np.mean(widths, axis=0)
            columns = {name: f"{s:.1f} ({w:.2f})" for name, s, w in zip(found, shares, widths / widths[0])}
            yield dict(viewers=viewers, score=score) | columns


def simulated(viewers: int, variances: tuple, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores of windows, (N,), with their viewers and pictures."""
    rng = np.random.default_rng(seed)
    pairs = rng.choice(viewers * PICTURES, WINDOWS[viewers], replace=False)
    subject, stimulus = pairs % viewers, pairs // viewers
    of_viewer, of_picture, own = (
        np.sqrt(variance) * rng.normal(size=n) for variance, n in zip(variances, (viewers, PICTURES, len(pairs)))
    )
    return of_viewer[subject] + of_picture[stimulus] + own, subject, stimulus


def intervals(y: np.ndarray, subject: np.ndarray, stimulus: np.ndarray) -> dict[str, Interval]:
    """Of the mean: the library's; as much wider as n viewers need; and two that are computed, not drawn."""
    low, high = clustered_bootstrap(y, subject=subject, stimulus=stimulus)
    n, mean = len(np.unique(subject)), y.mean()
    # Student's t is wider than the normal, and draws of n from n vary too little.
    factor = stats.t.ppf(0.975, n - 1) / stats.norm.ppf(0.975) * np.sqrt(n / (n - 1))
    return dict(
        resampled=(low, high),
        widened=(mean + factor * (low - mean), mean + factor * (high - mean)),
        leave_one_viewer_out=leave_one_viewer_out(y, subject),
        two_way=two_way(y, subject, stimulus),
    )


def leave_one_viewer_out(y: np.ndarray, subject: np.ndarray) -> Interval:
    """Student's t of the jackknife over viewers: pictures count only as far as viewers saw different ones."""
    left = np.array([y[subject != one].mean() for one in np.unique(subject)])
    n = len(left)
    return _student(y.mean(), (n - 1) / n * ((left - left.mean()) ** 2).sum(), n - 1)


def two_way(y: np.ndarray, subject: np.ndarray, stimulus: np.ndarray) -> Interval:
    """Student's t of variance by viewers + by pictures - by windows (Cameron, Gelbach & Miller 2011).

    Degrees of freedom are those of the smaller number, of viewers or of pictures.
    """
    residuals, parts, numbers = y - y.mean(), [], []
    for labels in (subject, stimulus):
        n = len(np.unique(labels))
        parts.append(n / (n - 1) * (np.bincount(labels, residuals) ** 2).sum() / len(y) ** 2)
        numbers.append(n)
    variance = max(sum(parts) - (residuals**2).sum() / len(y) ** 2, *parts)
    return _student(y.mean(), variance, min(numbers) - 1)


def _student(center: float, variance: float, freedom: int) -> Interval:
    half = stats.t.ppf(0.975, freedom) * np.sqrt(variance)
    return center - half, center + half
