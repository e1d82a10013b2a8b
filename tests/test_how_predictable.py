"""Chapter 5's runs: fair windows, and regret where the exact density is known."""

from pathlib import Path

import pytest

from fixlib.chapters.how_predictable import runs as how_predictable
from fixlib.chapters.how_predictable import tables
from fixlib.chapters.hybrid_regression import runs as hybrid_regression
from fixlib.chapters.loss_comparison import runs as loss_comparison
from fixlib.runs import obtain
from fixlib.runs.store import Results

RECORDED = Path(__file__).resolve().parents[1] / "results"


def test_windows_of_val_and_test_are_those_of_the_other_chapters_and_tables_see_no_more_than_networks():
    others = [loss_comparison.specs("osie", "quick", losses=["mse"])[0]]
    for framing in ("10hz", "fixations"):
        others += hybrid_regression.specs("osie", "quick", framings=[framing], networks=["gru_l1"])[:1]
    for task, other in zip(how_predictable.TASKS, others, strict=True):
        for spec in how_predictable.specs("osie", "quick", tasks=[task]):
            ours, theirs = spec.config.data.to_json(), other.config.data.to_json()
            assert ours.pop("train") is None and theirs.pop("train") == 1000
            assert ours.pop("train_stride", None) == (1 if spec.config.epochs else None)
            if spec.config.epochs:  # which epoch is best, more windows tell better
                assert ours.pop("val") is None and theirs.pop("val") == 200
            assert ours == theirs


def test_tasks_and_ablations_where_they_are_asked_for():
    def variants(*given, **choices):
        return {spec.variant for spec in how_predictable.specs(*given, **choices)}

    assert {name.split(".")[1] for name in variants("gazecom", "quick")} == {"10to10", "4to1_10hz"}
    ablated = {f"{name}.10to10" for name in how_predictable.ABLATIONS}
    assert ablated < variants("osie", "quick") and not ablated & variants("crowd", "quick")
    assert "optimum.10to10" in variants("simulated", "quick") and "optimum.10to10" not in variants("osie", "quick")
    with pytest.raises(ValueError, match="unknown task 'gru'"):
        how_predictable.specs("osie", "quick", tasks=["gru"])
    with pytest.raises(ValueError, match="unknown network '10to10'"):
        how_predictable.specs("osie", "quick", networks=["10to10"])


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FIXLIB_ROOT", str(tmp_path_factory.mktemp("project")))
        patch.delenv("FIXLIB_DATA", raising=False)
        networks = ["gru", "transformer", "no_pointer", "no_gaussians"]
        yield obtain("how_predictable", "simulated", "smoke", tasks=["10to10"], networks=networks, workers=1)


def test_smoke_runs_are_scored_in_bits_and_by_what_they_give_away(study):
    assert all(run.metrics["bits"] for run in study.runs if "max_probability" in run.metrics)
    regret = {run.spec.variant: run.payload.get("regret") for run in study.runs}
    given = {name for name in regret if regret[name]}
    assert {f"{name}.10to10" for name in ("gru", "no_gaussians", "centre_bias", "transition_table")} <= given
    assert all(regret[name]["bits"] > 0.01 for name in given) and not regret["optimum.10to10"]
    assert set(study.frame()["options"]) >= {"core transformer", "no pointer"}


def test_bits_of_a_network_that_gives_a_density_are_its_own():
    for run in Results(RECORDED).runs("how_predictable"):
        if run.spec.config.model.kind == "density":
            assert run.metrics["bits"] == run.metrics["information_gain_uniform"] and "calibration" not in run.payload


def test_other_viewers_tell_more_the_more_they_are_and_are_no_predictor():
    runs = [run for run in Results(RECORDED).runs("how_predictable", "osie") if "note" in run.payload]
    bits = {run.spec.variant: run.metrics["bits"]["value"] for run in runs}
    assert len(runs) == 18 and all("not a predictor" in run.payload["note"] for run in runs)
    for task in how_predictable.TASKS:
        alone = [bits[f"others_{count}.{task}"] for count in how_predictable.VIEWERS]
        assert alone == sorted(alone) and bits[f"others_and_history.{task}"] > alone[-1]


def test_the_table_compares_points_and_densities_by_the_error_of_their_best_point(monkeypatch):
    monkeypatch.setenv("FIXLIB_ROOT", str(RECORDED.parent))
    study = tables.record("10to10")
    named = {name: study.runs_of(f"{name}.10to10") for name in ("hold_then_prior", "transition_table", "gru")}
    shown = tables.compared(named, named["transition_table"], named["hold_then_prior"])
    errors = [run.metrics["error_median"]["value"] for run in named["gru"]]
    assert len(errors) == 3 and shown.loc["gru", "px"] == pytest.approx(sum(errors) / 3)
    assert shown.loc["hold_then_prior", "px"] == named["hold_then_prior"][0].metrics["error"]["value"]
    differences = shown[["bits − transition table", "px − hold, then prior"]]
    assert list(differences.loc["hold_then_prior"]) == ["–", "–"] and differences.loc["transition_table"].iloc[0] == "–"
    closer = float(differences.loc["gru"].iloc[1].split()[0].replace("−", "-"))
    assert closer == pytest.approx(shown.loc["gru", "px"] - shown.loc["hold_then_prior", "px"], abs=0.006)
    assert tables.gain("10to10", "gru", "gru")["value"] == 0


def test_bits_by_where_gaze_went_are_those_of_the_record(monkeypatch):
    monkeypatch.setenv("FIXLIB_ROOT", str(RECORDED.parent))
    study = tables.record("10to10")
    named = {name: study.runs_of(f"{name}.10to10") for name in ("transition_table", "gru")}
    shown = tables.by_kind(named, named["transition_table"])
    assert shown["share"].sum() == pytest.approx(1)
    for name, runs in named.items():
        bits = sum(run.metrics["bits"]["value"] for run in runs) / len(runs)
        assert shown["share"] @ shown[name] == pytest.approx(bits)
    gained = [float(text.split()[0].replace("−", "-")) for text in shown["gru adds"]]
    assert sum(gained) == pytest.approx(tables.gain("10to10", "gru", "transition_table")["value"], abs=0.03)
