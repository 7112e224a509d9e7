"""Scheduler: what runs next. One token budget, no phases.

Each step gives every running sequence a chunk of the tokens it lacks, then admits waiting ones with what is left of
the budget. Prefill, chunked prefill, decode and the check of drafted tokens are the same thing. A running sequence that
finds no page takes them from another, which waits again and recomputes later, or comes back from host memory.

Who comes in first, who may come in, and who gives way are small objects of their own: order, admission and victim.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable
from typing import Any

from pagedlab.errors import OutOfPages
from pagedlab.memory.events import EventKind
from pagedlab.memory.manager import CacheManager
from pagedlab.memory.prefix_cache import Salt
from pagedlab.scheduling.admission import AdmissionPolicy, MaxUtilisation
from pagedlab.scheduling.delay import Delay, next_in_line
from pagedlab.scheduling.drafts import Drafter, add_drafts
from pagedlab.scheduling.limits import Limits, refuse_impossible, refuse_impossible_pin, slots_for_one
from pagedlab.scheduling.order import FirstComeFirstServed, Order
from pagedlab.scheduling.plan import Chunk, SampleRow, StepPlan
from pagedlab.scheduling.request import FinishReason, Request, Sequence, Status
from pagedlab.scheduling.victims import VictimChoice, last_in_line

_RUNNING = Status.RUNNING  # asked for once a token, and slow to look up before Python 3.12


class Scheduler:
    """Owns the waiting line and the running batch; asks the CacheManager for pages and never touches them.

    ``swap``: a victim's pages go to host memory where there is room, rather than being computed again. ``mixed``:
    prompts are computed beside those who decode; if not, these stand still for the step in which somebody comes in.
    """

    def __init__(
        self,
        manager: CacheManager,
        limits: Limits | None = None,
        *,
        order: Order | None = None,
        admission: AdmissionPolicy | None = None,
        victim: VictimChoice = last_in_line,
        delay: Delay | None = None,
        swap: bool = False,
        mixed: bool = True,
        drafter: Drafter | None = None,
        eos_token_ids: tuple[int, ...] = (),
    ) -> None:
        self.manager = manager
        self.limits = limits or Limits()
        self.order = order or FirstComeFirstServed()
        self.admission = admission or MaxUtilisation()
        self.victim, self.swap, self.drafter = victim, swap, drafter
        self.delay, self.mixed = delay, mixed
        self.eos_token_ids = eos_token_ids
        self.waiting: list[Sequence] = []  #: in order; the overdue first
        self.running: list[Sequence] = []  #: in order
        self.asleep: list[Sequence] = []  #: preempted beams that have nothing to compute until their request chooses
        self.num_steps = 0  #: scheduled so far
        self._num_requests = self._num_sequences = 0
        self._stood_still = False  #: those who decode did so in the last step

    @property
    def has_work(self) -> bool:
        return bool(self.waiting or self.running or self.asleep)

    @property
    def max_sequence_tokens(self) -> int:
        """The longest sequence, in tokens, that context and pool allow. The last token needs no slot."""
        return min(self.limits.max_context, slots_for_one(self.manager, self.limits) + 1)

    def is_full(self, sequence: Sequence) -> bool:
        """The sequence has as many tokens as it asked for, or as it can have."""
        return len(sequence.token_ids) >= sequence.request.most_tokens

    # A request's life

    def add(self, request: Request) -> None:
        """Put a request in line. One that can never be served raises InvalidRequest, and nothing else changes."""
        pool_slots = (self.manager.pool.num_pages - self.manager.num_pinned) * self.manager.page_size
        refuse_impossible(request, self.limits, self.max_sequence_tokens, pool_slots)
        request.arrival = self._num_requests
        asked = request.params.max_tokens
        request.most_tokens = self.max_sequence_tokens if asked is None else request.num_prompt + asked
        self._num_requests += 1
        insort(self.waiting, self._new_sequence(request, request.prompt_ids), key=self._key)

    def schedule(self) -> StepPlan:
        """Choose the next step's chunks and give them pages. Preempted sequences are waiting again afterwards."""
        plan = StepPlan(self.num_steps)
        self.num_steps += 1
        self.manager.begin_step(plan.step)
        budget = self.limits.max_tokens_per_step
        if self.mixed or not self._prefill_alone(plan, budget):
            budget = self._schedule_running(plan, budget)
            if self.waiting and not plan.preempted and (self.mixed or not plan.chunks):
                self._schedule_waiting(plan, budget)  # (if pages are short, whoever came in would be thrown out next)
        self.admission.step_done(self, len(plan.preempted))
        plan.copies = self.manager.take_copies()
        return plan

    def commit(self, plan: StepPlan, tokens: list[list[int]]) -> None:
        """The step was computed, and ``tokens[i]`` are the new tokens of ``plan.samples[i]``.

        As many of its drafts were accepted as there are tokens beyond the first. No token at all: the row failed, or
        the sequence is a beam that now awaits the choice of its request.
        """
        for chunk in plan.chunks:
            if not chunk.drafts:
                self._computed(chunk.sequence, chunk.stop)
        for row, new in zip(plan.samples, tokens, strict=True):
            sequence, chunk = row.sequence, plan.chunks[row.chunk]
            if sequence.status is not _RUNNING:  # it was ended while the step ran
                continue
            reason = self._append(sequence, new)
            if row.drafts:
                self._keep_accepted(sequence, chunk, max(0, len(new) - 1))
            elif sequence is not chunk.sequence:  # a fork: what its parent computed, it has too
                self._computed(sequence, chunk.stop)
            sequence.awaits = not new and bool(sequence.request.params.beam_width)
            if reason is not None:
                self.finish(sequence, reason)

    def branch(self, request: Request, chosen: Iterable[tuple[Sequence, int]]) -> list[Sequence]:
        """The beams of ``request`` go on with these tokens, in this order; those that are not chosen end.

        A beam that is chosen twice forks. Returns the sequence that has each token.
        """
        chosen = list(chosen)
        parents = {parent for parent, _ in chosen}
        for sequence in request.alive:
            if sequence not in parents:
                self.finish(sequence, FinishReason.PRUNED)
        beams: list[Sequence] = []
        for parent, token in chosen:
            if parent.awaits:
                self._wake(parent)
                beam = parent
            else:
                beam = self._fork(parent, parent.token_ids[:-1])
            beam.token_ids.append(token)
            beams.append(beam)
        request.sequences = beams
        return beams

    def abandon(self) -> list[Sequence]:
        """The step failed, or could not even be planned to its end: end every sequence that has a part in it, and
        forget the content that it was to bring. Returns them.
        """
        in_step = [s for s in self.running if self.manager.table(s.id).num_tokens > s.num_computed]
        with_beams = [
            beam for s in in_step for beam in ((s, *s.request.alive) if s.request.params.beam_width else (s,))
        ]
        ended = list(dict.fromkeys(with_beams))
        for sequence in ended:
            self.finish(sequence, FinishReason.ERROR)
        self.manager.abandon_step()
        return ended

    def finish(self, sequence: Sequence, reason: FinishReason) -> None:
        """End a sequence, whatever it was doing, and take its pages back. Ending it twice is no error."""
        if sequence.status is Status.FINISHED:
            return
        if sequence.status is Status.RUNNING:
            self.running.remove(sequence)
            self.manager.release(sequence.id)
        else:
            (self.asleep if sequence.awaits else self.waiting).remove(sequence)
            self.manager.drop_swapped(sequence.id)
        sequence.status, sequence.finish_reason = Status.FINISHED, reason
        self.manager.record(EventKind.FINISH, sequence=sequence.id, value=reason.code)

    def pin(self, name: int, tokens: list[int], salt: Salt = None) -> int:
        """Hold the cached pages that ``tokens`` begins with, as CacheManager.pin does. Returns tokens pinned.

        Raises OutOfPages as that does, and InvalidRequest when somebody who was accepted could not finish beside them.
        """
        pages = self.manager.pages_to_pin(tokens, salt)
        accepted = (sequence.request for sequence in (*self.waiting, *self.running, *self.asleep))
        refuse_impossible_pin(pages, slots_for_one(self.manager, self.limits, pages), accepted)
        return self.manager.pin(name, tokens, salt)

    # The two halves of a step. What a chunk fills is published before it is computed, so that a sequence admitted later
    # in this same step can share it: within a layer all keys and values are written before any are read. abandon()
    # takes it back.

    def _schedule_running(self, plan: StepPlan, budget: int) -> int:
        for sequence in self._awake():
            if budget == 0:
                break
            if sequence.status is _RUNNING and not sequence.awaits:
                budget -= self._go_on(plan, sequence, budget)
        return budget if self.drafter is None else add_drafts(plan, budget, self.drafter, self.manager)

    def _go_on(self, plan: StepPlan, sequence: Sequence, budget: int) -> int:
        """A chunk for a running sequence. Returns its tokens: none where there are no pages for it."""
        start, size = sequence.num_computed, self.manager.page_size
        stop = min(len(sequence.token_ids), start + budget)
        try:
            self.manager.extend(sequence.id, stop)
        except OutOfPages:
            if not self._make_room(sequence, stop, plan):
                return 0
        if stop // size > start // size:  # a page is full
            self.manager.publish(sequence.id, sequence.token_ids, stop)
        self._plan_chunk(plan, sequence, start, stop)
        return stop - start

    def _prefill_alone(self, plan: StepPlan, budget: int) -> bool:
        """Those who decode stand still while others come in; but never twice in a row, or they might for ever."""
        if not self._stood_still:
            self._schedule_waiting(plan, budget)
        self._stood_still = bool(plan.chunks)
        return self._stood_still

    def _schedule_waiting(self, plan: StepPlan, budget: int) -> None:
        others = bool(plan.chunks) or not (self.mixed or all(sequence.awaits for sequence in self.running))
        if others and len(self.running) >= self.limits.max_sequences:
            return
        places = self._places()
        put_off: set[Sequence] = set()
        while self.waiting and budget > 0:
            sequence = next_in_line(self.order, self._lookup, self.delay, put_off, self)
            if sequence is None:
                break
            if sequence.width > places and not others and self._preempt_idle_beam(plan):
                places = self._places()
                continue
            if sequence.width > places or (others and not self.admission.admits(sequence, self)):
                break  # nobody overtakes whom the order has chosen. When nobody else computes, nobody is asked
            request = sequence.request
            try:
                admitted = self.manager.admit(sequence.id, sequence.token_ids, budget, request.salt, request.retention)
            except OutOfPages:
                if others or not self._preempt_idle_beam(plan):
                    break
                continue
            others = True
            places -= sequence.width
            self.waiting.remove(sequence)
            self._count_overtakes(sequence)
            sequence.status = Status.RUNNING
            insort(self.running, sequence, key=self._key)
            sequence.num_computed = admitted.num_hit
            if sequence.num_preemptions == 0 and sequence.num_output == 0:
                sequence.num_cached = admitted.num_hit
            budget -= admitted.num_tokens - admitted.num_hit
            self.manager.publish(sequence.id, sequence.token_ids, admitted.num_tokens)
            self._plan_chunk(plan, sequence, admitted.num_hit, admitted.num_tokens)

    def _awake(self) -> list[Sequence]:
        """Who may want something in this step, in order. A copy: forks join, victims leave."""
        return list(self.running)

    def _places(self) -> int:
        return self.limits.max_sequences - sum(sequence.width for sequence in self.running)

    def _plan_chunk(self, plan: StepPlan, sequence: Sequence, start: int, stop: int) -> None:
        plan.chunks.append(Chunk(sequence, start, stop))
        if stop == sequence.num_tokens:
            plan.samples.append(SampleRow(len(plan.chunks) - 1, sequence))
            while sequence.request.num_made < sequence.request.params.n:  # its prompt's end, for the first time
                plan.samples.append(SampleRow(len(plan.chunks) - 1, self._fork(sequence, sequence.token_ids)))

    def _make_room(self, sequence: Sequence, num_tokens: int, plan: StepPlan) -> bool:
        while True:
            try:
                self.manager.extend(sequence.id, num_tokens)
                return True
            except OutOfPages:
                # Beams that only wait for their siblings give way first, to whoever computes. Those who stand before
                # `sequence` have pages in this plan, as have forks that it makes, wherever they stand. The first in
                # line never gives way: however victims are chosen, somebody gets on.
                idle = [other for other in self.running if other.awaits]
                at, in_step = max(1, self.running.index(sequence)), {row.sequence for row in plan.samples}
                candidates = [other for other in self.running[at:] if other not in in_step]
                victim = idle[-1] if idle else self.victim(candidates or [sequence])
                self._preempt(victim, plan)
                if victim is sequence:
                    return False

    def _preempt_idle_beam(self, plan: StepPlan) -> bool:
        """Take the pages of a beam that only waits for its siblings, one of which may need them."""
        idle = [sequence for sequence in self.running if sequence.awaits]
        if idle:
            self._preempt(idle[-1], plan)
        return bool(idle)

    def _preempt(self, sequence: Sequence, plan: StepPlan) -> None:
        swapped = self.swap and self.manager.swap_out(sequence.id)
        if not swapped:
            self.manager.release(sequence.id)
        self.manager.record(EventKind.PREEMPT, sequence=sequence.id, value=sequence.num_computed if swapped else 0)
        self.running.remove(sequence)
        sequence.status = Status.WAITING
        sequence.num_computed = 0
        sequence.num_preemptions += 1
        if sequence.awaits:
            self.asleep.append(sequence)
        else:
            insort(self.waiting, sequence, key=self._key)
        plan.preempted.append(sequence)

    def _wake(self, beam: Sequence) -> None:
        beam.awaits = False
        if beam in self.asleep:
            self.asleep.remove(beam)
            insort(self.waiting, beam, key=self._key)

    # What a step has computed

    def _computed(self, sequence: Sequence, num_tokens: int) -> None:
        if sequence.status is not _RUNNING:
            return
        sequence.num_computed = num_tokens
        if self.manager.trace is not None:
            self.manager.record(EventKind.COMPUTE, sequence=sequence.id, value=num_tokens)
        if self.manager.window is not None:
            self.manager.slide(sequence.id)

    def _append(self, sequence: Sequence, tokens: list[int]) -> FinishReason | None:
        """Take the tokens up to the first that ends the sequence; drop the rest from ``tokens``."""
        for number, token in enumerate(tokens, start=1):
            sequence.token_ids.append(token)
            reason = self._why_finished(sequence)
            if reason is not None:
                del tokens[number:]
                return reason
        return None

    def _keep_accepted(self, sequence: Sequence, chunk: Chunk, num_accepted: int) -> None:
        """Of the drafts only the accepted ones leave a trace. Pages that they filled can be hit from now on."""
        num_computed = chunk.stop - len(chunk.drafts) + num_accepted
        self.manager.truncate(sequence.id, num_computed)
        self.manager.publish(sequence.id, sequence.token_ids, num_computed)
        self._computed(sequence, num_computed)

    # Sequences of a request

    def _new_sequence(self, request: Request, tokens: list[int]) -> Sequence:
        sequence = Sequence(self._num_sequences, request, request.num_made, list(tokens))
        sequence.overdue = self.limits.max_overtakes == 0
        self._num_sequences += 1
        request.num_made += 1
        request.sequences.append(sequence)
        if self.manager.trace is not None:
            alone = request.params.n == 1 and not request.params.beam_width
            label = request.id if alone else f"{request.id}.{sequence.index}"
            self.manager.trace.describe(sequence.id, label, sequence.token_ids)
        self.manager.record(EventKind.ARRIVE, sequence=sequence.id, value=request.num_prompt)
        return sequence

    def _fork(self, parent: Sequence, tokens: list[int]) -> Sequence:
        """A second sequence that goes on from ``tokens``; it shares the parent's pages, if it has any.

        A place is kept for it; only those of beams may be lost, to somebody who came in while one of them slept.
        """
        fork = self._new_sequence(parent.request, tokens)
        fork.num_cached, fork.overdue = parent.num_cached, parent.overdue
        has_place = not parent.request.params.beam_width or self._places() > 0
        if parent.status is Status.RUNNING and has_place:
            self.manager.fork(parent.id, fork.id)
            fork.status, fork.num_computed = Status.RUNNING, parent.num_computed
            insort(self.running, fork, key=self._key)
        else:
            insort(self.waiting, fork, key=self._key)
        return fork

    # Orders, beginnings and ends

    def _key(self, sequence: Sequence) -> tuple[bool, Any]:
        if sequence.overdue:
            return False, (sequence.request.arrival, sequence.index)
        return True, self.order.key(sequence)

    def _lookup(self, sequence: Sequence) -> int:
        return self.manager.lookup(sequence.token_ids, sequence.request.salt)

    def _count_overtakes(self, admitted: Sequence) -> None:
        if not (self.order.overtakes or self.delay):
            return
        for sequence in [s for s in self.waiting if s.request.arrival < admitted.request.arrival]:
            sequence.overtakes += 1
            if sequence.overtakes >= self.limits.max_overtakes and not sequence.overdue:
                self.waiting.remove(sequence)
                sequence.overdue = True
                insort(self.waiting, sequence, key=self._key)

    def _why_finished(self, sequence: Sequence) -> FinishReason | None:
        params, token = sequence.request.params, sequence.token_ids[-1]
        if token in params.stop_token_ids and sequence.num_output >= params.min_tokens:
            sequence.stop_reason = token
            return FinishReason.STOP
        if token in self.eos_token_ids and not params.ignore_eos and sequence.num_output >= params.min_tokens:
            return FinishReason.STOP
        return FinishReason.LENGTH if self.is_full(sequence) else None
