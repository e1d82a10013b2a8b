"""Losses on white pixels give the numbers and gradients of the frames these stand for."""

import math

import pytest
import torch

from fixlib import losses
from fixlib.grid import create_sparse_frames, white_pixel_index
from fixlib.losses import LOSSES, WhitePixels
from fixlib.models import SimVP
from fixlib.training import WindowLoader, evaluate_model, mean_loss, train_model_with_loss

NAMES = list(LOSSES)
CASES = [(name, {}) for name in NAMES] + [
    ("focal", {"alpha": 0.6, "gamma": 0.5}),
    ("focal", {"alpha": 1.0, "gamma": 0.0}),
    ("focal", {"alpha": 0.0, "gamma": 3.0}),
    ("sparsity", {"weight": 0.3}),
    ("concentration", {"normalise": True}),
    ("composite", {"focal_weight": 0.2, "concentration_weight": 0.1, "gamma": 1.0, "l1_weight": 2.0}),
    ("dice", {"smooth": 1.0}),
    ("weighted_mse", {"pos_weight": 7.0}),
    ("weighted_mse", {"pos_weight": 0.0}),
    ("tversky", {"alpha": 0.9, "beta": 0.4, "smooth": 1.0}),
    ("focal_tversky", {"alpha": 0.5, "beta": 0.5, "gamma": 2.0, "smooth": 0.5}),
]


def some_pixels(size, shape=(2, 3, 1), seed=0):
    """One white pixel a frame, anywhere, in the first corner, in the last; the last frame is empty."""
    index = torch.randint(size**2, shape, generator=torch.Generator().manual_seed(seed))
    index.view(-1)[:2] = torch.tensor([0, size**2 - 1])
    index.view(-1)[-1] = -1
    return WhitePixels(index, size)


def some_logits(pixels, scale=2.0, seed=1):
    return scale * torch.randn(pixels.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def loss_and_gradient(loss, logits, target):
    logits = logits.clone().requires_grad_()
    value = loss(logits, target)
    value.sum().backward()
    return value.detach(), logits.grad


@pytest.fixture
def no_frames(monkeypatch):
    """What is asked of the closed forms: frames are never drawn."""

    def refuse(self):
        raise AssertionError("frames were drawn")

    return lambda: monkeypatch.setattr(WhitePixels, "frames", refuse)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("size", [5, 64])
@pytest.mark.parametrize("name, options", CASES)
def test_equal_to_the_dense_form_without_drawing_frames(name, options, size, reduction, no_frames):
    pixels = some_pixels(size)
    frames, logits, loss = pixels.frames(), some_logits(pixels), LOSSES[name](**options, reduction=reduction)
    expected, expected_gradient = loss_and_gradient(loss, logits, frames)
    no_frames()
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 1e-6)):
        value, gradient = loss_and_gradient(loss, logits.to(dtype), pixels)
        assert value.dtype == gradient.dtype == dtype
        assert value.item() == pytest.approx(expected.item(), rel=tolerance)
        assert (gradient - expected_gradient).norm() <= tolerance * expected_gradient.norm()


@pytest.mark.parametrize("name, options", CASES)
def test_gradcheck(name, options):
    pixels, loss = some_pixels(4), LOSSES[name](**options)
    assert torch.autograd.gradcheck(lambda z: loss(z, pixels), some_logits(pixels).requires_grad_())


@pytest.mark.parametrize("name", NAMES)
def test_frames_without_a_white_pixel(name):
    empty, loss = WhitePixels(torch.full((2, 3, 1), -1), 8), LOSSES[name]()
    logits = some_logits(empty)
    value, gradient = loss_and_gradient(loss, logits, empty)
    expected, expected_gradient = loss_and_gradient(loss, logits, torch.zeros(empty.shape))
    torch.testing.assert_close(value, expected, rtol=1e-12, atol=0)
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name, options", CASES)
def test_saturated_logits_are_as_finite_and_as_large_as_in_the_dense_form(name, options, dtype):
    pixels, loss = some_pixels(32), LOSSES[name](**options)
    frames = pixels.frames()
    for size in (30.0, 80.0, 1e4):
        for logits in (
            torch.full_like(frames, size),
            torch.full_like(frames, -size),
            size * (2 * frames - 1),
            size * (1 - 2 * frames),
        ):
            value, gradient = loss_and_gradient(loss, logits.to(dtype), pixels)
            expected, expected_gradient = loss_and_gradient(loss, logits.to(dtype), frames)
            assert torch.isfinite(gradient).all()
            torch.testing.assert_close(value, expected, rtol=1e-6, atol=2e-7)  # dense Dice: 1 minus a rounded ratio
            torch.testing.assert_close(gradient, expected_gradient, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_lost_where_all_is_nearly_right(name):
    # The white pixel is worth more than 1e6 times what is left: a form that subtracts it again loses everything.
    pixels, loss = some_pixels(32), LOSSES[name]()
    logits = 9.0 * (2 * pixels.frames() - 1) + some_logits(pixels, 0.1)
    single = logits.float()
    exact = loss(single.double(), pixels.frames()).item()
    dense_error = abs(loss(single, pixels.frames()).item() - exact)
    assert abs(loss(single, pixels).item() - exact) <= dense_error + 1e-6 * exact


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", NAMES)
def test_half_precision_is_computed_in_float32(name, dtype):
    pixels, loss = some_pixels(32), LOSSES[name]()
    logits = some_logits(pixels).to(dtype)
    value, gradient = loss_and_gradient(loss, logits, pixels)
    exact, exact_gradient = loss_and_gradient(loss, logits.double(), pixels.frames())
    assert value.dtype == torch.float32 and gradient.dtype == dtype
    assert value.item() == pytest.approx(exact.item(), rel=1e-5)
    torch.testing.assert_close(gradient.double(), exact_gradient, rtol=1e-2, atol=1e-7)


@pytest.mark.parametrize("name", NAMES)
def test_what_has_no_closed_form_is_computed_from_the_frames(name):
    pixels = some_pixels(5)
    frames, logits = pixels.frames(), some_logits(pixels)
    each = LOSSES[name](reduction="none")
    torch.testing.assert_close(each(logits, pixels), each(logits, frames), rtol=1e-12, atol=1e-15)
    from_p = LOSSES[name](from_logits=False)
    assert torch.equal(from_p(torch.sigmoid(logits), pixels), from_p(torch.sigmoid(logits), frames.double()))


def test_the_parts_of_the_composite():
    pixels = some_pixels(8)
    logits, loss = some_logits(pixels), losses.CompositeLoss()
    parts, expected = loss.components(logits, pixels), loss.components(logits, pixels.frames())
    for name, part in expected.items():
        torch.testing.assert_close(parts[name], part, rtol=1e-12, atol=0)


@pytest.mark.parametrize("name", NAMES)
def test_a_second_derivative_is_refused_rather_than_wrong(name):
    pixels = some_pixels(4)
    logits = some_logits(pixels).requires_grad_()
    (slope,) = torch.autograd.grad(LOSSES[name]()(logits, pixels), logits, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable|does not require grad"):
        slope.square().sum().backward()


@pytest.mark.parametrize("name", NAMES)
def test_pixels_of_other_frames_are_refused(name):
    loss, logits = LOSSES[name](), torch.zeros(2, 3, 1, 8, 8)
    for pixels in (some_pixels(7), some_pixels(8, (2, 3)), some_pixels(8, (2, 2, 1))):
        with pytest.raises(ValueError, match="they must be equal"):
            loss(logits, pixels)
    with pytest.raises(ValueError, match="reduction must be one of mean, sum, none, got 'average'"):
        getattr(losses, f"{name}_loss")(logits, some_pixels(8), reduction="average")
    with pytest.raises(TypeError, match="floating point"):
        loss(logits.long(), some_pixels(8))


class TestWhitePixels:
    def test_are_those_that_create_sparse_frames_draws(self):
        points = torch.tensor([[[20.5, 5.0], [31.99, 0.0], [32.0, 3.0], [-0.1, 3.0], [4.0, 4.0]]])
        mask = torch.tensor([[True, True, True, True, False]])
        index = white_pixel_index(points, mask)
        assert index.tolist() == [[5 * 32 + 20, 31, -1, -1, -1]]
        assert torch.equal(WhitePixels(index.unsqueeze(-1)).frames(), create_sparse_frames(points, mask))

    def test_of_some_windows(self):
        pixels = some_pixels(6, (4, 3, 1))
        rows = torch.tensor([2, 0])
        assert torch.equal(pixels[rows].frames(), pixels.frames()[rows])
        assert pixels[rows][:, 1:].shape == (2, 2, 1, 6, 6)

    def test_refuse_what_is_no_pixel(self):
        with pytest.raises(ValueError, match=r"index\[1, 0\] is 1024, but the pixels of 32x32 frames are 0 to 1023"):
            WhitePixels(torch.tensor([[3], [1024]]))
        with pytest.raises(ValueError, match=r"index\[0\] is -2"):
            WhitePixels(torch.tensor([-2]))
        with pytest.raises(ValueError, match="size must be at least 1 px"):
            WhitePixels(torch.tensor([0]), size=0)
        with pytest.raises(TypeError, match="int64 tensor, not torch.int32"):
            WhitePixels(torch.tensor([3], dtype=torch.int32))
        with pytest.raises(TypeError, match="int64 tensor, not list"):
            WhitePixels([3])


# --- in training ----------------------------------------------------------------------------------


def loader(targets, seed=0, **options):
    generator = torch.Generator().manual_seed(seed)
    coordinates = 16 * torch.rand(12, 4, 2, generator=generator)
    coordinates[3, 3] = -1.0  # outside: an empty frame
    mask = torch.ones(12, 4, dtype=torch.bool)
    windows = dict(coordinates=coordinates, fixation_mask=mask, meta=dict(size=16))
    return WindowLoader(windows, 2, targets=targets, batch_size=5, **options)


def test_the_loader_gives_the_pixels_of_its_frames():
    for (inputs, pixels), (same_inputs, frames) in zip(
        loader("white_pixels", shuffle=True), loader("frames", shuffle=True), strict=True
    ):
        assert torch.equal(inputs, same_inputs) and torch.equal(pixels.frames(), frames)


@pytest.mark.parametrize("name", ["weighted_mse", "composite", "softmax_cross_entropy"])
def test_training_on_pixels_is_training_on_frames(name):
    results = []
    for targets in ("frames", "white_pixels"):
        torch.manual_seed(0)
        model, loss = SimVP((2, 1, 16, 16), hid_S=4, hid_T=8, N_S=2, N_T=2), losses.get_loss_function(name)
        model, history = train_model_with_loss(
            model, loader(targets, shuffle=True), loader(targets, seed=1), loss, epochs=2, progress=False
        )
        results.append(
            (
                history[-1]["train_loss"],
                history[-1]["val_loss"],
                mean_loss(model, loader(targets), loss),
                *evaluate_model(model, loader(targets), loss).values(),
            )
        )
    assert results[1] == pytest.approx(results[0], rel=1e-4)
    assert all(math.isfinite(value) for value in results[1])
