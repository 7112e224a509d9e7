"""Drawing: a few marks, written as SVG or, for readers that show no SVG, as PNG.

Colours are opaque (``mix`` them beforehand) and marks of one kind share an element, so that a map of thousands of
pages stays small and the same input gives the same text.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal
from xml.sax.saxutils import escape

Box = tuple[float, float, float, float]  #: x, y, width, height
Line = tuple[float, float, float, float]  #: x, y -> x, y
Anchor = Literal["start", "middle", "end"]

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, Helvetica, Arial, 'DejaVu Sans', sans-serif"


def mix(colour: str, ground: str, share: float) -> str:
    """``share`` of ``colour`` over ``ground``, both ``#RRGGBB``."""
    pairs = [(int(colour[i : i + 2], 16), int(ground[i : i + 2], 16)) for i in (1, 3, 5)]
    return "#" + "".join(f"{round(top * share + below * (1 - share)):02X}" for top, below in pairs)


@dataclass
class _Boxes:
    boxes: list[Box]
    fill: str
    radius: float
    stroke: str | None


@dataclass
class _Strokes:
    lines: list[Line]
    colour: str
    width: float
    bend: bool


@dataclass
class _Words:
    x: float
    y: float
    text: str
    size: float
    colour: str
    anchor: Anchor
    bold: bool


class Drawing:
    """``width`` and ``height`` in pixels. ``title`` and ``description`` are what a screen reader says."""

    def __init__(self, width: float, height: float, title: str, description: str) -> None:
        self.width, self.height = width, height
        self.title, self.description = title, description
        self._marks: list[_Boxes | _Strokes | _Words] = []

    def boxes(self, boxes: Iterable[Box], fill: str, *, radius: float = 0, stroke: str | None = None) -> None:
        """Filled rectangles; an outline lies within them."""
        self._add(_Boxes(list(boxes), fill, radius, stroke))

    def lines(self, lines: Iterable[Line], colour: str, width: float, *, bend: bool = False) -> None:
        """Lines with round ends (one without length is a dot); ``bend`` leaves and arrives vertically."""
        self._add(_Strokes(list(lines), colour, width, bend))

    def text(
        self,
        x: float,
        y: float,
        text: str,
        *,
        size: float = 12,
        colour: str = "#000000",
        anchor: Anchor = "start",
        bold: bool = False,
    ) -> None:
        """``y`` is the middle of the letters."""
        self._marks.append(_Words(x, y, text, size, colour, anchor, bold))

    def _add(self, mark: _Boxes | _Strokes) -> None:
        if mark.boxes if isinstance(mark, _Boxes) else mark.lines:
            self._marks.append(mark)

    def svg(self) -> str:
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_n(self.width)} {_n(self.height)}" '
            f'width="{_n(self.width)}" height="{_n(self.height)}" role="img" font-family="{FONT}">\n'
            f"<title>{escape(self.title)}</title>\n<desc>{escape(self.description)}</desc>\n"
        )
        return head + "\n".join(map(_svg_mark, self._marks)) + "\n</svg>\n"

    def png(self, scale: int = 2) -> bytes:
        """Raises ImportError without Pillow."""
        from PIL import Image, ImageDraw

        fine = 2 * scale  # drawn at twice the size and halved: smooth edges
        image = Image.new("RGBA", (round(self.width * fine), round(self.height * fine)))
        draw = ImageDraw.Draw(image)
        for mark in self._marks:
            _paint(draw, mark, fine)
        file = io.BytesIO()
        image.reduce(2).save(file, "PNG", optimize=True)
        return file.getvalue()


def hatch(box: Box, pitch: float) -> list[Line]:
    """Rising diagonals across a box, their round ends within it."""
    x, y, width, height = box[0] + 1, box[1] + 1, box[2] - 2, box[3] - 2
    lines = []
    at = pitch / 2
    while at < width + height:
        left, right = max(0.0, at - height), min(width, at)
        lines.append((x + left, y + at - left, x + right, y + at - right))
        at += pitch
    return lines


def dots(box: Box, pitch: float) -> list[Line]:
    """A grid of dots in a box."""
    x, y, width, height = box
    columns, rows = max(1, int(width / pitch)), max(1, int(height / pitch))
    return [
        (cx, cy, cx, cy)
        for row in range(rows)
        for column in range(columns)
        for cx, cy in [(x + (column + 0.5) * width / columns, y + (row + 0.5) * height / rows)]
    ]


def _n(value: float) -> str:
    return f"{round(value, 1):g}"


def _svg_mark(mark: _Boxes | _Strokes | _Words) -> str:
    if isinstance(mark, _Words):
        weight = ' font-weight="600"' if mark.bold else ""
        anchor = "" if mark.anchor == "start" else f' text-anchor="{mark.anchor}"'
        place = f'x="{_n(mark.x)}" y="{_n(mark.y + 0.35 * mark.size)}"'
        look = f'font-size="{_n(mark.size)}" fill="{mark.colour}"{anchor}{weight}'
        return f"<text {place} {look}>{escape(mark.text)}</text>"
    if isinstance(mark, _Strokes):
        path = "".join(
            f"M{_n(x1)} {_n(y1)}C{_n(x1)} {_n((y1 + y2) / 2)} {_n(x2)} {_n((y1 + y2) / 2)} {_n(x2)} {_n(y2)}"
            if mark.bend
            else f"M{_n(x1)} {_n(y1)}L{_n(x2)} {_n(y2)}"
            for x1, y1, x2, y2 in mark.lines
        )
        look = f'fill="none" stroke="{mark.colour}" stroke-width="{_n(mark.width)}" stroke-linecap="round"'
        return f'<path d="{path}" {look}/>'
    stroke = f' stroke="{mark.stroke}"' if mark.stroke else ""
    inset = 0.5 if mark.stroke else 0
    if mark.radius:
        return "\n".join(
            f'<rect x="{_n(x + inset)}" y="{_n(y + inset)}" width="{_n(w - 2 * inset)}" height="{_n(h - 2 * inset)}" '
            f'rx="{_n(mark.radius)}" fill="{mark.fill}"{stroke}/>'
            for x, y, w, h in mark.boxes
        )
    path = "".join(
        f"M{_n(x + inset)} {_n(y + inset)}h{_n(w - 2 * inset)}v{_n(h - 2 * inset)}h{_n(2 * inset - w)}z"
        for x, y, w, h in mark.boxes
    )
    return f'<path d="{path}" fill="{mark.fill}"{stroke}/>'


def _paint(draw: Any, mark: _Boxes | _Strokes | _Words, fine: int) -> None:
    if isinstance(mark, _Words):
        anchor = {"start": "l", "middle": "m", "end": "r"}[mark.anchor] + "m"
        font = _font(mark.size * fine, mark.bold)
        draw.text((mark.x * fine, mark.y * fine), mark.text, fill=mark.colour, font=font, anchor=anchor)
    elif isinstance(mark, _Strokes):
        width = mark.width * fine
        for x1, y1, x2, y2 in mark.lines:
            points = _bent(x1, y1, x2, y2) if mark.bend else [(x1, y1), (x2, y2)]
            points = [(x * fine, y * fine) for x, y in points]
            draw.line(points, fill=mark.colour, width=round(width), joint="curve")
            for x, y in (points[0], points[-1]):
                draw.ellipse((x - width / 2, y - width / 2, x + width / 2, y + width / 2), fill=mark.colour)
    else:
        for x, y, w, h in mark.boxes:
            corners = (x * fine, y * fine, (x + w) * fine - 1, (y + h) * fine - 1)
            outline = {"outline": mark.stroke, "width": fine} if mark.stroke else {}
            draw.rounded_rectangle(corners, radius=mark.radius * fine, fill=mark.fill, **outline)


def _bent(x1: float, y1: float, x2: float, y2: float, pieces: int = 24) -> list[tuple[float, float]]:
    points = []
    for step in range(pieces + 1):
        t = step / pieces
        a, b, c, d = (1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t * t * (1 - t), t**3
        points.append(((a + b) * x1 + (c + d) * x2, a * y1 + (b + c) * (y1 + y2) / 2 + d * y2))
    return points


def _font(size: float, bold: bool) -> Any:
    from PIL import ImageFont

    matplotlib = find_spec("matplotlib")  # its fonts are wanted, not the library
    if matplotlib is not None and matplotlib.origin is not None:
        name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
        path = Path(matplotlib.origin).parent / "mpl-data/fonts/ttf" / name
        if path.is_file():
            return ImageFont.truetype(str(path), size)
    return ImageFont.load_default(size)
