"""One module a chapter: what is run, with which configuration.

Each experiment module has two functions:

* `specs(dataset, profile, seeds, **choices)` lists the runs, each a `RunSpec` with its whole configuration;
* `run(spec, checkpoint, on_epoch)` carries one out and gives what is to be recorded;

and may have a third, `finish(study)`, called by `fixlib run` when all are recorded.

`obtain` reads those recorded and trains those missing; `recorded` reads only, and says which are missing.
"""

from fixlib.runs.profiles import PROFILES, Profile, get_profile
from fixlib.runs.study import ExperimentError, NotRecorded, Study, fallback_notice, obtain, recorded

EXPERIMENTS = (
    "sparsity",
    "loss_comparison",
    "loss_ablations",
    "hybrid_regression",
    "simulated_control",
    "predictable_motion",
)

__all__ = [
    "EXPERIMENTS",
    "PROFILES",
    "ExperimentError",
    "NotRecorded",
    "Profile",
    "Study",
    "fallback_notice",
    "get_profile",
    "obtain",
    "recorded",
]
