"""Recorded runs: written once and whole, read only where they fit."""

import json
import math
import os
import platform
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fixlib.chapters.loss_comparison import runs as loss_comparison
from fixlib.metrics import Truth, evaluate_frames
from fixlib.runs.config import Config, Data, Loss, Model, RunSpec, Training
from fixlib.runs.store import ResultError, Results, Run, largest_difference, pack, payload_of, unpack
from fixlib.system import environment


@pytest.fixture
def spec():
    config = Config(Data("osie"), Model("simvp", dict(hid_S=64, hid_T=256)), Loss("focal", dict(gamma=2)), Training(25))
    return RunSpec("loss_comparison", "osie", "focal", "paper", 0, config, "0123456789abcdef")


def slower(spec):
    return replace(spec.config, training=replace(spec.config.training, learning_rate=1e-4))


@pytest.fixture
def results(tmp_path):
    return Results(tmp_path / "results")


def payload(**more):
    return dict(
        metrics=dict(f1_score=dict(value=0.25, low=0.0, high=math.nan)),
        data_label="OSIE",
        simulated=False,
        seconds=1.5,
        peak_memory_mb=100.0,
        **more,
    )


def edit(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_the_key_follows_every_field(spec):
    assert len(spec.key) == 10 and spec.filename == f"focal-paper-0-{spec.key}.json"
    changed = [
        replace(spec, **change)
        for change in (
            dict(experiment="other"),
            dict(dataset="simulated"),
            dict(variant="mse"),
            dict(profile="quick"),
            dict(seed=1),
            dict(config=slower(spec)),
            dict(fingerprint="f" * 16),
        )
    ]
    assert len({spec.key, *(other.key for other in changed)}) == 8
    shuffled = Model("simvp", dict(reversed(spec.config.model.options.items())))
    assert replace(spec, config=replace(spec.config, model=shuffled)).key == spec.key


@pytest.mark.parametrize("name", ["", "../up", "a/b", "/data/mine", ".hidden", "two words"])
def test_names_that_cannot_be_file_names_are_refused(spec, name):
    with pytest.raises(ValueError, match="dataset"):
        replace(spec, dataset=name)


def test_write_then_read(results, spec):
    assert not results.has(spec)
    arrays = dict(error=np.array([1.5, np.nan]), subject=torch.tensor([3, 700]))
    path = results.write(spec, payload(per_window=arrays, history=[dict(epoch=1, loss=math.nan)], note=None))
    assert path == results.folder / "loss_comparison" / "osie" / spec.filename and results.has(spec)
    run = results.read(spec)
    assert run.spec == spec and run.path == path
    assert run.metrics["f1_score"]["value"] == 0.25 and math.isnan(run.metrics["f1_score"]["high"])
    assert math.isnan(run.history[0]["loss"]) and run.payload["note"] is None
    np.testing.assert_array_equal(run.per_window["error"], [1.5, np.nan])
    assert run.per_window["subject"].tolist() == [3, 700]
    assert "NaN" not in path.read_text()


def test_a_run_is_written_once(results, spec):
    path = results.write(spec, payload())
    before = path.read_bytes()
    with pytest.raises(FileExistsError, match="written once"):
        results.write(spec, payload(note="again"))
    assert path.read_bytes() == before


@pytest.mark.parametrize("fails", ["fsync", "replace"])
def test_an_interruption_leaves_nothing_half_written(results, spec, monkeypatch, fails):
    other = results.write(replace(spec, seed=1), payload())
    before = other.read_bytes()

    def fail(*_):
        raise OSError("disk full")

    with monkeypatch.context() as patched:
        patched.setattr(os, fails, fail)
        with pytest.raises(OSError, match="disk full"):
            results.write(spec, payload())
    assert not results.has(spec) and [p.name for p in other.parent.iterdir()] == [other.name]
    assert other.read_bytes() == before
    results.write(spec, payload())


def test_a_killed_writer_leaves_a_file_that_nobody_reads(results, spec):
    path = results.path(spec)
    path.parent.mkdir(parents=True)
    path.with_name(f".{path.name}.123.tmp").write_text('{"half":')
    assert not results.has(spec) and results.runs() == []


def test_a_missing_run_says_how_to_record_it(results, spec):
    with pytest.raises(FileNotFoundError, match="fixlib run loss_comparison --profile paper"):
        results.read(spec)


@pytest.mark.parametrize("text", ["", '{"half": ', "[]", "{}", "\x00\xff"])
def test_a_corrupt_file_is_named(results, spec, text):
    path = results.write(spec, payload())
    path.write_text(text)
    for read in (lambda: results.read(spec), results.runs):
        with pytest.raises(ResultError, match=spec.filename):
            read()
    assert path.read_text() == text  # reported, not removed


@pytest.mark.parametrize("word", ["NaN", "Infinity"])
def test_a_number_that_is_none_is_named_with_its_file(results, spec, word):
    path = results.write(spec, payload())
    path.write_text(path.read_text().replace("1.5", word))
    with pytest.raises(ResultError, match=rf"{spec.filename} is not a recorded run .*not JSON"):
        results.read(spec)


def test_a_truncated_file_is_named(results, spec):
    path = results.write(spec, payload())
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ResultError, match=spec.filename):
        results.read(spec)


def test_an_edited_number_is_noticed(results, spec):
    path = results.write(spec, payload())
    edit(path, lambda content: content["metrics"]["f1_score"].update(value=0.99))
    with pytest.raises(ResultError, match="changed after it was recorded"):
        results.read(spec)


def test_another_configurations_run_is_not_read(results, spec):
    other = results.write(replace(spec, config=slower(spec)), payload())
    os.rename(other, results.path(spec))
    with pytest.raises(ResultError, match="should be named"):
        results.read(spec)


def test_a_run_in_another_datasets_folder_is_not_read(results, spec):
    path = results.write(spec, payload())
    wanted = replace(spec, dataset="simulated")
    results.path(wanted).parent.mkdir(parents=True)
    os.rename(path, results.path(wanted))
    with pytest.raises(ResultError, match="should be named"):
        results.read(wanted)


def test_another_format_version_is_refused(results, spec):
    path = results.write(spec, payload())
    edit(path, lambda content: content.update(format_version=99))
    with pytest.raises(ResultError, match="format version 99"):
        results.read(spec)


@pytest.mark.parametrize(
    "array, dtype, tolerance",
    [
        (np.random.default_rng(0).random((7, 5)) * 30, "float16", 0.01),
        (np.random.default_rng(0).random((7, 5)), "float32", 1e-7),
        (np.array([np.nan, np.inf, 0.0]), "float16", 0),
        (np.arange(-3, 700), "int16", 0),
        (np.arange(12, dtype=np.uint8).reshape(3, 4), "uint8", 0),
        (np.array([True, False]), "bool", 0),
        (np.zeros((0, 2)), "float16", 0),
        (np.array(3.5), "float64", 0),
    ],
)
def test_pack_and_unpack(array, dtype, tolerance):
    packed = json.loads(json.dumps(pack(array, dtype)))
    back = unpack(packed)
    assert back.shape == array.shape and back.dtype == np.dtype(dtype)
    np.testing.assert_allclose(back.astype(float), array.astype(float), atol=tolerance)


def test_pack_refuses_what_does_not_fit():
    for number, dtype in ((1e6, "float16"), (40000, "int16"), (0.5, "uint8")):
        with pytest.raises(ValueError, match="wider dtype"):
            pack(np.array([number]), dtype)


def test_the_environment_names_no_machine():
    known = environment()
    assert known["torch"] == torch.__version__ and known["device"] == "cpu" and known["threads"] >= 1
    assert platform.node() not in known.values() and os.getcwd() not in json.dumps(known)


def test_a_realistic_run_is_below_20_kb(results, spec):
    g = torch.Generator().manual_seed(0)
    last = torch.rand(400, 2, generator=g) * 32
    jumps = torch.randn(400, 10, 2, generator=g) * torch.rand(400, 1, 1, generator=g) * 6
    y, x = torch.meshgrid(torch.arange(32), torch.arange(32), indexing="ij")
    distance = (x - last[:, 0, None, None]) ** 2 + (y - last[:, 1, None, None]) ** 2
    logits = torch.randn(400, 10, 32, 32, generator=g) * 0.5 - 3 - distance[:, None] / 30
    coordinates, mask = (last[:, None] + jumps).clamp(0, 31.99), torch.ones(400, 10, dtype=torch.bool)
    subject, stimulus = torch.randint(0, 4, (400,), generator=g), torch.randint(500, 700, (400,), generator=g)
    evaluation = evaluate_frames(logits, Truth(coordinates, mask, last, subject, stimulus), n_boot=100)
    p = torch.sigmoid(logits[:2, :4])
    maps = (p / p.amax((-2, -1), keepdim=True) * 255).round().to(torch.uint8)
    history = [
        dict(epoch=i, train_loss=math.exp(-i), val_loss=math.exp(-i / 3), lr=1e-3, seconds=i / 7) for i in range(25)
    ]
    kept = payload(
        history=history, examples=dict(maps=maps, windows=[3, 7]), environment=environment(), content_sha256="a" * 64
    ) | payload_of(evaluation)
    path = results.write(spec, kept)
    assert path.stat().st_size < 20_000
    run = results.read(spec)
    assert (run.payload["examples"]["maps"] == maps.numpy()).all()
    kept, given = run.per_window, evaluation.per_window
    np.testing.assert_allclose(kept["error_median"], given["error_median"], rtol=1e-3)
    np.testing.assert_array_equal(kept["stimulus"], given["stimulus"])
    assert run.by_horizon["error_mean"] == pytest.approx(evaluation.by_horizon["error_mean"], rel=1e-5)


def test_every_recorded_run_is_read_under_its_key():
    recorded = Results(Path(__file__).resolve().parents[1] / "results")
    found = recorded.runs()  # each file is checked against its name
    assert len(found) == len(list(recorded.folder.rglob("*.json"))) >= 312
    for run in found:
        assert json.loads(run.path.read_text())["spec"] == run.spec.to_json()
        assert RunSpec.from_json(run.spec.to_json()) == run.spec


def test_the_chapters_ask_for_the_recorded_runs():
    recorded = Results(Path(__file__).resolve().parents[1] / "results")
    wanted = {spec.key for spec in loss_comparison.specs("osie", "paper", (0, 1, 2))}
    assert wanted == {run.spec.key for run in recorded.runs("loss_comparison", "osie", "paper")} & wanted


def test_metrics_are_compared_where_both_have_them():
    mine = dict(recall=dict(value=0.5), error=dict(value=2.0), undefined=dict(value=float("nan")), new=dict(value=1.0))
    theirs = dict(recall=dict(value=0.5), error=dict(value=4.0), undefined=dict(value=float("nan")))
    run, other = (Run(None, None, dict(metrics=metrics)) for metrics in (mine, theirs))
    assert largest_difference(run, other) == 0.5 and largest_difference(run, run) == 0


def test_each_loss_is_tuned_as_validation_windows_chose():
    runs = Results(Path(__file__).resolve().parents[1] / "results").runs("loss_tuning", "osie", "tuned")
    best: dict[str, Run] = {}

    def order(run: Run) -> tuple[float, bool]:  # the lowest comes last; of equals, the one that is clipped
        return -min(entry["val_loss"] for entry in run.history), run.spec.config.training.clip_norm is not None

    for run in sorted(runs, key=order):
        best[run.spec.variant.split("-")[0]] = run
    chosen = {loss: run.spec.config.training for loss, run in best.items()}
    found = {loss: (training.learning_rate, training.clip_norm) for loss, training in chosen.items()}
    assert found == {loss: loss_comparison.TUNED[loss] for loss in found}
