"""From fixations or samples to sequences, and from sequences to frames and back.

(x, y) in px, x right, y down; the pixel of a point is its floor, the point of a pixel its centre.
"""

from __future__ import annotations

import numpy as np

from fixlib.data.files import as_coordinates, sequence_set
from fixlib.data.scanpaths import Recordings, Scanpaths

ROUNDING = 1e-9  # frames; durations that add up to a whole number of frames must not give one more


def fixation_frames(scanpaths: Scanpaths) -> dict:
    """One frame a fixation: a sequence set, a row a scanpath, padded to the longest with mask False."""
    table = scanpaths.fixations
    return _rows(scanpaths, np.arange(len(table)), table["order"].to_numpy(), "fixations", None)


def fixed_rate_frames(scanpaths: Scanpaths, rate_hz: float) -> dict:
    """Frame k shows the fixation going on at time k / rate: a sequence set with one row a scanpath.

    Time is the sum of the durations so far: fixations are laid end to end, as if saccades and blinks took no
    time, because OSIE has no onsets. So a scanpath here is shorter than the trial was, and changes come
    somewhat too soon. A fixation that begins at k / rate is shown in frame k; one between two frame times is
    not seen at all.

    Args:
        scanpaths: the fixations.
        rate_hz: frames a second.

    Raises:
        ValueError: ``rate_hz`` is not a positive number.
    """
    _check_rate(rate_hz)
    table = scanpaths.fixations
    end_ms = table.groupby("scanpath")["duration_ms"].cumsum().to_numpy()
    past = np.ceil(end_ms * rate_hz / 1000 - ROUNDING).astype(int)  # the first frame after the fixation
    first = np.where(table["order"] == 0, 0, np.roll(past, 1))
    counts = past - first
    shown = np.repeat(np.arange(len(table)), counts)
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    return _rows(scanpaths, shown, first[shown] + within, f"{rate_hz:g} Hz", float(rate_hz))


def sampled_frames(recordings: Recordings, rate_hz: float) -> dict:
    """Frame k shows the gaze at time k / rate of the film: a sequence set with one row a recording.

    The gaze is that of the sample nearest in time (the earlier of two) and no farther than one sampling interval
    (4 ms at 250 Hz), since samples seldom fall on the time of a frame. The mask is True where there is such a
    sample, the eye tracker was confident of it, and it lies inside the film. Frames end with the film.

    Args:
        recordings: the samples.
        rate_hz: frames a second.

    Raises:
        ValueError: ``rate_hz`` is not a positive number.
    """
    _check_rate(rate_hz)
    n_frames = int(np.ceil(recordings.duration_ms * rate_hz / 1000 - ROUNDING))
    times_ms = np.arange(n_frames) * 1000 / rate_hz
    shown = np.stack([_samples_at(times_ms, samples, recordings.interval_ms) for samples in recordings.samples])
    points, size = shown[..., :2], recordings.size
    mask = (shown[..., 2] == 1) & ((points >= 0) & (points < size)).all(axis=-1)
    coordinates = np.where(mask[..., None], as_coordinates(points, size), np.float32(0))
    return sequence_set(
        coordinates,
        mask,
        recordings.rows["subject"],
        recordings.rows["stimulus"],
        source=recordings.source,
        frames=f"{rate_hz:g} Hz",
        rate_hz=float(rate_hz),
        size=size,
    )


def _samples_at(times_ms: np.ndarray, samples: np.ndarray, within_ms: float) -> np.ndarray:
    """x, y and confidence (T, 3) of the samples (n, 4) nearest to T times; confidence 0 where none is near."""
    sampled_ms = samples[:, 0]
    before = np.clip(np.searchsorted(sampled_ms, times_ms, side="right") - 1, 0, None)
    after = np.clip(before + 1, None, len(samples) - 1)
    nearest = np.where(times_ms - sampled_ms[before] <= sampled_ms[after] - times_ms, before, after)
    shown = samples[nearest, 1:]
    shown[np.abs(sampled_ms[nearest] - times_ms) > within_ms, 2] = 0
    return shown


def _check_rate(rate_hz: float) -> None:
    if not (np.isfinite(rate_hz) and rate_hz > 0):
        raise ValueError(f"rate_hz must be a positive number of frames a second, not {rate_hz}")


def _rows(scanpaths: Scanpaths, shown: np.ndarray, step: np.ndarray, frames: str, rate_hz: float | None) -> dict:
    """A sequence set in which fixation ``shown[i]`` (row of the table) is at ``step[i]`` of its scanpath."""
    table = scanpaths.fixations
    row = np.unique(table["scanpath"].to_numpy(), return_inverse=True)[1][shown]
    points = table[["x", "y"]].to_numpy(float)[shown]
    inside = ((points >= 0) & (points < scanpaths.size)).all(axis=1)
    coordinates = np.zeros((len(scanpaths), step.max() + 1, 2), np.float32)
    mask = np.zeros(coordinates.shape[:2], bool)
    coordinates[row, step] = np.where(inside[:, None], as_coordinates(points, scanpaths.size), 0)
    mask[row, step] = inside
    start = table[table["order"] == 0]
    return sequence_set(
        coordinates,
        mask,
        start["subject"],
        start["stimulus"],
        source=scanpaths.source,
        frames=frames,
        rate_hz=rate_hz,
        size=scanpaths.size,
    )
