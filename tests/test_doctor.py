"""fixlib doctor: every line is given and says what to do, whatever is wrong with the others; it only looks."""

import json
import shutil
from pathlib import Path

import pytest

from fixlib import book, data, doctor
from fixlib.cli import main
from fixlib.runs import obtain


@pytest.fixture
def lines(project, monkeypatch, capsys):
    """A function that gives the report's lines by what they are about, and what the command returned."""
    shutil.copy(Path(__file__).resolve().parents[1] / "constraints.txt", project)
    monkeypatch.setenv("FIXLIB_DATA", str(project / "data"))
    monkeypatch.setattr(doctor, "try_kernel", lambda: None)

    def report():
        capsys.readouterr()
        code = main(["doctor"])
        return code, {line[5:].partition(":")[0]: line for line in capsys.readouterr().out.splitlines()}

    return report


def test_damaged_files_are_lines_among_others(project, dataset, lines):
    runs = obtain("loss_comparison", dataset, "smoke", results_dir="results", losses=["mse"], workers=1).runs
    run = runs[0]
    shutil.copytree(dataset, project / "data" / "simulated")
    shutil.copytree(dataset, project / "data" / "osie")
    (project / "data" / "osie" / "val_data.pt").write_bytes(b"no such thing")
    code, found = lines()
    assert code == 1 and found["recorded runs"].startswith(f"ok   recorded runs: {len(runs)} in results/; `fixlib")
    assert found["data 'osie'"].startswith("BAD  data 'osie': ") and "val_data.pt" in found["data 'osie'"]
    assert found["data 'osie'"].endswith("move it away and run `fixlib data prepare osie`")
    assert found["data 'simulated'"].startswith("ok   data 'simulated': ")
    (project / "data" / "osie" / "train_data.pt").unlink()
    shutil.copy(project / "data" / "simulated" / "val_data.pt", project / "data" / "osie")
    assert lines()[1]["data 'osie'"].startswith("ok   data 'osie': not prepared yet")
    run.path.write_text("{")
    failed = project / "build" / "failed" / "dice-smoke-0-0123456789.json"
    failed.parent.mkdir(parents=True)
    failed.write_text(json.dumps(dict(failed="no luck")))
    code, found = lines()
    assert code == 1 and f"BAD  recorded runs: {run.path} is not a recorded run" in found["recorded runs"]
    assert "dice-smoke-0-0123456789: no luck; repeat the command, or delete" in found["failed runs"]
    assert "packages: Python 3." in found["packages"]  # pinned or not


def test_a_package_of_which_only_a_trace_is_left_is_no_matter(project, lines, monkeypatch):
    (project / "broken-1.0.dist-info").mkdir()
    monkeypatch.syspath_prepend(str(project))
    assert "packages: Python 3." in lines()[1]["packages"]


def test_without_pinned_versions_the_other_lines_are_given(project, lines):
    (project / "constraints.txt").unlink()
    code, found = lines()
    assert code == 1 and f"there are no pinned versions at {project}" in found["packages"]
    assert "set FIXLIB_ROOT" in found["packages"]
    assert found["data 'simulated'"].startswith("ok ") and found["failed runs"] == "ok   failed runs: none"


def test_it_fetches_and_prepares_nothing(project, lines, monkeypatch):
    for name in ("open_dataset", "open_scanpaths", "prepare"):
        monkeypatch.setattr(data, name, lambda *_: pytest.fail("the doctor fetches or prepares"))
    _, found = lines()
    assert "not prepared yet" in found["data 'osie'"] and "`fixlib data prepare osie`" in found["data 'osie'"]
    assert "https://github.com/" in found["data 'gazecom'"]
    assert not (project / "data").exists()


def test_it_starts_the_kernel_of_the_chapters(lines, monkeypatch):
    monkeypatch.setattr(doctor, "try_kernel", book.try_kernel)
    assert lines()[1]["kernel"].startswith("ok   kernel: starts and imports fixlib")


def test_a_kernel_that_cannot_import_fixlib_is_told(project, lines, monkeypatch):
    monkeypatch.setattr(doctor, "try_kernel", book.try_kernel)
    (project / "shadow" / "fixlib").mkdir(parents=True)
    (project / "shadow" / "fixlib" / "__init__.py").write_text("import no_such_module")
    monkeypatch.setenv("PYTHONPATH", str(project / "shadow"))
    code, found = lines()
    assert code == 1 and "BAD  kernel: chapters cannot run: in it, ModuleNotFoundError" in found["kernel"]
    assert "run make install" in found["kernel"]
