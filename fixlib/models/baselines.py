"""What a network has to beat: predictions of gaze from coordinates alone.

Every baseline takes windows of points (x, y) in px, and is used the same way:

    baseline = BASELINES["centre_bias"](size=32).fit(windows, n_in=10)  # (N, T, 2), T > n_in
    points = baseline.predict(inputs, n_out=10)                  # (N, n_in, 2) -> (N, n_out, 2)

Those with a density also have `log_density(inputs, n_out)`.
"""

from typing import Self

import torch
from torch import Tensor

from fixlib.grid import decode_median, geometric_median, pixel_index, seen_points
from fixlib.models.registry import BASELINES

BANDWIDTHS = (0.5, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0, 5.7, 8.0)
FOLDS = 5


class Baseline:
    """Predicts the next points (N, n_out, 2) from the observed ones (N, n_in, 2), both in px of the grid.

    Raises ValueError for points of another shape, not finite or outside [0, size), and RuntimeError when
    asked to predict before `fit` where there is something to fit. Results are float32, on the device of the
    inputs.

    `inputs` says which points it is given where predictors are compared: "pixels", the centres of what a frame shows,
    or "points", as they were recorded.
    """

    inputs = "pixels"

    def __init__(self, size: int = 32):
        self.size = size

    def fit(self, coordinates: Tensor, n_in: int) -> Self:
        """Learn from windows (N, T, 2): the first `n_in` points are observed, the rest is to be predicted."""
        windows = self._check_points(coordinates, "coordinates")
        if not 1 <= n_in < windows.shape[1]:
            what = f"n_in={n_in} leaves nothing to learn from windows of {windows.shape[1]} points"
            raise ValueError(f"{what}: it must lie between 1 and {windows.shape[1] - 1}")
        self._fit(windows, n_in)
        return self

    def predict(self, inputs: Tensor, n_out: int) -> Tensor:
        """The `n_out` points after `inputs` (N, n_in, 2): (N, n_out, 2) px."""
        return self._predict(self._check_request(inputs, n_out), n_out)

    def _fit(self, windows: Tensor, n_in: int) -> None:
        """Nothing to learn unless a baseline says otherwise."""

    def _predict(self, inputs: Tensor, n_out: int) -> Tensor:
        raise NotImplementedError

    def _check_request(self, inputs: Tensor, n_out: int) -> Tensor:
        if n_out < 1:
            raise ValueError(f"n_out must be at least 1, got {n_out}")
        return self._check_points(inputs, "inputs")

    def _check_horizon(self, n_out: int, most: int) -> None:
        if n_out > most:
            raise ValueError(f"n_out={n_out}, but the windows it was fitted on show {most} points ahead")

    def _check_points(self, points: Tensor, name: str) -> Tensor:
        points = torch.as_tensor(points, dtype=torch.float32)
        if points.dim() != 3 or points.shape[-1] != 2 or 0 in points.shape:
            raise ValueError(f"{name} must have shape (windows, points, 2), none of them 0, got {tuple(points.shape)}")
        outside = ~((points >= 0) & (points < self.size)).all(dim=-1)  # NaN is outside too
        if outside.any():
            point = f"{name}{outside.nonzero()[0].tolist()} = {points[outside][0].tolist()}"
            raise ValueError(f"{point} is not a point of the grid [0, {self.size}): cut windows of valid fixations")
        return points

    def _fitted(self, attribute: str) -> Tensor:
        if not hasattr(self, attribute):
            raise RuntimeError(f"{type(self).__name__} has learnt nothing yet: call fit(coordinates, n_in) first")
        return getattr(self, attribute)


@BASELINES.register("repeat_last")
class RepeatLast(Baseline):
    """Gaze stays where it was last seen."""

    def _predict(self, inputs: Tensor, n_out: int) -> Tensor:
        return inputs[:, -1:].repeat(1, n_out, 1)


@BASELINES.register("repeat_last_subpixel")
class RepeatLastSubpixel(RepeatLast):
    """The same from the point as recorded: what no frame shows, so it is no rival of those that see frames."""

    inputs = "points"


@BASELINES.register("centre")
class Center(Baseline):
    """The centre of the grid, always."""

    def _predict(self, inputs: Tensor, n_out: int) -> Tensor:
        return inputs.new_full((len(inputs), n_out, 2), self.size / 2)


@BASELINES.register("training_mean")
class TrainingMean(Baseline):
    """The mean of the training targets: the best single point for squared error."""

    def _fit(self, windows: Tensor, n_in: int) -> None:
        self.point = self._summary(windows[:, n_in:].reshape(-1, 2))

    def _predict(self, inputs: Tensor, n_out: int) -> Tensor:
        return self._fitted("point").to(inputs.device).repeat(len(inputs), n_out, 1)

    def _summary(self, points: Tensor) -> Tensor:
        return points.double().mean(dim=0).float()


@BASELINES.register("training_median")
class TrainingMedian(TrainingMean):
    """The geometric median of the training targets instead: the best single point for the distance in px."""

    def _summary(self, points: Tensor) -> Tensor:
        return geometric_median(points)


@BASELINES.register("hold_then_prior")
class HoldThenPrior(TrainingMedian):
    """Gaze stays where it was last seen for `switch` frames, and is at the training median after them.

    `switch` is that of the least mean error over the predicted frames of the training windows.
    """

    def _fit(self, windows: Tensor, n_in: int) -> None:
        super()._fit(windows, n_in)
        targets = windows[:, n_in:]
        seen = seen_points(windows[:, n_in - 1, None], self.size)  # as it will be given
        held, prior = ((targets - point).norm(dim=-1).double().mean(dim=0) for point in (seen, self.point))
        errors = [(held[:switch].sum() + prior[switch:].sum()).item() for switch in range(len(held) + 1)]
        self.switch = errors.index(min(errors))

    def _predict(self, inputs: Tensor, n_out: int) -> Tensor:
        points = super()._predict(inputs, n_out)
        points[:, : self.switch] = inputs[:, -1:]
        return points


@BASELINES.register("constant_velocity")
class ConstantVelocity(Baseline):
    """The last displacement goes on, stopped at the edge of the grid."""

    def _predict(self, inputs: Tensor, n_out: int) -> Tensor:
        if inputs.shape[1] < 2:
            raise ValueError("constant velocity needs at least 2 observed points, got 1")
        last, velocity = inputs[:, -1:], inputs[:, -1:] - inputs[:, -2:-1]
        steps = torch.arange(1, n_out + 1, device=inputs.device)[:, None]
        largest = torch.nextafter(torch.tensor(float(self.size)), torch.tensor(0.0)).item()
        return (last + steps * velocity).clamp(0, largest)


@BASELINES.register("centre_bias")
class CenterBias(Baseline):
    """Where gaze falls regardless of history: a kernel density of the training targets on the pixel grid.

    Gaussian kernels, normalized within the grid, of the bandwidth in BANDWIDTHS under which held-out windows
    are most likely (5 folds of neighbouring windows). One extra observation, spread evenly over all pixels,
    keeps every probability above 0. Needs at least 2 windows.
    """

    def _fit(self, windows: Tensor, n_in: int) -> None:
        pixels = pixel_index(windows[:, n_in:], self.size)
        if len(pixels) < 2:
            raise ValueError("a density needs at least 2 windows, one of them to choose its bandwidth; got 1")
        parts = pixels.tensor_split(min(FOLDS, len(pixels)))
        counts = [torch.bincount(part.flatten(), minlength=self.size**2).double() for part in parts]
        folds = torch.stack(counts).unflatten(-1, (self.size, self.size))
        rest = folds.sum(dim=0) - folds
        scores = [(folds * self._smooth(rest, bandwidth).log()).sum().item() for bandwidth in BANDWIDTHS]
        self.bandwidth = BANDWIDTHS[scores.index(max(scores))]
        self.probabilities = self._smooth(folds.sum(dim=0), self.bandwidth)

    def log_density(self, inputs: Tensor, n_out: int) -> Tensor:
        """Natural log of the pixel probabilities, (N, n_in, 2) -> (N, n_out, H, W); each map sums to 1."""
        inputs = self._check_request(inputs, n_out)
        log_density = self._fitted("probabilities").log().float().to(inputs.device)
        return log_density.expand(len(inputs), n_out, -1, -1)

    def _predict(self, inputs: Tensor, n_out: int) -> Tensor:
        point = decode_median(self._fitted("probabilities")).float().to(inputs.device)
        return point.repeat(len(inputs), n_out, 1)

    def _smooth(self, counts: Tensor, bandwidth: float) -> Tensor:
        """Counts (..., H, W) -> probabilities (..., H, W)."""
        kernel = spreading_kernel(self.size, bandwidth).to(counts.device)
        spread = kernel.T @ counts @ kernel + 1 / self.size**2
        return spread / spread.sum(dim=(-2, -1), keepdim=True)


def spreading_kernel(size: int, bandwidth: float) -> Tensor:
    """Row i: the mass in each of `size` cells of a normal around the centre of cell i; rows sum to 1."""
    edges = torch.arange(size + 1, dtype=torch.float64)
    centers = edges[:-1, None] + 0.5
    mass = torch.special.ndtr((edges - centers) / bandwidth).diff(dim=1)
    return mass / mass.sum(dim=1, keepdim=True)
