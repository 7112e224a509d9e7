"""Rows of pages, expected above actual, as a picture and as text: what differs is marked by more than colour."""

from __future__ import annotations

from itertools import zip_longest

from pagedlab.learn.verdict import Failure, Row
from pagedlab.view.drawing import Drawing
from pagedlab.view.palette import OWNERS
from pagedlab.view.svg import INK, LINE, PAPER, QUIET

CELL, GAP, LABEL, MARGIN, MOST = 40, 6, 190, 12, 14
RIGHT, WRONG = "#FFFFFF", OWNERS[0]


def pairs(failure: Failure) -> list[tuple[str, list[str], list[str]]]:
    """``(label, expected cells, actual cells)``; a row that stands on one side only is empty on the other."""
    actual = {row.label: row.cells for row in failure.actual_rows}
    expected = {row.label: row.cells for row in failure.expected_rows}
    labels = list(dict.fromkeys([*expected, *actual]))
    return [(label, expected.get(label, []), actual.get(label, [])) for label in labels]


def rows_text(failure: Failure) -> list[str]:
    """Lines for a terminal: each cell that differs stands between ``>`` and ``<``."""
    lines = []
    for label, expected, actual in pairs(failure):
        marked = [
            f">{a}<" if e != a else a for e, a in zip_longest(expected, actual, fillvalue="nothing")
        ]  # both rows, so that a missing cell shows
        lines += [
            f"{label}:",
            f"  expected  {' '.join(expected) or '(empty)'}",
            f"  yours     {' '.join(marked) or '(empty)'}",
        ]
    return lines


def rows_drawing(failure: Failure) -> Drawing | None:
    """The same as a picture. None where there is nothing to draw."""
    drawn = pairs(failure)
    if not drawn:
        return None
    longest = min(MOST, max(max(len(expected), len(actual)) for _, expected, actual in drawn))
    width = MARGIN * 2 + LABEL + max(longest, 1) * (CELL + GAP) + 20
    height = MARGIN * 2 + len(drawn) * (2 * (CELL + GAP) + 14)
    drawing = Drawing(width, height, "Expected and yours", " ".join(rows_text(failure)))
    drawing.boxes([(0, 0, width, height)], PAPER, radius=8, stroke=LINE)
    top = float(MARGIN)
    for label, expected, actual in drawn:
        for who, cells, other in (("expected", expected, expected), ("yours", actual, expected)):
            drawing.text(MARGIN, top + CELL / 2 - 7, label, size=12, colour=INK)
            drawing.text(MARGIN, top + CELL / 2 + 9, who, size=11, colour=QUIET)
            _draw_row(drawing, cells, other, top)
            top += CELL + GAP
        top += 14
    return drawing


def _draw_row(drawing: Drawing, cells: list[str], should_be: list[str], top: float) -> None:
    for index, cell in enumerate(cells[:MOST]):
        left = MARGIN + LABEL + index * (CELL + GAP)
        wrong = index >= len(should_be) or should_be[index] != cell
        drawing.boxes([(left, top, CELL, CELL)], WRONG if wrong else RIGHT, radius=5, stroke=INK if wrong else LINE)
        text = cell if len(cell) <= 6 else f"{cell[:5]}…"
        drawing.text(
            left + CELL / 2, top + CELL / 2, text, size=13 if len(text) < 4 else 10, anchor="middle", bold=wrong
        )
    if len(cells) > MOST:
        drawing.text(
            MARGIN + LABEL + MOST * (CELL + GAP), top + CELL / 2, f"+{len(cells) - MOST}", size=11, colour=QUIET
        )


__all__ = ["Row", "pairs", "rows_drawing", "rows_text"]
