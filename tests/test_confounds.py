"""One thing changed and everything else the same; and the same motion on larger and larger grids."""

from dataclasses import replace
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import pytest

from fixlib.chapters.confounds import runs as confounds
from fixlib.chapters.imbalance import runs as imbalance
from fixlib.chapters.imbalance.figures import TITLES
from fixlib.chapters.imbalance.figures import imbalance as draw
from fixlib.chapters.targets import runs as targets
from fixlib.runs import obtain, recorded
from fixlib.runs.execute import rescore

matplotlib.use("Agg")


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FIXLIB_ROOT", str(tmp_path_factory.mktemp("project")))
        yield obtain("imbalance", "patterns", "smoke", grids=(8, 16), workers=1)


class TestConfounds:
    def test_one_option_differs_from_the_usual_run(self):
        found = {spec.variant: spec.config for spec in confounds.specs("simulated", "quick")}
        (usual,) = (
            s.config for s in confounds.loss_comparison.specs("simulated", "quick", losses=["dice"]) if s.config.epochs
        )
        newest = found["newest.dice"]
        assert newest.model.options == usual.model.options | dict(skip="newest")
        assert (newest.data, newest.loss, newest.training) == (usual.data, usual.loss, usual.training)
        assert found["density.composite"].loss.options["density"] and not usual.loss.options.get("density")
        assert found["density.composite"].model == usual.model
        tuned = {spec.variant: spec.config for spec in confounds.specs("simulated", "tuned", parts=("options",))}
        (focal,) = (
            s.config for s in confounds.loss_comparison.specs("simulated", "tuned", losses=["focal"]) if s.config.epochs
        )
        assert len(tuned) == 4 and focal.model.options["prior_probability"]
        gentle = tuned["focal_gamma_0"]
        assert replace(gentle, loss=focal.loss) == focal and gentle.loss.options == focal.loss.options | dict(gamma=0.0)
        assert tuned["composite_sparsity_0"].loss.options["sparsity_weight"] == 0

    def test_every_change_can_be_trained_and_told_apart(self, project):
        study = obtain("confounds", "simulated", "smoke", workers=1)
        assert len(study.runs) == len(confounds.specs("simulated", "smoke")) and study.variants(trained=True)
        frame = study.frame()
        said = frame[frame["variant"] == "gru.points.displacement.10hz"]["options"].iloc[0]
        assert said == "inputs points, target displacement"
        errors = frame[(frame["metric"] == "error") & frame["variant"].str.startswith("gru")]["value"]
        assert errors.nunique() == len(errors) == 8

    def test_what_is_recorded_is_told_on_the_same_windows(self):
        focal = recorded("loss_comparison", "osie", "quick", losses=("focal",))
        newest = recorded("confounds", "osie", "quick", parts=("newest",))
        hits = newest.difference("newest.focal", "focal", "hit_3px", focal)
        changed, usual = (run.metrics["hit_3px"]["value"] for run in (newest.run("newest.focal"), focal.run("focal")))
        assert hits["value"] == pytest.approx(changed - usual, abs=1e-3)
        assert 0 < hits["low"] < hits["value"] < hits["high"]  # the skip alone hid the last point
        hybrids = recorded("hybrid_regression", "osie", "quick", networks=("hybrid_l1",))
        points = recorded("confounds", "osie", "quick", parts=("points",))
        error = points.difference("hybrid.displacement.10hz", "hybrid_l1.10hz", "error", hybrids)
        assert error["value"] < 0 and error["high"] < 0


class TestTargets:
    def test_differ_in_target_or_head_alone(self):
        found = {spec.variant: spec.config for spec in targets.specs("simulated", "quick")}
        usual = {s.variant: s.config for s in confounds.loss_comparison.specs("simulated", "quick", losses=["bce"])}
        sharp, soft = found["bce"], found["bce_sigma_1"]
        assert replace(soft, training=replace(soft.training, sigma=None)) == sharp
        assert sharp.model.options == usual["bce"].model.options | dict(prior_probability=0.01)
        assert (found["soft_argmax"].data, found["soft_argmax"].training) == (sharp.data, sharp.training)
        assert found["soft_argmax"].model.options == usual["bce"].model.options
        mixture, moved = found["mixture"], found["mixture_displacement"]
        assert mixture == replace(found["softmax_sigma_1"], model=mixture.model, training=sharp.training)
        assert moved.model.options == mixture.model.options | dict(target="displacement")
        assert [spec.variant for spec in targets.specs("simulated", "quick", parts=("soft_argmax",))] == ["soft_argmax"]
        with pytest.raises(ValueError, match="unknown part 'hard'; known: softmax, bce, soft_argmax, mixture"):
            targets.specs("simulated", "quick", parts=("hard",))

    def test_all_can_be_trained_and_scored_anew(self, project):
        study = obtain("targets", "simulated", "smoke", workers=1)
        assert study.variants(trained=True) == [spec.variant for spec in targets.specs("simulated", "smoke")]
        costs = [study.run(f"softmax_sigma_{sigma:g}").history[-1]["val_loss"] for sigma in targets.SIGMAS_PX]
        assert len(set(costs)) == 3  # a softer target is another target
        for run in study.runs:
            again, known = (
                {name: found["value"] for name, found in one.metrics.items()} for one in (rescore(run), run)
            )
            assert again == pytest.approx(known, rel=1e-5, nan_ok=True)


class TestImbalance:
    def test_only_the_grid_grows(self):
        found = {spec.variant: spec.config for spec in imbalance.specs("patterns", "quick")}
        small, large = found["mse.8px"], found["mse.64px"]
        assert (small.data.size, large.data.size) == (8, 64)
        assert (small.model, small.loss, small.training) == (large.model, large.loss, large.training)
        assert (small.data.train, small.data.n_in) == (large.data.train, large.data.n_in)

    def test_the_next_pixel_can_be_known_on_every_grid(self, study):
        for size in (8, 16):
            best = study.run(f"exact.{size}px").payload["exact"]["mse"]["metrics"]
            assert best["white_pixel_recall"]["value"] > 0.98 and best["average_precision"]["value"] > 0.98

    def test_its_networks_are_scored_anew_as_they_were(self, study):
        run = study.run("dice.8px")
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("FIXLIB_ROOT", str(run.path.parents[3]))
            again = rescore(run).payload["stages"]["noise0"]["metrics"]["average_precision"]
        assert again == pytest.approx(run.metrics["average_precision"])

    def test_four_grids_are_recorded(self):
        results = str(Path(__file__).resolve().parents[1] / "results")  # `study` sends the library elsewhere
        study = recorded("imbalance", "patterns", "quick", results_dir=results)
        assert {run.spec.config.data.size for run in study.runs} == set(imbalance.GRIDS)

    def test_the_figure_shows_each_loss_at_each_imbalance(self, study):
        drawn = draw(study)
        assert [axes.get_title("left") for axes in drawn.axes] == list(TITLES.values())
        lines = [line for line in drawn.axes[0].lines if line.get_linestyle() == "-"]
        assert len(lines) == 1 + len(imbalance.LOSSES) and list(lines[0].get_xdata()) == [63, 255]
        plt.close(drawn)
