"""Open-loop load on a virtual clock: what is counted, and that it is the same every time."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagedlab.errors import InvalidQuantity
from pagedlab.memory.manager import CacheManager
from pagedlab.scheduling.latency import Slo, Timeline, attainment, largest_rate, pareto_front, percentile
from pagedlab.scheduling.limits import Limits
from pagedlab.scheduling.load import (
    END,
    Offer,
    Run,
    StepTime,
    VirtualClock,
    WallClock,
    WithoutModel,
    answer_of,
    drive,
    poisson_arrivals,
)
from pagedlab.scheduling.scheduler import Scheduler

ONE_SECOND = StepTime(fixed=1.0, per_token=0.0)


def run(offers: list[Offer], step_time: StepTime = ONE_SECOND, num_pages: int = 100, **limits: int) -> Run:
    scheduler = Scheduler(CacheManager(num_pages, page_size=4), Limits(**limits))
    return drive(WithoutModel(scheduler), offers, VirtualClock(step_time))


def test_a_request_alone_gets_a_token_a_step():
    (timeline,) = run([Offer(2.5, [1, 2, 3], 4)]).timelines
    assert timeline.token_times == [3.5, 4.5, 5.5, 6.5]
    assert (timeline.ttft, timeline.tpot, timeline.e2e) == (1.0, 1.0, 4.0)


def test_the_wait_counts_from_when_a_request_was_due_not_from_when_a_step_let_it_in():
    _, late = run([Offer(0.0, [1], 3), Offer(0.25, [1], 1)]).timelines
    assert late.token_times == [2.0] and late.ttft == 1.75


def test_a_full_batch_makes_others_wait():
    first, second = run([Offer(0.0, [1], 3), Offer(0.0, [1], 1)], max_sequences=1).timelines
    assert first.ttft == 1.0 and second.ttft == 4.0


def test_a_prompt_longer_than_the_budget_takes_several_steps():
    (timeline,) = run([Offer(0.0, [1] * 10, 1)], max_tokens_per_step=4).timelines
    assert timeline.token_times == [3.0]


def test_steps_cost_their_tokens_and_the_context_they_read():
    done = run([Offer(0.0, [1] * 5, 2)], StepTime(fixed=1.0, per_token=0.1, per_context=0.01))
    assert [step.stop - step.start for step in done.steps] == pytest.approx([1.55, 1.16])
    assert [(step.num_tokens, step.num_context) for step in done.steps] == [(5, 5), (1, 6)]


def test_utilisation_leaves_out_what_was_idle_and_batches_are_averaged_over_steps():
    done = run([Offer(0.0, [1], 1), Offer(0.0, [1], 2), Offer(3.0, [1], 1)])
    assert (done.seconds, done.utilisation, done.tokens_per_second) == (4.0, 0.75, 1.0)
    assert done.mean_batch == pytest.approx(4 / 3)
    assert run([]).seconds == run([]).utilisation == run([]).tokens_per_second == run([]).mean_batch == 0.0


def test_preemptions_are_counted_where_pages_are_short_and_everybody_ends():
    offers = [Offer(0.0, [1] * 8, 12) for _ in range(4)]
    done = run(offers, num_pages=8)
    assert sum(timeline.num_preemptions for timeline in done.timelines) > 0
    assert [len(timeline.token_times) for timeline in done.timelines] == [12] * 4


def test_the_same_load_gives_the_same_moments_and_arrivals_come_in_any_order():
    offers = [Offer(at, [1] * 5, 6) for at in poisson_arrivals(0.5, 20, seed=3)]
    assert run(offers) == run(offers[::-1])


def test_arrivals_scale_with_the_rate_and_have_exponential_gaps():
    slow, fast = poisson_arrivals(1.0, 2000, seed=4), poisson_arrivals(2.0, 2000, seed=4)
    assert fast == pytest.approx([at / 2 for at in slow])
    gaps = [later - sooner for sooner, later in pairwise(slow)]
    assert 0.9 < sum(gaps) / len(gaps) < 1.1 and 0.33 < sum(gap > 1 for gap in gaps) / len(gaps) < 0.41
    with pytest.raises(InvalidQuantity):
        poisson_arrivals(0.0, 1)


def test_a_wall_clock_waits_and_does_not_go_back():
    clock = WallClock()
    clock.wait_until(0.01)
    clock.wait_until(0.0)
    clock.step_done(1, 1)
    assert clock.now() >= 0.01


def test_a_timeline_without_tokens_is_a_miss_and_one_token_has_no_pace():
    slo = Slo(ttft=1.0, tpot=0.1)
    nothing, one = Timeline(0.0), Timeline(0.0, [1.0])
    assert (nothing.ttft, nothing.tpot, nothing.e2e, nothing.gaps) == (None, None, None, [])
    assert (one.ttft, one.tpot, one.e2e) == (1.0, None, 1.0)
    good, slow = Timeline(0.0, [0.5, 0.6]), Timeline(0.0, [0.5, 0.75])
    assert [line.meets(slo) for line in (nothing, one, good, slow)] == [False, True, True, False]
    assert attainment([nothing, one, good, slow], slo) == 0.5 and attainment([], slo) == 1.0


def test_percentiles_are_nearest_ranks():
    assert [percentile([40, 10, 30, 20], p) for p in (25, 50, 51, 99)] == [10, 20, 30, 40]
    assert [percentile(range(1, 101), p) for p in range(1, 101)] == list(range(1, 101))
    for samples, percent in (([], 50), ([1], 0), ([1], 101)):
        with pytest.raises(InvalidQuantity):
            percentile(samples, percent)


def test_the_largest_rate_is_one_that_was_seen_to_keep_the_promise():
    assert largest_rate(lambda rate: float(rate <= 5), 0.9, 0, 8, 1) == 5
    assert largest_rate(lambda rate: 0.5, 0.9, 1, 8, 1) is None
    assert largest_rate(lambda rate: 0.9, 0.9, 1, 8, 1) == 8


def test_the_front_keeps_what_nobody_beats():
    settings = [(300, 3.0), (100, 1.0), (200, 2.0), (150, 2.5), (200, 3.0), (100, 1.0)]
    assert pareto_front(settings, lambda s: s[0], lambda s: s[1]) == [(100, 1.0), (100, 1.0), (200, 2.0), (300, 3.0)]


def test_a_requests_answers_share_its_prompt_and_differ_and_it_has_a_token_when_all_have():
    scheduler = Scheduler(CacheManager(100, page_size=4))
    server = WithoutModel(scheduler)
    server.submit("four", Offer(0.0, [1] * 10, 3, n=4))
    (sequence,) = scheduler.waiting
    while scheduler.has_work:
        server.step()
        scheduler.manager.check()
    answers = [stream.output_ids for stream in sequence.request.sequences]
    assert [len(answer) for answer in answers] == [3] * 4
    assert all(answer[-1] == END for answer in answers)
    said = [token for answer in answers for token in answer[:-1]]
    assert len(set(said)) == 8 and max(said) < END
    done = run([Offer(0.0, [1] * 10, 3, n=4)])
    (timeline,) = done.timelines
    assert timeline.token_times == [1.0, 2.0, 3.0] and timeline.num_tokens == 12
    assert done.tokens_per_second == 4.0
    assert [(step.num_tokens, step.num_sequences) for step in done.steps] == [(10, 1), (4, 4), (4, 4)]


def test_what_an_offer_says_is_its_first_answer_and_no_other_offer_says_the_rest():
    offer = Offer(0.0, [1], 3, output=(7, 8, 9), n=2)
    assert answer_of(offer, arrival=5) == (7, 8, 9) == answer_of(replace(offer, n=1), arrival=5)
    made_up = [answer_of(replace(offer, output=None), arrival, index) for arrival in range(3) for index in range(4)]
    made_up += [answer_of(offer, 3, 1)]
    assert len({token for answer in made_up for token in answer}) == 3 * len(made_up)


def test_the_slowest_of_several_answers_is_what_a_request_waits_for():
    timeline = Timeline(0.0, n=2)
    for number, moment in ((1, 1.0), (1, 1.0), (2, 2.0), (3, 3.0), (2, 5.0), (3, 6.0)):
        timeline.note(number, moment)
    assert timeline.token_times == [1.0, 5.0, 6.0] and timeline.num_tokens == 6


@pytest.mark.parametrize("n", [1, 3])
def test_what_follows_is_asked_for_once_when_the_last_answer_has_ended(n):
    asked: list[float] = []

    def then(moment: float) -> list[Offer]:
        asked.append(moment)
        return [Offer(moment + 10.0, [2] * 4, 1), Offer(moment + 0.5, [3] * 4, 2)]

    done = run([Offer(0.0, [1] * 4, 2, n=n, then=then)])
    assert asked == [2.0]
    assert [timeline.due for timeline in done.timelines] == [0.0, 2.5, 12.0]  # in the order in which they were due
    assert [timeline.e2e for timeline in done.timelines] == [2.0, 2.0, 1.0]


def test_a_preempted_sibling_holds_its_request_open():
    asked: list[float] = []
    offers = [Offer(0.0, [1] * 8, 12, n=3, then=lambda moment: asked.append(moment) or ())]
    done = run(offers, num_pages=8)
    (timeline,) = done.timelines
    assert timeline.num_preemptions > 0 and len(timeline.token_times) == 12
    assert asked == [timeline.token_times[-1]] == [done.seconds]
    assert timeline.token_times == sorted(timeline.token_times)


@given(
    st.lists(
        st.builds(
            Offer,
            at=st.integers(0, 20).map(float),
            prompt=st.lists(st.integers(0, 1), min_size=1, max_size=20),
            num_output=st.integers(1, 8),
            allowed=st.none() | st.integers(8, 10),
            n=st.integers(1, 4),
        ),
        max_size=8,
    )
)
def test_whatever_is_offered_everybody_gets_all_tokens_and_nothing_is_left_behind(offers):
    scheduler = Scheduler(CacheManager(24, page_size=4), Limits(max_tokens_per_step=16, max_sequences=4))
    server, asked = WithoutModel(scheduler), []
    curious = [replace(o, then=lambda moment, o=o: asked.append(o.at) or ()) for o in offers]
    done = drive(server, curious, VirtualClock(ONE_SECOND))
    assert sorted(asked) == sorted(offer.at for offer in offers)
    expected = sorted((offer.at, offer.num_output, offer.n) for offer in offers)
    assert sorted((line.due, len(line.token_times), line.n) for line in done.timelines) == expected
    assert all(line.token_times == sorted(line.token_times) for line in done.timelines)
    assert server._answers == {} and scheduler.manager.pool.num_used == 0
    scheduler.manager.check()


def test_an_offer_without_an_answer_is_refused():
    with pytest.raises(InvalidQuantity, match="0 answers"):
        Offer(0.0, [1], 1, n=0)
