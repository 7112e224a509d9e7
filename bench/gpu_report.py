"""What the GPU suite has found, as a table, and held against its goals."""

from __future__ import annotations

import statistics
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from bench.gpu_cases import Heads, Shape

LONG, ROWS_ENOUGH = 4096, 2 << 28  #: tokens of context, bytes to be read, from which on memory is to be kept busy


def shape_of(raw: dict[str, Any]) -> Shape:
    return Shape(**raw | {"heads": Heads(**raw["heads"])})


def fastest_peer(result: dict[str, Any]) -> str | None:
    """Who needed the least time beside us; None where nobody else attended."""
    others = {name: took for name, took in result["milliseconds"].items() if name != "pagedlab"}
    return min(others, key=others.__getitem__) if others else None


def ratio(result: dict[str, Any]) -> float | None:
    """The fastest peer's time over ours."""
    peer, times = fastest_peer(result), result["milliseconds"]
    return None if peer is None or "pagedlab" not in times else times[peer] / times["pagedlab"]


def verdicts(report: dict[str, Any]) -> dict[str, str]:
    """Each goal, and what was found."""
    results = report["results"]
    ratios = [found for result in results if (found := ratio(result)) is not None]
    decodes = [(shape_of(result["shape"]), result) for result in results]
    long = [
        result["of_copy"]
        for shape, result in decodes
        if shape.rows == 1 and shape.context >= LONG and shape.kv_bytes >= ROWS_ENOUGH and result["of_copy"]
    ]
    return {
        "90 % of the copy, contexts of 4,096 and more that read 512 MiB or more": _least(long, 0.9),
        "0.9 of the best peer, everywhere": _least(ratios, 0.9),
        "1.0 of the best peer, in the median": "no peer" if not ratios else _met(statistics.median(ratios), 1.0),
    }


def show(report: dict[str, Any], console: Console) -> None:
    console.print(", ".join(f"{key} {value}" for key, value in report["about"].items()), style="dim")
    table = Table(box=box.SIMPLE)
    for heading in ("", "ms", "GB/s", "of copy", "fastest peer", "its ms / ours"):
        table.add_column(heading, justify="right" if heading else "left")
    for result in report["results"]:
        ours, found = result["milliseconds"].get("pagedlab"), ratio(result)
        table.add_row(
            str(shape_of(result["shape"])),
            "failed" if ours is None else f"{ours:.4f}",
            f"{result['gigabytes_per_second']:.0f}",
            f"{result['of_copy']:.0%}",
            fastest_peer(result) or "",
            "" if found is None else f"{found:.2f}",
        )
    console.print(table)
    for goal, verdict in verdicts(report).items():
        console.print(f"{goal}: {verdict}", highlight=False)
    refused = {name: why for result in report["results"] for name, why in result["refused"].items()}
    for name, why in refused.items():
        console.print(f"{name}: {why}", highlight=False, markup=False)
    for shape, why in report["skipped"].items():
        console.print(f"skipped: {shape}: {why}", highlight=False, markup=False)


def _least(values: list[float], goal: float) -> str:
    return "nothing was measured" if not values else _met(min(values), goal)


def _met(value: float, goal: float) -> str:
    return f"{value:.3f}, {'met' if value >= goal else 'not met'}"
