"""How long imports take beyond PyTorch's own, and how soon a notebook shows its first figure.

    python -m benchmarks startup [--quick]

Imports are timed in fresh processes, after PyTorch's. A notebook's time runs from its first cell to the end of the
first that shows a picture; the start of its kernel does not count. Run it on an idle machine.
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

TITLE = "Start-up"
IMPORT_LIMIT_S, FIGURE_LIMIT_S = 0.3, 3.0
STATEMENTS = (
    "import fixlib",
    "from fixlib import create_model",
    "from fixlib import get_loss_function",
    "from fixlib import create_sparse_frames",
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
    """A row an import and a row a chapter; the reference is the limit, so that a ratio above 1 is within it."""
    turns = 3 if quick else 7
    spent = {statement: [] for statement in STATEMENTS}
    for _ in range(turns):
        for statement in STATEMENTS:
            spent[statement].append(import_seconds(statement))
    yield _row("import torch", [torch for pairs in spent.values() for torch, _ in pairs], limit=None)
    for statement, pairs in spent.items():
        yield _row(statement, [beyond for _, beyond in pairs], IMPORT_LIMIT_S)
    for path in chapter_paths():
        yield _row(path.stem, [first_figure_seconds(path) for _ in range(1 if quick else 3)], FIGURE_LIMIT_S)


def table(rows: list[dict]) -> list[dict]:
    """What is printed of the rows."""
    return [
        {
            "what": row["name"],
            "seconds": f"{row['ours']:.2f}",
            "limit": "" if row["reference"] is None else f"{row['reference']:.1f}",
        }
        for row in rows
    ]


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


def _row(name: str, seconds: list[float], limit: float | None) -> dict:
    ours = statistics.median(seconds)
    return dict(
        name=name, ours=ours, reference=limit, ratio=limit / ours if limit else None, unit="s", least=min(seconds)
    )
