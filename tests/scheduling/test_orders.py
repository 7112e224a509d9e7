"""Who comes in first, and for how long somebody can be passed over."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagedlab.scheduling.order import (
    ORDERS,
    DepthFirstWeight,
    FirstComeFirstServed,
    LongestPrefixMatch,
    Order,
    Priority,
    ShortestFirst,
    depth_first,
)
from pagedlab.scheduling.request import Sequence
from tests.scheduling.fake_engine import FakeEngine


def admitted(engine: FakeEngine) -> list[str]:
    """Requests in the order in which they come in, one at a time."""
    came: list[str] = []
    while engine.scheduler.has_work:
        for chunk in engine.step().chunks:
            if chunk.sequence.request.id not in came:
                came.append(chunk.sequence.request.id)
    return [name.removeprefix("request ") for name in came]


def one_at_a_time(order: Order, **others: int) -> FakeEngine:
    return FakeEngine(order=order, max_sequences=1, **others)


def test_first_come_first_served() -> None:
    engine = one_at_a_time(FirstComeFirstServed())
    for length, priority in [(9, 5), (2, 0), (5, 1)]:
        engine.add([1] * length, priority=priority)
    assert admitted(engine) == ["0", "1", "2"]


def test_the_most_urgent_first_and_among_equals_the_first_to_come() -> None:
    """Behaviour 26."""
    engine = one_at_a_time(Priority())
    for priority in (5, 0, 5, 0):
        engine.add([1] * 3, priority=priority)
    assert admitted(engine) == ["1", "3", "0", "2"]


def test_the_shortest_prompt_first() -> None:
    engine = one_at_a_time(ShortestFirst())
    for length in (9, 2, 5, 2):
        engine.add([1] * length)
    assert admitted(engine) == ["1", "3", "2", "0"]


def test_whoever_finds_most_of_its_prompt_cached_comes_first_and_at_every_step_anew() -> None:
    engine = one_at_a_time(LongestPrefixMatch())
    engine.add([1] * 12)
    engine.run()
    engine.add([2] * 9)
    engine.add([1] * 4 + [2] * 6)
    engine.add([1] * 12 + [3])
    engine.add([2] * 9)
    # The third finds 12 tokens, the second 4. Then the first to come; its pages serve the last.
    assert admitted(engine) == ["3", "2", "1", "4"]


def test_above_a_length_of_the_line_nobody_looks_for_prefixes() -> None:
    engine = one_at_a_time(LongestPrefixMatch(most=2))
    engine.add([1] * 12)
    engine.run()
    for prompt in ([2] * 9, [3] * 9, [1] * 12):
        engine.add(prompt)
    assert admitted(engine) == ["1", "3", "2"], "three wait: the first. Two wait: the one with a prefix"


def test_an_order_of_your_own_is_a_constructor_argument() -> None:
    class LastComeFirstServed(Order):
        def key(self, sequence: Sequence) -> tuple[int, int]:
            return (-sequence.request.arrival, sequence.index)

    engine = one_at_a_time(LastComeFirstServed())
    for _ in range(3):
        engine.add([1] * 3)
    assert admitted(engine) == ["2", "1", "0"]


@pytest.mark.parametrize("max_overtakes", [0, 1, 5])
def test_the_longest_prompt_is_not_passed_over_for_ever_by_shorter_ones(max_overtakes: int) -> None:
    engine = one_at_a_time(ShortestFirst(), max_overtakes=max_overtakes)
    engine.add([1] * 3, max_tokens=2)
    engine.step()
    long = engine.add([9] * 20, max_tokens=2)
    came_before = 0
    while long.sequences[0].num_computed == 0:
        engine.add([2] * 3, max_tokens=1)  # there is always a shorter one
        engine.step()
        came_before = sum(request.sequences[0].num_computed > 0 for request in engine.requests[2:])
        assert came_before <= max_overtakes
    assert came_before == max_overtakes
    engine.run()


def test_who_was_overtaken_too_often_goes_first_with_all_its_sequences() -> None:
    engine = FakeEngine(order=ShortestFirst(), max_sequences=2, max_overtakes=1)
    engine.add([1] * 3, max_tokens=3)
    long = engine.add([9] * 20, max_tokens=8, n=2)
    while not long.sequences[0].num_computed:
        engine.add([2] * 3, max_tokens=2)
        engine.step()
    assert [sequence.overdue for sequence in long.sequences] == [True, True]
    engine.run()


@given(st.data())
def test_under_no_order_is_anybody_overtaken_more_often_than_is_allowed(data: st.DataObject) -> None:
    most = data.draw(st.integers(1, 4))
    order = ORDERS[data.draw(st.sampled_from(sorted(ORDERS)))]()
    engine = FakeEngine(order=order, max_sequences=data.draw(st.integers(1, 3)), max_overtakes=most, num_pages=12)
    overtaken: dict[int, int] = {}
    came: set[int] = set()
    for _ in range(40):
        for _ in range(data.draw(st.integers(0, 2))):
            prompt = [data.draw(st.integers(0, 1))] * data.draw(st.integers(1, 16))
            engine.add(prompt, max_tokens=data.draw(st.integers(1, 6)), priority=data.draw(st.integers(0, 2)))
        if not engine.scheduler.has_work:
            continue
        for chunk in engine.step().chunks:
            arrival = chunk.sequence.request.arrival
            if arrival not in came:
                came.add(arrival)
                for request in engine.requests:
                    if request.arrival < arrival and request.arrival not in came:
                        overtaken[request.arrival] = overtaken.get(request.arrival, 0) + 1
    assert all(count <= most for count in overtaken.values()), overtaken
    engine.run()


def test_depth_first_the_widest_branch_comes_first_and_a_branch_before_its_root() -> None:
    """Six prefixes: three in the branch 1, of which two go on with 2; two with nothing; one in the branch 9."""
    prefixes = [(None, [9, 9]), (None, []), (None, [1, 2, 5]), (None, [1]), (None, [1, 2, 6, 6]), (None, [])]
    assert depth_first(prefixes) == [2, 4, 3, 0, 1, 5]


def test_depth_first_salts_are_trees_of_their_own_and_ties_go_by_arrival() -> None:
    assert depth_first([("a", [1]), ("b", [1]), ("b", [1, 2]), (None, [])]) == [2, 1, 0, 3]
    assert depth_first([(None, [3]), (None, [1]), (None, [2])]) == [0, 1, 2]


@given(st.lists(st.lists(st.integers(0, 2), max_size=5), max_size=12))
def test_depth_first_visits_everybody_once_and_never_leaves_a_branch_to_come_back(prefixes: list[list[int]]) -> None:
    order = depth_first([(None, prefix) for prefix in prefixes])
    assert sorted(order) == list(range(len(prefixes)))
    for length in range(1, 6):
        branches = [tuple(prefixes[number][:length]) for number in order if len(prefixes[number]) >= length]
        runs = [branch for at, branch in enumerate(branches) if at == 0 or branch != branches[at - 1]]
        assert len(runs) == len(set(runs))


def test_the_branch_where_most_wait_is_served_to_its_end() -> None:
    engine = one_at_a_time(DepthFirstWeight())
    for first in (1, 2):
        engine.add([first] * 8, max_tokens=1)
    engine.run()
    for prompt in ([1] * 8 + [3], [2] * 8 + [3], [5] * 3, [2] * 8 + [4], [1] * 8 + [4], [2] * 8 + [5]):
        engine.add(prompt)
    assert admitted(engine) == ["3", "5", "7", "2", "6", "4"]
