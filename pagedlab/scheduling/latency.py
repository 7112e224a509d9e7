"""Latency: what one request waited for, what many waited for, and how many of them were served in time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from pagedlab.errors import InvalidQuantity

T = TypeVar("T")


@dataclass(frozen=True)
class Slo:
    """A service level objective: bounds in seconds, included. A request is good when it meets both."""

    ttft: float
    tpot: float


@dataclass
class Timeline:
    """Moments of one request in seconds of one clock. ``due``: when it should have been sent, whenever it was.

    A request with ``n`` answers has its i-th token when all of them have theirs.
    """

    due: float
    token_times: list[float] = field(default_factory=list)
    num_preemptions: int = 0
    n: int = 1

    def note(self, number: int, moment: float) -> None:
        """One of its answers got its ``number``-th token, counted from 1."""
        if number > len(self.token_times):
            self.token_times.append(moment)
        else:
            self.token_times[number - 1] = moment

    @property
    def num_tokens(self) -> int:
        """Of all its answers, when they have ended."""
        return self.n * len(self.token_times)

    @property
    def ttft(self) -> float | None:
        """Time to first token: queue and prefill. None while there is none."""
        return self.token_times[0] - self.due if self.token_times else None

    @property
    def tpot(self) -> float | None:
        """Mean time per output token after the first; None where there is no such token."""
        gaps = len(self.token_times) - 1
        return (self.token_times[-1] - self.token_times[0]) / gaps if gaps > 0 else None

    @property
    def e2e(self) -> float | None:
        """From when it was due to its last token so far."""
        return self.token_times[-1] - self.due if self.token_times else None

    @property
    def gaps(self) -> list[float]:
        """Inter-token latencies (ITL): the waits between neighbouring tokens."""
        return [later - sooner for sooner, later in zip(self.token_times, self.token_times[1:], strict=False)]

    def meets(self, slo: Slo) -> bool:
        """No token at all is a miss; a single one has no pace to miss."""
        return self.ttft is not None and self.ttft <= slo.ttft and (self.tpot is None or self.tpot <= slo.tpot)


def percentile(samples: Iterable[float], percent: int) -> float:
    """The nearest rank: the smallest sample that at least ``percent`` (1 to 100) per cent of them do not exceed."""
    ordered = sorted(samples)
    if not ordered or not 1 <= percent <= 100:
        raise InvalidQuantity(f"percentile {percent} of {len(ordered)} samples was asked for; take 1 to 100, of some")
    return ordered[-(-len(ordered) * percent // 100) - 1]


def attainment(timelines: Sequence[Timeline], slo: Slo) -> float:
    """The share of all requests, answered or not, that met ``slo``; 1.0 of none."""
    return sum(timeline.meets(slo) for timeline in timelines) / len(timelines) if timelines else 1.0


def largest_rate(
    share: Callable[[float], float], promised: float, low: float, high: float, tolerance: float
) -> float | None:
    """The largest rate seen to keep ``share(rate) >= promised``, by bisection; None when ``low`` does not keep it.

    A rate at most ``tolerance`` above the answer was seen not to, unless the answer is ``high``.
    """
    if share(low) < promised:
        return None
    if share(high) >= promised:
        return high
    while high - low > tolerance:
        middle = (low + high) / 2
        low, high = (middle, high) if share(middle) >= promised else (low, middle)
    return low


def pareto_front(settings: Sequence[T], throughput: Callable[[T], float], latency: Callable[[T], float]) -> list[T]:
    """Those that no other matches in both and beats in one, the lowest latency first."""

    def beaten(one: T) -> bool:
        mine = throughput(one), latency(one)
        others = ((throughput(other), latency(other)) for other in settings)
        return any(t >= mine[0] and s <= mine[1] and (t, s) != mine for t, s in others)

    return sorted((one for one in settings if not beaten(one)), key=latency)
