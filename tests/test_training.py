"""The training loop: batches, learning, best weights kept, interruption and resumption, divergence."""

import math

import pytest
import torch
from torch import nn

from fixlib.losses import get_loss_function
from fixlib.models import SimVP
from fixlib.training import TrainingDiverged, WindowLoader, evaluate_model, mean_loss, predict, train_model_with_loss


def windows(count=12, length=4, size=16, seed=0):
    generator = torch.Generator().manual_seed(seed)
    start = torch.rand(count, 1, 2, generator=generator) * (size - 6) + 1
    steps = torch.arange(length).view(1, -1, 1) * 0.9
    return dict(
        coordinates=start + steps,
        fixation_mask=torch.ones(count, length, dtype=torch.bool),
        subject=torch.arange(count),
        stimulus=torch.arange(count),
        meta=dict(size=size),
    )


def small_model(seed=0):
    torch.manual_seed(seed)
    return SimVP((2, 1, 16, 16), hid_S=4, hid_T=8, N_S=2, N_T=2)


def loaders(**options):
    return (
        WindowLoader(windows(), 2, batch_size=4, shuffle=True, **options),
        WindowLoader(windows(seed=1), 2, batch_size=4),
    )


class TestWindowLoader:
    def test_draws_inputs_and_targets_at_the_points(self):
        inputs, targets = next(iter(WindowLoader(windows(), 3, batch_size=12)))
        assert inputs.shape == (12, 3, 1, 16, 16) and targets.shape == (12, 1, 1, 16, 16)
        x, y = windows()["coordinates"][5, 3].floor().long()
        assert targets[5, 0, 0, y, x] == 1 and targets[5].sum() == 1

    def test_gives_points_where_asked(self):
        loader = WindowLoader(windows(), 2, inputs="points", targets="next_point", batch_size=12)
        inputs, targets = next(iter(loader))
        assert torch.equal(inputs, windows()["coordinates"][:, :2])
        assert torch.equal(targets, windows()["coordinates"][:, 2])

    def test_gives_the_centres_of_pixels_where_asked(self):
        inputs, _ = next(iter(WindowLoader(windows(), 2, inputs="pixels", batch_size=12)))
        assert torch.equal(inputs, windows()["coordinates"][:, :2].floor() + 0.5)

    def test_mirrors_half_of_the_windows_as_frames_are_mirrored_anew_in_each_epoch(self):
        many = windows(count=400)
        many["coordinates"] = many["coordinates"].round(decimals=0).clamp(max=15)  # on the edges of pixels
        plain, mirrored = (WindowLoader(many, 2, batch_size=400, mirror=mirror) for mirror in (False, True))
        (before, _), (frames, targets) = next(iter(plain)), next(iter(mirrored))
        flipped = (frames == before.flip(-1)).flatten(1).all(1)
        assert ((frames == before).flatten(1).all(1) | flipped).all() and 150 < flipped.sum() < 250
        assert torch.equal(targets[flipped], next(iter(plain))[1][flipped].flip(-1))
        mirrored.epoch = 1
        assert not torch.equal(next(iter(mirrored))[0], frames)

    def test_ends_half_of_the_batches_earlier_where_asked_and_asks_for_the_frames_after_that(self):
        many = windows(count=400)
        many["coordinates"][..., 0] = torch.arange(many["coordinates"].shape[1]) + 0.5  # a frame tells its number
        loader = WindowLoader(many, 3, inputs="points", targets="points", batch_size=4, earlier=True)
        seen = [inputs.shape[1] for inputs, _ in loader]
        assert set(seen) == {1, 2, 3} and 50 < seen.count(3) < 80  # of 100: half, and a third of the others
        for inputs, targets in loader:
            assert targets.shape[1] == 1 and (targets[:, 0, 0] - inputs[:, -1, 0] == 1).all()

    def test_draws_targets_as_gaussians_where_asked_around_the_white_pixel_alone(self):
        sharp, soft = (next(iter(WindowLoader(windows(), 2, batch_size=12, sigma=sigma)))[1] for sigma in (None, 1.5))
        assert soft.shape == sharp.shape and torch.equal(soft == 1, sharp == 1)
        row, column = sharp[3, 0, 0].nonzero()[0]
        assert soft[3, 0, 0, row + 2, column + 1].item() == pytest.approx(math.exp(-5 / (2 * 1.5**2)))

    def test_refuses_gaussians_that_are_none(self):
        with pytest.raises(ValueError, match="sigma=1.0 is for targets that are frames, not for 'points'"):
            WindowLoader(windows(), 2, targets="points", sigma=1.0)
        with pytest.raises(ValueError, match="sigma must be above 0 px, got 0"):
            next(iter(WindowLoader(windows(), 2, sigma=0.0)))

    def test_every_window_once_an_epoch_in_an_order_of_its_own(self):
        loader = WindowLoader(windows(), 2, inputs="points", targets="points", batch_size=5, shuffle=True)
        orders = []
        for loader.epoch in (1, 2, 1):
            orders.append(torch.cat([inputs[:, 0, 0] for inputs, _ in loader]))
        assert torch.equal(orders[0].sort().values, windows()["coordinates"][:, 0, 0].sort().values)
        assert not torch.equal(orders[0], orders[1]) and torch.equal(orders[0], orders[2])

    def test_refuses_windows_without_a_target_and_unknown_representations(self):
        with pytest.raises(ValueError, match="n_in=4 leaves no target"):
            WindowLoader(windows(), 4)
        with pytest.raises(ValueError, match="targets='maps' is not one of frames"):
            WindowLoader(windows(), 2, targets="maps")

    def test_refuses_windows_with_a_frame_without_gaze(self):
        cut = windows()
        cut["fixation_mask"][3, 1] = False
        with pytest.raises(ValueError, match="holds no gaze.*cut_windows"):
            WindowLoader(cut, 2)


class TestTraining:
    def test_a_loader_that_gives_nothing_is_named(self):
        used_up, (_, val) = iter(()), loaders()
        for train, validation in ((used_up, val), (val, used_up)):
            with pytest.raises(ValueError, match="gave no batch"):
                train_model_with_loss(small_model(), train, validation, get_loss_function("mse"), epochs=1)

    def test_learns_and_keeps_the_best_validation_weights(self):
        train, val = loaders()
        loss = get_loss_function("weighted_mse")
        model, history = train_model_with_loss(small_model(), train, val, loss, epochs=6)
        assert [entry["epoch"] for entry in history] == [1, 2, 3, 4, 5, 6]
        assert history[-1]["train_loss"] < history[0]["train_loss"]
        assert mean_loss(model, val, loss) == pytest.approx(min(h["val_loss"] for h in history), rel=1e-5)

    def test_stops_when_validation_no_longer_improves_and_goes_on_as_if_uninterrupted(self, tmp_path):
        settings = dict(patience=2, progress=False, learning_rate=0.3)  # so high that it soon gets worse

        def history(epochs, **options):
            loss = get_loss_function("mse")
            return train_model_with_loss(small_model(), *loaders(), loss, epochs, **settings, **options)[1]

        whole = [entry["val_loss"] for entry in history(30)]
        best = whole.index(min(whole))
        assert len(whole) == best + 3 < 30
        file = tmp_path / "state"
        history(len(whole) - 1, checkpoint=file)
        resumed, again = ([entry["val_loss"] for entry in history(30, checkpoint=file)] for _ in range(2))
        assert resumed == again == whole

    def test_without_clipping_steps_are_those_of_gradients_as_they_are(self):
        trained = [
            train_model_with_loss(small_model(), *loaders(), get_loss_function("mse"), 1, clip_norm=c, progress=False)[
                0
            ]
            for c in (None, 1e9, 1e-6)
        ]
        weights = [torch.cat([p.flatten() for p in model.parameters()]) for model in trained]
        assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])

    def test_the_same_seed_gives_the_same_bits(self):
        runs = [
            train_model_with_loss(small_model(), *loaders(seed=3), get_loss_function("mse"), epochs=2) for _ in range(2)
        ]
        first, second = (model.state_dict() for model, _ in runs)
        assert all(torch.equal(first[key], second[key]) for key in first)

    def test_an_interrupted_training_ends_as_an_uninterrupted_one(self, tmp_path):
        loss, checkpoint = get_loss_function("dice"), tmp_path / "run.pt"
        whole, whole_history = train_model_with_loss(small_model(), *loaders(), loss, epochs=5)

        class Killed(Exception):
            pass

        def kill(entry):
            if entry["epoch"] == 2:
                raise Killed

        with pytest.raises(Killed):
            train_model_with_loss(small_model(), *loaders(), loss, epochs=5, checkpoint=checkpoint, on_epoch=kill)
        torch.manual_seed(99)  # whatever happened in between
        resumed, history = train_model_with_loss(small_model(7), *loaders(), loss, epochs=5, checkpoint=checkpoint)
        assert [(h["train_loss"], h["val_loss"]) for h in history] == [
            (h["train_loss"], h["val_loss"]) for h in whole_history
        ]
        assert all(torch.equal(a, b) for a, b in zip(whole.state_dict().values(), resumed.state_dict().values()))
        assert [path.name for path in tmp_path.iterdir()] == ["run.pt"]

    def test_says_where_a_loss_stopped_being_finite(self):
        calls = iter(range(100))

        def loss(output, target):
            return output.mean() * (float("nan") if next(calls) == 1 else 1.0)

        with pytest.raises(TrainingDiverged, match="epoch 1, batch 2"):
            train_model_with_loss(small_model(), *loaders(), loss, epochs=1)


class Oracle(nn.Module):
    """Knows the next point: one step of 0.9 px right and down from the last input frame."""

    def __init__(self, swap=False):
        super().__init__()
        self.swap = swap

    def forward(self, inputs):
        if self.swap:
            inputs = inputs.transpose(-1, -2)
        return 60 * inputs[:, -1:] - 30


def test_evaluate_model_counts_white_pixels_and_notices_swapped_axes():
    still = windows(length=3)
    still["coordinates"] = still["coordinates"][:, :1].repeat(1, 3, 1)
    still["coordinates"][..., 0] = (still["coordinates"][..., 0] + 5) % 16  # off the diagonal
    loader, loss = WindowLoader(still, 2, batch_size=5), get_loss_function("mse")
    right, swapped = (evaluate_model(Oracle(swap), loader, loss) for swap in (False, True))
    assert right["white_pixel_recall"] == right["white_pixel_precision"] == right["f1_score"] == 1
    assert right["test_loss"] < 1e-6
    assert swapped["white_pixel_recall"] < 0.5


def test_evaluate_model_takes_one_pass_and_names_a_loader_that_gives_nothing():
    loader, loss = WindowLoader(windows(length=3), 2, batch_size=5), get_loss_function("mse")
    model = Oracle(swap=False)
    once = evaluate_model(model, iter([*loader]), loss)
    assert once == evaluate_model(model, loader, loss)
    assert once["test_loss"] == pytest.approx(mean_loss(model, loader, loss), rel=1e-12)
    with pytest.raises(ValueError, match="the loader gave no batch"):
        evaluate_model(model, [], loss)


def test_predict_keeps_the_order():
    loader = WindowLoader(windows(), 2, batch_size=5)
    outputs = predict(Oracle(), loader)
    assert torch.equal(outputs, torch.cat([60 * inputs[:, -1:] - 30 for inputs, _ in loader]))
