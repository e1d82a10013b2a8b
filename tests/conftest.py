"""What several test files start from."""

import pytest

from benchmarks import kills


@pytest.fixture(scope="session")
def dataset(tmp_path_factory):
    """A folder of simulated gaze, small enough for runs of seconds."""
    return str(kills.make_dataset(tmp_path_factory.mktemp("gaze")))


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project folder of its own."""
    monkeypatch.setenv("FIXLIB_ROOT", str(tmp_path))
    return tmp_path
