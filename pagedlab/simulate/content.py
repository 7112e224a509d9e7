"""Content: texts as token ids. A text has a number, and two texts are equal where their numbers are.

Its first token is nobody else's; those after it are common words, taken from one long list at a place that depends on
the number. So no page of one text is mistaken for a page of another, whether a cache looks at all that came before it
(hash chains) or at the first difference (radix trees), and a text of a thousand tokens is a copied slice: no new
integers are made for it.
"""

from __future__ import annotations

from enum import IntEnum

from pagedlab.errors import InvalidQuantity

#: All token ids are below it.
MOST_TOKENS = 1 << 40

#: Texts that a library may hold.
SHELF = 1 << 32

_COMMON = list(range(1 << 16))


class Library(IntEnum):
    """Texts that many requests have in common; each kind has numbers of its own, above those of private texts."""

    SYSTEM_PROMPTS = 0
    TEMPLATES = 1
    TOOLS = 2
    DOCUMENTS = 3
    BLOCKS = 4

    def number(self, index: int) -> int:
        """Of the ``index``-th such text, from 0 to SHELF - 1."""
        return (1 << 39) + self * SHELF + index


def text(number: int, length: int) -> list[int]:
    """The first ``length`` tokens, at least 1, of text ``number``. A longer one begins with a shorter one."""
    if length < 1:
        raise InvalidQuantity(f"a text of {length} tokens was asked for; it has at least 1")
    start = number * 40_503 & 0x7FFF  # odd, so that 2**15 neighbours start at different places
    tokens = [len(_COMMON) + number, *_COMMON[start : start + length - 1]]
    while len(tokens) < length:
        tokens += _COMMON[: length - len(tokens)]
    return tokens
