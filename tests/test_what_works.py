"""The tables and the drawing of chapter 7: what counts as tried, on the record, and how costs are written."""

from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pytest

from fixlib.chapters.what_works import figures, tables


@pytest.fixture(scope="module", params=[tables.ten_ahead, tables.one_ahead], ids=["10 to 10", "4 to 1"])
def tried(request):
    return request.param()


def test_everything_tried_at_a_task_has_runs_on_the_same_test_windows(tried):
    runs = [run for one in tried.values() for run in one]
    assert all(tried.values()) and len({run.spec.key for run in runs}) == len(runs)
    assert len({run.payload["content_sha256"]["test"] for run in runs}) == 1


def test_rows_are_marked_where_they_are_given_more_than_pixels(tried):
    for name, (run, *_) in tried.items():
        model = run.spec.config.model
        finer = model.kind == "repeat_last_subpixel" or (
            model.kind == "gru" and model.options.get("inputs") != "pixels"
        )
        assert finer == name.endswith("*"), name


def test_costs_are_means_over_seeds_the_closest_first(tried):
    found = tables.costs(tried)
    name = "GRU, density"
    assert found.loc[name, "bits"] == np.mean([run.metrics["bits"]["value"] for run in tried[name]])
    assert found.loc["Hold, then the prior", tables.DIFFERENCE] == "–"
    apart = [float(text.split()[0].replace("−", "-")) for text in found[tables.DIFFERENCE] if text != "–"]
    assert apart == sorted(apart) and apart[0] < 0 < apart[-1]
    assert np.isnan(found.loc["Repeat last pixel", "parameters"]) and len(found.columns) == 6


@pytest.mark.parametrize(
    ("took", "written"),
    [
        ([("cpu", 0.2)], "< 1"),
        ([("cpu", 428.26), ("cpu", 181.9), ("cpu", 278.39)], "280"),
        ([("cpu", 10168.67), ("NVIDIA", 49.5)], "10,000"),
        ([("NVIDIA", 93.2), ("NVIDIA", 68.5)], "81 (GPU)"),
    ],
)
def test_seconds_are_those_of_a_cpu_where_there_is_one(took, written):
    runs = [SimpleNamespace(payload=dict(seconds=value, environment=dict(device=device))) for device, value in took]
    assert tables.seconds(runs) == written


def test_the_drawing_shows_every_question_and_answer_and_an_arrow_to_each():
    (axes,) = figures.decision().axes
    texts = [text for text in axes.texts if text.get_text()]
    assert {text.get_text() for text in texts} == {*figures.QUESTIONS, *figures.ANSWERS, *figures.ANSWERS.values()}
    assert len(axes.texts) - len(texts) == len(figures.ANSWERS) + len(figures.QUESTIONS) - 1
    plt.close("all")
