"""Losses on white-pixel targets against their dense forms, forward and backward; also against kornia and monai.

    python -m benchmarks losses [--quick] [--threads 1]

kornia and monai are compared where they are installed; the library does not need them.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator

import torch

from benchmarks.turns import Side, paired_ratio, take_turns
from fixlib.grid import create_sparse_frames, white_pixel_index
from fixlib.losses import LOSSES, WhitePixels, get_loss_function

TITLE = "Losses, forward and backward"
WINDOWS, BATCH, FRAMES = 64, 8, 10
PACKAGES = {"monai": ("focal", "dice", "tversky"), "kornia": ("focal",)}  # which losses of theirs are ours
REFERENCES = {"dense": "the dense form, frames at hand", "drawn": "the dense form, frames drawn for the batch"}


def run(quick: bool, threads: int, dataset: str) -> Iterator[dict]:
    """A row a loss, size of frames and reference. The logits are random: a loss costs the same on any."""
    for name in ("mse", "focal", "dice") if quick else LOSSES:
        for size in (32,) if quick else (32, 64, 128):
            yield from measure(name, size, threads, turns=15 if quick else 40)


def measure(name: str, size: int, threads: int, turns: int) -> list[dict]:
    """The closed form and everything it is compared with, by turns."""
    references = ["dense", "drawn", *(package for package in installed() if name in PACKAGES[package])]
    calls = max(1, 20 * 32**2 // size**2)  # in a turn
    sides = {
        kind: Side(forward_and_backward, dict(name=name, size=size, kind=kind, calls=calls))
        for kind in ("closed", *references)
    }
    timed = take_turns(sides, turns, threads)
    closed = timed["closed"]
    rows = []
    for kind in references:
        ratio, low, high = paired_ratio(timed[kind].seconds, closed.seconds)
        rows.append(
            dict(
                name=name,
                size=size,
                against=kind,
                ours=1e6 * closed.median / calls,
                reference=1e6 * timed[kind].median / calls,
                ratio=ratio,
                ratio_quartiles=[low, high],
                unit="us",
                processor_time_ratio=paired_ratio(timed[kind].processor_seconds, closed.processor_seconds)[0],
                ours_mb=closed.grown_mb,
                reference_mb=timed[kind].grown_mb,
            )
        )
    return rows


def table(rows: list[dict]) -> list[dict]:
    """What is printed of the rows."""
    return [
        {
            "loss": row["name"],
            "frames": f"({BATCH}, {FRAMES}, 1, {row['size']}, {row['size']})",
            "against": REFERENCES.get(row["against"], row["against"]),
            "white pixels, us": f"{row['ours']:.0f}",
            "reference, us": f"{row['reference']:.0f}",
            "ratio (quartiles)": "{:.2f} ({:.2f}-{:.2f})".format(row["ratio"], *row["ratio_quartiles"]),
            "in processor time": f"{row['processor_time_ratio']:.2f}",
        }
        for row in rows
    ]


def installed() -> list[str]:
    return [package for package in PACKAGES if importlib.util.find_spec(package)]


def forward_and_backward(name: str, size: int, kind: str, calls: int) -> Callable[[], object]:
    """A step of `calls` batches: the loss and the gradient of its logits."""
    generator = torch.Generator().manual_seed(0)
    points = size * torch.rand(WINDOWS, FRAMES, 2, generator=generator)
    valid = torch.ones(WINDOWS, FRAMES, dtype=torch.bool)
    logits = torch.randn(BATCH, FRAMES, 1, size, size, generator=generator).requires_grad_()
    batches = torch.randperm(WINDOWS, generator=generator)[:BATCH]
    loss = other_loss(kind, name) if kind in PACKAGES else get_loss_function(name)
    pixels = WhitePixels(white_pixel_index(points, valid, size).unsqueeze(-1), size)
    frames = pixels[batches].frames()
    target = {
        "closed": lambda: pixels[batches],
        "drawn": lambda: create_sparse_frames(points[batches], valid[batches], size),
    }.get(kind, lambda: frames)

    def step() -> None:
        for _ in range(calls):
            logits.grad = None
            loss(logits, target()).backward()

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
