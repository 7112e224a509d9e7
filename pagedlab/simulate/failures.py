"""Failures: replicas that are lost with all their pages, and may come back empty."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from pagedlab.errors import InvalidQuantity
from pagedlab.simulate.arrivals import require_positive


@dataclass(frozen=True)
class Failure:
    """At ``at`` seconds replica number ``replica`` is lost, if it is there. ``back_after`` seconds later it is back;
    None: never.
    """

    at: float
    replica: int
    back_after: float | None = None

    def __post_init__(self) -> None:
        if self.at < 0 or self.replica < 0:
            raise InvalidQuantity(
                f"a failure of replica {self.replica} at {self.at} s was asked for; both are 0 or more"
            )
        if self.back_after is not None:
            require_positive(back_after=self.back_after)


@dataclass(frozen=True)
class RandomFailures:
    """Every replica runs for ``mtbf`` seconds and is away for ``mttr``, in the mean of exponential distributions.

    Each has a chance of its own: that of replica 3 is the same however many others there are.
    """

    mtbf: float
    mttr: float
    seed: int = 0

    def __post_init__(self) -> None:
        require_positive(mtbf=self.mtbf, mttr=self.mttr)

    def chance(self, replica: int) -> Random:
        return Random(f"failures {self.seed} {replica}")
