"""The runs of the book: what each is, carrying them out, reading what is recorded.

An experiment is a module `fixlib/chapters/NAME/runs.py`, found by its folder, with a function

* `specs(dataset, profile, seeds, **choices)`, which lists the runs, each a `RunSpec` with its whole configuration, and
  raises ValueError for a profile, or a choice, that there is not;

and where it needs them

* `run(spec, attempt)`, which carries one out and gives what is to be recorded, instead of
  `fixlib.runs.execute.run_predictor`;
* `finish(study)`, called by `fixlib run` when all are recorded.

`obtain` reads those recorded and trains those missing; `recorded` reads only, and says which are missing.
"""

from fixlib.runs.config import PROFILES, Profile, get_profile
from fixlib.runs.study import ExperimentError, NotRecorded, Study, fallback_notice, obtain, recorded
