"""TensorRT-LLM's choices: reuse down to a part of a page, priorities, and admission that never has to take back."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

from pagedlab.memory.eviction import DEFAULT_PRIORITY, leaves_first, lowest_priority
from pagedlab.memory.publication import PublishWhenComputed
from pagedlab.systems.system import System, meaning


@dataclass(frozen=True)
class TensorRTLLM(System):
    """Its block manager and capacity scheduler. ``tokens_per_block`` in tokens, ``max_num_tokens`` a step.

    ``capacity_scheduler_policy``: "GUARANTEED_NO_EVICT" or "MAX_UTILIZATION". Retention priorities are given with a
    request (``add_request(…, retention=[Retention(…)])``). Host memory, of ``host_cache_size`` bytes there, is the
    engine's ``num_host_pages`` here; only pages worth ``secondary_offload_min_priority`` go there.
    """

    title: ClassVar[str] = "TensorRT-LLM"
    seen: ClassVar[str] = "as of November 2026"
    documented: ClassVar[str] = "https://nvidia.github.io/TensorRT-LLM/features/kvcache.html"
    kept: ClassVar[tuple[str, ...]] = (
        "partial reuse: the page on which tokens diverge is copied and used as far as it serves",
        "retention priorities from 0 to 100 by range of tokens, with an expiry; 35 is everybody's",
        "leaves are evicted first, the lowest priority among them, the least recently used of these",
        "what the device evicts goes to host memory, if its priority is high enough, and is copied back on a hit",
        "a request whose next page another is computing is put off: it will find that page",
        "GUARANTEED_NO_EVICT admits who can finish with the pages left; MAX_UTILIZATION whose next step fits",
        "MAX_UTILIZATION pauses the request that arrived last of those that started",
    )
    left_out: ClassVar[tuple[str, ...]] = (
        "pools of several window sizes: every layer here has its pages in all",
        "STATIC_BATCH, the third policy: chapter 07 is about what is wrong with it",
        "multi-block decode as an option: the kernels of this engine split a long context by themselves",
    )

    tokens_per_block: int = 32
    max_num_tokens: int = 8192
    max_batch_size: int = 2048
    enable_block_reuse: bool = True
    enable_partial_reuse: bool = True
    secondary_offload_min_priority: int = DEFAULT_PRIORITY
    capacity_scheduler_policy: str = "GUARANTEED_NO_EVICT"
    dtype: str = "auto"

    def knobs(self) -> dict[str, Any]:
        admission = meaning(
            "capacity_scheduler_policy",
            self.capacity_scheduler_policy,
            {"GUARANTEED_NO_EVICT": "guaranteed_no_evict", "MAX_UTILIZATION": "max_utilisation"},
        )
        return {
            "page_size": self.tokens_per_block,
            "max_tokens_per_step": self.max_num_tokens,
            "max_sequences": self.max_batch_size,
            "prefix_cache": "hash" if self.enable_block_reuse else "none",
            "partial_hits": self.enable_block_reuse and self.enable_partial_reuse,
            "eviction": leaves_first(lowest_priority),
            "order": "fcfs",
            "admission": admission,
            "victim": "last_arrived",
            "preemption": "recompute",
            "delay": "shared_page" if self.enable_block_reuse else "none",
            "manager": partial(PublishWhenComputed, min_offload_priority=self.secondary_offload_min_priority),
            "kv_dtype": meaning("dtype", self.dtype, {"auto": None, "fp8": "fp8", "int8": "int8"}),
        }
