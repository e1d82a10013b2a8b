"""The search behind the profile `tuned`: learning rate and clipping of each loss, chosen on validation windows."""

from collections.abc import Sequence
from dataclasses import replace

from fixlib.chapters.loss_comparison.runs import FURTHER_LOSSES, LOSSES, N_IN, N_OUT, RATE_HZ, config_of
from fixlib.runs.config import RunSpec, get_profile, make_spec

NAME = "loss_tuning"
RATES = (3e-4, 1e-3, 3e-3)
EPOCHS = 5  # enough to rank the rates; what is chosen is then trained until validation no longer improves


def specs(
    dataset: str, profile: str, seeds: Sequence[int] = (0,), losses: Sequence[str] = (*LOSSES, *FURTHER_LOSSES)
) -> list[RunSpec]:
    """One run a loss and learning rate with clipping, and one without clipping at the rate that was chosen."""
    size = get_profile(profile)
    where = size.data(dataset, rate_hz=RATE_HZ, n_in=N_IN, n_out=N_OUT, stride=N_OUT)
    found = []
    for name in losses:
        base = config_of(name, size, where)
        chosen = base.training.learning_rate
        for rate, norm in [(rate, 1.0) for rate in RATES] + [(chosen, None)]:
            training = replace(base.training, learning_rate=rate, clip_norm=norm, epochs=EPOCHS, patience=None)
            variant = f"{name}-{rate:g}-{'clipped' if norm else 'unclipped'}"
            found += [make_spec(NAME, variant, size, seed, replace(base, training=training)) for seed in seeds]
    return found
