"""The data behind the figures of chapter 6, on hand-made runs whose answers can be worked out by head."""

from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from fixlib.chapters.hybrid_regression import figures, tables
from fixlib.chapters.hybrid_regression.tables import Predictor
from fixlib.runs.config import Config, Data, Loss, Model, RunSpec
from fixlib.runs.store import Run
from fixlib.runs.study import Study

matplotlib.use("Agg")
BOTH = "measured (one frame a fixation / one frame every 100 ms)"
FIXATIONS, AT_10HZ = "One frame a fixation", "One frame every 100 ms"
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
    payload = dict(
        metrics=metrics,
        parameters=1234,
        data_label="OSIE",
        simulated=False,
        content_sha256=dict(test=variant.partition(".")[2]),
        per_window=dict(
            subject=SUBJECT,
            stimulus=STIMULUS,
            frames=np.ones(len(SUBJECT)),
            amplitude=AMPLITUDE.astype(np.float16),
            **windows,
        ),
    )
    if history:
        payload["history"] = [
            dict(epoch=e + 1, train_loss=t, val_loss=v) for e, (t, v) in enumerate([(4.0, 3.0), (3.0, 2.0), (1.0, 2.5)])
        ]
    name, _, framing = variant.partition(".")
    kind, _, loss = name.partition("_")
    model = {"hybrid": "regression", "frames": "simvp", "gru": "gru", "optimum": "optimum"}.get(kind, name)
    options = dict(hid_T=256) if loss.endswith("_narrow") else {}
    config = Config(
        Data("osie", rate_hz=None if framing == "fixations" else 10.0, n_in=4, n_out=1),
        Model(model, options),
        Loss("l2" if name == "hybrid_mse" else loss.removesuffix("_narrow")),
    )
    spec = RunSpec("hybrid_regression", "osie", variant, "smoke", seed, config, "0" * 16)
    return Run(spec, Path(spec.filename), payload)


def predictor(study, variant, decoding=""):
    return Predictor(tuple(study.runs_of(variant)), decoding)


@pytest.fixture
def study():
    runs = []
    for framing, shift in (("fixations", 3.0), ("10hz", 0.0)):
        runs += [
            make_run(f"hybrid_l1.{framing}", 2.5 + shift),
            make_run(f"hybrid_l1.{framing}", 3.5 + shift, seed=1),
            make_run(f"hybrid_mse.{framing}", 4.0 + shift),
            make_run(f"frames_mse.{framing}", (2.0 + shift, 5.0 + shift, 4.5 + shift)),
            make_run(f"gru_l1.{framing}", 2.25 + shift),
            make_run(f"repeat_last.{framing}", 1.0 + shift, history=False, undershoot=0.0),
            make_run(f"centre.{framing}", 8.0, history=False),
            make_run(f"transition_table.{framing}", (7.0, 7.0, 1.5 + shift), history=False),
        ]
    return Study("osie", "osie", tuple(runs), 0)


class TestPredictors:
    def test_least_error_comes_first_and_frame_networks_count_once_a_decoding(self, study):
        labels = [predictor.label for predictor in tables.predictors_of(study, AT_10HZ)]
        assert labels == [
            "Repeat last point",
            "Transition table",
            "Frames, MSE (brightest)",
            "GRU on points, L1",
            "Hybrid, L1",
            "Hybrid, MSE",
            "Frames, MSE (median)",
            "Centre",
        ]

    def test_the_best_frame_network_has_a_decoding(self, study):
        assert tables.best_frames(study, AT_10HZ) == predictor(study, "frames_mse.10hz", "_argmax")
        assert tables.find(study, AT_10HZ, "hybrid_l1") == predictor(study, "hybrid_l1.10hz")
        assert tables.predictors_of(study, FIXATIONS, trained=False)[0] == predictor(study, "repeat_last.fixations")

    def test_undershoot_follows_the_decoding(self, study):
        assert predictor(study, "frames_mse.10hz", "_median").undershoot["value"] == 1.5
        assert predictor(study, "frames_mse.10hz", "_argmax").undershoot["value"] == 0.5


class TestComparisons:
    def test_errors_and_intervals_are_averaged_over_seeds(self, study):
        hybrid = predictor(study, "hybrid_l1.10hz")
        assert hybrid.error == dict(value=3.0, low=2.5, high=3.5)
        assert hybrid.window_errors().mean(axis=0) == pytest.approx(3.0)

    def test_a_difference_is_a_minus_b_on_the_same_windows(self, study):
        found = predictor(study, "hybrid_mse.10hz").minus(predictor(study, "hybrid_l1.10hz"))
        assert found == pytest.approx(dict(value=1.0, low=1.0, high=1.0))

    def test_course_of_training(self, study):
        found = predictor(study, "gru_l1.10hz").course()
        assert found.to_dict("records") == [dict(best_epoch=2, rise=0.25, gap=0.4, epochs=3)]

    def test_rate_at_which_doing_nothing_reaches_an_error(self):
        rates = [dict(rate_hz=rate, repeat_last_error=32 / rate) for rate in (2.0, 8.0, 32.0)]
        assert tables.rate_of_error(rates, 4) == pytest.approx(8)
        assert tables.rate_of_error(rates, 2) == pytest.approx(16)
        assert np.isnan(tables.rate_of_error(rates, 20)) and np.isnan(tables.rate_of_error(rates, 0.5))


class TestClaims:
    def test_a_verdict_needs_the_whole_interval_and_both_framings(self, study):
        found = tables.claims(study)
        # the hybrid errs by 6 +- 0.5 and 3 +- 0.5 px, frames by 1 px less, MSE by 1 px more, in every window
        assert list(found.loc["error under 5.12 px"]) == [
            "6.00 [5.50, 6.50] / 3.00 [2.50, 3.50]",
            "ill-posed without a frame rate; given one: refuted (one frame a "
            "fixation), supported (one frame every 100 ms)",
        ]
        assert found.loc["error under 3 px", "verdict"].endswith(
            "refuted (one frame a fixation), undecided (one frame every 100 ms)"
        )
        accuracy = found.loc["better accuracy: error minus that of frames (px)"]
        assert list(accuracy) == ["1.00 [1.00, 1.00] / 1.00 [1.00, 1.00]", "refuted"]
        assert found.loc["L1 better than MSE: error minus that with MSE (px)", "verdict"] == "supported"

    def test_training_is_compared_seed_by_seed(self, study):
        # same history everywhere: not faster, and no rise is smaller than another
        rows = tables.claims(study, control=study)
        assert rows.filter(like="faster", axis=0)["verdict"].item() == "refuted"
        assert rows.filter(like="faster", axis=0)[BOTH].item() == "2 against 2; 2 against 2 / 2 against 2; 2 against 2"
        assert rows.filter(like="stable", axis=0)[BOTH].item() == (
            "25% against 25%; 25% against 25% / 25% against 25%; 25% against 25%"
        )

    def test_who_is_best_at_the_last_epoch_had_no_time_to_get_worse(self, study):
        still_falling = [dict(epoch=e + 1, train_loss=4.0 - e, val_loss=3.0 - e) for e in range(3)]
        for run in tables.best_frames(study, AT_10HZ).runs:
            run.payload["history"] = still_falling
        row = tables.claims(study, control=study).filter(like="stable", axis=0)
        assert row[BOTH].item().endswith(" / no run to judge by; no run to judge by")
        assert row["verdict"].item() == "refuted (one frame a fixation), undecided (one frame every 100 ms)"

    def test_one_seed_alone_does_not_decide_how_training_went(self, study):
        assert tables.claims(study).filter(like="faster", axis=0)["verdict"].item() == "undecided"

    def test_errors_are_judged_at_the_original_size_too(self, study):
        large = Study("osie", "osie", (make_run("hybrid_l1.fixations", 2.0), make_run("hybrid_l1.10hz", 4.0)), 0)
        row = tables.claims(study, large=large).loc["error under 3 px"]
        size = f"; at the original size, {large.label}: "
        assert row[BOTH].endswith(f"{size}2.00 [1.50, 2.50] / 4.00 [3.50, 4.50]")
        assert row["verdict"].endswith(f"{size}supported (one frame a fixation), refuted (one frame every 100 ms)")

    def test_sizes_are_those_of_the_original_networks(self, study):
        rows = tables.claims(study)
        assert rows.filter(like="parameters", axis=0)[BOTH].item().startswith("41.3M, 2.23M in the head (41.7M")

    def test_memory_counts_what_autograd_keeps(self):
        layers = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4096, 10, bias=False), torch.nn.Sigmoid())
        parameters, kept = tables.training_memory(layers, batch=2)
        assert parameters == 16 * 40960 / 2**20
        assert kept == pytest.approx((2 * 4096 + 2 * 10) * 4 / 2**20)  # the input, and the sigmoid's output


class TestFigures:
    @pytest.fixture(autouse=True)
    def close_figures(self):
        yield
        plt.close("all")

    def test_the_control_draws_the_least_possible_error_and_repeating(self, study):
        exact = [make_run(f"optimum_distance.{framing}", 1.25, history=False) for framing in ("fixations", "10hz")]
        control = Study("simulated", "simulated", (*study.runs, *exact), 0)
        axes = figures.beside_optimum(control).axes[1]
        labels = [label.get_text() for label in axes.get_yticklabels()]
        assert labels == [predictor.label for predictor in tables.predictors_of(study, AT_10HZ)]
        assert labels[0] == "Repeat last point"
        assert "best possible 1.25" in {text.get_text().strip() for text in axes.texts}

    def test_errors_show_every_predictor_with_both_lines_of_the_claim(self, study):
        axes = figures.errors(study).axes[1]
        assert axes.get_title(loc="left") == "One frame every 100 ms" and len(axes.get_yticklabels()) == 8
        assert axes.get_yticklabels()[0].get_text() == "Repeat last point"
        vertical = {line.get_xdata()[0] for line in axes.lines if line.get_linestyle() == "--"}
        assert vertical == {5.12, 3.0} and "3.00" in {text.get_text() for text in axes.texts}

    def test_differences_leave_the_hybrid_out_and_put_better_predictors_left(self, study):
        axes = figures.differences(study).axes[1]
        assert "Hybrid, L1" not in [label.get_text() for label in axes.get_yticklabels()]
        texts = [text.get_text() for text in axes.texts]
        assert texts[0] == "-2.00" and "+5.00" in texts  # repeating is 2 px better, the centre is last

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
        solid = {
            line.get_label(): line.get_ydata()
            for line in convergence.lines
            if line.get_linestyle() == "-" and not line.get_label().startswith("_")
        }
        assert set(solid) == {"Hybrid, L1", "Hybrid, MSE", "Frames, MSE", "GRU on points, L1"}
        assert list(solid["Hybrid, L1"]) == [1.5, 1.0, 1.25]

    def test_frame_rate_marks_where_doing_nothing_meets_the_claim(self):
        rates = [
            dict(rate_hz=rate, repeat_last_error=32 / rate, repeat_last_error_interval=[30 / rate, 34 / rate])
            for rate in (2.0, 8.0, 32.0)
        ]
        spec = RunSpec(
            "sparsity", "osie", "description", "smoke", 0, Config(Data("osie"), Model("description")), "0" * 16
        )
        payload = dict(rates=rates, statistics=dict(amplitude_mean=6.4), data_label="OSIE", simulated=False)
        run = Run(spec, Path(spec.filename), payload)
        axes = figures.frame_rate(Study("osie", "osie", (run,), 0)).axes[0]
        texts = {text.get_text() for text in axes.texts}
        assert {"6.2 Hz", "10.7 Hz"} <= texts and any("6.40" in text for text in texts)
