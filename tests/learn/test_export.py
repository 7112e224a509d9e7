"""The instructor's edition: what a grader makes of it, and that the solutions get full marks and the stubs none."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from pagedlab.learn.exercise import all_exercises
from pagedlab.learn.export import Grader, NoSuchChapter, assignment, export
from pagedlab.learn.workbook import stub_text

CHAPTERS = sorted({exercise.chapter for exercise in all_exercises().values()})


@pytest.mark.parametrize("grader", Grader)
@pytest.mark.parametrize("chapter", CHAPTERS)
def test_every_exercise_of_a_chapter_is_in_its_assignment(grader: Grader, chapter: str) -> None:
    notebook = assignment(chapter, grader)
    nbformat.validate(notebook)
    assert notebook == assignment(chapter, grader)
    answers = [cell.source for cell in notebook.cells if cell.source.startswith("%%writefile")]
    exercises = [exercise for exercise in all_exercises().values() if exercise.chapter == chapter]
    assert [answer.splitlines()[0] for answer in answers] == [f"%%writefile exercises/{e.file}" for e in exercises]
    assert not any("# Why:" in answer for answer in answers)


def test_nbgrader_finds_what_to_cut_and_what_to_grade() -> None:
    notebook = assignment("03_page_tables", Grader.NBGRADER)
    kinds = {cell.metadata.nbgrader.grade_id: cell.metadata.nbgrader for cell in notebook.cells}
    assert len(kinds) == len(notebook.cells), "a grade id stands for one cell"
    assert kinds["03_pool-answer"].solution and not kinds["03_pool-answer"].locked
    assert kinds["03_pool-check"].grade and kinds["03_pool-check"].points == all_exercises()["03.pool"].difficulty
    answer = next(cell.source for cell in notebook.cells if cell.metadata.nbgrader.grade_id == "03_pool-answer")
    assert answer.count("### BEGIN SOLUTION") == answer.count("### END SOLUTION") == answer.count("SOLUTION") / 2 > 0
    kept = "".join(part.partition("### END SOLUTION\n")[2] or part for part in answer.split("### BEGIN SOLUTION\n"))
    written = [line for line in stub_text(all_exercises()["03.pool"]).splitlines() if "is yours to write" not in line]
    assert [line.strip() for line in kept.splitlines()[1:] if line.strip()] == [
        line.strip() for line in written if line.strip()
    ]


def test_a_chapter_without_exercises_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NoSuchChapter, match="03_page_tables"):
        export(tmp_path, Grader.OTTER, "99")


@pytest.mark.timeout(300)
def test_otter_gives_the_solutions_full_marks_and_the_stubs_none(tmp_path: Path) -> None:
    (master,) = export(tmp_path, Grader.OTTER, "03")
    otter(tmp_path, "assign", str(master), "dist", "--no-run-tests")
    (autograder,) = (tmp_path / "dist" / "autograder").glob("*.zip")
    exercises = [exercise for exercise in all_exercises().values() if exercise.name.startswith("03.")]
    full = sum(exercise.difficulty for exercise in exercises)
    for version, wanted in (("autograder", full), ("student", 0)):
        submission = tmp_path / "dist" / version / master.name
        graded = tmp_path / f"graded_{version}"
        graded.mkdir()
        otter(tmp_path, "run", "-a", str(autograder), "-o", str(graded), str(submission))
        results = json.loads((graded / "results.json").read_text())
        marks = {test["name"]: test["score"] for test in results["tests"] if "score" in test}
        assert marks.keys() >= {exercise.name.replace(".", "_") for exercise in exercises}
        assert sum(marks.values()) == wanted, results


def otter(folder: Path, *arguments: str) -> None:
    """otter-grader's own command, in ``folder``."""
    # Its notebooks run in a kernel that must find this environment, whatever is registered as python3 elsewhere.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    command = [sys.executable, "-m", "otter", *arguments]
    done = subprocess.run(command, cwd=folder, env=os.environ | {"PATH": path}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
