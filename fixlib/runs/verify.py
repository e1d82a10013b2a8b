"""Repeating recorded runs from their recorded configuration, and comparing, by one of two rules.

* The same bits: where processor, threads and versions are those of the recorded run (`fixlib.system.DECIDES_BITS`),
  everything recorded has to be equal to the last recorded digit.
* Within intervals: elsewhere the same sums are added up in another order, and training makes the difference grow. The
  data have to be the same by their hashes, and every score has to lie inside its recorded 95% interval. Where nothing
  is trained, every number has to be equal to rounding; but an average precision may lie in its interval, since rounding
  decides how pixels of equal probability are ranked.

docs/verification.md says how often runs pass. Of a run in stages (chapter 3) the scores of the first are compared.
"""

import random
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fixlib import system
from fixlib.runs.config import Data
from fixlib.runs.store import Results, Run, weights_file
from fixlib.runs.sweep import Outcome, carry_out, remove_place
from fixlib.system import same_bits

SAME_BITS, WITHIN_INTERVALS = "the same bits", "within intervals"
ROUNDING, HALF_PRECISION = 1e-5, 2e-3  # relative; arrays are recorded as float16
TAKEN = ("seconds", "peak_memory_mb", "environment", "metrics_version")  # by the run, not given by it
EXACT = ("content_sha256", "windows", "parameters")  # the same everywhere: of the data and the network
# Of trained networks not compared elsewhere: they describe the maps, and differ between two trainings by more than
# between test windows, which is what intervals are about.
DESCRIPTIONS = ("metrics.accuracy", "metrics.max_probability", "metrics.undershoot", "metrics.best_f1_threshold")


@dataclass(frozen=True)
class Check:
    """A recorded run against its repetition."""

    run: Run
    rule: str  # `SAME_BITS`, `WITHIN_INTERVALS`, or "" where it could not be repeated
    wrong: tuple[str, ...]  # what differs by more than the rule allows


def choose(
    results: Results, names: Sequence[str] = (), sample: int | None = None, dataset: str = "", **only: str | None
) -> list[Run]:
    """The recorded runs to verify or to score anew.

    Args:
        names: beginnings of file names, or keys; none for all.
        sample: draw so many of those found, other ones each time; runs of hours (`paper`, `tuned`) only where
            `profile` or `names` ask for them.
        dataset: only runs on it; those on a folder need it, for where it lies is not recorded.
        only: experiment, profile.

    Raises:
        ValueError: nothing is recorded that fits, or a name fits nothing.
    """
    where = Data.of(dataset) if dataset else Data("")
    runs = results.runs(dataset=where.dataset, **only)
    runs = [replace(run, spec=run.spec.located(where.location)) for run in runs]
    found = {name: [run for run in runs if name == run.spec.key or run.path.name.startswith(name)] for name in names}
    if nothing := [name for name in names if not found[name]]:
        raise ValueError(f"no recorded run has the key {nothing[0]!r} or a file name that begins so")
    if names:
        runs = list({run.path: run for some in found.values() for run in some}.values())
    elif sample and not only.get("profile"):
        runs = [run for run in runs if run.spec.profile not in ("paper", "tuned")]
    if not runs:
        raise ValueError(f"no run of that kind is recorded in {results.folder}")
    return runs if sample is None else random.sample(runs, min(sample, len(runs)))


def verify(runs: Sequence[Run], workers: int | None = None) -> list[Check]:
    """Repeat each run, and what it starts from, and compare; the recorded files are only read.

    The network of a run that repeats as recorded is kept where none is.
    """
    build = system.root() / "build"
    build.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=build, prefix="verify-") as folder:
        results = Results(folder, weights=Path(folder) / "weights")
        try:
            outcomes = carry_out([run.spec for run in runs], results, workers)
        finally:  # an interrupted repetition is of no use to anyone: the folder's name is in its files'
            remove_place(results)
        return [_check(run, outcome, results) for run, outcome in zip(runs, outcomes)]


def _check(run: Run, outcome: Outcome, results: Results) -> Check:
    if outcome.state == "failed":
        return Check(run, "", (f"it could not be repeated: {outcome.reason}",))
    check = compare(run, results.read(run.spec))
    if not check.wrong and not weights_file(run.spec).exists():
        for kept in results.weights.glob(f"{run.spec.stem}.*"):
            weights_file(run.spec).parent.mkdir(parents=True, exist_ok=True)
            kept.replace(weights_file(run.spec).with_name(kept.name))
    return check


def compare(recorded: Run, repeated: Run) -> Check:
    """The two by the rule that holds for where they were made."""
    if same_bits(recorded.payload.get("environment", {}), repeated.payload["environment"]):
        return Check(recorded, SAME_BITS, tuple(differences(recorded, repeated)))
    trained, known = bool(recorded.spec.config.epochs), dict(_numbers(recorded.payload))

    def by_interval(name: str) -> bool:
        return name.startswith("metrics.") if trained else "average_precision" in name

    def compared(name: str) -> bool:
        if trained and (name.startswith(DESCRIPTIONS) or not name.startswith((*EXACT, "metrics."))):
            return False
        return name.endswith(".value") or not by_interval(name)

    def agree(name: str, one: Any, other: Any) -> bool:
        if by_interval(name):
            low, high = (known[name.removesuffix("value") + end] for end in ("low", "high"))
            return low <= other <= high or _close(one, other)
        return _equal(one, other) if name.startswith(EXACT) else _close(one, other)

    return Check(recorded, WITHIN_INTERVALS, tuple(_different(recorded, repeated, agree, compared)))


def differences(recorded: Run, repeated: Run) -> list[str]:
    """Everything in which two runs are not equal to the last recorded digit, apart from what they took.

    Where their scores were computed by two versions of the code: not equal to rounding.
    """
    equal = _equal if recorded.metrics_version == repeated.metrics_version else _close
    return list(_different(recorded, repeated, lambda _, one, other: equal(one, other), lambda _: True))


def _different(recorded: Run, repeated: Run, agree: Callable[..., bool], compared: Callable[[str], bool]) -> Iterator:
    theirs, ours = (dict(_numbers(run.payload)) for run in (recorded, repeated))
    if recorded.metrics_version != repeated.metrics_version:  # an older version may not have had every number
        ours = {name: value for name, value in ours.items() if name in theirs}
    for name in filter(compared, {**theirs, **ours}):
        if name not in theirs or name not in ours or not agree(name, theirs[name], ours[name]):
            one, other = (_short(side[name]) if name in side else "nothing" for side in (theirs, ours))
            yield f"{name}: recorded {one}, repeated {other}"


def _numbers(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Everything that a payload holds but what the run took, each with the way to it: metrics.error.value."""
    if isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            if key not in TAKEN:
                yield from _numbers(item, f"{name}.{key}" if name else str(key))
    else:
        yield name, value


def _equal(one: Any, other: Any, rounding: float = 0.0) -> bool:
    if not all(isinstance(value, np.ndarray | float | int) for value in (one, other)):
        return one == other
    return np.shape(one) == np.shape(other) and np.allclose(other, one, rtol=rounding, atol=0.0, equal_nan=True)


def _close(one: Any, other: Any) -> bool:
    return _equal(one, other, HALF_PRECISION if isinstance(one, np.ndarray) else ROUNDING)


def _short(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"array of {value.shape}"
    return f"{value:.7g}" if isinstance(value, float) else str(value)[:40]


def table(checks: Sequence[Check]) -> pd.DataFrame:
    """One row a check."""
    names = ["experiment", "dataset", "variant", "profile", "seed"]
    found = pd.DataFrame([[getattr(check.run.spec, name) for name in names] for check in checks], columns=names)
    verdicts = ["DIFFERS" if check.wrong else "as recorded" for check in checks]
    return found.assign(rule=[check.rule for check in checks], verdict=verdicts)
