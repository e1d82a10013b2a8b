"""Metrics against plain loops and hand examples; intervals against simulated clusters."""

import itertools
import math

import numpy as np
import pytest
import scipy
import torch
from torch import nn

from benchmarks import coverage
from fixlib.data import Gaze
from fixlib.grid import pixel_center
from fixlib.metrics import (
    Calibration,
    Truth,
    cluster_weights,
    clustered_bootstrap,
    evaluate_density,
    evaluate_frames,
    evaluate_points,
    kinds_of_frames,
    paired_difference,
)

SIZE = 8


@pytest.fixture
def case():
    """Twelve windows of three frames with a few masked ones, and noisy logits that know a little."""
    g = torch.Generator().manual_seed(1)
    coordinates = torch.rand(12, 3, 2, generator=g) * SIZE
    mask = torch.rand(12, 3, generator=g) > 0.2
    coordinates[~mask] = 0
    logits = torch.randn(12, 3, 1, SIZE, SIZE, generator=g)
    for n, t in mask.nonzero():
        x, y = coordinates[n, t].long()
        logits[n, t, 0, y, x] += 1.5
    truth = dict(
        coordinates=coordinates,
        mask=mask,
        last_point=torch.rand(12, 2, generator=g) * SIZE,
        subject=torch.arange(12) % 3,
        stimulus=torch.arange(12) // 3,
    )
    return logits, truth


def value(evaluation, name):
    return evaluation.summary[name]["value"]


def perfect_logits(coordinates, mask, size=SIZE):
    logits = torch.full((*mask.shape, 1, size, size), -20.0)
    for n, t in mask.nonzero():
        x, y = coordinates[n, t].long()
        logits[n, t, 0, y, x] = 20.0
    return logits


def brute_force_average_precision(scores, white):
    """Every threshold in turn, highest first."""
    area, recall_before = 0.0, 0.0
    for threshold in sorted(set(scores), reverse=True):
        called = [w for s, w in zip(scores, white) if s >= threshold]
        recall = sum(called) / sum(white)
        area += (recall - recall_before) * sum(called) / len(called)
        recall_before = recall
    return area


def pixels(logits, truth):
    """(scores, white) of every pixel of the valid frames, as lists."""
    scores, white = [], []
    for n, t in truth["mask"].nonzero().tolist():
        x, y = (int(c) for c in truth["coordinates"][n, t])
        for row, column in itertools.product(range(SIZE), range(SIZE)):
            scores.append(float(logits[n, t, 0, row, column]))
            white.append(int(row == y and column == x))
    return scores, white


def test_threshold_scores_against_a_plain_loop(case):
    logits, truth = case
    scores, white = pixels(logits, truth)
    true = sum(w for s, w in zip(scores, white) if s > 0)
    called = sum(s > 0 for s in scores)
    result = evaluate_frames(logits, Truth(**truth))
    recall, precision = true / sum(white), true / called
    assert value(result, "white_pixel_recall") == pytest.approx(recall)
    assert value(result, "white_pixel_precision") == pytest.approx(precision)
    assert value(result, "f1_score") == pytest.approx(2 * recall * precision / (recall + precision))
    right = sum((s > 0) == bool(w) for s, w in zip(scores, white))
    assert value(result, "accuracy") == pytest.approx(right / len(scores))


def test_average_precision_and_best_f1_against_brute_force(case):
    logits, truth = case
    for rounded in (logits, logits.mul(2).round().div(2)):  # the second is full of ties
        scores, white = pixels(rounded, truth)
        result = evaluate_frames(rounded, Truth(**truth))
        expected = brute_force_average_precision(scores, white)
        assert value(result, "average_precision") == pytest.approx(expected)
        f1 = {
            t: 2 * sum(w for s, w in zip(scores, white) if s >= t) / (sum(s >= t for s in scores) + sum(white))
            for t in set(scores)
        }
        assert value(result, "best_f1") == pytest.approx(max(f1.values()))
        assert value(result, "best_f1_threshold") == pytest.approx(1 / (1 + math.exp(-max(f1, key=f1.get))))


def test_precision_recall_curve(case):
    logits, truth = case
    curve = evaluate_frames(logits, Truth(**truth)).pr_curve
    assert len(curve["recall"]) == len(curve["precision"]) <= 100
    assert curve["recall"] == sorted(curve["recall"]) and curve["recall"][-1] == 1


def test_pixel_errors_against_a_plain_loop(case):
    logits, truth = case
    result = evaluate_frames(logits, Truth(**truth))
    errors, changed, hits, jumps, amplitudes = [], [], [], [], []
    for n, t in truth["mask"].nonzero().tolist():
        best = int(logits[n, t, 0].argmax())
        guess = np.array([best % SIZE + 0.5, best // SIZE + 0.5])
        true, last = truth["coordinates"][n, t].double().numpy(), truth["last_point"][n].double().numpy()
        errors.append(math.dist(guess, true))
        hits.append(errors[-1] <= 2)
        if (np.floor(true) != np.floor(last)).any():
            changed.append(errors[-1])
            jumps.append(math.dist(guess, last))
            amplitudes.append(math.dist(true, last))
    assert value(result, "error_argmax") == pytest.approx(np.mean(errors))
    assert value(result, "hit_2px") == pytest.approx(np.mean(hits))
    assert value(result, "changed_error_argmax") == pytest.approx(np.mean(changed))
    assert value(result, "undershoot") == pytest.approx(sum(jumps) / sum(amplitudes))
    valid = truth["mask"][:, 1]
    second = [e for e, (n, t) in zip(errors, truth["mask"].nonzero().tolist()) if t == 1]
    assert len(second) == int(valid.sum())
    assert result.by_horizon["error_argmax"][1] == pytest.approx(np.mean(second))


def test_per_window_values_and_weights_give_the_summary(case):
    logits, truth = case
    result = evaluate_frames(logits, Truth(**truth))
    seen = result.per_window["frames"] > 0
    mean = np.average(result.per_window["error_mean"][seen], weights=result.per_window["frames"][seen])
    assert mean == pytest.approx(value(result, "error_mean"))
    assert all(column.shape == (12,) for column in result.per_window.values())


def test_masked_frames_change_nothing(case):
    logits, truth = case
    other, shifted = logits.clone(), dict(truth, coordinates=truth["coordinates"].clone())
    other[~truth["mask"]] = 50.0
    shifted["coordinates"][~truth["mask"]] = float("nan")
    first, second = evaluate_frames(logits, Truth(**truth)), evaluate_frames(other, Truth(**shifted))
    assert first.summary == second.summary and first.by_horizon == second.by_horizon


def test_a_perfect_prediction(case):
    _, truth = case
    truth["coordinates"] = truth["coordinates"].floor() + 0.5
    result = evaluate_frames(perfect_logits(truth["coordinates"], truth["mask"]), Truth(**truth))
    for name in (
        "white_pixel_recall",
        "white_pixel_precision",
        "f1_score",
        "accuracy",
        "average_precision",
        "best_f1",
        "hit_1px",
        "undershoot",
    ):
        assert value(result, name) == pytest.approx(1), name
        assert result.summary[name]["low"] == pytest.approx(1), name
    for name in ("error_argmax", "error_mean", "error_median"):
        assert value(result, name) == pytest.approx(0, abs=1e-3)


def test_swapped_x_and_y_are_noticed(case):
    _, truth = case
    logits = perfect_logits(truth["coordinates"], truth["mask"]).mT
    result = evaluate_frames(logits, Truth(**truth))
    assert value(result, "error_argmax") > 1
    assert value(result, "white_pixel_recall") < 0.5
    points = evaluate_points(truth["coordinates"].flip(-1), Truth(**truth))
    assert value(points, "error") > 1


def test_nothing_called_white_scores_zero_and_99_percent_accuracy(case):
    logits, truth = case
    result = evaluate_frames(logits - 50, Truth(**truth))
    for name in ("white_pixel_recall", "white_pixel_precision", "f1_score"):
        assert result.summary[name] == dict(value=0, low=0, high=0)
    assert value(result, "accuracy") == pytest.approx(1 - 1 / SIZE**2)
    # The order of the pixels is the same, and so is everything that needs no threshold.
    before = evaluate_frames(logits, Truth(**truth))
    for name in ("average_precision", "best_f1", "error_argmax"):
        assert value(result, name) == pytest.approx(value(before, name), rel=1e-3)


def test_an_all_equal_map(case):
    logits, truth = case
    result = evaluate_frames(torch.full_like(logits, -200.0), Truth(**truth))
    assert value(result, "average_precision") == pytest.approx(1 / SIZE**2)
    assert result.pr_curve == dict(recall=[1.0], precision=[pytest.approx(1 / SIZE**2)])
    centre = evaluate_points(torch.full_like(truth["coordinates"], SIZE / 2), Truth(**truth))
    for name in ("error_argmax", "error_mean", "error_median"):
        assert value(result, name) == pytest.approx(value(centre, "error"), abs=1e-3)


def test_very_dark_maps_keep_their_shape(case):
    _, truth = case
    faint = -300 + 10 * perfect_logits(truth["coordinates"], truth["mask"]).clamp(-1, 1)
    assert value(evaluate_frames(faint, Truth(**truth)), "error_mean") < 1  # p itself underflows to 0


def test_undershoot_of_a_point_that_goes_half_way(case):
    _, truth = case
    last = truth["last_point"][:, None]
    result = evaluate_points(last + (truth["coordinates"] - last) / 2, Truth(**truth))
    assert value(result, "undershoot") == pytest.approx(0.5)
    repeat = evaluate_points(last.expand(-1, 3, -1), Truth(**truth))
    assert value(repeat, "undershoot") == 0


def test_changed_frames_only(case):
    _, truth = case
    truth["coordinates"] = truth["last_point"][:, None].repeat(1, 3, 1)
    result = evaluate_points(truth["coordinates"], Truth(**truth))
    assert math.isnan(value(result, "changed_error")) and math.isnan(value(result, "undershoot"))
    assert result.per_window["changed_frames"].sum() == 0


def test_information_gain_by_hand(case):
    logits, truth = case
    log_p = logits[:, :, 0].flatten(-2).log_softmax(-1).view(12, 3, SIZE, SIZE)
    reference = torch.rand(SIZE, SIZE).log().flatten().log_softmax(0).view(1, 1, SIZE, SIZE)
    result = evaluate_density(log_p, Truth(**truth), reference_log_density=reference)
    bits, gains = [], []
    for n, t in truth["mask"].nonzero().tolist():
        x, y = (int(c) for c in truth["coordinates"][n, t])
        bits.append(math.log2(float(log_p[n, t, y, x].exp()) * SIZE**2))
        gains.append(math.log2(float((log_p[n, t, y, x] - reference[0, 0, y, x]).exp())))
    assert value(result, "information_gain_uniform") == pytest.approx(np.mean(bits), rel=1e-5)
    assert value(result, "information_gain_reference") == pytest.approx(np.mean(gains), rel=1e-5)
    frames = evaluate_frames(logits, Truth(**truth))
    assert value(result, "error_argmax") == pytest.approx(value(frames, "error_argmax"))
    uniform = evaluate_density(torch.full_like(log_p, -math.log(SIZE**2)), Truth(**truth))
    assert value(uniform, "information_gain_uniform") == pytest.approx(0, abs=1e-6)


def test_bits_by_where_gaze_went_sum_to_all_bits():
    x = torch.tensor(
        [[1.2, 10.5, 10.9, 12.5, 2.1, 20.0]]
    )  # seen: pixels 1 and 10; then the same, near, back, elsewhere
    points = torch.stack([x, torch.full_like(x, 5.0)], dim=-1)
    windows = Gaze.of(dict(coordinates=points, fixation_mask=torch.ones(1, 6, dtype=torch.bool)))
    kinds = kinds_of_frames(windows, n_in=2)
    assert {name: frames[0].tolist().index(True) for name, frames in kinds.items() if frames.sum() == 1} == dict(
        stay=0, near=1, back=2, elsewhere=3
    )
    log_p = torch.randn(1, 4, 32, 32, generator=torch.Generator().manual_seed(0)).flatten(2).log_softmax(-1)
    found = evaluate_density(log_p.view(1, 4, 32, 32), Truth.of(windows, 2), kinds=kinds)
    assert sum(value(found, f"bits_{kind}") for kind in kinds) == pytest.approx(value(found, "bits"))
    assert all(value(found, f"share_{kind}") == 0.25 for kind in kinds)


def test_calibration_finds_the_temperature_of_maps_that_are_too_sure_and_never_says_never(case):
    logits, truth = case
    truth, n = Truth(**truth), 400
    true = 3 * torch.randn(n, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    density = true.flatten(1).softmax(-1)
    pixels = torch.multinomial(density, 1, generator=torch.Generator().manual_seed(1))
    points, rows = pixel_center(pixels, SIZE), torch.arange(n)
    drawn = Truth(points, torch.ones(n, 1, dtype=torch.bool), points[:, 0], rows, rows)
    calibration = Calibration(4 * true, drawn, torch.full((SIZE, SIZE), 1 / SIZE**2))
    assert calibration.temperature == 4.0 and calibration.share < 0.01
    made = calibration.log_density(4 * true)
    assert torch.allclose(made.exp().sum((-2, -1)), torch.ones(n, 1), atol=1e-5)
    assert torch.allclose(made.flatten(1).exp(), density, atol=0.01)
    blind = torch.full_like(true, -80.0)  # sure of one pixel that is never the right one
    blind[..., 0, 0] = 0.0
    assert Calibration(blind, drawn, torch.full((SIZE, SIZE), 1 / SIZE**2)).log_density(blind).isfinite().all()
    prior = torch.rand(SIZE, SIZE) + 0.1
    alone = Calibration(blind, drawn, prior / prior.sum(), shares=(1.0,)).log_density(blind).exp()
    torch.testing.assert_close(alone, (prior / prior.sum()).expand_as(alone))
    maps = nn.functional.logsigmoid(logits).squeeze(2)
    fitted = Calibration(maps, truth, torch.full((SIZE, SIZE), 1 / SIZE**2)).log_density(maps)
    assert value(evaluate_frames(logits, truth, fitted), "bits") == value(evaluate_density(fitted, truth), "bits")


def test_low_precision_logits(case):
    logits, truth = case
    exact = evaluate_frames(logits, Truth(**truth))
    rough = evaluate_frames(logits.bfloat16(), Truth(**truth))
    assert value(rough, "error_mean") == pytest.approx(value(exact, "error_mean"), abs=0.05)


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(coordinates=torch.full((12, 3, 2), float("nan"))), "coordinates are not finite"),
        (dict(coordinates=torch.full((12, 3, 2), 8.0)), "outside the 8x8 grid"),
        (dict(mask=torch.zeros(12, 3, dtype=torch.bool)), "mask is False everywhere"),
        (dict(subject=torch.zeros(5)), r"subject must be \(12,\)"),
        (dict(last_point=torch.zeros(12, 3)), r"last_point must be \(12, 2\)"),
    ],
)
def test_bad_truth_is_refused(case, change, message):
    logits, truth = case
    with pytest.raises(ValueError, match=message):
        evaluate_frames(logits, Truth(**truth | change))


def test_bad_predictions_are_refused(case):
    logits, truth = case
    with pytest.raises(ValueError, match="NaN"):
        evaluate_frames(logits.fill_(float("nan")), Truth(**truth))
    with pytest.raises(ValueError, match="logits must be"):
        evaluate_frames(torch.zeros(3, 3, 1, 8, 8), Truth(**truth))
    with pytest.raises(ValueError, match="sum to 1"):
        evaluate_density(torch.zeros(12, 3, 8, 8), Truth(**truth))
    impossible = torch.full((12, 3, 8, 8), -math.inf)
    impossible[..., 0, 0] = 0.0
    with pytest.raises(ValueError, match="probability 0 to a recorded fixation"):
        evaluate_density(impossible, Truth(**truth))
    with pytest.raises(ValueError, match="same shape"):
        evaluate_points(torch.zeros(12, 1, 2), Truth(**truth))


def test_probabilities_given_as_logits_are_refused_and_a_constant_map_is_not(case):
    logits, truth = case
    truth = Truth(**truth)
    for probabilities in (truth.frames(SIZE), torch.sigmoid(logits - 5), (5 * logits).flatten(2).softmax(-1)):
        with pytest.raises(ValueError, match="look like probabilities"):
            evaluate_frames(probabilities.view_as(logits), truth)
    untrained = 0.1 * torch.rand(logits.shape, generator=torch.Generator().manual_seed(0)) + 0.02
    for really_logits in (torch.zeros_like(logits), torch.full_like(logits, 0.3), untrained):
        assert value(evaluate_frames(really_logits, truth, n_boot=10), "accuracy") >= 0


def test_masks_that_are_not_bool_are_refused(case):
    _, truth = case
    for mask in (truth["mask"].float(), truth["mask"].int().numpy()):
        with pytest.raises(TypeError, match="mask must be bool, not"):
            evaluate_points(truth["coordinates"], Truth(**truth | dict(mask=mask)))


def test_weights_are_products_of_counts():
    subject, stimulus = np.repeat(np.arange(5), 4), np.tile(np.arange(4), 5)
    weights = cluster_weights(subject, stimulus, 50, seed=3)
    assert weights.shape == (50, 20)
    np.testing.assert_array_equal(weights.sum(axis=1), 20)  # fully crossed: 5 draws x 4 draws
    square = weights[0].reshape(5, 4)
    assert np.linalg.matrix_rank(square) == 1
    np.testing.assert_array_equal(weights, cluster_weights(subject, stimulus, 50, seed=3))


def test_nested_or_single_clusters_are_resampled_once():
    alone = cluster_weights(np.arange(30), np.arange(30), 400, seed=0)
    assert alone.var() == pytest.approx(1, abs=0.1)  # counts of variance 1, not products of variance 3
    nested = cluster_weights(np.arange(30) // 10, np.arange(30), 20, seed=0)
    assert all(len(set(row[k : k + 10])) == 1 for row in nested for k in (0, 10, 20))
    one_viewer = cluster_weights(np.zeros(30), np.arange(30), 20, seed=0)
    assert one_viewer.var() > 0.5
    assert np.isnan(clustered_bootstrap(np.arange(30.0), subject=np.zeros(30), stimulus=np.zeros(30))).all()


def test_bootstrap_against_a_plain_loop():
    rng = np.random.default_rng(0)
    top, bottom = rng.random(60), rng.integers(1, 9, 60)
    subject, stimulus = rng.integers(0, 6, 60), rng.integers(0, 9, 60)
    weights = cluster_weights(subject, stimulus, 300, seed=5)
    samples = [sum(w * t for w, t in zip(row, top)) / sum(w * b for w, b in zip(row, bottom)) for row in weights]
    low, high = clustered_bootstrap(top, bottom, subject=subject, stimulus=stimulus, n_boot=2000, seed=7)
    assert (low, high) == pytest.approx(tuple(np.percentile(samples, [2.5, 97.5])), rel=0.1)


@pytest.mark.parametrize("viewers, least, most", [(4, 0.74, 0.88), (15, 0.88, 0.98)])
def test_intervals_hold_the_truth_where_resampling_windows_does_not(viewers, least, most):
    """Nearly 95% with many viewers, about 83% with the four of OSIE's test part, as chapter 1 says."""
    repetitions, held, naive_held = 200, 0, 0
    for seed in range(repetitions):
        rng = np.random.default_rng(seed)
        subject, stimulus, each = rng.integers(0, viewers, 500), rng.integers(0, 70, 500), np.arange(500)
        y = rng.normal(size=viewers)[subject] + rng.normal(size=70)[stimulus] + rng.normal(size=500)
        low, high = clustered_bootstrap(y, subject=subject, stimulus=stimulus, n_boot=200, seed=seed)
        naive_low, naive_high = clustered_bootstrap(y, subject=each, stimulus=each, n_boot=200, seed=seed)
        assert high - low > 1.3 * (naive_high - naive_low)
        held += low <= 0 <= high
        naive_held += naive_low <= 0 <= naive_high
    assert least <= held / repetitions <= most
    assert naive_held / repetitions <= 0.45


def test_intervals_that_know_how_few_viewers_there_are():
    """The alternatives that `python -m benchmarks coverage` measures beside the library's interval."""
    balanced = np.random.default_rng(0).normal(size=(4, 30)) + np.arange(4)[:, None]
    subject, stimulus = (labels.ravel() for labels in np.indices(balanced.shape))
    expected = scipy.stats.ttest_1samp(balanced.mean(axis=1), 0).confidence_interval(0.95)
    assert coverage.leave_one_viewer_out(balanced.ravel(), subject) == pytest.approx(expected)
    held = 0
    for seed in range(300):
        y, subject, stimulus = coverage.simulated(4, coverage.SCORES["px"], seed)
        low, high = coverage.two_way(y, subject, stimulus)
        held += low <= 0 <= high
    assert 0.92 <= held / 300 <= 0.99


def test_summary_intervals_are_those_of_clustered_bootstrap(case):
    logits, truth = case
    result = evaluate_frames(logits, Truth(**truth), n_boot=200)
    n = result.per_window["frames"]
    total = np.nan_to_num(result.per_window["error_median"]) * n
    clusters = dict(subject=truth["subject"], stimulus=truth["stimulus"])
    bounds = clustered_bootstrap(total, n, **clusters, n_boot=200)
    got = result.summary["error_median"]
    assert got["low"] <= got["value"] <= got["high"]
    # The same seed and labels: the same resamples.
    assert (got["low"], got["high"]) == pytest.approx(bounds)
    for name, number in result.summary.items():
        assert number["low"] <= number["high"], name


def test_average_precision_interval_with_more_thresholds_than_are_kept():
    g = torch.Generator().manual_seed(0)
    coordinates = torch.rand(300, 4, 2, generator=g) * SIZE
    logits = torch.randn(300, 4, 1, SIZE, SIZE, generator=g)
    truth = dict(
        coordinates=coordinates,
        mask=torch.ones(300, 4, dtype=torch.bool),
        last_point=coordinates[:, 0],
        subject=torch.arange(300) % 7,
        stimulus=torch.arange(300) // 7,
    )
    result = evaluate_frames(logits, Truth(**truth), n_boot=200).summary["average_precision"]
    assert result["low"] < result["value"] < result["high"]


def test_paired_difference_sees_what_two_intervals_hide():
    rng = np.random.default_rng(0)
    subject, stimulus = rng.integers(0, 8, 200), rng.integers(0, 30, 200)
    hard = rng.normal(size=8)[subject] * 3
    a, b = hard + 0.2 + rng.normal(size=200) * 0.1, hard + rng.normal(size=200) * 0.1
    difference = paired_difference(a, b, subject, stimulus)
    assert 0 < difference["low"] < 0.2 < difference["high"] < 0.3
    low, high = clustered_bootstrap(a, subject=subject, stimulus=stimulus)
    assert high - low > 10 * (difference["high"] - difference["low"])
    a[:5] = np.nan
    weight = rng.integers(1, 5, 200)
    weighted = paired_difference(a, b, subject, stimulus, weight)
    assert weighted["value"] == pytest.approx(np.average((a - b)[5:], weights=weight[5:]))
    with pytest.raises(ValueError, match="same windows"):
        paired_difference(a, b[:-1], subject, stimulus)


def test_bootstrap_refuses_what_is_not_finite():
    with pytest.raises(ValueError, match="1 not finite"):
        clustered_bootstrap([1.0, np.nan], subject=[0, 1], stimulus=[0, 0])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_the_same_on_a_gpu(case):
    logits, truth = case
    here = evaluate_frames(logits, Truth(**truth))
    there = evaluate_frames(logits.cuda(), Truth(**{name: tensor.cuda() for name, tensor in truth.items()}))
    for name, number in here.summary.items():
        assert there.summary[name]["value"] == pytest.approx(number["value"], abs=1e-3), name
