"""Who runs, with how many tokens, and who has to wait."""

from __future__ import annotations

import pytest

from pagedlab.scheduling.order import Priority
from pagedlab.scheduling.request import FinishReason, Request, Status
from tests.scheduling.fake_engine import EOS, FakeEngine, Script

page_sizes = pytest.mark.parametrize("page_size", [1, 2, 4, 7, 16])


def saying(num_prompt: int, *words: int) -> Script:
    """These words after the prompt, then 0 for ever."""
    return lambda tokens, index: words[len(tokens) - num_prompt] if len(tokens) - num_prompt < len(words) else 0


def chunks_of(engine: FakeEngine) -> list[tuple[str, int, int]]:
    """The next step's chunks: request, first token, end."""
    return [(chunk.sequence.request.id, chunk.start, chunk.stop) for chunk in engine.step().chunks]


@page_sizes
@pytest.mark.parametrize("budget", [1, 2, 3, 5, 8, 16, 64])
def test_chunks_respect_the_budget_and_use_all_of_it(page_size: int, budget: int) -> None:
    """Behaviour 24."""
    engine = FakeEngine(page_size=page_size, num_pages=200, budget=budget, max_sequences=32)
    for number in range(8):
        engine.add([number] * (3 * number + 1), max_tokens=5)
    while engine.scheduler.has_work:
        lacking = sum(s.num_tokens - s.num_computed for s in engine.scheduler.running + engine.scheduler.waiting)
        assert engine.step().num_tokens == min(budget, lacking)
    engine.prove_idle()


def test_a_long_prompt_is_computed_in_chunks_beside_those_that_decode() -> None:
    """Behaviour 24."""
    engine = FakeEngine(page_size=4, budget=8)
    engine.add([1] * 6, max_tokens=6)
    engine.add([2] * 20, max_tokens=2)
    assert chunks_of(engine) == [("request 0", 0, 6), ("request 1", 0, 2)]
    assert chunks_of(engine) == [("request 0", 6, 7), ("request 1", 2, 9)]
    assert chunks_of(engine) == [("request 0", 7, 8), ("request 1", 9, 16)]
    assert chunks_of(engine) == [("request 0", 8, 9), ("request 1", 16, 20)]
    assert chunks_of(engine) == [("request 0", 9, 10), ("request 1", 20, 21)]


@pytest.mark.parametrize("budget", [2, 3, 64])
@page_sizes
def test_a_preempted_sequence_keeps_what_it_said_and_resumes_identically(page_size: int, budget: int) -> None:
    """Behaviour 25."""
    prompts = [[number, *range(2 * page_size)] for number in range(5)]
    said = {}
    for num_pages in (100, 8):
        engine = FakeEngine(page_size=page_size, num_pages=num_pages, budget=budget)
        for prompt in prompts:
            engine.add(prompt, max_tokens=4 * page_size)
        heard: dict[int, list[int]] = {}
        while engine.scheduler.has_work:
            engine.step()
            for request in engine.requests:
                now = request.sequences[0].output_ids
                assert now[: len(heard.get(request.arrival, []))] == heard.get(request.arrival, [])
                heard[request.arrival] = now
        engine.prove_idle()
        said[num_pages] = engine.outputs()
        preemptions = sum(request.sequences[0].num_preemptions for request in engine.requests)
        assert (preemptions > 0) == (num_pages == 8)
    assert said[8] == said[100]


def test_the_last_to_arrive_is_the_first_victim() -> None:
    """Behaviour 26."""
    engine = FakeEngine(page_size=2, num_pages=6, cache=None)
    first, second, third = (engine.add([number] * 4, max_tokens=8) for number in range(3))
    assert engine.step().preempted == []
    assert engine.step().preempted == [third.sequences[0]]
    engine.step()
    assert engine.step().preempted == [second.sequences[0]]
    assert (first.sequences[0].num_preemptions, second.sequences[0].status) == (0, Status.WAITING)
    assert engine.scheduler.waiting == [second.sequences[0], third.sequences[0]]
    engine.run()


def test_the_least_urgent_is_the_first_victim() -> None:
    """Behaviour 26."""
    engine = FakeEngine(page_size=2, num_pages=6, cache=None, order=Priority())
    urgent, idle, middling = (engine.add([1] * 4, max_tokens=8, priority=priority) for priority in (0, 9, 5))
    engine.step()
    assert engine.step().preempted == [idle.sequences[0]]
    engine.step()
    assert engine.step().preempted == [middling.sequences[0]]
    assert urgent.sequences[0].num_preemptions == 0
    engine.run()


def test_of_equally_urgent_ones_the_last_to_arrive_is_the_victim() -> None:
    """Behaviour 26."""
    engine = FakeEngine(page_size=2, num_pages=6, cache=None, order=Priority())
    _, second, third = (engine.add([number] * 4, max_tokens=8, priority=3) for number in range(3))
    engine.step()
    assert engine.step().preempted == [third.sequences[0]]
    engine.step()
    assert engine.step().preempted == [second.sequences[0]]
    engine.run()


def test_a_sequence_that_is_last_in_line_gives_way_itself() -> None:
    """Behaviour 26: the older one has just taken the last page."""
    engine = FakeEngine(page_size=2, num_pages=5, cache=None)
    old, young = engine.add([1] * 4, max_tokens=4), engine.add([2] * 4, max_tokens=4)
    engine.step()
    plan = engine.step()
    assert [chunk.sequence for chunk in plan.chunks] == [old.sequences[0]]
    assert plan.preempted == [young.sequences[0]]
    engine.run()
    assert len(young.sequences[0].output_ids) == 4


def test_nobody_comes_in_in_a_step_that_took_pages_from_another() -> None:
    """Behaviour 26: the victim's first chunk would fit at once into what its victor left over."""
    engine = FakeEngine(page_size=2, num_pages=6, budget=6, cache=None)
    old, young = engine.add([1] * 4, max_tokens=6), engine.add([2] * 8, max_tokens=2)
    engine.step()
    plan = engine.step()
    assert plan.preempted == [young.sequences[0]] == engine.scheduler.waiting
    assert [chunk.sequence for chunk in plan.chunks] == [old.sequences[0]]
    assert engine.manager.num_available == 3
    engine.run()


def test_the_urgent_go_first_and_do_not_throw_anyone_out_to_come_in() -> None:
    engine = FakeEngine(page_size=2, num_pages=4, cache=None, order=Priority())
    running = engine.add([1] * 6, max_tokens=2, priority=5)
    engine.step()
    late = engine.add([2] * 6, max_tokens=2, priority=9)
    urgent = engine.add([3] * 6, max_tokens=2, priority=0)
    assert engine.scheduler.waiting == [urgent.sequences[0], late.sequences[0]]
    engine.run()
    assert [request.sequences[0].num_preemptions for request in (running, urgent, late)] == [0, 0, 0]


def test_nobody_overtakes_the_first_in_line() -> None:
    """Behaviour 27: the second would fit where the first does not."""
    engine = FakeEngine(page_size=2, num_pages=6, cache=None)
    engine.add([1] * 8, max_tokens=2)
    engine.step()
    large, small = engine.add([2] * 10, max_tokens=2), engine.add([3], max_tokens=1)
    plan = engine.step()
    assert large.sequences[0].status is small.sequences[0].status is Status.WAITING
    assert len(plan.chunks) == 1
    assert engine.scheduler.waiting == [large.sequences[0], small.sequences[0]]
    engine.step()
    assert large.sequences[0] in engine.scheduler.running
    engine.run()


def test_a_request_for_many_sequences_waits_for_places_for_all_of_them_and_is_not_overtaken() -> None:
    """Behaviour 27."""
    engine = FakeEngine(max_sequences=4)
    pair = [engine.add([number], max_tokens=3) for number in range(2)]
    engine.step()
    three, one = engine.add([7], max_tokens=2, n=3), engine.add([8], max_tokens=1)
    engine.step()
    assert engine.scheduler.waiting == [three.sequences[0], one.sequences[0]]
    engine.step()
    assert all(request.finished for request in pair)
    engine.step()
    assert len(three.sequences) == 3 and one.sequences[0].output_ids, "four places: three and one"
    engine.run()


@page_sizes
def test_the_waiting_order_survives_preemption(page_size: int) -> None:
    """Behaviour 27."""
    engine = FakeEngine(page_size=page_size, num_pages=4, cache=None)
    requests = [engine.add([number] * page_size, max_tokens=2 * page_size) for number in range(6)]
    while engine.scheduler.has_work:
        engine.step()
        arrivals = [sequence.request.arrival for sequence in engine.scheduler.running + engine.scheduler.waiting]
        assert arrivals == sorted(arrivals)
    assert len({tuple(request.sequences[0].token_ids) for request in requests}) == 6


def ended(engine: FakeEngine, request: Request) -> tuple[FinishReason | None, int | str | None, int]:
    engine.run()
    (sequence,) = request.sequences
    return sequence.finish_reason, sequence.stop_reason, sequence.num_output


@page_sizes
@pytest.mark.parametrize("budget", [1, 3, 64])
@pytest.mark.parametrize("prompt_beyond_page", [-1, 0, 1])
@pytest.mark.parametrize("stop_beyond_page", [-1, 0, 1])
def test_a_sequence_stops_where_it_should_at_page_and_chunk_boundaries(
    page_size: int, budget: int, prompt_beyond_page: int, stop_beyond_page: int
) -> None:
    """Behaviour 28: the end falls before, on and behind the end of a page; so does the prompt's; chunks of any size."""
    num_prompt = 2 * page_size + prompt_beyond_page
    last = max(1, 4 * page_size + stop_beyond_page - num_prompt)  # so many tokens are said
    words = [5] * (last - 1)
    prompt = [1] * num_prompt

    def engine() -> FakeEngine:
        return FakeEngine(page_size=page_size, budget=budget)

    one = engine()
    eos = one.add(prompt, max_tokens=10 * page_size, script=saying(num_prompt, *words, EOS))
    assert ended(one, eos) == (FinishReason.STOP, None, last)
    one = engine()
    stop_id = one.add(prompt, max_tokens=10 * page_size, script=saying(num_prompt, *words, 77), stop_token_ids=[76, 77])
    assert ended(one, stop_id) == (FinishReason.STOP, 77, last)
    one = engine()
    ignoring = one.add(prompt, max_tokens=last + 2, script=saying(num_prompt, *words, EOS), ignore_eos=True)
    assert ended(one, ignoring) == (FinishReason.LENGTH, None, last + 2)
    one = engine()
    short = one.add(prompt, max_tokens=last, script=saying(num_prompt, *words, 5))
    assert ended(one, short) == (FinishReason.LENGTH, None, last)
    one = engine()
    long = one.add(
        prompt, max_tokens=10 * page_size, min_tokens=last + 1, script=saying(num_prompt, *[EOS] * (last + 1))
    )
    assert ended(one, long) == (FinishReason.STOP, None, last + 1)
    one = engine()
    long = one.add(
        prompt, min_tokens=last, max_tokens=last, script=saying(num_prompt, *[77] * last), stop_token_ids=[77]
    )
    assert ended(one, long) == (FinishReason.STOP, 77, last)
    one = engine()
    both = one.add(prompt, max_tokens=last, script=saying(num_prompt, *words, EOS))
    assert ended(one, both) == (FinishReason.STOP, None, last), "an end that is also the limit is a stop"


@page_sizes
@pytest.mark.parametrize("num_output", [1, 2, 3, 4, 5])
def test_a_stop_string_found_by_the_engine_ends_a_sequence_between_two_steps(page_size: int, num_output: int) -> None:
    """Behaviour 28: the scheduler knows no text; the engine tells it."""
    engine = FakeEngine(page_size=page_size)
    request = engine.add([1, 2, 3], max_tokens=9)
    other = engine.add([1, 2, 4], max_tokens=9)
    for _ in range(num_output):
        engine.step()
    engine.scheduler.finish(request.sequences[0], FinishReason.STOP)
    engine.run()
    assert (request.sequences[0].num_output, other.sequences[0].num_output) == (num_output, 9)


@page_sizes
@pytest.mark.parametrize("moment", ["waiting", "mid-prefill", "decoding", "preempted", "finished"])
def test_abort_gives_the_pages_back_whatever_the_request_was_doing(page_size: int, moment: str) -> None:
    """Behaviour 29."""
    budget = 64 if moment == "preempted" else 2 * page_size
    engine = FakeEngine(page_size=page_size, num_pages=6, budget=budget, cache=None)
    if moment == "preempted":
        first = engine.add([1] * 2 * page_size, max_tokens=3 * page_size)
        request = engine.add([2] * 2 * page_size, max_tokens=3 * page_size)
        while not request.sequences[0].num_preemptions:
            engine.step()
        assert request.sequences[0].status is Status.WAITING
        held = engine.manager.pool.num_used
        engine.abort(request)
        assert engine.manager.pool.num_used == held, "it held nothing any more"
        engine.run()
        assert first.sequences[0].finish_reason is FinishReason.LENGTH
    else:
        request = engine.add([2] * 4 * page_size, max_tokens=2)
        for _ in range({"waiting": 0, "mid-prefill": 1, "decoding": 2, "finished": 3}[moment]):
            engine.step()
        sequence = request.sequences[0]
        expected = {
            "waiting": 0,
            "mid-prefill": 2 * page_size,
            "decoding": 4 * page_size,
            "finished": 4 * page_size + 1,
        }
        assert sequence.num_computed == expected[moment]
        engine.abort(request)
        engine.prove_idle()
        assert sequence.finish_reason is (FinishReason.LENGTH if moment == "finished" else FinishReason.ABORT)
    engine.abort(request)  # twice is no error
    engine.prove_idle()
    assert engine.manager.pool.num_free == 6


@page_sizes
def test_aborting_one_of_two_that_share_pages_leaves_them_to_the_other(page_size: int) -> None:
    """Behaviour 29."""
    engine = FakeEngine(page_size=page_size)
    prompt = [1] * 3 * page_size + [2]
    owner, guest = engine.add(prompt, max_tokens=6), engine.add(prompt, max_tokens=6)
    engine.step()
    assert guest.sequences[0].num_cached == 3 * page_size
    engine.abort(owner)
    engine.run()
    assert guest.sequences[0].num_output == 6


@page_sizes
def test_each_turn_of_a_chat_hits_the_pages_that_the_turn_before_generated(page_size: int) -> None:
    """Behaviour 30."""
    engine = FakeEngine(page_size=page_size)
    conversation, num_before = [1] * page_size, 0
    for turn in range(4):
        request = engine.add(conversation, max_tokens=2 * page_size + 1)
        engine.run()
        (sequence,) = request.sequences
        if turn:
            # Everything said so far but the last token, which was never computed; in full pages.
            assert sequence.num_cached == (num_before - 1) // page_size * page_size > request.num_prompt - 3 * page_size
        num_before = sequence.num_tokens
        conversation = [*sequence.token_ids, 50 + turn]


def test_two_equal_prompts_in_one_step_compute_the_shared_pages_once() -> None:
    """Behaviour 23."""
    engine = FakeEngine(page_size=4)
    for _ in range(2):
        engine.add([1] * 9, max_tokens=3)
    assert chunks_of(engine) == [("request 0", 0, 9), ("request 1", 8, 9)]
    engine.run()
    assert engine.outputs()[0] == engine.outputs()[1]


def test_a_request_that_waits_for_pages_is_counted_once_and_a_preempted_one_again() -> None:
    """Behaviour 20."""
    engine = FakeEngine(page_size=2, num_pages=4)
    engine.add([1] * 6, max_tokens=3)
    engine.step()
    engine.add([2] * 4, max_tokens=3)
    engine.step()
    assert engine.manager.stats.queried_tokens == 6, "asked for at every step, and not admitted"
    engine.run()
    assert engine.manager.stats.queried_tokens == 6 + 4
    engine = FakeEngine(page_size=2, num_pages=4)
    _, second = (engine.add([number] * 4, max_tokens=3) for number in (1, 2))
    engine.run()
    (sequence,) = second.sequences
    assert sequence.num_preemptions == 1
    assert engine.manager.stats.queried_tokens == 4 + 4 + 5, "it came back with the token it had said"


@page_sizes
def test_n_sequences_share_their_prompt_and_copy_its_partial_page_when_they_write(page_size: int) -> None:
    """Behaviour 34."""
    engine = FakeEngine(page_size=page_size)
    request = engine.add([1] * (2 * page_size + 1), max_tokens=4, n=4)
    plan = engine.step()
    assert [row.sequence.index for row in plan.samples] == [0, 1, 2, 3]
    assert plan.num_tokens == 2 * page_size + 1, "the prompt is computed once"
    assert engine.manager.pool.num_used == 3
    plan = engine.step()
    assert len(plan.copies) == (0 if page_size == 1 else 3)
    assert engine.manager.pool.num_used == (2 if page_size > 1 else 3) + 4
    engine.run()
    assert [len(sequence.output_ids) for sequence in request.sequences] == [4] * 4
    assert len({tuple(sequence.output_ids) for sequence in request.sequences}) > 1


@page_sizes
@pytest.mark.parametrize("n", [1, 3])
def test_a_failed_step_ends_those_in_it_leaks_nothing_and_the_others_run_on(page_size: int, n: int) -> None:
    engine = FakeEngine(page_size=page_size, budget=3 * page_size)
    prompt = [1] * 5 * page_size
    doomed = engine.add(prompt, max_tokens=4, n=n)
    engine.step()
    beside, behind = engine.add(prompt, max_tokens=4), engine.add([2] * page_size, max_tokens=4)
    engine.step(fails=True)
    assert [sequence.finish_reason for sequence in doomed.sequences] == [FinishReason.ERROR] * n
    assert beside.sequences[0].finish_reason is FinishReason.ERROR, "it shared pages that this step was to fill"
    assert engine.manager.pool.num_used == 0
    assert engine.manager.lookup(prompt) == 3 * page_size, "what the step before computed, and no more"
    again = engine.add(prompt, max_tokens=4, n=n)
    engine.run()
    assert [sequence.num_output for sequence in [*again.sequences, *behind.sequences]] == [4] * (n + 1)


def test_a_sequence_that_was_preempted_in_a_failed_step_runs_on() -> None:
    engine = FakeEngine(page_size=2, num_pages=6, cache=None)
    first, second, third = (engine.add([number] * 4, max_tokens=4) for number in range(3))
    engine.step()
    plan = engine.step(fails=True)
    assert plan.preempted == [third.sequences[0]]
    assert first.finished and second.finished
    engine.run()
    assert third.sequences[0].finish_reason is FinishReason.LENGTH
