"""The command line: expected errors in one line, options as the functions want them."""

import argparse
import inspect
import re
from pathlib import Path

import pytest

from fixlib import chapters, cli, training
from fixlib.runs import execute, obtain
from fixlib.runs.execute import experiment_module
from fixlib.runs.store import Results
from fixlib.runs.study import OWN_RESULTS

EXPERIMENTS = sorted(path.parent.name for path in Path(chapters.__file__).parent.glob("*/runs.py"))


def test_an_expected_error_is_one_line_and_exit_1(capsys):
    assert cli.main(["run", "no_such_experiment"]) == 1
    complaint = capsys.readouterr().err
    assert complaint.startswith("fixlib: unknown experiment 'no_such_experiment'; choose one of")
    assert "Traceback" not in complaint


def test_its_traceback_is_to_be_had(monkeypatch):
    monkeypatch.setenv("FIXLIB_TRACEBACK", "1")
    with pytest.raises(ValueError, match="unknown experiment"):
        cli.main(["run", "no_such_experiment"])


def test_an_interruption_says_how_to_go_on(monkeypatch, capsys):
    def interrupted(**_):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_doctor", interrupted)
    assert cli.main(["doctor"]) == 130
    assert "goes on from there" in capsys.readouterr().err


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_whatever_an_experiment_can_be_asked_for_is_an_option(name, capsys):
    """What `recorded` says to type when runs are missing must be accepted."""
    with pytest.raises(SystemExit):
        cli.main(["run", "--help"])
    options = capsys.readouterr().out
    for choice in list(inspect.signature(experiment_module(name).specs).parameters)[3:]:
        assert f"--{choice} " in options


@pytest.mark.parametrize("text, seeds", [("0-2", (0, 1, 2)), ("3", (3,)), ("0,3,0", (0, 3)), ("0-1,5", (0, 1, 5))])
def test_seeds(text, seeds):
    assert cli._numbers(text) == seeds


@pytest.mark.parametrize("text", ["x", "2-0", "1-", "", "-1"])
def test_seeds_that_are_none(text):
    with pytest.raises(argparse.ArgumentTypeError):
        cli._numbers(text)


def test_what_is_not_given_is_left_to_the_function(monkeypatch):
    given = {}
    monkeypatch.setattr("fixlib.runs.obtain", lambda experiment, **options: given.update(options) or pytest.skip())
    with pytest.raises(pytest.skip.Exception):
        cli.main(["run", "loss_comparison", "--losses", "mse,dice", "--results", "build/x"])
    assert given["losses"] == ("mse", "dice") and given["results_dir"] == "build/x" and "framings" not in given


def test_score_computes_metrics_anew_from_kept_networks_and_trains_nothing(project, dataset, monkeypatch, capsys):
    run = obtain("loss_comparison", dataset, "smoke", losses=["mse"], workers=1).run("mse")
    recorded = run.path.read_bytes()
    monkeypatch.setattr(training, "train_model_with_loss", lambda *_, **__: pytest.fail("score trained"))
    assert cli.main(["score", "mse", "--dataset", dataset]) == 0
    difference, scored = re.search(r"difference (\S+)\n(\d) runs scored", capsys.readouterr().out).groups()
    assert float(difference) < 1e-6 and scored == "1"  # recorded numbers are rounded
    assert run.path.read_bytes() == recorded
    monkeypatch.setattr(execute, "METRICS_VERSION", 99)
    assert cli.main(["score", "mse", "--dataset", dataset]) == 0
    anew = Results(OWN_RESULTS).read(run.spec)
    assert run.path.read_bytes() != recorded and anew.payload["metrics_version"] == 99
    assert anew.history == run.history and anew.payload["environment"] == run.payload["environment"]
    for file in (project / "build" / "weights").iterdir():
        file.unlink()
    assert cli.main(["score", "mse", "--dataset", dataset]) == 1
    assert "0 runs scored; 1 have no network here: `fixlib verify KEY`" in capsys.readouterr().out
