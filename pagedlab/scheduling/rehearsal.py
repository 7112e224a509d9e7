"""Rehearsal: a scheduler at work without a model, one step after another, and what it did in each.

Every request is known in advance: when it comes, how long its prompt is, and after how many tokens it ends. The
scheduler and the cache manager are the engine's own; only the tokens are made up.

    rehearsal = rehearse([Arrival(prompt=5, output=3), Arrival(prompt=2, output=4, at=1)], Scheduler(manager))
    rehearsal.num_steps, rehearsal.tokens_per_step
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from pagedlab.errors import InvalidRequest, InvariantViolation
from pagedlab.scheduling.plan import StepPlan
from pagedlab.scheduling.request import Request
from pagedlab.scheduling.sampling import SamplingParams
from pagedlab.scheduling.scheduler import Scheduler

#: The made-up token with which a request ends. No prompt holds it.
END = -1


@dataclass(frozen=True)
class Arrival:
    """A request that comes before step ``at`` is scheduled, and ends by itself after ``output`` tokens.

    ``prompt``: how many tokens, which nobody else's prompt begins with, or the tokens themselves. ``allowed``: its
    max_tokens, all that the scheduler knows of its length (``output`` where None).
    """

    prompt: int | Sequence[int]
    output: int
    at: int = 0
    allowed: int | None = None
    priority: int = 0
    name: str = ""

    @property
    def num_prompt(self) -> int:
        return self.prompt if isinstance(self.prompt, int) else len(self.prompt)


@dataclass(frozen=True)
class Part:
    """Tokens ``start`` to ``stop`` of request ``request`` were computed; ``new``: tokens that came of it, 0 or 1."""

    request: int
    start: int
    stop: int
    new: int

    @property
    def num_tokens(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True)
class Step:
    """One step of the scheduler. Requests are known by their number in the list of arrivals."""

    parts: list[Part]
    running: list[int]  #: in the order of the scheduler, those that end with this step among them
    waiting: list[int]  #: in the order of the scheduler, preempted ones among them
    preempted: list[int]
    pages_used: int  #: while the step computes

    @property
    def num_tokens(self) -> int:
        return sum(part.num_tokens for part in self.parts)


@dataclass
class Rehearsal:
    """What happened, step by step. Steps in which nobody was there count: they are the clock."""

    arrivals: list[Arrival]
    scheduler: Scheduler
    steps: list[Step] = field(default_factory=list)

    @property
    def num_steps(self) -> int:
        return len(self.steps)

    @property
    def num_tokens(self) -> int:
        """Tokens computed, those that were computed again included."""
        return sum(step.num_tokens for step in self.steps)

    @property
    def num_output(self) -> int:
        return sum(arrival.output for arrival in self.arrivals)

    @property
    def tokens_per_step(self) -> float:
        """Output tokens a step."""
        return self.num_output / max(1, self.num_steps)

    @property
    def most_running(self) -> int:
        return max((len(step.running) for step in self.steps), default=0)

    @property
    def num_preemptions(self) -> int:
        return sum(len(step.preempted) for step in self.steps)

    def tokens_of(self, request: int) -> list[int]:
        """The step of each output token of ``request``."""
        return [n for n, step in enumerate(self.steps) for part in step.parts if part.request == request and part.new]

    def first_token(self, request: int) -> int:
        """Steps from arrival to the first token, that of the token included: its TTFT."""
        return self.tokens_of(request)[0] - self.arrivals[request].at + 1

    def gaps(self, request: int) -> list[int]:
        """Tokens computed from each output token of ``request`` to its next: its ITL, counted in work."""
        ends = self.tokens_of(request)
        return [sum(step.num_tokens for step in self.steps[last + 1 : this + 1]) for last, this in pairwise(ends)]


def rehearse(
    arrivals: Sequence[Arrival],
    scheduler: Scheduler,
    *,
    max_steps: int = 100_000,
    watch: Callable[[StepPlan], None] | None = None,
) -> Rehearsal:
    """Serve ``arrivals``, which are in the order of ``at``, to the last token. ``watch`` sees every plan.

    Raises InvalidRequest for one that can never be served or is out of order, and InvariantViolation when
    ``max_steps`` steps do not do.
    """
    rehearsal = Rehearsal(list(arrivals), scheduler)
    numbers: dict[Request, int] = {}
    while len(numbers) < len(arrivals) or scheduler.has_work:
        if rehearsal.num_steps == max_steps:
            raise InvariantViolation(f"{max_steps} steps, and {len(scheduler.waiting)} requests still wait")
        while len(numbers) < len(arrivals) and arrivals[len(numbers)].at <= rehearsal.num_steps:
            number = len(numbers)
            if number and arrivals[number].at < arrivals[number - 1].at:
                raise InvalidRequest(f"arrival {number} comes before the one that stands before it: sort them by at")
            numbers[_submit(arrivals[number], number, scheduler)] = number
        plan = scheduler.schedule()
        if watch is not None:
            watch(plan)
        running = [numbers[sequence.request] for sequence in scheduler.running]
        waiting = [numbers[sequence.request] for sequence in scheduler.waiting]
        pages_used = scheduler.manager.pool.num_used
        speaking = {row.chunk for row in plan.samples}
        parts = [
            Part(numbers[chunk.sequence.request], chunk.start, chunk.stop, int(number in speaking))
            for number, chunk in enumerate(plan.chunks)
        ]
        preempted = [numbers[sequence.request] for sequence in plan.preempted]
        scheduler.commit(plan, [[_token(arrivals, numbers, row.sequence.request)] for row in plan.samples])
        rehearsal.steps.append(Step(parts, running, waiting, preempted, pages_used))
    return rehearsal


def _submit(arrival: Arrival, number: int, scheduler: Scheduler) -> Request:
    prompt = arrival.prompt
    tokens = [(number + 1) * 1_000_000 + i for i in range(prompt)] if isinstance(prompt, int) else list(prompt)
    if arrival.output < 1 or (arrival.allowed is not None and arrival.allowed < arrival.output):
        raise InvalidRequest(
            f"arrival {number} ends after {arrival.output} tokens; it must be from 1 to its max_tokens"
        )
    params = SamplingParams(max_tokens=arrival.allowed or arrival.output, stop_token_ids=(END,))
    request = Request(arrival.name or str(number), tokens, params, priority=arrival.priority)
    scheduler.add(request)
    return request


def _token(arrivals: Sequence[Arrival], numbers: dict[Request, int], request: Request) -> int:
    """The request's next token: any, and END as the last."""
    number, said = numbers[request], request.sequences[0].num_output
    return END if said + 1 == arrivals[number].output else (number + 1) * 1_000_000 + 500_000 + said
