"""The book's figures: one function each, drawn from recorded runs, by the notebooks and by `fixlib figures` alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from fixlib import paths
from fixlib.figures import hybrid_regression, loss_comparison, sparsity
from fixlib.figures.style import save

# File name -> (experiment, function of its study).
FIGURES: dict[str, tuple[str, Callable]] = {
    "01_positions": ("sparsity", sparsity.positions),
    "01_saccades": ("sparsity", sparsity.saccades),
    "01_staying": ("sparsity", sparsity.staying),
    "01_memory": ("sparsity", sparsity.memory),
    "01_doing_nothing": ("sparsity", sparsity.doing_nothing),
    "03_training_curves": ("loss_comparison", loss_comparison.training_curves),
    "03_scores_at_half": ("loss_comparison", loss_comparison.scores_at_half),
    "03_examples": ("loss_comparison", loss_comparison.examples),
    "03_scores_without_threshold": ("loss_comparison", loss_comparison.scores_without_threshold),
    "03_certainty_by_horizon": ("loss_comparison", loss_comparison.certainty_by_horizon),
    "03_errors": ("loss_comparison", loss_comparison.errors),
    "04_frame_rate": ("sparsity", hybrid_regression.frame_rate),
    "04_errors": ("hybrid_regression", hybrid_regression.errors),
    "04_differences": ("hybrid_regression", hybrid_regression.differences),
    "04_error_histogram": ("hybrid_regression", hybrid_regression.error_histogram),
    "04_error_by_amplitude": ("hybrid_regression", hybrid_regression.error_by_amplitude),
    "04_undershoot": ("hybrid_regression", hybrid_regression.undershoot),
    "04_convergence": ("hybrid_regression", hybrid_regression.convergence),
}


def rebuild(out: str = "figures", profile: str = "quick", dataset: str = "osie",
            results_dir: str = "") -> Iterator[Path]:
    """Write every figure of the book as PNG and PDF; the files written.

    Args:
        out: folder, relative to the project.
        profile, dataset, results_dir: of the runs shown; see `fixlib.experiments.obtain`.
    """
    import matplotlib.pyplot as plt

    from fixlib.experiments import obtain
    studies = {}
    for name, (experiment, draw) in FIGURES.items():
        if experiment not in studies:
            studies[experiment] = obtain(experiment, dataset, profile, results_dir=results_dir)
        figure = draw(studies[experiment])
        yield from save(figure, paths.root() / out, name)
        plt.close(figure)
