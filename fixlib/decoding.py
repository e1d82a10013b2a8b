"""From a map of pixel probabilities to one point.

Three decodings, because each answers another question: `decode_argmax` the most probable pixel (best for
hitting the pixel itself), `decode_mean` the point of least expected squared distance, `decode_median` the
point of least expected distance, which is what a mean error in pixels measures.

All take maps of shape (..., H, W), non-negative, of any sum, and return points of shape (..., 2): (x, y) in
px, x to the right, y down, the point of a pixel being its centre (index + 0.5). A map that is zero everywhere
says nothing about the place and decodes to the centre of the grid.
"""

import torch
from torch import Tensor

# Frames decoded at once: bounds the memory of the median (a handful of arrays of this many maps).
_CHUNK = 512


def decode_argmax(probabilities: Tensor) -> Tensor:
    """Centre of the most probable pixel, (..., H, W) -> (..., 2) px.

    Tied pixels are averaged, so that a map with the same value everywhere decodes to the centre of the grid,
    not to a corner. Only the order of the values is used: logits or log densities may be given as they are.
    """
    maps, leading, (height, width) = _flatten(probabilities)
    winners = (maps == maps.amax(dim=-1, keepdim=True)).to(maps.dtype)
    points = (winners / winners.sum(dim=-1, keepdim=True)) @ _centres(height, width, maps)
    return points.reshape(*leading, 2)


def decode_mean(probabilities: Tensor) -> Tensor:
    """Mean of the pixel centres weighted by probability, (..., H, W) -> (..., 2) px."""
    maps, leading, (height, width) = _flatten(probabilities)
    return (_normalise(maps) @ _centres(height, width, maps)).reshape(*leading, 2)


def decode_median(probabilities: Tensor, tolerance: float = 1e-4, max_iterations: int = 500) -> Tensor:
    """Geometric median of the pixel centres weighted by probability, (..., H, W) -> (..., 2) px.

    The point m that minimises sum_k p_k |m - c_k|, by Weiszfeld's iteration started at the mean, with the
    step of Vardi and Zhang (2000, PNAS 97(4):1423) where m sits on a pixel centre. A map stops as
    soon as a step moves it less than `tolerance` px.
    """
    maps, leading, (height, width) = _flatten(probabilities)
    centres = _centres(height, width, maps)
    points = [_weiszfeld(_normalise(chunk), centres, tolerance, max_iterations)
              for chunk in maps.split(_CHUNK)]
    return torch.cat(points).reshape(*leading, 2)


def _weiszfeld(weights: Tensor, centres: Tensor, tolerance: float, max_iterations: int) -> Tensor:
    """Geometric medians (M, 2) of `centres` (K, 2) under weights (M, K) that sum to 1."""
    medians = weights @ centres
    active = torch.arange(len(weights), device=weights.device)
    for _ in range(max_iterations):
        here = medians[active]
        moved = _weiszfeld_step(here, weights, centres)
        medians[active] = moved
        going = (moved - here).norm(dim=-1) >= tolerance
        if not going.any():
            break
        active, weights = active[going], weights[going]
    return medians


def _weiszfeld_step(points: Tensor, weights: Tensor, centres: Tensor) -> Tensor:
    distances = torch.cdist(points, centres, compute_mode="donot_use_mm_for_euclid_dist")
    on_pixel = distances < 1e-5
    pull = (weights / distances).masked_fill_(on_pixel, 0.0)
    total = pull.sum(dim=-1, keepdim=True)
    target = (pull @ centres) / total.clamp_min(1e-30)
    # On a pixel centre that pixel's own weight holds the point back: it leaves only if the others pull
    # harder.
    own = (weights * on_pixel).sum(dim=-1, keepdim=True)
    force = total * (target - points).norm(dim=-1, keepdim=True)
    stay = torch.where(own > 0, (own / force.clamp_min(1e-30)).clamp_max(1.0), torch.zeros_like(own))
    return (1 - stay) * target + stay * points


def _flatten(probabilities: Tensor) -> tuple[Tensor, torch.Size, tuple[int, int]]:
    """Maps as (M, H*W) in float32 (float64 is kept), the leading shape, and (H, W)."""
    if not isinstance(probabilities, Tensor):
        raise TypeError(f"probabilities must be a torch tensor (..., H, W), "
                        f"got {type(probabilities).__name__}")
    if probabilities.dim() < 2:
        raise ValueError(f"probabilities must have shape (..., H, W), got {tuple(probabilities.shape)}")
    if probabilities.isnan().any():
        raise ValueError("probabilities contain NaN: the network that made them has diverged")
    dtype = torch.promote_types(probabilities.dtype, torch.float32)
    *leading, height, width = probabilities.shape
    return probabilities.to(dtype).reshape(-1, height * width), torch.Size(leading), (height, width)


def _normalise(maps: Tensor) -> Tensor:
    """Weights that sum to 1 in each map; uniform where a map is zero everywhere."""
    if (maps < 0).any():
        raise ValueError("probabilities are negative somewhere: pass probabilities (sigmoid or softmax), "
                         "not logits")
    maps = maps / maps.amax(dim=-1, keepdim=True).clamp_min(torch.finfo(maps.dtype).tiny)
    total = maps.sum(dim=-1, keepdim=True)
    return torch.where(total > 0, maps / total, torch.full_like(maps, 1 / maps.shape[-1]))


def _centres(height: int, width: int, like: Tensor) -> Tensor:
    """(x, y) of every pixel's centre, (H*W, 2), in the order of a flattened map."""
    y = torch.arange(height, dtype=like.dtype, device=like.device) + 0.5
    x = torch.arange(width, dtype=like.dtype, device=like.device) + 0.5
    return torch.stack([x.repeat(height), y.repeat_interleave(width)], dim=-1)
