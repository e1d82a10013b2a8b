"""Losses that look at a frame as a whole: Dice, Tversky, focal Tversky, softmax cross-entropy, concentration
(and the composite that contains it).

Shapes, options and errors are those of :mod:`fixlib.losses.pixel`. A frame is the last two
dimensions, (H, W), by itself: nothing is pooled over time or batch. ``reduction='none'`` gives one value a
frame, shape (...), except for concentration and composite, which have one a pixel and give (..., H, W).
"""

import torch
from torch import Tensor

from fixlib.losses import _closed_form as closed_form
from fixlib.losses._common import Loss, as_logits, bounded, check_at_least_zero, prepare, probability, reduce
from fixlib.losses.pixel import focal_loss, sparsity_loss
from fixlib.losses.targets import WhitePixels

PIXELS = (-2, -1)


def dice_loss(
    input: Tensor,
    target: Tensor | WhitePixels,
    smooth: float = 1e-5,
    *,
    from_logits: bool = True,
    reduction: str = "mean",
) -> Tensor:
    """1 - (2 sum(p y) + s) / (sum p + sum y + s) for each frame, with s = `smooth` > 0.

    Milletari et al. (2016) without the squares in the denominator. `smooth` is no detail: it is what an empty
    frame and an empty prediction are worth (see the known answers of chapter 2).
    """
    _check_smooth(smooth)
    if closed_form.applies(target, from_logits):  # as the Tversky index that it is
        return tversky_loss(input, target, 0.5, 0.5, smooth / 2, reduction=reduction)
    x, y = prepare(input, target, from_logits)
    p = probability(x, from_logits)
    overlap = (p * y).sum(PIXELS)
    dice = (2 * overlap + smooth) / (p.sum(PIXELS) + y.sum(PIXELS) + smooth)
    return reduce(1 - dice, reduction)


def tversky_loss(
    input: Tensor,
    target: Tensor | WhitePixels,
    alpha: float = 0.3,
    beta: float = 0.7,
    smooth: float = 1e-5,
    *,
    from_logits: bool = True,
    reduction: str = "mean",
) -> Tensor:
    """1 - (TP + s) / (TP + alpha FP + beta FN + s) for each frame, Salehi et al. (2017), equation 2.

    TP = sum(p y), FP = sum(p (1 - y)), FN = sum((1 - p) y), s = `smooth` > 0. alpha = beta = 1/2 with s/2
    is Dice.
    """
    return reduce(_tversky_distance(input, target, alpha, beta, smooth, from_logits), reduction)


def focal_tversky_loss(
    input: Tensor,
    target: Tensor | WhitePixels,
    alpha: float = 0.3,
    beta: float = 0.7,
    gamma: float = 4 / 3,
    smooth: float = 1e-5,
    *,
    from_logits: bool = True,
    reduction: str = "mean",
) -> Tensor:
    """(Tversky loss)^(1 / gamma) for each frame, Abraham & Khan (2019), equation 4; gamma > 0.

    `alpha` weighs false positives and `beta` false negatives as in :func:`tversky_loss` (that paper swaps the
    letters). Below a Tversky loss of one rounding step the gradient is 0: the root is infinitely steep
    there.
    """
    if not gamma > 0:
        raise ValueError(f"gamma must be above 0, got {gamma}")
    distance = _tversky_distance(input, target, alpha, beta, smooth, from_logits)
    floor = torch.finfo(distance.dtype).eps
    return reduce(distance.clamp_min(floor) ** (1 / gamma), reduction)


def softmax_cross_entropy_loss(
    input: Tensor, target: Tensor | WhitePixels, *, from_logits: bool = True, reduction: str = "mean"
) -> Tensor:
    """-sum(y log softmax(logits)) / sum(y) for each frame, in nats: where is the white pixel, among H * W?

    The softmax runs over the pixels of a frame, so that the output is a probability distribution over
    positions, and the loss is a proper score (divide by log 2 for bits). Several white pixels share the frame
    equally. An empty frame has no position and counts 0. With ``from_logits=False`` the input is divided by
    its sum over the frame.
    """
    if closed_form.applies(target, from_logits):
        return reduce(closed_form.of_frames(closed_form.softmax_cross_entropy, input, target), reduction)
    x, y = prepare(input, target, from_logits)
    if from_logits:
        log_density = torch.log_softmax(x.flatten(-2), dim=-1).view_as(x)
    else:
        p = bounded(x)
        log_density = torch.log(p) - torch.log(p.sum(PIXELS, keepdim=True))
    mass = y.sum(PIXELS)
    log_likelihood = (y * log_density).sum(PIXELS)
    return reduce(-log_likelihood / torch.where(mass > 0, mass, 1), reduction)


def concentration_loss(
    input: Tensor,
    target: Tensor | WhitePixels,
    normalise: bool = False,
    *,
    from_logits: bool = True,
    reduction: str = "mean",
) -> Tensor:
    """p d^2, where d is the distance (px) of the pixel to the centre of mass of its frame's target.

    Pixels of empty frames count 0 and stay in the mean. `normalise` divides d^2 by the squared diagonal,
    H^2 + W^2, which brings the term from hundreds of px^2 to the scale of the other losses, below 1. Nothing
    in it rewards a white pixel: its best output is 0 everywhere but at the target, where anything goes.
    """
    if closed_form.applies(target, from_logits, reduction):
        return closed_form.over_pixels(closed_form.concentration, input, target, reduction, normalise=normalise)
    x, y = prepare(input, target, from_logits)
    squared_distance = _squared_distance_to_centre(y)
    if normalise:
        squared_distance = squared_distance / (y.shape[-2] ** 2 + y.shape[-1] ** 2)
    return reduce(probability(x, from_logits) * squared_distance, reduction)


def composite_components(
    input: Tensor,
    target: Tensor | WhitePixels,
    alpha: float = 0.25,
    gamma: float = 2.0,
    l1_weight: float = 1.0,
    normalise: bool = False,
    *,
    from_logits: bool = True,
    reduction: str = "mean",
) -> dict[str, Tensor]:
    """The three parts of :func:`composite_loss` before weighting: keys focal, sparsity, concentration."""
    # Converted once, so that the three gradients add up in float32 and not in the input's half precision.
    if closed_form.applies(target, from_logits, reduction):
        x, y = as_logits(input), target
    else:
        x, y = prepare(input, target, from_logits)
    common = {"from_logits": from_logits, "reduction": reduction}
    return {
        "focal": focal_loss(x, y, alpha, gamma, **common),
        "sparsity": sparsity_loss(x, y, l1_weight, **common),
        "concentration": concentration_loss(x, y, normalise, **common),
    }


def composite_loss(
    input: Tensor,
    target: Tensor | WhitePixels,
    focal_weight: float = 1.0,
    sparsity_weight: float = 0.8,
    concentration_weight: float = 1.5,
    *,
    alpha: float = 0.25,
    gamma: float = 2.0,
    l1_weight: float = 1.0,
    normalise: bool = False,
    from_logits: bool = True,
    reduction: str = "mean",
) -> Tensor:
    """focal_weight * focal + sparsity_weight * sparsity + concentration_weight * concentration.

    `alpha` and `gamma` go to the focal part, `l1_weight` is the sparsity part's own weight of |p|,
    `normalise` goes to the concentration part.
    """
    check_at_least_zero(
        focal_weight=focal_weight, sparsity_weight=sparsity_weight, concentration_weight=concentration_weight
    )
    parts = composite_components(
        input, target, alpha, gamma, l1_weight, normalise, from_logits=from_logits, reduction=reduction
    )
    return (
        focal_weight * parts["focal"]
        + sparsity_weight * parts["sparsity"]
        + concentration_weight * parts["concentration"]
    )


def _check_smooth(smooth: float) -> None:
    if not smooth > 0:
        raise ValueError(f"smooth must be above 0 (or an empty frame could be 0/0), got {smooth}")


def _tversky_distance(
    input: Tensor, target: Tensor | WhitePixels, alpha: float, beta: float, smooth: float, from_logits: bool
) -> Tensor:
    """1 - Tversky index a frame, written as errors / (errors + TP + s): never below 0 by rounding."""
    check_at_least_zero(alpha=alpha, beta=beta)
    _check_smooth(smooth)
    if closed_form.applies(target, from_logits):
        return closed_form.of_frames(closed_form.tversky_distance, input, target, alpha=alpha, beta=beta, smooth=smooth)
    x, y = prepare(input, target, from_logits)
    p = probability(x, from_logits)
    errors = alpha * (p * (1 - y)).sum(PIXELS) + beta * ((1 - p) * y).sum(PIXELS)
    return errors / (errors + (p * y).sum(PIXELS) + smooth)


def _squared_distance_to_centre(y: Tensor) -> Tensor:
    """Squared distance (px^2) of every pixel to the centre of mass of its frame; 0 in empty frames."""
    rows = torch.arange(y.shape[-2], dtype=y.dtype, device=y.device)
    columns = torch.arange(y.shape[-1], dtype=y.dtype, device=y.device)
    mass = y.sum(PIXELS).unsqueeze(-1)  # (..., 1)
    safe_mass = torch.where(mass > 0, mass, 1)
    row = (y.sum(-1) * rows).sum(-1, keepdim=True) / safe_mass
    column = (y.sum(-2) * columns).sum(-1, keepdim=True) / safe_mass
    down = (rows - row).square() * (mass > 0)
    across = (columns - column).square() * (mass > 0)
    return down.unsqueeze(-1) + across.unsqueeze(-2)


class DiceLoss(Loss):
    """1 - Dice coefficient of each frame; see :func:`dice_loss`."""

    function = staticmethod(dice_loss)

    def __init__(self, smooth: float = 1e-5, *, from_logits: bool = True, reduction: str = "mean") -> None:
        super().__init__(smooth=smooth, from_logits=from_logits, reduction=reduction)


class TverskyLoss(Loss):
    """1 - Tversky index of each frame; see :func:`tversky_loss`."""

    function = staticmethod(tversky_loss)

    def __init__(
        self,
        alpha: float = 0.3,
        beta: float = 0.7,
        smooth: float = 1e-5,
        *,
        from_logits: bool = True,
        reduction: str = "mean",
    ) -> None:
        super().__init__(alpha=alpha, beta=beta, smooth=smooth, from_logits=from_logits, reduction=reduction)


class FocalTverskyLoss(Loss):
    """(1 - Tversky index)^(1 / gamma) of each frame; see :func:`focal_tversky_loss`."""

    function = staticmethod(focal_tversky_loss)

    def __init__(
        self,
        alpha: float = 0.3,
        beta: float = 0.7,
        gamma: float = 4 / 3,
        smooth: float = 1e-5,
        *,
        from_logits: bool = True,
        reduction: str = "mean",
    ) -> None:
        super().__init__(
            alpha=alpha, beta=beta, gamma=gamma, smooth=smooth, from_logits=from_logits, reduction=reduction
        )


class SoftmaxCrossEntropy(Loss):
    """Cross-entropy over the H * W pixels of each frame; see :func:`softmax_cross_entropy_loss`."""

    function = staticmethod(softmax_cross_entropy_loss)

    def __init__(self, *, from_logits: bool = True, reduction: str = "mean") -> None:
        super().__init__(from_logits=from_logits, reduction=reduction)


class ConcentrationLoss(Loss):
    """Predicted mass times squared distance (px^2) to the target; see :func:`concentration_loss`."""

    function = staticmethod(concentration_loss)

    def __init__(self, normalise: bool = False, *, from_logits: bool = True, reduction: str = "mean") -> None:
        super().__init__(normalise=normalise, from_logits=from_logits, reduction=reduction)


class CompositeLoss(Loss):
    """Weighted sum of focal, sparsity and concentration; see :func:`composite_loss`."""

    function = staticmethod(composite_loss)

    def __init__(
        self,
        focal_weight: float = 1.0,
        sparsity_weight: float = 0.8,
        concentration_weight: float = 1.5,
        *,
        alpha: float = 0.25,
        gamma: float = 2.0,
        l1_weight: float = 1.0,
        normalise: bool = False,
        from_logits: bool = True,
        reduction: str = "mean",
    ) -> None:
        super().__init__(
            focal_weight=focal_weight,
            sparsity_weight=sparsity_weight,
            concentration_weight=concentration_weight,
            alpha=alpha,
            gamma=gamma,
            l1_weight=l1_weight,
            normalise=normalise,
            from_logits=from_logits,
            reduction=reduction,
        )

    def components(self, input: Tensor, target: Tensor | WhitePixels) -> dict[str, Tensor]:
        """The three unweighted values, by name, under this loss's own options."""
        options = {name: value for name, value in self.options.items() if not name.endswith("_weight")}
        return composite_components(input, target, l1_weight=self.l1_weight, **options)
