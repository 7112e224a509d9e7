"""The scheduler: one token budget, no phases, and nobody starves.

Each step has a budget of tokens. Running sequences come first, oldest first: each gets the tokens it lacks (a prompt's
rest, or the one token that was sampled last), as far as the budget goes. Where pages are short, the *youngest* running
sequence that this step has not served yet gives its pages back and waits again, at its place by arrival; it may have to
be the one that asked. Then those that wait come in, oldest first, with what is left of the budget; but not in a step in
which somebody had to give way. Nobody overtakes: where the first in line does not fit, the line stops.

It asks a cache manager (13.manager, or the engine's own) and never touches a page:
``extend(id, tokens)`` and ``admit(id, tokens, budget, salt)`` raise OutOfPages with nothing changed, ``publish(id,
tokens, num_tokens)`` makes full pages known to others, ``release(id)`` gives everything back.

Sequences count themselves: ``token_ids``, ``num_tokens``, ``num_computed``. All that a step must do for one of them is
to compute the tokens from ``num_computed`` to ``num_tokens``, or a part of them.

The engine is given it so: ``LLM(model, scheduler=Scheduler)``.
"""

from typing import Any

from pagedlab.errors import InvalidRequest, OutOfPages
from pagedlab.memory.events import EventKind
from pagedlab.scheduling.limits import Limits, refuse_impossible
from pagedlab.scheduling.plan import Chunk, SampleRow, StepPlan
from pagedlab.scheduling.request import FinishReason, Request, Sequence, Status


class Scheduler:
    """Owns the waiting line and the running batch, each oldest first."""

    def __init__(
        self, manager: Any, limits: Limits, *, eos_token_ids: tuple[int, ...] = (), **other_knobs: Any
    ) -> None:
        self.manager, self.limits, self.eos_token_ids = manager, limits, eos_token_ids
        self.waiting: list[Sequence] = []
        self.running: list[Sequence] = []
        self.num_steps = 0
        self._num_sequences = 0

    def schedule(self) -> StepPlan:
        """What the next step computes: ``plan.chunks``, and ``plan.samples`` for the chunks that end their sequence."""
        plan = StepPlan(self.num_steps)
        self.num_steps += 1
        self.manager.begin_step(plan.step)
        budget = self.schedule_running(plan, self.limits.max_tokens_per_step)
        if not plan.preempted:
            self.schedule_waiting(plan, budget)
        plan.copies = self.manager.take_copies()
        return plan

    def schedule_running(self, plan: StepPlan, budget: int) -> int:
        """Give each running sequence its chunk, while the budget lasts. Returns what is left of it.

        ``extend`` first, then ``publish``, then ``self.plan_chunk``. Those that gave way are not RUNNING any more.
        """
        raise NotImplementedError("13.scheduler: schedule_running is yours to write")

    def make_room(self, sequence: Sequence, num_tokens: int, plan: StepPlan) -> bool:
        """Extend ``sequence`` to ``num_tokens``, preempting from the end of the line as long as pages are short.

        False where it was the youngest itself, and had to give way.
        """
        raise NotImplementedError("13.scheduler: make_room is yours to write")

    def preempt(self, sequence: Sequence, plan: StepPlan) -> None:
        """It gives all pages back and waits, with nothing computed; those who arrived later wait behind it.

        ``sequence.num_preemptions`` counts it, and ``plan.preempted`` names it.
        """
        raise NotImplementedError("13.scheduler: preempt is yours to write")

    def schedule_waiting(self, plan: StepPlan, budget: int) -> None:
        """Admit from the head of the line, while there are budget, pages and places (``limits.max_sequences``).

        ``admit`` says how many tokens were hit, which are computed already, and how many it has room for.
        """
        raise NotImplementedError("13.scheduler: schedule_waiting is yours to write")

    def commit(self, plan: StepPlan, tokens: list[list[int]]) -> None:
        """The step was computed; ``tokens[i]`` is what was sampled for ``plan.samples[i]``: one token, or none.

        Every chunk's tokens are computed now. A sequence that got a token may have ended: ``self.why_finished``.
        One that was ended while the step ran (it is not RUNNING) gets nothing.
        """
        raise NotImplementedError("13.scheduler: commit is yours to write")

    # What follows is written already.

    def plan_chunk(self, plan: StepPlan, sequence: Sequence, start: int, stop: int) -> None:
        """Compute the tokens ``start`` to ``stop``; where that is all it has, sample the next one."""
        plan.chunks.append(Chunk(sequence, start, stop))
        if stop == sequence.num_tokens:
            plan.samples.append(SampleRow(len(plan.chunks) - 1, sequence))

    @property
    def has_work(self) -> bool:
        return bool(self.waiting or self.running)

    def add(self, request: Request) -> None:
        """Put a request in line. One that can never be served is refused here."""
        if request.params.n > 1 or request.params.beam_width:
            raise InvalidRequest(f"request {request.id} asks for several sequences; this scheduler knows one a request")
        slots = self.manager.pool.num_pages * self.manager.page_size
        most = min(self.limits.max_context, slots + 1)  # the last token needs no slot
        refuse_impossible(request, self.limits, most, slots)
        asked = request.params.max_tokens
        request.most_tokens = most if asked is None else request.num_prompt + asked
        sequence = Sequence(self._num_sequences, request, 0, list(request.prompt_ids))
        self._num_sequences += 1
        request.arrival, request.num_made = sequence.id, 1
        request.sequences.append(sequence)
        self.waiting.append(sequence)
        if self.manager.trace is not None:
            self.manager.trace.describe(sequence.id, request.id, sequence.token_ids)
        self.manager.record(EventKind.ARRIVE, sequence=sequence.id, value=request.num_prompt)

    def why_finished(self, sequence: Sequence) -> FinishReason | None:
        params, last = sequence.request.params, sequence.token_ids[-1]
        if sequence.num_output >= params.min_tokens:
            if last in params.stop_token_ids:
                sequence.stop_reason = last
                return FinishReason.STOP
            if last in self.eos_token_ids and not params.ignore_eos:
                return FinishReason.STOP
        return FinishReason.LENGTH if sequence.num_tokens >= sequence.request.most_tokens else None

    def finish(self, sequence: Sequence, reason: FinishReason) -> None:
        """End a sequence, whatever it was doing. Ending it twice is no error."""
        if sequence.status is Status.FINISHED:
            return
        if sequence.status is Status.RUNNING:
            self.running.remove(sequence)
            self.manager.release(sequence.id)
        else:
            self.waiting.remove(sequence)
        sequence.status, sequence.finish_reason = Status.FINISHED, reason
        self.manager.record(EventKind.FINISH, sequence=sequence.id, value=reason.code)

    def abandon(self) -> list[Sequence]:
        """The step failed: everybody who had a part in it ends. Returns them."""
        in_step = [one for one in self.running if self.manager.table(one.id).num_tokens > one.num_computed]
        for sequence in in_step:
            self.finish(sequence, FinishReason.ERROR)
        self.manager.abandon_step()
        return in_step
