"""What the simulator's samples and tables are compared with: its density, written down a second time."""

import numpy as np
import scipy

from fixlib.data.simulator import DEFAULT, SimulatorParameters, axis_components, cell_masses


def first_pixel_probabilities(size: int = 32) -> np.ndarray:
    """Probability (size^2,) of the first fixation's pixel."""
    along_x, along_y = (cell_masses(axis, DEFAULT, size)[2, 0] for axis in (0, 1))
    return np.kron(along_y, along_x)


def next_fixation_density(
    current: np.ndarray, following: np.ndarray, parameters: SimulatorParameters = DEFAULT, size: int = 32
) -> np.ndarray:
    """Exact density (per px^2) of the next fixation at ``following`` given the current one.

    Args:
        current, following: points (..., 2) in px, broadcast against each other; ``following`` outside the
            grid has density 0.

    Returns:
        Array of the broadcast leading shape, float64; it integrates to 1 over the grid.

    Raises:
        ValueError: a current point lies outside the grid.
    """
    current, following = np.asarray(current, float), np.asarray(following, float)
    if not ((current >= 0) & (current < size)).all():
        raise ValueError(f"current fixations must lie in the grid, [0, {size}) px on both axes")
    current, following = np.broadcast_arrays(current, following)
    by_component = (3, *(1,) * (current.ndim - 1))
    density = parameters.weights.reshape(by_component)
    for axis in (0, 1):
        means, sds = axis_components(np.floor(current[..., axis]) + 0.5, axis, parameters, size)
        sds = sds.reshape(by_component)
        mass = scipy.special.ndtr((size - means) / sds) - scipy.special.ndtr((0 - means) / sds)
        z = (following[..., axis] - means) / sds
        density = density * np.exp(-0.5 * z**2) / (np.sqrt(2 * np.pi) * sds * mass)
    inside = ((following >= 0) & (following < size)).all(axis=-1)
    return np.where(inside, density.sum(axis=0), 0.0)
