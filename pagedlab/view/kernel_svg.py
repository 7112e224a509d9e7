"""Pictures of what a kernel reads: the pool's pages slot by slot, in the colour of the program that asked for them.

They are drawn from a trace of ``pagedlab_kernels.trace_kernel``, which is plain data: no torch is needed to look at it.
Keys and values are drawn as they lie in ``[2, N, Hkv, P, D]``: all pages of keys, then all of values; a tile is a page,
a row of it a KV head, a cell a slot.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

from pagedlab.view.drawing import Box, Drawing, Line, mix
from pagedlab.view.palette import owner_colour, text_colour
from pagedlab.view.svg import GUTTER, HEAD, INK, MARGIN, PAPER, QUIET, WIDTH, SvgFigure, card

if TYPE_CHECKING:
    from pagedlab_kernels.accesses import Access, KernelTrace, Launch, PageAccess, Program, ProgramId

#: What the axes of a decode kernel's grid count.
AXES = ("sequence", "KV head", "split")
PANEL, TALLEST = 386.0, 400.0  #: pixels: width of the keys, and of the values; height that a map should not exceed
UNTOUCHED, FAINT = mix(INK, PAPER, 0.07), 0.35
CHIP = 22.0  #: pixels between two rows of chips


_Key = tuple[int, tuple[int, int, int], int]  #: of an access: the launch, the program and its own number in there

_Run = tuple[str, int, int, int, int]  #: half, page, head, first slot, slot after the last


class _Step(NamedTuple):
    launch: Launch
    program: Program
    access: Access
    key: _Key


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


def kernel_svg(
    trace: KernelTrace,
    tensor: str = "kv",
    step: int | None = None,
    *,
    axes: Sequence[str] = AXES,
    title: str | None = None,
) -> SvgFigure:
    """The slots of ``tensor: [2, N, Hkv, P, ...]`` that were read, or written, up to and with ``step``.

    A step is an access of a launch that touches the tensor. What the access of this step asks for is framed, what its
    program asked for before is in full colour, and what other programs asked for is faint. Without ``step``, everything
    is shown as it was in the end. The hue tells programs apart by their first coordinate in the grid, the shade by
    their third; ``axes`` names all three.

    Raises LookupError for a tensor that the trace does not know, or a step that it does not hold.
    """
    film = KernelFilm(trace, tensor, axes=axes, title=title)
    return film.whole() if step is None else film.frame(step)


class KernelFilm:
    """All pictures of ``kernel_svg``, for whoever wants many: ``frame(0)`` to ``frame(len(film) - 1)``."""

    def __init__(
        self, trace: KernelTrace, tensor: str = "kv", *, axes: Sequence[str] = AXES, title: str | None = None
    ) -> None:
        self.trace, self.tensor, self.axes = trace, tensor, axes
        self._touched: dict[_Key, list[PageAccess]] = {}
        for touch in trace.pages_of(tensor):
            self._touched.setdefault((touch.launch, touch.program, touch.access), []).append(touch)
        self._runs = {key: [run for touch in them for run in _runs(touch)] for key, them in self._touched.items()}
        launches = {launch for launch, _, _ in self._touched}
        self.steps = [
            _Step(launch, program, access, (number, program.id, index))
            for number, launch in enumerate(trace.launches)
            if number in launches
            for program in launch.programs
            for index, access in enumerate(program.accesses)
        ]
        kernels = " and ".join(dict.fromkeys(step.launch.kernel for step in self.steps)) or "no kernel"
        self.title = title or f"{kernels} on the pages of {tensor}"
        self._shape = trace.tensors[tensor].shape
        self._tiles = _tiles(*self._shape[1:4])
        self._bottom = self._tiles.top + -(-self._shape[1] // self._tiles.columns) * self._tiles.height + 18

    def __len__(self) -> int:
        return len(self.steps)

    def whole(self) -> SvgFigure:
        """Everything, as it was in the end."""
        readers = list(dict.fromkeys((program[0], program[2]) for _, program, _ in self._touched))
        legend, facts = _legend(readers, self.axes), _summary(self.trace, self.tensor, self.steps)
        drawing = Drawing(WIDTH, self._bottom + CHIP * len(legend), self.title, f"{self.title}. {facts}.")
        card(drawing, self.title, "", facts)
        self._draw_pages(drawing, len(self.steps), None)
        for row, chips in enumerate(legend):
            _draw_chips(drawing, chips, self._bottom + CHIP * row)
        return SvgFigure(drawing)

    def frame(self, step: int) -> SvgFigure:
        """What had been asked for when the access of ``step`` was made. LookupError for a step that is not there."""
        if not 0 <= step < len(self.steps):
            raise LookupError(
                f"step {step} was asked for; accesses of {self.tensor} make steps 0 to {len(self.steps) - 1}"
            )
        now, when = self.steps[step], f"step {step + 1} of {len(self.steps)}"
        facts = _asked(now, self._touched.get(now.key, []), self.axes)
        description = f"{self.title}. {when}: {facts}. The line: {now.access.source}"
        drawing = Drawing(WIDTH, self._bottom + CHIP + 22, f"{self.title}, {when}", description)
        card(drawing, self.title, when, facts)
        self._draw_pages(drawing, step + 1, now)
        _draw_key(drawing, now.program.id)
        halves = {index: self._touched.get((*now.key[:2], index)) for index in range(len(now.program.accesses))}
        names = [
            found[0].half if (found := halves[index]) else (access.tensor or "?").removesuffix("_ptr")
            for index, access in enumerate(now.program.accesses)
        ]
        _draw_chips(drawing, _film(now, names), self._bottom)
        drawing.text(MARGIN, self._bottom + CHIP, _clipped(now.access.source, 128), size=11, colour=QUIET)
        return SvgFigure(drawing)

    def _draw_pages(self, drawing: Drawing, steps: int, now: _Step | None) -> None:
        runs: dict[_Run, tuple[str, int]] = {}
        for step in self.steps[:steps]:
            strength = 2 if now is None or step is now else 1 if step.key[:2] == now.key[:2] else 0
            for run in self._runs.get(step.key, []):
                runs.pop(run, None)  # what is asked for again is drawn last, over what it shares slots with
                runs[run] = _colour(step.program.id), strength
        _draw_ground(drawing, self._tiles, self._shape)
        _draw_runs(drawing, self._tiles, runs)
        _draw_slot_edges(drawing, self._tiles, self._shape)
        if now is not None:
            _draw_frames(drawing, [self._tiles.cells(*run) for run in self._runs.get(now.key, [])])


def _runs(touch: PageAccess) -> Iterator[_Run]:
    """Slots that follow each other, first and after the last."""
    for _, group in groupby(enumerate(sorted(touch.slots)), key=lambda it: it[1] - it[0]):
        together = [slot for _, slot in group]
        yield touch.half, touch.page, touch.head, together[0], together[-1] + 1


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


def _asked(now: _Step, touched: list[PageAccess], axes: Sequence[str]) -> str:
    """What the access of this step is."""
    access = now.access
    who = ", ".join(
        f"{axis} {at}" for axis, at, size in zip(axes, now.program.id, now.launch.grid, strict=True) if size > 1
    )
    what = f"{access.kind} of {access.num_bytes:,} bytes of {access.tensor or 'no known tensor'}"
    if touched:
        halves = " and ".join(dict.fromkeys(touch.half for touch in touched))
        pages, slots = len({touch.page for touch in touched}), sum(len(touch.slots) for touch in touched)
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
    drawing.boxes(strips, UNTOUCHED)
    if heads > 1 and tiles.row >= 8:
        for head in range(heads):
            x, y, _, height = tiles.strip("keys", 0, head)
            drawing.text(x - 8, y + height / 2, f"head {head}", size=9, colour=QUIET, anchor="end")


def _draw_runs(drawing: Drawing, tiles: _Tiles, runs: dict[_Run, tuple[str, int]]) -> None:
    """``runs``: their colour, and whether they were asked for just now (2), by the same program (1) or by others."""
    looks: dict[tuple[str, int], list[Box]] = {}
    for run, look in runs.items():
        looks.setdefault(look, []).append(tiles.cells(*run))
    for (colour, strength), boxes in sorted(looks.items(), key=lambda look: look[0][1]):
        drawing.boxes(boxes, mix(colour, PAPER, FAINT) if strength == 0 else colour)


def _draw_slot_edges(drawing: Drawing, tiles: _Tiles, shape: tuple[int, ...]) -> None:
    """Where slots are wide enough to be told apart."""
    if (tiles.width - 8) / tiles.slots < 4:
        return
    _, pages, heads, slots = shape[:4]
    edges: list[Line] = []
    for half in ("keys", "values"):
        for page in range(pages):
            for slot in range(1, slots):
                x, top, _, _ = tiles.cells(half, page, 0, slot, slot)
                _, last, _, height = tiles.strip(half, page, heads - 1)
                edges.append((x, top + 0.5, x, last + height - 0.5))
    drawing.lines(edges, PAPER, 0.8)


def _draw_frames(drawing: Drawing, boxes: list[Box]) -> None:
    around = [(x - 0.75, y - 0.75, x + w + 0.75, y + h + 0.75) for x, y, w, h in boxes]
    sides = [((x, y, u, y), (u, y, u, v), (u, v, x, v), (x, v, x, y)) for x, y, u, v in around]
    drawing.lines([side for four in sides for side in four], INK, 1.5)


def _draw_key(drawing: Drawing, program: ProgramId) -> None:
    x, y, colour = float(WIDTH - MARGIN), HEAD + 10.0, _colour(program)
    for text, fill, frame in (
        ("other programs", mix(owner_colour(program[0] + 1), PAPER, FAINT), False),
        ("this program, before", colour, False),
        ("this step", colour, True),
    ):
        drawing.text(x, y, text, size=10, colour=QUIET, anchor="end")
        x -= 5.6 * len(text) + 14
        drawing.boxes([(x, y - 5, 12, 10)], fill)
        if frame:
            _draw_frames(drawing, [(x, y - 5, 12, 10)])
        x -= 14


def _colour(program: ProgramId) -> str:
    colour = owner_colour(program[0])
    return (colour, mix(colour, INK, 0.62), mix(colour, PAPER, 0.55))[program[2] % 3]


def _ink(program: ProgramId) -> str:
    """For text on its colour."""
    return (text_colour(program[0]), "#FFFFFF", INK)[program[2] % 3]


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
        text = f"{axes[0]} {x}" + (f", {axes[2]} {z}" if many else "")
        chips.append(_Chip(text, _colour((x, 0, z)), _ink((x, 0, z))))
    chips.append(_Chip("not touched", UNTOUCHED, INK))
    rows: list[list[_Chip]] = [[]]
    for chip in chips:
        if sum(it.width + 6 for it in rows[-1]) + chip.width > WIDTH - 2 * MARGIN:
            rows.append([])
        rows[-1].append(chip)
    return rows


def _film(now: _Step, names: list[str]) -> list[_Chip]:
    """What the program does, access by access, around the one of this step."""
    chips, at = [], now.key[2]
    for index, (access, name) in enumerate(zip(now.program.accesses, names, strict=True)):
        text = name if access.kind == "load" else f"{access.kind} {name}"
        colour, ink = (_colour(now.program.id), _ink(now.program.id)) if index <= at else (UNTOUCHED, INK)
        chips.append(_Chip(text, colour, ink, index == at))
    # What does not fit is left out, first what comes later: two chips before this one stay.
    first, room = max(0, at - 2), WIDTH - 2 * MARGIN
    while first and sum(chip.width + 6 for chip in chips[first - 1 :]) <= room:
        first -= 1
    after = first
    while after < len(chips) and sum(chip.width + 6 for chip in chips[first : after + 1]) <= room:
        after += 1
    return chips[first:after]


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
