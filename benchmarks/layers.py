"""Ways to compute the layers that cost most, taken in turn in one process: what the library does and what did not help.

The first way of each layer is the plain one; "fixlib" marks the library's. Forward and backward, one thread.
"""

from __future__ import annotations

import statistics
import time
import unittest.mock
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import fixlib.models.layers
from benchmarks.reference import GASubBlock
from fixlib.models.layers import ShuffleOut, convolve_apart, mix_channels
from fixlib.models.simvp import Encoder, GatedBlock, encode_distinct
from fixlib.system import keep_freed_memory

TITLE = "Layers, one thread, processor time"
LAST = torch.channels_last
BATCH, FRAMES, DISTINCT = 8, 10, 34


def run(quick: bool, threads: int, dataset: str) -> Iterator[dict]:
    """A row a layer and way. One thread whatever `threads` says; data play no part."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    keep_freed_memory()
    turns = 5 if quick else 15
    for layer, (x, ways) in layers().items():
        yield from _compare(layer, x, ways, turns)
    yield from _optimisers(turns)


def table(rows: list[dict]) -> list[dict]:
    return [
        {
            "layer": row["layer"],
            "way": row["way"],
            "forward, ms": f"{row['forward_ms']:.2f}",
            "backward, ms": f"{row['backward_ms']:.2f}",
            "plain / this": f"{row['ratio']:.2f}",
        }
        for row in rows
    ]


def layers() -> dict[str, tuple[Tensor, dict[str, Callable[[Tensor], Tensor]]]]:
    """Layer -> (input, ways); a way is a function of the input."""
    mix = nn.Conv2d(256, 2048, 1)
    wide = nn.Conv2d(256, 256, 7, padding=9, dilation=3, groups=256)
    local = nn.Conv2d(256, 256, 5, padding=2, groups=256)
    dense = nn.Conv2d(64, 64, 3, padding=1)
    readout = nn.Conv2d(64, 1, 1)
    plain_block, block = GASubBlock(256, 8.0, 0.0, 0.0), GatedBlock(256, 8.0, 0.0, 0.0)
    encoder = Encoder(1, 64, 4, 3)
    every = F.one_hot(torch.randperm(1024)[: BATCH * FRAMES], 1024).float().view(-1, 1, 32, 32)
    repeated = every[torch.arange(BATCH * FRAMES) % DISTINCT]
    small, map32 = torch.randn(BATCH, 256, 8, 8), torch.randn(BATCH * FRAMES, 64, 32, 32)
    return {
        "1x1, 256 -> 2048, 8 x 8": (
            small,
            {
                "convolution": mix,
                "convolution, channels last": _last(mix),
                "matrix product, channels last (fixlib)": _last(lambda x: mix_channels(mix, x)),
            },
        ),
        "7 x 7 depthwise by 3, 8 x 8": (
            small,
            {
                "convolution": wide,
                "convolution, channels last": _last(wide),
                "convolution, taps within reach": lambda x: _cropped(wide, x),
                "convolution of positions apart, PyTorch's gradient": _last(lambda x: _plain_gradient(wide, x)),
                "convolution of positions apart (fixlib)": _last(lambda x: convolve_apart(wide, x)),
            },
        ),
        "7 x 7 depthwise by 3, 16 x 16": (
            torch.randn(BATCH, 256, 16, 16),
            {"convolution": wide, "convolution of positions apart (fixlib)": _last(lambda x: convolve_apart(wide, x))},
        ),
        "5 x 5 depthwise, 8 x 8": (small, {"convolution": local, "convolution, channels last (fixlib)": _last(local)}),
        "3 x 3, 64 -> 64, 32 x 32": (
            map32,
            {"convolution (fixlib)": dense, "convolution, channels last": _last(dense)},
        ),
        "1x1 readout, 64 -> 1, 32 x 32": (
            map32,
            {
                "convolution (fixlib)": readout,
                "product and sum": lambda x: (x * readout.weight[0]).sum(1, keepdim=True) + readout.bias[0],
                "matrix product": lambda x: (readout.weight.flatten(1) @ x.flatten(2) + readout.bias).view(
                    -1, 1, 32, 32
                ),
            },
        ),
        "pixels shuffled out, 256 channels, 16 x 16": (
            torch.randn(BATCH * FRAMES, 256, 16, 16),
            {"PixelShuffle": nn.PixelShuffle(2), "permutation (fixlib)": ShuffleOut()},
        ),
        "translator block, 256, 8 x 8": (
            small,
            {"convolutions": plain_block, "convolutions, channels last": _last(plain_block), "fixlib": _last(block)},
        ),
        f"encoder, {BATCH * FRAMES} frames, {DISTINCT} distinct": (
            repeated,
            {
                "every frame": lambda x: encoder.enc(x.detach()),
                "distinct frames (fixlib)": lambda x: encode_distinct(encoder, x.detach()[None])[0][0],
            },
        ),
    }


def _last(way: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """`way` on channels last; inside a translator nothing is converted, so neither is it here in every turn."""
    converted = {}

    def on_channels_last(x: Tensor) -> Tensor:
        if "x" not in converted:
            converted["x"] = x.detach().contiguous(memory_format=LAST).requires_grad_()
        return way(converted["x"])

    return on_channels_last


def _cropped(convolution: nn.Conv2d, x: Tensor) -> Tensor:
    """On 8 x 8 the outer taps of the wide kernel meet padding only."""
    return F.conv2d(x, convolution.weight[..., 1:6, 1:6], convolution.bias, padding=6, dilation=3, groups=256)


def _plain_gradient(convolution: nn.Conv2d, x: Tensor) -> Tensor:
    """`convolve_apart`, the kernel's gradient left to PyTorch."""
    with unittest.mock.patch.object(fixlib.models.layers, "PAIRED_POSITIONS", 0):
        return convolve_apart(convolution, x)


def _compare(layer: str, x: Tensor, ways: dict[str, Callable], turns: int) -> Iterator[dict]:
    x = x.requires_grad_()
    spent = {name: ([], []) for name in ways}
    for _ in range(turns + 1):
        for name, way in ways.items():
            start = time.process_time()
            out = way(x)
            middle = time.process_time()
            out.backward(torch.ones_like(out))
            for seconds, spell in zip(spent[name], (middle - start, time.process_time() - middle)):
                seconds.append(spell)
    yield from _rows(layer, {name: [seconds[1:] for seconds in both] for name, both in spent.items()})


def _optimisers(turns: int) -> Iterator[dict]:
    """Adam's step on 15 million parameters."""
    parameters = [nn.Parameter(torch.randn(1500, 1000)) for _ in range(10)]
    for parameter in parameters:
        parameter.grad = torch.randn_like(parameter)
    ways = {"Adam": {}, "Adam, foreach": dict(foreach=True), "Adam, fused (fixlib)": dict(fused=True)}
    optimisers = {name: torch.optim.Adam(parameters, lr=1e-6, weight_decay=1e-5, **way) for name, way in ways.items()}
    spent = {name: ([], []) for name in ways}
    for _ in range(turns):
        for name, optimiser in optimisers.items():
            start = time.process_time()
            optimiser.step()
            spent[name][0].append(time.process_time() - start)
            spent[name][1].append(0.0)
    yield from _rows("optimiser, 15 million parameters", spent)


def _rows(layer: str, spent: dict) -> Iterator[dict]:
    """Medians, and the median over the turns of the plain way's time divided by this way's."""
    totals = {name: [sum(both) for both in zip(*times)] for name, times in spent.items()}
    plain = next(iter(totals.values()))
    for name, (forward, backward) in spent.items():
        yield dict(
            layer=layer,
            way=name,
            forward_ms=1e3 * statistics.median(forward),
            backward_ms=1e3 * statistics.median(backward),
            ratio=statistics.median(a / b for a, b in zip(plain, totals[name])),
        )
