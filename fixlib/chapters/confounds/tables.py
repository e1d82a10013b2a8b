"""What each change makes of the scores, as one table: changed minus usual on the same windows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pandas as pd

from fixlib.chapters.confounds.runs import DENSITY, INPUTS, NAME, NEWEST, TARGETS
from fixlib.chapters.hybrid_regression.runs import FRAMINGS
from fixlib.runs.store import Run
from fixlib.runs.study import difference, mean, recorded

OF_FRAMES = ("bits", "error_median", "hit_3px", "white_pixel_recall")
Pair = tuple[str, list[Run], list[Run]]  # in words, the changed runs and the usual ones, one a seed


def differences(dataset: str = "osie", profile: str = "quick", seeds: Sequence[int] = (0, 1, 2)) -> pd.DataFrame:
    """One row a comparison and metric: change, variant, metric; changed and usual; difference, low, high (95%).

    NotRecorded where a run of either side is missing.
    """
    rows = []
    for change, ours, theirs in _pairs(dataset, profile, seeds):
        for metric in OF_FRAMES if "error_median" in ours[0].metrics else ("error",):
            apart = difference(ours, theirs, metric)
            sides = dict(changed=mean(ours, metric)["value"], usual=mean(theirs, metric)["value"])
            about = dict(change=change, variant=ours[0].spec.variant, metric=metric)
            rows.append(about | sides | dict(difference=apart["value"], low=apart["low"], high=apart["high"]))
    return pd.DataFrame(rows)


def _pairs(dataset: str, profile: str, seeds: Sequence[int]) -> Iterator[Pair]:
    ours = recorded(NAME, dataset, profile, seeds)
    losses = recorded("loss_comparison", dataset, profile, seeds, losses=(*NEWEST, *DENSITY))
    hybrids = recorded("hybrid_regression", dataset, profile, seeds, networks=("hybrid_l1",))
    for name in NEWEST:
        yield "newest skip", ours.runs_of(f"newest.{name}"), losses.runs_of(name)
    for framing in FRAMINGS:
        position = hybrids.runs_of(f"hybrid_l1.{framing}")
        yield "displacement", ours.runs_of(f"hybrid.displacement.{framing}"), position
        for given in INPUTS:
            displacement, position = (ours.runs_of(f"gru.{given}.{target}.{framing}") for target in TARGETS[::-1])
            yield "displacement", displacement, position
        pixels, points = (ours.runs_of(f"gru.{given}.displacement.{framing}") for given in INPUTS)
        yield "points", points, pixels
    for name in DENSITY:
        yield "density", ours.runs_of(f"density.{name}"), losses.runs_of(name)
