"""The losses: each a formula, from which a function and a class are made, registered under its name.

>>> logits, target = torch.zeros(2, 10, 1, 32, 32), torch.zeros(2, 10, 1, 32, 32)
>>> FocalLoss(gamma=1.0)(logits, target) == focal_loss(logits, target, gamma=1.0)
tensor(True)

`input` and `target` are (..., H, W) of equal shape, for example (B, T, 1, H, W); a frame is the last two dimensions by
itself. `input` holds logits and p = sigmoid(input), unless `from_logits=False`, when it holds p itself. `target` y is
in [0, 1]: frames hold 0 and 1, values in between are soft targets (each formula taken as written).

`reduction` is "mean" or "sum", or "none": one value a pixel, (..., H, W), or one a frame, (...), for Dice, Tversky,
focal Tversky and softmax cross-entropy. Losses are computed in float32 (float64 for float64 input): half precision
loses a sum over 1,024 pixels and a log near 1. They are finite, as is their gradient, for any finite logit.

ValueError: unequal shapes, no pixel, a target outside [0, 1] or NaN, an unknown reduction, an option out of range.
TypeError: not tensors, an input that is not floating point, an unknown option.
"""

import inspect
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, wraps
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fixlib.registry import Registry

LossFunction = Callable[[Tensor, Tensor], Tensor]  # (output, target) -> scalar
# The seven of the original experiment, which chapter 4 compares.
MISSION_LOSSES = ("mse", "focal", "sparsity", "concentration", "composite", "dice", "weighted_mse")
REDUCTIONS: dict[str, Callable[[Tensor], Tensor]] = dict(mean=torch.mean, sum=torch.sum, none=lambda values: values)
FRAME = (-2, -1)  # its dimensions
ALIASES = {"normalise": "normalize"}  # options under the names that recorded runs hold


class Loss(nn.Module):
    """A loss function and its options, by name or in order; they stay attributes (`loss.reduction = "none"` works)."""

    function: Callable[..., Tensor]
    reduction: str

    def __init__(self, *values, **options) -> None:
        super().__init__()
        known = _options_of(self.function)
        options = {ALIASES.get(name, name): value for name, value in options.items()}
        if unknown := [name for name in options if name not in known.parameters]:
            told = f"{self.function.__name__.removesuffix('_loss')!r} has no option {', '.join(unknown)}"
            raise TypeError(f"loss {told}; its options: {', '.join(known.parameters)}")
        bound = known.bind(*values, **options)
        bound.apply_defaults()
        self._names = tuple(bound.arguments)
        for name, value in bound.arguments.items():
            setattr(self, name, value)
        pixel = torch.zeros(1, 1, device="cpu")
        self(pixel, pixel)  # the function checks its options: now rather than at the first batch

    @property
    def options(self) -> dict[str, Any]:
        """Name -> value of every option."""
        return {name: getattr(self, name) for name in self._names}

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss: a scalar, unless `reduction` is "none"."""
        return self.function(input, target, **self.options)

    def extra_repr(self) -> str:
        """The options, as they are written."""
        return ", ".join(f"{name}={value!r}" for name, value in self.options.items())


class Losses(Registry[type[Loss]]):
    """Losses of frames by name."""

    def register(self, name: str, class_name: str | None = None) -> Callable[[Any], Any]:
        """A decorator for a `Loss`, or for a function of input, target and options, of which one is made."""

        def add(entry):
            own = dict(function=staticmethod(entry), __doc__=entry.__doc__, __module__=__name__)
            made = entry if isinstance(entry, type) else type(class_name or name, (Loss,), own)
            super(Losses, self).register(name)(made)
            return entry

        return add


LOSSES = Losses("loss")
POINT_LOSSES: Registry[type[nn.Module]] = Registry("loss of points")  # (..., 2) px
POINT_LOSSES.register("l1")(nn.L1Loss)
POINT_LOSSES.register("l2")(nn.MSELoss)


def make_loss(name: str, **options) -> nn.Module:
    """The loss of frames or points called `name`; ValueError for an unknown name, TypeError for an unknown option."""
    return (POINT_LOSSES if name in POINT_LOSSES else LOSSES)[name](**options)


def get_loss_function(name: str = "mse", **options) -> nn.Module:
    """The loss of frames called `name`, for example `get_loss_function("focal", alpha=0.5)`.

    As `make_loss`, but an unknown name warns (UserWarning) and gives MSE, without the options, which belonged to
    something else.
    """
    if name in LOSSES:
        return LOSSES[name](**options)
    dropped = f", without the options {', '.join(options)}" if options else ""
    warnings.warn(f"unknown loss {name!r}: MSE is used instead{dropped}. Known: {', '.join(LOSSES)}", stacklevel=2)
    return MSE()


@dataclass(frozen=True)
class Output:
    """What a network says of every pixel, (..., H, W): logits, or p itself where not `from_logits`."""

    values: Tensor
    from_logits: bool

    @cached_property
    def p(self) -> Tensor:
        """The probability that the pixel is white."""
        return torch.sigmoid(self.values) if self.from_logits else self.values

    def log_probabilities(self) -> tuple[Tensor, Tensor]:
        """log p and log(1 - p). From logits both are exact at any size, and so are their gradients."""
        if self.from_logits:
            return F.logsigmoid(self.values), F.logsigmoid(-self.values)
        return torch.log(self.bounded()), torch.log1p(-self.bounded())

    def log_density(self) -> Tensor:
        """log of the softmax over the frame, or of p divided by its sum."""
        if self.from_logits:
            return torch.log_softmax(self.values.flatten(-2), dim=-1).view_as(self.values)
        return torch.log(self.bounded()) - torch.log(self.bounded().sum(FRAME, keepdim=True))

    def bounded(self) -> Tensor:
        """p one rounding step from 0 and 1, so that its log is finite; a plain clamp would have no gradient there."""
        eps = torch.finfo(self.p.dtype).eps
        return self.p + (self.p.clamp(eps, 1 - eps) - self.p).detach()


def loss_function(formula: Callable[..., Any]) -> Callable[..., Any]:
    """The function of a loss, given its values (or a dict of them) as a formula of an `Output`, y and options.

    It takes input, target, those options, `from_logits` and `reduction`; checks, converts to float32 and reduces. Given
    an `Output`, it is the formula: for a loss that is made of others.
    """

    @wraps(formula)
    def function(input, target, *values, from_logits: bool = True, reduction: str = "mean", **options):
        if isinstance(input, Output):
            return formula(input, target, *values, **options)
        found = formula(*_checked(input, target, from_logits), *values, **options)
        if reduction not in REDUCTIONS:
            raise ValueError(f"reduction must be one of {', '.join(REDUCTIONS)}, got {reduction!r}")
        reduce = REDUCTIONS[reduction]
        return {name: reduce(part) for name, part in found.items()} if isinstance(found, dict) else reduce(found)

    own, made = (inspect.signature(each, follow_wrapped=False).parameters.values() for each in (formula, function))
    common = [parameter for parameter in made if parameter.kind is parameter.KEYWORD_ONLY]
    function.__signature__ = inspect.Signature([*own, *common])  # type: ignore[attr-defined]  # as inspect reads it
    return function


def _options_of(function: Callable) -> inspect.Signature:
    """What a loss function takes besides input and target."""
    return inspect.Signature(list(inspect.signature(function).parameters.values())[2:])


def _checked(input: Tensor, target: Tensor, from_logits: bool) -> tuple[Output, Tensor]:
    for name, tensor in (("input", input), ("target", target)):
        if not isinstance(tensor, Tensor):
            raise TypeError(f"loss {name} must be a torch.Tensor, got {type(tensor).__name__}")
    if not input.is_floating_point():
        raise TypeError(f"loss input must be floating point (logits of the network), got {input.dtype}")
    shape, other = tuple(input.shape), tuple(target.shape)
    if shape != other:
        raise ValueError(f"loss input has shape {shape} but target {other}: they must be equal, (..., H, W)")
    if len(shape) < 2 or 0 in shape:
        raise ValueError(f"loss needs at least one frame (..., H, W), got shape {shape}")
    dtype = torch.promote_types(input.dtype, torch.float32)
    x, y = input.to(dtype), target.to(dtype)
    _check_unit_interval(y, "target", "frames hold 0 or 1 (soft targets lie in between)")
    if not from_logits:
        _check_unit_interval(x, "input", "from_logits=False expects probabilities; a network emits logits")
    return Output(x, from_logits), y


def _check_unit_interval(values: Tensor, name: str, hint: str) -> None:
    low, high = torch.stack(values.detach().aminmax()).tolist()
    if not (low >= 0 and high <= 1):  # written so that NaN is caught too
        raise ValueError(f"loss {name} must lie in [0, 1] without NaN, found {low:g} to {high:g}: {hint}")


def _check_at_least_zero(**values: float) -> None:
    for name, value in values.items():
        if not value >= 0:
            raise ValueError(f"{name} must be at least 0, got {value}")


def _check_above_zero(name: str, value: float) -> None:
    if not value > 0:
        raise ValueError(f"{name} must be above 0, got {value}")


@LOSSES.register("mse", "MSE")
@loss_function
def mse_loss(output: Output, y: Tensor) -> Tensor:
    """(p - y)^2, the Brier (1950) score: its best output is the true probability."""
    return (output.p - y).square()


@LOSSES.register("focal", "FocalLoss")
@loss_function
def focal_loss(output: Output, y: Tensor, alpha: float = 0.25, gamma: float = 2.0) -> Tensor:
    """-alpha_t (1 - p_t)^gamma log p_t, Lin et al. (2017), equation 5.

    `alpha` in [0, 1] is the weight of the positive (white) class, 1 - alpha that of the negative one; `gamma` >= 0
    turns down what is already right. p_t is p where y = 1 and 1 - p where y = 0. A soft target mixes the two terms
    in the proportion y. Computed in log space: a white pixel at logit -30 still has the gradient -alpha.
    """
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha is the weight of the positive class and must lie in [0, 1], got {alpha}")
    _check_at_least_zero(gamma=gamma)
    log_p, log_not_p = output.log_probabilities()
    # exp(gamma log(1 - p)) rather than (1 - p)**gamma, whose gradient is infinite at p = 1 when gamma < 1.
    positive = -alpha * torch.exp(gamma * log_not_p) * log_p
    negative = -(1 - alpha) * torch.exp(gamma * log_p) * log_not_p
    return y * positive + (1 - y) * negative


@LOSSES.register("sparsity", "SparsityLoss")
@loss_function
def sparsity_loss(output: Output, y: Tensor, weight: float = 1.0) -> Tensor:
    """(p - y)^2 + `weight` |p|: MSE and an L1 penalty on what is predicted (p is never negative)."""
    _check_at_least_zero(weight=weight)
    p = output.p
    return (p - y).square() + weight * p


@LOSSES.register("concentration", "ConcentrationLoss")
@loss_function
def concentration_loss(output: Output, y: Tensor, normalize: bool = False, density: bool = False) -> Tensor:
    """p d^2, where d is the distance (px) of the pixel to the center of mass of its frame's target.

    Pixels of empty frames count 0 and stay in the mean. `normalize` divides d^2 by the squared diagonal, H^2 + W^2,
    which brings the term from hundreds of px^2 to the scale of the other losses, below 1. Nothing in it rewards a
    white pixel: its best output is 0 everywhere but at the target, where anything goes.

    `density` is a second reading: p is first divided by its sum over the frame. Black is then not the best output, but
    nothing says how large p is to be, only where: all of it at the mean of the places that are possible.
    """
    mass = y.sum(FRAME).unsqueeze(-1)  # (..., 1)
    squared_distances = []
    for length, along in ((y.shape[-2], y.sum(-1)), (y.shape[-1], y.sum(-2))):
        places = torch.arange(length, dtype=y.dtype, device=y.device)
        center = (along * places).sum(-1, keepdim=True) / torch.where(mass > 0, mass, 1)
        squared_distances.append((places - center).square() * (mass > 0))
    down, across = squared_distances
    squared_distance = down.unsqueeze(-1) + across.unsqueeze(-2)
    if normalize:
        squared_distance = squared_distance / (y.shape[-2] ** 2 + y.shape[-1] ** 2)
    p = output.log_probabilities()[0].flatten(-2).softmax(-1).view_as(y) if density else output.p
    return p * squared_distance


@loss_function
def composite_components(
    output: Output,
    y: Tensor,
    alpha: float = 0.25,
    gamma: float = 2.0,
    l1_weight: float = 1.0,
    normalize: bool = False,
    density: bool = False,
) -> dict[str, Tensor]:
    """The three parts of `composite_loss` before weighting: keys focal, sparsity, concentration."""
    return dict(
        focal=focal_loss(output, y, alpha, gamma),
        sparsity=sparsity_loss(output, y, l1_weight),
        concentration=concentration_loss(output, y, normalize, density),
    )


def composite_loss(
    input: Tensor | Output,
    target: Tensor,
    focal_weight: float = 1.0,
    sparsity_weight: float = 0.8,
    concentration_weight: float = 1.5,
    *,
    alpha: float = 0.25,
    gamma: float = 2.0,
    l1_weight: float = 1.0,
    normalize: bool = False,
    density: bool = False,
    from_logits: bool = True,
    reduction: str = "mean",
) -> Tensor:
    """focal_weight * focal + sparsity_weight * sparsity + concentration_weight * concentration.

    `alpha` and `gamma` go to the focal part, `l1_weight` is the sparsity part's own weight of |p|, `normalize` and
    `density` go to the concentration part.
    """
    weights = dict(focal=focal_weight, sparsity=sparsity_weight, concentration=concentration_weight)
    _check_at_least_zero(**{f"{name}_weight": weight for name, weight in weights.items()})
    common = dict(from_logits=from_logits, reduction=reduction)
    parts = composite_components(input, target, alpha, gamma, l1_weight, normalize, density, **common)
    focal, sparsity, concentration = (weights[name] * part for name, part in parts.items())
    return focal + sparsity + concentration


@LOSSES.register("composite")
class CompositeLoss(Loss):
    """Weighted sum of focal, sparsity and concentration; see `composite_loss`."""

    function = staticmethod(composite_loss)

    def components(self, input: Tensor, target: Tensor) -> dict[str, Tensor]:
        """The three unweighted values, by name, under this loss's own options."""
        own = {name: self.options[name] for name in _options_of(composite_components).parameters}
        return composite_components(input, target, **own)


@LOSSES.register("dice", "DiceLoss")
@loss_function
def dice_loss(output: Output, y: Tensor, smooth: float = 1e-5) -> Tensor:
    """1 - (2 sum(p y) + s) / (sum p + sum y + s) for each frame, with s = `smooth` > 0.

    Milletari et al. (2016) without the squares in the denominator. `smooth` is no detail: it is what an empty frame
    and an empty prediction are worth (see the known answers of chapter 2).
    """
    _check_above_zero("smooth", smooth)
    p = output.p
    return 1 - (2 * (p * y).sum(FRAME) + smooth) / (p.sum(FRAME) + y.sum(FRAME) + smooth)


@LOSSES.register("weighted_mse", "WeightedMSE")
@loss_function
def weighted_mse_loss(output: Output, y: Tensor, pos_weight: float = 100.0) -> Tensor:
    """w (p - y)^2 with w = `pos_weight` where y > 0, else 1. The mean divides by pixels, not by weights."""
    _check_at_least_zero(pos_weight=pos_weight)
    error = (output.p - y).square()
    return torch.where(y > 0, pos_weight * error, error)


@LOSSES.register("bce", "BCE")
@loss_function
def bce_loss(output: Output, y: Tensor) -> Tensor:
    """-y log p - (1 - y) log(1 - p), binary cross-entropy in nats."""
    log_p, log_not_p = output.log_probabilities()
    return -y * log_p - (1 - y) * log_not_p


@LOSSES.register("tversky", "TverskyLoss")
@loss_function
def tversky_loss(output: Output, y: Tensor, alpha: float = 0.3, beta: float = 0.7, smooth: float = 1e-5) -> Tensor:
    """1 - (TP + s) / (TP + alpha FP + beta FN + s) for each frame, Salehi et al. (2017), equation 2.

    TP = sum(p y), FP = sum(p (1 - y)), FN = sum((1 - p) y), s = `smooth` > 0. alpha = beta = 1/2 with s/2 is Dice.
    """
    _check_at_least_zero(alpha=alpha, beta=beta)
    _check_above_zero("smooth", smooth)
    p = output.p
    errors = alpha * (p * (1 - y)).sum(FRAME) + beta * ((1 - p) * y).sum(FRAME)
    return errors / (errors + (p * y).sum(FRAME) + smooth)  # never below 0 by rounding


@LOSSES.register("focal_tversky", "FocalTverskyLoss")
@loss_function
def focal_tversky_loss(
    output: Output, y: Tensor, alpha: float = 0.3, beta: float = 0.7, gamma: float = 4 / 3, smooth: float = 1e-5
) -> Tensor:
    """(Tversky loss)^(1 / gamma) for each frame, Abraham & Khan (2019), equation 4; gamma > 0.

    `alpha` weighs false positives and `beta` false negatives as in `tversky_loss` (that paper swaps the letters).
    Below a Tversky loss of one rounding step the gradient is 0: the root is infinitely steep there.
    """
    _check_above_zero("gamma", gamma)
    distance = tversky_loss(output, y, alpha, beta, smooth)
    return distance.clamp_min(torch.finfo(distance.dtype).eps) ** (1 / gamma)


@LOSSES.register("softmax_cross_entropy", "SoftmaxCrossEntropy")
@loss_function
def softmax_cross_entropy_loss(output: Output, y: Tensor) -> Tensor:
    """-sum(y log softmax(logits)) / sum(y) for each frame, in nats: where is the white pixel, among H * W?

    The softmax runs over the pixels of a frame, so that the output is a probability distribution over positions, and
    the loss is a proper score (divide by log 2 for bits). Several white pixels share the frame equally. An empty
    frame has no position and counts 0. With `from_logits=False` the input is divided by its sum over the frame.
    """
    mass = y.sum(FRAME)
    return -(y * output.log_density()).sum(FRAME) / torch.where(mass > 0, mass, 1)


MSE, FocalLoss, SparsityLoss = LOSSES["mse"], LOSSES["focal"], LOSSES["sparsity"]
ConcentrationLoss, DiceLoss, WeightedMSE = LOSSES["concentration"], LOSSES["dice"], LOSSES["weighted_mse"]
BCE, TverskyLoss, FocalTverskyLoss = LOSSES["bce"], LOSSES["tversky"], LOSSES["focal_tversky"]
SoftmaxCrossEntropy = LOSSES["softmax_cross_entropy"]
