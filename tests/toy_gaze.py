"""A little gaze of nobody, for tests of what is done with it."""

import torch

from fixlib.data import Gaze, Source

SOURCE = Source("toy", "toy", "0" * 64, "none", "none", simulated=True)


def gaze(n=6, length=5, seed=0):
    points = 32 * torch.rand(n, length, 2, generator=torch.Generator().manual_seed(seed))
    mask, number = torch.ones(n, length, dtype=torch.bool), torch.arange(n)
    return Gaze(points, mask, number, number, SOURCE, "steps", None)
