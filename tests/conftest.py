"""What several test files start from."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import filelock
import pytest

from benchmarks import kills

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def dataset(tmp_path_factory):
    """A folder of simulated gaze, small enough for runs of seconds."""
    return str(kills.make_dataset(tmp_path_factory.mktemp("gaze")))


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project folder of its own."""
    monkeypatch.setenv("FIXLIB_ROOT", str(tmp_path))
    return tmp_path


@pytest.fixture(scope="session")
def html(tmp_path_factory):
    """The folder of the built site; workers that run beside each other build it once."""
    pytest.importorskip("sphinx", reason="the site's builder is missing: pip install -c constraints.txt -e '.[site]'")
    pytest.importorskip("myst_nb")
    of_this_worker = tmp_path_factory.getbasetemp()
    out = (of_this_worker.parent if "PYTEST_XDIST_WORKER" in os.environ else of_this_worker) / "site"
    with filelock.FileLock(f"{out}.lock"):
        if not (out / "html" / "index.html").exists():
            build = [sys.executable, ROOT / "docs" / "make_site.py", out]
            done = subprocess.run(build, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr[-3000:]
    return out / "html"


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is missing: pip install -e '.[site]'")
    with playwright.sync_playwright() as started:
        installed = shutil.which("chromium") or shutil.which("chromium-browser") or started.chromium.executable_path
        if not Path(installed).exists():
            pytest.skip("Chromium is missing: apt-get install chromium, or python -m playwright install chromium")
        with started.chromium.launch(executable_path=installed, args=["--no-sandbox"]) as opened:
            yield opened
