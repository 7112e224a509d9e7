"""What makes vLLM itself: the order of its free queue, registration at allocation, and how it takes pages back."""

from __future__ import annotations

import random

import pytest

from pagedlab.memory.events import EventKind, Trace
from pagedlab.memory.pool import PageState
from pagedlab.systems import VLLM
from tests.systems.serving import alone, names, offers, one, pages, served, step


class FreeQueue:
    """One line of all pages that nobody uses, as its own words have it, replayed from the trace of what happened."""

    def __init__(self, num_pages: int) -> None:
        self.line = list(range(num_pages))
        self.hashed: set[int] = set()
        self.references = [0] * num_pages
        self.taken = self.hit = 0

    def follow(self, trace: Trace) -> None:
        for event in trace:
            page = event.page
            if event.kind is EventKind.ALLOCATE:
                assert page == self.line.pop(0), "the next page is the head of the line"
                self.hashed.discard(page)
                self.references[page] = 1
                self.taken += 1
            elif event.kind is EventKind.SHARE:
                if not self.references[page]:
                    self.line.remove(page)
                    self.hit += 1
                self.references[page] += 1
            elif event.kind is EventKind.RELEASE:
                self.references[page] -= 1
                if not self.references[page]:
                    self.line.insert(len(self.line) if page in self.hashed else 0, page)
            elif event.kind is EventKind.PUBLISH:
                self.hashed.add(page)


@pytest.mark.parametrize("seed", range(4))
def test_every_page_ever_taken_stood_at_the_head_of_the_free_queue(seed: int):
    """Hashed pages join at the tail, last page first, and blank ones at the head; a hit leaves from the middle."""
    trace = Trace(48, 16)
    run = served(VLLM(max_num_batched_tokens=100).scheduler(768, trace=trace), offers(60, seed))
    queue = FreeQueue(48)
    queue.follow(trace)
    assert queue.taken > 200 and queue.hit > 20
    assert sum(t.num_preemptions for t in run.timelines) > 0


def test_a_sequences_tail_is_evicted_before_its_head_and_blank_pages_before_both():
    scheduler = VLLM(block_size=4).scheduler(24)
    alone(scheduler, "a", range(9))  # two full pages, and a third that nobody can hit
    pool = scheduler.manager.pool
    assert [pool.state(page) for page in range(3)] == [PageState.CACHED, PageState.CACHED, PageState.FREE]
    other = one(scheduler, "b", range(100, 120), 1)
    scheduler.schedule()
    assert pages(scheduler, other) == [2, 3, 4, 5, 1], "the blank one that came last, blank ones, then the tail"
    assert scheduler.manager.prefix_cache.holds(0)


def test_full_pages_are_registered_when_they_are_allocated_so_that_one_step_can_share():
    scheduler = VLLM(block_size=4).scheduler(64)
    twins = [one(scheduler, name, [*range(8), last], 4) for name, last in (("a", 90), ("b", 91))]
    plan = scheduler.schedule()
    assert [(chunk.start, chunk.stop) for chunk in plan.chunks] == [(0, 9), (8, 9)]
    first, second = (pages(scheduler, twin) for twin in twins)
    assert first[:2] == second[:2] and first[2] != second[2]
    assert [scheduler.manager.pool.refcount(page) for page in first] == [2, 2, 1]


def test_two_pages_may_hold_the_same_and_no_table_is_rewritten():
    scheduler = VLLM(block_size=4).scheduler(64)
    twins = [one(scheduler, name, range(6), 12) for name in "ab"]  # both go on alike in pages of their own
    step(scheduler)
    before = [pages(scheduler, twin) for twin in twins]
    for _ in range(6):
        step(scheduler)
    after = [pages(scheduler, twin) for twin in twins]
    assert [table[:2] for table in after] == before and after[0][1] != after[1][1]
    assert all(scheduler.manager.prefix_cache.holds(table[1]) for table in after)


def test_one_budget_the_running_first_then_the_waiting():
    scheduler = VLLM(max_num_batched_tokens=20).scheduler(512)
    one(scheduler, "a", range(30), 5)
    assert [(c.start, c.stop) for c in step(scheduler).chunks] == [(0, 20)]
    one(scheduler, "b", range(100, 130), 5)
    assert [(c.start, c.stop) for c in step(scheduler).chunks] == [(20, 30), (0, 10)]
    assert [(c.start, c.stop) for c in step(scheduler).chunks] == [(30, 31), (10, 29)]


def test_the_last_running_gives_way_and_waits_at_the_head_of_the_line():
    scheduler = VLLM(block_size=4).scheduler(32)
    one(scheduler, "a", [1] * 12, 12)
    one(scheduler, "b", [2] * 12, 12)
    step(scheduler)
    one(scheduler, "c", [3], 2)
    while not (plan := step(scheduler)).preempted:
        pass
    assert [victim.request.id for victim in plan.preempted] == ["b"]
    assert scheduler.waiting[0].request.id == "b"


def test_by_priority_the_least_urgent_gives_way():
    scheduler = VLLM(block_size=4, scheduling_policy="priority").scheduler(32)
    one(scheduler, "urgent", [1] * 12, 12, priority=0)
    one(scheduler, "patient", [2] * 12, 12, priority=7)
    one(scheduler, "between", [3], 2, priority=3)
    while not (plan := step(scheduler)).preempted:
        pass
    assert [victim.request.id for victim in plan.preempted] == ["patient"]


def test_nobody_is_admitted_in_a_step_that_preempted():
    scheduler = VLLM(block_size=4).scheduler(32)
    one(scheduler, "a", [1] * 12, 12)
    one(scheduler, "b", [2] * 12, 12)
    for _ in range(4):
        step(scheduler)
    one(scheduler, "c", [3], 2)  # it would fit where b was
    while not (plan := step(scheduler)).preempted:
        pass
    assert names(plan) == ["a"] and len(scheduler.waiting) == 2


def test_what_was_preempted_is_computed_again_and_hits_what_is_left_of_it():
    draw = random.Random(3)
    scheduler = VLLM(block_size=4).scheduler(64)
    for name in "ab":
        one(scheduler, name, [draw.randrange(100) for _ in range(20)], 20)
    while not (plan := step(scheduler)).preempted:
        pass
    victim = plan.preempted[0]
    said = list(victim.token_ids)
    while scheduler.has_work:
        step(scheduler)
    assert victim.token_ids[: len(said)] == said and victim.num_output == 20
