"""The simulator: density, transition matrix and samples agree with one another and with OSIE's numbers."""

from dataclasses import astuple, replace

import numpy as np
import pytest
from scipy.stats import chi2, kstest

from examples.fit_simulator import OSIE_STATISTICS, expected_statistics, fit_parameters, scanpath_statistics
from fixlib.data import SimulatorParameters, simulate_scanpaths, transition_matrix
from tests.known_density import first_pixel_probabilities, next_fixation_density


@pytest.fixture(scope="module")
def simulated():
    return simulate_scanpaths(15, 700, seed=0)


def sub_grid(size, per_pixel):
    axis = (np.arange(size * per_pixel) + 0.5) / per_pixel
    return np.stack(np.meshgrid(axis, axis), axis=-1)


@pytest.mark.parametrize("current", [(16.2, 15.9), (0.0, 0.0), (31.9, 3.3)])
def test_density_integrates_to_one_and_gives_the_matrix(current):
    fine = next_fixation_density(np.array(current), sub_grid(32, 12)) / 12**2  # midpoint rule
    assert fine.sum() == pytest.approx(1, abs=2e-3)
    pixels = fine.reshape(32, 12, 32, 12).sum(axis=(1, 3)).ravel()
    row = transition_matrix()[int(current[1]) * 32 + int(current[0])]
    assert np.abs(pixels - row).max() < 1e-3


def test_density_depends_on_the_pixel_only_and_ends_at_the_border():
    following = np.array([[3.0, 4.0], [20.0, 30.0]])
    same = [next_fixation_density(np.array(point), following) for point in ((5.0, 6.0), (5.9, 6.99))]
    assert np.array_equal(*same) and (same[0] > 0).all()
    outside = np.array([[32.0, 5.0], [5.0, -0.1]])
    assert next_fixation_density(np.array([5.0, 6.0]), outside).tolist() == [0, 0]
    with pytest.raises(ValueError, match="must lie in the grid"):
        next_fixation_density(np.array([32.0, 5.0]), following)


def test_transition_rows_sum_to_one():
    for size in (32, 16):
        matrix = transition_matrix(size=size)
        assert matrix.shape == (size**2, size**2) and (matrix > 0).all()
        assert np.abs(matrix.sum(axis=1) - 1).max() < 1e-12
        assert first_pixel_probabilities(size=size).sum() == pytest.approx(1, abs=1e-12)


def pixels_of(scanpaths):
    points = np.floor(scanpaths.fixations[["x", "y"]].to_numpy()).astype(int)
    return points[:, 1] * scanpaths.size + points[:, 0]


def chi_square_p(observed, expected):
    """p of a chi-square test, pooling cells until each expects at least 5."""
    order = np.argsort(expected)
    group = np.floor(np.cumsum(expected[order]) / 5).astype(int)
    counts, means = (np.bincount(group, weights=w[order]) for w in (observed, expected))
    counts, means = counts[means > 0], means[means > 0]
    return chi2.sf(((counts - means) ** 2 / means).sum(), len(means) - 1)


def test_samples_agree_with_the_matrix():
    small = simulate_scanpaths(20, 500, seed=1, size=8)  # 64 pixels, so that every row is visited
    pixel, scanpath = pixels_of(small), small.fixations["scanpath"].to_numpy()
    same = np.diff(scanpath) == 0
    matrix = transition_matrix(size=8)
    joint = np.zeros((64, 64))
    np.add.at(joint, (pixel[:-1][same], pixel[1:][same]), 1)
    assert chi_square_p(joint.ravel(), (joint.sum(axis=1, keepdims=True) * matrix).ravel()) > 1e-3
    first = np.bincount(pixel[small.fixations["order"] == 0], minlength=64)
    assert chi_square_p(first, 10_000 * first_pixel_probabilities(size=8)) > 1e-3
    # the test can tell: a matrix for another spread of local steps is refused
    other = transition_matrix(SimulatorParameters(sd_local=4.0), size=8)
    assert chi_square_p(joint.ravel(), (joint.sum(axis=1, keepdims=True) * other).ravel()) < 1e-6


def test_samples_agree_with_the_matrix_on_the_full_grid(simulated):
    pixel = pixels_of(simulated)
    same = np.diff(simulated.fixations["scanpath"].to_numpy()) == 0
    now, then = pixel[:-1][same], pixel[1:][same]
    expected = np.bincount(now, minlength=1024) @ transition_matrix()
    assert chi_square_p(np.bincount(then, minlength=1024), expected) > 1e-3


def test_statistics_are_those_of_osie(simulated):
    sampled, expected = scanpath_statistics(simulated), expected_statistics()
    for name, value in OSIE_STATISTICS.items():
        assert sampled[name] == pytest.approx(value, rel=0.04), name
        assert sampled[name] == pytest.approx(expected[name], rel=0.02), name


def test_default_parameters_are_the_fit():
    elsewhere = SimulatorParameters(weight_stay=0.15, weight_local=0.45, sd_local=2.5, sd_x=9.0)
    fitted = fit_parameters(start=elsewhere)
    assert astuple(fitted) == pytest.approx(astuple(SimulatorParameters()), rel=1e-3)
    with pytest.raises(ValueError, match="statistics must be exactly"):
        fit_parameters({"stay": 0.1})


def test_durations_are_erlang_and_trials_equally_long(simulated):
    table = simulated.fixations
    first = table.loc[table["order"] == 0, "duration_ms"]
    assert kstest(first, "gamma", args=(3, 0, 214 / 3)).pvalue > 1e-3
    assert first.median() == pytest.approx(190.7, rel=0.03)
    assert table.groupby("scanpath")["duration_ms"].sum().to_numpy() == pytest.approx(2500)
    frames = simulated.frames(10)
    assert frames["fixation_mask"].shape == (10_500, 25) and frames["fixation_mask"].all()


def test_crossed_design_label_and_seed(simulated):
    table = simulated.fixations
    assert len(simulated) == 10_500
    assert len(table[["subject", "stimulus"]].drop_duplicates()) == 10_500
    assert simulated.source.simulated and "SIMULATED" in simulated.source.label
    small = [simulate_scanpaths(3, 4, seed=seed) for seed in (1, 1, 2)]
    assert small[0].fixations.equals(small[1].fixations) and not small[0].fixations.equals(small[2].fixations)
    assert small[0].source.sha256 == small[1].source.sha256 != small[2].source.sha256
    assert simulate_scanpaths(2, 2, size=16).fixations["x"].max() < 16


@pytest.mark.parametrize(
    "wrong", [{"weight_stay": 0.8, "weight_local": 0.3}, {"sd_x": 0.0}, {"centre_x": 40.0}, {"trial_ms": 0.0}]
)
def test_parameters_are_checked(wrong):
    with pytest.raises(ValueError, match="must"):
        replace(SimulatorParameters(), **wrong)
    with pytest.raises(ValueError, match="at least one subject"):
        simulate_scanpaths(0, 5)
