"""Small words for the named tests: a manager, and sequences that are served or have been."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from pagedlab.memory.events import Trace
from pagedlab.memory.manager import Admission, CacheManager
from pagedlab.memory.prefix_cache import Salt
from pagedlab.memory.prefix_hash import HashPrefixCache

page_sizes = pytest.mark.parametrize("page_size", [1, 2, 3, 4, 7, 16])


def make_manager(num_pages: int, page_size: int, *, caching: bool = True, trace: bool = False) -> CacheManager:
    return CacheManager(
        num_pages,
        page_size,
        prefix_cache=HashPrefixCache(page_size) if caching else None,
        trace=Trace(num_pages, page_size) if trace else None,
    )


def hash_cache(manager: CacheManager) -> HashPrefixCache:
    assert isinstance(manager.prefix_cache, HashPrefixCache)
    return manager.prefix_cache


def serve(manager: CacheManager, name: int, tokens: Sequence[int], salt: Salt = None) -> Admission:
    """Admit all of ``tokens`` and publish what can be."""
    admission = manager.admit(name, tokens, salt=salt)
    manager.publish(name, tokens, len(tokens))
    manager.check()
    return admission


def leave(manager: CacheManager, *names: int) -> None:
    for name in names:
        manager.release(name)
        manager.check()


def pages_of(manager: CacheManager, name: int) -> list[int]:
    return list(manager.table(name).pages)


def published(manager: CacheManager) -> set[int]:
    return {page for page in range(manager.pool.num_pages) if manager.prefix_cache.holds(page)}
