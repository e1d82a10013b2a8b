"""nbval really compares: a stored output with one digit changed fails, and every chapter stores such a digit."""

import re
import subprocess
import sys

import nbformat
import pytest

from fixlib.book import chapter_paths

NBVAL = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "--nbval"]


def change_one_digit(notebook) -> None:
    """Change the first digit of the first text output that nbval compares."""
    for cell in notebook.cells:
        if "nbval-ignore-output" in cell.metadata.get("tags", []):
            continue
        for output in cell.get("outputs", []):
            if output.output_type == "stream" and re.search(r"\d", output.text):
                output.text = re.sub(r"\d", lambda digit: str((int(digit[0]) + 1) % 10), output.text, count=1)
                return
    raise AssertionError("this chapter stores no number that nbval would compare")


@pytest.mark.parametrize("chapter", chapter_paths(), ids=lambda path: path.stem)
def test_every_chapter_stores_a_number_that_is_compared(chapter):
    change_one_digit(nbformat.read(chapter, as_version=4))


def test_a_changed_number_in_a_stored_output_fails(tmp_path):
    shown = nbformat.v4.new_output("stream", text="recall 0.25\n")
    cell = nbformat.v4.new_code_cell("print(f'recall {1 / 4}')", outputs=[shown], execution_count=1)
    kernel = dict(name="python3", display_name="Python 3", language="python")
    notebook = nbformat.v4.new_notebook(cells=[cell], metadata=dict(kernelspec=kernel))
    nbformat.write(notebook, tmp_path / "stored.ipynb")
    change_one_digit(notebook)
    nbformat.write(notebook, tmp_path / "changed.ipynb")
    run = subprocess.run([*NBVAL, "--nbval-current-env", tmp_path], capture_output=True, text=True)
    assert run.returncode == 1 and "1 failed, 1 passed" in run.stdout, run.stdout[-2000:]
