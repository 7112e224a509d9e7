"""Host memory, pins and sliding windows, as the scheduler deals with them."""

from __future__ import annotations

import pytest

from pagedlab.errors import InvalidRequest
from pagedlab.memory.eviction import Retention
from pagedlab.scheduling.request import Status
from tests.scheduling.fake_engine import FakeEngine


def two_in_a_pool_for_one_and_a_half(num_host_pages: int) -> FakeEngine:
    engine = FakeEngine(page_size=2, num_pages=6, cache=None, swap=True, settings={"num_host_pages": num_host_pages})
    for number in range(2):
        engine.add([number] * 4, max_tokens=6)
    return engine


@pytest.mark.parametrize(("num_host_pages", "swaps"), [(0, 0), (1, 0), (20, 1)])
def test_a_victim_goes_to_host_memory_where_there_is_room_and_else_is_computed_again(
    num_host_pages: int, swaps: int
) -> None:
    """Behaviours 25 and 35."""
    engine, ample = two_in_a_pool_for_one_and_a_half(num_host_pages), FakeEngine(cache=None)
    for number in range(2):
        ample.add([number] * 4, max_tokens=6)
    plans = engine.run()
    ample.run()
    assert engine.outputs() == ample.outputs()
    assert engine.manager.stats.swaps == swaps and engine.requests[1].sequences[0].num_preemptions == 1
    computed_again = sum(plan.num_tokens for plan in plans) - 2 * (4 + 6 - 1)
    assert (computed_again == 0) == (swaps == 1)


def test_whoever_is_withdrawn_while_swapped_out_gives_its_host_pages_back() -> None:
    """Behaviour 29."""
    engine = two_in_a_pool_for_one_and_a_half(20)
    victim = engine.requests[1].sequences[0]
    while not victim.num_preemptions:
        engine.step()
    assert victim.status is Status.WAITING and engine.manager.host.num_available < 20
    engine.abort(engine.requests[1])
    assert engine.manager.host.num_available == 20
    engine.run()


def test_what_would_keep_somebody_from_ending_cannot_be_pinned() -> None:
    """Behaviour 32."""
    engine = FakeEngine(page_size=2, num_pages=6)
    engine.add([1] * 8, max_tokens=1)
    engine.run()
    waiting = engine.add([2] * 4, max_tokens=3)  # may come to hold 6 tokens: 3 pages
    with pytest.raises(
        InvalidRequest, match=r"4 pages more cannot be pinned: .* may come to need 6 slots, and 4 would be"
    ):
        engine.pin([1] * 8)
    name = engine.pin([1] * 6)
    with pytest.raises(InvalidRequest, match="pool 6 slots"):
        engine.add([3] * 7, max_tokens=1)
    engine.add([3] * 6, max_tokens=1)
    while engine.scheduler.has_work:
        engine.step()
    assert waiting.finished and engine.manager.lookup([1] * 8) >= 6, "what is pinned is never evicted"
    engine.unpin(name)
    engine.prove_idle()


def test_a_page_that_two_pins_hold_is_missed_once() -> None:
    engine = FakeEngine(page_size=2, num_pages=4)
    engine.add([1] * 5, max_tokens=1)
    engine.run()
    waiting = engine.add([2] * 3, max_tokens=2)  # what it may need is there, and what is pinned is pinned already
    names = [engine.pin([1] * 4) for _ in range(2)]
    while engine.scheduler.has_work:
        engine.step()
    assert waiting.finished
    assert engine.scheduler.max_sequence_tokens == 5, "two pages of two, and a token that needs no slot"
    for name in names:
        engine.unpin(name)


@pytest.mark.parametrize("max_tokens", [None, 60])
def test_a_sequence_may_be_longer_than_the_pool_where_its_window_fits(max_tokens: int | None) -> None:
    """Behaviours 31 and 32."""
    engine = FakeEngine(page_size=2, num_pages=6, budget=4, max_context=70, settings={"window": 5})
    request = engine.add([1, 2, 3], max_tokens=max_tokens)
    engine.add([4] * 20, max_tokens=10)
    engine.run()
    assert request.sequences[0].num_tokens == (70 if max_tokens is None else 63)


def test_a_window_that_does_not_fit_beside_a_step_allows_no_more_than_the_pool() -> None:
    """Behaviour 32."""
    engine = FakeEngine(page_size=2, num_pages=6, budget=8, settings={"window": 5})
    assert engine.scheduler.max_sequence_tokens == 13


def test_requests_with_different_salts_share_nothing() -> None:
    """Behaviour 16."""
    engine = FakeEngine()
    for salt in ("one", "two", "one"):
        engine.add([1] * 9, salt=salt)
        engine.run()
    assert [request.sequences[0].num_cached for request in engine.requests] == [0, 0, 8]


def test_what_a_request_wishes_to_be_kept_outlives_what_others_left() -> None:
    engine = FakeEngine(page_size=2, num_pages=8, settings={"eviction": "priority"})
    engine.add([1] * 4, max_tokens=1, retention=(Retention(90),))
    engine.add([2] * 4, max_tokens=1)
    engine.run()
    engine.add([3] * 12, max_tokens=1)
    engine.run()
    assert (engine.manager.lookup([1] * 5), engine.manager.lookup([2] * 5)) == (4, 0)
