"""Batches filling and draining: who has which place in each step, and what the step computes.

Drawn from a rehearsal (``scheduling/rehearsal.py``). A request keeps its colour and its name; prompt tokens are
hatched, a place without work is pale, and one who had to give way leaves a cross.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pagedlab.scheduling.rehearsal import Part, Rehearsal
from pagedlab.view.drawing import Box, Drawing, hatch, mix
from pagedlab.view.figures import Bar, Segment
from pagedlab.view.palette import owner_colour, text_colour
from pagedlab.view.svg import INK, LINE, MARGIN, PAPER, QUIET, WIDTH, SvgFigure, card

TOP, LABELS, BAND = 64, 58, 62
ROW, GAP = 26.0, 3.0


@dataclass
class Stay:
    """A request in its place, from step ``start`` to step ``stop`` (excluded)."""

    request: int
    start: int
    stop: int


def name_of(rehearsal: Rehearsal, request: int) -> str:
    """As it was called, or A, B, C …"""
    return rehearsal.arrivals[request].name or (chr(65 + request) if request < 26 else str(request))


def stays(rehearsal: Rehearsal, places: int | None = None) -> list[list[Stay]]:
    """Who was in each place when. Whoever comes in takes the first that is empty. ``places``: at least so many rows."""
    rows: list[list[Stay]] = [[] for _ in range(places or 0)]
    inside: dict[int, Stay] = {}
    for number, step in enumerate(rehearsal.steps):
        inside = {request: stay for request, stay in inside.items() if request in step.running}
        taken = {id(stay) for stay in inside.values()}
        for request in step.running:
            if request not in inside:
                row = next((row for row in rows if not row or id(row[-1]) not in taken), None)
                if row is None:
                    rows.append(row := [])
                inside[request] = Stay(request, number, number)
                row.append(inside[request])
                taken.add(id(inside[request]))
            inside[request].stop = number + 1
    return rows


def stay_bars(rehearsal: Rehearsal, places: int) -> list[Bar]:
    """The same as bars, a place each, for an Explorer: unit steps."""
    bars = []
    for number, row in enumerate(stays(rehearsal, places)):
        segments, end = [], 0
        for turn, stay in enumerate(row):
            segments.append(Segment(stay.start - end, "free"))
            kind = "abcd"[(number + turn) % 4]  # neighbours look different
            segments.append(Segment(stay.stop - stay.start, kind, name_of(rehearsal, stay.request)))
            end = stay.stop
        segments.append(Segment(rehearsal.num_steps - end, "free"))
        bars.append(Bar(f"place {number}", [segment for segment in segments if segment.value]))
    return bars


def batch_svg(
    rehearsal: Rehearsal, *, title: str, places: int | None = None, steps: int | None = None, pages: bool = False
) -> SvgFigure:
    """Rows are places, columns are steps; below, the tokens of each step under its budget, and the pages in use.

    ``steps``: so many columns at least, so that two pictures share a scale. ``pages``: draw the pages too.
    """
    columns = max(steps or 0, rehearsal.num_steps, 1)
    cell = min(38.0, (WIDTH - 2 * MARGIN - LABELS) / columns)
    rows = stays(rehearsal, places)
    below = TOP + len(rows) * (ROW + GAP) + 22
    drawing = Drawing(WIDTH, below + (2 if pages else 1) * BAND + 44, title, _described(rehearsal, rows, title))
    card(drawing, title, f"{rehearsal.num_steps} steps", _facts(rehearsal, rows))
    lefts = [MARGIN + LABELS + column * cell for column in range(columns + 1)]
    _draw_places(drawing, rehearsal, rows, lefts, cell)
    every = next(pace for pace in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000) if pace * cell >= 22 or pace == 1000)
    for column in range(0, rehearsal.num_steps, every):
        drawing.text(lefts[column] + cell / 2, below - 14, str(column), size=10, colour=QUIET, anchor="middle")
    drawing.text(MARGIN, below - 14, "step", size=10, colour=QUIET)
    _draw_work(drawing, rehearsal, lefts, cell, below)
    if pages:
        _draw_pages(drawing, rehearsal, lefts, cell, below + BAND)
    _draw_key(drawing, drawing.height - 22)
    return SvgFigure(drawing)


def _draw_places(
    drawing: Drawing, rehearsal: Rehearsal, rows: Sequence[Sequence[Stay]], lefts: Sequence[float], cell: float
) -> None:
    edge = PAPER if cell >= 5 else None
    for place, row in enumerate(rows):
        top = TOP + place * (ROW + GAP)
        drawing.text(MARGIN, top + ROW / 2, f"place {place}", size=11, colour=QUIET)
        end = lefts[rehearsal.num_steps]
        drawing.boxes([(lefts[0], top, end - lefts[0], ROW)], mix(INK, PAPER, 0.06), stroke=LINE)
        for stay in row:
            colour = owner_colour(stay.request)
            boxes: dict[str, list[Box]] = {"prompt": [], "token": [], "idle": []}
            for number in range(stay.start, stay.stop):
                part = _part(rehearsal, number, stay.request)
                boxes[_kind(rehearsal, part)].append((lefts[number], top, cell, ROW))
            drawing.boxes(boxes["token"] + boxes["prompt"], colour, stroke=edge)
            drawing.boxes(boxes["idle"], mix(colour, PAPER, 0.3), stroke=edge)
            ink = mix(text_colour(stay.request), colour, 0.55)
            drawing.lines([line for box in boxes["prompt"] for line in hatch(box, 7)], ink, 1.2)
            _draw_name(drawing, rehearsal, stay, lefts, top, cell)
            if stay.stop < rehearsal.num_steps and stay.request in rehearsal.steps[stay.stop].preempted:
                x, y, arm = lefts[stay.stop] + min(cell, ROW) / 2, top + ROW / 2, min(cell, ROW) / 2 - 3
                drawing.lines([(x - arm, y - arm, x + arm, y + arm), (x - arm, y + arm, x + arm, y - arm)], INK, 2)


def _draw_name(
    drawing: Drawing, rehearsal: Rehearsal, stay: Stay, lefts: Sequence[float], top: float, cell: float
) -> None:
    name, width = name_of(rehearsal, stay.request), (stay.stop - stay.start) * cell
    half = 4.2 * len(name) + 3
    if width >= 2 * half:
        x = lefts[stay.start] + min(width / 2, max(half + 1, cell / 2))
        drawing.boxes([(x - half, top + ROW / 2 - 8, 2 * half, 16)], owner_colour(stay.request), radius=3)
        drawing.text(x, top + ROW / 2, name, size=12, colour=text_colour(stay.request), anchor="middle", bold=True)


def _draw_work(drawing: Drawing, rehearsal: Rehearsal, lefts: Sequence[float], cell: float, top: float) -> None:
    most = max([step.num_tokens for step in rehearsal.steps] or [1]) or 1
    budget = rehearsal.scheduler.limits.max_tokens_per_step
    scale = (BAND - 18) / max(most, budget if budget <= 3 * most else 0)
    floor = top + BAND - 12
    drawing.text(MARGIN, floor - 26, "tokens", size=11, colour=QUIET)
    drawing.text(MARGIN, floor - 13, "a step", size=11, colour=QUIET)
    solid: list[Box] = []
    hatched: list[Box] = []
    for number, step in enumerate(rehearsal.steps):
        ones = sum(part.num_tokens for part in step.parts if _kind(rehearsal, part) == "token")
        left, width = lefts[number] + cell * 0.1, cell * 0.8
        if ones:
            solid.append((left, floor - ones * scale, width, ones * scale))
        if step.num_tokens > ones:
            hatched.append((left, floor - step.num_tokens * scale, width, (step.num_tokens - ones) * scale))
    drawing.boxes(solid, QUIET)
    drawing.boxes(hatched, mix(QUIET, PAPER, 0.35))
    drawing.lines([line for box in hatched if min(box[2:]) > 4 for line in hatch(box, 5)], QUIET, 1)
    drawing.lines([(lefts[0], floor, lefts[rehearsal.num_steps], floor)], LINE, 1)
    if budget <= 3 * most:
        y = floor - budget * scale
        drawing.lines([(lefts[0], y, lefts[rehearsal.num_steps], y)], INK, 1.2)
        drawing.text(MARGIN, y, f"budget {budget}", size=10, colour=INK)
    for number, step in enumerate(rehearsal.steps):
        if cell >= 16 and step.num_tokens:
            x, y, half = lefts[number] + cell / 2, floor - step.num_tokens * scale - 6, 2.9 * len(str(step.num_tokens))
            drawing.boxes([(x - half, y - 5, 2 * half, 10)], PAPER)  # the line may run here
            drawing.text(x, y, str(step.num_tokens), size=9, colour=QUIET, anchor="middle")


def _draw_pages(drawing: Drawing, rehearsal: Rehearsal, lefts: Sequence[float], cell: float, top: float) -> None:
    pool = rehearsal.scheduler.manager.pool.num_pages
    scale, floor = (BAND - 18) / pool, top + BAND - 12
    drawing.text(MARGIN, floor - 26, "pages", size=11, colour=QUIET)
    drawing.text(MARGIN, floor - 13, "in use", size=11, colour=QUIET)
    used = [
        (lefts[number], floor - step.pages_used * scale, cell, step.pages_used * scale)
        for number, step in enumerate(rehearsal.steps)
        if step.pages_used
    ]
    drawing.boxes(used, mix(owner_colour(6), PAPER, 0.5))
    drawing.lines([(lefts[0], floor, lefts[rehearsal.num_steps], floor)], LINE, 1)
    y = floor - pool * scale
    drawing.lines([(lefts[0], y, lefts[rehearsal.num_steps], y)], INK, 1.2)
    drawing.text(MARGIN, y, f"pool {pool}", size=10, colour=INK)


def _draw_key(drawing: Drawing, y: float) -> None:
    x, colour = float(MARGIN + LABELS), owner_colour(1)
    for text, share in (("computes its prompt", 1.0), ("one token", 1.0), ("no work this step", 0.3), ("empty", 0.0)):
        box = (x, y - 8, 18.0, 16.0)
        drawing.boxes(
            [box], mix(colour, PAPER, share) if share else mix(INK, PAPER, 0.06), stroke=None if share else LINE
        )
        if text == "computes its prompt":
            drawing.lines(hatch(box, 6), mix(INK, colour, 0.55), 1.2)
        drawing.text(x + 25, y, text, size=11, colour=QUIET)
        x += 44 + 6.0 * len(text)
    drawing.lines([(x + 3, y - 5, x + 13, y + 5), (x + 3, y + 5, x + 13, y - 5)], INK, 2)
    drawing.text(x + 25, y, "gave way", size=11, colour=QUIET)


def _part(rehearsal: Rehearsal, step: int, request: int) -> Part | None:
    return next((part for part in rehearsal.steps[step].parts if part.request == request), None)


def _kind(rehearsal: Rehearsal, part: Part | None) -> str:
    """A chunk of one token that follows the prompt is a token; anything else computes a prompt, or does so again."""
    if part is None:
        return "idle"
    return "token" if part.num_tokens == 1 and part.start >= rehearsal.arrivals[part.request].num_prompt else "prompt"


def _idle(rehearsal: Rehearsal, rows: Sequence[Sequence[Stay]]) -> tuple[int, int]:
    """Places in all steps: how many were empty, of how many."""
    there_are = len(rows) * rehearsal.num_steps
    return there_are - sum(stay.stop - stay.start for row in rows for stay in row), there_are


def _facts(rehearsal: Rehearsal, rows: Sequence[Sequence[Stay]]) -> str:
    empty, there_are = _idle(rehearsal, rows)
    gave_way = f"  ·  {rehearsal.num_preemptions} gave way" if rehearsal.num_preemptions else ""
    return (
        f"{len(rehearsal.arrivals)} requests, {rehearsal.num_output} tokens of output  ·  "
        f"{rehearsal.tokens_per_step:.2f} a step  ·  {empty} of {there_are} places empty{gave_way}"
    )


def _described(rehearsal: Rehearsal, rows: Sequence[Sequence[Stay]], title: str) -> str:
    told = "; ".join(
        f"place {number}: "
        + (", ".join(f"{name_of(rehearsal, s.request)} steps {s.start} to {s.stop - 1}" for s in row) or "nobody")
        for number, row in enumerate(rows[:8])
    )
    more = f"; and {len(rows) - 8} places more" if len(rows) > 8 else ""
    return f"{title}. {_facts(rehearsal, rows).replace('  ·  ', ', ')}. {told}{more}."
