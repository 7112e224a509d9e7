"""A router that sends a prompt where its beginning is cached.

Each replica has a prefix cache of its own. Spread a chat's turns over four replicas, and each computes the chat anew;
send them all to one place, and that one drowns. The rule of SGLang's router weighs both:

1. If loads are far apart, load decides: the least loaded replica. Far apart means that the largest is more than
   ``gap`` above the smallest *and* more than ``ratio`` times as large.
2. Otherwise, if a replica is likely to have at least the share ``cover`` of the prompt, the one that has most of it.
3. Otherwise the replica that remembers least.

Equal ones: the less loaded, then the one with the lower number (in rule 1 and 3 as well).

The router asks nobody what is cached. It remembers what it sent: for each replica, every *beginning* of a prompt that
is a whole number of pages long. Pages of 2; prompt 7 7 1 2 5 leaves the two beginnings (7, 7) and (7, 7, 1, 2).
"""

from collections.abc import Sequence


class PrefixRouter:
    def __init__(
        self, num_replicas: int, page_size: int, *, gap: int = 64, ratio: float = 1.5, cover: float = 0.3
    ) -> None:
        self.page_size = page_size
        self.gap, self.ratio, self.cover = gap, ratio, cover
        self.remembered: list[set[tuple[int, ...]]] = [set() for _ in range(num_replicas)]

    def beginnings(self, prompt: Sequence[int]) -> list[tuple[int, ...]]:
        """Those of whole pages, the shortest first."""
        raise NotImplementedError("12.prefix_router: beginnings is yours to write")

    def match(self, prompt: Sequence[int], replica: int) -> int:
        """Tokens of the longest beginning that was sent to ``replica`` before."""
        raise NotImplementedError("12.prefix_router: match is yours to write")

    def route(self, prompt: Sequence[int], loads: Sequence[int]) -> int:
        """The replica for ``prompt`` (one token or more), and remember that it was sent there."""
        raise NotImplementedError("12.prefix_router: route is yours to write")
