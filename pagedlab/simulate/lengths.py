"""Lengths: named distributions of whole numbers. How many tokens, how many turns, which of many system prompts.

What is drawn beyond a bound becomes the bound, which moves the mean a little: no server takes any length.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from random import Random
from typing import Protocol

from pagedlab.errors import InvalidQuantity
from pagedlab.simulate.arrivals import require_positive


class Distribution(Protocol):
    def draw(self, random: Random) -> int: ...


@dataclass(frozen=True)
class Constant:
    value: int

    def draw(self, random: Random) -> int:
        return self.value


@dataclass(frozen=True)
class Uniform:
    """Each of ``low`` to ``high``, both included, as often as any other."""

    low: int
    high: int

    def __post_init__(self) -> None:
        _require_order(self.low, self.high)

    def draw(self, random: Random) -> int:
        return random.randint(self.low, self.high)


@dataclass(frozen=True)
class LogNormal:
    """exp of a normal distribution with standard deviation ``sigma``: most are short, few are very long."""

    median: float
    sigma: float
    low: int = 1
    high: int = 1 << 20

    def __post_init__(self) -> None:
        require_positive(median=self.median)
        if not 0 <= self.sigma < math.inf:
            raise InvalidQuantity(f"sigma={self.sigma} was asked for; it must be finite and not negative")
        _require_order(self.low, self.high)

    @classmethod
    def of_mean(cls, mean: float, sigma: float, low: int = 1, high: int = 1 << 20) -> LogNormal:
        """With this mean where no bound is met: the median times exp(sigma² / 2)."""
        return cls(mean / math.exp(sigma**2 / 2), sigma, low, high)

    def draw(self, random: Random) -> int:
        return min(self.high, max(self.low, round(self.median * math.exp(random.gauss(0.0, self.sigma)))))


@dataclass(frozen=True)
class Exponential:
    mean: float
    low: int = 1
    high: int = 1 << 20

    def __post_init__(self) -> None:
        require_positive(mean=self.mean)
        _require_order(self.low, self.high)

    def draw(self, random: Random) -> int:
        return min(self.high, max(self.low, round(random.expovariate(1 / self.mean))))


@dataclass(frozen=True)
class Geometric:
    """How often until it ends, where it ends each time with probability 1 / ``mean``: turns of a chat. At least 1."""

    mean: float
    high: int = 1 << 20

    def __post_init__(self) -> None:
        _require_order(1, self.mean)
        _require_order(1, self.high)

    def draw(self, random: Random) -> int:
        if self.mean == 1:
            return 1
        return min(self.high, 1 + int(math.log(1 - random.random()) / math.log(1 - 1 / self.mean)))


@dataclass(frozen=True)
class Zipf:
    """Popularity: k of 0 to ``count`` - 1 is drawn in proportion to 1 / (k + 1) ** ``exponent``. 0: all alike."""

    count: int
    exponent: float = 1.0

    def __post_init__(self) -> None:
        _require_order(1, self.count)
        if not 0 <= self.exponent < math.inf:
            raise InvalidQuantity(f"exponent={self.exponent} was asked for; it must be finite and not negative")

    @cached_property
    def _cumulative(self) -> list[float]:
        return list(accumulate((k + 1) ** -self.exponent for k in range(self.count)))

    def draw(self, random: Random) -> int:
        return bisect_right(self._cumulative, random.random() * self._cumulative[-1], hi=self.count - 1)


@dataclass(frozen=True)
class Empirical:
    """One of the lengths that were seen, each as likely as any other."""

    seen: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.seen:
            raise InvalidQuantity("lengths were to be drawn from those seen, and none were: give at least one")

    def draw(self, random: Random) -> int:
        return random.choice(self.seen)


def _require_order(low: float, high: float) -> None:
    if not low <= high < math.inf:
        raise InvalidQuantity(f"a range from {low} to {high} was asked for; it must be finite and not empty")
