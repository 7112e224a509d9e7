"""The instructor's edition: the exercises of a chapter, for otter-grader or nbgrader to hand out and grade.

Both know notebooks, so an assignment is one: for each exercise its text, a cell that holds the answer and writes it to
the exercise's file, and a cell with the check, the same that learners have. What is written here is the instructor's
own version, with solutions; the graders' own commands make the students' version from it:

    otter assign 03_page_tables/03_page_tables.ipynb dist
    nbgrader generate_assignment 03_page_tables

Neither is needed to write it. A student needs pagedlab, and the kernel of a notebook.
"""

from __future__ import annotations

import ast
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pagedlab.errors import PagedLabError
from pagedlab.learn.exercise import CHAPTERS, Exercise, all_exercises
from pagedlab.learn.stub import BEGIN, END, without_why
from pagedlab.learn.workbook import source_of_solution

if TYPE_CHECKING:
    from nbformat import NotebookNode


class NoSuchChapter(PagedLabError, LookupError):
    """The course has no such chapter, or it has no exercises."""


class Grader(StrEnum):
    OTTER = "otter"
    NBGRADER = "nbgrader"


SETUP = """\
import os
from pathlib import Path

os.environ["PAGEDLAB_EXERCISES"] = str(Path("exercises").resolve())
os.environ["PAGEDLAB_PROGRESS"] = str(Path("progress.json").resolve())

from pagedlab.learn import check
from pagedlab.learn.workbook import init

init(Path("exercises"))
print("ready")"""

INTRODUCTION = """\
# {title}

Each exercise has a cell that holds your answer: the first line of the cell writes it to a file, and the text in the \
file says what is asked for. Replace what is missing, run the cell, and then the one below it, which checks the file \
and shows the smallest case that is not right yet."""


def export(folder: Path, grader: Grader, chapter: str = "") -> list[Path]:
    """Write an assignment for every chapter whose name begins with ``chapter``. Returns the notebooks.

    otter: ``folder/<chapter>/<chapter>.ipynb``. nbgrader: ``folder/source/<chapter>/<chapter>.ipynb``, as its commands
    expect in the folder of a course. Raises NoSuchChapter.
    """
    import nbformat

    chosen = [name for name in CHAPTERS if name.startswith(chapter) and _exercises(name)]
    if not chosen:
        raise NoSuchChapter(
            f"chapter {chapter!r} was asked for; there are exercises in {', '.join(filter(_exercises, CHAPTERS))}"
        )
    written = []
    for name in chosen:
        path = folder / ("source" if grader is Grader.NBGRADER else "") / name / f"{name}.ipynb"
        path.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(assignment(name, grader), path)
        written.append(path)
    return written


def assignment(chapter: str, grader: Grader) -> NotebookNode:
    """The instructor's notebook for one chapter."""
    from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

    title = f"{chapter[:2]} · {chapter[3:].replace('_', ' ')}"
    cells = [new_markdown_cell(INTRODUCTION.format(title=title)), new_code_cell(SETUP)]
    for exercise in _exercises(chapter):
        cells += _for_otter(exercise) if grader is Grader.OTTER else _for_nbgrader(exercise)
    if grader is Grader.OTTER:
        cells.insert(0, _raw(f"# ASSIGNMENT CONFIG\nname: {chapter}\n{_OTTER_CONFIG}"))
    else:
        for number, cell in enumerate(cells[:2]):
            cell.metadata["nbgrader"] = _nbgrader(f"{chapter}-{number}", cell.cell_type)
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    for number, cell in enumerate(cells):
        cell.id = f"cell-{number}"  # the same sources give the same file
    return new_notebook(cells=cells, metadata={"kernelspec": kernel, "language_info": {"name": "python"}})


_OTTER_CONFIG = """\
requirements: [pagedlab]
check_all_cell: false
export_cell: false
tests:
    ok_format: false"""


def _for_otter(exercise: Exercise) -> list[NotebookNode]:
    from nbformat.v4 import new_code_cell, new_markdown_cell

    name = _identifier(exercise)
    test = (
        f"def test_{name}():\n    from pagedlab.learn import check\n\n"
        f'    card = check("{exercise.name}")\n    assert card.passed, str(card)'
    )
    return [
        _raw(f"# BEGIN QUESTION\nname: {name}\npoints: {exercise.difficulty}"),
        new_markdown_cell(_text(exercise)),
        _raw("# BEGIN SOLUTION"),
        new_code_cell(_answer(exercise)),
        _raw("# END SOLUTION"),
        _raw("# BEGIN TESTS"),
        new_code_cell(test),
        _raw("# END TESTS"),
        _raw("# END QUESTION"),
    ]


def _for_nbgrader(exercise: Exercise) -> list[NotebookNode]:
    from nbformat.v4 import new_code_cell, new_markdown_cell

    name = _identifier(exercise)
    text, answer = new_markdown_cell(_text(exercise)), new_code_cell(_answer(exercise))
    test = new_code_cell(f'card = check("{exercise.name}")\nassert card.passed, str(card)\ncard')
    text.metadata["nbgrader"] = _nbgrader(f"{name}-text", "markdown")
    answer.metadata["nbgrader"] = _nbgrader(f"{name}-answer", "code", solution=True)
    test.metadata["nbgrader"] = _nbgrader(f"{name}-check", "code", points=exercise.difficulty)
    # nbgrader cuts what stands between three signs, otter and this course between one.
    answer.source = answer.source.replace(BEGIN, f"##{BEGIN}").replace(END, f"##{END}")
    return [text, answer, test]


def _nbgrader(name: str, kind: str, *, solution: bool = False, points: int | None = None) -> dict[str, Any]:
    """The cell's metadata, as version 3 of nbgrader's schema has it."""
    data = {
        "schema_version": 3,
        "grade_id": name,
        "cell_type": kind,
        "solution": solution,
        "locked": not solution,
        "grade": points is not None,
        "task": False,
    }
    return data if points is None else data | {"points": points}


def _exercises(chapter: str) -> list[Exercise]:
    return [exercise for exercise in all_exercises().values() if exercise.chapter == chapter]


def _identifier(exercise: Exercise) -> str:
    return exercise.name.replace(".", "_")


def _text(exercise: Exercise) -> str:
    """Title, difficulty and minutes, and the first lines of its specification: the rest stands in the cell below."""
    level = "●" * exercise.difficulty + "○" * (3 - exercise.difficulty)
    specification = ast.get_docstring(ast.parse(source_of_solution(exercise))) or ""
    return f"## {exercise.title} ({level}, {exercise.minutes} min)\n\n{specification.splitlines()[0]}"


def _answer(exercise: Exercise) -> str:
    """The solution as a cell that writes it to the exercise's file, without its ``Why``."""
    return f"%%writefile exercises/{exercise.file}\n{without_why(source_of_solution(exercise))}"


def _raw(text: str) -> NotebookNode:
    from nbformat.v4 import new_raw_cell

    return new_raw_cell(text)
