"""Frames, pixels, resampling and windows against hand-made answers and plain loops."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fixlib.data import Gaze, Recordings, Scanpaths, Source, cut_windows, rotated_splits, split_by_stimulus_and_subject
from fixlib.grid import create_sparse_frames, decode_argmax, decode_mean, decode_median, pixel_center, pixel_index

SOURCE = Source("toy", "toy", "0" * 64, "none", "none", True)


def scanpaths(*rows, size=32):
    """From (scanpath, subject, stimulus, [(x, y, ms), ...])."""
    table = [
        (scanpath, subject, stimulus, order, x, y, ms)
        for scanpath, subject, stimulus, fixations in rows
        for order, (x, y, ms) in enumerate(fixations)
    ]
    columns = ["scanpath", "subject", "stimulus", "order", "x", "y", "duration_ms"]
    return Scanpaths(pd.DataFrame(table, columns=columns), size, SOURCE)


def crossed(n_subjects, n_stimuli, n_fixations=3):
    rows, number = [], 0
    for subject in range(n_subjects):
        for stimulus in range(n_stimuli):
            rows.append((number, subject, stimulus, [(1.5, 2.5, 100.0)] * n_fixations))
            number += 1
    return scanpaths(*rows)


def test_point_lights_row_y_column_x():
    frames = create_sparse_frames(torch.tensor([[[20.0, 5.0]]]), torch.tensor([[True]]))
    assert frames.shape == (1, 1, 1, 32, 32) and frames.dtype == torch.float32
    assert frames[0, 0, 0, 5, 20] == 1
    assert frames.sum() == 1


@given(st.integers(1, 40), st.integers(0, 10**6), st.sampled_from([decode_argmax, decode_mean, decode_median]))
@settings(max_examples=30, deadline=None)
def test_decoding_inverts_drawing(size, seed, decode):
    """A point of any grid comes back as the centre of its pixel; a centre comes back exactly."""
    points = torch.rand(4, 7, 2, generator=torch.Generator().manual_seed(seed)) * size
    centers, shown = points.clamp(max=size - 1e-3).floor() + 0.5, torch.ones(4, 7, dtype=torch.bool)
    frames = create_sparse_frames(points.clamp(max=size - 1e-3), shown, size)
    torch.testing.assert_close(decode(frames[:, :, 0]), centers)
    assert torch.equal(create_sparse_frames(centers, shown, size), frames)
    assert torch.equal(pixel_center(frames.flatten(2).argmax(-1), size), centers)
    assert torch.equal(pixel_center(pixel_index(centers, size), size), centers)


def test_frames_equal_a_plain_double_loop():
    generator = torch.Generator().manual_seed(1)
    coordinates = torch.rand(40, 9, 2, generator=generator) * 40 - 4  # some outside
    mask = torch.rand(40, 9, generator=generator) < 0.8
    expected = torch.zeros(40, 9, 1, 32, 32)
    for b in range(40):
        for t in range(9):
            x, y = coordinates[b, t].tolist()
            if mask[b, t] and 0 <= x < 32 and 0 <= y < 32:
                expected[b, t, 0, int(y), int(x)] = 1
    assert torch.equal(create_sparse_frames(coordinates, mask), expected)
    assert 0 < expected.sum() < mask.sum()  # the outside and the masked were both tried


@pytest.mark.parametrize("x, y", [(32.0, 5.0), (5.0, 32.0), (-0.001, 5.0), (5.0, -3.0)])
def test_outside_leaves_the_frame_empty(x, y):
    assert create_sparse_frames(torch.tensor([[[x, y]]]), torch.tensor([[True]])).sum() == 0


def test_frames_refuse_bad_input():
    good, mask = torch.zeros(2, 3, 2), torch.ones(2, 3, dtype=torch.bool)
    nan = good.clone()
    nan[1, 2, 0] = float("nan")
    with pytest.raises(ValueError, match=r"coordinates\[1, 2\] is not finite"):
        create_sparse_frames(nan, mask)
    assert create_sparse_frames(nan, mask & nan.isfinite().all(-1)).sum() == 5
    with pytest.raises(TypeError, match="must be a tensor, not ndarray"):
        create_sparse_frames(good.numpy(), mask)
    with pytest.raises(TypeError, match="must be bool"):
        create_sparse_frames(good, mask.float())
    with pytest.raises(ValueError, match=r"\(B, T, 2\)"):
        create_sparse_frames(torch.zeros(2, 3), mask)
    with pytest.raises(ValueError, match="fixation_mask must have shape"):
        create_sparse_frames(good, mask[:1])
    with pytest.raises(ValueError, match="must lie in the grid"):
        pixel_index(torch.tensor([32.0, 1.0]), 32)


def test_fixation_frames_pad_at_the_end():
    data = scanpaths((7, 1, 4, [(1, 2, 100), (3, 4, 100)]), (9, 2, 5, [(5, 6, 100)]))
    frames = data.frames(None)
    assert frames["coordinates"].tolist() == [[[1, 2], [3, 4]], [[5, 6], [0, 0]]]
    assert frames["fixation_mask"].tolist() == [[True, True], [True, False]]
    assert frames["subject"].tolist() == [1, 2] and frames["stimulus"].tolist() == [4, 5]
    assert frames["meta"]["frames"] == "fixations" and frames["meta"]["rate_hz"] is None


def test_fixed_rate_against_an_example_by_hand():
    # Frames at 0, 100, 200, ... ms. a: 0-250, b: 250-280 (between two frames, unseen), c: 280-400, d: 400-500
    data = scanpaths((0, 0, 0, [(1, 1, 250), (2, 2, 30), (3, 3, 120), (4, 4, 100)]), (1, 0, 1, [(9, 9, 101)]))
    frames = data.frames(10)
    assert frames["coordinates"][0, :, 0].tolist() == [1, 1, 1, 3, 4]
    assert frames["coordinates"][1, :, 0].tolist() == [9, 9, 0, 0, 0]
    assert frames["fixation_mask"].tolist() == [[True] * 5, [True] * 2 + [False] * 3]
    assert frames["meta"]["frames"] == "10 Hz" and frames["meta"]["rate_hz"] == 10.0


def test_fixed_rate_is_not_upset_by_rounding():
    data = scanpaths((0, 0, 0, [(1, 1, 100 / 3)] * 9))  # adds up to 300 ms but for rounding
    assert data.frames(10)["fixation_mask"].shape == (1, 3)


@pytest.mark.parametrize("rate", [0, -1, float("nan"), float("inf")])
def test_fixed_rate_refuses_a_bad_rate(rate):
    with pytest.raises(ValueError, match="positive number of frames a second"):
        crossed(1, 1).frames(rate)


def test_points_outside_are_kept_in_time_but_masked():
    data = scanpaths((0, 0, 0, [(1, 1, 100), (40, 1, 100), (2, 2, 100)]))
    for frames in (data.frames(None), data.frames(10)):
        assert frames["fixation_mask"].tolist() == [[True, False, True]]
        assert frames["coordinates"][0, 1].tolist() == [0, 0]


def test_a_point_just_inside_stays_inside_in_float32():
    frames = scanpaths((0, 0, 0, [(np.nextafter(32, 0), 1, 100)])).frames(None)
    assert frames["fixation_mask"].all() and (frames["coordinates"] < 32).all()


@pytest.mark.parametrize(
    "column, value, message",
    [
        ("x", float("nan"), "fixation 1 of scanpath 0 .* position is not a finite number"),
        ("duration_ms", 0.0, "duration is not a positive number"),
        ("order", 5, "order must count"),
        ("subject", 3, "subject or stimulus differs"),
    ],
)
def test_scanpaths_refuse_bad_rows(column, value, message):
    table = crossed(1, 1).fixations.copy()
    table.loc[1, column] = value
    with pytest.raises(ValueError, match=message):
        Scanpaths(table, 32, SOURCE)


@pytest.mark.parametrize("column", ["scanpath", "subject", "stimulus", "order"])
@pytest.mark.parametrize("kind", [str, float, "category"])
def test_ids_that_are_no_whole_numbers_are_refused(column, kind):
    table = crossed(2, 1).fixations.copy()
    table[column] = table[column].astype(str).radd("P").astype(kind) if kind is not float else table[column] + 0.5
    with pytest.raises(
        ValueError, match=rf"{column} must hold whole numbers.* pandas\.factorize\(table\['{column}'\]\)"
    ):
        Scanpaths(table, 32, SOURCE)


@pytest.mark.parametrize("column", ["x", "y"])
@pytest.mark.parametrize("missing", [None, pd.NA, float("nan")])
@pytest.mark.parametrize("kind", [float, object, "Float64"])
def test_a_missing_position_is_named_whatever_its_type(column, missing, kind):
    table = crossed(1, 1).fixations.copy()
    values = table[column].astype("Float64" if missing is pd.NA and kind is float else kind)
    values[1] = missing
    with pytest.raises(
        ValueError, match="fixation 1 of scanpath 0 .subject 0, stimulus 0.: position is not a finite number; 1 such"
    ):
        Scanpaths(table.assign(**{column: values}), 32, SOURCE)


def test_positions_that_are_text_are_refused():
    table = crossed(1, 1).fixations
    with pytest.raises(ValueError, match="fixation 0 of scanpath 0 .*: position is not a finite number; 3 such"):
        Scanpaths(table.assign(x="left"), 32, SOURCE)


def samples(n=750, **changes):
    """3 s at 250 Hz, as they should be."""
    columns = dict(time=4.0 * np.arange(n), x=np.full(n, 3.0), y=np.full(n, 4.0), confidence=np.ones(n)) | changes
    return np.stack(list(columns.values()), axis=1)


def recordings(samples):
    return Recordings(pd.DataFrame(dict(subject=[0], stimulus=[0]), index=["P1"]), (samples,), 4.0, 3000.0, 32, SOURCE)


BAD = {
    "probabilities": (
        samples(confidence=np.full(750, 0.98)),
        r"sample 0: the confidence must be 0 or 1: choose a threshold",
    ),
    "own clock": (
        samples(time=1.6e12 + 4.0 * np.arange(750)),
        r"are not ms since a film of 3000 ms began.* tracker's clock",
    ),
    "microseconds": (samples(time=4000.0 * np.arange(750)), r"0 to 2\.996e\+06, are not ms"),
    "seconds": (samples(time=0.004 * np.arange(750)), r"0 to 2\.996, are not ms.* convert to ms"),
    "out of order": (samples()[np.r_[0:10, 11, 10, 12:750]], "sample 11: the time must be later than that before it"),
    "missing": (samples(x=np.where(np.arange(750) == 7, np.nan, 3.0)), "sample 7: every value must be a finite number"),
    "none": (samples(0), r"samples must be \(n, 4\), n > 0, not \(0, 4\); leave out who has none"),
}


@pytest.mark.parametrize("case", BAD)
def test_recordings_say_which_sample_is_wrong_and_what_to_do(case):
    wrong, message = BAD[case]
    with pytest.raises(ValueError, match=f"recording P1.*{message}"):
        recordings(wrong)


def test_recordings_as_they_should_be_show_every_frame():
    assert recordings(samples()).frames(10.0).fixation_mask.sum() == 30
    with pytest.raises(ValueError, match="as many rows as recordings are needed, not 1 and 0"):
        replace(recordings(samples()), samples=())
    with pytest.raises(ValueError, match="subject must hold whole numbers"):
        replace(recordings(samples()), rows=pd.DataFrame(dict(subject=["P1"], stimulus=[0])))


def test_scanpaths_refuse_missing_columns_and_no_rows():
    table = crossed(1, 1).fixations
    with pytest.raises(ValueError, match="lack the column"):
        Scanpaths(table.drop(columns="x"), 32, SOURCE)
    with pytest.raises(ValueError, match="no row"):
        Scanpaths(table.iloc[:0], 32, SOURCE)
    with pytest.raises(ValueError, match="sorted by scanpath"):
        Scanpaths(crossed(2, 1).fixations.iloc[::-1], 32, SOURCE)


def test_split_shares_neither_subject_nor_stimulus():
    parts = split_by_stimulus_and_subject(crossed(15, 40), seed=3)
    for column, counts in (("subject", [8, 3, 4]), ("stimulus", [24, 6, 10])):
        members = [set(part.fixations[column]) for part in parts.values()]
        assert [len(m) for m in members] == counts
        assert len(set.union(*members)) == sum(counts)  # disjoint, and nobody lost
    assert [len(part) for part in parts.values()] == [8 * 24, 3 * 6, 4 * 10]
    again = split_by_stimulus_and_subject(crossed(15, 40), seed=3)
    other = split_by_stimulus_and_subject(crossed(15, 40), seed=4)
    assert set(again["test"].fixations["subject"]) == set(parts["test"].fixations["subject"])
    assert set(other["test"].fixations["stimulus"]) != set(parts["test"].fixations["stimulus"])


@pytest.mark.parametrize("subjects, tested", [((8, 3, 4), [4, 4, 4, 3]), ((0.6, 0.2, 0.2), [3, 3, 3, 3, 3])])
def test_rotated_splits_test_every_viewer_exactly_once(subjects, tested):
    table = crossed(15, 40)
    splits = list(rotated_splits(table, seed=3, subjects=subjects))
    first = split_by_stimulus_and_subject(table, seed=3, subjects=subjects)
    stimuli = {part: set(chosen.fixations["stimulus"]) for part, chosen in first.items()}
    assert all(first[part].fixations.equals(splits[0][part].fixations) for part in first)
    viewers = [{part: set(chosen.fixations["subject"]) for part, chosen in parts.items()} for parts in splits]
    assert [len(each["test"]) for each in viewers] == tested
    assert set.union(*(each["test"] for each in viewers)) == set(range(15))  # with 15 in all, each of them once
    for parts, each in zip(splits, viewers):
        assert sum(map(len, each.values())) == len(set.union(*each.values())) == 15  # nobody in two parts
        assert len(each["val"]) == 3
        for part, chosen in parts.items():
            assert set(chosen.fixations["stimulus"]) == stimuli[part]
            assert len(chosen) == len(each[part]) * len(stimuli[part])


def test_split_by_fractions_and_its_errors():
    half = (0.5, 0.25, 0.25)
    parts = split_by_stimulus_and_subject(crossed(4, 6), subjects=half, stimuli=half)
    assert [part.fixations["subject"].nunique() for part in parts.values()] == [2, 1, 1]
    tiny = split_by_stimulus_and_subject(crossed(3, 3), subjects=(0.9, 0.05, 0.05), stimuli=(0.9, 0.05, 0.05))
    assert all(len(part) == 1 for part in tiny.values())
    with pytest.raises(ValueError, match="add up to 15 but there are 4"):
        split_by_stimulus_and_subject(crossed(4, 6))
    with pytest.raises(ValueError, match="fractions must add up to 1"):
        split_by_stimulus_and_subject(crossed(4, 6), subjects=(0.5, 0.1, 0.1))
    with pytest.raises(ValueError, match="at least 3"):
        split_by_stimulus_and_subject(crossed(2, 6), subjects=(0.6, 0.2, 0.2))


def numbered(mask):
    """Frames whose x is the row and whose y is the frame."""
    mask = torch.tensor(mask)
    row, frame = torch.meshgrid(*(torch.arange(n) for n in mask.shape), indexing="ij")
    points, number = torch.stack([row, frame], dim=-1).float(), torch.arange(len(mask))
    return Gaze(points, mask, number + 10, number + 20, SOURCE, "fixations", None)


def test_windows_lie_in_one_scanpath_and_are_never_padded():
    mask = [[True] * 7 + [False], [True] * 3 + [False] + [True] * 4, [True] * 2 + [False] * 6]
    windows = cut_windows(numbered(mask), length=3, stride=1)
    starts = [(int(w[0, 0]), int(w[0, 1])) for w in windows["coordinates"]]
    assert starts == [(0, 0), (0, 1), (0, 2), (0, 3), (0, 4), (1, 0), (1, 4), (1, 5)]
    assert (windows["coordinates"].diff(dim=1) == torch.tensor([0.0, 1.0])).all()  # next frame
    assert windows["fixation_mask"].all()
    assert windows["subject"].tolist() == [10] * 5 + [11] * 3
    assert windows["stimulus"].tolist() == [20] * 5 + [21] * 3
    assert len(cut_windows(numbered(mask), length=3)["subject"]) == 3  # (0, 0), (0, 3), (1, 0)


def test_windows_limit_draws_without_replacement():
    data = numbered([[True] * 30] * 4)
    limited = cut_windows(data, 2, limit=20, seed=5)
    firsts = {tuple(w[0].tolist()) for w in limited["coordinates"]}
    assert len(firsts) == 20
    assert torch.equal(limited["coordinates"], cut_windows(data, 2, limit=20, seed=5)["coordinates"])
    assert not torch.equal(limited["coordinates"], cut_windows(data, 2, limit=20, seed=6)["coordinates"])
    with pytest.raises(ValueError, match="61 windows were asked for, but there are 60"):
        cut_windows(data, 2, limit=61)


@pytest.mark.parametrize("length", [4, 9])
def test_no_window_is_an_error(length):
    with pytest.raises(ValueError, match=f"no window of {length} valid frames"):
        cut_windows(numbered([[True] * 3 + [False] * 3]), length)


def test_windows_refuse_bad_numbers():
    with pytest.raises(ValueError, match="at least 1 frame"):
        cut_windows(numbered([[True] * 3]), 0)
    with pytest.raises(ValueError, match="limit must be at least 1"):
        cut_windows(numbered([[True] * 3]), 1, limit=0)
