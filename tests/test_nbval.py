"""nbval really compares: a chapter whose stored output had one digit changed does not pass."""

import re
import subprocess
import sys

import nbformat

from fixlib.book import chapter_paths


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


def test_a_changed_number_in_a_stored_output_fails():
    chapter = chapter_paths(["01_sparsity_analysis"])[0]
    changed = chapter.with_name("changed_for_a_test.ipynb")  # beside it, since nbval works in the notebook's folder
    notebook = nbformat.read(chapter, as_version=4)
    change_one_digit(notebook)
    try:
        nbformat.write(notebook, changed)
        run = subprocess.run(
            [
                sys.executable,
                "-m",
                "pytest",
                "-q",
                "-p",
                "no:cacheprovider",
                "-p",
                "no:xdist",
                "--nbval",
                "--nbval-current-env",
                str(changed),
            ],
            capture_output=True,
            text=True,
        )
    finally:
        changed.unlink(missing_ok=True)
    assert run.returncode == 1 and "1 failed" in run.stdout, run.stdout[-2000:]
