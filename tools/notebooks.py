"""Run the course's sources into notebooks, the same bytes every time.

notebooks/src/NN_name.py (py:percent, what people edit and review) becomes notebooks/NN_name.ipynb (what people open,
with its outputs). No timing, no widget state, no versions: a difference between two runs is a difference in content.

    python tools/notebooks.py [NAME ...]           run the sources and write the notebooks
    python tools/notebooks.py --check [NAME ...]   does each notebook hold the cells of its source? (runs nothing)
    python tools/notebooks.py --diff [NAME ...]    would running the sources again change a notebook?
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

from pagedlab.learn import progress, workbook

NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"
CELL_TIMEOUT = 600  # seconds

#: The output of a cell with this tag differs between machines: it is refreshed only when the cell changes.
VARIES = "nbval-ignore-output"

#: Cell metadata that a source may set: tags, and ``jupyter`` to fold the code of a drawing away.
KEPT = ("tags", "jupyter")

METADATA = {
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def sources(names: list[str]) -> list[Path]:
    """The sources of the notebooks named, or of all: ``02`` and ``02_fragmentation`` name the same."""
    found = sorted((NOTEBOOKS / "src").glob("[0-9][0-9]_*.py"))
    for name in names:
        if not any(path.stem.startswith(name) for path in found):
            raise SystemExit(f"no source {name}*.py in {NOTEBOOKS / 'src'}")
    return [path for path in found if not names or any(path.stem.startswith(name) for name in names)]


def notebook_path(source: Path) -> Path:
    return NOTEBOOKS / f"{source.stem}.ipynb"


def read_source(source: Path) -> NotebookNode:
    """The source as a notebook that was not run: cells named by what they say, so an edit renames only its own."""
    read = jupytext.read(source, fmt="py:percent")
    seen: Counter[str] = Counter()
    cells = []
    for cell in read.cells:
        digest = blake2b(f"{cell.cell_type}\n{cell.source}".encode(), digest_size=5).hexdigest()
        seen[digest] += 1
        cell.id = digest if seen[digest] == 1 else f"{digest}-{seen[digest]}"
        cell.metadata = {key: cell.metadata[key] for key in KEPT if key in cell.metadata}
        cells.append(cell)
    return nbformat.from_dict({"cells": cells, "metadata": METADATA, "nbformat": 4, "nbformat_minor": 5})


@contextmanager
def untouched_exercises() -> Iterator[None]:
    """Notebooks are run and compared with every exercise unsolved, whatever was written on this machine."""
    with tempfile.TemporaryDirectory(prefix="pagedlab-stubs-") as folder:
        stubs = Path(folder) / "exercises"
        workbook.init(stubs)
        named = {workbook.VARIABLE: str(stubs), progress.VARIABLE: str(Path(folder) / "progress.json")}
        before = {name: os.environ.get(name) for name in named}
        os.environ.update(named)
        try:
            yield
        finally:
            for name, value in before.items():
                os.environ.pop(name) if value is None else os.environ.update({name: value})


def run(source: Path) -> NotebookNode:
    """The notebook with the outputs of a fresh kernel. Raises CellExecutionError where a cell fails."""
    notebook = read_source(source)
    NotebookClient(
        notebook,
        timeout=CELL_TIMEOUT,
        kernel_name="python3",
        resources={"metadata": {"path": str(NOTEBOOKS)}},
        record_timing=False,
        coalesce_streams=True,
        store_widget_state=False,
    ).execute()
    notebook.metadata = nbformat.from_dict(METADATA)
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            # A saved view without its kernel shows an error; without the view, its static fallback is shown.
            output.get("data", {}).pop("application/vnd.jupyter.widget-view+json", None)
    nbformat.validate(notebook)
    return notebook


def keep_varying_outputs(new: NotebookNode, committed: NotebookNode) -> None:
    old = {cell.id: cell.outputs for cell in committed.cells if VARIES in cell.metadata.get("tags", [])}
    for cell in new.cells:
        if cell.id in old:
            cell.outputs = old[cell.id]


def dumps(notebook: NotebookNode) -> str:
    return nbformat.writes(notebook) + "\n"


def regenerate(source: Path) -> str:
    """The bytes that the notebook of ``source`` should have."""
    new, target = run(source), notebook_path(source)
    if target.exists():
        keep_varying_outputs(new, nbformat.read(target, as_version=4))
    return dumps(new)


def pair_problem(source: Path) -> str | None:
    """Why the notebook does not hold what its source says, or None."""
    target = notebook_path(source)
    if not target.exists():
        return f"{target.name} does not exist"
    wanted, found = read_source(source), nbformat.read(target, as_version=4)
    for index, (want, have) in enumerate(zip(wanted.cells, found.cells, strict=False)):
        for key in ("cell_type", "source", "metadata", "id"):
            if want[key] != have[key]:
                return f"{target.name}, cell {index}: its {key} is not the source's"
    if len(wanted.cells) != len(found.cells):
        return f"{target.name} has {len(found.cells)} cells, its source {len(wanted.cells)}"
    return None


def changed_cells(old: str, new: str) -> str:
    """Names the cells in which two notebooks differ."""
    before, after = (nbformat.reads(text, as_version=4).cells for text in (old, new))
    if len(before) != len(after):
        return f"{len(before)} cells before, {len(after)} after"
    return "cells " + ", ".join(str(i) for i, (a, b) in enumerate(zip(before, after, strict=True)) if a != b)


def main() -> int:
    parser = argparse.ArgumentParser(description="Run the course's sources into notebooks.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="beginning of a notebook's name; all when absent")
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--check", action="store_true", help="does each notebook hold the cells of its source?")
    mode.add_argument("--diff", action="store_true", help="would running the sources again change a notebook?")
    arguments = parser.parse_args()

    with untouched_exercises():
        return work_on(sources(arguments.names), arguments.check, arguments.diff)


def work_on(chosen: list[Path], check: bool, diff: bool) -> int:
    """Check, compare or write the notebooks of the chosen sources. Returns the exit code."""
    failed = False
    for source in chosen:
        problem = pair_problem(source) if check or diff else None
        if problem is None and not check:
            target, text = notebook_path(source), regenerate(source)
            if not diff:
                target.write_text(text, encoding="utf-8")
            elif (committed := target.read_text(encoding="utf-8")) != text:
                problem = f"{target.name} changes when it is run again: {changed_cells(committed, text)}"
        print(f"{'FAIL' if problem else 'OK  '} {source.stem}{': ' + problem if problem else ''}", flush=True)
        failed |= problem is not None
    if failed:
        print("`make notebooks` runs the sources again.")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
