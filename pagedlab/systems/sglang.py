"""SGLang's choices: a radix tree over single tokens, and admission that hopes for short answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from pagedlab.scheduling.admission import OptimisticRatio
from pagedlab.systems.system import System, meaning


@dataclass(frozen=True)
class SGLang(System):
    """RadixAttention and the optimistic ratio. ``page_size`` in tokens, ``chunked_prefill_size`` tokens a step.

    ``schedule_policy``: "fcfs" or "lpm", the longest cached prefix first. ``schedule_conservativeness`` scales the
    share of max_new_tokens that a request is expected to use. ``radix_eviction_policy``: "lru", "lfu", "fifo" or
    "priority". ``kv_cache_dtype``: "auto" or "fp8_e4m3".
    """

    title: ClassVar[str] = "SGLang"
    seen: ClassVar[str] = "as of November 2026"
    documented: ClassVar[str] = "https://docs.sglang.ai/advanced_features/server_arguments.html"
    kept: ClassVar[tuple[str, ...]] = (
        "a radix tree over tokens whose edges are split where prompts diverge",
        "what running requests use is locked; of the rest the least recently used leaf goes first",
        "longest prefix first, with its fallback to arrival order above 128 waiting requests",
        "room for a share of max_new_tokens that falls from 0.7 to 0.1 and rises when somebody is retracted",
        "whoever has said least, and of these the longest prompt, is retracted",
    )
    left_out: ClassVar[tuple[str, ...]] = (
        "putting off a request whose prefix another waiting one is about to compute: here both share within the step",
        "depth-first weights as an order of the line",
        "steps of prefill alone: here prefill and decode always share a step",
        "the overlap of planning a step with computing the one before",
    )

    page_size: int = 1
    chunked_prefill_size: int = 8192
    max_running_requests: int = 2048
    disable_radix_cache: bool = False
    radix_eviction_policy: str = "lru"
    schedule_policy: str = "fcfs"
    schedule_conservativeness: float = 1.0
    kv_cache_dtype: str = "auto"

    def knobs(self) -> dict[str, Any]:
        initial = min(1.0, 0.7 * self.schedule_conservativeness)
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
            "order": meaning("schedule_policy", self.schedule_policy, {"fcfs": "fcfs", "lpm": "longest_prefix"}),
            "admission": OptimisticRatio(initial, floor=0.14 * initial),
            "victim": "least_output",
            "preemption": "recompute",
            "kv_dtype": meaning("kv_cache_dtype", self.kv_cache_dtype, {"auto": None, "fp8_e4m3": "fp8"}),
        }
