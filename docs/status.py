"""The status page: seconds, versions, and what does not repeat, told from the files that runs left."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable

import nbformat
import pandas as pd

from fixlib.book import chapter_paths
from fixlib.runs.store import Results, Run, largest_difference
from fixlib.system import VERSIONS, bits, root

LAST_BOOK = root() / "build" / "book"
NOT_RUN = "`make book` has not been run where this page was made, so there is nothing to say here.\n"
SHOWN = dict(average_precision="average precision", error_median="error, median (px)", error="error, point (px)")
UNCOMPARED = "nbval-ignore-output"


def status_page() -> str:
    """In Markdown; nothing in it is typed."""
    runs = Results().runs()
    return f"""# Seconds, versions, and what does not repeat

This page is generated from the recorded runs in `results/`, from `constraints.txt`, and from the last `make book` on
the machine that made it.

## Seconds per chapter

What the last `make book` took to execute each chapter, the training of its `quick` runs included.

{_chapters()}
## Seconds per run

What training and scoring took where each of the {len(runs)} runs was recorded. A processor is named by its model.

{_seconds(runs)}
## What does not repeat, and by how much

Runs repeat to the last bit where processor, threads and versions are those of their record; [Verification](
docs/verification.md) has the rules. The recorded runs are of these:

{_environments(runs)}
### From one machine to another

The `quick` runs that the last `make book` trained again, against the recorded ones of the same configuration and data:

{_repeated(runs)}
### From one seed to another

Another seed is an honest repetition. This is how far the scores of one configuration lie apart, where several seeds of
it are recorded:

{_seeds(runs)}
### In the chapters

`make test` compares every text and table that a chapter shows with what its cells give today. It compares neither
pictures nor the cells that are marked as differing from machine to machine:

{_uncompared()}
## Versions

Of `constraints.txt`: the versions that are known to work together. What they need in turn is pinned there too.

{_versions()}"""


def _table(rows: Iterable[dict] | pd.DataFrame) -> str:
    table = pd.DataFrame(rows)
    lines = [table.columns, ["---:" if pd.api.types.is_numeric_dtype(kind) else "---" for kind in table.dtypes]]
    lines += table.map(_shown).to_numpy().tolist()
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _shown(value: object) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _chapters() -> str:
    executed = {path.stem: LAST_BOOK / path.name for path in chapter_paths() if (LAST_BOOK / path.name).is_file()}
    seconds = {name: nbformat.read(path, as_version=4).metadata.papermill.duration for name, path in executed.items()}
    return (
        _table(dict(chapter=name, seconds=round(taken, 1)) for name, taken in seconds.items()) if seconds else NOT_RUN
    )


def _facts(runs: list[Run]) -> pd.DataFrame:
    """One row a run."""
    return pd.DataFrame(
        dict(
            experiment=run.spec.experiment, dataset=run.spec.dataset, profile=run.spec.profile, variant=run.spec.variant
        )
        | dict(seconds=run.payload.get("seconds"), **run.payload["environment"])
        | {name: run.metrics[name]["value"] for name in SHOWN if name in run.metrics}
        for run in runs
    )


def _seconds(runs: list[Run]) -> str:
    facts = _facts(runs)
    facts["on"] = facts["device"].where(facts["device"] != "cpu", facts["processor"])
    grouped = facts.groupby(["experiment", "profile", "on"])["seconds"]
    table = grouped.agg(["size", "median", "max", "sum"]).reset_index()
    return _table(table.rename(columns=dict(size="runs", median="median, s", max="longest, s", sum="all, s")))


def _environments(runs: list[Run]) -> str:
    known = pd.DataFrame(bits(run.payload["environment"]) for run in runs).astype(str)
    counted = known.groupby([*VERSIONS, "processor", "vector_instructions", "threads", "device"]).size()
    return _table(counted.rename("runs").reset_index().rename(columns=dict(vector_instructions="instructions")))


def _repeated(runs: list[Run]) -> str:
    recorded = {run.spec.key: run for run in runs}
    folder = root() / "build" / "results"
    again = [run for run in Results(folder).runs() if run.spec.key in recorded] if folder.is_dir() else []
    if not again:
        return NOT_RUN
    rows = pd.DataFrame(
        dict(experiment=run.spec.experiment, difference=largest_difference(run, recorded[run.spec.key]))
        for run in again
    )
    found = rows.groupby("experiment")["difference"].agg(["size", lambda d: int((d == 0).sum()), "median", "max"])
    found.columns = ["runs", "the same to the last digit", "median difference", "largest difference"]
    return _table(found.reset_index()) + "\nDifferences are relative, of the metric that differs most in a run.\n"


def _seeds(runs: list[Run]) -> str:
    by_seed = _facts(runs).groupby(["experiment", "dataset", "profile", "variant"])[list(SHOWN)]
    spread = (by_seed.max() - by_seed.min())[by_seed.size() > 1]
    spread = spread[(spread > 0).any(axis=1)]  # baselines have no chance in them
    grouped = spread.groupby(["experiment", "dataset", "profile"])
    table = grouped.max().rename(columns={name: f"{label}: widest range" for name, label in SHOWN.items()})
    table.insert(0, "configurations", grouped.size())
    return _table(table.reset_index().fillna("")) if len(table) else "None is recorded with several seeds.\n"


def _uncompared() -> str:
    cells = {path.stem: nbformat.read(path, as_version=4).cells for path in chapter_paths()}
    left_out = {
        name: [c.source.splitlines()[0] for c in of if UNCOMPARED in c.metadata.get("tags", [])]
        for name, of in cells.items()
    }
    return "\n".join(f"- {name}: `{first}`" for name, of in left_out.items() for first in of) + "\n"


def _versions() -> str:
    project = tomllib.loads((root() / "pyproject.toml").read_text())["project"]
    pins = dict(re.findall(r"^([\w.-]+)==(\S+)", (root() / "constraints.txt").read_text(), re.MULTILINE))
    pins = {name.lower().replace("_", "-"): version for name, version in pins.items()}
    needed = {"fixlib itself": project["dependencies"], **project["optional-dependencies"]}
    named = {part: [re.match(r"[\w.-]+", each)[0] for each in names] for part, names in needed.items()}
    return _table(
        dict(package=name, version=pins[name], **{"needed for": part}) for part, of in named.items() for name in of
    )
