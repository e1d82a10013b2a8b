"""Executing the chapters in order, headless, with papermill."""

from __future__ import annotations

import ast
import json
import time
from collections.abc import Collection, Sequence
from pathlib import Path

import nbformat

from fixlib import system
from fixlib.system import atomic_write

ALT_TEXT = "Alt text: "
PAPERMILL_METADATA = ("papermill", "execution", "widgets")
NEED_DURATIONS = {"01_sparsity_analysis", "04_hybrid_regression"}


class BookError(RuntimeError):
    """One or more chapters failed; their executed copies are kept for reading."""


def chapter_paths(chapters: Sequence[str] = ()) -> list[Path]:
    """The notebooks of those names (with or without .ipynb), or all, in reading order.

    Raises:
        ValueError: an unknown chapter, naming those there are.
    """
    known = {path.stem: path for path in sorted((system.root() / "notebooks").glob("[0-9]*.ipynb"))}
    wanted = [Path(name).stem for name in chapters] or list(known)
    for name in wanted:
        if name not in known:
            raise ValueError(f"no chapter {name!r}; there are: {', '.join(known)}")
    return [known[name] for name in wanted]


def chapter_parameters(notebook: Path) -> dict[str, object]:
    """Names and defaults of a chapter's parameters, read from its cell tagged `parameters`.

    Raises:
        ValueError: not exactly one such cell, or one that does more than assign literals.
    """
    cells = [
        cell for cell in nbformat.read(notebook, as_version=4).cells if "parameters" in cell.metadata.get("tags", [])
    ]
    if len(cells) != 1:
        raise ValueError(f"{notebook.name} has {len(cells)} cells tagged 'parameters', needs exactly one")
    found = {}
    for statement in ast.parse(cells[0].source).body:
        if not (isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name)):
            raise ValueError(
                f"{notebook.name}: the parameters cell may only assign literals, line {statement.lineno} does not"
            )
        found[statement.targets[0].id] = ast.literal_eval(statement.value)
    return found


def parse_parameters(given: Sequence[str], notebooks: Sequence[Path]) -> dict[str, object]:
    """NAME=VALUE texts as values, checked against the chapters' own parameters (papermill itself only warns).

    Raises:
        ValueError: text without "=", a name that no chapter has, or a value of another type than the default's.
    """
    known = {name: value for notebook in notebooks for name, value in chapter_parameters(notebook).items()}
    found = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals:
            raise ValueError(f"parameter {text!r} is not NAME=VALUE")
        if name not in known:
            raise ValueError(f"no chapter has a parameter {name!r}; there are: {', '.join(known)}")
        found[name] = _parse_value(name, value, known[name])
    _check_values(found, [notebook.stem for notebook in notebooks if "dataset" in chapter_parameters(notebook)])
    return found


def _parse_value(name: str, text: str, default: object) -> object:
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        value = text
    if isinstance(default, str):
        value = text.strip("'\"")
    if isinstance(default, float) and type(value) is int:
        value = float(value)
    if type(value) is not type(default):
        raise ValueError(
            f"parameter {name}={text}: expected {type(default).__name__} (the default is {default!r}), "
            f"got {type(value).__name__}"
        )
    return value


def _check_values(parameters: dict, chapters: Collection[str]) -> None:
    """Refuse before the first chapter what a chapter would refuse after minutes."""
    from fixlib.losses import check_loss_name
    from fixlib.runs import get_profile

    if "profile" in parameters:
        get_profile(parameters["profile"])
    if "dataset" in parameters:
        _check_dataset(parameters["dataset"], chapters)
    for name in parameters.get("losses", ()):
        check_loss_name(name)


def _check_dataset(name: str, chapters: Collection[str]) -> None:
    from fixlib import data

    data.describe(name)
    if name in data.DATASETS:
        return
    if asked := NEED_DURATIONS.intersection(chapters):
        raise ValueError(
            f"{' and '.join(sorted(asked))} need fixations with their durations, which {name!r} does not "
            f"hold: choose of {', '.join(data.DATASETS)}, or name other chapters"
        )
    if Path(name).is_dir() and not Path(name).is_absolute() and Path(name).parts[0] != "data":
        raise ValueError(
            f"chapters run in notebooks/, where {name!r} means another folder: give its absolute path, or "
            "put it under data/"
        )


def make_book(
    chapters: Sequence[str] = (), parameters: Sequence[str] = (), *, results: str | None = None, update: bool = False
) -> None:
    """Execute chapters in order; executed copies and HTML go to build/book/.

    Args:
        chapters: names; none means all.
        parameters: NAME=VALUE texts, given to the chapters that have such a parameter.
        results: folder (relative to the project) where the chapters read and record runs instead of results/.
        update: replace the notebooks under notebooks/ by the executed ones.

    Raises:
        ValueError: an unknown chapter or parameter, or a parameter of the wrong type.
        BookError: a chapter failed. The others are executed all the same.
    """
    notebooks = chapter_paths(chapters)
    values = parse_parameters(parameters, notebooks)
    if results:
        values["results_dir"] = results
    if update and values:
        raise ValueError("--update stores the chapters with their own parameters; leave out -p and --results")
    out = system.root() / "build" / "book"
    out.mkdir(parents=True, exist_ok=True)
    failures, start = {}, time.perf_counter()
    for notebook in notebooks:
        began = time.perf_counter()
        executed = out / notebook.name
        failure = _execute(notebook, executed, values)
        _write_html(executed)
        print(f"{notebook.stem}: {failure or 'done'}, {time.perf_counter() - began:.0f} s", flush=True)
        if failure:
            failures[notebook.stem] = failure
        elif update:
            _store(executed, notebook)
    print(f"book: {time.perf_counter() - start:.0f} s, in {out.relative_to(system.root())}")
    if results:
        print(compare_with_recorded(results))
    if failures:
        raise BookError(
            f"{len(failures)} of {len(notebooks)} chapters failed ({', '.join(failures)}); "
            f"the executed copies in {out.relative_to(system.root())} show where"
        )


def _execute(notebook: Path, executed: Path, parameters: dict) -> str | None:
    """Execute one chapter; the reason if it failed."""
    import papermill
    from traitlets.config import Config

    own = chapter_parameters(notebook)
    try:
        papermill.execute_notebook(
            notebook,
            executed,
            {name: value for name, value in parameters.items() if name in own},
            cwd=notebook.parent,
            kernel_name="python3",
            log_output=False,
            config=Config(KernelManager=dict(transport_encryption="auto")),
        )
    except papermill.PapermillExecutionError as error:
        return f"FAILED in cell {error.exec_count}: {error.ename}: {error.evalue}"
    unrun = [
        index
        for index, cell in enumerate(nbformat.read(executed, as_version=4).cells)
        if cell.cell_type == "code" and cell.source.strip() and cell.execution_count is None
    ]
    return f"FAILED: cells {unrun} did not run" if unrun else None


def _write_html(executed: Path) -> None:
    from nbconvert import HTMLExporter

    text, _ = HTMLExporter().from_filename(str(executed))
    executed.with_suffix(".html").write_text(_with_alt_texts(text), encoding="utf-8")


def _with_alt_texts(page: str) -> str:
    """A page in which every figure has, where a screen reader looks for it, the alt text told below it.

    nbconvert gives pictures that come out of a cell no description, and takes none.
    """
    from bs4 import BeautifulSoup

    soup = BeautifulSoup(page, "html.parser")
    for image in soup.select("div.jp-OutputArea img"):
        if told := image.find_next(lambda tag: tag.name == "p" and ALT_TEXT in tag.text):
            image["alt"] = " ".join(told.text.partition(ALT_TEXT)[2].split())
    return str(soup)


def _store(executed: Path, notebook: Path) -> None:
    """Put an executed chapter in place of the committed one, without what differs from run to run."""
    book = nbformat.read(executed, as_version=4)
    for part in (book, *book.cells):
        for key in PAPERMILL_METADATA:
            part.metadata.pop(key, None)
        if part.metadata.get("tags") == []:
            del part.metadata["tags"]
    with atomic_write(notebook) as file:
        file.write(f"{nbformat.writes(book)}\n".encode())


def compare_with_recorded(results: str) -> str:
    """How the runs of a folder differ from the recorded ones of the same configuration and data, in a sentence."""
    here, recorded = system.root() / results, system.root() / "results"
    differences = []
    for path in sorted(here.rglob("*.json")):
        twin = recorded / path.relative_to(here)
        if twin.exists():
            mine, theirs = (json.loads(p.read_text(encoding="utf-8"))["metrics"] for p in (path, twin))
            differences.append(
                max(
                    (_relative(mine[name]["value"], theirs[name]["value"]) for name in theirs if name in mine),
                    default=0.0,
                )
            )
    if not differences:
        return "none of these runs is recorded in results/: nothing to compare with"
    same = sum(difference == 0 for difference in differences)
    return (
        f"{len(differences)} of these runs are recorded in results/ too: {same} have the same metrics to the last "
        f"digit; the largest relative difference of a metric is {max(differences):.2%}"
    )


def _relative(a: float | None, b: float | None) -> float:
    if a == b or a is None or b is None:
        return 0.0 if a == b else float("inf")
    return abs(a - b) / max(abs(a), abs(b))
