"""Drawing the frames of white pixels, against the double loop of the original description.

python -m benchmarks frames [--quick]
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch

from benchmarks.turns import Side, against, take_turns
from fixlib.grid import create_sparse_frames

SIZE, FRAMES = 32, 20
WINDOWS = (8, 64, 500)  # a batch, what fits in the cache, the original experiment's training windows
CALLS = 20  # in a turn: one alone would be timed with a cold cache


def run(quick: bool, threads: int, dataset: str) -> Iterator[dict]:
    """A row a number of windows."""
    for windows in WINDOWS[:2] if quick else WINDOWS:
        points, valid = some_points(windows)
        assert torch.equal(double_loop(points, valid), create_sparse_frames(points, valid, SIZE))
        sides = {name: Side(drawing, dict(how=name, windows=windows)) for name in ("loop", "fixlib")}
        timed = take_turns(sides, 5 if quick else 11, threads)
        ratios = {name: CALLS * ratio for name, ratio in against(timed["loop"], timed["fixlib"]).items()}
        loop, ours = 1e3 * timed["loop"].median, 1e3 * timed["fixlib"].median / CALLS
        yield dict(frames=f"({windows}, {FRAMES}, 1, {SIZE}, {SIZE})", loop=loop, ours=ours, unit="ms") | ratios


def drawing(how: str, windows: int) -> Callable[[], object]:
    points, valid = some_points(windows)
    if how == "loop":
        return lambda: double_loop(points, valid)
    return lambda: [create_sparse_frames(points, valid, SIZE) for _ in range(CALLS)]


def double_loop(coordinates: torch.Tensor, fixation_mask: torch.Tensor) -> torch.Tensor:
    """As described: go through batch and time, and set the pixel to 1 at valid coordinates."""
    batch, length = fixation_mask.shape
    frames = torch.zeros(batch, length, 1, SIZE, SIZE)
    for b in range(batch):
        for t in range(length):
            if fixation_mask[b, t]:
                x, y = int(coordinates[b, t, 0]), int(coordinates[b, t, 1])
                if 0 <= x < SIZE and 0 <= y < SIZE:
                    frames[b, t, 0, y, x] = 1.0
    return frames


def some_points(windows: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Points all over the grid, one in ten not valid."""
    generator = torch.Generator().manual_seed(0)
    points = SIZE * torch.rand(windows, FRAMES, 2, generator=generator)
    return points, torch.rand(windows, FRAMES, generator=generator) > 0.1
