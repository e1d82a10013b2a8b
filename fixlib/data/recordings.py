"""Tables of fixations and of samples of gaze, dealt to train, val and test, and the frames that are made of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import pandas as pd
import torch

from fixlib.data.gaze import PARTS, Gaze, Source

IDS = ("scanpath", "subject", "stimulus", "order")
COLUMNS = (*IDS, "x", "y", "duration_ms")
ROUNDING = 1e-9  # frames; durations that add up to a whole number of frames must not give one more


@dataclass(frozen=True)
class Scanpaths:
    """Fixations of many viewers on many stimuli, in temporal order.

    Attributes:
        fixations: one row a fixation, sorted by scanpath and order, with the columns ``scanpath``, ``subject``,
            ``stimulus`` (numbers, the last two constant within a scanpath), ``order`` (0, 1, 2, ... in each
            scanpath), ``x``, ``y`` (px of the grid, x right, y down) and ``duration_ms``.
        size: side of the square grid in px; the stimulus fills [0, size) x [0, size).
        source: where the fixations come from.

    Fixations outside the stimulus are kept, because dropping them would join their neighbors in time; frames show them
    as "no valid gaze". A position that is not finite or a duration that is not positive is refused.

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
        for name in IDS:
            if not pd.api.types.is_integer_dtype(table[name]):
                raise ValueError(
                    f"{name} must hold whole numbers, not such as {table[name].iloc[0]!r}: number them, e.g. "
                    f"table['{name}'] = pandas.factorize(table['{name}'])[0]"
                )
        x, y, duration_ms = (_as_numbers(table[name]) for name in COLUMNS[len(IDS) :])
        order, ids = table["order"].to_numpy(), table["scanpath"].to_numpy()
        if (np.diff(ids) < 0).any():
            raise ValueError("fixations must be sorted by scanpath: sort_values(['scanpath', 'order'])")
        grouped = table.groupby("scanpath", sort=False)
        _refuse_first(~np.isfinite(x + y), table, "position is not finite")
        _refuse_first(~(np.isfinite(duration_ms) & (duration_ms > 0)), table, "duration is not a positive number of ms")
        _refuse_first(order != grouped.cumcount(), table, "order must count 0, 1, 2, ... within its scanpath")
        for name in ("subject", "stimulus"):
            changed = table[name] != grouped[name].transform("first")
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
        return replace(self, fixations=self.fixations[np.asarray(keep)].reset_index(drop=True))


@dataclass(frozen=True)
class Recordings:
    """Gaze sampled at (nearly) equal times, of many viewers on many films; no fixations were told from saccades.

    Attributes:
        rows: one row a recording, with the columns ``subject`` and ``stimulus`` (numbers); its index is what messages
            call them.
        samples: for each row float64 (n, 4), n > 0: time (ms since the film began, rising), x, y (px of the grid,
            x right, y down) and whether the eye tracker was confident (1 or 0).
        interval_ms: time from a sample to the next, where none is missing.
        duration_ms: of the films; what was recorded later is of no film.
        size: side of the square grid in px; the film fills [0, size) x [0, size).
        source: where the recordings come from.

    Raises:
        ValueError: samples are not as described; the message names recording and sample.
    """

    rows: pd.DataFrame
    samples: tuple[np.ndarray, ...]
    interval_ms: float
    duration_ms: float
    size: int
    source: Source

    def __post_init__(self) -> None:
        if not 0 < len(self.samples) == len(self.rows):
            raise ValueError(
                f"{len(self.samples)} recordings and {len(self.rows)} rows: as many, at least one, are needed"
            )
        for name in ("subject", "stimulus"):
            if not pd.api.types.is_integer_dtype(self.rows[name]):
                raise ValueError(f"{name} must hold whole numbers: number them, e.g. with pandas.factorize")
        for name, samples in zip(self.rows.index, self.samples):
            self._check(f"recording {name}", samples)

    def _check(self, where: str, samples: np.ndarray) -> None:
        if samples.ndim != 2 or samples.shape[1] != 4 or not len(samples):
            raise ValueError(f"{where}: samples must be (n, 4), n > 0, not {samples.shape}; leave out who has none")
        time, confidence = samples[:, 0], samples[:, 3]
        for wrong, why in (
            (~np.isfinite(samples).all(axis=1), "every value must be a finite number"),
            (np.diff(time, prepend=-np.inf) <= 0, "the time must be later than that before it: sort by time"),
            (~np.isin(confidence, (0, 1)), "the confidence must be 0 or 1: choose a threshold, e.g. confidence > 0.6"),
        ):
            if wrong.any():
                raise ValueError(f"{where}, sample {int(wrong.argmax())}: {why}")
        early, late = time < -self.interval_ms, time > self.duration_ms + self.interval_ms
        if (early | late).mean() > 0.5 or (len(time) > 1 and np.median(np.diff(time)) < self.interval_ms / 10):
            raise ValueError(
                f"{where}: its times, {time[0]:g} to {time[-1]:g}, are not ms since a film of {self.duration_ms:g} ms "
                f"began, one every {self.interval_ms:g} ms: take the film's beginning off the tracker's clock, and "
                "convert to ms"
            )

    def __len__(self) -> int:
        """Number of recordings."""
        return len(self.samples)

    def select(self, keep: np.ndarray | pd.Series) -> Recordings:
        """The recordings where ``keep`` (bool, one a row) is True."""
        samples = tuple(sample for sample, kept in zip(self.samples, keep, strict=True) if kept)
        return replace(self, rows=self.rows[np.asarray(keep)], samples=samples)


Gazes = TypeVar("Gazes", Scanpaths, Recordings)


def _as_numbers(column: pd.Series) -> np.ndarray:
    """float64, NaN for what is missing."""
    try:
        return column.to_numpy(float, na_value=np.nan)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{column.name} must hold numbers, not {column.dtype} ({error})") from error


def _refuse_first(wrong: np.ndarray | pd.Series, table: pd.DataFrame, why: str) -> None:
    if wrong.any():
        row = table[list(IDS)].iloc[int(np.asarray(wrong).argmax())]
        raise ValueError(
            f"fixation {row['order']} of scanpath {row['scanpath']} (subject {row['subject']}, stimulus "
            f"{row['stimulus']}): {why}; {int(wrong.sum())} such row(s) in all"
        )


def split_by_stimulus_and_subject(
    scanpaths: Gazes, seed: int = 0, subjects: tuple = (8, 3, 4), stimuli: tuple = (0.6, 0.15, 0.25)
) -> dict[str, Gazes]:
    """Train, val and test scanpaths (or recordings) that share neither a viewer nor a stimulus.

    Viewers and stimuli are dealt to the parts independently; a scanpath is kept where both fall in the same part and
    dropped elsewhere. So a score on the test part says what happens with new people on new stimuli.

    Args:
        scanpaths: what to split.
        seed: of the random deal.
        subjects, stimuli: for train, val and test, either counts (integers) that add up to the number there is, or
            fractions that add up to 1.

    Raises:
        ValueError: the three do not add up, or a part would stay empty.
    """
    generator = np.random.default_rng(seed)
    by_subject = _deal(scanpaths.rows["subject"], subjects, generator, "subjects")
    by_stimulus = _deal(scanpaths.rows["stimulus"], stimuli, generator, "stimuli")
    parts = {}
    for number, part in enumerate(PARTS):
        keep = (by_subject == number) & (by_stimulus == number)
        if not keep.any():
            raise ValueError(f"the {part} part would be empty: none of its viewers saw any of its stimuli")
        parts[part] = scanpaths.select(keep)
    return parts


def _deal(ids: pd.Series, shares: tuple, generator: np.random.Generator, what: str) -> np.ndarray:
    """The number of the part that each row's viewer or stimulus falls in."""
    unique, number = np.unique(ids, return_inverse=True)
    dealt = np.empty(len(unique), int)
    dealt[generator.permutation(len(unique))] = np.repeat(np.arange(3), _counts(shares, len(unique), what))
    return dealt[number]


def _counts(shares: tuple, total: int, what: str) -> np.ndarray:
    if len(shares) != 3 or min(shares) <= 0:
        raise ValueError(f"{what}: three positive shares are needed (train, val, test), not {shares}")
    if all(isinstance(share, int | np.integer) for share in shares):
        if sum(shares) != total:
            raise ValueError(
                f"{what}={shares} add up to {sum(shares)} but there are {total}; give counts that fit, or fractions "
                "such as (0.6, 0.15, 0.25)"
            )
        return np.array(shares)
    if abs(sum(shares) - 1) > 1e-6:
        raise ValueError(f"{what}={shares}: fractions must add up to 1 (counts must all be integers)")
    if total < 3:
        raise ValueError(f"{what}: there are {total}, at least 3 are needed, one for each part")
    counts = np.diff(np.rint(np.cumsum((0, *shares)) * total).astype(int))
    while counts.min() == 0:  # small numbers: the largest part gives one to an empty part
        counts[counts.argmax()] -= 1
        counts[counts.argmin()] += 1
    return counts


def fixation_frames(scanpaths: Scanpaths) -> Gaze:
    """One frame a fixation: a row a scanpath, padded to the longest with mask False."""
    table = scanpaths.fixations
    return _laid_out(scanpaths, np.arange(len(table)), table["order"].to_numpy(), None)


def fixed_rate_frames(scanpaths: Scanpaths, rate_hz: float) -> Gaze:
    """Frame k shows the fixation going on at time k / rate: a row a scanpath, padded to the longest with mask False.

    Time is the sum of the durations so far: fixations are laid end to end, as if saccades and blinks took no time,
    because OSIE has no onsets. So a scanpath here is shorter than the trial was, and changes come somewhat too soon. A
    fixation that begins at k / rate is shown in frame k; one between two frame times is not seen at all.

    Raises:
        ValueError: ``rate_hz`` is not a positive number of frames a second.
    """
    _check_rate(rate_hz)
    table = scanpaths.fixations
    end_ms = table.groupby("scanpath")["duration_ms"].cumsum().to_numpy()
    past = np.ceil(end_ms * rate_hz / 1000 - ROUNDING).astype(int)  # the first frame after the fixation
    first = np.where(table["order"] == 0, 0, np.roll(past, 1))
    counts = past - first
    shown = np.repeat(np.arange(len(table)), counts)
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    return _laid_out(scanpaths, shown, first[shown] + within, rate_hz)


def _laid_out(scanpaths: Scanpaths, shown: np.ndarray, step: np.ndarray, rate_hz: float | None) -> Gaze:
    """Fixation ``shown[i]`` (row of the table) at ``step[i]`` of its scanpath."""
    table = scanpaths.fixations
    row = np.unique(table["scanpath"].to_numpy(), return_inverse=True)[1][shown]
    points = np.full((len(scanpaths), step.max() + 1, 2), np.nan)
    points[row, step] = table[["x", "y"]].to_numpy(float)[shown]
    return _gaze(points, scanpaths, table[table["order"] == 0], rate_hz)


def sampled_frames(recordings: Recordings, rate_hz: float) -> Gaze:
    """Frame k shows the gaze at time k / rate of the film: a row a recording.

    The gaze is that of the sample nearest in time (the earlier of two) and no farther than one sampling interval (4 ms
    at 250 Hz), since samples seldom fall on the time of a frame. The mask is True where there is such a sample, the eye
    tracker was confident of it, and it lies inside the film. Frames end with the film.

    Raises:
        ValueError: ``rate_hz`` is not a positive number of frames a second.
    """
    _check_rate(rate_hz)
    n_frames = int(np.ceil(recordings.duration_ms * rate_hz / 1000 - ROUNDING))
    times_ms = np.arange(n_frames) * 1000 / rate_hz
    points = np.stack([_points_at(times_ms, samples, recordings.interval_ms) for samples in recordings.samples])
    return _gaze(points, recordings, recordings.rows, rate_hz)


def _points_at(times_ms: np.ndarray, samples: np.ndarray, within_ms: float) -> np.ndarray:
    """x, y (T, 2) of the samples (n, 4) nearest to T times; NaN where none is near, or it is not to be trusted."""
    sampled_ms = samples[:, 0]
    before = np.clip(np.searchsorted(sampled_ms, times_ms, side="right") - 1, 0, None)
    after = np.clip(before + 1, None, len(samples) - 1)
    nearest = np.where(times_ms - sampled_ms[before] <= sampled_ms[after] - times_ms, before, after)
    good = (np.abs(sampled_ms[nearest] - times_ms) <= within_ms) & (samples[nearest, 3] == 1)
    return np.where(good[:, None], samples[nearest, 1:3], np.nan)


def _check_rate(rate_hz: float) -> None:
    if not (np.isfinite(rate_hz) and rate_hz > 0):
        raise ValueError(f"rate_hz must be a positive number of frames a second, not {rate_hz}")


def _gaze(points: np.ndarray, table: Scanpaths | Recordings, who: pd.DataFrame, rate_hz: float | None) -> Gaze:
    """Points (N, T, 2) as gaze; the mask is False where they are outside the grid, or NaN."""
    size, rows = table.size, [torch.from_numpy(np.array(who[name], np.int64)) for name in ("subject", "stimulus")]
    mask = ((points >= 0) & (points < size)).all(axis=-1)
    largest = np.nextafter(np.float32(size), np.float32(0))  # what is inside in float64 does not leave by rounding
    coordinates = np.where(mask[..., None], points, 0).astype(np.float32).clip(max=largest)
    frames = "fixations" if rate_hz is None else f"{rate_hz:g} Hz"
    rate_hz = None if rate_hz is None else float(rate_hz)
    return Gaze(torch.from_numpy(coordinates), torch.from_numpy(mask), *rows, table.source, frames, rate_hz, size)
