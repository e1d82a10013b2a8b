"""Many runs: each trained once, none lost, whatever is killed; failures recorded; verification."""

import copy
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import psutil
import pytest
import torch

import fixlib
from benchmarks import kills
from fixlib.chapters.loss_comparison import runs as loss_comparison
from fixlib.cli import main
from fixlib.runs import ExperimentError, cluster, execute, obtain, sweep
from fixlib.runs.execute import METRICS_VERSION, Attempt, run_predictor
from fixlib.runs.store import ResultError, Results, Run, weights_file
from fixlib.runs.study import OWN_RESULTS
from fixlib.runs.verify import choose, compare, table, verify
from fixlib.system import DECIDES_BITS, bits, environment, one_thread, same_bits


@pytest.fixture(scope="module")
def recorded(dataset, tmp_path_factory):
    """Six recorded smoke runs, by one process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FIXLIB_ROOT", str(tmp_path_factory.mktemp("recorded")))
        return obtain("loss_comparison", dataset, "smoke", losses=["mse", "dice"], workers=1).runs


def same(runs, others) -> bool:
    return len(runs) == len(others) and all(
        one.spec == other.spec and not compare(one, other).wrong for one, other in zip(runs, others)
    )


def run_smoke(dataset, options: str) -> int:
    """`fixlib run loss_comparison` at smoke size: its exit code."""
    return main(["run", "loss_comparison", "--dataset", dataset, "--profile", "smoke", *options.split()])


class TestData:
    def test_a_folder_that_changes_while_its_run_is_trained_gives_no_run(self, project, dataset, monkeypatch):
        folder = project / "gaze"
        shutil.copytree(dataset, folder)
        spec = loss_comparison.specs(str(folder), "smoke", losses=["mse"])[0]

        def changing(*arguments):
            payload = run_predictor(*arguments)
            shutil.copy(folder / "val_data.pt", folder / "test_data.pt")
            return payload

        with monkeypatch.context() as patch:
            patch.setattr(loss_comparison, "run", changing, raising=False)
            with pytest.raises(ValueError, match="they were changed. Nothing is recorded"):
                sweep.record(spec, Results(OWN_RESULTS))
        with pytest.raises(ValueError, match="they were changed"):  # nor afterwards under the old name
            sweep.record(spec, Results(OWN_RESULTS))
        assert not Results(OWN_RESULTS).has(spec)

    def test_a_damaged_file_is_found_before_the_others_are_trained(self, project, dataset):
        run = obtain("loss_comparison", dataset, "smoke", losses=["mse"], workers=1).run("mse")
        run.path.write_text(run.path.read_text()[:-20])
        with pytest.raises(ResultError, match=run.spec.filename):
            obtain("loss_comparison", dataset, "smoke", losses=["mse", "dice"], workers=1)
        assert not Results(OWN_RESULTS).has(loss_comparison.specs(dataset, "smoke", losses=["dice"])[0])


class TestSeeds:
    @pytest.mark.parametrize("text, complaint", [("3-1", "'3-1' holds no number"), ("0,x", "is not like 0-2 or 0,3")])
    def test_what_names_no_seeds_is_refused(self, text, complaint, capsys):
        with pytest.raises(SystemExit):
            main(["run", "loss_comparison", "--seeds", text])
        assert complaint in capsys.readouterr().err

    def test_each_is_run_once(self, project, dataset, capsys):
        assert run_smoke(dataset, "--losses mse --seeds 0,0 --workers 1") == 0
        assert "Runs: 8, of which trained just now: 8" in capsys.readouterr().out  # seven are baselines


class TestKills:
    def test_a_terminated_sweep_ends_with_all_its_processes(self, project, dataset):
        root = project / "swept"
        started = kills.start_sweep(root, dataset, "--seeds", "0-9")
        log = root / "logs" / "training_log_loss_comparison.txt"
        while not log.exists():
            assert started.poll() is None, started.communicate()[0]
            time.sleep(0.1)
        below = psutil.Process(started.pid).children(recursive=True)
        started.terminate()
        assert "fixlib: interrupted" in started.communicate(timeout=120)[0] and started.returncode == 130
        assert not psutil.wait_procs(below, timeout=60)[1]

    def test_a_sweep_killed_again_and_again_ends_with_the_same_bits(self):
        found = kills.measure(3, "0")
        assert found["kills"] == 3 and found["runs"] == 10 and found["wrong"] == []

    def test_a_killed_worker_is_one_failed_run_and_the_others_are_recorded(self, project, dataset):
        # The run of one loss kills its own process, as a machine without memory would.
        script = project / "sweep.py"
        script.write_text(
            "import os, signal, sys\n"
            "from fixlib.chapters.loss_comparison import runs as loss_comparison\n"
            "from fixlib.runs import obtain\n"
            "from fixlib.runs.execute import run_predictor\n"
            "def run(spec, attempt):\n"
            "    if spec.variant == 'mse':\n"
            "        os.kill(os.getpid(), signal.SIGKILL)\n"
            "    return run_predictor(spec, attempt)\n"
            "if __name__ == '__main__':\n"
            "    from fixlib.runs import sweep\n"
            "    in_worker = sweep._in_worker\n"
            "    def patched(*arguments):\n"
            "        loss_comparison.run = run\n"
            "        return in_worker(*arguments)\n"
            "    sweep._in_worker = patched\n"
            f"    obtain('loss_comparison', {dataset!r}, 'smoke', losses=['mse', 'dice'], workers=2)\n"
        )
        here = Path(__file__).resolve().parents[1]
        ended = subprocess.run(
            [sys.executable, str(script)],
            capture_output=True,
            text=True,
            timeout=300,
            env=os.environ | {"PYTHONPATH": str(here)},
        )
        assert ended.returncode == 1
        assert "1 of 9 runs failed" in ended.stderr and "mse-smoke-0" in ended.stderr, ended.stderr[-1000:]
        assert "its process was killed, most likely for want of memory" in ended.stderr
        left = sorted(run.spec.variant for run in Results(OWN_RESULTS).runs())
        assert left == sorted(["dice", *loss_comparison.FRAME_BASELINES])
        assert len(list((project / "build" / "failed").iterdir())) == 1

    def test_the_checkpoint_of_a_recorded_run_is_removed(self, project, dataset):
        study = obtain("loss_comparison", dataset, "smoke", losses=["mse"], workers=1)
        left = sweep.checkpoint_of(study.run("mse").spec, Results(OWN_RESULTS)).path
        left.write_bytes(b"left by a process killed just after it recorded the run")
        assert obtain("loss_comparison", dataset, "smoke", losses=["mse"]).trained == 0
        assert not left.exists()


class TestThreads:
    @pytest.mark.parametrize("left", [2, 3, 1])
    def test_a_sweep_that_was_killed_goes_on_whatever_is_left_of_it(self, project, dataset, recorded, left):
        """From its last epoch and with the same bits, in as many processes as there are runs left for."""

        def killed(entry):
            raise KeyboardInterrupt

        losses = ["mse", "dice", "weighted_mse"][:left]
        for spec in loss_comparison.specs(dataset, "smoke", losses=losses)[:left]:
            with one_thread(), pytest.raises(KeyboardInterrupt):
                run_predictor(spec, Attempt(sweep.checkpoint_of(spec, Results(OWN_RESULTS)), killed))
        study = obtain("loss_comparison", dataset, "smoke", losses=losses)
        log = (project / "logs" / "training_log_loss_comparison.txt").read_text().splitlines()
        assert [line.split()[2] for line in log] == ["2/2"] * left
        assert not list((project / "build" / "checkpoints").iterdir())  # none set aside, none left
        for run in recorded:
            if run.spec.variant in losses:
                check = compare(run, study.run(run.spec.variant))
                assert check.rule == "the same bits" and not check.wrong

    def test_a_run_has_one_thread_and_this_process_what_it_had(self, project, dataset):
        torch.set_num_threads(2)
        study = obtain("loss_comparison", dataset, "smoke", losses=["mse"], workers=1)
        assert torch.get_num_threads() == 2
        assert {run.payload["environment"]["threads"] for run in study.runs} == {1}


class TestNetworks:
    def test_are_kept_loaded_and_scored_anew(self, project, dataset):
        study = obtain("loss_comparison", dataset, "smoke", losses=["mse"], workers=1)
        run = study.run("mse")
        assert (project / "build" / "weights" / f"{run.path.stem}.pt").is_file()
        network = fixlib.load_network(run)
        assert not network.training and sum(p.numel() for p in network.parameters()) == run.payload["parameters"]
        again = fixlib.rescore(edited(edited(run, "metrics.error_mean.value", 0.0), "test_loss", 0.0))
        assert again.payload["test_loss"] == pytest.approx(run.payload["test_loss"], rel=1e-6)
        assert again.metrics_version == METRICS_VERSION and again.history == run.history
        for name, metric in run.metrics.items():
            assert again.metrics[name]["value"] == pytest.approx(metric["value"], rel=1e-6), name
        with pytest.raises(ValueError, match="centre-smoke-0.* trains no network"):
            fixlib.load_network(study.run("centre"))
        centre = study.run("centre")
        assert fixlib.rescore(centre).metrics["error_mean"] == pytest.approx(centre.metrics["error_mean"], rel=1e-6)

    def test_one_that_is_not_here_says_how_to_train_it_and_a_verified_run_keeps_it(self, project, dataset):
        run = obtain("loss_comparison", dataset, "smoke", losses=["mse"], workers=1).run("mse")
        weights_file(run.spec).unlink()
        with pytest.raises(FileNotFoundError, match=f"trained elsewhere.*fixlib verify {run.spec.key}"):
            fixlib.load_network(run)
        before = run.path.read_bytes()
        assert not verify([run], workers=1)[0].wrong
        assert not fixlib.load_network(run).training and run.path.read_bytes() == before

    def test_records_of_before_there_was_a_version_are_of_the_first(self, recorded):
        assert replace(recorded[0], payload={}).metrics_version == 1


class TestTwoSweeps:
    def test_every_run_is_trained_once(self, project, dataset, recorded):
        sweeps = [kills.start_sweep(project, dataset) for _ in range(2)]
        outputs = [kills.finish(one) for one in sweeps]
        tables = [output[output.index("variant") :] for output in outputs]
        assert tables[0] == tables[1]
        epochs = [
            line.split(" train ")[0]
            for line in (project / "logs" / "training_log_loss_comparison.txt").read_text().splitlines()
        ]
        assert sorted(epochs) == sorted(set(epochs)) and len(epochs) == 3 * 2
        trained = [int(output.split("trained just now: ")[1].split(".")[0]) for output in outputs]
        assert sum(trained) == 10
        assert all(not compare(run, Results(OWN_RESULTS).read(run.spec)).wrong for run in recorded)

    def test_a_run_that_another_process_is_at_is_left_for_later(self, project, dataset):
        spec = loss_comparison.specs(dataset, "smoke", losses=["mse"])[0]
        with sweep.lock(spec, Results(OWN_RESULTS)):
            outcome = sweep._run_one(Results(OWN_RESULTS), spec, False)
        assert outcome.state == "busy" and not Results(OWN_RESULTS).has(spec)
        assert sweep._run_one(Results(OWN_RESULTS), spec, True).state == "trained"
        assert sweep._run_one(Results(OWN_RESULTS), spec, False).state == "read"


class TestFailures:
    def test_a_run_that_is_not_finite_is_recorded_as_failed_and_can_be_tried_again(self, project, dataset, monkeypatch):
        loss_of = execute.loss_of
        calls = []

        def poisoned(config):
            loss = loss_of(config)
            if config.loss.name != "mse":
                return loss

            def not_finite(output, target, forward=loss.forward):
                calls.append(1)  # 2 batches and 1 validation batch an epoch: the 5th call is epoch 2, batch 2
                return forward(output, target) * (float("inf") if len(calls) == 5 else 1)

            loss.forward = not_finite
            return loss

        with monkeypatch.context() as patch:
            patch.setattr("fixlib.runs.execute.loss_of", poisoned)
            with pytest.raises(ExperimentError, match="1 of 9 runs failed") as failure:
                obtain("loss_comparison", dataset, "smoke", losses=["mse", "dice"], workers=1)
        assert failure.value.study.runs[0].spec.variant == "dice"
        [note] = (project / "build" / "failed").glob("*.json")  # where `fixlib doctor` looks
        reason = json.loads(note.read_text())["failed"]
        spec = loss_comparison.specs(dataset, "smoke", losses=["mse"])[0]
        checkpoint = sweep.checkpoint_of(spec, Results(OWN_RESULTS)).path
        assert "TrainingDiverged: epoch 2, batch 2: loss inf" in reason
        assert f"the last good checkpoint is {checkpoint}, of epoch 1" in reason and checkpoint.exists()
        study = obtain("loss_comparison", dataset, "smoke", losses=["mse", "dice"], workers=1)
        assert study.trained == 1 and len(study.run("mse").history) == 2
        assert not note.exists() and not checkpoint.exists()

    def test_the_command_prints_the_table_and_fails(self, project, dataset, monkeypatch, capsys):
        monkeypatch.setattr(
            loss_comparison,
            "run",
            lambda spec, *more: 1 / 0 if spec.variant == "mse" else run_predictor(spec, *more),
            raising=False,
        )
        assert run_smoke(dataset, "--losses mse,dice --workers 1") == 1
        printed = capsys.readouterr()
        assert "transition_table" in printed.out and "ZeroDivisionError" in printed.err

    def test_no_workers_are_refused(self, project, dataset, capsys):
        assert run_smoke(dataset, "--workers 0") == 1
        assert "workers must be at least 1, not 0" in capsys.readouterr().err


class TestDask:
    def test_a_worker_that_keeps_dying_is_one_failed_task(self, monkeypatch):
        monkeypatch.setattr(sweep, "_failed", lambda _, number, reason: f"{number} died")
        pytest.importorskip("distributed")
        with cluster.connected("local", 2, see=Path(__file__).parent.parent) as (executor, died):
            submit = partial(executor.submit, die_or_give)
            variables = executor.submit(lambda: dict(os.environ)).result()
            found = list(sweep._outcomes(sweep.Pool(submit, died, 4), None, range(4), False, lambda: None))
        assert sorted(map(str, found)) == ["0", "1", "2 died", "3"]
        assert variables["OMP_NUM_THREADS"] == "1" and "MALLOC_TRIM_THRESHOLD_" not in variables

    def test_gives_what_processes_give(self, project, dataset, recorded):
        pytest.importorskip("distributed")
        study = obtain("loss_comparison", dataset, "smoke", losses=["mse", "dice"], workers=2, dask="local")
        assert study.trained == 9 and same(study.runs, recorded)

    def test_workers_that_would_mix_their_random_numbers_are_refused(self, project, dataset):
        distributed = pytest.importorskip("distributed")
        with distributed.LocalCluster(1, threads_per_worker=2, processes=False, dashboard_address=None) as made:
            with pytest.raises(ValueError, match="several threads(.|\n)*--nthreads 1"):
                obtain("loss_comparison", dataset, "smoke", losses=["mse"], dask=made.scheduler_address)


def die_or_give(number, _):
    if number == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def edited(run: Run, way: str, value) -> Run:
    """A copy of the run with one number of its payload replaced."""
    payload = copy.deepcopy(run.payload)
    part, *keys = way.split(".")
    place = payload
    for key in [part, *keys][:-1]:
        place = place[int(key) if key.isdigit() else key]
    place[keys[-1] if keys else part] = value
    return replace(run, payload=payload)


def elsewhere(run: Run) -> Run:
    return edited(run, "environment.processor", "another")


class TestVerify:
    def test_recorded_runs_repeat_bit_for_bit(self, project, recorded):
        before = {run.path: run.path.read_bytes() for run in recorded}
        checks = verify(recorded, workers=1)
        assert {check.rule for check in checks} == {"the same bits"} and not any(check.wrong for check in checks)
        assert set(table(checks)["verdict"]) == {"as recorded"}
        assert {run.path: run.path.read_bytes() for run in recorded} == before

    def test_one_digit_is_noticed_on_the_same_machine_and_forgiven_elsewhere(self, recorded):
        run = recorded[0]
        other = edited(run, "history.1.train_loss", run.history[1]["train_loss"] * 1.000001)
        check = compare(other, run)
        assert check.rule == "the same bits" and check.wrong[0].startswith("history.1.train_loss: recorded 0.")
        assert compare(elsewhere(other), run).rule == "within intervals" and not compare(elsewhere(other), run).wrong

    def test_scores_of_an_older_version_are_compared_to_rounding_and_what_it_lacked_is_not(self, recorded):
        run = recorded[0]
        older = edited(run, "metrics_version", run.metrics_version - 1)
        value = run.metrics["error_mean"]["value"]
        assert compare(older, edited(run, "metrics.error_mean.value", value * (1 + 1e-6))).rule == "the same bits"
        assert not compare(older, edited(run, "metrics.error_mean.value", value * (1 + 1e-6))).wrong
        assert not compare(older, edited(run, "more", 1.0)).wrong and compare(run, edited(run, "more", 1.0)).wrong
        [wrong] = compare(older, edited(run, "metrics.error_mean.value", value * 1.001)).wrong
        assert wrong.startswith("metrics.error_mean.value")

    @pytest.mark.parametrize(
        "way, change",
        [
            ("metrics.error_mean.value", lambda value: value + 3),
            ("metrics.error_mean.value", lambda value: float("nan")),
            ("parameters", lambda value: value + 1),
            ("content_sha256.test", lambda value: "0" * 64),
            ("windows.train", lambda value: value - 1),
        ],
    )
    def test_a_wrong_number_is_noticed_elsewhere_too(self, recorded, way, change):
        run = next(run for run in recorded if run.spec.variant == "mse")
        value = run.payload
        for key in way.split("."):
            value = value[int(key) if key.isdigit() else key]
        [wrong] = compare(run, edited(elsewhere(run), way, change(value))).wrong
        assert wrong.startswith(way)

    @pytest.mark.parametrize("end", ["low", "high"])
    def test_elsewhere_metrics_may_move_within_their_intervals(self, recorded, end):
        run = recorded[0]
        metric = run.metrics["error_mean"]
        beyond = metric[end] + 0.1 * (metric[end] - metric["value"])
        assert not compare(run, edited(elsewhere(run), "metrics.error_mean.value", metric[end])).wrong
        [wrong] = compare(run, edited(elsewhere(run), "metrics.error_mean.value", beyond)).wrong
        assert wrong.startswith("metrics.error_mean.value: recorded ")

    def test_elsewhere_what_is_not_trained_must_be_equal_to_rounding(self, recorded):
        run = next(run for run in recorded if run.spec.variant == "centre_bias")
        value = run.metrics["error_mean"]["value"]
        assert not compare(elsewhere(run), edited(run, "metrics.error_mean.value", value * (1 + 1e-6))).wrong
        [wrong] = compare(elsewhere(run), edited(run, "metrics.error_mean.value", value * 1.001)).wrong
        assert wrong.startswith("metrics.error_mean.value")
        more = edited(run, "test_loss", 1.0)
        assert compare(elsewhere(run), more).wrong == ("test_loss: recorded nothing, repeated 1",)
        assert compare(elsewhere(more), run).wrong == ("test_loss: recorded 1, repeated nothing",)

    def test_the_command_fails_on_a_mismatch_and_says_where(self, project, dataset, capsys):
        study = obtain("loss_comparison", dataset, "smoke", losses=["mse"], workers=1)
        assert main(["verify", "mse", "--dataset", dataset, "--workers", "1"]) == 0
        assert "1 of 1 runs repeat as recorded" in capsys.readouterr().out
        run = study.run("mse")
        forged = edited(run, "test_loss", 0.001)
        run.path.unlink()
        Results(OWN_RESULTS).write(run.spec, forged.payload)
        assert main(["verify", run.spec.key, "--dataset", dataset, "--workers", "1"]) == 1
        printed = capsys.readouterr().out
        assert "DIFFERS" in printed and "test_loss: recorded 0.001, repeated 0." in printed

    def test_a_run_that_cannot_be_repeated_fails(self, project, recorded, monkeypatch):
        monkeypatch.setattr(loss_comparison, "run", lambda *_: 1 / 0, raising=False)
        [check] = verify(recorded[:1], workers=1)
        assert "could not be repeated: ZeroDivisionError" in check.wrong[0]
        assert not list((project / "build" / "failed").iterdir())  # the recorded run did not fail

    def test_an_interrupted_one_leaves_nothing_that_nobody_would_read(self, project, recorded, monkeypatch):
        def interrupted(spec, attempt):
            attempt.checkpoint.path.parent.mkdir(parents=True, exist_ok=True)
            attempt.checkpoint.path.write_bytes(b"an epoch")
            raise KeyboardInterrupt

        monkeypatch.setattr(loss_comparison, "run", interrupted, raising=False)
        with pytest.raises(KeyboardInterrupt):
            verify(recorded[:1], workers=1)
        assert not list((project / "build" / "checkpoints").iterdir())
        assert not list((project / "build").glob("verify-*"))

    def test_what_is_verified_can_be_chosen(self, recorded):
        results = Results(recorded[0].path.parents[2])
        assert len(choose(results)) == 9 and len(choose(results, sample=2)) == 2
        assert [run.spec.variant for run in choose(results, ["centre"])] == ["centre", "centre_bias"]
        with pytest.raises(ValueError, match="no recorded run has the key 'centr3'"):
            choose(results, ["centr3"])
        with pytest.raises(ValueError, match="no run of that kind"):
            choose(results, profile="paper")

    def test_a_sample_holds_no_run_of_hours_unless_asked_for(self):
        results = Results(Path(__file__).resolve().parents[1] / "results")
        assert {run.spec.profile for run in choose(results)} == {"smoke", "quick", "paper", "tuned"}
        assert {run.spec.profile for run in choose(results, sample=10_000)} == {"smoke", "quick"}
        assert {run.spec.profile for run in choose(results, sample=3, profile="paper")} == {"paper"}

    def test_the_same_bits_are_expected_only_where_everything_that_decides_them_is_known_and_equal(self):
        here = environment()
        assert set(bits(here)) == set(DECIDES_BITS) and None not in bits(here).values()
        assert same_bits(here, environment())
        for name in DECIDES_BITS:
            assert not same_bits(here | {name: "other"}, here), name
        assert not same_bits({"torch": here["torch"]}, {"torch": here["torch"]})
