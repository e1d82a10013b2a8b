"""Points, pixels and frames: the only place that knows how one becomes the other.

(x, y) in px of the grid, x to the right, y down; the pixel of a point is its floor, the point of a pixel its center
(index + 0.5). A frame is drawn as `frame[y, x]`. Maps are decoded three ways: `decode_argmax` the most probable
pixel (best for hitting the pixel itself), `decode_mean` the point of least expected squared distance, `decode_median`
the point of least expected distance, which is what a mean error in pixels measures.
"""

import torch
from torch import Tensor

# A map of certainty: sigmoid of +-30 is 1 or 0 to the last digit that matters.
SURE = 30.0
# Frames decoded at once: bounds the memory of the median (a handful of arrays of this many maps).
_CHUNK = 512
TOLERANCE_PX, MOST_STEPS = 1e-4, 500  # of the median


def create_sparse_frames(coordinates: Tensor, fixation_mask: Tensor, size: int = 32) -> Tensor:
    """Black frames with one white pixel at each valid point.

    Args:
        coordinates: (B, T, 2), (x, y) px.
        fixation_mask: bool (B, T), on the same device.
        size: side of the frames, px.

    Returns:
        float32 (B, T, 1, size, size) on the device of the coordinates, 0 or 1, `frame[y, x]`. A frame stays
        empty where the mask is False or the point lies outside [0, size).

    Raises:
        TypeError: not tensors, or a mask that is not bool.
        ValueError: wrong shapes, or a point that is not finite although its mask is True.
    """
    _check_points(coordinates, fixation_mask, size)
    inside = fixation_mask & ((coordinates >= 0) & (coordinates < size)).all(dim=-1)
    column, row = coordinates.floor().long().unbind(dim=-1)  # of no meaning outside
    index = torch.where(inside, row * size + column, -1)
    frames = torch.zeros(*index.shape, size * size, dtype=torch.float32, device=index.device)
    frames.scatter_(2, index.clamp(min=0)[..., None], (index >= 0)[..., None].to(torch.float32))
    return frames.view(*index.shape, 1, size, size)


def gaussian_frames(points: Tensor, sigma: float, size: int = 32) -> Tensor:
    """Frames (B, T, 1, size, size) of points (B, T, 2) px: a Gaussian of `sigma` px, 1 at the pixel of the point.

    ValueError for a point outside the grid, or a sigma that is not above 0.
    """
    if not sigma > 0:
        raise ValueError(f"sigma must be above 0 px, got {sigma}")
    places = torch.arange(size, device=points.device) + 0.5
    away = (seen_points(points, size).unsqueeze(-1) - places).square()  # (B, T, 2, size)
    across, down = torch.exp(-away / (2 * sigma**2)).unbind(dim=-2)
    return (down.unsqueeze(-1) * across.unsqueeze(-2)).unsqueeze(2)


def certain_frames(points: Tensor, size: int = 32) -> Tensor:
    """Logits (N, T, 1, size, size) of who is sure of one pixel a frame, that of `points` (N, T, 2), and of no other."""
    frames = create_sparse_frames(points, torch.ones(points.shape[:-1], dtype=torch.bool), size)
    return SURE * (2 * frames - 1)


def _check_points(coordinates: Tensor, mask: Tensor, size: int) -> None:
    for name, value in (("coordinates", coordinates), ("fixation_mask", mask)):
        if not isinstance(value, Tensor):
            raise TypeError(f"{name} must be a tensor, not {type(value).__name__}")
    if mask.dtype != torch.bool:
        raise TypeError(f"fixation_mask must be bool, not {mask.dtype}; convert it with .bool()")
    if coordinates.ndim != 3 or coordinates.shape[-1] != 2:
        raise ValueError(f"coordinates must have shape (B, T, 2), not {tuple(coordinates.shape)}")
    if mask.shape != coordinates.shape[:2]:
        shapes = f"{tuple(coordinates.shape[:2])} as coordinates, not {tuple(mask.shape)}"
        raise ValueError(f"fixation_mask must have shape {shapes}")
    if size < 1:
        raise ValueError(f"size must be at least 1 px, not {size}")
    wrong = mask & ~coordinates.isfinite().all(dim=-1)
    if wrong.any():
        where = f"coordinates{wrong.nonzero()[0].tolist()} is not finite although its mask is True"
        raise ValueError(f"{where}; set the mask to False where there is no valid gaze")


def pixel_index(coordinates: Tensor, size: int = 32) -> Tensor:
    """Number floor(y) * size + floor(x) of the pixel of each point, (..., 2) px -> int64 (...); ValueError outside."""
    if not ((coordinates >= 0) & (coordinates < size)).all():
        raise ValueError(f"every point must lie in the grid, [0, {size}) px on both axes, to have a pixel")
    column, row = coordinates.floor().long().unbind(dim=-1)
    return row * size + column


def pixel_center(index: Tensor, size: int = 32) -> Tensor:
    """Center (x, y) of each pixel, px; int64 (...) -> float32 (..., 2). The inverse of `pixel_index`."""
    return torch.stack([index % size, index // size], dim=-1).to(torch.float32) + 0.5


def seen_points(points: Tensor, size: int = 32) -> Tensor:
    """What frames show of points (..., 2) px: the centers of their pixels; ValueError for a point outside the grid."""
    return pixel_center(pixel_index(points, size), size)


def mirrored_points(points: Tensor, size: int = 32) -> Tensor:
    """Points (..., 2) px, left and right exchanged; the pixel of each is the mirror image of the pixel it had."""
    x, y = points.unbind(dim=-1)
    mirrored = torch.nextafter(size - x, torch.zeros_like(x))  # an edge between two pixels belongs to the right one
    return torch.stack([mirrored, y], dim=-1)


def decode_argmax(probabilities: Tensor) -> Tensor:
    """Center of the most probable pixel, (..., H, W) -> (..., 2) px.

    Tied pixels are averaged, so that a map with the same value everywhere decodes to the center of the grid,
    not to a corner. Only the order of the values is used: logits or log densities may be given as they are.
    """
    maps, centers = _flatten(probabilities)
    winners = (maps == maps.amax(dim=-1, keepdim=True)).to(maps.dtype)
    points = (winners / winners.sum(dim=-1, keepdim=True)) @ centers
    return points.reshape(*probabilities.shape[:-2], 2)


def decode_mean(probabilities: Tensor) -> Tensor:
    """Mean of the pixel centers weighted by probability, (..., H, W) -> (..., 2) px."""
    maps, centers = _flatten(probabilities)
    return (_normalize(maps) @ centers).reshape(*probabilities.shape[:-2], 2)


def decode_median(probabilities: Tensor) -> Tensor:
    """Geometric median of the pixel centers weighted by probability, (..., H, W) -> (..., 2) px.

    The point m that minimizes sum_k p_k |m - c_k|, by Weiszfeld's iteration started at the mean, with the
    step of Vardi and Zhang (2000, PNAS 97(4):1423) where m sits on a pixel center. A map stops as
    soon as a step moves it less than TOLERANCE_PX.
    """
    maps, centers = _flatten(probabilities)
    points = [_weiszfeld(_normalize(chunk), centers, TOLERANCE_PX, MOST_STEPS) for chunk in maps.split(_CHUNK)]
    return torch.cat(points).reshape(*probabilities.shape[:-2], 2)


def geometric_median(points: Tensor) -> Tensor:
    """The point (2,) of least summed distance to `points` (N, 2)."""
    points = points.double()
    return _weiszfeld(torch.full((1, len(points)), 1 / len(points)).to(points), points, 0.0, 200)[0].float()


def _weiszfeld(weights: Tensor, centers: Tensor, tolerance: float, max_iterations: int) -> Tensor:
    """Geometric medians (M, 2) of `centers` (K, 2) under weights (M, K) that sum to 1, from the means."""
    medians = weights @ centers
    active = torch.arange(len(weights), device=weights.device)
    for _ in range(max_iterations):
        here = medians[active]
        moved = _weiszfeld_step(here, weights, centers)
        medians[active] = moved
        going = (moved - here).norm(dim=-1) >= tolerance
        if not going.any():
            break
        active, weights = active[going], weights[going]
    return medians


def _weiszfeld_step(points: Tensor, weights: Tensor, centers: Tensor) -> Tensor:
    distances = torch.cdist(points, centers, compute_mode="donot_use_mm_for_euclid_dist")
    on_pixel = distances < 1e-5
    pull = (weights / distances).masked_fill_(on_pixel, 0.0)
    total = pull.sum(dim=-1, keepdim=True)
    target = (pull @ centers) / total.clamp_min(1e-30)
    # On a pixel center that pixel's own weight holds the point back: it leaves only if the others pull harder.
    own = (weights * on_pixel).sum(dim=-1, keepdim=True)
    force = total * (target - points).norm(dim=-1, keepdim=True)
    stay = torch.where(own > 0, (own / force.clamp_min(1e-30)).clamp_max(1.0), torch.zeros_like(own))
    return (1 - stay) * target + stay * points


def _flatten(probabilities: Tensor) -> tuple[Tensor, Tensor]:
    """Maps as (M, H*W) in float32 (float64 is kept), and the center (x, y) of every pixel, (H*W, 2)."""
    if not isinstance(probabilities, Tensor):
        raise TypeError(f"probabilities must be a torch tensor (..., H, W), got {type(probabilities).__name__}")
    if probabilities.dim() < 2:
        raise ValueError(f"probabilities must have shape (..., H, W), got {tuple(probabilities.shape)}")
    if probabilities.isnan().any():
        raise ValueError("probabilities contain NaN: the network that made them has diverged")
    height, width = probabilities.shape[-2:]
    maps = probabilities.to(torch.promote_types(probabilities.dtype, torch.float32)).reshape(-1, height * width)
    y, x = (torch.arange(side, dtype=maps.dtype, device=maps.device) + 0.5 for side in (height, width))
    return maps, torch.stack([x.repeat(height), y.repeat_interleave(width)], dim=-1)


def _normalize(maps: Tensor) -> Tensor:
    """Weights that sum to 1 in each map; uniform where a map is zero everywhere."""
    if (maps < 0).any():
        raise ValueError("probabilities are negative somewhere: pass probabilities (sigmoid or softmax), not logits")
    if maps.isinf().any():
        raise ValueError("probabilities are infinite somewhere: the network that made them has diverged")
    maps = maps / maps.amax(dim=-1, keepdim=True).clamp_min(torch.finfo(maps.dtype).tiny)
    total = maps.sum(dim=-1, keepdim=True)
    return torch.where(total > 0, maps / total, torch.full_like(maps, 1 / maps.shape[-1]))
