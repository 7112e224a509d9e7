"""Random operations on a CacheManager, proved right after every single one of them.

Three witnesses that know nothing of each other must agree with it: the books (what is hit, taken, copied and evicted,
and in which order), a stand-in for the memory of GPU and host (every sequence reads exactly the keys and values of its
own tokens, and no slot is written that somebody may still read), and the trace (its replay is the pool).

The operations come in steps, as a scheduler makes them: plan; make the copies; compute; keep what was accepted.
machine.py drives it; proofs.py holds what is compared.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from pagedlab.errors import OutOfPages, PagedLabError, PagesInUse
from pagedlab.memory.events import EventKind, FinishCode, Trace
from pagedlab.memory.eviction import EVICTION_ORDERS, leaves_first
from tests.memory.books import Books
from tests.memory.draws import MANAGERS, Choose, make_cache, random_prompt
from tests.memory.entries import HOLE, Copied, Setup
from tests.memory.kv_memory import KVMemory, Prefixes, Text
from tests.memory.proofs import Live, Proofs, same, snapshot
from tests.memory.witness import TraceWitness

Refusal = type[Exception] | tuple[type[Exception], ...]


class World:
    """A cache manager, and everything it is compared with. Each public method is a rule, made of operations."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.now = 0.0
        self.trace = Trace(setup.num_pages, setup.page_size, max_events=setup.max_events)
        order = EVICTION_ORDERS[setup.order]
        self.manager = MANAGERS[setup.manager](
            setup.num_pages,
            setup.page_size,
            prefix_cache=make_cache(setup),
            trace=self.trace,
            eviction=leaves_first(order) if setup.leaves_first else order,
            clock=lambda: self.now,
            **setup.knobs,
        )
        self.kv = KVMemory(setup.num_pages + setup.num_host_pages, setup.page_size)
        self.prefixes = Prefixes()
        self.live: dict[int, Live] = {}
        self.waiting: dict[int, Live] = {}  #: preempted
        self.past: list[Live] = []  #: sequences that left, whose prompts may come back
        self.seen: Counter[str] = Counter()  #: what happened how often, so that no run proves nothing
        self.books = Books(setup, lambda: self.now, self.seen)
        self.log: list[str] = []  #: every operation so far: a failure can be repeated by hand
        self.proofs = Proofs(self.manager, self.books, self.kv, self.live, TraceWitness(self.trace, self.kv), self.seen)
        self.num_operations = 0
        self._num_names = self._step = 0
        self._planning = False

    # Rules

    def admit(self, choose: Choose) -> None:
        budget = (None, None, choose(4 * self.setup.page_size + 1), 1)[choose(4)]
        name = self._pick(choose, list(self.waiting)) if choose(3) else None
        if name is not None:
            self._admit(name, self.waiting[name], budget)
        else:
            self._admit(self._new_name(), random_prompt(choose, self.setup, self.past), budget)

    def extend(self, choose: Choose) -> None:
        """The next chunk: of the prompt if some of it is left, else of tokens decoded since."""
        name = self._pick(choose, self._idle())
        if name is not None:
            left = len(self.live[name].tokens) - self.books.entries[name].num_tokens
            decoded = (0, 1, 1, 1, 2, choose(3 * self.setup.page_size))
            self._extend(name, 1 + choose(left) if left else decoded[choose(6)], choose)

    def speculate(self, choose: Choose) -> None:
        """A decode step with drafts, of which some prove right."""
        name = self._pick(choose, self._idle())
        if name is None or len(self.live[name].tokens) > self.books.entries[name].num_tokens + 1:
            return
        if self._extend(name, 1, choose):
            live = self.live[name]
            self._publish(name, len(live.tokens))
            drafts = [choose(2) for _ in range(1 + choose(2 * self.setup.page_size))]
            if self._grow(name, live.tokens, len(live.tokens) + len(drafts)):
                live.drafts, live.num_accepted = drafts, choose(len(drafts) + 1)
                self.seen["drafted"] += 1

    def publish(self, choose: Choose) -> None:
        name = self._pick(choose, list(self.live))
        if name is not None:
            held = min(self.books.entries[name].num_tokens, len(self.live[name].tokens))
            self._publish(name, choose(held + 1) if choose(4) == 0 else held)

    def compute(self, choose: Choose) -> None:
        self._compute()

    def serve(self, choose: Choose) -> None:
        """A request, or two equal ones at once: what they published may be hit from now on."""
        live, names = random_prompt(choose, self.setup, self.past), [self._new_name() for _ in range(1 + choose(2))]
        names = [name for name in names if self._admit(name, Live(live.salt, live.tokens, live.retention), None)]
        for name in names:
            self._publish(name, len(live.tokens))
        self._compute()
        for name in names[choose(2) :]:
            self._finish(name)

    def fail(self, choose: Choose) -> None:
        """The step fails, with some of its copies made: everyone in it ends, and what it was to bring is forgotten."""
        self._plan()
        made = self.books.log[: choose(len(self.books.log) + 1)]
        if choose(2):
            self.manager.take_copies()
        self.proofs.make(made)
        doomed = [name for name, live in self.live.items() if live.in_step]
        for name in doomed:
            if len(made) == len(self.books.log) and choose(2):
                table = self.manager.table(name)
                self.kv.spoil(table.slots(self.live[name].computed, table.num_tokens))
        while doomed:
            self._finish(doomed.pop(choose(len(doomed))), FinishCode.ERROR)
            self.seen["failed"] += 1
        self._do("abandon_step()", self.manager.abandon_step)
        self.books.abandon_step()
        self._planning = False
        self.proofs.prove()

    def fork(self, choose: Choose) -> None:
        parent = self._pick(choose, [name for name, live in self.live.items() if not live.drafts])
        if parent is not None:
            self._fork(parent)

    def write_after_fork(self, choose: Choose) -> None:
        """Parent and child each go on with a token of their own."""
        parent = self._pick(choose, self._idle())
        if parent is not None:
            for name in (parent, self._fork(parent)):
                self._extend(name, 1, choose)
            self._compute()

    def release(self, choose: Choose) -> None:
        name = self._pick(choose, self._idle())
        if name is not None:
            self._finish(name)

    def preempt(self, choose: Choose) -> None:
        """Somebody gives its pages up, to host memory or for good, and waits to come back."""
        name = self._pick(choose, self._idle())
        if name is None:
            return
        self._plan()
        possible, live = self.books.can_swap_out(name), self.live[name]
        if choose(3):
            same("swapped out", self._do(f"swap_out({name})", lambda: self.manager.swap_out(name)), possible)
            if not possible:
                return
            self.books.swap_out(name)
        else:
            self._do(f"release({name})", lambda: self.manager.release(name))
            self.books.release(name)
        self.waiting[name] = self.live.pop(name)
        kept = self.books.swapped[name][1] if name in self.books.swapped else 0
        self.manager.record(EventKind.PREEMPT, sequence=name, value=kept)
        live.computed = 0
        self.proofs.prove()

    def give_up(self, choose: Choose) -> None:
        """A sequence is aborted while it waits, swapped out or not."""
        name = self._pick(choose, list(self.waiting))
        if name is not None:
            self._do(f"drop_swapped({name})", lambda: self.manager.drop_swapped(name))
            self.books.drop_swapped(name)
            self.manager.record(EventKind.FINISH, sequence=name, value=FinishCode.ABORT)
            self.past.append(self.waiting.pop(name))
            self.proofs.prove()

    def pin(self, choose: Choose) -> None:
        """Hold what is cached of a prompt, or let a pin go."""
        self._compute()
        pins = [name for name, entry in self.books.entries.items() if entry.is_pin]
        name = self._pick(choose, pins)
        if name is not None and choose(3):
            self._finish(name)
        else:
            self._pin(self._new_name(), random_prompt(choose, self.setup, self.past))

    def wait(self, choose: Choose) -> None:
        """Wishes to keep pages run out."""
        self.now += choose(12)

    def press(self, choose: Choose) -> None:
        """One sequence takes every page that can be had, and goes: all that was cached is evicted."""
        num_tokens = self.manager.num_available * self.setup.page_size
        name = self._new_name()
        if num_tokens and self._admit(name, Live(None, [2 + choose(2)] * num_tokens), None):
            self._compute()
            self._finish(name)

    def reset(self, choose: Choose) -> None:
        self._compute()
        if choose(2):  # everyone leaves first: else somebody always runs
            for name in list(self.books.entries):
                self._finish(name)
        possible = not any(entry.held for entry in self.books.entries.values())
        self._do("reset_prefix_cache()", self.manager.reset_prefix_cache, possible, PagesInUse)
        if possible:
            self.books.reset()
            self.seen["resets"] += 1
        self.proofs.prove()

    def misuse(self, choose: Choose) -> None:
        """Calls that make no sense are refused, and change nothing."""
        manager, name = self.manager, self._pick(choose, list(self.live))
        refused: dict[str, Callable[[], object]] = {"admit([])": lambda: manager.admit(self._num_names, [])}
        refused["admit less than nothing"] = lambda: manager.admit(self._num_names, [1], budget=-1)
        if name is not None:
            entry = self.books.entries[name]
            tokens, cut = [0] * (entry.num_tokens + 1), entry.published * self.setup.page_size - 1
            refused["admit again"] = lambda: manager.admit(name, tokens)
            refused["fork onto itself"] = lambda: manager.fork(name, name)
            refused["pin as a sequence"] = lambda: manager.pin(name, tokens)
            refused["publish too many"] = lambda: manager.publish(name, tokens, len(tokens))
            refused["truncate to more"] = lambda: manager.truncate(name, len(tokens))
            if entry.published:
                refused["truncate what is published"] = lambda: manager.truncate(name, cut)
            if entry.num_tokens:
                refused["shrink"] = lambda: manager.extend(name, entry.num_tokens - 1)
        for call, act in refused.items():
            self._do(call, act, False, (ValueError, PagedLabError))

    # Operations: each is made, entered in the books, and proved

    def _admit(self, name: int, live: Live, budget: int | None) -> bool:
        self._plan()
        manager, tokens, salt, text = self.manager, live.tokens, live.salt, self._text(live, live.tokens)
        room = len(tokens) if budget is None else budget
        want, available = self.books.wanted(name, text, room), manager.num_available
        possible = want.cost <= available
        before = snapshot(self.manager)
        foretold = manager.pages_to_admit(name, tokens, want.num_tokens, salt), manager.lookup(tokens, salt)
        assert snapshot(self.manager) == before, "a question changed something"
        same("pages to admit", foretold[0], want.cost)
        call = f"admit({name}, {tokens}, budget={budget}, salt={salt!r}, {live.retention})"
        admission = self._do(call, lambda: manager.admit(name, tokens, budget, salt, live.retention), possible)
        if not possible:
            return False
        if name in self.books.swapped:
            self.seen["resumed"] += 1
            self.seen["resumed on shared pages"] += bool(want.hits)
        else:
            same("tokens hit, and foretold", admission.num_hit, foretold[1])
            assert admission.num_hit < len(tokens), "nothing is left to compute: there are no logits"
        same("tokens known and held", tuple(admission), self.books.admit(name, text, room, live.retention))
        same("pages taken, and foretold", available - manager.num_available, foretold[0])
        self.seen["hits"] += len(want.hits)
        self.seen["hits in host memory"] += any(page >= self.setup.num_pages for page in want.hits)
        self.seen["partial hits"] += want.partial is not None
        self.seen["hits behind the window"] += want.hits.count(HOLE)
        self.waiting.pop(name, None)
        live.computed, live.in_step = admission.num_hit, True
        self.live[name] = live
        self.proofs.prove()
        return True

    def _pin(self, name: int, live: Live) -> None:
        text, references = self._text(live, live.tokens), self.books.references()
        hits = self.books.pins(text)
        possible = sum(not references[page] for page in hits) <= self.manager.num_available
        call = f"pin({name}, {live.tokens}, {live.salt!r})"
        pinned = self._do(call, lambda: self.manager.pin(name, live.tokens, live.salt), possible)
        if possible:
            same("tokens pinned", pinned, self.books.pin(name, text))
            self.seen["pinned"] += pinned > 0
            self.proofs.prove()

    def _extend(self, name: int, more: int, choose: Choose) -> bool:
        live, total = self.live[name], self.books.entries[name].num_tokens + more
        tokens = live.tokens + [choose(2) for _ in range(total - len(live.tokens))]
        if not self._grow(name, tokens, total):
            return False
        live.tokens = tokens
        return True

    def _grow(self, name: int, tokens: list[int], total: int) -> bool:
        self._plan()
        live = self.live[name]
        needed, available = self.manager.pages_needed(name, total), self.manager.num_available
        same("pages needed", needed, self.books.pages_needed(name, total))
        possible = needed <= self.books.available
        self.seen["copies"] += possible and self.books.must_copy(name, total)
        self._do(f"extend({name}, {total})", lambda: self.manager.extend(name, total), possible)
        if possible:
            self.books.extend(name, self._text(live, tokens), total)
            same("pages taken, and foretold", available - self.manager.num_available, needed)
            live.in_step = True
            self.proofs.prove()
        return possible

    def _publish(self, name: int, num_tokens: int) -> None:
        live = self.live[name]
        self._do(f"publish({name}, tokens, {num_tokens})", lambda: self.manager.publish(name, live.tokens, num_tokens))
        self.books.publish(name, self._text(live, live.tokens), num_tokens)
        self.proofs.prove()

    def _plan(self) -> None:
        if not self._planning:
            self.manager.begin_step(self._step)
            self.books.begin_step()
            self._step, self._planning = self._step + 1, True

    def _compute(self) -> None:
        """The step runs: copies are made, then all keys and values are written, and can be read from now on."""
        if not self._planning:
            return
        copies = [(copy.source, copy.target) for copy in self.manager.take_copies()]
        same("copies", copies, [entry for entry in self.books.log if isinstance(entry, Copied)])
        self.proofs.make(self.books.log)
        self.books.log.clear()
        in_step = [name for name, live in self.live.items() if live.in_step]
        for name in in_step:
            live, table = self.live[name], self.manager.table(name)
            if not live.parent_computes:
                chunk = slice(live.computed, table.num_tokens)
                ends = self._text(live, live.tokens + live.drafts).ends[1:]
                self.kv.write(table.slots(chunk.start, chunk.stop), ends[chunk])
        for name in in_step:
            self._keep(name, self.live[name])
        self._planning = False
        self.proofs.prove_memory()

    def _keep(self, name: int, live: Live) -> None:
        """The step was computed; of its drafts only the accepted ones leave a trace."""
        table = self.manager.table(name)
        live.computed = table.num_tokens
        if live.drafts:
            live.tokens = live.tokens + live.drafts[: live.num_accepted]
            live.computed = len(live.tokens)
            self._do(f"truncate({name}, {live.computed})", lambda: self.manager.truncate(name, live.computed))
            self.books.truncate(name, live.computed)
            if table.waste:
                self.kv.blank(table.pages[-1], live.computed % self.setup.page_size)
            self._publish(name, live.computed)
        live.in_step, live.parent_computes, live.drafts = False, False, []
        self.manager.record(EventKind.COMPUTE, sequence=name, value=live.computed)
        self.manager.slide(name)
        self.books.slide(name)
        self.seen["pages behind the window"] += table.holes > 0

    def _fork(self, parent: int) -> int:
        child, live = self._new_name(), self.live[parent]
        self._do(f"fork({parent}, {child})", lambda: self.manager.fork(parent, child))
        self.books.fork(parent, child)
        self.live[child] = Live(live.salt, live.tokens, live.retention, live.computed, live.in_step, live.in_step)
        self.seen["forks"] += 1
        self.proofs.prove()
        return child

    def _finish(self, name: int, why: FinishCode = FinishCode.STOP) -> None:
        self._do(f"release({name})", lambda: self.manager.release(name))
        self.manager.record(EventKind.FINISH, sequence=name, value=why)
        self.books.release(name)
        if name in self.live:  # else it was a pin
            self.past.append(self.live.pop(name))
        self.proofs.prove()

    def _do(self, call: str, act: Callable[[], Any], possible: bool = True, refusal: Refusal = OutOfPages) -> Any:
        """Act, or see it refused with nothing changed."""
        self.log.append(call)
        self.num_operations += 1
        self.seen[call.split("(")[0]] += 1
        if possible:
            return act()
        before = snapshot(self.manager)
        try:
            act()
        except refusal:
            assert snapshot(self.manager) == before, f"{call} was refused, and yet changed something"
        else:
            raise AssertionError(f"{call} should have been refused")
        self.seen["refused"] += 1
        self.proofs.prove()
        return None

    # Small things

    def _text(self, live: Live, tokens: list[int]) -> Text:
        return self.prefixes.of(live.salt, tokens)

    def _new_name(self) -> int:
        self._num_names += 1
        return self._num_names - 1

    def _pick(self, choose: Choose, names: list[int]) -> int | None:
        return names[choose(len(names))] if names else None

    def _idle(self) -> list[int]:
        """Sequences that are not in the present step: all their pages are written."""
        return [name for name, live in self.live.items() if not live.in_step]
