"""What every loss shares: the checks on what comes in, sigmoid exactly once, and the reduction at the end."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fixlib.losses.targets import WhitePixels

REDUCTIONS = ("mean", "sum", "none")


def prepare(input: Tensor, target: Tensor | WhitePixels, from_logits: bool) -> tuple[Tensor, Tensor]:
    """Check the pair and give both in the dtype of every loss, the target as frames."""
    x = as_logits(input)
    if not isinstance(target, Tensor | WhitePixels):
        raise TypeError(f"loss target must be a torch.Tensor, got {type(target).__name__}")
    check_shapes(input, target)
    if isinstance(target, WhitePixels):
        y = target.frames().to(x.dtype)
    else:
        y = target.to(x.dtype)
        _check_unit_interval(y, "target", "frames hold 0 or 1 (soft targets lie in between)")
    if not from_logits:
        _check_unit_interval(x, "input", "from_logits=False expects probabilities; a network emits logits")
    return x, y


def as_logits(input: Tensor) -> Tensor:
    """Checked, and in float32 (float64 stays), in which every loss is computed.

    Half precision is left behind here because a sum over 1,024 pixels, or a log near 1, does not survive it.
    """
    if not isinstance(input, Tensor):
        raise TypeError(f"loss input must be a torch.Tensor, got {type(input).__name__}")
    if not input.is_floating_point():
        raise TypeError(f"loss input must be floating point (logits of the network), got {input.dtype}")
    return input.to(torch.promote_types(input.dtype, torch.float32))


def check_shapes(input: Tensor, target: Tensor | WhitePixels) -> None:
    if input.shape != target.shape:
        raise ValueError(
            f"loss input has shape {tuple(input.shape)} but target {tuple(target.shape)}: they must be "
            "equal, (..., H, W); nothing is broadcast"
        )
    if input.dim() < 2 or input.numel() == 0:
        raise ValueError(f"loss needs at least one frame (..., H, W), got shape {tuple(input.shape)}")


def _check_unit_interval(values: Tensor, name: str, hint: str) -> None:
    low, high = (v.item() for v in values.detach().aminmax())
    if not (low >= 0 and high <= 1):  # written so that NaN is caught too
        raise ValueError(f"loss {name} must lie in [0, 1] without NaN, found {low:g} to {high:g}: {hint}")


def probability(x: Tensor, from_logits: bool) -> Tensor:
    """p, the probability that the pixel is white."""
    return torch.sigmoid(x) if from_logits else x


def log_probabilities(x: Tensor, from_logits: bool) -> tuple[Tensor, Tensor]:
    """log p and log(1 - p). From logits both are exact at any size, and so are their gradients."""
    if from_logits:
        return F.logsigmoid(x), F.logsigmoid(-x)
    p = bounded(x)
    return torch.log(p), torch.log1p(-p)


def bounded(p: Tensor) -> Tensor:
    """p kept one rounding step from 0 and 1, so that its log is finite; the gradient passes unchanged.

    A plain clamp would have no gradient exactly where a confidently wrong output needs it most.
    """
    eps = torch.finfo(p.dtype).eps
    return p + (p.clamp(eps, 1 - eps) - p).detach()


def reduce(values: Tensor, reduction: str) -> Tensor:
    if reduction not in REDUCTIONS:
        raise ValueError(f"reduction must be one of {', '.join(REDUCTIONS)}, got {reduction!r}")
    if reduction == "none":
        return values
    return values.mean() if reduction == "mean" else values.sum()


def check_at_least_zero(**values: float) -> None:
    for name, value in values.items():
        if not value >= 0:
            raise ValueError(f"{name} must be at least 0, got {value}")


class Loss(nn.Module):
    """A loss function and its options: ``loss(input, target)`` is ``function(input, target, **options)``.

    Options stay ordinary attributes (``loss.reduction = "none"`` works).
    """

    function: Callable[..., Tensor]

    def __init__(self, **options) -> None:
        super().__init__()
        self._names = tuple(options)
        for name, value in options.items():
            setattr(self, name, value)
        # The function checks its options; one pixel makes it do so now rather than at the first batch.
        pixel = torch.zeros(1, 1, device="cpu")
        self(pixel, pixel)

    @property
    def options(self) -> dict:
        return {name: getattr(self, name) for name in self._names}

    def forward(self, input: Tensor, target: Tensor | WhitePixels) -> Tensor:
        return type(self).function(input, target, **self.options)

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={value!r}" for name, value in self.options.items())
