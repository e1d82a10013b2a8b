"""The exact optimum on simulated gaze: right by independent computation, by simulation, and never beaten."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.linalg import expm

from fixlib.chapters.simulated_control.runs import _optimum as optimum
from fixlib.data import SimulatorParameters, cut_windows, lattice_windows, simulate_scanpaths, transition_matrix
from fixlib.data.simulator import DEFAULT
from fixlib.grid import pixel_center, pixel_index
from fixlib.losses import LOSSES, make_loss
from fixlib.metrics import Truth, evaluate_density, evaluate_frames, evaluate_points, paired_difference
from fixlib.models import BASELINES
from fixlib.runs.config import Config, Data, Loss, Model
from fixlib.runs.execute import pixel_logits
from fixlib.theory.bayes import bayes_logits, expected_loss, expected_squared_distance
from fixlib.theory.forecast import (
    CELLS,
    Forecast,
    best_points,
    expected_distance,
    forecast,
    likeliest_pixel,
    regret_bits,
    saccade_counts,
)
from fixlib.theory.outputs import best_output
from tests.known_density import first_pixel_probabilities, next_fixation_density

PHASES, PHASE_RATE = DEFAULT.duration_shape, DEFAULT.duration_shape / DEFAULT.duration_mean_ms  # per ms
ALL_LOSSES = [(name, {}) for name in LOSSES] + [
    ("dice", dict(smooth=1.0)),
    ("composite", dict(normalise=True)),
    ("concentration", dict(normalise=True)),
    ("composite", dict(concentration_weight=0.0)),
    ("focal", dict(alpha=0.9, gamma=0.5)),
]


def windows_of(rate_hz, n_subjects, n_stimuli, size=32, length=5, stride=None, seed=0):
    scanpaths = simulate_scanpaths(n_subjects, n_stimuli, seed=seed, size=size)
    frames = scanpaths.frames(rate_hz)
    return cut_windows(frames, length, stride)


def first(windows, count):
    return windows.rows(slice(count))


@pytest.fixture(scope="module")
def at_10hz():
    """2,000 windows of 4 frames and one to predict, from all over their scanpaths."""
    return windows_of(10.0, 10, 40)


@pytest.fixture(scope="module")
def at_fixations():
    return windows_of(None, 10, 120)


@pytest.fixture(scope="module")
def small():
    """Log density (N, 2, 8, 8): few pixels, so that every outcome can be tried."""
    windows = windows_of(10.0, 3, 20, size=8, length=6)
    return forecast(windows, 4, 2).log_density()


@pytest.fixture(scope="module")
def optima(small):
    """The Bayes output for every loss, by its place in ALL_LOSSES."""
    return [bayes_logits(make_loss(name, **options), small) for name, options in ALL_LOSSES]


def within(difference, n_errors=4.0):
    """Whether the mean of independent differences is 0 within so many standard errors."""
    difference = np.asarray(difference, dtype=float)
    return abs(difference.mean()) < n_errors * difference.std() / np.sqrt(len(difference))


# The density


def generator_matrix(transitions):
    """The process pixel x phase in continuous time, (P * K, P * K) per ms: the textbook form."""
    ends = np.roll(np.eye(PHASES), 1, axis=1)
    ends[-1] = 0
    last = np.zeros((PHASES, PHASES))
    last[-1, 0] = 1
    pixels = np.eye(len(transitions))
    return PHASE_RATE * (np.kron(pixels, ends) + np.kron(transitions, last) - np.eye(len(transitions) * PHASES))


@pytest.mark.parametrize("n_out", [1, 4])
def test_filter_equals_a_dense_hidden_markov_model(n_out):
    size, n_in, starts = 6, 4, (0, 7, 14, 21)
    windows = windows_of(10.0, 2, 30, size=size, length=n_in)
    step = expm(100 * generator_matrix(transition_matrix(size=size)))
    begin = np.zeros((size**2, PHASES))
    begin[:, 0] = first_pixel_probabilities(size=size)
    prior = sum(begin.ravel() @ np.linalg.matrix_power(step, start) for start in starts) / len(starts)
    expected = []
    for seen in pixel_index(windows["coordinates"], size).tolist():
        belief = prior
        for frame, pixel in enumerate(seen):
            belief = belief @ step if frame else belief
            belief = np.where(np.arange(len(belief)) // PHASES == pixel, belief, 0)
            belief /= belief.sum()
        ahead = [belief @ np.linalg.matrix_power(step, t) for t in range(1, n_out + 1)]
        expected.append(np.reshape(ahead, (n_out, size, size, PHASES)).sum(-1))
    found = forecast(windows, n_in, n_out, stride=7).log_density().exp().numpy()
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_saccade_counts_are_those_of_the_phase_process():
    counts = saccade_counts(250.0)
    np.testing.assert_allclose(counts.sum(axis=(0, 2)), 1, atol=1e-13)
    np.testing.assert_allclose(counts.sum(axis=0), expm(250 * generator_matrix(np.eye(1))), atol=1e-13)
    np.testing.assert_allclose(saccade_counts(0.0), np.stack([np.eye(PHASES), np.zeros((PHASES, PHASES))]))


def test_saccades_from_any_moment_on_against_simulation():
    """Renewal process of Gamma(3) durations, looked at from a random moment."""
    found = saccade_counts(250.0).sum(2).mean(1)
    generator = np.random.default_rng(0)
    ends = generator.gamma(3, DEFAULT.duration_mean_ms / 3, (20000, 30)).cumsum(1)
    start = generator.uniform(1000, 2000, (20000, 1))
    changes = ((ends > start) & (ends <= start + 250)).sum(1)
    assert found[:4] == pytest.approx(np.bincount(changes, minlength=4)[:4] / 20000, abs=0.015)


def test_likeliest_pixel():
    by_fixation, by_frame, step = likeliest_pixel(1, interval_ms=None)[0], likeliest_pixel(10), transition_matrix()
    assert step.max(1).min() <= by_fixation <= step.max(1).max()
    assert 0.03 < by_fixation < 0.1  # as on OSIE, where 5.9% stay in their pixel
    assert np.all(np.diff(by_frame) < 0)
    assert saccade_counts(100.0).sum(2).mean(1)[0] < by_frame[0] < 0.75  # staying, plus coming back
    assert (by_frame > 0.5).sum() == 1  # the statement of chapter 2: one frame ahead only


def test_expected_squared_distance_by_hand():
    belief = torch.zeros(3, 3, dtype=torch.float64)
    belief[0, 0], belief[1, 2] = 0.25, 0.75
    found = expected_squared_distance(belief)
    assert found[0, 0] == pytest.approx(0.75 * 5)  # when not here, the white pixel is one down, two right
    assert found[2, 0] == pytest.approx(0.25 * 4 + 0.75 * 5)


def test_fixation_frames_follow_the_rows_of_the_transition_matrix(at_fixations):
    last = pixel_index(at_fixations["coordinates"][:50, 3])
    few = first(at_fixations, 50)
    found = forecast(few, 4, n_out=3).log_density().exp().flatten(2).numpy()
    transitions = transition_matrix()
    np.testing.assert_allclose(found[:, 0], transitions[last], atol=1e-14)
    np.testing.assert_allclose(found[:, 2], transitions[last] @ transitions @ transitions, atol=1e-14)


def test_density_sums_to_1_and_cells_add_up_to_it(at_10hz):
    known = forecast(first(at_10hz, 40), 4, 2)
    density = known.log_density().exp().numpy()
    np.testing.assert_allclose(density.sum((-2, -1)), 1, atol=1e-12)
    ((arriving, going_on),) = known.cells()
    np.testing.assert_allclose((arriving + going_on).reshape(40, 2, 32, 2, 32, 2).sum((3, 5)), density, atol=1e-12)
    here = going_on.reshape(40, 2, 32, 2, 32, 2).sum((3, 5)).reshape(40, 2, -1)
    np.testing.assert_allclose(here[np.arange(40), :, known.pixel], known.saccades[..., 0], atol=1e-12)
    assert (here > 0).sum() == 80  # in no other pixel


def test_density_is_what_simulation_gives_after_the_same_history():
    """Draws with the same pixels seen (rejection), on 4 x 4 pixels; each frequency within 4.5 standard errors."""
    size, n_in = 4, 3
    windows = windows_of(10.0, 100, 400, size=size, length=n_in + 1, stride=8)
    density = forecast(windows, n_in, 1, stride=8).log_density().exp().flatten(1).numpy()
    pixels = pixel_index(windows["coordinates"], size).numpy()
    histories, group, n = np.unique(pixels[:, :n_in], axis=0, return_inverse=True, return_counts=True)
    assert len(histories) > 500
    moved = [g for g in np.argsort(-n) if len(set(histories[g])) > 1][:10]
    for g in [*np.argsort(-n)[:10], *moved]:
        assert n[g] > 100
        p = density[group == g][0]
        frequency = np.bincount(pixels[group == g, n_in], minlength=size**2) / n[g]
        assert (abs(frequency - p) < 4.5 * np.sqrt(p * (1 - p) / n[g]) + 1 / n[g]).all()


def test_what_is_expected_is_what_happens(at_10hz):
    """Bits, staying and error on 2,000 windows, each within 4 standard errors of its expectation."""
    known = forecast(at_10hz, 4, 1)
    log_density, next_point = known.log_density()[:, 0].flatten(1), at_10hz["coordinates"][:, 4]
    surprise = log_density.gather(1, pixel_index(next_point)[:, None])[:, 0]
    assert within(surprise - (log_density.exp() * log_density).sum(1))
    assert within((next_point == at_10hz["coordinates"][:, 3]).all(1).numpy() - known.saccades[:, 0, 0])
    points = best_points(known)
    assert within((points[:, 0] - next_point).norm(dim=1) - expected_distance(points, known)[:, 0])


def test_a_forecast_knows_at_which_frames_windows_begin(at_10hz):
    """25 frames: windows of 5 begin at 0, 5, ... 20, those of 20 where the scanpath does, in its first phase."""
    assert len(at_10hz["subject"]) == 10 * 40 * 5
    of_20 = windows_of(10.0, 2, 30, length=20)
    fresh, later = (forecast(of_20, 1, stride=stride).saccades[:, 0, 0] for stride in (20, 1))
    assert (fresh > later).all()  # a fixation that has just begun goes on for longer
    with pytest.raises(ValueError, match="25 frames"):
        longer = dict(coordinates=torch.zeros(60, 26, 2), fixation_mask=torch.ones(60, 26, dtype=torch.bool))
        forecast(replace(of_20, **longer), 4)


# Points


def test_expected_distance_agrees_with_fine_quadrature(at_fixations):
    few = first(at_fixations, 20)
    known = forecast(few, 4)
    points, cells = best_points(known), 12
    grid = (np.stack(np.meshgrid(*[np.arange(32 * cells)] * 2), axis=-1).reshape(-1, 2) + 0.5) / cells
    found = expected_distance(points, known)[:, 0].numpy()
    for row in range(20):
        density = next_fixation_density(few["coordinates"][row, 3].numpy(), grid) / cells**2
        distance = np.linalg.norm(grid - points[row, 0].numpy(), axis=1)
        assert found[row] == pytest.approx((density * distance).sum(), abs=2e-3)


def test_no_point_near_the_median_is_better(at_10hz):
    few = first(at_10hz, 200)
    known = forecast(few, 4)
    points = best_points(known)
    best = expected_distance(points, known)
    for shift in ((0.3, 0), (0, -0.3), (1.0, 1.0), (-0.05, 0.05)):
        assert (expected_distance(points + torch.tensor(shift), known) > best - 1e-4).all()


# Regret


def sure_of(pixel, size=2):
    """A made-up forecast of one frame: the fixation goes on for sure, in the first cell of that pixel."""
    staying = np.zeros((1, 1, CELLS, CELLS))
    staying[..., 0, 0] = 1
    return Forecast(np.array([pixel]), np.array([[[1.0, 0.0]]]), staying, size)


@pytest.mark.filterwarnings("ignore:divide by zero")
def test_regret_in_bits_of_a_made_up_forecast():
    known = sure_of(1)
    given = torch.tensor([[[[0.25, 0.25], [0.25, 0.25]]], [[[0.0, 1.0], [0.0, 0.0]]], [[[0.5, 0.5], [0.0, 0.0]]]])
    found = [float(regret_bits(density[None].log(), known)) for density in given]
    assert found == pytest.approx([2.0, 0.0, 1.0], abs=1e-7)
    assert float(regret_bits(torch.tensor([[[[1.0, 0.0], [0.0, 0.0]]]]).log(), known)) == np.inf


def test_expected_distance_of_a_made_up_forecast():
    """The fixation is anywhere in the cell about (8.25, 4.25), which makes 5 px a little more, and 0 px a fifth."""
    known = sure_of(4 * 16 + 8, 16)
    assert float(expected_distance(torch.tensor([[[5.25, 8.25]]]), known)) == pytest.approx(5.002, abs=1e-3)
    assert 0.1 < float(expected_distance(best_points(known), known)) < 0.3


def test_regret_is_nothing_for_the_exact_density_and_more_for_any_other(at_10hz, at_fixations):
    for windows in (at_10hz, at_fixations):
        known = forecast(first(windows, 60), 2, 3)
        exact = known.log_density()
        assert regret_bits(exact, known).abs().max() < 1e-12
        noise = torch.randn(exact.shape, generator=torch.Generator().manual_seed(0), dtype=exact.dtype)
        others = [(exact + scale * noise).flatten(-2).log_softmax(-1).view_as(exact) for scale in (0.01, 0.3, 3)]
        others += [torch.full_like(exact, -np.log(1024)), exact.roll(1, dims=0), exact.roll(1, dims=1)]
        assert all((regret_bits(other, known) > 0).all() for other in others)
        bits = [float(regret_bits(other, known).mean()) for other in others[:3]]
        assert bits == sorted(bits)


def test_regret_is_the_difference_of_what_is_expected(at_fixations):
    """In bits: what the windows say of exact minus predicted, on average over 1,000 of them."""
    windows = first(at_fixations, 1000)
    known, truth = forecast(windows, 4), Truth.of(windows, 4)
    other = known.log_density().flatten(-2).div(2).log_softmax(-1).view(len(windows), 1, 32, 32)
    white = truth.white_pixel(32)[..., None]
    happened = [maps.flatten(-2).gather(-1, white)[..., 0] for maps in (known.log_density(), other)]
    assert within((happened[0] - happened[1]) / np.log(2) - regret_bits(other, known))


def test_regret_refuses_what_is_no_prediction_of_these_frames(at_10hz):
    known = forecast(first(at_10hz, 3), 4)
    with pytest.raises(ValueError, match=r"\(3, 1, 32, 32\) as the forecast"):
        regret_bits(torch.zeros(3, 2, 32, 32), known)
    with pytest.raises(ValueError, match="sum to 1"):
        regret_bits(torch.zeros(3, 1, 32, 32), known)
    with pytest.raises(ValueError, match=r"\(3, 1, 2\) as the forecast"):
        expected_distance(torch.zeros(3, 2), known)


# The best output for each loss


@pytest.mark.parametrize("name, options", ALL_LOSSES)
def test_expected_loss_is_the_sum_over_all_outcomes(small, name, options):
    loss, log_density = make_loss(name, **options), small[:3]
    logits = 3 * torch.randn(3, 2, 1, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) - 2
    outcomes = torch.eye(64, dtype=torch.float64).reshape(64, 1, 8, 8)
    for n, t in np.ndindex(3, 2):
        each = torch.stack([loss(logits[n, t], outcome) for outcome in outcomes])
        expected = (log_density[n, t].exp().flatten() * each).sum()
        assert expected_loss(loss, logits, log_density)[n, t] == pytest.approx(float(expected), rel=1e-9)


@pytest.mark.parametrize("number", range(len(ALL_LOSSES)))
def test_nothing_beats_the_bayes_output(small, optima, number):
    """Neither noise on it, nor constants, nor what is best for the other losses. Tolerance: that of the tables."""
    name, options = ALL_LOSSES[number]
    loss, best = make_loss(name, **options), optima[number]
    cost, random = expected_loss(loss, best, small), torch.Generator().manual_seed(0)
    noises = [scale * torch.randn(best.shape, dtype=best.dtype, generator=random) for scale in (0.03, 0.3, 3)]
    single = torch.zeros_like(best)
    single[..., 3, 3] = 1.5  # one pixel at a time
    rivals = [best + noise for noise in noises] + [best + single, best - single, (best - 1).clamp(-30, 30)]
    rivals += [torch.full_like(best, z) for z in (-30, -6, -3, 0, 30)]
    rivals += optima
    slack = 2e-7 + 2e-5 * cost if name == "composite" else 1e-7
    for rival in rivals:
        assert (expected_loss(loss, rival, small) >= cost - slack).all()


def test_tabulated_output_is_that_of_best_output(small):
    eta = small[:2].exp().flatten()
    for name in ("mse", "weighted_mse", "focal", "bce"):
        loss = make_loss(name)
        found = bayes_logits(loss, small[:2]).flatten().sigmoid().numpy()
        np.testing.assert_allclose(found, best_output(loss, eta.numpy()), atol=1e-5)
    fine = torch.linspace(1e-6, 1, 64).double()
    maps = fine.log().reshape(1, 1, 8, 8)  # of any sum: MSE + L1 looks at one pixel at a time
    found = bayes_logits(make_loss("sparsity"), maps).flatten().sigmoid()
    assert (found - (fine - 0.5).clamp(min=0)).abs().max() < 0.005


def test_known_best_outputs(small):
    assert (bayes_logits(make_loss("concentration"), small) == -30).all()
    dice = bayes_logits(make_loss("dice"), small) > 0
    assert (dice.sum((-2, -1)) >= 1).all()  # s -> 0: at least one pixel
    assert (dice.flatten(2).gather(2, small.flatten(2).argmax(2, keepdim=True))).all()
    smooth = bayes_logits(make_loss("dice", smooth=1.0), small) > 0
    certain = small.exp().amax((-2, -1)) > 0.25  # s = 1: any pixel at all only where one has eta > 1/4 ...
    assert (smooth[:, :, 0].any(-1).any(-1) | ~certain).all()
    softmax = bayes_logits(make_loss("softmax_cross_entropy"), small)
    entropy = -(small.exp() * small).sum((-2, -1))
    torch.testing.assert_close(expected_loss(make_loss("softmax_cross_entropy"), softmax, small), entropy)


def test_losses_without_a_derived_optimum_are_refused(small):
    with pytest.raises(ValueError, match="alpha=0.3, beta=0.3"):
        bayes_logits(make_loss("tversky", alpha=0.3, beta=0.3), small)
    with pytest.raises(ValueError, match="gamma"):
        bayes_logits(make_loss("focal_tversky", gamma=0.5), small)
    for name in ("concentration", "composite"):
        with pytest.raises(ValueError, match="no pixel's best output can be found by itself"):
            bayes_logits(make_loss(name, density=True), small)


# Side by side with other predictors


@pytest.mark.parametrize("rate_hz", [None, 10.0])
def test_no_baseline_beats_the_optimum(rate_hz, at_10hz, at_fixations):
    windows = first(at_fixations if rate_hz is None else at_10hz, 400)
    known, truth = forecast(windows, 4, 1), Truth.of(windows, 4)
    best = evaluate_points(best_points(known), truth)
    least = expected_distance(best_points(known), known)
    for name in ("centre", "constant_velocity", "transition_table"):  # not repeat_last, which knows more than pixels
        baseline = BASELINES[name](32)
        baseline.fit(windows["coordinates"], 4)
        points = baseline.predict(windows["coordinates"][:, :4], 1)
        assert (expected_distance(points, known) > least - 1e-4).all()
        error = evaluate_points(points, truth).per_window["error"]
        gap = paired_difference(error, best.per_window["error"], truth.subject, truth.stimulus)
        assert gap["high"] > 0
    loss, log_density = make_loss("bce"), known.log_density()
    table = pixel_logits(baseline.log_density(windows["coordinates"][:, :4], 1))
    best_cost = expected_loss(loss, bayes_logits(loss, log_density), log_density)
    assert (expected_loss(loss, table.double(), log_density) > best_cost - 1e-7).all()


@pytest.mark.parametrize("name", ["density", "mse", "softmax_cross_entropy", "dice", "distance"])
def test_what_is_recorded_of_an_optimum(at_10hz, name):
    windows = first(at_10hz, 300)
    config = Config(Data("simulated", n_in=4, n_out=1, stride=5), Model("optimum"), Loss(name))
    payload = optimum(config, dict(train=windows, val=windows, test=windows))
    known, found = forecast(windows, 4, 1), payload["metrics"]
    if name == "distance":
        expected = float(expected_distance(best_points(known), known).mean())
        assert expected == pytest.approx(found["error"]["value"], rel=0.1)
    if name == "density":
        assert found["information_gain_reference"]["value"] > 2
    if name in LOSSES:
        loss, log_density = make_loss(name), known.log_density()
        logits = bayes_logits(loss, log_density)
        assert float(expected_loss(loss, logits, log_density).mean()) == pytest.approx(payload["test_loss"], rel=0.1)
    if name in ("mse", "dice"):  # scored as those of a network, made a density as its maps are
        bits, exact = found.pop("bits")["value"], evaluate_density(known.log_density(), Truth.of(windows, 4))
        lost = exact.summary["bits"]["value"] - bits
        assert lost == pytest.approx(0, abs=0.02) if name == "mse" else lost > 0.5
        assert found == evaluate_frames(logits.float(), Truth.of(windows, 4)).summary
        assert found["white_pixel_recall"]["value"] > 0.2  # at 10 Hz the last pixel often has eta > 1/2


def test_bad_input_is_refused(at_10hz):
    patterns = lattice_windows(32, 5, 0.0, dict(train=4, val=4, test=4))["test"]
    otherwise = simulate_scanpaths(1, 1, parameters=SimulatorParameters(sd_local=4.0)).frames(10.0)
    for windows in (patterns, otherwise):  # of the latter another density is the exact one
        with pytest.raises(ValueError, match="simulated"):
            forecast(windows, 4)
    with pytest.raises(ValueError, match="n_in"):
        forecast(at_10hz, 6)
    with pytest.raises(ValueError, match="n_out at least 1"):
        forecast(at_10hz, 4, n_out=0)
    with pytest.raises(ValueError, match="valid"):
        forecast(replace(at_10hz, fixation_mask=torch.zeros_like(at_10hz.fixation_mask)), 4)


def test_pixel_centres_are_no_substitute_for_points(at_10hz):
    """Targets lie anywhere in their pixel: an error counted to pixel centres would promise too little."""
    few = first(at_10hz, 100)
    known = forecast(few, 4)
    points = best_points(known)
    centres = pixel_center(torch.arange(1024)).double()
    to_centres = (known.log_density().exp().flatten(2) * torch.cdist(points.double(), centres)).sum(-1)
    assert (expected_distance(points, known) - to_centres).mean() > 0.05
