"""Batches as pictures: who had which place when."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st

from pagedlab.memory.manager import CacheManager
from pagedlab.scheduling.limits import Limits
from pagedlab.scheduling.rehearsal import Arrival, Rehearsal, rehearse
from pagedlab.scheduling.scheduler import Scheduler
from pagedlab.view.batches import Stay, batch_svg, stay_bars, stays


def served(arrivals: Sequence[Arrival], pages: int = 64, places: int = 3) -> Rehearsal:
    return rehearse(arrivals, Scheduler(CacheManager(pages, 4), Limits(8, places)))


def test_a_place_goes_to_whoever_comes_in_next() -> None:
    rehearsal = served([Arrival(1, 2), Arrival(1, 4), Arrival(1, 1)], places=2)
    assert stays(rehearsal) == [[Stay(0, 0, 2), Stay(2, 2, 3)], [Stay(1, 0, 4)]]
    assert [[segment.text for segment in bar.segments] for bar in stay_bars(rehearsal, 2)] == [["A", "C", ""], ["B"]]


def test_whoever_gives_way_leaves_its_place_and_may_come_back_to_another() -> None:
    rehearsal = served([Arrival(5, 9), Arrival(2, 12, at=1), Arrival(20, 6, at=1)], pages=12)
    rows = stays(rehearsal)
    assert [stay.request for row in rows for stay in row].count(2) == 2
    assert "1 gave way" in batch_svg(rehearsal, title="Short of pages").alt


@given(st.lists(st.tuples(st.integers(1, 12), st.integers(1, 9), st.integers(0, 5)), max_size=6), st.integers(1, 3))
def test_nobody_is_in_two_places_and_no_place_holds_two(people: list[tuple[int, int, int]], places: int) -> None:
    arrivals = [Arrival(prompt, output, at) for prompt, output, at in sorted(people, key=lambda who: who[2])]
    rehearsal = served(arrivals, pages=8, places=places)
    rows = stays(rehearsal, places)
    assert len(rows) == places
    for number, step in enumerate(rehearsal.steps):
        inside = [stay.request for row in rows for stay in row if stay.start <= number < stay.stop]
        assert sorted(inside) == sorted(step.running)
    for bar in stay_bars(rehearsal, places):
        assert sum(segment.value for segment in bar.segments) == rehearsal.num_steps


def test_the_picture_is_the_same_every_time_and_says_what_it_shows() -> None:
    arrivals = [Arrival(3, 4, name="<first>"), Arrival(9, 30, at=2)]
    pictures = [batch_svg(served(arrivals), title="Two", pages=True, steps=50) for _ in range(2)]
    assert str(pictures[0]) == str(pictures[1])
    root = ElementTree.fromstring(str(pictures[0]))
    assert {"{http://www.w3.org/2000/svg}title", "{http://www.w3.org/2000/svg}desc"} <= {child.tag for child in root}
    assert "place 0: <first> steps 0 to 3" in pictures[0].alt and "34 tokens of output" in pictures[0].alt
    assert batch_svg(served([]), title="Nobody").alt.startswith("Nobody. 0 requests")
