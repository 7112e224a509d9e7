"""SGLang's choices: a radix tree over single tokens, and admission that hopes for short answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from pagedlab.memory.publication import PublishWhenComputed
from pagedlab.scheduling.admission import OptimisticRatio
from pagedlab.scheduling.delay import SharedPage
from pagedlab.systems.system import System, meaning


@dataclass(frozen=True)
class SGLang(System):
    """RadixAttention and the optimistic ratio. ``page_size`` in tokens, ``chunked_prefill_size`` tokens a step.

    ``schedule_policy``: "fcfs", "lpm", the longest cached prefix first, or "dfs-weight", the widest branch of the tree
    first. ``schedule_conservativeness`` scales the share of max_new_tokens that a request is expected to use.
    ``radix_eviction_policy``: "lru", "lfu", "fifo" or "priority". ``kv_cache_dtype``: "auto" or "fp8_e4m3".
    ``enable_mixed_chunk`` is off by default there, and on here, as with the others: without it those who decode stand
    still while somebody comes in. The in-batch thresholds, in tokens, are environment variables there.
    """

    title: ClassVar[str] = "SGLang"
    seen: ClassVar[str] = "as of November 2026"
    documented: ClassVar[str] = "https://docs.sglang.ai/advanced_features/server_arguments.html"
    kept: ClassVar[tuple[str, ...]] = (
        "a radix tree over tokens whose edges are split where prompts diverge; salts are trees of their own",
        "what running requests use is locked; of the rest the least recently used leaf goes first",
        "tokens enter the tree when a chunk is computed; who computed them twice gives its own pages back",
        "longest prefix first, with its fallback to arrival order above 128 waiting requests; the tree depth first",
        "in these two, a request that finds little is put off while another computes much of what it needs",
        "room for a share of max_new_tokens that falls from 0.7 to 0.1 and rises when somebody is retracted",
        "whoever has said least, and of these the longest prompt, is retracted",
    )
    left_out: ClassVar[tuple[str, ...]] = (
        "aborting a last request that runs out of memory: here it is refused on arrival, so that never happens",
        "the overlap of planning a step with computing the one before: a step here ends before the next is planned",
        "host memory below the tree (HiCache), and the other orders: highest response ratio, longest output",
    )

    page_size: int = 1
    chunked_prefill_size: int = 8192
    max_running_requests: int = 2048
    disable_radix_cache: bool = False
    radix_eviction_policy: str = "lru"
    enable_mixed_chunk: bool = True
    schedule_policy: str = "fcfs"
    schedule_conservativeness: float = 1.0
    in_batch_prefix_caching_check_threshold: int = 32
    in_batch_prefix_caching_deprioritize_threshold: int = 32
    kv_cache_dtype: str = "auto"

    def knobs(self) -> dict[str, Any]:
        initial = min(1.0, 0.7 * self.schedule_conservativeness)
        orders = {"fcfs": "fcfs", "lpm": "longest_prefix", "dfs-weight": "depth_first"}
        order = meaning("schedule_policy", self.schedule_policy, orders)
        order = "fcfs" if self.disable_radix_cache else order
        in_batch = SharedPage(
            self.in_batch_prefix_caching_check_threshold, self.in_batch_prefix_caching_deprioritize_threshold
        )
        return {
            "page_size": self.page_size,
            "max_tokens_per_step": self.chunked_prefill_size,
            "max_sequences": self.max_running_requests,
            "prefix_cache": "none" if self.disable_radix_cache else "radix",
            "eviction": meaning(
                "radix_eviction_policy",
                self.radix_eviction_policy,
                {"lru": "lru", "lfu": "lfu", "fifo": "fifo", "priority": "priority"},
            ),
            "order": order,
            "admission": OptimisticRatio(initial, floor=0.14 * initial),
            "victim": "least_output",
            "preemption": "recompute",
            "delay": None if order == "fcfs" else in_batch,
            "mixed": self.enable_mixed_chunk,
            "manager": PublishWhenComputed,
            "kv_dtype": meaning("kv_cache_dtype", self.kv_cache_dtype, {"auto": None, "fp8_e4m3": "fp8"}),
        }
