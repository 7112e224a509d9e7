"""What is compared after every operation of a World, and after every step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import astuple, dataclass, field
from typing import Any

from pagedlab.memory.eviction import EvictionQueue, Retention
from pagedlab.memory.logical import LogicalManager
from pagedlab.memory.manager import CacheManager
from tests.memory.books import Books
from tests.memory.entries import HOLE, Blank, Copied
from tests.memory.kv_memory import KVMemory
from tests.memory.witness import TraceWitness


@dataclass
class Live:
    """A sequence that holds pages, or waits for some."""

    salt: str | None
    tokens: list[int]
    retention: tuple[Retention, ...] = ()
    computed: int = 0  #: tokens computed before the present step, which computes the rest of its slots
    in_step: bool = False
    parent_computes: bool = False  #: a fork of this very step: what its parent writes, it reads
    drafts: list[int] = field(default_factory=list)
    num_accepted: int = 0


@dataclass
class Proofs:
    manager: CacheManager
    books: Books
    kv: KVMemory
    live: dict[int, Live]
    witness: TraceWitness
    seen: Counter[str]
    mirrors: dict[int, list[int]] = field(default_factory=dict)

    def make(self, log: Sequence[Blank | Copied]) -> None:
        """What happens to memory before the step computes."""
        for entry in log:
            if isinstance(entry, Copied):
                self.kv.copy(entry.source, entry.target)
            else:
                self.kv.blank(entry.page, entry.start)

    def prove(self) -> None:
        """The manager's state is what the books and the trace say."""
        manager, pool, books = self.manager, self.manager.pool, self.books
        manager.check()
        same("free queue", pool.free_pages(), books.free)
        same("cached pages", set(pool.cached_pages()), books.parked)
        references = books.references()
        same(
            "references",
            [pool.refcount(page) for page in range(pool.num_pages)],
            [references[page] for page in range(pool.num_pages)],
        )
        same("published pages", manager.prefix_cache.pages(), set(books.shelf.held))
        self.seen["twins"] += len(books.shelf.held) > len(set(books.shelf.held.values()))
        self._prove_host()
        same("sequences", manager.sequences, list(books.entries))
        for name, entry in books.entries.items():
            table = manager.table(name)
            same(f"table of {name}", (table.pages, table.num_tokens), (entry.pages, entry.num_tokens))
        same("stats", vars(manager.stats), {what: books.stats[what] for what in vars(manager.stats)})
        if len(books.log) % 2 and books.parked:  # not always: looking may set right what is wrong
            same("next victim", manager.store.queue.next(), books.shelf.victim(books.parked))
        for name, entry in books.entries.items():
            self.witness.learn(name, entry.text.ends[1:])
        self.witness.prove(manager)
        if not books.entries:
            assert pool.num_used == 0 and pool.num_cached + pool.num_free == pool.num_pages, "pages leaked"

    def prove_memory(self) -> None:
        """No copy and no computation is outstanding: everything that can be read is what it should be."""
        self.prove()
        size, shelf = self.books.setup.page_size, self.books.shelf
        for name, live in self.live.items():
            table, entry = self.manager.table(name), self.books.entries[name]
            start = table.holes * size
            same("pages that were given back", table.holes, self.books.behind(table.num_tokens))
            read = self.kv.read(table.slots(start, table.num_tokens))
            same(f"what {name} reads", read, entry.text.ends[1 + start : 1 + table.num_tokens])
            mirror = self.mirrors.setdefault(name, [])  # what an engine keeps of the table, brought up to date
            mirror[table.dirty :] = table.pages[table.dirty :]
            table.dirty = len(table)
            same(f"mirror of {name}", mirror[table.holes :], entry.pages[table.holes :])
            same(f"tokens of {name}", entry.text.tokens[: table.num_tokens], live.tokens[: table.num_tokens])
        for page, prefix in shelf.held.items():
            same(f"last slot of published page {page}", self.kv.page(page)[size - 1], prefix)
        for name, (pages, num_tokens) in self.books.swapped.items():
            ends = self.books.left[name].ends[1:]
            for logical, page in enumerate(pages):
                if page != HOLE:
                    told = ends[logical * size : min(num_tokens, (logical + 1) * size)]
                    same(f"page {logical} of {name}, swapped out", self.kv.page(page)[: len(told)], told)
        self.witness.prove_content()

    def _prove_host(self) -> None:
        host, books = self.manager.host, self.books
        swapped = {name: (left.pages, left.num_tokens) for name, left in host.swapped.items()}
        same("swapped sequences", swapped, books.swapped)
        if host.pool is not None:
            same("free pages of the host", [host.first + page for page in host.pool.free_pages()], books.host_free)
            same("cached pages of the host", set(host.queue.parked_pages()), books.host_parked)


def snapshot(manager: CacheManager) -> list[Any]:
    """Everything that a refused call, or a question, must leave as it was."""
    store, pool = manager.store, manager.pool
    states = [(pool.refcount(page), pool.state(page)) for page in range(pool.num_pages)]
    seen: list[Any] = [pool.free_pages(), states, manager.prefix_cache.pages(), set(manager._pins)]
    for name in manager.sequences:
        holding, table = manager._holdings[name], manager.table(name)
        seen.append((name, list(table.pages), table.num_tokens, table.dirty, holding.published, holding.cursor))
    if manager.host.pool is not None:
        seen += [manager.host.pool.free_pages(), set(manager.host.pool.cached_pages()), dict(manager.host.swapped)]
    for queue in (store.queue, manager.host.queue):
        seen.append(dict(queue._parked))
        if isinstance(queue, EvictionQueue):
            seen.append({page: astuple(queue.use_of(page)) for page in queue._uses})
    seen += [astuple(manager.stats), list(store._copies), set(store._fresh), manager.trace and manager.trace.end]
    if isinstance(manager, LogicalManager):
        seen += [
            list(manager.map.where),
            [manager.logical(name) for name in (*manager.sequences, *manager.host.swapped)],
        ]
    seen += [dict(getattr(manager, kept)) for kept in ("_offers", "_num_prompt") if hasattr(manager, kept)]
    return seen


def same(what: str, got: Any, expected: Any) -> None:
    assert got == expected, f"{what}: {got}, expected {expected}"
