"""Pages of exercises: what each asks, its hints one by one, and the solution, folded away until they are wanted."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

import nbformat

from pagedlab.learn.exercise import Exercise, all_exercises
from pagedlab.learn.workbook import source_of_solution, stub_text
from tools.site.render import Rendered, render, render_markdown

ROOT = Path(__file__).resolve().parents[2]


def pages() -> list[tuple[str, str, Rendered]]:
    """(file, title, content): how exercises work with a list of all, and a page for each chapter that has some."""
    exercises = list(all_exercises().values())
    chapters = {name: list(group) for name, group in groupby(exercises, key=lambda one: one.chapter)}
    found = [("exercises.html", "Exercises", _overview(chapters))]
    found += [
        (f"exercises_{name[:2]}.html", f"Exercises {name[:2]}", _of(name, group)) for name, group in chapters.items()
    ]
    return found


def _overview(chapters: dict[str, list[Exercise]]) -> Rendered:
    lines = [(ROOT / "exercises" / "README.md").read_text(encoding="utf-8").rstrip(), "", "## All of them", ""]
    lines += ["| | exercise | | minutes |", "| --- | --- | --- | --- |"]
    for name, group in chapters.items():
        page = f"exercises_{name[:2]}.html"
        lines += [f"| {one.name} | [{one.title}]({page}#{one.name}) | {level(one)} | {one.minutes} |" for one in group]
    return render_markdown("\n".join(lines), "exercises")


def _of(chapter: str, exercises: list[Exercise]) -> Rendered:
    title = f"{chapter[:2]} · {chapter[3:].replace('_', ' ')}"
    cell, code = nbformat.v4.new_markdown_cell, nbformat.v4.new_code_cell
    cells = [
        cell(f"# Exercises of [{title}]({chapter}.ipynb)\n\nWrite in `exercises/`, check with `pagedlab learn check`.")
    ]
    for one in exercises:
        facts = f"{level(one)} · {one.minutes} minutes · [in the chapter]({chapter}.ipynb#{one.name})"
        cells.append(cell(f"## {one.name} · {one.title}\n\n{facts}"))
        cells.append(code(stub_text(one).rstrip()))
        cells.append(cell(_ladder(one)))
    for number, it in enumerate(cells):
        it.id = f"{chapter[:2]}-{number}"
    return render(nbformat.v4.new_notebook(cells=cells), f"exercises_{chapter[:2]}")


def level(exercise: Exercise) -> str:
    return "●" * exercise.difficulty + "○" * (3 - exercise.difficulty)


def _ladder(exercise: Exercise) -> str:
    """Three hints and the solution, each to be opened by itself."""
    parts = [
        f"<details><summary>Hint {number} of {len(exercise.hints)}</summary>\n\n```text\n{hint}\n```\n\n</details>"
        for number, hint in enumerate(exercise.hints, start=1)
    ]
    solution = source_of_solution(exercise).rstrip()
    return "\n\n".join([*parts, f"<details><summary>Solution</summary>\n\n```python\n{solution}\n```\n\n</details>"])
