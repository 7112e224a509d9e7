"""Routers: which replica of a fleet gets a request.

A router hears of what becomes of its choices, and remembers what it needs; it asks no replica what is in its cache, as
a real one could not. None takes longer for a thousand replicas than for ten.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any

from pagedlab.errors import InvalidConfig
from pagedlab.scheduling.knobs import chosen
from pagedlab.simulate.replica import Job, Replica
from pagedlab.simulate.sent import SentPrompts


class Router:
    """One of your own needs ``choose``; the rest is told to whoever wants to know."""

    def choose(self, job: Job, replicas: Sequence[Replica], now: float) -> Replica | None:
        """Who gets ``job``; None: nobody can now. ``replicas`` are those that take requests; there is at least one."""
        raise NotImplementedError

    def joined(self, replica: Replica) -> None:
        """``replica``, whose cache is empty, takes requests from now on."""

    def left(self, replica: Replica) -> None:
        """``replica`` takes no more requests: it is drained, or lost."""

    def sent(self, job: Job, replica: Replica) -> None:
        """``replica`` has taken ``job``."""

    def ended(self, job: Job, replica: Replica) -> None:
        """``replica`` has ``job`` no more: it is done with it, or was lost."""


class Ranking:
    """Replicas in the order of a value that each has; of equal ones the lower number is first.

    A sorted list: changing one takes O(log n) comparisons, and moves what lies behind, which for thousands is nothing.
    """

    def __init__(self) -> None:
        self._values: dict[Replica, Any] = {}
        self._line: list[tuple[Any, int, Replica]] = []

    def __contains__(self, replica: Replica) -> bool:
        return replica in self._values

    def __getitem__(self, replica: Replica) -> Any:
        return self._values[replica]

    def put(self, replica: Replica, value: Any) -> None:
        self.remove(replica)
        self._values[replica] = value
        insort(self._line, (value, replica.number, replica))

    def remove(self, replica: Replica) -> None:
        """If it is there."""
        if replica in self._values:
            del self._line[bisect_left(self._line, (self._values.pop(replica), replica.number))]

    @property
    def first(self) -> Replica:
        return self._line[0][2]

    @property
    def smallest(self) -> Any:
        return self._line[0][0]

    @property
    def largest(self) -> Any:
        return self._line[-1][0]


class AtRandom(Router):
    """Anyone, which is what routers with a memory are held against."""

    def __init__(self, seed: int = 0) -> None:
        self._random = Random(seed)

    def choose(self, job: Job, replicas: Sequence[Replica], now: float) -> Replica:
        return self._random.choice(replicas)


class RoundRobin(Router):
    """By turns."""

    def __init__(self) -> None:
        self._turn = -1

    def choose(self, job: Job, replicas: Sequence[Replica], now: float) -> Replica:
        self._turn += 1
        return replicas[self._turn % len(replicas)]


class TwoChoices(Router):
    """Of two, drawn at random, the one that has fewer requests (Mitzenmacher 1996: the power of two choices)."""

    def __init__(self, seed: int = 0) -> None:
        self._random = Random(seed)

    def choose(self, job: Job, replicas: Sequence[Replica], now: float) -> Replica:
        drawn = self._random.sample(replicas, min(2, len(replicas)))
        return min(drawn, key=lambda replica: len(replica.jobs))


def one(job: Job) -> int:
    return 1


def tokens_asked_for(job: Job) -> int:
    """Prompt and the longest answer: what a router can know."""
    offer = job.offer
    return len(offer.prompt) + offer.n * (offer.allowed or offer.num_output)


class LeastLoaded(Router):
    """Who has least to do. ``by`` counts it: "requests" that have not ended, "tokens" of these, or a function."""

    def __init__(self, by: str | Callable[[Job], int] = "requests") -> None:
        self.weight = chosen("by", by, {"requests": one, "tokens": tokens_asked_for})
        self.loads = Ranking()

    def choose(self, job: Job, replicas: Sequence[Replica], now: float) -> Replica:
        return self.loads.first

    def joined(self, replica: Replica) -> None:
        self.loads.put(replica, 0)

    def left(self, replica: Replica) -> None:
        self.loads.remove(replica)

    def sent(self, job: Job, replica: Replica) -> None:
        self._change(replica, self.weight(job))

    def ended(self, job: Job, replica: Replica) -> None:
        self._change(replica, -self.weight(job))

    def _change(self, replica: Replica, by: int) -> None:
        if replica in self.loads:  # it may have left
            self.loads.put(replica, self.loads[replica] + by)


class PrefixAware(LeastLoaded):
    """SGLang's rule (its router, as of November 2026): where the beginning of the prompt was sent before.

    1. If loads are far apart, over ``gap`` requests and over ``ratio`` times, the least loaded replica.
    2. Else, if somebody was sent the share ``cover`` of the prompt or more, who was sent most of it.
    3. Else who was sent least, of what is remembered.

    Of equal ones the less loaded. ``most_tokens``: it remembers so many of each replica; None: as many as that has room
    for. Left out: SGLang looks at characters, and its trees know no page.
    """

    def __init__(
        self,
        page_size: int = 16,
        *,
        gap: int = 64,
        ratio: float = 1.5,
        cover: float = 0.3,
        most_tokens: int | None = None,
    ) -> None:
        super().__init__()
        if page_size < 1:
            raise InvalidConfig(f"a router with pages of {page_size} tokens was asked for; give page_size at least 1")
        self.gap, self.ratio, self.cover, self.most_tokens = gap, ratio, cover, most_tokens
        self.memory = SentPrompts(page_size)
        self._sizes = Ranking()

    def choose(self, job: Job, replicas: Sequence[Replica], now: float) -> Replica:
        prompt = job.offer.prompt
        keys = self.memory.keys(prompt, job.offer.salt)
        replica = self._choose(keys, len(prompt))
        self.memory.send(keys, replica)
        self._rank(replica)
        return replica

    def joined(self, replica: Replica) -> None:
        manager = replica.scheduler.manager
        room = manager.pool.num_pages * manager.page_size
        self.memory.join(replica, (room if self.most_tokens is None else self.most_tokens) // self.memory.page_size)
        super().joined(replica)
        self._rank(replica)

    def left(self, replica: Replica) -> None:
        super().left(replica)
        self._sizes.remove(replica)
        self.memory.leave(replica)

    def _choose(self, keys: Sequence[int], num_prompt: int) -> Replica:
        least, most = self.loads.smallest, self.loads.largest
        if most - least > self.gap and most > self.ratio * least:
            return self.loads.first
        num_sent, replicas = self.memory.longest(keys)
        if not num_sent or num_sent < self.cover * num_prompt:
            return self._sizes.first
        if self.loads.first in replicas:  # often so where everybody has it
            return self.loads.first
        return min(replicas, key=lambda replica: (self.loads[replica], replica.number))

    def _change(self, replica: Replica, by: int) -> None:
        super()._change(replica, by)
        if replica in self.loads:
            self._rank(replica)

    def _rank(self, replica: Replica) -> None:
        self._sizes.put(replica, (self.memory.num_pages(replica), self.loads[replica]))


#: Name -> what makes a new one.
ROUTERS: Mapping[str, Callable[[], Router]] = {
    "random": AtRandom,
    "round_robin": RoundRobin,
    "least_loaded": LeastLoaded,
    "two_choices": TwoChoices,
    "prefix": PrefixAware,
}
