"""Drawings of a profile: a step as a timeline with a lane for each kind of work, and where the time of steps goes.

These take plain data, of a run just profiled (``pagedlab.engine.profiling``) or of one that was kept as JSON.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

from pagedlab.view.palette import GUIDE, LINES, OWNERS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from pagedlab.arithmetic import Machine

#: kind of work -> colour, hatch; in the order of the lanes.
KINDS: Mapping[str, tuple[str, str]] = {
    "matrices": (OWNERS[0], ""),
    "attention over pages": (OWNERS[1], "////"),
    "norms, rotation, gates": (OWNERS[2], "...."),
    "sampling": (OWNERS[3], "xxxx"),
    "scheduling": (OWNERS[5], "||||"),
    "the rest": ("#999999", "\\\\\\\\"),
}


class Stretch(NamedTuple):
    """What a lane is marked with: a kind of work, from ``start`` on, for so many seconds."""

    kind: str
    start: float
    seconds: float


def draw_timeline(axes: Axes, stretches: Sequence[Stretch], seconds: float) -> None:
    """One step of ``seconds``, in milliseconds, a lane for each kind but the rest, which is where no lane is marked.

    However short a stretch is, its mark is a hair wide: one that vanished would look like work that was not done.
    """
    hair = 0.0015 * seconds
    lanes = [kind for kind in KINDS if kind != "the rest"]
    for stretch in stretches:
        colour, _ = KINDS[stretch.kind]
        lane = lanes.index(stretch.kind)
        width, left = max(stretch.seconds, hair), stretch.start
        axes.barh(lane, 1e3 * width, 0.7, 1e3 * left, color=colour, linewidth=0, snap=False)
    totals = {kind: sum(s.seconds for s in stretches if s.kind == kind) for kind in lanes}
    axes.set_yticks(range(len(lanes)), [f"{kind} {totals[kind] / seconds:.0%}" for kind in lanes])
    axes.set_ylim(len(lanes) - 0.5, -0.5)
    axes.set_xlim(0, 1e3 * seconds)
    axes.set_xlabel("milliseconds since the step began")
    axes.tick_params(left=False)


def draw_shares(axes: Axes, steps: Mapping[str, Mapping[str, float]]) -> None:
    """For each step, by name, the share of its seconds that each kind takes. Shares from 8 % on carry a number."""
    for row, seconds in enumerate(steps.values()):
        whole, left = sum(seconds.values()), 0.0
        for kind, (colour, hatch) in KINDS.items():
            share = 100 * seconds[kind] / whole
            label = kind if row == 0 else None
            axes.barh(row, share, 0.62, left, color=colour, hatch=hatch, edgecolor="white", linewidth=0.5, label=label)
            if share >= 8:
                plate = {"facecolor": "white", "alpha": 0.85, "edgecolor": "none", "pad": 1.2}
                axes.text(left + share / 2, row, f"{share:.0f} %", ha="center", va="center", fontsize=8.5, bbox=plate)
            left += share
    axes.set_yticks(range(len(steps)), list(steps))
    axes.set_ylim(len(steps) - 0.5, -0.5)
    axes.set_xlim(0, 100)
    axes.set_xlabel("% of the step's time")
    axes.tick_params(left=False)
    axes.legend(frameon=False, ncols=3, loc="lower left", bbox_to_anchor=(0, 1), borderpad=0)


class Reached(NamedTuple):
    """A step under the roof: FLOPs a byte, the FLOP/s it reached, what it is ("prefill" or "decode"), and its size."""

    intensity: float
    flops: float
    kind: str
    text: str


def draw_reached(axes: Axes, machine: Machine, points: Sequence[Reached]) -> None:
    """The roof of a machine in GFLOP/s and what steps reached under it; those of one kind are joined in order."""
    from pagedlab.arithmetic import attainable_flops, ridge_point

    ridge = ridge_point(machine)
    lowest = min(0.5 * min(point.intensity for point in points), ridge / 10)
    highest = max(2 * max(point.intensity for point in points), ridge * 4)
    roof = [lowest, ridge, highest]
    axes.loglog(roof, [attainable_flops(x, machine) / 1e9 for x in roof], color="black", linewidth=1.5)
    axes.axvline(ridge, color=GUIDE, linestyle=":", linewidth=1)
    looks = {"decode": ("o-", LINES[0], (6, -11)), "prefill": ("s--", LINES[1], (-4, 8))}
    for kind, group in groupby(sorted(points, key=lambda point: point.kind), key=lambda point: point.kind):
        mine = list(group)
        marker, colour, offset = looks[kind]
        xs, ys = [point.intensity for point in mine], [point.flops / 1e9 for point in mine]
        axes.plot(xs, ys, marker, color=colour, markeredgecolor="black", markersize=7, linewidth=1, label=kind)
        for point in mine:
            place = (point.intensity, point.flops / 1e9)
            axes.annotate(point.text, place, textcoords="offset points", xytext=offset, fontsize=8.5)
    axes.set_xlabel("intensity, FLOPs per byte")
    axes.set_ylabel("reached GFLOP/s")
    axes.legend(loc="lower right", frameon=False)
