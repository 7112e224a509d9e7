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
        raise NotImplementedError("11.sglang_ratio: expected is yours to write")

    def admits(self, newcomer: Running, inside: list[Running], num_slots: int) -> bool:
        """All that is expected of those inside and of the newcomer fits into ``num_slots``."""
        raise NotImplementedError("11.sglang_ratio: admits is yours to write")

    def quiet_step(self) -> None:
        """A step in which nobody was retracted: the ratio falls by ``decay``, but not below ``floor``."""
        raise NotImplementedError("11.sglang_ratio: quiet_step is yours to write")

    def retract(self, inside: list[Running]) -> Running:
        """Take one of ``inside`` out of the list and return it; the ratio rises by what the others have shown.

        The last one is not retracted: raises LookupError where there are fewer than two, and nothing changes.
        """
        raise NotImplementedError("11.sglang_ratio: retract is yours to write")
