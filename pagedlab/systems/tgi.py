"""Hugging Face TGI's choices: four token budgets on admission, everything reserved, nobody ever preempted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from pagedlab.memory.publication import PublishPromptAtEnd
from pagedlab.scheduling.admission import Inside, ReserveEverything
from pagedlab.scheduling.request import Sequence
from pagedlab.systems.system import System, meaning

#: The engine's weight format for each value of ``quantize``: they differ there in how they round, here in bits.
WEIGHTS: Mapping[str, str | None] = {
    "None": None,
    "eetq": "int8",
    "awq": "int4",
    "gptq": "int4",
    "bitsandbytes-nf4": "int4",
}


class TokenBudgets(ReserveEverything):
    """Prompt and max_new_tokens of everyone inside stay within ``max_batch_total_tokens``, and within the pool.

    Without ``chunking`` a prefill holds up those who decode, so it has to be worth it: it comes when at least
    ``waiting_served_ratio`` times as many wait as run, or when ``max_waiting_tokens`` steps have passed without one.
    And its prompts, less what is cached of them, come in whole: together they stay within ``max_batch_prefill_tokens``.
    """

    def __init__(
        self,
        max_batch_prefill_tokens: int,
        max_batch_total_tokens: int | None,
        max_waiting_tokens: int,
        waiting_served_ratio: float,
        chunking: bool,
    ) -> None:
        self.max_batch_prefill_tokens = max_batch_prefill_tokens
        self.max_batch_total_tokens = max_batch_total_tokens
        self.max_waiting_tokens, self.waiting_served_ratio = max_waiting_tokens, waiting_served_ratio
        self.chunking = chunking
        self.quiet_steps = 0  #: since somebody came in
        self._inside: frozenset[int] = frozenset()  #: as the last step left them

    def admits(self, sequence: Sequence, inside: Inside) -> bool:
        if not (self.chunking or self._fits_the_prefill(sequence, inside)):
            return False
        most = self.max_batch_total_tokens
        reserved = sum(other.width * other.request.most_tokens for other in (*inside.running, sequence))
        return (most is None or reserved <= most) and super().admits(sequence, inside)

    def step_done(self, inside: Inside, num_preempted: int) -> None:
        running = frozenset(sequence.id for sequence in inside.running)
        self.quiet_steps = 0 if running - self._inside else self.quiet_steps + 1
        self._inside = running

    def _fits_the_prefill(self, sequence: Sequence, inside: Inside) -> bool:
        batch = [other for other in inside.running if other.id not in self._inside]
        enough = len(inside.waiting) >= int(self.waiting_served_ratio * len(inside.running))
        if not (batch or enough or self.quiet_steps >= self.max_waiting_tokens):
            return False
        to_compute = sequence.num_tokens - inside.manager.lookup(sequence.token_ids, sequence.request.salt)
        prefill = sum(other.num_tokens - other.num_computed for other in batch)
        return prefill + to_compute <= self.max_batch_prefill_tokens


@dataclass(frozen=True)
class TGI(System):
    """Text Generation Inference's router. ``max_batch_prefill_tokens`` a step, ``max_concurrent_requests`` at once.

    ``max_batch_total_tokens``: prompt and max_new_tokens of all that run; None: as many as the pool has room for.
    ``max_waiting_tokens`` in steps. ``chunking``: prompts are cut to fit beside those who decode; without it they are
    computed alone, while the others stand still. ``block_size`` in tokens is 1 with FlashInfer, 16 or 256 with other
    kernels. ``quantize``: how weights are kept; the cache stays in 16 bits.
    """

    title: ClassVar[str] = "TGI"
    seen: ClassVar[str] = "version 3, as of November 2026"
    documented: ClassVar[str] = "https://huggingface.co/docs/text-generation-inference/reference/launcher"
    kept: ClassVar[tuple[str, ...]] = (
        "token budgets for the prefill and for the whole batch",
        "everything that a request could need is reserved on admission, so nobody is ever preempted",
        "with chunking, the prefill budget shrinks by the tokens that run",
        "without, a prefill waits for its ratio of waiting to running requests, or for 20 steps",
        "then whole prompts are computed in a step of their own, while those who decode stand still",
        "a trie over pages: of its leaves the one used longest ago loses its tail first, as far as pages are needed",
        "only tokens of the prompt enter the trie, and only when the request has ended",
        "weights in 8 or 4 bits, in memory while running too, beside a cache in 16 bits",
    )
    left_out: ClassVar[tuple[str, ...]] = (
        "refusing a prompt longer than the prefill budget: here it is cut, and goes on beside those who decode",
        "putting a prefill back that the budgets cut below its ratio: here those who wait are counted, whoever fits",
        "padding, for models without paged attention: every model here has it",
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
    quantize: str | None = None

    def knobs(self) -> dict[str, Any]:
        own = None if self.weights() is None else "bfloat16"
        return {
            "page_size": self.block_size,
            "max_tokens_per_step": self.max_batch_prefill_tokens,
            "max_sequences": self.max_concurrent_requests,
            "prefix_cache": "radix" if self.prefix_caching else "none",
            "eviction": "lru",
            "order": "fcfs",
            "admission": TokenBudgets(
                self.max_batch_prefill_tokens,
                self.max_batch_total_tokens,
                self.max_waiting_tokens,
                self.waiting_served_ratio,
                self.chunking,
            ),
            "victim": "last_in_line",
            "preemption": "recompute",
            "mixed": self.chunking,
            "manager": PublishPromptAtEnd,
            "kv_dtype": meaning("kv_cache_dtype", self.kv_cache_dtype, {"auto": own, "fp8_e4m3fn": "fp8"}),
        }

    def weights(self) -> str | None:
        return meaning("quantize", str(self.quantize), WEIGHTS)
