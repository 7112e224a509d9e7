"""Run a check over the learner's file, in a process of its own that may not run for ever nor take all memory.

In a browser there is one process only: ``same_process`` says what is lost there.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from pagedlab.learn import child
from pagedlab.learn.card import Card
from pagedlab.learn.exercise import Exercise, find
from pagedlab.learn.progress import ONE_PROCESS, record_check
from pagedlab.learn.verdict import Failure, Outcome, Verdict
from pagedlab.learn.workbook import VARIABLE, learner_file, workbook_folder

GRACE = 30.0  #: seconds for Python to start and to import what a check needs, and to end
MOST_MEMORY = 2 << 30  #: bytes that a check may take on top of what it imports


def check(name: str) -> Card:
    """Check the learner's file of exercise ``name`` and keep the result in the progress. Returns what to show.

    Raises UnknownExercise, NoWorkbook or ExerciseMissing.
    """
    exercise = find(name)
    path = learner_file(exercise)
    text = path.read_text(encoding="utf-8")
    verdict = run(exercise, path)
    record_check(exercise.name, text, verdict.outcome is Outcome.PASSED)
    return Card(exercise, verdict)


def run(exercise: Exercise, path: Path, *, seconds: float | None = None, memory: int = MOST_MEMORY) -> Verdict:
    """What the check says of the file at ``path``."""
    limit = exercise.seconds if seconds is None else seconds
    if ONE_PROCESS:
        return _run_here(exercise, path, limit)
    environment = os.environ | {VARIABLE: str(workbook_folder()), "TRITON_INTERPRET": str(int(exercise.interpreted))}
    with tempfile.TemporaryDirectory(prefix="pagedlab-check-") as folder:
        answers, stacks = Path(folder) / "answers", Path(folder) / "stacks"
        command = [sys.executable, "-m", child.__name__, exercise.name, str(path), str(limit), str(memory), folder]
        process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        greedy = _wait(process, limit + GRACE, memory)
        said = [json.loads(line) for line in answers.read_text().splitlines()] if answers.exists() else []
        where = stacks.read_text() if stacks.exists() else ""
    outcome, message = _silence(greedy, where, process.returncode, limit, memory, exercise.interpreted)
    return _verdict(said, outcome, message, _line(where, path))


def _run_here(exercise: Exercise, path: Path, seconds: float) -> Verdict:
    from pagedlab.learn.same_process import judge_here

    said, line = judge_here(exercise, path, seconds)
    return _verdict(said, Outcome.ENDLESS, _endless(seconds), line)


def _verdict(said: list[dict[str, Any]], outcome: Outcome, message: str, line: int | None) -> Verdict:
    """The verdict that was said; where the check came to no end, the smallest failure until then, or ``outcome``."""
    if said and "outcome" in said[-1]:
        return Verdict.from_json(said[-1])
    passed = [line["passed"] for line in said if "passed" in line]
    smallest = next((line["failure"] for line in reversed(said) if "failure" in line), None)
    if smallest is not None:  # it was found, and then a smaller one was looked for, in vain
        return Verdict.from_json({"outcome": "wrong", "passed": passed, "failure": smallest})
    rule = next((line["trying"] for line in reversed(said) if "trying" in line), "the file can be loaded")
    return Verdict(outcome, passed, Failure(rule, message=message, line=line))


def _wait(process: subprocess.Popen[bytes], seconds: float, memory: int) -> bool:
    """Wait for the end of the process, or end it. Returns whether it had taken too much memory."""
    import psutil

    until, first, watched = time.monotonic() + seconds, None, psutil.Process(process.pid)
    greedy = False
    while process.poll() is None:
        try:
            taken = watched.memory_info().rss
        except psutil.Error:
            break
        first = taken if first is None else first
        greedy = taken - first > memory + (1 << 30)  # its own limit comes first, where the system has one
        if greedy or time.monotonic() > until:
            _end(process)
            break
        time.sleep(0.01)
    if process.stderr is not None:
        process.stderr.close()
    process.wait()
    return greedy


def _end(process: subprocess.Popen[bytes]) -> None:
    """The process, and whatever it has started."""
    import signal

    try:
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    except ProcessLookupError:
        pass


def _silence(
    greedy: bool, stacks: str, code: int, seconds: float, memory: int, interpreted: bool
) -> tuple[Outcome, str]:
    """Why a process ended without an answer."""
    if greedy:
        return Outcome.GREEDY, f"it took more than {memory / (1 << 30):.0f} GiB of memory and was ended"
    if "Timeout" in stacks:
        return Outcome.ENDLESS, _endless(seconds)
    if code < 0:
        why = "a load or store outside of a tensor" if interpreted else "a recursion without an end"
        return Outcome.DIED, f"its process was ended by signal {-code}: {why} does that"
    return Outcome.DIED, f"its process ended with exit code {code} before the check was through"


def _endless(seconds: float) -> str:
    return f"it had not come back after {seconds:g} seconds: is there a loop that never ends?"


def _line(stacks: str, path: Path) -> int | None:
    """Where the learner's file was when its time was up: the innermost line."""
    found = re.search(rf'File "{re.escape(str(path))}", line (\d+)', stacks)
    return int(found.group(1)) if found else None
