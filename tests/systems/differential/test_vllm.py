"""The vllm preset and vLLM itself are asked the same, and do the same: to the page, the chunk and the queue.

Where pagedlab decided differently, a test says so, and a stand-in takes vLLM's way (like_vllm.py), so that nothing
else is left out of the comparison.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pagedlab.memory.events import Trace
from pagedlab.memory.eviction import EVICTION_ORDERS
from pagedlab.memory.manager import CacheManager
from pagedlab.scheduling.victims import VICTIMS
from pagedlab.systems import VLLM
from pagedlab.systems.vllm import ReserveFullISL
from tests.memory.draws import Choose
from tests.systems.differential.like_vllm import FirstPublished
from tests.systems.differential.ours import Answer, Ours, up_to_names_of_pages
from tests.systems.differential.peer import Peer
from tests.systems.differential.worlds import (
    MemoryWorld,
    SchedulerWorld,
    Setup,
    World,
    play,
    play_in_bulk,
    random_setup,
)

Make = Callable[[Choose], World]


def both(vllm: Peer, setup: Setup, *, like_vllm: bool = True, **options: Any) -> Ours:
    """A preset and vLLM with the same options, given by vLLM's names. Returns ours."""
    system = VLLM(
        block_size=setup.page_size,
        max_num_batched_tokens=setup.budget,
        max_num_seqs=setup.max_sequences,
        enable_prefix_caching=setup.caching,
        scheduling_policy=options.get("policy", "fcfs"),
        scheduler_reserve_full_isl=options.get("scheduler_reserve_full_isl", True),
    )
    vllm.ask("start", **setup._asdict(), **{"policy": "fcfs", **options})
    knobs: dict[str, Any] = {"trace": Trace(setup.num_pages, setup.page_size)}
    if like_vllm and setup.caching:
        knobs["prefix_cache"] = FirstPublished(setup.page_size)
    return Ours(system.scheduler(setup.page_size * setup.num_pages, **knobs))


def to_the_page(setup: Setup) -> Callable[[Answer], Answer]:
    """Without a prefix cache all pages are blank when they come back, and are counted."""
    return (lambda answer: answer) if setup.caching else up_to_names_of_pages


class Memory(MemoryWorld):
    def reset(self, choose: Choose) -> None:
        """After a reset vLLM takes blank pages as they were to be evicted; ours, from the lowest number on."""
        if not self.live:
            self.seen_as = up_to_names_of_pages
        super().reset(choose)


def memory(vllm: Peer) -> Make:
    def make(choose: Choose) -> World:
        setup = random_setup(choose)
        return Memory(both(vllm, setup), vllm, to_the_page(setup), setup)

    return make


def scheduler(vllm: Peer) -> Make:
    def make(choose: Choose) -> World:
        setup = random_setup(choose)
        ours = both(vllm, setup, scheduler_reserve_full_isl=choose(3) != 0)
        return SchedulerWorld(ours, vllm, to_the_page(setup), setup)

    return make


WORLDS = pytest.mark.parametrize("world", [memory, scheduler])


def test_the_cache_managers_hit_evict_and_line_up_the_same_pages(vllm: Peer) -> None:
    seen = play_in_bulk(memory(vllm), range(60), 150)
    for what in ("hit", "missed", "refused", "not extended", "evicted", "release", "cleared"):
        assert seen[what] > 15, f"{what} happened {seen[what]} times: the run proves little"


def test_the_schedulers_admit_cut_preempt_and_finish_the_same_requests(vllm: Peer) -> None:
    seen = play_in_bulk(scheduler(vllm), range(100, 140), 200)
    for what in ("hit", "evicted", "admitted", "preempted", "finished", "waiting", "chunked", "abort"):
        assert seen[what] > 20, f"{what} happened {seen[what]} times: the run proves little"


@WORLDS
@settings(max_examples=15, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_whatever_is_asked_the_answers_are_the_same(
    vllm: Peer, world: Callable[[Peer], Make], data: st.DataObject
) -> None:
    def choose(n: int) -> int:
        return data.draw(st.integers(0, n - 1))

    play(world(vllm)(choose), choose, 30)


# With priorities


class Priorities(SchedulerWorld):
    """It ends when somebody gives way: from there on vLLM may let those stand still who come after it in its batch."""

    priorities = 3

    def step(self, choose: Choose) -> None:
        if not self.seen["preempted"]:
            super().step(choose)


def who(answer: Answer) -> Answer:
    """Who comes in, runs, waits and gives way. A batch has no order: vLLM's is that in which they came in."""
    parts: Answer = {key: answer[key] for key in ("admitted", "preempted", "waiting") if key in answer}
    if not answer.get("preempted"):
        parts |= {key: sorted(answer[key]) for key in ("chunks", "running", "finished") if key in answer}
    return parts


@pytest.mark.parametrize("caching", [True, False], ids=["with room and hits", "without"])
def test_with_priorities_the_same_come_in_wait_and_are_the_first_to_give_way(vllm: Peer, caching: bool) -> None:
    def make(choose: Choose) -> World:
        pages = 150 if caching else 6 + choose(25)
        setup = Setup(1 + choose(4), pages, 1000, 1 + choose(6), caching)
        return Priorities(both(vllm, setup, policy="priority"), vllm, who, setup)

    seen = play_in_bulk(make, range(25), 120)
    assert seen["waiting"] > 100 and seen["admitted"] > 200 and (seen["hit"] if caching else seen["preempted"]) > 5


# What is decided differently

SMALL = Setup(page_size=2, num_pages=3, budget=64, max_sequences=4, caching=True)


def ask_both(ours: Ours, theirs: Peer, do: str, **details: Any) -> tuple[Answer, Answer]:
    return getattr(ours, do)(**details), theirs.ask(do, **details)


def tables(answers: tuple[Answer, Answer], name: str) -> list[list[int]]:
    return [answer["memory"]["tables"][name] for answer in answers]


def admit(ours: Ours, theirs: Peer, name: str, *tokens: int) -> tuple[Answer, Answer]:
    return ask_both(ours, theirs, "admit", name=name, tokens=list(tokens), budget=9, salt=None)


def test_of_equal_pages_ours_hits_the_one_with_the_lowest_number_and_vllm_the_one_published_first(vllm: Peer) -> None:
    ours = both(vllm, SMALL, like_vllm=False)
    for name, tokens in {"page 0": [7], "page 1": [1, 1], "page 2": [7]}.items():
        admit(ours, vllm, name, *tokens)
    ask_both(ours, vllm, "release", name="page 0")
    assert tables(admit(ours, vllm, "equal", 1, 1), "equal") == [[0], [0]]
    ask_both(ours, vllm, "release", name="page 2")
    assert tables(admit(ours, vllm, "hit", 1, 1, 2), "hit") == [[0, 2], [1, 2]]


def test_who_comes_after_one_that_gave_way_goes_on_in_ours_and_stands_still_in_vllm(vllm: Peer) -> None:
    ours = both(vllm, SMALL, policy="priority")
    ask_both(ours, vllm, "add", name="late", prompt=[1], says=[1, 1, 1], priority=1)
    ask_both(ours, vllm, "step")
    ask_both(ours, vllm, "add", name="urgent", prompt=[2, 2, 2], says=[2, 2], priority=0)
    ask_both(ours, vllm, "step")
    answers = ask_both(ours, vllm, "step")
    assert [answer["preempted"] for answer in answers] == [["late"], ["late"]]
    assert [answer["chunks"] for answer in answers] == [[["urgent", 3, 4]], []]


def test_of_blank_pages_both_take_the_one_just_freed(vllm: Peer) -> None:
    ours = both(vllm, SMALL, like_vllm=False)
    admit(ours, vllm, "page 0", 7)
    ask_both(ours, vllm, "release", name="page 0")
    assert tables(admit(ours, vllm, "next", 7), "next") == [[0], [0]]


# The comparison can fail


def publish_late(monkeypatch: pytest.MonkeyPatch) -> None:
    publish = CacheManager.publish
    monkeypatch.setattr(CacheManager, "publish", lambda self, name, tokens, num: publish(self, name, tokens, num - 1))


def release_heads_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pagedlab.memory.store.reversed", list, raising=False)


def evict_the_most_recently_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(EVICTION_ORDERS, "lru", lambda use: -use.parked)


def hit_the_last_token_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        CacheManager,
        "_match",
        lambda self, tokens, salt: self.prefix_cache.match(tokens, len(tokens) // self.page_size, salt),
    )


def preempt_the_first_in_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(VICTIMS, "last_in_line", lambda candidates: candidates[0])


def admit_by_the_first_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ReserveFullISL, "admits", lambda self, sequence, inside: True)


MEMORY_FAULTS = [publish_late, release_heads_first, evict_the_most_recently_used, hit_the_last_token_too]
SCHEDULER_FAULTS = [publish_late, evict_the_most_recently_used, preempt_the_first_in_line, admit_by_the_first_chunk]


@pytest.mark.parametrize(
    ("world", "fault"),
    [(memory, fault) for fault in MEMORY_FAULTS] + [(scheduler, fault) for fault in SCHEDULER_FAULTS],
)
def test_a_fault_planted_in_ours_is_noticed(
    vllm: Peer, monkeypatch: pytest.MonkeyPatch, world: Callable[[Peer], Make], fault: Callable[..., None]
) -> None:
    """Behaviour 40."""
    fault(monkeypatch)
    with pytest.raises(AssertionError, match=r"(?s)after.*ours.*theirs"):
        play_in_bulk(world(vllm), range(100, 160), 150)
