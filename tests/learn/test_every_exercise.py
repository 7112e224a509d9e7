"""Every exercise keeps its promises: the stub fails as it should, the solution passes, faults are caught."""

from __future__ import annotations

import ast
import os
from pathlib import Path

import pytest

from pagedlab.learn import run, workbook
from pagedlab.learn.exercise import CHAPTERS, Exercise, all_exercises
from pagedlab.learn.judging import judge_file
from pagedlab.learn.stub import why_of
from pagedlab.learn.verdict import Outcome, Verdict
from tests.learn.mutants import all_mutants

EXERCISES = list(all_exercises().values())
STUBS = Path(__file__).resolve().parents[2] / "exercises"
PARAMETERS = pytest.mark.parametrize("exercise", EXERCISES, ids=lambda exercise: exercise.name)
MUTANTS = [
    pytest.param(name, old, new, id=f"{name}: {what}")
    for name, mutants in all_mutants().items()
    for what, old, new in mutants
]


def judged(exercise: Exercise, path: Path) -> Verdict:
    """In this process; Triton's interpreter needs one of its own."""
    return run.run(exercise, path) if exercise.interpreted else judge_file(exercise, path)


@pytest.fixture(autouse=True)
def solved_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """What an exercise builds on is ours."""
    monkeypatch.setenv(workbook.VARIABLE, str(workbook.solutions_folder()))
    workbook.stand_ins.clear()  # a test before this one may have run a notebook in this process


@PARAMETERS
def test_the_stub_fails_with_its_own_message(exercise: Exercise, tmp_path: Path) -> None:
    path = tmp_path / "stub.py"
    path.write_text(workbook.stub_text(exercise))
    verdict = judged(exercise, path)
    assert verdict.outcome is Outcome.UNWRITTEN, verdict
    assert verdict.failure is not None and verdict.failure.message.startswith(f"{exercise.name}: ")


@PARAMETERS
def test_the_solution_passes(exercise: Exercise) -> None:
    verdict = judged(exercise, workbook.solutions_folder() / exercise.file)
    assert verdict.outcome is Outcome.PASSED, verdict
    assert len(verdict.passed) >= 2 and not verdict.stand_ins


@PARAMETERS
def test_stub_and_solution_have_the_same_public_signatures(exercise: Exercise) -> None:
    stub, solution = workbook.stub_text(exercise), workbook.source_of_solution(exercise)
    assert signatures(stub) == signatures(solution) != []
    assert ast.get_docstring(ast.parse(stub)) == ast.get_docstring(ast.parse(solution)) != ""


@PARAMETERS
def test_the_solution_says_why(exercise: Exercise) -> None:
    assert len(why_of(workbook.source_of_solution(exercise)).split()) >= 10
    assert "Why:" not in workbook.stub_text(exercise)


@PARAMETERS
def test_at_least_three_faults_are_planted(exercise: Exercise) -> None:
    assert len(all_mutants().get(exercise.name, [])) >= 3


@pytest.mark.timeout(120)
@pytest.mark.parametrize(("name", "old", "new"), MUTANTS)
def test_the_check_catches_the_fault(name: str, old: str, new: str, tmp_path: Path) -> None:
    exercise = all_exercises()[name]
    solution = workbook.source_of_solution(exercise)
    assert solution.count(old) >= 1, "the text to be changed is not in the solution"
    path = tmp_path / "mutant.py"
    path.write_text(solution.replace(old, new, 1))
    verdict = judged(exercise, path)
    # A kernel that stores outside of its tensor may end its process: that is a card of its own.
    caught = (Outcome.WRONG, Outcome.RAISED, *([Outcome.DIED] if exercise.interpreted else []))
    assert verdict.outcome in caught, verdict
    assert verdict.failure is not None and verdict.failure.rule


def test_every_stub_in_the_repository_is_what_its_solution_gives() -> None:
    """On a machine of a learner the files are theirs to change; CI holds ours to their solutions."""
    written = {path.relative_to(STUBS).as_posix() for path in STUBS.glob("[0-9][0-9]_*/*.py")}
    assert written >= {exercise.file for exercise in EXERCISES}
    if os.environ.get("CI"):
        assert written == {exercise.file for exercise in EXERCISES}
        changed = [e.name for e in EXERCISES if (STUBS / e.file).read_text() != workbook.stub_text(e)]
        assert not changed, "`pagedlab learn reset NAME` writes a stub from its solution"


def test_exercises_are_described_and_build_on_what_comes_before() -> None:
    names = list(all_exercises())
    for exercise in EXERCISES:
        assert exercise.chapter in CHAPTERS and exercise.title and exercise.difficulty in (1, 2, 3)
        assert 5 <= exercise.minutes <= 90 and len(exercise.hints) == 3 and all(exercise.hints)
        assert all(names.index(before) < names.index(exercise.name) for before in exercise.after)
        named = {name for name in names if f'solved("{name}")' in workbook.source_of_solution(exercise)}
        assert named <= set(exercise.after), "it builds on what it does not name"


def signatures(text: str) -> list[tuple[str, str, str | None]]:
    """Name, arguments and docstring of every public function and method."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef) and (not node.name.startswith("_") or node.name.startswith("__")):
            returns = ast.unparse(node.returns) if node.returns else ""
            found.append((node.name, f"{ast.unparse(node.args)} -> {returns}", ast.get_docstring(node)))
    return found
