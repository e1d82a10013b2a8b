"""The book and its documentation as one site, in build/site/html, to be read without internet: `make site`.

Pages keep the places that they have in the repository, so that a link between two of them holds in both. Chapters are
shown as they are stored: nothing is executed. What is generated (a page of modules, the status page) is told from the
library, the recorded runs and the pinned versions.
"""

from __future__ import annotations

import pkgutil
import re
import shutil
import sys
import time
from importlib import import_module
from pathlib import Path
from urllib.parse import unquote

import nbformat

import fixlib
from fixlib import explorers
from fixlib.book import chapter_paths, described
from fixlib.system import root

sys.path.insert(0, str(Path(__file__).parent))
from status import status_page

HOW_TO = (
    "first_steps",
    "commands",
    "own_recordings",
    "own_loss_or_model",
    "many_runs",
    "verification",
    "troubleshooting",
)
REFERENCE = ("docs/glossary", "docs/bibliography", "docs/data_formats", "data/README", "benchmarks/README")
ABOUT = ("status", "CONTRIBUTING", "CHANGELOG")
LINKED = ("fixlib", "examples", "figures", "LICENSE", "CITATION.cff")  # files, not pages, that pages link to or show
EXPLORERS = "explorers.js"  # what draws the charts with sliders, once for all chapters
NOT_DOCUMENTED = ("__main__", "cli", "chapters")  # commands have a page of their own, and chapters are the book


def gather(source: Path) -> None:
    """Put all that the site is made of into a folder of its own."""
    shutil.rmtree(source, ignore_errors=True)
    (source / "notebooks").mkdir(parents=True)
    for path in [*LINKED, "docs", *(f"{page}.md" for page in (*REFERENCE, *ABOUT) if (root() / f"{page}.md").exists())]:
        copy = shutil.copytree if (root() / path).is_dir() else shutil.copy2
        (source / path).parent.mkdir(exist_ok=True)
        copy(root() / path, source / path)
    for chapter in chapter_paths():
        shown = described(nbformat.read(chapter, as_version=4))
        explorers.as_html(shown, f'<script src="../_static/{EXPLORERS}"></script>')
        _adapt_html(shown)
        nbformat.write(shown, source / "notebooks" / chapter.name)
    modules = [module.name for module in pkgutil.iter_modules(fixlib.__path__) if module.name not in NOT_DOCUMENTED]
    for name in modules:
        _write(source / "api" / f"{name}.md", module_page(f"fixlib.{name}"))
    _write(source / "status.md", status_page())
    _write(source / "index.md", index_page([f"api/{name}" for name in modules]))


def _adapt_html(chapter: nbformat.NotebookNode) -> None:
    """Links between chapters in what cells show as HTML, which Sphinx leaves as it is."""
    for data in (output.get("data", {}) for cell in chapter.cells for output in cell.get("outputs", [])):
        if "text/html" in data:
            data["text/html"] = re.sub(r'href="((?:\d\d|appendix)_\w+)\.ipynb(#[^"]*)?"', _page_link, data["text/html"])


def _page_link(link: re.Match) -> str:
    """A section has the name there that docutils gives it: "#One-pixel,-one-number" is "#one-pixel-one-number"."""
    section = re.sub(r"[^a-z0-9]+", "-", unquote(link[2] or "").lower()).strip("-")
    return f'href="{link[1]}.html{section and "#" + section}"'


def module_page(name: str) -> str:
    """A page of the reference: a module, or all modules of a package."""
    package = import_module(name)
    inside = [f"{name}.{module.name}" for module in pkgutil.iter_modules(getattr(package, "__path__", []))]
    parts = [f"# {name}\n", _automodule(name, members=not inside)]
    parts += [f"## {module}\n\n{_automodule(module)}" for module in inside if import_module(module).__doc__]
    return "\n".join(parts)


def _automodule(name: str, members: bool = True) -> str:
    return f"```{{eval-rst}}\n.. automodule:: {name}\n{'' if members else '   :no-members:'}\n```\n"


def index_page(reference: list[str]) -> str:
    """The README, and the order of all pages."""
    chapters = [
        f"{path.stem.split('_')[0].lstrip('0') or '0'} · {_title(path)} <notebooks/{path.stem}>"
        for path in chapter_paths()
    ]
    trees = {
        "The book": chapters,
        "How to": [f"docs/{name}" for name in HOW_TO],
        "Reference": [*REFERENCE, *reference],
        "About": list(ABOUT),
    }
    text = (root() / "README.md").read_text(encoding="utf-8")
    for caption, pages in trees.items():
        text += f"\n```{{toctree}}\n:hidden:\n:caption: {caption}\n\n" + "\n".join(pages) + "\n```\n"
    return text


def _title(chapter: Path) -> str:
    return nbformat.read(chapter, as_version=4).cells[0].source.splitlines()[0].lstrip("# ")


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")


def main(out: Path) -> int:
    """Build the site under `out`; 1 where a link leads nowhere or a page is in no list."""
    from sphinx.cmd.build import build_main

    start, html = time.perf_counter(), out / "html"
    gather(out / "source")
    shutil.rmtree(html, ignore_errors=True)
    places = ["-c", root() / "docs", "-d", out / "doctrees", out / "source", html]
    code = build_main(["--quiet", "--fail-on-warning", "--fresh-env", *map(str, places)])
    (html / "_static" / EXPLORERS).write_text(explorers.script(), encoding="utf-8")
    pages, files = list(html.rglob("*.html")), [path for path in html.rglob("*") if path.is_file()]
    size, seconds = sum(path.stat().st_size for path in files) / 1e6, time.perf_counter() - start
    print(f"site: {len(pages)} pages, {size:.1f} MB, {seconds:.0f} s: {html / 'index.html'}")
    return code


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1]) if sys.argv[1:] else root() / "build" / "site"))
