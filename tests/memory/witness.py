"""Reads a trace as a view would, event by event, and compares what it has learned with the pool."""

from __future__ import annotations

from array import array

from pagedlab.memory.events import FIELDS, EventKind, MemoryEvent, Trace
from pagedlab.memory.manager import CacheManager
from pagedlab.memory.replay import PageMap
from tests.memory.kv_memory import KVMemory


class TraceWitness:
    def __init__(self, trace: Trace, kv: KVMemory) -> None:
        self.trace, self.kv = trace, kv
        self.map = PageMap(trace.num_pages, trace.page_size)
        self.num_proofs = 0
        self._cursor = 0
        self._prefixes: dict[int, list[int]] = {}  #: of every sequence: dead ones' pages can still be hit

    def learn(self, sequence: int, prefixes: list[int]) -> None:
        """What the slots of ``sequence`` hold, or will, at each of its positions."""
        self._prefixes[sequence] = prefixes

    def prove(self, manager: CacheManager) -> None:
        self._read_on()
        self.num_proofs += 1
        if self.num_proofs % 100 == 0:
            replayed = self.trace.replay()
            assert vars(self.map) | {"sequences": {}} == vars(replayed) | {"sequences": {}}, (
                "replay and reading on differ"
            )
            assert len(self.trace) < self.trace.max_events, "the trace outgrew its bound"
            holders = {name for name, view in replayed.sequences.items() if view.pages}
            assert holders <= set(manager.sequences), "trace: somebody who left holds pages"
        for page in range(manager.pool.num_pages):
            assert self.map.refcount[page] == manager.pool.refcount(page), f"trace: references of page {page}"
            assert self.map.published[page] == manager.prefix_cache.holds(page), f"trace: page {page} published"
            assert self.map.state(page) is manager.pool.state(page), f"trace: state of page {page}"
            self._prove_content(page)
        for name in manager.sequences:
            view = self.map.sequences[name]
            assert view.pages == manager.table(name).pages, f"trace: table of sequence {name}"
            logical, rest = divmod(view.computed, manager.page_size)
            assert not rest or self.map.filled[view.pages[logical]] >= rest, f"trace: last page of sequence {name}"

    def _prove_content(self, page: int) -> None:
        """What a view would say the page holds is what it holds."""
        content, filled = self.map.content[page], self.map.filled[page]
        if content is None:
            assert filled == 0, f"trace: page {page} holds {filled} tokens of nobody"
            return
        sequence, logical = content
        start = logical * self.kv.page_size
        told = self._prefixes[sequence][start : start + filled]
        assert self.kv.page(page)[:filled] == told, f"trace: content of page {page}"

    def _read_on(self) -> None:
        try:
            rows, self._cursor = self.trace.since(self._cursor)
        except LookupError:  # the trace was folded past us, as its contract says: start over from its base
            self.map = self.trace.base.copy()
            rows, self._cursor = self.trace.since(self.trace.folded)
        fields = array("i", rows)
        for at in range(0, len(fields), FIELDS):
            kind, *rest = fields[at : at + FIELDS]
            self.map.apply(MemoryEvent(EventKind(kind), *rest))
