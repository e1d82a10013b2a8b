"""What training on a GPU must share with training on a processor. Skipped where there is no GPU."""

import pytest
import torch

from fixlib.losses import get_loss_function
from fixlib.models import GazeDensity, GazeGRU, SimVP, SimVP_RegressionHead
from fixlib.runs import obtain
from fixlib.training import WindowLoader, train_model_with_loss

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

# 22 windows in batches of 4: the last batch of an epoch has another shape than the recorded one.
COUNT, BATCH, N_IN = 22, 4, 3
SMALL = dict(in_shape=(N_IN, 1, 16, 16), hid_S=4, hid_T=8, N_S=2, N_T=3, drop_path=0.5)
NETWORKS = {
    "simvp": (lambda: SimVP(out_frames=1, **SMALL), "frames", "frames", get_loss_function("weighted_mse")),
    "regression": (lambda: SimVP_RegressionHead(**SMALL), "frames", "next_point", torch.nn.L1Loss()),
    "gru": (lambda: GazeGRU(1, hidden=8, size=16), "points", "points", torch.nn.L1Loss()),
    "density": (lambda: GazeDensity(N_IN, 1, 16), "pixels", "frames", get_loss_function("softmax_cross_entropy")),
}


def loader(network, seed, shuffle=False):
    points = 1 + 14 * torch.rand(COUNT, N_IN + 1, 2, generator=torch.Generator().manual_seed(seed))
    windows = dict(coordinates=points, fixation_mask=torch.ones(COUNT, N_IN + 1, dtype=torch.bool), meta=dict(size=16))
    _, inputs, targets, _ = NETWORKS[network]
    return WindowLoader(windows, N_IN, inputs=inputs, targets=targets, batch_size=BATCH, shuffle=shuffle, device="cuda")


def train(network, epochs=4, seed=0, **options):
    build, _, _, loss = NETWORKS[network]
    torch.manual_seed(seed)
    return train_model_with_loss(
        build().cuda(), loader(network, 1, shuffle=True), loader(network, 2), loss, epochs, progress=False, **options
    )


def assert_same(one, other):
    (model, history), (other_model, other_history) = one, other
    losses, other_losses = ([(h["train_loss"], h["val_loss"]) for h in each] for each in (history, other_history))
    assert losses == other_losses
    weights, other_weights = model.state_dict(), other_model.state_dict()
    assert list(weights) == list(other_weights)
    assert all(torch.equal(weights[name], other_weights[name]) for name in weights)


@pytest.mark.parametrize("network", NETWORKS)
def test_passes_launched_as_a_whole_give_the_same_bits(network):
    plain = train(network)
    assert_same(plain, train(network, cuda_graphs=True))
    assert_same(plain, train(network))  # a comparison of two kinds says something only where one kind repeats


def test_another_seed_gives_other_numbers_through_the_same_kind_of_passes():
    assert (
        train("simvp", cuda_graphs=True)[1][0]["train_loss"]
        != train("simvp", seed=1, cuda_graphs=True)[1][0]["train_loss"]
    )


def test_an_interrupted_training_ends_as_an_uninterrupted_one(tmp_path):
    whole = train("simvp", cuda_graphs=True)
    train("simvp", epochs=2, cuda_graphs=True, checkpoint=tmp_path / "run.pt")
    torch.manual_seed(99)  # whatever happened in between
    assert_same(whole, train("simvp", seed=7, cuda_graphs=True, checkpoint=tmp_path / "run.pt"))


def test_a_processor_gives_the_same_first_epoch(project, dataset, monkeypatch):
    there = obtain("loss_comparison", dataset, "smoke", results_dir="there", workers=1)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    here = obtain("loss_comparison", dataset, "smoke", results_dir="here", workers=1)
    for gpu, processor in zip(there.runs, here.runs, strict=True):
        assert gpu.spec == processor.spec
        if gpu.history:
            assert gpu.history[0]["train_loss"] == pytest.approx(processor.history[0]["train_loss"], rel=2e-4)
            assert gpu.payload["environment"]["device"] != processor.payload["environment"]["device"] == "cpu"
