"""Autoscaling: as many replicas as there is work for, with the delays that make it hard."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil

from pagedlab.errors import InvalidConfig
from pagedlab.scheduling.knobs import chosen
from pagedlab.simulate.arrivals import require_positive
from pagedlab.simulate.loop import Loop
from pagedlab.simulate.replica import Replica

#: Load of a replica, by name.
LOADS: dict[str, Callable[[Replica], float]] = {
    "requests": lambda replica: len(replica.jobs),
    "waiting": lambda replica: len(replica.scheduler.waiting),
    "pages": lambda replica: replica.scheduler.manager.pool.num_used / replica.scheduler.manager.pool.num_pages,
}


@dataclass(frozen=True)
class Autoscaler:
    """Every ``every`` seconds: so many replicas that, if the load stays, each has ``target`` of it.

    That is ceil(replicas * mean load / target), the rule of Kubernetes' HorizontalPodAutoscaler, within ``least`` and
    ``most``; those that start or are repaired count, those that drain do not. ``load`` is what a replica has of
    "requests" that have not ended, of "waiting" ones (an empty line does not say that nobody is inside: such a fleet
    shrinks until there is one), or of "pages" in use as a share; or a function. It grows at once, though a new replica
    takes ``startup`` seconds (paid for) until it serves. It shrinks no sooner than ``cooldown`` seconds after its last
    change, and whoever has to go answers what it has first.
    """

    target: float
    least: int = 1
    most: int = 64
    every: float = 15.0
    startup: float = 60.0
    cooldown: float = 300.0
    load: str | Callable[[Replica], float] = "requests"

    def __post_init__(self) -> None:
        require_positive(target=self.target, every=self.every, startup=self.startup)
        if not 1 <= self.least <= self.most or self.cooldown < 0:
            raise InvalidConfig(
                f"least={self.least}, most={self.most} and cooldown={self.cooldown} were asked for; "
                "least is from 1 to most, cooldown 0 or more"
            )
        chosen("load", self.load, LOADS)

    def wanted(self, load: float) -> int:
        """Replicas for so much load in all."""
        return min(self.most, max(self.least, ceil(load / self.target)))


class Scaling:
    """An autoscaler at work on those replicas of ``loop`` that are in ``pool``; ``new()`` makes one more."""

    def __init__(self, policy: Autoscaler, loop: Loop, pool: str, new: Callable[[], Replica]) -> None:
        self.policy, self.loop, self.pool, self.new = policy, loop, pool, new
        self._load = chosen("load", policy.load, LOADS)
        self._changed = 0.0
        loop.at(policy.every, self._look_again)

    def look(self) -> None:
        loop, policy = self.loop, self.policy
        serving = [replica for replica in loop.replicas if replica.pool == self.pool]
        there = len(serving) + sum(replica.pool == self.pool for replica in loop.coming)
        surplus = there - policy.wanted(sum(map(self._load, serving)) + len(loop.homeless))
        for _ in range(-surplus):
            loop.expect(self.new(), policy.startup, paid=True)
        if surplus > 0:
            if loop.now < self._changed + policy.cooldown:
                return
            serving.sort(key=lambda replica: (len(replica.jobs), -replica.number))
            for replica in serving[: min(surplus, max(0, len(serving) - policy.least))]:
                loop.drain(replica)
        if surplus:
            self._changed = loop.now

    def _look_again(self) -> None:
        self.look()
        self.loop.at(self.loop.now + self.policy.every, self._look_again)
