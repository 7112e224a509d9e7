"""One notebook to the HTML of its cells, by nbconvert: pictures become files, links lead to pages of the site."""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cache
from html import escape, unescape
from pathlib import Path

import nbformat
from nbconvert import HTMLExporter
from nbformat import NotebookNode

from pagedlab.learn.exercise import CHAPTERS, all_exercises

FILES = Path(__file__).with_name("files")

#: Kinds of pictures, the better first: SVG stays sharp.
PICTURES = {"image/svg+xml": "svg", "image/png": "png"}

#: Notebooks and documents of the repository -> pages of the site.
PAGES = {
    "docs/glossary.md": "glossary.html",
    "docs/notation.md": "notation.html",
    "docs/cheat_sheet.pdf": "cheat_sheet.html",
    "docs/reading.md": "reading.html",
    "exercises/README.md": "exercises.html",
    "CONTRIBUTING.md": "contributing.html",
    "CHANGELOG.md": "changelog.html",
}

# What differs from nbconvert's basic template: a drawing's code is folded away where the notebook folds it away.
_TEMPLATE = """
{%- extends 'basic/index.html.j2' -%}
{% block input_group -%}
{%- if cell.metadata.get('jupyter', {}).get('source_hidden') -%}
<details class="folded"><summary>The code of this drawing</summary>{{ super() }}</details>
{%- else -%}{{ super() }}{%- endif -%}
{%- endblock input_group %}
{% block input -%}
<div class="input_area">{{ cell.source | highlight_code(metadata=cell.metadata) }}</div>
{%- endblock input %}
"""


@dataclass
class Rendered:
    """``body``: HTML. ``sections``: the anchor and the title of every second-level heading."""

    body: str
    sections: list[tuple[str, str]]
    pictures: dict[str, bytes] = field(default_factory=dict)  #: path within the site -> content


def render(notebook: NotebookNode, stem: str, *, widgets: Mapping[int, str] | None = None) -> Rendered:
    """``widgets``: index of a cell -> the HTML of its result that moves; where no scripts run its picture is seen."""
    notebook = deepcopy(notebook)
    pictures: dict[str, bytes] = {}
    for number, cell in enumerate(notebook.cells):
        for output in cell.get("outputs", []):
            if kind := next((kind for kind in PICTURES if kind in output.get("data", {})), None):
                name = f"figures/{stem}-{len(pictures) + 1}.{PICTURES[kind]}"
                pictures[name] = _bytes(output.data[kind], kind)
                html = _image(name, output)
                if widgets and number in widgets and output.output_type == "execute_result":
                    html = f"{widgets[number]}<noscript>{html}</noscript>"
                output.data = {"text/html": html}
    body, _ = _exporter().from_notebook_node(notebook)
    body, sections = _anchors(local_links(body))
    return Rendered(body, sections, pictures)


@cache
def _exporter() -> HTMLExporter:
    return HTMLExporter(raw_template=_TEMPLATE, exclude_input_prompt=True, exclude_output_prompt=True)


def render_markdown(text: str, stem: str) -> Rendered:
    """A document as a notebook of one cell: it looks like the chapters."""
    cells = [nbformat.v4.new_markdown_cell(text, id="document")]
    return render(nbformat.v4.new_notebook(cells=cells), stem)


def _bytes(data: str | list[str], kind: str) -> bytes:
    text = data if isinstance(data, str) else "".join(data)
    return text.encode() if kind == "image/svg+xml" else b64decode(text)


def _image(name: str, output: NotebookNode) -> str:
    alt = next((known["alt"] for known in output.metadata.values() if "alt" in known), "")
    return f'<img class="figure" src="{name}" alt="{escape(alt)}">'


def _anchors(body: str) -> tuple[str, list[tuple[str, str]]]:
    """Every heading gets a short anchor, once a page; an exercise's is its name. Second-level headings come back."""
    taken: set[str] = set()
    sections = []

    def heading(match: re.Match[str]) -> str:
        level, words = match[1], re.sub("<.*?>", "", match[2])
        exercise = re.match(r"(?:Exercise )?(\d\d\.\w+) · ", unescape(words))
        name = exercise[1] if exercise else re.sub(r"[^a-z0-9]+", "-", unescape(words).lower()).strip("-")
        while name in taken:
            name += "-2"
        taken.add(name)
        if level == "2":
            sections.append((name, words))
        link = f'<a class="anchor-link" href="#{name}" aria-label="Link to this place">¶</a>'
        return f'<h{level} id="{name}">{match[2]}{link}</h{level}>'

    return re.sub(r'<h(\d) id="[^"]*">(.*?)<a class="anchor-link".*?</a></h\1>', heading, body, flags=re.S), sections


def local_links(body: str) -> str:
    """Links between notebooks and documents lead to pages; where a page is not there yet, only the words stay."""
    body = re.sub(r'<a href="([^"]+)"([^>]*)>(.*?)</a>', _link, body, flags=re.S)
    return re.sub(r"<code>exercises/([\w/]+\.py)</code>", _exercise_link, body)


def chapter_page(stem: str) -> str:
    return f"{stem}.html"


def there_is(stem: str) -> bool:
    return (FILES.parents[2] / "notebooks" / f"{stem}.ipynb").exists()


def _link(match: re.Match[str]) -> str:
    address, rest, text = unescape(match[1]), match[2], match[3]
    if address.startswith(("#", "https://", "http://", "mailto:", "figures/")):
        return match[0]
    path, _, anchor = address.partition("#")
    anchor = f"#{anchor}" if anchor else ""
    name = path.rpartition("/")[2]
    if name.removesuffix(".ipynb") in CHAPTERS:
        stem = name.removesuffix(".ipynb")
        return f'<a href="{chapter_page(stem)}{anchor}"{rest}>{text}</a>' if there_is(stem) else text
    for document, page in PAGES.items():
        if document == path.removeprefix("../") or (document.rpartition("/")[2] == name != "README.md"):
            return f'<a href="{page}{anchor}"{rest}>{text}</a>'
    return match[0] if path.endswith(".html") else text


def _exercise_link(match: re.Match[str]) -> str:
    known = {exercise.file: exercise for exercise in all_exercises().values()}
    if match[1] not in known:
        return match[0]
    exercise = known[match[1]]
    return f'<a href="exercises_{exercise.chapter[:2]}.html#{exercise.name}">{match[0]}</a>'
