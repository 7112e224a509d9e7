"""Pages that another machine has computed: they arrive in host memory, and come in as a swapped sequence's do."""

from __future__ import annotations

import pytest

from pagedlab.memory.manager import CacheManager
from tests.memory.proofs import snapshot
from tests.memory.serving import A, B, C, both_caches, leave, page_sizes, pages_of
from tests.memory.test_host import Machine


def receive(machine: Machine, name: int, written: list[int]) -> bool:
    """``written`` came over the wire, for sequence ``name``."""
    if not machine.manager.receive(name, len(written)):
        return False
    for position, value in enumerate(written):
        logical, offset = divmod(position, machine.manager.page_size)
        page = machine.manager.host.swapped[name].pages[logical]
        machine.kv.slots[page * machine.manager.page_size + offset] = value
    return True


@pytest.mark.parametrize("cache", [None, "hash", "radix"])
@page_sizes
def test_a_sequence_goes_on_elsewhere_with_the_very_bits(page_size: int, cache: str | None) -> None:
    there, here = Machine(4, page_size, cache, 0), Machine(4, page_size, cache, 4)
    prompt = [A] * (2 * page_size + 1)
    there.serve(0, prompt)
    assert receive(here, 7, there.read(0))
    here.manager.check()
    assert here.manager.pages_to_admit(7, [*prompt, B], len(prompt) + 1) == here.manager.pages_for(len(prompt) + 1)
    here.manager.begin_step(0)
    assert here.manager.admit(7, [*prompt, B]) == (len(prompt), len(prompt) + 1)
    here.copy()
    assert here.read(7)[:-1] == there.read(0)
    assert here.manager.host.num_available == 4
    here.manager.check()
    here.manager.release(7)
    here.manager.check()


@both_caches
@page_sizes
def test_what_is_cached_here_already_is_shared(page_size: int, cache: str) -> None:
    machine = Machine(6, page_size, cache, 3)
    prompt = [A] * 2 * page_size
    machine.serve(0, prompt)
    before, written = pages_of(machine.manager, 0), machine.read(0)
    assert receive(machine, 1, written)
    machine.manager.begin_step(1)
    machine.manager.admit(1, [*prompt, B])
    machine.copy()
    assert pages_of(machine.manager, 1)[:2] == before
    assert machine.read(1)[:-1] == written
    leave(machine.manager, 0)
    leave(machine.manager, 1)
    machine.manager.check()


@page_sizes
def test_without_room_nothing_arrives_and_nothing_changes(page_size: int) -> None:
    for num_host_pages in (0, 1):
        machine = Machine(3, page_size, "hash", num_host_pages)
        before = snapshot(machine.manager)
        assert not machine.manager.receive(0, page_size + 1)
        assert not machine.manager.receive(0, 0)
        assert snapshot(machine.manager) == before


def test_cached_pages_make_room_for_what_arrives() -> None:
    machine = Machine(2, 4, "hash", 2)
    machine.serve(0, [A] * 8)
    leave(machine.manager, 0)
    machine.press(2)
    assert machine.manager.lookup([A] * 8 + [B]) == 8
    assert receive(machine, 1, [1, 2, 3, 4, 5])
    assert machine.manager.lookup([A] * 8 + [B]) == 0
    machine.manager.check()


def test_what_was_not_admitted_can_be_dropped() -> None:
    manager = CacheManager(2, 4, num_host_pages=2)
    assert manager.receive(0, 8)
    assert manager.host.num_available == 0
    manager.drop_swapped(0)
    assert manager.host.num_available == 2
    manager.check()


def test_a_sequence_that_has_pages_gets_no_others() -> None:
    manager = CacheManager(2, 4, num_host_pages=4)
    assert manager.receive(0, 4)
    with pytest.raises(ValueError, match="sequence 0 has pages here already"):
        manager.receive(0, 4)
    manager.admit(1, [C])
    with pytest.raises(ValueError, match="sequence 1 has pages here already"):
        manager.receive(1, 4)
