"""What the other viewers of a picture tell: whose gaze is used, how it is mixed, and what the choices follow."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from toy_gaze import SOURCE

from fixlib import data
from fixlib.chapters.how_predictable.other_viewers import estimate, looked_at, mix, of_others, smooth
from fixlib.data import Scanpaths
from fixlib.data.recordings import COLUMNS
from fixlib.runs.config import Data


def scanpaths(*rows):
    table = pd.DataFrame(rows, columns=COLUMNS)
    return Scanpaths(table.astype(dict.fromkeys(COLUMNS[:4], np.int64)), 32, SOURCE)


def test_looks_by_hand():
    paths = scanpaths(
        (0, 0, 0, 0, 9.5, 9.5, 500),  # the first of a scanpath does not count
        (0, 0, 0, 1, 3.9, 7.1, 200),
        (0, 0, 0, 2, 3.0, 7.9, 100),
        (0, 0, 0, 3, 32.0, 5.0, 400),  # outside
        (1, 1, 1, 0, 1.0, 1.0, 100),
        (1, 1, 1, 1, 30.5, 0.5, 250),
    )
    looks = looked_at(paths, by_duration=True)
    assert looks.shape == (2, 2, 32, 32) and looks.sum() == 550
    assert looks[0, 0, 7, 3] == 300 and looks[1, 1, 0, 30] == 250
    assert looked_at(paths, by_duration=False)[0, 0, 7, 3] == 2


@pytest.mark.parametrize("viewers", [1, 2, 4])
def test_ones_own_gaze_is_never_among_the_others(viewers):
    looks = torch.eye(5).view(1, 5, 5, 1).repeat(3, 1, 1, 5)  # viewer k looked at row k of every picture
    subject, stimulus = torch.arange(40) % 5, torch.arange(40) % 3
    rows = of_others(looks, subject, stimulus, viewers)[:, :, 0]
    assert (rows.sum(1) == viewers).all() and not rows[torch.arange(40), subject].any()
    pairs = torch.cat([rows, subject[:, None]], dim=1)
    assert len(pairs.unique(dim=0)) > 5 or viewers == 4  # drawn anew for each window
    with pytest.raises(ValueError, match="a picture has 4 others"):
        of_others(looks, subject, stimulus, 5)


def densities(*shape, seed=0):
    return torch.randn(*shape, 64, generator=torch.Generator().manual_seed(seed)).softmax(-1).unflatten(-1, (8, 8))


def test_mixes_are_densities_and_by_hand():
    history, others, center = densities(5, 3).log(), densities(5, 3, seed=1), densities(seed=2)
    last = torch.arange(5) * 7
    for settings in ((0.0, 0.0, 0.0), (1.0, 0.5, 0.25), (0.0, 0.0, 0.9)):
        mixed = mix(history, others, center, last, *settings)
        torch.testing.assert_close(mixed.exp().sum((-2, -1)), torch.ones(5, 3))
    torch.testing.assert_close(mix(history, others, center, last, 0.0, 0.0, 0.0), history)
    # Others that say what is said of every picture say nothing of this one.
    as_ever = center.expand_as(others)
    torch.testing.assert_close(mix(history, as_ever, center, last, 0.75, 0.5, 0.0), history)
    # Half of the moves by the history, half by the others; staying as the history has it.
    mixed = mix(history, others, center, last, 0.0, 0.0, 0.5).exp().flatten(-2)[4, 1]
    p, q = history.exp().flatten(-2)[4, 1], others.flatten(-2)[4, 1]
    expected = (1 - p[28]) * (p / (1 - p[28]) + q / (1 - q[28])) / 2
    expected[28] = p[28]
    torch.testing.assert_close(mixed, expected)


def test_nobody_looked():
    torch.testing.assert_close(smooth(torch.zeros(1, 8, 8), 1.0), torch.full((1, 8, 8), 1 / 64))


@pytest.fixture
def agreeing(monkeypatch):
    """6 viewers of 12 pictures who all look at the same place of a picture, elsewhere in each; windows of 2 + 2."""
    rng = np.random.default_rng(0)
    places, rows = rng.uniform(2, 30, (12, 2)), []
    for scanpath in range(72):
        subject, stimulus = scanpath % 6, scanpath // 6
        for order in range(9):
            x, y = places[stimulus] + rng.normal(0, 0.7, 2)
            rows.append((scanpath, subject, stimulus, order, x, y, 100))
    paths = scanpaths(*rows)
    monkeypatch.setattr(data, "open_scanpaths", lambda name, size: paths)
    parts = data.split_by_stimulus_and_subject(paths, subjects=(2, 2, 2), stimuli=(4, 4, 4))
    return {part: table.frames(10.0).windows(4) for part, table in parts.items()}


def test_viewers_who_agree_are_worth_bits_and_more_so_the_more_they_are(agreeing):
    where = Data("osie", n_in=2, n_out=2)
    uniform = {part: torch.full((len(gaze), 2, 32, 32), -np.log(1024.0)) for part, gaze in agreeing.items()}
    found = {viewers: estimate(where, agreeing, viewers) for viewers in (1, 5)}
    bits = {viewers: each["metrics"]["information_gain_uniform"]["value"] for viewers, each in found.items()}
    assert 3 < bits[1] < bits[5] < 6.9  # what a Gaussian of 0.7 px has
    mixed = estimate(where, agreeing, 5, uniform)
    # A history that knows nothing, and so thinks staying as rare as any other pixel, takes little from it.
    assert bits[5] - 0.5 < mixed["metrics"]["information_gain_uniform"]["value"] <= bits[5]
    assert "not a predictor" in mixed["note"]


def test_nothing_is_chosen_on_test_windows(agreeing):
    where = Data("osie", n_in=2, n_out=2)
    history = {part: torch.full((len(gaze), 2, 32, 32), -np.log(1024.0)) for part, gaze in agreeing.items()}
    elsewhere = replace(agreeing["test"], coordinates=31.9 - agreeing["test"].coordinates)
    here, there = (estimate(where, agreeing | dict(test=test), 5, history) for test in (agreeing["test"], elsewhere))
    assert here["settings"] == there["settings"]
    assert here["metrics"]["error_median"]["value"] < there["metrics"]["error_median"]["value"]
