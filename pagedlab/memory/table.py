"""PageTable: where the tokens of one sequence live.

A sequence sees its tokens in one unbroken row. Its table sends every row of ``page_size`` tokens (a logical page)
to a physical page anywhere in the pool, as an operating system does with a process's memory.
"""

from __future__ import annotations


class PageTable:
    """Logical pages 0, 1, 2 … of one sequence and the physical pages behind them."""

    __slots__ = ("num_tokens", "page_size", "pages")

    def __init__(self, page_size: int, pages: list[int] | None = None, num_tokens: int = 0) -> None:
        self.page_size = page_size
        self.pages: list[int] = [] if pages is None else pages
        self.num_tokens = num_tokens  #: tokens it has slots for; the rest of the last page is waste

    @property
    def num_slots(self) -> int:
        return len(self.pages) * self.page_size

    @property
    def waste(self) -> int:
        """Slots held but not asked for: always fewer than one page."""
        return self.num_slots - self.num_tokens

    def locate(self, position: int) -> tuple[int, int]:
        """``(physical page, offset in it)`` of the token at ``position``."""
        if not 0 <= position < self.num_tokens:
            raise IndexError(f"position {position} was asked for; this table holds {self.num_tokens} tokens")
        logical, offset = divmod(position, self.page_size)
        return self.pages[logical], offset

    def slots(self, start: int, stop: int) -> list[int]:
        """The slot, ``page * page_size + offset``, of every position in ``range(start, stop)``."""
        if not 0 <= start <= stop <= self.num_tokens:
            raise IndexError(f"positions {start}:{stop} were asked for; this table holds {self.num_tokens} tokens")
        size = self.page_size
        slots: list[int] = []
        while start < stop:
            logical, offset = divmod(start, size)
            run = min(size - offset, stop - start)
            first = self.pages[logical] * size + offset
            slots.extend(range(first, first + run))
            start += run
        return slots

    def __len__(self) -> int:
        return len(self.pages)

    def __repr__(self) -> str:
        return f"PageTable({self.pages}, {self.num_tokens} tokens of {self.num_slots} slots)"
