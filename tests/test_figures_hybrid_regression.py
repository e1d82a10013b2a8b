"""The data behind the figures of chapter 4, on hand-made runs whose answers can be worked out by head."""

from pathlib import Path

import matplotlib
import numpy as np
import pytest

from fixlib.experiments.study import Study
from fixlib.figures import hybrid_regression as figures
from fixlib.figures.hybrid_regression import Predictor
from fixlib.results import Run, RunSpec

matplotlib.use("Agg")
SUBJECT, STIMULUS = np.repeat([0, 1, 2, 3], 6), np.tile(np.arange(6), 4)
AMPLITUDE = np.linspace(0.25, 20, len(SUBJECT))


def number(value):
    return dict(value=value, low=value - 0.5, high=value + 0.5)


def make_run(variant, errors, seed=0, history=True, undershoot=0.5):
    """A run whose windows err by `errors` (one number, or one a decoding: argmax, mean, median)."""
    decoded = dict(zip(("_argmax", "_mean", "_median"), errors)) if isinstance(errors, tuple) else {"": errors}
    metrics = {f"error{name}": number(value) for name, value in decoded.items()}
    metrics |= {"undershoot": number(undershoot), "max_probability": number(0.25)}
    if len(decoded) > 1:
        metrics["undershoot_median"] = number(undershoot + 1)
    windows = {f"error{name}": np.full(len(SUBJECT), value, np.float16) for name, value in decoded.items()}
    payload = dict(metrics=metrics, parameters=1234, per_window=dict(
        subject=SUBJECT, stimulus=STIMULUS, amplitude=AMPLITUDE.astype(np.float16), **windows))
    if history:
        payload["history"] = [dict(epoch=e + 1, train_loss=t, val_loss=v)
                              for e, (t, v) in enumerate([(4.0, 3.0), (3.0, 2.0), (1.0, 2.5)])]
    spec = RunSpec("hybrid_regression", "osie", variant, "smoke", seed, {}, "0" * 16)
    return Run(spec, Path(spec.filename), payload)


@pytest.fixture
def study():
    runs = []
    for framing, shift in (("fixations", 3.0), ("10hz", 0.0)):
        runs += [make_run(f"hybrid_l1.{framing}", 2.5 + shift), make_run(f"hybrid_l1.{framing}", 3.5 + shift, seed=1),
                 make_run(f"hybrid_mse.{framing}", 4.0 + shift),
                 make_run(f"frames_mse.{framing}", (2.0 + shift, 5.0 + shift, 4.5 + shift)),
                 make_run(f"gru_l1.{framing}", 2.25 + shift),
                 make_run(f"repeat_last.{framing}", 1.0 + shift, history=False, undershoot=0.0),
                 make_run(f"centre.{framing}", 8.0, history=False),
                 make_run(f"transition_table.{framing}", (7.0, 7.0, 1.5 + shift), history=False)]
    return Study("osie", "osie", tuple(runs), 0)


class TestPredictors:
    def test_least_error_comes_first_and_frame_networks_count_once_a_decoding(self, study):
        labels = [predictor.label for predictor in figures.predictors_of(study, "10hz")]
        assert labels == ["Repeat last point", "Transition table", "Frames, MSE (brightest)", "GRU on points, L1",
                          "Hybrid, L1", "Hybrid, MSE", "Frames, MSE (median)", "Centre"]

    def test_the_best_is_sought_among_networks_or_baselines(self, study):
        assert figures.best(study, "10hz") == Predictor("frames_mse.10hz", "argmax")
        assert figures.best(study, "10hz", "hybrid") == Predictor("hybrid_l1.10hz")
        assert figures.best(study, "fixations", trained=False) == Predictor("repeat_last.fixations")

    def test_undershoot_follows_the_decoding(self, study):
        run = study.run("frames_mse.10hz")
        assert Predictor("frames_mse.10hz", "median").undershoot_of(run)["value"] == 1.5
        assert Predictor("frames_mse.10hz", "argmax").undershoot_of(run)["value"] == 0.5


class TestComparisons:
    def test_errors_and_intervals_are_averaged_over_seeds(self, study):
        assert figures.error(study, Predictor("hybrid_l1.10hz")) == dict(value=3.0, low=2.5, high=3.5)
        assert figures.window_errors(study, Predictor("hybrid_l1.10hz")) == pytest.approx(3.0)

    def test_a_difference_is_a_minus_b_on_the_same_windows(self, study):
        found = figures.error_difference(study, Predictor("hybrid_mse.10hz"), Predictor("hybrid_l1.10hz"))
        assert found == pytest.approx(dict(value=1.0, low=1.0, high=1.0))

    def test_the_table_says_who_is_within_3_px(self, study):
        table = figures.error_table(study, "10hz")
        assert list(table.loc["Hybrid, L1"]) == ["3.00", "[2.50, 3.50]", "50", "1,234"]  # one seed of two
        assert list(table["within 3 px (%)"][["Repeat last point", "Centre"]]) == ["100", "0"]

    def test_decodings_stand_side_by_side(self, study):
        table = figures.decoding_table(study)
        assert list(table.loc["Frames, MSE (one frame every 100 ms)"]) == ["2.00", "5.00", "4.50", "0.25"]

    def test_course_of_training(self, study):
        assert figures.course(study.run("gru_l1.10hz").history) == dict(best_epoch=2, rise=0.25, gap=0.4)
        row = figures.training_table(study).loc["GRU on points, L1 (one frame a fixation)"]
        assert list(row) == ["2 of 3", "25%", "0.40"]

    def test_rate_at_which_doing_nothing_reaches_an_error(self):
        rates = [dict(rate_hz=rate, repeat_last_error=32 / rate) for rate in (2.0, 8.0, 32.0)]
        assert figures.rate_of_error(rates, 4) == pytest.approx(8) and figures.rate_of_error(rates, 2) == pytest.approx(16)
        assert np.isnan(figures.rate_of_error(rates, 20)) and np.isnan(figures.rate_of_error(rates, 0.5))

    def test_bins_hold_their_left_edge(self):
        centres, means = figures.binned_means(np.array([0.0, 1.0, 1.5, 9.0]), np.array([1.0, 2.0, 4.0, 8.0]), (0, 1, 2, 4, 46))
        assert list(centres) == [0, 1.25, 9] and list(means) == [1, 3, 8]


class TestFigures:
    def test_errors_show_every_predictor_with_both_lines_of_the_claim(self, study):
        axes = figures.errors(study).axes[1]
        assert axes.get_title(loc="left") == "One frame every 100 ms" and len(axes.get_yticklabels()) == 8
        assert axes.get_yticklabels()[-1].get_text() == "Repeat last point"
        vertical = {line.get_xdata()[0] for line in axes.lines if line.get_linestyle() == "--"}
        assert vertical == {5.12, 3.0} and "3.00" in {text.get_text() for text in axes.texts}

    def test_differences_leave_the_hybrid_out_and_put_better_predictors_left(self, study):
        axes = figures.differences(study).axes[1]
        assert "Hybrid, L1" not in [label.get_text() for label in axes.get_yticklabels()]
        assert [text.get_text() for text in axes.texts][:1] == ["+5.00"] and "-2.00" in [t.get_text() for t in axes.texts]

    def test_cumulative_errors_rise_to_all_windows(self, study):
        lines = {line.get_label(): line for line in figures.error_histogram(study).axes[1].lines}
        assert set(lines["Repeat last point"].get_xdata()) == {1.0} and lines["Centre"].get_ydata()[-1] == 100

    def test_movement_bins_hold_all_windows(self, study):
        axes = figures.error_by_amplitude(study).axes[0]
        shares = [int(text.get_text().strip("%")) for text in axes.texts]
        assert len(shares) == 6 and abs(sum(shares) - 100) <= 3
        assert {len(line.get_xdata()) for line in axes.lines} == {6}

    def test_undershoot_and_convergence_are_drawn_for_every_network(self, study):
        undershoot = figures.undershoot(study).axes[0]
        assert len(undershoot.get_yticklabels()) == 8
        convergence = figures.convergence(study).axes[0]
        solid = {line.get_label(): line.get_ydata() for line in convergence.lines if not line.get_label().startswith("_")}
        assert set(solid) == {"Hybrid, L1", "Hybrid, MSE", "Frames, MSE", "GRU on points, L1"}
        assert list(solid["Hybrid, L1"]) == [1.5, 1.0, 1.25]

    def test_frame_rate_marks_where_doing_nothing_meets_the_claim(self):
        rates = [dict(rate_hz=rate, repeat_last_error=32 / rate, repeat_last_error_interval=[30 / rate, 34 / rate])
                 for rate in (2.0, 8.0, 32.0)]
        spec = RunSpec("sparsity", "osie", "description", "smoke", 0, {}, "0" * 16)
        run = Run(spec, Path(spec.filename), dict(rates=rates, statistics=dict(amplitude_mean=6.4)))
        axes = figures.frame_rate(Study("osie", "osie", (run,), 0)).axes[0]
        texts = {text.get_text() for text in axes.texts}
        assert {"6.2 Hz", "10.7 Hz"} <= texts and any("6.40" in text for text in texts)
