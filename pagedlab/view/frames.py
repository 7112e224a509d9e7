"""A trace as a film: where its frames end, and what is counted in one."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from pagedlab.memory.events import NONE, Trace
from pagedlab.memory.replay import PageMap, SequenceView
from pagedlab.view.palette import is_pin


class Status(StrEnum):
    WAITING = "waiting"
    PREEMPTED = "preempted"
    SWAPPED = "swapped out"
    RUNNING = "running"
    FINISHED = "finished"


def status_of(view: SequenceView) -> Status:
    if view.finish is not None:
        return Status.FINISHED
    if view.pages:
        return Status.RUNNING
    if view.swapped:
        return Status.SWAPPED
    return Status.PREEMPTED if view.preemptions else Status.WAITING


def sequences_of(page_map: PageMap) -> dict[int, SequenceView]:
    """All sequences, pins left out."""
    return {key: view for key, view in page_map.sequences.items() if not is_pin(key)}


def holes_of(view: SequenceView) -> int:
    """Leading pages of a table that were given back."""
    return next((logical for logical, page in enumerate(view.pages) if page != NONE), len(view.pages))


def copied_slots(page_map: PageMap, page: int) -> int:
    """Leading slots of a page that its sequence found in the prefix cache: it is a copy of a page that begins alike."""
    content = page_map.content[page]
    if content is None or content[0] not in page_map.sequences:
        return 0
    view = page_map.sequences[content[0]]
    logical, slots = divmod(view.hit, page_map.page_size)
    return slots if view.pages[logical : logical + 1] == [page] else 0


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
            if page != NONE:
                owners[page].append(sequence)
    return owners


@dataclass(frozen=True)
class Counts:
    """``waste`` and ``slots`` are token slots; ``hit_tokens`` adds up all admissions so far. Pins are no sequences."""

    used: int
    cached: int
    free: int
    shared: int  #: used pages with more than one reference
    slots: int  #: slots of used pages
    waste: int  #: slots of used pages that hold nothing yet
    hit_tokens: int
    running: int
    waiting: int
    preempted: int  #: without anything in host memory
    swapped: int  #: preempted, and what they computed is in host memory
    finished: int
    host_pages: int  #: cached pages in host memory
    host_tokens: int  #: tokens in host memory, of swapped sequences


def count(page_map: PageMap) -> Counts:
    used = [page for page, references in enumerate(page_map.refcount) if references]
    cached = sum(not page_map.refcount[page] and published for page, published in enumerate(page_map.published))
    slots = len(used) * page_map.page_size
    views = sequences_of(page_map).values()
    statuses = [status_of(view) for view in views]
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
        swapped=statuses.count(Status.SWAPPED),
        finished=statuses.count(Status.FINISHED),
        host_pages=len(page_map.host),
        host_tokens=sum(view.swapped for view in views),
    )


def host_facts(counts: Counts) -> str:
    """What is in host memory, in words; nothing where nothing is."""
    if not counts.host_pages and not counts.swapped:
        return ""
    pages = f"{counts.host_pages} cached page{'' if counts.host_pages == 1 else 's'}"
    return f"host memory: {pages}, {counts.host_tokens} tokens of {counts.swapped} swapped out"


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
