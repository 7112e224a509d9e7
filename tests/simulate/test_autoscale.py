"""Autoscaling: as many replicas as there is work for, never too few or too many."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pagedlab.errors import InvalidConfig, InvalidQuantity
from pagedlab.scheduling.load import Offer
from pagedlab.simulate.autoscale import Autoscaler
from pagedlab.simulate.failures import Failure, RandomFailures
from pagedlab.simulate.fleet import Fleet, Operation
from pagedlab.simulate.results import Results
from pagedlab.simulate.simulator import Simulator
from tests.simulate.fleets import Remembering, some_chats
from tests.simulate.test_fleet import CHANCE, FAILURES, ends_once


def one_second_a_step(**knobs: int) -> Simulator:
    return Simulator(None, cost=lambda shape: 1.0, num_pages=100, prefix_cache="none", **knobs)


def replicas_at(results: Results) -> dict[float, int]:
    """Sampled moment -> replicas there, those that drain included."""
    return Counter(results.samples.moment)


@pytest.mark.parametrize(("load", "replicas"), [(0, 2), (7.9, 2), (8, 2), (8.1, 3), (20, 5), (21, 5)])
def test_so_many_are_wanted_that_each_has_the_target(load, replicas):
    assert Autoscaler(target=4, least=2, most=5).wanted(load) == replicas


def test_replicas_follow_the_load_up_and_down():
    quiet, busy, late = ([Offer(at + number, [1] * 10, 10) for number in range(300)] for at in (0, 400, 1200))
    crowd = [Offer(500 + number / 4, [1] * 10, 10) for number in range(800)]
    offers = sorted([*quiet, *busy, *crowd, *late], key=lambda offer: offer.at)
    policy = Autoscaler(target=10, least=1, most=8, every=5, startup=20, cooldown=60)
    fleet = Fleet(one_second_a_step(), 1, "least_loaded", policy)
    there = replicas_at(fleet.run(offers, sample_every=10.0))
    assert {there[at] for at in range(0, 500, 10)} == {1}  # ten requests at a time
    assert {there[at] for at in range(540, 700, 10)} == {5}  # fifty
    assert {there[at] for at in range(1000, 1500, 10)} == {1}


def test_a_new_replica_is_paid_for_from_its_start_and_serves_later():
    offers = [Offer(0.0, [1] * 10, 10) for _ in range(4)]
    policy = Autoscaler(target=2, least=1, most=2, every=5, startup=3, cooldown=100)
    fleet = Fleet(one_second_a_step(max_sequences=2), 1, "least_loaded", policy)
    late = [*offers, Offer(7.9, [1] * 10, 1), Offer(8.1, [1] * 10, 1)]
    results = fleet.run(late)
    table = results.table()
    assert list(table["replica"]) == [0, 0, 0, 0, 0, 1]
    assert results.totals.replica_seconds == results.seconds + (results.seconds - 5)


def test_it_shrinks_no_sooner_than_after_the_cooldown_and_who_goes_answers_first():
    offers = [Offer(0.0, [1] * 10, 50), Offer(0.0, [1] * 10, 50), Offer(200.0, [1], 1)]
    policy = Autoscaler(target=4, least=1, most=2, every=1, startup=1, cooldown=30)
    results = Fleet(one_second_a_step(), 2, "least_loaded", policy).run(offers, sample_every=10.0)
    there = replicas_at(results)
    assert [there[at] for at in (0, 20, 40, 60)] == [2, 2, 2, 1]
    assert list(results.requests.last[:2]) == [50.0, 50.0]
    assert results.totals.replica_seconds == results.seconds + 50


def test_the_one_with_least_to_do_is_drained():
    offers = [Offer(0.0, [number], 100) for number in range(3)]
    policy = Autoscaler(target=2, least=1, most=3, every=10, startup=1, cooldown=30)
    fleet = Fleet(one_second_a_step(), 3, "round_robin", policy)
    # Replica 1 comes back with nothing to do; its request went to another.
    results = fleet.run(offers, failures=[Failure(5.0, 1, back_after=1.0)], sample_every=20.0)
    samples = results.samples
    assert {replica for moment, replica in zip(samples.moment, samples.replica, strict=True) if moment == 40} == {0, 2}


@settings(max_examples=40, deadline=None)
@given(
    least=st.integers(1, 3),
    more=st.integers(0, 3),
    load=st.sampled_from(["requests", "waiting", "pages"]),
    target=st.floats(0.1, 5),
    every=st.floats(0.05, 1),
    startup=st.floats(0.01, 1),
    cooldown=st.floats(0, 1),
    seed=st.integers(0, 99),
    failures=FAILURES,
    chance=CHANCE,
)
def test_it_stays_within_its_bounds_and_everything_ends_once(
    least, more, load, target, every, startup, cooldown, seed, failures, chance
):
    policy = Autoscaler(target, least, least + more, every, startup, cooldown, load)

    def run(watch: bool) -> Results:
        simulator = Remembering()
        offers = some_chats(seed, sessions=25)
        fleet = Fleet(simulator, least, "two_choices", policy)
        operation = Operation({"": fleet}, offers, fleet.new_router(), failures, chance)
        loop = operation.loop

        def look() -> None:
            assert len(loop.replicas) + len(loop.coming) <= policy.most
            if not failures and chance is None:
                assert len(loop.replicas) >= policy.least
            loop.at(loop.now + 0.01, look)

        if watch:
            loop.at(0.0, look)
        results = operation.run(None, progress=False)
        simulator.check()
        assert ends_once(results, offers.count)
        assert not results.totals.num_refused
        return results

    assert run(watch=True) == run(watch=False)


def test_the_last_that_serves_is_not_drained_for_the_sake_of_those_that_only_start():
    offers = [*(Offer(0.0, [1] * 10, 8) for _ in range(6)), Offer(20.0, [1] * 10, 1), Offer(99.0, [1] * 10, 1)]
    policy = Autoscaler(target=2, least=1, most=3, every=5, startup=50, cooldown=5)
    results = Fleet(one_second_a_step(), 1, "least_loaded", policy).run(offers)
    assert results.table()["first"][6] == 21.0


def test_requests_that_nobody_took_are_load_too():
    offers = [Offer(1.0, [1] * 10, 3) for _ in range(6)]
    policy = Autoscaler(target=2, least=1, most=3, every=5, startup=10)
    fleet = Fleet(one_second_a_step(), 1, "least_loaded", policy)
    results = fleet.run(offers, failures=[Failure(0.5, 0, back_after=1000.0)])
    # They wait for two that are started at the next look; all six go to the first of these.
    assert list(results.requests.first) == [5.0 + 10 + 1] * 6


def test_what_is_lost_for_ever_is_replaced():
    offers = [Offer(float(at), [1] * 10, 3) for at in range(20)]
    policy = Autoscaler(target=99, least=1, most=1, every=50, startup=5)
    results = Fleet(one_second_a_step(), 1, "prefix", policy).run(offers, failures=[Failure(2.5, 0)])
    assert len(results.requests) == 20
    assert min(first for first in results.requests.first if first > 2) == 2.5 + 5 + 1


def test_a_replica_that_drains_does_not_come_back():
    offers = [Offer(0.0, [1] * 10, 50), Offer(0.0, [1] * 10, 50), Offer(100.0, [1], 1)]
    policy = Autoscaler(target=4, least=1, most=2, every=1, startup=1, cooldown=30)
    fleet = Fleet(one_second_a_step(), 2, "least_loaded", policy)
    results = fleet.run(offers, failures=[Failure(40.0, 1, back_after=2.0)], sample_every=10.0)
    assert [replicas_at(results)[at] for at in (30, 40, 50, 60)] == [2, 1, 1, 1]
    assert len(results.requests) == 3


def test_chance_also_strikes_replicas_that_were_started_later():
    offers = [Offer(at / 10, [1] * 10, 10) for at in range(3000)]
    policy = Autoscaler(target=2, least=1, most=5, every=5, startup=5)
    failures = RandomFailures(mtbf=50.0, mttr=5.0, seed=1)
    results = Fleet(one_second_a_step(), 1, "two_choices", policy).run(offers, random_failures=failures)
    assert results.totals.num_lost_replicas > 15
    assert len(results.requests) == 3000


def test_what_cannot_be_is_refused_with_its_numbers():
    with pytest.raises(InvalidConfig, match="least=3, most=2"):
        Autoscaler(target=1, least=3, most=2)
    with pytest.raises(InvalidQuantity, match="target=0"):
        Autoscaler(target=0)
    with pytest.raises(InvalidConfig, match="load='hope'"):
        Autoscaler(target=1, load="hope")
    with pytest.raises(InvalidConfig, match="a fleet of 8 replicas was asked for, to be scaled from 1 to 4"):
        Fleet(one_second_a_step(), 8, autoscaler=Autoscaler(target=1, most=4))
