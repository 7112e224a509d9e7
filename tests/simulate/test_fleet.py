"""Fleets: everything is served once, whoever fails."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pagedlab.errors import InvalidConfig, InvalidQuantity
from pagedlab.scheduling.load import Offer
from pagedlab.simulate.failures import Failure, RandomFailures
from pagedlab.simulate.fleet import Fleet
from pagedlab.simulate.results import Results
from pagedlab.simulate.routers import ROUTERS
from pagedlab.simulate.simulator import Simulator
from tests.simulate.fleets import Remembering, some_chats

FAILURES = st.lists(
    st.builds(Failure, st.floats(0, 2), st.integers(0, 3), st.none() | st.floats(0.01, 2)),
    max_size=6,
)
CHANCE = st.none() | st.builds(RandomFailures, st.floats(0.2, 5), st.floats(0.05, 1), st.integers(0, 99))


def ends_once(results: Results, offered: int) -> bool:
    """Every offer has one row, or was refused; ``offered`` have kinds of their own."""
    kinds = list(results.requests.kind)
    return len(kinds) == len(set(kinds)) and len(kinds) + results.totals.num_refused == offered


@settings(max_examples=40, deadline=None)
@given(
    router=st.sampled_from([*ROUTERS]),
    replicas=st.integers(1, 4),
    failures=FAILURES,
    chance=CHANCE,
    seed=st.integers(0, 99),
    most_answers=st.sampled_from([1, 3]),
    knobs=st.fixed_dictionaries(
        {"num_pages": st.sampled_from([20, 200]), "max_tokens_per_step": st.sampled_from([32, 512])},
        optional={"num_host_pages": st.just(10), "preemption": st.just("swap")},
    ),
)
def test_whatever_fails_everything_ends_once_and_the_same_way_again(
    router, replicas, failures, chance, seed, most_answers, knobs
):
    failures = [failure for failure in failures if failure.replica < replicas]
    knobs |= {"num_host_pages": 10} if "preemption" in knobs else {}
    seen = []
    for fast in (True, True, False):
        simulator = Remembering(fast=fast, **knobs)
        offers = some_chats(seed, most_answers=most_answers)
        results = Fleet(simulator, replicas, router).run(offers, failures=failures, random_failures=chance)
        simulator.check()
        assert ends_once(results, offers.count)
        requests = results.requests
        assert all(
            due <= first <= last for due, first, last in zip(requests.due, requests.first, requests.last, strict=True)
        )
        seen.append(results)
    assert seen[0] == seen[1]
    plain, fast = seen[2], seen[0]
    assert fast.requests == plain.requests
    assert fast.totals.busy_seconds == pytest.approx(plain.totals.busy_seconds)
    fast.totals.busy_seconds = plain.totals.busy_seconds
    assert fast.totals == plain.totals


@pytest.mark.parametrize("router", ROUTERS)
@pytest.mark.parametrize("system", ["vllm", "sglang"])
def test_one_replica_in_a_fleet_is_the_simulator(router, system):
    simulator = Remembering(system, num_pages=2000)
    alone = simulator.run(some_chats(1), sample_every=0.3)
    assert Fleet(simulator, 1, router).run(some_chats(1), sample_every=0.3) == alone


def one_second_a_step() -> Simulator:
    return Simulator(None, cost=lambda shape: 1.0, num_pages=100, prefix_cache="none")


def test_a_lost_request_goes_on_elsewhere_behind_what_it_has_said():
    offers = [Offer(0.0, [1] * 10, 10, output=range(100, 110))]
    failure = Failure(at=5.5, replica=0, back_after=2.0)
    results = Fleet(one_second_a_step(), 2, "least_loaded").run(offers, failures=[failure])
    requests, totals = results.requests, results.totals
    # Five tokens by 5.5 s, on replica 0. Then prompt and five tokens in one step on replica 1, and four steps more.
    assert (requests.first[0], requests.last[0], requests.replica[0]) == (1.0, 10.5, 1)
    assert (totals.num_lost_replicas, totals.num_rerouted, totals.num_lost_tokens) == (1, 1, 14)
    assert (totals.num_steps, totals.num_tokens) == (10, (10 + 4) + (15 + 4))
    assert (totals.busy_seconds, totals.num_replicas) == (10.5, 3)
    assert totals.replica_seconds == 10.5 + 5.5 + (10.5 - 7.5)


def test_whoever_takes_a_lost_request_gets_its_prompt_with_what_it_has_said():
    simulator = Remembering(prefix_cache="none", cost=lambda shape: 1.0)
    asked = []
    replica = simulator.replica

    def watched(*args, **kwargs):
        made = replica(*args, **kwargs)
        add = made.scheduler.add
        made.scheduler.add = lambda request: (
            asked.append((request.prompt_ids, request.params.max_tokens)),
            add(request),
        )
        return made

    simulator.replica = watched
    offers = [Offer(0.0, [1, 2, 3], 6, allowed=8, output=range(100, 106))]
    failures = [Failure(2.5, 0), Failure(4.7, 1)]
    Fleet(simulator, 3, "least_loaded").run(offers, failures=failures)
    assert asked == [([1, 2, 3], 8), ([1, 2, 3, 100, 101], 6), ([1, 2, 3, 100, 101, 102, 103], 4)]


def test_several_answers_begin_anew_from_their_prompt():
    offers = [Offer(0.0, [1] * 10, 5, n=3)]
    results = Fleet(one_second_a_step(), 2, "least_loaded").run(offers, failures=[Failure(3.5, 0)])
    assert (results.requests.first[0], results.requests.last[0]) == (1.0, 3.5 + 5)
    assert results.totals.num_lost_tokens == 3 * 12


def test_whoever_has_not_been_answered_yet_waits_for_the_second_replica():
    results = Fleet(one_second_a_step(), 2, "least_loaded").run([Offer(0.0, [1] * 10, 2)], failures=[Failure(0.5, 0)])
    assert (results.requests.due[0], results.requests.first[0], results.requests.last[0]) == (0.0, 1.5, 2.5)


def test_a_fleet_without_replicas_waits_if_one_is_coming_back_and_refuses_if_none_is():
    offers = [Offer(float(at), [1] * 10, 3) for at in range(3)]
    waited = Fleet(one_second_a_step(), 1).run(offers, failures=[Failure(0.5, 0, back_after=10.0)])
    assert list(waited.requests.first) == [11.5, 11.5, 11.5]
    assert waited.totals.replica_seconds == 0.5 + waited.seconds - 10.5
    refused = Fleet(one_second_a_step(), 1).run(offers, failures=[Failure(0.5, 0)])
    assert (len(refused.requests), refused.totals.num_refused) == (0, 3)


def test_a_replica_comes_back_with_an_empty_cache():
    offers = [Offer(float(at), [1] * 64, 2) for at in (0, 10, 30)]
    simulator = Simulator(None, cost=lambda shape: 1.0, num_pages=100)
    results = Fleet(simulator, 1).run(offers, failures=[Failure(15.0, 0, back_after=5.0)])
    assert list(results.requests.num_cached) == [0, 48, 0]


def test_chance_fails_a_replica_the_same_way_whatever_the_others_do():
    failures = RandomFailures(mtbf=10.0, mttr=1.0, seed=3)
    one, other = failures.chance(2), RandomFailures(mtbf=99.0, mttr=1.0, seed=3).chance(2)
    assert one.random() == other.random() != failures.chance(3).random()


def test_failures_by_chance_come_as_often_as_was_said():
    offers = [Offer(0.0, [1] * 10, 3), Offer(4000.0, [1] * 10, 3)]
    results = Fleet(one_second_a_step(), 20).run(offers, random_failures=RandomFailures(mtbf=90.0, mttr=10.0))
    assert results.totals.num_lost_replicas == pytest.approx(20 * 4000 / 100, rel=0.1)
    assert results.totals.replica_seconds == pytest.approx(20 * 4000 * 0.9, rel=0.05)


def test_after_a_failure_and_recovery_waits_are_what_they_were_before():
    offers = [Offer(3.4 * number, [number] * 40, 10) for number in range(300)]
    simulator = Simulator(None, cost=lambda shape: 1.0, num_pages=100, max_sequences=2)
    failure = Failure(at=400.0, replica=1, back_after=100.0)
    table = Fleet(simulator, 2, "least_loaded").run(offers, failures=[failure]).table()
    before, while_away, after = (
        table[table["due"].between(start, stop)]["ttft"].max() for start, stop in [(0, 390), (400, 500), (700, 1020)]
    )
    assert len(table) == 300
    assert before == pytest.approx(after, abs=1.0)
    assert while_away > 10 * before


def test_a_thousand_replicas_serve_some_thousand_requests():
    simulator = Remembering()
    offers = some_chats(5, sessions=1500, rate=20_000.0)
    failures = RandomFailures(mtbf=1.0, mttr=0.1)
    results = Fleet(simulator, 1000, "prefix").run(offers, random_failures=failures)
    assert ends_once(results, offers.count)
    assert offers.count > 2500
    assert results.totals.num_lost_replicas > 100
    simulator.check()


def test_what_cannot_be_is_refused_with_its_numbers():
    simulator = one_second_a_step()
    with pytest.raises(InvalidConfig, match="a fleet of 0 replicas"):
        Fleet(simulator, 0)
    with pytest.raises(InvalidConfig, match=r"failure of replica 8 was asked for.* from 0 to 7"):
        Fleet(simulator, 8).run([], failures=[Failure(1.0, 8)])
    with pytest.raises(InvalidQuantity, match="failure of replica -1"):
        Failure(1.0, -1)
    with pytest.raises(InvalidQuantity, match="back_after=0"):
        Failure(1.0, 1, 0.0)
    with pytest.raises(InvalidQuantity, match="mttr=0"):
        RandomFailures(1.0, 0.0)
