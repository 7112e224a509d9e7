"""Content: texts as token ids. A text has a number, and two texts are equal where their numbers are.

Its first token is nobody else's; those after it are common words, taken from one long list at a place that depends on
the number. So no page of one text is mistaken for a page of another, whether a cache looks at all that came before it
(hash chains) or at the first difference (radix trees), and a text of a thousand tokens is a copied slice: no new
integers are made for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from enum import IntEnum
from functools import lru_cache

from pagedlab.errors import InvalidQuantity
from pagedlab.scheduling.load import Offer

#: All token ids are below it.
MOST_TOKENS = 1 << 40

_COMMON = list(range(1 << 16))


class Library(IntEnum):
    """Texts that many requests have in common; each kind has numbers of its own, above those of private texts."""

    SYSTEM_PROMPTS = 0
    TEMPLATES = 1
    TOOLS = 2
    DOCUMENTS = 3
    RECORDED = 4

    def number(self, index: int) -> int:
        """Of the ``index``-th such text, from 0 to 2**32 - 1."""
        return (1 << 39) + (self << 32) + index


def text(number: int, length: int) -> list[int]:
    """The first ``length`` tokens, at least 1, of text ``number``. A longer one begins with a shorter one."""
    start = number * 40_503 & 0x7FFF  # odd, so that 2**15 neighbours start at different places
    tokens = [len(_COMMON) + number, *_COMMON[start : start + length - 1]]
    while len(tokens) < length:
        tokens += _COMMON[: length - len(tokens)]
    return tokens


def within_vocabulary(offers: Iterable[Offer], vocab_size: int) -> Iterator[Offer]:
    """The same load in tokens that a real model has: equal ones stay equal, unequal ones may meet by chance.

    What follows an offer is in the same vocabulary. Lazy, like the offers.
    """
    if vocab_size < 2:
        raise InvalidQuantity(f"a vocabulary of {vocab_size} tokens was asked for; it takes 2 to tell texts apart")
    return (_within(offer, vocab_size) for offer in offers)


def _within(offer: Offer, vocab_size: int) -> Offer:
    then = offer.then
    return replace(
        offer,
        prompt=[_word(token, vocab_size) for token in offer.prompt],
        output=None if offer.output is None else [_word(token, vocab_size) for token in offer.output],
        then=None if then is None else lambda moment: within_vocabulary(then(moment), vocab_size),
    )


@lru_cache(maxsize=2 * len(_COMMON))
def _word(token: int, vocab_size: int) -> int:
    """Scattered, so that runs of neighbouring tokens do not become equal runs (the finisher of SplitMix64)."""
    mask = (1 << 64) - 1
    mixed = (token + 0x9E3779B97F4A7C15) & mask
    mixed = ((mixed ^ mixed >> 30) * 0xBF58476D1CE4E5B9) & mask
    mixed = ((mixed ^ mixed >> 27) * 0x94D049BB133111EB) & mask
    return (mixed ^ mixed >> 31) % vocab_size
