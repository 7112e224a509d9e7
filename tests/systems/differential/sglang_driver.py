"""SGLang's radix cache, allocator and schedule policy, without a model. Runs where SGLang is installed (see driver.py).

RadixCache matches, inserts, splits, locks and evicts; TokenToKVPoolAllocator and ReqToTokenPool hold the slots; the
order of the waiting line is SchedulePolicy's. Written here is what its scheduler does around them: match, lock, evict
what is short, allocate, and a checkpoint when a prompt or a request ends. Stand-ins are the request, a record of what
the cache reads of it, and torchvision, which SGLang's image code wants and a CPU build of torch has not.
"""

from __future__ import annotations

import sys
from array import array
from importlib.util import find_spec
from types import ModuleType, SimpleNamespace
from typing import Any

from driver import content, serve


class Images(ModuleType):
    def __getattr__(self, name: str) -> None:
        if name.startswith("__"):
            raise AttributeError(name)


def load() -> tuple[str, object]:
    import sglang

    if find_spec("torchvision") is None:
        for name in ("torchvision", "torchvision.io", "torchvision.transforms", "torchvision.transforms.functional"):
            sys.modules[name] = Images(name)
    import sglang.srt.managers.schedule_policy
    import sglang.srt.mem_cache.radix_cache

    return sglang.__version__, Cache()


class Cache:
    def start(self, num_pages: int) -> None:
        import torch
        from sglang.srt.mem_cache.allocator.token import TokenToKVPoolAllocator
        from sglang.srt.mem_cache.cache_init_params import CacheInitParams
        from sglang.srt.mem_cache.memory_pool import ReqToTokenPool
        from sglang.srt.mem_cache.radix_cache import RadixCache

        self.slots = TokenToKVPoolAllocator(num_pages, torch.float32, "cpu", None, need_sort=False)
        self.rows = ReqToTokenPool(64, 4096, "cpu", enable_memory_saver=False)
        self.cache = RadixCache(CacheInitParams(False, self.rows, self.slots, page_size=1))
        self.requests: dict[str, Any] = {}
        self.known: dict[str, int] = {}  #: what can be hit, and where

    def admit(self, name: str, tokens: list[int], budget: int, salt: str | None) -> dict[str, Any]:
        """Match, lock, make room, and a checkpoint after the prompt is computed. (No chunks.)"""
        found = self._match(tokens[:-1], salt)
        kv = SimpleNamespace(
            req_pool_idx=self.rows.free_slots.pop(0),
            cache_inserted_len=0,
            cache_protected_len=found.device_prefix_len,
            swa_evict_floor=0,
        )
        request = self.requests[name] = SimpleNamespace(
            kv=kv,
            full_untruncated_fill_ids=array("q", tokens),
            origin_input_ids=array("q", tokens),
            extra_key=None,
            cache_salt=salt,
            priority=0,
            last_node=found.last_device_node,
            lock=self.cache.lock(found.last_device_node),
        )
        self.rows.write(
            (kv.req_pool_idx, slice(0, found.device_prefix_len)),
            self.cache.path_device_indices(found.last_device_node).int(),
        )
        self._allocate(request, found.device_prefix_len, len(tokens))
        self.cache.checkpoint(request, up_to=len(tokens))
        return {"hit": found.device_prefix_len, "memory": self._memory()}

    def extend(self, name: str, tokens: list[int], budget: int) -> dict[str, Any]:
        """Decoded tokens: slots for them, and nothing that others could find."""
        request = self.requests[name]
        start = len(request.full_untruncated_fill_ids)
        request.full_untruncated_fill_ids.extend(tokens)
        self._allocate(request, start, start + len(tokens))
        return {"done": True, "memory": self._memory()}

    def release(self, name: str) -> dict[str, Any]:
        request = self.requests.pop(name)
        self.cache.checkpoint(request, up_to=len(request.full_untruncated_fill_ids))
        self.cache.unlock(request.lock)
        self.rows.free_slots.append(request.kv.req_pool_idx)
        return {"memory": self._memory()}

    # The tree alone

    def lookup(self, tokens: list[int], salt: str | None) -> int:
        return int(self._match(tokens, salt).device_prefix_len)

    def branches(self) -> list[str]:
        """Where prompts part. (A node with one child is no such place, nor is the root.)"""
        parting = [node for node in self._nodes()[1:] if len(node.children) > 1]
        return sorted(content(self._tokens(node), node.key.cache_salt) for node in parting)

    def line(self, prompts: list[list[int]]) -> list[int]:
        """Numbers of waiting prompts, the longest prefix match first."""
        from sglang.srt.managers.schedule_policy import SchedulePolicy

        matched = [self.lookup(prompt, None) for prompt in prompts]
        waiting = [SimpleNamespace(rid=at, num_matched_prefix_tokens=num) for at, num in enumerate(matched)]
        SchedulePolicy._sort_by_longest_prefix(waiting, set())
        return [request.rid for request in waiting]

    # What is seen

    def _match(self, tokens: list[int], salt: str | None) -> Any:
        from sglang.srt.mem_cache.base_prefix_cache import MatchPrefixParams
        from sglang.srt.mem_cache.radix_cache import RadixKey

        return self.cache.match_prefix(MatchPrefixParams(key=RadixKey(array("q", tokens), cache_salt=salt)))

    def _allocate(self, request: Any, start: int, stop: int) -> None:
        self.slots.evict_to_free_tokens(self.cache, stop - start)
        self.rows.write((request.kv.req_pool_idx, slice(start, stop)), self.slots.alloc(stop - start).int())

    def _nodes(self) -> list[Any]:
        found, ahead = [], [self.cache.root_node]
        while ahead:
            found.append(ahead.pop())
            ahead += found[-1].children.values()
        return found

    def _tokens(self, node: Any) -> list[int]:
        tokens: list[int] = []
        while node.parent is not None:
            tokens[:0] = node.key.raw_token_ids()
            node = node.parent
        return tokens

    def _memory(self) -> dict[str, Any]:
        known: dict[str, int] = {}
        parked = []
        for node in self._nodes():
            tokens = self._tokens(node)
            for at, slot in enumerate(node.value, start=len(tokens) - len(node.value)):
                held = content(tokens[: at + 1], node.key.cache_salt)
                known[held] = int(slot)
                if node.lock_ref == 0:
                    parked.append([int(slot), held])
        evicted = sorted(self.known.keys() - known.keys())
        published = sorted(known.keys() - self.known.keys())
        self.known = known
        rows = self.rows.req_to_token
        tables = {
            name: rows[request.kv.req_pool_idx, : len(request.full_untruncated_fill_ids)].tolist()
            for name, request in self.requests.items()
        }
        events = [["evict", held] for held in evicted] + [["publish", held] for held in published]
        return {"events": events, "tables": tables, "queue": [[0, None]] * self.slots.available_size() + parked}


if __name__ == "__main__":
    serve(load)
