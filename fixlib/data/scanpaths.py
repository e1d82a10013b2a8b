"""The data model: fixations, or samples of gaze, with who looked at what, and where it all comes from."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

COLUMNS = ("scanpath", "subject", "stimulus", "order", "x", "y", "duration_ms")
PARTS = ("train", "val", "test")


@dataclass(frozen=True)
class Source:
    """Where data come from.

    Attributes:
        name: short name, as used in file names ("osie").
        label: what figures and tables print beside the data; says "SIMULATED" where it is.
        sha256: of the raw file, or of everything a generator was given.
        licence, citation: what to respect and what to cite.
        simulated: True where nobody's eye was recorded.
    """

    name: str
    label: str
    sha256: str
    licence: str
    citation: str
    simulated: bool


@dataclass(frozen=True)
class Scanpaths:
    """Fixations of many viewers on many stimuli, in temporal order.

    Attributes:
        fixations: one row a fixation, sorted by scanpath and order, with the columns ``scanpath`` (id),
            ``subject``, ``stimulus`` (ids, constant within a scanpath), ``order`` (0, 1, 2, ... in each
            scanpath), ``x``, ``y`` (px of the grid, x right, y down) and ``duration_ms``.
        size: side of the square grid in px; the stimulus fills [0, size) x [0, size).
        source: where the fixations come from.

    Fixations outside the stimulus are kept, because dropping them would join their neighbours in time; frames
    show them as "no valid gaze". A position that is not finite or a duration that is not positive
    is refused.

    Raises:
        ValueError: the table is not as described; the message names column and row.
    """

    fixations: pd.DataFrame
    size: int
    source: Source

    def __post_init__(self) -> None:
        table = self.fixations
        missing = [name for name in COLUMNS if name not in table.columns]
        if missing:
            raise ValueError(f"fixations lack the column(s) {', '.join(missing)}; needed: {', '.join(COLUMNS)}")
        if len(table) == 0:
            raise ValueError("fixations hold no row: there is no gaze in these data")
        if self.size < 1:
            raise ValueError(f"size must be at least 1 px, not {self.size}")
        positions = table[["x", "y"]].to_numpy(float)
        _refuse_first(~np.isfinite(positions).all(axis=1), table, "position is not finite")
        durations = table["duration_ms"].to_numpy(float)
        positive = np.isfinite(durations) & (durations > 0)
        _refuse_first(~positive, table, "duration is not a positive number of ms")
        self._check_order()

    def _check_order(self) -> None:
        table = self.fixations
        grouped = table.groupby("scanpath", sort=False)
        ids = table["scanpath"].to_numpy()
        if (np.diff(ids) < 0).any():
            raise ValueError("fixations must be sorted by scanpath: sort_values(['scanpath', 'order'])")
        wrong = table["order"].to_numpy() != grouped.cumcount().to_numpy()
        _refuse_first(wrong, table, "order must count 0, 1, 2, ... within its scanpath")
        for name in ("subject", "stimulus"):
            changed = (table[name] != grouped[name].transform("first")).to_numpy()
            _refuse_first(changed, table, f"{name} differs from that of the scanpath's first fixation")

    @property
    def rows(self) -> pd.DataFrame:
        """What ``select`` chooses from: the fixations."""
        return self.fixations

    def __len__(self) -> int:
        """Number of scanpaths."""
        return int(self.fixations["scanpath"].nunique())

    def select(self, keep: np.ndarray | pd.Series) -> Scanpaths:
        """The scanpaths of the fixations where ``keep`` (bool, one a row) is True; whole scanpaths only."""
        return Scanpaths(self.fixations[np.asarray(keep)].reset_index(drop=True), self.size, self.source)


@dataclass(frozen=True)
class Recordings:
    """Gaze sampled at (nearly) equal times, of many viewers on many films; no fixations were told from saccades.

    Attributes:
        rows: one row a recording, with the columns ``subject`` and ``stimulus`` (ids).
        samples: for each row float64 (n, 4), n > 0: time (ms since the film began, rising), x, y (px of the grid,
            x right, y down) and whether the eye tracker was confident (1 or 0).
        interval_ms: time from a sample to the next, where none is missing.
        duration_ms: of the films; what was recorded later is of no film.
        size: side of the square grid in px; the film fills [0, size) x [0, size).
        source: where the recordings come from.
    """

    rows: pd.DataFrame
    samples: tuple[np.ndarray, ...]
    interval_ms: float
    duration_ms: float
    size: int
    source: Source

    def __len__(self) -> int:
        """Number of recordings."""
        return len(self.samples)

    def select(self, keep: np.ndarray | pd.Series) -> Recordings:
        """The recordings where ``keep`` (bool, one a row) is True."""
        samples = tuple(sample for sample, kept in zip(self.samples, keep, strict=True) if kept)
        return replace(self, rows=self.rows[np.asarray(keep)].reset_index(drop=True), samples=samples)


def _refuse_first(wrong: np.ndarray, table: pd.DataFrame, why: str) -> None:
    if wrong.any():
        row = table.iloc[int(wrong.argmax())]
        raise ValueError(
            f"fixation {row['order']:g} of scanpath {row['scanpath']:g} (subject {row['subject']:g}, "
            f"stimulus {row['stimulus']:g}): {why}; {int(wrong.sum())} such row(s) in all"
        )


def split_by_stimulus_and_subject(
    scanpaths: Scanpaths | Recordings,
    seed: int = 0,
    subjects: tuple[float, float, float] = (8, 3, 4),
    stimuli: tuple[float, float, float] = (0.6, 0.15, 0.25),
) -> dict[str, Scanpaths] | dict[str, Recordings]:
    """Train, validation and test scanpaths (or recordings) that share neither a viewer nor a stimulus.

    Viewers and stimuli are dealt to the parts independently; a scanpath is kept where both fall in the same
    part and dropped elsewhere. So a score on the test part says what happens with new people on new stimuli.

    Args:
        scanpaths: what to split.
        seed: of the random deal.
        subjects, stimuli: for train, val and test, either counts (integers) that add up to the number there
            is, or fractions that add up to 1.

    Raises:
        ValueError: the three do not add up, or a part would stay empty.
    """
    generator = np.random.default_rng(seed)
    table = scanpaths.rows
    part_of_subject = _deal(table["subject"], subjects, generator, "subjects")
    part_of_stimulus = _deal(table["stimulus"], stimuli, generator, "stimuli")
    by_subject = table["subject"].map(part_of_subject).to_numpy()
    by_stimulus = table["stimulus"].map(part_of_stimulus).to_numpy()
    parts = {}
    for number, part in enumerate(PARTS):
        keep = (by_subject == number) & (by_stimulus == number)
        if not keep.any():
            raise ValueError(f"the {part} part would be empty: none of its viewers saw any of its stimuli")
        parts[part] = scanpaths.select(keep)
    return parts


def _deal(ids: pd.Series, shares: tuple, generator: np.random.Generator, what: str) -> dict[int, int]:
    """Maps each id to the number of its part."""
    unique = np.sort(ids.unique())
    counts = _counts(shares, len(unique), what)
    parts = np.repeat(np.arange(3), counts)
    return dict(zip(generator.permutation(unique), parts))


def _counts(shares: tuple, total: int, what: str) -> np.ndarray:
    if len(shares) != 3 or min(shares) <= 0:
        raise ValueError(f"{what}: three positive shares are needed (train, val, test), not {shares}")
    if all(isinstance(share, (int, np.integer)) for share in shares):
        if sum(shares) != total:
            raise ValueError(
                f"{what}={shares} add up to {sum(shares)} but there are {total}; "
                "give counts that fit, or fractions such as (0.6, 0.15, 0.25)"
            )
        return np.array(shares)
    if abs(sum(shares) - 1) > 1e-6:
        raise ValueError(f"{what}={shares}: fractions must add up to 1 (counts must all be integers)")
    if total < 3:
        raise ValueError(f"{what}: there are {total}, at least 3 are needed, one for each part")
    bounds = np.rint(np.cumsum((0, *shares)) * total).astype(int)
    counts = np.diff(bounds)
    while counts.min() == 0:  # small numbers: the largest part gives one to an empty part
        counts[counts.argmax()] -= 1
        counts[counts.argmin()] += 1
    return counts
