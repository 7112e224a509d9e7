"""Who goes first. A key orders the waiting line, the step and, read from its end, preemption."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pagedlab.scheduling.request import Sequence

#: Tokens of a waiting sequence that are cached now.
Lookup = Callable[[Sequence], int]


class Order:
    """Sequences with smaller keys go first. The key of a sequence never changes, and no two are equal.

    However it is ordered, nobody is overtaken for ever: the scheduler counts (``max_overtakes``).
    """

    overtakes = True  #: a later arrival may be admitted first

    def key(self, sequence: Sequence) -> Any:
        raise NotImplementedError

    def pick(self, waiting: list[Sequence], lookup: Lookup) -> int:
        """Which of ``waiting``, sorted by key, is admitted next."""
        return 0


class FirstComeFirstServed(Order):
    """In order of arrival. The last to arrive is the first victim, so the oldest always gets on."""

    overtakes = False

    def key(self, sequence: Sequence) -> tuple[int, int]:
        return (sequence.request.arrival, sequence.index)


class Priority(Order):
    """The most urgent (lowest number) first; ties by arrival. The least urgent is the first victim."""

    def key(self, sequence: Sequence) -> tuple[int, int, int]:
        return (sequence.request.priority, sequence.request.arrival, sequence.index)


class ShortestFirst(Order):
    """The shortest prompt first: the mean wait is the least that any order gives (Smith, 1956), the longest waits."""

    def key(self, sequence: Sequence) -> tuple[int, int, int]:
        return (sequence.request.num_prompt, sequence.request.arrival, sequence.index)


class LongestPrefixMatch(FirstComeFirstServed):
    """Whoever finds most of its prompt cached comes in first, before that is evicted (SGLang).

    Looking costs a match for each sequence looked at: above ``most`` waiting, the line is served as it stands.
    """

    overtakes = True

    def __init__(self, most: int = 128) -> None:
        self.most = most

    def pick(self, waiting: list[Sequence], lookup: Lookup) -> int:
        if len(waiting) > self.most:
            return 0
        return max(range(len(waiting)), key=lambda at: (lookup(waiting[at]), -at))


ORDERS: dict[str, Callable[[], Order]] = {
    "fcfs": FirstComeFirstServed,
    "priority": Priority,
    "shortest": ShortestFirst,
    "longest_prefix": LongestPrefixMatch,
}
