"""SGLang's new-token ratio: how much of max_new_tokens to expect.

A request may say up to ``max_new`` tokens; most say fewer. So on admission only a share of what it may still say is
counted. The share starts at 0.7 and falls a little in every step in which all goes well, down to 0.1. When pages run
out all the same, somebody is *retracted* (it waits again), and the share rises to what the others have shown.

    expected of a request = prompt + said + int(ratio · (max_new - said))

    ratio 0.7, prompt 100, said 20, max_new 120:  100 + 20 + int(0.7 · 100) = 190

Who is retracted: whoever has said least; of these the longest prompt, which gives most back; of these the last in the
list. After that, with what those who stay have said, and 20 tokens more for each:

    ratio = Σ (said + 20) / Σ max_new, but at most 1, and never less than it was
"""

from typing import NamedTuple


class Running(NamedTuple):
    """Counted in tokens."""

    name: str
    prompt: int
    said: int
    max_new: int


class NewTokenRatio:
    def __init__(self, initial: float = 0.7, floor: float = 0.1, decay_steps: int = 600) -> None:
        self.ratio, self.floor = initial, floor
        self.decay = (initial - floor) / decay_steps

    def expected(self, request: Running) -> int:
        """Tokens that the request is expected to hold in the end."""
        # BEGIN SOLUTION
        return request.prompt + request.said + int(self.ratio * (request.max_new - request.said))
        # END SOLUTION

    def admits(self, newcomer: Running, inside: list[Running], num_slots: int) -> bool:
        """All that is expected of those inside and of the newcomer fits into ``num_slots``."""
        # BEGIN SOLUTION
        return sum(map(self.expected, [*inside, newcomer])) <= num_slots
        # END SOLUTION

    def quiet_step(self) -> None:
        """A step in which nobody was retracted: the ratio falls by ``decay``, but not below ``floor``."""
        # BEGIN SOLUTION
        self.ratio = max(self.floor, self.ratio - self.decay)
        # END SOLUTION

    def retract(self, inside: list[Running]) -> Running:
        """Take one of ``inside`` out of the list and return it; the ratio rises by what the others have shown.

        The last one is not retracted: raises LookupError where there are fewer than two, and nothing changes.
        """
        # BEGIN SOLUTION
        if len(inside) < 2:
            raise LookupError("the last request cannot be retracted")
        places = range(len(inside))
        at = min(places, key=lambda place: (inside[place].said, -inside[place].prompt, -place))
        gone = inside.pop(at)
        shown = sum(other.said + 20 for other in inside) / sum(other.max_new for other in inside)
        self.ratio = max(self.ratio, min(1.0, shown))
        return gone
        # END SOLUTION


# Why: a reservation would leave most of the pool empty, and no reservation at all would retract too often. The ratio
# finds its own place between the two: it creeps down while that is safe, and a retraction, which costs a prompt's
# computation, corrects it at once and not by an amount that somebody guessed.
