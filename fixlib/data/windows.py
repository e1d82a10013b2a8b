"""Cutting sequences into windows of equal length, after the data were split."""

from __future__ import annotations

import torch


def cut_windows(
    sequences: dict, length: int, stride: int | None = None, limit: int | None = None, seed: int = 0
) -> dict:
    """Windows of ``length`` frames, each wholly inside one scanpath every frame valid, none padded.

    In each row windows begin at frames 0, stride, 2 stride, ...; those that hold an invalid frame are left
    out.

    Args:
        sequences: a sequence set.
        length: frames in a window (inputs and targets together).
        stride: frames between the beginnings of two windows; ``length`` (no overlap) where not given.
        limit: take that many, drawn without replacement, in the order of the data; all where not given.
        seed: of the draw.

    Returns:
        A sequence set with T = length; each window has its row's subject and stimulus.

    Raises:
        ValueError: there is no window, or fewer than ``limit``; the message says how many.
    """
    stride = length if stride is None else stride
    if length < 1 or stride < 1:
        raise ValueError(f"length and stride must be at least 1 frame, not {length} and {stride}")
    row, start = _valid_starts(sequences["fixation_mask"], length, stride)
    if len(row) == 0:
        raise ValueError(
            f"no window of {length} valid frames in these {len(sequences['fixation_mask'])} scanpaths of "
            f"{sequences['meta']['name']} ({sequences['meta']['frames']}): windows have to be shorter, or scanpaths "
            "longer"
        )
    if limit is not None:
        chosen = _draw(len(row), limit, seed)
        row, start = row[chosen], start[chosen]
    frame = start[:, None] + torch.arange(length)
    return {
        "coordinates": sequences["coordinates"][row[:, None], frame],
        "fixation_mask": sequences["fixation_mask"][row[:, None], frame],
        "subject": sequences["subject"][row],
        "stimulus": sequences["stimulus"][row],
        "meta": dict(sequences["meta"]),
    }


def _valid_starts(mask: torch.Tensor, length: int, stride: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Row and first frame of every window."""
    if mask.shape[1] < length:
        return torch.empty(0, dtype=torch.int64), torch.empty(0, dtype=torch.int64)
    row, number = mask.unfold(1, length, stride).all(dim=-1).nonzero(as_tuple=True)
    return row, number * stride


def _draw(found: int, limit: int, seed: int) -> torch.Tensor:
    if limit < 1:
        raise ValueError(f"limit must be at least 1 window, not {limit}")
    if found < limit:
        raise ValueError(f"{limit} windows were asked for, but there are {found}: lower limit or stride")
    return torch.randperm(found, generator=torch.Generator().manual_seed(seed))[:limit].sort().values
