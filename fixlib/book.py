"""Executing the chapters in order, headless, with papermill."""

from __future__ import annotations

import ast
import re
import time
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import nbformat

from fixlib import data, explorers, system
from fixlib.runs import get_profile
from fixlib.runs.store import Results, largest_difference
from fixlib.runs.study import SIMULATED

# What a cell of text says of the picture above it, for who cannot see it.
DESCRIPTION = (
    r"<summary>Description of the figure</summary>(?P<folded>.+?)</details>|\s*Alt text:(?P<open>.+?)(?:\n\n|\Z)"
)
NOT_STORED = ("papermill", "execution", "widgets")  # metadata that differ from one execution to the next


class BookError(RuntimeError):
    """One or more chapters failed; their executed copies are kept for reading."""


def chapter_paths(chapters: Sequence[str] = ()) -> list[Path]:
    """The notebooks of those names (with or without .ipynb), or all, in order; ValueError for an unknown one.

    Chapters have a number, and appendices follow them.
    """
    folder = system.root() / "notebooks"
    paths = [path for kind in ("[0-9]*", "appendix_*") for path in sorted(folder.glob(f"{kind}.ipynb"))]
    known = {path.stem: path for path in paths}
    wanted = [Path(name).stem for name in chapters] or list(known)
    for name in wanted:
        if name not in known:
            raise ValueError(f"no chapter {name!r}; there are: {', '.join(known)}")
    return [known[name] for name in wanted]


def chapter_parameters(notebook: Path) -> dict[str, Any]:
    """Names and defaults of a chapter's parameters; ValueError unless one cell, tagged so, assigns them as literals."""
    cells = [cell for cell in _read(notebook).cells if "parameters" in cell.metadata.get("tags", [])]
    if len(cells) != 1:
        raise ValueError(f"{notebook.name} has {len(cells)} cells tagged 'parameters', needs exactly one")
    lines: Any = ast.parse(cells[0].source).body
    try:
        return {line.targets[0].id: ast.literal_eval(line.value) for line in lines}
    except (AttributeError, ValueError) as error:
        raise ValueError(f"{notebook.name}: its parameters cell may only assign literals to names") from error


def parse_parameters(given: Sequence[str], notebooks: Sequence[Path]) -> dict[str, Any]:
    """NAME=VALUE texts as values, so that what a chapter would refuse after minutes is refused before the first.

    Raises:
        ValueError: text without "=", a name that no chapter has, a value of another type than the default's, an
            unknown profile or dataset.
    """
    known = {name: value for notebook in notebooks for name, value in chapter_parameters(notebook).items()}
    found = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals:
            raise ValueError(f"parameter {text!r} is not NAME=VALUE")
        if name not in known:
            raise ValueError(f"no chapter has a parameter {name!r}; there are: {', '.join(known)}")
        found[name] = _parse_value(text, value.strip("'\""), type(known[name]))
    if "profile" in found:
        get_profile(found["profile"])
    if "dataset" in found:
        data.describe(found["dataset"])
        folder = Path(found["dataset"]).expanduser()
        if folder.is_dir() and folder.parts[:1] != ("data",):  # chapters run in notebooks/
            found["dataset"] = str(folder.resolve())
    return found


def _parse_value(text: str, value: str, wanted: type) -> Any:
    try:
        parsed = wanted(value) if wanted in (str, int, float) else ast.literal_eval(value)
    except (ValueError, SyntaxError):
        parsed = None
    if type(parsed) is not wanted:
        raise ValueError(f"parameter {text}: expected {wanted.__name__}")
    return parsed


def _without_needy(notebooks: Sequence[Path], dataset: str, named: bool) -> list[Path]:
    """The chapters that a dataset is enough for; a chapter says in its metadata what it needs.

    Raises:
        ValueError: it is not enough for a chapter that was asked for by name.
    """
    needy = [path for path in notebooks if _read(path).metadata.get("fixlib", {}).get("needs_durations")]
    if not needy or data.has_fixations(dataset):
        return list(notebooks)
    reason = f"need fixations with their durations, which {dataset!r} does not hold"
    names = " and ".join(path.stem for path in needy)
    if named:
        with_durations = [known for known, each in data.DATASETS.items() if each.has_fixations]
        raise ValueError(f"{names} {reason}: choose of {', '.join(with_durations)}, or name other chapters")
    print(f"left out: {names} {reason}", flush=True)
    return [path for path in notebooks if path not in needy]


def make_book(
    chapters: Sequence[str] = (), parameters: Sequence[str] = (), *, results: str | None = None, update: bool = False
) -> None:
    """Execute chapters in order; executed copies and HTML go to build/book/.

    Args:
        chapters: names; none means all.
        parameters: NAME=VALUE texts, given to the chapters that have such a parameter.
        results: folder (relative to the project) where the chapters read and record runs instead of results/ (of a
            folder's data: instead of build/results/).
        update: replace the notebooks under notebooks/ by the executed ones.

    Raises:
        ValueError: an unknown chapter or parameter, or a parameter that cannot be used.
        BookError: a chapter failed. The others are executed all the same.
    """
    import nbconvert.preprocessors  # noqa: F401  # here, since two threads would import it at the same time below

    notebooks = chapter_paths(chapters)
    values = parse_parameters(parameters, notebooks) | (dict(results_dir=results) if results else {})
    if update and values:
        raise ValueError("--update stores the chapters with their own parameters; leave out -p and --results")
    if "dataset" in values:
        notebooks = _without_needy(notebooks, values["dataset"], named=bool(chapters))
        record = [path.stem for path in notebooks if "dataset" not in chapter_parameters(path)]
        if record:
            print(f"as in the book, whatever the dataset: {', '.join(record)}", flush=True)
    _warn_without_recordings({(chapter_parameters(notebook) | values).get("dataset", "") for notebook in notebooks})
    out = system.root() / "build" / "book"
    out.mkdir(parents=True, exist_ok=True)
    failed, simulated, start = [], [], time.perf_counter()
    with ThreadPoolExecutor(1) as writer:  # a page is written while the next chapter is executed
        pages = []
        for notebook in notebooks:
            began, executed = time.perf_counter(), out / notebook.name
            failure = _execute(notebook, executed, values)
            print(f"{notebook.stem}: {failure or 'done'}, {time.perf_counter() - began:.0f} s", flush=True)
            pages.append(writer.submit(_write_html, executed))
            outputs = str([cell.get("outputs") for cell in _read(executed).cells])
            if SIMULATED in outputs:
                simulated.append(notebook.stem)
            if failure:
                failed.append(notebook.stem)
            elif update:
                _store(executed, notebook)
        for page in pages:
            page.result()
    print(f"book: {time.perf_counter() - start:.0f} s, in {out.relative_to(system.root())}")
    if results:
        print(_compare_with_recorded(results))
    if simulated:
        print(f"{SIMULATED} in {', '.join(simulated)}")
    if failed:
        raise BookError(
            f"{len(failed)} of {len(notebooks)} chapters failed ({', '.join(failed)}); the executed copies in "
            f"{out.relative_to(system.root())} show where"
        )


def _warn_without_recordings(datasets: Collection[str]) -> None:
    for name in set(datasets).intersection(data.DATASETS):
        try:
            data.open_dataset(name, 10.0)
        except data.DataUnavailable as reason:
            print(f"{SIMULATED} where a run is not recorded: {reason}", flush=True)


def _kernel() -> dict[str, Any]:
    """What nbclient and papermill are told of the kernel: it is this Python, whatever Jupyter calls python3."""
    from ipykernel.kernelspec import get_kernel_dict
    from jupyter_client import AsyncKernelManager
    from jupyter_client.kernelspec import KernelSpec
    from traitlets.config import Config

    class ThisPython(AsyncKernelManager):
        kernel_spec = KernelSpec(**get_kernel_dict())

    encrypted = Config(KernelManager=dict(transport_encryption="auto"))  # else kernels warn of it
    return dict(kernel_name="python3", kernel_manager_class=ThisPython, config=encrypted)


def try_kernel() -> None:
    """Start the kernel that chapters run in and import fixlib there.

    Raises:
        RuntimeError: it does not start, takes longer than two minutes, or cannot import fixlib.
    """
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError

    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("import fixlib")])
    try:
        NotebookClient(notebook, timeout=120, startup_timeout=120, **_kernel()).execute()
    except CellExecutionError as error:
        raise RuntimeError(f"in it, {error.ename}: {error.evalue}") from error


def _execute(notebook: Path, executed: Path, parameters: dict[str, Any]) -> str | None:
    """Execute one chapter; the reason if it failed."""
    import papermill

    given = {name: value for name, value in parameters.items() if name in chapter_parameters(notebook)}
    try:
        papermill.execute_notebook(notebook, executed, given, cwd=notebook.parent, **_kernel())
    except papermill.PapermillExecutionError as error:
        return f"FAILED in cell {error.exec_count}: {error.ename}: {error.evalue}"
    except RuntimeError as error:  # of nbclient, about a dead kernel; papermill lets it pass
        return f"FAILED: its kernel was killed, most likely for want of memory ({error})"
    unrun = [cell.source for cell in _read(executed).cells if cell.get("execution_count", 1) is None and cell.source]
    return f"FAILED: {len(unrun)} cells did not run" if unrun else None


def _write_html(executed: Path) -> None:
    """What nbconvert does not do: pictures from cells are described, and texts' links are found from build/book/."""
    from bs4 import BeautifulSoup
    from nbconvert import HTMLExporter

    chapter = explorers.as_html(described(_read(executed)), f"<script>{explorers.script()}</script>")
    converted, _ = HTMLExporter().from_notebook_node(chapter, dict(metadata=dict(name=executed.stem)))
    page = BeautifulSoup(converted, "html.parser")
    outputs = [output for cell in chapter.cells for output in cell.get("outputs", [])]
    pictures = [output.metadata.get("image/png", {}) for output in outputs if "image/png" in output.get("data", {})]
    for image, about in zip(page.select("div.jp-RenderedImage img"), pictures):
        image["alt"] = about.get("alt", image["alt"])
    for tag, name in (("a", "href"), ("img", "src")):
        for link in page.select(f"{tag}[{name}^='../']"):
            link[name] = f"../{link[name]}"
    executed.with_suffix(".html").write_text(str(page), encoding="utf-8")


def described(chapter: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """The chapter, its pictures carrying for screen readers the description told below them.

    Where it is folded it stays for everybody; where it stands in the open ("Alt text: ...") it is taken from the text.
    """
    for cell, below in zip(chapter.cells, chapter.cells[1:]):
        pictures = [output for output in cell.get("outputs", []) if "image/png" in output.get("data", {})]
        if pictures and (told := re.search(DESCRIPTION, below.source, re.DOTALL)):
            description = " ".join(re.sub("[*`]", "", told["folded"] or told["open"]).split())
            pictures[-1].metadata.setdefault("image/png", {})["alt"] = description
            below.source = below.source.replace(told[0], "\n\n") if told["open"] else below.source
    return chapter


def _store(executed: Path, notebook: Path) -> None:
    """Put an executed chapter in place of the committed one, without what differs from run to run."""
    from nbconvert.preprocessors import CoalesceStreamsPreprocessor

    book, _ = CoalesceStreamsPreprocessor().preprocess(_read(executed), {})  # a slow cell's lines arrive one by one
    for part in (book, *book.cells):
        for key in NOT_STORED:
            part.metadata.pop(key, None)
        if part.metadata.get("tags") == []:
            del part.metadata["tags"]
    with system.atomic_write(notebook) as file:
        file.write(f"{nbformat.writes(book)}\n".encode())


def _compare_with_recorded(results: str) -> str:
    """How the runs of a folder differ from the recorded ones of the same configuration and data, in a sentence."""
    recorded = {run.spec.key: run for run in Results().runs()}
    runs = [run for run in Results(system.root() / results).runs() if run.spec.key in recorded]
    differences = [largest_difference(run, recorded[run.spec.key]) for run in runs]
    if not differences:
        return "none of these runs is recorded in results/: nothing to compare with"
    return (
        f"{len(differences)} of these runs are recorded in results/ too: {differences.count(0)} have the same "
        f"metrics to the last digit; the largest relative difference of a metric is {max(differences):.2%}"
    )


def _read(notebook: Path) -> nbformat.NotebookNode:
    return nbformat.read(notebook, as_version=4)
