"""What a loss does away from its optimum, and what the losses on whole frames ask for.

Where the best output crosses 0.5, who pulls on a constant output (the white pixel or the black ones), which pixels Dice
and its kin would paint, and what the composite charges a single pixel: measured on the loss objects, in float64, on
frames with one white pixel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from fixlib.losses import Loss, Output, composite_loss, loss_function
from fixlib.theory.pixels import LossFunction, best_output, moving_frames, per_frame, unreduced

# Black and white for certain: 1,024 black pixels must not add up to anything, even beside smooth = 1e-9.
CERTAIN_LOGIT = 80.0


def crossing_threshold(loss: LossFunction) -> float:
    """The probability eta above which a loss on pixels wants p > 0.5; infinity where it never does.

    Zooms in on the first eta whose `best_output` is above, to one part in ten million. ValueError for losses on
    frames (see `painting_threshold`).
    """
    if not best_output(loss, 1.0) > 0.5 + 1e-6:
        return math.inf
    low, high = 0.0, 1.0
    while high - low > 1e-7:
        etas = np.linspace(low, high, 9)
        first = max(int(np.argmax(best_output(loss, etas) > 0.5)), 1)
        low, high = etas[first - 1], etas[first]
    return float(high)


@dataclass(frozen=True)
class Balance:
    """How a loss pulls on a constant output, per frame, with the loss as it is trained (its mean).

    Attributes:
        loss: its value.
        white_gradient: size of the derivative of the loss by the white pixel's logit.
        black_gradient: the same, summed over all black pixels.
        loss_share: part of the loss that the white pixel contributes; NaN where the loss is no sum over pixels.
    """

    loss: float
    white_gradient: float
    black_gradient: float
    loss_share: float

    @property
    def gradient_share(self) -> float:
        """The white pixel's part of all pulling."""
        return self.white_gradient / (self.white_gradient + self.black_gradient)


def balance(loss: Loss, p: float, size: int = 32) -> Balance:
    """Gradients and shares where every pixel of a size x size frame has the output `p`, in (0, 1).

    The mean runs over frames in which the white pixel visits every row and every column once, which matters to
    concentration and composite only.
    """
    if not 0 < p < 1:
        raise ValueError(f"p must lie between 0 and 1, got {p}")
    frames = moving_frames(1, size).unsqueeze(1)
    logits = torch.full_like(frames, math.log(p / (1 - p))).requires_grad_()
    output = logits if getattr(loss, "from_logits", True) else torch.sigmoid(logits)
    value = loss(output, frames).mean()
    (slopes,) = torch.autograd.grad(value, logits)
    values = unreduced(loss)(output.detach(), frames)
    share = (values * frames).sum().item() / values.sum().item() if values.shape == frames.shape else math.nan
    white, black = ((slopes.abs() * part).sum().item() for part in (frames, 1 - frames))
    return Balance(value.item(), white, black, share)


def painting_losses(loss: LossFunction, probabilities: ArrayLike) -> np.ndarray:
    """Expected loss (..., H * W + 1) of painting the k most probable pixels white, the others black, k = 0 ... H * W.

    For losses that treat all pixels alike (not concentration). Dice and Tversky with alpha + beta = 1 want exactly
    such a frame: their expected score is a ratio of linear functions of p with the same denominator for every target,
    so that a corner of the cube [0, 1]^n is best. `probabilities` (..., H, W), of each pixel being the white one, sum
    to 1 in each frame, or it is a ValueError.
    """
    eta = np.asarray(probabilities, dtype=np.float64)
    covered = np.cumsum(-np.sort(-eta.reshape(*eta.shape[:-2], -1), axis=-1), axis=-1)
    if not np.allclose(covered[..., -1], 1, rtol=0, atol=1e-6):
        raise ValueError(f"the probabilities of a frame must sum to 1, found {covered[..., -1].min():g}")
    covered = np.concatenate([np.zeros_like(covered[..., :1]), covered], axis=-1)
    hit, miss, _ = _painted(loss, covered.shape[-1] - 1)
    return covered * hit + (1 - covered) * miss


def best_painting(loss: LossFunction, probabilities: ArrayLike) -> np.ndarray:
    """The 0/1 frames, in the shape of `probabilities`, of least expected loss; see `painting_losses`."""
    eta = np.asarray(probabilities, dtype=np.float64)
    count = painting_losses(loss, eta).argmin(-1, keepdims=True)
    order = np.argsort(-eta.reshape(*eta.shape[:-2], -1), axis=-1, kind="stable")
    frames = np.zeros(order.shape)
    np.put_along_axis(frames, order, np.where(np.arange(order.shape[-1]) < count, 1.0, 0.0), axis=-1)
    return frames.reshape(eta.shape)


def painting_threshold(loss: LossFunction, size: int = 32, empty: float = 0.0) -> float:
    """The probability eta above which painting one pixel white costs less than painting none.

    Both expected losses are linear in eta, so this is exact; `empty` is the probability that a frame has no white
    pixel. Painting a pixel half never pays under Dice and its kin, so that this is also where the best p of a pixel
    goes from 0 to 1.
    """
    hit, miss, blank = _painted(loss, size**2, most=1)
    cost_of_none, cost_if_missed = (1 - empty) * miss + empty * blank
    return (cost_if_missed - cost_of_none) / (miss[1] - hit[1])


def _painted(loss: LossFunction, n: int, most: int | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Loss of k white pixels of n, k = 0 ... most: where the target is among them, where it is not, where empty.

    Nothing can be hit with k = 0, nor missed with k = n: those entries hold a number of no meaning.
    """
    painted = torch.arange(n) < torch.arange((n if most is None else most) + 1)[:, None]
    logits = torch.where(painted, CERTAIN_LOGIT, -CERTAIN_LOGIT).to(torch.float64).unsqueeze(1)
    first, last, none = torch.zeros(3, 1, 1, n, dtype=torch.float64)
    first[..., 0] = last[..., -1] = 1
    hit, miss, blank = (per_frame(loss, logits, target.expand_as(logits)) for target in (first, last, none))
    return hit, miss, blank


@loss_function
def composite_at_pixel_loss(
    output: Output, y: Tensor, squared_distance: float, focal_weight=1.0, sparsity_weight=0.8, concentration_weight=1.5
) -> Tensor:
    """What the composite charges a pixel if the white one, when elsewhere, is `squared_distance` px^2 away on average.

    Concentration is linear in p: a pixel's best output depends on the rest of the frame through this number only.
    """
    if not squared_distance >= 0:
        raise ValueError(f"squared_distance must be at least 0 px^2, got {squared_distance}")
    others = composite_loss(output, y, focal_weight, sparsity_weight, 0.0)
    return others + concentration_weight * squared_distance * (1 - y) * output.p


class CompositeAtPixel(Loss):
    """The composite as one pixel sees it; see `composite_at_pixel_loss`."""

    function = staticmethod(composite_at_pixel_loss)
