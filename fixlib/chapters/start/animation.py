"""The animation of the first page: a second of recorded gaze, and what two predictors say of the second after it."""

from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.animation import FuncAnimation, PillowWriter
from matplotlib.colors import PowerNorm

from fixlib.chapters.loss_comparison.tables import record
from fixlib.data import Source
from fixlib.grid import pixel_index, seen_points
from fixlib.models import BASELINES
from fixlib.plots import SKY, book_style, image_axes, stamp
from fixlib.runs.execute import load_windows

TABLE = "return_table"  # of what needs no network it has the most bits; whoever draws this needs no weights
TITLES = ("Gaze", "Return table", "Repeat")
PICTURES_PER_SECOND, PAUSE = 3, 5  # PAUSE: how many more the last one stays for


@dataclass(frozen=True)
class Scanpath:
    """A test window, and what the return table says of its coming frames."""

    pixels: np.ndarray  # (n_in + n_out,) number of each frame's white pixel
    density: np.ndarray  # (n_out, size, size), sums to 1 in each frame
    window: int  # its number
    subject: int
    stimulus: int
    source: Source  # whose gaze


def scanpath() -> Scanpath:
    """The test window of chapter 4's record that is typical for the table: the median by bits.

    The table is counted anew, on the training windows of its recorded run.

    Raises:
        DataUnavailable: the recordings are not here and cannot be had.
    """
    run = record().run(TABLE)
    where, windows = run.spec.config.data, load_windows(run.spec.config.data)
    table, test = BASELINES[TABLE](where.size).fit(windows["train"].coordinates, where.n_in), windows["test"]
    window = int(np.argsort(run.per_window["bits"], kind="stable")[len(test) // 2])
    points = test.coordinates[window]
    density = table.log_density(seen_points(points[None, : where.n_in], where.size), where.n_out)[0].exp()
    pixels = pixel_index(points, where.size)
    which = window, int(test.subject[window]), int(test.stimulus[window])
    return Scanpath(pixels.numpy(), density.numpy(), *which, test.source)


@book_style()
def animate(shown: Scanpath, path: Path) -> Path:
    """Write it as a GIF: the frames seen, then for each coming one what is said of it, the true pixel ringed."""
    n_out, size, _ = shown.density.shape
    n_in = len(shown.pixels) - n_out
    frames = np.eye(size**2)[shown.pixels].reshape(-1, size, size)
    drawn, panels = plt.subplots(1, 3, figsize=(6.2, 3.0))
    stamp(drawn, shown.source.label, shown.source.simulated)

    def picture(step: int) -> tuple:
        step = min(step, len(frames) - 1)
        ahead = step - n_in + 1
        said = [frames[step], *((frames[step],) * 2 if ahead < 1 else (shown.density[ahead - 1], frames[n_in - 1]))]
        y, x = divmod(int(shown.pixels[step]), size)
        for axes, title, frame in zip(panels, TITLES, said):
            axes.clear()
            image_axes(axes, title).imshow(frame, norm=PowerNorm(0.5, 0, max(0.06, frame.max())))
            if ahead >= 1:
                axes.plot(x, y, "o", mfc="none", mec=SKY, ms=11, mew=1.6)
                axes.set_xlabel("goes here" if title == TITLES[0] else f"gives it {frame[y, x]:.1%}")
        time = f"{100 * ahead:+d} ms".replace("-", "−") if ahead else "now"
        drawn.suptitle(f"{'seen' if ahead < 1 else 'predicted'}: {time}", x=0.02, ha="left")
        return ()

    steps = len(frames) + PAUSE
    FuncAnimation(drawn, picture, frames=steps).save(path, PillowWriter(PICTURES_PER_SECOND))
    plt.close(drawn)
    return path
