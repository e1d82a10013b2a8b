"""Networks that read where gaze was and say where it goes next: as points, or as a density over the pixels."""

import torch
from torch import Tensor, nn

from fixlib.models.registry import NETWORKS

UNIFORM_SHARE = 1e-4  # of every density: no pixel is impossible
ATTENTION = 16  # numbers by which the pointer tells frames apart


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
        _check_points(points)
        positions = points / self.half_grid - 1
        displacements = positions.diff(dim=1, prepend=positions[:, :1])
        states, _ = self.gru(torch.cat([positions, displacements], dim=-1))
        displacement = self.readout(states[:, -1]).view(-1, self.n_out, 2)
        origin = points[:, -1:] if self.target == "displacement" else self.half_grid
        return origin + self.half_grid * displacement


@NETWORKS.register("density")
class GazeDensity(nn.Module):
    """(B, n_in, 2) pixel centers -> log densities over the pixels of the coming frames, (B, n_out, 1, size, size).

    A core reads the frames seen; fewer than n_in will do. From what it knows at the last one follows a mixture for each
    coming frame, of

        stay        the present pixel: a fixation outlasts most frames
        gaussians   half of them around gaze, half around the center, integrated over the pixels
        pointer     narrow Gaussians of two learnt widths at each pixel seen, weighed by attention: gaze comes back

    whose weights are one softmax, as where a network that writes copies words (Vinyals et al. 2015, "Pointer
    networks", NeurIPS; See et al. 2017, "Get to the point", ACL).

    Args:
        core: "gru"; "transformer" (two layers of four heads); or "mlp", which reads each frame by itself.
        hidden: width of the states.
        gaussians: how many, an even number; 0 for a softmax over all pixels in their place.
        stay, pointer: whether the mixture has them.
        dropout: of the states, in training.
    """

    inputs, targets, gives_density = "pixels", "frames", True

    def __init__(
        self,
        n_in: int,
        n_out: int,
        size: int = 32,
        core: str = "gru",
        hidden: int = 64,
        gaussians: int = 8,
        stay: bool = True,
        pointer: bool = True,
        dropout: float = 0.3,
    ):
        super().__init__()
        if min(n_in, n_out, size, hidden) < 1 or gaussians % 2:
            given = f"{n_in}, {n_out}, {size}, {hidden} and {gaussians}"
            raise ValueError(f"n_in, n_out, size and hidden must be at least 1 and gaussians even, got {given}")
        self.n_out, self.size, self.stay = n_out, size, stay
        self.core, self.dropout = _core(core, hidden, dropout), nn.Dropout(dropout)
        self.weights = nn.Linear(hidden, n_out * (1 + (gaussians or 1)))
        if gaussians:
            self.shapes = nn.Linear(hidden, n_out * gaussians * 4)  # x, y, log width along x and along y, in grids
            log_widths = torch.linspace(-3, -1, gaussians // 2).repeat(2)[:, None].expand(-1, 2)
            self.start = nn.Parameter(torch.cat([torch.zeros(gaussians, 2), log_widths], dim=-1))
        else:
            self.map = nn.Linear(hidden, n_out * size**2)
        if pointer:
            self.keys, self.queries = nn.Linear(hidden, ATTENTION), nn.Linear(hidden, n_out * 2 * ATTENTION)
            self.recency = nn.Parameter(torch.zeros(n_out, 2, n_in))
            self.log_widths = nn.Parameter(torch.tensor([0.5, 1.5]).log())
        self.gaussians, self.pointer = gaussians, pointer

    @classmethod
    def for_task(cls, n_in: int, n_out: int, size: int, **options) -> "GazeDensity":
        return cls(n_in, n_out, size, **options)

    def forward(self, points: Tensor) -> Tensor:
        """(B, n_in, 2) px -> (B, n_out, 1, size, size); exp sums to 1 in each frame."""
        _check_points(points)
        states = self.dropout(self.core(_features(points, self.size)))  # (B, n_in, hidden)
        now, gaze = states[:, -1], points[:, -1]
        logits = self.weights(now).unflatten(1, (self.n_out, -1))  # (B, n_out, parts): stay, then the others
        if not self.stay:
            logits = torch.cat([torch.full_like(logits[..., :1], -torch.inf), logits[..., 1:]], dim=-1)
        if self.pointer:
            logits = torch.cat([logits, self._attention(states)], dim=-1)
        weights = (1 - UNIFORM_SHARE) * logits.softmax(dim=-1)
        stay, spread, pointed = weights.tensor_split((1, 1 + (self.gaussians or 1)), dim=-1)
        density = self._spread(spread, now, gaze)  # (B, n_out, size * size)
        if self.pointer:
            density = density + self._pointed(pointed, points)
        column, row = gaze.long().unbind(dim=-1)  # grid.pixel_index looks at values, which a replayed step must not
        pixel = (row * self.size + column)[:, None, None].expand_as(stay)
        density = density.scatter_add(2, pixel, stay.to(density.dtype)).float() + UNIFORM_SHARE / self.size**2
        return density.log().unflatten(2, (1, self.size, self.size))

    def _spread(self, weights: Tensor, now: Tensor, gaze: Tensor) -> Tensor:
        """The Gaussians' part: half of them relative to gaze, half to the center."""
        if not self.gaussians:
            return weights * self.map(now).unflatten(1, (self.n_out, -1)).softmax(dim=-1)
        shapes = self.shapes(now).unflatten(1, (self.n_out, -1, 4)) + self.start
        shift, log_width = shapes.split(2, dim=-1)  # (B, n_out, gaussians, 2), in grids
        origins = torch.stack([gaze, torch.full_like(gaze, self.size / 2)], dim=1)
        origins = origins.repeat_interleave(self.gaussians // 2, dim=1)[:, None]
        centers, widths = origins + self.size * shift, self.size * log_width.exp()
        return spread(weights, centers, widths, self.size)

    def _attention(self, states: Tensor) -> Tensor:
        """Logits (B, n_out, 2 n_in) of the pixels seen, first at one width, then at the other."""
        queries = self.queries(states[:, -1]).unflatten(1, (self.n_out * 2, -1))
        fit = (queries @ self.keys(states).mT / ATTENTION**0.5).unflatten(1, (self.n_out, 2))
        return (fit + self.recency[..., -states.shape[1] :]).flatten(2)

    def _pointed(self, weights: Tensor, points: Tensor) -> Tensor:
        """The pointer's part: the pixels seen, at both widths."""
        widths = self.log_widths.exp()[:, None]
        x, y = (_gaussian(points[:, None, :, axis], widths, self.size).flatten(1, 2) for axis in (0, 1))
        columns = weights[:, :, None] * y.mT[:, None]  # (B, n_out, size, 2 n_in); x and y: (B, 2 n_in, size)
        return (columns.flatten(1, 2) @ x).unflatten(1, (self.n_out, -1)).flatten(2)


def spread(weights: Tensor, centers: Tensor, widths: Tensor, size: int) -> Tensor:
    """Mass of a mixture of Gaussians in each pixel, (B, T, size * size), which sums to that of the weights.

    `weights` (B, T, K); `centers` and `widths` (standard deviations), px, along x and y, (B, T, K, 2).
    """
    x, y = (_gaussian(centers[..., axis], widths[..., axis], size) for axis in (0, 1))
    return ((weights[..., None] * y).mT @ x).flatten(2)


def _gaussian(centers: Tensor, widths: Tensor, size: int) -> Tensor:
    """Its mass in each pixel along an axis, (...) px -> (..., size); sums to 1, whatever lies beyond the grid."""
    edges = torch.arange(size + 1, dtype=centers.dtype, device=centers.device)
    centers = centers.clamp(0, size)[..., None]
    steepness = 0.5**0.5 / widths.clamp(0.1, 4 * size)[..., None]
    below = ((edges - centers) * steepness).erf()  # twice the mass, less 1
    return below.diff(dim=-1) / (below[..., -1:] - below[..., :1])


class _Recurrent(nn.Module):
    """A GRU that gives its states alone."""

    def __init__(self, hidden: int):
        super().__init__()
        self.gru = nn.GRU(8, hidden, batch_first=True)

    def forward(self, features: Tensor) -> Tensor:
        return self.gru(features)[0]


def _core(name: str, hidden: int, dropout: float) -> nn.Module:
    """Features (B, T, 8) -> states (B, T, hidden)."""
    if name == "gru":
        return _Recurrent(hidden)
    if name == "mlp":
        return nn.Sequential(nn.Linear(8, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU())
    if name != "transformer":
        raise ValueError(f"core={name!r} is not one of gru, transformer, mlp")
    if hidden % 4:
        raise ValueError(f"the transformer has four heads, which share hidden={hidden}: choose a multiple of 4")
    layer = nn.TransformerEncoderLayer(hidden, 4, 2 * hidden, dropout, batch_first=True, norm_first=True)
    return nn.Sequential(nn.Linear(8, hidden), nn.TransformerEncoder(layer, 2, enable_nested_tensor=False))


def _features(points: Tensor, size: int) -> Tensor:
    """(B, T, 8): position, displacement, last saccade (all in half grids), log of the frames in this pixel, time."""
    positions = points / (size / 2) - 1
    displacements = positions.diff(dim=1, prepend=positions[:, :1])
    times = torch.arange(points.shape[1], device=points.device).expand(points.shape[:2])
    arrived = (times * displacements.ne(0).any(dim=-1)).cummax(dim=1).values  # (B, T), when gaze came to this pixel
    saccades = displacements.gather(1, arrived[..., None].expand_as(displacements))
    dwell = (1 + times - arrived).log()[..., None]
    return torch.cat([positions, displacements, saccades, dwell, times[..., None] / points.shape[1]], dim=-1)


def _check_points(points: Tensor) -> None:
    if points.dim() != 3 or points.shape[-1] != 2 or points.shape[1] < 1:
        raise ValueError(f"expected points of shape (batch, points, 2), got {tuple(points.shape)}")
