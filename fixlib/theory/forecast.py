"""What can be known of simulated gaze: the exact distribution of the next frames given the frames seen.

One fixation a frame: the pixels are a Markov chain, so the next frame depends on the last one alone.

Frames at a fixed rate: a fixation lasts several exponential phases (Erlang), so that pixel x phase is a hidden Markov
process of which the frames show the pixel. In a time t a Poisson number of phases ends, and every third (the shape)
end is a saccade: the transition over t is a short sum over the number of saccades, each one a multiplication by the
pixels' transition matrix. No matrix exponential of 3072 x 3072 is needed, and since the pixel is seen, the forward
filter carries a few numbers a window.

Two observers:

* ``"pixels"`` sees which pixel is white in every frame, as a network on frames does;
* ``"points"`` sees the point itself, as predictors on coordinates do. It knows more: two frames of one fixation have
  exactly the same point, those of two fixations never.

Either begins with the exact distribution of the process at its first frame, which is a mixture over the frames of
the scanpath at which windows begin (``window_starts``). That is all a network can have learnt about the beginning of a
window, so that no predictor of the same frames has a better expected score; an observer told where its own window
begins would know more than any network. Where windows all begin with the scanpath, so does the observer.

Positions inside a pixel are resolved by CELLS x CELLS cells. They matter to errors in px only: probabilities of pixels
are exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from scipy.special import ndtr
from scipy.stats import norm, poisson

from fixlib.data.simulator import DEFAULT, SimulatorParameters, axis_components, cell_masses
from fixlib.grid import pixel_index

CELLS = 2  # along each side of a pixel
OBSERVERS = ("pixels", "points")
NEGLIGIBLE = 1e-15  # probability of more phases ending than the sums go to


@dataclass(frozen=True)
class Forecast:
    """The exact distribution of the fixation in each of T coming frames, for N windows.

    Attributes:
        pixel: int64 (N,), the pixel of the last frame seen.
        saccades: float64 (N, T, R), the probability that 0, 1, 2, ... saccades lie between the last frame seen and
            the predicted one; sums to 1 over R.
        staying: float64 (N, T, CELLS, CELLS), the probability that there is none and that the fixation is in that
            cell (row, column) of its pixel; sums to ``saccades[..., 0]``. For the observer of points it is 0: the
            fixation is then exactly at ``point``.
        point: float64 (N, 2) px, the last point seen; None for the observer of pixels.
        parameters, size: of the simulator.
    """

    pixel: np.ndarray
    saccades: np.ndarray
    staying: np.ndarray
    point: np.ndarray | None
    parameters: SimulatorParameters
    size: int

    def __len__(self) -> int:
        """Number of windows."""
        return len(self.pixel)

    def log_density(self) -> torch.Tensor:
        """Natural log of the probability of each pixel, float64 (N, T, H, W); exp sums to 1 in each frame."""
        saccades = self.saccades
        powers = _transition_powers(self.parameters, self.size, saccades.shape[-1])
        density = sum(saccades[:, :, r, None] * powers[r, self.pixel, None] for r in range(saccades.shape[-1]))
        density /= density.sum(axis=-1, keepdims=True)  # rounding only
        return torch.from_numpy(np.log(density)).unflatten(-1, (self.size, self.size))

    def arrivals(self, rows: slice) -> np.ndarray:
        """Probability of each cell after one saccade or more, float64 (n, T, H * CELLS, W * CELLS), for some windows.

        Sums to 1 - ``saccades[..., 0]``.
        """
        saccades, pixel, size = self.saccades[rows], self.pixel[rows], self.size
        powers = _transition_powers(self.parameters, size, saccades.shape[-1])
        departures = sum(saccades[:, :, r, None] * powers[r - 1, pixel, None] for r in range(1, saccades.shape[-1]))
        return _step(departures.reshape(*departures.shape[:2], size, size), self.parameters, CELLS)

    def held(self, rows: slice) -> tuple[np.ndarray, np.ndarray]:
        """Where a fixation that goes on is: probabilities (n, T, Q) and places (n, Q, 2) px, for some windows.

        The Q places are the cells of its pixel; for the observer of points the one point.
        """
        if self.point is not None:
            return self.saccades[rows, :, :1], self.point[rows, None]
        row, column = np.divmod(np.arange(CELLS**2), CELLS)
        corner = np.stack([self.pixel[rows] % self.size, self.pixel[rows] // self.size], axis=-1)
        places = corner[:, None] + (np.stack([column, row], axis=-1) + 0.5) / CELLS
        return self.staying[rows].reshape(*self.staying[rows].shape[:2], -1), places


def forecast(
    windows: dict,
    n_in: int,
    rate_hz: float | None,
    n_out: int = 1,
    starts: Sequence[int] = (0,),
    observer: str = "pixels",
    parameters: SimulatorParameters = DEFAULT,
) -> Forecast:
    """The exact distribution of the fixation in each of the ``n_out`` frames after the first ``n_in``.

    Args:
        windows: a sequence set of simulated gaze, every frame valid; frames after ``n_in`` are not looked at.
        n_in: frames seen.
        rate_hz: frames a second; None for one frame a fixation.
        n_out: frames predicted.
        starts: frames of the scanpath at which windows may begin, each as likely; see ``window_starts``. At one
            fixation a frame they make no difference.
        observer: "pixels" or "points", see the module.
        parameters: of the simulator.

    Raises:
        ValueError: the windows are not of the simulator, at another rate, shorter than ``n_in``, or have invalid
            frames; an unknown observer; a number of frames below 1; no start.
    """
    _check(windows, n_in, rate_hz, n_out, starts, observer)
    size, points = windows["meta"]["size"], windows["coordinates"][:, :n_in]
    pixels = pixel_index(points, size).numpy()
    exact = points.double().numpy()
    if rate_hz is None:
        saccades = np.broadcast_to(np.eye(n_out + 1)[1:], (len(pixels), n_out, n_out + 1))
        staying, point = np.zeros((len(pixels), n_out, CELLS, CELLS)), None
    else:
        frame_ms = 1000 / rate_hz
        belief = _filter(pixels, exact, frame_ms, starts, observer, parameters, size)
        saccades, staying = _ahead(belief, frame_ms, n_out, parameters)
        point = None if observer == "pixels" else exact[:, -1]
        staying = staying if observer == "pixels" else np.zeros((*saccades.shape[:2], CELLS, CELLS))
    return Forecast(pixels[:, -1], saccades, staying, point, parameters, size)


def window_starts(
    length: int, stride: int, rate_hz: float | None, parameters: SimulatorParameters = DEFAULT
) -> tuple[int, ...]:
    """Frames of a scanpath at which ``cut_windows`` begins windows; at a fixed rate every scanpath has them all.

    At one fixation a frame (None) the answer makes no difference to the next frame, and (0,) is given.

    Raises:
        ValueError: a scanpath at that rate is shorter than a window.
    """
    if rate_hz is None:
        return (0,)
    frames = int(np.ceil(parameters.trial_ms * rate_hz / 1000))
    if frames < length:
        raise ValueError(f"a simulated scanpath has {frames} frames at {rate_hz:g} Hz: no window of {length} fits")
    return tuple(range(0, frames - length + 1, stride))


def saccade_counts(elapsed_ms: float, parameters: SimulatorParameters = DEFAULT) -> np.ndarray:
    """Probability (R, K, K) float64 that r saccades happen in a time and a fixation in phase i ends in phase j.

    K phases of mean duration_mean_ms / K; a saccade is the end of the last one. Indices [r, i, j]; the sum over r and
    j is 1 for each i.
    """
    phases = parameters.duration_shape
    expected = elapsed_ms * phases / parameters.duration_mean_ms
    most = int(poisson.isf(NEGLIGIBLE, expected)) + 1
    counts = np.zeros(((most + phases - 1) // phases + 1, phases, phases))
    for ended, probability in enumerate(poisson.pmf(np.arange(most + 1), expected)):
        for phase in range(phases):
            saccades, after = divmod(phase + ended, phases)
            counts[saccades, phase, after] += probability
    return counts


def _check(windows: dict, n_in: int, rate_hz: float | None, n_out: int, starts: Sequence[int], observer: str) -> None:
    meta = windows["meta"]
    if meta["name"] != "simulated":
        raise ValueError(f"the exact density is known for 'simulated' only; these windows are of {meta['name']!r}")
    if meta["rate_hz"] != rate_hz:
        raise ValueError(f"rate_hz is {rate_hz}, but the windows hold frames of {meta['frames']}")
    if observer not in OBSERVERS:
        raise ValueError(f"unknown observer {observer!r}; choose one of {', '.join(OBSERVERS)}")
    if not 1 <= n_in <= windows["coordinates"].shape[1]:
        raise ValueError(
            f"n_in must lie between 1 and {windows['coordinates'].shape[1]}, the frames of a window, not {n_in}"
        )
    if n_out < 1 or len(starts) < 1:
        raise ValueError(f"at least one frame ahead and one start are needed, not {n_out} and {len(starts)}")
    if not windows["fixation_mask"][:, :n_in].all():
        raise ValueError("every frame seen must be valid: cut windows with cut_windows")


def _step(pixels: np.ndarray, parameters: SimulatorParameters, cells: int = 1) -> np.ndarray:
    """Where the next fixation is, given probabilities (..., S, S) of the present one: (..., S * cells, S * cells)."""
    along_x, along_y = (cell_masses(axis, parameters, pixels.shape[-1], cells) for axis in (0, 1))
    return sum(w * (y.T @ pixels @ x) for w, x, y in zip(parameters.weights, along_x, along_y))


@lru_cache(maxsize=2)
def _transition_powers(parameters: SimulatorParameters, size: int, count: int) -> np.ndarray:
    """The pixels' transition matrix to the powers 0, 1, ..., count - 1: (count, P, P)."""
    powers = np.empty((count, size**2, size**2))
    powers[0] = np.eye(size**2)
    for power in range(1, count):
        powers[power] = _step(powers[power - 1].reshape(-1, size, size), parameters).reshape(size**2, -1)
    return powers


def _filter(
    pixels: np.ndarray,
    points: np.ndarray,
    frame_ms: float,
    starts: Sequence[int],
    observer: str,
    parameters: SimulatorParameters,
    size: int,
) -> np.ndarray:
    """Belief at the last frame seen: (N, K, CELLS, CELLS), phase and place in the pixel; (N, K, 1, 1) for points.

    Forward filter: where no saccade happened the phases move on and the place stays; where one did, all that counts of
    the past is the pixel.
    """

    def landing(departures: np.ndarray, frame: int, process: SimulatorParameters = parameters) -> np.ndarray:
        """Likelihood (N, K, ...) of what is seen after a saccade from ``departures`` (N or 1, K, P)."""
        place = departures.reshape(*departures.shape[:2], size, size)
        if observer == "points":
            along_x, along_y = (_densities(axis, points[:, frame, axis], process, size) for axis in (0, 1))
        else:
            along_x, along_y = (_masses(axis, pixels[:, frame], process, size) for axis in (0, 1))
        return sum(
            w * (y.swapaxes(1, 2)[:, None] @ place @ x[:, None]) for w, x, y in zip(process.weights, along_x, along_y)
        )

    counts = saccade_counts(frame_ms, parameters)
    powers = _transition_powers(parameters, size, len(counts))
    belief = _beginning(landing, starts, frame_ms, parameters, size)
    for frame in range(1, pixels.shape[1]):
        before, now = (pixels, points)[observer == "points"][:, frame - 1 : frame + 1].swapaxes(0, 1)
        same = (before == now).reshape(len(now), -1).all(axis=1)
        phase, start = belief.sum(axis=(2, 3)), pixels[:, frame - 1]
        departures = sum((phase @ counts[r])[..., None] * powers[r - 1, start, None] for r in range(1, len(counts)))
        moved, stayed = landing(departures, frame), np.einsum("nikl,ij->njkl", belief, counts[0])
        if observer == "points":  # the same point again is no saccade, another one is
            belief = np.where(same[:, None, None, None], stayed, moved)
        else:
            belief = moved + same[:, None, None, None] * stayed
        belief /= belief.sum(axis=(1, 2, 3), keepdims=True)
    return belief


def _beginning(
    landing, starts: Sequence[int], frame_ms: float, parameters: SimulatorParameters, size: int
) -> np.ndarray:
    """Belief at the first frame of a window: a mixture over the frames at which windows begin."""
    centre_only = replace(parameters, weight_stay=0.0, weight_local=0.0)
    anywhere = np.full((1, 1, size**2), 1 / size**2)  # the first fixation does not depend on a departure
    first = _step(anywhere.reshape(1, size, size), centre_only).reshape(1, 1, -1)
    belief = 0.0
    for start in starts:
        counts = saccade_counts(start * frame_ms, parameters)[:, 0]  # a scanpath begins in the first phase
        departures, place = 0.0, first
        for count in counts[1:]:
            departures = departures + count[None, :, None] * place
            place = _step(place.reshape(1, size, size), parameters).reshape(1, 1, -1)
        belief = belief + landing(counts[0][None, :, None] * anywhere, 0, centre_only) + landing(departures, 0)
    return belief / belief.sum(axis=(1, 2, 3), keepdims=True)


def _masses(axis: int, pixel: np.ndarray, parameters: SimulatorParameters, size: int) -> np.ndarray:
    """Probability (3, N, S, CELLS) along an axis of the cells of the pixel seen, per component and departure."""
    masses = cell_masses(axis, parameters, size, CELLS).reshape(3, size, size, CELLS)
    return masses[:, :, (pixel % size, pixel // size)[axis]].swapaxes(1, 2)


def _densities(axis: int, value: np.ndarray, parameters: SimulatorParameters, size: int) -> np.ndarray:
    """Density (3, N, S, 1) per px along an axis at the coordinate seen, per component and departure."""
    means, sds = axis_components(np.arange(size) + 0.5, axis, parameters, size)
    means, sds = means[:, None], sds[:, None, None]
    inside = ndtr((size - means) / sds) - ndtr((0 - means) / sds)
    return (norm.pdf(value[:, None], means, sds) / inside)[..., None]


def _ahead(belief: np.ndarray, frame_ms: float, n_out: int, parameters: SimulatorParameters) -> tuple:
    """Saccades (N, T, R) until each coming frame, and the place of a fixation that stays (N, T, CELLS, CELLS)."""
    counts = [saccade_counts(ahead * frame_ms, parameters) for ahead in range(1, n_out + 1)]
    phase = belief.sum(axis=(2, 3))
    saccades = np.zeros((len(belief), n_out, max(map(len, counts))))
    for ahead, count in enumerate(counts):
        saccades[:, ahead, : len(count)] = np.einsum("ni,rij->nr", phase, count)
    staying = [np.einsum("nikl,ij->nkl", belief, count[0]) for count in counts]
    return saccades, np.stack(staying, axis=1)
