"""Drawing the frames of white pixels, against the double loop of the original description.

python -m benchmarks frames [--quick]
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch

from benchmarks.turns import Side, paired_ratio, take_turns
from fixlib.grid import create_sparse_frames
from fixlib.system import keep_freed_memory

TITLE = "Frames from coordinates"
SIZE = 32
# Windows and frames: a batch, one that fits in the cache, the original experiment's training windows.
CASES = ((8, 20), (64, 20), (500, 20))
CALLS = 20  # of create_sparse_frames in a turn: one alone would be timed with a cold cache


def run(quick: bool, threads: int, dataset: str) -> Iterator[dict]:
    """A row a number of windows."""
    for case in CASES[:2] if quick else CASES:
        yield measure(*case, threads=threads, turns=5 if quick else 11)


def measure(windows: int, frames: int, threads: int, turns: int) -> dict:
    points, valid = some_points(windows, frames)
    if not torch.equal(double_loop(points, valid), create_sparse_frames(points, valid, SIZE)):
        raise AssertionError("the double loop and create_sparse_frames draw different frames")
    sides = {
        name: Side(drawing, dict(how=name, windows=windows, frames=frames))
        for name in ("double loop", "create_sparse_frames")
    }
    timed = take_turns(sides, turns, threads)
    loop, ours = timed["double loop"], timed["create_sparse_frames"]
    ratio, low, high = (CALLS * value for value in paired_ratio(loop.seconds, ours.seconds))
    return dict(
        name=f"({windows}, {frames}, 1, {SIZE}, {SIZE})",
        ours=1e3 * ours.median / CALLS,
        reference=1e3 * loop.median,
        ratio=ratio,
        ratio_quartiles=[low, high],
        unit="ms",
        processor_time_ratio=CALLS * paired_ratio(loop.processor_seconds, ours.processor_seconds)[0],
    )


def table(rows: list[dict]) -> list[dict]:
    """What is printed of the rows."""
    return [
        {
            "frames": row["name"],
            "double loop, ms": f"{row['reference']:.2f}",
            "create_sparse_frames, ms": f"{row['ours']:.3f}",
            "ratio (quartiles)": "{:.0f} ({:.0f}-{:.0f})".format(row["ratio"], *row["ratio_quartiles"]),
            "in processor time": f"{row['processor_time_ratio']:.0f}",
        }
        for row in rows
    ]


def drawing(how: str, windows: int, frames: int) -> Callable[[], object]:
    points, valid = some_points(windows, frames)
    if how == "double loop":
        return lambda: double_loop(points, valid)
    keep_freed_memory()  # as training does

    def step() -> None:
        for _ in range(CALLS):
            create_sparse_frames(points, valid, SIZE)

    return step


def double_loop(coordinates: torch.Tensor, fixation_mask: torch.Tensor, size: int = SIZE) -> torch.Tensor:
    """As described: go through batch and time, and set the pixel to 1 at valid coordinates."""
    batch, length = fixation_mask.shape
    frames = torch.zeros(batch, length, 1, size, size)
    for b in range(batch):
        for t in range(length):
            if fixation_mask[b, t]:
                x, y = int(coordinates[b, t, 0]), int(coordinates[b, t, 1])
                if 0 <= x < size and 0 <= y < size:
                    frames[b, t, 0, y, x] = 1.0
    return frames


def some_points(windows: int, frames: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Points all over the grid, one in ten not valid."""
    generator = torch.Generator().manual_seed(0)
    points = SIZE * torch.rand(windows, frames, 2, generator=generator)
    return points, torch.rand(windows, frames, generator=generator) > 0.1
