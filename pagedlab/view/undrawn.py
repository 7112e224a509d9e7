"""Figures where there is no matplotlib, as in a browser: pictures that were kept stand in for those that it would draw.

``$PAGEDLAB_PICTURES`` names a folder of them, by the captions they are shown with. Where it is not set, nothing stands
in: who wants to draw hears that matplotlib is missing.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Any

#: Names the folder of kept pictures.
VARIABLE = "PAGEDLAB_PICTURES"


class Undrawn:
    """A figure, its axes and all their parts at once: takes every call, and draws nothing."""

    def __getattr__(self, name: str) -> Undrawn:
        if name.startswith("__"):
            raise AttributeError(name)
        return self

    def __call__(self, *_: Any, **__: Any) -> Undrawn:
        return self

    def __getitem__(self, _key: object) -> Undrawn:
        return self

    def __iter__(self) -> Iterator[Undrawn]:
        raise TypeError("matplotlib is not here to say how many there are")

    def __repr__(self) -> str:
        return "Undrawn()"


def undrawn_figure(columns: int, rows: int) -> tuple[Undrawn, Any]:
    """As of ``figures.new_figure``: axes alone, in a row, or in rows."""
    row: Any = [Undrawn() for _ in range(columns)] if columns > 1 else Undrawn()
    return Undrawn(), row if rows == 1 else [row] * rows


def keeps_pictures() -> bool:
    return VARIABLE in os.environ


def file_of(caption: str) -> str:
    return blake2b(caption.encode(), digest_size=10).hexdigest() + ".svg"


def kept_picture(caption: str) -> str | None:
    """SVG text, or None where no picture was kept with this caption."""
    path = Path(os.environ.get(VARIABLE, "")) / file_of(caption)
    return path.read_text(encoding="utf-8") if path.is_file() else None
