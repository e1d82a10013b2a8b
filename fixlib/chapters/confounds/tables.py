"""What each change makes of the scores, as a table: changed minus usual on the same windows."""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from fixlib.chapters.confounds.runs import DENSITY, INPUTS, NAME, NEWEST, TARGETS
from fixlib.chapters.hybrid_regression.runs import FRAMINGS
from fixlib.runs.store import Run
from fixlib.runs.study import Study, difference, mean, recorded

OF_FRAMES = ("bits", "average_precision", "error_median", "hit_3px", "white_pixel_recall")
OF_POINTS = ("error", "hit_3px")
Pair = tuple[str, list[Run], list[Run]]  # what is changed, the changed runs and the usual ones, one a seed


def differences(part: str, seeds: Sequence[int] = (0,), dataset: str = "osie", profile: str = "quick") -> pd.DataFrame:
    """One row a comparison and metric: change, variant, metric, changed and usual value, difference, low, high (95%).

    Args:
        part: "newest", "points" or "density", see `fixlib.chapters.confounds.runs`.

    Returns:
        The difference is the mean over windows; NaN for average precision, which no window has by itself.

    Raises:
        NotRecorded: a run of either side is missing.
    """
    ours = recorded(NAME, dataset, profile, seeds, parts=(part,))
    if part == "points":
        pairs = _points(ours, recorded("hybrid_regression", dataset, profile, seeds, networks=("hybrid_l1",)))
    else:
        losses = NEWEST if part == "newest" else DENSITY
        usual = recorded("loss_comparison", dataset, profile, seeds, losses=losses)
        pairs = ((part, ours.runs_of(f"{part}.{name}"), usual.runs_of(name)) for name in losses)
    return pd.DataFrame([row for pair in pairs for row in _rows(*pair)])


def _points(ours: Study, hybrids: Study) -> Iterator[Pair]:
    for framing in FRAMINGS:
        yield "displacement", ours.runs_of(f"hybrid.displacement.{framing}"), hybrids.runs_of(f"hybrid_l1.{framing}")
        gru = {way: [ours.runs_of(f"gru.{given}.{way}.{framing}") for given in INPUTS] for way in TARGETS}
        for displacement, position in zip(gru["displacement"], gru["position"]):
            yield "displacement", displacement, position
        for pixels, points in gru.values():
            yield "sub-pixel input", points, pixels


def _rows(change: str, ours: list[Run], theirs: list[Run]) -> Iterator[dict]:
    wanted = OF_FRAMES if "error_median" in ours[0].metrics else OF_POINTS
    for metric in (name for name in wanted if name in theirs[0].metrics):  # no bits in records of older metrics
        paired = metric in ours[0].per_window
        apart = difference(ours, theirs, metric) if paired else dict.fromkeys(("value", "low", "high"), np.nan)
        values = dict(changed=mean(ours, metric)["value"], usual=mean(theirs, metric)["value"])
        about = dict(change=change, variant=ours[0].spec.variant, metric=metric)
        yield about | values | dict(difference=apart["value"], low=apart["low"], high=apart["high"])
