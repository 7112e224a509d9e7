"""LMDeploy's and SGLang's ways of a sequence with its pages, where ours are others, on top of our cache manager."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pagedlab.memory.eviction import Retention
from pagedlab.memory.manager import Admission, CacheManager
from pagedlab.memory.prefix_cache import Salt


class OnePageAContent(CacheManager):
    """A full page that is computed a second time is given back, and the table names the one that can be hit.

    In ours a sequence keeps what it has computed to its end.
    """

    def __init__(self, *arguments: Any, **knobs: Any) -> None:
        super().__init__(*arguments, **knobs)
        self._salts: dict[int, Salt] = {}

    def admit(
        self,
        sequence: int,
        tokens: Sequence[int],
        budget: int | None = None,
        salt: Salt = None,
        retention: Sequence[Retention] = (),
    ) -> Admission:
        self._salts[sequence] = salt
        return super().admit(sequence, tokens, budget, salt, retention)

    def publish(self, sequence: int, tokens: Sequence[int], num_tokens: int) -> None:
        super().publish(sequence, tokens, num_tokens)
        table = self.table(sequence)
        full = num_tokens // self.page_size
        for logical, known in enumerate(self.prefix_cache.match(tokens, full, self._salts[sequence]).pages):
            own = table.pages[logical]
            if own != known:
                self.store.claim(known)
                table.replace(logical, known)
                self.store.drop(own, sequence, logical)


class LikeLMDeploy(OnePageAContent):
    """Decoded pages can be hit when the next one is taken; in ours, from the step on that fills them."""

    def __init__(self, *arguments: Any, **knobs: Any) -> None:
        super().__init__(*arguments, **knobs)
        self._had: dict[int, int] = {}  #: pages that a sequence had when it last published

    def publish(self, sequence: int, tokens: Sequence[int], num_tokens: int) -> None:
        has = len(self.table(sequence))
        if self._had.get(sequence) != has:
            self._had[sequence] = has
            super().publish(sequence, tokens, num_tokens)


class LikeSGLang(OnePageAContent):
    """Eviction by nodes, as long as they were inserted or as matches have cut them; in ours, page by page.

    A match that ends inside a node cuts it, and both parts count as used just now; in ours nothing happens to what was
    not hit. A prompt can be hit when it is computed, the output when the sequence ends; in ours, page by page.
    """

    def __init__(self, *arguments: Any, **knobs: Any) -> None:
        super().__init__(*arguments, **knobs)
        self._nodes: dict[int, tuple[int, int]] = {}  #: page -> its node, and its place in the prompt
        self._num_nodes = 0
        self._output: dict[int, tuple[Sequence[int], int]] = {}  #: tokens, and how many of them

    def admit(
        self,
        sequence: int,
        tokens: Sequence[int],
        budget: int | None = None,
        salt: Salt = None,
        retention: Sequence[Retention] = (),
    ) -> Admission:
        found = self._match(tokens, salt).pages
        self._cut_after(found)
        self.pin(-1, tokens[: len(found) * self.page_size], salt)
        self._make_room(self.pages_for(len(tokens)) - len(found))
        admitted = super().admit(sequence, tokens, budget, salt, retention)
        self.release(-1)
        return admitted

    def extend(self, sequence: int, num_tokens: int) -> None:
        self._make_room(self.pages_needed(sequence, num_tokens))
        super().extend(sequence, num_tokens)

    def publish(self, sequence: int, tokens: Sequence[int], num_tokens: int) -> None:
        if sequence not in self._output:
            self._insert(sequence, tokens, num_tokens)
        self._output[sequence] = tokens, num_tokens

    def release(self, sequence: int) -> None:
        if sequence in self._output:
            self._insert(sequence, *self._output.pop(sequence))
        super().release(sequence)

    def _insert(self, sequence: int, tokens: Sequence[int], num_tokens: int) -> None:
        before = self.prefix_cache.pages()
        self._cut_after(self.prefix_cache.match(tokens, num_tokens // self.page_size, self._salts[sequence]).pages)
        super().publish(sequence, tokens, num_tokens)
        self._num_nodes += 1
        for place, page in enumerate(self.table(sequence).pages):
            if self.prefix_cache.holds(page) and page not in before:
                self._nodes[page] = self._num_nodes, place

    def _cut_after(self, path: Sequence[int]) -> None:
        if not path:
            return
        node, last = self._nodes[path[-1]]
        rest = {page: place for page, place in self._pages_of(node).items() if place > last}
        self._num_nodes += 1
        for page in sorted(rest, key=rest.__getitem__, reverse=True):
            self._nodes[page] = self._num_nodes, rest[page]
            if page in self.store.queue.parked_pages():
                self.store.queue.park(page)

    def _make_room(self, pages: int) -> None:
        while self.pool.num_free < pages:
            node, _ = self._nodes[self.store.queue.next()]
            places = self._pages_of(node)
            self.store.forget(min(places, key=places.__getitem__))  # all that follow it go with it

    def _pages_of(self, node: int) -> dict[int, int]:
        """Pages of a node that can be hit, and their places."""
        entries = self._nodes.items()
        return {page: place for page, (of, place) in entries if of == node and self.prefix_cache.holds(page)}
