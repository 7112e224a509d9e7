"""Page maps side by side as one still picture: what several engines hold at one moment of one clock."""

from __future__ import annotations

from collections.abc import Sequence

from pagedlab.errors import InvalidQuantity
from pagedlab.memory.events import Trace
from pagedlab.view.drawing import Box, Drawing
from pagedlab.view.frames import count, frame_ends, host_facts
from pagedlab.view.side_by_side import SideBySide
from pagedlab.view.svg import (
    INK,
    MARGIN,
    QUIET,
    WIDTH,
    SvgFigure,
    caption,
    card,
    describe,
    draw_legend,
    draw_pages,
    draw_row,
    has_copies,
    use,
)

GUTTER, GAP = 28, 24  #: for row numbers, and between two maps
TOP, HEAD, BAND, FOOT = (
    64,
    46,
    82,
    30,
)  #: of the picture, of a map, more where a row of logical pages is drawn, under it
HEIGHT = 190  #: about that of a map's pages


def page_maps_svg(
    traces: Sequence[Trace],
    at: float | None = None,
    *,
    titles: Sequence[str] = (),
    seconds: Sequence[Sequence[float]] | None = None,
    select: Sequence[int | None] = (),
    title: str = "Side by side",
) -> SvgFigure:
    """All pages of all traces at one moment: the end of step number ``at``, or second ``at``; the last when None.

    ``seconds[i][j]`` is when step j of trace i ended; without them steps of the same number stand side by side.
    ``select`` names a sequence of each trace, or None, whose page table is drawn above its pages. Raises LookupError
    for a moment or a sequence that is not there, InvalidQuantity for numbers that do not fit together.
    """
    shown = SideBySide(traces, titles, seconds)
    if select and len(select) != len(traces):
        raise InvalidQuantity(f"{len(select)} selections were given for {len(traces)} traces: give one each, or none")
    return draw_side_by_side(shown, shown.moment(at), select or [None] * len(traces), title)


def draw_side_by_side(shown: SideBySide, moment: float, select: Sequence[int | None], title: str) -> SvgFigure:
    columns = {1: 1, 2: 2, 4: 2}.get(len(shown.traces), 3)
    width = (WIDTH - 2 * MARGIN - (columns - 1) * GAP) / columns
    told = zip(shown.traces, shown.titles, shown.frames(moment), select, strict=True)
    maps = [_Map(trace, name, frame, chosen, width) for trace, name, frame, chosen in told]
    rows = [maps[start : start + columns] for start in range(0, len(maps), columns)]
    bands = [BAND if any(one.select is not None for one in row) else 0 for row in rows]
    heights = [HEAD + band + max(one.height for one in row) + FOOT for row, band in zip(rows, bands, strict=True)]
    when, bottom = shown.say(moment), TOP + sum(heights)
    words = "; ".join(f"{one.title}: {describe(one.counts)}" for one in maps)
    drawing = Drawing(WIDTH, bottom + 30, f"{title}, {when}", f"Page maps, {title}, {when}. {words}.")
    card(drawing, title, when, "Each square is a page; above each map, how many pages of how many slots.")
    top = TOP
    for row, band, height in zip(rows, bands, heights, strict=True):
        for column, one in enumerate(row):
            one.draw(drawing, MARGIN + column * (width + GAP), top, band)
        top += height
    draw_legend(drawing, bottom + 6, copies=any(has_copies(one.pages) for one in maps))
    return SvgFigure(drawing)


class _Map:
    """One of the maps; ``height`` of its pages in pixels."""

    def __init__(self, trace: Trace, title: str, frame: int, select: int | None, width: float) -> None:
        self.trace, self.title, self.select, self.width = trace, title, select, width
        self.pages = trace.replay(frame_ends(trace)[frame])
        if select is not None and select not in self.pages.sequences:
            known = sorted(self.pages.sequences)
            raise LookupError(f"sequence {select} of {title} was asked for; there are {known} at this moment")
        self.counts = count(self.pages)
        self.columns, self.cell = _grid(trace.num_pages, width - GUTTER)
        self.height = -(-trace.num_pages // self.columns) * self.cell

    def draw(self, drawing: Drawing, left: float, top: float, band: float) -> None:
        pages, size = self.pages, f"{self.pages.num_pages:,} × {self.pages.page_size}"
        drawing.text(left, top + 6, _fitting(self.title, self.width - 80, 13), size=13, colour=INK, bold=True)
        drawing.text(left + self.width, top + 6, size, size=11, colour=QUIET, anchor="end")
        counts = self.counts
        facts = f"{counts.used} used, {counts.shared} shared  ·  {counts.cached} cached  ·  {counts.free} free"
        drawing.text(left, top + 22, facts, size=10, colour=QUIET)
        drawing.text(left, top + 35, use(counts), size=10, colour=QUIET)
        first = top + HEAD + band
        gap = 2.0 if self.cell >= 10 else 1.0
        boxes: list[Box] = []
        for page in range(pages.num_pages):
            row, column = divmod(page, self.columns)
            boxes.append(
                (left + GUTTER + column * self.cell, first + row * self.cell, self.cell - gap, self.cell - gap)
            )
        for page in range(0, pages.num_pages, self.columns * -(-14 // self.cell)):
            middle = boxes[page][1] + (self.cell - gap) / 2
            drawing.text(left + GUTTER - 6, middle, str(page), size=9, colour=QUIET, anchor="end")
        draw_pages(drawing, pages, boxes, self.select)
        if self.select is not None:
            words = _fitting(caption(self.trace, self.select, pages), self.width)
            drawing.text(left, top + HEAD + 6, words, size=10, colour=INK, bold=True)
            draw_row(drawing, pages, self.select, boxes, (left + GUTTER, top + HEAD + 16), self.width - GUTTER)
        host = host_facts(counts)
        if host:
            under = boxes[-1][1] + self.cell + 9
            drawing.text(left + GUTTER, under, _fitting(host, self.width - GUTTER), size=10, colour=QUIET)


def _grid(num_pages: int, room: float) -> tuple[int, int]:
    """Columns, and the side of a cell in pixels. Maps of the same memory come out at about the same size."""
    tried = [(columns, int(min(34, room // columns))) for columns in range(4, int(room // 3) + 1, 4)]

    def misfit(grid: tuple[int, int]) -> float:
        columns, cell = grid
        return abs(-(-num_pages // columns) * cell - HEIGHT) + room - columns * cell

    return min(tried, key=misfit)


def _fitting(text: str, room: float, size: float = 10) -> str:
    """As much of a line as ``room`` pixels take."""
    most = int(room / (0.57 * size))
    return text if len(text) <= most else text[: most - 1] + "…"
