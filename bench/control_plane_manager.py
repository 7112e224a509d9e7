"""What the cache manager costs alone, without a scheduler: the same work that ``control_plane_vllm`` gives to vLLM's.

A token more, for each of many sequences:

- ``grow``: the token is appended, gets a slot (``extend``), and the pages that it fills are hashed and published;
- ``tables``: TableMirror.batch(), page tables as a tensor.

A prompt of whose pages some are cached: time in matched pages, whatever else is cached.

- ``look up``: hashes of its pages computed, and the pages found;
- ``come and go``: the same, and the sequence admitted and released.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from bench.control_plane_decode import fill, leave_cached
from bench.control_plane_load import GROW, MATCH, PAGE_SIZE, STEPS, hitting_prompt, prompt
from bench.control_plane_report import Figure, Seconds, Setting, measure
from pagedlab.engine.tables import TableMirror
from pagedlab.memory.manager import CacheManager
from pagedlab.memory.prefix_cache import PrefixCache
from pagedlab.memory.prefix_hash import HashPrefixCache
from pagedlab.memory.prefix_radix import RadixPrefixCache

PREFIX_CACHES: dict[str, Callable[[int], PrefixCache]] = {"hash": HashPrefixCache, "radix": RadixPrefixCache}


class GrowLoad:
    def __init__(self, sequences: int, context: int, pool_pages: int) -> None:
        self.manager = CacheManager(pool_pages, PAGE_SIZE, prefix_cache=HashPrefixCache(PAGE_SIZE))
        self.mirror = TableMirror()
        self.tokens = {number: prompt(number, context) for number in range(sequences)}
        for number, tokens in self.tokens.items():
            self.manager.admit(number, tokens)
            self.manager.publish(number, tokens, len(tokens))

    def run(self) -> Seconds:
        """Seconds a sequence and step."""
        grow = tables = 0.0
        manager = self.manager
        for step in range(STEPS):
            start = time.thread_time()
            manager.begin_step(step)
            for number, tokens in self.tokens.items():
                tokens.append(7)
                manager.extend(number, len(tokens))
                manager.publish(number, tokens, len(tokens))
            grown = time.thread_time()
            self.mirror.batch([manager.table(number) for number in self.tokens])
            done = time.thread_time()
            grow += grown - start
            tables += done - grown
        work = STEPS * len(self.tokens)
        return {"grow": grow / work, "tables": tables / work, "total": (grow + tables) / work}


class MatchLoad:
    def __init__(self, prefix_cache: str, cached: int, matched: int) -> None:
        self.manager = CacheManager(cached + 64, PAGE_SIZE, prefix_cache=PREFIX_CACHES[prefix_cache](PAGE_SIZE))
        self.matched, self.prompt = matched, hitting_prompt(matched)
        leave_cached(self.manager, self.prompt)
        fill(self.manager, cached - matched)

    def run(self) -> Seconds:
        """Seconds a matched page. A step begins each time, as no two requests of a step are one."""
        turns = max(1, 4096 // self.matched)
        start = time.thread_time()
        for _ in range(turns):
            self.manager.begin_step(0)
            found = self.manager.lookup(self.prompt)
        looked = time.thread_time()
        for _ in range(turns):
            self.manager.begin_step(0)
            self.manager.admit(0, self.prompt)
            self.manager.release(0)
        done = time.thread_time()
        assert found == self.matched * PAGE_SIZE
        pages = turns * self.matched
        return {"look up": (looked - start) / pages, "come and go": (done - looked) / pages}


def grow(sequences: int, context: int, pool_pages: int, rounds: int) -> Figure:
    setting: Setting = {"sequences": sequences, "context": context, "pool_pages": pool_pages}
    return measure(GROW, "a sequence and step", setting, GrowLoad(sequences, context, pool_pages).run, rounds=rounds)


def match(prefix_cache: str, cached: int, matched: int, rounds: int) -> Figure:
    setting: Setting = {"prefix_cache": prefix_cache, "cached": cached, "matched": matched}
    return measure(MATCH, "a matched page", setting, MatchLoad(prefix_cache, cached, matched).run, rounds=rounds)
