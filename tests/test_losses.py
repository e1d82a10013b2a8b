"""Every loss against a plain implementation written from its formula, and at the edges where others broke."""

import math
import pickle
import warnings

import numpy as np
import pytest
import torch

from fixlib import losses
from fixlib.losses import (
    LOSSES,
    MISSION_LOSSES,
    MSE,
    CompositeLoss,
    ConcentrationLoss,
    DiceLoss,
    FocalLoss,
    SoftmaxCrossEntropy,
    TverskyLoss,
    get_loss_function,
    loss_function,
    make_loss,
)
from fixlib.runs import obtain
from fixlib.runs.config import Config
from fixlib.runs.execute import loss_of
from fixlib.theory.outputs import best_constant, best_output, crossing_threshold

NAMES = list(LOSSES)
FRAME_LOSSES = {"dice", "tversky", "focal_tversky", "softmax_cross_entropy"}
CASES = [(name, {}) for name in NAMES] + [
    ("focal", {"alpha": 0.6, "gamma": 0.5}),
    ("focal", {"alpha": 1.0, "gamma": 0.0}),
    ("sparsity", {"weight": 0.3}),
    ("concentration", {"normalize": True}),
    ("concentration", {"density": True}),
    ("composite", {"concentration_weight": 0.1, "density": True}),
    ("composite", {"focal_weight": 0.2, "concentration_weight": 0.1, "gamma": 1.0, "l1_weight": 2.0}),
    ("dice", {"smooth": 1.0}),
    ("weighted_mse", {"pos_weight": 7.0}),
    ("tversky", {"alpha": 0.9, "beta": 0.4, "smooth": 1.0}),
    ("focal_tversky", {"alpha": 0.5, "beta": 0.5, "gamma": 2.0, "smooth": 0.5}),
]


# --- plain implementations: float64, one pixel at a time ------------------------------------------


def _focal(p, y, alpha=0.25, gamma=2.0):
    white = alpha * (1 - p) ** gamma * -math.log(p)
    black = (1 - alpha) * p**gamma * -math.log(1 - p)
    return y * white + (1 - y) * black


PLAIN_PIXEL = {
    "mse": lambda p, y: (p - y) ** 2,
    "bce": lambda p, y: -y * math.log(p) - (1 - y) * math.log(1 - p),
    "weighted_mse": lambda p, y, pos_weight=100.0: (pos_weight if y > 0 else 1) * (p - y) ** 2,
    "sparsity": lambda p, y, weight=1.0: (p - y) ** 2 + weight * abs(p),
    "focal": _focal,
}


def plain_concentration(p, y, normalize=False, density=False):
    p = p / p.sum() if density else p
    height, width = y.shape
    mass = sum(y[r, c] for r in range(height) for c in range(width))
    values = np.zeros((height, width))
    if mass == 0:
        return values
    centre_y = sum(y[r, c] * (r + 0.5) for r in range(height) for c in range(width)) / mass
    centre_x = sum(y[r, c] * (c + 0.5) for r in range(height) for c in range(width)) / mass
    for r in range(height):
        for c in range(width):
            squared = (c + 0.5 - centre_x) ** 2 + (r + 0.5 - centre_y) ** 2
            values[r, c] = p[r, c] * squared / (height**2 + width**2 if normalize else 1)
    return values


def plain_composite(
    p, y, focal_weight=1.0, sparsity_weight=0.8, concentration_weight=1.5, gamma=2.0, l1_weight=1.0, density=False
):
    focal = plain_pixels("focal", p, y, gamma=gamma)
    sparsity = plain_pixels("sparsity", p, y, weight=l1_weight)
    concentration = plain_concentration(p, y, density=density)
    return focal_weight * focal + sparsity_weight * sparsity + concentration_weight * concentration


def plain_dice(p, y, smooth=1e-5):
    overlap = total = 0.0
    for pi, yi in zip(p.ravel(), y.ravel(), strict=True):
        overlap += pi * yi
        total += pi + yi
    return 1 - (2 * overlap + smooth) / (total + smooth)


def plain_tversky(p, y, alpha=0.3, beta=0.7, smooth=1e-5):
    tp = fp = fn = 0.0
    for pi, yi in zip(p.ravel(), y.ravel(), strict=True):
        tp, fp, fn = tp + pi * yi, fp + pi * (1 - yi), fn + (1 - pi) * yi
    return 1 - (tp + smooth) / (tp + alpha * fp + beta * fn + smooth)


def plain_focal_tversky(p, y, alpha=0.3, beta=0.7, gamma=4 / 3, smooth=1e-5):
    return plain_tversky(p, y, alpha, beta, smooth) ** (1 / gamma)


def plain_softmax_cross_entropy(p, y):
    logits = [math.log(pi / (1 - pi)) for pi in p.ravel()]
    log_total = math.log(sum(math.exp(z) for z in logits))
    mass = sum(y.ravel())
    if mass == 0:
        return 0.0
    return sum(yi * (log_total - z) for z, yi in zip(logits, y.ravel(), strict=True)) / mass


def plain_pixels(name, p, y, **options):
    values = [PLAIN_PIXEL[name](pi, yi, **options) for pi, yi in zip(p.ravel(), y.ravel(), strict=True)]
    return np.array(values).reshape(p.shape)


PLAIN_FRAME = {
    "concentration": plain_concentration,
    "composite": plain_composite,
    "dice": plain_dice,
    "tversky": plain_tversky,
    "focal_tversky": plain_focal_tversky,
    "softmax_cross_entropy": plain_softmax_cross_entropy,
}


def plain(name, logits, target, **options):
    """Unreduced values: (frames, H, W), or (frames,) for the losses of a whole frame."""
    p = 1 / (1 + np.exp(-logits.numpy().reshape(-1, *logits.shape[-2:])))
    y = target.numpy().reshape(p.shape)
    frames = zip(p, y, strict=True)
    if name in PLAIN_PIXEL:
        return np.array([plain_pixels(name, pi, yi, **options) for pi, yi in frames])
    return np.array([PLAIN_FRAME[name](pi, yi, **options) for pi, yi in frames])


# --- frames to try them on ------------------------------------------------------------------------


def random_frames(shape=(2, 3, 1, 5, 7), seed=0):
    """Logits and 0/1 targets in float64: one white pixel a frame, then one empty, one full and one with
    three."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(shape, generator=generator, dtype=torch.float64)
    target = torch.zeros(shape, dtype=torch.float64)
    frames = target.view(-1, shape[-2] * shape[-1])
    frames[torch.arange(len(frames)), torch.randint(frames.shape[1], (len(frames),), generator=generator)] = 1
    frames[0] = 0
    frames[1] = 1
    frames[2, :3] = 1
    return logits, target


def loss_and_gradient(loss, logits, target):
    logits = logits.clone().requires_grad_()
    value = loss(logits, target)
    value.sum().backward()
    return value.detach(), logits.grad


# --- values ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name, options", CASES)
def test_equals_the_plain_implementation(name, options):
    logits, target = random_frames()
    expected = plain(name, logits, target, **options)
    values = LOSSES[name](**options, reduction="none")(logits, target)
    assert values.shape == (logits.shape[:-2] if name in FRAME_LOSSES else logits.shape)
    np.testing.assert_allclose(values.numpy().reshape(expected.shape), expected, rtol=1e-9, atol=1e-12)
    assert LOSSES[name](**options)(logits, target).item() == pytest.approx(expected.mean(), rel=1e-9)
    total = LOSSES[name](**options, reduction="sum")(logits, target).item()
    assert total == pytest.approx(expected.sum(), rel=1e-9)


@pytest.mark.parametrize("name, options", CASES)
def test_the_functional_twin_is_the_same(name, options):
    logits, target = random_frames(seed=1)
    function = getattr(losses, f"{name}_loss")
    assert torch.equal(function(logits, target, **options), LOSSES[name](**options)(logits, target))


@pytest.mark.parametrize("name, options", CASES)
def test_gradcheck(name, options):
    # An empty frame, a full one, one with three white pixels; focal Tversky's floor is far from these logits.
    logits, target = random_frames((3, 1, 3, 4), seed=2)
    loss = LOSSES[name](**options)
    assert torch.autograd.gradcheck(lambda z: loss(z, target), logits.requires_grad_())


@pytest.mark.parametrize("name", NAMES)
def test_leading_dimensions_do_not_matter(name):
    logits, target = random_frames((4, 3, 1, 6, 5))
    loss = LOSSES[name]()
    expected = loss(logits, target)
    for shape in [(12, 1, 6, 5), (12, 6, 5), (2, 2, 3, 1, 6, 5)]:
        torch.testing.assert_close(loss(logits.view(shape), target.view(shape)), expected, rtol=1e-12, atol=0)
    one_frame = LOSSES[name](reduction="none")(logits[3, 2, 0], target[3, 2, 0])
    torch.testing.assert_close(one_frame, LOSSES[name](reduction="none")(logits, target)[3, 2, 0])


@pytest.mark.parametrize("name", NAMES)
def test_mask_and_integer_targets_are_numbers(name):
    logits, target = random_frames()
    loss = LOSSES[name]()
    assert loss(logits, target.bool()) == loss(logits, target) == loss(logits, target.long())


# --- precision and edges --------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", NAMES)
def test_half_precision_is_computed_in_float32(name, dtype):
    logits, target = random_frames((2, 3, 1, 32, 32))
    logits = logits.to(dtype)
    value, gradient = loss_and_gradient(LOSSES[name](), logits, target.to(dtype))
    exact, exact_gradient = loss_and_gradient(LOSSES[name](), logits.double(), target)
    assert value.dtype == torch.float32 and gradient.dtype == dtype
    assert value.item() == pytest.approx(exact.item(), rel=1e-5)
    torch.testing.assert_close(gradient.double(), exact_gradient, rtol=1e-2, atol=1e-7)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name, options", CASES)
def test_finite_on_empty_full_and_saturated_frames(name, options, dtype):
    one = torch.zeros(1, 1, 32, 32)
    one[0, 0, 5, 20] = 1
    for target in (torch.zeros_like(one), one, torch.ones_like(one)):
        for size in (0.0, 30.0, 80.0, 1e4):
            everywhere, right = size * torch.ones_like(one), size * (2 * target - 1)
            for logits in (everywhere, -everywhere, right, -right):
                value, gradient = loss_and_gradient(LOSSES[name](**options), logits.to(dtype), target)
                assert torch.isfinite(value) and torch.isfinite(gradient).all(), size


# --- what each is known to get wrong --------------------------------------------------------------


def test_focal_without_focus_is_half_the_cross_entropy():
    logits, target = random_frames()
    focal = FocalLoss(alpha=0.5, gamma=0)(logits, target)
    torch.testing.assert_close(focal, 0.5 * LOSSES["bce"]()(logits, target))


def test_soft_targets_mix_the_two_terms():
    logits, _ = random_frames()
    white, black, soft = (torch.full_like(logits, value) for value in (1.0, 0.0, 0.3))
    for name in ("focal", "bce"):
        loss = LOSSES[name]()
        torch.testing.assert_close(loss(logits, soft), 0.3 * loss(logits, white) + 0.7 * loss(logits, black))


def test_tversky_with_equal_weights_is_dice():
    logits, target = random_frames()
    tversky = TverskyLoss(alpha=0.5, beta=0.5, smooth=0.5)(logits, target)
    torch.testing.assert_close(tversky, DiceLoss(smooth=1.0)(logits, target))


def test_empty_frames_count_zero_and_stay_in_the_mean():
    logits, target = random_frames((3, 5, 7), seed=3)
    empty = torch.zeros_like(target)
    for name in ("concentration", "softmax_cross_entropy"):
        loss = LOSSES[name]()
        value, gradient = loss_and_gradient(loss, logits, empty)
        assert value == 0 and not gradient.any()
        both = loss(torch.cat([logits, logits]), torch.cat([target, empty]))
        assert both.item() == pytest.approx(loss(logits, target).item() / 2)


def test_components_are_the_unweighted_parts():
    logits, target = random_frames()
    loss = CompositeLoss(0.3, 0.5, 0.7, alpha=0.4, gamma=1.0, l1_weight=2.0, normalize=True)
    parts = loss.components(logits, target)
    assert list(parts) == ["focal", "sparsity", "concentration"]
    torch.testing.assert_close(parts["focal"], FocalLoss(0.4, 1.0)(logits, target))
    torch.testing.assert_close(parts["sparsity"], LOSSES["sparsity"](2.0)(logits, target))
    torch.testing.assert_close(parts["concentration"], ConcentrationLoss(normalize=True)(logits, target))
    weighted = 0.3 * parts["focal"] + 0.5 * parts["sparsity"] + 0.7 * parts["concentration"]
    torch.testing.assert_close(loss(logits, target), weighted)
    assert CompositeLoss(reduction="none").components(logits, target)["focal"].shape == logits.shape


# --- probabilities instead of logits --------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in NAMES if name != "softmax_cross_entropy"])
def test_probabilities_give_the_same_as_their_logits(name):
    logits, target = random_frames()
    from_p = LOSSES[name](from_logits=False)(torch.sigmoid(logits), target)
    torch.testing.assert_close(from_p, LOSSES[name]()(logits, target), rtol=1e-9, atol=1e-12)


def test_softmax_of_probabilities_normalises_the_frame():
    logits, target = random_frames()
    density = torch.softmax(logits.flatten(-2), -1).view_as(logits)
    loss = SoftmaxCrossEntropy(from_logits=False)
    torch.testing.assert_close(loss(density, target), SoftmaxCrossEntropy()(logits, target))
    torch.testing.assert_close(loss(density / 3, target), SoftmaxCrossEntropy()(logits, target))


@pytest.mark.parametrize("name", NAMES)
def test_certain_probabilities_are_finite_and_can_be_unlearned(name):
    target = torch.zeros(1, 4, 4)
    target[0, 1, 2] = 1
    for p in (torch.zeros(1, 4, 4), torch.ones(1, 4, 4), target, 1 - target):
        value, gradient = loss_and_gradient(LOSSES[name](from_logits=False), p, target)
        assert torch.isfinite(value) and torch.isfinite(gradient).all()
    _, gradient = loss_and_gradient(LOSSES["focal"](from_logits=False), torch.zeros(1, 4, 4), target)
    assert gradient[0, 1, 2] < 0


# --- refusals -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_another_reduction_is_refused(name):
    with pytest.raises(ValueError, match="reduction must be one of mean, sum, none, got 'average'"):
        LOSSES[name](reduction="average")
    with pytest.raises(ValueError, match="reduction"):
        getattr(losses, f"{name}_loss")(torch.zeros(2, 2), torch.zeros(2, 2), reduction="batchmean")


@pytest.mark.parametrize("name", NAMES)
def test_bad_tensors_are_refused(name):
    loss = LOSSES[name]()
    frame = torch.zeros(2, 1, 4, 4)
    refused = [
        (ValueError, "they must be equal", frame, torch.zeros(2, 4, 4)),
        (ValueError, "they must be equal", frame, torch.zeros(2, 1, 4, 1)),
        (ValueError, "at least one frame", torch.zeros(4), torch.zeros(4)),
        (ValueError, "at least one frame", torch.zeros(0, 4, 4), torch.zeros(0, 4, 4)),
        (ValueError, "target must lie in .0, 1.", frame, torch.full_like(frame, 255)),
        (ValueError, "target must lie in .0, 1.", frame, torch.full_like(frame, -1)),
        (ValueError, "found nan", frame, torch.full_like(frame, torch.nan)),
        (TypeError, "target must be a torch.Tensor, got ndarray", frame, frame.numpy()),
        (TypeError, "floating point", frame.long(), frame),
    ]
    for error, message, input, target in refused:
        with pytest.raises(error, match=message):
            loss(input, target)
    with pytest.raises(ValueError, match="from_logits=False expects probabilities"):
        LOSSES[name](from_logits=False)(frame - 3, frame)


@pytest.mark.parametrize(
    "name, options",
    [
        ("focal", {"alpha": 1.5}),
        ("focal", {"gamma": -1}),
        ("sparsity", {"weight": -0.1}),
        ("weighted_mse", {"pos_weight": -1}),
        ("dice", {"smooth": 0}),
        ("tversky", {"alpha": -1}),
        ("tversky", {"smooth": -1.0}),
        ("focal_tversky", {"gamma": 0}),
        ("composite", {"concentration_weight": -1}),
        ("composite", {"alpha": math.nan}),
    ],
)
def test_options_out_of_range_are_refused_when_the_loss_is_made(name, options):
    with pytest.raises(ValueError, match=next(iter(options)).removeprefix("l1_")):
        LOSSES[name](**options)


# --- by name --------------------------------------------------------------------------------------


def test_the_seven_and_their_defaults():
    assert " ".join(MISSION_LOSSES) == "mse focal sparsity concentration composite dice weighted_mse"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made = {name: get_loss_function(name) for name in NAMES}
        assert isinstance(get_loss_function(), losses.MSE)
    assert all(type(made[name]) is LOSSES[name] for name in NAMES)
    assert (made["focal"].alpha, made["focal"].gamma) == (0.25, 2.0)
    assert made["sparsity"].weight == 1.0 and made["weighted_mse"].pos_weight == 100.0
    composite = made["composite"]
    weights = composite.focal_weight, composite.sparsity_weight, composite.concentration_weight
    assert weights == (1.0, 0.8, 1.5)
    assert get_loss_function("focal", gamma=3.0).gamma == 3.0
    assert repr(made["dice"]) == "DiceLoss(smooth=1e-05, from_logits=True, reduction='mean')"


def test_an_unknown_name_warns_and_gives_mse():
    message = "unknown loss 'focla': MSE is used instead, without the options gamma"
    with pytest.warns(UserWarning, match=message) as caught:
        loss = get_loss_function("focla", gamma=1.0)
    assert isinstance(loss, losses.MSE)
    assert all(name in str(caught[0].message) for name in NAMES)
    assert caught[0].filename == __file__


def test_experiments_refuse_an_unknown_name_or_option():
    for name, options in CASES:
        assert make_loss(name, **options).options == LOSSES[name](**options).options
    assert isinstance(make_loss("l1"), torch.nn.L1Loss) and isinstance(make_loss("l2"), torch.nn.MSELoss)
    with pytest.raises(ValueError, match="unknown loss 'focla'; known: mse, focal"):
        make_loss("focla")
    for name in ("l1", "l2"):
        with pytest.raises(TypeError, match="beta"):
            make_loss(name, beta=0.5)


@pytest.mark.parametrize("make", [get_loss_function, make_loss, lambda name, **options: LOSSES[name](**options)])
def test_an_unknown_option_is_refused(make):
    with pytest.raises(TypeError, match="loss 'focal' has no option alhpa; its options: alpha, gamma"):
        make("focal", alhpa=0.5)


def test_a_record_whose_loss_was_renamed_fails_instead_of_running_as_another():
    recorded = dict(data=dict(dataset="simulated", n_in=2, n_out=1, size=8), model=dict(kind="simvp", hid_S=4, hid_T=8))
    for kind, loss, error, message in (
        ("simvp", dict(name="focal_2017", gamma=2.0), ValueError, "unknown loss 'focal_2017'"),
        ("simvp", dict(name="dice", smoothing=1.0), TypeError, "no option smoothing"),
        ("regression", dict(name="huber"), ValueError, "unknown loss 'huber'"),
        ("regression", dict(name="l1", weight=2.0), TypeError, "weight"),
    ):
        recorded["model"]["kind"] = kind
        with pytest.raises(error, match=message):
            loss_of(Config.from_json(recorded | dict(loss=loss)))


# --- classes made of functions --------------------------------------------------------------------


@pytest.mark.parametrize("name, options", CASES)
def test_a_loss_is_pickled_and_shown_with_its_options(name, options):
    logits, target = random_frames()
    loss = LOSSES[name](**options)
    again = pickle.loads(pickle.dumps(loss))
    assert repr(again) == repr(loss) and again(logits, target) == loss(logits, target)
    assert all(f"{name}={value!r}" in repr(loss) for name, value in loss.options.items())
    again.reduction = "none"
    assert again(logits, target).shape != () == loss(logits, target).shape


def test_options_by_place_and_under_the_name_that_recorded_runs_hold():
    assert FocalLoss(0.5, 3.0).options == dict(alpha=0.5, gamma=3.0, from_logits=True, reduction="mean")
    assert ConcentrationLoss(True).normalize and make_loss("composite", normalise=True).normalize
    with pytest.raises(TypeError, match="too many positional"):
        FocalLoss(0.5, 3.0, False)


@pytest.fixture
def own_losses():
    """Where a test registers losses of its own."""
    before = set(LOSSES)
    yield LOSSES
    for name in set(LOSSES) - before:
        del LOSSES[name]


@loss_function
def absolute_loss(output, y, weight=1.0):
    return (output.p - y).abs() * torch.where(y > 0, weight, 1)


def brightness(input, target):
    return (torch.sigmoid(input) - target).square().mean()


def test_own_losses_are_formulas_functions_or_classes(own_losses):
    class Squared(losses.Loss):
        function = staticmethod(brightness)

    for name, made in (("absolute", absolute_loss), ("brightness", brightness), ("squared", Squared)):
        assert own_losses.register(name)(made) is made
    logits, target = random_frames()
    found = make_loss("absolute", weight=2.0, reduction="sum")(logits, target)
    assert found == ((1 + target) * (torch.sigmoid(logits) - target).abs()).sum()
    assert make_loss("squared")(logits, target) == make_loss("brightness")(logits, target) == MSE()(logits, target)
    assert repr(make_loss("absolute")) == "absolute(weight=1.0, from_logits=True, reduction='mean')"
    with pytest.raises(ValueError, match="there is a loss 'focal' already"):
        own_losses.register("focal")(brightness)


def test_an_own_loss_is_found_by_the_theory_and_the_comparison(own_losses, project, dataset):
    own_losses.register("mine")(absolute_loss)
    loss = make_loss("mine", weight=3.0)
    assert best_output(loss, [0.2, 0.3]) == pytest.approx([0, 1], abs=1e-6)
    assert best_constant(loss, 1 / 1024) == pytest.approx(0, abs=1e-6)
    assert crossing_threshold(loss) == pytest.approx(0.25, rel=1e-6)
    study = obtain("loss_comparison", dataset, "smoke", losses=["mine"], workers=1)
    (run,) = [run for run in study.runs if run.history]
    assert run.spec.variant == "mine" and 0 < run.payload["test_loss"] < 1
