"""Which cached page is given up first.

Every page whose content can be hit has a ``PageUse``: what an eviction order may look at. An order is a function from
it to a key, and the page with the smallest key goes first. Sources: LRU and LFU are older than caches in software;
priorities with an expiry are TensorRT-LLM's retention, leaves first is SGLang's radix cache.
"""

from __future__ import annotations

import heapq
import math
import time
from collections import deque
from collections.abc import Callable, Set
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

from pagedlab.errors import InvalidConfig
from pagedlab.memory.events import NONE

#: Of pages that nobody asked to keep longer, or shorter, than others. From 0 (first to go) to 100.
DEFAULT_PRIORITY = 35


@dataclass(slots=True)
class PageUse:
    """Moments are counted in events of the queue, not in seconds."""

    published: int
    parked: int = 0  #: when the last sequence that used it left
    left_by: int = NONE  #: that sequence
    hits: int = 0
    priority: int = DEFAULT_PRIORITY
    expires: float = math.inf  #: the second at which its priority falls back to the default
    is_leaf: bool = True  #: no known page continues it. An order may let leaves go sooner, never later


#: ``order(use) -> key``: the parked page with the smallest key is evicted first.
EvictionOrder = Callable[[PageUse], Any]


class Retention(NamedTuple):
    """A wish to keep the pages of tokens ``start`` to ``stop`` of a request longer, or shorter, than others."""

    priority: int  #: 0 to 100; 35 is everybody's
    start: int = 0
    stop: int | None = None  #: None: to the end, generated tokens included
    seconds: float = math.inf  #: how long the wish holds


def least_recently_used(use: PageUse) -> int:
    return use.parked


def least_frequently_used(use: PageUse) -> tuple[int, int]:
    return use.hits, use.parked


def first_in_first_out(use: PageUse) -> int:
    return use.published


def lowest_priority(use: PageUse) -> tuple[int, int]:
    """By retention priority; the least recently used among equals."""
    return use.priority, use.parked


def leaves_first(order: EvictionOrder) -> EvictionOrder:
    """A page goes before the pages that it continues: without these it could never be hit."""

    def key(use: PageUse) -> tuple[bool, Any]:
        return not use.is_leaf, order(use)

    return key


EVICTION_ORDERS: dict[str, EvictionOrder] = {
    "lru": least_recently_used,
    "lfu": least_frequently_used,
    "fifo": first_in_first_out,
    "priority": lowest_priority,
}


def eviction_order(choice: str | EvictionOrder) -> EvictionOrder:
    if not isinstance(choice, str):
        return choice
    if choice not in EVICTION_ORDERS:
        raise InvalidConfig(f"eviction={choice!r} was asked for; there are {', '.join(EVICTION_ORDERS)} and functions")
    return EVICTION_ORDERS[choice]


#: The order's key of a page; when it was parked, which settles ties; the page. (A NamedTuple takes four times as long.)
_Entry: TypeAlias = tuple[Any, int, int]


class EvictionQueue:
    """Pages whose content can be hit; the parked ones, which nobody uses, stand in line.

    Entries are never sought in the line: a page that is hit or re-labelled leaves its entry behind, and a stale one is
    dropped when it comes up. Whoever belongs behind all others, as everybody does under LRU, joins the line at its
    end, at O(1); those who belong further ahead are kept in a heap, at O(log n), amortised.
    """

    def __init__(
        self,
        order: EvictionOrder,
        is_leaf: Callable[[int], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._order, self._is_leaf, self._clock = order, is_leaf, clock
        self._minds_leaves = order not in EVICTION_ORDERS.values()
        self._uses: dict[int, PageUse] = {}
        self._parked: dict[int, _Entry] = {}
        self._line: deque[_Entry] = deque()  #: in order
        self._ahead: list[_Entry] = []  #: a heap
        self._expiries: list[tuple[float, int]] = []
        self._now = 0

    def learn(self, page: int, use: PageUse | None = None) -> None:
        """``page`` can be hit from now on; ``use`` is what is known of its content from another tier."""
        self._now += 1
        self._uses[page] = use or PageUse(self._now)
        self._await_expiry(page)

    def forget(self, page: int) -> PageUse:
        self._parked.pop(page, None)
        return self._uses.pop(page)

    def hit(self, page: int) -> None:
        """Somebody uses ``page``, who found it: it must not be evicted until it is parked again."""
        self._uses[page].hits += 1
        self._parked.pop(page, None)

    def park(self, page: int, left_by: int | None = None) -> None:
        """Nobody uses ``page`` any more; ``left_by`` was the last who did (None: whoever it was before)."""
        self._now += 1
        use = self._uses[page]
        if left_by is not None:
            use.left_by = left_by
        use.parked, use.is_leaf = self._now, True  # if not, that will be seen when its turn comes
        self._put(page, use)

    def retain(self, page: int, priority: int, seconds: float) -> None:
        use = self._uses[page]
        use.priority, use.expires = priority, self._clock() + seconds
        self._await_expiry(page)

    def refresh(self, page: int) -> None:
        """It has become a leaf, or is one no more; whether the page is parked does not matter."""
        if self._minds_leaves and page in self._parked:
            self._look_again(page)

    def next(self) -> int:
        """The parked page that is to be evicted now. There is one: the pool counts cached pages."""
        self._expire()
        while True:
            ahead = not self._line or (bool(self._ahead) and self._ahead[0] < self._line[0])
            entry = self._ahead[0] if ahead else self._line[0]
            page = entry[-1]
            if self._parked.get(page) is not entry:
                if ahead:
                    heapq.heappop(self._ahead)
                else:
                    self._line.popleft()
            elif self._minds_leaves and self._uses[page].is_leaf != self._is_leaf(page):
                self._look_again(page)
            else:
                return page

    def use_of(self, page: int) -> PageUse:
        return self._uses[page]

    def parked_pages(self) -> Set[int]:
        return self._parked.keys()

    def in_order(self) -> list[int]:
        """Parked pages, next victim first."""
        self._expire()
        for page in self._parked:
            self._look_again(page)
        return [page for *_, page in sorted(self._parked.values())]

    def _look_again(self, page: int) -> None:
        use = self._uses[page]
        use.is_leaf = self._is_leaf(page)
        self._put(page, use)

    def _put(self, page: int, use: PageUse) -> None:
        entry = (self._order(use), use.parked, page)
        self._parked[page] = entry
        if len(self._line) + len(self._ahead) > 2 * len(self._parked) + 64:  # mostly stale
            self._line, self._ahead = deque(sorted(self._parked.values())), []
        elif not self._line or self._line[-1] < entry:
            self._line.append(entry)
        else:
            heapq.heappush(self._ahead, entry)

    def _await_expiry(self, page: int) -> None:
        if self._uses[page].expires == math.inf:
            return
        if len(self._expiries) > 2 * len(self._uses) + 64:  # mostly stale
            self._expiries = [(use.expires, page) for page, use in self._uses.items() if use.expires < math.inf]
            heapq.heapify(self._expiries)
        else:
            heapq.heappush(self._expiries, (self._uses[page].expires, page))

    def _expire(self) -> None:
        now = self._clock() if self._expiries else 0.0
        while self._expiries and self._expiries[0][0] <= now:
            moment, page = heapq.heappop(self._expiries)
            use = self._uses.get(page)
            if use is not None and use.expires == moment:
                use.priority, use.expires = DEFAULT_PRIORITY, math.inf
                if page in self._parked:
                    self._look_again(page)
