"""The losses of frames with at most one white pixel, without the frames.

Each loss is written twice in this package: as its formula over dense frames (`pixel`, `frame`), which autograd
differentiates, and here as a sum over black pixels and one white one, with its derivative by the logits beside it.
That takes fewer passes over memory, and passes are what a loss costs. The tests hold the two together.

No sum takes back what it added for a pixel before: where all but one pixel is nearly right, rounding would be all
that is left of the difference.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from fixlib.losses._common import as_logits, check_shapes
from fixlib.losses.targets import WhitePixels

# What a form gives: its value, and a function from the gradient of that value to the gradient of the logits.
Value = tuple[Tensor, Callable[[Tensor], Tensor]]


def applies(target: Tensor | WhitePixels, from_logits: bool, reduction: str = "mean") -> bool:
    """Whether there is a closed form. For the rest, probabilities and a value a pixel, the frames are drawn."""
    return isinstance(target, WhitePixels) and from_logits and reduction in ("mean", "sum")


def over_pixels(form: Callable[..., Value], input: Tensor, pixels: WhitePixels, reduction: str, **options) -> Tensor:
    """The sum or mean over all pixels of a form that gives the sum."""
    return of_frames(form, input, pixels, count=input.numel() if reduction == "mean" else 1, **options)


def of_frames(form: Callable[..., Value], input: Tensor, pixels: WhitePixels, count: int = 1, **options) -> Tensor:
    """The value of a form divided by `count`, differentiable. It sees the logits (..., H * W), in float32 at least."""
    x = as_logits(input)
    check_shapes(input, pixels)
    return _Closed.apply(x, form, pixels, count, options)


class _Closed(Function):
    """A form, differentiated by its own formula."""

    @staticmethod
    def forward(ctx, x: Tensor, form: Callable[..., Value], pixels: WhitePixels, count: int, options: dict) -> Tensor:
        value, ctx.pull = form(x.flatten(-2), pixels.position, pixels.present.to(x.dtype), **options)
        ctx.shape, ctx.count = x.shape, count
        return value / count

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        return ctx.pull(gradient / ctx.count).view(ctx.shape), None, None, None, None


# The forms. `at` (..., 1) is the white pixel of each frame and `white` (..., 1) is 1; in an empty frame, 0 and 0.


def squared_error(x: Tensor, at: Tensor, white: Tensor, pos_weight: float = 1.0, l1_weight: float = 0.0) -> Value:
    """Sum of w (p - y)^2 + `l1_weight` p, with w = `pos_weight` at the white pixel and 1 elsewhere."""
    p = torch.sigmoid(x)
    error = p.scatter_add(-1, at, -white)
    weighted = error
    if pos_weight != 1:
        weighted = error.scatter(-1, at, error.gather(-1, at) * (1 + (pos_weight - 1) * white))
    total = (error * weighted).sum()
    if l1_weight:
        total += l1_weight * p.sum()

    def pull(gradient: Tensor) -> Tensor:
        slopes = weighted * (2 * gradient)
        if l1_weight:
            slopes += l1_weight * gradient
        return _through_sigmoid(slopes, p)

    return total, pull


def cross_entropy(
    x: Tensor, at: Tensor, white: Tensor, white_weight: float = 1.0, black_weight: float = 1.0, gamma: float = 0.0
) -> Value:
    """Sum of -weight (1 - p_t)^gamma log p_t, where p_t is the probability given to what the pixel is."""
    wrong = x.scatter(-1, at, x.gather(-1, at) * (1 - 2 * white))  # logit of what the pixel is not
    q, surprise = torch.sigmoid(wrong), F.softplus(wrong)  # its probability 1 - p_t, and -log p_t
    focus = q**gamma
    values = focus * surprise
    value = values.gather(-1, at)
    values.scatter_(-1, at, value * (1 - white))
    total = black_weight * values.sum() + white_weight * (value * white).sum()

    def pull(gradient: Tensor) -> Tensor:
        slopes = (1 - q).mul_(surprise).mul_(gamma).add_(q).mul_(focus)
        slope = slopes.gather(-1, at) * (black_weight - (black_weight + white_weight) * white)
        return slopes.mul_(black_weight).scatter_(-1, at, slope).mul_(gradient)

    return total, pull


def concentration(x: Tensor, at: Tensor, white: Tensor, normalise: bool = False) -> Value:
    """Sum of p d^2, from the sums of p over rows and over columns."""
    p = torch.sigmoid(x)
    size = math.isqrt(x.shape[-1])
    unit = 2 * size**2 if normalise else 1
    line = torch.arange(size, device=x.device)
    row = at.div(size, rounding_mode="floor")
    down, across = ((line - place).square() * (white / unit) for place in (row, at - row * size))
    grid = p.unflatten(-1, (size, size))
    total = (grid.sum(-1) * down).sum() + (grid.sum(-2) * across).sum()

    def pull(gradient: Tensor) -> Tensor:
        squared_distance = (gradient * down).unsqueeze(-1) + (gradient * across).unsqueeze(-2)
        return _through_sigmoid(squared_distance.flatten(-2), p)

    return total, pull


def tversky_distance(x: Tensor, at: Tensor, white: Tensor, alpha: float, beta: float, smooth: float) -> Value:
    """errors / (errors + TP + s) of each frame, with errors = alpha FP + beta FN."""
    p = torch.sigmoid(x)
    at_white = p.gather(-1, at)
    hit = at_white * white
    p.scatter_(-1, at, at_white - hit)  # of black pixels only, from here on
    errors = alpha * p.sum(-1, keepdim=True) + beta * (white - hit)
    rest = hit + smooth
    whole = errors + rest

    def pull(gradient: Tensor) -> Tensor:
        scale = gradient.unsqueeze(-1) / whole.square()
        slopes = _through_sigmoid((alpha * scale * rest).expand_as(p), p)
        slope = -scale * (errors + beta * rest) * white
        return slopes.scatter_add_(-1, at, _through_sigmoid(slope, at_white))

    return (errors / whole).squeeze(-1), pull


def softmax_cross_entropy(x: Tensor, at: Tensor, white: Tensor) -> Value:
    """-log softmax at the white pixel of each frame; 0 in an empty one."""
    log_density = torch.log_softmax(x, -1)

    def pull(gradient: Tensor) -> Tensor:
        weight = gradient.unsqueeze(-1) * white
        return log_density.exp().mul_(weight).scatter_add_(-1, at, -weight)

    return -(log_density.gather(-1, at) * white).squeeze(-1), pull


def _through_sigmoid(slopes: Tensor, p: Tensor) -> Tensor:
    """slopes * p (1 - p), in one pass."""
    return torch.ops.aten.sigmoid_backward(slopes, p)
