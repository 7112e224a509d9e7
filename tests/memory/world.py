"""Random operations on a CacheManager, proved right after every single one of them.

Three witnesses that know nothing of each other must agree with it: the books (what is hit, taken and evicted, and in
which order), a stand-in for GPU memory (every sequence reads exactly the keys and values of its own tokens, and no slot
is written that somebody may still read), and the trace (its replay is the pool).

machine.py drives it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import astuple, dataclass
from typing import Any, NamedTuple

from pagedlab.errors import OutOfPages, PagedLabError, PagesInUse
from pagedlab.memory.events import EventKind, FinishCode, Trace
from pagedlab.memory.manager import CacheManager, PageCopy
from pagedlab.memory.prefix_hash import HashPrefixCache, hash_page
from tests.memory.books import Books
from tests.memory.kv_memory import KVMemory, Prefixes
from tests.memory.witness import TraceWitness

#: ``choose(n)`` picks one of ``range(n)``: at random in the long runs, by hypothesis in those that must shrink.
Choose = Callable[[int], int]

SALTS = (None, None, "tenant")


class Setup(NamedTuple):
    page_size: int
    num_pages: int
    hash_bits: int | None = 128  #: of the prefix cache's keys: with 0 all of them collide; None: no prefix cache
    max_events: int = 1_000_000  #: of the trace


@dataclass
class Live:
    """A sequence that holds pages."""

    salt: str | None
    tokens: list[int]
    computed: int  #: tokens computed before the present step, which computes the rest of its slots
    parent_computes: bool = False  #: a fork of this very step: what its parent writes, it reads


class World:
    """A cache manager, and everything it is compared with. Each public method is a rule, made of operations."""

    def __init__(self, setup: Setup) -> None:
        size, pages, bits, max_events = self.setup = setup
        self.trace = Trace(pages, size, max_events=max_events)
        self.cache = None if bits is None else HashPrefixCache(size, hash_page=cut_hash(bits))
        self.manager = CacheManager(pages, size, prefix_cache=self.cache, trace=self.trace)
        self.books = Books(pages, size, caching=bits is not None)
        self.kv = KVMemory(pages, size)
        self.prefixes = Prefixes()
        self.witness = TraceWitness(self.trace, self.kv)
        self.live: dict[int, Live] = {}
        self.past: list[Live] = []  #: sequences that left, whose prompts may come back
        self.in_step: set[int] = set()  #: pages that the present step is to fill
        self.num_operations = 0
        self.seen: Counter[str] = Counter()  #: what happened how often, so that no run proves nothing
        self.log: list[str] = []  #: every operation so far: a failure can be repeated by hand
        self._num_names = 0

    # Rules

    def admit(self, choose: Choose) -> None:
        salt, tokens = self._prompt(choose)
        budget = (None, None, choose(4 * self.setup.page_size + 1), 1)[choose(4)]
        self._admit(self._new_name(), tokens, budget, salt)

    def extend(self, choose: Choose) -> None:
        """The next chunk: of the prompt if some of it is left, else of tokens decoded since."""
        name = self._pick(choose, self._outside_step())
        if name is not None:
            left = len(self.live[name].tokens) - self.books.entries[name].num_tokens
            decoded = (0, 1, 1, 1, 2, choose(3 * self.setup.page_size))
            self._extend(name, 1 + choose(left) if left else decoded[choose(6)], choose)

    def publish(self, choose: Choose) -> None:
        name = self._pick(choose, list(self.live))
        if name is not None:
            held = self.books.entries[name].num_tokens
            self._publish(name, choose(held + 1) if choose(4) == 0 else held)

    def compute(self, choose: Choose) -> None:
        self._compute()

    def serve(self, choose: Choose) -> None:
        """One request from beginning to end: what it published may be hit from now on."""
        salt, tokens = self._prompt(choose)
        name = self._new_name()
        if self._admit(name, tokens, None, salt):
            self._publish(name, len(tokens))
            self._compute()
            self._release(name, None, FinishCode.LENGTH)

    def fail(self, choose: Choose) -> None:
        """The step fails: everyone in it ends, and what they were to fill is forgotten."""
        outside = self._outside_step()
        doomed = [name for name in self.live if name not in outside]
        while doomed:
            name = doomed.pop(choose(len(doomed)))
            self._release(name, self.live[name].computed, FinishCode.ERROR)
            self.seen["failed"] += 1
        self.in_step.clear()

    def fork(self, choose: Choose) -> None:
        parent = self._pick(choose, list(self.live))
        if parent is not None:
            self._fork(parent)

    def write_after_fork(self, choose: Choose) -> None:
        """Parent and child each go on with a token of their own."""
        parent = self._pick(choose, self._outside_step())
        if parent is not None:
            for name in (parent, self._fork(parent)):
                self._extend(name, 1, choose)
            self._compute()

    def release(self, choose: Choose) -> None:
        name = self._pick(choose, self._outside_step())
        if name is not None:
            self._release(name, None, FinishCode.STOP)

    def retract(self, choose: Choose) -> None:
        """A sequence ends, and the caller no longer trusts its last pages; whoever shares them goes on."""
        name = self._pick(choose, self._outside_step())
        if name is not None:
            self._release(name, choose(self.live[name].computed + 1), FinishCode.ERROR)

    def press(self, choose: Choose) -> None:
        """One sequence takes every page that can be had, and goes: all that was cached is evicted."""
        num_tokens = self.manager.num_available * self.setup.page_size
        if num_tokens:
            name = self._new_name()
            assert self._admit(name, [2 + choose(2)] * num_tokens, None, None)
            self._compute()
            self._release(name, None, FinishCode.LENGTH)

    def reset(self, choose: Choose) -> None:
        if choose(2):  # everyone leaves first: else somebody always runs
            self._compute()
            for name in list(self.live):
                self._release(name, None, FinishCode.STOP)
        possible = not any(entry.pages for entry in self.books.entries.values())
        self._do("reset_prefix_cache()", self.manager.reset_prefix_cache, possible, PagesInUse)
        if possible:
            self.books.reset()
            self.seen["resets"] += 1
            self.prove()

    def misuse(self, choose: Choose) -> None:
        """Calls that make no sense are refused, and change nothing."""
        manager, name = self.manager, self._pick(choose, list(self.live))
        self._do("admit([])", lambda: manager.admit(self._num_names, []), False, ValueError)
        self._do("admit less than nothing", lambda: manager.admit(self._num_names, [1], budget=-1), False, ValueError)
        if name is not None:
            held = self.books.entries[name].num_tokens
            tokens = [0] * (held + 1)
            self._do("admit again", lambda: manager.admit(name, tokens), False, ValueError)
            self._do("fork onto itself", lambda: manager.fork(name, name), False, ValueError)
            self._do("publish too many", lambda: manager.publish(name, tokens, held + 1), False, PagedLabError)
            if held:
                self._do("shrink", lambda: manager.extend(name, held - 1), False, ValueError)

    # Operations: each is made, entered in the books, and proved

    def _admit(self, name: int, tokens: list[int], budget: int | None, salt: str | None) -> bool:
        prefixes = self.prefixes.of(salt, tokens)
        before = self._snapshot()
        predicted = self.manager.lookup(tokens, salt)
        assert self._snapshot() == before, "lookup changed something"
        possible = self.books.can_admit(prefixes, budget)
        call = f"admit({name}, {tokens}, budget={budget}, salt={salt!r})"
        admission = self._do(call, lambda: self.manager.admit(name, tokens, budget, salt), possible, OutOfPages)
        if not possible:
            return False
        hits = self.books.admit(name, prefixes, budget)
        entry = self.books.entries[name]
        same("tokens hit and held", tuple(admission), (len(hits) * self.setup.page_size, entry.num_tokens))
        same("tokens hit, and foretold", admission.num_hit, predicted)
        assert admission.num_hit < len(tokens), "nothing is left to compute: there are no logits"
        self.live[name] = Live(salt, tokens, computed=admission.num_hit)
        self._taken(name, entry.pages[len(hits) :])
        self.seen["hits"] += len(hits)
        self.prove()
        return True

    def _extend(self, name: int, more: int, choose: Choose) -> None:
        live, entry = self.live[name], self.books.entries[name]
        held = entry.num_tokens
        tokens = live.tokens + [choose(2) for _ in range(held + more - len(live.tokens))]
        needed = self.manager.pages_needed(name, held + more)
        same("pages needed", needed, self.books.pages_needed(name, held + more))
        available = self.manager.num_available
        possible = self.books.can_extend(name, held + more)
        call = f"extend({name}, {held + more})"
        copy = self._do(call, lambda: self.manager.extend(name, held + more), possible, OutOfPages)
        if not possible:
            return
        same("pages taken, and foretold", available - self.manager.num_available, needed)
        before = list(entry.pages)
        expected = self.books.extend(name, self.prefixes.of(live.salt, tokens), held + more)
        same("copy", copy, expected)
        live.tokens = tokens
        self._taken(name, [page for page in entry.pages if page not in before])
        if isinstance(copy, PageCopy):
            self.kv.copy(copy.source, copy.target)
            self.seen["copies"] += 1
        self.prove()

    def _publish(self, name: int, num_tokens: int) -> None:
        tokens = self.live[name].tokens
        self._do(f"publish({name}, tokens, {num_tokens})", lambda: self.manager.publish(name, tokens, num_tokens))
        self.books.publish(name, num_tokens)
        self.prove()

    def _compute(self) -> None:
        """The step runs: all keys and values are written, and can be read from now on."""
        outside = self._outside_step()
        self.in_step.clear()
        for name, live in self.live.items():
            if name in outside:
                continue
            table = self.manager.table(name)
            if not live.parent_computes:
                chunk = slice(live.computed, table.num_tokens)
                self.kv.write(table.slots(chunk.start, chunk.stop), self.books.entries[name].prefixes[chunk])
            live.computed, live.parent_computes = table.num_tokens, False
            self.manager.record(EventKind.COMPUTE, sequence=name, value=live.computed)
        self.prove()

    def _fork(self, parent: int) -> int:
        child, live = self._new_name(), self.live[parent]
        self._do(f"fork({parent}, {child})", lambda: self.manager.fork(parent, child))
        self.books.fork(parent, child)
        self.live[child] = Live(live.salt, live.tokens, live.computed, parent not in self._outside_step())
        self.seen["forks"] += 1
        self.prove()
        return child

    def _release(self, name: int, valid_tokens: int | None, why: FinishCode) -> None:
        call = f"release({name}, valid_tokens={valid_tokens})"
        self._do(call, lambda: self.manager.release(name, valid_tokens=valid_tokens))
        self.manager.record(EventKind.FINISH, sequence=name, value=why)
        self.books.release(name, valid_tokens)
        self.past.append(self.live.pop(name))
        self.prove()

    def _do(
        self, call: str, act: Callable[[], Any], possible: bool = True, refusal: type[Exception] = OutOfPages
    ) -> Any:
        """Act, or see it refused with nothing changed."""
        self.log.append(call)
        self.num_operations += 1
        self.seen[call.split("(")[0]] += 1
        if possible:
            return act()
        before = self._snapshot()
        try:
            act()
        except refusal:
            assert self._snapshot() == before, f"{call} was refused, and yet changed something"
        else:
            raise AssertionError(f"{call} should have been refused")
        self.seen["refused"] += 1
        self.prove()
        return None

    # Proof

    def prove(self) -> None:
        manager, pool, books = self.manager, self.manager.pool, self.books
        manager.check()
        same("free queue", pool.free_pages(), books.free)
        published = {page for page in range(pool.num_pages) if manager.prefix_cache.holds(page)}
        same("published pages", published, set(books.published))
        self.seen["twins"] += len(published) > len(set(books.published.values()))
        if self.cache is not None:
            same("eviction order", self.cache.eviction_order(), books.cached)
        same("references", [pool.refcount(page) for page in range(pool.num_pages)], books.references())
        same("sequences", manager.sequences, list(self.live))
        same("stats", astuple(manager.stats), (books.queried, books.hit, books.evictions, books.copies))
        self._prove_memory()
        for name, entry in books.entries.items():
            self.witness.learn(name, entry.prefixes)
        self.witness.prove(manager)
        if not self.live:
            assert pool.num_used == 0 and pool.num_cached + pool.num_free == pool.num_pages, "pages leaked"

    def _prove_memory(self) -> None:
        size = self.setup.page_size
        for page in self.books.free:
            self.kv.poison(page)
        self.in_step.difference_update(self.books.free)
        assert self.in_step.isdisjoint(self.books.cached), "a page can be hit that was never written"
        outside = self._outside_step()
        for name in self.live:
            table, entry = self.manager.table(name), self.books.entries[name]
            same(f"table of {name}", (table.pages, table.num_tokens), (entry.pages, entry.num_tokens))
            if name in outside:
                read = self.kv.read(table.slots(0, table.num_tokens))
                same(f"what {name} reads", read, entry.prefixes[: table.num_tokens])
        for page, prefix in self.books.published.items():
            if page not in self.in_step:
                same(f"last slot of published page {page}", self.kv.page(page)[size - 1], prefix)

    def _snapshot(self) -> list[Any]:
        """Everything that a refused call must leave as it was."""
        manager, pool = self.manager, self.manager.pool
        pages = range(pool.num_pages)
        tables = {name: (list(manager.table(name).pages), manager.table(name).num_tokens) for name in manager.sequences}
        state: list[Any] = [pool.free_pages(), [(pool.refcount(page), pool.state(page)) for page in pages], tables]
        state += [astuple(manager.stats), self.trace.end]
        if self.cache is not None:
            state += [self.cache.eviction_order(), [self.cache.key_of(page) for page in pages]]
        return state

    # Small things

    def _prompt(self, choose: Choose) -> tuple[str | None, list[int]]:
        """Prompts that begin alike: a run of one token, then a few others; or what was said before, and more."""
        tail = [choose(2) for _ in range(choose(4))]
        if self.past and choose(3) == 0:
            old = self.past[-1 - choose(min(len(self.past), 16))]
            return old.salt, old.tokens + tail
        longest = self.setup.page_size * (2 + choose(self.setup.num_pages))
        return SALTS[choose(len(SALTS))], [choose(2)] * (1 + choose(longest)) + tail

    def _new_name(self) -> int:
        self._num_names += 1
        return self._num_names - 1

    def _pick(self, choose: Choose, names: list[int]) -> int | None:
        return names[choose(len(names))] if names else None

    def _outside_step(self) -> list[int]:
        """Sequences that wait for nothing: all their pages are written."""
        return [name for name in self.live if self.in_step.isdisjoint(self.books.entries[name].pages)]

    def _taken(self, name: int, fresh: list[int]) -> None:
        """``name`` has a chunk in the present step; the pages just taken for it hold nothing that may be read."""
        for page in fresh:
            self.kv.poison(page)
        entry, computed = self.books.entries[name], self.live[name].computed
        if computed < entry.num_tokens:
            self.in_step.update(entry.pages[computed // self.setup.page_size :])


def same(what: str, got: Any, expected: Any) -> None:
    assert got == expected, f"{what}: {got}, expected {expected}"


def cut_hash(bits: int) -> Callable[..., bytes]:
    """The page hash with all but its first ``bits`` bits thrown away."""
    return lambda parent, tokens: (int.from_bytes(hash_page(parent, tokens)) >> (128 - bits)).to_bytes(16)
