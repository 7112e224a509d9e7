"""Every notebook in real JupyterLab: it runs to its end without an error, and whatever it shows is really drawn."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.browser.lab import IN_FRONT, NOTEBOOKS, Lab, code_cells, run_all

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = [pytest.mark.browser, pytest.mark.slow]

WIDGET = "application/vnd.jupyter.widget-view+json"

#: Where each widget draws, and how much of it is there at least: colours on a canvas, shapes, or pixels.
WIDGETS = {
    "PageMap": ("canvas.plm-pages", 4),
    "Explorer": ("svg[role=img]", 4),
    "KernelPlayer": (".plm img", 10_000),
}
LOOK = Path(__file__).with_name("what_is_drawn.js").read_text(encoding="utf-8")


@pytest.mark.timeout(600)
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs_to_its_end_and_everything_it_shows_is_drawn(
    path: Path, page: Page, jupyterlab: Lab, screenshot: Callable[[Page, str], None]
) -> None:
    jupyterlab.open_notebook(page, f"notebooks/{path.name}")
    try:
        saved = code_cells(page)
        before = what_is_drawn(page)
        run_all(page)
        cells = code_cells(page)
        errors = [output for cell in cells for output in cell["outputs"] if output["output_type"] == "error"]
        assert errors == []
        assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1)), "every cell ran once"
        page.wait_for_timeout(500)  # a widget's module is loaded after its output has come
        after = what_is_drawn(page)
        screenshot(page, f"notebook {path.stem}")
    finally:
        jupyterlab.end_kernels()
    assert problems(saved, before) == [], "as it is opened, before anything runs"
    assert problems(cells, after) == []
    # A saved output is a still of the widget; the text of both is its repr.
    kinds = [kind for cell in saved for data in shown(cell) if (kind := kind_of(data)) in WIDGETS]
    assert [kind_of(data) for cell in cells for data in shown(cell) if WIDGET in data] == kinds
    assert page.errors == []  # type: ignore[attr-defined]


def what_is_drawn(page: Page) -> list[dict[str, Any]]:
    """For each code cell of the notebook in front, how much is to be seen of what it shows."""
    selectors = json.dumps({kind: selector for kind, (selector, _) in WIDGETS.items()})
    return page.evaluate(f"async () => {{ {LOOK} {IN_FRONT} return whatIsDrawn(panel, {selectors}); }}")


def problems(cells: list[dict[str, Any]], drawn: list[dict[str, Any]]) -> list[str]:
    """What the cells hold and nobody sees."""
    found = []
    for number, (cell, told) in enumerate(zip(cells, drawn, strict=True), start=1):
        data = shown(cell)
        kinds = [kind_of(one) for one in data if WIDGET in one]
        pictures = sum(WIDGET not in one and any(kind.startswith("image/") for kind in one) for one in data)
        enough = [
            kind in WIDGETS and amount >= WIDGETS[kind][1]
            for kind, (seen, amount) in zip(kinds, told["widgets"], strict=False)
            if kind == seen
        ]
        if len(enough) != len(kinds) or not all(enough):
            found.append(f"cell {number}: of the widgets {kinds} only {told['widgets']}")
        if len(told["pictures"]) != pictures or not all(told["pictures"]):
            found.append(f"cell {number}: of {pictures} pictures only {told['pictures']}")
        if len(told["outputs"]) != len(cell["outputs"]) or not all(told["outputs"]):
            found.append(f"cell {number}: of {len(cell['outputs'])} outputs only {told['outputs']}")
        texts = ["".join(one.get(kind, "")) for one in data for kind in ("text/html", "text/markdown")]
        if bool(told["folds"]) != any("<details" in text for text in texts):
            found.append(f"cell {number}: its folds are not there")
        if not all(told["folds"]):
            found.append(f"cell {number}: a fold opens on nothing: {told['folds']}")
    return found


def shown(cell: dict[str, Any]) -> list[dict[str, Any]]:
    return [output["data"] for output in cell["outputs"] if "data" in output]


def kind_of(data: dict[str, Any]) -> str:
    """What an output's repr begins with: for a widget of ours, its kind."""
    text = "".join(data.get("text/plain", ""))
    return text.split("(")[0] if re.match(r"[A-Z]\w+\(", text) else text[:40]
