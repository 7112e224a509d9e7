"""Pictures of what a kernel reads: the pool's pages slot by slot, in the colour of the program that asked for them.

They are drawn from a trace of ``pagedlab_kernels.trace_kernel``, which is plain data: no torch is needed to look at it.
Keys and values are drawn as they lie in ``[2, N, Hkv, P, D]``: all pages of keys, then all of values; a tile is a page,
a row of it a KV head, a cell a slot.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

from pagedlab.view.drawing import Box, Drawing, Line, mix
from pagedlab.view.palette import owner_colour, text_colour
from pagedlab.view.svg import GUTTER, HEAD, INK, MARGIN, PAPER, QUIET, WIDTH, SvgFigure, card

if TYPE_CHECKING:
    from pagedlab_kernels.accesses import Access, KernelTrace, Launch, Program, ProgramId

#: What the axes of a decode kernel's grid count.
AXES = ("sequence", "KV head", "split")
PANEL, TALLEST = 386.0, 400.0  #: pixels: width of the keys, and of the values; height that a map should not exceed
FAINT = 0.35
CHIP = 22.0  #: pixels between two rows of chips


class _Step(NamedTuple):
    launch: Launch
    program: Program
    access: Access
    key: tuple[int, ProgramId, int]  #: as the first fields of a PageAccess


class _Tiles(NamedTuple):
    """Where pages are drawn."""

    columns: int
    width: float
    height: float  #: of a tile with its number and the gap below
    row: float  #: height of a head's row
    slots: int
    top: float

    def strip(self, half: str, page: int, head: int) -> Box:
        """The row of one head of one page."""
        left = MARGIN + GUTTER + (0 if half == "keys" else PANEL + WIDTH - 2 * (MARGIN + PANEL) - GUTTER)
        x = left + page % self.columns * self.width
        return x, self.top + page // self.columns * self.height + 14 + head * self.row, self.width - 8, self.row - 2

    def cells(self, half: str, page: int, head: int, first: int, after: int) -> Box:
        x, y, width, height = self.strip(half, page, head)
        return x + width * first / self.slots, y, width * (after - first) / self.slots, height


def kernel_steps(trace: KernelTrace, tensor: str = "kv") -> int:
    """How many steps ``kernel_svg`` can show: every access of every launch that touches ``tensor``."""
    return len(_steps(trace, tensor))


def kernel_svg(
    trace: KernelTrace,
    tensor: str = "kv",
    step: int | None = None,
    *,
    axes: Sequence[str] = AXES,
    title: str | None = None,
) -> SvgFigure:
    """The slots of ``tensor: [2, N, Hkv, P, ...]`` that were read, or written, up to and with ``step``.

    Step by step, what the access of this step asks for is framed, what its program asked for before is in full colour,
    and what other programs asked for is faint. Without ``step``, everything is shown as it was in the end. The hue
    tells programs apart by their first coordinate in the grid, the shade by their third; ``axes`` names all three.

    Raises LookupError for a tensor that the trace does not know, or a step that it does not hold.
    """
    steps, touches = _steps(trace, tensor), trace.pages_of(tensor)
    if step is not None and not 0 <= step < len(steps):
        raise LookupError(f"step {step} was asked for; accesses of {tensor} make steps 0 to {len(steps) - 1}")
    now = None if step is None else steps[step]
    past = {it.key for it in steps[: None if step is None else step + 1]}
    shape = trace.tensors[tensor].shape
    tiles = _tiles(shape[1], shape[2], shape[3])
    map_bottom = tiles.top + -(-shape[1] // tiles.columns) * tiles.height
    readers = list(dict.fromkeys((touch.program[0], touch.program[2]) for touch in touches))
    facts = _summary(trace, tensor, steps) if now is None else _asked(trace, tensor, now, axes)
    kernels = " and ".join(dict.fromkeys(it.launch.kernel for it in steps)) or "no kernel"
    title = title or f"{kernels} on the pages of {tensor}"
    when = "" if step is None else f"step {step + 1} of {len(steps)}"
    chips = _legend(readers, axes) if now is None else _film(now, tensor, trace)
    drawing = Drawing(
        WIDTH,
        map_bottom + 20 + CHIP * len(chips) + (0 if now is None else 22),
        f"{title}, {when}" if when else title,
        f"{title}. {when + ': ' if when else ''}{facts}" + (f". The line: {now.access.source}" if now else ""),
    )
    card(drawing, title, when, facts)
    _draw_ground(drawing, tiles, shape)
    slots: dict[tuple[str, int, int, int], tuple[ProgramId, int]] = {}
    for touch in touches:
        if (at := (touch.launch, touch.program, touch.access)) in past:
            strength = 2 if now is None or at == now.key else 1 if at[:2] == now.key[:2] else 0
            for slot in touch.slots:
                slots[touch.half, touch.page, touch.head, slot] = touch.program, strength
    _draw_slots(drawing, tiles, slots, framed=now is not None)
    if now is not None:
        _draw_key(drawing, now.program.id)
    for row, chip_row in enumerate(chips):
        _draw_chips(drawing, chip_row, map_bottom + 18 + CHIP * row)
    if now is not None:
        drawing.text(
            MARGIN, map_bottom + 18 + CHIP * len(chips), _clipped(now.access.source, 128), size=11, colour=QUIET
        )
    return SvgFigure(drawing)


def _steps(trace: KernelTrace, tensor: str) -> list[_Step]:
    return [
        _Step(launch, program, access, (number, program.id, index))
        for number, launch in enumerate(trace.launches)
        if any(access.tensor == tensor for program in launch.programs for access in program.accesses)
        for program in launch.programs
        for index, access in enumerate(program.accesses)
    ]


def _tiles(pages: int, heads: int, slots: int) -> _Tiles:
    """The widest tiles that leave the map a picture, and not a scroll."""
    for columns in range(1, max(2, pages + 1)):
        width = min(PANEL / columns, 8 + 18.0 * slots)
        row = max(4.0, min(14.0, 2 + 1.6 * (width - 8) / slots))
        tiles = _Tiles(columns, width, 14 + heads * row + 8, row, slots, HEAD + 24)
        if -(-pages // columns) * tiles.height <= TALLEST or PANEL / (columns + 1) < 20:
            break
    return tiles._replace(columns=max(tiles.columns, min(pages, int(PANEL / tiles.width))))


def _summary(trace: KernelTrace, tensor: str, steps: list[_Step]) -> str:
    programs = len({it.key[:2] for it in steps})
    facts = []
    for kind, verb in (("load", "read"), ("store", "written")):
        traffic = trace.traffic(tensor, "load" if kind == "load" else "store")
        if not traffic.accesses:
            continue
        often = _span(times for times in traffic.times if times)
        often = "once" if often == "1" else f"{often} times"
        facts.append(
            f"{_many(traffic.accesses, kind)}, {traffic.bytes:,} bytes, each {verb} {often}, "
            f"in contiguous runs of {_span(traffic.run_lengths)} bytes"
        )
    return f"{_many(programs, 'program')}  ·  " + "  ·  ".join(facts or [f"{tensor} was not touched"])


def _many(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'s' * (number != 1)}"


def _span(numbers: Iterable[int]) -> str:
    low, high = min(found := list(numbers)), max(found)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _asked(trace: KernelTrace, tensor: str, now: _Step, axes: Sequence[str]) -> str:
    """What the access of this step is."""
    access = now.access
    who = ", ".join(
        f"{axis} {at}" for axis, at, size in zip(axes, now.program.id, now.launch.grid, strict=True) if size > 1
    )
    what = f"{access.kind} of {access.num_bytes:,} bytes of {access.tensor or 'no known tensor'}"
    where = [touch for touch in trace.pages_of(tensor) if touch[:3] == now.key]
    if where:
        halves = " and ".join(dict.fromkeys(touch.half for touch in where))
        pages, slots = len({touch.page for touch in where}), sum(len(touch.slots) for touch in where)
        what += f": {halves}, {_many(slots, 'slot')} in {_many(pages, 'page')}, "
        what += _many(len(access.runs), "contiguous run")
    return f"{who or 'the only program'}  ·  {what}"


def _draw_ground(drawing: Drawing, tiles: _Tiles, shape: tuple[int, ...]) -> None:
    pages, heads = shape[1:3]
    strips: list[Box] = []
    for half in ("keys", "values"):
        drawing.text(tiles.strip(half, 0, 0)[0], HEAD + 10, half, size=12, colour=INK, bold=True)
        for page in range(pages):
            x, y, width, _ = tiles.strip(half, page, 0)
            if tiles.width >= 18 + 7 * len(str(pages)) or page % tiles.columns == 0:
                text = f"page {page}" if width >= 60 else str(page)
                drawing.text(x, y - 8, text, size=9, colour=QUIET)
            strips.extend(tiles.strip(half, page, head) for head in range(heads))
    drawing.boxes(strips, mix(INK, PAPER, 0.07))
    if heads > 1 and tiles.row >= 8:
        for head in range(heads):
            x, y, _, height = tiles.strip("keys", 0, head)
            drawing.text(x - 8, y + height / 2, f"head {head}", size=9, colour=QUIET, anchor="end")


def _draw_slots(
    drawing: Drawing,
    tiles: _Tiles,
    slots: dict[tuple[str, int, int, int], tuple[ProgramId, int]],
    *,
    framed: bool,
) -> None:
    """``slots``: (half, page, head, slot) -> who asked for it last, and whether just now (2), before (1) or faintly."""
    looks: dict[tuple[str, int], list[Box]] = {}
    for ((half, page, head), look), cells in groupby(
        sorted(slots.items()), key=lambda it: (it[0][:3], (_colour(it[1][0]), it[1][1]))
    ):
        places = [cell[0][3] for cell in cells]
        for _, group in groupby(enumerate(places), key=lambda it: it[1] - it[0]):
            together = [slot for _, slot in group]
            looks.setdefault(look, []).append(tiles.cells(half, page, head, together[0], together[-1] + 1))
    for (colour, strength), boxes in sorted(looks.items(), key=lambda look: look[0][1]):
        if strength == 2 and framed:
            drawing.boxes([(x - 1.5, y - 1.5, w + 3, h + 3) for x, y, w, h in boxes], INK)
        drawing.boxes(boxes, mix(colour, PAPER, FAINT) if strength == 0 else colour)
    if (tiles.width - 8) / tiles.slots >= 4:
        between: list[Line] = []
        for half, page, head in dict.fromkeys(at[:3] for at in slots):
            for slot in range(1, tiles.slots):
                x, y, _, height = tiles.cells(half, page, head, slot, slot)
                between.append((x, y + 0.5, x, y + height - 0.5))
        drawing.lines(between, PAPER, 0.8)


def _draw_key(drawing: Drawing, program: ProgramId) -> None:
    x, y, colour = float(WIDTH - MARGIN), HEAD + 10.0, _colour(program)
    for text, fill, frame in (
        ("other programs", mix(owner_colour(program[0] + 1), PAPER, FAINT), False),
        ("this program, before", colour, False),
        ("this step", colour, True),
    ):
        drawing.text(x, y, text, size=11, colour=QUIET, anchor="end")
        x -= 5.6 * len(text) + 24
        if frame:
            drawing.boxes([(x - 1.5, y - 6.5, 15, 13)], INK)
        drawing.boxes([(x, y - 5, 12, 10)], fill)
        x -= 16


def _colour(program: ProgramId) -> str:
    colour = owner_colour(program[0])
    return (colour, mix(colour, INK, 0.62), mix(colour, PAPER, 0.55))[program[2] % 3]


class _Chip(NamedTuple):
    text: str
    colour: str
    ink: str
    frame: bool = False

    @property
    def width(self) -> float:
        return 16 + 6.3 * len(self.text)


def _legend(readers: list[tuple[int, int]], axes: Sequence[str]) -> list[list[_Chip]]:
    many = len({split for _, split in readers}) > 1
    chips = []
    for x, z in readers:
        ink = "#FFFFFF" if z % 3 == 1 else text_colour(x) if z % 3 == 0 else INK
        text = f"{axes[0]} {x}" + (f", {axes[2]} {z}" if many else "")
        chips.append(_Chip(text, _colour((x, 0, z)), ink))
    chips.append(_Chip("not touched", mix(INK, PAPER, 0.07), INK))
    rows: list[list[_Chip]] = [[]]
    for chip in chips:
        if sum(it.width + 6 for it in rows[-1]) + chip.width > WIDTH - 2 * MARGIN:
            rows.append([])
        rows[-1].append(chip)
    return rows


def _film(now: _Step, tensor: str, trace: KernelTrace) -> list[list[_Chip]]:
    """What the program does, access by access, around the one of this step."""
    halves = {touch[:3]: touch.half for touch in trace.pages_of(tensor)}
    chips = []
    for index, access in enumerate(now.program.accesses):
        name = halves.get((*now.key[:2], index)) or (access.tensor or "?").removesuffix("_ptr")
        text = name if access.kind == "load" else f"{access.kind} {name}"
        is_now = index == now.key[2]
        done = _colour(now.program.id) if index <= now.key[2] else mix(INK, PAPER, 0.07)
        ink = INK if index > now.key[2] else "#FFFFFF" if now.program.id[2] % 3 == 1 else text_colour(now.program.id[0])
        chips.append(_Chip(text, done, ink, is_now))
    # What does not fit is left out, first what comes later: two chips before this one stay.
    first, room = max(0, now.key[2] - 2), WIDTH - 2 * MARGIN
    while first and sum(chip.width + 6 for chip in chips[first - 1 :]) <= room:
        first -= 1
    after = first
    while after < len(chips) and sum(chip.width + 6 for chip in chips[first : after + 1]) <= room:
        after += 1
    return [chips[first:after]]


def _draw_chips(drawing: Drawing, chips: list[_Chip], y: float) -> None:
    x = float(MARGIN)
    for chip in chips:
        if chip.frame:
            drawing.boxes([(x - 2, y - 11, chip.width + 4, 22)], INK, radius=6)
        drawing.boxes([(x, y - 9, chip.width, 18)], chip.colour, radius=4)
        drawing.text(x + chip.width / 2, y, chip.text, size=11, colour=chip.ink, anchor="middle", bold=chip.frame)
        x += chip.width + 6


def _clipped(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
