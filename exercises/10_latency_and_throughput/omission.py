"""Coordinated omission: a load generator that waits for answers does not measure what users feel.

One server takes one request at a time, first come first served. An *open* loop sends each request when it is due. A
*closed* loop, one client that waits for its answer, sends a request when it is due or when the last answer is there,
whichever is later. When the server stalls, the closed loop politely stops asking: the requests that would have suffered
are never sent in time, and their waiting is never counted.

By hand: requests are due at 0, 1, 2; serving them takes 5, 1, 1 seconds. They end at 5, 6 and 7. Open loop: waited 5,
5 and 5 seconds since they were due. Closed loop: sent at 0, 5 and 6, and waited 5, 1 and 1 seconds since then.
"""

from collections.abc import Sequence


def open_loop(due: Sequence[float], service: Sequence[float]) -> list[float]:
    """Seconds from when each request was due until its answer. ``due`` is in order, in seconds; ``service[i]`` is how
    long the server works on request ``i``. The server begins a request when it is there and the one before has ended.
    """
    raise NotImplementedError("10.omission: open_loop is yours to write")


def closed_loop(due: Sequence[float], service: Sequence[float]) -> list[tuple[float, float]]:
    """The same requests from a client that waits for each answer before it sends on.

    For each: when it is sent, and the seconds from *sending* until its answer.
    """
    raise NotImplementedError("10.omission: closed_loop is yours to write")
