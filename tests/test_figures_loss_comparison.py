"""The data behind the figures of chapter 4, on hand-made runs whose answers can be worked out by head."""

from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest

from fixlib import plots
from fixlib.chapters.loss_comparison import figures, tables
from fixlib.chapters.loss_comparison.runs import LOSSES
from fixlib.runs.config import Config, RunSpec
from fixlib.runs.store import Run
from fixlib.runs.study import Study, changes

matplotlib.use("Agg")
SUBJECT, STIMULUS = np.repeat([0, 1, 2, 3], 6), np.tile(np.arange(6), 4)
METRICS = (
    "white_pixel_recall",
    "white_pixel_precision",
    "f1_score",
    "max_probability",
    "average_precision",
    "hit_3px",
    "error_argmax",
    "error_mean",
    "error_median",
)


@pytest.fixture(autouse=True)
def no_figure_is_left_open():
    yield
    plt.close("all")


def make_run(
    variant,
    value=0.2,
    seed=0,
    loss=None,
    test_loss=1.0,
    history=True,
    experiment="loss_comparison",
    model=None,
    parameters=181_121,
):
    """A run that scores `value` everywhere, falling by a tenth a frame."""
    model = model or dict(kind="simvp" if history else variant)
    config = Config.from_json(dict(data=dict(dataset="osie"), model=model, loss=loss or {}))
    maps = np.zeros((2, 3, 32, 32), np.uint8)
    maps[:, :, 5, 20] = 248
    payload = dict(
        data_label="OSIE",
        simulated=False,
        content_sha256=dict(test="0"),
        metrics={name: dict(value=value, low=value - 0.1, high=value + 0.1) for name in METRICS},
        by_horizon={name: [value * (1 - 0.1 * t) for t in range(10)] for name in METRICS},
        per_window=dict(
            subject=SUBJECT,
            stimulus=STIMULUS,
            frames=np.full(len(SUBJECT), 10),
            hit_3px=np.full(len(SUBJECT), value, np.float16),
        ),
        examples=dict(
            horizons=[1, 5, 10],
            n_in=10,
            maps=maps,
            peaks=np.full((2, 3), 0.25, np.float32),
            pixels=np.tile(np.arange(20, dtype=np.int16), (2, 1)),
        ),
    )
    if history:
        payload |= dict(
            test_loss=test_loss,
            parameters=parameters,
            history=[
                dict(epoch=e + 1, train_loss=t, val_loss=v)
                for e, (t, v) in enumerate([(4.0, 3.0), (3.0, 1.0), (2.0, 2.0)])
            ],
        )
    spec = RunSpec(experiment, "osie", variant, "smoke", seed, config, "0" * 16)
    return Run(spec, Path(spec.filename), payload)


@pytest.fixture
def study():
    runs = [
        make_run(name, 0.1 * (index + 1), seed, loss=dict(name=name, **options))
        for index, (name, options) in enumerate(LOSSES.items())
        for seed in (0, 1)
    ]
    baselines = ("repeat_last", "centre", "centre_bias", "transition_table")
    runs += [make_run(name, 0.5, history=False) for name in baselines]
    return Study("osie", "osie", tuple(runs), 0)


@pytest.fixture
def ablated():
    composite = dict(name="composite", **LOSSES["composite"])
    changed = {
        "composite_focal_0": {**composite, "focal_weight": 0.0},
        "composite_concentration_10": {**composite, "concentration_weight": 15.0},
        "composite_normalised": {**composite, "normalise": True},
        "focal_gamma_5": dict(name="focal", alpha=0.25, gamma=5.0),
        "weighted_mse_300": dict(name="weighted_mse", pos_weight=300.0),
        "bce": dict(name="bce"),
    }
    as_they_are = ("mse", "focal", "composite", "weighted_mse")
    changed = {name: dict(name=name, **LOSSES[name]) for name in as_they_are} | changed
    runs = [make_run(name, loss=loss, experiment="loss_ablations") for name, loss in changed.items()]
    prior = dict(kind="simvp", prior_probability=0.01)
    runs.append(make_run("mse_prior", loss=dict(name="mse"), model=prior, experiment="loss_ablations"))
    return Study("osie", "osie", tuple(runs), 0)


class TestBestConstant:
    def test_a_network_is_told_from_a_constant(self):
        assert not tables.beaten_constant(make_run("mse", loss=dict(name="mse"), test_loss=0.00098))
        assert tables.beaten_constant(make_run("mse", loss=dict(name="mse"), test_loss=0.00097))
        twice = make_run("mse", loss=dict(name="mse"), test_loss=2 / 1024 * (1 - 1 / 1024))
        assert tables.over_constant(twice) == pytest.approx(2, rel=1e-6)


class TestDifference:
    def test_is_the_mean_over_windows_and_seeds(self, study):
        found = study.difference("dice", "mse", "hit_3px")
        assert found["value"] == pytest.approx(0.5, abs=1e-3)
        assert found["low"] == pytest.approx(found["high"], abs=1e-3)

    def test_the_second_may_be_of_another_study(self, study, ablated):
        assert study.difference("focal", "bce", "hit_3px", ablated)["value"] == pytest.approx(0, abs=1e-3)


class TestAblationRows:
    def test_name_what_was_changed_beside_the_unchanged(self, ablated):
        rows = figures.ablation_lines(ablated)
        assert [(row.label, len(runs)) for row, runs in rows] == [
            ("MSE", 0),
            ("as compared", 1),
            ("prior bias 0.01", 1),
            ("Focal", 0),
            ("as compared", 1),
            ("gamma 5", 1),
            ("Composite", 0),
            ("as compared", 1),
            ("focal off", 1),
            ("concentration x 10", 1),
            ("concentration normalised", 1),
            ("Weighted MSE", 0),
            ("as compared", 1),
            ("weight 300", 1),
            ("As they are", 0),
            ("BCE", 1),
        ]

    def test_two_changes_at_once_are_both_named(self):
        both = make_run("focal", loss=dict(name="focal", alpha=0.5, gamma=5.0))
        unchanged = make_run("focal", loss=dict(name="focal", alpha=0.25, gamma=2.0))
        assert changes(both, unchanged) == "alpha 0.5, gamma 5"


class TestSizeRows:
    def test_a_loss_has_a_line_for_each_size_it_was_trained_at(self, study):
        large = Study(
            "osie",
            "osie",
            (
                make_run("dice", 0.3, loss=dict(name="dice"), parameters=18_603_009),
                make_run("bce", 0.4, loss=dict(name="bce"), parameters=18_603_009),
            ),
            0,
        )
        rows = figures.size_lines([study, large])
        assert [(row.label, [run.metrics["hit_3px"]["value"] for run in runs]) for row, runs in rows] == [
            ("Dice", []),
            ("0.18M, 3 epochs", pytest.approx([0.6, 0.6])),
            ("19M, 3 epochs", [0.3]),
            ("BCE", []),
            ("19M, 3 epochs", [0.4]),
        ]


class TestFigures:
    def test_every_loss_and_seed_is_drawn_with_its_interval(self, study):
        axes = figures.scores_at_half(study).axes
        assert [panel.get_title("left") for panel in axes] == ["Recall at 0.5", "Precision at 0.5", "F1 at 0.5"]
        labels = [label.get_text() for label in axes[0].get_yticklabels()]
        assert labels[:2] == ["MSE", "Focal"] and labels[-1] == "Transition table" and len(labels) == 11
        intervals = [line.get_xdata() for line in axes[0].lines if len(line.get_xdata()) == 2]
        assert len(intervals) == 7 * 2 + 4 and intervals[0] == pytest.approx([0.0, 0.2])

    def test_the_best_epoch_is_marked_and_the_best_constant_drawn(self, study):
        panel = next(axes for axes in figures.training_curves(study).axes if axes.get_title("left") == "Dice")
        marks = [(line.get_xdata()[0], line.get_ydata()[0]) for line in panel.lines if line.get_marker() == "o"]
        assert marks == [(2, 1.0)] * 2
        assert any(list(line.get_ydata()) == pytest.approx([1 - 2 / 1025] * 2) for line in panel.lines)

    def test_thresholds_are_those_of_the_losses(self, study):
        left, right = figures.certainty_by_horizon(study).axes
        assert [text.get_text() for text in left.texts][:3] == ["Focal: 0.75", "MSE: 0.5", "Weighted MSE: 0.0099"]
        curves = [line for line in right.lines if len(line.get_xdata()) == 10]
        assert curves[0].get_ydata() == pytest.approx(10 * (1 - 0.1 * np.arange(10)))  # MSE, in %
        assert len(curves) == 9

    def test_the_threshold_sees_the_map_as_it_is_and_the_eye_stretched(self, study):
        panels = figures.examples(study).axes
        shown = np.array(panels).reshape(4, 8)
        raw, stretched = (axes.images[0].get_array() for axes in (shown[0, 1], shown[1, 1]))
        assert raw[5, 20] == pytest.approx(0.25 * 248) and stretched[5, 20] == 248
        ring = shown[2, 1].lines[0]
        assert (ring.get_xdata()[0], ring.get_ydata()[0]) == (14, 0)  # pixel 14: five frames after the tenth

    def test_errors_and_scores_and_ablations_are_drawn(self, study, ablated):
        assert len(figures.errors(study).axes) == 3
        assert len(figures.scores_without_threshold(study).axes) == 5
        assert len(figures.ablations(ablated).axes) == 4

    def test_names_at_the_ends_of_curves_do_not_overlap(self):
        axes = plt.figure().add_subplot(ylim=(0, 10))
        plots.label_ends(axes, [(5, "a", "k"), (5, "b", "k"), (5.1, "c", "k"), (9, "d", "k")], last=10)
        heights = [text.get_position()[1] for text in axes.texts]
        assert np.all(np.diff(heights) > 0.5) and heights[-1] == pytest.approx(9)

    def test_undefined_numbers_do_not_stop_a_figure(self, study):
        for run in study.runs:
            run.metrics["average_precision"].update(low=np.nan, high=np.nan)
        assert figures.scores_without_threshold(study)

    def test_simulated_gaze_is_called_so(self, study):
        for run in study.runs:
            run.payload["simulated"] = True
        assert figures.scores_at_half(study).get_supxlabel() == "OSIE"  # by what was recorded, not by a name
