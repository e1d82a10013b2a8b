"""PATTERNS: one moving point whose past determines its future, to tell "cannot know" from "cannot learn"."""

from __future__ import annotations

import hashlib
import json

import numpy as np

from fixlib.data.files import as_coordinates, sequence_set
from fixlib.data.scanpaths import Source

KINDS = ("line", "arc", "bounce")
MARGIN = 1.0  # px that every noiseless point keeps from the border
SMALLEST_RADIUS = 4.0  # px, of arcs


def make_patterns(
    kind: str, n: int, length: int, speed: float = 1.0, noise: float = 0.0, seed: int = 0, size: int = 32
) -> dict:
    """``n`` sequences of ``length`` points, each moving ``speed`` px a frame along its path.

    - ``line``: straight, constant velocity, random direction.
    - ``arc``: on a circle of random radius, either way round; ``speed`` is measured along the circle.
    - ``bounce``: straight, reflected by walls ``MARGIN`` px inside the border.
    - ``mixed``: each sequence one of the three at random.

    Without noise every point lies at least 1 px inside the grid. With ``noise``, each frame's point, inputs
    included, is replaced with that probability by one drawn uniformly over the grid; so a predictor that
    knows the path finds the pixel with probability (1 - noise) + noise / size^2 and nobody can do better.

    Returns:
        A sequence set, every mask True; subject and stimulus are the number of the sequence.

    Raises:
        ValueError: unknown kind, or numbers that do not fit, such as a line longer than the grid.
    """
    _check(kind, n, length, speed, noise, size)
    generator = np.random.default_rng(seed)
    chosen = np.full(n, kind) if kind != "mixed" else generator.choice(KINDS, size=n)
    time = np.arange(length)[:, None, None]  # (length, n, 2) throughout
    points = np.empty((n, length, 2))
    for name in np.unique(chosen):
        these = chosen == name
        points[these] = PATHS[name](n, time, speed, size, generator).swapaxes(0, 1)[these]
    replaced = generator.random((n, length, 1)) < noise
    points = np.where(replaced, generator.uniform(0, size, (n, length, 2)), points)
    given = dict(kind=kind, n=n, length=length, speed=speed, noise=noise, seed=seed, size=size)
    number = np.arange(n)
    return sequence_set(
        as_coordinates(points, size),
        np.ones((n, length), bool),
        number,
        number,
        source=_source(kind, given),
        frames="steps",
        rate_hz=None,
        size=size,
    )


def _line(n: int, time: np.ndarray, speed: float, size: int, generator: np.random.Generator) -> np.ndarray:
    room, distance = size - 2 * MARGIN, speed * (len(time) - 1)
    # Longer than a side, it fits only near a diagonal: both components of the way must be at most `room`.
    steepest = np.pi / 2 if distance <= room else np.arcsin(room / distance)
    angle = generator.uniform(np.pi / 2 - steepest, steepest, n) + np.pi / 2 * generator.integers(0, 4, n)
    direction = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    way = distance * direction
    lowest, highest = MARGIN - np.minimum(way, 0), size - MARGIN - np.maximum(way, 0)
    return generator.uniform(lowest, np.maximum(highest, lowest)) + time * speed * direction


def _arc(n: int, time: np.ndarray, speed: float, size: int, generator: np.random.Generator) -> np.ndarray:
    radius = generator.uniform(SMALLEST_RADIUS, size / 2 - MARGIN, n)[:, None]
    centre = generator.uniform(MARGIN + radius, size - MARGIN - radius, (n, 2))
    turn = generator.choice([-1, 1], (n, 1)) * speed / radius
    phase = generator.uniform(0, 2 * np.pi, (n, 1)) + time * turn
    return centre + radius * np.concatenate([np.cos(phase), np.sin(phase)], axis=-1)


def _bounce(n: int, time: np.ndarray, speed: float, size: int, generator: np.random.Generator) -> np.ndarray:
    room = size - 2 * MARGIN
    angle = generator.uniform(0, 2 * np.pi, n)
    direction = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    unfolded = generator.uniform(0, room, (n, 2)) + time * speed * direction
    return MARGIN + room - np.abs(unfolded % (2 * room) - room)  # folded back at both walls


PATHS = {"line": _line, "arc": _arc, "bounce": _bounce}


def _check(kind: str, n: int, length: int, speed: float, noise: float, size: int) -> None:
    if kind not in (*KINDS, "mixed"):
        raise ValueError(f"unknown pattern {kind!r}; known: {', '.join(KINDS)}, mixed")
    if n < 1 or length < 1:
        raise ValueError(f"n and length must be at least 1, not {n} and {length}")
    if not 0 <= noise <= 1:
        raise ValueError(f"noise is a probability, in [0, 1], not {noise}")
    if speed < 0:
        raise ValueError(f"speed (px a frame) must be 0 or more, not {speed}")
    if size < 2 * (SMALLEST_RADIUS + MARGIN):
        raise ValueError(f"size must be at least {2 * (SMALLEST_RADIUS + MARGIN):g} px, not {size}")
    longest = np.sqrt(2) * (size - 2 * MARGIN)
    if kind in ("line", "mixed") and speed * (length - 1) > longest:
        raise ValueError(
            f"a line of {length} frames at {speed} px a frame does not fit: at most {longest:.1f} px of way "
            f"in a {size} px grid; lower speed or length, or use 'bounce'"
        )


def _source(kind: str, given: dict) -> Source:
    digest = hashlib.sha256(json.dumps(given, sort_keys=True).encode()).hexdigest()
    return Source(
        f"patterns-{kind}",
        f"PATTERN {kind} (computed motion, not a recording)",
        digest,
        "MIT (made by this library)",
        "none: generated, not recorded",
        True,
    )
