"""Results: a row for each request, in columns of numbers, and what they come to."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pagedlab.errors import InvalidQuantity
from pagedlab.scheduling.latency import Slo, percentile
from pagedlab.simulate.replica import Job, Replica

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass
class Requests:
    """One row a request that was served, in the order in which they ended. Moments and spans are in seconds."""

    due: array[float] = field(default_factory=lambda: array("d"))
    first: array[float] = field(default_factory=lambda: array("d"))
    last: array[float] = field(default_factory=lambda: array("d"))
    num_prompt: array[int] = field(default_factory=lambda: array("l"))
    num_output: array[int] = field(default_factory=lambda: array("l"))  #: tokens of each answer
    num_answers: array[int] = field(default_factory=lambda: array("l"))
    num_cached: array[int] = field(default_factory=lambda: array("l"))
    num_preemptions: array[int] = field(default_factory=lambda: array("l"))
    replica: array[int] = field(default_factory=lambda: array("l"))
    kind: array[int] = field(default_factory=lambda: array("l"))  #: its place in ``kinds``
    kinds: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.due)

    def add(self, job: Job) -> None:
        offer = job.offer
        if offer.kind not in self.kinds:
            self.kinds.append(offer.kind)
        self.due.append(job.due)
        self.first.append(job.first)
        self.last.append(job.last)
        self.num_prompt.append(len(offer.prompt))
        self.num_output.append(offer.num_output)
        self.num_answers.append(offer.n)
        self.num_cached.append(job.num_cached)
        self.num_preemptions.append(job.num_preemptions)
        self.replica.append(job.replica)
        self.kind.append(self.kinds.index(offer.kind))

    @property
    def ttft(self) -> list[float]:
        """Time to first token: queue and prefill."""
        return [first - due for first, due in zip(self.first, self.due, strict=True)]

    @property
    def tpot(self) -> list[float]:
        """Mean time per output token after the first, of those who have such tokens."""
        return [(last - first) / (output - 1) for first, last, output in self._spans() if output > 1]

    @property
    def e2e(self) -> list[float]:
        return [last - due for last, due in zip(self.last, self.due, strict=True)]

    @property
    def output_tokens(self) -> int:
        """Of all answers together."""
        return sum(output * answers for output, answers in zip(self.num_output, self.num_answers, strict=True))

    def num_good(self, slo: Slo) -> int:
        """Requests that met both bounds; a single token has no pace to miss."""
        good = 0
        for due, (first, last, output) in zip(self.due, self._spans(), strict=True):
            in_time = first - due <= slo.ttft
            good += in_time and (output == 1 or (last - first) / (output - 1) <= slo.tpot)
        return good

    def _spans(self) -> Iterator[tuple[float, float, int]]:
        return zip(self.first, self.last, self.num_output, strict=True)


@dataclass
class Samples:
    """The state of replicas at regular moments; ``moments`` in seconds, one row a replica and moment."""

    moment: array[float] = field(default_factory=lambda: array("d"))
    replica: array[int] = field(default_factory=lambda: array("l"))
    num_running: array[int] = field(default_factory=lambda: array("l"))
    num_waiting: array[int] = field(default_factory=lambda: array("l"))
    pages_used: array[int] = field(default_factory=lambda: array("l"))
    pages_cached: array[int] = field(default_factory=lambda: array("l"))
    pages_free: array[int] = field(default_factory=lambda: array("l"))

    def add(self, moment: float, replica: Replica) -> None:
        scheduler, pool = replica.scheduler, replica.scheduler.manager.pool
        self.moment.append(moment)
        self.replica.append(replica.number)
        self.num_running.append(len(scheduler.running))
        self.num_waiting.append(len(scheduler.waiting))
        self.pages_used.append(pool.num_used)
        self.pages_cached.append(pool.num_cached)
        self.pages_free.append(pool.num_free)


@dataclass
class Totals:
    """Sums over all replicas that ever were."""

    seconds: float = 0.0  #: from the start to the last token
    replica_seconds: float = 0.0  #: that have to be paid for
    pool_seconds: dict[str, float] = field(default_factory=dict)  #: of these, by the pool that the replica was in
    busy_seconds: float = 0.0  #: of these, with a step under way
    num_replicas: int = 0
    num_steps: int = 0
    num_tokens: int = 0  #: computed, those that were computed again included
    num_refused: int = 0  #: requests that could never be served
    num_lost_replicas: int = 0
    num_rerouted: int = 0  #: requests that had to go elsewhere for it; one may more than once
    num_lost_tokens: int = 0  #: that were in the pages of these, and had to be computed or hit anew
    evictions: int = 0
    copies: int = 0
    swaps: int = 0

    def add(self, replica: Replica, seconds: float) -> None:
        """``replica`` was there for so long, and will do no more."""
        stats = replica.scheduler.manager.stats
        self.replica_seconds += seconds
        self.pool_seconds[replica.pool] = self.pool_seconds.get(replica.pool, 0.0) + seconds
        self.busy_seconds += replica.busy_seconds
        self.num_replicas += 1
        self.num_steps += replica.num_steps
        self.num_tokens += replica.num_tokens
        self.num_lost_tokens += replica.num_lost
        self.evictions += stats.evictions
        self.copies += stats.copies
        self.swaps += stats.swaps


@dataclass
class Results:
    """What a simulation did."""

    requests: Requests
    samples: Samples
    totals: Totals

    @property
    def seconds(self) -> float:
        """From the start to the last token."""
        return self.totals.seconds

    @property
    def utilisation(self) -> float:
        """The share of what is paid for in which a step was computed."""
        return self.totals.busy_seconds / self.totals.replica_seconds if self.totals.replica_seconds else 0.0

    @property
    def hit_rate(self) -> float:
        """Prompt tokens that were found in a cache when their request came in, as a share of all."""
        prompts = sum(self.requests.num_prompt)
        return sum(self.requests.num_cached) / prompts if prompts else 0.0

    @property
    def tokens_per_second(self) -> float:
        """Output tokens, over all seconds."""
        return self.requests.output_tokens / self.seconds if self.seconds else 0.0

    @property
    def requests_per_second(self) -> float:
        return len(self.requests) / self.seconds if self.seconds else 0.0

    @property
    def num_preemptions(self) -> int:
        return sum(self.requests.num_preemptions)

    def goodput(self, slo: Slo) -> float:
        """Requests a second that met ``slo``."""
        return self.requests.num_good(slo) / self.seconds if self.seconds else 0.0

    def attainment(self, slo: Slo) -> float:
        """The share of all requests, refused ones too, that met ``slo``; 1.0 of none."""
        asked = len(self.requests) + self.totals.num_refused
        return self.requests.num_good(slo) / asked if asked else 1.0

    def percentiles(self, what: str, percents: tuple[int, ...] = (50, 90, 99)) -> dict[int, float]:
        """Of "ttft", "tpot" or "e2e", in seconds, by nearest rank."""
        if what not in ("ttft", "tpot", "e2e"):
            raise InvalidQuantity(f"percentiles of {what!r} were asked for; there are 'ttft', 'tpot' and 'e2e'")
        values = sorted(getattr(self.requests, what))
        return {percent: percentile(values, percent) for percent in percents}

    def cost_per_million(self, dollars_per_hour: float | Mapping[str, float]) -> float:
        """Dollars for a million output tokens, at a price for an hour of a replica, or at one for each pool."""
        output, seconds = self.requests.output_tokens, self.totals.pool_seconds
        if not output:
            raise InvalidQuantity("no token came out: a price for a million of them cannot be told")
        prices = dollars_per_hour if isinstance(dollars_per_hour, Mapping) else dict.fromkeys(seconds, dollars_per_hour)
        if not prices.keys() >= seconds.keys():
            raise InvalidQuantity(f"prices of {sorted(prices)} were given; replicas were in {sorted(seconds)}")
        return sum(prices[pool] * paid for pool, paid in seconds.items()) / 3600 / output * 1e6

    def summary(self, slo: Slo | None = None) -> dict[str, float]:
        """What a table shows of a run. Latencies are in seconds."""
        rows: dict[str, float] = {"requests": len(self.requests), "seconds": self.seconds}
        for name in ("ttft", "tpot", "e2e"):
            if getattr(self.requests, name):
                rows |= {f"{name}_p{percent}": value for percent, value in self.percentiles(name).items()}
        rows |= {
            "tokens_per_second": self.tokens_per_second,
            "requests_per_second": self.requests_per_second,
            "utilisation": self.utilisation,
            "hit_rate": self.hit_rate,
            "preemptions": self.num_preemptions,
            "evictions": self.totals.evictions,
            "refused": self.totals.num_refused,
        }
        if slo is not None:
            rows |= {"goodput": self.goodput(slo), "attainment": self.attainment(slo)}
        return rows

    def table(self) -> DataFrame:
        """A pandas table, one row a request, with its latencies."""
        import pandas as pd

        requests = self.requests
        columns: dict[str, Any] = {name: column for name, column in vars(requests).items() if name != "kinds"}
        frame = pd.DataFrame(columns)
        frame["kind"] = pd.Categorical.from_codes(list(requests.kind), categories=requests.kinds)
        frame["ttft"] = frame["first"] - frame["due"]
        frame["tpot"] = ((frame["last"] - frame["first"]) / (frame["num_output"] - 1)).where(frame["num_output"] > 1)
        frame["e2e"] = frame["last"] - frame["due"]
        return frame.sort_values("due", kind="stable", ignore_index=True)

    def timeline(self) -> DataFrame:
        """A pandas table, one row a replica and sampled moment."""
        import pandas as pd

        return pd.DataFrame({name: getattr(self.samples, name) for name in vars(self.samples)})
