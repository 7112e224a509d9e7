"""HashPrefixCache: full pages found by a hash that chains all tokens before them.

The key of a page is ``hash(key of the page before it, its tokens)``, so equal pages after different prefixes have
different keys, and one dictionary serves every sequence (vLLM's automatic prefix caching). A hash is only a hint:
behind each key stands the content itself, compared token by token, so a collision never hits.
"""

from __future__ import annotations

import struct
from bisect import bisect_left, insort
from collections.abc import Callable, Hashable, Iterator, Sequence
from functools import cache
from hashlib import blake2b
from typing import Any, TypeAlias
from weakref import WeakValueDictionary

from pagedlab.errors import InvariantViolation
from pagedlab.memory.prefix_cache import Forgotten, Match, Partial, Salt, closest

Key: TypeAlias = Hashable
#: ``hash_page(key of the parent, tokens of the page) -> key``
PageHash = Callable[[Any, Sequence[int]], Key]


def hash_page(parent: bytes, tokens: Sequence[int]) -> bytes:
    """A 16-byte key for ``tokens`` after ``parent``; the same on every machine and in every run."""
    return blake2b(parent + _packer(len(tokens))(*tokens), digest_size=16).digest()


@cache
def _packer(count: int) -> Callable[..., bytes]:
    return struct.Struct(f"<{count}q").pack


class _Content:
    """What a page can hold: its tokens and, through ``parent``, all tokens before them."""

    __slots__ = ("__weakref__", "children", "key", "pages", "parent", "tokens", "twin")

    def __init__(self, key: Key, tokens: tuple[int, ...], parent: _Content | None) -> None:
        self.key, self.tokens, self.parent = key, tokens, parent
        self.pages: list[int] = []  #: that hold it, the device's first: two sequences may have computed it at once
        self.twin: _Content | None = None  #: another content with the same key, if two ever have one
        self.children: list[_Content] = []  #: contents that continue it, by their tokens; for their sake it stays


class HashPrefixCache:
    """Every copy of a content can be hit, and a running page table is never rewritten."""

    def __init__(self, page_size: int, *, hash_page: PageHash = hash_page) -> None:
        self.page_size = page_size
        self._hash = hash_page
        self._index: dict[Key, _Content] = {}
        self._content: dict[int, _Content] = {}
        # A root lives as long as a content or a running sequence starts from it, so salts do not pile up.
        self._roots: WeakValueDictionary[Salt, _Content] = WeakValueDictionary()

    def match(self, tokens: Sequence[int], max_pages: int, salt: Salt = None) -> Match:
        content, pages, size = self._root(salt), [], self.page_size
        for start in range(0, max_pages * size, size):
            run = tuple(tokens[start : start + size])
            found = self._find(self._hash(content.key, run), content, run)
            if found is None or not found.pages:
                break
            content = found
            pages.append(found.pages[0])
        return Match(pages, content)

    def partial(self, cursor: _Content, following: Sequence[int]) -> Partial | None:
        return closest(cursor.children, tuple(following), _tokens, _first_page)

    def publish(self, cursor: _Content, tokens: Sequence[int], page: int) -> _Content | None:
        if len(tokens) != self.page_size:
            raise InvariantViolation(f"a page with {len(tokens)} of {self.page_size} tokens cannot be published")
        if page in self._content:
            return self._content[page]
        if cursor.parent is not None and not (cursor.pages or cursor.children):
            return None  # what comes before was evicted: nobody could find the way here
        content = self._enter(cursor, tuple(tokens))
        insort(content.pages, page)
        self._content[page] = content
        return content

    def page_before(self, cursor: _Content | None) -> int | None:
        return None if cursor is None else _first_page(cursor)

    def holds(self, page: int) -> bool:
        return page in self._content

    def is_leaf(self, page: int) -> bool:
        return not self._content[page].children

    def move(self, page: int, target: int) -> None:
        content = self._content[target] = self._content.pop(page)
        content.pages.remove(page)
        insort(content.pages, target)

    def forget(self, page: int) -> Forgotten:
        content = self._content.pop(page)
        content.pages.remove(page)
        while content.parent is not None and not content.pages and not content.children:
            first = self._index.pop(content.key)
            if first is not content or content.twin is not None:
                self._keep_twins(first, content)
            siblings = content.parent.children
            if len(siblings) == 1:
                siblings.clear()
            else:
                del siblings[bisect_left(siblings, content.tokens, key=_tokens)]
            content = content.parent
        return _NOTHING_ELSE if content.children or not content.pages else Forgotten(leaves=content.pages)

    def pages(self) -> set[int]:
        return set(self._content)

    def key_of(self, page: int) -> Key | None:
        """The chained key under which ``page`` can be hit."""
        content = self._content.get(page)
        return None if content is None else content.key

    def check(self) -> None:
        for page, content in self._content.items():
            if page not in content.pages or content not in self._twins(content.key):
                raise InvariantViolation(f"page {page} is published but cannot be found under its key")
            if content.parent is None or self._hash(content.parent.key, content.tokens) != content.key:
                raise InvariantViolation(f"the key of page {page} does not chain the tokens before it")
            if content not in content.parent.children:
                raise InvariantViolation(f"what comes before page {page} does not know that it goes on there")
        if sum(len(content.pages) for key in self._index for content in self._twins(key)) != len(self._content):
            raise InvariantViolation("the index names pages that were forgotten")

    def _root(self, salt: Salt) -> _Content:
        root = self._roots.get(salt)
        if root is None:
            root = self._roots[salt] = _Content(blake2b(repr(salt).encode(), digest_size=16).digest(), (), None)
        return root

    def _enter(self, parent: _Content, tokens: tuple[int, ...]) -> _Content:
        key = self._hash(parent.key, tokens)
        content = self._find(key, parent, tokens)
        if content is None:
            content = _Content(key, tokens, parent)
            content.twin = self._index.get(key)
            self._index[key] = content
            if parent.children:
                insort(parent.children, content, key=_tokens)
            else:
                parent.children.append(content)
        return content

    def _find(self, key: Key, parent: _Content, tokens: tuple[int, ...]) -> _Content | None:
        content = self._index.get(key)
        while content is not None and (content.parent is not parent or content.tokens != tokens):
            content = content.twin
        return content

    def _twins(self, key: Key) -> Iterator[_Content]:
        content = self._index.get(key)
        while content is not None:
            yield content
            content = content.twin

    def _keep_twins(self, first: _Content, gone: _Content) -> None:
        """Of all contents with a key, ``first`` and those after it, all stay but ``gone``."""
        if first is gone:
            assert gone.twin is not None
            self._index[gone.key] = gone.twin
        else:
            self._index[gone.key] = first
            before = next(content for content in self._twins(gone.key) if content.twin is gone)
            before.twin = gone.twin


_NOTHING_ELSE = Forgotten()


def _tokens(content: _Content) -> tuple[int, ...]:
    return content.tokens


def _first_page(content: _Content) -> int | None:
    return content.pages[0] if content.pages else None
