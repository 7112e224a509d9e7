"""The papers beside the chapters: glossary, notation, cheat sheet, reading list, and how to take part."""

from __future__ import annotations

import re
from pathlib import Path

from pagedlab.learn.exercise import CHAPTERS
from tools.site.render import PAGES, Rendered, chapter_page, render_markdown, there_is

ROOT = Path(__file__).resolve().parents[2]

_CHEAT_SHEET = """# Cheat sheet

One page, to print: [PDF](figures/cheat_sheet.pdf) or [SVG](figures/cheat_sheet.svg).

<a href="figures/cheat_sheet.svg"><img class="figure" src="figures/cheat_sheet.svg"
  alt="Formulas of memory, waste, addresses, attention, speed and prefix caches, with examples; five systems"></a>
"""


def pages() -> list[tuple[str, str, Rendered]]:
    """(file, title, content)"""
    found = [("cheat_sheet.html", "Cheat sheet", render_markdown(_CHEAT_SHEET, "cheat_sheet"))]
    for document, page in PAGES.items():
        if page in ("exercises.html", "cheat_sheet.html"):
            continue
        rendered = render_markdown((ROOT / document).read_text(encoding="utf-8"), page.removesuffix(".html"))
        if page == "glossary.html":
            rendered.body = _terms(rendered.body)
        if page in ("glossary.html", "reading.html"):
            rendered.body = _chapter_numbers(rendered.body)
        found.append((page, page.removesuffix(".html").capitalize(), rendered))
    return found


def _terms(body: str) -> str:
    """Every term can be linked to: glossary.html#copy-on-write."""

    def anchor(match: re.Match[str]) -> str:
        name = re.sub(r"[^a-z0-9]+", "-", match[1].lower()).strip("-")
        return f'<tr id="{name}">\n<td>{match[1]}</td>'

    return re.sub(r"<tr>\n<td>(.*?)</td>", anchor, body)


def _chapter_numbers(body: str) -> str:
    """Numbers of chapters at the end of a row or of a paragraph, linked."""
    stems = {stem[:2]: stem for stem in CHAPTERS if there_is(stem)}

    def linked(match: re.Match[str]) -> str:
        numbers = re.sub(
            r"\d\d",
            lambda one: f'<a href="{chapter_page(stems[one[0]])}">{one[0]}</a>' if one[0] in stems else one[0],
            match[2],
        )
        return match[1] + numbers + match[3]

    return re.sub(r"(<td>|\[)(\d\d(?:, \d\d)*)(</td>|\])", linked, body)
