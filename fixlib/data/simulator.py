"""SIMULATED gaze: a scanpath generator whose next-fixation density is known in closed form.

Given a current fixation in the pixel with centre c, the next fixation x' has the density

    p(x' | c) = w_stay   N(x'; c, s_stay)                    looking again at nearly the same place
              + w_local  N(x'; c, s_local)                   a step nearby
              + w_centre N(x'; m, (s_x, s_y))                a jump to anywhere, centre-biased

where N is a product of two normals truncated to the grid [0, size)^2 and normalised exactly there. The first fixation
comes from the last component. The density depends on the current fixation through its *pixel* only, so the pixel of
the next fixation is a Markov chain whose transition matrix is a difference of error functions: the best that any
predictor can do is known. Mixing local steps and a centre bias is the usual first-order description of gaze (Clarke et
al. 2017, J. Vision 17(11):12, "saccadic flow"). A pull of the local step towards the centre, fitted to OSIE, comes out
as 0, so there is none.

Durations are Gamma(shape 3), independent of everything, i.e. three exponential phases: frames at a fixed rate are an
exact hidden Markov process (pixel x phase). A trial lasts ``trial_ms`` and the fixation going on at its end is cut
there, as when a display is switched off; nothing about a frame depends on how long the trial was.

Nobody's eye was recorded. Every label says so.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import scipy  # its parts are imported where they are first used: they take a second
from numpy.random import Generator

from fixlib.data.datasets import DATASETS, Recorded
from fixlib.data.gaze import Source
from fixlib.data.recordings import COLUMNS, Scanpaths

LABEL = "SIMULATED gaze (not a recording)"
GENERATOR_VERSION = 1  # raise when the same parameters and seed give other scanpaths
REFERENCE_SIZE = 32  # the grid on which the lengths below are given


@dataclass(frozen=True)
class SimulatorParameters:
    """The generator's parameters; defaults fitted to OSIE's statistics by ``examples/fit_simulator.py``.

    Lengths are px of a 32 x 32 grid (scaled for other sizes); weights of the three components add up to 1.
    """

    weight_stay: float = 0.2177
    weight_local: float = 0.3630
    sd_stay: float = 0.7642
    sd_local: float = 3.266
    centre_x: float = 16.07
    centre_y: float = 15.03
    sd_x: float = 7.001
    sd_y: float = 6.027
    duration_mean_ms: float = 214.0
    duration_shape: int = 3
    trial_ms: float = 2500.0

    def __post_init__(self) -> None:
        if min(self.weight_stay, self.weight_local, self.weight_centre) < 0:
            raise ValueError("the weights of the three components must be 0 or more and add up to 1")
        if not (0 <= self.centre_x < REFERENCE_SIZE and 0 <= self.centre_y < REFERENCE_SIZE):
            raise ValueError(f"the center must lie in the {REFERENCE_SIZE} x {REFERENCE_SIZE} grid")
        for name in ("sd_stay", "sd_local", "sd_x", "sd_y", "duration_mean_ms", "duration_shape", "trial_ms"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be positive, not {getattr(self, name)}")

    @property
    def weight_centre(self) -> float:
        """What the other two components leave."""
        return 1.0 - self.weight_stay - self.weight_local

    @property
    def weights(self) -> np.ndarray:
        """(stay, local, centre)."""
        return np.array([self.weight_stay, self.weight_local, self.weight_centre])


DEFAULT = SimulatorParameters()


def axis_components(centers: np.ndarray, axis: int, parameters: SimulatorParameters, size: int) -> tuple:
    """Means (3, ...) and sds (3,), px, of the components along an axis (0: x, 1: y) from pixel centers."""
    scale = size / REFERENCE_SIZE
    middle = scale * (parameters.centre_x, parameters.centre_y)[axis]
    wide = (parameters.sd_x, parameters.sd_y)[axis]
    means = np.stack([centers, centers, np.full_like(centers, middle)])
    return means, scale * np.array([parameters.sd_stay, parameters.sd_local, wide])


def cell_masses(axis: int, parameters: SimulatorParameters, size: int, cells_per_pixel: int = 1) -> np.ndarray:
    """Probability (3, size, size * cells_per_pixel) of each cell along an axis, by component and pixel."""
    means, sds = axis_components(np.arange(size) + 0.5, axis, parameters, size)
    edges = np.arange(size * cells_per_pixel + 1) / cells_per_pixel
    cumulated = scipy.special.ndtr((edges - means[..., None]) / sds[:, None, None])
    return np.diff(cumulated) / (cumulated[..., -1:] - cumulated[..., :1])


def transition_matrix(parameters: SimulatorParameters = DEFAULT, size: int = 32) -> np.ndarray:
    """Probability (size^2, size^2) float64 of the next fixation's pixel given the current one's.

    Rows sum to 1. Pixels are numbered floor(y) * size + floor(x), as by ``pixel_index``.
    """
    along_x, along_y = (cell_masses(axis, parameters, size) for axis in (0, 1))
    return np.sum([w * np.kron(y, x) for w, x, y in zip(parameters.weights, along_x, along_y)], axis=0)


def simulate_scanpaths(
    n_subjects: int, n_stimuli: int, seed: int = 0, size: int = 32, parameters: SimulatorParameters = DEFAULT
) -> Scanpaths:
    """Every one of ``n_subjects`` simulated viewers on every one of ``n_stimuli``; all by the same rule.

    Args:
        n_subjects, n_stimuli: at least 1 each; their product is the number of scanpaths.
        seed: of numpy's default generator; the same seed gives the same scanpaths.
        size: side of the grid, px.
    """
    if min(n_subjects, n_stimuli) < 1:
        raise ValueError(f"at least one subject and one stimulus are needed, not {n_subjects}, {n_stimuli}")
    generator = np.random.default_rng(seed)
    durations = _draw_durations(n_subjects * n_stimuli, parameters, generator)
    points = np.empty((*durations.shape, 2))
    component = np.full(len(points), 2)  # the first fixation: the centre component
    current = np.full((len(points), 2), size / 2)
    for step in range(points.shape[1]):
        points[:, step] = current = _draw_points(current, component, parameters, size, generator)
        component = generator.choice(3, size=len(points), p=parameters.weights)
    scanpath, order = np.nonzero(durations > 0)
    stimulus, subject = np.divmod(scanpath, n_subjects)
    columns = scanpath, subject, stimulus, order, *points[scanpath, order].T, durations[scanpath, order]
    table = pd.DataFrame(dict(zip(COLUMNS, columns)))
    return Scanpaths(table, size, simulator_source(n_subjects, n_stimuli, seed, parameters))


def simulator_source(n_subjects: int, n_stimuli: int, seed: int, parameters: SimulatorParameters = DEFAULT) -> Source:
    """The ``Source`` of simulated scanpaths; its sha256 is that of everything the generator is given."""
    given = dict(generator=GENERATOR_VERSION, n_subjects=n_subjects, n_stimuli=n_stimuli, seed=seed)
    digest = hashlib.sha256(json.dumps(given | asdict(parameters), sort_keys=True).encode()).hexdigest()
    no_one = "none: generated, not recorded"
    name = "simulated" if parameters == DEFAULT else "simulated_otherwise"  # `theory.forecast` knows the former alone
    return Source(name, LABEL, digest, "MIT (made by this library)", no_one, simulated=True)


def _draw_durations(n: int, parameters: SimulatorParameters, generator: Generator) -> np.ndarray:
    """Durations (n, steps) in ms that add up to the length of the trial; 0 after its end."""
    shape, trial = parameters.duration_shape, parameters.trial_ms
    scale = parameters.duration_mean_ms / shape
    ends = np.zeros((n, 1))
    while ends[:, -1].min() < trial:  # in blocks until the slowest-moving scanpath is long enough
        block = generator.gamma(shape, scale, size=(n, 8))
        ends = np.concatenate([ends, ends[:, -1:] + np.cumsum(block, axis=1)], axis=1)
    return np.diff(np.minimum(ends, trial))


def _draw_points(
    current: np.ndarray, component: np.ndarray, parameters: SimulatorParameters, size: int, generator: Generator
) -> np.ndarray:
    """Next points (n, 2), each from its component's truncated normal, by inverting its distribution."""
    points = np.empty_like(current)
    for axis in (0, 1):
        means, sds = axis_components(np.floor(current[:, axis]) + 0.5, axis, parameters, size)
        mean, sd = means[component, np.arange(len(component))], sds[component]
        low, high = scipy.special.ndtr((0 - mean) / sd), scipy.special.ndtr((size - mean) / sd)
        points[:, axis] = mean + sd * scipy.special.ndtri(low + (high - low) * generator.random(len(mean)))
    return np.clip(points, 0, np.nextafter(size, 0))  # rounding only


@DATASETS.register("simulated")
class Simulated(Recorded):
    """As many scanpaths as OSIE's."""

    source = simulator_source(n_subjects=15, n_stimuli=700, seed=0)
    has_fixations = True

    def read(self, path: Path | None, size: int) -> Scanpaths:
        if path is not None:
            raise ValueError(f"the simulated scanpaths are made from a seed, not read from {path}: leave the path out")
        return simulate_scanpaths(n_subjects=15, n_stimuli=700, seed=0, size=size)
