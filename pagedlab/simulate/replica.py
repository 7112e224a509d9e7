"""Replica: one engine without its model. It plans a step, is busy for as long as the cost model says, and commits."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from functools import cache

from pagedlab.errors import InvariantViolation
from pagedlab.scheduling.load import END, Offer, answer_of
from pagedlab.scheduling.plan import SampleRow, StepPlan
from pagedlab.scheduling.request import FinishReason, Request, Status
from pagedlab.scheduling.request import Sequence as Stream
from pagedlab.scheduling.sampling import SamplingParams
from pagedlab.scheduling.scheduler import Scheduler
from pagedlab.simulate.cost import CostModel, StepShape, shape_of
from pagedlab.simulate.quiet import Answer, QuietScheduler


@dataclass(slots=True, eq=False)
class Job:
    """An offer on its way. Moments are in seconds of the simulation's clock."""

    offer: Offer
    number: int  #: in the order in which offers were due
    due: float  #: when its wait began
    replica: int = -1
    first: float = -1.0  #: its first token came then
    last: float = -1.0  #: all its tokens had come
    num_cached: int = 0  #: prompt tokens that were found in the cache when it first came in
    num_preemptions: int = 0
    num_said: int = 0  #: tokens of its answer that it brings along: its replica says those after them
    num_computed: int = 0  #: tokens whose pages it brings along
    prefill_only: bool = False  #: its replica computes the prompt, says one token and is done with it


class Replica:
    """``scheduler`` and its pages, under ``cost``: the seconds that a step of a shape takes."""

    def __init__(self, scheduler: Scheduler, cost: CostModel, number: int = 0, pool: str = "") -> None:
        self.scheduler, self.cost, self.number = scheduler, cost, number
        self.pool = pool  #: of replicas, that it belongs to
        self.jobs: dict[Request, Job] = {}  #: what it has been given and has not finished
        self.busy_seconds = 0.0
        self.num_steps = 0
        self.num_tokens = 0  #: computed, those that were computed again included
        self.num_lost = 0  #: tokens of its jobs that it had in its pages when it was lost
        self._answers: dict[Request, list[Answer]] = {}
        self._quiet = scheduler if isinstance(scheduler, QuietScheduler) else None
        if self._quiet is not None:
            self._quiet.answer = self._answer
        self._plan: StepPlan | None = None
        self._began = 0.0
        self._ends: list[float] = []  #: of the steps under way: one that is planned, or several that decide nothing
        self._width = 0  #: tokens that each of these computes

    @property
    def is_busy(self) -> bool:
        return bool(self._ends)

    @property
    def has_work(self) -> bool:
        return self.scheduler.has_work

    def submit(self, job: Job) -> None:
        """Put a job in line. Raises InvalidRequest where it can never be served, and nothing has changed.

        What it has said already is prompt here: computed in one go with it, as after a preemption, but for what it
        brings along in pages. Where there is no host memory left for these, they are dropped.
        """
        offer, said = job.offer, job.num_said
        n, allowed = (1, 1) if job.prefill_only else (offer.n, (offer.allowed or offer.num_output) - said)
        answers = [answer_of(offer, job.number, index) for index in range(n)]
        request = Request(str(job.number), [*offer.prompt, *answers[0][:said]], _params(allowed, n), salt=offer.salt)
        self.scheduler.add(request)
        if job.num_computed:
            self.scheduler.manager.receive(request.sequences[0].id, job.num_computed)
        job.replica = self.number
        self.jobs[request] = job
        last = said + 1 if job.prefill_only else offer.num_output
        self._answers[request] = [answer[said:last] for answer in answers]

    def begin(self, now: float) -> float:
        """Start what comes next, and return when it ends: a step, or as many steps as decide nothing."""
        self._began = now
        num_idle = self._quiet.num_idle_steps if self._quiet is not None else 0
        if num_idle > 1 and self._quiet is not None:
            tokens, context = self._quiet.num_quiet, self._quiet.quiet_context
            for _ in range(num_idle):
                now += self.cost(StepShape(tokens, tokens, tokens, context, context))
                self._ends.append(now)
                context += tokens
            self._width = tokens
            return now
        plan = self._plan = self.scheduler.schedule()
        if not plan.chunks:
            raise InvariantViolation(f"a step of replica {self.number} has nothing to compute, and requests wait")
        quiet = (self._quiet.num_quiet, self._quiet.quiet_context) if self._quiet is not None else (0, 0)
        shape = shape_of(plan, *quiet)
        now += self.cost(shape)
        self._ends.append(now)
        self._width = shape.num_tokens
        return now

    def interrupt(self, now: float) -> float | None:
        """Somebody has arrived, so of several steps that decide nothing the one under way is the last. When it ends,
        if that is sooner than was said.
        """
        if self._plan is not None or self._ends[-1] <= now:
            return None
        del self._ends[bisect_left(self._ends, now) + 1 :]
        return self._ends[-1]

    def end(self, now: float) -> list[Job]:
        """What was begun has ended. Returns the jobs that are done with it."""
        steps = self._count_steps(now)
        plan, self._plan = self._plan, None
        if plan is None:
            assert self._quiet is not None
            self._quiet.skip(steps)
            return []
        for sequence in plan.preempted:
            self.jobs[sequence.request].num_preemptions += 1
        self.scheduler.commit(plan, [[self._token(row)] for row in plan.samples])
        done: list[Job] = []
        for row in plan.samples:
            request = row.sequence.request
            job = self.jobs.get(request)
            if job is None:  # it was done at an earlier row
                continue
            if job.first < 0:
                job.first, job.num_cached = now, row.sequence.num_cached
            if row.sequence.status is Status.FINISHED and request.finished:
                job.last = now
                del self.jobs[request], self._answers[request]
                request.sequences = []  # they know each other, and so would outlive their use
                done.append(job)
        return done

    def lose_everything(self, now: float) -> list[Job]:
        """The machine is gone, with all pages and the step under way. Returns the jobs that it had.

        What a job has said by then, it keeps. Several answers to one prompt begin anew together: they share its pages.
        """
        steps = self._count_steps(now)
        if self._ends:
            self.busy_seconds += now - self._began
        if steps and self._quiet is not None:
            self._quiet.skip(steps)
        for request, job in self.jobs.items():
            for sequence in request.sequences:
                self.scheduler.finish(sequence, FinishReason.ABORT)
                self.num_lost += sequence.num_computed
            if job.offer.n == 1:
                job.num_said += request.sequences[0].num_output
            request.sequences = []
        jobs = list(self.jobs.values())
        self.jobs.clear()
        self._answers.clear()
        return jobs

    def _count_steps(self, now: float) -> int:
        """Of those under way, the steps that have ended by now."""
        ended = self._ends[: bisect_right(self._ends, now)]
        del self._ends[: len(ended)]
        self.num_steps += len(ended)
        self.num_tokens += len(ended) * self._width
        for end in ended:
            self.busy_seconds += end - self._began
            self._began = end
        return len(ended)

    def _answer(self, sequence: Stream) -> Answer:
        return self._answers[sequence.request][sequence.index]

    def _token(self, row: SampleRow) -> int:
        answer, said = self._answer(row.sequence), row.sequence.num_output
        return answer[said] if said + 1 < len(answer) else END


@cache
def _params(max_tokens: int, n: int) -> SamplingParams:
    """Checked once for every length."""
    return SamplingParams(n=n, max_tokens=max_tokens, ignore_eos=True, stop_token_ids=(END,))
