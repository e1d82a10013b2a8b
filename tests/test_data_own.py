"""Own recordings: what is read of each format, what is noticed, and that nothing read can do harm."""

import pickle
import sys
import zipfile
from itertools import combinations, pairwise
from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import fuzz
from fixlib import cli
from fixlib.chapters.how_predictable import runs as how_predictable
from fixlib.chapters.sparsity import runs as sparsity
from fixlib.data import (
    DataFileError,
    Gaze,
    Reading,
    Unsettled,
    fingerprint,
    has_fixations,
    open_dataset,
    open_scanpaths,
    prepare_recordings,
    read_recordings,
)
from fixlib.data.own import RULES, _split
from fixlib.data.readers import eyelink
from fixlib.data.readers import files as reading_files
from fixlib.data.readers.formats import tidy
from fixlib.data.recordings import cut_by_time
from fixlib.runs import obtain
from tests import own_exports as exports


def named(reading):
    """Fixations with the names of viewers and pictures, in one order."""
    names = reading.names.set_index(["what", "number"])["name"]
    table = reading.fixations.copy()
    for what in ("subject", "stimulus"):
        table[what] = [names[what, number] for number in table[what]]
    return table.sort_values(["subject", "stimulus", "order"], ignore_index=True)


@pytest.mark.parametrize("kind", exports.WRITERS)
def test_a_look_alike_is_read_back_as_the_same_table(kind, tmp_path):
    gaze = exports.gaze()
    files, options = exports.write(kind, gaze, tmp_path)
    reading = read_recordings(files, "lab", **options)
    assert reading.findings == [], reading.report
    expected = gaze.sort_values(["subject", "stimulus", "order"], ignore_index=True)
    if kind == "FixaTons":
        expected["stimulus"] = expected["stimulus"].str.split(".").str[0]
    if kind == "BIDS physio":
        expected["subject"] = "sub-" + expected["subject"]
    if "jsPsych" in kind:  # 30 samples a second: no fixations
        assert reading.fixations is None and "too few" in reading.report
        assert set(reading.names["name"]) == {*exports.VIEWERS, *exports.PICTURES}
        first = gaze.iloc[0]
        assert reading.samples[0][0, 1:3] == pytest.approx([first.x / 40, first.y / 32], abs=0.01)
        return
    table = named(reading)
    assert len(table) == len(expected)
    ids = ["subject", "stimulus", "order"]
    assert table[ids].to_numpy().tolist() == expected[ids].to_numpy().tolist()
    sampled = reading.samples is not None
    np.testing.assert_allclose(table["x"], expected["x"] / 40, atol=0.01)
    np.testing.assert_allclose(table["y"], expected["y"] / 32, atol=0.01)
    np.testing.assert_allclose(table["duration_ms"], expected["duration"], atol=12 if sampled else 0.01)
    if "onset_ms" in table:
        onset = table["onset_ms"] - table.groupby("scanpath")["onset_ms"].transform("first")
        np.testing.assert_allclose(onset, expected["onset"], atol=12 if sampled else 0.1)
    else:
        assert kind == "Data Viewer fixation report, few columns"


def readable(gaze, **options):
    """A table of a known kind."""
    return read_recordings(gaze.drop(columns="order"), "lab", **dict(screen=exports.SCREEN) | options)


BASE = exports.gaze(viewers=("a", "b", "c"), pictures=[f"{k}.jpg" for k in range(20)])


def scaled(**columns):
    """What multiplies columns and adds to them."""
    return lambda gaze: gaze.assign(**{name: gaze[name] * a + b for name, (a, b) in columns.items()})


def both_eyes(gaze):
    return pd.concat([gaze, gaze.assign(x=gaze["x"] + 5)]).sort_values(["subject", "trial", "order"])


SECONDS, MICROSECONDS = (scaled(duration=(k, 0), onset=(k, 0)) for k in (0.001, 1000))
# Mistake -> what is done to the table, and said instead of the truth; what the finding says; what settles it.
MISTAKES = {
    "none": (scaled(), {}, None, {}),
    "x and y swapped": (lambda t: t.rename(columns=dict(x="y", y="x")), {}, "change places", dict(columns="x=y,y=x")),
    "middle is 0": (scaled(x=(1, -640), y=(1, -512)), {}, "--unit px:centre", dict(unit="px:centre")),
    "0 to 1": (scaled(x=(1 / 1280, 0), y=(1 / 1024, 0)), {}, "--unit fraction", dict(unit="fraction")),
    "-1 to 1": (scaled(x=(1 / 640, -1), y=(1 / 512, -1)), {}, "--unit norm", dict(unit="norm")),
    "of the height": (scaled(x=(1 / 1024, -0.625), y=(1 / 1024, -0.5)), {}, "--unit height", dict(unit="height")),
    "degrees": (scaled(x=(1 / 40, -16), y=(1 / 32, -16)), {}, "--unit degrees", dict(unit="degrees:32x32")),
    "no screen": (scaled(), dict(screen=None), "--screen WxH", dict(screen="1280x1024")),
    "screen half as large": (scaled(), dict(screen=(640, 512)), "640 x 512 (they reach", dict(screen=(1280, 1024))),
    "twice as large": (scaled(), dict(screen=(2560, 2048)), "fills only", dict(picture=(0, 0, 1280, 1024))),
    "s for ms": (SECONDS, {}, "--time s", dict(time="s")),
    "us for ms": (MICROSECONDS, {}, "--time", dict(time="us")),
    "onsets in s": (scaled(onset=(0.001, 0)), {}, "different units", dict(columns="onset=onset:s")),
    "both eyes": (both_eyes, {}, "both eyes", None),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_stops_and_the_option_that_it_names_settles_it(mistake):
    change, said, finding, settled = MISTAKES[mistake]
    wrong = change(BASE)
    reading = readable(wrong, **said)
    assert (reading.findings == []) == (finding is None)
    if finding:
        assert len(reading.findings) == 1 and finding in reading.findings[0]
    if settled is not None:
        reading = readable(wrong, **said | settled)
        assert reading.findings == [], reading.report
        np.testing.assert_allclose(named(reading)["x"], named(readable(BASE))["x"], atol=1e-6)


def test_a_column_may_be_called_like_a_unit():
    reading = readable(BASE.rename(columns=dict(duration="ms")), columns="duration=ms")
    assert reading.findings == []
    np.testing.assert_allclose(named(reading)["duration_ms"], named(readable(BASE))["duration_ms"])
    seconds = readable(SECONDS(BASE).rename(columns=dict(duration="s", onset="t")), columns="duration=s:s,onset=t:s")
    np.testing.assert_allclose(named(seconds)["duration_ms"], named(readable(BASE))["duration_ms"])


def test_degrees_need_the_size_of_the_screen():
    with pytest.raises(ValueError, match="degrees:WxH"):
        readable(BASE, unit="degrees")


def test_doubtful_samples_of_each_eye_are_left_out():
    places = pd.DataFrame(dict(lx=[1.0, 2.0], ly=[1.0, 2.0], rx=[3.0, 4.0], ry=[1.0, 2.0], confidence=[0.9, 0.1]))
    assert tidy(places)["x"].isna().tolist() == [False, True]


def test_y_is_never_turned_over_by_guess_and_is_when_said():
    up = BASE.assign(y=1024 - BASE["y"])
    assert readable(up).findings == []
    np.testing.assert_allclose(named(readable(up, y_up=True))["y"], named(readable(BASE))["y"], atol=1e-4)


@pytest.mark.parametrize("side", ["", "left", "right"])
def test_of_both_eyes_one_is_kept(side):
    gaze = BASE.assign(eye="R")
    left = BASE.assign(eye="L", x=BASE["x"] + 7)[BASE["order"] > 0]  # the right eye has more
    reading = readable(pd.concat([gaze, left]), eye=side)
    kept = named(reading)
    assert len(kept) == (len(left) if side == "left" else len(BASE))
    expected = left if side == "left" else BASE
    assert kept["x"].iloc[0] == pytest.approx(expected["x"].iloc[0] / 40)
    assert "one of each viewer is kept" in reading.report


@pytest.mark.parametrize("rate, told", [(30, "only frames"), (70, "doubts below 100"), (250, "by velocity")])
def test_fixations_of_samples_by_the_rate(rate, told):
    rows = []
    for who, picture, one in exports.trials(BASE):
        time, x, y = exports.samples(one, 1000 / rate)
        rows.append(pd.DataFrame(dict(subject=who, picture=picture, time_ms=time, x=x, y=y)))
    reading = read_recordings(pd.concat(rows), "lab", screen=exports.SCREEN)
    assert reading.findings == [] and told in reading.report
    assert (reading.fixations is None) == (rate == 30)
    assert len(reading.samples) == 60
    if rate == 250:
        assert len(reading.fixations) == len(BASE)


@given(
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp1252"]),
    separator=st.sampled_from("\t;,|"),
    decimal=st.sampled_from(".,"),
    end=st.sampled_from(["\n", "\r\n", "\r", "\r\r\n"]),
    columns=st.permutations(["subject", "stimulus", "trial", "onset", "duration", "x", "y"]),
    unit=st.sampled_from(["px", "px:centre", "fraction", "norm", "height", "degrees:40x32"]),
    y_up=st.booleans(),
    shuffled=st.booleans(),
    preamble=st.booleans(),
)
@settings(max_examples=40, deadline=None)
def test_however_it_is_written_it_is_the_same_recording(
    tmp_path_factory, encoding, separator, decimal, end, columns, unit, y_up, shuffled, preamble
):
    gaze = exports.gaze(viewers=("Zoë", "Björn"), n=12)
    side = {"px": (1280, 1024, 0), "px:centre": (1280, 1024, 0.5), "fraction": (1, 1, 0), "norm": (2, 2, 0.5)}
    side |= {"height": (1.25, 1, 0.5), "degrees:40x32": (40, 32, 0.5)}
    width, height, middle = side[unit]
    x, y = gaze["x"] / 1280, gaze["y"] / 1024
    y = 1 - y if y_up else y
    written = gaze.assign(x=(x - middle) * width, y=(y - middle) * height)[list(columns)]
    written = written.sample(frac=1, random_state=1) if shuffled else written
    if decimal == separator:
        decimal = "."
    text = written.to_csv(None, index=False, sep=separator, decimal=decimal)
    text = f"Study: x\nScreen resolution: 1280 x 1024\n\n{text}" if preamble else text
    path = tmp_path_factory.mktemp("own") / "lab.txt"
    path.write_bytes(text.replace("\n", end).encode(encoding))
    said = {} if preamble else dict(screen=exports.SCREEN)
    reading = read_recordings(path, "lab", unit=unit, y_up=y_up, **said)
    assert reading.findings == [], reading.report
    expected = named(read_recordings(gaze, "lab", screen=exports.SCREEN))
    pd.testing.assert_frame_equal(named(reading), expected, atol=1e-3, rtol=0, check_dtype=False)


@given(
    viewers=st.integers(1, 8),
    pictures=st.integers(1, 8),
    asked=st.sampled_from(["", "both", "viewers", "pictures", "time"]),
    seed=st.integers(0, 99),
)
@settings(max_examples=15, deadline=None)
def test_no_window_is_of_two_parts_and_gaze_outside_is_masked(tmp_path_factory, viewers, pictures, asked, seed):
    gaze = exports.gaze([f"v{k}" for k in range(viewers)], [f"p{k}" for k in range(pictures)], n=160, seed=seed)
    gaze.loc[gaze["order"] == 7, "x"] = 1500.0
    out = tmp_path_factory.mktemp("own") / "lab"
    few = min({"viewers": [viewers], "pictures": [pictures], "both": [viewers, pictures]}.get(asked, [3])) < 3
    with mock.patch.object(Reading, "picture", return_value=b""):
        if few:
            with pytest.raises(Unsettled, match="another --split"):
                prepare_recordings(gaze, "lab", screen=exports.SCREEN, split=asked, out=out)
            return
        prepare_recordings(gaze, "lab", screen=exports.SCREEN, split=asked, out=out)
    parts, frames = open_dataset(str(out)), open_dataset(str(out), None)
    rule = parts["train"].extra["split"]
    assert asked in ("", rule)
    assert f"split by {RULES[rule][0]})" in parts["val"].source.label
    for one, other in combinations(parts.values(), 2):
        shared = {key: set(one[key].tolist()) & set(other[key].tolist()) for key in ("subject", "stimulus")}
        assert not shared["subject"] or rule in ("pictures", "time")
        assert not shared["stimulus"] or rule == "viewers"
    fixations = open_scanpaths(str(out)).fixations
    outside = fixations["x"] >= 32
    assert outside.sum() == viewers * pictures
    for part in frames.values() if rule != "time" else ():
        assert part.fixation_mask.sum(dim=1).tolist() == [159] * len(part)


def test_parts_by_time_are_a_window_apart():
    n = 400
    points = torch.stack([torch.arange(n) / 20, torch.full((n,), 3.0)], dim=-1)[None]
    number = torch.zeros(1, dtype=torch.int64)
    source = read_recordings(BASE, "lab", screen=exports.SCREEN).scanpaths.source
    gaze = Gaze(points, torch.ones(1, n, dtype=torch.bool), number, number, source, "10 Hz", 10.0)
    parts = cut_by_time(gaze, 20)
    times = [(20 * part.coordinates[..., 0][part.fixation_mask]).round() for part in parts.values()]
    assert times[0].min() == 0 and times[2].max() == n - 1
    assert all(later.min() - earlier.max() > 20 for earlier, later in pairwise(times))
    blocks = torch.cat([part.stimulus for part in parts.values()])
    assert len(blocks.unique()) == len(blocks)


@pytest.mark.parametrize(
    "header, row",
    [
        ("id,start_timestamp,duration,norm_pos_x,norm_pos_y,confidence", "{k},{k},250,0.{k},0.5,1"),
        ("gaze_timestamp,world_index,confidence,norm_pos_x,norm_pos_y", "{k},1,1,0.{k},0.5"),
        ("section id,recording id,fixation id,start timestamp [ns],duration [ms],fixation x [px],fixation y [px]",
         "a,b,{k},{k}000000000,250,{k},500"),
    ],
)  # fmt: skip
def test_gaze_of_a_scene_camera_has_to_be_mapped_first(tmp_path, header, row):
    path = tmp_path / "fixations.csv"
    path.write_text("\n".join([header, *(row.format(k=k) for k in range(10, 90))]))
    assert any("Map it first" in finding for finding in read_recordings(path, "lab", screen=(1600, 1200)).findings)


def test_a_file_asked_for_is_never_left_aside(tmp_path):
    files = exports.write("EyeLink .asc, events of both eyes", exports.gaze(), tmp_path)[0]
    (tmp_path / "rec.edf").write_bytes(b"SR_RESEARCH_1000FILE\n\x00")
    with pytest.raises(DataFileError, match="edf2asc"):
        read_recordings([*files, tmp_path / "rec.edf"], "lab")
    assert "left aside: " in read_recordings(tmp_path, "lab").report


def test_an_edf_is_read_as_the_asc_that_edf2asc_makes_of_it(tmp_path, monkeypatch):
    """eyelinkio gives fixations and messages; where recording started, only the message RECCFG tells."""
    asc = exports.write("EyeLink .asc, events of both eyes", exports.gaze(), tmp_path)[0][0]
    given = []
    for line in asc.read_text("latin-1").replace("START\t", "MSG START ").splitlines():
        words = line.split()
        if words[:2] == ["MSG", "START"]:
            given.append((float(words[2]), ("MSG", words[2], "RECCFG", "CR")))
        elif words and words[0] in ("MSG", "EFIX"):
            given.append((float(words[1 if words[0] == "MSG" else 3]), tuple(words)))
    monkeypatch.setattr(eyelink, "_edf_lines", lambda file: given)
    edf = tmp_path / "other" / asc.with_suffix(".edf").name
    edf.parent.mkdir()
    edf.write_bytes(b"SR_RESEARCH_1000FILE")
    pd.testing.assert_frame_equal(named(read_recordings(edf, "lab")), named(read_recordings(asc, "lab")))


def test_a_real_edf():
    """One that eyelinkio brings: 40 trials in one recording; a fixation's position is the mean of its samples."""
    eyelinkio = pytest.importorskip("eyelinkio")
    path = Path(eyelinkio.__file__).parent / "tests" / "data" / "test_2_raw.edf"
    raw = eyelinkio.read_edf(path)
    found = read_recordings(path, "lab", picture=(0, 0, 1920, 1080))
    told, fixations = raw["discrete"]["fixations"], found.fixations
    assert "EyeLink .edf, events" in found.report and "of 1920 x 1080" in found.report
    assert len(fixations) == len(told) == 121 and (found.names["what"] == "stimulus").sum() == 40
    assert sorted(fixations["duration_ms"].round()) == sorted((1000 * (told["etime"] - told["stime"])).round())
    means = [raw["samples"][:2, round(1000 * a) : round(1000 * b) + 1].mean(axis=1) for _, a, b, *_ in told.tolist()]
    scale = np.array([32 / 1920, 32 / 1080])
    assert np.abs(np.sort(means * scale, axis=0) - np.sort(fixations[["x", "y"]], axis=0)).max() < 0.05


def test_without_eyelinkio_an_edf_says_how_to_read_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "eyelinkio", None)
    (tmp_path / "rec.edf").write_bytes(b"SR_RESEARCH_1000FILE\n\x00")
    with pytest.raises(DataFileError, match=r"pip install 'fixlib\[eyelink\]'\), or convert it: edf2asc rec.edf"):
        read_recordings(tmp_path / "rec.edf", "lab")


class Evil:
    """Unpickled, it writes a file."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


@pytest.mark.parametrize("protocol", [0, 2, 5])
@pytest.mark.parametrize("name", ["lab.pkl", "lab.csv", "lab.asc"])
def test_a_pickle_is_refused_and_never_run(tmp_path, protocol, name):
    proof = tmp_path / "proof"
    pickle.loads(pickle.dumps(Evil(proof), protocol)).close()
    assert proof.exists()  # it works
    proof.unlink()
    path = tmp_path / name
    path.write_bytes(pickle.dumps(Evil(proof), protocol))
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.write(path, name)
    for given_file in (path, tmp_path / "all.zip"):
        with pytest.raises(DataFileError, match="pickle" if protocol else "no table|columns"):
            read_recordings(given_file, "lab")
    assert not proof.exists()


def zipped(path, name, content, mode=0o100644):
    member = zipfile.ZipInfo(name)
    member.external_attr, member.compress_type = mode << 16, zipfile.ZIP_DEFLATED
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(member, content)
    return path


@pytest.mark.parametrize("name", ["../evil.csv", "/tmp/evil.csv", "a/../../evil.csv", "..\\evil.csv", "C:\\evil.csv"])
def test_an_archive_never_writes_outside_of_its_folder(tmp_path, name):
    path = zipped(tmp_path / "all.zip", name, "x,y\n1,2\n")
    with pytest.raises(DataFileError, match="outside of its folder"):
        read_recordings(path, "lab")
    assert not list(tmp_path.parent.rglob("evil.csv"))


def test_an_archive_follows_no_link(tmp_path):
    with pytest.raises(DataFileError, match="is a link"):
        read_recordings(zipped(tmp_path / "all.zip", "lab.csv", "/etc/passwd", 0o120777), "lab")


def test_what_would_unpack_to_too_much_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(reading_files, "LIMIT", 10_000)
    for name, content in (("lab.csv", b"0" * 20_000), ("lab.csv.gz", exports.gzip.compress(b"0" * 9_990))):
        with pytest.raises(DataFileError, match="unpacks to more than"):
            read_recordings(zipped(tmp_path / "all.zip", name, content), "lab")
    (tmp_path / "all.zip").unlink()
    (tmp_path / "lab.tsv.gz").write_bytes(exports.gzip.compress(b"0" * 20_000))
    with pytest.raises(DataFileError, match="unpacks to more than"):
        read_recordings(tmp_path / "lab.tsv.gz", "lab")
    (tmp_path / "lab.csv").write_bytes(b"0" * 20_000)
    with pytest.raises(DataFileError, match="export it in parts"):
        read_recordings(tmp_path / "lab.csv", "lab")


def test_an_archive_and_a_folder_give_what_the_files_do(tmp_path):
    (tmp_path / "lab").mkdir()
    paths = exports.write("EyeLink .asc, events of both eyes", exports.gaze(), tmp_path / "lab")[0]
    (tmp_path / "lab" / "notes.txt").write_text("nothing of it")
    (tmp_path / "lab" / "twice.asc").write_bytes(paths[0].read_bytes())
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for path in (tmp_path / "lab").iterdir():
            archive.write(path, f"lab/{path.name}")
    expected = named(read_recordings(paths, "lab"))
    for files in (tmp_path / "lab", tmp_path / "all.zip", str(tmp_path / "lab" / "*")):
        reading = read_recordings(files, "lab")
        pd.testing.assert_frame_equal(named(reading), expected)
        assert "notes.txt" in reading.report and "twice.asc is the same as" in reading.report


def test_damaged_files_end_in_the_documented_error_or_in_data_that_pass(tmp_path):
    outcomes = fuzz.outcomes(tmp_path, range(150))
    assert set(outcomes) <= {"read", "stopped", "refused"}, outcomes
    assert min(outcomes.values()) > 3  # it tries something


def test_prepared_it_is_a_dataset(tmp_path, project, capsys):
    gaze = exports.gaze([f"v{k}" for k in range(6)], [f"p{k}.jpg" for k in range(12)])
    report = exports.write("Data Viewer fixation report", gaze, tmp_path)[0]
    assert cli.main(["data", "prepare", str(report), "--name", "lab"]) == 2
    assert "--screen WxH" in capsys.readouterr().out
    command = ["data", "prepare", str(report), "--name", "lab", "--screen", "1280x1024"]
    assert cli.main([*command, "--look"]) == 0
    folder = project / "data" / "lab"
    assert [file.name for file in folder.iterdir()] == ["look.png"]
    assert cli.main(command) == 0
    report_text = folder.joinpath("report.txt").read_text()
    assert report_text in capsys.readouterr().out
    assert (
        "Split by viewers and pictures" in report_text
        and "fixlib book 01_sparsity_analysis -p dataset=data/lab" in report_text
    )
    parts, fixations = open_dataset("data/lab"), open_scanpaths("data/lab").fixations
    assert {part: len(gaze.subject.unique()) for part, gaze in parts.items()} == dict(train=3, val=1, test=2)
    assert len(fixations) == len(gaze)
    assert not any(name in str(gaze.meta) for gaze in parts.values() for name in ("v1", "p1.jpg"))
    names = pd.read_csv(folder / "names.csv").groupby("what")["name"].apply(list)
    assert names["subject"] == sorted(set(gaze["subject"]))
    before = fingerprint("data/lab")
    assert cli.main([*command, "--split", "pictures"]) == 0  # again, and otherwise
    assert fingerprint("data/lab") != before
    assert "split by pictures" in open_dataset("data/lab")["train"].source.label


def test_of_slow_samples_only_frames_are_prepared(tmp_path):
    files = exports.write("jsPsych, json", exports.gaze(n=20), tmp_path)[0]
    reading = prepare_recordings(files, "web", out=tmp_path / "web")
    assert "30 samples a second are too few" in reading.report
    assert not (tmp_path / "web" / "fixations").exists() and not (tmp_path / "web" / "fixations.csv").exists()
    train = open_dataset(str(tmp_path / "web"))["train"]
    assert train.rate_hz == 10 and train.fixation_mask.float().mean() > 0.5
    assert not has_fixations(str(tmp_path / "web"))
    assert "description" not in [spec.variant for spec in sparsity.specs(str(tmp_path / "web"), "smoke")]
    with pytest.raises(ValueError, match="one frame a fixation was asked for"):
        open_dataset(str(tmp_path / "web"), None)
    with pytest.raises(ValueError, match="has no fixations.csv"):
        open_scanpaths(str(tmp_path / "web"))


@pytest.mark.parametrize(
    "viewers, pictures, split", [(1, 6, "pictures"), (12, 1, "viewers"), (1, 1, "time")], ids=["one", "twelve", "alone"]
)
def test_chapters_run_on_few_viewers_or_pictures(tmp_path, project, capsys, viewers, pictures, split):
    gaze = exports.gaze(
        [f"v{k}" for k in range(viewers)], [f"p{k}.jpg" for k in range(pictures)], n=180 if split == "time" else 14
    )
    prepare_recordings(gaze, "lab", screen=exports.SCREEN, out=project / "data" / "lab")
    study = obtain("sparsity", "data/lab", "smoke", workers=1)
    assert study.own and f"split by {split}" in study.label and "Recordings of your own" in study.notice
    assert all(run.path.is_relative_to(project / "build" / "results") for run in study.runs)
    assert study.run("description").payload["statistics"]["scanpaths"] == viewers * pictures
    scores = study.run("repeat_last").metrics["error_argmax"]
    assert scores["low"] < scores["value"] < scores["high"]
    amplitude = study.run("description").payload["intervals"]["amplitude_mean"]
    assert np.isfinite(amplitude).all() == (split != "time")  # one viewer of one picture says nothing of others
    assert [spec.variant for spec in how_predictable.specs("data/lab", "smoke")]


def test_too_little_says_what_would_be_enough():
    one = BASE[(BASE["subject"] == "a") & (BASE["stimulus"] == "1.jpg")]
    with pytest.raises(
        Unsettled, match="Enough are three such trials, of three viewers or on three pictures, or one of 27 s"
    ):
        prepare_recordings(one, "lab", screen=exports.SCREEN)
    for seconds, enough in ((26, False), (28, True)):
        long = pd.DataFrame(dict(x=640.0, y=512.0, duration=200.0), index=range(5 * seconds))
        long["x"] += np.arange(len(long)) % 2 * 500
        reading = read_recordings(long, "lab", screen=exports.SCREEN, picture=(0, 0, *exports.SCREEN))
        parts = _split(reading, "")
        assert bool(parts) == enough


def test_what_many_files_share_is_noted_once(tmp_path):
    files = exports.write("EyeLink .asc, events of both eyes", BASE, tmp_path)[0]
    assert str(read_recordings(files, "lab").notes).count("ended before their picture was shown") == 1


def test_data_of_others_are_not_replaced(tmp_path):
    folder = tmp_path / "lab"
    torch.save(dict(coordinates=torch.ones(1, 30, 2), fixation_mask=torch.ones(1, 30).bool()), folder_file(folder))
    before = folder_file(folder).read_bytes()
    with pytest.raises(DataFileError, match="did not make"):
        prepare_recordings(BASE, "lab", screen=exports.SCREEN, out=folder)
    assert folder_file(folder).read_bytes() == before


def folder_file(folder):
    folder.mkdir(exist_ok=True)
    return folder / "train_data.pt"


def test_an_interruption_leaves_no_dataset(tmp_path, monkeypatch):
    prepare_recordings(BASE, "lab", screen=exports.SCREEN, out=tmp_path)
    saved = []

    def interrupted(gaze, path):
        if len(saved) == 2:
            raise KeyboardInterrupt
        saved.append(path)
        save(gaze, path)

    save = Gaze.save
    monkeypatch.setattr(Gaze, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        prepare_recordings(BASE, "lab", screen=exports.SCREEN, out=tmp_path, split="viewers")
    with pytest.raises(FileNotFoundError):
        open_dataset(str(tmp_path))


def test_a_notebook_shows_report_and_picture(capsys):
    """One after the other, so that the report is compared with the stored one and the picture is not."""
    with mock.patch("IPython.display.display") as display:
        readable(BASE)._ipython_display_()
    assert "median" in capsys.readouterr().out
    assert display.call_args.args[0].data.startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "said, message",
    [
        (dict(screen="large"), "not like 1280x1024"),
        (dict(unit="miles"), "unit 'miles' is not one of"),
        (dict(columns="x:gx"), "not like x=gx"),
        (dict(columns="z=gx"), "'z' is not one of x, y"),
        (dict(columns="x=nothing"), "no column 'nothing'; it has subject"),
        (dict(columns="subject=@{subject}_{stimulus}.csv"), "is not named like"),
    ],
)
def test_an_option_that_makes_no_sense_is_said(said, message):
    with pytest.raises(ValueError, match=message):
        readable(BASE, **said)
