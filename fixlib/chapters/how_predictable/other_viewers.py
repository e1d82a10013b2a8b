"""What the picture would add to the history of gaze, estimated from where its other viewers looked.

An upper-bound estimate, not a predictor: it is given other people's gaze on the very picture that it is scored on,
which a predictor of gaze on new pictures does not have.
"""

from itertools import product
from typing import Any

import torch
from torch import Tensor

from fixlib import data, metrics
from fixlib.data import Scanpaths
from fixlib.grid import pixel_index
from fixlib.models.baselines import spreading_kernel
from fixlib.runs.config import Data
from fixlib.runs.execute import Windows, center_bias
from fixlib.runs.store import payload_of

NOTE = "upper-bound estimate, given other viewers' gaze on the same picture; not a predictor"
BANDWIDTHS = (0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 2.8)  # px
CENTER_SHARES = (0.02, 0.05, 0.1, 0.2, 0.35, 0.5)
POWERS = (0.0, 0.25, 0.5, 0.75, 1.0)
SHARES = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9)


def estimate(where: Data, windows: Windows, viewers: int, history: dict[str, Tensor] | None = None) -> dict[str, Any]:
    """The scores, as those of a run, of the other viewers' density on test windows, alone or with a history's.

    Bandwidth, share of the centre bias, and how the two are mixed are those of most bits on validation windows.

    Args:
        where: which windows they are.
        windows: train, val and test.
        viewers: how many others, drawn anew for each window.
        history: log densities (N, T, H, W) of the windows of val and test, by any model of the history.
    """
    n_in, size = where.n_in, where.size
    truth = {part: metrics.Truth.of(windows[part], n_in) for part in ("val", "test")}
    center = center_bias(where, windows).float()
    everybody = looked_at(data.open_scanpaths(where.dataset, size), by_duration=where.rate_hz is not None)
    looks = {part: of_others(everybody, windows[part].subject, windows[part].stimulus, viewers) for part in truth}
    pixels = {part: pixel_index(windows[part].coordinates, size) for part in truth}

    def bits(log_density: Tensor) -> float:
        return log_density.flatten(-2).gather(-1, pixels["val"][:, n_in:, None]).mean().item()

    def density(part: str, bandwidth: float, center_share: float) -> Tensor:
        seen = smooth(looks[part], bandwidth)
        return ((1 - center_share) * seen + center_share * center)[:, None].expand(-1, where.n_out, -1, -1)

    width, center_share = max(product(BANDWIDTHS, CENTER_SHARES), key=lambda each: bits(density("val", *each).log()))
    others = {part: density(part, width, center_share) for part in truth}
    settings = dict(bandwidth=width, center_share=center_share)
    if history is None:
        found = others["test"].log()
    else:
        given = {part: (history[part], others[part], center, pixels[part][:, n_in - 1]) for part in truth}
        chosen = max(product(POWERS, POWERS, SHARES), key=lambda each: bits(mix(*given["val"], *each)))
        settings |= dict(zip(("power", "stay_power", "share"), chosen))
        found = mix(*given["test"], *chosen)
    return payload_of(metrics.evaluate_density(found, truth["test"])) | dict(settings=settings, note=NOTE)


def looked_at(scanpaths: Scanpaths, by_duration: bool) -> Tensor:
    """How long (ms; or how often) each viewer looked at each pixel of each picture, (pictures, viewers, H, W).

    First fixations are left out: they lie where everybody is asked to look before a picture appears.
    """
    table, size = scanpaths.fixations, scanpaths.size
    inside = ((table[["x", "y"]] >= 0) & (table[["x", "y"]] < size)).all(axis=1)
    table = table[inside & (table["order"] > 0)]
    stimulus, subject = (torch.tensor(table[name].to_numpy()) for name in ("stimulus", "subject"))
    pixel = pixel_index(torch.tensor(table[["x", "y"]].to_numpy(), dtype=torch.float32), size)
    weight = torch.ones(len(table))
    if by_duration:
        weight = torch.tensor(table["duration_ms"].to_numpy(), dtype=torch.float32)
    looks = torch.zeros(int(stimulus.max()) + 1, int(subject.max()) + 1, size**2)
    return looks.index_put_((stimulus, subject, pixel), weight, accumulate=True).unflatten(-1, (size, size))


def of_others(looks: Tensor, subject: Tensor, stimulus: Tensor, viewers: int) -> Tensor:
    """Looks (N, H, W) of so many viewers of each window's picture, never those of the window's own."""
    n_viewers = looks.shape[1]
    if not 1 <= viewers < n_viewers:
        raise ValueError(f"viewers={viewers}: a picture has {n_viewers - 1} others, and 1 is the least")
    order = torch.rand(len(subject), n_viewers, generator=torch.Generator().manual_seed(0))
    order[torch.arange(len(subject)), subject] = -1.0
    chosen = order.topk(viewers).indices
    return looks[stimulus[:, None], chosen].sum(dim=1)


def smooth(looks: Tensor, bandwidth: float) -> Tensor:
    """Densities (N, H, W): each look a Gaussian (bandwidth in px); uniform where nobody looked."""
    kernel = spreading_kernel(looks.shape[-1], bandwidth).float()
    spread = kernel.T @ looks @ kernel + 1e-6
    return spread / spread.sum(dim=(-2, -1), keepdim=True)


def mix(
    history: Tensor, others: Tensor, center: Tensor, last: Tensor, power: float, stay_power: float, share: float
) -> Tensor:
    """Log density (N, T, H, W) of who knows both the history and where others look.

    The pixel where gaze rests (the `last` one seen, (N,)) keeps the probability of the history, a log density, its odds
    multiplied by (others / center)^stay_power. The moves to all other pixels are the history's times (others /
    center)^power, and a share of them is the others' as they are; `center` (H, W) is of gaze on any picture.
    """
    shape, rest = history.shape, last[:, None, None].expand(-1, history.shape[1], 1)
    history, others = history.flatten(-2), others.flatten(-2)
    evidence = (others / center.flatten()).log()
    stay = (history.gather(-1, rest).exp().logit(eps=1e-6) + stay_power * evidence.gather(-1, rest)).sigmoid()
    moves = (history + power * evidence).scatter(-1, rest, -torch.inf).softmax(-1)
    seen = others.scatter(-1, rest, 0.0)
    moves = (1 - share) * moves + share * seen / seen.sum(-1, keepdim=True)
    return ((1 - stay) * moves).scatter(-1, rest, stay).log().view(shape)
