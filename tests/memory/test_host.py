"""Host memory: evicted pages that can still be hit, and sequences that were swapped out. All bit for bit."""

from __future__ import annotations

from typing import Any

import pytest

from pagedlab.errors import OutOfPages
from pagedlab.memory.manager import CacheManager
from pagedlab.memory.table import HOLE
from tests.memory.kv_memory import KVMemory
from tests.memory.proofs import snapshot
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
    serve,
    several_slots,
)


class Machine:
    """A manager and the memory it speaks of; what a sequence writes is told apart by sequence and position."""

    def __init__(self, num_pages: int, page_size: int, cache: str | None, num_host_pages: int, **settings: Any) -> None:
        self.manager = make_manager(num_pages, page_size, cache, num_host_pages=num_host_pages, **settings)
        self.kv = KVMemory(num_pages + num_host_pages, page_size)

    def serve(self, name: int, tokens: list[int]) -> int:
        """A step of its own; returns how many tokens were not computed."""
        num_known = serve(self.manager, name, tokens).num_hit
        self.copy()
        table = self.manager.table(name)
        for position in range(num_known, len(tokens)):
            page, offset = table.locate(position)
            self.kv.slots[page * table.page_size + offset] = 1000 * (name + 1) + position
        return num_known

    def copy(self) -> None:
        for copy in self.manager.take_copies():
            self.kv.copy(copy.source, copy.target)

    def read(self, name: int) -> list[int]:
        table = self.manager.table(name)
        return self.kv.read(table.slots(table.holes * table.page_size, table.num_tokens))

    def press(self, num_pages: int) -> None:
        """Somebody comes and goes who needs so many pages and leaves nothing that could be hit."""
        self.manager.begin_step(0)
        self.manager.admit(99, [D] * num_pages * self.manager.page_size)
        self.copy()
        for page in pages_of(self.manager, 99):
            self.kv.blank(page)
        leave(self.manager, 99)


@both_caches
@page_sizes
def test_what_the_device_evicts_is_hit_in_host_memory_and_comes_back_bit_identical(page_size: int, cache: str) -> None:
    machine = Machine(4, page_size, cache, 4)
    tokens = [A] * 2 * page_size + [B] * page_size
    machine.serve(0, [*tokens, C])
    written = machine.read(0)
    leave(machine.manager, 0)
    machine.press(4)
    stats = machine.manager.stats
    num_full = 3 + (page_size == 1)
    assert (stats.evictions, stats.offloads, stats.returns) == (num_full, num_full, 0)
    assert {page for page in published(machine.manager) if page < 4} == set()
    assert machine.manager.lookup([*tokens, D]) == 3 * page_size
    assert machine.serve(1, [*tokens, D]) == 3 * page_size
    assert machine.read(1)[:-1] == written[:-1]
    assert stats.returns == 3
    assert machine.manager.host.num_available == 4
    machine.manager.check()


@both_caches
@page_sizes
def test_when_host_memory_is_full_its_oldest_page_goes_first(page_size: int, cache: str) -> None:
    machine = Machine(1, page_size, cache, 2)
    for name, token in enumerate((A, B, C, D)):
        machine.serve(name, [token] * page_size)
        leave(machine.manager, name)
    hits = [machine.manager.lookup([token] * page_size + [0]) for token in (A, B, C, D)]
    assert hits == [0, page_size, page_size, page_size]


@both_caches
@page_sizes
def test_a_failed_admission_leaves_the_pages_it_would_have_hit_in_host_memory(page_size: int, cache: str) -> None:
    """Behaviour 10."""
    machine = Machine(3, page_size, cache, 3)
    machine.serve(0, [A] * 2 * page_size)
    leave(machine.manager, 0)
    machine.press(3)
    machine.serve(1, [B] * page_size)
    before = snapshot(machine.manager)
    with pytest.raises(OutOfPages):
        machine.manager.admit(2, [A] * 2 * page_size + [C] * page_size)
    assert snapshot(machine.manager) == before


@pytest.mark.parametrize("cache", [None, "hash", "radix"])
@page_sizes
def test_a_swapped_sequence_comes_back_bit_identical(page_size: int, cache: str | None) -> None:
    """Behaviour 35."""
    machine = Machine(4, page_size, cache, 3)
    tokens = [A] * 2 * page_size + [B]
    machine.serve(0, tokens)
    written = machine.read(0)
    assert machine.manager.swap_out(0)
    assert 0 not in machine.manager.sequences
    machine.copy()
    machine.press(4)
    assert not machine.manager.swap_out(machine.serve(1, [C] * 4 * page_size) or 1), "host memory has no room for more"
    leave(machine.manager, 1)
    machine.manager.begin_step(2)
    assert machine.manager.pages_to_admit(0, [*tokens, C], len(tokens) + 1) == machine.manager.pages_for(
        len(tokens) + 1
    )
    admission = machine.manager.admit(0, [*tokens, C])
    machine.copy()
    assert admission == (len(tokens), len(tokens) + 1)
    assert machine.read(0)[:-1] == written
    assert machine.manager.host.num_available == 3
    machine.manager.check()


@both_caches
@page_sizes
def test_a_swapped_sequence_shares_the_pages_that_are_still_cached(page_size: int, cache: str) -> None:
    """Behaviour 35: only what the device has lost is copied back."""
    machine = Machine(6, page_size, cache, 3)
    tokens = [A] * 2 * page_size + [B]
    machine.serve(0, tokens)
    before, written = pages_of(machine.manager, 0), machine.read(0)
    assert machine.manager.swap_out(0)
    machine.copy()
    assert machine.manager.pages_to_admit(0, tokens, len(tokens)) == 3, "they are cached: nobody uses them"
    machine.manager.begin_step(1)
    machine.manager.admit(0, tokens, budget=0)
    assert pages_of(machine.manager, 0)[:2] == before[:2]
    assert len(machine.manager.store._copies) == (0 if page_size == 1 else 1)
    machine.copy()
    assert machine.read(0) == written


@both_caches
@page_sizes
def test_a_sequence_that_was_aborted_while_swapped_leaves_nothing_in_host_memory(page_size: int, cache: str) -> None:
    """Behaviours 22 and 29."""
    machine = Machine(3, page_size, cache, 3)
    machine.serve(0, [A] * 3 * page_size)
    assert machine.manager.swap_out(0)
    assert machine.manager.host.num_available == 0
    machine.manager.drop_swapped(0)
    machine.manager.drop_swapped(0)
    machine.manager.check()
    assert machine.manager.host.num_available == 3
    assert machine.manager.admit(0, [A]).num_hit == 0


@page_sizes
def test_without_room_a_swap_changes_nothing(page_size: int) -> None:
    """Behaviour 10."""
    for num_host_pages in (0, 1):
        machine = Machine(3, page_size, "hash", num_host_pages)
        machine.serve(0, [A] * 2 * page_size)
        before = snapshot(machine.manager)
        assert not machine.manager.swap_out(0)
        assert snapshot(machine.manager) == before


@page_sizes
def test_swapped_sequences_push_cached_pages_out_of_host_memory_and_never_the_reverse(page_size: int) -> None:
    machine = Machine(2, page_size, "hash", 2)
    machine.serve(0, [A] * 2 * page_size)
    leave(machine.manager, 0)
    machine.press(2)
    assert machine.manager.lookup([A] * 2 * page_size + [B]) == 2 * page_size
    machine.serve(1, [B] * 2 * page_size)
    written = machine.read(1)
    assert machine.manager.swap_out(1)
    machine.copy()
    assert machine.manager.lookup([A] * 2 * page_size + [B]) == 0
    machine.press(2)
    machine.manager.begin_step(3)
    machine.manager.admit(1, [B] * 2 * page_size, budget=0)
    machine.copy()
    assert machine.read(1) == written


@both_caches
@several_slots
def test_a_step_that_fails_takes_back_what_it_was_to_copy(page_size: int, cache: str) -> None:
    """Behaviour 10: nobody knows which copies were made, so what they were to bring counts as lost."""
    machine = Machine(3, page_size, cache, 4)
    machine.serve(0, [A] * 2 * page_size)
    machine.serve(1, [B] * page_size)
    leave(machine.manager, 0)
    machine.manager.begin_step(7)
    assert machine.manager.swap_out(1)
    machine.manager.admit(2, [C] * 3 * page_size)
    leave(machine.manager, 2)
    machine.manager.abandon_step()
    machine.manager.check()
    assert machine.manager.host.num_available == 4
    assert not {page for page in published(machine.manager) if page >= 3}
    assert machine.manager.admit(1, [B] * page_size).num_hit == 0


@several_slots
def test_a_window_goes_to_host_memory_and_back_with_its_holes(page_size: int) -> None:
    """Behaviours 31 and 35."""
    machine = Machine(6, page_size, "radix", 6, window=page_size + 1)
    tokens = [A] * 4 * page_size + [B]
    machine.serve(0, tokens)
    machine.manager.slide(0)
    num_holes, written = machine.manager.table(0).holes, machine.read(0)
    assert num_holes == 3
    assert machine.manager.swap_out(0)
    machine.copy()
    machine.press(6)
    machine.manager.begin_step(1)
    assert machine.manager.pages_to_admit(0, tokens, len(tokens)) == 2
    machine.manager.admit(0, tokens, budget=0)
    machine.copy()
    assert pages_of(machine.manager, 0)[:num_holes] == [HOLE] * num_holes
    assert machine.read(0) == written
    machine.manager.check()


@several_slots
def test_a_page_on_its_way_back_is_safe_though_what_it_continues_is_evicted(page_size: int) -> None:
    """Behaviours 9 and 31: pages behind the window are not claimed, and host memory gives one up meanwhile."""
    machine = Machine(4, page_size, "radix", 3, window=page_size)
    tokens = [A] * 3 * page_size
    machine.serve(0, tokens)
    written = machine.read(0)[2 * page_size :]
    leave(machine.manager, 0)
    machine.press(4)
    machine.serve(1, [B] * 4 * page_size)
    leave(machine.manager, 1)
    assert machine.serve(2, [*tokens, C]) == 3 * page_size
    assert machine.read(2)[:page_size] == written
    assert machine.manager.lookup([*tokens, C]) < 3 * page_size, "what came before is gone"
    leave(machine.manager, 2)


@both_caches
def test_what_is_in_host_memory_counts_as_no_room_on_the_device(cache: str) -> None:
    """Behaviour 11."""
    machine = Machine(2, 2, cache, 2)
    machine.serve(0, [A] * 4)
    leave(machine.manager, 0)
    machine.press(2)
    tokens = [A] * 4 + [B]
    assert machine.manager.pages_to_admit(1, tokens, 5) == 3
    with pytest.raises(OutOfPages):
        machine.manager.admit(1, tokens)
    assert machine.manager.admit(1, tokens[:4]).num_hit == 2
    manager: CacheManager = machine.manager
    assert manager.num_available == 0


@both_caches
@several_slots
def test_what_comes_back_with_a_swapped_sequence_can_be_hit_on_the_device(page_size: int, cache: str) -> None:
    """Its own full pages lie in host memory twice by then: as it left them, and as the cache does."""
    machine = Machine(4, page_size, cache, 8)
    tokens = [A] * 2 * page_size + [B]
    machine.serve(0, tokens)
    written = machine.read(0)
    assert machine.manager.swap_out(0)
    machine.copy()
    machine.press(4)
    machine.manager.begin_step(3)
    machine.manager.admit(0, tokens, budget=0)
    machine.copy()
    assert machine.read(0) == written
    assert machine.manager.prefix_cache.match(tokens, 2, None).pages == pages_of(machine.manager, 0)[:2]
    assert machine.manager.pages_to_admit(1, [*tokens, C], 2 * page_size + 1) == 1, "the others are shared"


@several_slots
def test_of_two_copies_the_one_on_the_device_is_hit(page_size: int) -> None:
    machine = Machine(3, page_size, "hash", 3)
    tokens = [A] * page_size
    machine.serve(0, tokens)
    machine.serve(1, tokens)  # as long as one page holds all of its prompt, its last token must be computed: a copy
    assert pages_of(machine.manager, 0) != pages_of(machine.manager, 1)
    leave(machine.manager, 0)
    machine.press(2)
    assert machine.manager.prefix_cache.match(tokens, 1, None).pages == pages_of(machine.manager, 1)
