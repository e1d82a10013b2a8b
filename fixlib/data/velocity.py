"""Fixations of samples by velocity, in px of the grid a second: neither distance nor centimeters are asked for.

A grid of 32 px on a picture of 32 degrees has px of one degree, so that 20 px a second is the usual 20 degrees. (I-VT:
Salvucci & Goldberg 2000; the derivative is that of Savitzky & Golay 1964.)
"""

import numpy as np
import scipy  # its parts are imported where they are first used: they take a second

THRESHOLD = 20.0  # px of the grid a second
WINDOW_MS = 20.0  # of the derivative
SHORTEST_MS = 60.0


def fixations_by_velocity(time_ms: np.ndarray, points: np.ndarray, interval_ms: float) -> np.ndarray:
    """Onset (ms), duration (ms), x, y (n, 4) of the stretches of `SHORTEST_MS` and more, slower than `THRESHOLD`.

    Args:
        time_ms: (n,), rising.
        points: (n, 2), px of the grid; NaN where gaze was lost, which ends a fixation.
        interval_ms: from a sample to the next; a longer step than 1.5 of it ends a fixation, too.
    """
    found = []
    lost = np.isnan(points).any(axis=1)
    breaks = np.flatnonzero(lost[1:] | lost[:-1] | (np.diff(time_ms) > 1.5 * interval_ms)) + 1
    width = 2 * int(WINDOW_MS / interval_ms / 2) + 1
    for piece in np.split(np.arange(len(points)), breaks):
        if lost[piece[:1]].any() or len(piece) < max(width, 5):
            continue
        step_s = interval_ms / 1000
        velocity = scipy.signal.savgol_filter(points[piece], max(width, 5), 2, deriv=1, delta=step_s, axis=0)
        slow = np.hypot(*velocity.T) < THRESHOLD
        edges = np.flatnonzero(np.diff(np.concatenate([[0], slow, [0]])))
        for first, past in edges.reshape(-1, 2):
            duration = time_ms[piece[past - 1]] - time_ms[piece[first]] + interval_ms
            if duration >= SHORTEST_MS:
                found.append((time_ms[piece[first]], duration, *points[piece[first:past]].mean(axis=0)))
    return np.array(found).reshape(-1, 4)
