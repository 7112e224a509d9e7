"""Your manager on the page map: tell, as it happens, what happens to every page.

The page map draws a *trace*, a list of small events, and nothing else: whoever records them is on the map. Your manager
does the work; the class below stands around it and says what was done. Each event has a kind and up to three numbers:

    EVICT     page                      its content cannot be hit any more
    SHARE     page, sequence, logical   one more table names it, as this logical page: a hit, or a fork
    ADMIT     sequence, value           tokens it hit
    ALLOCATE  page, sequence, logical   a blank page, taken
    COPY      page, sequence, source    what is in ``source`` is copied into it; said right after its ALLOCATE
    RELEASE   page, sequence, logical   one table less names it
    PUBLISH   page, sequence, logical   it can be hit from now on
    FORK      child, value              the parent; the SHAREs of the child's pages follow

A page must be evicted before it is allocated, and a copy allocated before its source is released. ``release`` gives the
last page back first. An operation that raises has changed nothing, so nothing is said.

``self.note(EventKind.SHARE, page=3, sequence=0, value=1)`` records an event: ``value`` is whatever comes last above.
"""

from collections.abc import Sequence
from typing import Any

from pagedlab.learn import solved
from pagedlab.memory.events import EventKind, Trace
from pagedlab.memory.manager import Admission

Manager = solved("13.manager").Manager


class FilmedManager(Manager):
    """Your manager, which tells a trace what it does."""

    def __init__(self, num_pages: int, page_size: int, *, trace: Trace | None = None, **knobs: Any) -> None:
        super().__init__(num_pages, page_size, **knobs)
        self.trace = trace

    def note(self, kind: EventKind, **fields: int) -> None:
        if self.trace is not None:
            self.trace.record(kind, **fields)

    record = note  # under this name the scheduler says what only it knows: arrivals, preemptions, ends

    def begin_step(self, step: int) -> None:
        super().begin_step(step)
        self.note(EventKind.STEP, value=step)

    def make_room(self, num_pages: int) -> None:
        """EVICT for whatever the prefix cache (``self.prefix_cache.pages()``) has forgotten."""
        raise NotImplementedError("13.film: make_room is yours to write")

    def extend(self, sequence: int, num_tokens: int) -> None:
        """ALLOCATE for every page that is new in the table; ALLOCATE, COPY, RELEASE where one took another's place."""
        raise NotImplementedError("13.film: extend is yours to write")

    def admit(
        self, sequence: int, tokens: Sequence[int], budget: int, salt: Any = None, retention: Any = ()
    ) -> Admission:
        """SHARE for every hit page, then ADMIT. (What comes after the hit pages, ``extend`` has told already.)"""
        raise NotImplementedError("13.film: admit is yours to write")

    def publish(self, sequence: int, tokens: Sequence[int], num_tokens: int) -> None:
        """PUBLISH for every page that this adds to ``fresh``."""
        raise NotImplementedError("13.film: publish is yours to write")

    def fork(self, parent: int, child: int) -> None:
        """FORK, then SHARE for every page."""
        raise NotImplementedError("13.film: fork is yours to write")

    def release(self, sequence: int) -> None:
        """RELEASE for every page, the last one first."""
        raise NotImplementedError("13.film: release is yours to write")
