"""Who gives way when pages are short."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagedlab.scheduling.order import FirstComeFirstServed, Order, Priority, ShortestFirst
from pagedlab.scheduling.request import FinishReason, Sequence
from pagedlab.scheduling.victims import VICTIMS, least_output, lowest_priority
from tests.scheduling.fake_engine import FakeEngine


def first_victim(engine: FakeEngine) -> int:
    while True:
        plan = engine.step()
        if plan.preempted:
            engine.run()
            return plan.preempted[0].request.arrival


def test_the_victim_has_the_lowest_priority_whatever_the_order() -> None:
    """Behaviour 26."""
    engine = FakeEngine(page_size=2, num_pages=8, cache=None, victim=lowest_priority)
    for priority in (1, 9, 5, 9):
        engine.add([1] * 4, max_tokens=8, priority=priority)
    assert first_victim(engine) == 3, "of two equal ones the last to come"


def test_the_victim_has_said_least_and_among_equals_gives_most_back() -> None:
    """Behaviour 26."""
    engine = FakeEngine(page_size=2, num_pages=10, cache=None, victim=least_output, order=Priority())
    engine.add([1] * 2, max_tokens=12, priority=1)
    engine.step()
    engine.step()
    engine.add([2] * 6, max_tokens=12, priority=0)  # more urgent, but has said less
    engine.add([3] * 4, max_tokens=12, priority=0)
    # The urgent ones go first and find pages; the first to ask in vain may choose among those who come after it.
    assert first_victim(engine) in (1, 2)


@pytest.mark.parametrize("victim", sorted(VICTIMS))
def test_the_first_in_line_never_gives_way(victim: str) -> None:
    """Or two could take pages from each other for ever: the urgent one came last, and the last to come gives way."""
    engine = FakeEngine(page_size=2, num_pages=8, cache=None, order=Priority(), victim=VICTIMS[victim])
    engine.add([1] * 4, max_tokens=12, priority=5)
    urgent = engine.add([2] * 4, max_tokens=12, priority=0)
    engine.run(max_steps=200)
    assert urgent.sequences[0].num_preemptions == 0


@given(st.data())
def test_however_victims_are_chosen_everybody_ends(data: st.DataObject) -> None:
    def adversary(candidates: list[Sequence]) -> Sequence:
        return data.draw(st.sampled_from(candidates))

    orders: list[Order] = [FirstComeFirstServed(), Priority(), ShortestFirst()]
    engine = FakeEngine(
        page_size=2,
        num_pages=10,
        order=data.draw(st.sampled_from(orders)),
        victim=adversary,
        cache=data.draw(st.sampled_from([None, "hash", "radix"])),
        swap=data.draw(st.booleans()),
        settings={"num_host_pages": data.draw(st.sampled_from([0, 3, 20]))},
    )
    for number in range(data.draw(st.integers(2, 5))):
        engine.add(
            [number] * data.draw(st.integers(1, 8)), max_tokens=10, priority=number % 3, n=data.draw(st.integers(1, 2))
        )
    engine.run(max_steps=600)
    assert all(s.finish_reason is FinishReason.LENGTH for request in engine.requests for s in request.sequences)


def test_a_fork_that_is_made_in_a_step_gives_way_to_nobody_in_it_wherever_it_stands() -> None:
    """Behaviour 26: what it shares is yet to be computed, and it is about to say its first token."""

    class ForksLast(Order):
        def key(self, sequence: Sequence) -> tuple[int, int]:
            return (sequence.index, -sequence.request.arrival)

    engine = FakeEngine(page_size=2, num_pages=7, budget=6, cache=None, order=ForksLast())
    beside = engine.add([2] * 5, max_tokens=6)
    engine.step()
    engine.add([1] * 7, max_tokens=3, n=2)
    engine.step()
    plan = engine.step()
    assert [row.sequence.request.id for row in plan.samples] == ["request 1", "request 1"]
    assert plan.preempted == beside.sequences, "the only one who has no part in this step"
    engine.run()
