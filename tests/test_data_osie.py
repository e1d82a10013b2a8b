"""OSIE and crowd: the parser on a small file made here, fetching with checksums, the real numbers where to be had."""

import contextlib
import functools
import hashlib
import http.server
import os
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from examples.fit_simulator import OSIE_STATISTICS, scanpath_statistics
from fixlib.cli import main
from fixlib.data import (
    ChecksumError,
    DataFileError,
    DataUnavailable,
    cut_windows,
    open_dataset,
    open_scanpaths,
    prepare,
    read_osie,
    split_by_stimulus_and_subject,
)
from fixlib.data.osie import Crowd, Osie

TROUBLESHOOTING = Path(__file__).resolve().parents[1] / "docs" / "troubleshooting.md"
NOWHERE = "http://127.0.0.1:9/fixations.mat"  # refuses at once


def cell(items):
    """A MATLAB column cell array."""
    column = np.empty((len(items), 1), dtype=object)
    for i, item in enumerate(items):
        column[i, 0] = item
    return column


def viewer(x, y, ms):
    ms = np.array([ms], np.uint16)
    return {"fix_x": np.array([x], float), "fix_y": np.array([y], float), "fix_duration": ms}


def write_mat(path, images):
    structs = [{"img": cell([name]), "subjects": cell(viewers)} for name, viewers in images]
    savemat(path, {"fixations": cell(structs)})
    return path


@pytest.fixture
def small(tmp_path):
    """2 images, 2 viewers; the second viewer of the second image has no fixation."""
    return write_mat(
        tmp_path / "fixations.mat",
        [
            ("1001.jpg", [viewer([400, 500], [300, 150], [200, 100]), viewer([0], [599.9], [321])]),
            ("1002.jpg", [viewer([799.9, 800, 25], [0, 300, 75], [1, 2, 3]), viewer([], [], [])]),
        ],
    )


def test_parser_against_values_by_hand(small):
    scanpaths = read_osie(small)
    table = scanpaths.fixations
    assert len(scanpaths) == 3 and scanpaths.size == 32
    assert table["scanpath"].tolist() == [0, 0, 1, 2, 2, 2]
    assert table["stimulus"].tolist() == [0, 0, 0, 1, 1, 1]
    assert table["subject"].tolist() == [0, 0, 1, 0, 0, 0]
    assert table["order"].tolist() == [0, 1, 0, 0, 1, 2]
    # 800 x 600 -> 32 x 32: x / 25, y * 32 / 600
    assert table["x"].tolist() == pytest.approx([16, 20, 0, 31.996, 32, 1])
    assert table["y"].tolist() == pytest.approx([16, 8, 31.994667, 0, 16, 4], abs=1e-6)
    assert table["duration_ms"].tolist() == [200, 100, 321, 1, 2, 3]
    assert scanpaths.source.sha256 == hashlib.sha256(small.read_bytes()).hexdigest()
    assert not scanpaths.source.simulated and "MIT" in scanpaths.source.license
    # x = 800 is outside the image: kept in the table, shown as no valid gaze
    assert scanpaths.frames(None)["fixation_mask"][2].tolist() == [True, False, True]
    assert read_osie(small, size=64).fixations["x"].tolist() == pytest.approx([32, 40, 0, 63.992, 64, 2])


def test_the_same_file_as_of_another_dataset(small):
    scanpaths = Crowd().read(small, 64)
    # 1024 x 768 -> 64 x 64: x / 16, y / 12
    assert scanpaths.fixations["x"].tolist() == pytest.approx([25, 31.25, 0, 49.99375, 50, 1.5625])
    assert scanpaths.fixations["y"].tolist() == pytest.approx([25, 12.5, 49.991667, 0, 25, 6.25], abs=1e-6)
    assert scanpaths.source.name == "crowd" and "Ming Jiang" in scanpaths.source.license
    assert scanpaths.source.sha256 == hashlib.sha256(small.read_bytes()).hexdigest() != Crowd.source.sha256
    with pytest.raises(ChecksumError, match="does not hold the published recordings of crowd"):
        Crowd().table(64, small)


BROKEN = {
    "lengths": ([("a", [viewer([1, 2], [1], [5])])], r"image 0, viewer 0: 2 fix_x \(float64\), 1 fix_y"),
    "NaN": ([("a", [viewer([1, np.nan], [1, 2], [5, 5])])], "fixation 1 of scanpath 0 .* not a finite number"),
    "duration": ([("a", [viewer([1], [1], [0])])], "duration is not a positive"),
    "field": ([("a", [{"fix_x": np.array([[1.0]])}])], "viewer 0: a MATLAB struct with the field 'fix_y'"),
    "text": (
        [("a", [{**viewer([1], [1], [5]), "fix_x": "one"}])],
        r"viewer 0: 1 fix_x \(<U3\), .* numbers of each were expected",
    ),
    "nobody": ([("a", [viewer([], [], [])])], "hold no row"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_parser_names_what_is_wrong(case, tmp_path):
    images, message = BROKEN[case]
    with pytest.raises(DataFileError, match=message):
        read_osie(write_mat(tmp_path / "fixations.mat", images))


def test_parser_refuses_other_files(small, tmp_path):
    with pytest.raises(FileNotFoundError, match="no osie file at"):
        read_osie(tmp_path / "none.mat")
    with pytest.raises(FileNotFoundError, match="no crowd file at.* `fixlib data prepare crowd`"):
        Crowd().read(tmp_path / "none.mat", 32)
    truncated = tmp_path / "truncated.mat"
    truncated.write_bytes(small.read_bytes()[:300])
    with pytest.raises(DataFileError, match="truncated.mat cannot be read"):
        read_osie(truncated)
    savemat(tmp_path / "other.mat", {"other": 1})
    with pytest.raises(DataFileError, match="no variable 'fixations': it is not the fixations.mat of osie"):
        read_osie(tmp_path / "other.mat")


@pytest.fixture
def published(small, tmp_path, monkeypatch):
    """The small file as if it were the published one; the data folder is empty and the internet absent."""
    digest = hashlib.sha256(small.read_bytes()).hexdigest()
    monkeypatch.setattr(Osie, "file", replace(Osie.file, url=NOWHERE, sha256=digest))
    monkeypatch.setenv("FIXLIB_DATA", str(tmp_path / "data"))
    monkeypatch.delenv("FIXLIB_DATA_MIRROR", raising=False)
    mirror = tmp_path / "mirror" / "osie"
    mirror.mkdir(parents=True)
    (mirror / "fixations.mat").write_bytes(small.read_bytes())
    return mirror / "fixations.mat"


def test_fetch_from_a_mirror_folder_and_then_the_local_copy(published, tmp_path, monkeypatch):
    monkeypatch.setenv("FIXLIB_DATA_MIRROR", str(published.parent.parent))
    raw = Osie.file.fetch()
    assert raw == tmp_path / "data" / "osie" / "raw" / "fixations.mat"
    assert os.listdir(raw.parent) == ["fixations.mat"]
    monkeypatch.delenv("FIXLIB_DATA_MIRROR")
    assert Osie.file.fetch() == raw and len(read_osie(raw)) == 3


@pytest.fixture
def serve():
    """A function that serves a folder and gives its address."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    with contextlib.ExitStack() as servers:

        def serve_folder(folder):
            handler = functools.partial(Quiet, directory=folder)
            server = servers.enter_context(http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler))
            servers.callback(server.shutdown)
            threading.Thread(target=server.serve_forever, daemon=True).start()
            return f"http://127.0.0.1:{server.server_port}/"

        yield serve_folder


def test_fetch_from_a_mirror_address(published, monkeypatch, serve):
    monkeypatch.setenv("FIXLIB_DATA_MIRROR", serve(published.parent.parent))
    assert Osie.file.fetch().read_bytes() == published.read_bytes()


def test_something_else_at_the_published_address(published, tmp_path, monkeypatch, serve):
    (tmp_path / "portal").mkdir()
    (tmp_path / "portal" / "login.html").write_text("please log in")
    address = serve(tmp_path / "portal") + "login.html"
    monkeypatch.setattr(Osie, "file", replace(Osie.file, url=address))
    with pytest.raises(ChecksumError) as error:
        Osie.file.fetch()
    found = hashlib.sha256(b"please log in").hexdigest()
    assert f"{address} is not the published file: its sha256 is not {Osie.file.sha256} but {found}" in str(error.value)
    assert "A login page" in str(error.value) and "Correct the mirror" not in str(error.value)
    listed = "is not the published file: its sha256 is not"  # where a page tells what to do about it
    assert listed in str(error.value) and f"`... {listed} ...`" in TROUBLESHOOTING.read_text(encoding="utf-8")
    assert not (tmp_path / "data").exists()


def test_what_is_no_address_was_tried_in_vain(published, monkeypatch, serve):
    monkeypatch.setenv("FIXLIB_DATA_MIRROR", "http://a..b/")
    with pytest.raises(DataUnavailable, match=rf"http://a\.\.b/osie/fixations\.mat \(.*; {NOWHERE}"):
        Osie.file.fetch()
    monkeypatch.setattr(Osie, "file", replace(Osie.file, url=serve(published.parent) + "fixations.mat"))
    assert Osie.file.fetch().read_bytes() == published.read_bytes()


def test_wrong_sha256_in_the_mirror_leaves_nothing_and_touches_nothing(published, tmp_path, monkeypatch):
    monkeypatch.setenv("FIXLIB_DATA_MIRROR", str(published.parent.parent))
    published.write_bytes(published.read_bytes() + b"x")
    saved = tmp_path / "data" / "osie" / "train_data.pt"
    saved.parent.mkdir(parents=True)
    saved.write_bytes(b"saved before")
    with pytest.raises(ChecksumError, match="is not the published file: its sha256 .* Correct the mirror"):
        Osie.file.fetch()
    assert [path for path in (tmp_path / "data").rglob("*") if path.is_file()] == [saved]
    assert saved.read_bytes() == b"saved before"


def test_wrong_sha256_of_the_local_copy(published, tmp_path):
    raw = tmp_path / "data" / "osie" / "raw" / "fixations.mat"
    raw.parent.mkdir(parents=True)
    raw.write_bytes(b"damaged")
    with pytest.raises(ChecksumError, match="Move it away"):
        Osie.file.fetch()
    assert raw.read_bytes() == b"damaged"


def test_unavailable_says_what_was_tried(published, tmp_path, monkeypatch):
    monkeypatch.setenv("FIXLIB_DATA_MIRROR", str(tmp_path / "no_such_mirror"))
    with pytest.raises(DataUnavailable) as error:
        Osie.file.fetch()
    for part in ("no_such_mirror", NOWHERE, "FIXLIB_DATA_MIRROR"):
        assert part in str(error.value)
    assert not (tmp_path / "data").exists()
    with pytest.raises(DataUnavailable):
        open_dataset("osie")
    assert not (tmp_path / "data").exists()


@pytest.fixture
def own(published, tmp_path, monkeypatch):
    """A file of 15 viewers and 12 images as if it were the published one, where no command looks for it."""
    path = write_mat(
        tmp_path / "own.mat",
        [
            (f"{1001 + image}.jpg", [viewer([50 * seen, 400], [300, 50 * image], [200, 150]) for seen in range(15)])
            for image in range(12)
        ],
    )
    file = replace(Osie.file, sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    monkeypatch.setattr(Osie, "file", file)
    monkeypatch.setattr(Osie, "source", replace(Osie.source, sha256=file.sha256))
    return path


def test_prepared_from_a_file_of_ones_own_durations_are_at_hand_too(own, tmp_path):
    raw = tmp_path / "data" / "osie" / "raw" / "fixations.mat"
    assert main(["data", "prepare", "osie", str(own), "--out", str(tmp_path / "elsewhere")]) == 0
    assert not (tmp_path / "data").exists()
    assert main(["data", "prepare", "osie", str(own)]) == 0
    assert raw.read_bytes() == own.read_bytes() and os.listdir(raw.parent) == ["fixations.mat"]
    assert len(open_scanpaths("osie")) == 180
    raw.write_bytes(b"somebody's")
    assert prepare("osie", path=own) == raw.parent.parent and raw.read_bytes() == b"somebody's"


def test_a_file_of_ones_own_that_is_not_the_published_one_is_not_kept(own, tmp_path, capsys):
    write_mat(own, [(f"{image}.jpg", [viewer([1], [1], [1])] * 15) for image in range(12)])
    assert main(["data", "prepare", "osie", str(own)]) == 1
    assert "own.mat does not hold the published recordings of osie, all of them" in capsys.readouterr().err
    assert not (tmp_path / "data").exists()


def published_recordings(dataset, folder):
    """The real ones, never downloaded by a test."""
    raw = dataset.file.local
    if not raw.is_file() and not os.environ.get("FIXLIB_DATA_MIRROR"):
        pytest.skip(f"no {dataset.source.name} recordings: neither a local copy nor FIXLIB_DATA_MIRROR")
    with pytest.MonkeyPatch.context() as patch:
        if not raw.is_file():
            patch.setenv("FIXLIB_DATA", str(folder))
        return dataset().read(None, 32)


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    return published_recordings(Osie, tmp_path_factory.mktemp("data"))


def test_osie_counts_and_statistics(recordings):
    table = recordings.fixations
    assert len(recordings) == 10_500 and len(table) == 98_321
    assert table["subject"].nunique() == 15 and table["stimulus"].nunique() == 700
    assert (table.groupby("scanpath").size() >= 8).sum() == 8_934
    assert table["duration_ms"].mean() == pytest.approx(214.3, abs=0.1)
    assert table["duration_ms"].median() == 190
    assert ((table[["x", "y"]] >= 0) & (table[["x", "y"]] < 32)).all(axis=None)  # no point outside the image
    measured = scanpath_statistics(recordings)
    assert measured["stay"] == pytest.approx(0.0586, abs=1e-4)
    for name, value in OSIE_STATISTICS.items():  # what the simulator is fitted to
        assert measured[name] == pytest.approx(value, rel=2e-3), name


def test_osie_at_a_fixed_rate_stays_where_it_is_most_of_the_time(recordings):
    windows = cut_windows(recordings.frames(10), length=2, stride=1)["coordinates"]
    repeat_last = (windows[:, 1] - windows[:, 0]).norm(dim=-1).mean()
    assert repeat_last == pytest.approx(2.7, abs=0.1)


def test_crowd_counts(tmp_path):
    """Nothing but counts: crowd is what the recipe is confirmed on, and nobody looks at its gaze before."""
    scanpaths = published_recordings(Crowd, tmp_path)
    table = scanpaths.fixations
    assert len(scanpaths) == 7_997 and len(table) == 126_348 and scanpaths.source == Crowd.source
    assert table["subject"].nunique() == 16 and table["stimulus"].nunique() == 500
    assert ((table[["x", "y"]] < 0) | (table[["x", "y"]] >= 32)).any(axis=1).sum() == 3  # outside the picture
    split = {key: value for key, value in Crowd.split.items() if key != "rule"}
    parts = split_by_stimulus_and_subject(scanpaths, **split)
    assert [part.fixations["subject"].nunique() for part in parts.values()] == [8, 4, 4]
    assert [part.fixations["stimulus"].nunique() for part in parts.values()] == [300, 75, 125]
    assert [len(part) for part in parts.values()] == [2_400, 300, 500]
    assert [len(part.frames(10.0).windows(20, 10)) for part in parts.values()] == [5_421, 627, 1_095]
