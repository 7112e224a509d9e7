"""Still pictures of pages: the static twin of the live map, and one sequence's page table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pagedlab.memory.events import NONE, Trace
from pagedlab.memory.pool import PageState
from pagedlab.memory.replay import PageMap
from pagedlab.memory.table import HOLE
from pagedlab.view.drawing import Box, Drawing, dots, hatch, mix
from pagedlab.view.frames import (
    Counts,
    Status,
    copied_slots,
    count,
    frame_at,
    holes_of,
    host_facts,
    owners_of_pages,
    sequences_of,
    status_of,
)
from pagedlab.view.palette import is_pin, label, owner_colour, text_colour

WIDTH = 860  #: pixels, of every picture
PAPER, INK, QUIET, LINE = "#FFFFFF", "#1B1F24", "#57606A", "#D0D7DE"
MARGIN, GUTTER, HEAD, BAND = 20, 36, 62, 86


class SvgFigure:
    """A picture with a text that stands for it. Notebooks show it; ``str(figure)`` is the SVG."""

    def __init__(self, drawing: Drawing) -> None:
        self._drawing = drawing
        self.alt = drawing.description

    def __str__(self) -> str:
        return self._drawing.svg()

    def __repr__(self) -> str:
        return f"SvgFigure({self._drawing.title})"

    def save(self, path: str | Path) -> Path:
        """Write the picture as .svg or .png, whichever ``path`` ends in."""
        path = Path(path)
        path.write_bytes(self._drawing.png() if path.suffix == ".png" else str(self).encode())
        return path

    def mime_bundle(self) -> dict[str, str]:
        """SVG and text, and PNG where Pillow is installed: JupyterLab shows no SVG of a notebook not yet trusted."""
        bundle = {"text/plain": repr(self), "image/svg+xml": str(self)}
        try:
            png = self._drawing.png()
        except ImportError:
            return bundle
        from base64 import b64encode

        return bundle | {"image/png": b64encode(png).decode()}

    def _repr_mimebundle_(self, **_kwargs: Any) -> dict[str, str]:
        return self.mime_bundle()


def page_map_svg(
    trace: Trace, step: int | None = None, select: int | None = None, title: str | None = None
) -> SvgFigure:
    """All pages at the end of ``step`` (now when None; events are counted where a trace has no steps).

    ``select`` names a sequence whose page table is drawn above the pages. Raises LookupError for a step or a sequence
    that the trace does not hold.
    """
    page_map = frame_at(trace, step)
    if select is not None and select not in page_map.sequences:
        raise LookupError(f"sequence {select} was asked for; there are {sorted(page_map.sequences)} at this step")
    counts = count(page_map)
    when = "before the first step" if page_map.step == NONE and trace.steps() else f"step {page_map.step}"
    if page_map.step == NONE and not trace.steps():
        when = f"after {len(trace) if step is None else step} events"
    title = title or f"{page_map.num_pages} pages × {page_map.page_size} slots"
    columns, cell = _grid(page_map.num_pages)
    top = HEAD + (BAND if select is not None else 14)
    bottom = top + -(-page_map.num_pages // columns) * cell
    chips = _chip_rows(trace, page_map)
    host = host_facts(counts)
    if host:
        bottom += 20
    words = f"Page map, {title}, {when}: {describe(counts)}."
    drawing = Drawing(WIDTH, bottom + 50 + 26 * len(chips), f"{title}, {when}", words)
    card(drawing, title, when, _facts(counts))
    boxes: list[Box] = [
        (MARGIN + GUTTER + page % columns * cell, top + page // columns * cell, cell - 2.0, cell - 2.0)
        for page in range(page_map.num_pages)
    ]
    for page in range(0, page_map.num_pages, columns * -(-14 // cell)):
        middle = boxes[page][1] + (cell - 2) / 2
        drawing.text(MARGIN + GUTTER - 8, middle, str(page), size=10, colour=QUIET, anchor="end")
    draw_pages(drawing, page_map, boxes, select)
    if select is not None:
        drawing.text(MARGIN + GUTTER, HEAD + 8, caption(trace, select, page_map), size=12, colour=INK, bold=True)
        draw_row(drawing, page_map, select, boxes, (MARGIN + GUTTER, HEAD + 22.0), WIDTH - 2 * MARGIN - GUTTER)
    if host:
        drawing.text(MARGIN + GUTTER, bottom - 8, host[0].upper() + host[1:], size=12, colour=QUIET)
    draw_legend(drawing, bottom + 22, copies=has_copies(page_map))
    for row, chip_row in enumerate(chips):
        _draw_chips(drawing, chip_row, bottom + 50 + 26 * row)
    return SvgFigure(drawing)


def page_table_svg(
    pages: Sequence[int],
    num_pages: int,
    *,
    page_size: int | None = None,
    num_tokens: int | None = None,
    sequence: int = 0,
    title: str = "One sequence's page table",
) -> SvgFigure:
    """The sketch of chapter 03: a row of logical pages, a row of physical pages, and which is where.

    ``pages[i]`` is the physical page of logical page i, or HOLE (``memory/table.py``). With ``page_size`` and
    ``num_tokens`` the last page shows how far it is filled. Raises ValueError for a page outside the pool.
    """
    if not all(page == HOLE or 0 <= page < num_pages for page in pages):
        raise ValueError(f"pages {list(pages)} were asked for; the pool holds pages 0 to {num_pages - 1}")
    step = min(56.0, (WIDTH - 2 * MARGIN) / max(1, num_pages, len(pages)))
    size = step - 4
    logical_y, physical_y = 84.0, 84.0 + size + 70
    links = ", ".join(f"{logical} → {'given back' if page == HOLE else page}" for logical, page in enumerate(pages))
    drawing = Drawing(
        WIDTH, physical_y + size + 30, title, f"{title}. Logical page → physical page: {links or 'none'}."
    )
    card(drawing, title, "", "logical pages, in the order of the tokens")
    logical_left = (WIDTH - step * len(pages)) / 2
    physical_left = (WIDTH - step * num_pages) / 2
    colour, ink = owner_colour(sequence), text_colour(sequence)

    def draw_absent(boxes: list[Box], numbers: Sequence[int]) -> None:
        drawing.boxes(boxes, mix(INK, PAPER, 0.05), stroke=LINE)
        for (x, y, w, h), number in zip(boxes, numbers, strict=True):
            drawing.text(x + w / 2, y + h / 2, str(number), size=min(13, size / 2.2), colour=QUIET, anchor="middle")

    def draw(boxes: list[Box], filled: list[float], numbers: Sequence[int]) -> None:
        drawing.boxes(boxes, mix(colour, PAPER, 0.3), stroke=colour)
        drawing.boxes([(x, y, w * part, h) for (x, y, w, h), part in zip(boxes, filled, strict=True)], colour)
        for (x, y, w, h), number in zip(boxes, numbers, strict=True):
            drawing.text(
                x + w / 2, y + h / 2, str(number), size=min(15, size / 2), colour=ink, anchor="middle", bold=True
            )

    parts = [1.0] * len(pages)
    if page_size and num_tokens is not None:
        parts = [min(1.0, max(0.0, num_tokens / page_size - logical)) for logical in range(len(pages))]
    logical_boxes = [(logical_left + i * step + 2, logical_y, size, size) for i in range(len(pages))]
    physical_boxes = [(physical_left + i * step + 2, physical_y, size, size) for i in range(num_pages)]
    free = [page for page in range(num_pages) if page not in pages]
    draw_absent([physical_boxes[page] for page in free], free)
    gone = [logical for logical, page in enumerate(pages) if page == HOLE]
    if gone:
        draw_absent([logical_boxes[logical] for logical in gone], gone)
    held = [logical for logical, page in enumerate(pages) if page != HOLE]
    shares = [parts[logical] for logical in held]
    draw([logical_boxes[logical] for logical in held], shares, held)
    draw([physical_boxes[pages[logical]] for logical in held], shares, [pages[logical] for logical in held])
    ends = [(logical_boxes[i][0] + size / 2, logical_boxes[i][1] + size + 3,
             physical_boxes[pages[i]][0] + size / 2, physical_y - 4) for i in held]  # fmt: skip
    drawing.lines(ends, INK, 1.6, bend=True)
    drawing.lines([(x, y, x, y) for _, _, x, y in ends], INK, 6)
    drawing.text(MARGIN, physical_y + size + 14, "physical pages, anywhere in the pool", size=11, colour=QUIET)
    return SvgFigure(drawing)


def _grid(num_pages: int) -> tuple[int, int]:
    """Columns, and the side of a cell in pixels."""
    room = WIDTH - 2 * MARGIN - GUTTER
    for cell in (48, 40, 34, 30, 26, 24, 22, 20, 18, 16, 14, 12, 10, 8, 7, 6):
        columns = min(num_pages, room // cell // 8 * 8)
        if -(-num_pages // columns) * cell <= 390:
            break
    return columns, cell


def card(drawing: Drawing, title: str, when: str, facts: str) -> None:
    """A ground of its own: the picture reads the same on a white page and on a dark one."""
    drawing.boxes([(0, 0, drawing.width, drawing.height)], PAPER, radius=10, stroke=LINE)
    drawing.text(MARGIN, 22, title, size=15, colour=INK, bold=True)
    drawing.text(WIDTH - MARGIN, 22, when, size=13, colour=QUIET, anchor="end")
    drawing.text(MARGIN, 45, facts, size=12, colour=QUIET)


def _facts(counts: Counts) -> str:
    return (
        f"{counts.used} used, {counts.shared} of them shared  ·  {counts.cached} cached  ·  {counts.free} free  ·  "
        f"{use(counts)}"
    )


def use(counts: Counts) -> str:
    """What the pages are worth."""
    share = f" ({100 * counts.waste / counts.slots:.1f} %)" if counts.slots else ""
    return f"{counts.waste} slots wasted{share}  ·  {counts.hit_tokens} tokens hit"


def describe(counts: Counts) -> str:
    host = host_facts(counts)
    return (
        f"{counts.used} pages used ({counts.shared} shared), {counts.cached} cached, "
        f"{counts.free} free; {counts.waste} slots wasted; {counts.running} sequences running, "
        f"{counts.waiting + counts.preempted + counts.swapped} waiting{'; ' + host if host else ''}"
    )


def has_copies(page_map: PageMap) -> bool:
    return any(copied_slots(page_map, page) for page in range(page_map.num_pages))


def draw_pages(drawing: Drawing, page_map: PageMap, boxes: list[Box], select: int | None) -> None:
    """Each page in its box; where a sequence is selected all but its own step back."""
    mine = set(page_map.sequences[select].pages) if select is not None else set()
    owners = owners_of_pages(page_map)
    for faint in (True, False):
        chosen = [page for page in range(page_map.num_pages) if bool(mine and page not in mine) is faint]
        strength = 0.3 if faint else 1.0
        by_state: dict[PageState, list[int]] = {state: [] for state in PageState}
        for page in chosen:
            by_state[page_map.state(page)].append(page)
        _draw_unused(drawing, [boxes[page] for page in by_state[PageState.FREE]], strength, cached=False)
        _draw_unused(drawing, [boxes[page] for page in by_state[PageState.CACHED]], strength, cached=True)
        by_owner: dict[int, list[int]] = {}
        for page in by_state[PageState.USED]:
            by_owner.setdefault(select if page in mine and select is not None else owners[page][0], []).append(page)
        for owner, pages in by_owner.items():
            _draw_used(drawing, owner, {boxes[page]: _look(page_map, page) for page in pages}, strength)


class _Look(NamedTuple):
    """How a used page is drawn."""

    filled: float  #: share of its slots
    references: int
    copied: float = 0.0  #: share of its slots


def _look(page_map: PageMap, page: int) -> _Look:
    size = page_map.page_size
    return _Look(page_map.filled[page] / size, page_map.refcount[page], copied_slots(page_map, page) / size)


def _draw_unused(drawing: Drawing, boxes: list[Box], strength: float, *, cached: bool) -> None:
    if not cached:
        drawing.boxes(boxes, mix(INK, PAPER, 0.04 * strength), stroke=mix(LINE, PAPER, strength))
        return
    outline = mix(INK, PAPER, 0.6 * strength) if boxes and boxes[0][2] >= 4 else None
    drawing.boxes(boxes, mix(INK, PAPER, 0.1 * strength), stroke=outline)
    pitch = 6 if boxes and boxes[0][2] >= 14 else 4
    drawing.lines([dot for box in boxes for dot in dots(box, pitch)], mix(INK, PAPER, 0.6 * strength), pitch / 4)


def _draw_used(drawing: Drawing, owner: int, cells: dict[Box, _Look], strength: float) -> None:
    colour = mix(owner_colour(owner), PAPER, strength)
    ink = mix(text_colour(owner), colour, strength)
    drawing.boxes(cells, mix(colour, PAPER, 0.35))
    drawing.boxes([(x, y, w * look.filled, h) for (x, y, w, h), look in cells.items() if look.filled], colour)
    shared = [box for box, look in cells.items() if look.references > 1]
    pitch = 6 if next(iter(cells))[2] >= 14 else 4
    marks = [line for box in shared for line in hatch(box, pitch) or dots(box, pitch)]  # a dot where no line fits
    drawing.lines(marks, mix(ink, colour, 0.45), pitch / 4)
    underlined = {box: look.copied for box, look in cells.items() if look.copied and box[3] >= 12}
    drawing.boxes(
        [(x + 2, y + h - h / 12 - 2, (w - 4) * part, h / 12) for (x, y, w, h), part in underlined.items()], ink
    )
    for (x, y, w, h), (filled, references, _) in cells.items():
        tag = f"×{references}" if references > 1 else "pin" if is_pin(owner) else str(owner)
        if h >= 16 and 7 * len(tag) <= w:
            if references > 1 or filled < 1:  # ground of its own, over hatch and empty slots
                half = 3.4 * len(tag) + 2
                drawing.boxes([(x + w / 2 - half, y + h / 2 - 7, 2 * half, 14)], colour, radius=3)
            drawing.text(x + w / 2, y + h / 2, tag, size=12 if h >= 24 else 10, colour=ink, anchor="middle", bold=True)


def draw_row(
    drawing: Drawing, page_map: PageMap, select: int, boxes: list[Box], at: tuple[float, float], room: float
) -> None:
    """A sequence's logical pages from ``at`` on, ``room`` wide, and lines to where they are."""
    view, (left, top) = page_map.sequences[select], at
    holes = holes_of(view)
    pages, gap = view.pages[holes:], min(2, holes)  # all that were given back share two places
    width = min(34.0, room / max(1, len(pages) + gap))
    if gap:
        drawing.boxes([(left, top, gap * width - 2, 24.0)], PAPER, stroke=LINE)
        text = "given back" if gap * width >= 60 else "–"
        drawing.text(left + gap * width / 2 - 1, top + 12, text, size=10, colour=QUIET, anchor="middle")
    row = [(left + place * width, top, width - min(2, width / 2), 24.0) for place in range(gap, gap + len(pages))]
    if not row:
        return
    ends = [(x + w / 2, y + h, boxes[page][0] + boxes[page][2] / 2, boxes[page][1])
            for (x, y, w, h), page in zip(row, pages, strict=True)]  # fmt: skip
    drawing.lines(ends, PAPER, 4, bend=True)
    drawing.lines(ends, mix(owner_colour(select), INK, 0.8), 1.8 if len(row) <= 48 else 1, bend=True)
    drawing.lines([(x, y, x, y) for _, _, x, y in ends], INK, 5)
    cells = {box: _look(page_map, page) for box, page in zip(row, pages, strict=True)}
    _draw_used(drawing, select, cells, 1.0)


def caption(trace: Trace, sequence: int, page_map: PageMap) -> str:
    """What a sequence is called, and what it holds."""
    view, name = page_map.sequences[sequence], label(trace, sequence)
    if is_pin(sequence):
        return f"{name}: {len(view.pages)} pages of a prefix"
    if view.swapped:
        return f"#{sequence} {name}: {view.swapped} tokens in host memory ({status_of(view)})"
    holes = holes_of(view)
    behind = f", the first {holes} of them given back" if holes else ""
    return f"#{sequence} {name}: {len(view.pages)} logical pages{behind}, {view.computed} tokens ({status_of(view)})"


def draw_legend(drawing: Drawing, y: float, *, copies: bool) -> None:
    x = float(MARGIN + GUTTER)
    used = [("used, by owner", _Look(1, 1)), ("partly filled", _Look(0.4, 1)), ("shared ×n", _Look(1, 2))]
    if copies:
        used.append(("copied in part", _Look(1, 1, 0.6)))
    for text, look in used:
        _draw_used(drawing, 1, {(x, y - 9, 18.0, 18.0): look}, 1.0)
        drawing.text(x + 25, y, text, size=11, colour=QUIET)
        x += 40 + 6.2 * len(text)
    for text, cached in (("cached", True), ("free", False)):
        _draw_unused(drawing, [(x, y - 9, 18.0, 18.0)], 1.0, cached=cached)
        drawing.text(x + 25, y, text, size=11, colour=QUIET)
        x += 40 + 6.2 * len(text)


def _chip_rows(trace: Trace, page_map: PageMap, rows: int = 2) -> list[list[tuple[int | None, str]]]:
    """Sequences that run or wait, in rows that fit; where more would, the last chip counts them."""
    chips: list[tuple[int | None, str]] = []
    for sequence, view in sequences_of(page_map).items():
        status = status_of(view)
        if status is not Status.FINISHED:
            name = label(trace, sequence)
            name = name if len(name) <= 20 else name[:19] + "…"
            chips.append((sequence, name if status is Status.RUNNING else f"{name} ({status})"))
    fitted: list[list[tuple[int | None, str]]] = []
    room = 0.0
    for number, chip in enumerate(chips):
        if room < _chip_width(chip):
            if len(fitted) == rows:
                fitted[-1][-1] = (None, f"and {len(chips) - number + 1} more")
                break
            fitted.append([])
            room = WIDTH - 2 * MARGIN - GUTTER
        fitted[-1].append(chip)
        room -= _chip_width(chip)
    return fitted


def _chip_width(chip: tuple[int | None, str]) -> float:
    return 44 + 6.3 * len(chip[1])


def _draw_chips(drawing: Drawing, chips: list[tuple[int | None, str]], y: float) -> None:
    x = float(MARGIN + GUTTER)
    for chip in chips:
        sequence, name = chip
        if sequence is not None:
            drawing.boxes([(x, y - 8, 24, 16)], owner_colour(sequence), radius=4)
            drawing.text(x + 12, y, str(sequence), size=10, colour=text_colour(sequence), anchor="middle", bold=True)
        drawing.text(x + 30, y, name, size=11, colour=QUIET)
        x += _chip_width(chip)
