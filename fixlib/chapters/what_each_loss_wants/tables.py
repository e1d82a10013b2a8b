"""The numbers behind chapter 2: the best output of each loss, and how sure one who knows the simulator can be."""

from functools import cache

import numpy as np
import pandas as pd
import torch

from fixlib.data.simulator import transition_matrix
from fixlib.losses import LOSSES, MSE, CompositeLoss, DiceLoss, FocalLoss, SparsityLoss, WeightedMSE
from fixlib.theory.bayes import expected_squared_distance
from fixlib.theory.forecast import likeliest_pixel
from fixlib.theory.outputs import (
    CompositeAtPixel,
    balance,
    best_constant,
    best_output,
    best_painting,
    crossing_threshold,
    painting_threshold,
)

WHERE = 6.4  # px: mean saccade amplitude on OSIE (chapter 1); how far the white pixel is when it is not here
COMPOSITE_WEIGHTS = {"focal": 1.0, "sparsity": 0.8, "concentration": 1.5}
PIXELWISE = {"mse": MSE(), "weighted_mse": WeightedMSE(), "focal": FocalLoss(), "sparsity": SparsityLoss()}
AT_PIXEL = PIXELWISE | {
    "concentration": CompositeAtPixel(WHERE**2, focal_weight=0.0, sparsity_weight=0.0),
    "composite": CompositeAtPixel(WHERE**2),
}
DICE = {"dice": DiceLoss(), "dice_smooth_1": DiceLoss(smooth=1.0)}


def best_output_curves(etas: np.ndarray, size: int = 32) -> dict[str, np.ndarray]:
    """The best p of a pixel for each true probability eta, by loss.

    Dice: of one pixel in an otherwise black frame. Composite: where the white pixel is WHERE px away if not here.
    """
    curves = {name: np.asarray(best_output(loss, etas)) for name, loss in AT_PIXEL.items()}
    return curves | {name: np.where(etas > painting_threshold(loss, size), 1.0, 0.0) for name, loss in DICE.items()}


def belief_after(x: int, y: int, size: int = 32) -> np.ndarray:
    """The simulator's exact probability (size, size) of each pixel being next, after a fixation at (x, y) px."""
    return transition_matrix(size=size)[y * size + x].reshape(size, size)


def wanted_frames(belief: np.ndarray) -> dict[str, np.ndarray]:
    """The frame of least expected loss under a belief (H, W) that sums to 1, by loss."""
    frames = {name: np.asarray(best_output(loss, belief)) for name, loss in PIXELWISE.items()}
    away = COMPOSITE_WEIGHTS["concentration"] * expected_squared_distance(torch.from_numpy(belief)).numpy()
    composite = np.asarray(best_output(CompositeLoss(concentration_weight=0), belief, away))
    frames |= {"concentration": np.zeros_like(belief), "composite": composite}
    return frames | {name: best_painting(loss, belief) for name, loss in DICE.items()}


def asks_for(size: int = 32) -> pd.DataFrame:
    """By loss: the best constant where one pixel of a frame is white; the eta above which the best p exceeds 0.5."""
    asked = {name: crossing_threshold(loss) for name, loss in AT_PIXEL.items()}
    asked |= {name: painting_threshold(loss, size) for name, loss in DICE.items()}
    losses = {name: LOSSES[name]() for name in AT_PIXEL} | DICE
    constants = {name: best_constant(loss, 1 / size**2, size) for name, loss in losses.items()}
    return pd.DataFrame({"best constant": constants, "asks for eta above": asked})


def composite_parts(size: int = 32) -> pd.DataFrame:
    """The composite's weighted terms, each alone and all together: what they cost a fresh network and ask for."""
    alone = {f"{name}_weight": 0.0 for name in COMPOSITE_WEIGHTS}
    parts = {f"{weight:g} x {name}": alone | {f"{name}_weight": weight} for name, weight in COMPOSITE_WEIGHTS.items()}
    rows = {}
    for name, weights in (parts | {"all three": {}, "all three, distances normalized": {}}).items():
        normalize = name.endswith("normalized")
        loss = CompositeLoss(**weights, normalize=normalize)
        at_pixel = CompositeAtPixel(WHERE**2 / (2 * size**2 if normalize else 1), **weights)
        constant = best_constant(loss, 1 / size**2, size)
        rows[name] = [balance(loss, 0.5, size).loss, constant, crossing_threshold(at_pixel)]
    return pd.DataFrame.from_dict(rows, "index", columns=["cost at p = 0.5", "best constant", "asks for eta above"])


@cache
def highest_probability(size: int = 32) -> tuple[float, np.ndarray]:
    """Probability of the likeliest next pixel for one who knows the simulator and the present pixel, on average: for
    one frame per fixation, one ahead; for frames every 100 ms, 1 to 10 ahead.
    """
    return float(likeliest_pixel(1, size, None)[0]), likeliest_pixel(10, size)
