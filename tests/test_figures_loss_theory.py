"""What the figures of chapter 2 show: the numbers behind them, then that they can be drawn."""

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from fixlib.chapters.what_each_loss_wants import figures, tables
from fixlib.data.simulator import LABEL
from fixlib.losses import MISSION_LOSSES, CompositeLoss
from fixlib.theory.bayes import expected_squared_distance
from fixlib.theory.outputs import CompositeAtPixel, balance, best_output


def test_best_output_curves():
    etas = np.array([0.001, 0.04, 0.24, 0.26, 0.5, 0.75, 0.9])
    curves = tables.best_output_curves(etas, size=8)
    assert set(MISSION_LOSSES) <= set(curves)
    assert curves["mse"] == pytest.approx(etas, rel=1e-3)
    assert curves["weighted_mse"] == pytest.approx(100 * etas / (100 * etas + 1 - etas), rel=1e-3)
    assert curves["sparsity"] == pytest.approx(np.maximum(0, etas - 0.5), abs=1e-4)
    assert curves["focal"][5] == pytest.approx(0.5, abs=1e-4) and np.all(np.diff(curves["focal"]) > 0)
    assert np.all(curves["concentration"] < 1e-9)
    assert np.all(curves["composite"] < 0.15)
    assert curves["dice"] == pytest.approx(np.ones(7), abs=1e-6)
    assert curves["dice_smooth_1"] == pytest.approx([0, 0, 0, 1, 1, 1, 1], abs=1e-6)


def test_a_belief_is_the_simulators_row_of_that_pixel():
    belief = tables.belief_after(20, 12)
    assert belief.sum() == pytest.approx(1)
    assert np.unravel_index(belief.argmax(), belief.shape) == (12, 20)  # row y, column x


def test_wanted_frames():
    """Same knowledge, eight answers: which cross 0.5, which are black, which keep the ranking."""
    belief = tables.belief_after(20, 12)
    frames = tables.wanted_frames(belief)
    assert set(MISSION_LOSSES) <= set(frames)
    assert frames["mse"] == pytest.approx(belief, rel=1e-3)
    for name in ("sparsity", "concentration", "dice_smooth_1"):
        assert frames[name].max() < 1e-9
    for name in ("mse", "weighted_mse", "focal", "composite"):
        assert frames[name].argmax() == belief.argmax()
        assert np.array_equal(frames[name] > 0.5, belief > (1 / 101 if name == "weighted_mse" else 2))
    assert frames["composite"].max() < 1e-3
    painted = frames["dice"].sum()
    assert painted >= 1 and painted == best_count(belief)


def best_count(belief):
    """k maximising 2 (eta_1 + ... + eta_k) / (k + 1)."""
    cumulated = np.cumsum(np.sort(belief.ravel())[::-1])
    return np.argmax(2 * cumulated / (np.arange(1, belief.size + 1) + 1)) + 1


def test_the_composites_frame_is_the_best_output_of_every_pixel():
    belief = tables.belief_after(4, 3, size=8)
    away = expected_squared_distance(torch.from_numpy(belief)).numpy() / (1 - belief)  # if it is not here
    exact = [best_output(CompositeAtPixel(d), eta) for d, eta in zip(away.ravel(), belief.ravel())]
    assert tables.wanted_frames(belief)["composite"].ravel() == pytest.approx(exact, rel=1e-6)


@pytest.mark.parametrize("p", [0.5, 0.01])
def test_composite_terms(p):
    """Their sum is the composite; concentration in px^2 outweighs the others by orders of magnitude."""
    terms = tables.composite_terms(p)
    normalised = terms.pop("normalized concentration")
    assert sum(terms.values()) == pytest.approx(balance(CompositeLoss(), p).loss)
    assert terms["concentration"] == pytest.approx(1.5 * p * 1023 / 3)
    assert terms["concentration"] > 400 * max(terms["focal"], terms["sparsity"])
    others = terms["focal"] + terms["sparsity"]
    assert others + normalised == pytest.approx(balance(CompositeLoss(normalise=True), p).loss)


def test_how_certain_the_composite_wants_one_to_be():
    """At p = 1/2, with c the slope of focal: alpha c eta against (1 - eta) ((1 - alpha) c + 1.6 + 1.5 d^2)."""
    distances, c = np.array([1.0, 6.4, 26.0]), 0.5 + np.log(2)
    found = tables.composite_certainty(distances)
    for form, scale in (("d in px", 1), ("normalized", 1 / 2048)):
        odds = (0.75 * c + 1.6 + 1.5 * scale * distances**2) / (0.25 * c)
        assert found[form] == pytest.approx(odds / (1 + odds), abs=1e-6)


@pytest.mark.parametrize(
    "draw",
    [
        figures.best_outputs,
        figures.frames_wanted,
        figures.pulls,
        figures.pull_on_the_white_pixel,
        figures.composite_scale,
        figures.how_sure_one_can_be,
    ],
    ids=lambda draw: draw.__name__,
)
def test_figures_can_be_drawn_at_another_size(draw):
    figure = draw(size=16)
    texts = [text.get_text() for text in figure.findobj(plt.Text)]
    simulated = draw in (figures.frames_wanted, figures.how_sure_one_can_be)
    assert (LABEL.upper() in texts) == simulated
    plt.close(figure)


def test_gradient_shares_are_written_on_the_figure():
    figure = figures.pulls()
    texts = [text.get_text() for text in figure.findobj(plt.Text)]
    assert texts.count("0.0977%") == 2 and texts.count("8.82%") == 2  # MSE and BCE, without and with the prior
    plt.close(figure)


@pytest.mark.parametrize(
    "share, text", [(0.5, "50%"), (0.99931, "99.9%"), (5.7e-7, "<0.01%"), (0.0, "0%"), (np.nan, "-")]
)
def test_percent(share, text):
    assert figures.percent(share) == text
