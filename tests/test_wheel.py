"""A built wheel, installed in an environment of its own: it holds what the library needs, the checkout aside."""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FIGURE = """
import fixlib, matplotlib.pyplot as plt
from pathlib import Path
from fixlib import plots
with plots.book_style():
    figure = plt.figure()
    plots.save(figure, Path("drawn"), "empty")
print(fixlib.__file__)
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder elsewhere, and a function that runs a command of the installed wheel there."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"  # a copy, since building leaves files behind
    shutil.copytree(ROOT / "fixlib", source / "fixlib", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    wheel = [*pip, "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-w", folder, source]
    subprocess.run(wheel, check=True)

    venv.create(folder / "env", symlinks=True)
    python = folder / "env" / "bin" / "python"
    install = [*pip, "--python", python, "install", "--no-deps", "--no-index", *folder.glob("fixlib-*.whl")]
    subprocess.run(install, check=True)
    # The dependencies of this environment: a path alone, so that an editable fixlib there is not seen.
    site_packages = next((folder / "env" / "lib").glob("python*/site-packages"))
    (site_packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")

    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    known = {k: v for k, v in os.environ.items() if k != "PYTHONPATH" and not k.startswith("FIXLIB")}

    def run(*command):
        path = python.parent / command[0]
        return subprocess.run([path, *command[1:]], cwd=elsewhere, env=known, capture_output=True, text=True)

    return elsewhere, run


def test_it_draws_a_figure_in_the_books_style(installed):
    elsewhere, run = installed
    done = run("python", "-c", FIGURE)
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).is_relative_to(elsewhere.parent / "env")
    assert (elsewhere / "drawn" / "empty.png").stat().st_size > 0


def test_its_command_works_in_another_folder(installed):
    _, run = installed
    assert "COMMAND" in run("fixlib", "--help").stdout
    report = run("fixlib", "doctor")
    assert "packages: Python 3." in report.stdout and not report.stderr, report.stderr


def test_it_says_that_it_has_types(installed):
    elsewhere, _ = installed
    assert list(elsewhere.parent.glob("env/lib/python*/site-packages/fixlib/py.typed"))
