"""Who gives its pages back when they are short.

A choice is a function of the candidates: the running sequences that the step has not served yet, in their order. The
one that asks for pages is the first of them, and may have to be the victim itself. The first in line is never among
them: whatever the choice, it gets on, and so in the end does everybody.
"""

from __future__ import annotations

from collections.abc import Callable

from pagedlab.scheduling.request import Sequence

VictimChoice = Callable[[list[Sequence]], Sequence]


def last_in_line(candidates: list[Sequence]) -> Sequence:
    """In the order's own terms: the last to arrive, or the least urgent."""
    return candidates[-1]


def last_arrived(candidates: list[Sequence]) -> Sequence:
    return max(candidates, key=lambda sequence: (sequence.request.arrival, sequence.index))


def lowest_priority(candidates: list[Sequence]) -> Sequence:
    return max(candidates, key=lambda sequence: (sequence.request.priority, sequence.request.arrival, sequence.index))


def least_output(candidates: list[Sequence]) -> Sequence:
    """Who loses least: the least output, then the longest prompt, which gives most back (SGLang's retraction)."""
    return min(candidates, key=lambda s: (s.num_output, -s.request.num_prompt, -s.request.arrival, -s.index))


VICTIMS: dict[str, VictimChoice] = {
    "last_in_line": last_in_line,
    "last_arrived": last_arrived,
    "lowest_priority": lowest_priority,
    "least_output": least_output,
}
