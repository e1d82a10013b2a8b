"""Lattice motion: every path there is, noise as it says, and exact probabilities of what is next."""

import numpy as np
import pytest
import torch

from fixlib.data import describe, fingerprint, open_dataset
from fixlib.data.lattice import (
    KINDS,
    SPEEDS,
    Paths,
    drawn_paths,
    lattice_density,
    lattice_paths,
    lattice_windows,
    path_posterior,
)

COUNTS = dict(train=20, val=10, test=2000)


@pytest.fixture(scope="module")
def paths():
    return lattice_paths(16, 11)


def places(paths, kind, speed):
    """(paths, frames, 2) x, y of the paths of a kind and speed."""
    rows = (paths.kind == KINDS.index(kind)) & (paths.speed == speed)
    return np.stack(np.divmod(paths.pixels[rows], paths.size)[::-1], axis=-1)


class TestPaths:
    def test_every_pixel_is_on_the_grid_and_kinds_are_alike(self, paths):
        assert paths.pixels.min() >= 0 and paths.pixels.max() < 256
        for kind in range(len(KINDS)):
            here = paths.kind == kind
            assert paths.prior[here].sum() == pytest.approx(1 / 3)
            shares = [paths.prior[here & (paths.speed == speed)].sum() for speed in np.unique(paths.speed[here])]
            assert shares == pytest.approx([shares[0]] * len(shares))

    def test_lines_keep_their_velocity(self, paths):
        way = np.diff(places(paths, "line", 1), axis=1)
        assert len(way) and (way == way[:, :1]).all() and (abs(way).max(-1) == 1).all()

    @pytest.mark.parametrize("speed", SPEEDS)
    def test_bounces_turn_at_the_border_and_go_on_as_fast(self, paths, speed):
        points = places(paths, "bounce", speed)
        way = np.diff(points, axis=1)
        assert (abs(way) <= speed).all() and (abs(way) == speed).mean() > 0.4
        turned = (np.sign(way[:, 1:]) * np.sign(way[:, :-1]) < 0).any(axis=(1, 2))
        assert turned.mean() > 0.6  # the others turn in the first or last step

    def test_a_bounce_by_hand(self, paths):
        found = [path[:4].tolist() for path in places(paths, "bounce", 1)]
        assert [[14, 5], [15, 5], [14, 5], [13, 5]] in found and [[14, 5], [15, 6], [14, 7], [13, 8]] in found

    def test_arcs_stay_on_their_circle(self, paths):
        points = places(paths, "arc", 3) + 0.5
        centre = (points.max(1) + points.min(1)) / 2  # radius 4 px: all the way round in 8 steps
        radius = np.linalg.norm(points - centre[:, None], axis=-1)
        assert len(points) == 2 * 8 * 7**2 and radius.min() > 2.9 and radius.max() < 5.1


class TestWindows:
    def test_follow_from_the_seed(self):
        windows, again, other = (lattice_windows(16, 11, 0.3, COUNTS, seed) for seed in (0, 0, 1))
        assert windows["train"].source.simulated and len(windows["train"]) == 20
        assert windows["test"]["coordinates"].shape == (2000, 11, 2)
        assert torch.equal(windows["test"]["coordinates"], again["test"]["coordinates"])
        assert not torch.equal(windows["test"]["coordinates"], other["test"]["coordinates"])

    def test_no_path_is_in_two_parts(self, paths):
        train, val, test = (
            {paths.pixels[row].tobytes() for row in drawn_paths(16, 11, 0.0, 3000, 0, part)}
            for part in ("train", "val", "test")
        )
        assert not train & test and not train & val and not val & test and min(map(len, (train, val, test))) > 300
        kinds = np.bincount(paths.kind[drawn_paths(16, 11, 0.0, 3000)]) / 3000
        assert kinds == pytest.approx([1 / 3] * 3, abs=0.06)  # as often as in all of them, up to the luck of the split

    def test_noise_replaces_as_many_pixels_as_it_says(self, paths):
        noisy = lattice_windows(16, 11, 0.4, COUNTS)["test"]["coordinates"].floor().long()
        true = paths.pixels[drawn_paths(16, 11, 0.4, 2000)]
        same = ((noisy[..., 1] * 16 + noisy[..., 0]).numpy() == true).mean()
        assert same == pytest.approx(0.6 + 0.4 / 256, abs=4 * (0.24 / true.size) ** 0.5)

    def test_noise_is_a_probability(self):
        with pytest.raises(ValueError, match="noise is a probability"):
            lattice_windows(16, 11, 1.1, COUNTS)

    def test_is_a_dataset_by_name(self):
        assert describe("patterns").simulated and "not a recording" in describe("patterns").label
        small, again, large = (fingerprint("patterns", None, size) for size in (16, 16, 32))
        assert small == again != large
        assert open_dataset("patterns", None, 16)["test"]["coordinates"].shape[1:] == (20, 2)


class TestExactProbabilities:
    def test_is_bayes_rule(self):
        pixels, prior = np.array([[0, 1, 2], [0, 1, 3], [3, 2, 1]]), np.array([0.5, 0.25, 0.25])
        few = Paths(pixels, prior, np.zeros(3), np.ones(3), 2)
        noise, seen = 0.4, np.array([[0, 1], [3, 1]])
        fit, miss = 0.6 + 0.1, 0.1
        weight = np.array(
            [[0.5 * fit**2, 0.25 * fit**2, 0.25 * miss**2], [0.5 * miss * fit, 0.25 * miss * fit, 0.25 * fit * miss]]
        )
        weight /= weight.sum(1, keepdims=True)
        assert np.allclose(path_posterior(few, seen, noise), weight)
        expected = 0.1 + 0.6 * np.stack([np.zeros(2), weight[:, 2], weight[:, 0], weight[:, 1]], axis=1)
        assert np.allclose(lattice_density(few, seen, noise).reshape(2, 4), expected)

    def test_ten_frames_give_the_next_pixel_away(self, paths):
        _, pixels = paths.draw(300, 0.0, np.random.default_rng(1))
        density = lattice_density(paths, pixels[:, :10], 0.0)[:, 0].flatten(1)
        assert torch.allclose(density.sum(1), torch.ones(300, dtype=torch.float64))
        assert density.amax(1).mean() > 0.99
        assert (density.gather(1, torch.from_numpy(pixels[:, 10:]).long()) > 0).all()

    @pytest.mark.parametrize("noise", [0.2, 0.6])
    def test_probabilities_are_right_on_average(self, paths, noise):
        _, pixels = paths.draw(2000, noise, np.random.default_rng(2))
        largest = lattice_density(paths, pixels[:, :10], noise)[:, 0].flatten(1).max(1)
        found = largest.indices.numpy() == pixels[:, 10]
        assert found.mean() == pytest.approx(float(largest.values.mean()), abs=3 * 0.5 / 2000**0.5)
        assert largest.values.max() <= 1 - noise + noise / 256 + 1e-9

    def test_noise_alone_says_nothing(self, paths):
        density = lattice_density(paths, np.zeros((1, 10), int), 1.0)
        assert torch.allclose(density, torch.full_like(density, 1 / 256))
