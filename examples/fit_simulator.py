"""How the simulator got its parameters: fitted to the published summary statistics of OSIE.

Nothing but the nine numbers in ``OSIE_STATISTICS`` enters; no recording is needed to repeat the fit:

    python examples/fit_simulator.py
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import scipy

from fixlib.data import Scanpaths, SimulatorParameters
from fixlib.data.simulator import DEFAULT, cell_masses

# OSIE on a 32 x 32 grid (px): amplitudes of the 87,821 saccades, share of them that end in the pixel where
# they began, and moments of all 98,321 positions. Computed by scanpath_statistics from the recordings.
OSIE_STATISTICS = {
    "amplitude_mean": 6.369,
    "amplitude_q25": 1.702,
    "amplitude_median": 4.625,
    "amplitude_q75": 9.802,
    "stay": 0.0586,
    "mean_x": 16.06,
    "mean_y": 15.12,
    "sd_x": 6.851,
    "sd_y": 6.278,
}
FIXATIONS_PER_TRIAL = 12  # about what a 2.5 s trial holds; the statistics below pool that many
CELLS = 8  # cells per px in which amplitudes are resolved


def scanpath_statistics(scanpaths: Scanpaths) -> dict[str, float]:
    """The nine statistics of ``OSIE_STATISTICS`` (px of the grid), measured on scanpaths."""
    table = scanpaths.fixations
    points = table[["x", "y"]].to_numpy()
    same = np.diff(table["scanpath"].to_numpy()) == 0
    amplitude = np.hypot(*np.diff(points, axis=0)[same].T)
    stay = (np.diff(np.floor(points), axis=0)[same] == 0).all(axis=1)
    q25, median, q75 = np.quantile(amplitude, [0.25, 0.5, 0.75])
    (mean_x, mean_y), (sd_x, sd_y) = points.mean(axis=0), points.std(axis=0)
    return {
        "amplitude_mean": amplitude.mean(),
        "amplitude_q25": q25,
        "amplitude_median": median,
        "amplitude_q75": q75,
        "stay": stay.mean(),
        "mean_x": mean_x,
        "mean_y": mean_y,
        "sd_x": sd_x,
        "sd_y": sd_y,
    }


def expected_statistics(
    parameters: SimulatorParameters = DEFAULT, size: int = 32, n_fixations: int = FIXATIONS_PER_TRIAL
) -> dict[str, float]:
    """The same statistics expected of the simulator, computed without drawing anything.

    Positions are propagated exactly, pixel by pixel, over ``n_fixations``. Within its pixel the saccade's
    start is taken as uniform, the one approximation (it moves the amplitudes by less than 2%).
    """
    starts, everything, stay = _propagate(parameters, size, n_fixations)
    return {**_amplitudes(starts, parameters, size), "stay": stay, **_moments(everything)}


def _propagate(parameters: SimulatorParameters, size: int, n_fixations: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Where saccades start, where fixations lie (both (y, x) probabilities), and the share that stays."""
    along_x, along_y = (cell_masses(axis, parameters, size) for axis in (0, 1))
    weights = parameters.weights
    now = np.outer(along_y[2, 0], along_x[2, 0])  # the first fixation
    starts, everything = np.zeros_like(now), now.copy()
    for _ in range(n_fixations - 1):
        starts += now
        now = sum(w * y.T @ now @ x for w, x, y in zip(weights, along_x, along_y))
        everything += now
    starts, everything = starts / starts.sum(), everything / everything.sum()
    stay = sum(w * np.diag(y) @ starts @ np.diag(x) for w, x, y in zip(weights, along_x, along_y))
    return starts, everything, float(stay)


def _moments(pixels: np.ndarray) -> dict[str, float]:
    moments = {}
    for name, marginal in (("x", pixels.sum(axis=0)), ("y", pixels.sum(axis=1))):
        centres = np.arange(len(marginal)) + 0.5
        moments[f"mean_{name}"] = mean = float(marginal @ centres)
        # the variance of a uniform position within the pixel is 1/12 px^2
        moments[f"sd_{name}"] = float(np.sqrt(marginal @ (centres - mean) ** 2 + 1 / 12))
    return moments


def _amplitudes(starts: np.ndarray, parameters: SimulatorParameters, size: int) -> dict[str, float]:
    amplitude, mass = _amplitude_distribution(starts, parameters, size)
    order = np.argsort(amplitude)
    cumulated = np.cumsum(mass[order])
    quartiles = np.interp([0.25, 0.5, 0.75], cumulated / cumulated[-1], amplitude[order])
    return dict(
        zip(
            ("amplitude_mean", "amplitude_q25", "amplitude_median", "amplitude_q75"),
            (float(amplitude @ mass), *quartiles.tolist()),
        )
    )


def _amplitude_distribution(starts: np.ndarray, parameters: SimulatorParameters, size: int) -> tuple:
    """|x' - x| (px) and probability of every displacement between cells, (D,) each."""
    shifted_x, shifted_y = (_by_displacement(cell_masses(axis, parameters, size, CELLS)) for axis in (0, 1))
    joint = sum(w * y.T @ starts @ x for w, x, y in zip(parameters.weights, shifted_x, shifted_y))
    centres = (np.arange(joint.shape[0]) - (joint.shape[0] - 1) / 2) / CELLS
    return np.hypot(*np.meshgrid(centres, centres)).ravel(), joint.ravel()


def _by_displacement(masses: np.ndarray) -> np.ndarray:
    """(3, size, size*CELLS) target cells -> (3, size, D) displacements from anywhere in the pixel."""
    components, size, cells = masses.shape
    shifted = np.zeros((components, size, 2 * cells))
    for pixel in range(size):
        first = cells - (pixel + 1) * CELLS
        for start in range(CELLS):  # the cell of the pixel where the saccade starts
            begin = first + CELLS - 1 - start
            shifted[:, pixel, begin : begin + cells] += masses[:, pixel] / CELLS
    return shifted[..., :-1]


def fit_parameters(
    statistics: dict[str, float] = OSIE_STATISTICS, start: SimulatorParameters = DEFAULT
) -> SimulatorParameters:
    """The parameters whose expected statistics are closest to the given ones (relative least squares).

    Eight spatial parameters for nine statistics; durations and the length of the trial are not fitted.

    Raises:
        ValueError: a statistic is missing or unknown.
    """
    if set(statistics) != set(OSIE_STATISTICS):
        raise ValueError(f"statistics must be exactly {', '.join(OSIE_STATISTICS)}; got {', '.join(statistics)}")
    quartiles = [statistics[f"amplitude_{name}"] for name in ("q25", "median", "q75")]

    def residuals(z: np.ndarray) -> np.ndarray:
        parameters = _unpack(z, start)
        starts, everything, stay = _propagate(parameters, 32, FIXATIONS_PER_TRIAL)
        amplitude, mass = _amplitude_distribution(starts, parameters, 32)
        # The share below each quartile, not the quartile itself: smooth although cells are discrete.
        below = np.array([mass[amplitude < quartile].sum() for quartile in quartiles])
        expected = {"amplitude_mean": amplitude @ mass, "stay": stay, **_moments(everything)}
        relative = [value / statistics[name] - 1 for name, value in expected.items()]
        return np.array([*relative, *(below / (0.25, 0.5, 0.75) - 1)])

    return _unpack(scipy.optimize.least_squares(residuals, _pack(start), x_scale=0.1).x, start)


def _pack(p: SimulatorParameters) -> np.ndarray:
    """Parameters as eight unbounded numbers."""
    return np.array(
        [
            np.log(p.weight_stay / p.weight_centre),
            np.log(p.weight_local / p.weight_centre),
            *np.log([p.sd_stay, p.sd_local, p.sd_x, p.sd_y]),
            p.centre_x / 16 - 1,
            p.centre_y / 16 - 1,
        ]
    )


def _unpack(z: np.ndarray, start: SimulatorParameters) -> SimulatorParameters:
    odds = np.exp([z[0], z[1], 0.0])
    stay, local, _ = odds / odds.sum()
    sd_stay, sd_local, sd_x, sd_y = np.exp(z[2:6])
    values = dict(
        weight_stay=stay,
        weight_local=local,
        sd_stay=sd_stay,
        sd_local=sd_local,
        sd_x=sd_x,
        sd_y=sd_y,
        centre_x=16 * (1 + z[6]),
        centre_y=16 * (1 + z[7]),
    )
    return replace(start, **{name: float(value) for name, value in values.items()})


if __name__ == "__main__":
    print(fit_parameters())
