"""Three latencies of one request, from its time stamps.

TTFT, time to first token, is what a reader waits before anything appears: queue and prefill. TPOT, time per output
token, is the pace at which text then flows: decode. E2E, end to end, is the whole of it. They belong together:
E2E = TTFT + TPOT x (tokens - 1).

By hand: sent at 10.0, tokens at 10.5, 10.7, 10.9 and 11.1 seconds. TTFT 0.5, TPOT 0.6 / 3 = 0.2, E2E 1.1.
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Latencies:
    """Seconds."""

    ttft: float
    tpot: float | None  #: None where there is no token after the first: no pace can be told
    e2e: float


def latencies(arrival: float, token_times: Sequence[float]) -> Latencies:
    """``arrival``: when the request was due. ``token_times``: when each of its output tokens came, in order, on the
    same clock. TPOT is the mean gap between tokens: the first token is not part of it, its wait is TTFT's.

    Raises ValueError for a request that has no token.
    """
    # BEGIN SOLUTION
    if not token_times:
        raise ValueError("a request without a token has no latency yet")
    first, last, gaps = token_times[0], token_times[-1], len(token_times) - 1
    return Latencies(first - arrival, (last - first) / gaps if gaps else None, last - arrival)
    # END SOLUTION


# Why: dividing E2E by all tokens mixes two waits that have different causes and different cures. A long queue would
# look like slow decoding, most of all for short answers.
