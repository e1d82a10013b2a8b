"""Motion that ten frames give away: paths on a lattice, all of them known, and so the exact probability of what is next.

Paths of `make_patterns` start anywhere in a pixel. Frames show pixels only, and what is hidden inside them is enough to
make the next pixel uncertain. Here positions lie on half pixels and speeds are multiples of half a pixel, so that there
are finitely many paths, and the frames of a path tell where it goes on (nearly always: `path_posterior` says exactly).
With `noise`, each frame's pixel, inputs included, is replaced with that probability by one drawn uniformly.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor

from fixlib.data import pixel_centre
from fixlib.data.files import sequence_set
from fixlib.data.patterns import KINDS, SOURCE

RADII = (3 / 16, 5 / 16)  # of arcs, in sides of the grid
PATTERNS = SOURCE.name
PARTS = ("train", "val", "test")
_CHUNK = 64


@dataclass(frozen=True)
class Catalogue:
    """Every path there is.

    Attributes:
        pixels: (P, T) the path's pixel in each frame, y * size + x.
        prior: (P,) how often a path is drawn: every kind alike, and within a kind every speed alike.
        kind: (P,) index into KINDS. A straight path that meets no wall is a line, one that does is a bounce.
        speed: (P,) px a frame, along each axis that moves (straight paths) or along the circle (arcs).
        size: of the grid, px.
    """

    pixels: np.ndarray
    prior: np.ndarray
    kind: np.ndarray
    speed: np.ndarray
    size: int

    def draw(self, n: int, noise: float, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """`n` paths: their numbers (n,), and their pixels (n, T) as the frames show them."""
        rows = generator.choice(len(self.prior), size=n, p=self.prior)
        replaced = generator.random((n, self.pixels.shape[1])) < noise
        anywhere = generator.integers(0, self.size**2, replaced.shape)
        return rows, np.where(replaced, anywhere, self.pixels[rows])


@lru_cache(maxsize=4)
def catalogue(size: int, length: int, speeds: tuple[float, ...]) -> Catalogue:
    """All paths of `length` frames on a grid, for speeds that are multiples of half a pixel.

    Raises:
        ValueError: a speed that is not.
    """
    if bad := [speed for speed in speeds if speed <= 0 or (2 * speed) % 1]:
        raise ValueError(f"speeds must be positive multiples of 0.5 px a frame, not {bad}")
    parts = [part for speed in speeds for part in (*_straight(size, length, speed), _arcs(size, length, speed))]
    pixels, kinds, found = zip(*parts)
    kind = np.concatenate([np.full(len(part), KINDS.index(name)) for part, name in zip(pixels, kinds)])
    speed = np.concatenate([np.full(len(part), value) for part, value in zip(pixels, found)])
    return Catalogue(np.concatenate(pixels).astype(np.int32), _even_prior(kind, speed), kind, speed, size)


def _straight(size: int, length: int, speed: float) -> list[tuple[np.ndarray, str, float]]:
    """Along x, along y and along both, from every place; reflected by the walls."""
    # Half pixels 0 ... 2 size - 1 on the way there, the same backwards on the way back.
    start, time = np.arange(4 * size)[:, None], np.arange(length)
    unfolded = start + int(2 * speed) * time
    lap = unfolded % (4 * size)
    moving = np.minimum(lap, 4 * size - 1 - lap) // 2
    met = (unfolded // (2 * size) != start // (2 * size)).any(1)
    still = np.repeat(np.arange(size)[:, None], length, axis=1)
    found = {"line": [], "bounce": []}
    for y, x, y_met, x_met in ((still, moving, np.zeros(size, bool), met), (moving, still, met, np.zeros(size, bool)),
                               (moving, moving, met, met)):
        path = (y[:, None] * size + x[None]).reshape(-1, length)
        bounced = (y_met[:, None] | x_met[None]).ravel()
        found["line"].append(path[~bounced])
        found["bounce"].append(path[bounced])
    return [(np.concatenate(paths), kind, speed) for kind, paths in found.items()]


def _arcs(size: int, length: int, speed: float) -> tuple[np.ndarray, str, float]:
    """Both ways round circles about corners of pixels, from evenly spaced places on them."""
    found = []
    for radius in (share * size for share in RADII):
        steps = round(2 * np.pi * radius / speed)
        centre = np.arange(np.floor(radius) + 1, size - radius)
        for way in (1, -1):
            angle = 2 * np.pi * (np.arange(steps)[:, None] + 0.5 + way * np.arange(length)) / steps
            x, y = (np.floor(centre[:, None, None] + radius * f(angle)).astype(int) for f in (np.cos, np.sin))
            found.append((y[:, None] * size + x[None]).reshape(-1, length))
    return np.concatenate(found), "arc", speed


def _even_prior(kind: np.ndarray, speed: np.ndarray) -> np.ndarray:
    prior = np.zeros(len(kind))
    kinds = np.unique(kind)
    for each in kinds:
        speeds = np.unique(speed[kind == each])
        for value in speeds:
            group = (kind == each) & (speed == value)
            prior[group] = 1 / (len(kinds) * len(speeds) * group.sum())
    return prior


def catalogue_of(config: dict) -> Catalogue:
    """The catalogue that a data configuration (dataset "patterns") names."""
    return catalogue(config["size"], config["n_in"] + config["n_out"], tuple(config["speeds"]))


def motion_fingerprint(config: dict) -> str:
    """16 hex digits that change whenever the windows of that configuration could."""
    paths = catalogue_of(config)
    numbers = paths.pixels.astype("<i4").tobytes() + paths.prior.round(9).astype("<f4").tobytes()
    return hashlib.sha256(numbers).hexdigest()[:16]


def motion_windows(config: dict) -> dict[str, dict]:
    """Train, val and test windows: sequence sets of pixel centres; subject and stimulus are the window's number."""
    paths = catalogue_of(config)
    drawn = {part: paths.draw(config[part], config["noise"], _generator(config, part))[1] for part in PARTS}
    return {part: _as_sequences(pixels, config["size"]) for part, pixels in drawn.items()}


def test_paths(config: dict) -> np.ndarray:
    """The numbers in the catalogue of the test windows' paths, (N,)."""
    return catalogue_of(config).draw(config["test"], config["noise"], _generator(config, "test"))[0]


def _generator(config: dict, part: str) -> np.random.Generator:
    return np.random.default_rng([config["seed"], PARTS.index(part)])


def _as_sequences(pixels: np.ndarray, size: int) -> dict:
    number = np.arange(len(pixels))
    points = pixel_centre(torch.from_numpy(pixels), size).float().numpy()
    return sequence_set(points, np.ones(pixels.shape, bool), number, number, SOURCE, "steps", None, size)


def path_posterior(paths: Catalogue, seen: np.ndarray, noise: float) -> np.ndarray:
    """Probability (N, P) of each path after the first frames `seen` (N, n_in), pixels.

    A path that fits m of the n_in frames has likelihood (1 - noise + u)^m u^(n_in - m), u = noise / size^2.
    """
    missed = np.zeros((len(seen), len(paths.prior)), np.uint8)
    for frame, pixels in zip(seen.T, paths.pixels.T):
        missed += frame[:, None] != pixels
    replaced = noise / paths.size**2
    # Relative to the path that fits best, so that nothing underflows; without noise only those that fit it all stay.
    weight = paths.prior * (replaced / (1 - noise + replaced)) ** (missed - missed.min(1, keepdims=True)).astype(float)
    return weight / weight.sum(1, keepdims=True)


def next_pixel_density(paths: Catalogue, seen: np.ndarray, noise: float) -> Tensor:
    """Exact probability (N, T - n_in, H, W) of each pixel being white in the frames after `seen`, float64."""
    later, n = paths.pixels[:, seen.shape[1]:], paths.size**2
    chunks = [path_posterior(paths, seen[first:first + _CHUNK], noise) for first in range(0, len(seen), _CHUNK)]
    rows = np.arange(len(paths.prior))
    shown = [csr_array((np.ones(len(rows)), (rows, frame)), shape=(len(rows), n)) for frame in later.T]
    density = np.concatenate([np.stack([weight @ frame for frame in shown], axis=1) for weight in chunks])
    density = (1 - noise) * density + noise / n
    return torch.from_numpy(density).view(*density.shape[:2], paths.size, paths.size)
