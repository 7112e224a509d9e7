"""StepPlan: what one pass through the model has to do. Plain data, no tensors."""

from __future__ import annotations

from dataclasses import dataclass, field

from pagedlab.memory.manager import PageCopy
from pagedlab.scheduling.request import Sequence


@dataclass(frozen=True, slots=True)
class Chunk:
    """Compute tokens ``start`` to ``stop`` of a sequence."""

    sequence: Sequence
    start: int
    stop: int

    @property
    def num_tokens(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True, slots=True)
class SampleRow:
    """Sample the next token of ``sequence`` from the logits of the last token of chunk number ``chunk``.

    A chunk that ends a prompt with n > 1 has n of these: its forks sample from the logits it computed.
    """

    chunk: int
    sequence: Sequence


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
