"""The static site: complete, and without a link that leads nowhere or an address that a browser would fetch."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pagedlab.learn.exercise import all_exercises
from tools import notebooks
from tools.site.build import build
from tools.site.links import broken
from tools.site.render import render_markdown


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("site")).parent


def test_every_link_leads_somewhere_and_nothing_is_fetched(site: Path) -> None:
    assert broken(site) == []


def test_every_notebook_is_a_chapter_with_its_neighbours(site: Path) -> None:
    names = [source.stem for source in notebooks.sources([])]
    for number, name in enumerate(names):
        page = (site / f"{name}.html").read_text()
        assert page.count('rel="prev"') == (number > 0) and page.count('rel="next"') == (number + 1 < len(names))
        assert number == 0 or f'<a rel="prev" href="{names[number - 1]}.html">' in page
        assert f'href="{name}.html"' in (site / "index.html").read_text()


def test_the_papers_and_every_exercise_are_there(site: Path) -> None:
    for name in ("glossary", "notation", "reading", "cheat_sheet", "exercises", "contributing", "changelog"):
        assert (site / f"{name}.html").is_file()
    for exercise in all_exercises().values():
        page = (site / f"exercises_{exercise.chapter[:2]}.html").read_text()
        assert f'<h2 id="{exercise.name}">' in page and page.count("<summary>Solution</summary>") >= 1
    assert '<tr id="copy-on-write">' in (site / "glossary.html").read_text()
    assert '<a href="figures/cheat_sheet.pdf">PDF</a>' in (site / "cheat_sheet.html").read_text()
    assert '<a href="cheat_sheet.html">cheat sheet</a>' in (site / "00_start_here.html").read_text()


def test_a_figure_keeps_its_description(site: Path) -> None:
    page = (site / "02_fragmentation.html").read_text()
    figures = [tag for tag in re.findall("<img [^>]*>", page) if 'class="figure"' in tag]
    assert len(figures) > 5 and all(re.search(r'alt="[^"]{20}', tag) for tag in figures)
    assert 'src="figures/02_fragmentation-1.svg"' in figures[0]


@pytest.mark.parametrize(
    ("planted", "complaint"),
    [
        ('<a href="nowhere.html">x</a>', "nowhere.html leads nowhere"),
        ('<a href="../../etc/passwd">x</a>', "leads nowhere on the site"),
        ('<a href="index.html#nowhere">x</a>', "index.html#nowhere names an anchor that is not there"),
        ('<a href="#nowhere">x</a>', "#nowhere names an anchor"),
        ('<img src="figures/nowhere.svg">', "figures/nowhere.svg leads nowhere"),
        ('<script src="https://example.org/x.js"></script>', "https://example.org/x.js is fetched"),
        ('<link rel="stylesheet" href="//example.org/x.css">', "//example.org/x.css is fetched"),
        ('<p style="background: url(http://example.org/x.png)">', "http://example.org/x.png is fetched"),
        ('<p id="content">', "the anchor 'content' is there twice"),
    ],
)
def test_a_planted_fault_is_found(tmp_path: Path, planted: str, complaint: str) -> None:
    (tmp_path / "index.html").write_text(f'<main id="content"><a href="https://example.org">fine</a>{planted}</main>')
    problems = broken(tmp_path)
    assert len(problems) == 1 and complaint in problems[0]


def test_a_style_that_fetches_is_found(tmp_path: Path) -> None:
    (tmp_path / "site.css").write_text('@import "https://example.org/x.css";')
    assert len(broken(tmp_path)) == 1


def test_links_between_documents_lead_to_pages() -> None:
    text = "[a](../CHANGELOG.md#unreleased) [b](03_page_tables.ipynb) [c](https://example.org) [d](../bench/README.md)"
    body = render_markdown(f"# T\n\n{text}\n\n# T", "t").body
    assert '<a href="changelog.html#unreleased">a</a>' in body and '<a href="03_page_tables.html">b</a>' in body
    assert '<a href="https://example.org">c</a>' in body and "README.md" not in body
    assert '<h1 id="t">' in body and '<h1 id="t-2">' in body


def test_a_folder_of_somebodys_own_is_not_cleared(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("kept")
    with pytest.raises(FileExistsError, match="empty folder"):
        build(tmp_path)
    assert (tmp_path / "mine.txt").read_text() == "kept"
