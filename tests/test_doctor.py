"""fixlib doctor: every line is given, whatever is wrong with the others."""

import json
import shutil
from pathlib import Path

import pytest

from fixlib import data
from fixlib.cli import main
from fixlib.runs import obtain


@pytest.fixture
def lines(project, monkeypatch, capsys):
    """A function that gives the report's lines by what they are about, and what the command returned."""
    shutil.copy(Path(__file__).resolve().parents[1] / "constraints.txt", project)

    really_open = data.open_dataset

    def opened(name, *rest):
        if name == "osie":
            raise data.DataFileError("data/osie/val_data.pt cannot be read")
        return dict(train=dict(coordinates=[0])) if name in ("gazecom", "simulated") else really_open(name, *rest)

    monkeypatch.setattr(data, "open_dataset", opened)

    def report():
        capsys.readouterr()
        code = main(["doctor"])
        return code, {line[5:].partition(":")[0]: line for line in capsys.readouterr().out.splitlines()}

    return report


def test_damaged_files_are_lines_among_others(project, dataset, lines):
    run = obtain("loss_comparison", dataset, "smoke", losses=["mse"], workers=1).runs[0]
    code, found = lines()
    assert code == 1 and found["recorded runs"].startswith("ok   recorded runs: 5 in results/")
    assert found["data 'osie'"] == "BAD  data 'osie': data/osie/val_data.pt cannot be read"
    run.path.write_text("{")
    failed = project / "build" / "failed" / "dice-smoke-0-0123456789.json"
    failed.parent.mkdir(parents=True)
    failed.write_text(json.dumps(dict(failed="no luck")))
    code, found = lines()
    assert code == 1 and f"BAD  recorded runs: {run.path} is not a recorded run" in found["recorded runs"]
    assert "dice-smoke-0-0123456789: no luck; repeat the command, or delete" in found["failed runs"]
    assert found["data 'simulated'"].startswith("ok ") and found["Python"].startswith("ok ")


def test_without_pinned_versions_the_other_lines_are_given(project, lines):
    (project / "constraints.txt").unlink()
    code, found = lines()
    assert code == 1 and found["packages"].startswith(f"BAD  packages: there are no pinned versions at {project}")
    assert "set FIXLIB_ROOT" in found["packages"]
    assert found["data 'simulated'"].startswith("ok ") and found["failed runs"] == "ok   failed runs: none"
