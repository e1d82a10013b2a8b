"""Losses that treat every pixel by itself: MSE, BCE, weighted MSE, sparsity (MSE + L1), focal.

For all: `input` and `target` are (..., H, W) of equal shape, for example (B, T, 1, H, W). `input` holds
logits and p = sigmoid(input), unless ``from_logits=False``, when it holds p itself. `target` y is in [0, 1];
the frames of this project hold 0 and 1, values in between are soft targets (each formula taken as written).
Where a frame has one white pixel at most, :class:`fixlib.losses.WhitePixels` may take the place of `target`, for the
same number with less work.
``reduction`` is 'mean' or 'sum' over all pixels, or 'none': one value a pixel, shape (..., H, W). The result
is float32 (float64 for float64 input), finite, as is its gradient, for any finite logit.

ValueError: unequal shapes, no pixel, a target outside [0, 1] or NaN, an unknown reduction, an option out of
range. TypeError: not tensors, or an input that is not floating point.
"""

import torch
from torch import Tensor

from fixlib.losses import _closed_form as closed_form
from fixlib.losses._common import Loss, check_at_least_zero, log_probabilities, prepare, probability, reduce
from fixlib.losses.targets import WhitePixels


def mse_loss(
    input: Tensor, target: Tensor | WhitePixels, *, from_logits: bool = True, reduction: str = "mean"
) -> Tensor:
    """(p - y)^2, the Brier (1950) score: its best output is the true probability."""
    if closed_form.applies(target, from_logits, reduction):
        return closed_form.over_pixels(closed_form.squared_error, input, target, reduction)
    x, y = prepare(input, target, from_logits)
    return reduce((probability(x, from_logits) - y).square(), reduction)


def bce_loss(
    input: Tensor, target: Tensor | WhitePixels, *, from_logits: bool = True, reduction: str = "mean"
) -> Tensor:
    """-y log p - (1 - y) log(1 - p), binary cross-entropy in nats."""
    if closed_form.applies(target, from_logits, reduction):
        return closed_form.over_pixels(closed_form.cross_entropy, input, target, reduction)
    x, y = prepare(input, target, from_logits)
    log_p, log_not_p = log_probabilities(x, from_logits)
    return reduce(-y * log_p - (1 - y) * log_not_p, reduction)


def weighted_mse_loss(
    input: Tensor,
    target: Tensor | WhitePixels,
    pos_weight: float = 100.0,
    *,
    from_logits: bool = True,
    reduction: str = "mean",
) -> Tensor:
    """w (p - y)^2 with w = `pos_weight` where y > 0, else 1. The mean divides by pixels, not by weights."""
    check_at_least_zero(pos_weight=pos_weight)
    if closed_form.applies(target, from_logits, reduction):
        return closed_form.over_pixels(closed_form.squared_error, input, target, reduction, pos_weight=pos_weight)
    x, y = prepare(input, target, from_logits)
    error = (probability(x, from_logits) - y).square()
    return reduce(torch.where(y > 0, pos_weight * error, error), reduction)


def sparsity_loss(
    input: Tensor,
    target: Tensor | WhitePixels,
    weight: float = 1.0,
    *,
    from_logits: bool = True,
    reduction: str = "mean",
) -> Tensor:
    """(p - y)^2 + `weight` |p|: MSE and an L1 penalty on what is predicted (p is never negative)."""
    check_at_least_zero(weight=weight)
    if closed_form.applies(target, from_logits, reduction):
        return closed_form.over_pixels(closed_form.squared_error, input, target, reduction, l1_weight=weight)
    x, y = prepare(input, target, from_logits)
    p = probability(x, from_logits)
    return reduce((p - y).square() + weight * p, reduction)


def focal_loss(
    input: Tensor,
    target: Tensor | WhitePixels,
    alpha: float = 0.25,
    gamma: float = 2.0,
    *,
    from_logits: bool = True,
    reduction: str = "mean",
) -> Tensor:
    """-alpha_t (1 - p_t)^gamma log p_t, Lin et al. (2017), equation 5.

    `alpha` in [0, 1] is the weight of the positive (white) class, 1 - alpha that of the negative one; `gamma`
    >= 0 turns down what is already right. p_t is p where y = 1 and 1 - p where y = 0. A soft target mixes the
    two terms in the proportion y. Computed in log space: a white pixel at logit -30 still has the gradient
    -alpha.
    """
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha is the weight of the positive class and must lie in [0, 1], got {alpha}")
    check_at_least_zero(gamma=gamma)
    if closed_form.applies(target, from_logits, reduction):
        return closed_form.over_pixels(
            closed_form.cross_entropy, input, target, reduction, white_weight=alpha, black_weight=1 - alpha, gamma=gamma
        )
    x, y = prepare(input, target, from_logits)
    log_p, log_not_p = log_probabilities(x, from_logits)
    # exp(gamma log(1 - p)) rather than (1 - p)**gamma, whose gradient is infinite at p = 1 when gamma < 1.
    positive = -alpha * torch.exp(gamma * log_not_p) * log_p
    negative = -(1 - alpha) * torch.exp(gamma * log_p) * log_not_p
    return reduce(y * positive + (1 - y) * negative, reduction)


class MSE(Loss):
    """Mean squared error on p = sigmoid(logit); see :func:`mse_loss`."""

    function = staticmethod(mse_loss)

    def __init__(self, *, from_logits: bool = True, reduction: str = "mean") -> None:
        super().__init__(from_logits=from_logits, reduction=reduction)


class BCE(Loss):
    """Binary cross-entropy; see :func:`bce_loss`."""

    function = staticmethod(bce_loss)

    def __init__(self, *, from_logits: bool = True, reduction: str = "mean") -> None:
        super().__init__(from_logits=from_logits, reduction=reduction)


class WeightedMSE(Loss):
    """Squared error that counts `pos_weight` times on white pixels; see :func:`weighted_mse_loss`."""

    function = staticmethod(weighted_mse_loss)

    def __init__(self, pos_weight: float = 100.0, *, from_logits: bool = True, reduction: str = "mean") -> None:
        super().__init__(pos_weight=pos_weight, from_logits=from_logits, reduction=reduction)


class SparsityLoss(Loss):
    """MSE + `weight` * L1; see :func:`sparsity_loss`."""

    function = staticmethod(sparsity_loss)

    def __init__(self, weight: float = 1.0, *, from_logits: bool = True, reduction: str = "mean") -> None:
        super().__init__(weight=weight, from_logits=from_logits, reduction=reduction)


class FocalLoss(Loss):
    """Alpha-balanced focal loss; see :func:`focal_loss`."""

    function = staticmethod(focal_loss)

    def __init__(
        self, alpha: float = 0.25, gamma: float = 2.0, *, from_logits: bool = True, reduction: str = "mean"
    ) -> None:
        super().__init__(alpha=alpha, gamma=gamma, from_logits=from_logits, reduction=reduction)
