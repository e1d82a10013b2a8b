"""Layers of the translator, computed in the way that is fastest on a CPU; the numbers are those of PyTorch's own."""

import math

import torch
from torch import Tensor, nn


def channels_last(x: Tensor) -> Tensor:
    """`x` with the channels of a position side by side in memory (written so that it also works under vmap)."""
    return x.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)


def mix_channels(convolution: nn.Conv2d, x: Tensor, outputs: slice = slice(None)) -> Tensor:
    """A 1x1 convolution, of whose output channels `outputs` are wanted.

    One matrix product over all positions: faster on a CPU where `x` is channels last.
    """
    weight, bias = convolution.weight.flatten(1)[outputs], convolution.bias[outputs]
    return nn.functional.linear(x.permute(0, 2, 3, 1), weight, bias).permute(0, 3, 1, 2)


def convolve_as_matrix(convolution: nn.Conv2d, x: Tensor) -> Tensor:
    """A depthwise convolution that keeps the map's size, as one (H*W, H*W) matrix a channel; the same numbers.

    Taps that meet nothing but padding (24 of the wide kernel's 49 on 8 x 8) are left out.
    """
    B, C, H, W = x.shape
    carries = _taps(convolution, H, W)
    used = carries.any(dim=1)
    weight = convolution.weight.flatten(1)[:, used].to(x.dtype)  # under autocast the dtypes differ
    out = MatrixAChannel.apply(x.permute(1, 0, 2, 3).reshape(C, B, H * W), weight, carries[used].to(x.dtype))
    return (out + convolution.bias[:, None, None]).view(C, B, H, W).permute(1, 0, 2, 3)


class MatrixAChannel(torch.autograd.Function):
    """x (C, B, P) @ matrices (C, P, P), the matrices being weight (C, taps) @ carries (taps, P * P).

    They are made again in the backward pass: kept, those of the hybrid would take 63 MB.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, weight: Tensor, carries: Tensor) -> Tensor:
        return x @ _matrices(weight, carries)

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        x, weight, carries = ctx.saved_tensors
        gradient = gradient.to(x.dtype).contiguous()  # it comes channels last, which batched products dislike
        return gradient @ _matrices(weight, carries).mT, (x.mT @ gradient).flatten(1) @ carries.mT, None


def _matrices(weight: Tensor, carries: Tensor) -> Tensor:
    positions = math.isqrt(carries.shape[1])
    return (weight @ carries).unflatten(1, (positions, positions))


def _taps(convolution: nn.Conv2d, H: int, W: int) -> Tensor:
    """(taps, H*W * H*W): whether a tap carries what is at the first position to the second."""
    kernel, dilation = convolution.kernel_size[0], convolution.dilation[0]
    offsets = dilation * (torch.arange(kernel) - kernel // 2)
    rows, columns = (torch.arange(size)[:, None] - torch.arange(size) == offsets[:, None, None] for size in (H, W))
    return (rows[:, None, :, None, :, None] & columns[None, :, None, :, None, :]).reshape(kernel**2, -1)


def normalise(norm: nn.BatchNorm2d, x: Tensor) -> Tensor:
    """Batch normalisation of `x`, channels last.

    In training not computed in that layout: there PyTorch sums the statistics up in float32 on a CPU, where it uses
    float64 otherwise, and outputs would be wrong by 1e-4 on maps of 32 x 32.
    """
    if not norm.training:
        return norm(x)
    return channels_last(norm(x.contiguous()))
