"""The simulated control: networks beside an exact optimum that none of them may beat."""

from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest

from fixlib.chapters.simulated_control import figures, tables
from fixlib.chapters.simulated_control import runs as simulated_control
from fixlib.runs.config import Config, Data, Loss, Model, RunSpec
from fixlib.runs.store import Results, Run
from fixlib.runs.study import Study, difference, facts

matplotlib.use("Agg")
SUBJECT, STIMULUS = np.repeat([0, 1, 2, 3], 6), np.tile(np.arange(6), 4)


def make_run(variant, *, error, loss=None, test_loss=None, f1=0.2, seed=0, trained=True):
    metrics = {
        name: dict(value=value, low=value - 0.05, high=value + 0.05)
        for name, value in (("white_pixel_recall", 0.3), ("best_f1", f1), ("average_precision", f1))
    }
    name = "error_median" if loss else "error"
    metrics[name] = dict(value=error, low=error - 0.1, high=error + 0.1)
    errors = error + 0.01 * np.cos(np.arange(len(SUBJECT)))
    windows = {"subject": SUBJECT, "stimulus": STIMULUS, "frames": np.ones(len(SUBJECT)), name: errors}
    payload = dict(metrics=metrics, per_window=windows, content_sha256=dict(test="0"), data_label="x", simulated=True)
    if test_loss is not None:
        payload["test_loss"] = test_loss
    if trained:
        payload["history"] = [dict(epoch=1, train_loss=1.0, val_loss=1.0)]
    kind = "optimum" if not trained else "simvp" if loss else "regression"
    config = Config(Data("simulated", rate_hz=10.0), Model(kind), Loss(loss or "l1"))
    spec = RunSpec("simulated_control", "simulated", variant, "smoke", seed, config, "0" * 16)
    return Run(spec, Path(spec.filename), payload)


def make_study(**changes):
    runs = [
        make_run("frames_mse.10hz", **{**dict(error=4.0, loss="mse", test_loss=0.0008), **changes}, seed=seed)
        for seed in (0, 1)
    ]
    runs += [
        make_run("hybrid_l1.10hz", error=changes.get("error", 4.0)),
        make_run("optimum_mse.10hz", error=3.0, loss="mse", test_loss=0.0006, f1=0.5, trained=False),
        make_run("optimum_density.10hz", error=3.0, loss="density", f1=0.5, trained=False),
    ]
    return Study("simulated", "simulated", tuple(runs), 0)


class TestLeftToLearn:
    @pytest.mark.parametrize("test_loss, left", [(0.0006, 0.0), ((1 / 1024) * (1023 / 1024), 1.0), (0.0018, 3.19)])
    def test_is_0_at_the_optimum_and_1_at_the_best_constant(self, test_loss, left):
        study = make_study(test_loss=test_loss)
        found = tables.left_to_learn(study.run("frames_mse.10hz"), study.run("optimum_mse.10hz"))
        assert found == pytest.approx(left, abs=0.01)

    def test_is_undefined_where_the_constant_is_the_optimum(self):
        black = make_run("frames_concentration.10hz", error=9.0, loss="concentration", test_loss=0.01)
        optimum = make_run("optimum_concentration.10hz", error=9.0, loss="concentration", test_loss=0.0, trained=False)
        assert np.isnan(tables.left_to_learn(black, optimum))


LUCK = 0.03  # of a loss: more than 600 windows can be kind by


def beyond_possible(study, variant):
    """Where a network's runs are better than anyone can be, beyond their 95% interval: not luck, but a bug.

    No ranking of pixels beats that of the true probabilities (average precision, best F1), no density their bits, no
    point their geometric median (errors, paired by window), no output the optimum under its own loss. Runs keep no
    interval of the loss: below the optimum's by more than LUCK is called beyond.
    """
    true, found = tables.optimum(study, facts(study.run(variant))["framing"], "density"), []
    for run in study.runs_of(variant):
        scores = {"average_precision", "best_f1", "information_gain_uniform"} & set(run.metrics)
        better = [name for name in scores if run.metrics[name]["low"] > true.metrics[name]["value"]]
        errors = {"error", "error_argmax", "error_median"} & set(run.per_window)
        better += [name for name in errors if difference([true], [run], "error_median", name)["low"] > 0]
        if "test_loss" in run.payload and "information_gain_uniform" not in run.metrics:
            least = tables.optimum_of(study, variant).payload["test_loss"]
            better += ["test_loss"] if run.payload["test_loss"] < (1 - LUCK) * least else []
        found += [f"{variant}, seed {run.spec.seed}: {name}" for name in sorted(better)]
    return found


class TestBeyondPossible:
    def test_worse_than_the_optimum_is_as_it_should_be(self):
        study = make_study()
        assert not beyond_possible(study, "frames_mse.10hz") + beyond_possible(study, "hybrid_l1.10hz")

    @pytest.mark.parametrize(
        "change, metric",
        [(dict(error=2.5), "error_median"), (dict(f1=0.7), "best_f1"), (dict(test_loss=0.0005), "test_loss")],
    )
    def test_better_is_named_with_its_seed(self, change, metric):
        found = beyond_possible(make_study(**change), "frames_mse.10hz")
        assert [f"frames_mse.10hz, seed {seed}: {metric}" in found for seed in (0, 1)] == [True, True]

    def test_a_hybrid_that_is_better_is_found_too(self):
        assert beyond_possible(make_study(error=2.5), "hybrid_l1.10hz") == ["hybrid_l1.10hz, seed 0: error"]


def test_the_figure_shows_every_network_seed_and_optimum():
    axes = figures.beside_optimum(make_study()).axes
    try:
        assert [label.get_text() for label in axes[0].get_yticklabels()] == ["MSE"]
        for panel, best in zip(axes, (0.0, 0.3, 0.5, 3.0)):
            marks = [line for line in panel.lines if line.get_marker() == "D"]
            assert [float(mark.get_xdata()[0]) for mark in marks] == [pytest.approx(best)]
            assert len([line for line in panel.lines if line.get_marker() == "o"]) == 2
    finally:
        plt.close("all")


def test_no_recorded_network_is_better_than_the_best_possible():
    runs = tuple(Results().read(spec) for spec in simulated_control.specs("simulated", "quick", (0, 1, 2)))
    study = Study("simulated", "simulated", runs, 0)
    beyond = [found for name in study.variants(trained=True) for found in beyond_possible(study, name)]
    assert not beyond, "a bug in the networks' scores or in the optimum: " + "; ".join(beyond)
