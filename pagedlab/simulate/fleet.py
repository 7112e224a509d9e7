"""Fleet: replicas behind a router, some of which fail, come back, are started or drained."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import count
from random import Random

from pagedlab.errors import InvalidConfig
from pagedlab.progress import progress_bar
from pagedlab.scheduling.knobs import chosen
from pagedlab.scheduling.load import Offer
from pagedlab.simulate.autoscale import Autoscaler, Scaling
from pagedlab.simulate.failures import Failure, RandomFailures
from pagedlab.simulate.loop import Loop
from pagedlab.simulate.replica import Job, Replica
from pagedlab.simulate.results import Results
from pagedlab.simulate.routers import ROUTERS, Router
from pagedlab.simulate.simulator import Simulator


@dataclass(frozen=True)
class Fleet:
    """``replicas`` of what ``simulator`` describes, behind a router: a name of ROUTERS, or what makes a new one.

        fleet = Fleet(Simulator("sglang"), replicas=8, router="prefix")
        results = fleet.run(Chat().offers(sessions=1000), failures=[Failure(at=60, replica=3, back_after=120)])
        results.percentiles("ttft"), results.hit_rate, results.cost_per_million(dollars_per_hour=2.5)

    With an ``autoscaler`` there are ``replicas`` at first.
    """

    simulator: Simulator
    replicas: int = 8
    router: str | Callable[[], Router] = "prefix"
    autoscaler: Autoscaler | None = None

    def __post_init__(self) -> None:
        if self.replicas < 1:
            raise InvalidConfig(f"a fleet of {self.replicas} replicas was asked for; it has at least one")
        if self.autoscaler is not None and not self.autoscaler.least <= self.replicas <= self.autoscaler.most:
            raise InvalidConfig(
                f"a fleet of {self.replicas} replicas was asked for, to be scaled from {self.autoscaler.least} to "
                f"{self.autoscaler.most}: begin with as many as are between these"
            )

    def new_router(self) -> Router:
        return chosen("router", self.router, ROUTERS)()

    def run(
        self,
        offers: Iterable[Offer],
        *,
        failures: Iterable[Failure] = (),
        random_failures: RandomFailures | None = None,
        sample_every: float | None = None,
        progress: bool = False,
    ) -> Results:
        """Serve ``offers``, which are in the order of ``at``, to the last token.

        When a replica is lost, its requests go to others: what they have said by then has been read, and is computed
        anew in one go with their prompt. Their first token keeps its moment.
        """
        operation = Operation({"": self}, offers, self.new_router(), failures, random_failures)
        return operation.run(sample_every, progress)


class Operation:
    """A run of one fleet, or of several, each of which is a pool of the same loop. Replicas are numbered from 0 on."""

    def __init__(
        self,
        pools: Mapping[str, Fleet],
        offers: Iterable[Offer],
        router: Router,
        failures: Iterable[Failure] = (),
        random_failures: RandomFailures | None = None,
    ) -> None:
        self.loop = Loop((), offers, router)
        self.again: Callable[[Job], None] = self.loop.route  #: what becomes of a job whose replica is lost
        self._pools, self._numbers = pools, count()
        self._random_failures = random_failures
        self._chances: dict[int, Random] = {}
        if random_failures is not None:
            self.loop.on_add.append(self._draw_failure)
        for name, fleet in pools.items():
            for _ in range(fleet.replicas):
                self.loop.add(self._new(name))
        self._scalings = {
            name: Scaling(fleet.autoscaler, self.loop, name, partial(self._new, name))
            for name, fleet in pools.items()
            if fleet.autoscaler is not None
        }
        for failure in failures:
            if not self._scalings and failure.replica >= len(self.loop.replicas):
                raise InvalidConfig(
                    f"a failure of replica {failure.replica} was asked for; they are numbered from 0 to "
                    f"{len(self.loop.replicas) - 1}"
                )
            self.loop.at(failure.at, partial(self._fail_number, failure.replica, failure.back_after))

    def run(self, sample_every: float | None, progress: bool) -> Results:
        if sample_every is not None:
            self.loop.sample_every(sample_every)
        with progress_bar("Simulating", None, show=progress) as advance:
            return self.loop.run(advance)

    def _new(self, pool: str) -> Replica:
        return self._pools[pool].simulator.replica(next(self._numbers), pool=pool)

    def _draw_failure(self, replica: Replica) -> None:
        assert self._random_failures is not None
        failures, number = self._random_failures, replica.number
        chance = self._chances.setdefault(number, failures.chance(number))
        up, away = chance.expovariate(1 / failures.mtbf), chance.expovariate(1 / failures.mttr)
        self.loop.at(self.loop.now + up, partial(self._fail, replica, away))

    def _fail_number(self, number: int, back_after: float | None) -> None:
        for replica in (*self.loop.replicas, *self.loop.draining):
            if replica.number == number:
                self._fail(replica, back_after)

    def _fail(self, replica: Replica, back_after: float | None) -> None:
        loop = self.loop
        serves = replica in loop.replicas
        if not serves and replica not in loop.draining:  # it has gone in the meantime
            return
        jobs = loop.lose(replica)
        if serves and back_after is not None:
            returning = self._pools[replica.pool].simulator.replica(replica.number, pool=replica.pool)
            loop.expect(returning, back_after, paid=False)
        if replica.pool in self._scalings:
            self._scalings[replica.pool].look()
        for job in jobs:
            self.again(job)
