"""Experiments at smoke size, for real: runs are trained, recorded, read again, and fall back loudly."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from fixlib import data, system
from fixlib.chapters.hybrid_regression import runs as hybrid_regression
from fixlib.chapters.loss_comparison import runs as loss_comparison
from fixlib.chapters.loss_comparison.runs import LOSSES, run_real_loss_function_analysis
from fixlib.chapters.loss_tuning import runs as loss_tuning
from fixlib.cli import main
from fixlib.models import BASELINES
from fixlib.runs import ExperimentError, obtain
from fixlib.runs import execute as predictors
from fixlib.runs.config import Loss
from fixlib.runs.store import ResultError


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A project of its own, in which the recordings cannot be had; its simulated data are prepared once."""
    folder = tmp_path_factory.mktemp("project")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FIXLIB_ROOT", str(folder))
        patch.setenv("FIXLIB_DATA_MIRROR", str(folder / "no_mirror"))
        patch.delenv("FIXLIB_DATA", raising=False)
        yield folder


@pytest.fixture(scope="module")
def losses_study(project):
    return obtain("loss_comparison", "simulated", "smoke", losses=["mse", "dice"], workers=1)


class TestRuns:
    def test_every_variant_is_trained_and_recorded_with_what_repeats_it(self, project, losses_study):
        assert losses_study.variants()[:2] == ["mse", "dice"] and losses_study.trained == len(losses_study.runs)
        content = json.loads(losses_study.run("dice").path.read_text())
        assert content["spec"]["config"]["loss"] == {"name": "dice", "smooth": 1e-5}
        assert content["spec"]["config"]["training"]["weight_decay"] == 1e-5
        assert content["simulated"] is True and "SIMULATED" in content["data_label"]
        assert content["seconds"] > 0 and content["peak_memory_mb"] > 50
        assert {"torch", "python", "processors", "device"} <= set(content["environment"])
        assert len(content["history"]) == 2 and len(content["content_sha256"]["test"]) == 64

    def test_variants_beyond_the_seven_have_their_own_settings(self, project):
        chosen = loss_comparison.specs("simulated", "smoke", losses=["dice", "dice_smooth_1", "softmax_cross_entropy"])
        assert [spec.config.loss for spec in chosen[:3]] == [
            Loss("dice", dict(smooth=1e-5)),
            Loss("dice", dict(smooth=1.0)),
            Loss("softmax_cross_entropy"),
        ]

    def test_recorded_runs_are_read_not_trained_again(self, losses_study):
        again = obtain("loss_comparison", "simulated", "smoke", losses=["mse", "dice"], workers=1)
        assert again.trained == 0 and again.table().equals(losses_study.table())

    def test_all_losses_of_a_seed_start_from_the_same_weights(self, losses_study):
        def initial(name):
            torch.manual_seed(0)
            return predictors.build(losses_study.run(name).spec.config).state_dict()

        assert all(torch.equal(a, b) for a, b in zip(initial("mse").values(), initial("dice").values()))

    def test_a_repeated_run_gives_the_same_numbers_bit_for_bit(self, losses_study, tmp_path, project):
        again = obtain(
            "loss_comparison",
            "simulated",
            "smoke",
            losses=["mse"],
            workers=1,
            results_dir=os.path.relpath(tmp_path, project),
        )
        mine, theirs = again.run("mse"), losses_study.run("mse")
        assert again.trained > 0
        assert [h["train_loss"] for h in mine.history] == [h["train_loss"] for h in theirs.history]
        assert {k: v["value"] for k, v in mine.metrics.items() if v["value"] == v["value"]} == {
            k: v["value"] for k, v in theirs.metrics.items() if v["value"] == v["value"]
        }

    def test_an_edited_result_is_refused(self, project, losses_study, tmp_path):
        path = losses_study.run("mse").path
        good = path.read_text()
        try:
            path.write_text(good.replace('"value":0', '"value":1', 1))
            with pytest.raises(ResultError, match="changed after it was recorded"):
                obtain("loss_comparison", "simulated", "smoke", losses=["mse"])
        finally:
            path.write_text(good)

    def test_training_writes_a_line_an_epoch(self, project, losses_study):
        lines = (project / "logs" / "training_log_loss_comparison.txt").read_text().splitlines()
        dice = [line for line in lines if line.startswith("dice-smoke-0-")]
        assert " epoch 1/2 " in dice[0] and " epoch 2/2 " in dice[1]

    def test_the_examples_show_the_test_windows(self, losses_study):
        examples = losses_study.run("mse").payload["examples"]
        assert examples["maps"].shape == (2, 3, 32, 32) and examples["pixels"].shape == (2, 20)

    def test_two_processes_give_what_one_gives(self, project, losses_study, tmp_path):
        both = obtain(
            "loss_comparison",
            "simulated",
            "smoke",
            losses=["mse", "dice"],
            workers=2,
            results_dir=os.path.relpath(tmp_path, project),
        )
        for name in ("mse", "dice"):
            assert both.run(name).history[0]["train_loss"] == pytest.approx(
                losses_study.run(name).history[0]["train_loss"], rel=1e-4
            )


class TestFailures:
    def test_where_every_run_fails_the_reason_is_told(self, project, monkeypatch, capsys, tmp_path):
        def fail(spec, attempt):
            raise RuntimeError("no luck")

        monkeypatch.setattr(loss_comparison, "run", fail, raising=False)
        asked = "run loss_comparison --dataset simulated --profile smoke --losses mse --workers 1 --results".split()
        assert main([*asked, os.path.relpath(tmp_path, project)]) == 1
        assert "RuntimeError: no luck" in capsys.readouterr().err

    def test_a_baseline_of_ones_own_changes_no_recorded_chapter(self, monkeypatch):
        before = [spec.key for spec in hybrid_regression.specs("simulated", "quick")]
        monkeypatch.setitem(BASELINES, "mine", BASELINES["repeat_last"])
        assert [spec.key for spec in hybrid_regression.specs("simulated", "quick")] == before

    def test_a_loss_that_was_never_tuned_can_be(self):
        found = {spec.variant: spec.config.training for spec in loss_tuning.specs("simulated", "tuned", losses=["bce"])}
        assert [*found] == ["bce-0.0003-clipped", "bce-0.001-clipped", "bce-0.003-clipped", "bce-0.001-unclipped"]

    def test_one_failing_run_does_not_end_the_others(self, project, monkeypatch, tmp_path):
        def fail_on_mse(spec, attempt):
            if spec.variant == "mse":
                raise RuntimeError("no luck")
            return predictors.run_predictor(spec, attempt)

        monkeypatch.setattr(loss_comparison, "run", fail_on_mse, raising=False)
        with pytest.raises(ExperimentError, match="1 of 9 runs failed(.|\n)*mse-smoke-0.*RuntimeError: no luck"):
            obtain(
                "loss_comparison",
                "simulated",
                "smoke",
                losses=["mse", "focal"],
                workers=1,
                results_dir=os.path.relpath(tmp_path, project),
            )
        recorded = sorted(path.name.split("-")[0] for path in tmp_path.rglob("*.json"))
        assert recorded == sorted(["focal", *loss_comparison.FRAME_BASELINES])

    @pytest.mark.parametrize(
        "arguments, complaint",
        [
            (["run", "loss_comparisons"], "unknown experiment 'loss_comparisons'; choose one of confounds, "),
            (["run", "loss_comparison", "--losses", "mse,focl"], "focl"),
            (["run", "loss_comparison", "--losses", "l1"], "unknown loss 'l1'"),  # of points
            (["run", "loss_comparison", "--profile", "papr"], "unknown profile 'papr'"),
            (["run", "loss_comparison", "--dataset", "osi"], "osi"),
            (["run", "hybrid_regression", "--networks", "hybrid"], "unknown network 'hybrid'; known: hybrid_l1"),
            (["run", "sparsity", "--losses", "mse"], "sparsity has no choice 'losses'"),
            (["data", "prepare", "osi"], "osi"),
        ],
    )
    def test_bad_input_is_one_clear_line(self, project, capsys, arguments, complaint):
        assert main(arguments) == 1
        error = capsys.readouterr().err
        assert complaint in error and "Traceback" not in error


class TestFallback:
    def test_without_recordings_it_says_so_loudly_and_runs_on_simulated_gaze(self, project, capsys):
        assert main("run loss_comparison --dataset osie --profile smoke --losses mse --workers 1".split()) == 0
        printed = capsys.readouterr().out
        assert printed.count("SIMULATED GAZE, NOT RECORDINGS") >= 1 and "fixlib data prepare osie" in printed
        study = obtain("loss_comparison", "osie", "smoke", losses=["mse"])
        assert study.dataset == "simulated" and "SIMULATED" in study.label and "SIMULATED" in study.notice

    def test_the_analysis_function_gives_a_table(self, project, losses_study, capsys):
        table = run_real_loss_function_analysis("simulated", "smoke", losses=["mse", "dice"])
        assert {"white_pixel_recall", "white_pixel_precision", "f1_score", "test_loss"} <= set(table.columns)
        assert list(table["variant"][:2]) == ["mse", "dice"]


class TestOwnData:
    def test_a_folder_of_prepared_files_is_a_dataset(self, project, tmp_path):
        for part, (subjects, seed) in dict(train=(3, 1), val=(2, 2), test=(2, 3)).items():
            sequences = data.simulate_scanpaths(subjects, 6, seed=seed).frames(10.0)
            torch.save({key: sequences[key] for key in ("coordinates", "fixation_mask")}, tmp_path / f"{part}_data.pt")
        study = obtain("loss_comparison", str(tmp_path), "smoke", losses=["mse"], workers=1)
        assert study.run("mse").spec.dataset == tmp_path.name and study.dataset == str(tmp_path)

    def test_a_folder_of_frames_of_fixations_alone_will_do_for_runs_on_them(self, project, tmp_path):
        folder = data.prepare("simulated", tmp_path / "prepared") / "fixations"
        study = obtain(
            "hybrid_regression", str(folder), "smoke", framings=["fixations"], networks=["gru_l1"], workers=1
        )
        assert study.dataset == str(folder) and study.run("gru_l1.fixations").history

    def test_a_folder_named_as_a_dataset_is_refused(self, project, tmp_path):
        folder = data.prepare("simulated", tmp_path / "mine" / "osie")
        with pytest.raises(ValueError, match="has the name of a dataset of the project.*rename it, or ask for 'osie'"):
            obtain("loss_comparison", str(folder), "smoke", losses=["mse"])

    def test_a_folder_has_the_same_runs_however_it_is_spelt(self, project, dataset, monkeypatch):
        monkeypatch.chdir(Path(dataset).parent)
        relative = Path(dataset).name, f"./{Path(dataset).name}"
        spellings = dataset, f"{dataset}/", f"{dataset}/../{Path(dataset).name}", f"{dataset}/./", *relative
        keys = [[spec.key for spec in loss_comparison.specs(spelt, "smoke")] for spelt in spellings]
        assert all(found == keys[0] for found in keys)

    def test_a_run_is_not_scored_anew_on_files_that_were_changed(self, project, dataset):
        folder = Path(shutil.copytree(dataset, project / "lab"))
        run = obtain("sparsity", str(folder), "smoke", workers=1).run("repeat_last")
        shutil.copy(folder / "val_data.pt", folder / "test_data.pt")
        with pytest.raises(ValueError, match="they were changed"):
            predictors.rescore(run)

    def test_what_is_asked_for_twice_is_run_once(self, project, dataset):
        study = obtain("loss_comparison", dataset, "smoke", seeds=[0, 0], losses=["mse", "mse"], workers=1)
        assert study.variants() == list(study.table()["variant"]) and study.trained == len(study.runs)

    def test_no_result_says_where_a_folder_lies(self, project, dataset):
        study = obtain("loss_comparison", dataset, "smoke", losses=["mse"], workers=1)
        assert study.run("mse").spec.config.data.source == dataset  # known, but not recorded
        assert all(str(Path(dataset).parent) not in run.path.read_text() for run in study.runs)


class TestSparsity:
    def test_describes_what_a_plain_loop_finds(self, project):
        payload = obtain("sparsity", "simulated", "smoke", workers=1).run("description").payload
        scanpaths = data.open_scanpaths("simulated").fixations
        steps, stays = [], 0
        for _, rows in list(scanpaths.groupby("scanpath"))[:]:
            x, y = rows["x"].to_numpy(), rows["y"].to_numpy()
            steps += list(np.hypot(np.diff(x), np.diff(y)))
            stays += int(((x[1:] // 1 == x[:-1] // 1) & (y[1:] // 1 == y[:-1] // 1)).sum())
        statistics = payload["statistics"]
        assert statistics["fixations"] == len(scanpaths)
        assert statistics["amplitude_mean"] == pytest.approx(np.mean(steps), rel=1e-4)
        assert statistics["same_pixel"] == pytest.approx(stays / len(steps), rel=1e-3)
        assert payload["counts"]["positions"].sum() == len(scanpaths)
        x, y = scanpaths["x"].iloc[0], scanpaths["y"].iloc[0]
        assert payload["counts"]["positions"][int(y), int(x)] >= 1

    def test_black_is_accurate_and_finds_nothing(self, project):
        metrics = obtain("sparsity", "simulated", "smoke", workers=1).run("black").metrics
        assert metrics["accuracy"]["value"] == pytest.approx(1 - 1 / 1024)
        assert metrics["white_pixel_recall"]["value"] == metrics["f1_score"]["value"] == 0


class TestHybrid:
    def test_writes_its_log_and_final_results(self, project):
        command = [
            "run",
            "hybrid_regression",
            "--dataset",
            "simulated",
            "--profile",
            "smoke",
            "--workers",
            "1",
            "--framings",
            "fixations",
        ]
        assert main(command) == 0
        study = obtain("hybrid_regression", "simulated", "smoke", framings=["fixations"])
        log = (project / "logs" / "training_log_hybrid_regression.txt").read_text()
        assert "hybrid_l1.fixations-smoke-0-" in log and "epoch 2/2" in log
        final = (project / "logs" / "final_results.txt").read_text()
        error = study.run("hybrid_l1.fixations").metrics["error"]["value"]
        assert f"{error:6.2f}" in final and "repeat_last.fixations" in final
        (project / "logs" / "final_results.txt").unlink()
        assert main(command) == 0  # all is recorded by now, and it is written all the same
        again = (project / "logs" / "final_results.txt").read_text()
        assert again.splitlines()[1:] == final.splitlines()[1:]  # but for how many were trained just now
        assert study.run("hybrid_l1.fixations").payload["parameters"] > 0

    def test_only_the_networks_asked_for_are_trained(self, project):
        study = obtain("hybrid_regression", "simulated", "smoke", framings=["10hz"], networks=["gru_l1"], workers=1)
        assert [run.spec.variant for run in study.runs if run.history] == ["gru_l1.10hz"]


def test_the_public_names_are_there():
    import fixlib

    for name in (
        "FocalLoss SparsityLoss ConcentrationLoss CompositeLoss DiceLoss WeightedMSE get_loss_function SimVP "
        "SimVP_RegressionHead create_model create_sparse_frames load_real_training_data train_model_with_loss "
        "evaluate_model run_real_loss_function_analysis"
    ).split():
        assert callable(getattr(fixlib, name)), name
    with pytest.raises(AttributeError, match="no attribute 'FocalLos'"):
        _ = fixlib.FocalLos
    assert set(LOSSES) == {"mse", "focal", "sparsity", "concentration", "composite", "dice", "weighted_mse"}
    assert system.root()
