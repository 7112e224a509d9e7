"""Small words for the named tests: a manager, and sequences that are served or have been."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from pagedlab.memory.events import Trace
from pagedlab.memory.eviction import Retention
from pagedlab.memory.manager import Admission, CacheManager
from pagedlab.memory.prefix_cache import PrefixCache, Salt
from pagedlab.memory.prefix_hash import HashPrefixCache
from pagedlab.memory.prefix_radix import RadixPrefixCache

A, B, C, D = 1, 2, 3, 4  # tokens

CACHES: dict[str, Callable[[int], PrefixCache]] = {"hash": HashPrefixCache, "radix": RadixPrefixCache}

page_sizes = pytest.mark.parametrize("page_size", [1, 2, 3, 4, 7, 16])
several_slots = pytest.mark.parametrize("page_size", [2, 3, 4, 7, 16])  #: where a page can be partly filled
both_caches = pytest.mark.parametrize("cache", list(CACHES))


def make_manager(
    num_pages: int, page_size: int, cache: str | None = "hash", *, trace: bool = False, **settings: Any
) -> CacheManager:
    return CacheManager(
        num_pages,
        page_size,
        prefix_cache=CACHES[cache](page_size) if cache else None,
        trace=Trace(num_pages, page_size) if trace else None,
        **settings,
    )


def serve(
    manager: CacheManager, name: int, tokens: Sequence[int], salt: Salt = None, retention: Sequence[Retention] = ()
) -> Admission:
    """Admit all of ``tokens`` and publish what can be, in a step of its own."""
    manager.begin_step(0)
    admission = manager.admit(name, tokens, salt=salt, retention=retention)
    manager.publish(name, tokens, len(tokens))
    manager.check()
    return admission


def leave(manager: CacheManager, *names: int) -> None:
    for name in names:
        manager.release(name)
        manager.check()


def serve_and_leave(manager: CacheManager, name: int, tokens: Sequence[int], **keywords: Any) -> list[int]:
    """Returns the pages it had."""
    serve(manager, name, tokens, **keywords)
    pages = pages_of(manager, name)
    leave(manager, name)
    return pages


def pages_of(manager: CacheManager, name: int) -> list[int]:
    return list(manager.table(name).pages)


def published(manager: CacheManager) -> set[int]:
    return manager.prefix_cache.pages()


def victims(manager: CacheManager) -> list[int]:
    """Cached pages of the device, next to be evicted first."""
    return manager.store.queue.in_order()
