"""What the tests of fleets share: requests that can be told apart, and simulators that remember their replicas."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import count
from typing import Any

from pagedlab.scheduling.load import Offer
from pagedlab.simulate.replica import Replica
from pagedlab.simulate.simulator import Simulator
from tests.simulate.test_simulator import chats, cost


class Remembering(Simulator):
    """Keeps every replica that it ever made."""

    def __init__(self, system: str | None = None, **knobs: Any) -> None:
        super().__init__(system, **{"cost": cost, "num_pages": 200} | knobs)
        self.made: list[Replica] = []

    def replica(self, *args: Any, **kwargs: Any) -> Replica:
        self.made.append(super().replica(*args, **kwargs))
        return self.made[-1]

    def check(self) -> None:
        """Every cache manager's books balance, and nothing leaked."""
        for replica in self.made:
            replica.scheduler.manager.check()
            assert replica.scheduler.manager.pool.num_used == 0
            assert not replica.jobs
            assert not replica.scheduler.has_work


class Numbered:
    """Offers whose kind is a number of their own, those that follow others too; ``count`` have been asked for."""

    def __init__(self, offers: Iterable[Offer]) -> None:
        self._offers, self._numbers, self.count = offers, count(), 0

    def __iter__(self) -> Iterator[Offer]:
        return map(self._numbered, self._offers)

    def _numbered(self, offer: Offer) -> Offer:
        then = offer.then
        self.count += 1
        return replace(
            offer,
            kind=str(next(self._numbers)),
            then=None if then is None else lambda moment: map(self._numbered, then(moment)),
        )


def some_chats(seed: int, sessions: int = 12, rate: float = 20.0, most_answers: int = 1) -> Numbered:
    return Numbered(chats(seed, sessions, rate, 50, most_answers))
