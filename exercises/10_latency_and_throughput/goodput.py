"""Goodput: what was served in time, a second.

Throughput counts every answer, also those that came when nobody was waiting any more. A service level objective, SLO,
says what in time means: the first token within so many seconds *and* the pace after it. A request that meets one of the
two and misses the other is a miss.

By hand: SLO of TTFT 1.0 and TPOT 0.1. Three requests in 2 seconds: (0.5, 0.05), (0.5, 0.20), (3.0, 0.05). The first
alone counts: goodput 0.5 requests a second, though throughput is 1.5.
"""

from collections.abc import Sequence
from typing import NamedTuple


class Served(NamedTuple):
    """Seconds. ``ttft`` is None when no token ever came, ``tpot`` is None when there was one token at most."""

    ttft: float | None
    tpot: float | None


def meets(request: Served, ttft: float, tpot: float) -> bool:
    """Whether a request meets both bounds, which are included. One token alone has no pace, and so misses none; no
    token at all is a miss."""
    raise NotImplementedError("10.goodput: meets is yours to write")


def goodput(requests: Sequence[Served], seconds: float, ttft: float, tpot: float) -> float:
    """Requests a second that met both bounds, over the ``seconds`` that were observed."""
    raise NotImplementedError("10.goodput: goodput is yours to write")


def attainment(requests: Sequence[Served], ttft: float, tpot: float) -> float:
    """The share, 0 to 1, of *all* requests that met both bounds: those without an answer are in it. No requests: 1."""
    raise NotImplementedError("10.goodput: attainment is yours to write")
