"""The numbers behind chapter 3: motion whose continuation is known, and the same with noise.

A study here is one of `predictable_motion`: networks start.NAME, scratch.NAME, onwards.NAME and ahead.NAME (a loss, or
hybrid_l1), with scores by noise under payload["stages"]; and exact.noiseNN, exact.ahead, with scores by predictor under
payload["exact"].
"""

import numpy as np
import pandas as pd

from fixlib.chapters.predictable_motion.runs import AHEAD, LOSSES, N_IN, POINT_BASELINES, paths_of_test, tag
from fixlib.data.lattice import lattice_paths
from fixlib.plots import interval, name_of
from fixlib.runs.study import Number, Study

# What a loss is judged by: the order of the pixels, where the brightest lies, and the two that need p > 0.5.
METRICS = {
    "average_precision": "average precision",
    "hit_1px": "brightest within 1 px",
    "white_pixel_recall": "recall at 0.5",
    "white_pixel_precision": "precision at 0.5",
}
PRECISION = "white_pixel_precision"
SLANT = 4.0  # frames' worth of way along both axes, for a picture with room in it


def networks(study: Study, way: str) -> list[str]:
    """The losses of the frame predictors "scratch", "onwards" or "ahead"."""
    return [name for name in LOSSES if f"{way}.{name}" in study.variants()]


def score(study: Study, variant: str, metric: str, noise: float = 0.0) -> Number:
    """A network's metric at a noise; KeyError where it was not trained there."""
    return _known(study.run(variant).payload["stages"][tag(noise)]["metrics"][metric], metric)


def exact_score(study: Study, predictor: str, metric: str, noise: float = 0.0) -> Number:
    """The same of the best output under a loss, or of another of the predictors under `exact`."""
    return _known(study.run(f"exact.{tag(noise)}").payload["exact"][predictor]["metrics"][metric], metric)


def _known(found: dict, metric: str) -> Number:
    """NaN for null, of an undefined number, and for a precision where no pixel was called white."""
    nothing = metric == PRECISION and not found["value"]
    return {key: np.nan if nothing or value is None else value for key, value in found.items()}


def beside_best(study: Study, way: str, noise: float = 0.0) -> pd.DataFrame:
    """METRICS of the networks "scratch" or "onwards" at a noise: value [95% interval] (the best under that loss)."""
    rows = {}
    for name in (name for name in networks(study, way) if noise in noises(study, f"{way}.{name}")):
        found = {metric: score(study, f"{way}.{name}", metric, noise) for metric in METRICS}
        best = {metric: exact_score(study, name, metric, noise)["value"] for metric in METRICS}
        rows[name_of(name)] = {METRICS[metric]: _written(one, best[metric]) for metric, one in found.items()}
    return pd.DataFrame(rows).T


def _written(found: Number, best: float) -> str:
    if np.isnan(found["value"]):
        return "–"
    return f"{interval(found, '.2f')} ({'–' if np.isnan(best) else f'{best:.2f}'})"


def point_errors(study: Study) -> pd.DataFrame:
    """Mean error (px) by noise: the hybrid's point, the medians of two frame networks, two rules, the best possible."""
    networks = {"hybrid_l1": "error", "softmax_cross_entropy": "error_median", "weighted_mse": "error_median"}
    rows = {}
    for level in noises(study, "onwards.hybrid_l1"):
        found = {name: score(study, f"onwards.{name}", metric, level) for name, metric in networks.items()}
        found |= {name: exact_score(study, name, "error_argmax", level) for name in POINT_BASELINES}
        best = exact_score(study, "softmax_cross_entropy", "error_median", level)["value"]
        row = {name_of(name): number["value"] for name, number in found.items()}
        rows[f"noise {level:g}"] = row | {"best possible": best}
    return pd.DataFrame(rows).T


def noises(study: Study, variant: str = "") -> list[float]:
    """The noises that a network went through; by default those of which the exact answers are recorded."""
    if variant:
        return list(study.run(variant).spec.config.noises)
    exact = [study.run(name).spec.config for name in study.variants(model="exact")]
    return [config.noises[0] for config in exact if config.data.n_out == 1]


def by_horizon(study: Study, predictor: str, metric: str, group: str) -> np.ndarray:
    """A metric 1 ... 10 frames ahead, over the test windows of a kind or speed, or "all" ("arc", "speed 3")."""
    if predictor in networks(study, "ahead"):
        found = study.run(f"ahead.{predictor}").payload["stages"][tag(0.0)]
    else:
        found = study.run("exact.ahead").payload["exact"][predictor]
    return np.array([np.nan if value is None else value for value in found["by_horizon"][group][metric]])


def copied_input(study: Study, speed: int) -> np.ndarray:
    """Mean pixel error (px), (AHEAD,), of the k-th given frame taken for the k-th to come: SimVP's skip hands it over.

    Without noise, over the test windows of that speed.
    """
    where = study.run("exact.ahead").spec.config.data
    possible, rows = lattice_paths(where.size, N_IN + AHEAD), paths_of_test(where, 0.0)
    y, x = np.divmod(possible.pixels[rows[possible.speed[rows] == speed]], where.size)
    return np.hypot(x[:, :AHEAD] - x[:, N_IN:], y[:, :AHEAD] - y[:, N_IN:]).mean(0)


def straight_lines(n: int, length: int, speed: float, seed: int = 0) -> np.ndarray:
    """`n` straight paths (n, length, 2) px from anywhere inside the pixel (0, 0), at `speed` px a frame.

    They lead right, down, and more right than down; all others are their mirror images.
    """
    generator = np.random.default_rng(seed)
    angle = generator.uniform(0, np.pi / 4, n)
    direction = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    return generator.uniform(0, 1, (n, 1, 2)) + speed * np.arange(length)[:, None] * direction[:, None]


def recall_from_pixels(speed: float, n: int = 300_000, seed: int = 0) -> float:
    """Share of next pixels that the ten before give away, on straight lines which start anywhere.

    The best guess after each sequence of pixels is its most frequent continuation in one half of `n` lines, tried on
    the other half. Nobody can do better, except by what the walls say.
    """
    steps = np.diff(np.floor(straight_lines(n, N_IN + 1, speed, seed)).astype(int), axis=1)  # at most 3 px, as digits
    digits = 4 * steps[..., 1] + steps[..., 0]
    _, past = np.unique(digits[:, :-1] @ 16 ** np.arange(N_IN - 1), return_inverse=True)
    half = n // 2
    counts = np.zeros((past.max() + 1, 16), np.int32)
    np.add.at(counts, (past[:half], digits[:half, -1]), 1)
    return float((counts.argmax(1)[past[half:]] == digits[half:, -1]).mean())


def same_past() -> tuple[np.ndarray, np.ndarray]:
    """Two slanting lines, (11, 2) px each, that share the pixels of ten frames and not the next."""
    lines = straight_lines(20_000, N_IN + 1, speed=1.0)
    lines = lines[(abs(lines[:, -1] - lines[:, 0]) > SLANT).all(-1)]
    pixels = np.floor(lines).astype(int)
    _, past = np.unique(pixels[:, :N_IN].reshape(len(lines), -1), axis=0, return_inverse=True)
    first_with: dict[int, int] = {}
    return next(
        (lines[other], lines[number])
        for number, key in enumerate(past)
        for other in [first_with.setdefault(key, number)]
        if (pixels[other, N_IN] != pixels[number, N_IN]).any()
    )
