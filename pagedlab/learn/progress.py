"""Progress: which exercises were solved, kept on this machine from one release of the course to the next."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import date
from hashlib import blake2b
from pathlib import Path
from typing import Any

from platformdirs import user_data_path

#: Names the file in place of the usual one.
VARIABLE = "PAGEDLAB_PROGRESS"
FORMAT = 1

ONE_PROCESS = sys.platform == "emscripten"  #: Python runs in a browser, and cannot start another


def progress_file() -> Path:
    named = os.environ.get(VARIABLE)
    return Path(named) if named else user_data_path("pagedlab") / "progress.json"


@dataclass
class Progress:
    """``exercises``: name -> what is known of it. Names this release does not know are kept as they are."""

    exercises: dict[str, dict[str, Any]] = field(default_factory=dict)

    @classmethod
    def load(cls) -> Progress:
        """Nothing yet where there is no file. A file that cannot be read is put aside, not lost."""
        path = progress_file()
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            return cls({str(name): dict(known) for name, known in data["exercises"].items()})
        except FileNotFoundError:
            return cls()
        except (ValueError, KeyError, TypeError, AttributeError):
            path.replace(path.with_suffix(".unreadable"))
            return cls()

    def is_solved(self, name: str) -> bool:
        """It has passed once, whatever was done to the file since."""
        return "passed" in self.exercises.get(name, {})

    def has_passed(self, name: str, text: str) -> bool:
        """This very text has passed."""
        return bool(self.exercises.get(name, {}).get("passed") == digest(text))

    def hints_seen(self, name: str) -> int:
        return int(self.exercises.get(name, {}).get("hints", 0))


def record_check(name: str, text: str, passed: bool) -> None:
    """One more attempt at an exercise."""
    with _changing() as progress:
        known = progress.exercises.setdefault(name, {})
        known["attempts"] = int(known.get("attempts", 0)) + 1
        if passed:
            known |= {"passed": digest(text), "on": known.get("on", date.today().isoformat())}


def record_hint(name: str, most: int) -> int:
    """One more hint was read. Returns how many were, at most ``most``."""
    with _changing() as progress:
        known = progress.exercises.setdefault(name, {})
        known["hints"] = min(most, int(known.get("hints", 0)) + 1)
        return int(known["hints"])


def digest(text: str) -> str:
    return blake2b(text.encode(), digest_size=12).hexdigest()


@contextmanager
def _changing() -> Iterator[Progress]:
    """Read, change and write under a lock: a notebook and a terminal may check at the same time."""
    path = progress_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    with _lock(path):
        progress = Progress.load()
        yield progress
        text = json.dumps({"format": FORMAT, "exercises": progress.exercises}, indent=1, sort_keys=True)
        unfinished = path.with_suffix(".unfinished")
        unfinished.write_text(text + "\n", encoding="utf-8")
        unfinished.replace(path)


def _lock(path: Path) -> AbstractContextManager[object]:
    if ONE_PROCESS:  # nobody else to wait for; and a lock on a browser's files is never had
        return nullcontext()
    from filelock import FileLock

    return FileLock(f"{path}.lock")
