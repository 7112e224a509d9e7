"""Load: requests that arrive when they are due, whether the server is ready or not, and the moments of their tokens.

This is an *open* loop. A closed loop, whose clients wait for an answer before they send on, slows down together with
the server: the requests that would have met a stall are never sent, and their wait is not counted ("coordinated
omission", after Gil Tene). Here a request's wait begins when it was due, even if a step was in the way of sending it.

The clock may be the wall's or a virtual one, on which a step costs what a model of it says: then the same load gives
the same numbers on every machine, with or without a model to run.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from heapq import heapify, heappop, heappush
from itertools import accumulate, islice, repeat
from random import Random
from typing import Protocol

from pagedlab.errors import InvalidQuantity
from pagedlab.scheduling.latency import Timeline
from pagedlab.scheduling.plan import SampleRow, StepPlan
from pagedlab.scheduling.request import Request
from pagedlab.scheduling.sampling import SamplingParams
from pagedlab.scheduling.scheduler import Scheduler


@dataclass(frozen=True)
class Offer:
    """A request that is due at ``at`` seconds, and gets ``n`` answers of exactly ``num_output`` tokens each.

    It asked for ``allowed`` at most, which is more where an answer ends by itself; None: for no more than it gets.
    ``output``: the tokens that its first answer says where no model does; the other answers, and all where it is None,
    say tokens that nobody else says. ``then`` is asked, once, when the last token of all answers has come, what its
    sender wants next, and is told that moment: a chat's next turn, the branches of an agent. ``salt`` is its namespace
    in the prefix cache; ``session`` and ``kind`` are names for routers and tables.
    """

    at: float
    prompt: Sequence[int]
    num_output: int
    allowed: int | None = None
    output: Sequence[int] | None = None
    then: Callable[[float], Iterable[Offer]] | None = None
    salt: Hashable = None
    session: str = ""
    kind: str = ""
    n: int = 1

    def __post_init__(self) -> None:
        if self.num_output < 1 or (self.allowed is not None and self.allowed < self.num_output):
            raise InvalidQuantity(
                f"an answer of {self.num_output} tokens was offered, of {self.allowed} allowed; it has from 1 to these"
            )
        if self.n < 1:
            raise InvalidQuantity(f"{self.n} answers to one prompt were offered; it has at least 1")
        if self.output is not None and len(self.output) != self.num_output:
            raise InvalidQuantity(
                f"an answer of {self.num_output} tokens was offered, and {len(self.output)} tokens to say: give as many"
            )

    @property
    def params(self) -> SamplingParams:
        """One answer is greedy. Several are sampled: greedy ones would all be the same."""
        most, temperature = self.allowed or self.num_output, float(self.n > 1)
        return SamplingParams(n=self.n, max_tokens=most, temperature=temperature, ignore_eos=True)


def poisson_process(rate: float, seed: int = 0) -> Iterator[float]:
    """Moments in seconds, without end, with gaps that are independent and exponential of mean 1 / ``rate``.

    The same seed at twice the rate gives the same pattern twice as fast.
    """
    if rate <= 0:
        raise InvalidQuantity(f"a rate of {rate} requests a second was asked for; it must be above 0")
    draw = Random(seed)
    return accumulate(draw.expovariate(rate) for _ in repeat(None))


def poisson_arrivals(rate: float, count: int, seed: int = 0) -> list[float]:
    """The first ``count`` moments of a Poisson process."""
    return list(islice(poisson_process(rate, seed), count))


class Server(Protocol):
    """What can be driven: the engine (``pagedlab.engine.load``), or a scheduler without a model."""

    @property
    def scheduler(self) -> Scheduler: ...
    def submit(self, name: str, offer: Offer) -> None: ...
    def step(self) -> StepPlan: ...


#: What a request says last when it has no model, and ends by itself.
END = -1


class WithoutModel:
    """A scheduler and its pages; answers say what was offered. What a step *decides* is what the engine would."""

    def __init__(self, scheduler: Scheduler) -> None:
        self.scheduler = scheduler
        self._answers: dict[Request, list[Sequence[int]]] = {}  #: of those that have not ended

    def submit(self, name: str, offer: Offer) -> None:
        params = replace(offer.params, stop_token_ids=(END,))
        request = Request(name, list(offer.prompt), params, salt=offer.salt)
        self.scheduler.add(request)
        self._answers[request] = [answer_of(offer, request.arrival, index) for index in range(offer.n)]

    def step(self) -> StepPlan:
        plan = self.scheduler.schedule()
        self.scheduler.commit(plan, [[self._token(row)] for row in plan.samples])
        for request in ended_in(plan):
            del self._answers[request]
        return plan

    def _token(self, row: SampleRow) -> int:
        answer, said = self._answers[row.sequence.request][row.sequence.index], row.sequence.num_output
        return answer[said] if said + 1 < len(answer) else END


def answer_of(offer: Offer, arrival: int, index: int = 0) -> Sequence[int]:
    """The tokens of answer ``index`` to ``offer``; made-up ones are below END, and nobody else's."""
    if offer.output is not None and index == 0:
        return offer.output
    first = -2 - (arrival << 32) - index * offer.num_output
    return range(first, first - offer.num_output, -1)


def ended_in(plan: StepPlan) -> list[Request]:
    """The requests whose last sequence ended in this step, which is committed; each once, in order."""
    return [request for request in dict.fromkeys(row.sequence.request for row in plan.samples) if request.finished]


@dataclass(frozen=True)
class StepTime:
    """Seconds of a step: so much in any case, for each token computed, and for each token of context read."""

    fixed: float
    per_token: float
    per_context: float = 0.0

    def __call__(self, num_tokens: int, num_context: int) -> float:
        return self.fixed + self.per_token * num_tokens + self.per_context * num_context


class Clock(Protocol):
    def now(self) -> float: ...
    def wait_until(self, moment: float) -> None: ...
    def step_done(self, num_tokens: int, num_context: int) -> None: ...


class VirtualClock:
    """Time passes when a step is done, by what ``step_time`` says of it, and when there is nothing to do."""

    def __init__(self, step_time: StepTime) -> None:
        self.step_time, self._now = step_time, 0.0

    def now(self) -> float:
        return self._now

    def wait_until(self, moment: float) -> None:
        self._now = max(self._now, moment)

    def step_done(self, num_tokens: int, num_context: int) -> None:
        self._now += self.step_time(num_tokens, num_context)


class WallClock:
    """Real seconds since it was made."""

    def __init__(self) -> None:
        self._start = time.perf_counter()

    def now(self) -> float:
        return time.perf_counter() - self._start

    def wait_until(self, moment: float) -> None:
        time.sleep(max(0.0, moment - self.now()))

    def step_done(self, num_tokens: int, num_context: int) -> None:
        pass


@dataclass(frozen=True)
class Step:
    """What one step was, and when. ``num_context``: tokens that its sequences' attention looks back on, in all.

    The pages are as they stand after it, as are ``slots_wasted``: those at the end of running sequences' tables that
    hold no token.
    """

    start: float
    stop: float
    num_tokens: int
    num_context: int
    num_sequences: int
    num_waiting: int
    pages_used: int
    pages_cached: int
    slots_wasted: int


@dataclass(frozen=True)
class Run:
    """Everything that happened; ``timelines`` are in the order in which requests were due."""

    timelines: list[Timeline]
    steps: list[Step]

    @property
    def seconds(self) -> float:
        """From the start of the clock to the last token."""
        return self.steps[-1].stop if self.steps else 0.0

    @property
    def utilisation(self) -> float:
        """The share of those seconds in which a step was computed."""
        return sum(step.stop - step.start for step in self.steps) / self.seconds if self.steps else 0.0

    @property
    def tokens_per_second(self) -> float:
        """Output tokens, over all seconds."""
        return sum(timeline.num_tokens for timeline in self.timelines) / self.seconds if self.steps else 0.0

    @property
    def mean_batch(self) -> float:
        """Sequences in a step, on average over steps."""
        return sum(step.num_sequences for step in self.steps) / len(self.steps) if self.steps else 0.0


def drive(server: Server, offers: Iterable[Offer], clock: Clock) -> Run:
    """Send each offer when it is due, and those that follow an answer, and step until all are served.

    Requests can only be sent between steps, as in any engine. Those that come due meanwhile wait, and that counts.
    """
    line = [(offer.at, number, offer) for number, offer in enumerate(offers)]
    heapify(line)
    num_offers = len(line)
    sent: dict[str, tuple[Offer, Timeline]] = {}
    steps: list[Step] = []
    scheduler = server.scheduler
    while line or scheduler.has_work:
        while line and line[0][0] <= clock.now():
            _, number, offer = heappop(line)
            sent[str(number)] = offer, Timeline(offer.at, n=offer.n)
            server.submit(str(number), offer)
        if not scheduler.has_work:
            clock.wait_until(line[0][0])
            continue
        start = clock.now()
        plan = server.step()
        num_context = sum(chunk.stop for chunk in plan.chunks)
        clock.step_done(plan.num_tokens, num_context)
        stop = clock.now()
        for row in plan.samples:
            sent[row.sequence.request.id][1].note(row.sequence.num_output, stop)
        for request in ended_in(plan):
            then = sent[request.id][0].then
            for following in then(stop) if then else ():
                heappush(line, (following.at, num_offers, following))
                num_offers += 1
        for sequence in plan.preempted:
            sent[sequence.request.id][1].num_preemptions += 1
        pool, tables = scheduler.manager.pool, map(scheduler.manager.table, (s.id for s in scheduler.running))
        steps.append(
            Step(
                start,
                stop,
                plan.num_tokens,
                num_context,
                num_sequences=len(plan.chunks),
                num_waiting=len(scheduler.waiting),
                pages_used=pool.num_used,
                pages_cached=pool.num_cached,
                slots_wasted=sum(table.waste for table in tables),
            )
        )
    return Run([timeline for _, timeline in sent.values()], steps)
