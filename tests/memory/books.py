"""What CacheManager promises, said again with plain lists and no thought of speed.

It shares no code with pagedlab.memory and never hashes: a page's content is named by the number of its whole prefix
(see kv_memory.Prefixes), and every question is answered by walking over everything.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass
class Entry:
    """One sequence as the books know it."""

    prefixes: list[int]  #: for every token, the number of the prefix that ends with it
    pages: list[int] = field(default_factory=list)
    num_tokens: int = 0  #: tokens it has slots for
    offered: int = 0  #: leading pages that it found in the cache or offered to it; none is offered twice


@dataclass
class Books:
    num_pages: int
    page_size: int
    caching: bool
    free: list[int] = field(default_factory=list)  #: next to be handed out first
    cached: list[int] = field(default_factory=list)  #: next to be evicted first
    published: dict[int, int] = field(default_factory=dict)  #: page -> prefix its last slot ends, oldest first
    entries: dict[int, Entry] = field(default_factory=dict)
    queried = hit = evictions = copies = 0

    def __post_init__(self) -> None:
        self.free = list(range(self.num_pages))

    def references(self) -> list[int]:
        """For every page, how often a sequence names it."""
        named = Counter(page for entry in self.entries.values() for page in entry.pages)
        return [named[page] for page in range(self.num_pages)]

    def pages_for(self, num_tokens: int) -> int:
        return (num_tokens + self.page_size - 1) // self.page_size

    # Questions

    def hits(self, prefixes: list[int]) -> list[int]:
        """The pages that a sequence with these prefixes finds: whole ones, and never its last token."""
        found: list[int] = []
        while (len(found) + 1) * self.page_size <= len(prefixes) - 1:
            wanted = prefixes[(len(found) + 1) * self.page_size - 1]
            holders = [page for page, prefix in self.published.items() if prefix == wanted]
            if not holders:
                break
            found.append(holders[0])
        return found

    def can_admit(self, prefixes: list[int], budget: int | None) -> bool:
        hits = self.hits(prefixes)
        fresh = self.pages_for(self._admitted_tokens(prefixes, budget)) - len(hits)
        return fresh <= len(self.free) + len([page for page in self.cached if page not in hits])

    def must_copy(self, name: int, num_tokens: int) -> bool:
        entry = self.entries[name]
        partial = entry.num_tokens % self.page_size != 0
        return num_tokens > entry.num_tokens and partial and self.references()[entry.pages[-1]] > 1

    def pages_needed(self, name: int, num_tokens: int) -> int:
        return self.pages_for(num_tokens) - len(self.entries[name].pages) + int(self.must_copy(name, num_tokens))

    def can_extend(self, name: int, num_tokens: int) -> bool:
        return self.pages_needed(name, num_tokens) <= len(self.free) + len(self.cached)

    # Changes

    def admit(self, name: int, prefixes: list[int], budget: int | None) -> list[int]:
        """Returns the pages that were hit."""
        hits = self.hits(prefixes)
        num_tokens = self._admitted_tokens(prefixes, budget)
        entry = self.entries[name] = Entry(prefixes, list(hits), offered=len(hits))
        self.cached = [page for page in self.cached if page not in hits]
        if self.caching:
            self.queried += len(prefixes)
            self.hit += len(hits) * self.page_size
        self._grow(entry, num_tokens)
        return hits

    def extend(self, name: int, prefixes: list[int], num_tokens: int) -> tuple[int, int] | None:
        """Returns ``(source, target)`` of the copy that must be made."""
        entry, copy = self.entries[name], None
        entry.prefixes = prefixes
        if self.must_copy(name, num_tokens):
            copy = (entry.pages[-1], self._take())
            entry.pages[-1] = copy[1]
            self.copies += 1
        self._grow(entry, num_tokens)
        return copy

    def publish(self, name: int, num_tokens: int) -> None:
        entry = self.entries[name]
        while self.caching and (entry.offered + 1) * self.page_size <= num_tokens:
            prefix = entry.prefixes[(entry.offered + 1) * self.page_size - 1]
            self.published.setdefault(entry.pages[entry.offered], prefix)
            entry.offered += 1

    def fork(self, parent: int, child: int) -> None:
        entry = self.entries[parent]
        self.entries[child] = Entry(list(entry.prefixes), list(entry.pages), entry.num_tokens, entry.offered)

    def release(self, name: int, valid_tokens: int | None) -> None:
        entry = self.entries[name]
        while entry.pages:
            end = len(entry.pages) * self.page_size
            page = entry.pages.pop()
            if valid_tokens is not None and end > valid_tokens:
                self.published.pop(page, None)
            if not self.references()[page]:
                (self.cached if page in self.published else self.free).append(page)
        del self.entries[name]

    def reset(self) -> None:
        self.free += self.cached
        self.cached.clear()
        self.published.clear()
        self.queried = self.hit = self.evictions = self.copies = 0

    def _admitted_tokens(self, prefixes: list[int], budget: int | None) -> int:
        hit = len(self.hits(prefixes)) * self.page_size
        return len(prefixes) if budget is None else min(len(prefixes), hit + budget)

    def _grow(self, entry: Entry, num_tokens: int) -> None:
        while len(entry.pages) < self.pages_for(num_tokens):
            entry.pages.append(self._take())
        entry.num_tokens = num_tokens

    def _take(self) -> int:
        if not self.free:
            victim = self.cached.pop(0)
            del self.published[victim]
            self.evictions += 1
            return victim
        return self.free.pop(0)
