"""Is the imbalance itself the problem? Chapter 3's motion without noise, on grids of 8 to 64 px.

The next pixel can be known on each of them, and the white one moves as many px a frame. What grows is the number of
black pixels beside it, from 63 to 4,095. Network, windows and steps are those of scratch.LOSS in `predictable_motion`.
"""

from collections.abc import Sequence
from dataclasses import replace

from fixlib.chapters.predictable_motion import runs as predictable_motion
from fixlib.runs.config import RunSpec

NAME = "imbalance"
GRIDS = (8, 16, 32, 64)
LOSSES = ("mse", "focal", "composite", "dice", "weighted_mse", "softmax_cross_entropy")
run, score = predictable_motion.run, predictable_motion.score


def specs(dataset: str, profile: str, seeds: Sequence[int] = (0,), grids: Sequence[int] = GRIDS) -> list[RunSpec]:
    """One run a loss, grid and seed, and what is exact on each grid; variants read LOSS.GRIDpx, exact.GRIDpx.

    Raises:
        ValueError: a dataset other than `patterns`: no other has known paths.
    """
    shown = {f"scratch.{name}": name for name in LOSSES} | {"exact.noise0": predictable_motion.EXACT}
    usual = [spec for spec in predictable_motion.specs(dataset, profile, seeds) if spec.variant in shown]
    return [_on_grid(spec, shown[spec.variant], grid) for grid in grids for spec in usual]


def _on_grid(usual: RunSpec, name: str, grid: int) -> RunSpec:
    where = replace(usual.config.data, size=grid)
    config = replace(usual.config, data=where)
    return replace(usual, experiment=NAME, variant=f"{name}.{grid}px", config=config, fingerprint=where.fingerprint)
