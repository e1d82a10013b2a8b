"""The data behind the figures of chapter 6, on hand-made runs whose answers can be worked out by head."""

from dataclasses import replace
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from fixlib.chapters.hybrid_regression import figures, tables
from fixlib.chapters.hybrid_regression.tables import Predictor
from fixlib.plots import color_of
from fixlib.runs import recorded
from fixlib.runs.config import Config, Data, Loss, Model, RunSpec, Training
from fixlib.runs.store import Run
from fixlib.runs.study import Study, difference

matplotlib.use("Agg")
FIXATIONS, AT_10HZ = "One frame a fixation", "One frame every 100 ms"
SUBJECT, STIMULUS = np.repeat([0, 1, 2, 3], 6), np.tile(np.arange(6), 4)
AMPLITUDE = np.linspace(0.25, 20, len(SUBJECT))


def number(value):
    return dict(value=value, low=value - 0.5, high=value + 0.5)


def make_run(variant, errors, seed=0, history=True, undershoot=0.5, **options):
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
    config = Config(
        Data("osie", rate_hz=None if framing == "fixations" else 10.0),
        Model(model, options),
        Loss("l2" if name == "hybrid_mse" else loss),
        Training(epochs=3 if history else 0),
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
            make_run(f"dwell_table.{framing}", (7.0, 7.0, 1.5 + shift), history=False),
            make_run(f"return_table.{framing}", (7.0, 7.0, 2.4 + shift), history=False),
        ]
    return Study("osie", "osie", tuple(runs), 0)


class TestPredictors:
    def test_least_error_comes_first_and_frame_networks_count_once_a_decoding(self, study):
        labels = [predictor.label for predictor in tables.predictors_of(study, AT_10HZ)]
        assert labels == [
            "Repeat last pixel",
            "Dwell table",
            "Frames, MSE (brightest)",
            "GRU, sub-pixel *",
            "Return table",
            "Hybrid, L1",
            "Hybrid, MSE",
            "Frames, MSE (median)",
            "Centre",
        ]

    def test_the_best_frame_network_has_a_decoding(self, study):
        assert tables.best(study, AT_10HZ, model="simvp") == predictor(study, "frames_mse.10hz", "_argmax")
        assert tables.find(study, AT_10HZ, "hybrid_l1") == predictor(study, "hybrid_l1.10hz")

    def test_both_decodings_stand_beside_each_other_and_the_median_can_be_asked_for(self, study):
        found = tables.every_decoding(study, AT_10HZ, model="simvp")
        assert [(one.label, one.error["value"]) for one in found] == [
            ("Frames, MSE (brightest)", 2.0),
            ("Frames, MSE (median)", 4.5),
        ]
        assert tables.by_median(study, AT_10HZ, "mse") == found[1]

    def test_of_its_size_is_as_large_as_the_record_and_on_its_windows(self):
        ours, record = tables.of_its_size(), recorded("hybrid_regression", "osie", "paper", networks=("hybrid_l1",))
        for variant in ours.variants(trained=True):
            run, hybrid = ours.run(variant), record.run(f"hybrid_l1.{variant.rpartition('.')[2]}")
            assert run.spec.config.data == hybrid.spec.config.data
            assert run.payload["content_sha256"] == hybrid.payload["content_sha256"]
            precision = "float32" if "composite" in variant else "bf16"
            assert run.spec.config.training == replace(hybrid.spec.config.training, precision=precision)

    @pytest.mark.parametrize("framing, outside", [("fixations", set()), ("10hz", {"average_precision"})])
    def test_bfloat16_and_float32_agree_as_the_chapter_says(self, framing, outside):
        networks = dict(networks=("frames_composite",), framings=(framing,))
        full, half = (
            recorded("hybrid_regression", "osie", "paper", precision=precision, **networks).runs[0].metrics
            for precision in ("float32", "bf16")
        )
        told = ("error_median", "bits", "average_precision")
        assert {name for name in told if not full[name]["low"] < half[name]["value"] < full[name]["high"]} == outside

    def test_who_sees_more_is_never_the_best(self):
        study = Study("osie", "osie", (make_run("gru_l1.10hz", 1.0), make_run("hybrid_l1.10hz", 2.0)))
        assert tables.best(study, AT_10HZ).label == "Hybrid, L1"
        assert tables.find(study, AT_10HZ, "gru_l1").sees_more

    def test_networks_are_found_by_what_they_are_asked_for(self, study):
        moved = make_run("hybrid_l1.10hz", 1.0, target="displacement")
        moved = replace(moved, spec=replace(moved.spec, variant="moved"))
        both = replace(study, runs=(*study.runs, moved))
        assert tables.find(both, AT_10HZ, "hybrid_l1", target="displacement").label == "Hybrid, L1, displacement"
        assert tables.find(both, AT_10HZ, "hybrid_l1", target="position").error["value"] == 3.0
        with pytest.raises(StopIteration):
            tables.find(study, AT_10HZ, "hybrid_l1", target="displacement")


class TestComparisons:
    def test_errors_and_intervals_are_averaged_over_seeds(self, study):
        hybrid = predictor(study, "hybrid_l1.10hz")
        assert hybrid.error == dict(value=3.0, low=2.5, high=3.5)
        assert hybrid.window_errors().mean(axis=0) == pytest.approx(3.0)

    def test_a_difference_is_a_minus_b_on_the_same_windows(self, study):
        found = predictor(study, "hybrid_mse.10hz").minus(predictor(study, "hybrid_l1.10hz"))
        assert found == pytest.approx(dict(value=1.0, low=1.0, high=1.0))

    def test_frames_in_which_gaze_has_left_weigh_as_many_as_they_are(self, study):
        ours, theirs = (predictor(study, f"{name}.10hz").runs[0] for name in ("hybrid_mse", "hybrid_l1"))
        left = np.arange(len(SUBJECT)) % 3
        for run, errors in ((ours, SUBJECT), (theirs, np.zeros(len(SUBJECT)))):
            run.payload["per_window"] |= dict(changed_frames=left, changed_error=errors)
        found = difference([ours], [theirs], "changed_error")
        assert found["value"] == pytest.approx(np.average(SUBJECT, weights=left))
        with pytest.raises(ValueError, match="undershoot is a ratio of two sums"):
            difference([ours], [theirs], "undershoot")

    def test_a_table_of_predictors_beside_another(self, study):
        found = tables.beside(
            {"soon": [predictor(study, "hybrid_mse.10hz")]}, {"soon": predictor(study, "hybrid_l1.10hz")}, "L1"
        )
        assert found.to_dict("index") == {"Hybrid, MSE": {"px, soon": "4.00", "minus L1, soon": "+1.00 [+1.00, +1.00]"}}

    def test_targets_are_compared_network_by_network(self):
        runs = []
        for name, position, moved in (("hybrid_l1", 3.0, 2.0), ("gru_l1", 2.5, 2.5)):
            for target, error in (("position", position), ("displacement", moved)):
                for inputs in ("pixels", "points") if name == "gru_l1" else (None,):
                    run = make_run(f"{name}.10hz", error, target=target, **(dict(inputs=inputs) if inputs else {}))
                    runs.append(replace(run, spec=replace(run.spec, variant=f"{name}.{inputs}.{target}")))
        found = tables.targets(Study("osie", "osie", tuple(runs)))
        assert found.loc["Hybrid, L1"].tolist() == ["3.00", "2.00", "−1.00 [−1.00, −1.00]"]
        assert found.loc["GRU, sub-pixel *", "difference, 100 ms ahead"] == "+0.00 [+0.00, +0.00]"

    def test_movement_bins_hold_all_windows(self, study):
        found = tables.by_movement(predictor(study, "hybrid_mse.10hz"), predictor(study, "repeat_last.10hz"))
        assert len(found) == 6 and found["share"].sum() == pytest.approx(1)
        assert found["more"].tolist() == pytest.approx([3.0] * 6) and found["movement"].is_monotonic_increasing

    def test_course_of_training(self, study):
        found = predictor(study, "gru_l1.10hz").course()
        assert found.to_dict("records") == [dict(best_epoch=2, gap=0.4, epochs=3)]

    def test_rate_at_which_doing_nothing_reaches_an_error(self):
        rates = [dict(rate_hz=rate, repeat_last_error=32 / rate) for rate in (2.0, 8.0, 32.0)]
        assert tables.rate_of_error(rates, 4) == pytest.approx(8)
        assert tables.rate_of_error(rates, 2) == pytest.approx(16)
        assert np.isnan(tables.rate_of_error(rates, 20)) and np.isnan(tables.rate_of_error(rates, 0.5))


class TestWeights:
    def test_sizes_are_those_of_the_original_networks(self):
        found = tables.weights()
        assert found.loc["Hybrid", ["all", "head", "decoder"]].tolist() == [41_287_234, 2_229_506, 0]
        assert found.loc["SimVP, four frames decoded", "all"] == 39_427_585

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

    def test_errors_show_networks_and_tables_beside_repeating_and_mark_who_sees_more(self, study):
        axes = figures.errors(study).axes[1]
        labels = [label.get_text() for label in axes.get_yticklabels()]
        assert axes.get_title(loc="left") == "100 ms ahead"
        assert labels[:3] == ["Dwell table", "Frames, MSE (brightest)", "GRU, sub-pixel *"] and len(labels) == 7
        assert "repeat: 1.00" in {text.get_text().strip() for text in axes.texts}
        hollow = {line.get_color() for line in axes.lines if line.get_markerfacecolor() == "white"}
        assert hollow == {color_of("gru_l1")}

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
