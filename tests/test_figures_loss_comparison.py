"""The tables and figures of chapter 4, on hand-made runs whose answers can be worked out by head, and on the record."""

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
from fixlib.runs.study import NotRecorded, Study, changes

matplotlib.use("Agg")
SUBJECT, STIMULUS = np.repeat([0, 1, 2, 3], 6), np.tile(np.arange(6), 4)
METRICS = ("white_pixel_recall", "max_probability", "average_precision", "hit_3px", "error_median")


@pytest.fixture(autouse=True)
def no_figure_is_left_open():
    yield
    plt.close("all")


def make_run(variant, value=0.2, seed=0, loss=None, test_loss=0.5, history=True, profile="smoke"):
    """Scores `value` everywhere, falling by a tenth a frame; its loss is `test_loss` of that of the best constant."""
    model = dict(kind="simvp" if history else variant)
    training = dict(epochs=1 if history else 0)
    config = Config.from_json(dict(data=dict(dataset="osie"), model=model, loss=loss or {}, training=training))
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
            error_median=np.full(len(SUBJECT), value, np.float16),
        ),
        examples=dict(
            horizons=[1, 5, 10],
            n_in=10,
            maps=maps,
            peaks=np.full((2, 3), 0.25, np.float32),
            pixels=np.tile(np.arange(20, dtype=np.int16), (2, 1)),
        ),
    )
    spec = RunSpec("loss_comparison", "osie", variant, profile, seed, config, "0" * 16)
    run = Run(spec, Path(spec.filename), payload)
    if history:
        constant = tables.constant_of(run)
        losses = [(4.0, 3.0), (3.0, 1.0), (2.0, 2.0)]
        payload |= dict(test_loss=test_loss * constant, parameters=181_121)
        payload["history"] = [
            dict(epoch=e + 1, train_loss=t * constant, val_loss=v * constant) for e, (t, v) in enumerate(losses)
        ]
    return run


@pytest.fixture
def study():
    runs = [
        make_run(name, 0.1 * (index + 1), seed, loss=dict(name=name, **options))
        for index, (name, options) in enumerate({**LOSSES, "softmax_cross_entropy": {}}.items())
        for seed in (0, 1)
    ]
    runs += [make_run(name, 0.5, history=False) for name in (*tables.BASELINES, "centre", "transition_table")]
    return Study("osie", "osie", tuple(runs), 0)


class TestBestConstant:
    def test_a_loss_is_held_against_its_own_constant(self):
        run = make_run("mse", loss=dict(name="mse"))
        assert tables.constant_of(run) == pytest.approx(1 / 1024 * (1 - 1 / 1024))
        assert tables.over_constant(run) == pytest.approx(0.5)

    def test_a_seed_has_failed_where_it_gained_less_than_half_of_what_the_best_one_did(self):
        def seeds(*costs):
            runs = [make_run("dice", loss=dict(name="dice"), seed=i, test_loss=cost) for i, cost in enumerate(costs)]
            return [tables.failed(run, runs) for run in runs]

        assert seeds(0.88, 0.88, 0.95) == [False, False, True]
        assert seeds(0.88, 0.93, 1.0) == [False, False, True]
        assert seeds(1.0, 1.01, 1.2) == [False, False, False]  # none has learnt anything


class TestHeadline:
    def test_is_the_mean_over_seeds_beside_the_reference_on_the_same_windows(self, study):
        rows = {"Dice": study.runs_of("dice"), "Rule": study.runs_of("hold_then_prior")}
        found = tables.compared(rows, rows["Rule"])
        assert found.loc["Dice", "px"] == pytest.approx(0.6) and found.loc["Dice", tables.LOSS] == "0.500"
        assert found.loc["Dice", tables.DIFFERENCE] == "+0.10 [+0.10, +0.10]"
        assert found.loc["Rule", tables.LOSS] == found.loc["Rule", tables.DIFFERENCE] == "–"

    def test_bits_are_of_the_seeds_that_have_them_and_never_made_up(self, study):
        first, second = study.runs_of("dice")
        assert np.isnan(tables.compared(dict(Dice=[first, second]), [second]).loc["Dice", "bits"])
        first.metrics["bits"] = dict(value=1.5, low=1.0, high=2.0)
        assert tables.compared(dict(Dice=[first, second]), [second]).loc["Dice", "bits"] == 1.5

    def test_of_the_record_shows_the_failed_seed_and_can_be_shown(self):
        found = tables.headline()
        assert list(found.index[:4]) == [plots.name_of(name) for name in tables.BASELINES]
        assert found.index[found.index.get_loc("Dice") + 1] == "– Dice, seed 2, failed"
        assert found.loc["Composite", "px"] == pytest.approx(7.63, abs=0.01)
        assert found.loc["Dwell table", tables.DIFFERENCE] == "−0.17 [−0.30, −0.03]"
        assert "<b>" in plots.table(found, tables.WRITTEN, tables.BEST).html

    def test_bits_of_the_original_size_are_of_networks_trained_again_in_bfloat16(self):
        again, found = tables.repeated(), tables.headline()
        for name, run in again.items():
            assert run.spec.config.training.precision == "bf16" and run.spec.profile == "paper" and run.spec.seed == 0
            if name != "composite":
                assert found.loc[plots.name_of(name), "bits"] == run.metrics["bits"]["value"]
        assert "softmax_cross_entropy" in again
        # The record of the composite learnt, and its repetition did not: its bits are not those of the record.
        assert again["composite"].metrics["bits"]["value"] < 1 and np.isnan(found.loc["Composite", "bits"])
        within = tables.agreement().loc["Softmax cross-entropy", "within"].split(" of ")
        assert within[0] == within[1]

    def test_has_the_rows_that_are_recorded_by_now(self, monkeypatch):
        here = tables.recorded

        def recorded(experiment, dataset, profile, seeds, **choices):
            if profile == "paper":
                return here(experiment, dataset, profile, seeds, **choices)
            if experiment == "loss_comparison" and choices["losses"] != ("dice",):
                raise NotRecorded
            known = here("loss_comparison", "osie", "paper", (0,), losses=("dice",)).run("dice")
            name = "dice" if experiment == "loss_comparison" else "gru.10to10"
            spec = RunSpec(experiment, "osie", name, profile, 0, known.spec.config, "0" * 16)
            return Study("osie", "osie", (Run(spec, known.path, known.payload),))

        monkeypatch.setattr(tables, "recorded", recorded)
        monkeypatch.setattr("fixlib.runs.study.recorded", recorded)
        last = list(tables.headline().index[-2:])
        assert last == ["Dice, tuned (one seed)", "Sequence model (chapter 5)"]


class TestFigures:
    def test_the_best_epoch_is_marked_and_the_scale_is_the_best_constant(self, study):
        panels = figures.training_curves(study).axes
        assert "Concentration" not in [axes.get_title("left") for axes in panels]  # its best constant costs nothing
        panel = next(axes for axes in panels if axes.get_title("left") == "Dice")
        marks = [(line.get_xdata()[0], line.get_ydata()[0]) for line in panel.lines if line.get_marker() == "o"]
        assert marks == [(2, pytest.approx(1.0))] * 2
        assert list(panel.lines[0].get_ydata()) == [1, 1]

    def test_thresholds_are_those_of_the_losses(self, study):
        left, right = figures.certainty_by_horizon(study).axes
        assert [text.get_text() for text in left.texts][:3] == ["Focal: 0.75", "MSE: 0.5", "Weighted MSE: 0.0099"]
        curves = [line for line in right.lines if len(line.get_xdata()) == 10]
        assert curves[0].get_ydata() == pytest.approx(10 * (1 - 0.1 * np.arange(10)))  # MSE, in %
        assert len(curves) == 10

    def test_curves_that_lie_on_0_are_named_and_not_drawn(self, study):
        for run in study.runs_of("mse"):
            run.by_horizon["white_pixel_recall"] = [0.0] * 10
        right = figures.certainty_by_horizon(study).axes[1]
        assert len([line for line in right.lines if len(line.get_xdata()) == 10]) == 9
        assert right.texts[-1].get_text() == "below 1% at every frame:\nMSE"

    def test_the_threshold_sees_the_map_as_it_is_and_the_eye_stretched(self, study):
        panels = figures.examples(study).axes
        shown = np.array(panels).reshape(4, 8)
        raw, stretched = (axes.images[0].get_array() for axes in (shown[0, 1], shown[1, 1]))
        assert raw[5, 20] == pytest.approx(0.25 * 248) and stretched[5, 20] == 248
        ring = shown[2, 1].lines[0]
        assert (ring.get_xdata()[0], ring.get_ydata()[0]) == (14, 0)  # pixel 14: five frames after the tenth

    def test_errors_are_held_against_the_rule_frame_by_frame(self, study):
        (axes,) = figures.errors(study, ("dice", "repeat_last")).axes
        assert axes.lines[0].get_ydata() == pytest.approx(0.1 * (1 - 0.1 * np.arange(10)))
        assert axes.lines[1].get_ydata() == pytest.approx(np.zeros(10))  # repeating, as good as the rule here

    def test_names_at_the_ends_of_curves_do_not_overlap(self):
        axes = plt.figure().add_subplot(ylim=(0, 10))
        plots.label_ends(axes, [(5, "a", "k"), (5, "b", "k"), (5.1, "c", "k"), (9, "d", "k")], last=10)
        heights = [text.get_position()[1] for text in axes.texts]
        assert np.all(np.diff(heights) > 0.5) and heights[-1] == pytest.approx(9)

    def test_simulated_gaze_is_called_so(self, study):
        for run in study.runs:
            run.payload["simulated"] = True
        assert figures.errors(study).get_supxlabel() == "OSIE"  # by what was recorded, not by a name


def test_two_changed_settings_at_once_are_both_named():
    both = make_run("focal", loss=dict(name="focal", alpha=0.5, gamma=5.0))
    unchanged = make_run("focal", loss=dict(name="focal", alpha=0.25, gamma=2.0))
    assert changes(both, unchanged) == "alpha 0.5, gamma 5"
