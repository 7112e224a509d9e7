"""A trace as a film: where its frames end, and what is counted in one."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from pagedlab.memory.events import Trace
from pagedlab.memory.replay import PageMap, SequenceView


class Status(StrEnum):
    WAITING = "waiting"
    PREEMPTED = "preempted"
    RUNNING = "running"
    FINISHED = "finished"


def status_of(view: SequenceView) -> Status:
    if view.finish is not None:
        return Status.FINISHED
    if view.pages:
        return Status.RUNNING
    return Status.PREEMPTED if view.preemptions else Status.WAITING


def frame_ends(trace: Trace) -> list[int]:
    """Number of unfolded events each frame of the film has behind it.

    The first frame is what came before the first step, each further one the end of a step. A trace without steps (a
    cache manager used by hand) has a frame after every event.
    """
    steps = trace.steps()
    return [*steps, len(trace)] if steps else list(range(len(trace) + 1))


def frame_at(trace: Trace, step: int | None) -> PageMap:
    """The pages at the end of step number ``step``, or now when None.

    Where a trace has no steps, ``step`` counts events. Raises LookupError for a step that the trace does not hold.
    """
    if step is None:
        return trace.replay()
    ends = frame_ends(trace)
    numbers = [trace[start].value for start in trace.steps()] or range(1, len(ends))
    if step not in numbers:
        known = f"steps {numbers[0]} to {numbers[-1]}" if numbers else "no step"
        raise LookupError(f"step {step} was asked for; this trace holds {known}")
    return trace.replay(ends[numbers.index(step) + 1])


def owners_of_pages(page_map: PageMap) -> list[list[int]]:
    """For every page the sequences whose page table names it, in the order of their arrival."""
    owners: list[list[int]] = [[] for _ in range(page_map.num_pages)]
    for sequence, view in page_map.sequences.items():
        for page in view.pages:
            owners[page].append(sequence)
    return owners


@dataclass(frozen=True)
class Counts:
    """``waste`` and ``slots`` are token slots; ``hit_tokens`` adds up all admissions so far."""

    used: int
    cached: int
    free: int
    shared: int  #: used pages with more than one reference
    slots: int  #: slots of used pages
    waste: int  #: slots of used pages that hold nothing yet
    hit_tokens: int
    running: int
    waiting: int
    preempted: int
    finished: int


def count(page_map: PageMap) -> Counts:
    used = [page for page, references in enumerate(page_map.refcount) if references]
    cached = sum(not page_map.refcount[page] and published for page, published in enumerate(page_map.published))
    slots = len(used) * page_map.page_size
    statuses = [status_of(view) for view in page_map.sequences.values()]
    return Counts(
        used=len(used),
        cached=cached,
        free=page_map.num_pages - len(used) - cached,
        shared=sum(page_map.refcount[page] > 1 for page in used),
        slots=slots,
        waste=slots - sum(page_map.filled[page] for page in used),
        hit_tokens=page_map.hit_tokens,
        running=statuses.count(Status.RUNNING),
        waiting=statuses.count(Status.WAITING),
        preempted=statuses.count(Status.PREEMPTED),
        finished=statuses.count(Status.FINISHED),
    )


class Follower:
    """The newest page map of a growing trace, at the cost of its new events only."""

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self._map, self._cursor = trace.base.copy(), trace.folded

    def now(self) -> PageMap:
        if self._cursor < self._trace.folded:
            self._map, self._cursor = self._trace.base.copy(), self._trace.folded
        for index in range(self._cursor - self._trace.folded, len(self._trace)):
            self._map.apply(self._trace[index])
        self._cursor = self._trace.end
        return self._map
