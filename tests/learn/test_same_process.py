"""Checks without a process of their own, as in a browser: the same verdicts, and what can be kept of the limits."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pytest

from pagedlab.learn import check, run
from pagedlab.learn.exercise import Exercise, all_exercises, find
from pagedlab.learn.verdict import Outcome, Verdict
from pagedlab.learn.workbook import source_of_solution, stub_text
from tests.learn.test_checks_survive_learners import RIGHT, SKETCH, checked

#: Chapters that need nothing but Python.
IN_A_BROWSER = ("01", "02", "03", "07", "08")
EXERCISES = [one for one in all_exercises().values() if one.name.startswith(IN_A_BROWSER)]


@pytest.fixture(autouse=True)
def one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "ONE_PROCESS", True)

    def refuse(*_: object, **__: object) -> None:
        raise OSError("emscripten does not support processes.")

    monkeypatch.setattr(run.subprocess, "Popen", refuse)


def verdict_on(book: Path, exercise: Exercise, text: str) -> Verdict:
    (book / exercise.file).write_text(text, encoding="utf-8")
    return run.run(exercise, book / exercise.file)


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda one: one.name)
def test_a_solution_passes_and_a_stub_says_that_it_is_unwritten(book: Path, exercise: Exercise) -> None:
    assert verdict_on(book, exercise, source_of_solution(exercise)).outcome is Outcome.PASSED
    verdict = verdict_on(book, exercise, stub_text(exercise))
    assert verdict.outcome is Outcome.UNWRITTEN and verdict.failure is not None and verdict.failure.line


def test_what_is_wrong_is_shown_as_elsewhere(book: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = SKETCH + "    print('here')\n    return [str(page) for page in pages], ['·'] * num_pages\n"
    here = checked(book, wrong)
    monkeypatch.undo()
    monkeypatch.setenv("PAGEDLAB_EXERCISES", str(book))
    assert here == checked(book, wrong) and here.outcome is Outcome.WRONG and here.printed.startswith("here\n")


@pytest.mark.parametrize(
    ("text", "rule", "lines"),
    [
        (
            SKETCH + "    while True:\n        pages = pages\n",
            "the chapter's own sketch: 0, 7, 2, 11 of 12 pages",
            (2, 3),
        ),
        (SKETCH + "    try:\n        while True: pass\n    except Exception: pass\n", "the chapter's own sketch", (3,)),
        ("while True:\n    pass\n", "the file can be loaded", (1, 2)),
    ],
)
def test_a_loop_that_never_ends_is_ended_and_its_line_named(
    book: Path, text: str, rule: str, lines: tuple[int, ...]
) -> None:
    verdict = checked(book, text, seconds=0.5)
    assert verdict.outcome is Outcome.ENDLESS and verdict.failure is not None
    assert verdict.failure.rule.startswith(rule) and verdict.failure.line in lines
    assert "0.5 seconds" in verdict.failure.message


def test_a_failure_found_before_time_was_up_is_kept(book: Path) -> None:
    wrong_then_endless = (
        "calls = 0\n" + SKETCH + "    global calls\n    calls += 1\n    if calls > 3:\n        while True: pass\n"
        "    if calls == 1:\n        return "
        + repr((["0", "1", "2", "3"], list("0·2····1···3")))
        + "\n    return [], []\n"
    )
    verdict = checked(book, wrong_then_endless, seconds=1)
    assert verdict.outcome is Outcome.WRONG and verdict.failure is not None
    assert verdict.failure.rule == "any table, in a pool of any size"


@pytest.mark.parametrize("text", [SKETCH + "    while True: pass\n", SKETCH + "    raise ValueError\n", RIGHT])
def test_the_kernel_goes_on_as_it_was(book: Path, text: str) -> None:
    random.seed(7)
    state, trace, out = random.getstate(), sys.gettrace(), sys.stdout
    checked(book, "import random\nrandom.seed(0)\n" + text, seconds=0.5)
    assert random.getstate() == state and sys.gettrace() is trace and sys.stdout is out


def test_what_stood_in_for_one_check_is_not_told_of_the_next(book: Path) -> None:
    exercise = find("03.extend")
    assert verdict_on(book, exercise, source_of_solution(exercise)).stand_ins == ["03.pool", "03.free_queue"]
    assert checked(book, RIGHT).stand_ins == []


def test_a_card_comes_back_and_progress_is_kept(book: Path, own_progress: Path) -> None:
    (book / "03_page_tables/sketch.py").write_text(RIGHT, encoding="utf-8")
    assert check("03.sketch").passed
    assert "03.sketch" in own_progress.read_text(encoding="utf-8")
