"""Networks that predict gaze, and the baselines beside them. Knows nothing of data or training."""

from fixlib.models.baselines import (
    Baseline,
    Center,
    CenterBias,
    ConstantVelocity,
    HoldThenPrior,
    RepeatLast,
    RepeatLastSubpixel,
    TrainingMean,
    TrainingMedian,
)
from fixlib.models.fast import accelerate
from fixlib.models.mixture import SimVP_MixtureHead
from fixlib.models.registry import BASELINES, NETWORKS
from fixlib.models.sequence import GazeDensity, GazeGRU
from fixlib.models.simvp import MISSION, SimVP, SimVP_RegressionHead, SoftArgmax, count_parameters, create_model
from fixlib.models.tables import DisplacementTable, DwellTable, ReturnTable, TransitionTable
