"""HashPrefixCache: keys that chain, and what stands behind them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pagedlab.errors import InvariantViolation
from pagedlab.memory.manager import CacheManager
from pagedlab.memory.prefix_hash import HashPrefixCache, hash_page
from tests.memory.draws import cut_hash
from tests.memory.serving import A, B, C, D, leave, page_sizes, pages_of, serve


def hashing(num_pages: int, page_size: int, bits: int = 128) -> tuple[CacheManager, HashPrefixCache]:
    cache = HashPrefixCache(page_size, hash_page=cut_hash(bits))
    return CacheManager(num_pages, page_size, prefix_cache=cache), cache


@page_sizes
def test_the_key_of_a_page_is_the_hash_of_the_key_before_it_and_its_tokens(page_size: int) -> None:
    """Behaviour 1."""
    manager, cache = hashing(4, page_size)
    tokens = list(range(3 * page_size))
    serve(manager, 0, tokens)
    keys = [cache.key_of(page) for page in pages_of(manager, 0)]
    for logical in (1, 2):
        before = keys[logical - 1]
        assert before is not None
        assert hash_page(before, tokens[logical * page_size : (logical + 1) * page_size]) == keys[logical]
    assert cache.key_of(3) is None


def test_keys_are_the_same_on_every_machine() -> None:
    """Behaviour 1: nothing that differs between two processes enters a key."""
    manager, cache = hashing(1, 3)
    serve(manager, 0, [A, B, C], salt="tenant")
    key = cache.key_of(0)
    assert key is not None
    assert key.hex() == "d478462ec58a0c2b16013f44b8dd10ea"


@page_sizes
@pytest.mark.parametrize("bits", [0, 4])
def test_a_page_is_found_by_content_even_when_hashes_collide(page_size: int, bits: int) -> None:
    """Behaviour 1: a hash is a hint; what stands behind it is compared, and what comes before that."""
    num_prompts = 1 if page_size == 1 else 40
    manager, cache = hashing(2 * num_prompts + 4, page_size, bits)
    prompts = [[A + name] * page_size + [C] * page_size for name in range(num_prompts)]
    for name, tokens in enumerate(prompts):
        assert manager.lookup([*tokens, D]) == 0
        serve(manager, name, tokens)
    keys = [cache.key_of(page) for name in range(num_prompts) for page in pages_of(manager, name)]
    assert len(set(keys)) <= 2**bits or page_size == 1
    for name, tokens in enumerate(prompts):
        assert serve(manager, 1000, [*tokens, D]).num_hit == 2 * page_size
        assert pages_of(manager, 1000)[:2] == pages_of(manager, name)
        leave(manager, 1000)
    for start in (D + num_prompts, C):
        assert manager.lookup([start] * page_size + [C + 1] * page_size + [D]) in (0, page_size)


def test_a_collision_under_another_prefix_never_hits() -> None:
    """Behaviour 1: of two pages with equal keys and equal tokens only the one after the same prefix is found."""
    manager, _ = hashing(6, 2, bits=0)
    serve(manager, 0, [A, A, C, C])
    serve(manager, 1, [B, B])
    assert manager.lookup([B, B, C, C, D]) == 2
    assert manager.lookup([C, C, D]) == 0


def lose_a_page(cache: HashPrefixCache) -> None:
    cache._content[0].pages.clear()


def lose_a_key(cache: HashPrefixCache) -> None:
    del cache._index[cache._content[0].key]


def change_tokens(cache: HashPrefixCache) -> None:
    cache._content[0].tokens = (D, D)


def lose_a_child(cache: HashPrefixCache) -> None:
    cache._content[0].children.clear()


def keep_a_forgotten_page(cache: HashPrefixCache) -> None:
    del cache._content[1]


@pytest.mark.parametrize("spoil", [lose_a_page, lose_a_key, change_tokens, lose_a_child, keep_a_forgotten_page])
def test_check_finds_what_was_spoiled(spoil: Callable[[HashPrefixCache], None]) -> None:
    """Behaviour 40."""
    manager, cache = hashing(2, 2)
    serve(manager, 0, [A, A, B, B])
    cache.check()
    spoil(cache)
    with pytest.raises(InvariantViolation):
        cache.check()
