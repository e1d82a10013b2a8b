"""pyproject.toml, constraints.txt and environment.yml say the same; the README's commands exist."""

import re
import shlex
import tomllib
from pathlib import Path

import pytest
import torch
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import fixlib
from fixlib import losses
from fixlib.cli import _parser
from fixlib.registry import Registry

ROOT = Path(__file__).resolve().parents[1]


def requirements() -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    texts = [*project["dependencies"], *(t for extra in project["optional-dependencies"].values() for t in extra)]
    return [Requirement(text) for text in texts]


def constraints() -> dict[str, str]:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in (line.split("==") for line in lines)}


def environment() -> dict[str, str]:
    """name -> version of the lines under `dependencies` in environment.yml."""
    lines = (ROOT / "environment.yml").read_text().split("dependencies:")[1].splitlines()
    found = (re.match(r"\s*- ([\w.-]+?)=+(\S+)", line) for line in lines)
    return {canonicalize_name(match[1]): match[2] for match in found if match}


def test_every_requirement_is_pinned_within_its_bounds():
    pins = constraints()
    for requirement in requirements():
        assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)]), requirement


def test_the_pinned_versions_are_the_only_place_with_pins():
    assert all("==" not in str(requirement) for requirement in requirements())


def test_environment_yml_has_the_same_packages_and_versions():
    names = {"pytorch": "torch", "matplotlib-base": "matplotlib"}
    conda = {names.get(name, name): version for name, version in environment().items() if name not in ("python", "pip")}
    pins = constraints()
    assert conda == {canonicalize_name(r.name): pins[canonicalize_name(r.name)] for r in requirements()}


def test_every_line_of_environment_yml_says_what_needs_it():
    lines = (ROOT / "environment.yml").read_text().split("dependencies:")[1].splitlines()
    assert all("#" in line for line in lines if line.strip().startswith("-"))


def test_nothing_names_a_machine_or_a_package_host():
    wheel_paths = re.compile(r"file://|https?://[\w.-]*(pypi|pythonhosted|conda)")
    for name in ("constraints.txt", "environment.yml", "pyproject.toml", "Makefile"):
        assert not wheel_paths.search((ROOT / name).read_text()), name


def test_the_version_is_the_same_everywhere():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert fixlib.__version__ == project["version"]
    assert f"version: {project['version']}\n" in (ROOT / "CITATION.cff").read_text()


PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "data" / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_commands_of_a_page_are_understood(page):
    for block in re.findall(r"```bash\n(.*?)```", page.read_text(), re.DOTALL):
        for line in block.splitlines():
            if line.startswith("fixlib "):
                _parser().parse_args(shlex.split(line, comments=True)[1:])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_files_that_a_page_links_to_exist(page):
    links = re.findall(r"\]\(([^)#:]+)\)", page.read_text())
    assert not [link for link in links if not (page.parent / link).exists()]


def test_the_environment_is_read_in_two_places():
    readers = [p.name for p in (ROOT / "fixlib").rglob("*.py") if re.search(r"os\.(environ|getenv)", p.read_text())]
    assert set(readers) <= {"cli.py", "system.py", "sweep.py"}


def test_what_the_page_of_own_parts_shows_works(monkeypatch):
    monkeypatch.setattr(losses, "LOSSES", losses.Losses("loss"))
    monkeypatch.setattr("fixlib.models.registry.NETWORKS", Registry("network"))
    page = ROOT / "docs" / "own_loss_or_model.md"
    loss, network = re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
    exec(loss, shown := {})
    exec(network, shown)
    frames = torch.zeros(2, 1, 4, 4)
    assert losses.make_loss("absolute", weight=2.0)(frames, frames) == 0.5
    assert shown["NETWORKS"]["resting"].for_task(4, 2, 32)(torch.ones(3, 4, 2)).shape == (3, 2, 2)
