"""A check in this very process, for Python in a browser (Pyodide), where no process can be started.

What is lost beside ``run.run``: nothing limits the memory but the browser; code that ends its process ends the kernel;
what it changes in pagedlab itself stays changed until the kernel is restarted; and the clock is looked at only where
the learner's file itself is at work: one call out of it that does not end is waited for, and so is an endless loop that
catches everything (``except:``).
"""

from __future__ import annotations

import random
import sys
import time
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from types import FrameType
from typing import Any

from pagedlab.learn import workbook
from pagedlab.learn.child import Beginning
from pagedlab.learn.exercise import Exercise
from pagedlab.learn.judging import judge_file


class TimeIsUp(BaseException):
    """Raised in the learner's code. No Exception: ``except Exception`` in a loop without an end would go on."""

    def __init__(self, line: int) -> None:
        self.line = line
        super().__init__(f"line {line}")


def judge_here(exercise: Exercise, path: Path, seconds: float) -> tuple[list[dict[str, Any]], int | None]:
    """What the check says, line by line, as a process of its own would; and the line of the learner's file at which
    ``seconds`` were over, or None where they were enough."""
    said: list[dict[str, Any]] = []
    printed, before, state = Beginning(), sys.gettrace(), random.getstate()
    workbook.stand_ins.clear()  # of the check before: a process of its own would begin without
    sys.settrace(_watch(str(path), time.monotonic() + seconds))
    try:
        with redirect_stdout(printed), redirect_stderr(printed):
            verdict = judge_file(exercise, path, said.append)
    except TimeIsUp as over:
        return said, over.line
    finally:
        sys.settrace(before)
        random.setstate(state)
    said.append(verdict.to_json() | {"printed": printed.text})
    return said, None


def _watch(path: str, until: float) -> Any:
    """A trace function that looks at the clock at every instruction of the file, and of no other.

    Lines are not enough: ``while True: pass`` is one, and to some releases of Python it begins only once.
    """

    def at_work(frame: FrameType, event: str, _argument: object) -> Any:
        if time.monotonic() > until:
            raise TimeIsUp(frame.f_lineno)
        return at_work

    def at_call(frame: FrameType, event: str, _argument: object) -> Any:
        if frame.f_code.co_filename != path:
            return None
        frame.f_trace_opcodes = True
        return at_work

    return at_call
