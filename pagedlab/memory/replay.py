"""The page map as a replay of memory events: what every view draws, and what ``check()`` is compared with."""

from __future__ import annotations

from dataclasses import dataclass, field

from pagedlab.memory.events import NONE, EventKind, FinishCode, MemoryEvent
from pagedlab.memory.pool import PageState


@dataclass
class SequenceView:
    """One sequence as the events tell it."""

    pages: list[int] = field(default_factory=list)  #: its page table: logical page -> physical page
    computed: int = 0  #: tokens whose keys and values are in its pages
    prompt: int = 0  #: tokens in its prompt
    hit: int = 0  #: tokens it found in the prefix cache when it was last admitted
    preemptions: int = 0
    finish: FinishCode | None = None
    swapped: int = 0  #: tokens that it keeps in host memory


class PageMap:
    """States, owners and content of all pages at one moment."""

    def __init__(self, num_pages: int, page_size: int) -> None:
        self.num_pages, self.page_size = num_pages, page_size
        self.step = NONE
        self.refcount = [0] * num_pages
        self.published = [False] * num_pages
        self.filled = [0] * num_pages  #: slots of the page that hold keys and values worth reading
        #: whose tokens the page holds, and which logical page of theirs: (sequence, logical page) or None
        self.content: list[tuple[int, int] | None] = [None] * num_pages
        self.sequences: dict[int, SequenceView] = {}
        self.host: set[int] = set()  #: host pages whose content can be hit
        self.hit_tokens = 0  #: tokens found in the prefix cache, by all admissions so far

    def state(self, page: int) -> PageState:
        if self.refcount[page]:
            return PageState.USED
        return PageState.CACHED if self.published[page] else PageState.FREE

    def owners(self, page: int) -> list[int]:
        """Sequences whose page table names ``page``."""
        return [key for key, view in self.sequences.items() if page in view.pages]

    def sequences_in_view(self) -> set[int]:
        """Sequences that still run or wait, or whose tokens a page still holds."""
        running = {key for key, view in self.sequences.items() if view.finish is None}
        return running | {content[0] for content in self.content if content is not None}

    def copy(self) -> PageMap:
        twin = PageMap(self.num_pages, self.page_size)
        twin.step, twin.hit_tokens = self.step, self.hit_tokens
        twin.refcount, twin.published = list(self.refcount), list(self.published)
        twin.filled, twin.content = list(self.filled), list(self.content)
        twin.host = set(self.host)
        twin.sequences = {
            key: SequenceView(list(v.pages), v.computed, v.prompt, v.hit, v.preemptions, v.finish, v.swapped)
            for key, v in self.sequences.items()
        }
        return twin

    def apply(self, event: MemoryEvent) -> None:
        """Move one event forward in time."""
        kind, page, sequence, value = event
        if kind is EventKind.STEP:
            self.step = value
            return
        if kind is EventKind.OFFLOAD:
            self.host.add(value)
            return
        if kind is EventKind.EVICT:
            if page >= self.num_pages:
                self.host.discard(page)
                return
            self.published[page] = False
            if not self.refcount[page]:
                self._blank(page)
            return
        view = self.sequences.setdefault(sequence, SequenceView())
        if kind is EventKind.COMPUTE:
            self._compute(sequence, view, value)
        elif kind is EventKind.ARRIVE:
            view.prompt = value
        elif kind is EventKind.ADMIT:
            view.hit = view.computed = value
            view.swapped = 0
            self.hit_tokens += value
        elif kind is EventKind.ALLOCATE:
            self.refcount[page] = 1
            self._blank(page)
            self._enter(view, value, page)
        elif kind is EventKind.SHARE:
            self.refcount[page] += 1
            self._enter(view, value, page)
        elif kind is EventKind.COPY:
            self.filled[page], self.content[page] = self.filled[value], self.content[value]
        elif kind is EventKind.RELEASE:
            self.refcount[page] -= 1
            self._leave(view, value, page)
            if not self.refcount[page] and not self.published[page]:
                self._blank(page)
        elif kind is EventKind.PUBLISH:
            self.published[page] = True
        elif kind is EventKind.FORK:
            parent = self.sequences[value]
            view.computed, view.prompt, view.hit = parent.computed, parent.prompt, parent.hit
        elif kind is EventKind.PREEMPT:
            view.computed = 0
            view.preemptions += 1
            view.swapped = value
            view.pages.clear()
        elif kind is EventKind.FINISH:
            view.finish = FinishCode(value)
            view.swapped = 0
            view.pages.clear()
        elif kind is EventKind.FILL:
            self.filled[page], self.content[page] = value, (sequence, view.pages.index(page))
        elif kind is EventKind.RESUME:
            view.computed = value
            view.swapped = 0

    def _enter(self, view: SequenceView, logical: int, page: int) -> None:
        while len(view.pages) <= logical:  # a fork has none of the pages that its parent gave back
            view.pages.append(NONE)
        view.pages[logical] = page  # copy-on-write puts another page behind the same logical number

    def _leave(self, view: SequenceView, logical: int, page: int) -> None:
        if logical >= len(view.pages) or view.pages[logical] != page:
            return  # copy-on-write has put another page there
        if logical == len(view.pages) - 1:
            view.pages.pop()
        else:  # a page behind the sliding window
            view.pages[logical] = NONE

    def _compute(self, sequence: int, view: SequenceView, computed: int) -> None:
        for logical in range(view.computed // self.page_size, -(-computed // self.page_size)):
            page = view.pages[logical]
            self.content[page] = (sequence, logical)
            self.filled[page] = min(self.page_size, computed - logical * self.page_size)
        view.computed = computed

    def _blank(self, page: int) -> None:
        self.filled[page], self.content[page] = 0, None
