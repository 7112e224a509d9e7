"""LMDeploy's choices: large pages, whole conversations evicted and silently recomputed, and a quantised cache."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from pagedlab.systems.system import System, meaning


@dataclass(frozen=True)
class LMDeploy(System):
    """Its block manager and online quantisation. ``cache_block_seq_len`` in tokens, ``max_prefill_token_num`` a step.

    ``quant_policy``: 0 (the model's own type), 8 or 4 bits a number, with a scale and a zero for each token and head.
    ``enable_prefix_caching`` is off by default there, and on here, since it is what the course looks at.
    """

    title: ClassVar[str] = "LMDeploy"
    seen: ClassVar[str] = "as of November 2026"
    documented: ClassVar[str] = "https://lmdeploy.readthedocs.io/en/latest/api/pipeline.html"
    kept: ClassVar[tuple[str, ...]] = (
        "one node of the prefix trie is one full page, and tokens are compared behind the hash",
        "what a step was to bring is forgotten if the step fails",
        "whoever left longest ago is evicted first; since a sequence gives its pages back together, they go together",
        "an evicted conversation that comes back is computed again, without an error",
        "int8 and int4 pages: asymmetric, a scale and a zero for each token and head",
    )
    left_out: ClassVar[tuple[str, ...]] = (
        "logical page numbers above the physical ones, so that a swap only remaps",
        "sessions that go on without sending their history again",
        "a pool sized as 0.8 of the free memory: the pool is given here",
    )

    cache_block_seq_len: int = 64
    max_prefill_token_num: int = 8192
    max_batch_size: int = 128
    enable_prefix_caching: bool = True
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
            "preemption": "recompute",
            "kv_dtype": meaning("quant_policy", str(self.quant_policy), {"0": None, "8": "int8", "4": "int4"}),
        }
