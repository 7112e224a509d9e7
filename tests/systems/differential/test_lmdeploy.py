"""Our cache manager with a radix tree over pages, and LMDeploy's block manager with its block trie, asked the same.

Compared are hits, page tables, what enters and leaves the trie in which order, and what could leave it. Where pagedlab
decided differently, a test says so, and one_page.py takes LMDeploy's way. Not compared: its scheduler's turns of
prefill and decode, which are taken here one sequence at a time.
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
from pagedlab.scheduling.assemble import assemble
from tests.memory.draws import Choose
from tests.systems.differential.one_page import LikeLMDeploy, OnePageAContent
from tests.systems.differential.ours import Answer, Ours, by_content
from tests.systems.differential.peer import Peer
from tests.systems.differential.worlds import ALL, WhatFits, play, play_in_bulk, random_setup


def both(lmdeploy: Peer, page_size: int, num_pages: int, manager: type[CacheManager] = LikeLMDeploy) -> Ours:
    lmdeploy.ask("start", page_size=page_size, num_pages=num_pages)
    trace = Trace(num_pages, page_size)
    return Ours(assemble(page_size=page_size, num_pages=num_pages, prefix_cache="radix", manager=manager, trace=trace))


def memory(lmdeploy: Peer) -> Callable[[Choose], WhatFits]:
    def make(choose: Choose) -> WhatFits:
        setup = random_setup(choose)
        return WhatFits(both(lmdeploy, setup.page_size, setup.num_pages), lmdeploy, by_content, setup)

    return make


def test_block_trie_and_radix_tree_hit_share_and_evict_the_same_pages(lmdeploy: Peer) -> None:
    seen = play_in_bulk(memory(lmdeploy), range(80), 150)
    for what in ("hit", "missed", "extend", "evicted", "release"):
        assert seen[what] > 100, f"{what} happened {seen[what]} times: the run proves little"


@settings(max_examples=15, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_whatever_is_asked_the_answers_are_the_same(lmdeploy: Peer, data: st.DataObject) -> None:
    def choose(n: int) -> int:
        return data.draw(st.integers(0, n - 1))

    play(memory(lmdeploy)(choose), choose, 30)


# What is decided differently


def admit(ours: Ours, theirs: Peer, name: str, *tokens: int) -> tuple[Answer, Answer]:
    details: dict[str, Any] = {"name": name, "tokens": list(tokens), "budget": ALL, "salt": None}
    return ours.admit(**details), theirs.ask("admit", **details)


def test_a_page_computed_twice_stays_in_its_table_in_ours_and_is_given_back_in_lmdeploy(lmdeploy: Peer) -> None:
    ours = both(lmdeploy, 2, 4, CacheManager)
    admit(ours, lmdeploy, "first", 1, 1)
    tables = [answer["memory"]["tables"] for answer in admit(ours, lmdeploy, "second", 1, 1)]
    assert tables[0]["first"] != tables[0]["second"] and tables[1]["first"] == tables[1]["second"]


def test_a_page_that_decoding_fills_is_found_at_once_in_ours_and_with_the_next_page_in_lmdeploy(lmdeploy: Peer) -> None:
    ours = both(lmdeploy, 2, 4, CacheManager)
    admit(ours, lmdeploy, "one", 1)
    said: dict[str, Any] = {"name": "one", "tokens": [2], "budget": ALL}
    filled = [ours.extend(**said), lmdeploy.ask("extend", **said)]
    going_on = [ours.extend(**said), lmdeploy.ask("extend", **said)]
    assert [answer["memory"]["events"] for answer in filled] == [[["publish", "/1.2"]], []]
    assert [answer["memory"]["events"] for answer in going_on] == [[], [["publish", "/1.2"]]]


def test_a_refusal_changes_nothing_in_ours_and_evicts_what_it_can_in_lmdeploy(lmdeploy: Peer) -> None:
    ours = both(lmdeploy, 2, 3)
    admit(ours, lmdeploy, "one", 1, 1, 1)
    ours.release("one")
    lmdeploy.ask("release", name="one")
    refused = admit(ours, lmdeploy, "too long", *[2] * 9)
    assert [answer["hit"] for answer in refused] == [None, None]
    assert [answer["memory"]["events"] for answer in refused] == [[], [["evict", "/1.1"]]]


# The comparison can fail


def evict_the_most_recently_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(EVICTION_ORDERS, "lru", lambda use: -use.parked)


def evict_trunks_before_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pagedlab.scheduling.assemble.leaves_first", lambda order: order)
    monkeypatch.setattr("pagedlab.memory.store.reversed", list, raising=False)


def publish_as_soon_as_a_page_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LikeLMDeploy, "publish", OnePageAContent.publish)


def match_a_page_less(monkeypatch: pytest.MonkeyPatch) -> None:
    match = CacheManager._match
    monkeypatch.setattr(CacheManager, "_match", lambda self, tokens, salt: match(self, tokens[:-1], salt))


@pytest.mark.parametrize(
    "fault",
    [
        evict_the_most_recently_used,
        evict_trunks_before_leaves,
        publish_as_soon_as_a_page_is_full,
        match_a_page_less,
    ],
)
def test_a_fault_planted_in_ours_is_noticed(
    lmdeploy: Peer, monkeypatch: pytest.MonkeyPatch, fault: Callable[..., None]
) -> None:
    """Behaviour 40."""
    fault(monkeypatch)
    with pytest.raises(AssertionError, match=r"(?s)after.*ours.*theirs"):
        play_in_bulk(memory(lmdeploy), range(40), 150)
