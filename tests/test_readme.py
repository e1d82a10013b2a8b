"""README opens with the book's first table: the one that is computed from recorded runs."""

from pathlib import Path

import numpy as np

from fixlib.chapters.loss_comparison import tables

README = Path(__file__).resolve().parents[1] / "README.md"


def written(column, value):
    if isinstance(value, float):
        return "–" if np.isnan(value) else f"{value:{tables.WRITTEN[column]}}"
    return str(value)


def test_the_first_table_is_that_of_the_recorded_runs():
    found = tables.headline()
    rows = [["predictor", *found], ["---", *("---:" for _ in found)]]
    rows += [[name, *(written(column, row[column]) for column in found)] for name, row in found.iterrows()]
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    shown = README.read_text(encoding="utf-8").split("<!-- headline -->")[1].split("<!-- end -->")[0].strip()
    assert shown == table, f"README's first table should read:\n{table}"
