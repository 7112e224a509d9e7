"""One-line faults in memory/ and scheduling/: what goes wrong, the text, and what stands in its place."""

from __future__ import annotations

from typing import NamedTuple


class Mutant(NamedTuple):
    fault: str
    old: str  #: stands in the file exactly once
    new: str


MUTANTS = {
    "memory/pool.py": [
        Mutant("a reference is forgotten", "self._refcount[page] += 1", "self._refcount[page] += 0"),
        Mutant("a shared page is freed too early", "if left == 0:", "if left <= 1:"),
        Mutant("the free queue is a stack", "self._free.popleft()", "self._free.pop()"),
        Mutant("an evicted page is lost", "remove(page)\n        self._free.append(page)", "remove(page)"),
        Mutant("a revived page stays cached", "self._cached.remove(page)\n        self._ref", "self._ref"),
    ],
    "memory/table.py": [
        Mutant("a run of slots leaves its page", "min(size - offset, stop - start)", "stop - start"),
    ],
    "memory/manager.py": [
        Mutant("a prompt is hit to its last token", "(len(tokens) - 1) // self", "len(tokens) // self"),
        Mutant("hits are counted as room", "reserved=revived", "reserved=0"),
        Mutant(
            "pages are counted one too many", "-(-num_tokens // self.page_size)", "num_tokens // self.page_size + 1"
        ),
        Mutant("of two readers one writes uncopied", "table.pages[-1]) > 1", "table.pages[-1]) > 2"),
        Mutant("nothing is ever copied", "table.waste > 0 and", "False and"),
        Mutant("a copy goes the wrong way", "PageCopy(shared, fresh)", "PageCopy(fresh, shared)"),
        Mutant("a copied page keeps its reference", "self.pool.drop(shared, keep=False)", "pass"),
        Mutant(
            "heads are evicted before tails", "in reversed(range(len(holding.table)))", "in range(len(holding.table))"
        ),
        Mutant("a page is published one token early", "* size <= num_tokens:", "* size <= num_tokens + 1:"),
        Mutant(
            "a failed step's page survives",
            "(logical + 1) * self.page_size > valid",
            "logical * self.page_size > valid",
        ),
        Mutant("a sound page is forgotten too", "* self.page_size > valid", "* self.page_size >= valid"),
        Mutant("a forgotten page is kept", "                keep = False", "                pass"),
        Mutant("a cached page is never evicted", "self.prefix_cache.park(page)", "pass"),
        Mutant("a page in use can be evicted", "self.prefix_cache.claim(page)", "pass"),
        Mutant("an extension fails half-way", "self._require(self.pages_needed(sequence, num_tokens))", "pass"),
        Mutant("a fork publishes again", "holding.cursor, holding.published)", "holding.cursor, 0)"),
        Mutant("hits are miscounted", "hit_tokens += num_hit", "hit_tokens += len(tokens)"),
        Mutant("a reset takes used pages for cached", "if self.pool.num_used:", "if self.pool.num_used > 1:"),
        Mutant("a copy is not told", "self.record(EventKind.COPY, fresh, sequence, shared)", "pass"),
    ],
    "memory/prefix_hash.py": [
        Mutant("a collision hits", "content.parent is parent and content.tokens == tokens", "True"),
        Mutant("what came before does not matter", "content.parent is parent and ", ""),
        Mutant("keys are not chained", "parent + struct.pack", "struct.pack"),
        Mutant("salts do not isolate", "root = self._roots.get(salt)", "root = self._roots.get(None)"),
        Mutant("the youngest page is evicted", "next(iter(self._parked))", "next(reversed(self._parked))"),
        Mutant("a reused page keeps its content", "        content.pages.remove(page)\n", ""),
        Mutant("a lost parent is never found again", "self._enter(self._findable(cursor), ", "self._enter(cursor, "),
    ],
    "memory/replay.py": [
        Mutant("a released page stays in the row", "                view.pages.pop()", "                pass"),
    ],
    "memory/events.py": [
        Mutant("a fold miscounts", "self.folded += count", "self.folded += count - 1"),
        Mutant("the map of a long run only grows", "self.base.sequences = {", "forgotten = {"),
    ],
    "scheduling/scheduler.py": [
        Mutant("the oldest is the victim", "victim = self.running[-1]", "victim = self.running[0]"),
        Mutant("the budget never shrinks", "budget -= stop - sequence.num_computed", "pass"),
        Mutant("a victim thinks it was computed", "        sequence.num_computed = 0\n", ""),
        Mutant("somebody comes in on stolen pages", "if not plan.preempted:", "if True:"),
        Mutant("an abandoned step stays published", ", valid_tokens=sequence.num_computed", ""),
        Mutant("a fork forgets its prompt", "if sequence is not chunk.sequence:", "if False:"),
        Mutant(
            "one token too many",
            "sequence.num_output == params.max_tokens",
            "sequence.num_output - 1 == params.max_tokens",
        ),
        Mutant("a stop comes one token late", ">= params.min_tokens", "> params.min_tokens"),
        Mutant("one place too many", "(self.waiting[0]) <= places", "(self.waiting[0]) <= places + 1"),
        Mutant("an impossible request is accepted", "* self.manager.page_size + 1)", "* self.manager.page_size + 9)"),
        Mutant("a copy is not planned", "plan.copies.append(copy)", "pass"),
        Mutant("pages are not published", "self.manager.publish(sequence.id, sequence.token_ids, stop)", "pass"),
        Mutant("salts stay behind", "budget, sequence.request.salt)", "budget)"),
    ],
}
