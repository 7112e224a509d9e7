"""Several traces on one clock: which frame of each is seen at a moment (``page_map_clock.js`` is its twin).

Engines take steps of different length, so one clock can mean two things. Without ``seconds`` it counts steps: all show
the step of the same number, whatever it took. With ``seconds``, the moments at which each trace's steps ended, it
counts time: each shows the last step that it had ended by then.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise
from math import inf

from pagedlab.errors import InvalidQuantity
from pagedlab.memory.events import Trace
from pagedlab.view.frames import frame_ends


class SideBySide:
    """A moment is a number of seconds, or of steps since the first of all traces began; at 0 nothing has happened.

    ``seconds[i][j]`` is when step j of trace i ended. Raises InvalidQuantity for no trace, for another number of titles
    than of traces, and for seconds that are not one for each step of their trace, rising.
    """

    def __init__(
        self, traces: Sequence[Trace], titles: Sequence[str] = (), seconds: Sequence[Sequence[float]] | None = None
    ) -> None:
        self.traces, self.seconds = list(traces), seconds
        self.titles = list(titles) or ([f"engine {n}" for n in range(1, len(traces) + 1)] if len(traces) > 1 else [""])
        if not traces or len(self.titles) != len(traces):
            raise InvalidQuantity(
                f"{len(traces)} traces and {len(titles)} titles were given: give one trace or more, and a title for "
                "each or none"
            )
        if seconds is not None:
            _check([len(trace.steps()) for trace in traces], seconds)

    @property
    def end(self) -> float:
        """After this moment nothing is recorded."""
        if self.seconds is not None:
            return max((ends[-1] for ends in self.seconds if ends), default=0.0)
        firsts = self._firsts()
        lasts = (first + len(frame_ends(trace)) - 1 for first, trace in zip(firsts, self.traces, strict=True))
        return max(lasts) - min(firsts)

    def moment(self, at: float | None) -> float:
        """Of a second, a step's number, or an event's where there are no steps; None is the end.

        Raises LookupError for what the traces do not hold.
        """
        if at is None:
            return self.end
        moment = at if self.seconds is not None else at - min(self._firsts()) + 1
        if not 0 <= moment <= self.end:
            raise LookupError(f"{at} was asked for; the clock goes from {self.say(0)} to {self.say(self.end)}")
        return moment

    def frames(self, moment: float) -> list[int]:
        """Of each trace the frame that is seen."""
        if self.seconds is not None:
            return [bisect_right(ends, moment) for ends in self.seconds]
        firsts = self._firsts()
        number = int(moment) + min(firsts)
        return [
            max(0, min(len(frame_ends(trace)) - 1, number - first))
            for first, trace in zip(firsts, self.traces, strict=True)
        ]

    def say(self, moment: float) -> str:
        """The moment in words."""
        if self.seconds is not None:
            return f"{moment:.2f} s"
        if not any(trace.steps() for trace in self.traces):
            return f"event {int(moment) + min(self._firsts()) - 1}"
        return f"step {int(moment) + min(self._firsts()) - 1}" if moment >= 1 else "before the first step"

    def _firsts(self) -> list[int]:
        """The number of each trace's first step or event, a late one where the oldest are folded away."""
        return [trace[steps[0]].value if (steps := trace.steps()) else trace.folded + 1 for trace in self.traces]


def _check(steps: Sequence[int], seconds: Sequence[Sequence[float]]) -> None:
    if len(seconds) != len(steps):
        raise InvalidQuantity(f"the seconds of {len(seconds)} traces were given, for {len(steps)}: give as many")
    for number, (count, ends) in enumerate(zip(steps, seconds, strict=True)):
        if len(ends) != count:
            raise InvalidQuantity(
                f"{len(ends)} seconds were given for trace {number}, which holds {count} steps: "
                "give the moment at which each of them ended"
            )
        if not all(earlier <= later < inf for earlier, later in pairwise([0.0, *ends])):
            raise InvalidQuantity(f"the seconds of trace {number} fall somewhere: they begin at 0 or later, and rise")
