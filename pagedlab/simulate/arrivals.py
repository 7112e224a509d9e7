"""Arrivals: when requests come. Each process gives moments in seconds, in order, for ever, from a seed.

``rate`` is requests a second on average, over a time that is long against whatever the process does in between.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from random import Random
from typing import Protocol

from pagedlab.errors import InvalidQuantity
from pagedlab.scheduling.load import poisson_process


class Arrivals(Protocol):
    @property
    def rate(self) -> float: ...
    def moments(self, seed: int = 0) -> Iterator[float]: ...


@dataclass(frozen=True)
class Poisson:
    """Many users who know nothing of each other: gaps are independent and exponential."""

    rate: float

    def __post_init__(self) -> None:
        require_positive(rate=self.rate)

    def moments(self, seed: int = 0) -> Iterator[float]:
        return poisson_process(self.rate, seed)


@dataclass(frozen=True)
class Gamma:
    """Independent gaps of a gamma distribution with coefficient of variation ``cv``: 1 is Poisson, more is burstier.

    BurstGPT (Wang et al. 2024, arXiv 2401.17644) fits the gaps of a public service so. The default is an assumption.
    """

    rate: float
    cv: float = 2.0

    def __post_init__(self) -> None:
        require_positive(rate=self.rate, cv=self.cv)

    def moments(self, seed: int = 0) -> Iterator[float]:
        random, now = Random(seed), 0.0
        shape, scale = 1 / self.cv**2, self.cv**2 / self.rate
        while True:
            now += random.gammavariate(shape, scale)
            yield now


@dataclass(frozen=True)
class OnOff:
    """Bursts: a Poisson process that is switched on and off; both phases have exponential lengths, ``on`` and ``off``
    seconds in the mean (an interrupted Poisson process, Kuczura 1973). All of ``rate`` comes while it is on.
    """

    rate: float
    on: float = 10.0
    off: float = 30.0

    def __post_init__(self) -> None:
        require_positive(rate=self.rate, on=self.on, off=self.off)

    def moments(self, seed: int = 0) -> Iterator[float]:
        random, start = Random(seed), 0.0
        rate_on = self.rate * (self.on + self.off) / self.on
        while True:
            now, stop = start, start + random.expovariate(1 / self.on)
            while (now := now + random.expovariate(rate_on)) < stop:
                yield now
            start = stop + random.expovariate(1 / self.off)


@dataclass(frozen=True)
class Diurnal:
    """Day and night: a Poisson process whose rate is ``rate * (1 + swing * sin(2 * pi * t / period))``.

    Moments of the highest rate are drawn, and each is kept with probability rate(t) / highest: thinning, after Lewis
    and Shedler 1979. ``swing`` from 0 to 1; ``period`` in seconds.
    """

    rate: float
    swing: float = 0.8
    period: float = 86_400.0

    def __post_init__(self) -> None:
        require_positive(rate=self.rate, period=self.period)
        if not 0 <= self.swing <= 1:
            raise InvalidQuantity(f"swing={self.swing} was asked for; it must be from 0 (none) to 1 (nobody at night)")

    def rate_at(self, moment: float) -> float:
        return self.rate * (1 + self.swing * math.sin(2 * math.pi * moment / self.period))

    def moments(self, seed: int = 0) -> Iterator[float]:
        highest = self.rate * (1 + self.swing)
        chance = Random(f"thinning {seed}")
        for moment in poisson_process(highest, seed):
            if chance.random() * highest < self.rate_at(moment):
                yield moment


@dataclass(frozen=True)
class Replay:
    """Moments that were recorded, ``speed`` times as fast. They end when the record does; the seed changes nothing."""

    recorded: tuple[float, ...]
    speed: float = 1.0

    def __post_init__(self) -> None:
        require_positive(speed=self.speed)
        if not all(sooner <= later < math.inf for sooner, later in pairwise((0.0, *self.recorded))):
            raise InvalidQuantity("moments to replay must be finite, not negative and in order: sort them")

    @property
    def rate(self) -> float:
        """Up to the last moment; 0 of none."""
        last = self.recorded[-1] if self.recorded else 0.0
        return len(self.recorded) * self.speed / last if last else 0.0

    def moments(self, seed: int = 0) -> Iterator[float]:
        return (moment / self.speed for moment in self.recorded)


def require_positive(**quantities: float) -> None:
    """Raise InvalidQuantity for the first that is not finite and above 0."""
    for name, value in quantities.items():
        if not 0 < value < math.inf:
            raise InvalidQuantity(f"{name}={value} was asked for; it must be finite and above 0")
