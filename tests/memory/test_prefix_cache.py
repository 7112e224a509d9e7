"""What a prefix cache finds, and what it must never find: one suite for both caches."""

from __future__ import annotations

import pytest

from pagedlab.errors import InvariantViolation, PagesInUse
from pagedlab.memory.pool import PageState
from tests.memory.serving import (
    CACHES,
    A,
    B,
    C,
    D,
    both_caches,
    leave,
    make_manager,
    page_sizes,
    pages_of,
    published,
    serve,
    serve_and_leave,
    victims,
)


@both_caches
@page_sizes
def test_equal_pages_after_different_prefixes_never_hit_each_other(page_size: int, cache: str) -> None:
    """Behaviour 1."""
    manager = make_manager(6, page_size, cache)
    serve(manager, 0, [A] * page_size + [C] * page_size)
    serve(manager, 1, [B] * page_size + [C] * page_size)
    assert len(published(manager)) == 4
    assert manager.lookup([C] * page_size + [A]) == 0
    assert manager.lookup([D] * page_size + [C] * page_size + [A]) == 0
    for name, first in ((0, A), (1, B)):
        serve(manager, 2, [first] * page_size + [C] * page_size + [D])
        assert pages_of(manager, 2)[:2] == pages_of(manager, name)
        leave(manager, 2)


@both_caches
def test_a_run_that_does_not_fill_its_page_is_refused_by_the_cache(cache: str) -> None:
    """Behaviour 2."""
    prefix_cache = CACHES[cache](4)
    cursor = prefix_cache.match([], 0, None).cursor
    with pytest.raises(InvariantViolation, match="3 of 4 tokens"):
        prefix_cache.publish(cursor, [A, A, A], 0)
    assert not prefix_cache.holds(0)


@both_caches
@page_sizes
def test_a_partial_page_is_never_published(page_size: int, cache: str) -> None:
    """Behaviour 2."""
    for num_tokens in range(1, 3 * page_size + 1):
        manager = make_manager(3, page_size, cache)
        tokens = [A] * num_tokens
        serve(manager, 0, tokens)
        assert published(manager) == set(pages_of(manager, 0)[: num_tokens // page_size])
        assert manager.lookup([A] * 4 * page_size) == num_tokens // page_size * page_size


@both_caches
def test_more_tokens_than_there_are_slots_cannot_be_published(cache: str) -> None:
    """Behaviour 2."""
    manager = make_manager(3, 4, cache)
    manager.admit(0, [A] * 8, budget=5)
    with pytest.raises(InvariantViolation, match="8 tokens to publish, but slots for 5"):
        manager.publish(0, [A] * 8, 8)
    assert not published(manager)


@both_caches
@page_sizes
def test_a_hit_while_its_owner_runs_makes_two_references(page_size: int, cache: str) -> None:
    """Behaviour 3."""
    manager = make_manager(4, page_size, cache)
    tokens = [A] * page_size + [B]
    serve(manager, 0, tokens)
    assert serve(manager, 1, tokens).num_hit == page_size
    shared = pages_of(manager, 0)[0]
    assert pages_of(manager, 1)[0] == shared
    assert manager.pool.refcount(shared) == 2
    leave(manager, 0)
    assert manager.pool.refcount(shared) == 1
    assert manager.pool.state(shared) is PageState.USED


@both_caches
@page_sizes
def test_a_hit_after_its_owner_left_revives_the_same_page(page_size: int, cache: str) -> None:
    """Behaviour 4."""
    manager = make_manager(4, page_size, cache)
    tokens = [A] * 2 * page_size + [B]
    serve(manager, 0, tokens)
    pages = pages_of(manager, 0)
    leave(manager, 0)
    assert [manager.pool.state(page) for page in pages[:2]] == [PageState.CACHED] * 2
    assert serve(manager, 1, tokens).num_hit == 2 * page_size
    assert pages_of(manager, 1)[:2] == pages[:2]
    assert [manager.pool.refcount(page) for page in pages[:2]] == [1, 1]
    assert not set(pages[:2]) & set(victims(manager))


@both_caches
@page_sizes
def test_the_tail_of_a_sequence_is_evicted_before_its_head(page_size: int, cache: str) -> None:
    """Behaviour 6."""
    manager = make_manager(4, page_size, cache)
    tokens = [A] * 4 * page_size
    serve(manager, 0, tokens)
    head_first = pages_of(manager, 0)
    leave(manager, 0)
    assert victims(manager) == head_first[::-1]
    for left in (3, 2, 1, 0):
        serve(manager, 1, [B] * page_size * (4 - left))
        assert manager.lookup([*tokens, C]) == left * page_size
        leave(manager, 1)


@both_caches
@page_sizes
def test_the_least_recently_used_sequence_is_evicted_first(page_size: int, cache: str) -> None:
    """Behaviour 6: a hit makes a page young again."""
    manager = make_manager(3, page_size, cache)
    for name, token in enumerate((A, B)):
        serve(manager, name, [token] * page_size)
    leave(manager, 0, 1)
    old, young = victims(manager)
    assert manager.admit(2, [A] * page_size + [C]).num_hit == page_size
    leave(manager, 2)
    assert victims(manager) == [young, old]


@both_caches
@page_sizes
def test_pages_without_content_worth_keeping_are_reused_before_cached_ones(page_size: int, cache: str) -> None:
    """Behaviour 7."""
    manager = make_manager(5, page_size, cache)
    serve(manager, 0, [A] * 2 * page_size)
    manager.admit(1, [B] * 2 * page_size)  # never published
    blank, kept = pages_of(manager, 1), pages_of(manager, 0)
    leave(manager, 0, 1)
    manager.admit(2, [C] * 3 * page_size)
    assert set(pages_of(manager, 2)) == {4, *blank}
    assert manager.stats.evictions == 0
    assert published(manager) == set(kept)


@both_caches
@page_sizes
def test_a_page_that_is_reused_forgets_its_content(page_size: int, cache: str) -> None:
    """Behaviour 8."""
    manager = make_manager(1, page_size, cache)
    serve_and_leave(manager, 0, [A] * page_size)
    assert manager.lookup([A] * page_size + [B]) == page_size
    manager.admit(1, [B] * page_size)
    assert not published(manager)
    assert manager.lookup([A] * page_size + [B]) == 0
    manager.publish(1, [B] * page_size, page_size)
    assert published(manager) == {0}
    assert manager.lookup([A] * page_size + [B]) == 0
    assert manager.lookup([B] * page_size + [A]) == page_size


@both_caches
@page_sizes
def test_pages_hit_by_an_admission_are_not_evicted_by_it(page_size: int, cache: str) -> None:
    """Behaviour 9: the hit page is the next victim, and room is needed."""
    manager = make_manager(3, page_size, cache)
    serve(manager, 0, [A] * page_size)
    serve(manager, 1, [B] * 2 * page_size)
    hit = pages_of(manager, 0)[0]
    leave(manager, 0, 1)
    assert victims(manager)[0] == hit
    tokens = [A] * page_size + [C] * 2 * page_size
    assert serve(manager, 2, tokens).num_hit == page_size
    assert pages_of(manager, 2)[0] == hit
    assert len(set(pages_of(manager, 2))) == 3


@both_caches
@page_sizes
def test_a_prompt_that_is_cached_whole_still_computes_at_least_one_token(page_size: int, cache: str) -> None:
    """Behaviour 14."""
    manager = make_manager(8, page_size, cache)
    serve(manager, 0, [A] * 4 * page_size)
    for num_tokens in range(1, 4 * page_size + 1):
        admission = manager.admit(1, [A] * num_tokens)
        assert admission.num_hit == (num_tokens - 1) // page_size * page_size
        assert admission.num_hit < admission.num_tokens == num_tokens
        leave(manager, 1)


@both_caches
@page_sizes
def test_decode_publishes_a_page_when_it_fills_it_and_not_earlier(page_size: int, cache: str) -> None:
    """Behaviour 15."""
    manager = make_manager(4, page_size, cache)
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


@both_caches
@page_sizes
@pytest.mark.parametrize(
    ("mine", "yours"), [(None, "a"), ("a", "b"), (1, "1"), (Adapter(), Adapter()), ((1, 2), (2, 1))]
)
def test_salts_isolate(page_size: int, cache: str, mine: object, yours: object) -> None:
    """Behaviour 16."""
    manager = make_manager(8, page_size, cache)
    tokens = [A] * 2 * page_size + [B]
    serve(manager, 0, tokens, salt=mine)
    assert manager.lookup(tokens, salt=yours) == 0
    assert serve(manager, 1, tokens, salt=yours).num_hit == 0
    leave(manager, 0, 1)
    for name, salt in ((2, mine), (3, yours)):
        assert serve(manager, name, tokens, salt=salt).num_hit == 2 * page_size
    assert set(pages_of(manager, 2)).isdisjoint(pages_of(manager, 3))


@both_caches
@page_sizes
def test_a_reset_refuses_while_pages_are_used_and_else_forgets_everything(page_size: int, cache: str) -> None:
    """Behaviour 18."""
    manager = make_manager(6, page_size, cache)
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


@both_caches
@page_sizes
def test_two_equal_prompts_in_one_step_share_and_their_pages_stay_off_the_free_list(page_size: int, cache: str) -> None:
    """Behaviour 23."""
    manager = make_manager(5, page_size, cache)
    tokens = [A] * 2 * page_size + [B]
    serve(manager, 0, tokens)
    assert serve(manager, 1, tokens).num_hit == 2 * page_size
    assert pages_of(manager, 0)[:2] == pages_of(manager, 1)[:2]
    held = {*pages_of(manager, 0), *pages_of(manager, 1)}
    for _ in range(3):
        manager.admit(2, [C])
        leave(manager, 2)
        assert held.isdisjoint(manager.pool.free_pages())
        assert held.isdisjoint(victims(manager))
    leave(manager, 0)
    assert set(pages_of(manager, 1)).isdisjoint(manager.pool.free_pages())


@both_caches
def test_salts_that_nobody_uses_any_more_are_forgotten(cache: str) -> None:
    manager = make_manager(2, 1, cache)
    for salt in range(100):
        serve_and_leave(manager, salt, [A], salt=f"tenant {salt}")
    assert len(manager.prefix_cache._roots) == 2, "one for each page that is still cached"  # type: ignore[attr-defined]


@page_sizes
def test_without_a_prefix_cache_nothing_is_hit_kept_or_counted(page_size: int) -> None:
    """Behaviour 17."""
    manager = make_manager(6, page_size, None)
    tokens = [A] * 2 * page_size + [B]
    serve(manager, 0, tokens)
    assert manager.lookup(tokens) == 0
    assert serve(manager, 1, tokens).num_hit == 0
    leave(manager, 0, 1)
    assert (manager.pool.num_free, manager.pool.num_cached) == (6, 0)
    assert manager.stats.queried_tokens == manager.stats.hit_tokens == manager.stats.evictions == 0
    assert manager.stats.hit_rate == 0


@both_caches
@page_sizes
def test_the_next_turn_of_a_chat_hits_pages_that_were_generated(page_size: int, cache: str) -> None:
    """Behaviour 30."""
    manager = make_manager(12, page_size, cache)
    chat = [A] * page_size
    serve(manager, 0, chat)
    for token in [B, C] * page_size:  # decoded one by one
        chat.append(token)
        manager.extend(0, len(chat))
        manager.publish(0, chat, len(chat))
    answered = pages_of(manager, 0)
    leave(manager, 0)
    assert serve(manager, 1, [*chat, D, D]).num_hit == 3 * page_size
    assert pages_of(manager, 1)[:3] == answered


@both_caches
@page_sizes
def test_when_one_of_two_equal_pages_is_evicted_the_content_can_still_be_hit(page_size: int, cache: str) -> None:
    """Behaviour 13: two sequences computed the same page before either published it."""
    manager = make_manager(3, page_size, cache)
    tokens = [A] * page_size
    manager.admit(0, tokens)
    manager.admit(1, tokens)
    manager.publish(0, tokens, page_size)
    manager.publish(1, tokens, page_size)
    manager.check()
    first, second = pages_of(manager, 0)[0], pages_of(manager, 1)[0]
    assert published(manager) == ({first, second} if cache == "hash" else {first})
    leave(manager, 1, 0)
    manager.admit(2, [B] * 2 * page_size)  # takes the free one and, of twins, the one that left first
    assert (first in pages_of(manager, 2), second in pages_of(manager, 2)) == (False, True)
    leave(manager, 2)
    assert serve(manager, 3, [*tokens, B]).num_hit == page_size
    assert pages_of(manager, 3)[0] == first


@both_caches
@page_sizes
def test_what_a_failed_step_was_to_bring_is_forgotten_and_the_rest_is_kept(page_size: int, cache: str) -> None:
    """Behaviour 10: pages are published before they are written; if they never are, they are forgotten."""
    manager = make_manager(6, page_size, cache)
    tokens = [A] * 3 * page_size + [B]
    manager.begin_step(0)
    manager.admit(0, tokens, budget=page_size)
    manager.publish(0, tokens, page_size)  # this step is computed; the next one fails
    manager.begin_step(1)
    manager.extend(0, len(tokens))
    manager.publish(0, tokens, len(tokens))
    manager.admit(1, [*tokens, C])
    manager.publish(1, [*tokens, C], len(tokens) + 1)
    leave(manager, 1, 0)
    manager.abandon_step()
    manager.check()
    assert manager.pool.num_used == 0
    assert manager.lookup([*tokens, C]) == page_size


@both_caches
@page_sizes
def test_a_sequence_goes_on_without_publishing_when_what_it_continues_was_lost(page_size: int, cache: str) -> None:
    """Behaviour 31: with a window of one token its earlier pages come back, and may be evicted while it runs."""
    manager = make_manager(3, page_size, cache, window=1)
    tokens = [A] * page_size
    serve(manager, 0, tokens)
    manager.slide(0)
    serve_and_leave(manager, 1, [B] * 3 * page_size)
    assert manager.lookup([*tokens, B]) == 0
    tokens += [A] * page_size
    manager.extend(0, len(tokens))
    manager.publish(0, tokens, len(tokens))
    manager.check()
    assert manager.lookup([*tokens, B]) == 0
    assert not manager.prefix_cache.holds(pages_of(manager, 0)[1])
    leave(manager, 0)
    assert manager.pool.num_used == 0


@both_caches
@page_sizes
def test_a_step_that_failed_counts_no_hits(page_size: int, cache: str) -> None:
    """What an admission finds is counted when its step has been computed."""
    manager = make_manager(8, page_size, cache)
    serve_and_leave(manager, 0, [A] * 2 * page_size)
    serve(manager, 1, [A] * 3 * page_size)
    before = (manager.stats.queried_tokens, manager.stats.hit_tokens)
    assert before == (5 * page_size, 2 * page_size)
    serve(manager, 2, [A] * 2 * page_size)
    leave(manager, 2)
    manager.abandon_step()
    assert (manager.stats.queried_tokens, manager.stats.hit_tokens) == before
