"""The simulator: the scheduler's own decisions, on a clock of its own."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pagedlab.errors import InvalidConfig, InvalidQuantity
from pagedlab.memory.events import Trace
from pagedlab.memory.manager import CacheManager
from pagedlab.scheduling.latency import Slo
from pagedlab.scheduling.load import Offer, StepTime, VirtualClock, WithoutModel, drive
from pagedlab.scheduling.scheduler import Scheduler
from pagedlab.simulate.cost import StepShape
from pagedlab.simulate.loop import Loop
from pagedlab.simulate.quiet import QuietScheduler
from pagedlab.simulate.results import Results
from pagedlab.simulate.simulator import Simulator, TheOnlyOne
from pagedlab.systems import SYSTEMS, TGI


def cost(shape: StepShape) -> float:
    return 1e-3 + 1e-5 * shape.num_tokens + 1e-8 * shape.context + 1e-9 * shape.pairs


def chats(seed: int, count: int, rate: float, longest: int, most_answers: int = 1) -> Iterator[Offer]:
    """Conversations of one to three turns under a few system prompts, that ask for more than they use."""
    arrivals = random.Random(seed)

    def turn(draw: random.Random, number: int, at: float, history: list[int], left: int) -> Offer:
        first = 1000 * (100 * number + left)
        prompt = history + list(range(first, first + draw.randint(1, longest)))
        answer = list(range(first + 500, first + 500 + draw.randint(1, longest)))

        def then(end: float) -> list[Offer]:
            pause = draw.random() / rate
            return [turn(draw, number, end + pause, prompt + answer, left - 1)] if left > 1 else []

        allowed, n = len(answer) + draw.choice((0, 0, 10)), draw.randint(1, most_answers)
        return Offer(at, prompt, len(answer), allowed, output=answer, then=then, kind=f"turn {left}", n=n)

    moment = 0.0
    for number in range(1, count + 1):
        draw, moment = random.Random(f"{seed} {number}"), moment + arrivals.expovariate(rate)
        system = [-5 - draw.randrange(3)] * draw.choice((0, 20, 40))
        yield turn(draw, number, moment, system, draw.randint(1, 3))


def state(manager: CacheManager) -> tuple[Any, ...]:
    """All that a next step could depend on: states of pages, the orders in which they go, and counts. Takes pages."""
    pages = [manager.pool.state(page) for page in range(manager.pool.num_pages)]
    in_line = manager.store.queue.in_order()
    free = [manager.pool.take() for _ in range(manager.pool.num_free)]
    return pages, in_line, free, sorted(manager.prefix_cache.pages()), vars(manager.stats)


def served(offers: Iterator[Offer], fast: bool, **knobs: Any) -> tuple[Results, list[Any], tuple[Any, ...]]:
    simulator = Simulator(cost=cost, fast=fast, **knobs)
    replica = simulator.replica()
    assert isinstance(replica.scheduler, QuietScheduler) is fast
    loop, moments = Loop([replica], offers, TheOnlyOne()), []
    manager = replica.scheduler.manager

    def note(job: Any) -> None:
        moments.append((loop.now, job.number, manager.pool.num_used, manager.pool.num_cached, manager.stats.hit_tokens))

    loop.on_finish.append(note)
    results = loop.run()
    manager.check()
    assert manager.pool.num_used == 0
    return results, moments, state(manager)


KNOBS = st.fixed_dictionaries(
    {
        "system": st.sampled_from([*SYSTEMS, None]),
        "page_size": st.sampled_from([1, 4, 16]),
        "max_tokens_per_step": st.sampled_from([5, 64, 512]),
        "max_sequences": st.sampled_from([3, 8, 64]),
        "num_host_pages": st.sampled_from([0, 8]),
    },
    optional={
        "prefix_cache": st.sampled_from(["none", "hash", "radix"]),
        "partial_hits": st.booleans(),
        "eviction": st.sampled_from(["lru", "lfu", "fifo", "priority"]),
        "order": st.sampled_from(["fcfs", "shortest", "longest_prefix"]),
        "admission": st.sampled_from(
            ["max_utilisation", "whole_prompt", "reserve_everything", "guaranteed_no_evict", "optimistic_ratio"]
        ),
        "victim": st.sampled_from(["last_in_line", "last_arrived", "least_output"]),
        "preemption": st.just("swap"),
        "delay": st.sampled_from(["none", "shared_page"]),
        "mixed": st.booleans(),
    },
)


@settings(max_examples=40, deadline=None)
@given(
    knobs=KNOBS,
    seed=st.integers(0, 999),
    rate=st.sampled_from([5.0, 50.0, 1000.0]),
    slots=st.sampled_from([256, 600, 4000]),
    most_answers=st.sampled_from([1, 1, 3]),
)
@example(  # answers begin together, and are more than the budget
    knobs={"system": "vllm", "page_size": 1, "max_tokens_per_step": 5, "max_sequences": 8, "num_host_pages": 0},
    seed=0,
    rate=5.0,
    slots=256,
    most_answers=3,
)
@example(  # a fork publishes nothing of its own: its answer never fills a page
    knobs={"system": "tgi", "page_size": 16, "max_tokens_per_step": 5, "max_sequences": 8, "num_host_pages": 0},
    seed=0,
    rate=50.0,
    slots=600,
    most_answers=3,
)
def test_steps_that_are_not_looked_at_change_nothing(knobs, seed, rate, slots, most_answers):
    knobs["num_host_pages"] = 8 if "preemption" in knobs else knobs["num_host_pages"]
    knobs["num_pages"] = slots // knobs["page_size"]
    fast = served(chats(seed, 10, rate, 50, most_answers), fast=True, **knobs)
    plain = served(chats(seed, 10, rate, 50, most_answers), fast=False, **knobs)
    assert fast == plain


def test_quiet_sequences_are_really_not_looked_at():
    simulator = Simulator(None, cost=cost, num_pages=500)
    replica = simulator.replica()
    rows = []
    commit = replica.scheduler.commit
    replica.scheduler.commit = lambda plan, tokens: (rows.append(len(plan.samples)), commit(plan, tokens))
    offers = [Offer(0.0, list(range(number * 100, number * 100 + 20)), 100) for number in range(8)]
    results = Loop([replica], offers, TheOnlyOne()).run()
    assert sum(rows) == 2 * 8  # the first token and the last
    assert results.totals.num_tokens == 8 * (20 + 99)


@pytest.mark.parametrize("seed", range(3))
def test_the_simulator_and_the_driver_of_loads_agree(seed):
    def offers() -> Iterator[Offer]:
        return chats(seed, 30, 40.0, 80)

    scheduler = Scheduler(CacheManager(200, 16))
    run = drive(WithoutModel(scheduler), offers(), VirtualClock(StepTime(0.004, 1e-4, 1e-7)))
    results = Simulator(
        None,
        cost=lambda shape: 0.004 + 1e-4 * shape.num_tokens + 1e-7 * shape.context,
        num_pages=200,
        prefix_cache="none",
    ).run(offers())
    driven = sorted((t.due, t.token_times[0], t.token_times[-1], len(t.token_times)) for t in run.timelines)
    table = results.table()
    mine = sorted(zip(table["due"], table["first"], table["last"], table["num_output"], strict=True))
    assert [row[3] for row in mine] == [row[3] for row in driven]
    for ours, theirs in zip(mine, driven, strict=True):
        assert ours[:3] == pytest.approx(theirs[:3], rel=1e-9)
    assert results.totals.num_steps == len(run.steps)
    assert results.utilisation == pytest.approx(run.utilisation, rel=1e-6)


def test_what_can_never_be_served_is_refused_and_the_rest_is_served():
    offers = [Offer(0.0, [1] * 10, 5), Offer(0.1, [1] * 1000, 5), Offer(0.2, [2] * 10, 5)]
    results = Simulator(None, cost=cost, num_pages=10).run(offers)
    assert (len(results.requests), results.totals.num_refused) == (2, 1)
    assert results.attainment(Slo(9, 9)) == 2 / 3


def test_offers_out_of_order_are_refused_with_both_moments():
    with pytest.raises(InvalidQuantity, match=r"due at 1\.0 s, and the one before it came at 2\.0"):
        Simulator(None, cost=cost, num_pages=10).run([Offer(2.0, [1], 1), Offer(1.0, [1], 1)])


def test_a_cost_model_of_ones_own_needs_a_number_of_pages():
    with pytest.raises(InvalidConfig, match="give num_pages"):
        Simulator(None, cost=cost)


def test_a_drafter_is_refused():
    with pytest.raises(InvalidConfig, match="drafter"):
        Simulator("vllm", drafter="prompt_lookup")


def test_the_pool_is_what_the_machine_has_room_for():
    small, large = (Simulator("vllm", model="Llama-3-8B", gpu=gpu).num_pages for gpu in ("L4", "H100"))
    assert 0 < small < large
    with pytest.raises(InvalidConfig, match="more ranks"):
        Simulator("vllm", model="Llama-3-70B", gpu="L4")
    assert Simulator("vllm", model="Llama-3-70B", gpu="H100", ranks=4).num_pages > 0


def test_a_preset_that_quantises_weights_leaves_room_for_more_pages():
    pages = [Simulator(TGI(quantize=quantize), gpu="L4").num_pages for quantize in (None, "eetq", "gptq")]
    assert pages == sorted(set(pages))
    assert Simulator(TGI(), gpu="L4", weight_bits=4).num_pages == pages[-1]


def test_samples_show_every_replica_at_regular_moments():
    results = Simulator(None, cost=cost, num_pages=100).run(chats(1, 20, 20.0, 60), sample_every=0.25)
    timeline = results.timeline()
    assert list(timeline["moment"][:3]) == [0.0, 0.25, 0.5]
    assert set(timeline["pages_used"] + timeline["pages_cached"] + timeline["pages_free"]) == {100}
    assert timeline["num_running"].max() > 0


def test_a_table_has_a_row_for_each_request_and_its_latencies():
    results = Simulator(None, cost=cost, num_pages=100).run(chats(2, 20, 20.0, 60))
    table = results.table()
    assert len(table) == len(results.requests)
    assert table["due"].is_monotonic_increasing
    assert (table["e2e"] >= table["ttft"]).all()
    assert (table["ttft"] > 0).all()
    assert set(table["kind"]) == {"turn 1", "turn 2", "turn 3"}
    assert table["tpot"].isna().sum() == (table["num_output"] == 1).sum()
    assert sorted(table["ttft"].round(9)) == sorted(round(value, 9) for value in results.requests.ttft)


@pytest.mark.parametrize("name", SYSTEMS)
def test_with_a_trace_every_step_is_told_of_at_the_moment_it_ends(name):
    system = SYSTEMS[name]()
    trace = Trace(system.pages_for(4096), system.tokens_per_page)
    told: list[tuple[float, int]] = []
    simulator = Simulator(name, cost=cost, num_pages=trace.num_pages)
    results = simulator.run(
        chats(3, 12, 40.0, 30), trace=trace, on_step=lambda now, replica: told.append((now, replica.num_steps))
    )
    moments = [now for now, _ in told]
    assert [number for _, number in told] == list(range(1, len(trace.steps()) + 1))
    assert moments == sorted(set(moments)) and moments[-1] == results.seconds
    assert set(results.requests.first) | set(results.requests.last) <= set(moments), "tokens come when steps end"


def test_without_a_trace_several_steps_that_decide_nothing_are_told_of_at_once():
    told: list[int] = []
    simulator = Simulator("vllm", cost=cost, num_pages=64)
    results = simulator.run([Offer(0.0, [1, 2, 3], 40)], on_step=lambda now, replica: told.append(replica.num_steps))
    assert told == sorted(set(told)) and told[-1] == results.totals.num_steps == 40
    assert len(told) < 40
