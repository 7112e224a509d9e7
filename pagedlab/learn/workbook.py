"""Workbook: the folder in which the learner writes, and the solutions it is made from.

A workbook holds ``<chapter>/<exercise>.py``. In a clone of the repository that is ``exercises/``; elsewhere
``pagedlab learn init`` makes one. Solutions lie beside the stubs in a clone, and in the package everywhere else.
"""

from __future__ import annotations

import os
from datetime import datetime
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

from pagedlab.errors import PagedLabError
from pagedlab.learn.exercise import CHAPTERS, Exercise, all_exercises, find
from pagedlab.learn.progress import Progress
from pagedlab.learn.stub import stub_of

#: Names the workbook in place of the search.
VARIABLE = "PAGEDLAB_EXERCISES"


class NoWorkbook(PagedLabError):
    """There is no folder of exercises where one was looked for."""


class ExerciseMissing(PagedLabError):
    """The file of an exercise is not in the workbook."""


def solutions_folder() -> Path:
    """In the package when it was installed from a wheel, in the repository otherwise."""
    package = Path(__file__).resolve().parent
    packed = package / "solutions"
    return packed if packed.is_dir() else package.parents[1] / "exercises" / "solutions"


def workbook_folder() -> Path:
    """``$PAGEDLAB_EXERCISES``, or the nearest ``exercises`` in the working directory and above it.

    Raises NoWorkbook.
    """
    if named := os.environ.get(VARIABLE):
        if not Path(named).is_dir():
            raise NoWorkbook(f"{VARIABLE} names {named}, which is no folder. Unset it, or run `pagedlab learn init`.")
        return Path(named)
    for folder in (Path.cwd(), *Path.cwd().parents):
        if any((folder / "exercises" / chapter).is_dir() for chapter in CHAPTERS):
            return folder / "exercises"
    raise NoWorkbook(
        "there is no folder of exercises here or above. Go into your clone of pagedlab, or make one with "
        "`pagedlab learn init`."
    )


def source_of_solution(exercise: Exercise) -> str:
    return (solutions_folder() / exercise.file).read_text(encoding="utf-8")


def stub_text(exercise: Exercise) -> str:
    return stub_of(exercise.name, source_of_solution(exercise))


def learner_file(exercise: Exercise) -> Path:
    """Raises ExerciseMissing."""
    path = workbook_folder() / exercise.file
    if not path.is_file():
        raise ExerciseMissing(
            f"exercises/{exercise.file} is not there. `pagedlab learn reset {exercise.name}` writes the stub again."
        )
    return path


def init(folder: Path) -> list[Path]:
    """Write the stubs that ``folder`` does not have yet. Returns them."""
    written = []
    for exercise in all_exercises().values():
        path = folder / exercise.file
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(stub_text(exercise), encoding="utf-8")
            written.append(path)
    return written


def reset(exercise: Exercise) -> Path | None:
    """Restore the stub. Returns where the learner's old file was kept, or None where there was nothing to keep."""
    path, stub = workbook_folder() / exercise.file, stub_text(exercise)
    kept = None
    if path.exists() and path.read_text(encoding="utf-8") != stub:
        kept = path.with_name(f"{path.stem}.{datetime.now():%Y-%m-%d-%H%M%S-%f}.kept")
        path.rename(kept)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(stub, encoding="utf-8")
    return kept


#: Unsolved exercises that ours stood in for in this process.
stand_ins: list[str] = []


def solved(name: str) -> ModuleType:
    """The module in which the learner has solved exercise ``name``; ours stands in for one that is not solved yet."""
    exercise = find(name)
    theirs = workbook_folder() / exercise.file
    if theirs.is_file() and Progress.load().has_passed(exercise.name, theirs.read_text(encoding="utf-8")):
        return load(theirs)
    ours = solutions_folder() / exercise.file
    if theirs.resolve() != ours.resolve() and name not in stand_ins:
        stand_ins.append(name)
    return load(ours)


def load(path: Path) -> ModuleType:
    """Run the file as a module of its own; nothing is kept of it between two calls."""
    spec = spec_from_file_location(f"exercise_{path.parent.name}_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
