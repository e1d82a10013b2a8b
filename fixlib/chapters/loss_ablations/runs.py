"""Chapter 4's ablations: one setting of one loss changed at a time, everything else the same.

Four frames in, the next one out, every 100 ms: the shortest task in which the losses differ, and the cheapest.
"""

from collections.abc import Sequence

from fixlib.chapters.loss_comparison.runs import LOSSES, PRIOR
from fixlib.runs.config import Config, Loss, Model, RunSpec, get_profile, make_spec

NAME = "loss_ablations"

RATE_HZ, N_IN, N_OUT = 10.0, 4, 1

# Variant -> (loss, its changed options); first the losses as they are, and the two proper scores.
SETTINGS: dict[str, tuple[str, dict]] = {name: (name, {}) for name in ("mse", "focal", "composite", "dice")}
SETTINGS |= {name: (name, {}) for name in ("weighted_mse", "bce", "softmax_cross_entropy")}
for term, weight in (("focal", 1.0), ("sparsity", 0.8), ("concentration", 1.5)):
    for factor in ("0", "0.1", "10"):
        SETTINGS[f"composite_{term}_{factor}"] = ("composite", {f"{term}_weight": weight * float(factor)})
SETTINGS["composite_normalised"] = ("composite", dict(normalise=True))
SETTINGS |= {f"focal_alpha_{value}": ("focal", dict(alpha=float(value))) for value in ("0.75", "0.99")}
SETTINGS |= {f"focal_gamma_{value}": ("focal", dict(gamma=float(value))) for value in ("0", "5")}
SETTINGS |= {f"weighted_mse_{w}": ("weighted_mse", dict(pos_weight=float(w))) for w in ("10", "30", "300", "1023")}
SETTINGS |= {f"dice_smooth_{value}": ("dice", dict(smooth=float(value))) for value in ("0.001", "0.1", "1")}
# Losses trained once more with the read-out's bias at logit(PRIOR).
WITH_PRIOR = ("mse", "focal", "weighted_mse", "dice")


def specs(dataset: str, profile: str, seeds: Sequence[int] = (0,)) -> list[RunSpec]:
    """One run a changed setting and seed; ValueError for an unknown profile."""
    size = get_profile(profile)
    where = size.data(dataset, rate_hz=RATE_HZ, n_in=N_IN, n_out=N_OUT, stride=N_IN + N_OUT)

    def config(name: str, options: dict, **model) -> Config:
        loss = Loss(name, LOSSES.get(name, {}) | options)
        return Config(where, Model("simvp", size.simvp | model), loss, size.training)

    configs = {variant: config(loss, options) for variant, (loss, options) in SETTINGS.items()}
    configs |= {f"{loss}_prior": config(loss, {}, prior_probability=PRIOR) for loss in WITH_PRIOR}
    return [make_spec(NAME, variant, size, seed, made) for variant, made in configs.items() for seed in seeds]
