"""What each loss asks of an output that cannot know: the table "known answers" of the design, row by row.

Every number is found three times: the closed form, a numeric search over plain formulas in this file, and the
library's own search on the loss object. q = 1/1024 is one white pixel in a 32 x 32 frame; eta is the true
probability of a pixel.
"""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar

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
from fixlib.theory.outputs import best_constant, best_constant_loss, best_output

Q = 1 / 1024
THREE_DIGITS = {"rel": 5e-4, "abs": 1e-6}

# (name, loss, l(p, 1), l(p, 0), best output at q, eta above which p > 0.5 pays; None: never)
PIXEL_ROWS = [
    ("mse", MSE(), lambda p: (1 - p) ** 2, lambda p: p**2, Q, 0.5),
    ("bce", BCE(), lambda p: -np.log(p), lambda p: -np.log1p(-p), Q, 0.5),
    *(
        (
            f"sparsity {lam:g}",
            SparsityLoss(lam),
            lambda p, lam=lam: (1 - p) ** 2 + lam * p,
            lambda p, lam=lam: p**2 + lam * p,
            max(0, Q - lam / 2),
            0.5 + lam / 2 if lam < 1 else None,
        )
        for lam in (1e-3, 0.2, 1.0)
    ),
    *(
        (
            f"weighted_mse {w:g}",
            WeightedMSE(w),
            lambda p, w=w: w * (1 - p) ** 2,
            lambda p: p**2,
            w * Q / (w * Q + 1 - Q),
            1 / (1 + w),
        )
        for w in (10, 100, 1023)
    ),
    *(
        (
            f"focal {alpha:g} {gamma:g}",
            FocalLoss(alpha, gamma),
            lambda p, a=alpha, g=gamma: -a * (1 - p) ** g * np.log(p),
            lambda p, a=alpha, g=gamma: -(1 - a) * p**g * np.log1p(-p),
            None,
            1 - alpha,
        )
        for alpha, gamma in itertools.product((0.25, 0.5, 0.9), (0.0, 0.5, 2.0, 5.0))
    ),
]
ROWS = pytest.mark.parametrize(
    "loss, white, black, at_q, threshold", [row[1:] for row in PIXEL_ROWS], ids=[row[0] for row in PIXEL_ROWS]
)


def search(cost):
    """Plain minimisation over p: the best point of a grid fine at both ends, then polished between its
    neighbours."""
    p = 1 / (1 + np.exp(-np.linspace(-30, 30, 6001)))
    best = int(np.argmin(cost(p)))
    low, high = p[max(best - 1, 0)], p[min(best + 1, len(p) - 1)]
    return minimize_scalar(cost, bounds=(low, high), method="bounded", options={"xatol": 1e-12}).x


@ROWS
def test_best_output_for_every_eta(loss, white, black, at_q, threshold):
    etas = np.array([0.0, Q, 0.01, 0.04, 0.1, 0.25, 0.5, 0.6, 0.75, 0.9, 0.999])
    expected = [search(lambda p, eta=eta: eta * white(p) + (1 - eta) * black(p)) for eta in etas]
    assert best_output(loss, etas) == pytest.approx(expected, **THREE_DIGITS)


@ROWS
def test_best_constant_at_one_white_pixel(loss, white, black, at_q, threshold):
    expected = search(lambda p: Q * white(p) + (1 - Q) * black(p))
    assert best_constant(loss, Q) == pytest.approx(expected, **THREE_DIGITS)
    assert best_constant(loss, Q) == pytest.approx(best_output(loss, Q), **THREE_DIGITS)
    if at_q is not None:
        assert expected == pytest.approx(at_q, **THREE_DIGITS)


@ROWS
def test_when_crossing_one_half_pays(loss, white, black, at_q, threshold):
    if threshold is None:
        assert best_output(loss, 1.0) <= 0.5 + 1e-6
        return
    low, high = 0.0, 1.0
    while high - low > 1e-4 * high:
        eta = (low + high) / 2
        low, high = (low, eta) if best_output(loss, eta) > 0.5 else (eta, high)
    assert high == pytest.approx(threshold, rel=5e-4)


def test_the_numbers_of_the_table():
    """As printed, so that a change of a default shows."""
    assert round(best_constant(MSE(), Q), 5) == round(best_constant(BCE(), Q), 5) == 0.00098
    assert best_constant(SparsityLoss(), Q) < 1e-6
    assert round(best_constant(WeightedMSE(), Q), 4) == 0.0890
    assert round(best_constant(FocalLoss(), Q), 4) == 0.0499
    assert best_constant(DiceLoss(smooth=1e-5), Q) > 1 - 1e-6
    assert best_constant(DiceLoss(smooth=1.0), Q) < 1e-6
    assert best_constant(ConcentrationLoss(), Q) < 1e-6


def test_best_constant_of_the_composite():
    """Near p = 0 the slope is -alpha q / p + 0.8 (1 - 2 q) + 1.5 E[d^2]; E[d^2] = 4 (32^2 - 1) / 12 px^2 over
    all pairs of pixels. The concentration term holds the output below one in a million."""
    slope = 0.8 * (1 - 2 * Q) + 1.5 * (32**2 - 1) / 3
    assert best_constant(CompositeLoss(), Q) == pytest.approx(0.25 * Q / slope, rel=5e-4)
    assert best_constant(CompositeLoss(concentration_weight=0), Q) == pytest.approx(
        best_output(CompositeLoss(concentration_weight=0), Q), rel=5e-4
    )


@pytest.mark.parametrize("smooth, expected", [(1e-9, 1), (1e-5, 1), (1.0, 0)])
def test_best_constant_of_overlap_losses(smooth, expected):
    """Dice of a constant c is (2 c + s) / (1024 c + 1 + s): rising in c while 2 (1 + s) > 1024 s."""
    dice = search(lambda c: 1 - (2 * c + smooth) / (1024 * c + 1 + smooth))
    assert best_constant(DiceLoss(smooth), Q) == pytest.approx(dice, **THREE_DIGITS)
    assert best_constant(DiceLoss(smooth), Q) == pytest.approx(expected, abs=1e-6)
    for loss in (TverskyLoss(smooth=smooth), FocalTverskyLoss(smooth=smooth)):
        assert best_constant(loss, Q) == pytest.approx(expected, abs=1e-6)


# --- single values, by hand -----------------------------------------------------------------------


def test_alpha_weighs_the_positive_class():
    logits = torch.zeros(1, 1)
    white, black = torch.ones(1, 1), torch.zeros(1, 1)
    scale = 0.25 * math.log(2)  # (1 - p)^2 log 2 at p = 1/2
    assert FocalLoss(alpha=0.1)(logits, white).item() == pytest.approx(0.1 * scale)
    assert FocalLoss(alpha=0.1)(logits, black).item() == pytest.approx(0.9 * scale)


@pytest.mark.parametrize("loss", [DiceLoss, TverskyLoss, FocalTverskyLoss])
def test_overlap_is_measured_per_frame(loss):
    """One found, one missed: pooled over the batch the found one would cover for the false alarms."""
    target = torch.zeros(2, 1, 8, 8)
    target[:, 0, 2, 3] = 1
    p = torch.zeros(2, 1, 8, 8)
    p[0, 0, 2, 3] = 1  # found
    p[1, 0, 5, :] = 1  # eight false alarms
    together = loss(from_logits=False)(p, target)
    apart = [loss(from_logits=False)(p[i], target[i]) for i in range(2)]
    assert together.item() == pytest.approx(0.5, abs=1e-3)
    assert together.item() == pytest.approx((apart[0] + apart[1]).item() / 2)


def test_tversky_beta_weighs_what_is_missed():
    target = torch.zeros(4, 4)
    target[1, 2] = 1
    nothing = torch.zeros(4, 4)
    for beta in (0.1, 0.9):
        value = TverskyLoss(beta=beta, smooth=1.0, from_logits=False)(nothing, target)
        assert value.item() == pytest.approx(beta / (beta + 1))


def test_concentration_knows_x_from_y():
    """Target at frame[5, 20], on a frame that is not square: (5, 20) is no (20, 5)."""
    target = torch.zeros(1, 1, 24, 32)
    target[0, 0, 5, 20] = 1

    def cost(row, column):
        p = torch.zeros(1, 1, 24, 32)
        p[0, 0, row, column] = 1
        return ConcentrationLoss(from_logits=False, reduction="sum")(p, target).item()

    assert cost(5, 20) == 0
    assert cost(20, 5) == 15**2 + 15**2
    assert cost(5, 22) == 4 and cost(8, 20) == 9


def test_concentration_normalised_is_below_one():
    target = torch.zeros(32, 32)
    target[0, 0] = 1
    everything = torch.ones(32, 32)
    plain_value = ConcentrationLoss(from_logits=False)(everything, target).item()
    assert plain_value == pytest.approx(2 * sum(i**2 for i in range(32)) / 32)  # 651 px^2
    normalised = ConcentrationLoss(normalise=True, from_logits=False)(everything, target).item()
    assert normalised == pytest.approx(plain_value / 2048) and normalised < 1


def test_concentration_of_a_density_is_the_expected_squared_distance_however_bright():
    target = torch.zeros(32, 32)
    target[10, 10] = 1
    logits = torch.full((32, 32), -300.0)
    logits[10, 13] = logits[14, 10] = -5.0  # 3 and 4 px away, half of the density each; p is 0.0067
    loss = ConcentrationLoss(density=True, reduction="sum")
    assert loss(logits, target).item() == pytest.approx((3**2 + 4**2) / 2)
    assert loss(torch.full((32, 32), -1e4), target).item() == pytest.approx(  # black is any place alike
        loss(torch.full((32, 32), 3.0), target).item()
    )
    black = torch.zeros(32, 32)
    assert loss(black, black).item() == 0  # an empty frame has no place


def gradient(loss, logits, target):
    logits = logits.clone().requires_grad_()
    loss(logits, target).backward()
    return logits.grad


@pytest.mark.parametrize("logit", [-30.0, -80.0, -1e4])
def test_the_gradient_of_a_confident_miss_is_not_lost(logit):
    """d focal / d logit tends to -alpha at a missed white pixel, and to 1 - alpha at a false alarm."""
    white, black = torch.ones(1, 1), torch.zeros(1, 1)
    for gamma in (0.0, 0.5, 2.0):
        loss = FocalLoss(alpha=0.25, gamma=gamma)
        slope = gradient(loss, torch.full((1, 1), logit), white)
        assert slope.item() == pytest.approx(-0.25, rel=1e-5)
        slope = gradient(loss, torch.full((1, 1), -logit), black)
        assert slope.item() == pytest.approx(0.75, rel=1e-5)
    slope = gradient(BCE(), torch.full((1, 1), logit), white)
    assert slope.item() == pytest.approx(-1, rel=1e-5)
    miss = torch.full((4, 4), -logit)
    miss[1, 2] = logit
    target = torch.zeros(4, 4)
    target[1, 2] = 1
    slope = gradient(SoftmaxCrossEntropy(), miss, target)
    assert slope[1, 2].item() == pytest.approx(-1, rel=1e-5)


def test_a_correct_saturated_prediction_costs_nothing():
    """Sigmoid once: a second one would leave 0.693 a pixel in the cross-entropies and 0.25 in the squares."""
    target = torch.zeros(2, 1, 32, 32)
    target[:, 0, 5, 20] = 1
    logits = 80 * (2 * target - 1)
    for name, loss in LOSSES.items():
        expected = {"sparsity": 1 / 1024, "composite": 0.8 / 1024, "focal_tversky": 1e-5}.get(name, 0)
        assert loss()(logits, target).item() == pytest.approx(expected, rel=1e-5, abs=2e-5)


# --- Dice on a distribution: the best output of a frame, not of a pixel ---------------------------


def expected_dice(outputs, eta, smooth):
    """Expected loss of each output (K, N) when the white pixel is pixel i with probability eta_i."""
    targets = torch.eye(len(eta), dtype=torch.float64)
    pairs = outputs[:, None, None, :].expand(-1, len(eta), 1, -1)
    values = DiceLoss(smooth, from_logits=False, reduction="none")(
        pairs.contiguous(), targets[None, :, None, :].expand_as(pairs).contiguous()
    )
    return values @ eta


def top_k_outputs(eta, levels):
    """Level a on the k most probable pixels, 0 elsewhere; all k, all a in `levels`."""
    rank = torch.argsort(torch.argsort(eta, descending=True))
    return torch.stack([a * (rank < k) for k in range(len(eta) + 1) for a in levels]).double()


def peaked(top, n=16):
    """One pixel of probability `top`, the others sharing the rest a little unevenly."""
    rest = torch.linspace(1.2, 0.8, n - 1, dtype=torch.float64)
    return torch.cat([torch.tensor([top], dtype=torch.float64), (1 - top) * rest / rest.sum()])


@pytest.mark.parametrize("smooth", [1e-5, 0.1, 1.0])
def test_dice_wants_whole_pixels_the_most_probable_first(smooth):
    """The expected score is a ratio of linear functions of p, so a corner of the cube is best: against every
    corner and many points inside, for random distributions over 8 pixels."""
    generator = torch.Generator().manual_seed(0)
    corners = torch.tensor(list(itertools.product((0.0, 1.0), repeat=8)), dtype=torch.float64)
    inside = torch.rand(500, 8, generator=generator, dtype=torch.float64)
    for sharpness in (0.3, 1.0, 3.0):
        eta = torch.softmax(sharpness * torch.randn(8, generator=generator, dtype=torch.float64), 0)
        best = expected_dice(top_k_outputs(eta, [1.0]), eta, smooth).min()
        assert best == pytest.approx(expected_dice(corners, eta, smooth).min().item(), abs=1e-12)
        assert best < expected_dice(inside, eta, smooth).min()


@pytest.mark.parametrize("smooth", [1e-9, 1e-5])
def test_dice_without_smoothing_always_paints_a_pixel(smooth):
    """s -> 0: the top-k pixels, at least one, however little is known; k maximises 2 sum(eta) / (k + 1)."""
    for top in (1 / 16 + 1e-6, 0.1, 0.3, 0.6, 0.9):
        eta = peaked(top)
        outputs = top_k_outputs(eta, np.linspace(0, 1, 21))
        best = outputs[expected_dice(outputs, eta, smooth).argmin()]
        ordered = eta.sort(descending=True).values
        scores = torch.cumsum(2 * ordered, 0) / (torch.arange(1, 17) + 1)
        assert best.max() == 1 and best.sum() == scores.argmax() + 1 >= 1
        assert (best > 0.5).sum() == best.sum()


@pytest.mark.parametrize("smooth, threshold", [(1.0, 0.25), (0.5, 1 / 6), (0.25, 0.1)])
def test_dice_with_smoothing_paints_only_above_a_threshold(smooth, threshold):
    """One pixel beats none where (2 eta + s) / (2 + s) > s / (1 + s), that is eta > s / (2 (1 + s))."""
    assert threshold == pytest.approx(smooth / (2 * (1 + smooth)))
    low, high = 1 / 14, 1.0
    while high - low > 1e-5:
        top = (low + high) / 2
        eta = peaked(top)
        outputs = top_k_outputs(eta, np.linspace(0, 1, 21))
        best = outputs[expected_dice(outputs, eta, smooth).argmin()]
        low, high = (low, top) if best.max() > 0.5 else (top, high)
    assert high == pytest.approx(threshold, rel=5e-4)


def test_dice_without_smoothing_where_frames_may_be_empty():
    """The row above supposes a white pixel in every frame. An empty frame predicted empty scores 1, so one
    pixel pays only where eta exceeds the probability that the frame is empty."""
    frames = torch.zeros(3, 2, 2)  # white at the pixel painted, white elsewhere, empty
    frames[0, 0, 0] = frames[1, 1, 1] = 1
    dice = DiceLoss(1e-9, from_logits=False, reduction="none")
    nothing, one = dice(torch.zeros_like(frames), frames), dice(frames[:1].expand_as(frames), frames)
    for eta, empty in [(0.2, 0.1), (0.2, 0.19), (0.2, 0.21), (0.05, 0.4)]:
        chances = torch.tensor([eta, 1 - eta - empty, empty])
        assert ((one @ chances) < (nothing @ chances)) == (eta > empty)


def test_softmax_cross_entropy_wants_the_distribution_itself():
    eta = peaked(0.3)
    logits = torch.log(eta)[None].expand(16, 1, 16).clone().requires_grad_()
    targets = torch.eye(16, dtype=torch.float64)[:, None, :]
    expected = SoftmaxCrossEntropy(reduction="none")(logits, targets) @ eta
    assert expected.item() == pytest.approx(-(eta * eta.log()).sum().item())  # the entropy, and no slope:
    expected.backward()
    assert logits.grad.sum(0).abs().max() < 1e-12


# --- the two functions themselves -----------------------------------------------------------------


def test_on_a_users_own_loss():
    """Any callable on logits: absolute error, whose best output is 0 or 1 with eta = 1/2 between them."""

    def absolute(logits, target):
        return (torch.sigmoid(logits) - target).abs().mean()

    assert best_output(absolute, [0.4, 0.6]) == pytest.approx([0, 1], abs=1e-6)
    assert best_constant(absolute, Q) == pytest.approx(0, abs=1e-6)
    own = torch.nn.BCEWithLogitsLoss(reduction="sum")
    assert best_output(own, 0.3) == pytest.approx(0.3, rel=5e-4)
    assert own.reduction == "sum"


def test_mse_on_raw_outputs_is_a_different_question():
    """The old fault: trained on raw outputs, thresholded after a sigmoid. Its best "probability" is
    sigmoid(eta)."""
    assert best_output(torch.nn.MSELoss(), Q) == pytest.approx(1 / (1 + math.exp(-Q)), rel=5e-4)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("from_logits", [True, False])
def test_the_answer_does_not_depend_on_reduction_or_logits(reduction, from_logits):
    loss = FocalLoss(from_logits=from_logits, reduction=reduction)
    assert best_output(loss, Q) == pytest.approx(0.0499459, **THREE_DIGITS)
    assert best_constant(loss, Q) == pytest.approx(0.0499459, **THREE_DIGITS)
    assert loss.reduction == reduction


def test_shapes_and_fractions():
    assert isinstance(best_output(MSE(), 0.2), float)
    assert best_output(MSE(), [[0.1, 0.2], [0.3, 0.4]]).shape == (2, 2)
    for q in (0.5 / 1024, 0.1, 0.5, 0.999):  # not whole numbers of pixels: frames mixed
        assert best_constant(MSE(), q) == pytest.approx(q, rel=5e-4)
    assert best_constant(MSE(), 0.25, size=8) == pytest.approx(0.25, rel=5e-4)
    assert best_constant(BCE(), 0) < 1e-6 and best_constant(BCE(), 1) > 1 - 1e-6


@pytest.mark.parametrize(
    "loss",
    [
        DiceLoss(),
        DiceLoss(1.0),
        TverskyLoss(),
        FocalTverskyLoss(),
        SoftmaxCrossEntropy(),
        ConcentrationLoss(),
        CompositeLoss(),
    ],
    ids=lambda loss: type(loss).__name__,
)
def test_best_output_is_not_defined_for_whole_frames(loss):
    with pytest.raises(ValueError, match=f"{type(loss).__name__} does not treat every pixel by itself"):
        best_output(loss, 0.5)


def test_bad_questions_are_refused():
    for eta in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match="eta is a probability"):
            best_output(MSE(), eta)
        with pytest.raises(ValueError, match="q is the fraction"):
            best_constant(MSE(), eta)
    with pytest.raises(ValueError, match="SoftmaxCrossEntropy has no best constant"):
        best_constant(SoftmaxCrossEntropy(), Q)
    with pytest.raises(ValueError, match="not finite"):
        best_output(lambda logits, target: (logits + torch.nan).mean(), 0.5)
    with pytest.raises(ValueError, match="not finite"):
        best_constant(lambda logits, target: (logits + torch.nan).mean(), Q)


def test_loss_of_the_best_constant():
    p = 100 * Q / (100 * Q + 1 - Q)
    expected = {
        MSE(): Q * (1 - Q),
        SparsityLoss(): Q,
        DiceLoss(): 1 - 2 / 1025,
        WeightedMSE(): 100 * Q * (1 - p) ** 2 + (1 - Q) * p**2,
        SoftmaxCrossEntropy(): np.log(1024),
    }
    for loss, value in expected.items():
        assert best_constant_loss(loss) == pytest.approx(value, rel=1e-6)
    assert best_constant_loss(ConcentrationLoss()) < 1e-9
