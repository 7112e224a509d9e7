"""vLLM's choices: small pages, hashes of full ones, one budget, and recompute for whoever came last."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

from pagedlab.memory.manager import CacheManager
from pagedlab.scheduling.admission import AdmissionPolicy, Inside, MaxUtilisation
from pagedlab.scheduling.request import Sequence
from pagedlab.systems.system import System, meaning


class ReserveFullISL(AdmissionPolicy):
    """All tokens that a request has must fit the pages that are available now, though only a chunk of them is taken.

    What those inside have yet to take is not counted. Without it, whoever's next chunk fits comes in.
    """

    watches_progress = False

    def admits(self, sequence: Sequence, inside: Inside) -> bool:
        manager, request = inside.manager, sequence.request
        cost = manager.pages_to_admit(sequence.id, sequence.token_ids, sequence.num_tokens, request.salt)
        return cost <= manager.num_available


@dataclass(frozen=True)
class VLLM(System):
    """The V1 core of vLLM. ``block_size`` in tokens, ``max_num_batched_tokens`` a step, ``max_num_seqs`` at once.

    ``scheduling_policy``: "fcfs" or "priority". ``scheduler_reserve_full_isl``: a prompt comes in when the whole of it
    fits, not only its first chunk. ``kv_cache_dtype``: "auto" (the model's own) or "fp8".
    """

    title: ClassVar[str] = "vLLM"
    seen: ClassVar[str] = "V1 core, as of November 2026"
    documented: ClassVar[str] = "https://docs.vllm.ai/en/latest/configuration/engine_args.html"
    kept: ClassVar[tuple[str, ...]] = (
        "a free queue in which hashed pages join at the tail and blank ones at the very head",
        "a sequence's pages are freed last page first, so its tail is evicted before its head",
        "two pages may hold the same content, and a running page table is never rewritten",
        "a hit leaves at least one token to compute, and an admission that does not fit changes nothing",
        "full pages are registered when they are allocated: requests of one step can share",
        "a prompt comes in when the whole of it fits the pages that are left, whatever those inside may yet need",
        "one budget of tokens for running and waiting alike, the running ones first",
        "the last running one (or the least urgent) gives way by recompute, and waits at the head of the line",
        "nobody comes in during a step in which somebody gave way",
    )
    left_out: ClassVar[tuple[str, ...]] = (
        "hybrid models with several kinds of cache in one pool: every layer here has its pages in all",
        "connectors that move pages between machines: there is one machine here",
        "speculation beyond prompt lookup: a draft model would be a second engine",
        "extra keys of images: models here read text. Salts and adapters are part of the first page's key",
    )

    block_size: int = 16
    max_num_batched_tokens: int = 2048
    max_num_seqs: int = 128
    enable_prefix_caching: bool = True
    scheduling_policy: str = "fcfs"
    scheduler_reserve_full_isl: bool = True
    kv_cache_dtype: str = "auto"

    def knobs(self) -> dict[str, Any]:
        return {
            "page_size": self.block_size,
            "max_tokens_per_step": self.max_num_batched_tokens,
            "max_sequences": self.max_num_seqs,
            "prefix_cache": "hash" if self.enable_prefix_caching else "none",
            "eviction": "lru",
            "order": meaning("scheduling_policy", self.scheduling_policy, {"fcfs": "fcfs", "priority": "priority"}),
            "admission": ReserveFullISL() if self.scheduler_reserve_full_isl else MaxUtilisation(),
            "victim": "last_in_line",
            "preemption": "recompute",
            "manager": partial(CacheManager, last_freed_first=True),
            "kv_dtype": meaning("kv_cache_dtype", self.kv_cache_dtype, {"auto": None, "fp8": "fp8"}),
        }
