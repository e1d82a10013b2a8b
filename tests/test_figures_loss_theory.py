"""What the figures of chapter 2 show: the numbers behind them, then that they can be drawn."""

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from fixlib.chapters.what_each_loss_wants import figures, tables
from fixlib.data.simulator import LABEL
from fixlib.losses import LOSSES, MISSION_LOSSES, CompositeLoss, DiceLoss, FocalLoss, SparsityLoss, WeightedMSE
from fixlib.theory.bayes import expected_squared_distance
from fixlib.theory.outputs import CompositeAtPixel, balance, best_output, crossing_threshold, painting_threshold

Q = 1 / 1024


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


def test_composite_parts():
    """Their sum is the composite; concentration in px^2 outweighs the others by orders of magnitude."""
    parts = tables.composite_parts()
    *terms, together, normalized = parts["cost at p = 0.5"]
    assert sum(terms) == pytest.approx(together) == pytest.approx(balance(CompositeLoss(), 0.5).loss)
    assert terms[2] == pytest.approx(1.5 * 0.5 * 1023 / 3) and terms[2] > 400 * max(terms[:2])
    assert normalized == pytest.approx(terms[0] + terms[1] + terms[2] / 2048)


def test_how_certain_the_composite_wants_one_to_be():
    """At p = 1/2, with c the slope of focal: alpha c eta against (1 - eta) ((1 - alpha) c + 1.6 + 1.5 d^2)."""
    c, asked = 0.5 + np.log(2), tables.composite_parts()["asks for eta above"]
    for form, scale in (("all three", 1), ("all three, distances normalized", 1 / 2048)):
        odds = (0.75 * c + 1.6 + 1.5 * scale * tables.WHERE**2) / (0.25 * c)
        assert asked[form] == pytest.approx(odds / (1 + odds), abs=1e-6)
    assert list(np.isinf(asked)) == [False, True, True, False, False]


def test_what_losses_ask_for():
    """The best constants and limits in closed form; those of Dice, BCE and more stand in test_known_answers and
    test_loss_analysis."""
    asked = tables.asks_for()
    known = dict(mse=(Q, 0.5), weighted_mse=(100 * Q / (99 * Q + 1), 1 / 101), focal=(0.0499459, 0.75))
    known |= dict(sparsity=(0, np.inf), concentration=(0, np.inf), dice=(1, 5e-6), dice_smooth_1=(0, 0.25))
    for name, numbers in known.items():
        assert asked.loc[name].tolist() == pytest.approx(numbers, rel=5e-4, abs=1e-9)


def test_the_pull_is_even_at_the_best_constant():
    """Where no pixel is told from another, training rests where white and black pull alike: figure 2.4."""
    constants = tables.asks_for()["best constant"]
    for name in ("mse", "focal", "weighted_mse", "composite"):
        assert balance(LOSSES[name](), constants[name]).gradient_share == pytest.approx(0.5, abs=1e-3)


def test_solutions_of_the_exercises():
    assert crossing_threshold(WeightedMSE(15.67)) == pytest.approx(0.06, rel=1e-3)
    assert best_output(WeightedMSE(1024), Q) > 0.5 > best_output(WeightedMSE(1022), Q)
    assert crossing_threshold(FocalLoss(0.94)) == pytest.approx(0.06, abs=1e-6)
    assert best_output(FocalLoss(0.94, 5.0), 0.01) > best_output(FocalLoss(0.94), 0.01)
    assert painting_threshold(DiceLoss(0.12 / 0.88)) == pytest.approx(0.06)
    assert best_output(SparsityLoss(0.12), [0.06, 0.9]) == pytest.approx([0, 0.84], abs=1e-4)
    assert best_output(SparsityLoss(), 0.9) == pytest.approx(0.4, abs=1e-4)


@pytest.mark.parametrize(
    "draw",
    [figures.best_outputs, figures.frames_wanted, figures.pulls, figures.how_sure_one_can_be],
    ids=lambda draw: draw.__name__,
)
def test_figures_can_be_drawn_at_another_size(draw):
    figure = draw(size=16)
    texts = [text.get_text() for text in figure.findobj(plt.Text)]
    simulated = draw in (figures.frames_wanted, figures.how_sure_one_can_be)
    assert (LABEL.upper() in texts) == simulated
    plt.close(figure)


def test_the_share_of_the_pull_is_drawn():
    (axes,) = figures.pulls(prior=0.02).axes
    drawn = {tuple(line.get_ydata()[[0, -1]].round(3)) for line in axes.lines if len(line.get_xdata()) > 2}
    assert (50, 50) in drawn and (0.098, 0.098) not in drawn  # softmax; MSE ends at 0.0977%
    assert any(high > 99 and low == pytest.approx(0.098, abs=1e-3) for high, low in drawn)
    plt.close(axes.figure)
