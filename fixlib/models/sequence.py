"""A small recurrent network on coordinates, trained like the networks on frames."""

import torch
from torch import Tensor, nn

from fixlib.models.registry import NETWORKS


@NETWORKS.register("gru")
class GazeGRU(nn.Module):
    """(B, n_in, 2) -> (B, n_out, 2), px.

    Reads position and last displacement, both in half grids around the centre, and predicts displacements
    from the last observed point; untrained it is close to repeating that point. Not clamped to the grid.

    inputs: "points", or "pixels" for the centers of their pixels, all that a frame shows.
    target: "displacement", or "position" for displacements from the center of the grid.
    """

    inputs, targets = "points", "points"

    def __init__(
        self, n_out: int, hidden: int = 64, size: int = 32, inputs: str = "points", target: str = "displacement"
    ):
        super().__init__()
        if inputs not in ("points", "pixels") or target not in ("displacement", "position"):
            known = "inputs must be points or pixels, and target displacement or position"
            raise ValueError(f"{known}, got {inputs!r} and {target!r}")
        if min(n_out, hidden, size) < 1:
            raise ValueError(f"n_out, hidden and size must be at least 1, got {n_out}, {hidden} and {size}")
        self.inputs, self.target, self.n_out, self.half_grid = inputs, target, n_out, size / 2
        self.gru = nn.GRU(4, hidden, batch_first=True)
        self.readout = nn.Linear(hidden, 2 * n_out)

    @classmethod
    def for_task(cls, n_in: int, n_out: int, size: int, **options) -> "GazeGRU":
        return cls(n_out, size=size, **options)

    def forward(self, points: Tensor) -> Tensor:
        """(B, n_in, 2) px -> (B, n_out, 2) px."""
        if points.dim() != 3 or points.shape[-1] != 2 or points.shape[1] < 1:
            raise ValueError(f"expected points of shape (batch, points, 2), got {tuple(points.shape)}")
        positions = points / self.half_grid - 1
        displacements = positions.diff(dim=1, prepend=positions[:, :1])
        states, _ = self.gru(torch.cat([positions, displacements], dim=-1))
        displacement = self.readout(states[:, -1]).view(-1, self.n_out, 2)
        origin = points[:, -1:] if self.target == "displacement" else self.half_grid
        return origin + self.half_grid * displacement
