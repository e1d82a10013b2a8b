"""LATTICE MOTION: one pixel moving on whole pixels, every path known, and so the exact probability of what is next.

Paths that start anywhere inside a pixel hide enough in it to make the next pixel uncertain. Here points lie on pixels
and move whole pixels a frame, so that there are finitely many paths and ten frames of one tell where it goes on. With
`noise`, each frame's pixel, inputs included, is replaced with that probability by one drawn uniformly.

Nobody's eye was recorded.
"""

import hashlib
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd
import torch
from scipy.sparse import csr_array
from torch import Tensor

from fixlib.data.datasets import DATASETS, Dataset
from fixlib.data.gaze import PARTS, Gaze, Source
from fixlib.grid import pixel_center

KINDS = ("line", "bounce", "arc")
SPEEDS = (1, 3)  # px a frame, along each axis that moves; along the circle for arcs
RADIUS = 1 / 4  # of arcs, in sides of the grid
SHARES = (0.7, 0.8)  # of all paths: up to the first for training, up to the second for validation, the others for test
WINDOWS = {"train": 2000, "val": 200, "test": 600}  # of the dataset, of LENGTH frames
LENGTH = 20
SOURCE = Source(
    "patterns",
    "LATTICE MOTION (computed, not a recording)",
    "computed: see its fingerprint",
    "MIT (made by this library)",
    "none: generated, not recorded",
    simulated=True,
)
_CHUNK = 64


@DATASETS.register("patterns")
class Patterns(Dataset):
    """Without noise, a frame a step, whatever rate is asked for."""

    source = SOURCE

    def open(self, rate_hz: float | None, size: int) -> dict[str, Gaze]:
        return lattice_windows(size, LENGTH, 0.0, WINDOWS)

    def fingerprint(self, rate_hz: float | None, size: int) -> str:
        paths = lattice_paths(size, LENGTH)
        numbers = paths.pixels.astype("<i4").tobytes() + paths.prior.round(9).astype("<f4").tobytes()
        return hashlib.sha256(numbers).hexdigest()[:16]


@dataclass(frozen=True)
class Paths:
    """Every path there is on a grid."""

    pixels: np.ndarray  #: (P, T) the path's pixel in each frame, y * size + x
    prior: np.ndarray  #: (P,) how often a path is drawn: every kind alike, and within a kind every speed alike
    #: (P,) index into KINDS. A straight path that is reflected within its T frames is a bounce, else a line
    kind: np.ndarray
    speed: np.ndarray  #: (P,) px a frame
    size: int  #: side of the grid, px

    def draw(
        self, n: int, noise: float, generator: np.random.Generator, among: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """`n` paths (of those numbers, by default all): numbers (n,), and pixels (n, T) as noisy frames show them."""
        among = np.arange(len(self.prior)) if among is None else among
        rows = generator.choice(among, size=n, p=self.prior[among] / self.prior[among].sum())
        replaced = generator.random((n, self.pixels.shape[1])) < noise
        anywhere = generator.integers(0, self.size**2, replaced.shape)
        return rows, np.where(replaced, anywhere, self.pixels[rows])


@lru_cache(maxsize=4)
def lattice_paths(size: int = 32, length: int = 20) -> Paths:
    """All paths of `length` frames: straight ones from every pixel along x, y and the diagonals, and arcs."""
    found = []
    for speed in SPEEDS:
        straight, reflected = _straight(size, length, speed)
        for kind, pixels in enumerate((straight[~reflected], straight[reflected], _arcs(size, length, speed))):
            found.append((pixels, np.full(len(pixels), kind), np.full(len(pixels), speed)))
    pixels, kinds, speeds = map(np.concatenate, zip(*found))
    return Paths(pixels.astype(np.int32), _even_prior(kinds, speeds), kinds, speeds, size)


def _straight(size: int, length: int, speed: int) -> tuple[np.ndarray, np.ndarray]:
    """Paths (P, length) reflected where they come to the border pixels, and whether they are (P,)."""
    axis, ways = np.arange(size), np.array([way for way in np.ndindex(3, 3) if way != (1, 1)]) - 1
    y, x = (part.reshape(-1, 1) for part in np.meshgrid(axis, axis, indexing="ij"))
    time = speed * np.arange(length)
    unfolded = np.concatenate([np.stack([y + dy * time, x + dx * time]) for dy, dx in ways], axis=1)  # (2, P, length)
    last = size - 1
    folded_y, folded_x = last - abs(unfolded % (2 * last) - last)
    reflected = (unfolded.min(axis=(0, 2)) < 0) | (unfolded.max(axis=(0, 2)) > last)
    return folded_y * size + folded_x, reflected


def _arcs(size: int, length: int, speed: int) -> np.ndarray:
    """Both ways round circles about corners of pixels, from evenly spaced places on them, alike in every eighth."""
    radius = RADIUS * size
    steps = 8 * round(2 * np.pi * radius / (8 * speed))
    start, way = np.arange(steps)[:, None, None], np.array([1, -1])[:, None]
    angle = 2 * np.pi * (start + 0.5 + way * np.arange(length)).reshape(-1, length) / steps
    centre = np.arange(np.floor(radius) + 1, size - radius)[:, None, None]
    x, y = (np.floor(centre + radius * f(angle)).astype(int) for f in (np.cos, np.sin))
    return (y[:, None] * size + x[None]).reshape(-1, length)


def _even_prior(kind: np.ndarray, speed: np.ndarray) -> np.ndarray:
    table = pd.DataFrame(dict(kind=kind, speed=speed))
    speeds = table.groupby("kind")["speed"].transform("nunique")
    alike = table.groupby(["kind", "speed"])["speed"].transform("size")
    return (1 / (table["kind"].nunique() * speeds * alike)).to_numpy()


def lattice_windows(size: int, length: int, noise: float, counts: dict[str, int], seed: int = 0) -> dict[str, Gaze]:
    """Train, val and test windows of pixel centers; subject and stimulus are the window's number.

    No path of one part is in another. Who does not know which paths were held out has to think any possible, so that
    `lattice_density` is the best anyone can know in each part.

    Args:
        noise: probability in [0, 1] that a frame shows any pixel instead of the path's.
        counts: windows in each part.
    """
    windows = {}
    for part in PARTS:
        pixels = torch.from_numpy(_draw(size, length, noise, counts[part], seed, part)[1])
        mask, number = torch.ones(pixels.shape, dtype=torch.bool), torch.arange(len(pixels))
        windows[part] = Gaze(pixel_center(pixels, size), mask, number, number, SOURCE, "steps", None, size)
    return windows


def drawn_paths(size: int, length: int, noise: float, count: int, seed: int = 0, part: str = "test") -> np.ndarray:
    """The numbers in `lattice_paths` of the paths behind a part's windows, (count,)."""
    return _draw(size, length, noise, count, seed, part)[0]


def _draw(size: int, length: int, noise: float, count: int, seed: int, part: str) -> tuple[np.ndarray, np.ndarray]:
    if not 0 <= noise <= 1:
        raise ValueError(f"noise is a probability, in [0, 1], not {noise}")
    paths = lattice_paths(size, length)
    _, same = np.unique(paths.pixels, axis=0, return_inverse=True)  # some are drawn from two ends of a wall
    place = np.random.default_rng(seed).permutation(same.max() + 1)[same.ravel()] / (same.max() + 1)
    among = np.flatnonzero(np.searchsorted(SHARES, place, side="right") == PARTS.index(part))
    return paths.draw(count, noise, np.random.default_rng([seed, PARTS.index(part)]), among)


def path_posterior(paths: Paths, seen: np.ndarray, noise: float) -> np.ndarray:
    """Probability (N, P) of each path after the first frames `seen` (N, n_in), pixels.

    A path that fits m of the n_in frames has likelihood (1 - noise + u)^m u^(n_in - m), u = noise / size^2.
    """
    missed = np.zeros((len(seen), len(paths.prior)), np.uint8)
    for frame, pixels in zip(seen.T, paths.pixels.T):
        missed += frame[:, None] != pixels
    by_chance = noise / paths.size**2
    # Relative to the path that fits best, so that nothing underflows; without noise only those that fit it all stay.
    powers = (by_chance / (1 - noise + by_chance)) ** np.arange(seen.shape[1] + 1.0)
    weight = paths.prior * powers[missed - missed.min(axis=1, keepdims=True)]
    return weight / weight.sum(axis=1, keepdims=True)


def lattice_density(paths: Paths, seen: np.ndarray, noise: float) -> Tensor:
    """Exact probability (N, T - n_in, H, W) of each pixel being white in the frames after `seen`, float64."""
    later, n = paths.pixels[:, seen.shape[1] :], paths.size**2
    rows = np.arange(len(paths.prior))
    shown = [csr_array((np.ones(len(rows)), (rows, frame)), shape=(len(rows), n)) for frame in later.T]
    posteriors = (path_posterior(paths, seen[first : first + _CHUNK], noise) for first in range(0, len(seen), _CHUNK))
    density = np.concatenate([np.stack([weight @ frame for frame in shown], axis=1) for weight in posteriors])
    density = (1 - noise) * density + noise / n
    return torch.from_numpy(density).view(*density.shape[:2], paths.size, paths.size)
