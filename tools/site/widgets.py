"""Widgets that move on a page without a kernel: what they hold is saved when their notebook is run once more.

Each of the course's widgets is given all it shows by the kernel, and asks it for nothing afterwards. So a page needs
the widget's own module and that state; ``widgets.js`` gives it the one as the other's model.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

import nbformat
from anywidget import AnyWidget
from nbclient import NotebookClient
from nbformat import NotebookNode

from pagedlab.view.explorer import Explorer
from pagedlab.view.kernel_player import KernelPlayer
from pagedlab.view.page_map import PageMapWidget
from tools.notebooks import CELL_TIMEOUT, NOTEBOOKS

#: What a widget calls itself in a notebook's text -> its class.
KINDS: dict[str, type[AnyWidget]] = {"PageMap": PageMapWidget, "Explorer": Explorer, "KernelPlayer": KernelPlayer}

VIEW = "application/vnd.jupyter.widget-view+json"

#: Runs in the kernel after the last cell. A page map that followed an engine was sent its events one by one: what it
#: would be sent now holds them all.
_SAVE = """
import base64 as _base64, json as _json
from ipywidgets.widgets.widget import _instances
from anywidget import AnyWidget as _AnyWidget

def _plain(value):
    return {{"bytes": _base64.b64encode(value).decode()}} if isinstance(value, bytes) else value

_saved = {{}}
for _key, _widget in list(_instances.items()):
    if isinstance(_widget, _AnyWidget):
        if hasattr(_widget, "_feed"):
            _widget._packet = _widget._feed.whole()
        _own = set(_widget.traits(sync=True)) - set(_AnyWidget.class_traits()) - {{"_esm", "_css", "_anywidget_id"}}
        _saved[_key] = {{name: _plain(getattr(_widget, name)) for name in sorted(_own)}}
with open({path!r}, "w", encoding="utf-8") as _file:
    _json.dump(_saved, _file)
"""


@dataclass
class Moving:
    """``html``: by the index of a cell. ``scripts``: what the page must load."""

    html: dict[int, str] = field(default_factory=dict)
    scripts: list[str] = field(default_factory=list)


class Widgets:
    """Collects what widgets need. ``files``: path within the site -> content.

    What was saved of a notebook is kept in ``build/widgets`` until the notebook or a view changes.
    """

    def __init__(self, root: Path, live: Sequence[str]) -> None:
        self.files: dict[str, str] = {}
        self._live, self._kept = tuple(live), root / "build" / "widgets"
        self._views = b"".join(path.read_bytes() for path in sorted((root / "pagedlab" / "view").glob("*.py")))

    def of(self, stem: str, notebook: NotebookNode) -> Moving:
        """What moves in a notebook; nothing where the site is made without running it."""
        moving = Moving()
        if not stem.startswith(self._live) or not kinds_of(notebook):
            return moving
        for number, (cell, (kind, state)) in enumerate(self._states(stem, notebook).items(), start=1):
            name = f"widget-{stem[:2]}-{number}"
            module = f"widgets/{kind}.js"
            look = {"esm": KINDS[kind]._esm, "css": getattr(KINDS[kind], "_css", "")}
            self.files[module] = f"(window.courseModules ??= {{}}).{kind} = {json.dumps(look)};\n"
            told = json.dumps({"name": name, "kind": kind, "state": state})
            self.files[f"widgets/{name}.js"] = f"(window.courseWidgets ??= []).push({told});\n"
            moving.html[cell] = f'<div class="widget" id="{name}"></div>'
            moving.scripts += [script for script in (module, f"widgets/{name}.js") if script not in moving.scripts]
        return moving

    def _states(self, stem: str, notebook: NotebookNode) -> dict[int, tuple[str, Any]]:
        content = nbformat.writes(notebook).encode() + self._views
        kept = self._kept / f"{stem}-{blake2b(content, digest_size=8).hexdigest()}.json"
        if not kept.exists():
            kept.parent.mkdir(parents=True, exist_ok=True)
            print(f"running {stem} for its widgets", flush=True)
            kept.write_text(json.dumps(saved_states(notebook)), encoding="utf-8")
        return {
            int(cell): (kind, state) for cell, (kind, state) in json.loads(kept.read_text(encoding="utf-8")).items()
        }


def kinds_of(notebook: NotebookNode) -> dict[int, str]:
    """Index of a cell -> which widget is its result."""
    found = {}
    for number, cell in enumerate(notebook.cells):
        for output in cell.get("outputs", []):
            text = output.get("data", {}).get("text/plain", "")
            name = re.match(r"(\w+)\(", text)
            if name and name[1] in KINDS and output.output_type == "execute_result":
                found[number] = name[1]
    return found


def saved_states(notebook: NotebookNode) -> dict[int, tuple[str, Any]]:
    """Run the notebook, and tell for each cell that shows a widget what this was sent. Bytes are in base64."""
    notebook = deepcopy(notebook)
    kinds = kinds_of(notebook)
    with tempfile.TemporaryDirectory(prefix="pagedlab-site-") as folder:
        path = Path(folder) / "widgets.json"
        notebook.cells.append(nbformat.v4.new_code_cell(_SAVE.format(path=str(path))))
        where = {"metadata": {"path": str(NOTEBOOKS)}}
        NotebookClient(
            notebook, timeout=CELL_TIMEOUT, kernel_name="python3", resources=where, store_widget_state=False
        ).execute()
        states = json.loads(path.read_text(encoding="utf-8"))
    found = {}
    for number, kind in kinds.items():
        models = [
            output.data[VIEW]["model_id"] for output in notebook.cells[number].outputs if VIEW in output.get("data", {})
        ]
        found[number] = (kind, states[models[0]])
    return found
