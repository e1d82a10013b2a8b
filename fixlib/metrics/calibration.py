"""Maps that are no densities, made densities, so that every predictor has bits."""

import numpy as np
import torch
from torch import Tensor

from fixlib.metrics.evaluation import Truth

TEMPERATURES = tuple(2.0 ** (k / 2) for k in range(-8, 21))
SHARES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3)


class Calibration:
    """The density that is nearest to what a map says of each pixel: sharpened or flattened, and never 0.

    A map w is raised to the power 1 / temperature and divided by its sum over the frame; a share of the prior (where
    gaze falls regardless of history) is mixed in, since a pixel of probability 0 that turns white has minus infinity
    bits. Of TEMPERATURES and `shares` those with the most bits on the windows given are taken, which are validation
    windows: the same way for every loss.

    Args:
        log_weights: (N, T, H, W), log w.
        truth: of those windows.
        prior: (H, W), sums to 1.
        shares: of the prior, to choose from. Small by default, so that the bits are the map's and not the prior's.
    """

    def __init__(self, log_weights: Tensor, truth: Truth, prior: Tensor, shares: tuple[float, ...] = SHARES) -> None:
        self.prior = prior.float().flatten()
        white, seen = truth.white_pixel(log_weights.shape[-1]), truth.mask
        prior_there = self.prior[white][seen].double()
        bits = np.empty((len(TEMPERATURES), len(shares)))
        for row, temperature in enumerate(TEMPERATURES):
            density = _flattened(log_weights, temperature)
            there = density.gather(-1, white[..., None])[..., 0][seen].double().exp()
            bits[row] = [float(torch.log2((1 - s) * there + s * prior_there).mean()) for s in shares]
        best, column = divmod(int(bits.argmax()), len(shares))
        self.temperature, self.share = TEMPERATURES[best], shares[column]

    @property
    def chosen(self) -> dict[str, float]:
        """What a run records of it."""
        return dict(temperature=self.temperature, share=self.share)

    def log_density(self, log_weights: Tensor) -> Tensor:
        """Of other maps of the same predictor, (N, T, H, W): each sums to 1."""
        density = (1 - self.share) * _flattened(log_weights, self.temperature).exp() + self.share * self.prior
        return density.log().view_as(log_weights)


def _flattened(log_weights: Tensor, temperature: float) -> Tensor:
    """Log density (N, T, H * W)."""
    return (log_weights.float().flatten(-2) / temperature).log_softmax(-1)
