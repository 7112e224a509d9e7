"""What a race leaves behind: JSON that reads back, and a table for each workload."""

from __future__ import annotations

import json
import statistics
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from bench.race_workloads import MEANING


@dataclass(frozen=True)
class Entry:
    """A peer of the list: none is left out in silence."""

    name: str
    state: str  #: raced, failed (what was measured before stands), absent, left out
    version: str = ""
    settings: str = ""
    why: str = ""  #: it is not "raced"
    install: str = ""  #: what to do where it is absent


@dataclass(frozen=True)
class Result:
    """One peer and one workload. The lists have an item a round, in the order of ``rounds``."""

    workload: str
    peer: str
    prompt_tokens: int
    output_tokens: int
    rounds: list[int]
    seconds: list[float]
    first_token: list[float]  #: seconds to a request's first token, its median over the requests
    median_seconds: float
    ours_times_as_fast: float | None  #: the median over rounds of its seconds / ours; None if we were not in them
    same_outputs: float | None  #: share of the prompts whose tokens are ours

    @property
    def output_per_second(self) -> float:
        return self.output_tokens / self.median_seconds


@dataclass(frozen=True)
class Report:
    about: dict[str, Any]
    entries: list[Entry]
    results: list[Result]

    def save(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")

    @staticmethod
    def load(path: Path) -> Report:
        raw = json.loads(path.read_text(encoding="utf-8"))
        return Report(
            raw["about"], [Entry(**entry) for entry in raw["entries"]], [Result(**result) for result in raw["results"]]
        )


def kept_results(folder: Path) -> list[Result]:
    """The race that is kept: one run for the workloads of many requests, another with more rounds for those of one."""
    many, one = (Report.load(folder / name).results for name in ("race.json", "race_one_request.json"))
    again = {result.workload for result in one}
    return one + [result for result in many if result.workload not in again]


def show(report: Report, console: Console) -> None:
    console.print(", ".join(f"{key} {value}" for key, value in report.about.items()), style="dim")
    for workload in dict.fromkeys(result.workload for result in report.results):
        size = " (of which --quick makes a hundredth)" if report.about["quick"] else ""
        console.print(f"\n{workload}: {MEANING[workload]}{size}")
        table = Table(box=box.SIMPLE)
        for heading in ("", "seconds", "first token", "output tokens/s", "we are × as fast", "same outputs"):
            table.add_column(heading, justify="right" if heading else "left")
        for result in sorted(report.results, key=lambda one: one.median_seconds):
            if result.workload == workload:
                table.add_row(*_row(result))
        console.print(table)
    for entry in report.entries:
        if entry.state != "raced":
            advice = f" To race it: {entry.install}." if entry.install else ""
            console.print(f"{entry.name}: {entry.state}. {entry.why}.{advice}", highlight=False, markup=False)


def _row(result: Result) -> tuple[str, ...]:
    ratio, same = result.ours_times_as_fast, result.same_outputs
    return (
        result.peer,
        f"{result.median_seconds:.2f}",
        f"{statistics.median(result.first_token):.2f}",
        f"{result.output_per_second:.1f}",
        "" if ratio is None else f"{ratio:.2f}",
        "" if same is None else f"{same:.0%}",
    )
