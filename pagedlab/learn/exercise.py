"""Exercise: what the course knows of one, and the register of all of them.

A check is a function of the learner's module and a judge. It is registered by its decorator, in a module of
``pagedlab.learn.checks`` that is named after its chapter: ``c03_page_tables`` holds the exercises ``03.*``.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from types import ModuleType

from pagedlab.errors import PagedLabError
from pagedlab.learn.judge import Judge

CheckFunction = Callable[[ModuleType, Judge], None]

#: The names of chapters, and so of the folders in ``exercises/``.
CHAPTERS = (
    "00_start_here",
    "01_the_memory_bill",
    "02_fragmentation",
    "03_page_tables",
    "04_attention_over_pages",
    "05_triton_decode_kernel",
    "06_prefill_vs_decode",
    "07_continuous_batching",
    "08_prefix_sharing",
    "09_two_quantisations",
    "10_latency_and_throughput",
    "11_five_systems",
    "12_beyond_one_machine",
    "13_your_own_engine",
)


class UnknownExercise(PagedLabError, LookupError):
    """No exercise has that name."""


@dataclass(frozen=True)
class Exercise:
    """``name`` is ``chapter.exercise``: ``03.free_queue``. ``hints`` go from a nudge to nearly the code."""

    name: str
    title: str
    difficulty: int  #: 1, 2 or 3
    minutes: int
    hints: tuple[str, str, str]
    check: CheckFunction
    seconds: float  #: that a check may take before it counts as one that does not end
    after: tuple[str, ...]  #: exercises whose solutions this one builds on
    needs: tuple[str, ...]  #: packages that take a while to import, and are imported before the seconds are counted

    @property
    def interpreted(self) -> bool:
        """The learner writes Triton: it runs in Triton's interpreter."""
        return "triton" in self.needs

    @property
    def chapter(self) -> str:
        """Its folder: ``03_page_tables``."""
        return next(chapter for chapter in CHAPTERS if chapter.startswith(self.name.partition(".")[0]))

    @property
    def file(self) -> str:
        """Where the learner writes, within the folder of exercises."""
        return f"{self.chapter}/{self.name.partition('.')[2]}.py"


_REGISTER: dict[str, Exercise] = {}


def exercise(
    name: str,
    title: str,
    *,
    difficulty: int,
    minutes: int,
    hints: tuple[str, str, str],
    seconds: float = 20.0,
    after: tuple[str, ...] = (),
    needs: tuple[str, ...] = (),
) -> Callable[[CheckFunction], CheckFunction]:
    """Register the function as the check of an exercise."""

    def register(function: CheckFunction) -> CheckFunction:
        _REGISTER[name] = Exercise(name, title, difficulty, minutes, hints, function, seconds, after, needs)
        return function

    return register


@cache
def all_exercises() -> dict[str, Exercise]:
    """Every exercise by name, in the order of the course."""
    from pagedlab.learn import checks

    for module in sorted(info.name for info in pkgutil.iter_modules(checks.__path__)):
        import_module(f"{checks.__name__}.{module}")
    return dict(sorted(_REGISTER.items(), key=lambda item: item[0].partition(".")[0]))


def find(name: str) -> Exercise:
    """Raises UnknownExercise, which names those that come closest."""
    from difflib import get_close_matches

    there_are = all_exercises()
    if name not in there_are:
        close = get_close_matches(name, there_are, n=3, cutoff=0.4) or list(there_are)[:3]
        raise UnknownExercise(
            f"exercise {name!r} was asked for; there is no such one. Perhaps {', '.join(close)}? "
            "`pagedlab learn list` shows all."
        )
    return there_are[name]
