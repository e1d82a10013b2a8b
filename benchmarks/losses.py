"""Every registered loss, forward and backward, beside those of kornia and monai that are the same.

    python -m benchmarks losses [--quick] [--threads 1]

kornia and monai are compared where they are installed; the library does not need them.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator

import torch

from benchmarks.turns import Side, paired_ratio, take_turns
from fixlib.grid import create_sparse_frames
from fixlib.losses import LOSSES

TITLE = "Losses, forward and backward"
BATCH, FRAMES = 8, 10
PACKAGES = {"monai": ("focal", "dice", "tversky"), "kornia": ("focal",)}  # which losses of theirs are ours


def run(quick: bool, threads: int, dataset: str) -> Iterator[dict]:
    """A row a loss, size of frames and package. The logits are random: a loss costs the same on any."""
    for name in ("mse", "focal", "dice") if quick else LOSSES:
        for size in (32,) if quick else (32, 64, 128):
            yield from measure(name, size, threads, turns=15 if quick else 40)


def measure(name: str, size: int, threads: int, turns: int) -> list[dict]:
    """Ours and the same of other packages, by turns; one row without a ratio where no package has it."""
    packages = [each for each in PACKAGES if name in PACKAGES[each] and importlib.util.find_spec(each)]
    calls = max(1, 20 * 32**2 // size**2)  # in a turn
    sides = {
        kind: Side(forward_and_backward, dict(loss=LOSSES[name].function, name=name, size=size, kind=kind, calls=calls))
        for kind in ("fixlib", *packages)
    }
    timed = take_turns(sides, turns, threads)
    row = dict(name=name, size=size, ours=1e6 * timed["fixlib"].median / calls, unit="us", against="-")
    rows = []
    for package in packages:
        ratio, low, high = paired_ratio(timed[package].seconds, timed["fixlib"].seconds)
        theirs = dict(reference=1e6 * timed[package].median / calls, ratio=ratio, ratio_quartiles=[low, high])
        rows.append(row | dict(against=package) | theirs)
    return rows or [row]


def table(rows: list[dict]) -> list[dict]:
    """What is printed of the rows."""
    return [
        {
            "loss": row["name"],
            "frames": f"({BATCH}, {FRAMES}, 1, {row['size']}, {row['size']})",
            "us": f"{row['ours']:.0f}",
            "against": row["against"],
            "theirs, us": f"{row['reference']:.0f}" if "reference" in row else "",
            "ratio (quartiles)": "{:.2f} ({:.2f}-{:.2f})".format(row["ratio"], *row["ratio_quartiles"])
            if "ratio" in row
            else "",
        }
        for row in rows
    ]


def forward_and_backward(loss: Callable, name: str, size: int, kind: str, calls: int) -> Callable[[], object]:
    """A step of `calls` batches: the loss, or another package's by that name, and the gradient of its logits."""
    generator = torch.Generator().manual_seed(0)
    points = size * torch.rand(BATCH, FRAMES, 2, generator=generator)
    frames = create_sparse_frames(points, torch.ones(BATCH, FRAMES, dtype=torch.bool), size)
    logits = torch.randn(BATCH, FRAMES, 1, size, size, generator=generator).requires_grad_()
    if kind in PACKAGES:
        loss = other_loss(kind, name)

    def step() -> None:
        for _ in range(calls):
            logits.grad = None
            loss(logits, frames).backward()

    return step


def other_loss(package: str, name: str) -> Callable:
    """The loss that gives the number of ours, in frames (B * T, 1, H, W)."""
    if package == "kornia":
        from kornia.losses import BinaryFocalLossWithLogits

        theirs = BinaryFocalLossWithLogits(alpha=0.25, gamma=2.0, reduction="mean")
    else:
        from monai import losses

        theirs = {
            "focal": lambda: losses.FocalLoss(gamma=2.0, alpha=0.25),
            "dice": lambda: losses.DiceLoss(sigmoid=True),
            "tversky": lambda: losses.TverskyLoss(sigmoid=True, alpha=0.3, beta=0.7),
        }[name]()
    return lambda logits, frames: theirs(logits.flatten(0, 1), frames.flatten(0, 1))
