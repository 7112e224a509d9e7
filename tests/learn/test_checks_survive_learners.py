"""Whatever a learner's code does ends in a card."""

from __future__ import annotations

from pathlib import Path

import pytest

from pagedlab.learn import check, run
from pagedlab.learn.card import Card
from pagedlab.learn.exercise import UnknownExercise, find
from pagedlab.learn.verdict import Failure, Outcome, Row, Verdict
from pagedlab.learn.workbook import ExerciseMissing

SKETCH = "def sketch(pages, num_pages):\n"
RIGHT = (
    SKETCH + "    row = ['·'] * num_pages\n    for i, page in enumerate(pages):\n        row[page] = str(i)\n"
    "    return [str(i) for i in range(len(pages))], row\n"
)


def checked(book: Path, text: str, **limits: float) -> Verdict:
    path = book / "03_page_tables/sketch.py"
    path.write_text(text, encoding="utf-8")
    return run.run(find("03.sketch"), path, **limits)  # type: ignore[arg-type]


def test_what_is_right_passes(book: Path) -> None:
    verdict = checked(book, RIGHT)
    assert verdict.outcome is Outcome.PASSED and len(verdict.passed) == 2 and verdict.failure is None


def test_a_loop_that_never_ends_is_ended_and_its_line_named(book: Path) -> None:
    verdict = checked(book, SKETCH + "    while True:\n        pages = pages\n", seconds=1)
    assert verdict.outcome is Outcome.ENDLESS and verdict.failure is not None
    assert verdict.failure.line in (2, 3) and "1 seconds" in verdict.failure.message
    assert verdict.failure.rule == "the chapter's own sketch: 0, 7, 2, 11 of 12 pages"


def test_a_loop_that_never_ends_while_the_file_is_loaded(book: Path) -> None:
    verdict = checked(book, "while True:\n    pass\n", seconds=1)
    assert verdict.outcome is Outcome.ENDLESS and verdict.failure is not None
    assert verdict.failure.rule == "the file can be loaded"


def test_a_failure_found_before_time_was_up_is_kept(book: Path) -> None:
    wrong_then_endless = (
        "calls = 0\n" + SKETCH + "    global calls\n    calls += 1\n    if calls > 3:\n        while True: pass\n"
        "    if calls == 1:\n        return "
        + repr((["0", "1", "2", "3"], list("0·2····1···3")))
        + "\n    return [], []\n"
    )
    verdict = checked(book, wrong_then_endless, seconds=2)
    assert verdict.outcome is Outcome.WRONG and verdict.failure is not None
    assert verdict.failure.rule == "any table, in a pool of any size"


def test_too_much_memory_ends_in_a_card(book: Path) -> None:
    verdict = checked(book, SKETCH + "    return [0] * 10**11, []\n", memory=1 << 28)
    assert verdict.outcome is Outcome.GREEDY and verdict.failure is not None and "memory" in verdict.failure.message


def test_a_recursion_without_end_names_its_line(book: Path) -> None:
    verdict = checked(book, SKETCH + "    return sketch(pages, num_pages)\n")
    assert verdict.outcome is Outcome.RAISED and verdict.failure is not None
    assert "RecursionError" in verdict.failure.message and verdict.failure.line == 2


def test_a_recursion_that_breaks_the_process(book: Path) -> None:
    verdict = checked(
        book,
        "import ctypes\n" + SKETCH + "    ctypes.string_at(0)\n",
    )
    assert verdict.outcome is Outcome.DIED and verdict.failure is not None and "signal" in verdict.failure.message


@pytest.mark.parametrize("leave", ["import os; os._exit(0)", "import os; os._exit(3)"])
def test_a_process_that_leaves_silently(book: Path, leave: str) -> None:
    assert checked(book, SKETCH + f"    {leave}\n").outcome is Outcome.DIED


def test_an_exit_and_an_error_name_the_line_and_the_case(book: Path) -> None:
    verdict = checked(book, SKETCH + "    raise SystemExit(0)\n")
    assert verdict.outcome is Outcome.RAISED
    verdict = checked(book, SKETCH + "    return [][1]\n")
    assert verdict.outcome is Outcome.RAISED and verdict.failure is not None
    assert (verdict.failure.line, verdict.failure.message) == (2, "IndexError: list index out of range")
    assert verdict.failure.case == "sketch([0, 7, 2, 11], 12)"


def test_a_file_that_is_no_python(book: Path) -> None:
    verdict = checked(book, "def sketch(:\n")
    assert verdict.outcome is Outcome.RAISED and verdict.failure is not None and verdict.failure.line == 1


def test_a_file_without_what_the_stub_had(book: Path) -> None:
    verdict = checked(book, "x = 1\n")
    assert verdict.outcome is Outcome.WRONG and verdict.failure is not None
    assert verdict.failure.expected == "a name 'sketch'"


def test_a_random_case_is_shrunk(book: Path) -> None:
    verdict = checked(book, RIGHT.replace("enumerate(pages)", "enumerate(pages[:4])"))
    assert verdict.outcome is Outcome.WRONG and verdict.failure is not None
    assert verdict.failure.case.startswith("sketch([") and verdict.failure.case.count(",") == 5, "five pages are enough"
    assert verdict.failure.expected_rows and verdict.failure.actual_rows != verdict.failure.expected_rows


def test_what_is_printed_is_shown_from_its_beginning(book: Path) -> None:
    verdict = checked(book, RIGHT + "print('<b>hello</b>')\nprint('x' * 10**7)\n")
    assert verdict.outcome is Outcome.PASSED
    assert verdict.printed.startswith("<b>hello</b>") and len(verdict.printed) == 2000


def test_a_repr_that_raises_does_not_break_the_card(book: Path) -> None:
    text = "class Bad:\n    def __repr__(self):\n        raise RuntimeError('no')\n" + SKETCH + "    return Bad()\n"
    verdict = checked(book, text)
    assert verdict.outcome is Outcome.WRONG and verdict.failure is not None
    assert verdict.failure.actual == "something whose repr raises RuntimeError"


def test_a_card_escapes_what_comes_from_the_learner() -> None:
    evil = "<script>alert(1)</script>"
    failure = Failure(evil, evil, evil, evil, evil, 3, [Row(evil, [evil])], [Row(evil, ["x"])])
    html = Card(find("03.sketch"), Verdict(Outcome.WRONG, [evil], failure, evil, [evil]))._repr_html_()
    assert "<script" not in html and "&lt;script&gt;" in html


def test_names_that_are_not_there_are_told_with_their_neighbours(book: Path) -> None:
    with pytest.raises(UnknownExercise, match=r"03\.free_queue"):
        check("03.freequeue")
    (book / "03_page_tables/sketch.py").unlink()
    with pytest.raises(ExerciseMissing, match=r"pagedlab learn reset 03\.sketch"):
        check("03.sketch")
