"""What CacheManager promises, said again with plain lists and no thought of speed.

It shares no code with pagedlab.memory: which content is where is on the Shelf, who has which page is here, and every
question is answered by walking over everything.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from pagedlab.memory.eviction import Retention
from tests.memory.entries import HOLE, Blank, Copied, Entry, Setup, Wanted
from tests.memory.kv_memory import Text
from tests.memory.shelf import Shelf


class Books:
    def __init__(self, setup: Setup, clock: Callable[[], float], seen: Counter[str]) -> None:
        self.setup, self.clock, self.seen = setup, clock, seen
        self.shelf = Shelf(setup.page_size, setup.cache, setup.order, setup.leaves_first, clock)
        self.free = list(range(setup.num_pages))  #: next to be handed out first
        self.host_free = [setup.num_pages + page for page in range(setup.num_host_pages)]
        self.parked: set[int] = set()
        self.host_parked: set[int] = set()
        self.entries: dict[int, Entry] = {}
        self.swapped: dict[int, tuple[list[int], int]] = {}
        self.left: dict[int, Text] = {}  #: what they had computed
        self.fresh: set[int] = set()
        self.log: list[Blank | Copied] = []  #: what the machine must do to its memory before the step computes
        self.offers: dict[int, tuple[Text, int]] = {}  #: what is to be published later
        self.num_prompt: dict[int, int] = {}
        self.away: dict[int, Entry] = {}  #: swapped out as they are
        self.counted = (0, 0)  #: what the present step's admissions added to the statistics
        self.stats: Counter[str] = Counter()

    # Questions

    def references(self) -> Counter[int]:
        """For every page of the device, how often a sequence names it."""
        return Counter(page for e in self.entries.values() for page in e.held if page < self.setup.num_pages)

    @property
    def available(self) -> int:
        return len(self.free) + len(self.parked)

    def pages_for(self, num_tokens: int) -> int:
        return (num_tokens + self.setup.page_size - 1) // self.setup.page_size

    def behind(self, position: int) -> int:
        """Pages of which the token at ``position`` sees nothing."""
        if self.setup.window is None:
            return 0
        return len([p for p in range(self.pages_for(position)) if self._last(p) <= position - self.setup.window])

    def wanted(self, name: int, text: Text, budget: int) -> Wanted:
        size, partial, num_prompt = self.setup.page_size, None, len(text.tokens)
        if name in self.swapped:
            pages, known = self.swapped[name]
            hits = [] if HOLE in pages or name in self.away else self.shelf.match(text, known // size)
            published, num_holes = len(hits), pages.count(HOLE)
        else:
            hits = self.shelf.match(text, (num_prompt - 1) // size)
            published, known = len(hits), len(hits) * size
            partial = self.shelf.partial(text, known) if self.setup.partial_hits else None
            if partial and partial[0] < self.setup.num_pages and partial[0] not in self.fresh:
                partial = (partial[0], min(partial[1], num_prompt - 1 - known))
            if not partial or partial[0] >= self.setup.num_pages or partial[0] in self.fresh or not partial[1]:
                partial = None
            known += partial[1] if partial else 0
            num_holes = self.behind(known)
            hits[:num_holes] = [HOLE] * num_holes
        num_tokens = min(num_prompt, known + budget)
        references = self.references()
        in_use = [page for page in hits if page != HOLE and references[page]]
        cost = self.pages_for(num_tokens) - num_holes - len(in_use)
        return Wanted(known, num_tokens, hits, published, partial, cost)

    def must_copy(self, name: int, num_tokens: int) -> bool:
        entry = self.entries[name]
        partial = entry.num_tokens % self.setup.page_size != 0
        return num_tokens > entry.num_tokens and partial and self.references()[entry.pages[-1]] > 1

    def pages_needed(self, name: int, num_tokens: int) -> int:
        return self.pages_for(num_tokens) - len(self.entries[name].pages) + int(self.must_copy(name, num_tokens))

    # Changes

    def begin_step(self) -> None:
        if self.setup.manager == "computed":
            for name in list(self.offers):
                self._publish_offer(name)
        self.fresh = {entry.target for entry in self.log if isinstance(entry, Copied)}
        self.counted = (0, 0)

    def admit(self, name: int, text: Text, budget: int, retention: Sequence[Retention]) -> tuple[int, int]:
        want, is_back = self.wanted(name, text, budget), name in self.swapped
        self.num_prompt[name] = len(text.tokens)
        if name in self.away:
            self.seen["remapped"] += 1
            self.entries[name] = entry = self.away.pop(name)
            entry.text = text
            pages, _ = self.swapped[name]
            entry.pages = []
        else:
            entry = self._enter(name, text, want.hits, want.published, retention, want.partial)
        if is_back:
            pages, _ = self.swapped[name]
            for host_page in pages[len(want.hits) :]:
                entry.pages.append(HOLE if host_page == HOLE else self._take())
                if host_page != HOLE:
                    self._copy(host_page, entry.pages[-1])
            self._drop_swapped(name)
            if HOLE in pages and self.setup.manager != "logical":
                entry.place = None
        elif self.setup.cache != "none":
            self._count(len(text.tokens), want.known)
        self._grow(entry, max(want.num_tokens, want.known if is_back else 0))
        return want.known, entry.num_tokens

    def pin(self, name: int, text: Text) -> int:
        hits = self.pins(text)
        entry = self._enter(name, text, hits, len(hits), (), None)
        entry.is_pin, entry.num_tokens = True, len(hits) * self.setup.page_size
        return entry.num_tokens

    def pins(self, text: Text) -> list[int]:
        """The pages that a pin of ``text`` would hold."""
        return self.shelf.match(text, len(text.tokens) // self.setup.page_size)

    def extend(self, name: int, text: Text, num_tokens: int) -> None:
        entry = self.entries[name]
        entry.text = text
        if self.must_copy(name, num_tokens):
            shared, own = entry.pages[-1], self._take()
            self._copy(shared, own)
            entry.pages[-1] = own
            self._settle(shared, name)
            self.stats["copies"] += 1
        self._grow(entry, num_tokens)

    def truncate(self, name: int, num_tokens: int) -> None:
        entry = self.entries[name]
        while len(entry.pages) > self.pages_for(num_tokens):
            self._settle(entry.pages.pop(), name)
        entry.num_tokens = num_tokens

    def slide(self, name: int) -> None:
        entry = self.entries[name]
        if self.setup.manager == "computed" and self.setup.window is not None:
            self._publish_offer(name)
        for logical in range(self.behind(entry.num_tokens)):
            page, entry.pages[logical] = entry.pages[logical], HOLE
            self._settle(page, name)

    def publish(self, name: int, text: Text, num_tokens: int) -> None:
        self.entries[name].text = text
        if self.setup.manager in ("computed", "at the end"):
            self.offers[name] = text, num_tokens
        else:
            self._publish(name, text, num_tokens)

    def _publish_offer(self, name: int) -> None:
        if name in self.offers:
            self._publish(name, *self.offers.pop(name))

    def _publish(self, name: int, text: Text, num_tokens: int) -> None:
        entry, size = self.entries[name], self.setup.page_size
        while entry.place is not None and (entry.published + 1) * size <= num_tokens:
            logical, page = entry.published, entry.pages[entry.published]
            if page == HOLE:
                entry.place = None
                break
            is_known = page in self.shelf.held
            entry.place = self.shelf.publish(entry.place, text, logical, page)
            entry.published += 1
            if not is_known and page in self.shelf.held:
                self.fresh.add(page)
                self._retain(entry, logical)
            elif not is_known and self.setup.manager in ("computed", "at the end") and entry.place is not None:
                self._give_back_duplicate(entry, logical, name)

    def _give_back_duplicate(self, entry: Entry, logical: int, name: int) -> None:
        """Of one content the radix tree keeps one page: what the entry has of its own is not needed."""
        assert entry.place is not None
        (known,) = self.shelf.contents[entry.place[0]].pages
        if known < self.setup.num_pages:
            self.shelf.uses[known].hits += 1
            self.parked.discard(known)
            own, entry.pages[logical] = entry.pages[logical], known
            self.seen["duplicates"] += 1
            self._settle(own, name)

    def fork(self, parent: int, child: int) -> None:
        e = self.entries[parent]
        self.entries[child] = Entry(e.text, list(e.pages), e.num_tokens, e.published, e.place, e.retention)
        self.num_prompt[child] = self.num_prompt[parent]

    def release(self, name: int) -> None:
        entry = self.entries[name]
        if name in self.offers:
            text, num_tokens = self.offers[name]
            if self.setup.manager == "at the end":
                self.offers[name] = text, min(num_tokens, self.num_prompt[name])
            self._publish_offer(name)
        pages = list(entry.pages)
        while entry.pages:
            self._settle(entry.pages.pop(), name)
        del self.entries[name]
        entry.pages = pages

    def can_swap_out(self, name: int) -> bool:
        room = len(self.host_free) + len(self.host_parked)
        held, references = self.entries[name].held, self.references()
        if self.setup.manager == "logical" and any(references[p] > 1 or p in self.shelf.held for p in held):
            return False
        return self.setup.num_host_pages > 0 and len(self.entries[name].held) <= room

    def swap_out(self, name: int) -> None:
        entry, pages = self.entries[name], list[int]()
        for page in entry.pages:
            pages.append(HOLE if page == HOLE else self._take_host())
            if page != HOLE:
                self._copy(page, pages[-1])
        self.release(name)
        self.swapped[name], self.left[name] = (pages, entry.num_tokens), entry.text
        if self.setup.manager == "logical":
            self.away[name] = entry
        self.stats["swaps"] += 1

    def drop_swapped(self, name: int) -> None:
        if name in self.swapped:
            self._drop_swapped(name)

    def abandon_step(self) -> None:
        for name, entry in self.entries.items():
            if entry.is_pin and self.fresh & set(entry.pages):
                while entry.pages:
                    self._settle(entry.pages.pop(), name)
                entry.num_tokens = 0
        for page in sorted(self.fresh):
            if page in self.shelf.held:
                self._forget(page)
        for name, (pages, _) in list(self.swapped.items()):
            if self.fresh & set(pages):
                self._drop_swapped(name)
        self._count(-self.counted[0], -self.counted[1])
        self.fresh.clear()
        self.log.clear()

    def reset(self) -> None:
        for page in sorted(self.shelf.held):
            if page in self.shelf.held:
                self._forget(page)
        self.stats.clear()
        self.counted = (0, 0)

    def _count(self, queried: int, hit: int) -> None:
        self.stats["queried_tokens"] += queried
        self.stats["hit_tokens"] += hit
        self.counted = (self.counted[0] + queried, self.counted[1] + hit)

    # Pages

    def _enter(
        self,
        name: int,
        text: Text,
        hits: list[int],
        published: int,
        retention: Sequence[Retention],
        partial: tuple[int, int] | None,
    ) -> Entry:
        for page in set(hits) - {HOLE}:
            self.shelf.uses[page].hits += 1
            self.parked.discard(page)
            self.host_parked.discard(page)
        entry = Entry(text, list(hits), 0, published, self.shelf.place(text, published), retention)
        self.entries[name] = entry
        copied = None
        if partial:
            copied = self._free_page()
            if copied != partial[0]:  # else it was evicted just now, and its content is where it is wanted
                self._copy(partial[0], copied)
            self.log.append(Blank(copied, partial[1]))
        for logical, page in enumerate(hits):
            if page >= self.setup.num_pages:
                entry.pages[logical] = self._take()
                self._copy(page, entry.pages[logical])
                if page in self.shelf.held:
                    self.shelf.move(page, entry.pages[logical])
                self.host_free.append(page)
                self.stats["returns"] += 1
            if page != HOLE and entry.pages[logical] in self.shelf.held:
                self._retain(entry, logical)
        if copied is not None:
            entry.pages.append(copied)
        return entry

    def _last(self, logical: int) -> int:
        return (logical + 1) * self.setup.page_size - 1

    def _grow(self, entry: Entry, num_tokens: int) -> None:
        while len(entry.pages) < self.pages_for(num_tokens):
            entry.pages.append(self._take())
        entry.num_tokens = num_tokens

    def _copy(self, source: int, target: int) -> None:
        self.log.append(Copied(source, target))
        self.fresh.add(target)

    def _settle(self, page: int, name: int) -> None:
        """The entry of this name has just let go of ``page``."""
        if page != HOLE and not self.references()[page]:
            if page in self.shelf.held:
                self.shelf.uses[page].parked = self.shelf.tick()
                self.shelf.uses[page].left_by = name
                self.parked.add(page)
            else:
                self._line_up(page)

    def _line_up(self, page: int) -> None:
        self.free.insert(0 if self.setup.last_freed_first else len(self.free), page)

    def _take(self) -> int:
        page = self._free_page()
        self.log.append(Blank(page, 0))
        return page

    def _free_page(self) -> int:
        if not self.free:
            page = self.shelf.victim(self.parked)
            left_by = self.shelf.uses[page].left_by
            self._evict(page)
            while self.setup.whole_sequences and self.parked:
                page = self.shelf.victim(self.parked)
                if self.shelf.uses[page].left_by != left_by:
                    break
                self._evict(page)
                self.seen["evicted with others"] += 1
        return self.free.pop(0)

    def _evict(self, page: int) -> None:
        self.stats["evictions"] += 1
        worth_it = self.shelf.uses[page].priority_at(self.clock()) >= self.setup.min_offload_priority
        self.seen["not worth host memory"] += not worth_it and self.setup.num_host_pages > 0
        if not worth_it or (not self.host_free and not self.host_parked):
            self._forget(page)
            return
        target = self._take_host()
        if page not in self.shelf.held:
            self.host_free.append(target)
            return
        self._copy(page, target)
        self.shelf.move(page, target)
        self.shelf.uses[target].parked = self.shelf.tick()
        self.host_parked.add(target)
        self.parked.remove(page)
        self._line_up(page)
        self.stats["offloads"] += 1

    def _take_host(self) -> int:
        if not self.host_free:
            self._forget(self.shelf.victim(self.host_parked))
        return self.host_free.pop(0)

    def _drop_swapped(self, name: int) -> None:
        self.host_free += [page for page in self.swapped.pop(name)[0] if page != HOLE]
        self.away.pop(name, None)

    def _forget(self, page: int) -> None:
        references = self.references()
        for gone in self.shelf.forget(page):
            if gone in self.host_parked:
                self.host_parked.remove(gone)
                self.host_free.append(gone)
            elif gone < self.setup.num_pages and not references[gone]:
                self.parked.remove(gone)
                self._line_up(gone)

    def _retain(self, entry: Entry, logical: int) -> None:
        use = self.shelf.uses[entry.pages[logical]]
        first, last = logical * self.setup.page_size, self._last(logical)
        for wish in entry.retention:
            if wish.start <= last and (wish.stop is None or first < wish.stop):
                use.priority, use.expires = wish.priority, self.clock() + wish.seconds
