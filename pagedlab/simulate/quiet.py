"""QuietScheduler: the engine's scheduler, in which whoever just goes on decoding costs next to nothing.

A sequence that decodes, and is not about to say its last token, has one token computed in each step, whatever else
happens. It is *quiet*: nobody plans a chunk for it, samples for it or looks whether it has ended; the quiet ones are a
number, and a number of tokens that they look back on. Where one wants something of the cache manager, a page to write
into or a full one to publish, it *stirs*: it asks for that in its place in the line, and stays quiet. That a page is
full interests whoever looks a prompt up; where nobody does, it is published in the next step, with what is wanted
then. Everybody else goes through the ordinary scheduler, which is the same code.

Where the ordinary scheduler has to look at everyone (pages are short, the budget does not reach), all wake up first.
So plans, pages, queues and statistics are those of
:class:`~pagedlab.scheduling.scheduler.Scheduler`, step by step; a property test holds the two against each other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from pagedlab.memory.eviction import least_frequently_used, least_recently_used, lowest_priority
from pagedlab.memory.manager import CacheManager
from pagedlab.memory.prefix_hash import HashPrefixCache
from pagedlab.scheduling.plan import Chunk, StepPlan
from pagedlab.scheduling.request import FinishReason, Request, Status
from pagedlab.scheduling.request import Sequence as Stream
from pagedlab.scheduling.scheduler import Scheduler

#: The tokens that a sequence will say, all of them.
Answer = Sequence[int]


class Rest(NamedTuple):
    """Quiet from step ``since`` on, in which token number ``position`` is computed; then one in each step."""

    since: int
    position: int
    answer: Answer  #: all that it says


class QuietScheduler(Scheduler):
    """``answer(sequence)`` must be set before the first step: what a sequence says is known beforehand.

    A trace, a sliding window and a drafter concern every token, and where prompts are computed alone (``mixed=False``)
    not every step is everybody's: then nobody is quiet.
    """

    answer: Callable[[Stream], Answer]

    def __init__(self, *args: Any, **knobs: Any) -> None:
        super().__init__(*args, **knobs)
        everybody = self.manager.trace is None and self.manager.window is None and self.drafter is None
        self._may_rest = everybody and self.mixed
        self._publishes_late = _may_publish_late(self.manager)
        self._quiet: dict[Stream, Rest] = {}
        self._stirring: set[Stream] = set()  #: of the quiet ones, those that want something in the step being planned
        self._calendar: dict[int, list[Stream]] = {}  #: step -> who will want something in it
        self._filled: dict[int, list[Stream]] = {}  #: step -> whose page is full then
        self._called: list[Stream] | None = None  #: who is awake, if that is known
        self._done = 0  #: steps computed
        self._offset = 0  #: of the quiet ones, summed: position - since
        # What plans hold in place of the quiet ones. It has ended long ago, so nobody does anything with it.
        self._chorus = Stream(-1, Request("", [], None), 0, [], status=Status.FINISHED)  # type: ignore[arg-type]

    @property
    def num_quiet(self) -> int:
        return len(self._quiet)

    @property
    def quiet_context(self) -> int:
        """Tokens that the quiet ones attend to in the step that comes next, or is planned, summed."""
        return self._offset + len(self._quiet) * (self._done + 1)

    @property
    def num_idle_steps(self) -> int:
        """So many steps are to come in which nobody wants anything, unless somebody arrives."""
        if not 0 < len(self._quiet) <= self.limits.max_tokens_per_step or len(self._quiet) < len(self.running):
            return 0
        if self.waiting and len(self.running) < self.limits.max_sequences:
            return 0
        soon = min(self._calendar)
        return (soon if self._publishes_late else min([soon, *self._filled])) - self._done

    def skip(self, num_steps: int) -> None:
        """As many idle steps have been computed."""
        for _ in range(num_steps):
            self.manager.begin_step(self.num_steps)
            self.admission.step_done(self, 0)
            self._filled.pop(self.num_steps, None)
            self.num_steps += 1
        self._done += num_steps

    def wake_all(self) -> None:
        """Nobody is quiet any more, and everybody is up to date."""
        for sequence in list(self._quiet):
            self._wake_up(sequence)
        self._stirring.clear()
        self._calendar.clear()
        self._filled.clear()

    def commit(self, plan: StepPlan, tokens: list[list[int]]) -> None:
        super().commit(plan, tokens)
        self._done += 1
        if self._may_rest:
            for row in plan.samples:
                if row.sequence.status is Status.RUNNING:
                    self._rest(row.sequence)

    def finish(self, sequence: Stream, reason: FinishReason) -> None:
        if sequence in self._quiet:
            self._wake_up(sequence)
        super().finish(sequence, reason)

    def _schedule_running(self, plan: StepPlan, budget: int) -> int:
        for sequence in self._calendar.pop(plan.step, ()):
            if sequence in self._quiet:
                self._stir(sequence)
        filled = self._filled.pop(plan.step, ())
        may_come_in = bool(self.waiting) and len(self.running) < self.limits.max_sequences
        if may_come_in or not self._publishes_late:
            for sequence in filled:
                if sequence in self._quiet:
                    self._catch_up(sequence)
                    self._stirring.add(sequence)
        if self._quiet:
            self._called = self._awake()
            if not self._may_stay_quiet(budget - len(self._quiet) + len(self._stirring), self._called):
                self._called = None
                self.wake_all()
        if may_come_in and self.admission.watches_progress:
            self._show_progress()
        num_quiet = len(self._quiet)
        left = super()._schedule_running(plan, budget - num_quiet + len(self._stirring))
        self._stirring.clear()
        self._called = None
        if num_quiet:
            plan.chunks.append(Chunk(self._chorus, 0, num_quiet))
        return left

    def _awake(self) -> list[Stream]:
        if self._called is not None:
            return self._called
        quiet, stirring = self._quiet, self._stirring
        return [sequence for sequence in self.running if sequence not in quiet or sequence in stirring]

    def _go_on(self, plan: StepPlan, sequence: Stream, budget: int) -> int:
        if sequence not in self._stirring:
            return super()._go_on(plan, sequence, budget)
        stop = sequence.num_computed + 1
        self.manager.extend(sequence.id, stop)
        if self._publishes_late or not stop % self.manager.page_size:
            self.manager.publish(sequence.id, sequence.token_ids, stop)
        return 1

    def _places(self) -> int:
        return self.limits.max_sequences - len(self._quiet) - sum(sequence.width for sequence in self._awake())

    def _may_stay_quiet(self, budget: int, awake: list[Stream]) -> bool:
        """This step would do the same if all were looked at: there is enough of everything for those who want some."""
        if budget < 0:
            return False
        pages, size = 0, self.manager.page_size
        for sequence in awake:
            lacks = min(budget, len(sequence.token_ids) - sequence.num_computed)
            pages += lacks // size + 2  # it may begin within a page, and a shared one is copied
            if sequence.num_computed + lacks < len(sequence.token_ids):  # the budget ends: those behind get nothing
                rest = self.running[self.running.index(sequence) :]
                return self._quiet.keys().isdisjoint(rest) and pages <= self.manager.num_available
            budget -= lacks
        return pages <= self.manager.num_available

    def _rest(self, sequence: Stream) -> None:
        """Be quiet from the next step on, if there is no more than a token to compute."""
        position = sequence.num_computed
        if len(sequence.token_ids) != position + 1:
            return
        answer = self.answer(sequence)
        self._quiet[sequence] = Rest(self._done, position, answer)
        self._offset += position - self._done
        self._appoint(sequence, self._done - 1, position - 1, len(answer) - sequence.num_output)

    def _appoint(self, sequence: Stream, step: int, position: int, to_say: int) -> None:
        """When will it want something? In ``step``, ``position`` is computed; then ``to_say`` tokens are left."""
        manager, size = self.manager, self.manager.page_size
        steps = size - position % size  # until it needs a page
        if (position + 1) % size and manager.pool.refcount(manager.table(sequence.id).pages[-1]) > 1:
            steps = 1  # it goes on in a page that others read: that is copied
        elif 1 < steps <= to_say and manager.caching:  # a step before, its page is full
            self._filled.setdefault(step + steps - 1, []).append(sequence)
        self._calendar.setdefault(step + min(steps, to_say), []).append(sequence)

    def _stir(self, sequence: Stream) -> None:
        """It wants a page. If it is to say its last token, it wakes up for good."""
        rest = self._quiet[sequence]
        position = rest.position + self._done - rest.since
        to_say = len(rest.answer) - (position + 2 - sequence.request.num_prompt)
        if not to_say:
            self._wake_up(sequence)
            return
        self._catch_up(sequence)
        self._stirring.add(sequence)
        self._appoint(sequence, self._done, position, to_say)

    def _show_progress(self) -> None:
        """Somebody is about to look how far each has come, and how much it holds."""
        for sequence in self._quiet:
            if sequence not in self._stirring:
                self._catch_up(sequence)
                self.manager.extend(sequence.id, sequence.num_computed + 1)

    def _wake_up(self, sequence: Stream) -> None:
        self._catch_up(sequence)
        rest = self._quiet.pop(sequence)
        self._offset -= rest.position - rest.since
        num_computed = sequence.num_computed
        self.manager.extend(sequence.id, max(num_computed, self.manager.table(sequence.id).num_tokens))
        if self._publishes_late:
            self.manager.publish(sequence.id, sequence.token_ids, num_computed)

    def _catch_up(self, sequence: Stream) -> None:
        """What it has said and computed by now."""
        since, position, answer = self._quiet[sequence]
        position += self._done - since
        tokens, num_prompt = sequence.token_ids, sequence.request.num_prompt
        tokens += answer[len(tokens) - num_prompt : position + 1 - num_prompt]
        sequence.num_computed = position


def _may_publish_late(manager: CacheManager) -> bool:
    """Does nobody notice whether a full page is published at once or a step later, but who looks a prompt up?

    An eviction order may ask when it was; a partial hit, whether its content is there yet to be copied; a manager may
    have a moment of its own for it; and where the prefix cache keeps one page of a content, it is the first one.
    """
    return (
        type(manager).publish is CacheManager.publish
        and isinstance(manager.prefix_cache, HashPrefixCache)
        and not manager.partial_hits
        and manager.store.order in (least_recently_used, least_frequently_used, lowest_priority)
    )
