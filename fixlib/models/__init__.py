"""Networks that predict gaze, and the baselines beside them. Knows nothing of data or training."""

from fixlib.models.baselines import (
    BASELINES,
    Baseline,
    Centre,
    CentreBias,
    ConstantVelocity,
    GazeGRU,
    RepeatLast,
    TrainingMean,
    TrainingMedian,
    TransitionTable,
)
from fixlib.models.regression import SimVP_RegressionHead
from fixlib.models.simvp import MISSION, SimVP, count_parameters, create_model

__all__ = [
    "BASELINES",
    "MISSION",
    "Baseline",
    "Centre",
    "CentreBias",
    "ConstantVelocity",
    "GazeGRU",
    "RepeatLast",
    "SimVP",
    "SimVP_RegressionHead",
    "TrainingMean",
    "TrainingMedian",
    "TransitionTable",
    "count_parameters",
    "create_model",
]
