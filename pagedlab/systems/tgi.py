"""Hugging Face TGI's choices: token budgets on admission, everything reserved, nobody ever preempted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from pagedlab.scheduling.admission import Inside, ReserveEverything
from pagedlab.scheduling.request import Sequence
from pagedlab.systems.system import System, meaning


class TokenBudgets(ReserveEverything):
    """Prompt and max_new_tokens of everyone inside stay within ``max_batch_total_tokens``, and within the pool.

    Without ``chunking`` a prefill holds up those who decode, so it has to be worth it: it comes when at least
    ``waiting_served_ratio`` times as many wait as run, or when ``max_waiting_tokens`` steps have passed without one.
    """

    def __init__(
        self, max_batch_total_tokens: int | None, max_waiting_tokens: int, waiting_served_ratio: float, chunking: bool
    ) -> None:
        self.max_batch_total_tokens = max_batch_total_tokens
        self.max_waiting_tokens, self.waiting_served_ratio = max_waiting_tokens, waiting_served_ratio
        self.chunking = chunking
        self.quiet_steps = 0  #: steps since somebody came in
        self._inside: frozenset[int] = frozenset()
        self._open = False  #: somebody has come in during this step, so others may come with them

    def admits(self, sequence: Sequence, inside: Inside) -> bool:
        if not (self.chunking or self._open or self._worth_it(inside)):
            return False
        most = self.max_batch_total_tokens
        reserved = sum(other.width * other.request.most_tokens for other in (*inside.running, sequence))
        admitted = (most is None or reserved <= most) and super().admits(sequence, inside)
        self._open = self._open or admitted
        return admitted

    def step_done(self, inside: Inside, num_preempted: int) -> None:
        running = frozenset(sequence.id for sequence in inside.running)
        self.quiet_steps = 0 if running - self._inside else self.quiet_steps + 1
        self._inside, self._open = running, False

    def _worth_it(self, inside: Inside) -> bool:
        enough = len(inside.waiting) >= self.waiting_served_ratio * len(inside.running)
        return enough or self.quiet_steps >= self.max_waiting_tokens


@dataclass(frozen=True)
class TGI(System):
    """Text Generation Inference's router. ``max_batch_prefill_tokens`` a step, ``max_concurrent_requests`` at once.

    ``max_batch_total_tokens``: prompt and max_new_tokens of all that run; None: as many as the pool has room for.
    ``max_waiting_tokens`` in steps. ``chunking``: prompts are cut to fit beside those who decode. ``block_size`` in
    tokens is 1 with FlashInfer, 16 or 256 with other kernels.
    """

    title: ClassVar[str] = "TGI"
    seen: ClassVar[str] = "version 3, as of November 2026"
    documented: ClassVar[str] = "https://huggingface.co/docs/text-generation-inference/reference/launcher"
    kept: ClassVar[tuple[str, ...]] = (
        "token budgets for the prefill and for the whole batch",
        "everything that a request could need is reserved on admission, so nobody is ever preempted",
        "with chunking, the prefill budget shrinks by the tokens that run",
        "without, a prefill waits for its ratio of waiting to running requests, or for 20 steps",
        "a trie over pages, leaves evicted first",
    )
    left_out: ClassVar[tuple[str, ...]] = (
        "only tokens of the prompt enter the trie there, and only when the request ends",
        "eviction of a leaf's tail alone: here a leaf's last page is what a leaf's tail is there",
        "steps of prefill alone while those who decode stand still",
        'GPTQ and AWQ checkpoints: here weights="int4" keeps any model in 4 bits',
    )

    block_size: int = 1
    max_batch_prefill_tokens: int = 4096
    max_batch_total_tokens: int | None = None
    max_concurrent_requests: int = 128
    max_waiting_tokens: int = 20
    waiting_served_ratio: float = 0.3
    chunking: bool = True
    prefix_caching: bool = True
    kv_cache_dtype: str = "auto"

    def knobs(self) -> dict[str, Any]:
        return {
            "page_size": self.block_size,
            "max_tokens_per_step": self.max_batch_prefill_tokens,
            "max_sequences": self.max_concurrent_requests,
            "prefix_cache": "radix" if self.prefix_caching else "none",
            "eviction": "lru",
            "order": "fcfs",
            "admission": TokenBudgets(
                self.max_batch_total_tokens, self.max_waiting_tokens, self.waiting_served_ratio, self.chunking
            ),
            "victim": "last_in_line",
            "preemption": "recompute",
            "kv_dtype": meaning("kv_cache_dtype", self.kv_cache_dtype, {"auto": None, "fp8_e4m3fn": "fp8"}),
        }
