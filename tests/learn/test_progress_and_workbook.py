"""Progress is kept, files are never lost, and three doors say the same."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pagedlab.learn import check, workbook
from pagedlab.learn.cli import app
from pagedlab.learn.exercise import all_exercises, find
from pagedlab.learn.progress import Progress, record_check
from pagedlab.learn.stub import stub_of, why_of
from tests.learn import remembered

ROOT = Path(__file__).resolve().parents[2]


def solve(book: Path, name: str) -> None:
    exercise = find(name)
    (book / exercise.file).write_text(workbook.source_of_solution(exercise), encoding="utf-8")


def command(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(arguments))
    return result.exit_code, result.stdout


def test_a_solved_exercise_counts_and_keeps_counting(book: Path) -> None:
    assert not Progress.load().is_solved("03.locate")
    solve(book, "03.locate")
    assert check("03.locate").passed and Progress.load().is_solved("03.locate")
    (book / find("03.locate").file).write_text("broken(")
    assert not check("03.locate").passed and Progress.load().is_solved("03.locate")
    assert Progress.load().exercises["03.locate"]["attempts"] == 2


def test_progress_survives_another_release(book: Path, own_progress: Path) -> None:
    own_progress.parent.mkdir()
    own_progress.write_text('{"format": 9, "exercises": {"99.future": {"passed": "x", "stars": 3}}}')
    record_check("03.locate", "text", passed=True)
    kept = json.loads(own_progress.read_text())["exercises"]
    assert kept["99.future"] == {"passed": "x", "stars": 3} and "passed" in kept["03.locate"]


@pytest.mark.parametrize("text", ["{", "[]", '{"exercises": 3}', "null", '{"exercises": {"a": 1}}'])
def test_a_progress_file_that_cannot_be_read_is_put_aside(own_progress: Path, text: str) -> None:
    own_progress.parent.mkdir()
    own_progress.write_text(text)
    assert Progress.load().exercises == {}
    assert own_progress.with_suffix(".unreadable").read_text() == text


def test_two_programs_that_check_at_once_lose_nothing(own_progress: Path) -> None:
    code = (
        "from pagedlab.learn.progress import record_check\nfor n in range(20): record_check('03.pool', str(n), n == 3)"
    )
    workers = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(2)]
    assert [worker.wait() for worker in workers] == [0, 0]
    assert Progress.load().exercises["03.pool"]["attempts"] == 40


def test_reset_restores_the_stub_and_keeps_the_old_file(book: Path) -> None:
    path = book / find("03.locate").file
    stub = path.read_text()
    path.write_text("# mine")
    code, said = command("reset", "03.locate")
    kept = list(path.parent.glob("locate.*.kept"))
    assert code == 0 and path.read_text() == stub and [file.read_text() for file in kept] == ["# mine"]
    assert kept[0].name in said
    assert command("reset", "03.locate")[0] == 0 and list(path.parent.glob("locate.*.kept")) == kept


def test_init_leaves_what_is_there(book: Path) -> None:
    path = book / find("03.locate").file
    path.write_text("# mine")
    assert workbook.init(book) == [] and path.read_text() == "# mine"


def test_hints_come_one_at_a_time_and_can_be_read_again(book: Path) -> None:
    first, second, third = find("03.locate").hints
    assert first in command("hint", "03.locate")[1]
    said = command("hint", "03.locate")[1]
    assert second in said and "Hint 3" not in said
    assert "Hint 3" not in command("hint", "03.locate", "--again")[1]
    assert "That is the last" in command("hint", "03.locate")[1] and third
    assert Progress.load().hints_seen("03.locate") == 3


def test_an_unsolved_exercise_is_stood_in_for_and_the_card_says_so(book: Path) -> None:
    solve(book, "03.pool")
    card = check("03.pool")
    assert card.passed and card.verdict.stand_ins == ["03.free_queue"] and "ours stands in" in str(card)
    solve(book, "03.free_queue")
    assert check("03.free_queue").passed
    assert check("03.pool").verdict.stand_ins == []


def test_a_solved_exercise_is_used_by_the_next(book: Path) -> None:
    for name in ("03.free_queue", "03.pool"):
        solve(book, name)
        assert check(name).passed
    broken = "\n\ndef _broken(self):\n    raise RuntimeError('mine, not yours')\n\n\nFreeQueue.take = _broken\n"
    path = book / find("03.free_queue").file
    text = path.read_text() + broken
    path.write_text(text)
    record_check("03.free_queue", text, passed=True)
    card = check("03.pool")
    assert not card.passed and "mine, not yours" in str(card)


def test_the_list_shows_every_exercise_and_what_is_solved(book: Path) -> None:
    record_check("03.locate", "text", passed=True)
    code, said = command("list")
    assert code == 0 and all(name in said for name in all_exercises())
    assert said.count("✓") == 1 and f"1 of {len(all_exercises())} solved" in said
    assert "1 of" in command("progress")[1]


def test_a_solution_is_shown_with_its_why(book: Path) -> None:
    assert "# Why:" in command("solution", "03.pool")[1]


@pytest.mark.timeout(900)
@pytest.mark.parametrize("solved", [False, True], ids=["stubs", "solutions"])
def test_notebook_pytest_and_command_agree_on_every_exercise(
    book: Path, solved: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each check is run once, in its own process, through the door of the notebook."""
    if solved:
        for name in all_exercises():
            solve(book, name)
    cards = {name: check(name) for name in all_exercises()}
    assert [card.passed for card in cards.values()] == [solved] * len(cards)
    found = tmp_path / "verdicts.json"
    remembered.keep({name: card.verdict for name, card in cards.items()}, found)
    monkeypatch.setenv(remembered.VARIABLE, str(found))
    monkeypatch.setattr("pagedlab.learn.run.run", remembered.remembered)
    code, said = command("check", *cards)
    assert code == int(not solved) and said == "".join(f"{card}\n" for card in cards.values())
    plugin = ["-p", "tests.learn.remembered", "-p", "no:cacheprovider"]
    told = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *plugin, "exercises"],
        cwd=ROOT,
        env=os.environ
        | {"COLUMNS": "300", "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])},
        capture_output=True,
        text=True,
    ).stdout
    if solved:
        assert f"{len(cards)} passed" in told
    else:
        assert f"{len(cards)} failed" in told and all(str(card) in told for card in cards.values())


@pytest.mark.parametrize("solved", [False, True], ids=["stub", "solution"])
def test_the_three_doors_run_the_same_check(book: Path, solved: bool) -> None:
    """Nothing is remembered here: three processes, three verdicts."""
    if solved:
        solve(book, "03.locate")
    card = check("03.locate")
    assert card.passed == solved
    code, said = command("check", "03.locate")
    assert code == int(not solved) and said == f"{card}\n"
    pytest_door = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "exercises", "-k", "03.locate"]
    done = subprocess.run(pytest_door, cwd=ROOT, env=os.environ | {"COLUMNS": "300"}, capture_output=True, text=True)
    assert done.returncode == int(not solved) and (solved or str(card) in done.stdout)


def test_a_stub_hides_the_solution_and_nothing_else() -> None:
    solution = (
        '"""Spec."""\n\n# BEGIN SOLUTION\nimport secret\n\n# END SOLUTION\n\ndef f() -> int:\n    """One."""\n'
        "    # BEGIN SOLUTION\n    return secret.one()\n    # END SOLUTION\n\n\n# Why: because one\n# is enough.\n"
    )
    stub = stub_of("99.f", solution)
    assert "secret" not in stub and "because" not in stub
    assert stub.endswith('    """One."""\n    raise NotImplementedError("99.f: f is yours to write")\n')
    assert why_of(solution) == "because one is enough."
