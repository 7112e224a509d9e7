"""A picture of a radix prefix cache: its edges, the pages on them, who uses these, and which of them goes first."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pagedlab.errors import InvalidConfig
from pagedlab.memory.manager import CacheManager
from pagedlab.memory.prefix_cache import Salt
from pagedlab.memory.prefix_radix import Edge, RadixPrefixCache
from pagedlab.view.drawing import Box, Drawing, dots, hatch, mix
from pagedlab.view.palette import owner_colour
from pagedlab.view.svg import HEAD, INK, MARGIN, PAPER, QUIET, WIDTH, SvgFigure, card

Words = Callable[[Sequence[int]], str]

ROOT, GAP, ROW = 16.0, 30.0, 58.0  #: pixels: the root's dot, between an edge and the next, from row to row
WIDEST, NARROWEST = 84.0, 20.0  #: of a page
USED, SHARED = owner_colour(1), owner_colour(3)


def numbers(tokens: Sequence[int]) -> str:
    return " ".join(map(str, tokens))


def prefix_tree_svg(
    manager: CacheManager, *, salt: Salt = None, words: Words = numbers, title: str = "Radix tree"
) -> SvgFigure:
    """The tree of ``manager``'s radix cache, root on the left; each page with its tokens, as ``words`` writes them.

    Coloured pages are used, hatched ones by more than one sequence; dotted ones are cached, and under each stands its
    place in the line for eviction. Raises InvalidConfig for a manager with another prefix cache, or for a tree that is
    too deep to draw.
    """
    cache = manager.prefix_cache
    if not isinstance(cache, RadixPrefixCache):
        raise InvalidConfig(f"a tree was to be drawn of a {type(cache).__name__}; only a RadixPrefixCache has one")
    edges = cache.edges(salt)
    places = _places(edges)
    places_in_line = {page: place for place, page in enumerate(manager.store.queue.in_order(), start=1)}
    rows = 1 + max((row for _, _, row in places), default=0)
    drawing = Drawing(WIDTH, HEAD + rows * ROW + 44, title, _described(manager, edges, title, words))
    card(drawing, title, "", _facts(manager, edges))
    if not edges:
        drawing.text(MARGIN, HEAD + ROW / 2, "nothing is cached", size=12, colour=QUIET)
    width = _page_width(edges, places)
    boxes: dict[int, Box] = {}
    for edge, (depth, gaps, row) in zip(edges, places, strict=True):
        for at, page in enumerate(edge.pages):
            x = MARGIN + ROOT + gaps * GAP + (depth + at) * width
            boxes[page] = (x, HEAD + 6 + row * ROW, width, 28.0)
    _draw_links(drawing, edges, boxes, root=(MARGIN + ROOT / 2, HEAD + 20))
    for edge in edges:
        for page, run in zip(edge.pages, edge.runs, strict=True):
            _draw_page(drawing, boxes[page], words(run), manager.pool.refcount(page))
            place = f" · {_ordinal(places_in_line[page])} out" if page in places_in_line else ""
            x, y, w, h = boxes[page]
            text = f"{page}{place}" if w >= 60 else str(page)
            drawing.text(x + w / 2, y + h + 9, text, size=9, colour=QUIET, anchor="middle")
    _draw_key(drawing, HEAD + rows * ROW + 22)
    return SvgFigure(drawing)


def _places(edges: Sequence[Edge]) -> list[tuple[int, int, int]]:
    """For each edge: pages before it, edges up to and with it, and its row. A first child stays in its parent's row."""
    places: list[tuple[int, int, int]] = []
    has_child = [False] * len(edges)
    rows = 0
    for edge in edges:
        if edge.parent is None:
            places.append((0, 1, rows))
            rows += 1
            continue
        depth, gaps, row = places[edge.parent]
        if has_child[edge.parent]:
            row, rows = rows, rows + 1
        has_child[edge.parent] = True
        places.append((depth + len(edges[edge.parent].pages), gaps + 1, row))
    return places


def _page_width(edges: Sequence[Edge], places: Sequence[tuple[int, int, int]]) -> float:
    """Pixels of a page, so that the deepest branch fits."""
    width = WIDEST
    for edge, (depth, gaps, _) in zip(edges, places, strict=True):
        room = WIDTH - 2 * MARGIN - ROOT - gaps * GAP
        width = min(width, room / (depth + len(edge.pages)))
    if width < NARROWEST:
        deepest = max(depth + len(edge.pages) for edge, (depth, _, _) in zip(edges, places, strict=True))
        raise InvalidConfig(
            f"a tree {deepest} pages deep was to be drawn; there is room for some 35. Draw another salt"
        )
    return width


def _draw_links(drawing: Drawing, edges: Sequence[Edge], boxes: dict[int, Box], root: tuple[float, float]) -> None:
    lines = []
    for edge in edges:
        x2, y2, _, h2 = boxes[edge.pages[0]]
        x1, y1 = root
        if edge.parent is not None:
            x, y, w, h = boxes[edges[edge.parent].pages[-1]]
            x1, y1 = x + w, y + h / 2
        middle, y2 = x2 - GAP / 2, y2 + h2 / 2
        lines += [(x1, y1, middle, y1), (middle, y1, middle, y2), (middle, y2, x2 - 2, y2)]
    drawing.lines(lines, mix(INK, PAPER, 0.6), 1.6)
    drawing.lines([(*root, *root)], INK, 10)


def _draw_page(drawing: Drawing, box: Box, text: str, references: int) -> None:
    x, y, w, h = box
    inner = (x + 1, y, w - 2, h)
    if references:
        drawing.boxes([inner], mix(SHARED if references > 1 else USED, PAPER, 0.75))
        if references > 1:
            drawing.lines(hatch(inner, 7), mix(INK, SHARED, 0.25), 1.2)
    else:
        drawing.boxes([inner], mix(INK, PAPER, 0.06), stroke=mix(INK, PAPER, 0.6))
        drawing.lines(dots(inner, 6), mix(INK, PAPER, 0.35), 1.2)
    longest = max(1, int((w - 10) / 6.2))
    text = text if len(text) <= longest else text[: longest - 1] + "…"
    half = 3.3 * len(text) + 3
    if text.strip():
        drawing.boxes([(x + w / 2 - half, y + 6, 2 * half, 16)], PAPER, radius=3)
    drawing.text(x + w / 2, y + h / 2, text, size=11, colour=INK, anchor="middle")


def _draw_key(drawing: Drawing, y: float) -> None:
    x = float(MARGIN)
    for text, references in (
        ("used by one", 1),
        ("used by several", 2),
        ("cached: nobody uses it; “1st out” is evicted first", 0),
    ):
        _draw_page(drawing, (x, y - 14, 30.0, 28.0), "", references)
        drawing.text(x + 38, y, text, size=11, colour=QUIET)
        x += 62 + 5.8 * len(text)
    drawing.lines([(x, y, x, y)], INK, 10)
    drawing.text(x + 12, y, "root", size=11, colour=QUIET)


def _facts(manager: CacheManager, edges: Sequence[Edge]) -> str:
    pages = [page for edge in edges for page in edge.pages]
    used = sum(manager.pool.refcount(page) > 0 for page in pages)
    return f"{len(edges)} edges, {len(pages)} pages: {used} used, {len(pages) - used} cached"


def _described(manager: CacheManager, edges: Sequence[Edge], title: str, words: Words) -> str:
    told = "; ".join(
        f"{'from the root' if edge.parent is None else f'after edge {edge.parent}'}, edge {number}: "
        + ", ".join(f"page {page} “{words(run)}”" for page, run in zip(edge.pages, edge.runs, strict=True))
        for number, edge in enumerate(edges)
    )
    return f"{title}. {_facts(manager, edges)}. {told or 'Nothing is cached'}."


def _ordinal(number: int) -> str:
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"
