"""QuietScheduler: the engine's scheduler, in which steps that decide nothing for a sequence cost nothing for it.

Whoever decodes inside a page, and is not about to say its last token, has one token computed in each step, whatever
else happens: it takes no page, fills none, and does not end. Such a sequence is *quiet*. Nobody looks at it until the
step in which it may want something again; until then the quiet ones are a number, and a number of tokens that they look
back on. Everybody else goes through the ordinary scheduler, which is the same code.

Where the ordinary scheduler has to look at everyone (pages are short, the budget does not reach, an admission policy
asks how far those inside have come), all wake up first. So plans, pages, queues and statistics are those of
:class:`~pagedlab.scheduling.scheduler.Scheduler`, step by step; a property test holds the two against each other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from pagedlab.scheduling.plan import Chunk, StepPlan
from pagedlab.scheduling.request import FinishReason, Request, Status
from pagedlab.scheduling.request import Sequence as Stream
from pagedlab.scheduling.scheduler import Scheduler

#: The tokens that a sequence will say, all of them.
Answer = Sequence[int]


class Rest(NamedTuple):
    """A sequence is quiet from step ``since`` on, in which it computes token number ``position``."""

    since: int
    position: int


class QuietScheduler(Scheduler):
    """``answer(sequence)`` must be set before the first step: what a sequence says is known beforehand.

    A trace, a sliding window or a drafter concern every token: with one of them, nobody is quiet.
    """

    answer: Callable[[Stream], Answer]

    def __init__(self, *args: Any, **knobs: Any) -> None:
        super().__init__(*args, **knobs)
        self._may_rest = self.manager.trace is None and self.manager.window is None and self.drafter is None
        self._quiet: dict[Stream, Rest] = {}
        self._wakes: dict[int, list[Stream]] = {}  #: step -> who may want something in it
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
        if len(self._quiet) < len(self.running) or not self._quiet:
            return 0
        if self.waiting and len(self.running) < self.limits.max_sequences:
            return 0
        return min(self._wakes) - self._done

    def skip(self, num_steps: int) -> None:
        """As many idle steps have been computed."""
        for _ in range(num_steps):
            self.manager.begin_step(self.num_steps)
            self.admission.step_done(self, 0)
            self.num_steps += 1
        self._done += num_steps

    def wake_all(self) -> None:
        """Everybody is up to date."""
        for sequence in list(self._quiet):
            self._wake_up(sequence)
        self._wakes.clear()

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
        for sequence in self._wakes.pop(plan.step, ()):
            if sequence in self._quiet:
                self._wake_up(sequence)
        if self._quiet and not self._may_stay_quiet(budget - len(self._quiet)):
            self.wake_all()
        num_quiet = len(self._quiet)
        left = super()._schedule_running(plan, budget - num_quiet)
        if num_quiet:
            plan.chunks.append(Chunk(self._chorus, 0, num_quiet))
        return left

    def _awake(self) -> tuple[Stream, ...]:
        return tuple([sequence for sequence in self.running if sequence not in self._quiet])

    def _places(self) -> int:
        return self.limits.max_sequences - len(self._quiet) - sum(sequence.width for sequence in self._awake())

    def _may_stay_quiet(self, budget: int) -> bool:
        """This step would do the same if all were looked at: there is enough of everything for those who are awake."""
        if self.waiting and self.admission.watches_progress and len(self.running) < self.limits.max_sequences:
            return False
        pages = 0
        for sequence in self._awake():
            lacks = min(budget, sequence.num_tokens - sequence.num_computed)
            pages += lacks // self.manager.page_size + 2  # it may begin in one page, and a shared one is copied
            if sequence.num_computed + lacks < sequence.num_tokens:  # the budget ends here: those behind get nothing
                behind = self.running[self.running.index(sequence) + 1 :]
                return self._quiet.keys().isdisjoint(behind) and pages <= self.manager.num_available
            budget -= lacks
        return pages <= self.manager.num_available

    def _rest(self, sequence: Stream) -> None:
        """Be quiet from the next step on, as long as it wants nothing."""
        manager, position = self.manager, sequence.num_computed
        in_page = position % manager.page_size
        if not in_page or sequence.num_tokens != position + 1:
            return
        to_say = len(self.answer(sequence)) - sequence.num_output
        steps = min(manager.page_size - in_page - manager.caching, to_say - 1)
        if steps > 0 and manager.pool.refcount(manager.table(sequence.id).pages[-1]) == 1:
            self._quiet[sequence] = Rest(self._done, position)
            self._offset += position - self._done
            self._wakes.setdefault(self._done + steps, []).append(sequence)

    def _wake_up(self, sequence: Stream) -> None:
        since, position = self._quiet.pop(sequence)
        self._offset -= position - since
        steps = self._done - since
        if steps:
            said = sequence.num_output
            sequence.token_ids += self.answer(sequence)[said : said + steps]
            sequence.num_computed = position + steps
            self.manager.extend(sequence.id, position + steps)
