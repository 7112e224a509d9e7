"""A pytest plugin: every check gives the verdict that was found before, and is kept in the file ``$VERDICTS`` names.

So the doors to a check can be compared without running each check three times.
"""

import json
import os
from pathlib import Path

from pagedlab.learn import run
from pagedlab.learn.exercise import Exercise
from pagedlab.learn.verdict import Verdict

VARIABLE = "VERDICTS"


def keep(verdicts: dict[str, Verdict], path: Path) -> None:
    path.write_text(json.dumps({name: verdict.to_json() for name, verdict in verdicts.items()}), encoding="utf-8")


def remembered(exercise: Exercise, path: Path) -> Verdict:
    """In place of ``run.run``."""
    verdicts = json.loads(Path(os.environ[VARIABLE]).read_text(encoding="utf-8"))
    return Verdict.from_json(verdicts[exercise.name])


if VARIABLE in os.environ:
    run.run = remembered
