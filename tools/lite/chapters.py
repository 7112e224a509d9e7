"""Chapters for a browser: the same cells. Those that need a real model keep what they showed, as text and pictures."""

from __future__ import annotations

import ast
import json
import re
from copy import deepcopy
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from pagedlab.view.undrawn import file_of
from tools.notebooks import NOTEBOOKS

#: Chapters that stand on the memory and scheduling floors alone, but for their last sections.
CHAPTERS = ("01_the_memory_bill", "02_fragmentation", "03_page_tables", "07_continuous_batching", "08_prefix_sharing")

#: What cannot be imported in a browser.
HEAVY = re.compile(r"torch|numpy|matplotlib|pagedlab_kernels|pagedlab\.(models|engine)")

#: Names that ``pagedlab`` itself gives away, and that need torch.
NEEDS_TORCH = {"LLM", "Engine", "AsyncEngine", "load_model"}

METADATA = {
    "kernelspec": {"display_name": "Python (Pyodide)", "language": "python", "name": "python"},
    "language_info": {"name": "python"},
}

_BANNER = (
    "> **In your browser.** This page computes here, without an install and without a network. Cells that need a real "
    "model are shown with what they gave; for them, and for the other chapters, get the course: `make lab`. What you "
    "write in `exercises/` stays in this browser."
)
_FROZEN = "*Needs a real model: this cell is shown as it ran in the course.*"


def for_a_browser(stem: str) -> tuple[NotebookNode, dict[str, str]]:
    """The notebook, and the pictures that its drawings fall back on: file -> SVG."""
    notebook = nbformat.read(NOTEBOOKS / f"{stem}.ipynb", as_version=4)
    cells: list[NotebookNode] = []
    pictures: dict[str, str] = {}
    missing: set[str] = set()
    for cell in notebook.cells:
        if cell.cell_type == "code":
            pictures |= kept_pictures(cell)
            stored, loaded = names_of(cell.source)
            if needs_a_model(cell.source) or loaded & missing:
                missing |= stored
                cell = frozen(cell)
            else:
                missing -= stored
        else:
            cell.source = re.sub(r"\[([^]]+)\]\((\d\d_\w+)\.ipynb\)", _link, cell.source)
        cells.append(cell)
    cells.insert(1, nbformat.v4.new_markdown_cell(_BANNER, id="in-your-browser"))
    return notebook_of(cells), pictures


def notebook_of(cells: list[NotebookNode]) -> NotebookNode:
    return nbformat.from_dict({"cells": cells, "metadata": METADATA, "nbformat": 4, "nbformat_minor": 5})


def _link(match: re.Match[str]) -> str:
    """To a chapter that is not in this edition: the words only."""
    return match[0] if match[2] in CHAPTERS else match[1]


def needs_a_model(source: str) -> bool:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            if HEAVY.match(node.module or ""):
                return True
            if node.module == "pagedlab" and NEEDS_TORCH & {alias.name for alias in node.names}:
                return True
        elif isinstance(node, ast.Import) and any(HEAVY.match(alias.name) for alias in node.names):
            return True
    return False


def names_of(source: str) -> tuple[set[str], set[str]]:
    """Names that a cell gives a value to, and names it looks up that it has not made itself just before."""
    stored, loaded = set[str](), set[str]()
    for statement in ast.parse(source).body:
        for node in ast.walk(statement):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id not in stored:
                loaded.add(node.id)
        for node in ast.walk(statement):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                stored.add(node.id)
            elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                stored.add(node.name)
            elif isinstance(node, (ast.Import, ast.ImportFrom)):
                stored |= {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
    return stored, loaded


def kept_pictures(cell: NotebookNode) -> dict[str, str]:
    """A figure and, in the output after it, its caption."""
    found = {}
    for figure, caption in zip(cell.outputs, cell.outputs[1:], strict=False):
        svg = figure.get("data", {}).get("image/svg+xml")
        if svg and "text/markdown" in caption.get("data", {}):
            found[file_of(caption.data["text/plain"])] = svg
    return found


def frozen(cell: NotebookNode) -> NotebookNode:
    """A code cell as a text that shows its code and what it gave."""
    parts = [_FROZEN, f"```python\n{cell.source}\n```"]
    attachments = {}
    for number, output in enumerate(cell.outputs):
        data = output.get("data", {})
        if "image/png" in data:  # JupyterLite shows no SVG that is attached
            name = f"{number}.png"
            attachments[name] = {"image/png": data["image/png"].replace("\n", "")}
            alt = next((known["alt"] for known in output.metadata.values() if "alt" in known), "")
            parts.append(f"![{alt.replace('[', '(').replace(']', ')')}](attachment:{name})")
        elif "text/markdown" in data:
            parts.append(data["text/markdown"])
        else:
            text = output.get("text") or data.get("text/plain", "")
            parts.append(f"```text\n{text.rstrip()}\n```")
    new = nbformat.v4.new_markdown_cell("\n\n".join(parts), id=cell.id, metadata=deepcopy(cell.metadata))
    if attachments:
        new["attachments"] = attachments
    return new


def write(folder: Path) -> None:
    """All chapters, and their pictures in ``pictures``."""
    (folder / "pictures").mkdir(parents=True, exist_ok=True)
    for stem in CHAPTERS:
        notebook, pictures = for_a_browser(stem)
        nbformat.validate(notebook)
        # Sources as one text each: a server would join their lines, and here is none.
        (folder / f"{stem}.ipynb").write_text(json.dumps(notebook, ensure_ascii=False), encoding="utf-8")
        for name, svg in pictures.items():
            (folder / "pictures" / name).write_text(svg, encoding="utf-8")
