"""Our cache manager with a radix tree over single tokens, and SGLang's radix cache with its allocator, asked the same.

Compared are hits, tables, what enters and leaves the tree, what could leave it, where prompts part, and the order of
the waiting line by longest match. Where pagedlab decided differently, a test says so, and one_page.py takes SGLang's
way. Not compared: its event loop, admission by ratio and retraction, which hang on a batch on a GPU.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pagedlab.memory.events import Trace
from pagedlab.memory.eviction import EVICTION_ORDERS
from pagedlab.memory.manager import CacheManager
from pagedlab.memory.prefix_radix import RadixPrefixCache
from pagedlab.scheduling.assemble import assemble
from pagedlab.scheduling.order import LongestPrefixMatch
from tests.memory.draws import Choose
from tests.systems.differential.driver import content
from tests.systems.differential.one_page import LikeSGLang
from tests.systems.differential.ours import Answer, Ours, by_content
from tests.systems.differential.peer import Peer
from tests.systems.differential.worlds import ALL, Setup, WhatFits, play, play_in_bulk


def both(sglang: Peer, num_pages: int, manager: type[CacheManager] = LikeSGLang) -> Ours:
    sglang.ask("start", num_pages=num_pages)
    trace = Trace(num_pages, 1)
    return Ours(assemble(page_size=1, num_pages=num_pages, prefix_cache="radix", manager=manager, trace=trace))


def what_became_of_the_tree(answer: Answer) -> Any:
    """SGLang's tree is seen before and after: of what came and went in between nothing is known, nor in which order."""
    events = answer["memory"]["events"]
    evicted, published = ({held for what, held in events if what == kind} for kind in ("evict", "publish"))
    net = {"evicted": sorted(evicted - published), "published": sorted(published - evicted)}
    return by_content({**answer, "memory": {**answer["memory"], "events": net}})


def memory(sglang: Peer) -> Callable[[Choose], WhatFits]:
    def make(choose: Choose) -> WhatFits:
        setup = Setup(1, 10 + choose(60), ALL, 64, caching=True)
        return WhatFits(both(sglang, setup.num_pages), sglang, what_became_of_the_tree, setup)

    return make


def test_both_radix_caches_hit_share_and_evict_the_same_tokens(sglang: Peer) -> None:
    seen = play_in_bulk(memory(sglang), range(80), 150)
    for what in ("hit", "missed", "extend", "evicted", "release"):
        assert seen[what] > 100, f"{what} happened {seen[what]} times: the run proves little"


@settings(max_examples=15, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_whatever_is_asked_the_answers_are_the_same(sglang: Peer, data: st.DataObject) -> None:
    def choose(n: int) -> int:
        return data.draw(st.integers(0, n - 1))

    play(memory(sglang)(choose), choose, 30)


def test_prompts_part_in_the_same_places_and_the_longest_match_goes_first_in_both(sglang: Peer) -> None:
    num_branches = 0
    for seed in range(20):
        choose = random.Random(seed).randrange
        world = memory(sglang)(choose)
        play(world, choose, 80)
        theirs = sglang.ask("branches")
        assert sorted(branches(world.ours.manager.prefix_cache)) == theirs
        num_branches += len(theirs)
        prompts = [world.prompt(choose) for _ in range(8)]
        assert line(world.ours.manager, prompts) == sglang.ask("line", prompts=prompts)
    assert num_branches > 50


def branches(cache: Any) -> Iterator[str]:
    assert isinstance(cache, RadixPrefixCache)
    for salt in (None, "tenant"):
        edges, ends = cache.edges(salt), list[list[int]]()
        for edge in edges:
            before = [] if edge.parent is None else ends[edge.parent]
            ends.append(before + [token for run in edge.runs for token in run])
        parents = [edge.parent for edge in edges]
        yield from (content(end, salt) for number, end in enumerate(ends) if parents.count(number) > 1)


def line(manager: CacheManager, prompts: list[list[int]]) -> list[int]:
    matched: Any = [
        manager.lookup([*prompt, 0]) for prompt in prompts
    ]  # of a waiting prompt all but the last can be hit
    waiting: list[Any] = list(range(len(prompts)))
    order = LongestPrefixMatch()
    return [waiting.pop(order.pick(waiting, matched.__getitem__)) for _ in prompts]


# What is decided differently


def tell(ours: Ours, theirs: Peer, do: str, **details: Any) -> tuple[Answer, Answer]:
    return getattr(ours, do)(**details), theirs.ask(do, **details)


def admit(ours: Ours, theirs: Peer, name: str, *tokens: int) -> tuple[Answer, Answer]:
    return tell(ours, theirs, "admit", name=name, tokens=list(tokens), budget=ALL, salt=None)


def evicted(answers: tuple[Answer, Answer]) -> list[list[str]]:
    return [sorted(held for what, held in answer["memory"]["events"] if what == "evict") for answer in answers]


def test_ours_evicts_as_many_pages_as_are_short_and_sglang_a_whole_node(sglang: Peer) -> None:
    ours = both(sglang, 4, CacheManager)
    admit(ours, sglang, "old", 1, 2, 3)
    tell(ours, sglang, "release", name="old")
    assert evicted(admit(ours, sglang, "new", 7, 8)) == [["/1.2.3"], ["/1", "/1.2", "/1.2.3"]]


def test_a_hit_that_ends_inside_a_node_keeps_the_rest_of_it_in_sglang_and_nothing_in_ours(sglang: Peer) -> None:
    ours = both(sglang, 7, CacheManager)
    for name, tokens in {"hit": (1, 2), "not hit": (5, 6)}.items():
        admit(ours, sglang, name, *tokens)
        tell(ours, sglang, "release", name=name)
    admit(ours, sglang, "hits a part", 1, 3)
    assert evicted(admit(ours, sglang, "new", 8, 9, 10)) == [["/1.2"], ["/5", "/5.6"]]


def test_output_is_found_while_it_is_decoded_in_ours_and_when_the_request_ends_in_sglang(sglang: Peer) -> None:
    ours = both(sglang, 4, CacheManager)
    admit(ours, sglang, "one", 1)
    said = tell(ours, sglang, "extend", name="one", tokens=[2], budget=ALL)
    assert [answer["memory"]["events"] for answer in said] == [[["publish", "/1.2"]], []]


# The comparison can fail


def evict_the_most_recently_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(EVICTION_ORDERS, "lru", lambda use: -use.parked)


def forget_to_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LikeSGLang, "_cut_after", lambda self, path: None)


def publish_output_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LikeSGLang, "publish", LikeSGLang._insert)


def match_a_page_less(monkeypatch: pytest.MonkeyPatch) -> None:
    match = CacheManager._match
    monkeypatch.setattr(CacheManager, "_match", lambda self, tokens, salt: match(self, tokens[:-1], salt))


@pytest.mark.parametrize(
    "fault", [evict_the_most_recently_used, forget_to_cut, publish_output_at_once, match_a_page_less]
)
def test_a_fault_planted_in_ours_is_noticed(
    sglang: Peer, monkeypatch: pytest.MonkeyPatch, fault: Callable[..., None]
) -> None:
    """Behaviour 40."""
    fault(monkeypatch)
    with pytest.raises(AssertionError, match=r"(?s)after.*ours.*theirs"):
        play_in_bulk(memory(sglang), range(40), 150)
