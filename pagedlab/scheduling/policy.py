"""Who goes first. One key orders admission, the step and, read from its end, preemption."""

from __future__ import annotations

from typing import Any, Protocol

from pagedlab.scheduling.request import Sequence


class Policy(Protocol):
    def key(self, sequence: Sequence) -> Any:
        """Sequences with smaller keys run first; the running one with the largest key is preempted first.

        The key of a sequence never changes, and no two are equal.
        """
        ...


class FirstComeFirstServed:
    """In order of arrival. The last to arrive is the first victim, so the oldest always gets on."""

    def key(self, sequence: Sequence) -> tuple[int, int]:
        return (sequence.request.arrival, sequence.index)


class Priority:
    """The most urgent (lowest number) first; ties by arrival. The least urgent is the first victim."""

    def key(self, sequence: Sequence) -> tuple[int, int, int]:
        return (sequence.request.priority, sequence.request.arrival, sequence.index)
