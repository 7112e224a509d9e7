"""Everything that happens to a page, as it happens: an append-only, replayable record.

An event is four small integers, so a trace of a million events is 16 MB, crosses to a browser as one
block of bytes, and replays in JavaScript exactly as it does in ``memory/replay.py``.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from enum import IntEnum
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pagedlab.memory.replay import PageMap

#: Stands in a field that has no meaning for the event's kind.
NONE = -1


class EventKind(IntEnum):
    """What happened. The comment names the fields that carry meaning beside the kind."""

    STEP = 0  # value: number of the step that begins
    ARRIVE = 1  # sequence; value: tokens in its prompt
    ADMIT = 2  # sequence; value: tokens found in the prefix cache (their pages are SHAREd just before)
    ALLOCATE = 3  # page, sequence; value: logical page. A blank page becomes used
    SHARE = 4  # page, sequence; value: logical page. One more reference to a used or cached page
    COMPUTE = 5  # sequence; value: tokens of it whose keys and values are now in its pages
    COPY = 6  # page: the copy, sequence; value: the page it was copied from (copy-on-write)
    RELEASE = 7  # page, sequence; value: logical page. One reference less; at none: cached if published, else free
    PUBLISH = 8  # page, sequence; value: logical page. A full page can be hit from now on
    EVICT = 9  # page, of the device or the host. Its content cannot be hit there any more; a cached page becomes free
    FORK = 10  # sequence: the child; value: the parent (SHARE events of the child follow)
    PREEMPT = 11  # sequence; value: tokens that it keeps in host memory. It gave its pages back and waits again
    FINISH = 12  # sequence; value: a FinishCode
    OFFLOAD = 13  # page; value: host page. The content of a cached page goes to host memory (EVICT follows)
    FILL = 14  # page, sequence; value: leading slots of the page, its newest, that now hold tokens of it (a copy)
    RESUME = 15  # sequence; value: tokens that it has back from host memory (ALLOCATE, SHARE and FILL came before)


class FinishCode(IntEnum):
    """Why a sequence ended, as a number a trace can carry."""

    STOP = 0  # an end-of-sequence token, a stop id or a stop string
    LENGTH = 1  # max_tokens, or the context is full
    ABORT = 2  # the caller withdrew it
    ERROR = 3  # its step failed
    PRUNED = 4  # a beam whose place a likelier one took


class MemoryEvent(NamedTuple):
    kind: EventKind
    page: int
    sequence: int
    value: int


class SequenceInfo(NamedTuple):
    """What a view needs to name a sequence and to show the tokens in its pages."""

    label: str
    tokens: list[int]  #: the sequence's own list, which grows as it decodes: never copied


FIELDS = len(MemoryEvent._fields)
_KINDS = tuple(EventKind)

#: More would hold up a step for longer than anybody should notice.
FOLDED_AT_ONCE = 16_384


class Trace:
    """A record of memory events that can be replayed from its beginning.

    At ``max_events`` the oldest are folded into ``base``, the page map as it stood at that point: the trace stays
    replayable and its memory stays bounded however long the engine runs. At least the newest half is never folded.

    ``piece`` turns a token id into text for views; without it they show token ids.
    """

    def __init__(self, num_pages: int, page_size: int, *, max_events: int = 1_000_000) -> None:
        from pagedlab.memory.replay import PageMap

        self.num_pages, self.page_size = num_pages, page_size
        self.max_events = max(2, max_events)
        self._limit = self.max_events * FIELDS
        self.base: PageMap = PageMap(num_pages, page_size)
        self.sequences: dict[int, SequenceInfo] = {}
        self.piece: Callable[[int], str] | None = None
        self.folded = 0  #: events that now live in ``base``
        self._data = array("i")

    def record(self, kind: EventKind, page: int = NONE, sequence: int = NONE, value: int = NONE) -> None:
        data = self._data
        data.append(kind)
        data.append(page)
        data.append(sequence)
        data.append(value)
        if len(data) >= self._limit:
            self._fold(min(len(self) // 2, FOLDED_AT_ONCE))

    def describe(self, sequence: int, label: str, tokens: list[int]) -> None:
        """Name a sequence and lend its token list to views."""
        self.sequences[sequence] = SequenceInfo(label, tokens)

    def __len__(self) -> int:
        return len(self._data) // FIELDS

    def __iter__(self) -> Iterator[MemoryEvent]:
        return _events(self._data)

    def __getitem__(self, index: int) -> MemoryEvent:
        if not 0 <= index < len(self):
            raise IndexError(index)
        kind, page, sequence, value = self._data[index * FIELDS : (index + 1) * FIELDS]
        return MemoryEvent(EventKind(kind), page, sequence, value)

    @property
    def end(self) -> int:
        """Number of events ever recorded: the cursor after the newest one."""
        return self.folded + len(self)

    def since(self, cursor: int) -> tuple[bytes, int]:
        """The events from ``cursor`` on as native int32 rows, and the cursor after them.

        Each event is delivered once to a reader that passes the last cursor back. A reader that fell behind
        ``folded`` must start over from ``base``; it is told by a ``LookupError``.
        """
        if cursor < self.folded:
            raise LookupError(f"events before {self.folded} are folded into the base; {cursor} was asked for")
        return self._data[(cursor - self.folded) * FIELDS :].tobytes(), self.end

    def replay(self, until: int | None = None) -> PageMap:
        """The page map after the first ``until`` unfolded events (all of them when None)."""
        page_map = self.base.copy()
        for event in islice(self, until):
            page_map.apply(event)
        return page_map

    def steps(self) -> list[int]:
        """Index of each unfolded STEP event: where the frames of a film of this trace begin."""
        return [i for i in range(len(self)) if self._data[i * FIELDS] == EventKind.STEP]

    def _fold(self, count: int) -> None:
        for event in _events(self._data[: count * FIELDS]):
            self.base.apply(event)
        del self._data[: count * FIELDS]
        self.folded += count
        for gone in self.base.sequences.keys() - self.base.sequences_in_view():  # no event names it after its FINISH
            del self.base.sequences[gone]
            self.sequences.pop(gone, None)


def _events(data: array[int]) -> Iterator[MemoryEvent]:
    fields = iter(data)
    rows = zip(fields, fields, fields, fields, strict=True)
    return (MemoryEvent(_KINDS[kind], page, sequence, value) for kind, page, sequence, value in rows)
