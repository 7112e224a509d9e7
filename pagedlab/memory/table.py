"""PageTable: where the tokens of one sequence live.

A sequence sees its tokens in one unbroken row. Its table sends every row of ``page_size`` tokens (a logical page)
to a physical page anywhere in the pool, as an operating system does with a process's memory.
"""

from __future__ import annotations

#: Stands for a page that was given back: it lies behind the sliding window, and nobody will read it again.
HOLE = -1


class PageTable:
    """Logical pages 0, 1, 2 … of one sequence and the physical pages behind them.

    Whoever mirrors it (in a tensor, say) copies ``pages[dirty:]`` and sets ``dirty`` to their number. A hole dirties
    nothing: what a mirror still says of it is never read.
    """

    __slots__ = ("dirty", "holes", "num_tokens", "page_size", "pages")

    def __init__(self, page_size: int, pages: list[int] | None = None, num_tokens: int = 0) -> None:
        self.page_size = page_size
        self.pages: list[int] = [] if pages is None else pages
        self.num_tokens = num_tokens  #: tokens it has slots for; the rest of the last page is waste
        self.holes = 0  #: leading pages that were given back
        self.dirty = 0  #: entries from here on have changed since a mirror last read them

    @property
    def num_slots(self) -> int:
        return len(self.pages) * self.page_size

    @property
    def waste(self) -> int:
        """Slots held but not asked for: always fewer than one page."""
        return self.num_slots - self.num_tokens

    def locate(self, position: int) -> tuple[int, int]:
        """``(physical page, offset in it)`` of the token at ``position``."""
        if not self.holes * self.page_size <= position < self.num_tokens:
            raise IndexError(f"position {position} was asked for; {self._what_it_holds()}")
        logical, offset = divmod(position, self.page_size)
        return self.pages[logical], offset

    def slots(self, start: int, stop: int) -> list[int]:
        """The slot, ``page * page_size + offset``, of every position in ``range(start, stop)``."""
        if not self.holes * self.page_size <= start <= stop <= self.num_tokens:
            raise IndexError(f"positions {start}:{stop} were asked for; {self._what_it_holds()}")
        size = self.page_size
        slots: list[int] = []
        while start < stop:
            logical, offset = divmod(start, size)
            run = min(size - offset, stop - start)
            first = self.pages[logical] * size + offset
            slots.extend(range(first, first + run))
            start += run
        return slots

    def append(self, page: int) -> None:
        self.pages.append(page)

    def replace(self, logical: int, page: int) -> None:
        self.pages[logical] = page
        self.dirty = min(self.dirty, logical)

    def pop(self) -> int:
        page = self.pages.pop()
        self.dirty = min(self.dirty, len(self.pages))
        return page

    def give_back_first(self) -> int:
        """The first page that is no hole becomes one. Returns it."""
        page = self.pages[self.holes]
        self.pages[self.holes] = HOLE
        self.holes += 1
        return page

    def is_sound(self) -> bool:
        """Holes come first, no page is named twice, and every token has a slot."""
        held = self.pages[self.holes :]
        return (
            self.pages[: self.holes] == [HOLE] * self.holes
            and HOLE not in held
            and len(set(held)) == len(held)
            and self.waste >= 0
        )

    def __len__(self) -> int:
        return len(self.pages)

    def _what_it_holds(self) -> str:
        behind = f", the first {self.holes * self.page_size} of them given back" if self.holes else ""
        return f"this table holds {self.num_tokens} tokens{behind}"

    def __repr__(self) -> str:
        return f"PageTable({self.pages}, {self.num_tokens} tokens of {self.num_slots} slots)"
