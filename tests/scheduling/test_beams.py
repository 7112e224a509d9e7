"""Beams in the scheduler: they wait for each other, fork and end together."""

from __future__ import annotations

import pytest

from pagedlab.scheduling.request import FinishReason, Status
from tests.scheduling.fake_engine import FakeEngine, offers


def searched(prompt: list[int], width: int, max_tokens: int) -> list[list[int]]:
    beams = [(0.0, prompt)]
    for _ in range(max_tokens):
        scored = [(total + score, [*tokens, token]) for total, tokens in beams for score, token in offers(tokens)]
        beams = sorted(scored, key=lambda offer: -offer[0])[:width]
    return sorted(tokens for _, tokens in beams)


@pytest.mark.parametrize("width", [1, 2, 4])
@pytest.mark.parametrize("num_pages", [5, 7, 60])
@pytest.mark.parametrize("num_host_pages", [0, 40])
def test_beams_are_the_same_in_a_pool_for_one_and_in_a_pool_for_all(
    width: int, num_pages: int, num_host_pages: int
) -> None:
    engine = FakeEngine(
        num_pages=num_pages, swap=num_host_pages > 0, settings={"num_host_pages": num_host_pages}, cache=None
    )
    request = engine.add([1] * 9, max_tokens=10, beam_width=width)
    engine.run()
    assert sorted(beam.token_ids for beam in request.sequences) == searched([1] * 9, width, 10)
    preempted = sum(beam.num_preemptions for beam in request.sequences)
    assert preempted > 0 or num_pages > 5 or width == 1


def test_beams_share_what_they_have_in_common_and_copy_what_they_write() -> None:
    """Behaviour 34."""
    engine = FakeEngine(num_pages=60, cache=None)
    engine.add([1] * 17, max_tokens=3, beam_width=3)
    engine.step()
    assert engine.manager.pool.num_used == 5, "the prompt, three times"
    assert len(engine.step().copies) == 2, "two copy the page that is half full, the third writes where it is"
    assert engine.manager.pool.num_used <= 4 + 3, "full pages once; everybody's own last page"


def test_a_beam_that_waits_for_its_siblings_gives_way_first() -> None:
    engine = FakeEngine(num_pages=6, cache=None)
    engine.add([1] * 12, max_tokens=8, beam_width=3)
    preempted = []
    while not preempted:
        preempted = engine.step().preempted
    while engine.scheduler.has_work:
        for beam in engine.scheduler.asleep:
            assert beam.awaits and beam.status is Status.WAITING and beam not in engine.scheduler.waiting
        engine.step()
    engine.prove_idle()


def test_a_failed_step_ends_all_beams_of_a_search_those_that_sleep_too() -> None:
    engine = FakeEngine(num_pages=5, cache=None)
    request = engine.add([1] * 12, max_tokens=8, beam_width=3)
    while not engine.scheduler.asleep:
        engine.step()
    engine.step(fails=True)
    assert {beam.finish_reason for beam in request.sequences} == {FinishReason.ERROR}
    engine.prove_idle()


@pytest.mark.parametrize("steps", range(8))
def test_a_withdrawn_search_gives_back_every_page(steps: int) -> None:
    """Behaviour 29."""
    engine = FakeEngine(num_pages=5, swap=True, settings={"num_host_pages": 9})
    request = engine.add([1] * 12, max_tokens=8, beam_width=3)
    for _ in range(steps):
        engine.step()
    engine.abort(request)
    engine.prove_idle()


def test_searches_that_fill_all_places_do_not_wait_for_each_other_for_ever() -> None:
    from pagedlab.scheduling.order import ShortestFirst

    engine = FakeEngine(page_size=1, num_pages=3, max_sequences=2, cache=None, order=ShortestFirst())
    long = engine.add([0, 0], max_tokens=2, beam_width=2)
    engine.step()
    short = engine.add([0], max_tokens=1, beam_width=2)
    engine.run(max_steps=50)
    assert all(beam.finish_reason is FinishReason.LENGTH for r in (long, short) for beam in r.sequences)


def test_a_beam_whose_place_was_taken_while_another_slept_waits_for_one() -> None:
    """Whoever comes in while a beam sleeps takes its place; then the search chooses the beam that woke twice."""
    engine = FakeEngine(page_size=3, num_pages=8, max_sequences=5, budget=5, cache=None)
    for n in (3, 2):
        engine.add([0], max_tokens=4 - n, n=n)
    engine.add([0] * 7, max_tokens=7, beam_width=1)
    search = engine.add([2] * 6, max_tokens=3, beam_width=3)
    engine.add([0], max_tokens=2, n=3)
    forks_in_line = 0
    while engine.scheduler.has_work:
        engine.step()  # the fake engine counts the places
        forks_in_line += any(
            beam.num_preemptions == 0 < beam.index for beam in search.alive if beam in engine.scheduler.waiting
        )
    assert forks_in_line
    engine.prove_idle()
    assert sorted(beam.token_ids for beam in search.sequences) == searched([2] * 6, 3, 3)
