"""Prefill here, decode there: nothing is computed twice, and pages travel at their price."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pagedlab.errors import InvalidConfig, InvalidQuantity
from pagedlab.scheduling.load import Offer
from pagedlab.simulate.autoscale import Autoscaler
from pagedlab.simulate.disaggregate import Disaggregated
from pagedlab.simulate.failures import Failure
from pagedlab.simulate.fleet import Fleet
from pagedlab.simulate.routers import ROUTERS
from pagedlab.simulate.simulator import Simulator
from tests.simulate.fleets import Remembering, some_chats
from tests.simulate.test_fleet import CHANCE, FAILURES, ends_once


def split(simulator: Simulator, prefill: int = 1, decode: int = 1, **options: float) -> Disaggregated:
    """By default ten tokens a second travel, and half a second passes."""
    options = {"bytes_per_token": 1, "bandwidth": 10, "latency": 0.5} | options
    return Disaggregated(Fleet(simulator, prefill, "least_loaded"), Fleet(simulator, decode, "least_loaded"), **options)


def one_second_a_step(**knobs: object) -> Simulator:
    return Simulator(None, cost=lambda shape: 1.0, **{"num_pages": 100, "prefix_cache": "none"} | knobs)


def test_a_prompt_is_computed_travels_and_is_answered():
    results = split(one_second_a_step()).run([Offer(0.0, [1] * 10, 3)])
    requests, totals = results.requests, results.totals
    # A step of prefill; ten tokens on the wire, and its latency; two steps of decode.
    assert (requests.first[0], requests.last[0], requests.replica[0]) == (1.0, 1.0 + 1.0 + 0.5 + 2.0, 1)
    assert (totals.num_steps, totals.num_tokens) == (3, 10 + 2)
    assert totals.pool_seconds == {"prefill": 4.5, "decode": 4.5}


def test_an_answer_of_one_token_goes_nowhere():
    results = split(one_second_a_step()).run([Offer(0.0, [1] * 10, 1)])
    assert (results.requests.last[0], results.requests.replica[0], results.totals.num_steps) == (1.0, 0, 1)


def test_prompts_of_one_sender_travel_one_after_another():
    offers = [Offer(0.0, [number] * 10, 2) for number in range(4)]
    one, two = (split(one_second_a_step(), prefill).run(offers) for prefill in (1, 2))
    assert sorted(one.requests.last) == [3.5, 4.5, 5.5, 6.5]
    assert sorted(two.requests.last) == [3.5, 3.5, 4.5, 4.5]


def test_several_answers_share_the_prompt_that_arrived():
    simulator = Remembering(prefix_cache="none", cost=lambda shape: 1.0)
    results = split(simulator).run([Offer(0.0, [1] * 40, 5, n=3)])
    # The last prompt token is computed again: three first tokens are drawn from it.
    assert results.totals.num_tokens == 40 + 1 + 3 * 4
    assert (results.requests.first[0], results.requests.last[0]) == (1.0, 1.0 + 3.9 + 0.5 + 5.0)
    simulator.check()


@pytest.mark.parametrize("system", ["vllm", "sglang", "lmdeploy"])
def test_no_token_is_computed_twice(system):
    simulator = Remembering(system, num_pages=8000, prefix_cache="none")
    both = split(simulator, 2, 2, bandwidth=1e5, latency=1e-3).run(some_chats(3))
    alone = Fleet(simulator, 4, "least_loaded").run(some_chats(3))
    assert both.totals.num_tokens == alone.totals.num_tokens
    assert both.requests.output_tokens == alone.requests.output_tokens
    simulator.check()


def test_where_host_memory_is_full_a_prompt_is_computed_again():
    offers = [Offer(0.0, [number] * 32, 4) for number in range(3)]
    simulator = one_second_a_step(num_host_pages=4, max_sequences=1)
    results = split(simulator, prefill=3, bandwidth=1e9).run(offers)
    # All arrive together: two have room there, and the third computes its prompt again.
    assert results.totals.num_tokens == 3 * (32 + 3) + 32
    assert len(results.requests) == 3


def test_pages_on_the_wire_reach_whoever_takes_requests_when_they_arrive():
    offers = [Offer(0.0, [1] * 10, 3)]
    results = split(one_second_a_step()).run(offers, failures=[Failure(1.5, 1, back_after=5.0)])
    assert (results.requests.first[0], results.requests.last[0]) == (1.0, 6.5 + 2.0)
    assert results.totals.num_tokens == 12


@pytest.mark.parametrize("num_host_pages", [0, 10])
def test_what_a_decode_replica_loses_is_prefilled_again_with_what_it_has_said(num_host_pages):
    offers = [Offer(0.0, [1] * 10, 6)]
    results = split(one_second_a_step(num_host_pages=num_host_pages), 1, 2).run(offers, failures=[Failure(5.0, 1)])
    # Said by 5.0 s: one token, and those of the steps from 2.5 s on. Prefill of 13 makes the fourth at 6.0 s; its
    # 13 tokens travel, and two are left.
    assert results.requests.first[0] == 1.0
    assert results.requests.last[0] == pytest.approx(5.0 + 1.0 + 1.3 + 0.5 + 2.0)
    assert (results.totals.num_rerouted, results.totals.num_lost_tokens) == (1, 10 + 2)
    assert results.totals.num_tokens == 10 + 2 + 13 + 2


SCALERS = st.none() | st.builds(
    Autoscaler,
    target=st.floats(0.5, 5),
    most=st.integers(3, 5),
    every=st.just(0.2),
    startup=st.floats(0.01, 0.5),
    cooldown=st.floats(0, 1),
)


@settings(max_examples=40, deadline=None)
@given(
    router=st.sampled_from([*ROUTERS]),
    replicas=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    scalers=st.tuples(SCALERS, SCALERS),
    failures=FAILURES,
    chance=CHANCE,
    seed=st.integers(0, 99),
    most_answers=st.sampled_from([1, 3]),
    knobs=st.fixed_dictionaries(
        {"num_pages": st.sampled_from([20, 200]), "num_host_pages": st.sampled_from([0, 8])},
        optional={"prefix_cache": st.just("none"), "system": st.sampled_from(["vllm", "sglang"])},
    ),
)
def test_whatever_fails_in_either_pool_everything_ends_once_and_the_same_way_again(
    router, replicas, scalers, failures, chance, seed, most_answers, knobs
):
    failures = [failure for failure in failures if failure.replica < sum(replicas)]
    seen = []
    for fast in (True, True, False):
        simulator = Remembering(fast=fast, **knobs)
        prefill, decode = (Fleet(simulator, n, router, policy) for n, policy in zip(replicas, scalers, strict=True))
        offers = some_chats(seed, most_answers=most_answers)
        both = Disaggregated(prefill, decode, bandwidth=1e5, latency=1e-3, bytes_per_token=1.0)
        results = both.run(offers, failures=failures, random_failures=chance)
        simulator.check()
        assert ends_once(results, offers.count)
        assert sum(results.totals.pool_seconds.values()) == pytest.approx(results.totals.replica_seconds)
        seen.append(results)
    assert seen[0] == seen[1]
    assert seen[0].requests == seen[2].requests


def test_answers_run_more_evenly_where_no_prompt_is_in_the_way():
    simulator = Simulator("vllm")
    prompts = [Offer(at / 4, [at] * 6000, 200) for at in range(120)]
    alone = Fleet(simulator, 2, "least_loaded").run(prompts)
    both = Disaggregated(Fleet(simulator, 1, "least_loaded"), Fleet(simulator, 1, "least_loaded")).run(prompts)
    assert both.percentiles("tpot")[99] < alone.percentiles("tpot")[99]


def test_each_pool_has_its_price():
    results = split(one_second_a_step()).run([Offer(0.0, [1] * 10, 3)])
    one = results.cost_per_million(3.6)
    assert one == pytest.approx(3.6 * 9 / 3600 / 3 * 1e6)
    assert results.cost_per_million({"prefill": 3.6, "decode": 3.6}) == pytest.approx(one)
    assert results.cost_per_million({"prefill": 7.2, "decode": 0.0}) == pytest.approx(one)
    with pytest.raises(InvalidQuantity, match=r"prices of \['prefill'\].*\['decode', 'prefill'\]"):
        results.cost_per_million({"prefill": 3.6})


def test_what_cannot_be_is_refused_with_its_numbers():
    eight, seventy = Simulator("vllm"), Simulator("vllm", model="Llama-3-70B", ranks=4)
    with pytest.raises(InvalidConfig, match="a token takes 131072 bytes where it is computed, and 327680"):
        Disaggregated(Fleet(eight), Fleet(seventy))
    with pytest.raises(InvalidConfig, match="give bytes_per_token"):
        Disaggregated(Fleet(one_second_a_step()), Fleet(one_second_a_step())).run([])
    with pytest.raises(InvalidQuantity, match="bandwidth=0"):
        Disaggregated(Fleet(eight), Fleet(eight), bandwidth=0)
    with pytest.raises(InvalidConfig, match="latency=-1"):
        Disaggregated(Fleet(eight), Fleet(eight), latency=-1)
