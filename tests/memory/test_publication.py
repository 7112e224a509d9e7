"""Managers that publish later: when a step has been computed, or when a sequence has ended."""

from __future__ import annotations

from collections.abc import Sequence

from pagedlab.memory.manager import CacheManager
from pagedlab.memory.prefix_cache import PrefixCache
from pagedlab.memory.prefix_radix import RadixPrefixCache
from pagedlab.memory.publication import PublishPromptAtEnd, PublishWhenComputed
from tests.memory.serving import CACHES, A, B, C, D, both_caches, leave, pages_of, published, serve, several_slots


def make(
    kind: type[CacheManager], num_pages: int, page_size: int, cache: str | PrefixCache, **knobs: int
) -> CacheManager:
    return kind(
        num_pages, page_size, prefix_cache=CACHES[cache](page_size) if isinstance(cache, str) else cache, **knobs
    )


def next_step(manager: CacheManager) -> None:
    manager.begin_step(0)
    manager.check()


@both_caches
@several_slots
def test_what_a_step_computes_can_be_found_from_the_next_step_on(page_size: int, cache: str) -> None:
    manager = make(PublishWhenComputed, 8, page_size, cache)
    tokens = [A] * 2 * page_size
    serve(manager, 0, tokens)
    assert manager.lookup([*tokens, B]) == 0, "it is planned, and not computed"
    next_step(manager)
    assert manager.lookup([*tokens, B]) == 2 * page_size


@both_caches
@several_slots
def test_whoever_leaves_has_computed_what_it_was_told_to_publish(page_size: int, cache: str) -> None:
    manager = make(PublishWhenComputed, 8, page_size, cache)
    serve(manager, 0, [A] * 2 * page_size)
    leave(manager, 0)
    assert manager.lookup([A] * 2 * page_size + [B]) == 2 * page_size


@both_caches
@several_slots
def test_of_a_step_that_failed_nothing_can_be_found(page_size: int, cache: str) -> None:
    for kind in (PublishWhenComputed, PublishPromptAtEnd):
        manager = make(kind, 8, page_size, cache)
        serve(manager, 0, [A] * 2 * page_size)
        leave(manager, 0)
        manager.abandon_step()
        manager.check()
        assert published(manager) == set()


@both_caches
@several_slots
def test_tokens_cut_off_behind_a_stop_string_are_not_published(page_size: int, cache: str) -> None:
    manager = make(PublishWhenComputed, 8, page_size, cache)
    tokens = [A] * 2 * page_size
    serve(manager, 0, tokens)
    del tokens[page_size + 1 :]
    leave(manager, 0)
    assert manager.lookup([A] * 3 * page_size) == page_size


@several_slots
def test_what_two_computed_at_once_a_tree_keeps_once_and_both_tables_name(page_size: int) -> None:
    """The second gives its own page back, and reads on in the first one's."""
    manager = make(PublishWhenComputed, 8, page_size, "radix")
    tokens = [A] * page_size + [B]
    for name in (0, 1):
        manager.admit(name, tokens)
        manager.publish(name, tokens, len(tokens))
    assert manager.pool.num_used == 4
    next_step(manager)
    (first, own), (second, own_too) = pages_of(manager, 0), pages_of(manager, 1)
    assert first == second and own != own_too
    assert manager.pool.num_used == 3 and manager.pool.refcount(first) == 2
    assert manager.table(1).dirty == 0, "a mirror of the table must read it again"


@several_slots
def test_a_hash_cache_keeps_both_pages_and_no_table_changes(page_size: int) -> None:
    manager = make(PublishWhenComputed, 8, page_size, "hash")
    tables = []
    for name in (0, 1):
        manager.admit(name, [A] * page_size)
        manager.publish(name, [A] * page_size, page_size)
        tables.append(pages_of(manager, name))
    next_step(manager)
    assert [pages_of(manager, name) for name in (0, 1)] == tables
    assert len(published(manager)) == 2


@several_slots
def test_a_page_that_is_known_in_host_memory_only_is_no_duplicate(page_size: int) -> None:
    manager = make(PublishWhenComputed, 3, page_size, RadixPrefixCache(page_size), num_host_pages=3)
    serve(manager, 0, [A] * page_size)
    leave(manager, 0)
    manager.begin_step(1)
    manager.admit(1, [A] * page_size)  # the whole of it was computed, and yet its last token has to be
    manager.publish(1, [A] * page_size, page_size)
    manager.admit(2, [C] * 2 * page_size)  # takes the last blank page, and that of 0, which goes to the host
    own = pages_of(manager, 1)
    next_step(manager)
    assert pages_of(manager, 1) == own and manager.stats.offloads == 1


@both_caches
@several_slots
def test_a_window_gives_nothing_back_before_it_can_be_found(page_size: int, cache: str) -> None:
    manager = make(PublishWhenComputed, 8, page_size, cache, window=page_size)
    tokens: Sequence[int] = [A] * 3 * page_size
    serve(manager, 0, tokens)
    manager.slide(0)
    manager.check()
    assert manager.table(0).holes == 2
    assert manager.lookup([*tokens, B]) == 3 * page_size


@both_caches
@several_slots
def test_only_a_prompt_is_kept_and_only_when_its_sequence_has_left(page_size: int, cache: str) -> None:
    manager = make(PublishPromptAtEnd, 8, page_size, cache)
    prompt = [A] * 2 * page_size
    serve(manager, 0, prompt)
    manager.fork(0, 1)
    said = {name: [*prompt, *[last] * page_size] for name, last in ((0, C), (1, D))}
    for name, tokens in said.items():
        manager.extend(name, len(tokens))
        manager.publish(name, tokens, len(tokens))
    next_step(manager)
    assert manager.lookup([*prompt, B]) == 0
    leave(manager, 0, 1)
    for tokens in said.values():
        assert manager.lookup([*tokens, B]) == 2 * page_size
