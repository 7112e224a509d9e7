"""The same load through vLLM's own cache manager and block table.

    python -m bench.control_plane_vllm [--quick] [--json FILE]

It runs where vLLM is installed (pagedlab need not be), and says so where it is not. vLLM is driven as its scheduler
does it, with its defaults: SHA-256 of pickled tokens as hash of a block, one group of full-attention layers.

- ``grow``: ``Request.append_output_token_ids``, which hashes a block that is full, and
  ``KVCacheManager.allocate_slots``, which finds a slot and publishes full blocks;
- ``tables``: ``BlockTable.append_row`` for sequences with a new block, and ``commit_block_table``;
- ``look up``: a Request, which hashes the prompt's blocks once and for all, and ``get_computed_blocks``;
- ``come and go``: the same, ``allocate_slots`` and ``free``.

Not included: its scheduler, and slot mappings, which are a GPU kernel there.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from typing import Any

try:
    import vllm
    from vllm import SamplingParams
    from vllm.utils.hashing import sha256
    from vllm.v1.core.kv_cache_manager import KVCacheManager
    from vllm.v1.core.kv_cache_utils import get_request_block_hasher, init_none_hash
    from vllm.v1.kv_cache_interface import FullAttentionSpec, KVCacheConfig, KVCacheGroupSpec
    from vllm.v1.request import Request, RequestStatus
    from vllm.v1.worker.block_table import BlockTable
except ImportError as error:
    sys.exit(f"nothing was measured: this needs vLLM in the same environment ({error})")

import torch

from bench.control_plane_load import (
    BATCHES,
    CONTEXT,
    GROW,
    MATCH,
    MATCHES,
    PAGE_SIZE,
    POOL,
    STEPS,
    hitting_prompt,
    passer_by,
    prompt,
)
from bench.control_plane_report import Figure, Seconds, Setting, main, measure

hasher = get_request_block_hasher(PAGE_SIZE, sha256)


def manager_of(num_blocks: int) -> Any:
    spec = FullAttentionSpec(block_size=PAGE_SIZE, num_kv_heads=3, head_size=64, dtype=torch.float32)
    config = KVCacheConfig(num_blocks + 1, [], [KVCacheGroupSpec(["layer"], spec)])  # one block is vLLM's own
    return KVCacheManager(
        config, max_model_len=2**20, scheduler_block_size=PAGE_SIZE, hash_block_size=PAGE_SIZE, enable_caching=True
    )


def request_of(name: str, tokens: list[int]) -> Any:
    params = SamplingParams(max_tokens=2**20, ignore_eos=True)
    return Request(name, tokens, params, None, block_hasher=hasher)


def leave_cached(manager: Any, name: str, tokens: list[int]) -> None:
    request = request_of(name, tokens)
    assert manager.allocate_slots(request, len(tokens)) is not None
    manager.free(request)


class GrowLoad:
    def __init__(self, sequences: int, context: int, pool_pages: int, rounds: int) -> None:
        self.manager = manager_of(pool_pages)
        longest = context + (rounds + 1) * STEPS
        self.table = BlockTable(
            PAGE_SIZE, sequences, -(-longest // PAGE_SIZE), sequences, False, torch.device("cpu"), 1
        )
        self.requests = [request_of(str(number), prompt(number, context)) for number in range(sequences)]
        for row, request in enumerate(self.requests):
            blocks = self.manager.allocate_slots(request, request.num_tokens)
            request.num_computed_tokens = request.num_tokens
            request.status = RequestStatus.RUNNING
            self.table.add_row(blocks.get_block_ids()[0], row)

    def run(self) -> Seconds:
        """Seconds a sequence and step."""
        grow = tables = 0.0
        manager, table = self.manager, self.table
        for _ in range(STEPS):
            start = time.thread_time()
            new = []
            for request in self.requests:
                request.append_output_token_ids(7)
                new.append(manager.allocate_slots(request, 1))
                request.num_computed_tokens += 1
            grown = time.thread_time()
            for row, blocks in enumerate(new):
                ids = blocks.get_block_ids(allow_none=True)
                if ids is not None:
                    table.append_row(ids[0], row)
            table.commit_block_table(len(new))
            done = time.thread_time()
            grow += grown - start
            tables += done - grown
        work = STEPS * len(self.requests)
        return {"grow": grow / work, "tables": tables / work, "total": (grow + tables) / work}


class MatchLoad:
    def __init__(self, cached: int, matched: int) -> None:
        self.manager = manager_of(cached + 64)
        self.matched, self.prompt = matched, hitting_prompt(matched)
        leave_cached(self.manager, "prompt", self.prompt)
        run = 64
        for number in range(-(-(cached - matched) // run)):
            num_tokens = min(run, cached - matched - number * run) * PAGE_SIZE
            leave_cached(self.manager, str(number), passer_by(number, num_tokens))

    def run(self) -> Seconds:
        """Seconds a matched page."""
        manager, turns = self.manager, max(1, 4096 // self.matched)
        start = time.thread_time()
        for _ in range(turns):
            found = manager.get_computed_blocks(request_of("prompt", self.prompt))[1]
        looked = time.thread_time()
        for _ in range(turns):
            request = request_of("prompt", self.prompt)
            blocks, hit, _ = manager.get_computed_blocks(request)
            manager.allocate_slots(request, request.num_tokens - hit, hit, blocks)
            manager.free(request)
        done = time.thread_time()
        assert found == self.matched * PAGE_SIZE
        pages = turns * self.matched
        return {"look up": (looked - start) / pages, "come and go": (done - looked) / pages}


def grow(sequences: int, context: int, pool_pages: int, rounds: int) -> Figure:
    setting: Setting = {"sequences": sequences, "context": context, "pool_pages": pool_pages}
    load = GrowLoad(sequences, context, pool_pages, rounds)
    return measure(GROW, "a sequence and step", setting, load.run, rounds=rounds)


def match(cached: int, matched: int, rounds: int) -> Figure:
    setting: Setting = {"prefix_cache": "hash", "cached": cached, "matched": matched}
    return measure(MATCH, "a matched page", setting, MatchLoad(cached, matched).run, rounds=rounds)


def figures(quick: bool) -> Iterator[Figure]:
    if quick:
        yield grow(4, 64, 100, 2)
        yield match(20, 4, 2)
        return
    for sequences in BATCHES:
        yield grow(sequences, CONTEXT, POOL, 7)
    for cached, matched in MATCHES:
        yield match(cached, matched, 7)


if __name__ == "__main__":
    init_none_hash(sha256)
    main("control_plane_vllm", __doc__, vllm.__version__, "vllm", figures)
