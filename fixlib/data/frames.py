"""From fixations or samples to sequences, and from sequences to frames and back.

(x, y) in px, x right, y down; the pixel of a point is its floor, the point of a pixel its centre.
"""

from __future__ import annotations

import numpy as np
import torch

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
    return sequence_set(coordinates, mask, recordings.rows["subject"], recordings.rows["stimulus"],
                        source=recordings.source, frames=f"{rate_hz:g} Hz", rate_hz=float(rate_hz), size=size)


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


def _rows(
    scanpaths: Scanpaths, shown: np.ndarray, step: np.ndarray, frames: str, rate_hz: float | None
) -> dict:
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
    return sequence_set(coordinates, mask, start["subject"], start["stimulus"],
                        source=scanpaths.source, frames=frames, rate_hz=rate_hz, size=scanpaths.size)


def create_sparse_frames(
    coordinates: torch.Tensor, fixation_mask: torch.Tensor, size: int = 32
) -> torch.Tensor:
    """Black frames with one white pixel at each valid point.

    Args:
        coordinates: (B, T, 2), (x, y) px.
        fixation_mask: bool (B, T), on the same device.
        size: side of the frames, px.

    Returns:
        float32 (B, T, 1, size, size) on the device of the coordinates, 0 or 1, ``frame[y, x]``. A frame stays
        empty where the mask is False or the point lies outside [0, size).

    Raises:
        TypeError: not tensors, or a mask that is not bool.
        ValueError: wrong shapes, or a point that is not finite although its mask is True.
    """
    index = white_pixel_index(coordinates, fixation_mask, size)
    frames = torch.zeros(*index.shape, size * size, dtype=torch.float32, device=index.device)
    frames.scatter_(2, index.clamp(min=0)[..., None], (index >= 0)[..., None].to(torch.float32))
    return frames.view(*index.shape, 1, size, size)


def white_pixel_index(coordinates: torch.Tensor, fixation_mask: torch.Tensor, size: int = 32) -> torch.Tensor:
    """Number of the pixel that ``create_sparse_frames`` makes white in each frame, -1 where it makes none.

    Arguments and errors are those of ``create_sparse_frames``.

    Returns:
        int64 (B, T) on the device of the coordinates: floor(y) * size + floor(x), or -1.
    """
    _check_points(coordinates, fixation_mask, size)
    inside = fixation_mask & ((coordinates >= 0) & (coordinates < size)).all(dim=-1)
    column, row = coordinates.floor().long().unbind(dim=-1)  # of no meaning outside
    return torch.where(inside, row * size + column, -1)


def _check_points(coordinates: torch.Tensor, mask: torch.Tensor, size: int) -> None:
    for name, value in (("coordinates", coordinates), ("fixation_mask", mask)):
        if not isinstance(value, torch.Tensor):
            raise TypeError(f"{name} must be a tensor, not {type(value).__name__}")
    if mask.dtype != torch.bool:
        raise TypeError(f"fixation_mask must be bool, not {mask.dtype}; convert it with .bool()")
    if coordinates.ndim != 3 or coordinates.shape[-1] != 2:
        raise ValueError(f"coordinates must have shape (B, T, 2), not {tuple(coordinates.shape)}")
    if mask.shape != coordinates.shape[:2]:
        raise ValueError(f"fixation_mask must have shape {tuple(coordinates.shape[:2])} as coordinates, "
                         f"not {tuple(mask.shape)}")
    if size < 1:
        raise ValueError(f"size must be at least 1 px, not {size}")
    wrong = mask & ~coordinates.isfinite().all(dim=-1)
    if wrong.any():
        row, frame = wrong.nonzero()[0].tolist()
        raise ValueError(f"coordinates[{row}, {frame}] is not finite although its mask is True; "
                         "set the mask to False where there is no valid gaze")


def pixel_index(coordinates: torch.Tensor, size: int = 32) -> torch.Tensor:
    """Number floor(y) * size + floor(x) of the pixel of each point; (..., 2) px -> int64 (...).

    Raises:
        ValueError: a point lies outside the grid (or is not finite) and so has no pixel.
    """
    if not ((coordinates >= 0) & (coordinates < size)).all():
        raise ValueError(f"every point must lie in the grid, [0, {size}) px on both axes, to have a pixel")
    column, row = coordinates.floor().long().unbind(dim=-1)
    return row * size + column


def pixel_centre(index: torch.Tensor, size: int = 32) -> torch.Tensor:
    """Centre (x, y) of each pixel, px; int64 (...) -> float32 (..., 2). The inverse of ``pixel_index``."""
    row = torch.div(index, size, rounding_mode="floor")
    return torch.stack([index - row * size, row], dim=-1).to(torch.float32) + 0.5
