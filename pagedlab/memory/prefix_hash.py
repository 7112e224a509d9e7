"""HashPrefixCache: full pages found by a hash that chains all tokens before them.

The key of a page is ``hash(key of the page before it, its tokens)``, so equal pages after different prefixes have
different keys, and one dictionary serves every sequence (vLLM's automatic prefix caching). A hash is only a hint:
behind each key stands the content itself, compared token by token, so a collision never hits.
"""

from __future__ import annotations

import struct
from collections import OrderedDict
from collections.abc import Callable, Sequence, Set
from hashlib import blake2b
from weakref import WeakValueDictionary

from pagedlab.errors import InvariantViolation
from pagedlab.memory.prefix_cache import Match, Salt

#: ``hash_page(key of the parent, tokens of the page) -> key``
PageHash = Callable[[bytes, Sequence[int]], bytes]


def hash_page(parent: bytes, tokens: Sequence[int]) -> bytes:
    """A 16-byte key for ``tokens`` after ``parent``; the same on every machine and in every run."""
    return blake2b(parent + struct.pack(f"<{len(tokens)}q", *tokens), digest_size=16).digest()


class _Content:
    """What a page can hold: its tokens and, through ``parent``, all tokens before them."""

    __slots__ = ("__weakref__", "children", "key", "pages", "parent", "tokens")

    def __init__(self, key: bytes, tokens: tuple[int, ...], parent: _Content | None) -> None:
        self.key, self.tokens, self.parent = key, tokens, parent
        self.pages: list[int] = []  #: physical copies of it, oldest first: two sequences may have computed it at once
        self.children = 0  #: contents that continue this one; while there are any it stays, for their sake


class HashPrefixCache:
    """Evicts the least recently used page. A sequence parks its tail before its head, so tails go first."""

    def __init__(self, page_size: int, *, hash_page: PageHash = hash_page) -> None:
        self.page_size = page_size
        self._hash = hash_page
        self._index: dict[bytes, list[_Content]] = {}
        self._content: dict[int, _Content] = {}
        self._parked: OrderedDict[int, None] = OrderedDict()
        # A root lives as long as a content or a running sequence starts from it, so salts do not pile up.
        self._roots: WeakValueDictionary[Salt, _Content] = WeakValueDictionary()

    def match(self, tokens: Sequence[int], max_pages: int, salt: Salt = None) -> Match:
        content, pages, size = self._root(salt), [], self.page_size
        for start in range(0, max_pages * size, size):
            found = self._find(content, tuple(tokens[start : start + size]))
            if found is None or not found.pages:
                break
            content = found
            pages.append(found.pages[0])
        return Match(pages, content)

    def publish(self, cursor: _Content, tokens: Sequence[int], page: int) -> _Content:
        if len(tokens) != self.page_size:
            raise InvariantViolation(f"a page with {len(tokens)} of {self.page_size} tokens cannot be published")
        if page in self._content:
            return self._content[page]
        content = self._enter(self._findable(cursor), tuple(tokens))
        content.pages.append(page)
        self._content[page] = content
        return content

    def holds(self, page: int) -> bool:
        return page in self._content

    def park(self, page: int) -> None:
        self._parked[page] = None

    def claim(self, page: int) -> None:
        del self._parked[page]

    def evict(self) -> int:
        page = next(iter(self._parked))
        self.forget(page)
        return page

    def forget(self, page: int) -> None:
        content = self._content.pop(page)
        content.pages.remove(page)
        self._parked.pop(page, None)
        while content.parent is not None and not content.pages and not content.children:
            twins = self._index[content.key]
            twins.remove(content)
            if not twins:
                del self._index[content.key]
            content = content.parent
            content.children -= 1

    def eviction_order(self) -> list[int]:
        """Parked pages, next victim first."""
        return list(self._parked)

    def key_of(self, page: int) -> bytes | None:
        """The chained key under which ``page`` can be hit."""
        content = self._content.get(page)
        return None if content is None else content.key

    def check(self, cached: Set[int]) -> None:
        for page, content in self._content.items():
            if page not in content.pages or content not in self._index.get(content.key, ()):
                raise InvariantViolation(f"page {page} is published but cannot be found under its key")
            if content.parent is None or self._hash(content.parent.key, content.tokens) != content.key:
                raise InvariantViolation(f"the key of page {page} does not chain the tokens before it")
        if sum(len(content.pages) for twins in self._index.values() for content in twins) != len(self._content):
            raise InvariantViolation("the index names pages that were forgotten")
        if not self._parked.keys() <= self._content.keys():
            raise InvariantViolation("a parked page has no content")
        if self._parked.keys() != cached:
            raise InvariantViolation(f"pages {sorted(self._parked.keys() ^ cached)} are cached or parked, but not both")

    def _root(self, salt: Salt) -> _Content:
        root = self._roots.get(salt)
        if root is None:
            root = self._roots[salt] = _Content(blake2b(repr(salt).encode(), digest_size=16).digest(), (), None)
        return root

    def _findable(self, content: _Content) -> _Content:
        """``content``, or its like: every page of it may have been forgotten while a running sequence stood there."""
        lost = []
        while content.parent is not None and not content.pages and not content.children:
            lost.append(content.tokens)
            content = content.parent
        for tokens in reversed(lost):
            content = self._enter(content, tokens)
        return content

    def _enter(self, parent: _Content, tokens: tuple[int, ...]) -> _Content:
        content = self._find(parent, tokens)
        if content is None:
            content = _Content(self._hash(parent.key, tokens), tokens, parent)
            self._index.setdefault(content.key, []).append(content)
            parent.children += 1
        return content

    def _find(self, parent: _Content, tokens: tuple[int, ...]) -> _Content | None:
        for content in self._index.get(self._hash(parent.key, tokens), ()):
            if content.parent is parent and content.tokens == tokens:
                return content
        return None
