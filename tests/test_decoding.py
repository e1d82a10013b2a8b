"""Decoding a map to a point."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from fixlib.grid import decode_argmax, decode_mean, decode_median

DECODERS = [decode_argmax, decode_mean, decode_median]


def random_maps(n=40, height=32, width=32, seed=0):
    """Blobs on noise: some sharp, some flat, as networks give them."""
    g = torch.Generator().manual_seed(seed)
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    centre = torch.rand(n, 2, 1, 1, generator=g) * torch.tensor([width, height]).view(2, 1, 1)
    spread = torch.logspace(0, 2, n).view(n, 1, 1)
    distance = (x - centre[:, 0]) ** 2 + (y - centre[:, 1]) ** 2
    return torch.sigmoid(torch.randn(n, height, width, generator=g) - 4 - distance / spread)


@pytest.mark.parametrize("decode", DECODERS)
def test_a_single_white_pixel_decodes_to_its_centre(decode):
    maps = torch.zeros(3, 1, 20, 32)
    for i, (row, column) in enumerate([(5, 20), (0, 0), (19, 31)]):
        maps[i, 0, row, column] = 0.3
    torch.testing.assert_close(decode(maps), torch.tensor([[[20.5, 5.5]], [[0.5, 0.5]], [[31.5, 19.5]]]))


@pytest.mark.parametrize("decode", DECODERS)
@pytest.mark.parametrize("value", [0.0, 1e-40, 0.2, 1.0])
def test_an_all_equal_map_decodes_to_the_centre_of_the_grid(decode, value):
    torch.testing.assert_close(decode(torch.full((2, 32, 32), value)), torch.full((2, 2), 16.0))


@pytest.mark.parametrize("decode", DECODERS)
def test_only_the_shape_of_a_map_counts_not_its_sum(decode):
    maps = random_maps().double()
    torch.testing.assert_close(decode(maps * 7), decode(maps), atol=1e-4, rtol=0)


@pytest.mark.parametrize("decode", DECODERS)
def test_transposing_the_map_swaps_x_and_y(decode):
    maps = random_maps()
    torch.testing.assert_close(decode(maps.mT).flip(-1), decode(maps), atol=1e-3, rtol=0)


def test_argmax_averages_ties_and_takes_logits():
    maps = torch.full((32, 32), -9.0)
    maps[4, 10] = maps[4, 12] = -1.0
    assert decode_argmax(maps).tolist() == [11.5, 4.5]


def test_mean_against_a_plain_loop():
    for one in random_maps(5, 6, 9):
        x = sum(float(one[r, c]) * (c + 0.5) for r in range(6) for c in range(9)) / float(one.sum())
        y = sum(float(one[r, c]) * (r + 0.5) for r in range(6) for c in range(9)) / float(one.sum())
        assert decode_mean(one).tolist() == pytest.approx([x, y], abs=1e-4)


def test_median_against_numeric_minimisation():
    centres = np.stack(np.meshgrid(np.arange(32), np.arange(32)), -1).reshape(-1, 2) + 0.5
    for one in random_maps(12):
        weights = one.flatten().double().numpy() / float(one.sum())

        def cost(point):
            return weights @ np.linalg.norm(centres - point, axis=1)

        found = decode_median(one).numpy()
        best = minimize(cost, decode_mean(one).numpy(), method="Nelder-Mead", options=dict(xatol=1e-6, fatol=1e-12))
        assert cost(found) <= best.fun + 1e-4
        assert np.linalg.norm(found - best.x) < 0.02


def test_median_stays_on_a_pixel_that_holds_more_than_half():
    maps = torch.zeros(32, 32)
    maps[3, 7], maps[20, 20] = 0.6, 0.4
    torch.testing.assert_close(decode_median(maps), torch.tensor([7.5, 3.5]), atol=1e-2, rtol=0)
    # The same from a start on that very pixel: two others balance around it.
    maps = torch.zeros(32, 32)
    maps[10, 10], maps[10, 5], maps[10, 15] = 0.2, 0.4, 0.4
    assert decode_median(maps).tolist() == pytest.approx([10.5, 10.5], abs=1e-4)


def test_median_leaves_a_pixel_that_the_others_outweigh():
    maps = torch.zeros(32, 32)
    maps[10, 10], maps[10, 0], maps[16, 12], maps[12, 18] = 0.01, 0.33, 0.33, 0.33
    assert decode_median(maps).tolist() != pytest.approx([10.5, 10.5], abs=0.05)


def test_bad_maps_are_refused():
    with pytest.raises(ValueError, match="NaN"):
        decode_argmax(torch.full((4, 4), float("nan")))
    endless = torch.ones(4, 4)
    endless[3, 3] = float("inf")
    for decode in (decode_mean, decode_median):
        with pytest.raises(ValueError, match="infinite"):
            decode(endless)
    with pytest.raises(ValueError, match="logits"):
        decode_mean(torch.full((4, 4), -1.0))
    with pytest.raises(ValueError, match="H, W"):
        decode_median(torch.ones(4))
    with pytest.raises(TypeError, match="tensor"):
        decode_median(np.ones((4, 4)))
