"""How long imports take beyond PyTorch's own, and how soon a notebook shows its first figure.

    python -m benchmarks startup [--quick]

Imports are timed in fresh processes, after PyTorch's; a notebook from its first cell to the end of the first that shows
a picture, the start of its kernel not counted.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Iterator

import nbformat
from nbclient import NotebookClient

from fixlib import system
from fixlib.book import chapter_paths

IMPORT_LIMIT_S, FIGURE_LIMIT_S = 0.3, 3.0
STATEMENTS = (
    "import fixlib",
    "from fixlib import create_model",
    "from fixlib import train_model_with_loss",
    "import fixlib.runs",
    "import fixlib.chapters",
)
TIMED = """
import time
start = time.perf_counter()
import torch
torch_there = time.perf_counter()
{statement}
print(torch_there - start, time.perf_counter() - torch_there)
"""


def run(quick: bool, threads: int, dataset: str) -> Iterator[dict]:
    """A row an import and a row a chapter: seconds, and the limit."""
    spent = {statement: [import_seconds(statement) for _ in range(3 if quick else 7)] for statement in STATEMENTS}
    yield dict(what="import torch", seconds=statistics.median(torch for pairs in spent.values() for torch, _ in pairs))
    for statement, pairs in spent.items():
        yield dict(what=statement, seconds=statistics.median(beyond for _, beyond in pairs), limit=IMPORT_LIMIT_S)
    for path in chapter_paths():
        seconds = [first_figure_seconds(path) for _ in range(1 if quick else 3)]
        yield dict(what=path.stem, seconds=statistics.median(seconds), limit=FIGURE_LIMIT_S)


def import_seconds(statement: str) -> tuple[float, float]:
    """Seconds of `import torch` and of `statement` after it, in a fresh process."""
    done = subprocess.run(
        [sys.executable, "-c", TIMED.format(statement=statement)], check=True, capture_output=True, text=True
    )
    torch, beyond = map(float, done.stdout.split())
    return torch, beyond


def first_figure_seconds(path) -> float:
    """Seconds from the first cell of a notebook to the end of the first cell with a picture."""
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(notebook, timeout=600, resources=dict(metadata=dict(path=str(system.root() / "notebooks"))))
    with client.setup_kernel():
        start = time.perf_counter()
        for number, cell in enumerate(notebook.cells):
            client.execute_cell(cell, number)
            if any("image/png" in output.get("data", {}) for output in cell.get("outputs", [])):
                return time.perf_counter() - start
    raise ValueError(f"{path.name} shows no picture")
