"""Who goes first. A key orders the waiting line, the step and, read from its end, preemption."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable
from typing import Any

from pagedlab.memory.prefix_cache import shared_run
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


class DepthFirstWeight(FirstComeFirstServed):
    """Requests that share a cached prefix come in one after the other, those of the widest branch first (SGLang).

    So a branch is served to its end while its pages are there. The line is laid out when somebody new waits in it.
    """

    overtakes = True

    def __init__(self) -> None:
        self._place: dict[int, int] = {}  #: sequence -> its place in the line

    def pick(self, waiting: list[Sequence], lookup: Lookup) -> int:
        if any(sequence.id not in self._place for sequence in waiting):
            prefixes = [(sequence.request.salt, sequence.token_ids[: lookup(sequence)]) for sequence in waiting]
            self._place = {waiting[number].id: place for place, number in enumerate(depth_first(prefixes))}
        return min(range(len(waiting)), key=lambda at: self._place[waiting[at].id])


def depth_first(prefixes: list[tuple[Hashable, list[int]]]) -> list[int]:
    """The numbers of ``prefixes``, a salt and tokens each, as a walk through the tree that they make finds them.

    Where they part, the branch in which most of them end comes first; a branch comes before what ends at its root.
    """
    order: list[int] = []
    ahead: list[tuple[list[int], int | None]] = [(list(range(len(prefixes))), 0)]
    while ahead:
        group, depth = ahead.pop()  # all of them have their first ``depth`` tokens in common
        if depth is None:
            order += group
            continue
        branches: defaultdict[tuple[Hashable, int], list[int]] = defaultdict(list)
        for number in group:
            salt, tokens = prefixes[number]
            if len(tokens) > depth:
                branches[salt, tokens[depth]].append(number)
        ahead.append(([number for number in group if len(prefixes[number][1]) == depth], None))
        for branch in sorted(branches.values(), key=lambda branch: (len(branch), -branch[0])):
            tails = [prefixes[number][1][depth:] for number in branch]
            ahead.append((branch, depth + shared_run(min(tails), max(tails))))
    return order


ORDERS: dict[str, Callable[[], Order]] = {
    "fcfs": FirstComeFirstServed,
    "priority": Priority,
    "shortest": ShortestFirst,
    "longest_prefix": LongestPrefixMatch,
    "depth_first": DepthFirstWeight,
}
