"""Datasets by name and by folder, preparation that never destroys, fingerprints."""

import itertools
import os

import pytest
import torch

import fixlib.data.datasets as datasets
from fixlib import system
from fixlib.cli import main
from fixlib.data import (
    DATASETS,
    DataFileError,
    Gaze,
    content_sha256,
    describe,
    fingerprint,
    load_real_training_data,
    open_dataset,
    open_rotated,
    prepare,
)
from tests.toy_gaze import SOURCE, gaze


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("FIXLIB_DATA", str(tmp_path / "store"))
    return tmp_path / "store"


def files(folder):
    found = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def test_prepare_writes_both_kinds_of_frames_and_then_nothing(store, monkeypatch):
    folder = prepare("simulated")
    assert folder == store / "simulated"
    written = files(folder)
    assert sorted(written) == sorted(
        f"{sub}{part}_data.pt" for sub in ("", "fixations/") for part in ("train", "val", "test")
    )
    monkeypatch.setattr(Gaze, "save", None)  # would fail if called
    prepare("simulated")
    assert files(folder) == written
    data = load_real_training_data("data/simulated")
    assert data["train"]["meta"]["rate_hz"] == 10.0 and data["train"]["meta"]["simulated"]
    for key in ("subject", "stimulus"):
        members = [set(part[key].tolist()) for part in data.values()]
        assert sum(map(len, members)) == len(set.union(*members))


@pytest.mark.parametrize("command", [["simulate"], ["prepare", "simulated"]])
def test_an_empty_out_is_the_default(command, store, tmp_path, monkeypatch):
    """As from a variable that is not set: --out "$FOLDER"."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert main(["data", *command, "--out", ""]) == 0
    assert (store / "simulated" / "val_data.pt").is_file() and not os.listdir()


def test_prepare_completes_what_an_interruption_left(store):
    before = files(prepare("simulated"))
    (store / "simulated" / "val_data.pt").unlink()
    prepare("simulated")
    assert files(store / "simulated").keys() == before.keys()


@pytest.mark.parametrize("key, change", [("coordinates", 0.5), ("subject", 0), ("stimulus", 2)])
def test_a_prepared_file_that_was_edited_is_refused(store, key, change):
    path = prepare("simulated") / "test_data.pt"
    edited = torch.load(path, weights_only=True)
    edited[key] *= change
    torch.save(edited, path)
    with pytest.raises(DataFileError, match=r"test_data\.pt is not the prepared simulated .*it was edited"):
        open_dataset("simulated")


@pytest.mark.parametrize("content", ["somebody's", "garbage"])
def test_prepare_never_replaces_other_files(store, content):
    path = store / "simulated" / "val_data.pt"
    gaze().save(path)
    if content == "garbage":
        path.write_bytes(b"garbage")
    before = files(store)
    with pytest.raises(
        DataFileError, match=r"val_data\.pt (is not the prepared simulated data|cannot be read).* move it"
    ):
        prepare("simulated")
    assert files(store) == before


def test_open_registered_dataset(store):
    at_10, per_fixation, at_5 = (open_dataset("simulated", rate) for rate in (10, None, 5.0))
    assert at_10["test"]["coordinates"].shape == (700, 25, 2)
    assert at_5["test"]["coordinates"].shape == (700, 13, 2)
    assert torch.equal(at_5["test"]["coordinates"], at_10["test"]["coordinates"][:, ::2])
    assert per_fixation["test"]["meta"]["frames"] == "fixations"
    small = open_dataset("simulated", 10.0, size=16)
    assert small["val"]["meta"]["size"] == 16 and small["val"]["coordinates"].max() < 16


def test_open_folder(tmp_path):
    for part in ("train", "val", "test"):
        gaze(3).save(tmp_path / f"{part}_data.pt")
    assert open_dataset(str(tmp_path), None)["val"]["coordinates"].shape == (3, 5, 2)
    with pytest.raises(ValueError, match="holds frames of steps, 10 Hz was asked for"):
        open_dataset(str(tmp_path))
    with pytest.raises(ValueError, match="32 px grid, 16 px was asked for"):
        open_dataset(str(tmp_path), None, size=16)
    assert describe(str(tmp_path)) == SOURCE
    first = fingerprint(str(tmp_path))
    gaze(3, seed=1).save(tmp_path / "val_data.pt")
    assert fingerprint(str(tmp_path)) != first
    (tmp_path / "val_data.pt").write_bytes(b"garbage")
    with pytest.raises(DataFileError, match=r"val_data\.pt cannot be read"):
        open_dataset(str(tmp_path), None)
    (tmp_path / "val_data.pt").unlink()
    for call in (open_dataset, fingerprint):
        with pytest.raises(FileNotFoundError, match=r"val_data\.pt"):
            call(str(tmp_path), None)


def test_bare_pairs_of_a_user_open_at_any_rate(tmp_path):
    pair = {"coordinates": 9 * torch.ones(2, 20, 2), "fixation_mask": torch.ones(2, 20, dtype=torch.bool)}
    for part in ("train", "val", "test"):
        torch.save(pair, tmp_path / f"{part}_data.pt")
    assert "Intervals take every row for another viewer" in describe(str(tmp_path)).notice
    assert open_dataset(str(tmp_path))["train"]["fixation_mask"].all()
    for call in (open_dataset, fingerprint):  # frames every 100 ms are not to pass for one frame a fixation
        with pytest.raises(ValueError, match="no subfolder `fixations`"):
            call(str(tmp_path), None)
    (tmp_path / "fixations").mkdir()
    for part in ("train", "val", "test"):
        torch.save(pair, tmp_path / "fixations" / f"{part}_data.pt")
    assert open_dataset(str(tmp_path), None)["train"]["fixation_mask"].all()


@pytest.mark.parametrize("highest", [1.0, 0.9])
def test_coordinates_in_units_of_the_picture_are_refused(tmp_path, highest):
    content = gaze(40)
    pair = dict(coordinates=content.coordinates / 32 * highest, fixation_mask=content.fixation_mask)
    for part in ("train", "val", "test"):
        torch.save(pair, tmp_path / f"{part}_data.pt")
    for call in (open_dataset, load_real_training_data):
        with pytest.raises(DataFileError, match=r"train_data\.pt: all points lie between 0 and 1.* coordinates \* 32"):
            call(str(tmp_path))


@pytest.mark.parametrize("call", [open_dataset, fingerprint, describe, prepare])
def test_unknown_dataset(call, store):
    with pytest.raises(ValueError, match="unknown dataset 'osei'; known: gazecom, patterns, osie, crowd, simulated"):
        call("osei")


def test_windows_of_rotated_splits_never_cross(store):
    given, rotated = open_dataset("simulated"), open_rotated("simulated")
    assert len(rotated) == 4
    assert all(content_sha256(rotated[0][part]) == content_sha256(gaze) for part, gaze in given.items())
    tested = []
    for parts in rotated:
        windows = {part: gaze.windows(20, 10) for part, gaze in parts.items()}
        for key in ("subject", "stimulus"):
            members = [set(each[key].tolist()) for each in windows.values()]
            assert sum(map(len, members)) == len(set.union(*members))
        tested.extend(windows["test"].subject.unique().tolist())
    assert sorted(tested) == list(range(15))


def test_rotated_splits_are_refused_where_there_are_no_viewers():
    with pytest.raises(ValueError, match="made when it is needed"):
        open_rotated("patterns")
    with pytest.raises(ValueError, match="samples of gaze and no fixations"):
        open_rotated("gazecom", None)


def test_fingerprints_need_no_data_and_tell_preparations_apart(store, monkeypatch):
    recorded = [name for name in DATASETS if name != "patterns"]
    cases = itertools.product(recorded, (10.0, None, 60), (32, 64))
    made = {fingerprint(*case) for case in cases if case[:2] != ("gazecom", None)}  # which has no fixations
    assert len(made) == 22 and all(len(mark) == 16 for mark in made)
    assert fingerprint("osie", 10) == fingerprint("osie", 10.0)
    before = fingerprint("osie")
    monkeypatch.setitem(datasets.SPLIT, "seed", 1)
    assert fingerprint("osie") != before
    assert not store.exists()


def test_fingerprints_are_those_of_the_recorded_runs():
    """Another one would orphan every run recorded on these data."""
    assert [fingerprint("osie", rate) for rate in (10.0, None)] == ["48972f9fa24e8d9e", "4eae20aa5fa708df"]
    assert [fingerprint("simulated", rate) for rate in (10.0, None)] == ["790d1b4273a0e42b", "831f735b27729caa"]
    assert fingerprint("patterns") == "be9251d85da013ce"
    assert fingerprint("gazecom") == "b0e79b3a82a41ee1"


def test_content_hash_sees_coordinates_mask_and_shape():
    content = {key: gaze(4, 6)[key] for key in ("coordinates", "fixation_mask")}
    masked = {**content, "fixation_mask": ~content["fixation_mask"]}
    reshaped = {**content, "coordinates": content["coordinates"].view(6, 4, 2)}
    assert len({content_sha256(d) for d in (content, masked, reshaped, gaze(4, 6, seed=1))}) == 4
    assert content_sha256(content) == content_sha256(gaze(4, 6))


def test_describe():
    assert not describe("osie").simulated and "Xu" in describe("osie").citation
    assert describe("simulated").simulated and "SIMULATED" in describe("simulated").label


def test_paths(tmp_path, monkeypatch):
    monkeypatch.delenv("FIXLIB_DATA", raising=False)
    monkeypatch.setenv("FIXLIB_ROOT", str(tmp_path))
    assert system.root() == tmp_path.resolve() and system.data_dir() == tmp_path.resolve() / "data"
    monkeypatch.setenv("FIXLIB_ROOT", str(tmp_path / "none"))
    with pytest.raises(FileNotFoundError, match="FIXLIB_ROOT"):
        system.root()
    monkeypatch.delenv("FIXLIB_ROOT")
    assert (system.root() / "fixlib").is_dir() or system.root() == system.Path.cwd()
    assert os.path.isabs(system.root())
