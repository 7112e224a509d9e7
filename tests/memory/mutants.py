"""One-line faults in memory/: what goes wrong, the text, and what stands in its place (see tests/mutation.py)."""

from __future__ import annotations

from tests.mutation import PYTEST, Mutant

SUITE = (
    "tests.memory.machine --operations 4000 --seed 2",
    f"{PYTEST} tests/memory/test_prefix_hash.py tests/memory/test_eviction.py tests/memory/test_partial_hits.py "
    "tests/memory/test_host.py tests/memory/test_trace.py tests/memory/test_table.py "
    "tests/memory/test_contiguous.py tests/memory/test_prefix_radix.py "
    "tests/memory/test_prefix_cache.py tests/memory/test_publication.py tests/memory/test_logical.py",
)

MUTANTS = {
    "memory/pool.py": [
        Mutant("a reference is forgotten", "self._refcount[page] += 1", "self._refcount[page] += 0"),
        Mutant("a shared page is freed too early", "if left == 0:", "if left <= 1:"),
        Mutant("the free queue is a stack", "self._free.popleft()", "self._free.pop()"),
        Mutant("the last freed is not the first", "self._free.appendleft(page)", "self._free.append(page)"),
        Mutant("an evicted page is lost", "remove(page)\n        self._line_up(page)", "remove(page)"),
    ],
    "memory/table.py": [
        Mutant("a run of slots leaves its page", "min(size - offset, stop - start)", "stop - start"),
        Mutant("a hole is given back twice", "        self.holes += 1\n", ""),
        Mutant("a mirror misses a replaced page", "self.dirty = min(self.dirty, logical)", "pass"),
    ],
    "memory/copies.py": [
        Mutant("a copy goes the wrong way", "    source: int\n    target: int", "    target: int\n    source: int"),
    ],
    "memory/holdings.py": [
        Mutant(
            "of two readers one writes uncopied",
            "refcount(table.pages[-1]) > 1\n\n",
            "refcount(table.pages[-1]) > 2\n\n",
        ),
        Mutant("nothing is ever copied", "and had % self.page_size > 0 and", "and False and"),
        Mutant("a copied page keeps its reference", "        self.store.drop(shared, sequence, logical)\n", ""),
        Mutant("a page is published one token early", "* size <= num_tokens and", "* size <= num_tokens + 1 and"),
        Mutant("an extension fails half-way", "            self.store.require(missing + must_copy)\n", ""),
        Mutant(
            "a fork publishes again", "holding.cursor, holding.published, holding.ret", "holding.cursor, 0, holding.ret"
        ),
        Mutant("the window is one token too narrow", "(position + 1 - self.window)", "(position + 2 - self.window)"),
        Mutant(
            "a rejected draft stays", "        table.num_tokens = num_tokens\n\n    def publish", "\n    def publish"
        ),
        Mutant("a copy is not told", "        self.record(EventKind.COPY, fresh, sequence, shared)\n", ""),
        Mutant("a wish reaches one page too far", "wish.stop > start)", "wish.stop >= start)"),
    ],
    "memory/manager.py": [
        Mutant("a prompt is hit to its last token", "(len(tokens) - 1) // self", "len(tokens) // self"),
        Mutant("a partial hit takes the last token too", "len(tokens) - 1 - start)", "len(tokens) - start)"),
        Mutant(
            "an admission fails half-way",
            "        self.store.require(self.pages_for(num_tokens) - behind, match.pages[behind:])\n",
            "",
        ),
        Mutant("hits are miscounted", "count(len(tokens), known)", "count(len(tokens), len(tokens))"),
        Mutant("a reset takes used pages for cached", "if self.pool.num_used:", "if False:"),
        Mutant("a swapped page comes back twice", "swapped.pages[len(match.pages) :]", "swapped.pages"),
        Mutant("a swap is not copied", "            self.store.copy(page, pages[-1])\n", ""),
        Mutant("a resumed sequence forgets its holes", "                table.holes += 1\n", ""),
        Mutant("a pin lost in a failed step keeps rubbish", "                self.truncate(name, 0)\n", ""),
    ],
    "memory/store.py": [
        Mutant("hits are counted as room", "page < first and refcount(page)", "refcount(page)"),
        Mutant("heads are evicted before tails", "for page in reversed(pages):", "for page in pages:"),
        Mutant("a cached page is never evicted", "                park(page, sequence)\n", "                pass\n"),
        Mutant("a failed step's page survives", "        self._fresh.add(page)\n", ""),
        Mutant("a failed step's copy survives", "        self._fresh.add(target)\n", ""),
        Mutant("a copy asked for between steps is forgotten", "{copy.target for copy in self._copies}", "set()"),
        Mutant("a failed step's hits are counted", "        self.count(-self._queried, -self._hit)\n", ""),
        Mutant("a conversation goes page by page", "            if self.whole_sequences:\n", "            if False:\n"),
        Mutant("what nobody wants goes to host memory", "take_cached() if worth_it else None", "take_cached()"),
        Mutant("what is cut off keeps its pages", "(page, *sorted(cut_off)) if cut_off else (page,)", "(page,)"),
        Mutant(
            "a page comes back and stays",
            "        self.host.blank(page)\n        self.stats.ret",
            "        self.stats.ret",
        ),
        Mutant(
            "a page to be computed is copied before",
            "page < self.host.first and page not in self._fresh",
            "page < self.host.first",
        ),
        Mutant(
            "an offload is not copied",
            "            self.copy(page, target)\n            self.prefix",
            "            self.prefix",
        ),
    ],
    "memory/host.py": [
        Mutant(
            "a swapped page can be taken again",
            "for page in swapped.pages:\n            if page >= self.first:",
            "for page in swapped.pages[1:]:\n            if page >= self.first:",
        ),
        Mutant("a claimed page is given up", "        if is_parked:", "        if True:"),
    ],
    "memory/eviction.py": [
        Mutant("the most recently used goes first", "    return use.parked\n", "    return -use.parked\n"),
        Mutant("nobody knows who left a page", "            use.left_by = left_by\n", "            pass\n"),
        Mutant("hits are not counted", "self._uses[page].hits += 1", "pass"),
        Mutant("a wish never ends", "self._expiries[0][0] <= now", "False"),
        Mutant(
            "a new leaf is not noticed",
            "        if self._minds_leaves and page in self._parked:\n            self._look_again(page)",
            "        pass",
        ),
        Mutant("leaves stay and trunks go", "return not use.is_leaf, order(use)", "return use.is_leaf, order(use)"),
        Mutant(
            "a stale entry is believed",
            "if self._parked.get(page) is not entry:",
            "if page not in self._parked:",
        ),
    ],
    "memory/publication.py": [
        Mutant(
            "what was computed is published when its sequence ends",
            "            self._publish_offer(sequence)\n        super().begin_step",
            "            pass\n        super().begin_step",
        ),
        Mutant("what is cut off is published", "min(num_tokens, len(tokens))", "num_tokens"),
        Mutant("a duplicate keeps its reference", "        self.store.drop(own, sequence, logical)\n", ""),
        Mutant("a duplicate is read in host memory", "or known >= self.pool.num_pages", "or False"),
        Mutant(
            "a window swallows what was to be published", "if self.window is not None:  # what", "if False:  # what"
        ),
        Mutant("answers are kept with prompts", "min(num_tokens, num_prompt)", "num_tokens"),
    ],
    "memory/logical.py": [
        Mutant("a shared page is swapped", "self.pool.refcount(page) > 1 or ", ""),
        Mutant("a published page is swapped", " or self.prefix_cache.holds(page) for", " for"),
        Mutant("a table is not translated", "        table.translate()\n", ""),
        Mutant("a failed step leaves its table behind", " if sequence in self.host.swapped}", "}"),
        Mutant(
            "a number is lost", "self.number[page], self.number[left] = number, spare", "self.number[page] = number"
        ),
        Mutant("a mirror misses the move", "self.numbers)\n        self.dirty = 0", "self.numbers)"),
    ],
    "memory/prefix_cache.py": [
        Mutant(
            "a shared run is one too long",
            "            return at\n    return length",
            "            return at + 1\n    return length",
        ),
        Mutant(
            "only the right neighbour is looked at",
            "range(middle, len(children)), range(middle - 1, -1, -1)",
            "range(middle, len(children)),",
        ),
    ],
    "memory/lru.py": [
        Mutant("a hit page is evicted", "if parked.get(page) == line[0]:", "if True:"),
        Mutant("stale entries are kept for ever", "if len(self._line) > 2 * len(self._parked) + 64:", "if False:"),
        Mutant("swept entries lose their order", "deque(self._parked.values())", "deque(sorted(self._parked))"),
    ],
    "memory/prefix_hash.py": [
        Mutant("a collision hits", " and (content.parent is not parent or content.tokens != tokens)", ""),
        Mutant("what came before does not matter", "content.parent is not parent or ", ""),
        Mutant("keys are not chained", "blake2b(parent + _packer", "blake2b(_packer"),
        Mutant("salts do not isolate", "root = self._roots.get(salt)", "root = self._roots.get(None)"),
        Mutant("a reused page keeps its content", "        content.pages.remove(page)\n        while", "        while"),
        Mutant("the host's copy is hit", "insort(content.pages, target)", "content.pages.insert(0, target)"),
        Mutant(
            "a page is published after what was lost",
            "if cursor.parent is not None and not (cursor.pages or cursor.children)",
            "if False",
        ),
    ],
    "memory/prefix_radix.py": [
        Mutant(
            "a cursor does not see that its edge was split",
            "while node.parent is not None and depth <= node.start:",
            "while False:",
        ),
        Mutant("a cursor trusts what came back", "and node.entries[at].stamp == stamp", ""),
        Mutant("what is cut off can still be hit", "            gone += lost.entries\n", ""),
        Mutant(
            "an edge goes on beside its children",
            "node.parent is not None and not node.children:",
            "node.parent is not None:",
        ),
        Mutant(
            "the head of a split is not known",
            "            self._where[entry.page] = (head, at)\n",
            "            pass\n",
        ),
        Mutant(
            "an inner page counts as a leaf", "depth + 1 == node.stop and not node.children", "depth + 1 == node.stop"
        ),
    ],
    "memory/replay.py": [
        Mutant("a released page stays in the row", "            view.pages.pop()", "            pass"),
        Mutant(
            "a filled page looks blank",
            "            self.filled[page], self.content[page] = value, (sequence",
            "            _, self.content[page] = value, (sequence",
        ),
        Mutant("what is in host memory is not seen", "            self.host.add(value)\n", "            pass\n"),
    ],
    "memory/events.py": [
        Mutant("a fold miscounts", "self.folded += count", "self.folded += count - 1"),
        Mutant("the map of a long run only grows", "            del self.base.sequences[gone]\n", ""),
    ],
    "memory/contiguous.py": [
        Mutant("a gap may be one slot too short", "len(run) >= num_slots", "len(run) >= num_slots - 1"),
    ],
}
