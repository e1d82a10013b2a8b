"""What all figures share: where their runs come from, the style, the colors, the names."""

import subprocess
import sys

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch

from fixlib import chapters, plots
from fixlib.runs import NotRecorded, recorded, sweep
from fixlib.runs.study import Study, difference

matplotlib.use("Agg")


class TestWhatOnlyShows:
    def test_figures_of_runs_that_are_missing_train_nothing_and_say_so(self, project, monkeypatch):
        monkeypatch.setattr(sweep, "carry_out", lambda *_: pytest.fail("something is trained"))
        with pytest.raises(NotRecorded, match=r"(?s)sparsity.*fixlib run sparsity --dataset osie --profile paper"):
            list(chapters.rebuild("figures", "paper"))
        assert not list(project.rglob("*"))

    def test_the_command_names_the_choices_of_the_missing_runs(self, project):
        with pytest.raises(NotRecorded) as error:
            recorded("loss_comparison", "osie", "paper", (0, 7), results_dir="mine", losses=("mse",))
        assert "mse (seed 7)" in str(error.value) and str(error.value).endswith(
            "fixlib run loss_comparison --dataset osie --profile paper --results mine --seeds 0,7 --losses mse"
        )


class TestNotice:
    def test_a_bare_pair_of_tensors_says_what_its_intervals_take_for_granted(self, tmp_path):
        pair = dict(coordinates=torch.full((3, 20, 2), 5.5), fixation_mask=torch.ones(3, 20, dtype=torch.bool))
        for part in ("train", "val", "test"):
            torch.save(pair, tmp_path / f"{part}_data.pt")
        assert "every row for another viewer" in Study(str(tmp_path), str(tmp_path), ()).notice
        assert "every row" not in Study("osie", "osie", ()).notice


class TestDifferences:
    def test_runs_on_other_windows_are_refused(self):
        osie, simulated = (
            recorded("loss_comparison", name, "paper", losses=("mse",)) for name in ("osie", "simulated")
        )
        assert osie.difference("mse", "mse", "hit_3px") == dict(value=0, low=0, high=0)
        with pytest.raises(ValueError, match="different test windows"):
            osie.difference("mse", "mse", "hit_3px", simulated)

    def test_of_two_metrics_on_the_same_windows(self):
        run = recorded("loss_comparison", "osie", "paper", losses=("mse",)).run("mse")
        found = difference([run], [run], "error_argmax", "error_median")
        assert found["value"] == pytest.approx(
            run.metrics["error_argmax"]["value"] - run.metrics["error_median"]["value"], abs=1e-3
        )


class TestFrame:
    def test_every_run_and_metric_has_a_row_with_what_was_run(self):
        frame = recorded("loss_ablations", "osie", "quick").frame()
        row = frame[(frame["variant"] == "weighted_mse_300") & (frame["metric"] == "hit_3px")].iloc[0]
        assert (row["predictor"], row["model"], row["loss"], row["options"]) == (
            "weighted_mse",
            "simvp",
            "weighted_mse",
            "weight 300",
        )
        assert (row["framing"], row["task"]) == ("One frame every 100 ms", "4 frames in, 1 out")
        assert row["low"] < row["value"] < row["high"] and row["trained"]
        assert set(frame[frame["variant"] == "mse"]["options"]) == {""}  # nothing differs
        assert not frame.duplicated(["variant", "seed", "metric"]).any()


class TestStyle:
    def test_importing_and_drawing_changes_no_setting_of_matplotlib(self):
        code = (
            "import matplotlib as mpl\n"
            "before = dict(mpl.rcParams.copy())\n"
            "from fixlib import chapters, plots\n"
            "chapters.load()\n"
            "assert dict(mpl.rcParams.copy()) == before and mpl.get_backend(auto_select=False) is None\n"
            "mpl.use('agg')\n"
            "before = dict(mpl.rcParams.copy())\n"
            "plots.FIGURES['02_pulls'].draw()\n"
            "assert dict(mpl.rcParams.copy()) == before\n"
        )
        subprocess.run([sys.executable, "-c", code], check=True)

    def test_figures_are_saved_in_their_style(self, tmp_path):
        with plots.book_style():
            figure = plt.figure(figsize=(4, 2))
            figure.text(0.1, 0.5, "Some text")
        png, pdf = plots.save(figure, tmp_path, "a")
        assert plt.imread(png).shape[:2] == (300, 600)  # 150 dpi
        assert b"/FontType 42" in pdf.read_bytes() or b"/CIDFontType2" in pdf.read_bytes()
        assert b"/Type3" not in pdf.read_bytes()
        plt.close(figure)

    def test_a_predictor_has_one_color_and_no_other_has_it(self):
        own = {name: color for name, (_, color) in plots.PREDICTORS.items() if color != plots.BASELINE_COLOR}
        assert own.pop("dice_smooth_1") == own["dice"]  # the same loss
        assert len(set(own.values())) == len(own)
        assert plots.color_of("repeat_last") == plots.color_of("anything") == plots.BASELINE_COLOR

    def test_the_same_network_has_the_same_color_in_every_chapter(self):
        chapters.load()
        colors = {}
        for name in ("06_errors", "04_beside_optimum"):
            figure = plots.FIGURES[name]
            shown = recorded(figure.experiment, **(dict(dataset="osie", profile="quick") | figure.choices))
            labels = figure.draw(shown).axes[0].get_yticklabels()
            colors |= {label.get_text(): label.get_color() for label in labels}
        assert colors["Frames, composite (median)"] == colors["Composite"] == plots.color_of("composite")
        assert (colors["Hybrid, L1"], colors["Hybrid, MSE"]) == tuple(map(plots.color_of, ("hybrid_l1", "hybrid_mse")))
        plt.close("all")


class TestDots:
    def test_each_seed_has_a_dot_on_its_interval_and_the_mean_is_written(self):
        numbers = [dict(value=v, low=v - 1, high=v + 1) for v in (2.0, 4.0)]
        axes = plt.figure().add_subplot()
        plots.dots(axes, [plots.Row("A heading"), plots.Row("MSE", "#000000", numbers, best=1.0)])
        dots = [line for line in axes.lines if line.get_marker() == "o"]
        assert [line.get_xdata()[0] for line in dots] == [2.0, 4.0]
        assert [text.get_text() for text in axes.texts] == ["3.00"]
        assert [label.get_text() for label in axes.get_yticklabels()] == ["A heading", "MSE"]
        assert [
            line.get_xdata()[0] for line in axes.lines if line.get_marker() == "D" and np.isfinite(line.get_xdata()[0])
        ] == [1.0]
        plt.close("all")


class TestTable:
    def test_numbers_are_on_the_right_the_best_is_bold_and_nothing_is_made_up(self):
        frame = pd.DataFrame(
            dict(px=[7.5, 7.25, np.nan], note=["a & b", "", "c"]), pd.Index(["x", "y", "z"], name="who")
        )
        shown = plots.table(frame, written=dict(px=".1f"), best=dict(px="min"))
        html = shown._repr_html_()
        assert '<th style="text-align: left">who</th><th style="text-align: right">px</th>' in html
        assert html.count("<b>") == 1 and '<td style="text-align: right"><b>7.2</b></td>' in html
        assert ">–</td>" in html and "a &amp; b" in html
        assert repr(shown).split("\n")[1].split() == ["x", "7.5", "a", "&", "b"]
        assert plots.table(frame, best=dict(px="min")).html == plots.table(frame, best=dict(px="min")).html

    def test_the_ends_of_an_interval_stay_on_one_line(self):
        shown = plots.table(pd.DataFrame(dict(px=["−0.1 [−0.2, +0.3]", "5% [4%, 6%]", "1, 2"])))
        assert "−0.1 [−0.2,&nbsp;+0.3]" in shown.html and "5% [4%,&nbsp;6%]" in shown.html and "1, 2" in shown.html
        assert "−0.1 [−0.2, +0.3]" in shown.text

    def test_a_text_may_be_shown_as_a_link_or_in_a_color(self):
        shown = plots.table(pd.DataFrame(dict(verdict=["yes", "no"])), shown=dict(yes="<i>yes</i>"))
        assert "<i>yes</i></td>" in shown.html and ">no</td>" in shown.html and "<i>" not in shown.text

    def test_what_nobody_would_read_is_refused(self):
        with pytest.raises(ValueError, match="seven columns"):
            plots.table(pd.DataFrame(np.zeros((1, 7)), columns=list("abcdefg")))
        with pytest.raises(ValueError, match="60 characters"):
            plots.table(pd.DataFrame(dict(verdict=["x" * 61])))
