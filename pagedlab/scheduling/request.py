"""Request: what a user asked for. Sequence: one stream of tokens that answers it."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from enum import StrEnum

from pagedlab.memory.events import FinishCode
from pagedlab.memory.eviction import Retention
from pagedlab.scheduling.sampling import SamplingParams


class Status(StrEnum):
    WAITING = "waiting"
    RUNNING = "running"
    FINISHED = "finished"


class FinishReason(StrEnum):
    STOP = "stop"  # an end-of-sequence token, a stop id or a stop string
    LENGTH = "length"  # max_tokens, or the context is full
    ABORT = "abort"  # the caller withdrew it
    ERROR = "error"  # its step failed, or what was to be made of its tokens
    PRUNED = "pruned"  # a beam whose place a likelier one took

    @property
    def code(self) -> FinishCode:
        return FinishCode[self.name]


@dataclass(eq=False, slots=True, weakref_slot=True)
class Sequence:
    """Tokens, and how far they are computed. Each step moves ``num_computed`` towards ``num_tokens``.

    There is no prefill or decode state: a sequence that lacks 500 tokens is in what others call prefill, one that
    lacks a single token decodes, and a preempted one lacks all of them again.
    """

    id: int  #: unique in its scheduler; also its name in the cache manager
    request: Request = field(repr=False)
    index: int  #: which of the request's n sequences
    token_ids: list[int]  #: prompt and output; appended to, and cut where a stop string begins
    num_computed: int = 0
    num_cached: int = 0  #: prompt tokens it did not have to compute when it was first admitted
    num_preemptions: int = 0
    status: Status = Status.WAITING
    finish_reason: FinishReason | None = None
    stop_reason: int | str | None = None  #: the stop id or stop string that ended it
    awaits: bool = False  #: a beam whose tokens are all computed: its request has yet to choose who goes on
    overtakes: int = 0  #: later arrivals that were admitted before it
    overdue: bool = False  #: it was overtaken as often as is allowed: now it goes first

    @property
    def num_tokens(self) -> int:
        return len(self.token_ids)

    @property
    def num_output(self) -> int:
        return len(self.token_ids) - self.request.num_prompt

    @property
    def width(self) -> int:
        """Running places it takes: its own, and those of the forks that its request has yet to make."""
        request = self.request
        if not request.params.beam_width:
            return 1 + request.params.n - request.num_made
        alive = request.alive
        return 1 + (request.params.beam_width - len(alive) if alive[0] is self else 0)

    @property
    def output_ids(self) -> list[int]:
        return self.token_ids[self.request.num_prompt :]


@dataclass(eq=False, slots=True)
class Request:
    id: str
    prompt_ids: list[int]
    params: SamplingParams
    arrival: int = 0  #: order of arrival, counted by the scheduler
    priority: int = 0  #: lower is more urgent, to the orders and victim choices that ask
    salt: Hashable = None  #: prefix-cache namespace
    seed: int = 0  #: of its sampling noise
    retention: tuple[Retention, ...] = ()  #: how long its pages are worth keeping
    adapter: str | None = None  #: the LoRA adapter that serves it
    most_tokens: int = 0  #: each of its sequences may come to have so many; set by the scheduler
    num_made: int = 0  #: sequences it ever had
    sequences: list[Sequence] = field(default_factory=list)

    @property
    def num_prompt(self) -> int:
        return len(self.prompt_ids)

    @property
    def most_slots(self) -> int:
        """Slots that each of its sequences may come to need: the very last token needs none."""
        return self.most_tokens - 1

    @property
    def alive(self) -> list[Sequence]:
        return [sequence for sequence in self.sequences if sequence.status is not Status.FINISHED]

    @property
    def finished(self) -> bool:
        return all(sequence.status is Status.FINISHED for sequence in self.sequences)
