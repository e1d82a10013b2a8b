"""The drawings say what the networks and the book are; the animation shows what the recorded runs scored."""

from itertools import combinations

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from PIL import Image

from fixlib import SimVP_RegressionHead, create_model, system
from fixlib.book import chapter_paths
from fixlib.chapters.loss_comparison.tables import record
from fixlib.chapters.start import animation, figures
from fixlib.data import DataUnavailable

DRAWINGS = (figures.book_map, figures.from_recording_to_score, figures.simvp, figures.hybrid)


def texts(figure):
    return [text for axes in figure.axes for text in axes.findobj(plt.Text) if text.get_text() and text.get_visible()]


def written(shape):
    return " × ".join(map(str, shape))


@pytest.mark.parametrize("draw", DRAWINGS, ids=lambda draw: draw.__name__)
def test_drawings_can_be_read(draw):
    drawn = draw()
    drawn.draw_without_rendering()
    shown = texts(drawn)
    assert min(text.get_fontsize() for text in shown) >= 7
    places = {text: text.get_window_extent() for text in shown}
    over = [(a.get_text(), b.get_text()) for a, b in combinations(shown, 2) if places[a].overlaps(places[b])]
    assert not over
    width, height = drawn.bbox.size
    assert all(p.x0 >= 0 and p.y0 >= 0 and p.x1 <= width and p.y1 <= height for p in places.values())
    plt.close(drawn)


def test_the_map_has_every_chapter_and_no_other():
    numbers = [path.stem[:2].lstrip("0") for path in chapter_paths() if path.stem[:2].isdigit()]
    assert ["", *figures.CHAPTERS] == [*numbers, "A"]
    assert [path.stem.partition("_")[0] for path in chapter_paths()[len(numbers) :]] == ["appendix", "appendix"]


def test_simvp_is_drawn_with_the_shapes_of_the_original():
    model, frames = create_model().eval(), torch.zeros(1, 10, 1, 32, 32)
    with torch.no_grad():
        latent, skip = model.enc(frames.flatten(0, 1))
        translated, logits = model.hid(latent[None]), model(frames)
    assert [shape for _, shape in figures.SIMVP] == [
        written(x) for x in (latent.shape, translated[0].shape, logits[0].shape)
    ]
    drawn = figures.simvp()
    assert any(written(skip.shape) in text.get_text() for text in texts(drawn))
    assert f"{latent[:, :, 0, 0].numel()} channels" in figures.SIMVP[1][0]
    plt.close(drawn)


def test_the_hybrid_is_drawn_with_the_shapes_of_the_original():
    model, frames = SimVP_RegressionHead().eval(), torch.zeros(1, 4, 1, 32, 32)
    with torch.no_grad():
        latent = model.enc(frames.flatten(0, 1))[0]
    linear = [layer for layer in model.head if isinstance(layer, torch.nn.Linear)]
    shapes = [shape for _, shape in figures.HYBRID]
    assert (
        shapes[:2] == [written(latent.shape)] * 2 and f"{latent[:, :, 0, 0].numel()} channels" in figures.HYBRID[1][0]
    )
    assert shapes[2:] == [f"{linear[0].in_features:,}", ", ".join(str(layer.out_features) for layer in linear)]


@pytest.fixture(scope="module")
def shown():
    try:
        return animation.scanpath()
    except DataUnavailable as reason:
        pytest.skip(f"the recordings are not here: {reason}")


class TestAnimation:
    def test_shows_the_window_of_median_bits_and_what_was_recorded_of_it(self, shown):
        table, repeat = (record().run(name).per_window for name in ("return_table", "repeat_last"))
        assert (shown.window, shown.subject, shown.stimulus) == (134, 13, 139)
        assert (table["subject"][134], table["stimulus"][134]) == (13, 139)
        below, above = (table["bits"] < table["bits"][134]).sum(), (table["bits"] > table["bits"][134]).sum()
        assert abs(int(below) - int(above)) <= 1
        there = shown.density.reshape(10, -1)[range(10), shown.pixels[10:]]
        assert 10 + np.log2(there).mean() == pytest.approx(float(table["bits"][134]), abs=2e-3)
        assert (shown.pixels[10:] == shown.pixels[9]).mean() == pytest.approx(
            repeat["white_pixel_recall"][134], abs=1e-3
        )

    def test_the_stored_file_has_a_picture_per_frame_and_is_small(self):
        path = system.root() / "figures" / "00_scanpath.gif"
        assert path.stat().st_size < 1e6
        with Image.open(path) as stored:
            assert stored.n_frames == 20 and stored.info["loop"] == 0

    def test_is_the_same_file_every_time(self, shown, tmp_path):
        first, second = (animation.animate(shown, tmp_path / name).read_bytes() for name in ("a.gif", "b.gif"))
        assert first == second
