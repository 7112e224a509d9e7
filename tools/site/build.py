"""Build: every page of the site, with its navigation, into one folder."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

import nbformat
from jinja2 import Environment, FileSystemLoader, select_autoescape
from nbformat import NotebookNode

from pagedlab.learn.exercise import CHAPTERS, all_exercises
from pagedlab.learn.overview import MAP, box_of, course_map
from tools.notebooks import NOTEBOOKS, untouched_exercises
from tools.site import exercises, papers
from tools.site.colours import code_style
from tools.site.render import FILES, Rendered, chapter_page, render
from tools.site.widgets import Widgets

ROOT = NOTEBOOKS.parent

#: Written at the top of a site, so that a folder of somebody's own is never cleared.
MARK = ".pagedlab-site"


@dataclass
class Page:
    """``name``: the file. ``group``: what it stands under in the navigation."""

    name: str
    title: str
    rendered: Rendered
    group: str = "papers"
    scripts: list[str] = field(default_factory=list)

    @property
    def number(self) -> str:
        return self.title[:2] if self.group == "chapters" else ""


def build(out: Path, *, live: Sequence[str] = ()) -> Path:
    """Write the site into ``out`` and return its index. ``live``: beginnings of the names of notebooks
    that are run for their widgets; ``("",)`` runs all that have some.

    Raises FileExistsError where ``out`` holds something else than a site.
    """
    _clear(out)
    widgets = Widgets(ROOT, live)
    with untouched_exercises():
        pages = [*_chapters(widgets), *(Page(*it) for it in (*exercises.pages(), *papers.pages()))]
        _write(out, pages, widgets)
    return out / "index.html"


def _clear(out: Path) -> None:
    if out.exists() and any(out.iterdir()):
        if not (out / MARK).exists():
            raise FileExistsError(f"{out} holds something else than this site: name an empty folder")
        shutil.rmtree(out)
    for folder in ("figures", "widgets"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    (out / MARK).touch()


def _chapters(widgets: Widgets) -> list[Page]:
    found = []
    for stem in CHAPTERS:
        path = NOTEBOOKS / f"{stem}.ipynb"
        if path.exists():
            notebook = nbformat.read(path, as_version=4)
            moving = widgets.of(stem, notebook)
            rendered = render(notebook, stem, widgets=moving.html)
            title = f"{stem[:2]} {stem[3:].replace('_', ' ')}"
            found.append(Page(chapter_page(stem), title, rendered, "chapters", moving.scripts))
    return found


def _write(out: Path, pages: list[Page], widgets: Widgets) -> None:
    environment = Environment(
        loader=FileSystemLoader(FILES), autoescape=select_autoescape(["html", "j2"]), trim_blocks=True
    )
    template = environment.get_template("page.html.j2")
    chapters = [page for page in pages if page.group == "chapters"]
    groups = {group: [page for page in pages if page.group == group] for group in ("chapters", "papers")}
    for page in pages:
        before, after = None, None
        if page in chapters:
            at = chapters.index(page)
            before, after = (chapters[at - 1] if at else None), (chapters[at + 1] if at + 1 < len(chapters) else None)
        html = template.render(page=page, groups=groups, before=before, after=after)
        (out / page.name).write_text(html, encoding="utf-8")
        for name, content in page.rendered.pictures.items():
            (out / name).write_bytes(content)
    index = Page("index.html", "pagedlab", Rendered(_index(chapters), []), "index")
    html = template.render(page=index, groups=groups, before=None, after=None)
    (out / index.name).write_text(html, encoding="utf-8")
    (out / "figures" / "course_map.svg").write_text(str(course_map()), encoding="utf-8")
    for name, script in widgets.files.items():
        (out / name).write_text(script, encoding="utf-8")
    for name in ("site.css", "site.js", "widgets.js"):
        shutil.copy(FILES / name, out)
    (out / "code.css").write_text(code_style(), encoding="utf-8")
    for name in ("cheat_sheet.svg", "cheat_sheet.pdf"):
        shutil.copy(ROOT / "docs" / name, out / "figures")


def _index(chapters: list[Page]) -> str:
    """What the course is, the map with every chapter to click on, and the chapters with their ideas."""
    environment = Environment(loader=FileSystemLoader(FILES), autoescape=True, trim_blocks=True)
    drawing = course_map()
    width, height = (
        float(re.findall(rf'<svg[^>]* {side}="([\d.]+)"', str(drawing))[0]) for side in ("width", "height")
    )
    spots, rows = [], []
    for page in chapters:
        x, y, across, down = box_of(MAP[page.number])
        box = [100 * x / width, 100 * y / height, 100 * across / width, 100 * down / height]
        spots.append((page, [f"{share:.3f}%" for share in box]))
        there = [exercise for exercise in all_exercises().values() if exercise.chapter[:2] == page.number]
        rows.append((page, idea_of(NOTEBOOKS / page.name.replace(".html", ".ipynb")), there))
    missing = [f"{stem[:2]} {stem[3:].replace('_', ' ')}" for stem in CHAPTERS if not _written(stem, chapters)]
    return environment.get_template("index.html.j2").render(
        spots=spots, rows=rows, missing=missing, alt=escape(drawing.alt)
    )


def _written(stem: str, chapters: list[Page]) -> bool:
    return any(page.name == chapter_page(stem) for page in chapters)


def idea_of(path: Path) -> str:
    """The line that opens a chapter."""
    first: NotebookNode = nbformat.read(path, as_version=4).cells[0]
    return re.findall(r"\*\*The idea in a line:\*\* (.*)", first.source)[0]
