"""The splits in which every viewer is tested once."""

from fixlib.chapters.how_predictable import runs as how_predictable
from fixlib.chapters.rotated import runs as rotated
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
