"""PageCopy: the one thing that memory bookkeeping asks of the machine that holds the keys and values."""

from __future__ import annotations

from typing import NamedTuple


class PageCopy(NamedTuple):
    """Copy all layers of page ``source`` to page ``target``.

    Pages from ``num_pages`` on lie in host memory. Copies are made in the order in which they were asked for, before
    the step computes: a page that is read by one copy may be overwritten by the next.
    """

    source: int
    target: int
