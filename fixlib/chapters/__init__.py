"""The book's chapters: each folder holds what the chapter runs (`runs.py`), and its figures and tables."""

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

from fixlib import system


def load() -> None:
    """Import every chapter's figures, so that `fixlib.plots.FIGURES` has them."""
    for path in sorted(Path(__file__).parent.glob("*/figures.py")):
        import_module(f"{__name__}.{path.parent.name}.figures")


def rebuild(out: str = "figures", profile: str = "quick") -> Iterator[Path]:
    """Write the figures that chapters register (`plots.FIGURES`) as PNG and PDF, then the first page's animation.

    Gives the files written.

    Args:
        out: folder, relative to the project.
        profile: of the runs shown.

    Raises:
        NotRecorded: runs are missing; nothing is trained.
        DataUnavailable: the animation shows recorded gaze, and it cannot be had; the figures are written all the same.
    """
    import matplotlib.pyplot as plt  # slow, and of no use to the runs, which are imported through this package

    from fixlib.chapters.start.animation import animate, scanpath
    from fixlib.plots import FIGURES, save
    from fixlib.runs import recorded

    load()
    where = dict(dataset="osie", profile=profile)
    shown = {str((each.experiment, each.choices)): each for _, each in sorted(FIGURES.items()) if each.experiment}
    studies = {runs: recorded(each.experiment, **where | each.choices) for runs, each in shown.items()}
    for name, drawing in sorted(FIGURES.items()):
        runs = str((drawing.experiment, drawing.choices))
        figure = drawing.draw(*([studies[runs]] if drawing.experiment else []))
        yield from save(figure, system.root() / out, name)
        plt.close(figure)
    yield animate(scanpath(), system.root() / out / "00_scanpath.gif")
