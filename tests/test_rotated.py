"""The splits in which every viewer is tested once."""

import numpy as np

from fixlib.chapters.how_predictable import runs as how_predictable
from fixlib.chapters.rotated import runs as rotated
from fixlib.chapters.rotated import tables
from fixlib.runs.execute import load_windows


def test_every_viewer_is_tested_in_one_split():
    wheres = {spec.config.data for spec in rotated.specs("simulated", "smoke") if not spec.config.epochs}
    by_task = {}
    for where in wheres:
        windows = load_windows(where)
        assert not set(windows["train"].subject.tolist()) & set(windows["test"].subject.tolist())
        by_task.setdefault(where.rate_hz, []).append(set(windows["test"].subject.tolist()))
    assert len(by_task) == len(rotated.TASKS)
    for viewers in by_task.values():
        assert len(viewers) == rotated.FOLDS and sum(map(len, viewers)) == len(set.union(*viewers)) > 4


def test_apart_from_the_split_the_runs_are_those_of_chapter_5():
    usual = {spec.variant: spec.config for spec in how_predictable.specs("osie", "quick", networks=["gru"])}
    for spec in rotated.specs("osie", "quick"):
        found = spec.config.to_json()
        assert found["data"].pop("fold") in range(rotated.FOLDS)
        assert found == usual[spec.variant.rpartition(".")[0]].to_json()


def test_scores_are_pooled_over_all_splits_by_their_frames():
    task, name = "10to10", "gru"
    runs = [tables.record(task).run(f"{name}.{task}.fold{fold}") for fold in range(rotated.FOLDS)]
    frames = [run.per_window["frames"].sum() for run in runs]
    for metric, kept in (("bits", "bits"), ("px", "error_median")):
        expected = np.average([run.metrics[kept]["value"] for run in runs], weights=frames)
        found = tables.level(task, name, metric)
        assert found["low"] < found["value"] < found["high"]
        np.testing.assert_allclose(found["value"], expected, rtol=2e-3)  # what is kept by window is rounded
    assert len(tables.by_viewer(task, name, "transition_table", "bits")) == 15


def test_a_difference_is_that_of_the_levels():
    a, b = (tables.level("10to10", name, "px")["value"] for name in ("gru", "hold_then_prior"))
    np.testing.assert_allclose(tables.difference("10to10", "gru", "hold_then_prior", "px")["value"], a - b, rtol=1e-6)
