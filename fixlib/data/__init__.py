"""Gaze data: sources, splits, frames, windows and files. Conventions are in the modules' docstrings."""

import pkgutil
from importlib import import_module

from fixlib.data.datasets import (
    DATASETS,
    describe,
    fingerprint,
    has_fixations,
    load_real_training_data,
    open_dataset,
    open_rotated,
    open_scanpaths,
    prepare,
)
from fixlib.data.gaze import ChecksumError, DataFileError, DataUnavailable, Gaze, Source, content_sha256, cut_windows
from fixlib.data.gazecom import read_gazecom
from fixlib.data.lattice import lattice_windows
from fixlib.data.osie import read_osie
from fixlib.data.own import prepare_recordings, read_recordings
from fixlib.data.reading import Reading, Unsettled
from fixlib.data.recordings import Recordings, Scanpaths, rotated_splits, split_by_stimulus_and_subject
from fixlib.data.simulator import SimulatorParameters, simulate_scanpaths, transition_matrix
from fixlib.grid import create_sparse_frames, pixel_center, pixel_index

pixel_centre = pixel_center  # its name until 0.4
for _module in pkgutil.iter_modules(__path__):  # a dataset registers itself where it is defined: in a file of its own
    import_module(f"{__name__}.{_module.name}")
