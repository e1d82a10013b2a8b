"""Each baseline against a plain calculation by hand on small data."""

import functools
import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from fixlib.models import (
    BASELINES,
    CenterBias,
    ConstantVelocity,
    DisplacementTable,
    DwellTable,
    GazeGRU,
    HoldThenPrior,
    RepeatLast,
    ReturnTable,
    TrainingMean,
    TrainingMedian,
    TransitionTable,
)
from fixlib.models.baselines import BANDWIDTHS
from fixlib.models.tables import BACK_OFFS, SHRINKAGE, SOURCE_BANDWIDTHS, TARGET_BANDWIDTHS, _mixture_weights

DENSITIES = [CenterBias, TransitionTable, DisplacementTable, DwellTable, ReturnTable]


def random_windows(n, length, size, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(n, length, 2, generator=generator) * size


def first_order_walk(n, length, size=16, seed=0):
    """Stays with 0.2, otherwise jumps towards the opposite side: the next point depends on the last alone."""
    generator = torch.Generator().manual_seed(seed)
    points = [torch.rand(n, 2, generator=generator) * size]
    for _ in range(length - 1):
        jump = size - points[-1] + torch.randn(n, 2, generator=generator)
        moves = torch.rand(n, 1, generator=generator) > 0.2
        points.append(torch.where(moves, jump.clamp(0, size - 0.01), points[-1]))
    return torch.stack(points, dim=1)


def mean_log_likelihood(log_density, targets):
    size = log_density.shape[-1]
    pixels = targets.floor().long()
    index = pixels[..., 1] * size + pixels[..., 0]
    return log_density.flatten(2).gather(2, index[..., None]).mean().item()


def plain_pixels(windows, size):
    return [[int(y) * size + int(x) for x, y in window] for window in windows.tolist()]


# ---- points ----


def test_repeat_last_and_centre():
    inputs = torch.tensor([[[1.0, 2.0], [3.5, 30.25]]])
    assert RepeatLast().predict(inputs, 3).tolist() == [[[3.5, 30.25]] * 3]
    assert BASELINES["centre"](size=20).predict(inputs[:, :1], 2).tolist() == [[[10.0, 10.0]] * 2]


def test_constant_velocity_goes_on_and_stops_at_the_edge():
    inputs = torch.tensor([[[9.0, 9.0], [10.0, 5.0], [20.0, 3.0]]])
    predicted = ConstantVelocity().predict(inputs, 3)
    assert predicted[0, 0].tolist() == [30.0, 1.0]
    assert predicted[0, 1:, 1].tolist() == [0.0, 0.0]
    assert (predicted[..., 0] < 32).all() and predicted[0, 1, 0].item() == pytest.approx(32, abs=1e-4)


def test_constant_velocity_needs_two_points():
    with pytest.raises(ValueError, match="at least 2 observed points"):
        ConstantVelocity().predict(torch.ones(1, 1, 2), 2)


def test_training_mean_and_median_use_the_targets_only():
    windows = random_windows(50, 5, 32)
    windows[:, :3] = 0.0
    targets = windows[:, 3:].reshape(-1, 2).double().numpy()
    median = minimize(lambda m: np.hypot(*(targets - m).T).sum(), [16, 16], method="Nelder-Mead",
                      options=dict(xatol=1e-7, fatol=1e-9)).x  # fmt: skip
    for baseline, expected in ((TrainingMean, targets.mean(axis=0)), (TrainingMedian, median)):
        predicted = baseline().fit(windows, n_in=3).predict(windows[:4, :3], 2)
        assert predicted.shape == (4, 2, 2)
        assert predicted.numpy() == pytest.approx(np.broadcast_to(expected, (4, 2, 2)), abs=1e-3)


def test_training_median_that_sits_on_a_point():
    points = torch.tensor([[1.0, 1.0], [5.0, 5.0], [9.0, 9.0], [1.0, 9.0], [9.0, 1.0]])
    windows = points[:, None].repeat(1, 2, 1)
    predicted = TrainingMedian().fit(windows, n_in=1).predict(windows[:1, :1], 1)
    assert predicted[0, 0].tolist() == pytest.approx([5.0, 5.0], abs=1e-3)


def test_only_repeating_the_recorded_point_wants_more_than_a_frame_shows():
    wanted = {name: baseline.inputs for name, baseline in BASELINES.items()}
    assert wanted.pop("repeat_last_subpixel") == "points"
    assert set(wanted.values()) == {"pixels"}


@pytest.mark.parametrize("rests", [0, 2, 5])
def test_holding_lasts_as_long_as_gaze_rests(rests):
    windows = random_windows(400, 8, 32)
    windows[:, : 3 + rests] = windows[:, 2, None].clone()
    baseline = HoldThenPrior().fit(windows, n_in=3)
    prior = TrainingMedian().fit(windows, n_in=3).predict(windows[:1, :3], 1)[0]
    assert baseline.switch == rests
    expected = torch.cat([windows[:1, 2].repeat(rests, 1), prior.repeat(5 - rests, 1)])
    assert torch.equal(baseline.predict(windows[:1, :3], 5)[0], expected)


# ---- densities ----


@functools.cache
def plain_spread(pixel, size, bandwidth):
    """The mass of a normal around one pixel in every pixel, summing to 1, (size, size)."""

    def below(edge, centre):
        return 0.5 * (1 + math.erf((edge - centre) / bandwidth / math.sqrt(2)))

    row, column = divmod(pixel, size)
    mass = np.zeros((size, size))
    for r in range(size):
        for c in range(size):
            height = below(r + 1, row + 0.5) - below(r, row + 0.5)
            mass[r, c] = height * (below(c + 1, column + 0.5) - below(c, column + 0.5))
    return mass / mass.sum()


def plain_centre_bias(pixels, size, bandwidth):
    density = sum(plain_spread(pixel, size, bandwidth) for pixel in pixels) + 1 / size**2
    return density / (len(pixels) + 1)


def test_centre_bias_is_a_kernel_density_of_the_held_out_bandwidth():
    size, windows = 5, 1 + 0.4 * random_windows(10, 3, 5)
    baseline = CenterBias(size).fit(windows, n_in=1)
    pixels = plain_pixels(windows[:, 1:], size)
    scores = {}
    for bandwidth in BANDWIDTHS:
        scores[bandwidth] = 0.0
        for fold in range(5):
            held_out = pixels[2 * fold : 2 * fold + 2]
            rest = [p for window in pixels[: 2 * fold] + pixels[2 * fold + 2 :] for p in window]
            density = plain_centre_bias(rest, size, bandwidth).flatten()
            scores[bandwidth] += sum(math.log(density[p]) for window in held_out for p in window)
    best = max(scores, key=scores.get)
    assert best < BANDWIDTHS[-1] and baseline.bandwidth == best
    expected = plain_centre_bias([p for window in pixels for p in window], size, best)
    log_density = baseline.log_density(windows[:, :1], 2)
    assert log_density.shape == (10, 2, size, size)
    assert log_density[3, 1].exp().numpy() == pytest.approx(expected, rel=1e-5)


def plain_table(pairs, centre, size, source_bandwidth, target_bandwidth, back_off):
    """p(j | i) of TransitionTable for given pairs, pixel by pixel."""
    pixels = range(size**2)
    place = [divmod(p, size) for p in pixels]
    spread = [plain_spread(p, size, target_bandwidth).flatten() for p in pixels]
    stay = (sum(i == j for i, j in pairs) + 1) / (len(pairs) + 2)
    table = np.zeros((size**2, size**2))
    for i in pixels:
        row = back_off * centre
        for start, end in pairs:
            if start != end:
                squared = math.dist(place[i], place[start]) ** 2
                row = row + math.exp(-squared / (2 * source_bandwidth**2)) * spread[end]
        row[i] = 0
        table[i] = (1 - stay) * row / row.sum()
        table[i, i] = stay
    return table


def test_transition_table_is_a_smoothed_table_of_held_out_settings():
    size, n_in = 4, 1
    windows = first_order_walk(15, 4, size)
    baseline = TransitionTable(size).fit(windows, n_in)
    centre = CenterBias(size).fit(windows, n_in).probabilities.flatten().numpy()
    pixels = plain_pixels(windows, size)
    for horizon in (1, 3):
        pairs = [[(w[t], w[t + horizon]) for t in range(4 - horizon)] for w in pixels]
        chosen = [pair for window in pairs[:12] for pair in window]
        moves = [(i, j) for window in pairs[12:] for i, j in window if i != j]
        scores = {}
        for source in SOURCE_BANDWIDTHS:
            for target in TARGET_BANDWIDTHS:
                for back_off in BACK_OFFS:
                    table = plain_table(chosen, centre, size, source, target, back_off)
                    scores[source, target, back_off] = sum(math.log(table[i, j]) for i, j in moves)
        settings = baseline.settings[horizon - 1]
        assert scores[settings] == pytest.approx(max(scores.values()), abs=1e-4)
        expected = plain_table([pair for window in pairs for pair in window], centre, size, *settings)
        log_density = baseline.log_density(windows[:, :1], 3)[:, horizon - 1]
        for window, density in zip(pixels, log_density.exp().flatten(1).numpy()):
            assert density == pytest.approx(expected[window[0]], rel=1e-4)


@pytest.mark.parametrize("baseline", DENSITIES)
def test_densities_sum_to_one_and_are_nowhere_zero(baseline):
    windows = first_order_walk(40, 6, size=32)
    log_density = baseline().fit(windows, n_in=3).log_density(windows[:, :3], 3)
    assert log_density.shape == (40, 3, 32, 32) and log_density.dtype == torch.float32
    assert log_density.isfinite().all()
    torch.testing.assert_close(log_density.exp().sum(dim=(-2, -1)), torch.ones(40, 3), atol=1e-5, rtol=0)


def test_tables_beat_centre_bias_where_gaze_is_first_order():
    train, test = first_order_walk(300, 8, seed=1), first_order_walk(200, 8, seed=2)
    scores, errors = {}, {}
    for baseline in DENSITIES:
        fitted = baseline(16).fit(train, n_in=5)
        scores[baseline] = mean_log_likelihood(fitted.log_density(test[:, :5], 3), test[:, 5:])
        errors[baseline] = (fitted.predict(test[:, :5], 3) - test[:, 5:]).norm(dim=-1).mean().item()
    for table in (TransitionTable, DisplacementTable, DwellTable, ReturnTable):
        assert scores[table] > scores[CenterBias] + 0.5
        assert errors[table] < errors[CenterBias] - 0.5


def test_transition_table_predicts_x_and_y_unswapped():
    here, there = torch.tensor([20.5, 5.5]), torch.tensor([8.5, 27.5])
    windows = torch.stack([here, there]).repeat(20, 1, 1)
    baseline = TransitionTable().fit(windows, n_in=1)
    log_density = baseline.log_density(windows[:1, :1], 1)[0, 0]
    assert divmod(log_density.argmax().item(), 32) == (27, 8)
    assert baseline.predict(windows[:1, :1], 1)[0, 0].tolist() == pytest.approx([8.5, 27.5], abs=1.0)


# ---- tables with a memory ----


def resting_walk(n, length, size, stays=(0.0, 0.9, 0.5), seed=0):
    """Anywhere, there again with a chance of stays[d] after d points (d up to 2, and that of 2 after more)."""
    generator = torch.Generator().manual_seed(seed)
    points, rested = [torch.rand(n, 2, generator=generator) * size], torch.ones(n, dtype=torch.long)
    for _ in range(length - 1):
        stay = torch.rand(n, generator=generator) < torch.tensor(stays)[rested.clamp(max=2)]
        points.append(torch.where(stay[:, None], points[-1], torch.rand(n, 2, generator=generator) * size))
        rested = torch.where(stay, rested + 1, 1)
    return torch.stack(points, dim=1)


def test_the_chance_to_stay_is_that_of_as_long_a_rest():
    size, n_in = 8, 3
    windows = resting_walk(300, 6, size)
    baseline, whatever = (table(size).fit(windows, n_in) for table in (DwellTable, DisplacementTable))
    pixels = plain_pixels(windows, size)
    for horizon in (1, 3):
        cases = [(w[t - 2 : t + 1], w[t + horizon]) for w in pixels for t in range(2, 6 - horizon)]
        share = (sum(seen[-1] == target for seen, target in cases) + 1) / (len(cases) + 2)
        for rested in (1, 2, 3):
            alike = [
                seen[-1] == target
                for seen, target in cases
                if set(seen[-rested:]) == {seen[-1]} and (rested == 3 or seen[-rested - 1] != seen[-1])
            ]
            expected = (sum(alike) + SHRINKAGE * share) / (len(alike) + SHRINKAGE)
            assert baseline.stay[horizon - 1, rested - 1].item() == pytest.approx(expected, rel=1e-5)
            assert whatever.stay[horizon - 1, rested - 1].item() == pytest.approx(share, rel=1e-5)
            if horizon == 1:
                assert expected == pytest.approx(0.9 if rested == 1 else 0.5, abs=0.1)
    inputs = torch.tensor([[[1.5, 1.5], [1.5, 1.5], [5.5, 2.5]], [[1.5, 1.5], [5.5, 2.5], [5.5, 2.5]]])
    there = baseline.log_density(inputs, 1)[:, 0, 2, 5].exp()
    assert torch.equal(there, baseline.stay[0, :2])


@pytest.mark.parametrize("period", [2, 3])
def test_gaze_that_always_comes_back_is_known_to(period):
    """To the fixation before the last, or to the one before that; the last step is not in the windows to learn from."""
    size = 16
    places = random_windows(200, period, size)
    windows = places[:, torch.arange(7) % period]
    train, inputs, targets = windows[:150], windows[150:, :period], windows[150:, period]
    for table, certain in ((ReturnTable, True), (DwellTable, False)):
        log_density = table(size).fit(train, n_in=period).log_density(inputs, 1)
        likelihood = math.exp(mean_log_likelihood(log_density, targets[:, None]))
        assert likelihood > 0.9 if certain else likelihood < 0.1


def test_a_memory_of_places_costs_next_to_nothing_where_it_is_of_no_use():
    train, test = resting_walk(1000, 8, 16, seed=1), resting_walk(500, 8, 16, seed=2)
    densities = [table(16).fit(train, n_in=5).log_density(test[:, :5], 3) for table in (DwellTable, ReturnTable)]
    without, with_memory = (mean_log_likelihood(density, test[:, 5:]) for density in densities)
    assert with_memory == pytest.approx(without, abs=0.01)


def test_gaze_that_always_goes_the_same_way_is_known_to_from_new_places_too():
    """Windows of the left half to learn from, of the right half to predict."""
    step = torch.tensor([3.0, 2.0])
    paths = random_windows(200, 1, 12) + step * torch.arange(3)[:, None]
    train, test = paths.clone(), paths + torch.tensor([12.0, 8.0])
    likelihoods = {}
    for table in (TransitionTable, DisplacementTable):
        log_density = table(32).fit(train, n_in=2).log_density(test[:, :2], 1)
        likelihoods[table] = math.exp(mean_log_likelihood(log_density, test[:, 2:]))
    assert likelihoods[DisplacementTable] > 0.4 > 10 * likelihoods[TransitionTable]


def test_weights_of_a_mixture_are_the_shares_of_what_only_one_part_explains():
    likelihood = torch.tensor([[1.0, 0.0, 0.0]] * 30 + [[0.0, 0.5, 0.0]] * 70)
    found = _mixture_weights(likelihood, torch.tensor([True, True, False]))
    assert found.tolist() == pytest.approx([30.5 / 101, 70.5 / 101, 0.0])
    assert _mixture_weights(likelihood[:0], torch.tensor([True, True, False])).tolist() == [0.5, 0.5, 0.0]


@pytest.mark.parametrize("table", [DisplacementTable, DwellTable, ReturnTable])
def test_a_longer_history_counts_as_far_back_as_the_table_was_fitted(table):
    baseline, seen = table(8).fit(random_windows(60, 7, 8), n_in=4), random_windows(5, 9, 8, seed=1)
    assert torch.equal(baseline.log_density(seen, 2), baseline.log_density(seen[:, -4:], 2))
    resting = torch.full((1, 9, 2), 2.5)
    assert baseline.log_density(resting, 2).isfinite().all()


@pytest.mark.parametrize("table", [DwellTable, ReturnTable])
@pytest.mark.parametrize(
    "windows, n_in",
    [
        (random_windows(2, 5, 8), 4),
        (random_windows(2, 3, 8), 1),
        (torch.full((3, 4, 2), 2.5), 2),
        (random_windows(16, 5, 8)[:, :1].repeat(1, 5, 1), 4),
    ],
    ids=["two windows", "one point seen", "one place", "gaze that rests"],
)
def test_a_table_of_little_is_a_density_all_the_same(table, windows, n_in):
    n_out = windows.shape[1] - n_in
    strange = random_windows(20, n_in, 8, seed=1)
    baseline = table(8).fit(windows, n_in)
    log_density = baseline.log_density(strange, n_out)
    assert log_density.isfinite().all()
    torch.testing.assert_close(log_density.exp().sum(dim=(-2, -1)), torch.ones(20, n_out))
    assert baseline.predict(strange, n_out).isfinite().all()


def test_prediction_of_a_density_is_its_geometric_median():
    windows = first_order_walk(30, 4, size=8)
    baseline = TransitionTable(8).fit(windows, n_in=2)
    density = baseline.log_density(windows[:3, :2], 1)[:, 0].exp().double().numpy()
    centres = np.stack(np.meshgrid(np.arange(8) + 0.5, np.arange(8) + 0.5), axis=-1)
    for p, point in zip(density, baseline.predict(windows[:3, :2], 1)[:, 0].numpy()):
        found = minimize(lambda m: (p * np.linalg.norm(centres - m, axis=-1)).sum(), point + 0.1,
                         method="Nelder-Mead").x  # fmt: skip
        assert point == pytest.approx(found, abs=0.02)


# ---- all of them ----


@pytest.mark.parametrize("name", BASELINES)
def test_every_baseline_gives_points_of_the_grid(name):
    windows = random_windows(12, 5, 32)
    predicted = BASELINES[name]().fit(windows, n_in=3).predict(windows[:, :3], 2)
    assert predicted.shape == (12, 2, 2) and predicted.dtype == torch.float32
    assert ((predicted >= 0) & (predicted < 32)).all()
    again = BASELINES[name]().fit(windows.numpy(), n_in=3).predict(windows.numpy()[:, :3], 2)
    assert torch.equal(predicted, again)


@pytest.mark.parametrize(
    "name", [name for name in BASELINES if name not in ("centre", "constant_velocity") and "repeat" not in name]
)
def test_predicting_before_fitting(name):
    with pytest.raises(RuntimeError, match="call fit"):
        BASELINES[name]().predict(torch.ones(1, 3, 2), 2)


@pytest.mark.parametrize(
    "windows, n_in, message",
    [
        (torch.ones(4, 5), 2, r"coordinates must have shape \(windows, points, 2\)"),
        (torch.ones(0, 5, 2), 2, "none of them 0"),
        (torch.ones(4, 5, 2), 5, "n_in=5 leaves nothing to learn from windows of 5 points"),
        (torch.ones(4, 5, 2), 0, "between 1 and 4"),
        (torch.full((4, 5, 2), math.nan), 2, r"coordinates\[0, 0\].*not a point of the grid"),
        (torch.full((4, 5, 2), 32.0), 2, r"not a point of the grid \[0, 32\)"),
    ],
)
def test_windows_that_do_not_fit(windows, n_in, message):
    with pytest.raises(ValueError, match=message):
        CenterBias().fit(windows, n_in)


def test_other_clear_errors():
    with pytest.raises(ValueError, match="at least 2 windows"):
        CenterBias().fit(torch.ones(1, 4, 2), 2)
    with pytest.raises(ValueError, match="n_out must be at least 1"):
        RepeatLast().predict(torch.ones(1, 4, 2), 0)
    table = TransitionTable(8).fit(random_windows(5, 4, 8), n_in=2)
    with pytest.raises(ValueError, match="n_out=3.*show 2 points ahead"):
        table.predict(torch.ones(1, 2, 2), 3)


# ---- the recurrent network ----


def test_gru_shapes_gradients_and_start():
    torch.manual_seed(0)
    model = GazeGRU(n_out=3, hidden=16)
    points = random_windows(6, 5, 32)
    predicted = model(points)
    assert predicted.shape == (6, 3, 2)
    assert (predicted - points[:, -1:]).abs().max() < 16
    predicted.square().mean().backward()
    assert all(p.grad is not None and p.grad.any() for p in model.parameters())
    with pytest.raises(ValueError, match=r"\(batch, points, 2\)"):
        model(torch.ones(2, 3))
    with pytest.raises(ValueError, match="at least 1"):
        GazeGRU(n_out=0)
    with pytest.raises(ValueError, match="inputs must be points or pixels"):
        GazeGRU(n_out=1, inputs="frames")
    with pytest.raises(ValueError, match="target displacement or position"):
        GazeGRU(n_out=1, target="point")


def test_gru_predicts_from_the_last_point_or_from_the_center():
    points, found = random_windows(6, 5, 32), {}
    for target in ("displacement", "position"):
        torch.manual_seed(0)
        found[target] = GazeGRU(n_out=3, hidden=16, target=target)(points)
    torch.testing.assert_close(found["displacement"] - points[:, -1:], found["position"] - 16)


def test_gru_learns_a_constant_displacement():
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    start = 10 + 12 * torch.rand(256, 1, 2, generator=generator)
    velocity = 2 * torch.rand(256, 1, 2, generator=generator) - 1
    paths = start + velocity * torch.arange(8)[:, None]
    inputs, targets = paths[:, :5], paths[:, 5:]
    model = GazeGRU(n_out=3, hidden=32)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(200):
        optimizer.zero_grad()
        (model(inputs) - targets).abs().mean().backward()
        optimizer.step()
    error = (model(inputs) - targets).norm(dim=-1).mean().item()
    repeated = (RepeatLast().predict(inputs, 3) - targets).norm(dim=-1).mean().item()
    assert repeated > 1.0
    assert error < 0.25 * repeated
