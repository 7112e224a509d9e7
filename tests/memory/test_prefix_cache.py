"""What the prefix cache finds, and what it must never find."""

from __future__ import annotations

import pytest

from pagedlab.errors import InvariantViolation, PagesInUse
from pagedlab.memory.pool import PageState
from pagedlab.memory.prefix_hash import HashPrefixCache, hash_page
from tests.memory.serving import hash_cache, leave, make_manager, page_sizes, pages_of, published, serve

A, B, C, D = 1, 2, 3, 4


@page_sizes
def test_the_key_of_a_page_is_the_hash_of_the_key_before_it_and_its_tokens(page_size: int) -> None:
    """Behaviour 1."""
    manager = make_manager(4, page_size)
    tokens = list(range(3 * page_size))
    serve(manager, 0, tokens)
    keys = [hash_cache(manager).key_of(page) for page in pages_of(manager, 0)]
    for logical in (1, 2):
        before = keys[logical - 1]
        assert before is not None
        assert hash_page(before, tokens[logical * page_size : (logical + 1) * page_size]) == keys[logical]


def test_keys_are_the_same_on_every_machine() -> None:
    """Behaviour 1: nothing that differs between two processes enters a key."""
    manager = make_manager(1, 3)
    serve(manager, 0, [A, B, C], salt="tenant")
    key = hash_cache(manager).key_of(0)
    assert key is not None and key.hex() == "d478462ec58a0c2b16013f44b8dd10ea"


@page_sizes
def test_equal_pages_after_different_prefixes_have_different_keys_and_never_hit(page_size: int) -> None:
    """Behaviour 1."""
    manager = make_manager(6, page_size)
    serve(manager, 0, [A] * page_size + [C] * page_size)
    serve(manager, 1, [B] * page_size + [C] * page_size)
    keys = {hash_cache(manager).key_of(page) for page in range(4)}
    assert len(keys) == 4
    assert manager.lookup([C] * page_size + [A]) == 0
    assert manager.lookup([D] * page_size + [C] * page_size + [A]) == 0


@page_sizes
def test_a_page_is_found_by_content_even_when_all_hashes_collide(page_size: int) -> None:
    """Behaviour 1: a hash is a hint; what stands behind it is compared."""
    cache = HashPrefixCache(page_size, hash_page=lambda parent, tokens: b"")
    manager = make_manager(6, page_size)
    manager.prefix_cache = cache
    first, second = [A] * page_size + [C] * page_size, [B] * page_size + [C] * page_size
    serve(manager, 0, first)
    assert manager.lookup([*second, D]) == 0
    serve(manager, 1, second)
    for name, tokens in ((2, first), (3, second)):
        manager.admit(name, [*tokens, D])
        assert pages_of(manager, name)[:2] == pages_of(manager, name - 2)
        leave(manager, name)


@page_sizes
def test_a_partial_page_is_never_published(page_size: int) -> None:
    """Behaviour 2."""
    for num_tokens in range(1, 3 * page_size + 1):
        manager = make_manager(3, page_size)
        tokens = [A] * num_tokens
        serve(manager, 0, tokens)
        assert published(manager) == set(pages_of(manager, 0)[: num_tokens // page_size])
        assert manager.lookup([A] * 4 * page_size) == num_tokens // page_size * page_size


def test_a_run_that_does_not_fill_its_page_is_refused_by_the_cache() -> None:
    """Behaviour 2."""
    cache = HashPrefixCache(4)
    cursor = cache.match([], 0).cursor
    with pytest.raises(InvariantViolation, match="3 of 4 tokens"):
        cache.publish(cursor, [A, A, A], 0)
    assert not cache.holds(0)


def test_more_tokens_than_there_are_slots_cannot_be_published() -> None:
    """Behaviour 2."""
    manager = make_manager(3, 4)
    manager.admit(0, [A] * 8, budget=5)
    with pytest.raises(InvariantViolation, match="8 tokens to publish, but slots for 5"):
        manager.publish(0, [A] * 8, 8)
    assert not published(manager)


@page_sizes
def test_a_hit_while_its_owner_runs_makes_two_references(page_size: int) -> None:
    """Behaviour 3."""
    manager = make_manager(4, page_size)
    tokens = [A] * page_size + [B]
    serve(manager, 0, tokens)
    assert serve(manager, 1, tokens).num_hit == page_size
    shared = pages_of(manager, 0)[0]
    assert pages_of(manager, 1)[0] == shared
    assert manager.pool.refcount(shared) == 2
    leave(manager, 0)
    assert manager.pool.refcount(shared) == 1
    assert manager.pool.state(shared) is PageState.USED


@page_sizes
def test_a_hit_after_its_owner_left_revives_the_same_page(page_size: int) -> None:
    """Behaviour 4."""
    manager = make_manager(4, page_size)
    tokens = [A] * 2 * page_size + [B]
    serve(manager, 0, tokens)
    pages = pages_of(manager, 0)
    leave(manager, 0)
    assert [manager.pool.state(page) for page in pages[:2]] == [PageState.CACHED] * 2
    assert serve(manager, 1, tokens).num_hit == 2 * page_size
    assert pages_of(manager, 1)[:2] == pages[:2]
    assert [manager.pool.refcount(page) for page in pages[:2]] == [1, 1]
    assert not set(pages[:2]) & set(hash_cache(manager).eviction_order())


@page_sizes
def test_the_tail_of_a_sequence_is_evicted_before_its_head(page_size: int) -> None:
    """Behaviour 6."""
    manager = make_manager(4, page_size)
    tokens = [A] * 4 * page_size
    serve(manager, 0, tokens)
    head_first = pages_of(manager, 0)
    leave(manager, 0)
    assert hash_cache(manager).eviction_order() == head_first[::-1]
    for left in (3, 2, 1, 0):
        serve(manager, 1, [B] * page_size * (4 - left))
        assert manager.lookup([*tokens, C]) == left * page_size
        leave(manager, 1)


@page_sizes
def test_the_least_recently_used_sequence_is_evicted_first(page_size: int) -> None:
    """Behaviour 6: a hit makes a page young again."""
    manager = make_manager(3, page_size)
    for name, token in enumerate((A, B)):
        serve(manager, name, [token] * page_size)
    leave(manager, 0, 1)
    old, young = hash_cache(manager).eviction_order()
    assert manager.admit(2, [A] * page_size + [C]).num_hit == page_size
    leave(manager, 2)
    assert hash_cache(manager).eviction_order() == [young, old]


@page_sizes
def test_pages_without_content_worth_keeping_are_reused_before_cached_ones(page_size: int) -> None:
    """Behaviour 7."""
    manager = make_manager(5, page_size)
    serve(manager, 0, [A] * 2 * page_size)
    manager.admit(1, [B] * 2 * page_size)  # never published
    blank, kept = pages_of(manager, 1), pages_of(manager, 0)
    leave(manager, 0, 1)
    manager.admit(2, [C] * 3 * page_size)
    assert set(pages_of(manager, 2)) == {4, *blank}
    assert manager.stats.evictions == 0
    assert published(manager) == set(kept)


@page_sizes
def test_a_page_that_is_reused_forgets_its_key(page_size: int) -> None:
    """Behaviour 8."""
    manager = make_manager(1, page_size)
    serve(manager, 0, [A] * page_size)
    old_key = hash_cache(manager).key_of(0)
    leave(manager, 0)
    assert manager.lookup([A] * page_size + [B]) == page_size
    manager.admit(1, [B] * page_size)
    assert hash_cache(manager).key_of(0) is None
    assert manager.lookup([A] * page_size + [B]) == 0
    manager.publish(1, [B] * page_size, page_size)
    assert hash_cache(manager).key_of(0) not in (None, old_key)


@page_sizes
def test_pages_hit_by_an_admission_are_not_evicted_by_it(page_size: int) -> None:
    """Behaviour 9: the hit page is the next victim, and room is needed."""
    manager = make_manager(3, page_size)
    serve(manager, 0, [A] * page_size)
    serve(manager, 1, [B] * 2 * page_size)
    hit = pages_of(manager, 0)[0]
    leave(manager, 0, 1)
    assert hash_cache(manager).eviction_order()[0] == hit
    tokens = [A] * page_size + [C] * 2 * page_size
    assert serve(manager, 2, tokens).num_hit == page_size
    assert pages_of(manager, 2)[0] == hit
    assert len(set(pages_of(manager, 2))) == 3


@page_sizes
def test_evicting_one_of_two_equal_pages_keeps_the_other(page_size: int) -> None:
    """Behaviour 13: two sequences computed the same page before either published it."""
    manager = make_manager(2, page_size)
    tokens = [A] * page_size
    manager.admit(0, tokens)
    manager.admit(1, tokens)
    manager.publish(0, tokens, page_size)
    manager.publish(1, tokens, page_size)
    manager.check()
    first, second = pages_of(manager, 0)[0], pages_of(manager, 1)[0]
    assert first != second
    leave(manager, 0)
    manager.admit(2, [B])
    assert pages_of(manager, 2) == [first]
    leave(manager, 2)
    assert serve(manager, 3, [*tokens, B]).num_hit == page_size
    assert pages_of(manager, 3)[0] == second


@page_sizes
def test_a_prompt_that_is_cached_whole_still_computes_at_least_one_token(page_size: int) -> None:
    """Behaviour 14."""
    manager = make_manager(8, page_size)
    serve(manager, 0, [A] * 4 * page_size)
    for num_tokens in range(1, 4 * page_size + 1):
        admission = manager.admit(1, [A] * num_tokens)
        assert admission.num_hit == (num_tokens - 1) // page_size * page_size
        assert admission.num_hit < admission.num_tokens == num_tokens
        leave(manager, 1)


@page_sizes
def test_decode_publishes_a_page_when_it_fills_it_and_not_earlier(page_size: int) -> None:
    """Behaviour 15."""
    manager = make_manager(4, page_size)
    tokens = [A]
    serve(manager, 0, tokens)
    while len(tokens) < 4 * page_size:
        assert manager.lookup([*tokens, B]) == len(tokens) // page_size * page_size
        tokens.append(A)
        manager.extend(0, len(tokens))
        manager.publish(0, tokens, len(tokens))
        manager.check()
    assert manager.lookup([*tokens, B]) == 4 * page_size


class Adapter:
    """Two of them are different salts, though they are written alike."""

    def __repr__(self) -> str:
        return "adapter"


@page_sizes
@pytest.mark.parametrize(
    ("mine", "yours"), [(None, "a"), ("a", "b"), (1, "1"), (Adapter(), Adapter()), ((1, 2), (2, 1))]
)
def test_salts_isolate(page_size: int, mine: object, yours: object) -> None:
    """Behaviour 16."""
    manager = make_manager(8, page_size)
    tokens = [A] * 2 * page_size + [B]
    serve(manager, 0, tokens, salt=mine)
    assert manager.lookup(tokens, salt=yours) == 0
    assert serve(manager, 1, tokens, salt=yours).num_hit == 0
    leave(manager, 0, 1)
    for name, salt in ((2, mine), (3, yours)):
        assert serve(manager, name, tokens, salt=salt).num_hit == 2 * page_size
    assert set(pages_of(manager, 2)).isdisjoint(pages_of(manager, 3))


def test_salts_that_nobody_uses_any_more_are_forgotten() -> None:
    manager = make_manager(2, 1)
    for salt in range(100):
        serve(manager, salt, [A], salt=f"tenant {salt}")
        leave(manager, salt)
    assert len(hash_cache(manager)._roots) == 2, "one for each page that is still cached"


@page_sizes
def test_without_a_prefix_cache_nothing_is_hit_kept_or_counted(page_size: int) -> None:
    """Behaviour 17."""
    manager = make_manager(6, page_size, caching=False)
    tokens = [A] * 2 * page_size + [B]
    serve(manager, 0, tokens)
    assert manager.lookup(tokens) == 0
    assert serve(manager, 1, tokens).num_hit == 0
    leave(manager, 0, 1)
    assert (manager.pool.num_free, manager.pool.num_cached) == (6, 0)
    assert manager.stats.queried_tokens == manager.stats.hit_tokens == manager.stats.evictions == 0
    assert manager.stats.hit_rate == 0


@page_sizes
def test_a_reset_refuses_while_pages_are_used_and_else_forgets_everything(page_size: int) -> None:
    """Behaviour 18."""
    manager = make_manager(6, page_size)
    tokens = [A] * 2 * page_size + [B]
    serve(manager, 0, tokens)
    serve(manager, 1, [C] * page_size)
    leave(manager, 1)
    with pytest.raises(PagesInUse, match="3 pages are in use"):
        manager.reset_prefix_cache()
    assert manager.lookup(tokens) == 2 * page_size
    assert manager.stats.queried_tokens > 0
    leave(manager, 0)
    manager.reset_prefix_cache()
    manager.check()
    assert (manager.pool.num_free, manager.pool.num_cached) == (6, 0)
    assert manager.lookup(tokens) == 0
    assert manager.stats.queried_tokens == manager.stats.hit_tokens == 0


@page_sizes
def test_two_equal_prompts_in_one_step_share_and_their_pages_stay_off_the_free_list(page_size: int) -> None:
    """Behaviour 23."""
    manager = make_manager(5, page_size)
    tokens = [A] * 2 * page_size + [B]
    serve(manager, 0, tokens)
    assert serve(manager, 1, tokens).num_hit == 2 * page_size
    assert pages_of(manager, 0)[:2] == pages_of(manager, 1)[:2]
    held = {*pages_of(manager, 0), *pages_of(manager, 1)}
    for _ in range(3):
        manager.admit(2, [C])
        leave(manager, 2)
        assert held.isdisjoint(manager.pool.free_pages())
        assert held.isdisjoint(hash_cache(manager).eviction_order())
    leave(manager, 0)
    assert set(pages_of(manager, 1)).isdisjoint(manager.pool.free_pages())


@page_sizes
def test_a_failed_step_leaves_nothing_that_could_be_hit(page_size: int) -> None:
    """Behaviour 10: pages are published before they are written; if they never are, they are forgotten."""
    manager = make_manager(6, page_size)
    tokens = [A] * 3 * page_size + [B]
    manager.admit(0, tokens, budget=page_size)
    manager.publish(0, tokens, page_size)  # this step is computed; the next one fails
    manager.extend(0, len(tokens))
    manager.publish(0, tokens, len(tokens))
    serve(manager, 1, [*tokens, C])
    for name, valid in ((1, 3 * page_size), (0, page_size)):
        manager.release(name, valid_tokens=valid)
        manager.check()
    assert manager.pool.num_used == 0
    assert manager.lookup([*tokens, C]) == page_size


@page_sizes
def test_a_sequence_goes_on_after_others_gave_up_the_pages_it_shares(page_size: int) -> None:
    """Behaviour 8: where the survivor goes on from, nothing could be found any more; its own pages must be, and go."""
    manager = make_manager(4, page_size)
    serve(manager, 0, [A] * page_size)
    assert manager.admit(1, [A] * page_size + [B]).num_hit == page_size
    manager.release(0, valid_tokens=0)
    manager.check()
    assert not published(manager)
    tokens = [A] * page_size + [B] * 2 * page_size
    manager.extend(1, len(tokens))
    manager.publish(1, tokens, len(tokens))
    manager.check()
    assert published(manager) == set(pages_of(manager, 1)[1:])
    assert manager.lookup([*tokens, C]) == 0, "the first page was given up, and a hit begins there"
    leave(manager, 1)
    serve(manager, 2, [A] * page_size)
    assert manager.lookup([*tokens, C]) == 3 * page_size, "it was computed again, and its like goes on as before"
    leave(manager, 2)
    serve(manager, 3, [C] * 4 * page_size)
    leave(manager, 3)
    assert manager.lookup([C] * 4 * page_size + [A]) == 4 * page_size
