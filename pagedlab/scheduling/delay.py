"""Who is put off for its own good: somebody else is about to compute what it would then only have to find.

Two requests with the same long prefix that come in together compute it twice. If the second waits until the first has
computed their next common page, it is computed once (TensorRT-LLM; SGLang's in-batch prefix caching). Those behind a
request that is put off may come in before it.
"""

from __future__ import annotations

from typing import Protocol

from pagedlab.scheduling.admission import Inside
from pagedlab.scheduling.order import Lookup, Order
from pagedlab.scheduling.request import Sequence


class Delay(Protocol):
    def puts_off(self, sequence: Sequence, found: int, inside: Inside) -> bool:
        """``sequence``, who finds ``found`` tokens cached, had better wait. Never for somebody who does not compute."""
        ...


class SharedPage:
    """For a page that somebody inside is computing, who came in at this step or before.

    Only who finds at most ``most_found`` tokens (None: however many) and has ``least_shared`` or more in common with
    what is computed.
    """

    def __init__(self, most_found: int | None = None, least_shared: int = 1) -> None:
        self.most_found, self.least_shared = most_found, least_shared

    def puts_off(self, sequence: Sequence, found: int, inside: Inside) -> bool:
        if self.most_found is not None and found > self.most_found:
            return False
        size = inside.manager.page_size
        stop = max((found // size + 1) * size, self.least_shared)
        if stop >= sequence.num_tokens:  # of its last page it computes a token in any case
            return False
        shared, salt = sequence.token_ids[:stop], sequence.request.salt
        return any(
            other.num_computed < stop <= other.num_tokens
            and other.token_ids[:stop] == shared
            and other.request.salt == salt
            for other in inside.running
        )


DELAYS: dict[str, Delay | None] = {"none": None, "shared_page": SharedPage()}


def next_in_line(
    order: Order, lookup: Lookup, delay: Delay | None, put_off: set[Sequence], inside: Inside
) -> Sequence | None:
    """Whom ``order`` picks of those who wait and are not put off; None if all are. Others join ``put_off``.

    The overdue are asked neither for order nor for delay.
    """
    if inside.waiting[0].overdue:
        return inside.waiting[0]
    if delay is None:
        return inside.waiting[order.pick(inside.waiting, lookup)]
    found: dict[Sequence, int] = {}

    def look(sequence: Sequence) -> int:
        if sequence not in found:
            found[sequence] = lookup(sequence)
        return found[sequence]

    line = [sequence for sequence in inside.waiting if sequence not in put_off]
    while line:
        at = order.pick(line, look)
        if not delay.puts_off(line[at], look(line[at]), inside):
            return line[at]
        put_off.add(line.pop(at))
    return None
