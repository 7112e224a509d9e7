"""What makes TensorRT-LLM itself: parts of pages reused, priorities that expire, host memory, two capacity policies."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from pagedlab.memory.copies import PageCopy
from pagedlab.memory.eviction import Retention
from pagedlab.scheduling.scheduler import Scheduler
from pagedlab.systems import TensorRTLLM
from tests.systems.serving import alone, chats, found, names, offers, one, pages, preemptions, said, served, step


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def scheduler_of(num_pages: int, clock: Clock | None = None, **knobs: Any) -> Scheduler:
    """Pages of 4 tokens."""
    system = TensorRTLLM(tokens_per_block=4)
    return system.scheduler(4 * num_pages, manager=partial(system.knobs()["manager"], clock=clock or Clock()), **knobs)


def test_the_page_on_which_two_prompts_part_is_copied_and_used_as_far_as_it_serves():
    scheduler = TensorRTLLM().scheduler(512)
    first = one(scheduler, "a", range(64), 8)
    step(scheduler)
    other = one(scheduler, "b", [*range(50), 900, 901], 8)
    plan = step(scheduler)
    assert other.sequences[0].num_cached == 50
    shared, parts = pages(scheduler, first), pages(scheduler, other)
    assert parts[0] == shared[0] and parts[1] != shared[1]
    assert plan.copies == [PageCopy(shared[1], parts[1])], "the first reads on in its own page"
    assert [(c.start, c.stop) for c in plan.chunks if c.sequence is other.sequences[0]] == [(50, 52)]


def test_without_partial_reuse_a_hit_ends_with_the_last_full_page():
    scheduler = TensorRTLLM(enable_partial_reuse=False).scheduler(512)
    alone(scheduler, "a", range(64))
    other = alone(scheduler, "b", [*range(50), 900, 901])
    assert other.sequences[0].num_cached == 32


def test_a_low_priority_goes_first_whoever_came_first_and_a_wish_expires():
    clock = Clock()
    scheduler = scheduler_of(4, clock)
    prompts = {"kept": [1] * 5, "given up": [2] * 5, "plain": [3] * 5}
    wishes = {"kept": Retention(80, seconds=10.0), "given up": Retention(10)}
    for name, prompt in prompts.items():
        alone(scheduler, name, prompt, retention=(wishes[name],) if name in wishes else ())

    def left() -> list[str]:
        return [name for name, prompt in prompts.items() if found(scheduler, prompt[:4])]

    assert left() == list(prompts)
    alone(scheduler, "press", [7] * 5)
    assert left() == ["kept", "plain"]
    alone(scheduler, "press again", [8] * 9)
    assert left() == ["kept"], "among equals the least recently used goes, but never before a lower priority"
    clock.now = 10.0
    alone(scheduler, "and again", [9] * 13)
    assert left() == [], "35 is everybody's, and it was the first to leave"


def test_a_wish_may_hold_for_a_part_of_a_prompt():
    scheduler = scheduler_of(4)
    alone(scheduler, "a", range(13), retention=(Retention(90, start=0, stop=4), Retention(0, start=8)))
    queue = scheduler.manager.store.queue
    assert [queue.use_of(page).priority for page in queue.in_order()] == [0, 35, 90]


def test_leaves_go_before_what_they_continue_whatever_their_priority():
    scheduler = scheduler_of(4)
    alone(scheduler, "a", range(9), retention=(Retention(0, stop=4), Retention(90, start=4)))
    alone(scheduler, "b", [50] * 9)
    assert found(scheduler, range(8)) == 4, "the trunk would be worth nothing to a leaf that lost it"


def test_what_the_device_evicts_is_found_in_host_memory_and_copied_back():
    scheduler = scheduler_of(4, num_host_pages=8)
    alone(scheduler, "a", range(9))
    alone(scheduler, "b", [50] * 16)
    stats = scheduler.manager.stats
    assert stats.offloads >= 2 and found(scheduler, range(8)) == 8
    other = one(scheduler, "c", range(9), 2)
    plan = step(scheduler)
    assert other.sequences[0].num_cached == 8
    back = [copy for copy in plan.copies if copy.source >= 4]
    assert [copy.target for copy in back] == pages(scheduler, other)[:2] and stats.returns == 2


def test_only_what_is_worth_35_goes_to_host_memory():
    for priority, cached in ((34, 0), (35, 4)):
        scheduler = scheduler_of(2, num_host_pages=4)
        alone(scheduler, "a", range(5), retention=(Retention(priority),))
        alone(scheduler, "b", [50] * 8)
        assert found(scheduler, range(4)) == cached
    system = TensorRTLLM(tokens_per_block=4, secondary_offload_min_priority=0)
    scheduler = system.scheduler(8, num_host_pages=4)
    alone(scheduler, "a", range(5), retention=(Retention(1),))
    alone(scheduler, "b", [50] * 8)
    assert found(scheduler, range(4)) == 4


def test_a_page_that_came_back_from_the_host_says_what_it_said_before():
    """On the real model: the same prompts twice, with others between them that need all pages."""
    prompts, system = chats(6, seed=2), TensorRTLLM(tokens_per_block=8)
    rounds = [*prompts, *chats(10, seed=3), *prompts]
    plain, _ = said(None, rounds, num_pages=512)
    mine, llm = said(system, rounds, num_pages=24, num_host_pages=200, max_sequences=2)
    assert mine == plain
    assert llm.engine.manager.stats.returns > 5


def test_guaranteed_no_evict_never_preempts_where_max_utilization_does():
    careful = TensorRTLLM(tokens_per_block=8)
    bold = TensorRTLLM(tokens_per_block=8, capacity_scheduler_policy="MAX_UTILIZATION")
    runs = [served(system.scheduler(768), offers(40, 5)) for system in (careful, bold)]
    assert preemptions(runs[0]) == 0 < preemptions(runs[1])
    assert max(s.num_sequences for s in runs[1].steps) > max(s.num_sequences for s in runs[0].steps)


def test_guaranteed_no_evict_admits_who_can_finish_with_the_pages_left():
    scheduler = scheduler_of(10)
    one(scheduler, "a", [1] * 8, 17)  # 6 pages in the end: the last token needs no slot
    one(scheduler, "b", [2] * 8, 9)  # 4
    one(scheduler, "c", [3], 2)
    assert names(step(scheduler)) == ["a", "b"]
    assert scheduler.manager.num_available == 6, "there is room now, and there will not be"


def test_max_utilization_admits_one_steps_need_and_pauses_who_arrived_last():
    system = TensorRTLLM(tokens_per_block=4, capacity_scheduler_policy="MAX_UTILIZATION")
    scheduler = system.scheduler(40)
    for name, token in zip("abc", (1, 2, 3), strict=True):
        one(scheduler, name, [token] * 9, 24)
    assert names(step(scheduler)) == ["a", "b", "c"]
    while not (plan := step(scheduler)).preempted:
        pass
    assert [victim.request.id for victim in plan.preempted] == ["c"]


@pytest.mark.parametrize("policy", ["GUARANTEED_NO_EVICT", "MAX_UTILIZATION"])
def test_a_request_whose_next_page_another_is_computing_is_put_off(policy: str):
    system = TensorRTLLM(capacity_scheduler_policy=policy)
    scheduler = system.scheduler(2048)
    twins = [one(scheduler, name, [*range(80), last], 4) for name, last in (("a", 900), ("b", 901))]
    one(scheduler, "stranger", range(500, 580), 4)
    assert names(step(scheduler)) == ["a", "stranger"]
    assert sorted(names(step(scheduler))) == ["a", "b", "stranger"]
    assert twins[1].sequences[0].num_cached == 64, "both full pages"


def test_without_block_reuse_nobody_waits_for_pages_of_others():
    scheduler = TensorRTLLM(enable_block_reuse=False).scheduler(2048)
    for name in "ab":
        one(scheduler, name, range(80), 4)
    assert names(step(scheduler)) == ["a", "b"]
