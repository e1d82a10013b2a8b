"""The committed chapters: executed in order, one parameters cell, nothing of a machine in them.

`pytest --nbval notebooks` compares what they show; these tests make sure that there is something to compare.
"""

import json
import re
from itertools import pairwise

import nbformat
import pytest

from fixlib.book import chapter_parameters, chapter_paths

CHAPTERS = chapter_paths()
# Folded away from readers who see the figure.
DESCRIPTION = r"<details><summary>Description of the figure</summary>\s*[^<]{40,}</details>"


def code_cells(notebook):
    return [
        cell for cell in nbformat.read(notebook, as_version=4).cells if cell.cell_type == "code" and cell.source.strip()
    ]


def test_there_are_chapters():
    assert {"00", "01", "03", "04"} <= {path.stem[:2] for path in CHAPTERS}


@pytest.mark.parametrize("notebook", CHAPTERS, ids=lambda path: path.stem)
class TestChapter:
    def test_is_executed_from_top_to_bottom(self, notebook):
        cells = code_cells(notebook)
        assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
        assert any(cell.outputs for cell in cells)

    def test_has_one_parameters_cell_of_literals(self, notebook):
        assert chapter_parameters(notebook)

    def test_runs_on_any_python3_kernel(self, notebook):
        assert nbformat.read(notebook, as_version=4).metadata.kernelspec.name == "python3"

    def test_has_no_error_and_no_stderr(self, notebook):
        outputs = [output for cell in code_cells(notebook) for output in cell.outputs]
        assert not [o for o in outputs if o.output_type == "error" or o.get("name") == "stderr"]

    def test_names_no_machine_and_no_time(self, notebook):
        text = json.dumps(
            [
                {
                    **cell,
                    "outputs": [
                        {k: v for k, v in o.items() if k != "data"}
                        | {"data": [v for k, v in o.get("data", {}).items() if not k.startswith("image")]}
                        for o in cell.get("outputs", [])
                    ],
                }
                for cell in nbformat.read(notebook, as_version=4).cells
            ]
        )
        assert not re.search(r"/(root|home|work|tmp|Users)/", text)
        assert not re.search(r"20\d\d-\d\d-\d\d[T ]\d\d:\d\d", text)
        assert "papermill" not in nbformat.read(notebook, as_version=4).metadata

    def test_has_little_code(self, notebook):
        cells = nbformat.read(notebook, as_version=4).cells
        code = "\n".join(cell.source for cell in cells if cell.cell_type == "code")
        lines = [line for line in code.splitlines() if line.strip() and not line.strip().startswith("#")]
        assert len(lines) <= 200 and len(re.findall(r"^\s*def ", code, re.MULTILINE)) <= 3

    def test_every_figure_is_described_in_words(self, notebook):
        """A cell that shows a picture is followed by its caption and, folded or as alt text, a description."""
        cells = nbformat.read(notebook, as_version=4).cells
        for cell, after in zip(cells, [*cells[1:], None]):
            if cell.cell_type == "code" and any("image/png" in o.get("data", {}) for o in cell.outputs):
                assert after is not None and after.cell_type == "markdown"
                described = re.search(DESCRIPTION, after.source) or "Alt text:" in after.source
                assert re.match(r"\*\*Figure", after.source) and described

    def test_every_caption_stands_below_its_picture(self, notebook):
        """nbval compares no pictures: it would not miss one."""
        cells = nbformat.read(notebook, as_version=4).cells
        for before, cell in pairwise(cells):
            if cell.cell_type == "markdown" and re.match(r"\*\*Figure", cell.source):
                assert any("image/png" in o.get("data", {}) for o in before.get("outputs", [])), cell.source[:20]
