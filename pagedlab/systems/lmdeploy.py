"""LMDeploy's choices: large pages, whole conversations evicted and silently recomputed, and a quantised cache."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

from pagedlab.memory.logical import LogicalManager
from pagedlab.systems.system import System, meaning

NEVER = 101  #: higher than any priority: what is evicted from the prefix cache does not go to host memory


@dataclass(frozen=True)
class LMDeploy(System):
    """Its block manager and online quantisation. ``cache_block_seq_len`` in tokens, ``max_prefill_token_num`` a step.

    ``quant_policy``: 0 (the model's own type), 8 or 4 bits a number, with a scale and a zero for each token and head.
    ``enable_prefix_caching`` is off by default there, and on here, since it is what the course looks at.
    ``eviction_type``: "recompute", or "copy": who gives way goes to host memory, of ``num_cpu_blocks`` pages, unless
    the prefix cache or another sequence has a hand on its pages.
    """

    title: ClassVar[str] = "LMDeploy"
    seen: ClassVar[str] = "as of November 2026"
    documented: ClassVar[str] = "https://lmdeploy.readthedocs.io/en/latest/api/pipeline.html"
    kept: ClassVar[tuple[str, ...]] = (
        "tables name logical pages, which are on the device below a number and in host memory from there on: "
        "a swap copies pages and changes that map, and no table",
        "one node of the prefix trie is one full page, and tokens are compared behind the hash",
        "a match counts when its step has been computed; one that does not fit, or whose step fails, leaves no trace",
        "the conversation that was left longest ago is evicted as a whole, its cached pages with it",
        "an evicted conversation that comes back is computed again, without an error: a chat may go on for ever",
        "int8 and int4 pages: asymmetric, a scale and a zero for each token and head",
    )
    left_out: ClassVar[tuple[str, ...]] = (
        "sessions that go on without sending their history again: a turn here is a request with all that was said",
        "a pool sized as 0.8 of the free memory: the pool is given here",
        "a duplicate page is swapped for the trie's: here the second request of a step hits it, so there is none",
    )

    cache_block_seq_len: int = 64
    max_prefill_token_num: int = 8192
    max_batch_size: int = 128
    enable_prefix_caching: bool = True
    eviction_type: str = "recompute"
    num_cpu_blocks: int = 0
    quant_policy: int = 0

    def knobs(self) -> dict[str, Any]:
        return {
            "page_size": self.cache_block_seq_len,
            "max_tokens_per_step": self.max_prefill_token_num,
            "max_sequences": self.max_batch_size,
            "prefix_cache": "hash" if self.enable_prefix_caching else "none",
            "eviction": "lru",
            "order": "fcfs",
            "admission": "whole_prompt",
            "victim": "last_in_line",
            "preemption": meaning("eviction_type", self.eviction_type, {"recompute": "recompute", "copy": "swap"}),
            "num_host_pages": self.num_cpu_blocks,
            "manager": partial(LogicalManager, whole_sequences=True, min_offload_priority=NEVER),
            "kv_dtype": meaning("quant_policy", str(self.quant_policy), {"0": None, "8": "int8", "4": "int4"}),
        }
