"""A stand-in for the memory of a GPU: it knows exactly what every slot holds.

The key and value of a token depend on all tokens before it and on the salt (the adapter, say), and on nothing else.
So the content of a slot is named by that whole prefix, numbered so that equal numbers mean equal prefixes.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence

#: Stands in a slot that nobody wrote since its page was taken. Whoever reads it has read rubbish.
POISON = -1


class Prefixes:
    """Numbers for prefixes: two are equal if, and only if, salt and all tokens are. No hashing that could collide."""

    def __init__(self) -> None:
        self._numbers: dict[tuple[str, Hashable] | tuple[int, int], int] = {}

    def of(self, salt: Hashable, tokens: Iterable[int]) -> list[int]:
        """For every position, the number of the prefix that ends there."""
        prefix = self._number(("salt", salt))
        numbers = []
        for token in tokens:
            prefix = self._number((prefix, token))
            numbers.append(prefix)
        return numbers

    def _number(self, step: tuple[str, Hashable] | tuple[int, int]) -> int:
        return self._numbers.setdefault(step, len(self._numbers))


class KVMemory:
    """``num_pages * page_size`` slots. Writing on a slot that holds something is an error: somebody may read it."""

    def __init__(self, num_pages: int, page_size: int) -> None:
        self.page_size = page_size
        self.slots = [POISON] * (num_pages * page_size)

    def page(self, page: int) -> list[int]:
        return self.slots[page * self.page_size : (page + 1) * self.page_size]

    def poison(self, page: int) -> None:
        self._overwrite(page, [POISON] * self.page_size)

    def copy(self, source: int, target: int) -> None:
        self._overwrite(target, self.page(source))

    def write(self, slots: Sequence[int], contents: Sequence[int]) -> None:
        for slot, content in zip(slots, contents, strict=True):
            assert self.slots[slot] == POISON, (
                f"slot {slot} holds prefix {self.slots[slot]}: it was written a second time"
            )
            self.slots[slot] = content

    def read(self, slots: Sequence[int]) -> list[int]:
        return [self.slots[slot] for slot in slots]

    def _overwrite(self, page: int, contents: list[int]) -> None:
        self.slots[page * self.page_size : (page + 1) * self.page_size] = contents
