"""A rehearsal drives the engine's scheduler without a model, and keeps what happened."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagedlab.errors import InvalidRequest, InvariantViolation
from pagedlab.memory.events import EventKind, Trace
from pagedlab.memory.manager import CacheManager
from pagedlab.memory.prefix_hash import HashPrefixCache
from pagedlab.scheduling.limits import Limits
from pagedlab.scheduling.rehearsal import Arrival, Rehearsal, rehearse
from pagedlab.scheduling.scheduler import Scheduler


def served(*arrivals: Arrival, pages: int = 64, budget: int = 8, places: int = 4, swap: bool = False) -> Rehearsal:
    manager = CacheManager(pages, 4, num_host_pages=pages if swap else 0)
    rehearsal = rehearse(arrivals, Scheduler(manager, Limits(budget, places), swap=swap))
    manager.check()
    assert manager.pool.num_used == 0
    return rehearsal


def test_each_request_says_as_much_as_was_scripted_though_more_is_allowed() -> None:
    rehearsal = served(Arrival(5, 3, allowed=20), Arrival(12, 1))
    assert [len(rehearsal.tokens_of(number)) for number in (0, 1)] == [3, 1]
    assert rehearsal.num_output == 4 and rehearsal.tokens_per_step == 4 / rehearsal.num_steps


def test_the_clock_runs_while_nobody_is_there() -> None:
    rehearsal = served(Arrival(2, 1), Arrival(2, 1, at=5))
    assert [step.num_tokens for step in rehearsal.steps] == [2, 0, 0, 0, 0, 2]
    assert rehearsal.first_token(1) == 1


def test_steps_agree_with_the_events_of_the_trace() -> None:
    trace = Trace(64, 4)
    rehearse([Arrival(2, 2, at=1, name="late")], Scheduler(CacheManager(64, 4, trace=trace)))
    assert [event.value for event in trace if event.kind is EventKind.STEP] == [0, 1, 2]
    assert trace.sequences[0].label == "late"


def test_a_gap_counts_the_work_of_everybody_since_the_last_token() -> None:
    rehearsal = served(Arrival(2, 3), Arrival(9, 1, at=1), budget=8)
    assert rehearsal.gaps(0) == [8, 3]
    assert rehearsal.first_token(1) == 2


def test_what_a_victim_computes_again_is_counted_again() -> None:
    crowded, roomy = (served(*[Arrival(6, 10)] * 4, pages=pages, budget=32) for pages in (10, 64))
    assert crowded.num_preemptions and not roomy.num_preemptions
    assert crowded.num_tokens > roomy.num_tokens == 4 * 15
    swapped = served(*[Arrival(6, 10)] * 4, pages=10, budget=32, swap=True)
    assert swapped.num_preemptions and swapped.num_tokens == roomy.num_tokens


def test_prompts_given_as_tokens_can_share_pages() -> None:
    same = list(range(8))
    manager = CacheManager(64, 4, prefix_cache=HashPrefixCache(4))
    rehearsal = rehearse([Arrival([*same, 100], 1), Arrival([*same, 101], 1, at=1)], Scheduler(manager))
    assert [step.parts[0].num_tokens for step in rehearsal.steps] == [9, 1]


@given(st.data())
def test_every_token_is_computed_once_and_in_order_when_nobody_gives_way(data: st.DataObject) -> None:
    arrivals = [
        Arrival(data.draw(st.integers(1, 20)), data.draw(st.integers(1, 9)), at)
        for at in sorted(data.draw(st.lists(st.integers(0, 9), max_size=6)))
    ]
    rehearsal = served(*arrivals, budget=data.draw(st.integers(1, 16)), places=data.draw(st.integers(1, 4)))
    for number, arrival in enumerate(arrivals):
        parts = [part for step in rehearsal.steps for part in step.parts if part.request == number]
        computed = [n for part in parts for n in range(part.start, part.stop)]
        assert computed == list(range(arrival.num_prompt + arrival.output - 1))
        assert sum(part.new for part in parts) == arrival.output


def test_what_cannot_be_rehearsed_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="sort them"):
        served(Arrival(1, 1, at=3), Arrival(1, 1, at=2))
    with pytest.raises(InvalidRequest, match="from 1 to"):
        served(Arrival(1, 5, allowed=4))
    with pytest.raises(InvalidRequest, match="pool"):
        served(Arrival(1000, 5))
    with pytest.raises(InvariantViolation, match="3 steps"):
        rehearse([Arrival(1, 9)], Scheduler(CacheManager(9, 4)), max_steps=3)
