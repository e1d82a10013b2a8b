"""Chapter 4: every loss under identical conditions (10 frames in, the next 10 out, 100 ms a frame)."""

from collections.abc import Sequence
from dataclasses import replace

import pandas as pd

from fixlib.losses import LOSSES as LOSSES_OF_FRAMES
from fixlib.runs.config import Config, Data, Loss, Model, Profile, RunSpec, get_profile, make_spec

NAME = "loss_comparison"
# The seven of the original experiment, with its settings.
LOSSES: dict[str, dict] = {
    "mse": {},
    "focal": dict(alpha=0.25, gamma=2.0),
    "sparsity": dict(weight=1.0),
    "concentration": {},
    "composite": dict(focal_weight=1.0, sparsity_weight=0.8, concentration_weight=1.5),
    "dice": dict(smooth=1e-5),
    "weighted_mse": dict(pos_weight=100.0),
}
# Compared with them where asked for: Dice smoothed as textbooks do, and the one proper score of a place.
FURTHER_LOSSES = {
    "dice_smooth_1": Loss("dice", dict(smooth=1.0)),
    "softmax_cross_entropy": Loss("softmax_cross_entropy"),
}
# What needs no network, as frame predictors.
FRAME_BASELINES = (
    *("repeat_last", "hold_then_prior", "centre", "centre_bias"),
    *("transition_table", "dwell_table", "return_table"),
)
RATE_HZ, N_IN, N_OUT = 10.0, 10, 10

# Profile `tuned`, each loss at its best: learning rate and largest gradient norm (None: no clipping). Chosen on
# validation windows by the runs of `loss_tuning`.
TUNED: dict[str, tuple[float, float | None]] = {
    "mse": (3e-3, 1.0),
    "focal": (3e-4, 1.0),
    "sparsity": (3e-3, 1.0),
    "concentration": (3e-3, 1.0),
    "composite": (3e-3, 1.0),
    "dice": (3e-3, 1.0),
    "weighted_mse": (3e-3, 1.0),
    "dice_smooth_1": (1e-3, 1.0),
    "softmax_cross_entropy": (3e-3, 1.0),
}
# There, the read-out's bias starts at logit(PRIOR) (Lin et al. 2017, section 4.1) for the losses whose white pixel then
# has most of the pull (chapter 2).
PRIOR, WITH_PRIOR = 0.01, ("focal", "weighted_mse")


def specs(
    dataset: str, profile: str, seeds: Sequence[int] = (0,), losses: Sequence[str] = tuple(LOSSES)
) -> list[RunSpec]:
    """One run a loss and seed, and one a baseline.

    `losses` are keys of `LOSSES` (the default) or `FURTHER_LOSSES`, or any other loss's name, which then has its
    default options. Within a seed every loss starts from the same weights and sees the same batches in the same order.
    """
    size = get_profile(profile)
    where = size.data(dataset, rate_hz=RATE_HZ, n_in=N_IN, n_out=N_OUT, stride=N_OUT)
    networks = {name: config_of(name, size, where) for name in losses}
    baselines = {name: Config(where, Model(name, dict(as_frames=True))) for name in FRAME_BASELINES}
    found = [make_spec(NAME, name, size, seed, config) for name, config in networks.items() for seed in seeds]
    return found + [make_spec(NAME, name, size, 0, config) for name, config in baselines.items()]


def config_of(variant: str, size: Profile, where: Data) -> Config:
    """How the network of a loss is built and trained at that size."""
    if size.name != "tuned":
        return Config(where, size.frames, _loss(variant), size.training)
    prior = dict(prior_probability=PRIOR) if variant in WITH_PRIOR else {}
    rate, norm = TUNED.get(variant, (1e-3, 1.0))
    training = replace(size.training, learning_rate=rate, clip_norm=norm)
    return Config(where, Model("simvp", size.simvp | prior), _loss(variant), training)


def _loss(variant: str) -> Loss:
    """Name and options of the loss that a variant is trained with."""
    if variant in FURTHER_LOSSES:
        return FURTHER_LOSSES[variant]
    loss = Loss(variant, LOSSES.get(variant, {}))
    LOSSES_OF_FRAMES[loss.name](**loss.options)  # refuses what there is not
    return loss


def run_real_loss_function_analysis(
    dataset: str = "osie", profile: str = "paper", losses: Sequence[str] = tuple(LOSSES), seeds: Sequence[int] = (0,)
) -> pd.DataFrame:
    """Train a SimVP with every loss on real gaze and compare them on the held-out test set.

    Runs already recorded under `results/` are read; the others are trained and recorded as JSON.

    Returns:
        One row a run: variant, seed, and the metrics (white_pixel_recall, white_pixel_precision, f1_score,
        test_loss, errors in px, ...).

    Raises:
        ValueError: an unknown dataset, profile or loss.
        ExperimentError: a run failed.
    """
    from fixlib.runs.study import obtain

    study = obtain(NAME, dataset, profile, seeds, losses=losses)
    print(study.notice)
    return study.table()
