"""Gaze data: sources, splits, frames, windows and files. Conventions are in the modules' docstrings."""

from fixlib.data.datasets import DATASETS, content_sha256, describe, fingerprint, open_dataset, open_scanpaths, prepare
from fixlib.data.errors import ChecksumError, DataFileError, DataUnavailable
from fixlib.data.files import check_sequences, load_real_training_data, load_sequences, save_sequences
from fixlib.data.frames import fixation_frames, fixed_rate_frames, sampled_frames
from fixlib.data.gazecom import fetch_gazecom, read_gazecom
from fixlib.data.osie import fetch_osie, read_osie
from fixlib.data.patterns import make_patterns
from fixlib.data.scanpaths import Recordings, Scanpaths, Source, split_by_stimulus_and_subject
from fixlib.data.simulator import (
    SimulatorParameters,
    first_pixel_probabilities,
    next_fixation_density,
    simulate_scanpaths,
    transition_matrix,
)
from fixlib.data.simulator_fit import OSIE_STATISTICS, expected_statistics, fit_parameters, scanpath_statistics
from fixlib.data.windows import cut_windows
from fixlib.grid import create_sparse_frames, pixel_centre, pixel_index, white_pixel_index

__all__ = [
    "DATASETS",
    "OSIE_STATISTICS",
    "ChecksumError",
    "DataFileError",
    "DataUnavailable",
    "Recordings",
    "Scanpaths",
    "SimulatorParameters",
    "Source",
    "check_sequences",
    "content_sha256",
    "create_sparse_frames",
    "cut_windows",
    "describe",
    "expected_statistics",
    "fetch_gazecom",
    "fetch_osie",
    "fingerprint",
    "first_pixel_probabilities",
    "fit_parameters",
    "fixation_frames",
    "fixed_rate_frames",
    "load_real_training_data",
    "load_sequences",
    "make_patterns",
    "next_fixation_density",
    "open_dataset",
    "open_scanpaths",
    "pixel_centre",
    "pixel_index",
    "prepare",
    "read_gazecom",
    "read_osie",
    "sampled_frames",
    "save_sequences",
    "scanpath_statistics",
    "simulate_scanpaths",
    "split_by_stimulus_and_subject",
    "transition_matrix",
    "white_pixel_index",
]
