"""Data files: what is written is read back; each kind of bad file gives a clear error, destroying nothing."""

import os
import stat
import tempfile
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fixlib.data import DataFileError, Gaze, content_sha256, load_real_training_data
from tests.toy_gaze import gaze

TENSORS = ("coordinates", "fixation_mask", "subject", "stimulus")


@pytest.fixture
def sequences():
    return gaze()


def test_round_trip(sequences, tmp_path):
    path = tmp_path / "new" / "train_data.pt"
    sequences.save(path)
    read = Gaze.load(path)
    assert read.meta == sequences.meta and read.source == sequences.source
    assert all(torch.equal(read[key], sequences[key]) for key in TENSORS)
    assert set(torch.load(path, weights_only=True)) == {*TENSORS, "meta"}
    assert content_sha256(read) == content_sha256(sequences)
    assert os.listdir(path.parent) == ["train_data.pt"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~current_umask()  # colleagues can read it


def current_umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_a_view_is_saved_without_the_storage_behind_it(tmp_path):
    gaze(n=20_000).rows(slice(2)).save(tmp_path / "part.pt")
    assert (tmp_path / "part.pt").stat().st_size < 10_000


def test_interrupted_write_leaves_the_old_file(sequences, tmp_path, monkeypatch):
    path = tmp_path / "train_data.pt"
    sequences.save(path)
    before = path.read_bytes()

    def dies(content, file):
        file.write(b"half of it")
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", dies)
    with pytest.raises(KeyboardInterrupt):
        gaze(n=3).save(path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["train_data.pt"]


def test_what_could_not_be_read_back_is_not_written(sequences, tmp_path):
    with pytest.raises(DataFileError, match=r"what was to be .*x\.pt cannot be read"):
        replace(sequences, extra=dict(folder=tmp_path)).save(tmp_path / "x.pt")
    assert os.listdir(tmp_path) == []


NUMBERS = st.sampled_from([np.int64, np.int32, np.uint8, np.float32, np.float64, int, float])
EXTRA = st.dictionaries(
    st.text(min_size=1).filter(lambda key: key not in gaze().meta),
    st.builds(lambda kind, value: kind(value), NUMBERS, st.integers(0, 100))
    | st.builds(np.bool_, st.booleans())
    | st.builds(np.arange, st.integers(0, 3))
    | st.text()
    | st.none(),
    max_size=3,
)


@given(
    rate=NUMBERS,
    size=st.sampled_from([np.int64, np.uint8, int]),
    simulated=st.sampled_from([np.bool_, bool]),
    extra=EXTRA,
)
def test_numbers_of_numpy_in_meta_come_back_as_plain_ones(rate, size, simulated, extra):
    made = gaze()
    source = replace(made.source, simulated=simulated(True))
    made = replace(made, source=source, rate_hz=rate(10), size=size(32), extra=extra)
    with tempfile.TemporaryDirectory() as folder:
        made.save(f"{folder}/train_data.pt")
        meta = torch.load(f"{folder}/train_data.pt", weights_only=True)["meta"]
        read = Gaze.load(f"{folder}/train_data.pt")
    assert read.meta == meta == made.meta and read.rate_hz == 10 and read.source == source
    dictionary = {**{key: made[key] for key in TENSORS}, "meta": {**meta, "rate_hz": rate(10), **extra}}
    assert Gaze.of(dictionary).meta == meta


def test_missing_file_names_it_and_the_command(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"val_data\.pt.*fixlib data prepare"):
        Gaze.load(tmp_path / "val_data.pt")


@pytest.mark.parametrize("content", [b"", b"not a tensor file", b"PK\x03\x04 zip in name only"])
def test_garbage_file(content, tmp_path):
    path = tmp_path / "train_data.pt"
    path.write_bytes(content)
    with pytest.raises(DataFileError, match=r"train_data\.pt cannot be read"):
        Gaze.load(path)


@pytest.mark.parametrize("share", [0.2, 0.7, 0.99])
def test_truncated_file(share, sequences, tmp_path):
    path = tmp_path / "train_data.pt"
    sequences.save(path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(DataFileError, match="truncated"):
        Gaze.load(path)


class Trap:
    def __reduce__(self):
        return os.mkdir, ("trap_was_sprung",)


def test_pickled_object_is_refused_and_not_run(sequences, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({**as_dict(sequences), "subject": Trap()}, tmp_path / "train_data.pt")
    with pytest.raises(DataFileError, match="pickled Python objects"):
        Gaze.load(tmp_path / "train_data.pt")
    assert not (tmp_path / "trap_was_sprung").exists()


def as_dict(sequences):
    return {key: sequences[key] for key in (*TENSORS, "meta")}


def changed(sequences, key, index, value):
    tensor = sequences[key].clone()
    tensor[index] = torch.tensor(value, dtype=tensor.dtype)
    return {**sequences, key: tensor}


BAD = {
    "not a dict": (lambda s: [1, 2], "a dict with .* was expected, not list"),
    "no mask": (lambda s: {"coordinates": s["coordinates"]}, "'fixation_mask' is missing"),
    "misspelt key": (lambda s: {**s, "subjects": s["subject"]}, r"unknown key\(s\) subjects"),
    "list": (lambda s: {**s, "coordinates": s["coordinates"].tolist()}, "must be a tensor of torch.float32, not list"),
    "float64": (
        lambda s: {**s, "coordinates": s["coordinates"].double()},
        "must be a tensor of torch.float32, not torch.float64",
    ),
    "float mask": (lambda s: {**s, "fixation_mask": s["fixation_mask"].float()}, "mask must be a tensor of torch.bool"),
    "a number": (lambda s: {**s, "coordinates": 5}, r"must hold sequences, \(N, T, 2\), not \(\)"),
    "2-D": (lambda s: {**s, "coordinates": s["coordinates"][0]}, r"shape \(N, T, 2\), not \(5, 2\)"),
    "3 numbers": (lambda s: {**s, "coordinates": torch.zeros(6, 5, 3)}, r"not \(6, 5, 3\)"),
    "empty": (lambda s: {**s, "coordinates": torch.zeros(0, 5, 2)}, r"not \(0, 5, 2\)"),
    "mask shape": (lambda s: {**s, "fixation_mask": s["fixation_mask"][:, 1:]}, r"shape \(6, 5\) to fit"),
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
    torch.save(spoil(as_dict(sequences)), path)
    with pytest.raises(DataFileError, match=message) as error:
        Gaze.load(path)
    assert str(path) in str(error.value)


def test_a_masked_point_may_lie_anywhere_finite(sequences):
    outside = changed(as_dict(sequences), "coordinates", (1, 4), [99.0, 1.0])
    assert len(Gaze.of(changed(outside, "fixation_mask", (1, 4), False))) == 6


def test_bare_pair_is_completed(sequences, tmp_path):
    path = tmp_path / "train_data.pt"
    torch.save({key: sequences[key] for key in ("coordinates", "fixation_mask")}, path)
    read = Gaze.load(path)
    assert read["subject"].tolist() == read["stimulus"].tolist() == list(range(6))
    assert read["meta"]["name"] == "train_data" and read["meta"]["frames"] == "unknown"
    assert "Intervals take every row for another viewer" in read.notice
    read.save(tmp_path / "again.pt")
    known = {**as_dict(read), "subject": torch.tensor([0, 0, 0, 1, 1, 1])}
    assert Gaze.of(known).notice == ""


def test_load_real_training_data(sequences, tmp_path, monkeypatch):
    for part in ("train", "val", "test"):
        sequences.save(tmp_path / "store" / "osie" / f"{part}_data.pt")
    assert list(load_real_training_data(tmp_path / "store" / "osie")) == ["train", "val", "test"]
    monkeypatch.setenv("FIXLIB_DATA", str(tmp_path / "store"))
    monkeypatch.chdir(tmp_path)  # the default does not depend on the current folder
    assert load_real_training_data()["val"]["coordinates"].shape == (6, 5, 2)
    (tmp_path / "store" / "osie" / "val_data.pt").unlink()
    with pytest.raises(FileNotFoundError, match=r"val_data\.pt.*fixlib data prepare osie"):
        load_real_training_data()
