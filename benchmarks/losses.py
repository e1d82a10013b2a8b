"""Every registered loss, forward and backward, beside the mean squared error of PyTorch on the same frames."""

from collections.abc import Callable, Iterator
from functools import partial

import torch

from benchmarks.turns import against, take_turns
from fixlib.grid import create_sparse_frames
from fixlib.losses import LOSSES

BATCH, FRAMES = 8, 10


def run(quick: bool, threads: int, dataset: str) -> Iterator[dict]:
    """A row a loss and size of frames. The logits are random: a loss costs the same on any."""
    for name in ("mse", "focal", "dice") if quick else LOSSES:
        for size in (32,) if quick else (32, 64, 128):
            yield from measure(name, size, threads, turns=15 if quick else 40)


def measure(name: str, size: int, threads: int, turns: int) -> list[dict]:
    """One row."""
    calls = max(1, 20 * 32**2 // size**2)  # in a turn
    functions = dict(ours=LOSSES[name].function, least=torch.nn.functional.mse_loss)
    sides = {side: partial(forward_and_backward, loss, size, calls) for side, loss in functions.items()}
    timed = take_turns(sides, turns, threads)
    found = {side: 1e6 * timed[side].median / calls for side in timed}
    frames = f"({BATCH}, {FRAMES}, 1, {size}, {size})"
    return [dict(name=name, frames=frames, unit="us") | found | against(timed["ours"], timed["least"])]


def forward_and_backward(loss: Callable, size: int, calls: int) -> Callable[[], None]:
    """A step of `calls` batches: the loss and the gradient of its logits."""
    generator = torch.Generator().manual_seed(0)
    points = size * torch.rand(BATCH, FRAMES, 2, generator=generator)
    frames = create_sparse_frames(points, torch.ones(BATCH, FRAMES, dtype=torch.bool), size)
    logits = torch.randn(BATCH, FRAMES, 1, size, size, generator=generator).requires_grad_()

    def step() -> None:
        for _ in range(calls):
            logits.grad = None
            loss(logits, frames).backward()

    return step
