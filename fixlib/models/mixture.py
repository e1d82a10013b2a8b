"""The hybrid with a density for an answer: between a point and a map."""

from typing import Self

from torch import Tensor, nn

from fixlib.models.registry import NETWORKS
from fixlib.models.sequence import UNIFORM_SHARE, spread
from fixlib.models.simvp import Shape, SimVP_RegressionHead

FIRST_WIDTH = 1 / 8  # of the grid, before any training


@NETWORKS.register("mixture")
class SimVP_MixtureHead(SimVP_RegressionHead):
    """The hybrid with a mixture of Gaussians for each coming frame in place of a point; frames must be square.

    Gives log densities over the pixels, (B, out_frames, 1, size, size); exp sums to 1 in each frame. The MLP reads time
    step k of the translator's output for frame k, and gives weight, center and widths along x and y of each Gaussian
    (Bishop 1994, Mixture density networks, Aston University NCRG/94/004). Options are the hybrid's, and

    gaussians: how many a frame.
    out_frames: frames wanted, T by default and at most.

    Raises ValueError for an option that does not fit, and in `forward` for frames of another shape.
    """

    targets, gives_density = "frames", True

    def __init__(
        self, in_shape: Shape = (4, 1, 32, 32), *, gaussians: int = 8, out_frames: int | None = None, **options
    ):
        super().__init__(in_shape, **options)
        frames, _, height, width = in_shape
        self.out_frames = frames if out_frames is None else out_frames
        if height != width or gaussians < 1 or not 1 <= self.out_frames <= frames:
            wanted = f"frames must be square, gaussians at least 1, and out_frames from 1 to {frames}"
            raise ValueError(f"{wanted}; got {height} x {width}, {gaussians} and {self.out_frames}")
        self.head[-1] = nn.Linear(256, 5 * gaussians)

    @classmethod
    def for_task(cls, n_in: int, n_out: int, size: int, **options) -> Self:
        return cls((n_in, 1, size, size), out_frames=n_out, **options)

    def forward(self, frames: Tensor) -> Tensor:
        """(B, T, C, H, W) -> log densities (B, out_frames, 1, H, W)."""
        told = self.head(self._translated(frames)[:, : self.out_frames]).float()
        told = told.unflatten(2, (-1, 5))  # (B, out_frames, gaussians, 5)
        logits, shift, log_width = told.split((1, 2, 2), dim=-1)
        size = frames.shape[-1]
        centers = self._origin(frames).view(-1, 1, 1, 2) + size * shift / 2
        weights = (1 - UNIFORM_SHARE) * logits.squeeze(-1).softmax(-1)
        density = spread(weights, centers, FIRST_WIDTH * size * log_width.exp(), size) + UNIFORM_SHARE / size**2
        return density.log().unflatten(2, (1, size, size))
