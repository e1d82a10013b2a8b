"""What else could explain the comparisons of frames and of points: one thing changed, everything else the same.

* newest.LOSS: beside that loss in `loss_comparison`, where output frame k is given the map of input frame k past the
  translator; here every output frame is given that of the newest input frame.
* hybrid.displacement.FRAMING: beside `hybrid_l1.FRAMING` in `hybrid_regression`, which predicts a position.
* gru.INPUT.TARGET.FRAMING: what the GRU is given (pixels, or points as recorded) and what it predicts.
* density.LOSS: beside that loss; the concentration is that of p normalized to sum 1 in the frame.
* LOSS_OPTION_VALUE: beside that loss, which has one option changed as in `loss_ablations`. There the networks of the
  composite and of focal loss are too small, and trained too briefly, to beat a constant; at `tuned` they do.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from typing import Any

from fixlib.chapters.hybrid_regression import runs as hybrid_regression
from fixlib.chapters.loss_ablations.runs import SETTINGS
from fixlib.chapters.loss_comparison import runs as loss_comparison
from fixlib.runs.config import Config, RunSpec, get_profile, make_spec

NAME = "confounds"
PARTS = ("newest", "points", "density", "options")
NEWEST = ("mse", "focal", "dice", "softmax_cross_entropy")
DENSITY = ("concentration", "composite")
OPTIONS = ("focal_gamma_0", "composite_focal_0", "composite_sparsity_0", "composite_concentration_0")
INPUTS, TARGETS = ("pixels", "points"), ("position", "displacement")


def specs(dataset: str, profile: str, seeds: Sequence[int] = (0,), parts: Sequence[str] = PARTS) -> list[RunSpec]:
    """One run a changed thing and seed; "points" are the hybrid and the GRU. ValueError for what there is not."""
    if unknown := [part for part in parts if part not in PARTS]:
        raise ValueError(f"unknown part {unknown[0]!r}; choose of {', '.join(PARTS)}")
    beside = loss_comparison.specs(dataset, profile, losses=(*NEWEST, *DENSITY))
    beside += hybrid_regression.specs(dataset, profile, networks=("hybrid_l1", "gru_l1"))
    usual = {spec.variant: spec.config for spec in beside}
    changed: dict[str, Config] = {}
    if "newest" in parts:
        changed |= {f"newest.{name}": _with(usual[name], "model", skip="newest") for name in NEWEST}
    for framing in hybrid_regression.FRAMINGS if "points" in parts else ():
        changed[f"hybrid.displacement.{framing}"] = _with(usual[f"hybrid_l1.{framing}"], "model", target="displacement")
        for inputs, target in product(INPUTS, TARGETS):
            made = _with(usual[f"gru_l1.{framing}"], "model", inputs=inputs, target=target)
            changed[f"gru.{inputs}.{target}.{framing}"] = made
    for name in DENSITY if "density" in parts else ():
        changed[f"density.{name}"] = _with(usual[name], "loss", density=True)
    for variant in OPTIONS if "options" in parts else ():
        name, options = SETTINGS[variant]
        changed[variant] = _with(usual[name], "loss", **options)
    size = get_profile(profile)
    return [make_spec(NAME, variant, size, seed, config) for variant, config in changed.items() for seed in seeds]


def _with(usual: Config, part: str, **options: Any) -> Config:
    """The same with other options of its "model" or its "loss"."""
    changed = getattr(usual, part)
    return replace(usual, **{part: replace(changed, options=changed.options | options)})
