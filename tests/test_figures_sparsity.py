"""Figures of chapter 1 draw the recorded numbers, on the axes that their captions describe."""

from pathlib import Path

import matplotlib
import numpy as np
import pytest

from fixlib import data
from fixlib.chapters.sparsity import figures
from fixlib.metrics import clustered_bootstrap
from fixlib.runs import obtain, recorded

matplotlib.use("Agg")
RESULTS = Path(__file__).parents[1] / "results"


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """The smoke runs on simulated scanpaths."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FIXLIB_ROOT", str(tmp_path_factory.mktemp("project")))
        patch.setenv("FIXLIB_DATA", str(tmp_path_factory.mktemp("data")))
        yield obtain("sparsity", "simulated", "smoke", workers=1)


@pytest.fixture(autouse=True)
def closed_figures():
    yield
    matplotlib.pyplot.close("all")


@pytest.fixture
def description(study):
    return study.run("description").payload


def texts(axes):
    return [text.get_text() for text in axes.texts]


def line(axes, number=0):
    return np.asarray(axes.lines[number].get_xydata())


@pytest.mark.parametrize("name", ["positions", "saccades", "staying", "memory", "doing_nothing", "by_horizon"])
def test_every_figure_of_simulated_gaze_says_so(study, name):
    assert "SIMULATED" in getattr(figures, name)(study).get_supxlabel()


class TestDescription:
    def test_positions_are_drawn_as_rows_of_y_and_columns_of_x(self, study, description):
        picture, profile, _ = figures.positions(study).axes
        counts = description["counts"]["positions"]
        np.testing.assert_allclose(picture.images[0].get_array(), 100 * counts / counts.sum())
        assert picture.images[0].get_extent() == [0, 32, 32, 0]  # y = 0 is at the top
        by_x, by_y = line(profile), line(profile, 1)
        np.testing.assert_allclose(by_x[:, 1], 100 * counts.sum(0) / counts.sum())
        np.testing.assert_allclose(by_y[:, 1], 100 * counts.sum(1) / counts.sum())
        np.testing.assert_array_equal(by_x[:, 0], np.arange(32) + 0.5)
        assert f"x: mean {description['statistics']['x_mean']:.1f}" in texts(profile)[0]

    def test_histograms_hold_the_recorded_shares(self, study, description):
        figure = figures.saccades(study)
        amplitude, duration, rose = figure.axes
        for axes, name in ((amplitude, "amplitudes"), (duration, "durations")):
            counts = description["counts"][name]
            drawn = axes.patches[0].get_data()
            np.testing.assert_allclose(drawn.values, 100 * counts / counts.sum())
            np.testing.assert_array_equal(drawn.edges, description["edges"][name])
        np.testing.assert_allclose(line(amplitude)[:, 0], description["statistics"]["amplitude_median"])
        np.testing.assert_allclose(line(amplitude, 1)[:, 0], description["statistics"]["amplitude_mean"])
        assert "px" in amplitude.get_xlabel() and "ms" in duration.get_xlabel()
        shares = [bar.get_height() for bar in rose.patches]
        assert sum(shares) == pytest.approx(100)
        assert rose.get_theta_direction() == -1 and rose.get_ylim()[1] > max(shares)

    def test_a_step_downwards_is_drawn_downwards(self, study, description):
        rose = figures.saccades(study).axes[2]
        downwards = [bar for bar in rose.patches if np.isclose(bar.get_x() + bar.get_width() / 2, np.deg2rad(85))]
        counts, edges = description["counts"]["directions"], description["edges"]["directions"]
        assert downwards[0].get_height() == pytest.approx(100 * counts[list(edges).index(80)] / counts.sum())
        assert rose.get_xticklabels()[1].get_text() == "down"

    def test_staying_shows_every_rate_with_its_interval(self, study, description):
        stay, error = figures.staying(study).axes
        for axes, name, scale, level in (
            (stay, "same_pixel", 100, "same_pixel"),
            (error, "repeat_last_error", 1, "amplitude_mean"),
        ):
            np.testing.assert_allclose(line(axes)[:, 0], [1000 / rate["rate_hz"] for rate in description["rates"]])
            np.testing.assert_allclose(line(axes)[:, 1], [scale * rate[name] for rate in description["rates"]])
            assert line(axes, 1)[0, 1] == pytest.approx(scale * description["statistics"][level])
            assert axes.get_xscale() == "log" and axes.get_ylim()[0] == 0
            band = axes.collections[0].get_paths()[0].vertices[:, 1]
            ends = scale * np.array([rate[f"{name}_interval"] for rate in description["rates"]])
            assert band.min() == pytest.approx(ends.min()) and band.max() == pytest.approx(ends.max())
        assert stay.get_ylim()[1] == 100

    def test_every_interval_holds_its_value(self, description):
        for rate in description["rates"]:
            for name in ("same_pixel", "repeat_last_error"):
                low, high = rate[f"{name}_interval"]
                assert low < rate[name] < high
        for name, (low, high) in description["intervals"].items():
            assert low < description["statistics"][name] < high

    def test_visited_pixels_are_counted_once(self, description):
        for length, by_frames in description["visited"].items():
            for found in by_frames.values():
                assert found["scanpaths"] == 0 or 1 <= found["pixels"] <= int(length)
        at_10hz = description["visited"]["10"]["frames_10hz"]
        windows = data.cut_windows(data.open_scanpaths("simulated").frames(10.0), 10, 1000)
        pixels = data.pixel_index(windows["coordinates"])
        assert at_10hz["scanpaths"] == len(pixels)
        assert at_10hz["pixels"] == pytest.approx(np.mean([len(set(row)) for row in pixels.tolist()]), rel=1e-5)

    def test_memory_starts_at_one(self, study, description):
        for axes, key in zip(figures.memory(study).axes, ("fixations", "frames_10hz")):
            for number, name in enumerate("xy"):
                np.testing.assert_allclose(line(axes, number)[:, 1], description["autocorrelation"][key][name])
                assert line(axes, number)[0, 1] == pytest.approx(1, abs=1e-3)


class TestDoingNothing:
    def test_accuracy_is_counted_in_wrong_pixels(self, study):
        wrong, recall = figures.doing_nothing(study).axes
        scores = [study.run(name).metrics for name in figures.TRIVIAL]
        dots = {
            axes: [line.get_xdata()[0] for line in axes.lines if line.get_marker() == "o"] for axes in (wrong, recall)
        }
        assert dots[wrong] == pytest.approx([1024 * (1 - score["accuracy"]["value"]) for score in scores])
        assert dots[wrong][0] == pytest.approx(1, abs=1e-3)  # all black misses one pixel
        assert dots[recall] == pytest.approx([100 * score["white_pixel_recall"]["value"] for score in scores])
        bars = [line.get_xdata() for line in wrong.lines if line.get_marker() == "None"]
        assert all(low <= dot <= high for (low, high), dot in zip(bars, dots[wrong]))
        assert [label.get_text() for label in wrong.get_yticklabels()] == ["All black", "Centre", "Repeat last pixel"]

    def test_horizons_are_milliseconds_ahead(self, study):
        recall, error = figures.by_horizon(study).axes
        for axes, metric, scale in ((recall, "white_pixel_recall", 100), (error, "error_argmax", 1)):
            np.testing.assert_allclose(line(axes)[:, 0], 100 * np.arange(1, 11))
            np.testing.assert_allclose(line(axes)[:, 1], scale * np.array(study.run("repeat_last").by_horizon[metric]))


def test_solutions_of_the_exercises():
    rates = recorded("sparsity", "osie", "quick", results_dir=str(RESULTS)).run("description").payload["rates"]
    assert [rate["rate_hz"] for rate in rates if rate["repeat_last_error"] < 1] == [30, 60]
    precision, recall = 1 / 64**2, 1
    assert 2 * precision * recall / (precision + recall) == pytest.approx(2 / 4097)
    stayed, (viewer, picture) = np.tile([14, 12, 13], (4, 1)), np.indices((4, 3)).reshape(2, -1)
    low, high = clustered_bootstrap(stayed.ravel(), np.full(12, 20), subject=viewer, stimulus=picture)
    single = np.random.default_rng(0).binomial(240, stayed.sum() / 240, 1000) / 240
    assert high - low < np.subtract(*np.percentile(single, [97.5, 2.5]))
