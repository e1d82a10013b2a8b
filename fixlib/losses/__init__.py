"""The losses: those compared by the project, those beyond, and what each of them asks for.

>>> import torch
>>> from fixlib.losses import get_loss_function
>>> logits, target = torch.zeros(2, 10, 1, 32, 32), torch.zeros(2, 10, 1, 32, 32)
>>> loss = get_loss_function("focal", gamma=1.0)(logits, target)
>>> float(loss) > 0
True
"""

import inspect
import warnings

from fixlib.losses._common import Loss
from fixlib.losses.frame import (
    CompositeLoss,
    ConcentrationLoss,
    DiceLoss,
    FocalTverskyLoss,
    SoftmaxCrossEntropy,
    TverskyLoss,
    composite_components,
    composite_loss,
    concentration_loss,
    dice_loss,
    focal_tversky_loss,
    softmax_cross_entropy_loss,
    tversky_loss,
)
from fixlib.losses.pixel import (
    BCE,
    MSE,
    FocalLoss,
    SparsityLoss,
    WeightedMSE,
    bce_loss,
    focal_loss,
    mse_loss,
    sparsity_loss,
    weighted_mse_loss,
)
from fixlib.losses.targets import WhitePixels

LOSSES: dict[str, type[Loss]] = {
    "mse": MSE,
    "focal": FocalLoss,
    "sparsity": SparsityLoss,
    "concentration": ConcentrationLoss,
    "composite": CompositeLoss,
    "dice": DiceLoss,
    "weighted_mse": WeightedMSE,
    "bce": BCE,
    "tversky": TverskyLoss,
    "focal_tversky": FocalTverskyLoss,
    "softmax_cross_entropy": SoftmaxCrossEntropy,
}

MISSION_LOSSES = tuple(LOSSES)[:7]  # the seven that chapter 3 compares


def check_loss_name(name: str) -> None:
    """ValueError, naming the known losses, unless `name` is one. Experiments ask before they train."""
    if name not in LOSSES:
        raise ValueError(f"unknown loss {name!r}; known: {', '.join(LOSSES)}")


def get_loss_function(name: str = "mse", **options) -> Loss:
    """The loss called `name`, made with `options`, for example ``get_loss_function("focal", alpha=0.5)``.

    An unknown name warns (UserWarning) and gives MSE, without the options, which belonged to something else.
    Where training the wrong loss must not happen, call :func:`check_loss_name` first. An unknown option is a
    TypeError.
    """
    if name not in LOSSES:
        dropped = f", without the options {', '.join(options)}" if options else ""
        warnings.warn(f"unknown loss {name!r}: MSE is used instead{dropped}. Known: {', '.join(LOSSES)}", stacklevel=2)
        return MSE()
    known = inspect.signature(LOSSES[name]).parameters
    unknown = [option for option in options if option not in known]
    if unknown:
        raise TypeError(f"loss {name!r} has no option {', '.join(unknown)}; its options: {', '.join(known)}")
    return LOSSES[name](**options)


__all__ = [
    "BCE",
    "LOSSES",
    "MISSION_LOSSES",
    "MSE",
    "CompositeLoss",
    "ConcentrationLoss",
    "DiceLoss",
    "FocalLoss",
    "FocalTverskyLoss",
    "Loss",
    "SoftmaxCrossEntropy",
    "SparsityLoss",
    "TverskyLoss",
    "WeightedMSE",
    "WhitePixels",
    "bce_loss",
    "check_loss_name",
    "composite_components",
    "composite_loss",
    "concentration_loss",
    "dice_loss",
    "focal_loss",
    "focal_tversky_loss",
    "get_loss_function",
    "mse_loss",
    "softmax_cross_entropy_loss",
    "sparsity_loss",
    "tversky_loss",
    "weighted_mse_loss",
]
