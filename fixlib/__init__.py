"""Predicting extremely sparse events in video: data, losses, models, metrics and runs of the book.

from fixlib import create_model, get_loss_function, load_real_training_data
"""

from importlib import import_module

__version__ = "0.4.0"

# Where each public name lives. They are imported when first used, so that `import fixlib` is quick.
_HOME = {
    **dict.fromkeys(
        (
            "FocalLoss",
            "SparsityLoss",
            "ConcentrationLoss",
            "CompositeLoss",
            "DiceLoss",
            "WeightedMSE",
            "get_loss_function",
        ),
        "fixlib.losses",
    ),
    **dict.fromkeys(("SimVP", "SimVP_RegressionHead", "create_model"), "fixlib.models"),
    **dict.fromkeys(("create_sparse_frames", "load_real_training_data"), "fixlib.data"),
    **dict.fromkeys(("train_model_with_loss", "evaluate_model"), "fixlib.training"),
    **dict.fromkeys(("load_network", "rescore"), "fixlib.runs.execute"),
    "run_real_loss_function_analysis": "fixlib.chapters.loss_comparison.runs",
}

__all__ = sorted(_HOME)


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"module 'fixlib' has no attribute {name!r}; public names: {', '.join(__all__)}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
