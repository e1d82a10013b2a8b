"""Tables of fixations and of samples of gaze, dealt to train, val and test, and the frames that are made of them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import pandas as pd
import torch

from fixlib.data.gaze import PARTS, Gaze, Source

IDS = ("scanpath", "subject", "stimulus", "order")
COLUMNS = (*IDS, "x", "y", "duration_ms")
TIME_SHARES, BLOCK = (0.6, 0.15, 0.25), 40  # of `cut_by_time`: of the frames up to the last valid one; most frames
ROUNDING = 1e-9  # frames; durations that add up to a whole number of frames must not give one more


@dataclass(frozen=True)
class Scanpaths:
    """Fixations of many viewers on many stimuli, in temporal order.

    Fixations outside the stimulus are kept, because dropping them would join their neighbors in time; frames show them
    as "no valid gaze".

    Raises:
        ValueError: the table is not as described; the message names column and row.
    """

    #: one row a fixation, sorted by scanpath and order, with the columns ``scanpath``, ``subject``, ``stimulus``
    #: (numbers, the last two constant within a scanpath), ``order`` (0, 1, 2, ... in each scanpath), ``x``, ``y`` (px
    #: of the grid, x right, y down) and ``duration_ms``
    fixations: pd.DataFrame
    size: int  #: side of the square grid in px; the stimulus fills [0, size) x [0, size)
    source: Source  #: where the fixations come from

    def __post_init__(self) -> None:
        table = self.fixations
        if missing := [name for name in COLUMNS if name not in table.columns]:
            raise ValueError(f"fixations lack the column(s) {', '.join(missing)}; needed: {', '.join(COLUMNS)}")
        if len(table) == 0:
            raise ValueError("fixations hold no row: there is no gaze in these data")
        _check_ids(table, IDS)
        x, y, duration_ms = (
            pd.to_numeric(table[name], errors="coerce").to_numpy(float, na_value=np.nan) for name in COLUMNS[4:]
        )
        grouped = table.groupby("scanpath", sort=False)
        if (np.diff(table["scanpath"]) < 0).any():
            raise ValueError("fixations must be sorted by scanpath: sort_values(['scanpath', 'order'])")
        viewing = ["subject", "stimulus"]
        first = grouped[viewing].transform("first")
        wrong = {
            "position is not a finite number": ~np.isfinite(x + y),
            "duration is not a positive number of ms": ~((duration_ms > 0) & np.isfinite(duration_ms)),
            "order must count 0, 1, 2, ... within its scanpath": table["order"] != grouped.cumcount(),
            "subject or stimulus differs from that of its first fixation": (table[viewing] != first).any(axis=1),
        }
        _refuse(wrong, self._name)

    def _name(self, row: int) -> str:
        scanpath, subject, stimulus, order = self.fixations[list(IDS)].iloc[row]
        return f"fixation {order} of scanpath {scanpath} (subject {subject}, stimulus {stimulus})"

    @property
    def rows(self) -> pd.DataFrame:
        """What ``select`` chooses from."""
        return self.fixations

    def __len__(self) -> int:
        """Number of scanpaths."""
        return int(self.fixations["scanpath"].nunique())

    def select(self, keep: np.ndarray) -> "Scanpaths":
        """The scanpaths of the fixations where ``keep`` (bool, one a row) is True; whole scanpaths only."""
        return replace(self, fixations=self.fixations[keep].reset_index(drop=True))

    def frames(self, rate_hz: float | None) -> Gaze:
        """Frame k shows the fixation going on at time k / rate, or (None) fixation k: a row a scanpath.

        Time is the sum of the durations so far: fixations are laid end to end, as if saccades and blinks took no time,
        because OSIE has no onsets. So a scanpath here is shorter than the trial was, and changes come somewhat too
        soon. A fixation that begins at k / rate is shown in frame k; one between two frame times is not seen at all.

        Raises:
            ValueError: ``rate_hz`` is not a positive number of frames a second.
        """
        table, scanpath = self.fixations, self.fixations.groupby("scanpath")
        if rate_hz is None:
            past = table["order"].to_numpy() + 1  # the first frame after the fixation
        else:
            end_ms = scanpath["duration_ms"].cumsum().to_numpy()
            past = np.ceil(end_ms * _checked(rate_hz) / 1000 - ROUNDING).astype(int)
        counts = past - np.where(table["order"] == 0, 0, np.roll(past, 1))
        shown = table.assign(row=scanpath.ngroup()).iloc[np.repeat(np.arange(len(table)), counts)]
        step = shown.groupby("row").cumcount()
        points = np.full((len(self), step.max() + 1, 2), np.nan)
        points[shown["row"], step] = shown[["x", "y"]].to_numpy(float)
        return _gaze(points, self, table[table["order"] == 0], rate_hz)


@dataclass(frozen=True)
class Recordings:
    """Gaze sampled at (nearly) equal times, of many viewers on many films; no fixations were told from saccades.

    Raises:
        ValueError: samples are not as described; the message names recording and sample.
    """

    #: one row a recording, with the columns ``subject`` and ``stimulus`` (numbers); its index is what messages call
    #: them
    rows: pd.DataFrame
    #: for each row float64 (n, 4), n > 0: time (ms since the film began, rising), x, y (px of the grid, x right, y
    #: down) and whether the eye tracker was confident (1 or 0)
    samples: tuple[np.ndarray, ...]
    interval_ms: float  #: time from a sample to the next, where none is missing
    duration_ms: float  #: of the films; what was recorded later is of no film
    size: int  #: side of the square grid in px; the film fills [0, size) x [0, size)
    source: Source  #: where the recordings come from

    def __post_init__(self) -> None:
        if not 0 < len(self.samples) == len(self.rows):
            raise ValueError(f"as many rows as recordings are needed, not {len(self.rows)} and {len(self.samples)}")
        _check_ids(self.rows, ("subject", "stimulus"))
        for name, samples in zip(self.rows.index, self.samples):
            self._check(f"recording {name}", samples)

    def _check(self, where: str, samples: np.ndarray) -> None:
        if samples.ndim != 2 or samples.shape[1] != 4 or not len(samples):
            raise ValueError(f"{where}: samples must be (n, 4), n > 0, not {samples.shape}; leave out who has none")
        time, confidence = samples[:, 0], samples[:, 3]
        wrong = {
            "every value must be a finite number": ~np.isfinite(samples).all(axis=1),
            "the time must be later than that before it: sort by time": np.diff(time, prepend=-np.inf) <= 0,
            "the confidence must be 0 or 1: choose a threshold, e.g. > 0.6": ~np.isin(confidence, (0, 1)),
        }
        _refuse(wrong, lambda row: f"{where}, sample {row}")
        outside = (time < -self.interval_ms) | (time > self.duration_ms + self.interval_ms)
        if outside.mean() > 0.5 or (len(time) > 1 and np.median(np.diff(time)) < self.interval_ms / 10):
            raise ValueError(
                f"{where}: its times, {time[0]:g} to {time[-1]:g}, are not ms since a film of {self.duration_ms:g} ms "
                f"began, one every {self.interval_ms:g} ms: take the film's beginning off the tracker's clock, and "
                "convert to ms"
            )

    def __len__(self) -> int:
        """Number of recordings."""
        return len(self.samples)

    def select(self, keep: np.ndarray) -> "Recordings":
        """The recordings where ``keep`` (bool, one a row) is True."""
        return replace(self, rows=self.rows[keep], samples=tuple(self.samples[i] for i in np.flatnonzero(keep)))

    def frames(self, rate_hz: float) -> Gaze:
        """Frame k shows the gaze at time k / rate of the film: a row a recording.

        The gaze is that of the sample nearest in time (the earlier of two) and no farther than one sampling interval
        (4 ms at 250 Hz), since samples seldom fall on the time of a frame. The mask is True where there is such a
        sample, the eye tracker was confident of it, and it lies inside the film. Frames end with the film.

        Raises:
            ValueError: ``rate_hz`` is not a positive number of frames a second.
        """
        n_frames = int(np.ceil(self.duration_ms * _checked(rate_hz) / 1000 - ROUNDING))
        times_ms = np.arange(n_frames) * 1000 / rate_hz
        points = np.stack([_points_at(times_ms, samples, self.interval_ms) for samples in self.samples])
        return _gaze(points, self, self.rows, rate_hz)


Table = TypeVar("Table", Scanpaths, Recordings)


def _refuse(wrong: dict[str, np.ndarray], name: Callable[[int], str]) -> None:
    """ValueError that names the first wrong row, of what may be wrong with rows."""
    for why, rows in wrong.items():
        if rows.any():
            raise ValueError(f"{name(int(np.argmax(rows)))}: {why}; {int(rows.sum())} such row(s) in all")


def _check_ids(table: pd.DataFrame, names: tuple[str, ...]) -> None:
    for name in names:
        if not pd.api.types.is_integer_dtype(table[name]):
            raise ValueError(
                f"{name} must hold whole numbers, not such as {table[name].iloc[0]!r}: number them, e.g. "
                f"table['{name}'] = pandas.factorize(table['{name}'])[0]"
            )


def _checked(rate_hz: float) -> float:
    if not (np.isfinite(rate_hz) and rate_hz > 0):
        raise ValueError(f"rate_hz must be a positive number of frames a second, not {rate_hz}")
    return rate_hz


def _points_at(times_ms: np.ndarray, samples: np.ndarray, within_ms: float) -> np.ndarray:
    """x, y (T, 2) of the samples (n, 4) nearest to T times; NaN where none is near, or it is not to be trusted."""
    sampled_ms = samples[:, 0]
    before = np.clip(np.searchsorted(sampled_ms, times_ms, side="right") - 1, 0, None)
    after = np.clip(before + 1, None, len(samples) - 1)
    nearest = np.where(times_ms - sampled_ms[before] <= sampled_ms[after] - times_ms, before, after)
    good = (np.abs(sampled_ms[nearest] - times_ms) <= within_ms) & (samples[nearest, 3] == 1)
    return np.where(good[:, None], samples[nearest, 1:3], np.nan)


def _gaze(points: np.ndarray, table: Scanpaths | Recordings, who: pd.DataFrame, rate_hz: float | None) -> Gaze:
    """Points (N, T, 2) as gaze; the mask is False where they are outside the grid, or NaN."""
    mask = np.all((points >= 0) & (points < table.size), axis=-1)
    largest = np.nextafter(np.float32(table.size), np.float32(0))  # what is inside does not leave by rounding
    return Gaze(
        torch.from_numpy(np.where(mask[..., None], points, 0).astype(np.float32).clip(max=largest)),
        torch.from_numpy(mask),
        torch.from_numpy(np.array(who["subject"], np.int64)),
        torch.from_numpy(np.array(who["stimulus"], np.int64)),
        table.source,
        "fixations" if rate_hz is None else f"{rate_hz:g} Hz",
        None if rate_hz is None else float(rate_hz),
        table.size,
    )


def split_by_stimulus_and_subject(
    table: Table, seed: int = 0, subjects: tuple = (8, 3, 4), stimuli: tuple = (0.6, 0.15, 0.25)
) -> dict[str, Table]:
    """Train, val and test scanpaths (or recordings) that share neither a viewer nor a stimulus.

    Viewers and stimuli are dealt to the parts independently; a scanpath is kept where both fall in the same part.

    Args:
        seed: of the random deal.
        subjects, stimuli: for train, val and test, either counts (integers) that add up to the number there is, or
            fractions that add up to 1.

    Raises:
        ValueError: the three do not add up, or a part would stay empty.
    """
    return next(rotated_splits(table, seed, subjects, stimuli))


def rotated_splits(
    table: Table, seed: int = 0, subjects: tuple = (8, 3, 4), stimuli: tuple = (0.6, 0.15, 0.25)
) -> Iterator[dict[str, Table]]:
    """Splits that test every viewer exactly once, on the same stimuli; the first is `split_by_stimulus_and_subject`'s.

    Viewers sit in a circle: those who are tested, those who validate, those who train. From one split to the next all
    roles move on by as many viewers as are tested; the last split tests whoever is left, and trains on more. Arguments
    and errors are those of `split_by_stimulus_and_subject`.
    """
    generator = np.random.default_rng(seed)
    by_subject = _deal(table.rows["subject"], subjects, generator, "subjects")
    by_stimulus = _deal(table.rows["stimulus"], stimuli, generator, "stimuli")
    subject = table.rows["subject"].to_numpy()
    train, val, test = (np.unique(subject[by_subject == number]) for number in range(len(PARTS)))
    circle = np.concatenate([test, val, train])
    for first in range(0, len(circle), len(test)):
        tested = len(circle[first : first + len(test)])
        roles = np.split(np.roll(circle, -first), [tested, tested + len(val)])
        parts = {}
        for number, (part, viewers) in enumerate(zip(PARTS, reversed(roles))):
            keep = np.isin(subject, viewers) & (by_stimulus == number)
            if not keep.any():
                raise ValueError(f"the {part} part would be empty: none of its viewers saw any of its stimuli")
            parts[part] = table.select(keep)
        yield parts


def _deal(ids: pd.Series, shares: tuple, generator: np.random.Generator, what: str) -> np.ndarray:
    """The number of the part that each row's viewer or stimulus falls in."""
    unique, number = np.unique(ids, return_inverse=True)
    dealt = np.empty(len(unique), int)
    dealt[generator.permutation(len(unique))] = np.repeat(np.arange(3), _counts(shares, len(unique), what))
    return dealt[number]


def _counts(shares: tuple, total: int, what: str) -> np.ndarray:
    given = np.array(shares)
    whole = total if given.dtype.kind == "i" else 1
    if len(given) != 3 or given.min() <= 0 or total < 3:
        needed = "train, val and test need a positive share each of at least 3"
        raise ValueError(f"{what}: {needed}, not {shares} of {total}")
    if abs(given.sum() - whole) > 1e-6:
        raise ValueError(
            f"{what}={shares} add up to {given.sum():g} but there are {total}: counts (integers) must add up to that, "
            "fractions must add up to 1, as (0.6, 0.15, 0.25)"
        )
    counts = np.diff(np.rint(np.cumsum((0, *shares)) * (total / whole)).astype(int))
    while counts.min() == 0:  # small numbers: the largest part gives one to an empty part
        counts[counts.argmax()] -= 1
        counts[counts.argmin()] += 1
    return counts


def deal(ids: np.ndarray, shares: tuple, generator: np.random.Generator) -> dict[int, int]:
    """Viewer or picture -> number of its part; all to train where there are fewer than three."""
    if len(np.unique(ids)) < len(PARTS):
        return dict.fromkeys(ids.tolist(), 0)
    return dict(zip(ids.tolist(), _deal(pd.Series(ids), shares, generator, "ids").tolist()))


def cut_by_time(gaze: Gaze, window: int) -> dict[str, Gaze]:
    """Train, val and test gaze of the same viewers and pictures: the earlier and later parts of every row.

    Between two parts as many frames as a `window` are left out, so that no window of one is beside one of another. A
    part is cut into blocks of its own "stimulus" number each: intervals then say what other times of these trials would
    give, and of other people or pictures nothing.
    """
    lengths = torch.arange(1, gaze.fixation_mask.shape[1] + 1).mul(gaze.fixation_mask).amax(dim=1).tolist()
    parts, number = {}, 0
    for which, part in enumerate(PARTS):
        pieces = []
        for row, length in enumerate(lengths):
            begin, end = (round(length * sum(TIME_SHARES[:k])) for k in (which, which + 1))
            for first in range(begin + window * (which > 0), end, BLOCK):
                pieces.append((row, first, min(first + BLOCK, end)))
        points = torch.zeros(len(pieces), BLOCK, 2)
        mask = torch.zeros(len(pieces), BLOCK, dtype=torch.bool)
        for place, (row, first, past) in enumerate(pieces):
            points[place, : past - first] = gaze.coordinates[row, first:past]
            mask[place, : past - first] = gaze.fixation_mask[row, first:past]
        subject = gaze.subject[[row for row, _, _ in pieces]]
        stimulus = torch.arange(number, number + len(pieces))
        parts[part] = replace(gaze, coordinates=points, fixation_mask=mask, subject=subject, stimulus=stimulus)
        number += len(pieces)
    return parts
