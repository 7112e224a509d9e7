"""Knobs that take a name or an object of the reader's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from pagedlab.errors import InvalidConfig
from pagedlab.memory.prefix_cache import PrefixCache
from pagedlab.memory.prefix_hash import HashPrefixCache
from pagedlab.memory.prefix_radix import RadixPrefixCache

Thing = TypeVar("Thing")

#: ``make(page_size)``
PREFIX_CACHES: dict[str, Callable[[int], PrefixCache | None]] = {
    "none": lambda page_size: None,
    "hash": HashPrefixCache,
    "radix": RadixPrefixCache,
}


def chosen(knob: str, choice: str | Thing, there_are: Mapping[str, Thing]) -> Thing:
    """What ``choice`` names among ``there_are``, or ``choice`` itself where it is no name."""
    if not isinstance(choice, str):
        return choice
    if choice not in there_are:
        names = ", ".join(map(repr, there_are))
        raise InvalidConfig(f"{knob}={choice!r} was asked for; there are {names}, and objects of your own")
    return there_are[choice]
