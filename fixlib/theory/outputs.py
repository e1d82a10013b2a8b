"""What a loss asks for: its best output, where that crosses 0.5, what Dice paints, and who pulls on a constant output.

All is measured on the loss object itself, in float64. Any loss will do, a user's own too: a callable
`loss(input, target)` on frames (B, T, 1, H, W) giving a tensor. Its input is taken for logits, unless the loss has an
attribute `from_logits` that is False. Outputs are searched over logits from -30 to 30 (p from 1e-13 to 1 - 1e-13: where
the best is 0 or 1, it ends there).
"""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from fixlib.losses import Loss, LossFunction, Output, SoftmaxCrossEntropy, composite_loss, loss_function

LARGEST_LOGIT = 30.0
FIRST_POINTS = 97  # of the search: a step of 0.6 in logits, so that no minimum is overlooked
POINTS, ROUNDS = 13, 9  # then, about the best, 1/6 of the step before in each round
PROBES = np.linspace(-5, 5, 3)
# Black and white for certain: 1,024 black pixels must not add up to anything, even beside smooth = 1e-9.
CERTAIN_LOGIT = 80.0


def best_output(loss: LossFunction, eta: ArrayLike, ramp: ArrayLike = 0.0) -> float | np.ndarray:
    """The p that minimizes eta * l(p, 1) + (1 - eta) * l(p, 0) + ramp * p: the best output for one pixel.

    Args:
        loss: one that treats every pixel by itself, which is measured, not declared.
        eta: the true probability that the pixel is white: a number, or an array (the result then has its shape).
        ramp: what p costs besides, as in the composite by the distance of the white pixel; of the shape of `eta`.

    Raises:
        ValueError: eta outside [0, 1], or a loss (Dice, Tversky, softmax, concentration, composite with a
            concentration weight) under which the best output of a pixel depends on all the others.
    """
    etas = np.asarray(eta, dtype=np.float64)
    if not np.all((etas >= 0) & (etas <= 1)):  # NaN is refused too
        raise ValueError(f"eta is a probability and must lie in [0, 1], got {eta!r}")
    _check_pixelwise(loss)
    chance, slope = etas.reshape(-1, 1), np.broadcast_to(ramp, etas.shape).reshape(-1, 1)

    def expected_loss(logits: np.ndarray) -> np.ndarray:
        pixels = torch.from_numpy(logits).reshape(-1, 1, 1)
        white, black = (per_frame(loss, pixels, torch.full_like(pixels, y)).reshape(logits.shape) for y in (1.0, 0.0))
        return chance * white + (1 - chance) * black + slope / (1 + np.exp(-logits))

    best = _minimize(expected_loss, etas.size).reshape(etas.shape)
    return float(best) if etas.ndim == 0 else best


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


def best_constant(loss: LossFunction, q: float, size: int = 32) -> float:
    """The p that, given to every pixel, minimizes the mean loss over frames of which a fraction `q` is white.

    For a loss on pixels this is `best_output(loss, q)`. Where q * size^2 is no whole number, frames with the number
    below and above are mixed (q = 0.5 / 1024: every second frame is empty). The mean runs over `moving_frames`, which
    for a single white pixel gives the mean squared distance over all positions exactly; losses to which position is
    nothing are asked about one of them. ValueError: q outside [0, 1], or every constant costs the same (softmax).
    """
    if not 0 <= q <= 1:
        raise ValueError(f"q is the fraction of white pixels and must lie in [0, 1], got {q}")
    count, share = divmod(q * size**2, 1)
    shares = {int(count): 1 - share, int(count) + 1: share}
    parts = [(w, _distinct(loss, moving_frames(white, size))) for white, w in shares.items() if w]

    def mean_loss(logits: np.ndarray) -> np.ndarray:
        costs = [[w * _value(loss, torch.full_like(frames, z), frames) for w, frames in parts] for z in logits[0]]
        return np.sum(costs, axis=1)[None]

    coarse = mean_loss(PROBES[None])
    if np.ptp(coarse) <= 1e-9 * np.abs(coarse).max():
        raise ValueError(f"{type(loss).__name__} has no best constant: every constant output costs the same")
    return float(_minimize(mean_loss, 1)[0])


def best_constant_loss(loss: LossFunction, size: int = 32) -> float:
    """What a loss costs where every pixel has its own best constant, on frames of one white pixel: knowing nothing.

    Softmax cross-entropy, to which all constants are the uniform density, costs log(size^2).
    """
    constant = 0.5 if isinstance(loss, SoftmaxCrossEntropy) else best_constant(loss, 1 / size**2, size)
    logit = torch.logit(torch.tensor(constant, dtype=torch.float64), eps=1e-13)
    frames = moving_frames(1, size)
    return _value(loss, torch.full_like(frames, float(logit)), frames)


@dataclass(frozen=True)
class Balance:
    """How a loss pulls on a constant output, per frame, with the loss as it is trained (its mean)."""

    loss: float
    white_gradient: float  # size of the derivative of the loss by the white pixel's logit
    black_gradient: float  # the same, summed over all black pixels
    loss_share: float  # the white pixel's part of the loss; NaN where the loss is no sum over pixels
    gradient_share: float  # the white pixel's part of all pulling


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
    return Balance(value.item(), white, black, share, white / (white + black))


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
    rank = (-eta.reshape(*eta.shape[:-2], -1)).argsort(axis=-1, kind="stable").argsort(axis=-1)
    return (rank < count).astype(np.float64).reshape(eta.shape)


def painting_threshold(loss: LossFunction, size: int = 32, empty: float = 0.0) -> float:
    """The probability eta above which painting one pixel white costs less than painting none.

    Both expected losses are linear in eta, so this is exact; `empty` is the probability that a frame has no white
    pixel. Painting a pixel half never pays under Dice and its kin, so that this is also where the best p of a pixel
    goes from 0 to 1.
    """
    hit, miss, blank = _painted(loss, size**2, most=1)
    cost_of_none, cost_if_missed = (1 - empty) * miss + empty * blank
    return (cost_if_missed - cost_of_none) / (miss[1] - hit[1])


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


def _distinct(loss: LossFunction, frames: Tensor) -> Tensor:
    """The first of the frames alone, where they all cost the same (and not NaN)."""
    costs = np.array([per_frame(loss, torch.full_like(frames, z), frames) for z in PROBES])
    return frames[:1] if (np.ptp(costs, axis=1) <= 1e-12 * np.abs(costs[:, 0])).all() else frames


def _minimize(cost: Callable[[np.ndarray], np.ndarray], rows: int) -> np.ndarray:
    """The p at the minimum of each row of `cost(logits (rows, points))`: zoom in on the best grid point.

    The first grid covers everything, so that a second, higher minimum does no harm.
    """
    center, half_width = np.zeros((rows, 1)), LARGEST_LOGIT
    for points in (FIRST_POINTS, *[POINTS] * ROUNDS):
        logits = np.clip(center + half_width * np.linspace(-1, 1, points), -LARGEST_LOGIT, LARGEST_LOGIT)
        costs = cost(logits)
        costs = np.where(np.isfinite(costs), costs, np.inf)  # a user's loss may overflow at the far ends
        if np.isinf(costs).all(axis=1).any():
            raise ValueError("the loss is not finite for any output: there is nothing to minimize")
        center = np.take_along_axis(logits, costs.argmin(axis=1, keepdims=True), axis=1)
        half_width *= 2 / (points - 1)
    return 1 / (1 + np.exp(-center[:, 0]))


def _check_pixelwise(loss: LossFunction) -> None:
    """A loss on pixels gives a frame the mean (or sum) of what its pixels cost alone."""
    logits = torch.tensor([[-2.0, 0.5, 1.0], [-0.5, 2.0, -1.0]], dtype=torch.float64)
    target = torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.0, 0.0]], dtype=torch.float64)
    whole = _value(loss, logits, target)
    if not np.isfinite(whole):
        raise ValueError(f"{type(loss).__name__} is not finite ({whole}) for ordinary logits, from -2 to 2")
    alone = [_value(loss, z.reshape(1, 1), y.reshape(1, 1)) for z, y in zip(logits.ravel(), target.ravel())]
    if not np.isclose(whole, (np.mean(alone), np.sum(alone)), rtol=1e-6).any():
        what = f"{type(loss).__name__} does not treat every pixel by itself"
        raise ValueError(f"{what}: there is no best_output of one pixel without the others; see best_constant")


def unreduced(loss: Loss) -> Loss:
    """A copy of the loss that gives one value a pixel or a frame."""
    loss = copy.copy(loss)
    loss.reduction = "none"
    return loss


def per_frame(loss: LossFunction, logits: Tensor, targets: Tensor) -> np.ndarray:
    """What each frame (K, H, W) costs by itself, (K,). Losses with a `reduction` do it in one call."""
    if isinstance(loss, Loss) and "reduction" in loss.options:
        return _call(unreduced(loss), logits, targets).reshape(len(logits), -1).mean(1).numpy()
    return np.array([_value(loss, z, y) for z, y in zip(logits, targets)])


def _value(loss: LossFunction, logits: Tensor, target: Tensor) -> float:
    return _call(loss, logits, target).mean().item()


@torch.no_grad()
def _call(loss: LossFunction, logits: Tensor, target: Tensor) -> Tensor:
    """The loss of frames (..., H, W), handed over as (B, 1, 1, H, W)."""
    shape = (-1, 1, 1, *logits.shape[-2:])
    output = logits if getattr(loss, "from_logits", True) else torch.sigmoid(logits)
    return loss(output.reshape(shape), target.reshape(shape))


def moving_frames(white: int, size: int) -> Tensor:
    """`size` frames of `white` white pixels, each of which visits every row and every column once."""
    order = np.random.default_rng(0).permutation(size**2)
    pattern = torch.zeros(size**2, dtype=torch.float64)
    pattern[torch.from_numpy(order[:white])] = 1
    pattern = pattern.reshape(size, size)
    return torch.stack([pattern.roll((step, step), dims=(0, 1)) for step in range(size)])
