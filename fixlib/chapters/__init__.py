"""The book's figures: one function each, drawn from recorded runs, by the notebooks and by `fixlib figures` alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from fixlib import system
from fixlib.chapters.hybrid_regression import figures as hybrid_regression
from fixlib.chapters.loss_comparison import figures as loss_comparison
from fixlib.chapters.predictable_motion import figures as predictable_motion
from fixlib.chapters.simulated_control import figures as control
from fixlib.chapters.sparsity import figures as sparsity
from fixlib.chapters.what_each_loss_wants import figures as loss_theory
from fixlib.plots import save

# File name -> (experiment, function of its study); no experiment: a figure of pure theory.
FIGURES: dict[str, tuple[str | None, Callable]] = {
    "01_positions": ("sparsity", sparsity.positions),
    "01_saccades": ("sparsity", sparsity.saccades),
    "01_staying": ("sparsity", sparsity.staying),
    "01_memory": ("sparsity", sparsity.memory),
    "01_doing_nothing": ("sparsity", sparsity.doing_nothing),
    "01_by_horizon": ("sparsity", sparsity.by_horizon),
    "02_best_outputs": (None, loss_theory.best_outputs),
    "02_frames_wanted": (None, loss_theory.frames_wanted),
    "02_pulls": (None, loss_theory.pulls),
    "02_pull_on_the_white_pixel": (None, loss_theory.pull_on_the_white_pixel),
    "02_composite_scale": (None, loss_theory.composite_scale),
    "02_how_sure_one_can_be": (None, loss_theory.how_sure_one_can_be),
    "03_training_curves": ("loss_comparison", loss_comparison.training_curves),
    "03_scores_at_half": ("loss_comparison", loss_comparison.scores_at_half),
    "03_examples": ("loss_comparison", loss_comparison.examples),
    "03_scores_without_threshold": ("loss_comparison", loss_comparison.scores_without_threshold),
    "03_certainty_by_horizon": ("loss_comparison", loss_comparison.certainty_by_horizon),
    "03_errors": ("loss_comparison", loss_comparison.errors),
    "03_ablations": ("loss_ablations", loss_comparison.ablations),
    "03_sizes": (None, lambda: loss_comparison.sizes(loss_comparison.recorded_sizes())),
    "03_beside_optimum": ("simulated_control", partial(control.beside_optimum, kind="frames_")),
    "04_frame_rate": ("sparsity", hybrid_regression.frame_rate),
    "04_errors": ("hybrid_regression", hybrid_regression.errors),
    "04_differences": ("hybrid_regression", hybrid_regression.differences),
    "04_error_histogram": ("hybrid_regression", hybrid_regression.error_histogram),
    "04_error_by_amplitude": ("hybrid_regression", hybrid_regression.error_by_amplitude),
    "04_undershoot": ("hybrid_regression", hybrid_regression.undershoot),
    "04_convergence": ("hybrid_regression", hybrid_regression.convergence),
    "04_beside_optimum": ("simulated_control", hybrid_regression.beside_optimum),
    "05_hidden_in_pixels": (None, predictable_motion.hidden_in_pixels),
    "05_paths": ("predictable_motion", predictable_motion.paths),
    "05_finding_the_pixel": ("predictable_motion", predictable_motion.finding_the_pixel),
    "05_falling_with_noise": ("predictable_motion", predictable_motion.falling_with_noise),
    "05_horizon_and_speed": ("predictable_motion", predictable_motion.horizon_and_speed),
    "05_frames_and_regression": ("predictable_motion", predictable_motion.frames_and_regression),
}

# The control knows its answer on simulated gaze only, three seeds of each are recorded; motion has its own data.
OTHERWISE = {
    "simulated_control": dict(dataset="simulated", seeds=(0, 1, 2)),
    "predictable_motion": dict(dataset="patterns"),
}


def rebuild(
    out: str = "figures", profile: str = "quick", dataset: str = "osie", results_dir: str = ""
) -> Iterator[Path]:
    """Write every figure of the book as PNG and PDF; the files written.

    Args:
        out: folder, relative to the project.
        profile, dataset, results_dir: of the runs shown; see `fixlib.runs.recorded`.

    Raises:
        NotRecorded: runs are missing; nothing is trained.
    """
    import matplotlib.pyplot as plt

    from fixlib.runs import recorded

    studies = {}
    for name, (experiment, draw) in FIGURES.items():
        if experiment and experiment not in studies:
            where = dict(dataset=dataset) | OTHERWISE.get(experiment, {})
            studies[experiment] = recorded(experiment, profile=profile, results_dir=results_dir, **where)
        figure = draw(studies[experiment]) if experiment else draw()
        yield from save(figure, system.root() / out, name)
        plt.close(figure)
