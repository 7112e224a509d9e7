"""What stands in the books: how a cache manager is set up, and what is known of each of its sequences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from pagedlab.memory.eviction import Retention
from tests.memory.kv_memory import Text
from tests.memory.shelf import Place

HOLE = -1


class Setup(NamedTuple):
    page_size: int
    num_pages: int
    cache: str = "hash"  #: none, hash or radix
    hash_bits: int = 128  #: of the hash cache's keys: with 0 all of them collide
    num_host_pages: int = 0
    partial_hits: bool = False
    window: int | None = None
    order: str = "lru"
    leaves_first: bool = False
    last_freed_first: bool = False
    whole_sequences: bool = False
    min_offload_priority: int = 0
    manager: str = "at once"  #: when content can be found; or how swaps are kept: see draws.MANAGERS
    max_events: int = 1_000_000  #: of the trace

    @property
    def knobs(self) -> dict[str, Any]:
        """Those that CacheManager calls by the same names."""
        return {name: getattr(self, name) for name in _KNOBS}


_KNOBS = (
    "num_host_pages", "partial_hits", "window", "last_freed_first", "whole_sequences", "min_offload_priority",
)  # fmt: skip


class Blank(NamedTuple):
    page: int
    start: int  #: slots from here on hold nothing worth reading


class Copied(NamedTuple):
    source: int
    target: int


@dataclass
class Entry:
    """One sequence as the books know it."""

    text: Text
    pages: list[int]
    num_tokens: int  #: tokens it has slots for
    published: int  #: leading pages that it found in the cache or offered to it; none is offered twice
    place: Place
    retention: Sequence[Retention] = ()
    is_pin: bool = False

    @property
    def held(self) -> list[int]:
        return [page for page in self.pages if page != HOLE]


class Wanted(NamedTuple):
    """What an admission would find and take."""

    known: int
    num_tokens: int
    hits: list[int]  #: one for every leading page; those behind the window are holes
    published: int
    partial: tuple[int, int] | None
    cost: int
