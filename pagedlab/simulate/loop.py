"""Loop: one clock, and whatever happens next on it.

A discrete-event simulation is a heap of moments. Four things happen here, at one moment in this order: steps end,
timers ring, requests arrive, steps begin. So whoever arrives while a step ends is part of the next one, as in
``pagedlab.scheduling.load.drive``; a test compares the two. (A library such as SimPy would make each request a process
with a stack of its own; the loop below is shorter than what would have to be written around one.)
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from heapq import heappop, heappush
from typing import Any

from pagedlab.errors import InvalidQuantity, InvalidRequest
from pagedlab.scheduling.load import Offer
from pagedlab.simulate.replica import Job, Replica
from pagedlab.simulate.results import Requests, Results, Samples, Totals
from pagedlab.simulate.routers import Router

_END, _RING, _ARRIVE, _BEGIN = range(4)


class Loop:
    """Serves ``offers``, which come in the order of ``at``, with ``replicas``, to the last token.

    Fleets are made of what others may do here: set timers, add, drain and lose replicas, and route a job again.
    ``on_add`` is called with each replica that is added, ``on_finish`` with each job that is done, and ``on_step`` with
    each replica whose step has ended, at that moment: once for several steps that decided nothing.
    """

    def __init__(self, replicas: Iterable[Replica], offers: Iterable[Offer], router: Router) -> None:
        self.now = 0.0
        self.router = router
        self.replicas: list[Replica] = []  #: those that take requests
        self.draining: list[Replica] = []  #: those that finish what they have, and go
        self.requests, self.samples, self.totals = Requests(), Samples(), Totals()
        self.on_add: list[Callable[[Replica], None]] = []
        self.on_finish: list[Callable[[Job], None]] = []
        self.on_step: list[Callable[[Replica], None]] = []
        # What becomes of a job when it has arrived, and when its replica is done with it.
        self.arrived: Callable[[Job], None] = self.route
        self.served: Callable[[Job], None] = self.finish
        self.coming: list[Replica] = []  #: those that will take requests
        self.homeless: list[Job] = []  #: jobs that came when nobody took them, and somebody is coming
        self.num_open = 0  #: jobs that have arrived and are not done
        self._offers, self._num_jobs, self._num_to_come = iter(offers), 0, 0
        self._heap: list[tuple[float, int, int, Any]] = []
        self._num_events = 0
        self._due: dict[Replica, int] = {}  #: of who is busy, or about to be: the event that counts
        self._since: dict[Replica, float] = {}
        for replica in replicas:
            self.add(replica)
        self._await_next_offer()

    # What others may do

    @property
    def has_work(self) -> bool:
        """Somebody is being served, or will come."""
        return self.num_open > 0 or self._num_to_come > 0

    def at(self, moment: float, ring: Callable[[], None]) -> None:
        """Call ``ring`` when the moment comes, though only as long as there is work."""
        self._push(moment, _RING, ring)

    def sample_every(self, seconds: float) -> None:
        """Keep the state of every replica at such intervals, from now on."""
        if seconds <= 0:
            raise InvalidQuantity(f"samples every {seconds} seconds were asked for; give a span above 0")

        def ring() -> None:
            for replica in (*self.replicas, *self.draining):
                self.samples.add(self.now, replica)
            self.at(self.now + seconds, ring)

        self.at(self.now, ring)

    def expect(self, replica: Replica, seconds: float, *, paid: bool) -> None:
        """In so many seconds ``replica`` is added. ``paid``: it costs from now on, and not only from then on."""
        self.coming.append(replica)
        if paid:
            self._since[replica] = self.now
        self.at(self.now + seconds, lambda: self.add(replica))

    def add(self, replica: Replica) -> None:
        """From now on requests may go to ``replica``; whoever found none goes to it."""
        if replica in self.coming:
            self.coming.remove(replica)
        self.replicas.append(replica)
        self._since.setdefault(replica, self.now)
        self.router.joined(replica)
        for tell in self.on_add:
            tell(replica)
        homeless, self.homeless = self.homeless, []
        for job in homeless:
            self.route(job)

    def drain(self, replica: Replica) -> None:
        """``replica`` gets no more requests, and goes when it has answered those that it has."""
        self.replicas.remove(replica)
        self.router.left(replica)
        self.draining.append(replica)
        self._let_go(replica)

    def lose(self, replica: Replica) -> list[Job]:
        """``replica`` and its pages are gone. Returns the jobs that it had, which are nobody's now: route them."""
        if replica in self.replicas:
            self.replicas.remove(replica)
            self.router.left(replica)
        else:
            self.draining.remove(replica)
        self._due.pop(replica, None)
        jobs = replica.lose_everything(self.now)
        self._settle(replica)
        for job in jobs:
            self.router.ended(job, replica)
        self.totals.num_lost_replicas += 1
        self.totals.num_rerouted += len(jobs)
        return jobs

    def route(self, job: Job) -> None:
        """Have the router choose who gets ``job``. Where nobody takes it, and nobody is coming, it is refused."""
        replica = self.router.choose(job, self.replicas, self.now) if self.replicas else None
        if replica is not None:
            self.submit(job, replica)
        elif self.coming:
            self.homeless.append(job)
        else:
            self._refuse()

    def submit(self, job: Job, replica: Replica) -> None:
        """``replica`` gets ``job`` now. A job that it can never serve is counted as refused."""
        try:
            replica.submit(job)
        except InvalidRequest:
            self._refuse()
            return
        self.router.sent(job, replica)
        if replica.is_busy:
            sooner = replica.interrupt(self.now)
            if sooner is not None:
                self._due[replica] = self._push(sooner, _END, replica)
        elif replica not in self._due:
            self._due[replica] = self._push(self.now, _BEGIN, replica)

    def finish(self, job: Job) -> None:
        """``job`` has all its tokens."""
        self.num_open -= 1
        self.requests.add(job)
        self.totals.seconds = self.now
        if job.offer.then is not None:
            for following in job.offer.then(self.now):
                self._expect(following)
        for tell in self.on_finish:
            tell(job)

    def run(self, advance: Callable[[float], None] = lambda amount: None) -> Results:
        """To the last token. ``advance`` is told of every job that is done."""
        self.on_finish.append(lambda job: advance(1))
        with _rare_garbage_collection():
            self._run()
        for replica in list(self._since):
            self._settle(replica)
        return Results(self.requests, self.samples, self.totals)

    # What happens

    def _run(self) -> None:
        while self.has_work:
            self.now, kind, number, what = heappop(self._heap)
            if kind == _ARRIVE:
                self._arrive(what)
            elif kind == _RING:
                what()
            elif self._due.get(what) == number:  # else it ended sooner than was planned, or is gone
                (self._end if kind == _END else self._begin)(what)

    def _arrive(self, offer: Offer) -> None:
        self._num_to_come -= 1
        self.num_open += 1
        job = Job(offer, self._num_jobs, offer.at)
        self._num_jobs += 1
        self.arrived(job)
        if offer is self._next:
            self._await_next_offer()

    def _begin(self, replica: Replica) -> None:
        self._due[replica] = self._push(replica.begin(self.now), _END, replica)

    def _end(self, replica: Replica) -> None:
        del self._due[replica]
        done = replica.end(self.now)
        for tell in self.on_step:
            tell(replica)
        for job in done:
            self.router.ended(job, replica)
            self.served(job)
        if not replica.has_work:
            self._let_go(replica)
        elif self._heap and self._heap[0][0] <= self.now:  # somebody arrives at this very moment
            self._due[replica] = self._push(self.now, _BEGIN, replica)
        else:
            self._begin(replica)

    def _refuse(self) -> None:
        self.num_open -= 1
        self.totals.num_refused += 1

    def _let_go(self, replica: Replica) -> None:
        if replica in self.draining and not replica.has_work:
            self.draining.remove(replica)
            self._settle(replica)

    def _settle(self, replica: Replica) -> None:
        self.totals.add(replica, self.now - self._since.pop(replica))

    def _await_next_offer(self) -> None:
        self._next = next(self._offers, None)
        if self._next is not None:
            if self._next.at < self.now:
                raise InvalidQuantity(
                    f"an offer is due at {self._next.at} s, and the one before it came at {self.now} s: "
                    "sort them by when they are due"
                )
            self._expect(self._next)

    def _expect(self, offer: Offer) -> None:
        self._num_to_come += 1
        self._push(max(self.now, offer.at), _ARRIVE, offer)

    def _push(self, moment: float, kind: int, what: Any) -> int:
        self._num_events += 1
        heappush(self._heap, (moment, kind, self._num_events, what))
        return self._num_events


@contextmanager
def _rare_garbage_collection() -> Iterator[None]:
    """Nothing here that comes and goes in numbers is part of a cycle, and each look at all pages takes its time."""
    before = gc.get_threshold()
    gc.set_threshold(1_000_000, 50, 50)
    try:
        yield
    finally:
        gc.set_threshold(*before)
