"""Logical pages: tables keep their numbers while the pages behind them move (LMDeploy's block manager).

A table names logical pages, and one map for all says where each of them is: numbers below ``num_pages`` are pages of
the device, those from there on of host memory. So a swap copies pages and changes the map, and no table.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from pagedlab.errors import InvariantViolation
from pagedlab.memory.events import EventKind
from pagedlab.memory.eviction import Retention
from pagedlab.memory.holdings import Holding
from pagedlab.memory.host import Swapped
from pagedlab.memory.manager import Admission, CacheManager
from pagedlab.memory.prefix_cache import Match, Salt
from pagedlab.memory.table import HOLE, PageTable


class LogicalPages:
    """A permutation: every logical page is somewhere, and every page has a number."""

    def __init__(self, num_pages: int) -> None:
        self.where = list(range(num_pages))  #: logical -> physical
        self.number = list(range(num_pages))  #: physical -> logical

    def pages(self, numbers: Sequence[int]) -> list[int]:
        """Where logical pages are now. A hole is a hole."""
        return [HOLE if number == HOLE else self.where[number] for number in numbers]

    def move(self, number: int, page: int) -> None:
        """Logical page ``number`` is in ``page`` from now on; the number that ``page`` had, which nobody uses, is
        that of the page it leaves."""
        left, spare = self.where[number], self.number[page]
        self.where[number], self.where[spare] = page, left
        self.number[page], self.number[left] = number, spare


class LogicalTable(PageTable):
    """``numbers`` are logical pages. ``pages``, where they are now, is kept beside them, as processors do in a TLB."""

    __slots__ = ("map", "numbers")

    def __init__(self, page_size: int, pages: list[int], num_tokens: int, map: LogicalPages) -> None:
        super().__init__(page_size, pages, num_tokens)
        self.map = map
        self.numbers = [HOLE if page == HOLE else map.number[page] for page in pages]

    def append(self, page: int) -> None:
        super().append(page)
        self.numbers.append(HOLE if page == HOLE else self.map.number[page])

    def replace(self, logical: int, page: int) -> None:
        super().replace(logical, page)
        self.numbers[logical] = self.map.number[page]

    def pop(self) -> int:
        self.numbers.pop()
        return super().pop()

    def give_back_first(self) -> int:
        self.numbers[self.holes] = HOLE
        return super().give_back_first()

    def translate(self) -> None:
        """The map has changed: look all pages up anew."""
        self.pages = self.map.pages(self.numbers)
        self.dirty = 0

    def is_sound(self) -> bool:
        return super().is_sound() and self.pages == self.map.pages(self.numbers)


class LogicalManager(CacheManager):
    """Swaps by the map. Only a sequence that shares no page, with others or with the prefix cache, can be swapped."""

    def __init__(self, *arguments: Any, **knobs: Any) -> None:
        super().__init__(*arguments, **knobs)
        self.map = LogicalPages(self.pool.num_pages + self.host.num_pages)
        self._away: dict[int, Holding] = {}  #: of sequences that are swapped out

    def logical(self, sequence: int) -> list[int]:
        """The logical pages of a sequence, wherever they are."""
        holding = self._away.get(sequence) or self._holdings[sequence]
        return list(cast(LogicalTable, holding.table).numbers)

    def swap_out(self, sequence: int) -> bool:
        holding = self._holdings[sequence]
        table = holding.table
        if any(self.pool.refcount(page) > 1 or self.prefix_cache.holds(page) for page in table.pages[table.holes :]):
            return False
        if not super().swap_out(sequence):
            return False
        self._away[sequence] = holding
        for number, page in zip(self.logical(sequence), self.host.swapped[sequence].pages, strict=True):
            if page != HOLE:
                self.map.move(number, page)
        return True

    def receive(self, sequence: int, num_tokens: int) -> bool:
        """As CacheManager's. Nothing that came this way can be hit here."""
        received = super().receive(sequence, num_tokens)
        if received:
            table = self._new_table(list(self.host.swapped[sequence].pages), num_tokens)
            self._away[sequence] = Holding(table, cursor=None, published=0)
        return received

    def drop_swapped(self, sequence: int) -> None:
        self._away.pop(sequence, None)
        super().drop_swapped(sequence)

    def abandon_step(self) -> None:
        super().abandon_step()
        self._away = {sequence: holding for sequence, holding in self._away.items() if sequence in self.host.swapped}

    def check(self) -> None:
        super().check()
        if any(self.map.number[page] != number for number, page in enumerate(self.map.where)):
            raise InvariantViolation("the map of logical pages names a page twice")
        if self._away.keys() != self.host.swapped.keys():
            raise InvariantViolation("a sequence is swapped out without its table, or a table without its sequence")
        for sequence, swapped in self.host.swapped.items():
            there = self.map.pages(self.logical(sequence))
            if there != swapped.pages:
                raise InvariantViolation(f"sequence {sequence} is in host pages {swapped.pages}, the map says {there}")

    def _new_table(self, pages: list[int], num_tokens: int = 0) -> PageTable:
        return LogicalTable(self.page_size, pages, num_tokens, self.map)

    def _still_cached(self, tokens: Sequence[int], swapped: Swapped, salt: Salt) -> Match:
        return Match([], None)  # it comes back into its own logical pages

    def _resume(
        self, sequence: int, tokens: Sequence[int], budget: int, salt: Salt, retention: Sequence[Retention]
    ) -> Admission:
        table = cast(LogicalTable, self._away[sequence].table)
        num_known = self.host.swapped[sequence].num_tokens
        num_tokens = min(len(tokens), num_known + budget)
        self.store.require(self.pages_for(num_tokens) - table.holes)
        self._holdings[sequence] = self._away.pop(sequence)
        for logical, number in enumerate(table.numbers):
            if number != HOLE:
                page = self.store.take()
                self.store.copy(self.map.where[number], page)
                self.map.move(number, page)
                self.record(EventKind.ALLOCATE, page, sequence, logical)
                self.record(EventKind.FILL, page, sequence, min(self.page_size, num_known - logical * self.page_size))
        table.translate()
        self.host.drop(sequence)
        self.record(EventKind.RESUME, sequence=sequence, value=num_known)
        self._grow(sequence, table, num_tokens)
        return Admission(num_known, num_tokens)
