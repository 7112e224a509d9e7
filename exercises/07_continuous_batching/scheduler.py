"""The scheduler: your step, with real pages.

Now the step plans for the engine's own cache manager, which can say no. The class below is the engine's scheduler, but
for the part that matters: who gets what in the next step. The line, the ends of requests and the books
of ``commit`` are there already. In chapter 13 it serves the real model. (One sequence a request: no n, no beams.)

What you have, in ``self``: ``running`` and ``waiting`` (both in order), ``limits.max_tokens_per_step`` and
``limits.max_sequences``, ``victim(candidates)`` and ``admission.admits(sequence, self)`` as before in this chapter, and
``manager``, which knows sequences by their ``id``:

- ``manager.extend(id, num_tokens)``: room for so many tokens in all. Raises OutOfPages, with nothing changed.
- ``manager.admit(id, token_ids, budget, salt)``: room for a sequence that comes in, at most ``budget`` tokens of it
  beyond what the prefix cache has for the request's ``salt``. Returns an object with ``num_hit`` (computed already) and
  ``num_tokens`` (room for so many). Raises OutOfPages, with nothing changed.
"""

from pagedlab.errors import OutOfPages
from pagedlab.scheduling.plan import Chunk, SampleRow, StepPlan
from pagedlab.scheduling.request import Sequence, Status
from pagedlab.scheduling.scheduler import Scheduler


class BudgetScheduler(Scheduler):
    """The engine's scheduler, with a step of your own."""

    def schedule(self) -> StepPlan:
        """Written already: the frame of a step. Who waits comes in only if nobody had to give way."""
        plan = StepPlan(self.num_steps)
        self.num_steps += 1
        self.manager.begin_step(plan.step)
        budget = self.serve_running(plan, self.limits.max_tokens_per_step)
        if not plan.preempted:
            self.serve_waiting(plan, budget)
        plan.copies = self.manager.take_copies()
        return plan

    def serve_running(self, plan: StepPlan, budget: int) -> int:
        """Give each running sequence, in order, as many tokens of the budget as it lacks; returns what is left of it.

        Ask the manager for room first, then ``self.put(plan, sequence, start, stop)``. While it has no room,
        ``self.preempt(plan, victim)`` somebody and ask again; the candidates are those of the exercise 07.victim. When
        the sequence is itself the victim, the next one's turn comes. Victims leave ``self.running`` at once.
        """
        raise NotImplementedError("07.scheduler: serve_running is yours to write")

    def serve_waiting(self, plan: StepPlan, budget: int) -> None:
        """Let the first in line come in, and the next, while there are budget, a place and pages.

        Nobody overtakes: the line stands still at the first who may not come in. When the plan has no chunk yet (nobody
        computes), the admission policy is not asked. Then ``self.enter(sequence, num_hit)`` and ``self.put(...)``.
        """
        raise NotImplementedError("07.scheduler: serve_waiting is yours to write")

    # What follows is written already.

    def put(self, plan: StepPlan, sequence: Sequence, start: int, stop: int) -> None:
        """Tokens ``start`` to ``stop`` of a running sequence are in the plan; its last token brings a new one."""
        self.manager.publish(sequence.id, sequence.token_ids, stop)
        plan.chunks.append(Chunk(sequence, start, stop))
        if stop == sequence.num_tokens:
            plan.samples.append(SampleRow(len(plan.chunks) - 1, sequence))

    def enter(self, sequence: Sequence, num_hit: int) -> None:
        """From the line into the batch."""
        self.waiting.remove(sequence)
        self.running.append(sequence)
        self.running.sort(key=self._key)
        sequence.status, sequence.num_computed = Status.RUNNING, num_hit
        if sequence.num_preemptions == 0:
            sequence.num_cached = num_hit

    def preempt(self, plan: StepPlan, victim: Sequence) -> None:
        """Out of the batch, back into the line; its pages are free at once."""
        self._preempt(victim, plan)
