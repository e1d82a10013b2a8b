"""What a prediction of gaze is worth: white-pixel scores, pixel errors, information gain, their intervals."""

from fixlib.metrics.calibration import Calibration
from fixlib.metrics.evaluation import (
    Evaluation,
    Truth,
    evaluate_density,
    evaluate_frames,
    evaluate_points,
    kinds_of_frames,
)
from fixlib.metrics.intervals import cluster_weights, clustered_bootstrap, paired_difference
