"""Chapter 3's ablations: one setting of one loss changed at a time, everything else as in `loss_comparison`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from fixlib.experiments import loss_comparison
from fixlib.experiments.predictors import data_config, make_spec, run_predictor, training_config
from fixlib.experiments.profiles import get_profile
from fixlib.results import RunSpec

NAME = "loss_ablations"
PRIOR = 0.01  # Lin et al. 2017, section 4.1

# Variant -> (loss, its changed options). The unchanged settings are runs of `loss_comparison`.
CHANGED: dict[str, tuple[str, dict]] = {
    **{f"composite_{term}_{factor}": ("composite", {f"{term}_weight": weight * float(factor)})
       for term, weight in (("focal", 1.0), ("sparsity", 0.8), ("concentration", 1.5))
       for factor in ("0", "0.1", "10")},
    "composite_normalised": ("composite", dict(normalise=True)),
    **{f"focal_alpha_{alpha}": ("focal", dict(alpha=float(alpha))) for alpha in ("0.75", "0.99")},
    **{f"focal_gamma_{gamma}": ("focal", dict(gamma=float(gamma))) for gamma in ("0", "5")},
    **{f"weighted_mse_{weight}": ("weighted_mse", dict(pos_weight=float(weight)))
       for weight in ("10", "30", "300", "1023")},
    **{f"dice_smooth_{smooth}": ("dice", dict(smooth=float(smooth))) for smooth in ("0.001", "0.1", "1")},
}
# Losses trained once more with the read-out's bias at logit(PRIOR).
WITH_PRIOR = ("mse", "focal", "weighted_mse", "dice")
# Not among the seven: the two proper scores.
PROPER = ("bce", "softmax_cross_entropy")


def specs(dataset: str, profile: str, seeds: Sequence[int] = (0,)) -> list[RunSpec]:
    """One run a changed setting and seed; ValueError for an unknown profile."""
    size = get_profile(profile)
    where = data_config(dataset, loss_comparison.RATE_HZ, loss_comparison.N_IN, loss_comparison.N_OUT,
                        stride=loss_comparison.N_OUT, profile=size)

    def config(loss: str, options: dict, **model) -> dict:
        settings = {**loss_comparison.LOSSES.get(loss, {}), **options}
        return dict(data=where, model=dict(kind="simvp", **size.simvp, **model), loss=dict(name=loss, **settings),
                    training=training_config(size))

    configs = {variant: config(loss, options) for variant, (loss, options) in CHANGED.items()}
    configs |= {f"{loss}_prior": config(loss, {}, prior_probability=PRIOR) for loss in WITH_PRIOR}
    configs |= {loss: config(loss, {}) for loss in PROPER}
    return [make_spec(NAME, variant, size, seed, made) for variant, made in configs.items() for seed in seeds]


def run(spec: RunSpec, checkpoint: Path, on_epoch: Callable[[dict], None]) -> dict:
    """Carry out one run; see `fixlib.experiments.predictors.run_predictor`."""
    return run_predictor(spec, checkpoint, on_epoch)
