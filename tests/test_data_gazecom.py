"""GazeCom: the parser and the time rule on small files written here, fetching, the real numbers where to be had."""

import bz2
import functools
import gzip
import hashlib
import lzma
import os
import tarfile
from dataclasses import replace

import numpy as np
import pytest
import torch

import fixlib.data.gazecom as gazecom
from fixlib import data, system
from fixlib.chapters.loss_comparison.runs import FRAME_BASELINES
from fixlib.cli import main
from fixlib.data import (
    ChecksumError,
    DataFileError,
    DataUnavailable,
    cut_windows,
    fingerprint,
    open_dataset,
    open_scanpaths,
    prepare,
    read_gazecom,
    split_by_stimulus_and_subject,
)
from fixlib.runs import obtain

HEADER = "gaze 1280 720\ngeometry distance 0.45 width 0.4 height 0.225\n"


def write(path, *samples, header=HEADER):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(header + "".join(f"{' '.join(map(str, sample))}\n" for sample in samples))
    return path


def whole_film(x):
    """Samples every 4 ms of 20 s, always at the same place."""
    return [(4000 * k, x, 360, 1) for k in range(1, 5001)]


@pytest.fixture
def folder(tmp_path):
    """Viewers A and B, films beach and sea; B did not see the sea."""
    write(tmp_path / "films" / "B_beach.coord", (4000, 0, 719.9, 1))
    write(tmp_path / "films" / "A_sea.coord", (1000, 640, 360, 1), (5000, 80, 45, 0))
    write(tmp_path / "films" / "A_beach.coord", (1000, 1280, -1.5, 1))
    (tmp_path / "films" / "notes.txt").write_text("not a recording")
    return tmp_path / "films"


def pack(folder, path, mode="w:xz"):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as archive:
        archive.add(folder, "films")
    return path


def test_parser_against_values_by_hand(folder, tmp_path):
    recordings = read_gazecom(folder)
    assert len(recordings) == 3 and recordings.size == 32
    assert recordings.rows["subject"].tolist() == [0, 0, 1]  # A beach, A sea, B beach
    assert recordings.rows["stimulus"].tolist() == [0, 1, 0]
    # 1280 x 720 -> 32 x 32: x / 40, y / 22.5; microseconds -> ms
    for samples, by_hand in zip(
        recordings.samples,
        ([[1, 32, -1.5 / 22.5, 1]], [[1, 16, 16, 1], [5, 2, 2, 0]], [[4, 0, 719.9 / 22.5, 1]]),
        strict=True,
    ):
        assert samples == pytest.approx(np.array(by_hand))
    assert read_gazecom(folder, size=64).samples[1][0].tolist() == [1, 32, 32, 1]
    assert "Dorr" in recordings.source.citation and not recordings.source.simulated
    packed = read_gazecom(pack(folder, tmp_path / "films.tar.xz"))
    assert packed.source == recordings.source and packed.rows.equals(recordings.rows)
    (folder / "A_sea.coord").write_text((folder / "A_sea.coord").read_text().replace("640", "641"))
    assert read_gazecom(folder).source.sha256 != recordings.source.sha256


def frames_of(tmp_path, *samples, rate_hz=10.0):
    write(tmp_path / "one" / "A_sea.coord", *samples)
    frames = read_gazecom(tmp_path / "one").frames(rate_hz)
    return frames["coordinates"][0], frames["fixation_mask"][0]


def test_a_frame_shows_the_nearest_sample_no_farther_than_4_ms(tmp_path):
    points, mask = frames_of(
        tmp_path,
        (4000, 40, 90, 1),  # frame 0, 4 ms late
        (98_000, 80, 90, 1),
        (102_000, 120, 90, 1),  # frame 1: the earlier of two
        (198_000, 160, 90, 1),
        (201_000, 200, 90, 1),  # frame 2: the nearer of two
        (295_000, 240, 90, 1),
        (305_000, 280, 90, 1),  # frame 3: both too far
        (396_000, 320, 90, 1),
    )  # frame 4, 4 ms early; then nothing
    assert mask.shape == (200,) and mask.nonzero().flatten().tolist() == [0, 1, 2, 4]
    assert points[mask].tolist() == [[1, 4], [2, 4], [5, 4], [8, 4]]
    assert not points[~mask].any()


def test_the_mask_is_confidence_and_inside_the_film(tmp_path):
    places = [(0, 0, 1), (1279.9, 719.9, 1), (1280, 100, 1), (100, 720, 1), (-0.1, 100, 1), (100, 100, 0)]
    points, mask = frames_of(tmp_path, *[(100_000 * k, *place) for k, place in enumerate(places)])
    assert mask[:6].tolist() == [True, True, False, False, False, False]
    assert points[0].tolist() == [0, 0] and points[1].tolist() == pytest.approx([31.9975, 31.99556], abs=1e-4)
    assert not points[2:].any()


def test_frames_end_with_the_film_whatever_the_rate(tmp_path):
    for rate_hz, n_frames in ((10, 200), (30, 600), (0.3, 6)):
        points, mask = frames_of(tmp_path, *whole_film(640), (20_004_000, 40, 90, 1), rate_hz=rate_hz)
        assert mask.shape == (n_frames,) and mask.all() and (points == torch.tensor([16.0, 16.0])).all()
    with pytest.raises(ValueError, match="rate_hz must be a positive number"):
        frames_of(tmp_path, (4000, 1, 1, 1), rate_hz=0)


@pytest.mark.parametrize("rate_hz", [0.12, 0.13])
def test_a_last_frame_that_begins_within_the_film_is_shown(tmp_path, rate_hz):
    """20 s are 2.4 or 2.6 frames, and the third begins after 16.7 or 15.4 s."""
    points, mask = frames_of(tmp_path, *whole_film(640), rate_hz=rate_hz)
    assert mask.shape == (3,) and mask.all() and (points == torch.tensor([16.0, 16.0])).all()


def test_no_window_holds_a_frame_without_gaze(tmp_path):
    samples = [sample for sample in whole_film(640) if not 690_000 < sample[0] < 790_000]  # 0.1 s
    write(tmp_path / "one" / "A_sea.coord", *samples)
    frames = read_gazecom(tmp_path / "one").frames(10.0)
    assert frames["fixation_mask"][0].nonzero().flatten().tolist() == [k for k in range(200) if k != 7]
    assert len(cut_windows(frames, 5)["coordinates"]) == 39  # of 40


BROKEN = {
    "column": (HEADER + "1000 1 1 1\n5000 1 1\n", r"A_sea\.coord, line 4: 4 numbers were expected"),
    "text": (HEADER + "1000 1 one 1\n", r"A_sea\.coord, line 3: 4 numbers were expected .* not '1000 1 one 1'"),
    "film": ("gaze 1024 768\n", r"line 1: 'gaze 1280 720' was expected, not \['gaze 1024 768'\]"),
    "geometry": ("gaze 1280 720\n1000 1 1 1\n", r"line 2: 'geometry \.\.\.' was expected, not \['1000 1 1 1'\]"),
    "empty": ("", r"line 1: 'gaze 1280 720' was expected, not \[\]"),
    "header only": (HEADER, r"recording A_sea\.coord: samples must be \(n, 4\), n > 0, not \(0, 4\)"),
    "not finite": (
        HEADER + "1000 1 1 1\n5000 nan 1 1\n",
        r"recording A_sea\.coord, sample 1: every value must be a finite number",
    ),
    "time": (HEADER + "1000 1 1 1\n5000 1 1 1\n5000 1 1 1\n", "sample 2: the time must be later"),
    "confidence": (HEADER + "1000 1 1 0.5\n", "sample 0: the confidence must be 0 or 1"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_parser_names_file_and_line(case, tmp_path):
    content, message = BROKEN[case]
    write(tmp_path / "A_sea.coord", header=content)
    with pytest.raises(DataFileError, match=message):
        read_gazecom(tmp_path)


def test_parser_refuses_other_files(folder, tmp_path):
    with pytest.raises(FileNotFoundError, match="no GazeCom archive or folder at"):
        read_gazecom(tmp_path / "none.tar.xz")
    with pytest.raises(DataFileError, match=r"holds no \.coord file"):
        read_gazecom(tmp_path)
    whole = pack(folder, tmp_path / "films.tar.xz").read_bytes()
    for name, content in (("truncated", whole[:-200]), ("other", b"no archive"), ("flipped", whole[:60] + b"x" * 40)):
        damaged = tmp_path / name
        damaged.write_bytes(content)
        with pytest.raises(DataFileError, match=f"{name} cannot be read as a tar archive"):
            read_gazecom(damaged)
    write(folder / "sea.coord", (1000, 1, 1, 1))
    with pytest.raises(DataFileError, match=r"sea\.coord is not named VIEWER_film\.coord"):
        read_gazecom(folder)


@pytest.mark.parametrize("compress", [gzip.compress, functools.partial(bz2.compress, compresslevel=1), lzma.compress])
def test_an_archive_damaged_in_the_middle_is_named(compress, tmp_path, capsys):
    """Each kind of compression answers damage that comes after a good beginning with an error of its own."""
    places = np.random.default_rng(0).integers(1, 700, size=(20_000, 2))
    write(tmp_path / "films" / "A_sea.coord", *[(4000 * k, x, y, 1) for k, (x, y) in enumerate(places)])
    content = bytearray(compress(pack(tmp_path / "films", tmp_path / "films.tar", "w").read_bytes()))
    start, end = int(0.6 * len(content)), int(0.7 * len(content))
    content[start:end] = b"\xff" * (end - start)
    (tmp_path / "films.tar.z").write_bytes(content)
    assert main(["data", "prepare", "gazecom", str(tmp_path / "films.tar.z"), "--out", str(tmp_path / "out")]) == 1
    assert "films.tar.z cannot be read as a tar archive (" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_what_may_not_be_read_is_said_to_be_so(folder, tmp_path, monkeypatch):
    """By stand-ins, as root may read everything."""

    def denied(*_, **__):
        raise PermissionError("not for you")

    archive = pack(folder, tmp_path / "films.tar.xz")
    with monkeypatch.context() as patch:
        patch.setattr(gazecom, "open", denied, raising=False)
        with pytest.raises(PermissionError):
            read_gazecom(archive)
    for listing in ("listdir", "scandir"):  # which of them pathlib calls is its own affair
        monkeypatch.setattr(os, listing, denied)
    with pytest.raises(PermissionError):
        read_gazecom(folder)


def test_hidden_files_are_not_recordings(folder, tmp_path):
    expected = read_gazecom(folder)
    (folder / "._A_beach.coord").write_bytes(b"\0\5\26\7 Mac OS X")
    (folder / ".coord").write_text("")
    for path in (folder, pack(folder, tmp_path / "films.tar.xz")):
        found = read_gazecom(path)
        assert found.source == expected.source and found.rows.equals(expected.rows)


LONG = 100_000 * "x"
DAMAGED = {
    "film": (LONG, "line 1"),
    "geometry": (f"gaze 1280 720\n{LONG}", "line 2"),
    "column": (HEADER + LONG, "line 3"),
    "text": (f"{HEADER}1000 1 {LONG} 1\n", "line 3"),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_of_a_damaged_line_only_the_beginning_is_quoted(case, tmp_path):
    content, line = DAMAGED[case]
    write(tmp_path / "A_sea.coord", header=content)
    with pytest.raises(DataFileError, match=rf"{line}: .*xxxxx\.\.\.") as error:
        read_gazecom(tmp_path)
    assert 10 < str(error.value).count("x") < 100


@pytest.fixture
def published(tmp_path, monkeypatch):
    """A folder of 6 viewers and 6 films as if it were the published one, with its archive in a mirror, not yet used."""
    films = tmp_path / "six"
    for i in range(6):
        for j in range(6):
            write(films / f"V{i}_film{j}.coord", *whole_film(100 * (i + j)))
    archive = pack(films, tmp_path / "mirror" / "gazecom" / "natural_movies_gaze.tar.xz")
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    source = replace(data.describe("gazecom"), sha256=read_gazecom(films).source.sha256)
    published = gazecom.GazeCom
    monkeypatch.setattr(published, "split", published.split | {"subjects": (2, 2, 2), "stimuli": (2, 2, 2)})
    monkeypatch.setattr(published, "file", replace(published.file, sha256=digest))
    monkeypatch.setattr(published, "source", source)
    monkeypatch.setenv("FIXLIB_DATA", str(tmp_path / "data"))
    monkeypatch.delenv("FIXLIB_DATA_MIRROR", raising=False)
    return films


PREPARED = ["test_data.pt", "train_data.pt", "val_data.pt"]


def test_prepare_from_a_mirror(published, tmp_path, monkeypatch):
    monkeypatch.setenv("FIXLIB_DATA_MIRROR", str(tmp_path / "mirror"))
    found = prepare("gazecom")
    assert found == tmp_path / "data" / "gazecom" and sorted(os.listdir(found)) == ["raw", *PREPARED]
    monkeypatch.delenv("FIXLIB_DATA_MIRROR")
    assert gazecom.GazeCom.file.fetch() == found / "raw" / "natural_movies_gaze.tar.xz"
    parts = open_dataset("gazecom")
    for key in ("subject", "stimulus"):
        members = [set(part[key].tolist()) for part in parts.values()]
        assert [len(m) for m in members] == [2, 2, 2] and len(set.union(*members)) == 6
    meta = parts["test"]["meta"]
    assert (meta["label"], meta["rate_hz"], meta["fingerprint"]) == (
        "GazeCom (recorded gaze)",
        10.0,
        fingerprint("gazecom"),
    )
    for part in parts.values():
        assert part["fixation_mask"].all() and part["coordinates"].shape == (4, 200, 2)
        assert torch.equal(part["coordinates"][:, 0, 0], 2.5 * (part["subject"] + part["stimulus"]).float())
    assert open_dataset("gazecom", 4.0, size=16)["val"]["coordinates"].shape == (4, 80, 2)


def test_prepare_from_a_copy_of_ones_own(published, tmp_path, capsys):
    """Folder and archive give the same files; nothing else is written."""
    archive = tmp_path / "mirror" / "gazecom" / "natural_movies_gaze.tar.xz"
    assert main(["data", "prepare", "gazecom", str(published)]) == 0
    assert "prepared in" in capsys.readouterr().out
    assert main(["data", "prepare", "gazecom", str(archive), "--out", str(tmp_path / "other")]) == 0
    assert sorted(os.listdir(tmp_path / "data" / "gazecom")) == sorted(os.listdir(tmp_path / "other")) == PREPARED
    for name in PREPARED:
        first, second = (data.Gaze.load(where / name) for where in (tmp_path / "data" / "gazecom", tmp_path / "other"))
        assert data.content_sha256(first) == data.content_sha256(second) and first.meta == second.meta
    assert main(["data", "prepare", "gazecom", str(tmp_path / "none")]) == 1  # though all is prepared
    assert "no GazeCom archive or folder at" in capsys.readouterr().err
    with pytest.raises(ValueError, match="made from a seed, not read from"):
        prepare("simulated", path=published)


def test_a_copy_that_is_not_the_published_one_is_refused(published, tmp_path, monkeypatch):
    (published / "V0_film0.coord").unlink()
    with pytest.raises(
        ChecksumError,
        match=r"six does not hold the published recordings of gazecom, all of them .*: "
        r"it has 35, and its sha256 is",
    ):
        prepare("gazecom", path=published)
    archive = tmp_path / "mirror" / "gazecom" / "natural_movies_gaze.tar.xz"
    pack(published, archive)
    monkeypatch.setenv("FIXLIB_DATA_MIRROR", str(tmp_path / "mirror"))
    with pytest.raises(ChecksumError, match="is not the published file: its sha256"):
        prepare("gazecom")
    assert not (tmp_path / "data").exists()


def test_without_recordings_it_says_what_to_do(published, tmp_path):
    with pytest.raises(
        DataUnavailable,
        match=r"the recordings gazecom/natural_movies_gaze.tar.xz are not at .*`fixlib data prepare gazecom FOLDER"
        r".* FIXLIB_DATA_MIRROR .* gazecom/natural_movies_gaze\.tar\.xz",
    ):
        open_dataset("gazecom")
    assert not (tmp_path / "data").exists()


def test_without_recordings_simulated_gaze_stands_in(published, project, capsys):
    study = obtain("loss_comparison", "gazecom", "smoke", losses=["mse"], workers=1)
    assert study.dataset == "simulated" and "SIMULATED GAZE" in study.notice
    assert "fixlib data prepare gazecom FOLDER" in capsys.readouterr().out


def test_one_frame_a_fixation_is_refused_before_anything_is_done(published, project):
    for call in (fingerprint, open_dataset):
        with pytest.raises(ValueError, match="'gazecom' has samples of gaze and no fixations.* --framings 10hz"):
            call("gazecom", None)
    with pytest.raises(ValueError, match="no fixations"):
        open_scanpaths("gazecom")
    with pytest.raises(ValueError, match="no fixations"):
        obtain("hybrid_regression", "gazecom", "smoke", workers=1)
    assert not (project / "results").exists() and not (project / "data").exists()


def test_experiments_run_on_it(published, project):
    assert prepare("gazecom", path=published) == project / "data" / "gazecom"
    study = obtain("loss_comparison", "gazecom", "smoke", losses=["mse"], workers=1)
    assert (study.dataset, study.label) == ("gazecom", "GazeCom (recorded gaze)")
    assert study.trained == len(study.runs) == 1 + len(FRAME_BASELINES)
    study = obtain("hybrid_regression", "gazecom", "smoke", framings=["10hz"], networks=["gru_l1"], workers=1)
    assert study.run("repeat_last_subpixel.10hz").payload["metrics"]["error"]["value"] == 0  # this gaze never moves
    study = obtain("sparsity", "gazecom", "smoke", workers=1)
    assert study.variants() == ["black", "repeat_last", "centre"]  # a description needs durations


def test_doctor_does_not_call_its_absence_a_fault(published, capsys, project):
    from fixlib import doctor

    _, good, found = doctor._dataset("gazecom")
    assert good and "fixlib data prepare gazecom FOLDER" in found


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    """The real GazeCom, which no test downloads."""
    raw = system.data_dir() / "gazecom" / "raw" / "natural_movies_gaze.tar.xz"
    with pytest.MonkeyPatch.context() as patch:
        if not raw.is_file():
            patch.setenv("FIXLIB_DATA", str(tmp_path_factory.mktemp("data")))
        try:
            path = gazecom.GazeCom.file.fetch()
        except DataUnavailable as reason:
            pytest.skip(str(reason))
    return read_gazecom(path)


def test_the_real_recordings(recordings):
    assert recordings.source == data.describe("gazecom")  # so every file is the published one
    assert len(recordings) == 844
    assert recordings.rows["subject"].nunique() == 54 and recordings.rows["stimulus"].nunique() == 18
    assert sum(map(len, recordings.samples)) == 4_227_186
    confident = sum(int(samples[:, 3].sum()) for samples in recordings.samples)
    assert confident == 4_199_840
    frames = recordings.frames(10.0)
    mask, points = frames["fixation_mask"], frames["coordinates"]
    assert mask.shape == (844, 200) and mask.double().mean() == pytest.approx(0.9682, abs=1e-4)
    pairs = mask[:, 1:] & mask[:, :-1]
    same = (points[:, 1:].floor() == points[:, :-1].floor()).all(dim=-1)[pairs]
    assert same.double().mean() == pytest.approx(0.5124, abs=1e-4)


def test_the_real_split(recordings):
    parts = split_by_stimulus_and_subject(recordings, subjects=(29, 11, 14))
    assert {part: len(gaze) for part, gaze in parts.items()} == {"train": 279, "val": 24, "test": 55}
    assert [gaze.rows["subject"].nunique() for gaze in parts.values()] == [29, 9, 14]  # 2 of 11 saw no film of val
    assert [gaze.rows["stimulus"].nunique() for gaze in parts.values()] == [11, 3, 4]
    frames = {part: gaze.frames(10.0) for part, gaze in parts.items()}
    windows = {part: len(cut_windows(found, length=20, stride=10)["coordinates"]) for part, found in frames.items()}
    assert windows == {"train": 4144, "val": 328, "test": 851}
