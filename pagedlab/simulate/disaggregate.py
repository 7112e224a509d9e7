"""Disaggregated: prompts are computed by some replicas and answers by others, and pages travel in between.

Prefill is bound by arithmetic and decode by memory traffic; on one machine each is in the other's way. DistServe
(Zhong et al. 2024, arXiv 2401.09670) and Splitwise (Patel et al. 2024, arXiv 2311.18677) keep them apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from pagedlab.errors import InvalidConfig
from pagedlab.scheduling.load import Offer
from pagedlab.simulate.arrivals import require_positive
from pagedlab.simulate.cost import Roofline
from pagedlab.simulate.failures import Failure, RandomFailures
from pagedlab.simulate.fleet import Fleet, Operation
from pagedlab.simulate.replica import Job, Replica
from pagedlab.simulate.results import Results
from pagedlab.simulate.routers import Router
from pagedlab.simulate.simulator import Simulator

PREFILL, DECODE = "prefill", "decode"


@dataclass(frozen=True)
class Disaggregated:
    """Two fleets. ``prefill`` computes a prompt and says one token; then its pages go to a replica of ``decode``.

        simulator = Simulator("vllm")
        split = Disaggregated(Fleet(simulator, 3), Fleet(simulator, 5, "least_loaded"))
        results = split.run(Chat().offers(sessions=1000))
        results.cost_per_million({"prefill": 2.5, "decode": 1.2})

    Every prefill replica sends over a wire of its own, one prompt after another: ``latency`` seconds, and
    ``bandwidth`` bytes a second (400 Gbit/s; both are assumptions). All pages of a prompt travel, whatever is cached at
    the other end, and lie in host memory there until they are admitted: as much as the pool has, unless the decode
    simulator says ``num_host_pages``. Where that is full, a prompt is computed again. ``bytes_per_token`` is the
    roofline's, or needed.

    Replicas are numbered through, prefill first. What travels is not lost with its sender. Left out: sending layer by
    layer while the prompt is computed.
    """

    prefill: Fleet
    decode: Fleet
    bandwidth: float = 50e9
    latency: float = 1e-3
    bytes_per_token: float | None = None

    def __post_init__(self) -> None:
        require_positive(bandwidth=self.bandwidth)
        if self.latency < 0:
            raise InvalidConfig(f"latency={self.latency} was asked for; it is 0 seconds or more")
        if self.bytes_per_token is None and bytes_of(self.prefill.simulator) != bytes_of(self.decode.simulator):
            raise InvalidConfig(
                f"a token takes {bytes_of(self.prefill.simulator)} bytes where it is computed, and "
                f"{bytes_of(self.decode.simulator)} where it goes: give both the same model and kv_dtype"
            )

    @property
    def seconds_per_token(self) -> float:
        """That a token's keys and values take on the wire."""
        size = bytes_of(self.prefill.simulator) if self.bytes_per_token is None else self.bytes_per_token
        if size is None:
            raise InvalidConfig("a cost model of your own does not say what a token weighs: give bytes_per_token")
        return size / self.bandwidth

    def run(
        self,
        offers: Iterable[Offer],
        *,
        failures: Iterable[Failure] = (),
        random_failures: RandomFailures | None = None,
        sample_every: float | None = None,
        progress: bool = False,
    ) -> Results:
        """As :meth:`Fleet.run`. The pools are called "prefill" and "decode"; whatever is lost begins with prefill."""
        return Handover(self, offers, failures, random_failures).run(sample_every, progress)


def bytes_of(simulator: Simulator) -> int | None:
    """What a token leaves in the cache, if the cost model says."""
    return simulator.cost.bytes_per_token if isinstance(simulator.cost, Roofline) else None


class Handover(Operation):
    """A run of both pools."""

    def __init__(
        self,
        split: Disaggregated,
        offers: Iterable[Offer],
        failures: Iterable[Failure] = (),
        random_failures: RandomFailures | None = None,
    ) -> None:
        simulator = split.decode.simulator
        decode = replace(split.decode, simulator=simulator.with_host_memory())
        router = TwoPools(split.prefill.new_router(), split.decode.new_router())
        super().__init__({PREFILL: split.prefill, DECODE: decode}, offers, router, failures, random_failures)
        self._latency, self._seconds_per_token = split.latency, split.seconds_per_token
        self._wire_free: dict[int, float] = {}  #: number of a sender -> when its wire is
        self.loop.arrived = self.again = self._prefill
        self.loop.served = self._served

    def _prefill(self, job: Job) -> None:
        job.prefill_only, job.num_computed = True, 0
        self.loop.route(job)

    def _served(self, job: Job) -> None:
        offer = job.offer
        if job.prefill_only and offer.n == 1:
            job.num_said += 1
        if not job.prefill_only or job.num_said == offer.num_output:
            self.loop.finish(job)
            return
        # The last token is yet to be computed: it yields the next one. Several answers begin at the prompt's end.
        job.prefill_only, job.num_computed = False, len(offer.prompt) + job.num_said - 1
        start = max(self.loop.now, self._wire_free.get(job.replica, 0.0))
        sent = self._wire_free[job.replica] = start + job.num_computed * self._seconds_per_token
        self.loop.at(sent + self._latency, partial(self.loop.route, job))


class TwoPools(Router):
    """A router for each pool."""

    def __init__(self, prefill: Router, decode: Router) -> None:
        self._routers = {PREFILL: prefill, DECODE: decode}
        self._replicas: dict[str, list[Replica]] = {PREFILL: [], DECODE: []}

    def choose(self, job: Job, replicas: Sequence[Replica], now: float) -> Replica | None:
        pool = PREFILL if job.prefill_only else DECODE
        there = self._replicas[pool]
        return self._routers[pool].choose(job, there, now) if there else None

    def joined(self, replica: Replica) -> None:
        self._replicas[replica.pool].append(replica)
        self._routers[replica.pool].joined(replica)

    def left(self, replica: Replica) -> None:
        self._replicas[replica.pool].remove(replica)
        self._routers[replica.pool].left(replica)

    def sent(self, job: Job, replica: Replica) -> None:
        self._routers[replica.pool].sent(job, replica)

    def ended(self, job: Job, replica: Replica) -> None:
        self._routers[replica.pool].ended(job, replica)
