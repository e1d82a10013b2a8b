"""Several processes for one model give what one gives; bfloat16 gives it to within the spread over seeds."""

import pytest
import torch
from lightning_fabric.plugins import MixedPrecision
from torch import nn

from fixlib import system
from fixlib.chapters.loss_comparison import runs as loss_comparison
from fixlib.checkpoints import restore, training_state
from fixlib.devices import Parts, check_precision, fabric_for, share
from fixlib.runs import obtain

# Batches of 7, 7 and 2 windows: parts of unequal size. Half of the samples lose a branch.
UNEVEN, DROP_PATH = 7, 0.5


@pytest.fixture
def no_gpu(monkeypatch):
    """Neither here nor in the processes that are started."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def test_more_devices_than_gpus_are_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ValueError, match="2 devices were asked for, but this machine has GPUs: 1"):
        fabric_for("32-true", 2)


def test_a_batch_that_is_too_small_and_dropout_are_refused():
    with pytest.raises(ValueError, match="a batch of 1 cannot be shared by 2 devices"):
        Parts(0, 2).take(1)
    with pytest.raises(ValueError, match="set drop=0"):
        share(nn.Sequential(nn.Dropout(0.1)), Parts(0, 2))


@pytest.mark.parametrize("size, processes", [(8, 2), (7, 2), (7, 3), (2, 2)])
def test_the_parts_of_a_batch_are_the_batch_and_weigh_as_much(size, processes):
    parts = [Parts(rank, processes) for rank in range(processes)]
    rows = [row for part in parts for row in range(size)[part.take(size)]]
    assert rows == list(range(size)) and sum(part.weight for part in parts) == pytest.approx(processes)


@pytest.mark.parametrize("asked", ["0", "two", "-1", ""])
def test_a_number_of_devices_that_is_none_is_refused(monkeypatch, asked):
    monkeypatch.setenv("FIXLIB_DEVICES", asked)
    with pytest.raises(ValueError, match="whole number from 1"):
        system.devices()


class TestPrecision:
    QUANTITIES = dict(
        val_loss=lambda run: run.history[-1]["val_loss"],
        test_loss=lambda run: run.payload["test_loss"],
        error_mean=lambda run: run.metrics["error_mean"]["value"],
    )

    def agrees_with_float32_within_the_spread_over_seeds(self, dataset, precision, quantities):
        seeds = (0, 1, 2, 3)
        exact, rough = (
            obtain("loss_comparison", dataset, "smoke", seeds=seeds, losses=["weighted_mse"], workers=1, precision=each)
            for each in ("32-true", precision)
        )
        assert rough.trained == len(seeds)  # the baselines, which train nothing, are the same runs
        for name in quantities:
            mine, theirs = (
                torch.tensor(
                    [self.QUANTITIES[name](study.run("weighted_mse", seed)) for seed in seeds], dtype=torch.float64
                )
                for study in (exact, rough)
            )
            assert not torch.equal(mine, theirs)  # it was another precision
            assert (mine - theirs).abs().max() < mine.max() - mine.min()

    def test_bfloat16_on_a_processor(self, project, dataset, no_gpu):
        self.agrees_with_float32_within_the_spread_over_seeds(dataset, "bf16-mixed", self.QUANTITIES)

    @pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
    @pytest.mark.parametrize("precision", ["tf32", "bf16-mixed", "16-mixed"])
    def test_others_on_a_gpu(self, project, dataset, precision):
        self.agrees_with_float32_within_the_spread_over_seeds(dataset, precision, ("val_loss", "error_mean"))

    def test_the_default_is_not_written_into_the_configuration_and_another_is(self, project, dataset):
        spec = loss_comparison.specs(dataset, "smoke", losses=["mse"])[0]
        assert obtain("loss_comparison", dataset, "smoke", losses=["mse"], workers=1).run("mse").spec == spec
        rough = obtain("loss_comparison", dataset, "smoke", losses=["mse"], workers=1, precision="bf16-mixed")
        assert rough.run("mse").spec.config.training.precision == "bf16" and rough.run("mse").spec != spec

    def test_the_scale_of_losses_in_16_bits_is_kept_with_the_rest(self):
        def parts(scale):
            model = nn.Linear(2, 1)
            optimiser = torch.optim.Adam(model.parameters())
            scaler = torch.amp.GradScaler("cpu", init_scale=scale)
            return (
                model,
                optimiser,
                torch.optim.lr_scheduler.ReduceLROnPlateau(optimiser),
                MixedPrecision("16-mixed", "cpu", scaler),
            )

        written, read = parts(8.0), parts(65536.0)
        restore(training_state(*written, [], {}), *read)
        assert read[-1].scaler.get_scale() == 8.0 and torch.equal(written[0].weight, read[0].weight)

    def test_one_that_does_not_exist_or_needs_a_gpu_is_refused(self, project, dataset, no_gpu):
        with pytest.raises(ValueError, match="unknown precision '8-bit'; choose one of 32-true"):
            obtain("loss_comparison", dataset, "smoke", precision="8-bit")
        for precision in ("tf32", "16-mixed"):
            with pytest.raises(ValueError, match=f"{precision} needs a GPU"):
                check_precision(precision)
