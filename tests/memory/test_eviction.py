"""Which cached page is given up first: orders, wishes that run out, and pins."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import pytest

from pagedlab.errors import InvalidConfig, OutOfPages
from pagedlab.memory.eviction import (
    DEFAULT_PRIORITY,
    EVICTION_ORDERS,
    EvictionQueue,
    PageUse,
    Retention,
    eviction_order,
    leaves_first,
    lowest_priority,
)
from pagedlab.memory.lru import LruQueue
from pagedlab.memory.manager import CacheManager
from tests.memory.serving import (
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
    serve_and_leave,
    several_slots,
    victims,
)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def three_prompts(page_size: int, cache: str, eviction: str) -> tuple[CacheManager, dict[int, int]]:
    """A, B and C were served in this order; A was hit again last, B once before it. Returns the page of each."""
    manager = make_manager(3, page_size, cache, eviction=eviction)
    page = {token: serve_and_leave(manager, 0, [token] * page_size)[0] for token in (A, B, C)}
    for token in (C, C, B, A):
        assert manager.admit(1, [token] * page_size + [D], budget=0).num_hit == page_size
        leave(manager, 1)
    return manager, page


@both_caches
@page_sizes
@pytest.mark.parametrize(
    ("eviction", "expected"), [("lru", [C, B, A]), ("lfu", [B, A, C]), ("fifo", [A, B, C]), ("priority", [C, B, A])]
)
def test_each_order_gives_up_its_own_page_first(page_size: int, cache: str, eviction: str, expected: list[int]) -> None:
    """Behaviour 6."""
    manager, page = three_prompts(page_size, cache, eviction)
    assert victims(manager) == [page[token] for token in expected]
    for number, token in enumerate(expected):
        manager.admit(10 + number, [D] * page_size)
        assert pages_of(manager, 10 + number) == [page[token]]
        assert manager.lookup([token] * page_size + [D]) == 0


@both_caches
@page_sizes
def test_a_wish_keeps_pages_and_lets_others_go_first_until_its_time_is_up(page_size: int, cache: str) -> None:
    clock = Clock()
    manager = make_manager(3, page_size, cache, eviction="priority", clock=clock)
    keep, spare = [Retention(80, seconds=10.0)], [Retention(0, seconds=math.inf)]
    kept = serve_and_leave(manager, 0, [A] * page_size, retention=keep)
    plain = serve_and_leave(manager, 1, [B] * page_size)
    spared = serve_and_leave(manager, 2, [C] * page_size, retention=spare)
    assert victims(manager) == spared + plain + kept
    clock.now = 9.9
    assert victims(manager) == spared + plain + kept
    clock.now = 10.0
    assert victims(manager) == spared + kept + plain, "equal again, and the least recently used goes first"
    manager.admit(3, [D] * 2 * page_size)
    assert pages_of(manager, 3) == spared + kept


@both_caches
@page_sizes
def test_a_wish_holds_for_the_pages_of_its_tokens_and_a_new_one_replaces_it(page_size: int, cache: str) -> None:
    manager = make_manager(4, page_size, cache, eviction="priority")
    tokens = [A] * 4 * page_size
    pages = serve_and_leave(manager, 0, tokens, retention=[Retention(70, start=page_size, stop=3 * page_size)])
    priorities = [manager.store.queue.use_of(page).priority for page in pages]
    assert priorities == [DEFAULT_PRIORITY, 70, 70, DEFAULT_PRIORITY]
    assert victims(manager) == [pages[3], pages[0], pages[2], pages[1]]
    manager.admit(1, [*tokens, B], budget=0, retention=[Retention(10, stop=1)])
    leave(manager, 1)
    priorities = [manager.store.queue.use_of(page).priority for page in pages]
    assert priorities == [10, 70, 70, DEFAULT_PRIORITY], "whoever hits a page may ask for another priority"


def test_a_wish_that_was_renewed_does_not_end_when_the_first_would_have() -> None:
    clock = Clock()
    queue = EvictionQueue(lowest_priority, lambda page: True, clock)
    for page in (0, 1):
        queue.learn(page)
        queue.park(page)
    queue.retain(0, 80, 5.0)
    clock.now = 3.0
    queue.retain(0, 80, 5.0)
    queue.retain(1, 60, 1.0)
    queue.refresh(0)
    queue.refresh(1)
    assert queue.in_order() == [1, 0]
    clock.now = 6.0
    assert queue.in_order() == [1, 0], "1 is as before, and 0 is kept until 8"
    clock.now = 8.0
    assert queue.in_order() == [0, 1]


@both_caches
@several_slots
@pytest.mark.parametrize("eviction", list(EVICTION_ORDERS))
def test_leaves_first_never_cuts_off_a_page_that_could_still_be_hit(page_size: int, cache: str, eviction: str) -> None:
    """Behaviour 6, whatever the order: the tail goes before the head."""
    dice, texts = random.Random(page_size), list[list[int]]()
    manager = make_manager(8, page_size, cache, eviction=leaves_first(eviction_order(eviction)))
    for name in range(60):
        text = [token for token in dice.choices((A, B), k=dice.randrange(4)) for _ in range(page_size)] + [C]
        serve_and_leave(manager, name, text)
        texts.append([*text, D])
        found = {
            page for text in texts for page in manager.prefix_cache.match(text, len(text) // page_size, None).pages
        }
        assert found == published(manager), "a page is kept that can never be hit"
    assert manager.stats.evictions > 5


def test_without_leaves_first_a_trunk_may_go_and_a_tree_loses_its_branches() -> None:
    manager = make_manager(4, 2, "radix", eviction="fifo")
    trunk, branch = serve_and_leave(manager, 0, [A, A, B, B])
    assert victims(manager) == [trunk, branch]
    serve_and_leave(manager, 1, [C] * 6)
    assert published(manager).isdisjoint({trunk, branch}) or manager.lookup([A, A, B, B, C]) == 0


def test_an_unknown_order_is_refused_and_a_function_of_ones_own_is_an_order() -> None:
    with pytest.raises(InvalidConfig, match="eviction='newest' was asked for; there are lru, lfu, fifo, priority"):
        eviction_order("newest")

    def newest(use: PageUse) -> int:
        return -use.published

    manager = make_manager(2, 2, "hash", eviction=newest)
    first, second = (serve_and_leave(manager, 0, [token] * 2)[0] for token in (A, B))
    assert victims(manager) == [second, first]


@pytest.mark.parametrize("order", list(EVICTION_ORDERS.values()))
def test_the_queue_finds_the_smallest_key_however_often_pages_were_relabelled(order: object) -> None:
    """Behaviour 21: against sorting everything, thousands of times over, so that stale entries are swept too."""
    dice, clock, leaves = random.Random(4), Clock(), set[int]()
    chosen = leaves_first(order)  # type: ignore[arg-type]
    queue = EvictionQueue(chosen, leaves.__contains__, clock)
    for _ in range(6000):
        clock.now += dice.random()
        page = dice.randrange(12)
        if page not in queue._uses:
            queue.learn(page)
        elif page not in queue.parked_pages():
            dice.choice([queue.park, queue.hit, queue.forget])(page)
        elif dice.random() < 0.4:
            queue.hit(page)
        else:
            queue.retain(page, dice.randrange(100), dice.choice([0.5, 3.0, math.inf]))
            leaves.symmetric_difference_update({page})
            queue.refresh(page)
        if queue.parked_pages():
            victim = queue.next()
            uses = {page: replace(queue.use_of(page), is_leaf=page in leaves) for page in queue.parked_pages()}
            assert victim == min(uses, key=lambda page: (chosen(uses[page]), uses[page].parked, page))
        assert len(queue._line) <= 2 * 12 + 65


def test_the_queue_that_keeps_nothing_but_the_order_evicts_what_the_other_one_does() -> None:
    dice, known = random.Random(5), set[int]()
    plain, lean = EvictionQueue(EVICTION_ORDERS["lru"], lambda page: True), LruQueue()
    for _ in range(6000):
        page = dice.randrange(12)
        if page not in known:
            what, known = "learn", known | {page}
        elif page in plain.parked_pages():
            what = dice.choice(["hit", "hit", "refresh", "forget"])
        else:
            what = dice.choice(["park", "park", "hit", "forget"])
        if what == "forget":
            known = known - {page}
        for queue in (plain, lean):
            getattr(queue, what)(page)
        assert lean.parked_pages() == plain.parked_pages()
        assert lean.in_order() == plain.in_order()
        if lean.parked_pages():
            assert lean.next() == plain.next() == lean.in_order()[0]
    for _ in range(1000):  # and nobody asks for the next
        for queue in (plain, lean):
            queue.learn(12)
            queue.hit(12)
            queue.park(12)
        assert len(lean._line) <= 2 * 13 + 65
    assert lean.in_order() == plain.in_order()
    assert lean.next() == plain.next() != 12


def test_wishes_that_nobody_waits_for_any_more_take_no_memory() -> None:
    queue = EvictionQueue(EVICTION_ORDERS["priority"], lambda page: True, Clock())
    for page in range(4):
        queue.learn(page)
    for number in range(2000):
        queue.retain(number % 4, 50, 1.0 + number)
    assert len(queue._expiries) <= 2 * 4 + 65


@both_caches
@page_sizes
def test_a_pinned_prefix_stays_while_everything_else_is_evicted(page_size: int, cache: str) -> None:
    manager = make_manager(4, page_size, cache)
    tokens = [A] * 2 * page_size
    pages = serve_and_leave(manager, 0, tokens)
    assert manager.pin(-1, [*tokens, *tokens]) == 2 * page_size
    assert manager.num_pinned == 2
    assert pages_of(manager, -1) == pages
    for name in range(1, 4):
        serve_and_leave(manager, name, [B + name] * 2 * page_size)
    assert manager.lookup([*tokens, D]) == 2 * page_size
    with pytest.raises(OutOfPages):
        manager.admit(9, [D] * 3 * page_size)
    leave(manager, -1)
    assert manager.num_pinned == 0
    serve_and_leave(manager, 9, [D] * 4 * page_size)
    assert manager.lookup([*tokens, D]) == 0


@both_caches
def test_pinning_what_is_not_cached_holds_nothing_and_a_name_is_pinned_once(cache: str) -> None:
    manager = make_manager(2, 2, cache)
    assert manager.pin(-1, [A] * 4) == 0
    with pytest.raises(ValueError, match="sequence -1 is admitted already"):
        manager.pin(-1, [A] * 4)
    manager.check()
    assert manager.num_available == 2


@both_caches
@several_slots
def test_a_pin_that_waited_for_a_failed_step_holds_nothing(page_size: int, cache: str) -> None:
    """Its page was on its way back from host memory, and nobody knows whether it arrived."""
    manager = make_manager(2, page_size, cache, num_host_pages=2)
    serve_and_leave(manager, 0, [A] * page_size)
    serve_and_leave(manager, 1, [B] * 2 * page_size)
    assert manager.stats.offloads == 1
    manager.take_copies()
    assert manager.pin(-1, [A] * page_size) == page_size
    manager.begin_step(5)
    manager.abandon_step()
    manager.check()
    assert pages_of(manager, -1) == []
    assert manager.lookup([A] * page_size + [B]) == 0
    leave(manager, -1)
    assert manager.pool.num_used == 0


@both_caches
@page_sizes
def test_whole_sequences_go_together_the_one_that_left_longest_ago_first(page_size: int, cache: str) -> None:
    """One page is asked for, and a whole conversation goes; the others stay whole."""
    manager = make_manager(6, page_size, cache, whole_sequences=True)
    for name, token in enumerate((A, B)):
        serve_and_leave(manager, name, [token] * 3 * page_size)
    serve_and_leave(manager, 2, [C] * page_size)
    assert manager.lookup([A] * 4 * page_size) == 0
    assert manager.lookup([B] * 4 * page_size) == 3 * page_size
    assert (manager.stats.evictions, manager.pool.num_free) == (3, 2)


@both_caches
@page_sizes
def test_a_shared_beginning_goes_with_the_last_that_left_it(page_size: int, cache: str) -> None:
    manager = make_manager(5, page_size, cache, whole_sequences=True)
    shared = [A] * page_size
    serve_and_leave(manager, 0, shared + [B] * 2 * page_size)
    serve_and_leave(manager, 1, shared + [C] * 2 * page_size)
    serve_and_leave(manager, 2, [D] * page_size)
    assert manager.lookup(shared + [B] * 3 * page_size) == page_size
    assert manager.lookup(shared + [C] * 3 * page_size) == 3 * page_size


@both_caches
@page_sizes
def test_what_is_not_worth_host_memory_is_forgotten(page_size: int, cache: str) -> None:
    clock = Clock()
    manager = make_manager(1, page_size, cache, num_host_pages=4, min_offload_priority=35, clock=clock)
    wishes = {A: (Retention(34),), B: (Retention(35),), C: (), D: (Retention(90, seconds=5.0),)}
    for token, retention in wishes.items():
        serve_and_leave(manager, token, [token] * page_size, retention=retention)
    clock.now = 6.0
    serve_and_leave(manager, 9, [9] * page_size)
    found = [token for token in wishes if manager.lookup([token] * page_size + [0])]
    assert found == [B, C, D], "D's wish is over, and everybody's priority is enough"
    assert manager.stats.offloads == 3
