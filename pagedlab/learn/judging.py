"""Judging one file: from whatever a learner's code does to a verdict."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import Any

from pagedlab.learn import workbook
from pagedlab.learn.exercise import Exercise
from pagedlab.learn.judge import Judge, Mismatch, shown
from pagedlab.learn.verdict import Failure, Outcome, Verdict

#: ``say(line)``: what happens, as it happens, for whoever must end this process.
Say = Callable[[dict[str, Any]], None]


def judge_file(exercise: Exercise, path: Path, say: Say = lambda line: None) -> Verdict:
    """Load the file and check it, in this process."""
    judge = TalkingJudge(path, say)
    outcome, failure = Outcome.PASSED, None
    try:
        exercise.check(Mine(workbook.load(path)), judge)
    except Mismatch as mismatch:
        outcome, failure = Outcome.WRONG, mismatch.failure
    except (Exception, SystemExit) as error:
        outcome, failure = _raised(first_cause(error), judge, path)
    return Verdict(outcome, judge.passed, failure, stand_ins=list(workbook.stand_ins))


def _raised(error: BaseException, judge: Judge, path: Path) -> tuple[Outcome, Failure]:
    """What an error of the learner's code means."""
    line = line_of(error, path)
    if isinstance(error, NotImplementedError):
        return Outcome.UNWRITTEN, Failure(judge.current, message=str(error), line=line)
    if isinstance(error, MemoryError):
        message = "it asked for more memory than a check may take"
        return Outcome.GREEDY, Failure(judge.current, judge.case, message=message, line=line)
    message = f"{type(error).__name__}: {shown_message(error)}"
    return Outcome.RAISED, Failure(judge.current, judge.case, message=message, line=line)


def first_cause(error: BaseException) -> BaseException:
    """Triton's interpreter wraps what happens in a kernel: the learner is shown what it was."""
    while type(error).__name__ == "InterpreterError" and error.__cause__ is not None:
        error = error.__cause__
    return error


class TalkingJudge(Judge):
    """Says each rule before it is tried, and each failure as it is found: a smaller one may never be."""

    def __init__(self, path: Path, say: Say) -> None:
        super().__init__()
        self._path, self._say = path, say

    def rule(self, text: str) -> Any:
        if self.passed:
            self._say({"passed": self.passed[-1]})
        self._say({"trying": text})
        return super().rule(text)

    def wrong(self, **what: Any) -> None:
        try:
            super().wrong(**what)
        except Mismatch as mismatch:
            self._say({"failure": asdict(mismatch.failure)})
            raise


class Mine(ModuleType):
    """The learner's module; a name that is missing in it is a failure that says so."""

    def __init__(self, module: ModuleType) -> None:
        super().__init__(module.__name__)
        self._module = module

    def __getattr__(self, name: str) -> Any:
        if not hasattr(self._module, name):
            raise Mismatch(
                Failure(
                    "the file defines what its stub did", expected=f"a name {name!r}", actual="no such name in the file"
                )
            )
        return getattr(self._module, name)


def line_of(error: BaseException, path: Path) -> int | None:
    """Where the learner's file was when the error rose: the innermost line of it."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    if isinstance(error, SyntaxError) and error.filename == str(path):
        return error.lineno
    return lines[-1] if lines else None


def shown_message(error: BaseException) -> str:
    if isinstance(error, RecursionError):
        return "the recursion does not end"
    try:
        return str(error)[:500]
    except Exception as inner:
        return f"(its message raises {shown(type(inner).__name__)})"
