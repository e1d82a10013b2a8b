"""The same network made fast on a processor: other ways to compute its layers, not another network.

What helps was measured layer by layer (benchmarks/README.md) and differs by precision: a 1x1 convolution is a matrix
product, which PyTorch computes faster as such in bfloat16 and slower in float32.
"""

import functools
import math
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fixlib.models.simvp import Encoder

# The kernel's gradient on maps of at most so many positions pairs them all; on larger ones PyTorch's is as fast.
PAIRED_POSITIONS = 100


def accelerate(model: nn.Module) -> nn.Module:
    """Have `model` compute its layers in the fastest way known; it keeps its weights, their names and its outputs.

    In place. Layers that are not known are left alone, and all of them where there is a GPU. Outputs and gradients
    agree to 1e-5 with the plain network's.
    """
    if torch.cuda.is_available():
        return model
    for module in model.modules():
        ways = (fast for plain, applies, fast in WAYS if type(module) is plain and applies(module))
        module.__class__ = next(ways, type(module))
    return model


def channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


class MixChannels(nn.Conv2d):
    """1x1: of positions whose channels lie side by side, in bfloat16 as one matrix product."""

    def forward(self, x: Tensor) -> Tensor:
        if x.dtype == torch.bfloat16 or torch.is_autocast_enabled("cpu"):
            return F.linear(channels_last(x).permute(0, 2, 3, 1), self.weight.flatten(1), self.bias).permute(0, 3, 1, 2)
        return super().forward(channels_last(x))


class LocalDepthwise(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(channels_last(x))


class WideDepthwise(nn.Conv2d):
    """Depthwise and dilated.

    Positions of equal remainder by the dilation see only one another: they become small maps of their own, which are
    convolved without dilation. Taps that there meet nothing but padding (24 of 49 of the 7 x 7 on 8 x 8) are left out.
    """

    bias: Tensor

    def forward(self, x: Tensor) -> Tensor:
        step = self.dilation[0]
        B, C, H, W = x.shape
        rows, columns = math.ceil(H / step), math.ceil(W / step)
        padded = F.pad(x.permute(0, 2, 3, 1), (0, 0, 0, step * columns - W, 0, step * rows - H))
        apart = padded.unflatten(2, (columns, step)).unflatten(1, (rows, step)).permute(0, 2, 4, 1, 3, 5)
        maps = apart.reshape(-1, rows, columns, C).permute(0, 3, 1, 2)
        beyond = max(0, self.kernel_size[0] // 2 - (max(rows, columns) - 1))
        within = slice(beyond, self.kernel_size[0] - beyond)
        convolve = DepthwiseConvolution.apply if rows * columns <= PAIRED_POSITIONS else _depthwise
        # Under autocast the map may be of fewer bits than the weights.
        out = convolve(maps, self.weight[..., within, within].to(x.dtype)).permute(0, 2, 3, 1)
        together = out.reshape(B, step, step, rows, columns, C).permute(0, 3, 1, 4, 2, 5).flatten(3, 4).flatten(1, 2)
        return together[:, :H, :W].permute(0, 3, 1, 2) + self.bias[:, None, None]


class DepthwiseConvolution(torch.autograd.Function):
    """Many small maps (N, C, h, w) with a kernel (C, 1, k, k) each channel, k odd.

    PyTorch's gradient of the kernel takes ten times as long as everything else there. Here every two positions of a map
    are paired, one as input and one as output, and the pairs that a tap joins summed up.
    """

    @staticmethod
    def forward(ctx, maps: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(maps, weight)
        return _depthwise(maps, weight)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, Tensor]:
        maps, weight = ctx.saved_tensors
        height, width = maps.shape[-2:]
        # Contiguous: a batched product copies every matrix of its own where one is not.
        sources = maps.permute(1, 2, 3, 0).flatten(1, 2).contiguous()
        targets = gradient.permute(1, 0, 2, 3).flatten(2).contiguous()
        pairs = (sources @ targets).flatten(1)
        joined = torch.from_numpy(_joined_by_taps(weight.shape[-1], height, width)).to(pairs)
        return _depthwise(gradient, weight.flip(-2, -1)), (pairs @ joined).view_as(weight)


def _depthwise(maps: Tensor, weight: Tensor) -> Tensor:
    return F.conv2d(maps, weight, padding=weight.shape[-1] // 2, groups=len(weight))


@functools.cache
def _joined_by_taps(kernel: int, height: int, width: int) -> np.ndarray:
    """(positions * positions, taps): whether a tap carries what is at the first position to the second."""
    offsets = np.arange(kernel) - kernel // 2
    rows, columns = (np.arange(size)[:, None] - np.arange(size) == offsets[:, None, None] for size in (height, width))
    joined = rows[:, None, :, None, :, None] & columns[None, :, None, :, None, :]
    return joined.reshape(kernel**2, -1).T.astype(np.float32)


class NormOverBatch(nn.BatchNorm2d):
    """In training not computed channels last: there PyTorch sums up in float32 on a CPU instead of float64."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        return channels_last(super().forward(x.contiguous()))


class ShuffleOut(nn.PixelShuffle):
    """As a permutation: a third faster."""

    def forward(self, x: Tensor) -> Tensor:
        k = self.upscale_factor
        return x.unflatten(1, (-1, k, k)).permute(0, 1, 4, 2, 5, 3).flatten(4, 5).flatten(2, 3)


class EncoderOnce(Encoder):
    """Encodes each distinct frame once: gaze rests, and of frames 100 ms apart more than half equal the one before."""

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        if frames.requires_grad:
            return super().forward(frames)
        distinct, which = frames.unique(dim=0, return_inverse=True)
        latent, skip = super().forward(distinct)
        return latent.index_select(0, which), skip.index_select(0, which)


def _keeps_size(c: nn.Conv2d) -> bool:
    (k, other), (d, _) = c.kernel_size, c.dilation
    plain = c.stride == (1, 1) and c.padding_mode == "zeros" and c.bias is not None
    return plain and k == other and k % 2 == 1 and c.dilation == (d, d) and c.padding == (d * (k // 2),) * 2


def _depthwise_only(c: nn.Conv2d) -> bool:
    return c.groups == c.in_channels == c.out_channels > 1


# A kind of layer, of which it is computed otherwise, and the kind that does so; the first that fits.
WAYS: tuple[tuple[type, Callable[..., bool], type], ...] = (
    (nn.Conv2d, lambda c: _keeps_size(c) and c.kernel_size == (1, 1) and c.groups == 1 < c.out_channels, MixChannels),
    (nn.Conv2d, lambda c: _keeps_size(c) and _depthwise_only(c) and c.dilation > (1, 1), WideDepthwise),
    (nn.Conv2d, _depthwise_only, LocalDepthwise),
    (nn.BatchNorm2d, lambda _: True, NormOverBatch),
    (nn.PixelShuffle, lambda _: True, ShuffleOut),
    (Encoder, lambda _: True, EncoderOnce),
)
