"""StepPlan: what one pass through the model has to do. Plain data, no tensors."""

from __future__ import annotations

from dataclasses import dataclass, field

from pagedlab.memory.copies import PageCopy
from pagedlab.scheduling.request import Sequence


@dataclass(slots=True)  # frozen, it would take four times as long to make
class Chunk:
    """Compute tokens ``start`` to ``stop`` of a sequence, the last of which may be drafts: guesses, not yet its own."""

    sequence: Sequence
    start: int
    stop: int
    drafts: tuple[int, ...] = ()

    @property
    def token_ids(self) -> list[int]:
        own = self.sequence.token_ids[self.start : self.stop - len(self.drafts)]
        return [*own, *self.drafts] if self.drafts else own

    @property
    def num_tokens(self) -> int:
        return self.stop - self.start


@dataclass(slots=True)
class SampleRow:
    """Sample the next token of ``sequence`` from the logits of the last token of chunk number ``chunk``.

    A chunk that ends a prompt with n > 1 has n of these: its forks sample from the logits it computed.

    ``drafts`` are guesses of the tokens that follow, and the chunk's last tokens: there are logits after each of them
    too. Sampling goes on as long as what it says is what was guessed.
    """

    chunk: int
    sequence: Sequence
    drafts: tuple[int, ...] = ()


@dataclass(slots=True)
class StepPlan:
    step: int
    chunks: list[Chunk] = field(default_factory=list)
    samples: list[SampleRow] = field(default_factory=list)
    copies: list[PageCopy] = field(default_factory=list)  #: made in this order, before anything is computed
    preempted: list[Sequence] = field(default_factory=list)

    @property
    def num_tokens(self) -> int:
        return sum(chunk.num_tokens for chunk in self.chunks)
