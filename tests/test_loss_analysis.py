"""What losses do away from their optimum: against closed forms and plain enumeration."""

import math

import numpy as np
import pytest
import torch

from fixlib.losses import (
    BCE,
    LOSSES,
    MSE,
    CompositeLoss,
    ConcentrationLoss,
    DiceLoss,
    FocalLoss,
    FocalTverskyLoss,
    SoftmaxCrossEntropy,
    SparsityLoss,
    TverskyLoss,
    WeightedMSE,
)
from fixlib.theory.outputs import (
    CompositeAtPixel,
    balance,
    best_output,
    best_painting,
    crossing_threshold,
    painting_losses,
    painting_threshold,
)

Q = 1 / 1024
FOCAL_SLOPE = 0.5 + math.log(2)  # of -(1 - p)^2 log p at p = 1/2, without its sign


@pytest.mark.parametrize(
    "loss, threshold",
    [
        (MSE(), 0.5),
        (BCE(), 0.5),
        (SparsityLoss(0.2), 0.6),
        (SparsityLoss(), math.inf),
        (WeightedMSE(), 1 / 101),
        (WeightedMSE(1023), 1 / 1024),
        (FocalLoss(), 0.75),
        (FocalLoss(0.9, 5), 0.1),
        (CompositeAtPixel(0, focal_weight=0, sparsity_weight=0), math.inf),
    ],
    ids=str,
)
def test_crossing_threshold(loss, threshold):
    assert crossing_threshold(loss) == pytest.approx(threshold, rel=1e-4)


def test_crossing_threshold_is_refused_for_losses_on_frames():
    with pytest.raises(ValueError, match="does not treat every pixel by itself"):
        crossing_threshold(DiceLoss())


@pytest.mark.parametrize("distance", [0.0, 1.0, 6.4, 26.0])
def test_the_composite_wants_near_certainty(distance):
    """At p = 1/2: alpha c eta against (1 - eta) ((1 - alpha) c + 1.6 + 1.5 d^2)."""
    odds = (0.75 * FOCAL_SLOPE + 1.6 + 1.5 * distance**2) / (0.25 * FOCAL_SLOPE)
    assert crossing_threshold(CompositeAtPixel(distance**2)) == pytest.approx(odds / (1 + odds), rel=1e-6)


def test_the_composite_at_a_pixel_is_the_composite_of_a_frame():
    """Expected over targets, by enumeration: slopes of the frame's composite and of the pixels' own losses agree."""
    generator = torch.Generator().manual_seed(0)
    eta = torch.softmax(2 * torch.randn(16, generator=generator, dtype=torch.float64), 0)
    logits = torch.randn(4, 4, generator=generator, dtype=torch.float64).requires_grad_()
    targets = torch.eye(16, dtype=torch.float64).reshape(16, 4, 4)
    whole = CompositeLoss(reduction="none")(logits.expand(16, 4, 4), targets).sum((1, 2)) @ eta
    (slope,) = torch.autograd.grad(whole, logits)
    for pixel in range(16):
        z = logits.detach().flatten()[pixel].reshape(1, 1).requires_grad_()
        squared = [(pixel // 4 - i // 4) ** 2 + (pixel % 4 - i % 4) ** 2 for i in range(16)]
        mean = (torch.tensor(squared, dtype=torch.float64) @ eta / (1 - eta[pixel])).item()
        white, black = (CompositeAtPixel(mean)(z, torch.full_like(z, y)) for y in (1.0, 0.0))
        (own,) = torch.autograd.grad(eta[pixel] * white + (1 - eta[pixel]) * black, z)
        assert own.item() == pytest.approx(slope.flatten()[pixel].item(), rel=1e-9)


@pytest.mark.parametrize("squared_distance", [-1.0, math.nan])
def test_a_squared_distance_below_0_is_refused(squared_distance):
    with pytest.raises(ValueError, match="squared_distance must be at least 0"):
        CompositeAtPixel(squared_distance)


# --- gradients and shares on a constant output ----------------------------------------------------

# name -> white pixel's gradient, black pixels' gradient, white pixel's part of the loss, at output p; n pixels
BALANCES = {
    "mse": lambda p, n: (
        2 * (1 - p) * p * (1 - p) / n,
        (n - 1) * 2 * p * p * (1 - p) / n,
        (1 - p) ** 2 / ((1 - p) ** 2 + (n - 1) * p**2),
    ),
    "bce": lambda p, n: ((1 - p) / n, (n - 1) * p / n, math.log(p) / (math.log(p) + (n - 1) * math.log(1 - p))),
    "sparsity": lambda p, n: (
        abs(1 - 2 * (1 - p)) * p * (1 - p) / n,
        (n - 1) * (2 * p + 1) * p * (1 - p) / n,
        ((1 - p) ** 2 + p) / ((1 - p) ** 2 + p + (n - 1) * (p**2 + p)),
    ),
    "weighted_mse": lambda p, n: (
        200 * (1 - p) * p * (1 - p) / n,
        (n - 1) * 2 * p * p * (1 - p) / n,
        100 * (1 - p) ** 2 / (100 * (1 - p) ** 2 + (n - 1) * p**2),
    ),
    "concentration": lambda p, n: (0, (n - 1) / 3 * p * (1 - p), 0),  # mean d^2 of two random pixels: (n - 1) / 3
    "softmax_cross_entropy": lambda p, n: (1 - 1 / n, 1 - 1 / n, math.nan),
}


@pytest.mark.parametrize("name", BALANCES)
@pytest.mark.parametrize("p", [0.5, 0.01])
@pytest.mark.parametrize("size", [8, 32])
def test_balance_against_derivatives_by_hand(name, p, size):
    found = balance(LOSSES[name](), p, size)
    white, black, share = BALANCES[name](p, size**2)
    assert found.white_gradient == pytest.approx(white, rel=1e-9, abs=1e-15)
    assert found.black_gradient == pytest.approx(black, rel=1e-9)
    assert found.loss_share == pytest.approx(share, rel=1e-9, nan_ok=True)
    assert found.gradient_share == pytest.approx(white / (white + black), rel=1e-9, abs=1e-15)


def test_who_pulls_at_initialisation():
    """The statements of chapter 2."""
    fresh, biased = ({name: balance(loss(), p) for name, loss in LOSSES.items()} for p in (0.5, 0.01))
    assert fresh["sparsity"].white_gradient == 0 == fresh["concentration"].white_gradient
    for name in ("mse", "bce", "focal"):
        assert fresh[name].gradient_share < 1e-3
    assert fresh["composite"].gradient_share < 1e-6
    for name in ("dice", "tversky", "focal_tversky", "softmax_cross_entropy"):
        assert fresh[name].gradient_share == pytest.approx(0.5, abs=0.01)
    assert biased["focal"].gradient_share > 0.99 and biased["weighted_mse"].gradient_share > 0.9
    assert biased["composite"].gradient_share < 1e-4
    for name, change in (("mse", 0.0784), ("weighted_mse", 0.0784), ("bce", 1.98)):
        assert biased[name].white_gradient / fresh[name].white_gradient == pytest.approx(change, rel=1e-3)


def test_balance_leaves_the_loss_alone_and_checks_p():
    loss = MSE(reduction="sum")
    assert balance(loss, 0.5, size=4).loss == 4 * 16 * 0.25  # over the four frames that are looked at
    assert loss.reduction == "sum"
    with pytest.raises(ValueError, match="p must lie between 0 and 1"):
        balance(loss, 1.0)


# --- frames: what Dice and its kin paint ----------------------------------------------------------


@pytest.mark.parametrize("loss", [DiceLoss(), DiceLoss(smooth=1.0), TverskyLoss(), FocalTverskyLoss()], ids=str)
def test_painting_losses_by_enumeration(loss):
    eta = np.random.default_rng(0).dirichlet(np.ones(9))
    targets = torch.eye(9, dtype=torch.float64).reshape(-1, 3, 3)
    for k, found in enumerate(painting_losses(loss, eta.reshape(3, 3))):
        frame = np.zeros(9)
        frame[np.argsort(-eta)[:k]] = 1
        logits = 80 * (2 * torch.from_numpy(frame) - 1).reshape(3, 3)
        assert found == pytest.approx(np.dot([loss(logits, target).item() for target in targets], eta), abs=1e-9)


def test_painting_refuses_what_is_no_distribution():
    with pytest.raises(ValueError, match="must sum to 1, found 0.9"):
        painting_losses(DiceLoss(), np.full((3, 3), 0.1))


def test_best_painting_keeps_the_shape_and_paints_the_most_probable():
    eta = np.array([[0.05, 0.5], [0.35, 0.1]])
    assert best_painting(DiceLoss(), eta).tolist() == [[0, 1], [1, 0]]  # 2 * 0.85 / 3 beats 2 * 0.5 / 2
    assert best_painting(DiceLoss(smooth=10.0), eta).sum() == 1
    assert best_painting(DiceLoss(smooth=1.0), np.full((4, 4), 1 / 16)).sum() == 0


@pytest.mark.parametrize("smooth", [1e-5, 0.1, 1.0])
def test_painting_thresholds_in_closed_form(smooth):
    a, b = 0.3, 0.7
    assert painting_threshold(DiceLoss(smooth)) == pytest.approx(smooth / (2 * (1 + smooth)), rel=1e-6)
    assert painting_threshold(TverskyLoss(a, b, smooth=smooth)) == pytest.approx(smooth * a / (b + smooth), rel=1e-6)
    ratio = b * (1 + smooth) / (b + smooth)
    assert painting_threshold(FocalTverskyLoss(a, b, smooth=smooth)) == pytest.approx(1 - ratio**0.75, rel=1e-6)


@pytest.mark.parametrize("empty", [0.05, 0.2])
def test_empty_frames_make_painting_dear(empty):
    assert painting_threshold(DiceLoss(1e-9), empty=empty) == pytest.approx(empty, abs=1e-6)


@pytest.mark.parametrize("loss", [DiceLoss(smooth=1.0), TverskyLoss(smooth=1.0), FocalTverskyLoss(smooth=1.0)], ids=str)
def test_a_lone_pixel_is_black_or_white(loss):
    """Painting a pixel half never pays, so the threshold for p > 0.5 is that for painting it."""
    levels, frames = np.linspace(-30, 30, 601), torch.eye(64, dtype=torch.float64).reshape(64, 8, 8)
    costs = []
    for level in levels:
        logits = torch.full((8, 8), -80.0, dtype=torch.float64)
        logits[0, 0] = level
        costs.append([loss(logits, frames[pixel]).item() for pixel in (0, 1)])
    hit, miss = np.transpose(costs)
    threshold = painting_threshold(loss, size=8)
    for share, sign in ((0.3, -1), (0.99, -1), (1.01, 1), (1.5, 1)):
        eta = share * threshold
        assert sign * levels[np.argmin(eta * hit + (1 - eta) * miss)] > 14  # p within 1e-6 of 0 or 1


def test_a_users_own_loss():
    def absolute(logits, target):
        return (torch.sigmoid(logits) - target).abs().mean()

    assert crossing_threshold(absolute) == pytest.approx(0.5, rel=1e-6)
    assert painting_threshold(absolute, size=4) == pytest.approx(0.5)
    assert best_painting(absolute, [[0.1, 0.7, 0.2]]).tolist() == [[0, 1, 0]]


def test_concentration_never_wants_a_pixel():
    for eta in (0.1, 0.9):
        assert best_output(CompositeAtPixel(4.0, focal_weight=0, sparsity_weight=0), eta) < 1e-12
    assert ConcentrationLoss()(torch.full((4, 4), -80.0), torch.eye(4)).item() < 1e-12


def test_softmax_cross_entropy_pulls_evenly_whatever_the_bias():
    a, b = (balance(SoftmaxCrossEntropy(), p) for p in (0.5, 0.01))
    assert (a.white_gradient, a.black_gradient) == pytest.approx((b.white_gradient, b.black_gradient))
