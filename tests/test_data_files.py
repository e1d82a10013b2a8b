"""Data files: what is written is read back; each kind of bad file gives a clear error, destroying nothing."""

import os
import stat

import numpy as np
import pytest
import torch

from fixlib.data import (
    DataFileError,
    check_sequences,
    content_sha256,
    load_real_training_data,
    load_sequences,
    make_patterns,
    save_sequences,
)


@pytest.fixture
def sequences():
    return make_patterns("bounce", n=6, length=5)


def test_round_trip(sequences, tmp_path):
    path = tmp_path / "new" / "train_data.pt"
    save_sequences(sequences, path)
    read = load_sequences(path)
    assert read.keys() == sequences.keys() and read["meta"] == sequences["meta"]
    assert all(torch.equal(read[key], sequences[key]) for key in read if key != "meta")
    assert content_sha256(read) == content_sha256(sequences)
    assert os.listdir(path.parent) == ["train_data.pt"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~current_umask()  # colleagues can read it


def current_umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_a_view_is_saved_without_the_storage_behind_it(tmp_path):
    large = make_patterns("bounce", n=20_000, length=5)
    part = {key: value if key == "meta" else value[:2] for key, value in large.items()}
    save_sequences(part, tmp_path / "part.pt")
    assert (tmp_path / "part.pt").stat().st_size < 10_000


def test_interrupted_write_leaves_the_old_file(sequences, tmp_path, monkeypatch):
    path = tmp_path / "train_data.pt"
    save_sequences(sequences, path)
    before = path.read_bytes()

    def dies(content, file):
        file.write(b"half of it")
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", dies)
    with pytest.raises(KeyboardInterrupt):
        save_sequences(make_patterns("arc", n=3, length=5), path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["train_data.pt"]


def test_saving_bad_data_writes_nothing(sequences, tmp_path):
    with pytest.raises(DataFileError, match="fixation_mask"):
        save_sequences({**sequences, "fixation_mask": None}, tmp_path / "x.pt")
    assert os.listdir(tmp_path) == []


def test_missing_file_names_it_and_the_command(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"val_data\.pt.*fixlib data prepare"):
        load_sequences(tmp_path / "val_data.pt")


@pytest.mark.parametrize("content", [b"", b"not a tensor file", b"PK\x03\x04 zip in name only"])
def test_garbage_file(content, tmp_path):
    path = tmp_path / "train_data.pt"
    path.write_bytes(content)
    with pytest.raises(DataFileError, match=r"train_data\.pt cannot be read"):
        load_sequences(path)


@pytest.mark.parametrize("share", [0.2, 0.7, 0.99])
def test_truncated_file(share, sequences, tmp_path):
    path = tmp_path / "train_data.pt"
    save_sequences(sequences, path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(DataFileError, match="truncated"):
        load_sequences(path)


class Trap:
    def __reduce__(self):
        return os.mkdir, ("trap_was_sprung",)


def test_pickled_object_is_refused_and_not_run(sequences, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({**sequences, "subject": Trap()}, tmp_path / "train_data.pt")
    with pytest.raises(DataFileError, match="pickled Python objects"):
        load_sequences(tmp_path / "train_data.pt")
    assert not (tmp_path / "trap_was_sprung").exists()


def changed(sequences, key, index, value):
    tensor = sequences[key].clone()
    tensor[index] = torch.tensor(value, dtype=tensor.dtype)
    return {**sequences, key: tensor}


BAD = {
    "not a dict": (lambda s: [1, 2], "a dict with .* was expected, not list"),
    "no mask": (lambda s: {"coordinates": s["coordinates"]}, "'fixation_mask' is missing"),
    "misspelt key": (lambda s: {**s, "subjects": s["subject"]}, r"unknown key\(s\) subjects"),
    "list": (lambda s: {**s, "coordinates": s["coordinates"].tolist()}, "must be a tensor, not list"),
    "float64": (lambda s: {**s, "coordinates": s["coordinates"].double()}, "must be torch.float32"),
    "float mask": (lambda s: {**s, "fixation_mask": s["fixation_mask"].float()}, "mask must be torch.bool"),
    "2-D": (lambda s: {**s, "coordinates": s["coordinates"][0]}, r"shape \(N, T, 2\), not \(5, 2\)"),
    "3 numbers": (lambda s: {**s, "coordinates": torch.zeros(6, 5, 3)}, r"not \(6, 5, 3\)"),
    "empty": (lambda s: {**s, "coordinates": torch.zeros(0, 5, 2)}, r"not \(0, 5, 2\)"),
    "mask shape": (lambda s: {**s, "fixation_mask": s["fixation_mask"][:, 1:]}, r"shape \(6, 5\) as"),
    "subject shape": (lambda s: {**s, "subject": s["subject"][1:]}, r"subject must have shape \(6,\)"),
    "NaN": (lambda s: changed(s, "coordinates", (2, 3), [np.nan, 1.0]), r"\[2, 3\] .* is not finite"),
    "inf": (lambda s: changed(s, "coordinates", (2, 3), [np.inf, 1.0]), r"\[2, 3\] .* is not finite"),
    "outside": (lambda s: changed(s, "coordinates", (1, 4), [32.0, 1.0]), r"= \(32, 1\) lies outside"),
    "negative": (lambda s: changed(s, "coordinates", (1, 4), [3.0, -1.0]), r"outside the grid, \[0, 32\)"),
    "version": (lambda s: {**s, "meta": {**s["meta"], "format_version": 99}}, "format_version'] is 99"),
    "short meta": (lambda s: {**s, "meta": {"format_version": 1}}, "meta lacks 'name'"),
    "meta type": (lambda s: {**s, "meta": {**s["meta"], "simulated": "no"}}, r"meta\['simulated'\] is 'no'"),
    "meta list": (lambda s: {**s, "meta": []}, "meta must be a dict"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_content_names_file_and_key(case, sequences, tmp_path):
    spoil, message = BAD[case]
    path = tmp_path / "train_data.pt"
    torch.save(spoil(sequences), path)
    with pytest.raises(DataFileError, match=message) as error:
        load_sequences(path)
    assert str(path) in str(error.value)


def test_a_masked_point_may_lie_anywhere_finite(sequences):
    outside = changed(sequences, "coordinates", (1, 4), [99.0, 1.0])
    check_sequences(changed(outside, "fixation_mask", (1, 4), False), "here")


def test_bare_pair_is_completed(sequences, tmp_path):
    path = tmp_path / "train_data.pt"
    torch.save({key: sequences[key] for key in ("coordinates", "fixation_mask")}, path)
    read = load_sequences(path)
    assert read["subject"].tolist() == read["stimulus"].tolist() == list(range(6))
    assert read["meta"]["name"] == "train_data" and read["meta"]["frames"] == "unknown"
    save_sequences(read, tmp_path / "again.pt")


def test_load_real_training_data(sequences, tmp_path, monkeypatch):
    for part in ("train", "val", "test"):
        save_sequences(sequences, tmp_path / "store" / "osie" / f"{part}_data.pt")
    assert list(load_real_training_data(tmp_path / "store" / "osie")) == ["train", "val", "test"]
    monkeypatch.setenv("FIXLIB_DATA", str(tmp_path / "store"))
    monkeypatch.chdir(tmp_path)  # the default does not depend on the current folder
    assert load_real_training_data()["val"]["coordinates"].shape == (6, 5, 2)
    (tmp_path / "store" / "osie" / "val_data.pt").unlink()
    with pytest.raises(FileNotFoundError, match=r"val_data\.pt.*fixlib data prepare osie"):
        load_real_training_data()
