"""When others can find what a sequence has in its pages.

A CacheManager publishes a page as soon as it is told to, which is when the page is planned to be filled: requests of
one step can share (vLLM). Here are managers that wait: for the step that computes the content (SGLang, TensorRT-LLM),
or for the end of the sequence (Text Generation Inference).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pagedlab.errors import InvariantViolation
from pagedlab.memory.events import EventKind
from pagedlab.memory.eviction import Retention
from pagedlab.memory.holdings import Holding
from pagedlab.memory.manager import Admission, CacheManager
from pagedlab.memory.prefix_cache import Salt


class _Later(CacheManager):
    """Remembers what is offered, and publishes it when the sequence leaves, at the latest.

    Two may compute the same meanwhile. Where the prefix cache keeps one page of a content (a radix tree), a sequence
    then gives its own back, and its table names the cache's; in a hash cache both pages stay, as in vLLM.
    """

    def __init__(self, *arguments: Any, **knobs: Any) -> None:
        super().__init__(*arguments, **knobs)
        self._offers: dict[int, tuple[Sequence[int], int]] = {}  #: tokens, and how many of them

    def publish(self, sequence: int, tokens: Sequence[int], num_tokens: int) -> None:
        held = self.table(sequence).num_tokens
        if num_tokens > held:
            raise InvariantViolation(f"{num_tokens} tokens to publish, but slots for {held}")
        self._offers[sequence] = tokens, num_tokens

    def release(self, sequence: int) -> None:
        self._publish_offer(sequence)
        super().release(sequence)

    def _publish_offer(self, sequence: int) -> None:
        if sequence in self._offers:
            tokens, num_tokens = self._offers.pop(sequence)
            # Of a sequence that has ended the last tokens may be cut off by now: where a stop string begins.
            super().publish(sequence, tokens, min(num_tokens, len(tokens)))

    def _declined(self, sequence: int, holding: Holding, logical: int) -> None:
        known, own = self.prefix_cache.page_before(holding.cursor), holding.table.pages[logical]
        if known is None or known >= self.pool.num_pages:  # in host memory, where nobody can read it
            return
        self.store.claim(known)
        self.record(EventKind.SHARE, known, sequence, logical)
        holding.table.replace(logical, known)
        self.store.drop(own, sequence, logical)


class PublishWhenComputed(_Later):
    """Content can be found from the step on that follows the one that computes it."""

    def begin_step(self, step: int) -> None:
        for sequence in list(self._offers):
            self._publish_offer(sequence)
        super().begin_step(step)

    def slide(self, sequence: int) -> None:
        if self.window is not None:  # what it gives back can be found by then
            self._publish_offer(sequence)
        super().slide(sequence)


class PublishPromptAtEnd(_Later):
    """Only what is computed of the prompt can be found, and only when the sequence has left."""

    def __init__(self, *arguments: Any, **knobs: Any) -> None:
        super().__init__(*arguments, **knobs)
        self._num_prompt: dict[int, int] = {}

    def admit(
        self,
        sequence: int,
        tokens: Sequence[int],
        budget: int | None = None,
        salt: Salt = None,
        retention: Sequence[Retention] = (),
    ) -> Admission:
        admitted = super().admit(sequence, tokens, budget, salt, retention)
        self._num_prompt[sequence] = len(tokens)
        return admitted

    def fork(self, parent: int, child: int) -> None:
        super().fork(parent, child)
        self._num_prompt[child] = self._num_prompt[parent]

    def release(self, sequence: int) -> None:
        num_prompt = self._num_prompt.pop(sequence, 0)
        if sequence in self._offers:
            tokens, num_tokens = self._offers[sequence]
            self._offers[sequence] = tokens, min(num_tokens, num_prompt)
        super().release(sequence)
