"""What the control-plane benches share: a clock that machines agree on, a command line, a report and its tables.

A report is JSON: ``{"about": {...}, "figures": [...]}``, with a Figure for each setting that was measured. Both engines
that are compared write the same shape.
"""

from __future__ import annotations

import argparse
import gc
import json
import platform
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import torch
from rich import box
from rich.console import Console
from rich.table import Table

#: Seconds that each named part of the work took, per unit of work.
Seconds: TypeAlias = dict[str, float]
#: What a figure was measured under.
Setting: TypeAlias = dict[str, int | str | bool]


@dataclass(frozen=True)
class Figure:
    """``microseconds`` of each part, per ``per``: the median of ``rounds``.

    They are processor time of the thread, so that they tell of the work and not of what else the machine does.

    ``calibrations`` says the same as multiples of the calibration loop, which was timed beside each round: the figure
    to compare between runs and machines.
    """

    series: str
    per: str
    setting: Setting
    rounds: int
    microseconds: dict[str, float]
    calibrations: dict[str, float]


@dataclass(frozen=True)
class Report:
    about: dict[str, Any]
    figures: list[Figure] = field(default_factory=list)

    def save(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")

    @staticmethod
    def load(path: Path) -> Report:
        raw = json.loads(path.read_text(encoding="utf-8"))
        return Report(raw["about"], [Figure(**figure) for figure in raw["figures"]])


class _Cell:
    __slots__ = ("count", "items")

    def __init__(self) -> None:
        self.count = 0
        self.items: list[int] = []

    def put(self, item: int) -> None:
        self.items.append(item)
        self.count += 1


def calibration() -> float:
    """Seconds of one turn of a loop of what control planes do: a dictionary look-up, a call, attributes, a list.

    It goes round as many objects as a batch has, so that a busy neighbour who takes the caches slows it too.
    """
    cells = {number: _Cell() for number in range(4096)}
    turns = range(8 * 4096)
    for _ in range(2):  # the second time counts: memory for the lists is there
        start = time.thread_time()
        for turn in turns:
            cell = cells[turn & 4095]
            if cell.count <= turn:
                cell.put(turn)
    return (time.thread_time() - start) / len(turns)


def measure(
    series: str,
    per: str,
    setting: Setting,
    once: Callable[[], Seconds],
    *,
    rounds: int,
) -> Figure:
    """Medians of ``rounds`` turns of ``once``, each beside a turn of the calibration loop; one more comes first."""
    once()
    gc.collect()
    gc.freeze()  # a collection that falls into a round would look through all that was built before it
    taken: list[tuple[Seconds, float]] = []
    for _ in range(rounds):
        before = calibration()
        seconds = once()
        taken.append((seconds, (before + calibration()) / 2))
    gc.unfreeze()
    names = list(taken[0][0])
    return Figure(
        series,
        per,
        setting,
        rounds,
        {name: round(1e6 * statistics.median(s[name] for s, _ in taken), 4) for name in names},
        {name: round(statistics.median(s[name] / unit for s, unit in taken), 3) for name in names},
    )


def about(subject: str, **more: Any) -> dict[str, Any]:
    """Who was measured, and where."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return {
        "subject": subject,
        "python": platform.python_version(),
        "system": platform.system(),
        "processor": model or platform.processor() or platform.machine(),
        "calibration_microseconds": round(1e6 * statistics.median(calibration() for _ in range(9)), 4),
        **more,
    }


def main(name: str, doc: str | None, version: str, subject: str, figures: Callable[[bool], Iterable[Figure]]) -> None:
    """The command line of a control-plane bench; ``figures(quick)`` measures."""
    parser = argparse.ArgumentParser(
        prog=f"python -m bench.{name}", description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="tiny settings, in seconds")
    parser.add_argument("--json", type=Path, help="keep the report in this file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with torch.inference_mode():
        measured = collect(figures(options.quick))
    report = Report(about(subject, version=version, quick=options.quick), measured)
    show(report)
    if options.json:
        report.save(options.json)


def collect(figures: Iterable[Figure]) -> list[Figure]:
    """All of them; while they are being measured, the last one is named where errors go."""
    collected = []
    with Console(stderr=True).status("measuring") as status:
        for figure in figures:
            collected.append(figure)
            status.update(f"measured: {figure.series}, {figure.setting}")
    return collected


def show(report: Report) -> None:
    """A table for each series: a row for each setting, microseconds of each part, calibration loops of the last."""
    console = Console(width=110)
    console.print(", ".join(f"{key} {value}" for key, value in report.about.items()), style="dim")
    for series in dict.fromkeys(figure.series for figure in report.figures):
        figures = [figure for figure in report.figures if figure.series == series]
        settings, parts = _keys(f.setting for f in figures), _keys(f.microseconds for f in figures)
        varied = [key for key in settings if len({f.setting[key] for f in figures}) > 1]
        same = ", ".join(f"{key} {_said(figures[0].setting[key])}" for key in settings if key not in varied)
        title = f"{series}: µs {figures[0].per}" + (f" ({same})" if same else "")
        console.print(f"\n{title}")
        table = Table(box=box.SIMPLE)
        for heading in (*varied, *parts, f"{parts[-1]}, × calibration"):
            table.add_column(heading, justify="right")
        for figure in figures:
            times = [f"{figure.microseconds[part]:.2f}" for part in parts]
            row = [_said(figure.setting[key]) for key in varied]
            table.add_row(*row, *times, f"{figure.calibrations[parts[-1]]:.1f}")
        console.print(table)


def _keys(dictionaries: Iterable[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(key for dictionary in dictionaries for key in dictionary))


def _said(value: int | str | bool) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else value
