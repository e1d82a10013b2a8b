"""Chapter 7: other targets and heads for the small video network, everything else as in `loss_comparison`.

* softmax_sigma_S: softmax cross-entropy against a Gaussian of S px around the white pixel, instead of that pixel alone.
  But for a constant, the loss is the Kullback-Leibler divergence from the Gaussian, made a density, to the prediction.
* bce, bce_sigma_S: the same under binary cross-entropy, highest 1, with a prior bias.
* soft_argmax: the mean position under the softmax is the prediction, trained with L1 on the point.
* mixture, mixture_displacement: an MLP gives a mixture of Gaussians in place of a map, on the grid or relative to the
  last pixel; softmax cross-entropy is then the negative logarithm of the mixture's mass in the white pixel.
"""

from collections.abc import Sequence
from dataclasses import replace

from fixlib.chapters.loss_comparison.runs import N_IN, N_OUT, PRIOR, RATE_HZ
from fixlib.registry import Registry
from fixlib.runs.config import Config, Loss, Model, RunSpec, get_profile, make_spec

NAME = "targets"
PARTS = ("softmax", "bce", "soft_argmax", "mixture")
SIGMAS_PX = (0.5, 1.0, 2.0)


def specs(dataset: str, profile: str, seeds: Sequence[int] = (0,), parts: Sequence[str] = PARTS) -> list[RunSpec]:
    """One run a target or head and seed; ValueError for an unknown profile or part."""
    size = get_profile(profile)
    where = size.data(dataset, rate_hz=RATE_HZ, n_in=N_IN, n_out=N_OUT, stride=N_OUT)
    softmax = Config(where, size.frames, Loss("softmax_cross_entropy"), size.training)
    bce = Config(where, Model("simvp", size.simvp | dict(prior_probability=PRIOR)), Loss("bce"), size.training)
    soft_argmax = Config(where, Model("soft_argmax", size.simvp), Loss("l1"), size.training)
    mixture = replace(softmax, model=Model("mixture", size.simvp))
    moved = replace(softmax, model=Model("mixture", size.simvp | dict(target="displacement")))
    of_part = Registry(
        "part",
        {
            "softmax": {f"softmax_sigma_{sigma:g}": _softened(softmax, sigma) for sigma in SIGMAS_PX},
            "bce": {"bce": bce} | {f"bce_sigma_{sigma:g}": _softened(bce, sigma) for sigma in SIGMAS_PX},
            "soft_argmax": {"soft_argmax": soft_argmax},
            "mixture": {"mixture": mixture, "mixture_displacement": moved},
        },
    )
    configs = {variant: config for part in parts for variant, config in of_part[part].items()}
    return [make_spec(NAME, variant, size, seed, config) for variant, config in configs.items() for seed in seeds]


def _softened(sharp: Config, sigma: float) -> Config:
    return replace(sharp, training=replace(sharp.training, sigma=sigma))
