"""Loads as a server can take them: in its vocabulary, within its context. What follows an offer is treated alike."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import lru_cache

from pagedlab.errors import InvalidQuantity
from pagedlab.scheduling.load import Offer


def within_context(offers: Iterable[Offer], max_context: int) -> Iterator[Offer]:
    """Without requests that may come to have more than ``max_context`` tokens, and without what would follow them.

    Lazy, like the offers; so is :func:`within_vocabulary`.
    """
    for offer in offers:
        if len(offer.prompt) + (offer.allowed or offer.num_output) <= max_context:
            yield _with_followers(offer, lambda followers: within_context(followers, max_context))


def within_vocabulary(offers: Iterable[Offer], vocab_size: int) -> Iterator[Offer]:
    """In tokens that a real model has: equal ones stay equal, and unequal ones seldom meet."""
    if vocab_size < 2:
        raise InvalidQuantity(f"a vocabulary of {vocab_size} tokens was asked for; it takes 2 to tell texts apart")
    return (_in_vocabulary(offer, vocab_size) for offer in offers)


def _in_vocabulary(offer: Offer, vocab_size: int) -> Offer:
    mapped = replace(
        offer,
        prompt=[_word(token, vocab_size) for token in offer.prompt],
        output=None if offer.output is None else [_word(token, vocab_size) for token in offer.output],
    )
    return _with_followers(mapped, lambda followers: within_vocabulary(followers, vocab_size))


def _with_followers(offer: Offer, change: Callable[[Iterable[Offer]], Iterator[Offer]]) -> Offer:
    then = offer.then
    return offer if then is None else replace(offer, then=lambda moment: change(then(moment)))


@lru_cache(maxsize=1 << 17)
def _word(token: int, vocab_size: int) -> int:
    """Scattered, so that runs of neighbouring tokens do not become equal runs (the finisher of SplitMix64)."""
    mask = (1 << 64) - 1
    mixed = (token + 0x9E3779B97F4A7C15) & mask
    mixed = ((mixed ^ mixed >> 30) * 0xBF58476D1CE4E5B9) & mask
    mixed = ((mixed ^ mixed >> 27) * 0x94D049BB133111EB) & mask
    return (mixed ^ mixed >> 31) % vocab_size
