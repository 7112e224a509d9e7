"""The process a check runs in: ``python -m pagedlab.learn.child EXERCISE FILE SECONDS BYTES FOLDER``.

It says what it does, line by line, in ``FOLDER/answers``, so that even an end by force leaves the smallest failure
found so far; and where it stands when time is up in ``FOLDER/stacks``.
"""

from __future__ import annotations

import faulthandler
import io
import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from pagedlab.learn.exercise import find
from pagedlab.learn.judging import judge_file

MOST_PRINTED = 2000  #: characters of what the learner's code prints


class Beginning(io.TextIOBase):
    """Keeps the beginning of what is written, however long it goes on."""

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> int:
        self.text += text[: max(0, MOST_PRINTED - len(self.text))]
        return len(text)


def main() -> None:
    name, path, seconds, memory, folder = sys.argv[1:]
    exercise = find(name)
    printed = Beginning()
    with (
        open(Path(folder) / "answers", "w", encoding="utf-8") as answers,
        open(Path(folder) / "stacks", "w", encoding="utf-8") as stacks,
    ):

        def say(line: dict[str, Any]) -> None:
            answers.write(json.dumps(line) + "\n")
            answers.flush()

        for module in exercise.needs:  # before the limit: what a check imports is not the learner's
            import_module(module)
        limit_memory(int(memory))
        sys.stdout = sys.stderr = printed
        faulthandler.enable(stacks)
        faulthandler.dump_traceback_later(float(seconds), exit=True, file=stacks)
        verdict = judge_file(exercise, Path(path), say)
        faulthandler.cancel_dump_traceback_later()
        say(verdict.to_json() | {"printed": printed.text})


def limit_memory(more: int) -> None:
    """From here on this process may take ``more`` bytes; only where the system can say how much it has (Linux)."""
    try:
        import resource

        taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (taken + more, resource.getrlimit(resource.RLIMIT_AS)[1]))
    except (ImportError, OSError, ValueError):
        return


if __name__ == "__main__":
    main()
