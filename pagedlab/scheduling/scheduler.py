"""Scheduler: what runs next. One token budget, no phases.

Each step gives every running sequence a chunk of the tokens it lacks, then admits waiting ones with what is left of
the budget. Prefill, chunked prefill and decode are the same thing. A running sequence that finds no page takes them
from the last in line, which waits again and recomputes later (preemption by recompute).
"""

from __future__ import annotations

from bisect import insort
from dataclasses import dataclass

from pagedlab.errors import InvalidRequest, OutOfPages
from pagedlab.memory.events import EventKind
from pagedlab.memory.manager import CacheManager
from pagedlab.scheduling.plan import Chunk, SampleRow, StepPlan
from pagedlab.scheduling.policy import FirstComeFirstServed, Policy
from pagedlab.scheduling.request import FinishReason, Request, Sequence, Status


@dataclass(frozen=True)
class Limits:
    """``max_context`` is in tokens, prompt and output together."""

    max_tokens_per_step: int = 512
    max_sequences: int = 64
    max_context: int = 8192

    def __post_init__(self) -> None:
        for name in ("max_tokens_per_step", "max_sequences", "max_context"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} was asked for; it must be at least 1")


class Scheduler:
    """Owns the waiting line and the running batch; asks the CacheManager for pages and never touches them."""

    def __init__(
        self,
        manager: CacheManager,
        limits: Limits | None = None,
        policy: Policy | None = None,
        eos_token_ids: tuple[int, ...] = (),
    ) -> None:
        self.manager = manager
        self.limits = limits or Limits()
        self.policy: Policy = policy or FirstComeFirstServed()
        self.eos_token_ids = eos_token_ids
        self.waiting: list[Sequence] = []  #: in the policy's order
        self.running: list[Sequence] = []  #: in the policy's order
        self._num_steps = self._num_requests = self._num_sequences = 0

    @property
    def has_work(self) -> bool:
        return bool(self.waiting or self.running)

    @property
    def max_sequence_tokens(self) -> int:
        """The longest sequence, in tokens, that context and pool allow. The last token needs no slot."""
        return min(self.limits.max_context, self.manager.pool.num_pages * self.manager.page_size + 1)

    # A request's life

    def add(self, request: Request) -> None:
        """Put a request in line. One that can never be served raises InvalidRequest, and nothing else changes."""
        self._refuse_impossible(request)
        request.arrival = self._num_requests
        self._num_requests += 1
        insort(self.waiting, self._new_sequence(request, request.prompt_ids), key=self.policy.key)

    def schedule(self) -> StepPlan:
        """Choose the next step's chunks and give them pages. Preempted sequences are waiting again afterwards."""
        plan = StepPlan(self._num_steps)
        self._num_steps += 1
        self.manager.record(EventKind.STEP, value=plan.step)
        budget = self._schedule_running(plan, self.limits.max_tokens_per_step)
        if not plan.preempted:  # pages are short: whoever came in now would be thrown out next
            self._schedule_waiting(plan, budget)
        return plan

    def commit(self, plan: StepPlan, tokens: list[int]) -> list[Sequence]:
        """The step was computed and ``tokens[i]`` sampled for ``plan.samples[i]``. Returns the sequences that ended.

        A sequence that was ended while the step ran gets nothing more.
        """
        for chunk in plan.chunks:
            self._computed(chunk.sequence, chunk.stop)
        finished = []
        for row, token in zip(plan.samples, tokens, strict=True):
            sequence, chunk = row.sequence, plan.chunks[row.chunk]
            if sequence.status is not Status.RUNNING:
                continue
            if sequence is not chunk.sequence:  # a fork: what its parent computed, it has too
                self._computed(sequence, chunk.stop)
            sequence.token_ids.append(token)
            reason = self._why_finished(sequence)
            if reason is not None:
                self.finish(sequence, reason)
                finished.append(sequence)
        return finished

    def abandon(self, plan: StepPlan) -> list[Sequence]:
        """The step failed: end every sequence in it, and forget the pages that it was to fill. Returns them."""
        in_step = [chunk.sequence for chunk in plan.chunks] + [row.sequence for row in plan.samples]
        in_step = list(dict.fromkeys(in_step))
        for sequence in in_step:
            self.finish(sequence, FinishReason.ERROR)
        return in_step

    def finish(self, sequence: Sequence, reason: FinishReason) -> None:
        """End a sequence, whatever it was doing, and take its pages back. Ending it twice is no error."""
        if sequence.status is Status.FINISHED:
            return
        if sequence.status is Status.RUNNING:
            self.running.remove(sequence)
            self.manager.release(sequence.id, valid_tokens=sequence.num_computed)
        else:
            self.waiting.remove(sequence)
        sequence.status, sequence.finish_reason = Status.FINISHED, reason
        self.manager.record(EventKind.FINISH, sequence=sequence.id, value=reason.code)

    # The two halves of a step

    def _schedule_running(self, plan: StepPlan, budget: int) -> int:
        for sequence in tuple(self.running):  # a copy: forks join, victims leave
            if budget == 0 or sequence.status is not Status.RUNNING:
                break
            stop = min(sequence.num_tokens, sequence.num_computed + budget)
            if not self._make_room(sequence, stop, plan):
                break
            budget -= stop - sequence.num_computed
            self._plan_chunk(plan, sequence, sequence.num_computed, stop)
        return budget

    def _schedule_waiting(self, plan: StepPlan, budget: int) -> None:
        places = self.limits.max_sequences - sum(map(self._width, self.running))
        while self.waiting and budget > 0 and self._width(self.waiting[0]) <= places:
            sequence = self.waiting[0]
            places -= self._width(sequence)
            try:
                admitted = self.manager.admit(sequence.id, sequence.token_ids, budget, sequence.request.salt)
            except OutOfPages:
                break  # nobody overtakes: the first in line is served first
            self.waiting.pop(0)
            sequence.status = Status.RUNNING
            insort(self.running, sequence, key=self.policy.key)
            sequence.num_computed = admitted.num_hit
            if sequence.num_preemptions == 0:
                sequence.num_cached = admitted.num_hit
            budget -= admitted.num_tokens - admitted.num_hit
            self._plan_chunk(plan, sequence, admitted.num_hit, admitted.num_tokens)

    def _plan_chunk(self, plan: StepPlan, sequence: Sequence, start: int, stop: int) -> None:
        # Published before it is computed, so that a sequence admitted later in this same step can share it:
        # within a layer all keys and values are written before any are read. abandon() takes it back.
        self.manager.publish(sequence.id, sequence.token_ids, stop)
        plan.chunks.append(Chunk(sequence, start, stop))
        if stop == sequence.num_tokens:
            for sampling in (sequence, *self._fork(sequence)):
                plan.samples.append(SampleRow(len(plan.chunks) - 1, sampling))

    def _make_room(self, sequence: Sequence, num_tokens: int, plan: StepPlan) -> bool:
        while True:
            try:
                copy = self.manager.extend(sequence.id, num_tokens)
            except OutOfPages:
                victim = self.running[-1]  # the plan follows the same order: this one is not in it yet
                self._preempt(victim, plan)
                if victim is sequence:
                    return False
            else:
                if copy is not None:
                    plan.copies.append(copy)
                return True

    def _preempt(self, sequence: Sequence, plan: StepPlan) -> None:
        self.manager.release(sequence.id)
        self.manager.record(EventKind.PREEMPT, sequence=sequence.id)
        self.running.remove(sequence)
        sequence.status = Status.WAITING
        sequence.num_computed = 0
        sequence.num_preemptions += 1
        insort(self.waiting, sequence, key=self.policy.key)
        plan.preempted.append(sequence)

    def _computed(self, sequence: Sequence, num_tokens: int) -> None:
        if sequence.status is not Status.RUNNING:
            return
        sequence.num_computed = num_tokens
        self.manager.record(EventKind.COMPUTE, sequence=sequence.id, value=num_tokens)

    # Sequences of a request

    def _new_sequence(self, request: Request, tokens: list[int]) -> Sequence:
        sequence = Sequence(self._num_sequences, request, len(request.sequences), list(tokens))
        self._num_sequences += 1
        request.sequences.append(sequence)
        if self.manager.trace is not None:
            label = request.id if request.params.n == 1 else f"{request.id}.{sequence.index}"
            self.manager.trace.describe(sequence.id, label, sequence.token_ids)
        self.manager.record(EventKind.ARRIVE, sequence=sequence.id, value=request.num_prompt)
        return sequence

    def _fork(self, sequence: Sequence) -> list[Sequence]:
        """The other n - 1 sequences of a request whose prompt is about to be computed; none the second time."""
        request, forks = sequence.request, []
        while len(request.sequences) < request.params.n:
            fork = self._new_sequence(request, sequence.token_ids)
            self.manager.fork(sequence.id, fork.id)
            fork.status = Status.RUNNING
            fork.num_computed, fork.num_cached = sequence.num_computed, sequence.num_cached
            insort(self.running, fork, key=self.policy.key)
            forks.append(fork)
        return forks

    def _width(self, sequence: Sequence) -> int:
        """Running places a sequence takes: room is kept for the forks it has yet to make."""
        return 1 + sequence.request.params.n - len(sequence.request.sequences)

    # Beginnings and ends

    def _refuse_impossible(self, request: Request) -> None:
        params, num_prompt = request.params, request.num_prompt
        if num_prompt == 0:
            raise InvalidRequest(f"request {request.id} has an empty prompt; give it at least one token")
        num_tokens = num_prompt + (params.max_tokens or 1)
        if num_tokens > self.max_sequence_tokens:
            pool = self.manager.pool.num_pages * self.manager.page_size
            raise InvalidRequest(
                f"request {request.id} asks for {num_tokens} tokens ({num_prompt} in its prompt); a sequence may have "
                f"{self.max_sequence_tokens} (max_context {self.limits.max_context}, pool {pool} slots). "
                "Shorten the prompt, lower max_tokens, or raise num_pages or max_context."
            )
        if params.n > self.limits.max_sequences:
            raise InvalidRequest(
                f"request {request.id} asks for n={params.n} sequences; {self.limits.max_sequences} may run at once. "
                "Lower n or raise max_sequences."
            )

    def _why_finished(self, sequence: Sequence) -> FinishReason | None:
        params, token = sequence.request.params, sequence.token_ids[-1]
        if sequence.num_output >= params.min_tokens:
            if token in params.stop_token_ids:
                sequence.stop_reason = token
                return FinishReason.STOP
            if token in self.eos_token_ids and not params.ignore_eos:
                return FinishReason.STOP
        if sequence.num_output == params.max_tokens or sequence.num_tokens >= self.max_sequence_tokens:
            return FinishReason.LENGTH
        return None
