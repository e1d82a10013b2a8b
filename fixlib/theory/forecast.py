"""What can be known of simulated gaze: the exact distribution of the next frames given the white pixels seen.

One fixation a frame: the pixels are a Markov chain, so the next frame depends on the last one alone.

Frames at a fixed rate: a fixation lasts several exponential phases (Erlang), so that pixel x phase is a hidden Markov
process of which the frames show the pixel. In a time t a Poisson number of phases ends, and every third (the shape)
end is a saccade: the transition over t is a short sum over the number of saccades, each one a multiplication by the
pixels' transition matrix. Since the pixel is seen, the forward filter carries a few numbers a window. It begins with a
mixture over the frames of the scanpath at which windows begin. That is all a network can have learnt about it, so that
no predictor of the same frames has a better expected score.

Positions inside a pixel, which matter to errors in px only, are resolved by CELLS x CELLS cells.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch

from fixlib.data.gaze import Gaze
from fixlib.data.simulator import DEFAULT, SimulatorParameters, cell_masses
from fixlib.grid import pixel_index

CELLS = 2  # along each side of a pixel
CELL_SPREAD = 1 / (12 * CELLS**2)  # px^2, variance along an axis of a position in a cell
NEGLIGIBLE = 1e-15  # probability of more phases ending than the sums go to
TOLERANCE_PX, MOST_STEPS = 1e-3, 200
CHUNK_NUMBERS = 4_000_000  # bounds the memory of what is computed a few windows at a time


@dataclass(frozen=True)
class Forecast:
    """The exact distribution of the fixation in each of T coming frames, for N windows."""

    pixel: np.ndarray  #: int64 (N,), the pixel of the last frame seen
    #: float64 (N, T, R), the probability that 0, 1, 2, ... saccades lie between the last frame seen and the predicted
    #: one; sums to 1 over R
    saccades: np.ndarray
    #: float64 (N, T, CELLS, CELLS), the probability that there is none and that the fixation is in that cell (row,
    #: column) of its pixel; sums to `saccades[..., 0]`
    staying: np.ndarray
    size: int  #: side of the grid, px

    def log_density(self) -> torch.Tensor:
        """Natural log of the probability of each pixel, float64 (N, T, H, W); exp sums to 1 in each frame."""
        density = self._after(slice(None), self.saccades)
        density /= density.sum(axis=(-2, -1), keepdims=True)  # rounding only
        return torch.from_numpy(np.log(density))

    def cells(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Probability of each cell, for a fixation that is new and for the one that goes on.

        A few windows at a time with all their frames: two float64 (frames, C), row by row, that sum to 1 together.
        """
        side = self.size * CELLS
        step = max(1, CHUNK_NUMBERS // (self.saccades.shape[1] * side**2))
        for rows in (slice(first, first + step) for first in range(0, len(self.pixel), step)):
            arriving = _step(self._after(rows, self.saccades[rows, :, 1:]), CELLS)
            staying, (row, column) = self.staying[rows], np.divmod(self.pixel[rows], self.size)
            going_on = np.zeros((*staying.shape[:2], self.size, CELLS, self.size, CELLS))
            going_on[np.arange(len(staying)), :, row, :, column, :] = staying
            yield arriving.reshape(-1, side**2), going_on.reshape(-1, side**2)

    def _after(self, rows: slice, saccades: np.ndarray) -> np.ndarray:
        """Pixels (n, T, H, W) after 0, 1, ... saccades of those probabilities."""
        powers = _transition_powers(self.size, self.saccades.shape[-1])
        pixels = sum(saccades[:, :, r, None] * powers[r, self.pixel[rows], None] for r in range(saccades.shape[-1]))
        return pixels.reshape(*saccades.shape[:2], self.size, self.size)


def forecast(windows: Gaze, n_in: int, n_out: int = 1, stride: int | None = None) -> Forecast:
    """The exact distribution of the fixation in each of the `n_out` frames after the first `n_in`.

    Args:
        windows: windows of simulated gaze, every frame valid; frames after `n_in` are not looked at.
        stride: of `cut_windows`, which says at which frames of a scanpath windows begin; their length by default.

    Raises:
        ValueError: the windows are not of the simulator, shorter than `n_in`, longer than its scanpaths, or have
            invalid frames; no frame to predict.
    """
    if windows.source.name != "simulated":
        raise ValueError(f"the density is known for 'simulated' only; these windows are of {windows.source.name!r}")
    if not 1 <= n_in <= windows.coordinates.shape[1] or n_out < 1:
        raise ValueError(f"n_in must be from 1 to the frames of a window, n_out at least 1, not {n_in} and {n_out}")
    if not windows.fixation_mask[:, :n_in].all():
        raise ValueError("every frame seen must be valid: cut windows with cut_windows")
    length, size, rate_hz = windows.coordinates.shape[1], windows.size, windows.rate_hz
    pixels = pixel_index(windows.coordinates[:, :n_in], size).numpy()
    if rate_hz is None:
        saccades = np.broadcast_to(np.eye(n_out + 1)[1:], (len(pixels), n_out, n_out + 1))
        staying = np.zeros((len(pixels), n_out, CELLS, CELLS))
    else:
        frames, frame_ms = int(np.ceil(DEFAULT.trial_ms * rate_hz / 1000)), 1000 / rate_hz  # of every scanpath
        if frames < length:
            raise ValueError(f"a simulated scanpath has {frames} frames at {rate_hz:g} Hz: no window of {length} fits")
        starts_ms = [start * frame_ms for start in range(0, frames - length + 1, stride or length)]
        belief = _filter(pixels, frame_ms, starts_ms, size)
        saccades, staying = _ahead(belief, frame_ms, n_out)
    return Forecast(pixels[:, -1], saccades, staying, size)


def saccade_counts(elapsed_ms: float) -> np.ndarray:
    """Probability (R, K, K) float64 that r saccades happen in a time and a fixation in phase i ends in phase j.

    K phases of mean duration_mean_ms / K; a saccade is the end of the last one. Indices [r, i, j]; the sum over r and
    j is 1 for each i.
    """
    from scipy.stats import poisson  # here, since it takes long to import

    phases = DEFAULT.duration_shape
    expected = elapsed_ms * phases / DEFAULT.duration_mean_ms
    most = int(poisson.isf(NEGLIGIBLE, expected)) + 1
    counts = np.zeros(((most + phases - 1) // phases + 1, phases, phases))
    for ended, probability in enumerate(poisson.pmf(np.arange(most + 1), expected)):
        for phase in range(phases):
            saccades, after = divmod(phase + ended, phases)
            counts[saccades, phase, after] += probability
    return counts


def likeliest_pixel(frames_ahead: int, size: int = 32, interval_ms: float | None = 100.0) -> np.ndarray:
    """Probability (frames_ahead,) of the likeliest pixel, on average, for one who knows the present pixel alone.

    `interval_ms` lies between frames; None for one frame a fixation.
    """
    present = np.linalg.matrix_power(_transition_powers(size, 2)[1], 100)[0]  # after many saccades
    if interval_ms is None:
        counts = list(np.eye(frames_ahead + 1)[1:])
    else:  # a moment falls into any phase alike
        counts = [saccade_counts(interval_ms * (t + 1)).sum(axis=2).mean(axis=1) for t in range(frames_ahead)]
    saccades = np.stack([np.pad(count, (0, len(counts[-1]) - len(count))) for count in counts])
    saccades = np.broadcast_to(saccades, (size**2, *saccades.shape))
    known = Forecast(np.arange(size**2), saccades, np.zeros((size**2, frames_ahead, CELLS, CELLS)), size)
    return present @ known.log_density().exp().amax((-2, -1)).numpy()


def best_points(known: Forecast) -> torch.Tensor:
    """The points (N, T, 2) px, float32, of least expected distance: geometric medians over cells.

    By Weiszfeld's iteration from the mean. (`grid.decode_median` knows no spread within a cell, and is drawn to the
    centers of those in which a fixation that goes on may be.) Within 0.005 px of the least expected error: the fixation
    is anywhere in its pixel, so that to know the pixel for sure is still to be 0.38 px off.
    """
    centers, found = _centers(known), []
    for arriving, going_on in known.cells():
        medians = (arriving + going_on) @ centers
        active = np.arange(len(medians))
        for _ in range(MOST_STEPS):
            here = medians[active]
            to_new, to_old = _distances(here, centers)
            pull = arriving / to_new + going_on / to_old
            medians[active] = moved = pull @ centers / pull.sum(-1, keepdims=True)
            going = np.abs(moved - here).max(-1) >= TOLERANCE_PX
            if not going.any():
                break
            active, arriving, going_on = active[going], arriving[going], going_on[going]
        found.append(medians)
    return torch.from_numpy(np.concatenate(found)).float().view(len(known.pixel), -1, 2)


def regret_bits(log_density: torch.Tensor, known: Forecast) -> torch.Tensor:
    """Expected bits (N, T), float64, that a prediction gives away in each frame against the exact density.

    The Kullback-Leibler divergence, over all that may happen rather than what did: 0 for the exact density alone, free
    of the luck of the test windows.

    Args:
        log_density: (N, T, H, W) natural log of the predicted probabilities, which sum to 1 in each frame.
        known: of the same frames.

    Raises:
        ValueError: another shape than the forecast's, or probabilities that do not sum to 1.
    """
    exact, predicted = known.log_density(), log_density.detach().cpu().double()
    if predicted.shape != exact.shape:
        raise ValueError(f"log_density must be {tuple(exact.shape)} as the forecast, not {tuple(predicted.shape)}")
    if not ((predicted.exp().sum((-2, -1)) - 1).abs() < 1e-3).all():
        raise ValueError("exp(log_density) does not sum to 1 over the pixels of every frame")
    p = exact.exp()
    return torch.where(p > 0, p * (exact - predicted), 0.0).sum((-2, -1)) / np.log(2)


def expected_distance(points: torch.Tensor, known: Forecast) -> torch.Tensor:
    """Expected distance (N, T) px, float64, from each point (N, T, 2) px to the fixation.

    Raises:
        ValueError: not a point for each frame of the forecast.
    """
    if points.shape != (*known.saccades.shape[:2], 2):
        raise ValueError(f"points must be {(*known.saccades.shape[:2], 2)} as the forecast, not {tuple(points.shape)}")
    here, centers, found = points.detach().cpu().double().reshape(-1, 2).numpy(), _centers(known), []
    for arriving, going_on in known.cells():
        now, here = np.split(here, [len(arriving)])
        to_new, to_old = _distances(now, centers)
        found.append((arriving * to_new + going_on * to_old).sum(-1))
    return torch.from_numpy(np.concatenate(found)).view(points.shape[:2])


def _step(pixels: np.ndarray, cells: int = 1, parameters: SimulatorParameters = DEFAULT) -> np.ndarray:
    """Where the next fixation is, given probabilities (..., S, S) of the present one: (..., S * cells, S * cells)."""
    along_x, along_y = (cell_masses(axis, parameters, pixels.shape[-1], cells) for axis in (0, 1))
    return sum(w * (y.T @ pixels @ x) for w, x, y in zip(parameters.weights, along_x, along_y))


@lru_cache(maxsize=2)
def _transition_powers(size: int, count: int) -> np.ndarray:
    """The pixels' transition matrix to the powers 0, 1, ..., count - 1: (count, P, P)."""
    powers = np.empty((count, size**2, size**2))
    powers[0] = np.eye(size**2)
    for power in range(1, count):
        powers[power] = _step(powers[power - 1].reshape(-1, size, size)).reshape(size**2, -1)
    return powers


def _filter(pixels: np.ndarray, frame_ms: float, starts_ms: list[float], size: int) -> np.ndarray:
    """Belief at the last frame seen: (N, K, CELLS, CELLS), phase and cell of the pixel.

    Forward filter: where no saccade happened the phases move on and the place stays; where one did, all that counts of
    the past is the pixel.
    """
    counts = saccade_counts(frame_ms)
    powers = _transition_powers(size, len(counts))
    belief = _beginning(pixels[:, 0], starts_ms, size)
    for before, now in zip(pixels.T[:-1], pixels.T[1:]):
        phase, same = belief.sum(axis=(2, 3)), (before == now)[:, None, None, None]
        departures = sum((phase @ counts[r])[..., None] * powers[r - 1, before, None] for r in range(1, len(counts)))
        belief = _landing(departures, now, size) + same * np.einsum("nikl,ij->njkl", belief, counts[0])
        belief /= belief.sum(axis=(1, 2, 3), keepdims=True)
    return belief


def _beginning(pixel: np.ndarray, starts_ms: list[float], size: int) -> np.ndarray:
    """Belief at the first frame of a window: a mixture over the moments of a scanpath at which windows begin."""
    center_only = replace(DEFAULT, weight_stay=0.0, weight_local=0.0)
    anywhere = np.full((1, 1, size**2), 1 / size**2)  # the first fixation does not depend on a departure
    first = _step(anywhere.reshape(1, size, size), parameters=center_only).reshape(1, 1, -1)
    belief = np.zeros(1)
    for start_ms in starts_ms:
        counts = saccade_counts(start_ms)[:, 0]  # a scanpath begins in the first phase
        departures, place = np.zeros(1), first
        for count in counts[1:]:
            departures = departures + count[None, :, None] * place
            place = _step(place.reshape(1, size, size)).reshape(1, 1, -1)
        belief = belief + _landing(counts[0][None, :, None] * anywhere, pixel, size, center_only)
        belief = belief + _landing(departures, pixel, size)
    return belief / belief.sum(axis=(1, 2, 3), keepdims=True)


def _landing(
    departures: np.ndarray, pixel: np.ndarray, size: int, parameters: SimulatorParameters = DEFAULT
) -> np.ndarray:
    """Probability (N, K, CELLS, CELLS) of the cells of the pixel seen after a saccade from `departures` (N, K, P)."""
    place, masses = departures.reshape(*departures.shape[:2], size, size), []
    for axis, seen in enumerate((pixel % size, pixel // size)):
        along = cell_masses(axis, parameters, size, CELLS).reshape(3, size, size, CELLS)
        masses.append(along[:, :, seen].swapaxes(1, 2))  # (3, N, S, CELLS), per component and departure
    return sum(w * (y.swapaxes(1, 2)[:, None] @ place @ x[:, None]) for w, x, y in zip(parameters.weights, *masses))


def _ahead(belief: np.ndarray, frame_ms: float, n_out: int) -> tuple:
    """Saccades (N, T, R) until each coming frame, and the place of a fixation that stays (N, T, CELLS, CELLS)."""
    counts = [saccade_counts(ahead * frame_ms) for ahead in range(1, n_out + 1)]
    phase = belief.sum(axis=(2, 3))
    saccades = np.zeros((len(belief), n_out, max(map(len, counts))))
    for ahead, count in enumerate(counts):
        saccades[:, ahead, : len(count)] = np.einsum("ni,rij->nr", phase, count)
    staying = [np.einsum("nikl,ij->nkl", belief, count[0]) for count in counts]
    return saccades, np.stack(staying, axis=1)


def _centers(known: Forecast) -> np.ndarray:
    """(x, y) px of every cell, (C, 2)."""
    row, column = np.divmod(np.arange((known.size * CELLS) ** 2), known.size * CELLS)
    return (np.stack([column, row], axis=-1) + 0.5) / CELLS


def _distances(points: np.ndarray, centers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """From points (M, 2) to each cell, (M, C), of a new fixation and of one that goes on.

    Right to second order in the side of a cell: a position spread evenly over its cell is a little further than the
    cell's center. New fixations have a smooth density, whose sums over cells are already as much too wide, and as much
    again (Sheppard's correction).
    """
    square = (points**2).sum(-1, keepdims=True) + (centers**2).sum(-1) - 2 * points @ centers.T
    return np.sqrt(np.maximum(square - CELL_SPREAD, CELL_SPREAD)), np.sqrt(np.maximum(square, 0) + CELL_SPREAD)
