"""Verdict: what a check found out, as plain data that goes from one process to another."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any


class Outcome(StrEnum):
    PASSED = "passed"
    UNWRITTEN = "unwritten"  #: the stub still says that it is to be written
    WRONG = "wrong"  #: it gave something else than it should
    RAISED = "raised"  #: it raised an error of its own
    ENDLESS = "endless"  #: it did not come back
    GREEDY = "greedy"  #: it asked for more memory than a check has
    DIED = "died"  #: its process ended without an answer


@dataclass(frozen=True)
class Row:
    """A row of pages, slots or queue entries under one label, as a learner would draw it."""

    label: str
    cells: list[str]


@dataclass(frozen=True)
class Failure:
    """The smallest case that went wrong. Everything in it is text that may come from a learner: escape it."""

    rule: str  #: what should hold, as a sentence
    case: str = ""  #: what was tried
    expected: str = ""
    actual: str = ""
    message: str = ""  #: of an error, or why the rule matters here
    line: int | None = None  #: in the learner's file
    expected_rows: list[Row] = field(default_factory=list)
    actual_rows: list[Row] = field(default_factory=list)


@dataclass(frozen=True)
class Verdict:
    """``passed``: the rules that held, in order. ``failure`` is there unless all did."""

    outcome: Outcome
    passed: list[str]
    failure: Failure | None = None
    printed: str = ""  #: what the learner's code printed, its beginning
    stand_ins: list[str] = field(default_factory=list)  #: unsolved exercises that ours stood in for

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Verdict:
        failure = data["failure"]
        if failure is not None:
            rows = {key: [Row(**row) for row in failure[key]] for key in ("expected_rows", "actual_rows")}
            failure = Failure(**(failure | rows))
        return cls(**(data | {"outcome": Outcome(data["outcome"]), "failure": failure}))
