"""The site: built once, crawled for what is missing or asked for elsewhere, and opened in a browser if there is one."""

import re
from pathlib import Path
from urllib.parse import unquote, urlparse

import pytest
from bs4 import BeautifulSoup

from fixlib.book import chapter_paths

ROOT = Path(__file__).resolve().parents[1]
WIDTHS = (1280, 390)  # a desktop, a phone
REQUESTED = dict(img="src", script="src", link="href", source="src", iframe="src", video="src")


@pytest.fixture(scope="session")
def pages(html):
    """Path -> parsed page, of all but listings of source code."""
    paths = [path for path in html.rglob("*.html") if "_modules" not in path.parts]
    return {path: BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser") for path in paths}


def test_every_chapter_and_page_is_there(html):
    assert [html / "notebooks" / f"{path.stem}.html" for path in chapter_paths()] == sorted(
        html.glob("notebooks/*.html")
    )
    written = [path.relative_to(ROOT).with_suffix(".html") for path in (ROOT / "docs").glob("*.md")]
    assert not [page for page in written if not (html / page).is_file()]
    assert "fixlib.losses.FocalLoss" in (html / "api" / "losses.html").read_text()


def test_chapters_stand_in_their_order(pages, html):
    links = [
        link["href"] for link in pages[html / "index.html"].select(".sidebar-tree a") if "notebooks/" in link["href"]
    ]
    assert links == [f"notebooks/{path.stem}.html" for path in chapter_paths()]


def test_every_page_has_a_title_and_a_way_on(pages):
    for path, page in pages.items():
        assert page.title and page.title.text.strip() and (page.h1 or path.name == "search.html"), path
        assert page.select(".sidebar-tree a") and page.select_one("form.sidebar-search-container"), path


def test_no_page_shows_markup_that_was_not_understood(pages):
    assert not [path for path, page in pages.items() if page.select(".problematic")]


def test_every_link_and_picture_leads_somewhere(pages, html):
    anchors = {
        path: set(re.findall(r'\bid="([^"]+)"', path.read_text(encoding="utf-8"))) for path in html.rglob("*.html")
    }
    missing = []
    for path, page in pages.items():
        for tag in page.select("a[href], img[src], script[src], link[href]"):
            link = urlparse(tag.get("href") or tag.get("src"))
            found = (path.parent / unquote(link.path)).resolve() if link.path else path
            there = found.is_file() and (not link.fragment or unquote(link.fragment) in anchors.get(found, ()))
            if not link.scheme and not there:
                missing.append(f"{path.relative_to(html)}: {link.geturl()}")
    assert not missing


def test_nothing_is_requested_from_elsewhere(pages, html):
    elsewhere = re.compile(r"^(https?:)?//")
    asked = [
        f"{path.relative_to(html)}: {tag[name]}"
        for path, page in pages.items()
        for kind, name in REQUESTED.items()
        for tag in page.find_all(kind, **{name: elsewhere})
    ]
    styles = [
        path for path in html.rglob("*.css") if re.search(r"(url\(|@import)\s*[\"']?(https?:)?//", path.read_text())
    ]
    assert not asked and not styles


def test_every_picture_of_a_chapter_is_described(pages, html):
    for chapter in chapter_paths():
        page = pages[html / "notebooks" / f"{chapter.stem}.html"]
        pictures = page.select(".cell_output img")
        assert all(len(picture.get("alt", "")) > 30 for picture in pictures), chapter.stem
        assert "Alt text:" not in page.get_text()


def test_what_chapters_cite_is_in_the_bibliography(pages, html):
    """Each entry of a list of references, by its first author and its year."""
    known, missing = pages[html / "docs" / "bibliography.html"].get_text(), []
    for chapter in chapter_paths():
        for entry in pages[html / "notebooks" / f"{chapter.stem}.html"].select("#references li"):
            author, year = re.match(r"\w+", entry.text.strip())[0], re.search(r"\((\d{4})", entry.text)[1]
            if not re.search(rf"^{author}\b[^\n]*(\n[^\n]+)?\({year}\)", known, re.MULTILINE):
                missing.append(f"{chapter.stem}: {entry.text.strip()}")
    assert not missing


@pytest.mark.parametrize("width", WIDTHS)
def test_a_browser_without_network_finds_nothing_missing(html, browser, width):
    context = browser.new_context(viewport=dict(width=width, height=900), offline=True)
    page, complaints = context.new_page(), []
    page.on(
        "request", lambda r: complaints.append(r.url) if not r.url.startswith(("file:", "data:", "blob:")) else None
    )
    page.on("requestfailed", lambda r: complaints.append(f"failed: {r.url}"))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    for path in sorted(html.rglob("*.html")):
        if "_modules" not in path.parts:
            page.goto(path.as_uri())
            assert page.evaluate("document.documentElement.scrollWidth") <= width, (
                f"{path.name} is wider than the screen"
            )
            assert not complaints, path.name
    context.close()


def test_the_search_finds(html, browser):
    page = browser.new_page()
    page.goto(f"{(html / 'search.html').as_uri()}?q=centre+bias")
    page.wait_for_selector("#search-results li a")
    found = [link.get_attribute("href") for link in page.query_selector_all("#search-results a")]
    assert any("docs/glossary.html" in address for address in found)
    page.close()


def test_dark_and_light(html, browser):
    colors = []
    for scheme in ("light", "dark"):
        page = browser.new_page(color_scheme=scheme)
        page.goto((html / "index.html").as_uri())
        colors.append(page.evaluate("getComputedStyle(document.body).backgroundColor"))
        page.close()
    assert colors[0] == "rgb(255, 255, 255)" and colors[1] != colors[0]
