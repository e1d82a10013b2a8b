"""Predicting extremely sparse events in video: data, losses, models, metrics and runs of the book.

from fixlib import create_model, get_loss_function, load_real_training_data
"""

from importlib import import_module

__version__ = "0.4.0"

# Where each public name lives. They are imported when first used, so that `import fixlib` is quick.
_HOMES = {
    "fixlib.losses": "FocalLoss SparsityLoss ConcentrationLoss CompositeLoss DiceLoss WeightedMSE get_loss_function",
    "fixlib.models": "SimVP SimVP_RegressionHead create_model",
    "fixlib.data": "create_sparse_frames load_real_training_data",
    "fixlib.training": "train_model_with_loss evaluate_model",
    "fixlib.runs.execute": "load_network rescore",
    "fixlib.chapters.loss_comparison.runs": "run_real_loss_function_analysis",
}
_HOME = {name: module for module, names in _HOMES.items() for name in names.split()}

__all__ = sorted(_HOME)


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"module 'fixlib' has no attribute {name!r}; public names: {', '.join(__all__)}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
