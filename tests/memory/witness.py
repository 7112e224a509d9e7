"""Reads a trace as a view would, event by event, and compares what it has learned with the manager."""

from __future__ import annotations

from array import array

from pagedlab.memory.events import FIELDS, EventKind, MemoryEvent, Trace
from pagedlab.memory.manager import CacheManager
from pagedlab.memory.replay import PageMap
from pagedlab.memory.table import HOLE
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
            self._prove_replay(manager)
        pages = range(manager.pool.num_pages)
        assert self.map.refcount == [manager.pool.refcount(page) for page in pages], "trace: references"
        assert self.map.published == [manager.prefix_cache.holds(page) for page in pages], "trace: published pages"
        on_host = {page for page in manager.prefix_cache.pages() if page >= manager.pool.num_pages}
        assert self.map.host == on_host, "trace: pages that can be hit in host memory"
        for page in pages:
            assert self.map.state(page) is manager.pool.state(page), f"trace: state of page {page}"
        for name in manager.sequences:
            table = manager.table(name)
            if len(table) > table.holes:  # else nobody sees that there were pages
                told = self.map.sequences[name].pages
                assert told + [HOLE] * (len(table) - len(told)) == table.pages, f"trace: table of sequence {name}"
        for name, swapped in manager.host.swapped.items():
            assert self.map.sequences[name].swapped == swapped.num_tokens, f"trace: what {name} left in host memory"

    def prove_content(self) -> None:
        """What a view would say that the pages hold is what they hold; nothing is outstanding."""
        for page, content in enumerate(self.map.content):
            filled = self.map.filled[page]
            if content is None:
                assert filled == 0, f"trace: page {page} holds {filled} tokens of nobody"
                continue
            sequence, logical = content
            start = logical * self.kv.page_size
            told = self._prefixes[sequence][start : start + filled]
            assert self.kv.page(page)[:filled] == told, f"trace: content of page {page}"
        for name, view in self.map.sequences.items():
            for logical, page in enumerate(view.pages):
                known = min(self.kv.page_size, view.computed - logical * self.kv.page_size)
                assert page == HOLE or self.map.filled[page] >= known, f"trace: page {logical} of sequence {name}"

    def _prove_replay(self, manager: CacheManager) -> None:
        replayed = self.trace.replay()
        assert vars(self.map) | {"sequences": {}} == vars(replayed) | {"sequences": {}}, "replay and reading on differ"
        assert len(self.trace) < self.trace.max_events, "the trace outgrew its bound"
        holders = {name for name, view in replayed.sequences.items() if set(view.pages) - {HOLE}}
        assert holders <= set(manager.sequences), "trace: somebody who left holds pages"

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
