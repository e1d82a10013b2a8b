"""The simulated control: networks beside an exact optimum that none of them may beat."""

from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest

from fixlib.chapters.simulated_control import figures, tables
from fixlib.runs.config import Config, Data, Loss, Model, RunSpec, Training
from fixlib.runs.store import Run
from fixlib.runs.study import Study, difference, facts, recorded

matplotlib.use("Agg")
SUBJECT, STIMULUS = np.repeat([0, 1, 2, 3], 6), np.tile(np.arange(6), 4)


def make_run(variant, *, error, loss=None, test_loss=None, bits=None, ap=0.2, seed=0, kind="simvp", n_out=10):
    metrics = {
        name: dict(value=value, low=value - 0.05, high=value + 0.05)
        for name, value in (("bits", bits), ("best_f1", ap), ("average_precision", ap))
        if value is not None
    }
    name = "error_median" if n_out > 1 and loss != "distance" else "error"
    metrics[name] = dict(value=error, low=error - 0.1, high=error + 0.1)
    errors = error + 0.01 * np.cos(np.arange(len(SUBJECT)))
    windows = {"subject": SUBJECT, "stimulus": STIMULUS, "frames": np.ones(len(SUBJECT)), name: errors}
    payload = dict(metrics=metrics, per_window=windows, content_sha256=dict(test="0"), data_label="x", simulated=True)
    if bits is not None:
        windows["bits"] = bits + 0.01 * np.sin(np.arange(len(SUBJECT)))
    if test_loss is not None:
        payload["test_loss"] = test_loss
    if kind in ("simvp", "regression"):
        payload["history"] = [dict(epoch=1, train_loss=1.0, val_loss=1.0)]
    where = Data("simulated", n_in=10 if n_out > 1 else 4, n_out=n_out)
    config = Config(where, Model(kind), Loss(loss or ""), Training(int(kind in ("simvp", "regression"))))
    spec = RunSpec("simulated_control", "simulated", variant, "smoke", seed, config, "0" * 16)
    return Run(spec, Path(spec.filename), payload)


def make_study(**changes):
    """Ten frames ahead: MSE of two seeds, repeating, and optima."""
    found = dict(error=8.0, loss="mse", test_loss=0.0009, bits=1.2) | changes
    runs = [make_run("mse", **found, seed=seed) for seed in (0, 1)]
    runs += [
        make_run("repeat_last", error=8.3, ap=0.02, kind="repeat_last"),
        make_run("optimum_mse", error=7.0, loss="mse", test_loss=0.0008, bits=1.6, ap=0.5, kind="optimum"),
        make_run("optimum_density", error=7.0, loss="density", bits=1.7, ap=0.5, kind="optimum"),
        make_run("optimum_distance", error=6.9, loss="distance", kind="optimum"),
    ]
    return Study("simulated", "simulated", tuple(runs), 0)


def hybrid_study(error):
    """One frame ahead: a hybrid, and optima."""
    runs = (
        make_run("hybrid_l1.10hz", error=error, loss="l1", kind="regression", n_out=1),
        make_run("optimum_density.10hz", error=2.1, loss="density", ap=0.5, kind="optimum", n_out=1),
        make_run("optimum_distance.10hz", error=2.0, loss="distance", kind="optimum", n_out=1),
    )
    return Study("simulated", "simulated", runs, 0)


class TestLeftToLearn:
    @pytest.mark.parametrize("test_loss, left", [(0.0008, 0.0), ((1 / 1024) * (1023 / 1024), 1.0), (0.0015, 3.99)])
    def test_is_0_at_the_optimum_and_1_at_the_best_constant(self, test_loss, left):
        study = make_study(test_loss=test_loss)
        found = tables.left_to_learn(study.run("mse"), tables.optimum_of(study, "mse"))
        assert found == pytest.approx(left, abs=0.01)

    def test_is_undefined_where_the_constant_is_the_optimum(self):
        black = make_run("concentration", error=9.0, loss="concentration", test_loss=0.01)
        optimum = make_run("optimum_concentration", error=9.0, loss="concentration", test_loss=0.0, kind="optimum")
        assert np.isnan(tables.left_to_learn(black, optimum))


LUCK = 0.03  # of a loss: more than 600 windows can be kind by


def beyond_possible(study, variant):
    """Where a network's runs are better than anyone can be, beyond their 95% interval: not luck, but a bug.

    No ranking of pixels beats that of the true probabilities (average precision, best F1), no density their bits
    (paired by window where both keep them), no point that of least expected error (paired by window), no output the
    optimum under its own loss. Runs keep no interval of the loss: below the optimum's by more than LUCK is beyond.
    """
    about, found = facts(study.run(variant)), []
    true, point = (tables.optimum(study, about["framing"], name) for name in ("density", "distance"))
    for run in study.runs_of(variant):
        scores = {"average_precision", "best_f1", "information_gain_uniform"} & set(run.metrics)
        better = [name for name in scores if run.metrics[name]["low"] > true.metrics[name]["value"]]
        if "bits" in {*run.per_window} & {*true.per_window}:
            better += ["bits"] if difference([run], [true], "bits")["low"] > 0 else []
        errors = {"error", "error_argmax", "error_median"} & set(run.per_window)
        better += [name for name in errors if difference([point], [run], "error", name)["low"] > 0]
        if "test_loss" in run.payload and "information_gain_uniform" not in run.metrics:
            least = tables.optimum_of(study, variant).payload["test_loss"]
            better += ["test_loss"] if run.payload["test_loss"] < (1 - LUCK) * least else []
        found += [f"{variant}, seed {run.spec.seed}: {name}" for name in sorted(better)]
    return found


class TestBeyondPossible:
    def test_worse_than_the_optimum_is_as_it_should_be(self):
        study = make_study()
        assert not beyond_possible(study, "mse") + beyond_possible(study, "repeat_last")
        assert not beyond_possible(hybrid_study(3.0), "hybrid_l1.10hz")

    @pytest.mark.parametrize(
        "change, metric",
        [
            (dict(error=6.0), "error_median"),
            (dict(ap=0.7), "best_f1"),
            (dict(bits=1.9), "bits"),
            (dict(test_loss=0.0007), "test_loss"),
        ],
    )
    def test_better_is_named_with_its_seed(self, change, metric):
        found = beyond_possible(make_study(**change), "mse")
        assert [f"mse, seed {seed}: {metric}" in found for seed in (0, 1)] == [True, True]

    def test_a_hybrid_that_is_better_is_found_too(self):
        assert beyond_possible(hybrid_study(1.5), "hybrid_l1.10hz") == ["hybrid_l1.10hz, seed 0: error"]


def test_the_figure_shows_every_network_seed_and_optimum_and_repeating_in_every_panel():
    axes = figures.beside_optimum(make_study()).axes
    try:
        assert [label.get_text() for label in axes[0].get_yticklabels()] == ["MSE", "Repeat last pixel"]
        for panel, best in zip(axes, (0.0, 1.6, 0.5, 7.0)):
            hollow = [line for line in panel.lines if line.get_marker() == "D" and line.get_markerfacecolor() == "none"]
            assert float(hollow[0].get_xdata()[0]) == pytest.approx(best)
            assert (
                len([line for line in panel.lines if line.get_color() == "#000000" and line.get_marker() == "o"]) == 2
            )
        for panel, idle in zip(axes[2:], (0.02, 8.3)):
            repeating = [
                line for line in panel.lines if line.get_marker() == "D" and line.get_markerfacecolor() != "none"
            ]
            assert [float(line.get_xdata()[0]) for line in repeating] == [pytest.approx(idle)]
        anyone = [line.get_xdata()[0] for panel in axes for line in panel.lines if list(line.get_ydata()) == [0, 1]]
        assert anyone == [1.7, 0.5, 6.9]  # the exact density, and the point of least expected error
    finally:
        plt.close("all")


@pytest.mark.parametrize(
    "tasks, seeds", [(("10to10",), (0,)), (("4to1_10hz",), (0, 1, 2)), (("4to1_fixations",), (0, 1, 2))]
)
def test_nothing_recorded_is_better_than_the_best_possible(tasks, seeds):
    study = recorded("simulated_control", "simulated", "quick", seeds, tasks=tasks)
    rivals = [name for name in study.variants() if facts(study.run(name))["model"] != "optimum"]
    beyond = [found for name in rivals for found in beyond_possible(study, name)]
    assert not beyond, "a bug in the networks' scores or in the optimum: " + "; ".join(beyond)
