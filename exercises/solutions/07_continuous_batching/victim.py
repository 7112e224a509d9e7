"""Who gives way when pages run out.

A running sequence needs a page and none is left. Somebody must give its pages back, wait, and compute again later what
they held. Two questions, two functions:

- *whom to choose* among candidates. The engine takes such a function: ``LLM(..., victim=least_urgent)`` serves the real
  model with yours.
- *who may be chosen at all*. A step serves the running sequences in their order, first come first. Those before the one
  that asks have their pages in this step already, so the candidates are the asking one and all behind it. The first in
  line is never among them, not even when it asks itself: so somebody always gets on, and no two take pages from each
  other for ever.

Three run, in the order a, b, c, with 3, 2 and 4 pages; the newest gives way first:

    a asks for 5 pages    c gives way (4 come back), then b (2): 6 are enough
    b asks for 1 page     c gives way
    c asks for 1 page     c itself: it gives its pages back and waits
"""

from collections.abc import Callable

from pagedlab.scheduling.request import Sequence

VictimChoice = Callable[[list[Sequence]], Sequence]


def newest(candidates: list[Sequence]) -> Sequence:
    """The last to arrive: the largest ``sequence.request.arrival``, wherever it stands in the list."""
    # BEGIN SOLUTION
    return max(candidates, key=lambda sequence: sequence.request.arrival)
    # END SOLUTION


def least_urgent(candidates: list[Sequence]) -> Sequence:
    """The least urgent: the *largest* ``sequence.request.priority``, as 0 is the most urgent. Of equals, the newest."""
    # BEGIN SOLUTION
    return max(candidates, key=lambda sequence: (sequence.request.priority, sequence.request.arrival))
    # END SOLUTION


def make_room(
    running: list[Sequence], asking: Sequence, pages: dict[int, int], needed: int, choose: VictimChoice
) -> list[Sequence]:
    """Who gives way, in order, so that ``asking`` finds ``needed`` pages; no more than must.

    ``pages[sequence.id]`` come back when a sequence gives way. ``choose`` picks from a list of the candidates that are
    left, in their order. When it picks ``asking``, that is the last victim: who waits needs no page. ``running`` does
    not change. (A first in line that would lack pages even alone was refused when it arrived.)
    """
    # BEGIN SOLUTION
    candidates = running[max(1, running.index(asking)) :]
    victims: list[Sequence] = []
    while needed > 0 and asking not in victims:
        victim = choose(list(candidates))
        candidates.remove(victim)
        victims.append(victim)
        needed -= pages[victim.id]
    return victims
    # END SOLUTION


# Why: the newest has waited least and has least to compute again, and the oldest always ends: so vLLM takes the last.
# A choice by urgency needs the rule about the first in line, or two sequences could evict each other for ever.
