"""The race as a picture: for each workload a bar for everyone who raced, the quickest on top."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.race_peers import OURS
from bench.race_report import Result
from bench.race_workloads import MEANING
from pagedlab.view.figures import new_figure
from pagedlab.view.palette import OWNERS

FEWER_BITS = ("int8", "Q4_1")  #: names of peers whose weights have fewer bits than everybody's end so
#: colour, hatch: of us or others, in float32 or in fewer bits
_STYLES = {(True, False): (OWNERS[6], ""), (False, False): ("#999999", "")}
_STYLES |= {(True, True): (OWNERS[1], "////"), (False, True): ("#C9C9C9", "////")}


def draw(race: Sequence[Result]) -> Figure:
    """Median seconds of every workload, beside each other in two columns."""
    names = list(dict.fromkeys(result.workload for result in race))
    figure, panels = new_figure(9.0, 1.2 + 1.9 * ((len(names) + 1) // 2), columns=2, rows=(len(names) + 1) // 2)
    for axes, name in zip(panels.flat, names, strict=False):
        results = [result for result in race if result.workload == name]
        _draw_workload(axes, sorted(results, key=lambda result: result.median_seconds))
        axes.set_title(textwrap.fill(f"{name}: {MEANING[name]}", 62), fontsize=8.5, loc="left")
    return figure


def alt(race: Sequence[Result]) -> str:
    """What the picture shows, in words."""
    parts = []
    for name in dict.fromkeys(result.workload for result in race):
        results = sorted((r for r in race if r.workload == name), key=lambda result: result.median_seconds)
        parts.append(f"{name}: " + ", ".join(f"{r.peer} {r.median_seconds:.2f}" for r in results))
    return "Seconds that each engine took, less is better. " + "; ".join(parts) + "."


def _draw_workload(axes: Axes, results: list[Result]) -> None:
    for row, result in enumerate(results):
        colour, hatch = _STYLES[result.peer.startswith(OURS.name), result.peer.endswith(FEWER_BITS)]
        axes.barh(row, result.median_seconds, 0.7, color=colour, hatch=hatch, edgecolor="white", linewidth=0.5)
        axes.text(result.median_seconds, row, f" {result.median_seconds:.2f} s", va="center", fontsize=8)
    axes.set_yticks(range(len(results)), [result.peer for result in results], fontsize=8)
    axes.set_ylim(len(results) - 0.5, -0.5)
    axes.set_xlim(0, 1.18 * max(result.median_seconds for result in results))
    axes.set_xticks([])
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.tick_params(left=False)
