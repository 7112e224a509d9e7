"""Still pictures of pages: the static twin of the live map, and one sequence's page table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pagedlab.memory.events import NONE, Trace
from pagedlab.memory.pool import PageState
from pagedlab.memory.replay import PageMap
from pagedlab.view.drawing import Box, Drawing, dots, hatch, mix
from pagedlab.view.frames import Counts, Status, count, frame_at, owners_of_pages, status_of
from pagedlab.view.palette import label, owner_colour, text_colour

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
    drawing = Drawing(WIDTH, bottom + 50 + 26 * len(chips), f"{title}, {when}", _describe(counts, title, when))
    _card(drawing, title, when, _facts(counts))
    boxes: list[Box] = [
        (MARGIN + GUTTER + page % columns * cell, top + page // columns * cell, cell - 2.0, cell - 2.0)
        for page in range(page_map.num_pages)
    ]
    for page in range(0, page_map.num_pages, columns * -(-14 // cell)):
        middle = boxes[page][1] + (cell - 2) / 2
        drawing.text(MARGIN + GUTTER - 8, middle, str(page), size=10, colour=QUIET, anchor="end")
    _draw_pages(drawing, page_map, boxes, select)
    if select is not None:
        _draw_links(drawing, trace, page_map, select, boxes)
    _draw_legend(drawing, bottom + 22)
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

    ``pages[i]`` is the physical page of logical page i. With ``page_size`` and ``num_tokens`` the last page shows how
    far it is filled. Raises ValueError for a page outside the pool.
    """
    if not all(0 <= page < num_pages for page in pages):
        raise ValueError(f"pages {list(pages)} were asked for; the pool holds pages 0 to {num_pages - 1}")
    step = min(56.0, (WIDTH - 2 * MARGIN) / max(1, num_pages, len(pages)))
    size = step - 4
    logical_y, physical_y = 84.0, 84.0 + size + 70
    links = ", ".join(f"{logical} → {page}" for logical, page in enumerate(pages))
    drawing = Drawing(
        WIDTH, physical_y + size + 30, title, f"{title}. Logical page → physical page: {links or 'none'}."
    )
    _card(drawing, title, "", "logical pages, in the order of the tokens")
    logical_left = (WIDTH - step * len(pages)) / 2
    physical_left = (WIDTH - step * num_pages) / 2
    colour, ink = owner_colour(sequence), text_colour(sequence)

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
    drawing.boxes([physical_boxes[page] for page in free], mix(INK, PAPER, 0.05), stroke=LINE)
    for page in free:
        x, y, w, h = physical_boxes[page]
        drawing.text(x + w / 2, y + h / 2, str(page), size=min(13, size / 2.2), colour=QUIET, anchor="middle")
    draw(logical_boxes, parts, range(len(pages)))
    draw([physical_boxes[page] for page in pages], parts, pages)
    ends = [(box[0] + size / 2, box[1] + size + 3, physical_boxes[page][0] + size / 2, physical_y - 4)
            for box, page in zip(logical_boxes, pages, strict=True)]  # fmt: skip
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


def _card(drawing: Drawing, title: str, when: str, facts: str) -> None:
    """A ground of its own: the picture reads the same on a white page and on a dark one."""
    drawing.boxes([(0, 0, drawing.width, drawing.height)], PAPER, radius=10, stroke=LINE)
    drawing.text(MARGIN, 22, title, size=15, colour=INK, bold=True)
    drawing.text(WIDTH - MARGIN, 22, when, size=13, colour=QUIET, anchor="end")
    drawing.text(MARGIN, 45, facts, size=12, colour=QUIET)


def _facts(counts: Counts) -> str:
    share = f" ({100 * counts.waste / counts.slots:.1f} %)" if counts.slots else ""
    return (
        f"{counts.used} used, {counts.shared} of them shared  ·  {counts.cached} cached  ·  {counts.free} free  ·  "
        f"{counts.waste} slots wasted{share}  ·  {counts.hit_tokens} tokens hit"
    )


def _describe(counts: Counts, title: str, when: str) -> str:
    return (
        f"Page map, {title}, {when}: {counts.used} pages used ({counts.shared} shared), {counts.cached} cached, "
        f"{counts.free} free; {counts.waste} slots wasted; {counts.running} sequences running, "
        f"{counts.waiting + counts.preempted} waiting."
    )


def _draw_pages(drawing: Drawing, page_map: PageMap, boxes: list[Box], select: int | None) -> None:
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
            full = {page: page_map.filled[page] / page_map.page_size for page in pages}
            _draw_used(drawing, owner, {boxes[page]: (full[page], page_map.refcount[page]) for page in pages}, strength)


def _draw_unused(drawing: Drawing, boxes: list[Box], strength: float, *, cached: bool) -> None:
    if not cached:
        drawing.boxes(boxes, mix(INK, PAPER, 0.04 * strength), stroke=mix(LINE, PAPER, strength))
        return
    drawing.boxes(boxes, mix(INK, PAPER, 0.1 * strength), stroke=mix(INK, PAPER, 0.6 * strength))
    pitch = 6 if boxes and boxes[0][2] >= 14 else 4
    drawing.lines([dot for box in boxes for dot in dots(box, pitch)], mix(INK, PAPER, 0.6 * strength), pitch / 4)


def _draw_used(drawing: Drawing, owner: int, cells: dict[Box, tuple[float, int]], strength: float) -> None:
    """``cells``: box -> (share of its slots that is filled, references)."""
    colour = mix(owner_colour(owner), PAPER, strength)
    ink = mix(text_colour(owner), colour, strength)
    drawing.boxes(cells, mix(colour, PAPER, 0.35))
    drawing.boxes([(x, y, w * part, h) for (x, y, w, h), (part, _) in cells.items() if part], colour)
    shared = [box for box, (_, references) in cells.items() if references > 1]
    pitch = 6 if next(iter(cells))[2] >= 14 else 4
    drawing.lines([line for box in shared for line in hatch(box, pitch)], mix(ink, colour, 0.45), pitch / 4)
    for (x, y, w, h), (_, references) in cells.items():
        tag = f"×{references}" if references > 1 else str(owner)
        if h >= 16 and 7 * len(tag) <= w:
            if references > 1 or cells[(x, y, w, h)][0] < 1:  # ground of its own, over hatch and empty slots
                half = 3.4 * len(tag) + 2
                drawing.boxes([(x + w / 2 - half, y + h / 2 - 7, 2 * half, 14)], colour, radius=3)
            drawing.text(x + w / 2, y + h / 2, tag, size=12 if h >= 24 else 10, colour=ink, anchor="middle", bold=True)


def _draw_links(drawing: Drawing, trace: Trace, page_map: PageMap, select: int, boxes: list[Box]) -> None:
    view = page_map.sequences[select]
    left, width = MARGIN + GUTTER, min(34.0, (WIDTH - 2 * MARGIN - GUTTER) / max(1, len(view.pages)))
    caption = (
        f"#{select} {label(trace, select)}: {len(view.pages)} logical pages, {view.computed} tokens ({status_of(view)})"
    )
    drawing.text(left, HEAD + 8, caption, size=12, colour=INK, bold=True)
    row = [(left + logical * width, HEAD + 22.0, width - 2, 24.0) for logical in range(len(view.pages))]
    if not row:
        return
    ends = [(x + w / 2, y + h, boxes[page][0] + boxes[page][2] / 2, boxes[page][1])
            for (x, y, w, h), page in zip(row, view.pages, strict=True)]  # fmt: skip
    drawing.lines(ends, PAPER, 4, bend=True)
    drawing.lines(ends, mix(owner_colour(select), INK, 0.8), 1.8 if len(row) <= 48 else 1, bend=True)
    drawing.lines([(x, y, x, y) for _, _, x, y in ends], INK, 5)
    cells = {box: (page_map.filled[page] / page_map.page_size, page_map.refcount[page])
             for box, page in zip(row, view.pages, strict=True)}  # fmt: skip
    _draw_used(drawing, select, cells, 1.0)


def _draw_legend(drawing: Drawing, y: float) -> None:
    x = float(MARGIN + GUTTER)
    for text, part, references in (("used, by owner", 1.0, 1), ("partly filled", 0.4, 1), ("shared ×n", 1.0, 2)):
        _draw_used(drawing, 1, {(x, y - 9, 18.0, 18.0): (part, references)}, 1.0)
        drawing.text(x + 25, y, text, size=11, colour=QUIET)
        x += 40 + 6.2 * len(text)
    for text, cached in (("cached", True), ("free", False)):
        _draw_unused(drawing, [(x, y - 9, 18.0, 18.0)], 1.0, cached=cached)
        drawing.text(x + 25, y, text, size=11, colour=QUIET)
        x += 40 + 6.2 * len(text)


def _chip_rows(trace: Trace, page_map: PageMap, rows: int = 2) -> list[list[tuple[int | None, str]]]:
    """Sequences that run or wait, in rows that fit; where more would, the last chip counts them."""
    chips: list[tuple[int | None, str]] = []
    for sequence, view in page_map.sequences.items():
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
