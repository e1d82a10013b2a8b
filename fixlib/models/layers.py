"""Layers of SimVP, computed in the way that is fastest on a CPU; the numbers are those of PyTorch's own."""

import functools
import math

import numpy as np
import torch
from torch import Tensor, nn

# The kernel's gradient on maps of at most so many positions pairs them all; on larger ones PyTorch's is as fast.
PAIRED_POSITIONS = 100


def channels_last(x: Tensor) -> Tensor:
    """`x` with the channels of a position side by side in memory (written so that it also works under vmap)."""
    return x.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)


def mix_channels(convolution: nn.Conv2d, x: Tensor, outputs: slice = slice(None)) -> Tensor:
    """A 1x1 convolution, of whose output channels `outputs` are wanted.

    One matrix product over all positions: faster on a CPU where `x` is channels last.
    """
    weight, bias = convolution.weight.flatten(1)[outputs], convolution.bias[outputs]
    return nn.functional.linear(x.permute(0, 2, 3, 1), weight, bias).permute(0, 3, 1, 2)


class ShuffleOut(nn.Module):
    """`nn.PixelShuffle(2)`, (N, 4C, H, W) -> (N, C, 2H, 2W), as a permutation: a third faster on a CPU."""

    def forward(self, x: Tensor) -> Tensor:
        return x.unflatten(1, (-1, 2, 2)).permute(0, 1, 4, 2, 5, 3).flatten(4, 5).flatten(2, 3)


def convolve_apart(convolution: nn.Conv2d, x: Tensor) -> Tensor:
    """A dilated depthwise convolution that keeps the map's size; fast where `x` is channels last, as the result is.

    Positions of equal remainder by the dilation see only one another: they become small maps of their own, which are
    convolved without dilation. Taps that there meet nothing but padding (24 of the wide kernel's 49 on 8 x 8) are left
    out.
    """
    step = convolution.dilation[0]
    B, C, H, W = x.shape
    rows, columns = math.ceil(H / step), math.ceil(W / step)
    padded = nn.functional.pad(x.permute(0, 2, 3, 1), (0, 0, 0, step * columns - W, 0, step * rows - H))
    apart = padded.unflatten(2, (columns, step)).unflatten(1, (rows, step)).permute(0, 2, 4, 1, 3, 5)
    maps = apart.reshape(-1, rows, columns, C).permute(0, 3, 1, 2)
    weight = _within_reach(convolution.weight, max(rows, columns)).to(x.dtype)  # under autocast the dtypes differ
    out = _convolve(maps, weight).permute(0, 2, 3, 1).reshape(B, step, step, rows, columns, C)
    together = out.permute(0, 3, 1, 4, 2, 5).reshape(B, step * rows, step * columns, C)
    return together[:, :H, :W].permute(0, 3, 1, 2) + convolution.bias[:, None, None]


def _within_reach(weight: Tensor, positions: int) -> Tensor:
    """The middle of a kernel (C, 1, k, k): what can reach from one of `positions` in a row to another."""
    beyond = max(0, weight.shape[-1] // 2 - (positions - 1))
    kept = slice(beyond, weight.shape[-1] - beyond)
    return weight[..., kept, kept]


def _convolve(maps: Tensor, weight: Tensor) -> Tensor:
    if maps.shape[-2] * maps.shape[-1] <= PAIRED_POSITIONS:
        return DepthwiseConvolution.apply(maps, weight)
    return _depthwise(maps, weight)


def _depthwise(maps: Tensor, weight: Tensor) -> Tensor:
    return nn.functional.conv2d(maps, weight, padding=weight.shape[-1] // 2, groups=len(weight))


class DepthwiseConvolution(torch.autograd.Function):
    """Many small maps (N, C, h, w) with a kernel (C, 1, k, k) each channel, k odd.

    PyTorch's gradient of the kernel takes ten times as long as everything else there. Here every two positions of a map
    are paired, one as input and one as output, and the pairs that a tap joins summed up.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(maps: Tensor, weight: Tensor) -> Tensor:
        return _depthwise(maps, weight)

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, Tensor]:
        maps, weight = ctx.saved_tensors
        gradient = gradient.to(maps.dtype)
        height, width = maps.shape[-2:]
        # Contiguous: a batched product copies every matrix of its own where one is not.
        sources = maps.permute(1, 2, 3, 0).flatten(1, 2).contiguous()
        targets = gradient.permute(1, 0, 2, 3).flatten(2).contiguous()
        pairs = (sources @ targets).flatten(1)
        joined = torch.from_numpy(_joined_by_taps(weight.shape[-1], height, width)).to(pairs)
        return _depthwise(gradient, weight.flip(-2, -1)), (pairs @ joined).view_as(weight)


@functools.cache
def _joined_by_taps(kernel: int, height: int, width: int) -> np.ndarray:
    """(height*width * height*width, kernel*kernel): whether a tap carries what is at the first position to the second.

    Of numpy, so that what is kept belongs to no transformation of torch.func.
    """
    offsets = np.arange(kernel) - kernel // 2
    rows, columns = (np.arange(size)[:, None] - np.arange(size) == offsets[:, None, None] for size in (height, width))
    joined = rows[:, None, :, None, :, None] & columns[None, :, None, :, None, :]
    return joined.reshape(kernel**2, -1).T.astype(np.float32)


def normalise(norm: nn.BatchNorm2d, x: Tensor) -> Tensor:
    """Batch normalisation of `x`, channels last.

    In training not computed in that layout: there PyTorch sums the statistics up in float32 on a CPU, where it uses
    float64 otherwise, and outputs would be wrong by 1e-4 on maps of 32 x 32.
    """
    if not norm.training:
        return norm(x)
    return channels_last(norm(x.contiguous()))
