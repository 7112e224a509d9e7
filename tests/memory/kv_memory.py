"""A stand-in for the memory of a GPU and its host: it knows exactly what every slot holds.

The key and value of a token depend on all tokens before it and on the salt (the adapter, say), and on nothing else.
So the content of a slot is named by that whole prefix, numbered so that equal numbers mean equal prefixes.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import NamedTuple

#: Stands in a slot that nobody wrote since its page was taken. Whoever reads it has read rubbish.
POISON = -1


class Text(NamedTuple):
    tokens: list[int]
    ends: list[int]  #: the number of the prefix of 0, 1, 2 … tokens


class Prefixes:
    """Numbers for prefixes: two are equal if, and only if, salt and all tokens are. No hashing that could collide."""

    def __init__(self) -> None:
        self._numbers: dict[tuple[str, Hashable] | tuple[int, int], int] = {}

    def of(self, salt: Hashable, tokens: Iterable[int]) -> Text:
        tokens = list(tokens)
        ends = [self._number(("salt", salt))]
        for token in tokens:
            ends.append(self._number((ends[-1], token)))
        return Text(tokens, ends)

    def _number(self, step: tuple[str, Hashable] | tuple[int, int]) -> int:
        return self._numbers.setdefault(step, len(self._numbers))


class KVMemory:
    """``num_pages * page_size`` slots. Writing on a slot that holds something is an error: somebody may read it."""

    def __init__(self, num_pages: int, page_size: int) -> None:
        self.page_size = page_size
        self.slots = [POISON] * (num_pages * page_size)

    def page(self, page: int) -> list[int]:
        return self.slots[page * self.page_size : (page + 1) * self.page_size]

    def blank(self, page: int, start: int = 0) -> None:
        """Slots from ``start`` on hold nothing worth reading."""
        self._overwrite(page, self.page(page)[:start] + [POISON] * (self.page_size - start))

    def copy(self, source: int, target: int) -> None:
        self._overwrite(target, self.page(source))

    def write(self, slots: Sequence[int], contents: Sequence[int]) -> None:
        for slot, content in zip(slots, contents, strict=True):
            assert self.slots[slot] == POISON, (
                f"slot {slot} holds prefix {self.slots[slot]}: it was written a second time"
            )
            self.slots[slot] = content

    def spoil(self, slots: Iterable[int]) -> None:
        """A step that failed half-way may have written anything there."""
        for slot in slots:
            self.slots[slot] = -2

    def read(self, slots: Sequence[int]) -> list[int]:
        return [self.slots[slot] for slot in slots]

    def _overwrite(self, page: int, contents: list[int]) -> None:
        self.slots[page * self.page_size : (page + 1) * self.page_size] = contents
