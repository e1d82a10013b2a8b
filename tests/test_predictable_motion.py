"""Motion whose continuation is known: the lattice, its exact probabilities, and the chapter's runs at smoke size."""

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from fixlib.data import check_sequences
from fixlib.experiments import obtain
from fixlib.experiments.motion_catalogue import (
    KINDS,
    Catalogue,
    catalogue,
    motion_fingerprint,
    motion_windows,
    next_pixel_density,
    path_posterior,
    test_paths as paths_of_test,
)
from fixlib.experiments.predictable_motion import LOSSES, NOISES, recall_from_pixels, specs, tag

matplotlib.use("Agg")
CONFIG = dict(dataset="patterns", kind="mixed", speeds=[0.5, 1.0, 2.0], noise=0.0, size=16, n_in=10, n_out=10,
              train=20, val=10, test=200, seed=0)


@pytest.fixture(scope="module")
def paths():
    return catalogue(16, 20, (0.5, 1.0, 2.0))


def places(paths, kind, speed=None):
    rows = paths.kind == KINDS.index(kind)
    return np.stack(np.divmod(paths.pixels[rows if speed is None else rows & (paths.speed == speed)], 16)[::-1], axis=-1)


class TestCatalogue:
    def test_every_pixel_is_on_the_grid_and_priors_are_even(self, paths):
        assert paths.pixels.min() >= 0 and paths.pixels.max() < 256
        assert paths.prior.sum() == pytest.approx(1)
        for kind in range(3):
            here = paths.kind == kind
            assert paths.prior[here].sum() == pytest.approx(1 / 3)
            shares = [paths.prior[here & (paths.speed == speed)].sum() for speed in np.unique(paths.speed[here])]
            assert shares == pytest.approx([shares[0]] * len(shares))

    @pytest.mark.parametrize("speed", [0.5, 1.0, 2.0])
    def test_lines_go_straight_on_and_bounces_turn(self, paths, speed):
        way = np.diff(places(paths, "line", speed), axis=1)
        assert not ((way.max(1) > 0) & (way.min(1) < 0)).any()
        assert (abs(way.sum(1)) <= speed * 19 + 0.5).all() and (abs(way) <= np.ceil(speed)).all()
        bounced = np.diff(places(paths, "bounce", speed), axis=1)
        assert (abs(bounced) <= speed + 0.5).all()
        turned = ((bounced > 0).any(1) & (bounced < 0).any(1)).any(-1)
        assert turned.mean() > 0.8  # a wall met in the first or last frames may leave no step back

    def test_whole_steps_between_walls(self, paths):
        steps = abs(np.diff(places(paths, "bounce", 2.0), axis=1))
        assert np.isin(steps, (0, 1, 2)).all() and (steps == 2).mean() > 0.5

    def test_arcs_keep_their_distance_from_a_centre(self, paths):
        points = places(paths, "arc", 1.0) + 0.5
        centre = (points.max(1) + points.min(1)) / 2  # of those that go all the way round: radius 3, 19 steps
        whole = np.ptp(points, axis=1).max(-1) <= 6
        radius = np.linalg.norm(points - centre[:, None], axis=-1)[whole]
        assert whole.sum() > 100 and radius.min() > 1.8 and radius.max() < 4.2

    def test_other_speeds_are_refused(self):
        with pytest.raises(ValueError, match=r"multiples of 0.5 px a frame, not \[0.7\]"):
            catalogue(16, 20, (0.7, 1.0))


class TestWindows:
    def test_are_sequence_sets_and_follow_from_the_seed(self):
        windows, again = motion_windows(CONFIG), motion_windows(CONFIG)
        check_sequences(windows["train"], "train")
        assert windows["test"]["coordinates"].shape == (200, 20, 2)
        assert torch.equal(windows["test"]["coordinates"], again["test"]["coordinates"])
        assert not torch.equal(windows["test"]["coordinates"][:10], windows["val"]["coordinates"])
        assert windows["train"]["meta"]["label"].startswith("Synthetic motion")

    def test_noise_replaces_as_many_pixels_as_it_says(self, paths):
        noisy = motion_windows(CONFIG | dict(noise=0.4))["test"]["coordinates"].floor().long()
        true = paths.pixels[paths_of_test(CONFIG | dict(noise=0.4))]
        assert ((noisy[..., 1] * 16 + noisy[..., 0]).numpy() == true).mean() == pytest.approx(0.6, abs=0.02)

    def test_the_fingerprint_follows_the_motion(self):
        assert motion_fingerprint(CONFIG) == motion_fingerprint(CONFIG | dict(test=5))
        assert motion_fingerprint(CONFIG) != motion_fingerprint(CONFIG | dict(speeds=[1.0, 2.0]))


class TestExactProbabilities:
    def test_is_bayes_rule(self):
        few = Catalogue(np.array([[0, 1, 2], [0, 1, 3], [3, 2, 1]]), np.array([0.5, 0.25, 0.25]), np.zeros(3), np.ones(3), 2)
        noise, seen = 0.4, np.array([[0, 1], [3, 1]])
        fit, miss = 0.6 + 0.1, 0.1
        weight = np.array([[0.5 * fit**2, 0.25 * fit**2, 0.25 * miss**2],
                           [0.5 * miss * fit, 0.25 * miss * fit, 0.25 * fit * miss]])
        weight /= weight.sum(1, keepdims=True)
        assert np.allclose(path_posterior(few, seen, noise), weight)
        expected = 0.1 + 0.6 * np.stack([np.zeros(2), weight[:, 2], weight[:, 0], weight[:, 1]], axis=1)
        assert np.allclose(next_pixel_density(few, seen, noise).reshape(2, 4), expected)

    def test_frames_give_the_path_away(self, paths):
        _, pixels = paths.draw(100, 0.0, np.random.default_rng(1))
        density = next_pixel_density(paths, pixels[:, :10], 0.0)
        assert torch.allclose(density.sum((-2, -1)), torch.ones(100, 10, dtype=torch.float64))
        assert density[:, 0].flatten(1).amax(1).mean() > 0.97
        assert (density.flatten(2).gather(2, torch.from_numpy(pixels[:, 10:, None]).long()) > 0).all()

    def test_probabilities_are_right_on_average(self, paths):
        _, pixels = paths.draw(1500, 0.4, np.random.default_rng(2))
        largest = next_pixel_density(paths, pixels[:, :10], 0.4)[:, 0].flatten(1).max(1)
        found = largest.indices.numpy() == pixels[:, 10]
        assert found.mean() == pytest.approx(float(largest.values.mean()), abs=3 * 0.5 / 1500**0.5)
        assert largest.values.max() <= 0.6 + 0.4 / 256 + 1e-9

    def test_noise_alone_says_nothing(self, paths):
        density = next_pixel_density(paths, np.zeros((1, 10), int), 1.0)
        assert torch.allclose(density, torch.full_like(density, 1 / 256))


def test_pixels_hide_what_lies_inside_them():
    assert 0.75 < recall_from_pixels(1.0, 100_000) < 0.9


def test_other_experiments_keep_their_keys():
    from fixlib.experiments import loss_comparison
    spec = next(s for s in loss_comparison.specs("osie", "quick", losses=["mse"]) if s.variant == "mse")
    assert spec.key == "1d1b5de857"


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FIXLIB_ROOT", str(tmp_path_factory.mktemp("project")))
        yield obtain("predictable_motion", profile="smoke", workers=1)


class TestRuns:
    def test_every_loss_is_trained_both_ways(self, study):
        assert study.dataset == "patterns" and study.label == "Synthetic motion (line, arc, bounce)"
        for name in LOSSES:
            assert list(study.run(f"{name}.scratch").payload["then"]) == [name]
        assert list(study.run("informed.noise0").payload["then"]) == list(LOSSES)
        for noise in NOISES:
            assert study.run(f"informed.{tag(noise)}").history and study.run(f"hybrid_l1.{tag(noise)}").history

    def test_scores_are_kept_by_kind_and_speed(self, study):
        exact = study.run("exact.ten_frames").payload["then"]["exact_continuation"]
        assert {"line", "arc", "bounce", "speed 0.5", "speed 1", "speed 2"} <= set(exact["groups"])
        assert sum(exact["groups"][kind]["windows"] for kind in KINDS) == 24
        assert exact["by_horizon"]["white_pixel_recall"] == [1.0] * 10
        assert exact["by_horizon"]["error_argmax"] == pytest.approx([0.0] * 10, abs=1e-6)

    def test_the_optimum_crosses_where_the_theory_says(self, study):
        def recall(noise, loss):
            return study.run(f"exact.{tag(noise)}").payload["then"][loss]["metrics"]["white_pixel_recall"]["value"]
        assert recall(0.0, "mse") > 0.9 and recall(0.6, "mse") == 0
        assert recall(0.2, "focal") > 0.4 and recall(0.3, "focal") == 0
        assert recall(0.6, "weighted_mse") > 0
        for noise in (0.0, 0.4, 1.0):
            assert recall(noise, "concentration") == recall(noise, "sparsity") == 0

    def test_runs_are_small(self, study):
        assert max(run.path.stat().st_size for run in study.runs) < 20_000


@pytest.mark.parametrize("name", ["paths", "hidden_in_pixels", "finding_the_pixel", "noise", "horizon", "speed",
                                  "frames_and_regression"])
def test_figures_are_drawn(study, name):
    from fixlib.figures import predictable_motion
    figure = getattr(predictable_motion, name)(study)
    assert isinstance(figure, Figure)
    figure.canvas.draw()


def test_specs_need_a_known_profile():
    with pytest.raises(ValueError, match="unknown profile"):
        specs("patterns", "papr")
