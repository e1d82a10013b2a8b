"""Precisions: bfloat16 gives what float32 gives to within the spread over seeds; nothing of the process is changed."""

import pytest
import torch
from torch import nn

from fixlib.chapters.loss_comparison import runs as loss_comparison
from fixlib.runs import obtain
from fixlib.training import check_precision, numerics, predict, train_model_with_loss


@pytest.fixture
def no_gpu(monkeypatch):
    """Neither here nor in the processes that are started."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def process_wide():
    """What other code of the process would notice."""
    convolutions, products = torch.backends.cudnn, torch.backends.cuda.matmul
    flags = convolutions.deterministic, convolutions.benchmark, convolutions.allow_tf32, products.allow_tf32
    switches = torch.are_deterministic_algorithms_enabled(), torch.is_autocast_enabled("cpu"), torch.is_grad_enabled()
    return *flags, *switches, torch.get_num_threads(), torch.get_default_dtype()


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_training_changes_nothing_of_the_process(precision, fails, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    monkeypatch.setattr("fixlib.system.keep_freed_memory", lambda: pytest.fail("of the whole process"))
    batches, before, model = [(torch.ones(2, 3), torch.ones(2, 1))], process_wide(), nn.Linear(3, 1)

    def loss(output, target):
        return (output - target).square().mean() * (float("nan") if fails else 1)

    try:
        train_model_with_loss(model, batches, batches, loss, 1, precision=precision, progress=False)
    except RuntimeError:
        assert fails
    predict(model, batches)
    assert process_wide() == before


def test_float32_is_float32_on_a_gpu_while_it_trains(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    with numerics("float32"):
        assert torch.backends.cudnn.deterministic
        assert not torch.backends.cudnn.allow_tf32 and not torch.backends.cuda.matmul.allow_tf32
    assert torch.backends.cudnn.allow_tf32 and not torch.backends.cudnn.deterministic


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
            for each in ("float32", precision)
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
        self.agrees_with_float32_within_the_spread_over_seeds(dataset, "bf16", self.QUANTITIES)

    @pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
    @pytest.mark.parametrize("precision", ["tf32", "bf16"])
    def test_others_on_a_gpu(self, project, dataset, precision):
        self.agrees_with_float32_within_the_spread_over_seeds(dataset, precision, ("val_loss", "error_mean"))

    def test_the_default_is_not_written_into_the_configuration_and_another_is(self, project, dataset):
        spec = loss_comparison.specs(dataset, "smoke", losses=["mse"])[0]
        assert obtain("loss_comparison", dataset, "smoke", losses=["mse"], workers=1).run("mse").spec == spec
        rough = obtain("loss_comparison", dataset, "smoke", losses=["mse"], workers=1, precision="bf16-mixed")
        assert rough.run("mse").spec.config.training.precision == "bf16" and rough.run("mse").spec != spec

    def test_one_that_does_not_exist_or_needs_a_gpu_is_refused(self, project, dataset, no_gpu):
        with pytest.raises(ValueError, match="unknown precision '8-bit'; choose one of float32"):
            obtain("loss_comparison", dataset, "smoke", precision="8-bit")
        with pytest.raises(ValueError, match="tf32 needs a GPU"):
            check_precision("tf32")

    def test_the_names_of_older_configurations_are_known(self):
        assert [check_precision(name) for name in ("32-true", "bf16-mixed", "bf16")] == ["float32", "bf16", "bf16"]
