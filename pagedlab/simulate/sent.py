"""SentPrompts: what a router remembers of the prompts that it sent to each replica.

SGLang's router keeps an approximate tree for each replica. Here all of these trees are one table: a beginning of whole
pages has a key, chained from page to page as in a hash prefix cache, and under it stand the replicas that were sent it.
One walk down a prompt then finds the best replica among a thousand, where a thousand trees would be walked a thousand
times; nothing is split where prompts part; and a replica that is lost takes its keys with it.

It is approximate in three ways: nobody is asked what is still cached, answers are not known, and a key is 64 bits with
no tokens behind it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Mapping, Sequence

from pagedlab.simulate.replica import Replica


class SentPrompts:
    """``page_size``: tokens of a page here, which need not be that of the replicas."""

    def __init__(self, page_size: int = 16) -> None:
        self.page_size = page_size
        self._sent_to: dict[int, dict[Replica, None]] = {}
        self._keys: dict[Replica, OrderedDict[int, None]] = {}  #: of each replica, the least recently sent first
        self._most: dict[Replica, int] = {}

    def join(self, replica: Replica, most: int) -> None:
        """Remember up to ``most`` pages of what ``replica`` is sent."""
        self._keys[replica], self._most[replica] = OrderedDict(), most

    def leave(self, replica: Replica) -> None:
        """Forget all that ``replica`` was sent."""
        del self._most[replica]
        for key in self._keys.pop(replica):
            self._forget(key, replica)

    def keys(self, prompt: Sequence[int], salt: Hashable = None) -> list[int]:
        """Of all beginnings of whole pages, the shortest first."""
        size, key, keys = self.page_size, hash(salt), []
        for stop in range(size, len(prompt) + 1, size):
            key = hash((key, *prompt[stop - size : stop]))
            keys.append(key)
        return keys

    def longest(self, keys: Sequence[int]) -> tuple[int, Mapping[Replica, None]]:
        """Tokens of the longest beginning that somebody was sent, and all who were."""
        num_pages, replicas = 0, dict[Replica, None]()
        for key in keys:  # whoever was sent a beginning was sent all shorter ones: ``send`` keeps that true
            if key not in self._sent_to:
                break
            num_pages, replicas = num_pages + 1, self._sent_to[key]
        return num_pages * self.page_size, replicas

    def num_pages(self, replica: Replica) -> int:
        return len(self._keys[replica])

    def send(self, keys: Sequence[int], replica: Replica) -> None:
        """Remember a prompt. What was sent longest ago makes room for it, its end before its beginning."""
        known = self._keys[replica]
        for key in reversed(keys[: self._most[replica]]):
            if key in known:
                known.move_to_end(key)
            else:
                known[key] = None
                self._sent_to.setdefault(key, {})[replica] = None
        while len(known) > self._most[replica]:
            self._forget(known.popitem(last=False)[0], replica)

    def _forget(self, key: int, replica: Replica) -> None:
        replicas = self._sent_to[key]
        del replicas[replica]
        if not replicas:
            del self._sent_to[key]
