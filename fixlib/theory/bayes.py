"""The output of least expected loss (the Bayes output), and its cost, where the probability of every pixel is known.

eta, the probability that a pixel is white, sums to 1 over a frame, which has exactly one white pixel:

* pixel by pixel (MSE, BCE, weighted MSE, MSE + L1, focal, a user's own): `best_output` of the pixel's eta;
* concentration: its expectation is p E[d^2], with E[d^2] the expected squared distance of the pixel to the white one,
  and nothing rewards p > 0: black everywhere. Composite: `best_output` of the other two parts plus the ramp
  weight E[d^2] p, for each pixel's own E[d^2];
* Dice and Tversky (alpha + beta = 1): `best_painting`, a set of the most probable pixels. Focal Tversky (gamma >= 1) is
  concave in p at a given sum p: the same sets, with at most one pixel between 0 and 1. That one is left out: over
  simulated gaze and a grid of values it never paid;
* softmax cross-entropy: the density itself, whose cost is its entropy.
"""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from fixlib.losses import FRAME, LOSSES, CompositeLoss, ConcentrationLoss, DiceLoss, Loss, SoftmaxCrossEntropy
from fixlib.theory.forecast import CHUNK_NUMBERS
from fixlib.theory.outputs import LARGEST_LOGIT, best_output, best_painting, unreduced

OVERLAP = tuple(LOSSES[name] for name in ("dice", "tversky", "focal_tversky"))
# Tables of the best output: logit of eta (finely; coarsely where there is a ramp too), and log(1 + ramp).
FINE, COARSE, RAMPS = np.linspace(-40, 40, 4097), np.linspace(-40, 40, 513), np.linspace(0, 9, 73)


def bayes_logits(loss: Loss, log_density: Tensor) -> Tensor:
    """The output of least expected loss for each frame, logits (N, T, 1, H, W) float64; 0 and 1 are at -30 and 30.

    Where `best_output` is used it is tabulated and interpolated: p is right to 1e-5, but for corners of p(eta), as of
    MSE + L1 at eta = weight / 2, near which it is right to 0.005.

    Args:
        loss: one of the library's, or another that treats every pixel by itself.
        log_density: (N, T, H, W), exp sums to 1 in each frame.

    Raises:
        ValueError: Tversky with alpha + beta other than 1, focal Tversky with gamma < 1, concentration of a density: no
            optimum is derived.
    """
    from scipy.ndimage import map_coordinates  # here, since it takes long to import

    if isinstance(loss, SoftmaxCrossEntropy):
        return log_density.unsqueeze(2)
    if isinstance(loss, OVERLAP):
        alpha, beta, _, gamma = _tversky_options(loss)
        if abs(alpha + beta - 1) > 1e-9 or gamma < 1:
            found = f"{type(loss).__name__} with alpha={alpha}, beta={beta}, gamma={gamma}"
            raise ValueError(f"the optimum is derived for alpha + beta = 1 and gamma >= 1 only, not for {found}")
        painted = _chunked(lambda maps: torch.from_numpy(best_painting(loss, maps.exp())), log_density)
        return LARGEST_LOGIT * (2 * painted - 1).unsqueeze(2)
    pixels, weight = _pixel_part(loss, log_density.shape[-1])
    if isinstance(loss, ConcentrationLoss):
        return torch.full_like(log_density, -LARGEST_LOGIT).unsqueeze(2)
    logit = torch.logit(log_density.exp()).clamp(FINE[0], FINE[-1]).unsqueeze(2)
    if weight == 0:
        return torch.from_numpy(np.interp(logit.numpy(), FINE, _best_logits(pixels, FINE)))
    table = _ramped_table(tuple(pixels.options.items()))
    ramp = torch.log1p(weight * expected_squared_distance(log_density.exp())).unsqueeze(2)
    at = [(axis.numpy() - grid[0]) / (grid[1] - grid[0]) for axis, grid in ((ramp, RAMPS), (logit, COARSE))]
    return torch.from_numpy(map_coordinates(table, at, order=1, mode="nearest"))


def expected_loss(loss: Loss, logits: Tensor, log_density: Tensor) -> Tensor:
    """Expected loss (N, T) of each frame of `logits` (N, T, 1, H, W) where white pixels follow the density."""
    return _chunked(lambda output, maps: _expected_loss(loss, output[:, :, 0], maps.exp()), logits, log_density)


def expected_squared_distance(density: Tensor) -> Tensor:
    """E |pixel - white pixel|^2, px^2, for each pixel of (..., H, W): distance to the mean, plus the variance."""
    total = torch.zeros_like(density)
    for axis, marginal in ((-2, density.sum(-1)), (-1, density.sum(-2))):
        index = torch.arange(density.shape[axis], dtype=density.dtype)
        mean, square = ((marginal * power).sum(-1, keepdim=True) for power in (index, index**2))
        total = total + (index**2 - 2 * index * mean + square).unsqueeze(-1 if axis == -2 else -2)
    return total


def _chunked(function: Callable[..., Tensor], *maps: Tensor) -> Tensor:
    rows = max(1, CHUNK_NUMBERS // maps[0][0].numel())
    return torch.cat([function(*parts) for parts in zip(*(m.split(rows) for m in maps))])


def _best_logits(pixels: Loss, grid: np.ndarray, ramp: float = 0.0) -> np.ndarray:
    """Logits of the best output where that of eta is on the grid."""
    p = best_output(pixels, 1 / (1 + np.exp(-grid)), ramp)
    with np.errstate(divide="ignore"):
        return np.clip(np.log(p) - np.log1p(-p), -LARGEST_LOGIT, LARGEST_LOGIT)


@lru_cache(maxsize=4)
def _ramped_table(options: tuple) -> np.ndarray:
    """Logits (RAMPS, COARSE) of the best output under a composite of those options plus a ramp; seconds to compute."""
    pixels = CompositeLoss(**dict(options))
    return np.stack([_best_logits(pixels, COARSE, ramp) for ramp in np.expm1(RAMPS)])


def _pixel_part(loss: Loss, size: int) -> tuple[Loss, float]:
    """The part of a loss that treats every pixel by itself, and the weight of p * (squared distance, px^2)."""
    if not isinstance(loss, (CompositeLoss, ConcentrationLoss)):
        return loss, 0.0
    if loss.density:
        raise ValueError("under concentration of a density no pixel's best output can be found by itself")
    scale = 1 / (2 * size**2) if loss.normalize else 1.0
    if isinstance(loss, ConcentrationLoss):
        return CompositeLoss(0.0, 0.0, 0.0), scale
    return CompositeLoss(**loss.options | dict(concentration_weight=0.0)), scale * loss.options["concentration_weight"]


def _expected_loss(loss: Loss, logits: Tensor, density: Tensor) -> Tensor:
    if isinstance(loss, SoftmaxCrossEntropy):
        return -(density * torch.log_softmax(logits.flatten(-2), -1).view_as(logits)).sum(FRAME)
    if isinstance(loss, OVERLAP):
        p, (alpha, beta, smooth, gamma) = torch.sigmoid(logits), _tversky_options(loss)
        mass = p.sum(FRAME, keepdim=True)
        index = (p + smooth) / (alpha * mass + beta + smooth + (1 - alpha - beta) * p)
        return (density * (1 - index).clamp(min=0) ** (1 / gamma)).sum(FRAME)
    pixels, weight = _pixel_part(loss, logits.shape[-1])
    white, black = (unreduced(pixels)(logits, torch.full_like(logits, target)) for target in (1.0, 0.0))
    ramp = weight * expected_squared_distance(density)
    return (density * white + (1 - density) * black + ramp * torch.sigmoid(logits)).mean(FRAME)


def _tversky_options(loss: Loss) -> tuple[float, float, float, float]:
    """alpha, beta, smooth, gamma; Dice is Tversky with 1/2, 1/2 and half the smooth."""
    own = loss.options
    if isinstance(loss, DiceLoss):
        return 0.5, 0.5, own["smooth"] / 2, 1.0
    return own["alpha"], own["beta"], own["smooth"], own.get("gamma", 1.0)
