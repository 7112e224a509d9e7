"""What the books know of content: which prefixes are published, in which pages, and which of these goes first.

Shares no code with pagedlab.memory and never hashes: a content is named by the number of its whole prefix
(see kv_memory.Prefixes), and every question is answered by walking over everything.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from tests.memory.kv_memory import Text

#: A sequence's place among the contents: after this one, as it was born then. None: it can publish nothing more.
Place = tuple[int, int] | None

PLAIN = 35  #: the priority of a page that nobody asked to keep


@dataclass
class Content:
    birth: int
    before: int  #: the prefix that it continues
    run: list[int]
    pages: list[int] = field(default_factory=list)  #: the device's first


@dataclass
class Use:
    published: int
    parked: int = 0
    left_by: int = -1
    hits: int = 0
    priority: int = PLAIN
    expires: float = math.inf

    def priority_at(self, now: float) -> int:
        return self.priority if now < self.expires else PLAIN


ORDERS: dict[str, Callable[[Use, float], Any]] = {
    "lru": lambda use, now: use.parked,
    "lfu": lambda use, now: (use.hits, use.parked),
    "fifo": lambda use, now: use.published,
    "priority": lambda use, now: (use.priority_at(now), use.parked),
}


class Shelf:
    """``kind``: none, hash or radix. A radix tree keeps one page of a content, and nothing beyond a lost page."""

    def __init__(self, page_size: int, kind: str, order: str, leaves_first: bool, clock: Callable[[], float]) -> None:
        self.page_size, self.kind, self.order, self.leaves_first = page_size, kind, order, leaves_first
        self.clock = clock
        self.contents: dict[int, Content] = {}
        self.held: dict[int, int] = {}  #: page -> the prefix that its last slot ends
        self.uses: dict[int, Use] = {}
        self._tick = 0

    def tick(self) -> int:
        self._tick += 1
        return self._tick

    def match(self, text: Text, max_pages: int) -> list[int]:
        """The pages that hold the first tokens, at most so many."""
        pages: list[int] = []
        while len(pages) < max_pages:
            content = self.contents.get(text.ends[(len(pages) + 1) * self.page_size])
            if content is None or not content.pages:
                break
            pages.append(content.pages[0])
        return pages

    def partial(self, text: Text, start: int) -> tuple[int, int] | None:
        """Of the pages that go on where ``start`` tokens end: the one that is most alike, and how far."""
        ahead = text.tokens[start : start + self.page_size]
        rivals = [c for c in self.contents.values() if c.pages and c.before == text.ends[start]]
        above = min((c for c in rivals if c.run >= ahead), key=lambda c: c.run, default=None)
        below = max((c for c in rivals if c.run < ahead), key=lambda c: c.run, default=None)
        best = None
        for content in (above, below):
            if content is not None:
                alike = [i for i, (ours, theirs) in enumerate(zip(content.run, ahead, strict=False)) if ours != theirs]
                shared = alike[0] if alike else min(len(content.run), len(ahead))
                if shared > (best[1] if best else 0):
                    best = (content.pages[0], shared)
        return best

    def place(self, text: Text, num_pages: int) -> Place:
        """Where a sequence that hit so many pages goes on."""
        if self.kind == "none":
            return None
        if num_pages == 0:
            return (text.ends[0], 0)
        prefix = text.ends[num_pages * self.page_size]
        return (prefix, self.contents[prefix].birth)

    def publish(self, place: tuple[int, int], text: Text, logical: int, page: int) -> Place:
        """``page`` holds the page of ``text`` after ``place``."""
        before, prefix = text.ends[logical * self.page_size], text.ends[(logical + 1) * self.page_size]
        assert place[0] == before, "the books contradict themselves"
        if logical and (before not in self.contents or self.contents[before].birth != place[1]):
            return None
        if prefix not in self.contents:
            run = text.tokens[logical * self.page_size : (logical + 1) * self.page_size]
            self.contents[prefix] = Content(self.tick(), before, run)
        content = self.contents[prefix]
        if page not in content.pages and (self.kind == "hash" or not content.pages):
            content.pages = sorted([*content.pages, page])
            self.held[page] = prefix
            self.uses[page] = Use(self.tick())
        return (prefix, content.birth)

    def move(self, page: int, target: int) -> None:
        prefix = self.held[target] = self.held.pop(page)
        content = self.contents[prefix]
        content.pages = sorted({*content.pages, target} - {page})
        self.uses[target] = self.uses.pop(page)

    def forget(self, page: int) -> list[int]:
        """Returns all pages that are lost with this one, itself first."""
        prefix = self.held[page]
        self.contents[prefix].pages.remove(page)
        lost = [page]
        if self.kind == "radix":
            doomed = [prefix]
            for one in doomed:
                doomed += [p for p, content in self.contents.items() if content.before == one]
                lost += sorted(self.contents.pop(one).pages)
            lost[1:] = sorted(lost[1:])
        while True:  # a content without pages stays for the sake of those that continue it
            idle = [p for p, c in self.contents.items() if not c.pages and not self._goes_on(p)]
            if not idle:
                break
            for one in idle:
                del self.contents[one]
        for gone in lost:
            del self.held[gone], self.uses[gone]
        return lost

    def victim(self, parked: Iterable[int]) -> int:
        """Of these pages, the one to go first."""
        now = self.clock()

        def key(page: int) -> Any:
            use = self.uses[page]
            own = ORDERS[self.order](use, now), use.parked, page
            return (self._goes_on(self.held[page]), own) if self.leaves_first else own

        return min(parked, key=key)

    def _goes_on(self, prefix: int) -> bool:
        return any(content.before == prefix for content in self.contents.values())
