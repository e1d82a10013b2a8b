"""Chapter 3's runs at smoke size, what its figures show, and that no recorded network beats the best possible."""

from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from fixlib.chapters.predictable_motion import figures, tables
from fixlib.chapters.predictable_motion.runs import AHEAD, EXACT_LOSSES, KNOWS_PATH, LOSSES, NOISES, NOISY, specs, tag
from fixlib.data.lattice import SPEEDS
from fixlib.runs import obtain, sweep
from fixlib.runs.execute import rescore
from fixlib.runs.store import Results, weights_file
from fixlib.runs.study import Study
from fixlib.runs.verify import verify

matplotlib.use("Agg")


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FIXLIB_ROOT", str(tmp_path_factory.mktemp("project")))
        yield obtain("predictable_motion", "patterns", "smoke", workers=1)


@pytest.fixture(scope="module")
def recorded():
    results = Results(Path(__file__).resolve().parent.parent / "results")  # `study` sends the library elsewhere
    return Study("patterns", "patterns", tuple(results.read(spec) for spec in specs("patterns", "quick")), 0)


class TestRuns:
    def test_every_loss_is_trained_both_ways(self, study):
        assert study.dataset == "patterns" and "not a recording" in study.label
        for name in LOSSES:
            assert list(study.run(f"scratch.{name}").payload["stages"]) == [tag(0.0)]
            assert list(study.run(f"onwards.{name}").payload["stages"]) == [
                tag(noise) for noise in (NOISES if name in NOISY else NOISES[:1])
            ]

    def test_going_on_starts_where_the_start_ended(self, study):
        start = study.run("onwards.mse").spec.config.start
        assert start == study.run("start.bce").spec.config

    def test_what_knows_the_path_is_always_right_without_noise(self, study):
        ahead = study.run("exact.ahead").payload["exact"][KNOWS_PATH]["by_horizon"]
        assert ahead["all"]["white_pixel_recall"] == [1.0] * AHEAD
        assert ahead["all"]["error_argmax"] == pytest.approx([0.0] * AHEAD, abs=1e-6)
        assert {f"speed {speed}" for speed in SPEEDS} <= set(ahead)

    def test_the_optimum_stops_where_the_theory_says(self, study):
        def recall(noise, loss):
            return tables.exact_score(study, loss, "white_pixel_recall", noise)["value"]

        assert recall(0.0, "mse") > 0.9 and recall(0.6, "mse") == 0
        assert recall(0.2, "focal") > 0.4 and recall(0.3, "focal") == 0
        assert recall(0.6, "weighted_mse") > 0
        assert recall(0.0, "composite") > 0.9 and recall(0.6, "composite") == 0
        for noise in (0.0, 0.4, 1.0):
            assert recall(noise, "concentration") == recall(noise, "sparsity") == 0

    def test_no_network_costs_less_than_the_best_output(self, study):
        check_costs(study)


def check_scores(study):
    """No ranking of pixels beats the true probabilities, no point their geometric median, beyond its interval."""
    for variant in study.variants():
        if variant.partition(".")[0] in ("scratch", "onwards", "start"):
            for noise in tables.noises(study, variant):
                found = study.run(variant).payload["stages"][tag(noise)]["metrics"]
                best = study.run(f"exact.{tag(noise)}").payload["exact"]["softmax_cross_entropy"]["metrics"]
                for name in ("error", "error_argmax", "error_median"):
                    if name in found:
                        assert found[name]["high"] >= best["error_median"]["value"], f"{variant} at {noise}: {name}"
                if "average_precision" in found:
                    highest = best["average_precision"]["value"]
                    assert found["average_precision"]["low"] <= highest, f"{variant} at {noise}"


def check_costs(study):
    """Expected losses carry no sampling noise: below the optimum's they cannot be."""
    for variant in study.variants():
        way, _, name = variant.partition(".")
        if way in ("scratch", "onwards", "start") and name in EXACT_LOSSES:
            for noise in tables.noises(study, variant):
                cost = study.run(variant).payload["stages"][tag(noise)]["expected_loss"]
                best = study.run(f"exact.{tag(noise)}").payload["exact"][name]["expected_loss"]
                assert cost >= best - 1e-6 * max(1, abs(best)), f"{variant} at noise {noise}: {cost} < {best}"


class TestStart:
    """The network that others go on from is a run like any other."""

    def test_it_is_trained_and_recorded_where_it_is_missing_and_counts_its_own_epochs(self, project):
        onwards = next(spec for spec in specs("patterns", "smoke") if spec.variant == "onwards.mse")
        assert sweep._run_one(Results(), onwards, False).state == "trained"
        assert sorted(run.spec.variant for run in Results().runs()) == ["onwards.mse", "start.bce"]
        log = (project / "logs" / "training_log_predictable_motion.txt").read_text().splitlines()
        assert [line.split()[0].split("-")[0] + " " + line.split()[2] for line in log] == [
            "start.bce 1/1",
            *(f"onwards.mse {epoch}/4" for epoch in range(1, 5)),
        ]
        run = Results().read(onwards)
        again = rescore(run)
        assert again.payload["stages"].keys() == run.payload["stages"].keys()
        for stage, found in run.payload["stages"].items():
            assert again.payload["stages"][stage]["expected_loss"] == pytest.approx(found["expected_loss"], rel=1e-5)
        kept = weights_file(Results().runs()[1].spec)
        written = kept.stat().st_mtime_ns
        assert [check.wrong for check in verify([run], workers=1)] == [()]  # with a start of its own
        assert kept.stat().st_mtime_ns == written

    def test_it_is_trained_anew_where_its_record_was_removed(self, project):
        known = {spec.variant: spec for spec in specs("patterns", "smoke")}
        sweep._run_one(Results(), known["start.bce"], False)
        stale = weights_file(known["start.bce"])
        weights = torch.load(stale, weights_only=True)
        torch.save(weights | dict(weights={name: 0 * value for name, value in weights["weights"].items()}), stale)
        Results().path(known["start.bce"]).unlink()
        sweep._run_one(Results(), known["ahead.dice"], False)
        assert any(value.any() for value in torch.load(stale, weights_only=True)["weights"].values())

    def test_precision_reaches_it(self):
        known = {spec.variant: spec.config.in_precision("bf16") for spec in specs("patterns", "smoke")}
        assert known["onwards.mse"].start == known["start.bce"] and known["start.bce"].training.precision == "bf16"


class TestRecordedRuns:
    """The claims of the chapter that need them, and that none of them is too good to be true."""

    def test_no_network_is_better_than_the_best_possible(self, recorded):
        check_costs(recorded)
        check_scores(recorded)

    def test_a_loss_finds_the_pixel_where_there_is_one_to_be_found(self, recorded):
        def both(variant):
            return min(
                tables.score(recorded, variant, f"white_pixel_{name}")["value"] for name in ("recall", "precision")
            )

        assert max(both(f"{way}.{name}") for way in ("scratch", "onwards") for name in LOSSES) > 0.95

    def test_runs_are_small(self, recorded):
        assert max(run.path.stat().st_size for run in recorded.runs) < 20_000


class TestFigures:
    @pytest.mark.parametrize("name", ["paths", "finding_the_pixel", "falling_with_noise", "horizon_and_speed"])
    def test_are_drawn(self, study, name):
        figure = getattr(figures, name)(study)
        assert isinstance(figure, Figure)
        figure.canvas.draw()
        plt.close(figure)

    def test_what_is_predicted_are_the_exact_scores(self, study):
        figure = figures.falling_with_noise(study)
        lines = figure.axes[1].lines
        assert len(lines) == len(NOISY)
        for name, line in zip(NOISY, lines):
            best = [tables.exact_score(study, name, "white_pixel_recall", level) for level in tables.noises(study)]
            assert line.get_ydata() == pytest.approx([found["value"] for found in best])
        mse, measured = lines[0].get_ydata(), figure.axes[0].lines[0].get_ydata()
        assert (
            mse[0] == 1
            and mse[-1] == 0
            and list(measured)
            == pytest.approx(
                [tables.score(study, "onwards.mse", "average_precision", level)["value"] for level in NOISES]
            )
        )
        plt.close(figure)

    def test_the_table_says_what_is_recorded_and_the_best(self, study):
        table = tables.beside_best(study, "onwards", 0.2)
        assert list(table.columns) == list(tables.METRICS.values())
        assert list(table.index) == ["MSE", "Focal", "Dice", "Weighted MSE", "Softmax cross-entropy"]
        found = tables.score(study, "onwards.mse", "average_precision", 0.2)
        best = tables.exact_score(study, "mse", "average_precision", 0.2)["value"]
        assert table.loc["MSE", "average precision"].startswith(f"{found['value']:.2f} [")
        assert table.loc["MSE", "average precision"].endswith(f"({best:.2f})")

    def test_horizons_by_speed_are_the_recorded_ones(self, study):
        figure = figures.horizon_and_speed(study)
        shown = [line.get_ydata() for line in figure.axes[1].lines]
        for name in ("dice", "weighted_mse", "constant_velocity", "repeat_last"):
            recorded = tables.by_horizon(study, name, "error_argmax", "speed 3")
            assert any(np.allclose(values, recorded) for values in shown), name
        plt.close(figure)

    def test_a_network_that_copies_its_input_is_told_apart_from_one_that_does_not(self, recorded):
        """Recorded: Dice has learnt the next frame, and hands over the k-th given one at the others."""

        def same(name, speed):
            found = tables.by_horizon(recorded, name, "error_argmax", f"speed {speed}")
            return np.isclose(found, tables.copied_input(recorded, speed), atol=0.005).sum()

        assert same("dice", 1) == 8 and same("dice", 3) == 7
        assert same("weighted_mse", 1) == same("weighted_mse", 3) == 0


class TestHiddenInPixels:
    def test_two_lines_share_ten_pixels_and_part(self):
        one, other = tables.same_past()
        assert np.array_equal(np.floor(one[:10]), np.floor(other[:10]))
        assert (np.floor(one[10]) != np.floor(other[10])).any()
        for line in (one, other):
            assert np.allclose(np.diff(line, axis=0), np.diff(line, axis=0)[0], atol=1e-5)

    def test_nobody_can_always_know_the_next_pixel(self):
        found = tables.recall_from_pixels(1.0)
        assert 0.84 < found < 0.86
        assert tables.recall_from_pixels(1.0, seed=1) == pytest.approx(found, abs=0.005)  # not of the lines drawn
        assert tables.recall_from_pixels(2.0) == pytest.approx(found, abs=0.01)  # nor, much, of the speed


def test_specs_need_patterns_and_a_known_profile():
    with pytest.raises(ValueError, match="unknown profile for predictable_motion"):
        specs("patterns", "papr")
    with pytest.raises(ValueError, match="known on 'patterns' only, not on 'osie'"):
        specs("osie", "quick")
