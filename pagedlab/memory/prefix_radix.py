"""RadixPrefixCache: full pages found by walking a tree whose edges are runs of pages (SGLang's RadixAttention).

What prompts have in common is stored once; where they part, an edge is split. Splits fall between pages, whatever the
page size, for a page is what can be shared. One content has one page: a sequence that computed the same keeps its own
page to itself. Nothing here is locked: a page that somebody uses has a reference in the pool and is not evicted, and
an eviction order that is wrapped in ``leaves_first`` takes no page before those that continue it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import NamedTuple
from weakref import WeakValueDictionary

from pagedlab.errors import InvariantViolation
from pagedlab.memory.prefix_cache import Forgotten, Match, Partial, Salt, closest, shared_run

Run = tuple[int, ...]  #: the tokens of one page


class Edge(NamedTuple):
    """An edge of the tree as others see it."""

    parent: int | None  #: the number, in the list, of the edge that it continues; None: it begins a prompt
    pages: list[int]  #: in the order of the tokens
    runs: list[Run]  #: what each of the pages holds


class _Entry(NamedTuple):
    run: Run
    page: int
    stamp: int  #: when it was published: no two entries that ever were have the same


class _Node:
    """An edge and what it leads to: entries ``start`` to ``stop``, counted in pages from the root, and children."""

    __slots__ = ("__weakref__", "children", "entries", "parent", "start")

    def __init__(self, parent: _Node | None, start: int, entries: list[_Entry]) -> None:
        self.parent, self.start, self.entries = parent, start, entries
        self.children: list[_Node] = []  #: by their first run; no two begin with the same

    @property
    def stop(self) -> int:
        return self.start + len(self.entries)

    def place(self, run: Run) -> int:
        """Where among the children one that begins with ``run`` stands, or would."""
        return bisect_left(self.children, run, key=_first_run)

    def child(self, run: Run) -> _Node | None:
        at = self.place(run)
        return self.children[at] if at < len(self.children) and _first_run(self.children[at]) == run else None

    def below(self) -> Iterator[_Node]:
        """All nodes beyond this one, parents first. (Long conversations make deep trees: no recursion.)"""
        ahead = list(self.children)
        while ahead:
            node = ahead.pop()
            yield node
            ahead += node.children


class _Cursor(NamedTuple):
    """After ``depth`` pages, the last of them in ``node``, or by now above it: splits leave the tail its identity."""

    node: _Node
    depth: int
    stamp: int  #: of the last entry before it; 0 at the root


class RadixPrefixCache:
    def __init__(self, page_size: int) -> None:
        self.page_size = page_size
        self._where: dict[int, tuple[_Node, int]] = {}  #: page -> its node, and its depth from the root
        # A root lives as long as an entry or a running sequence needs it, so salts do not pile up.
        self._roots: WeakValueDictionary[Salt, _Node] = WeakValueDictionary()
        self._stamp = 0

    def match(self, tokens: Sequence[int], max_pages: int, salt: Salt = None) -> Match:
        root = self._roots.get(salt)
        if root is None:
            root = self._roots[salt] = _Node(None, 0, [])
        node, depth, pages = root, 0, list[int]()
        while depth < max_pages:
            entry = self._next(node, depth, self._run(tokens, depth))
            if entry is None:
                break
            node = entry
            pages.append(node.entries[depth - node.start].page)
            depth += 1
        return Match(pages, _cursor(node, depth))

    def partial(self, cursor: _Cursor, following: Sequence[int]) -> Partial | None:
        node, depth = cursor.node, cursor.depth
        if depth == node.stop:
            return closest(node.children, tuple(following), _first_run, _first_page)
        entry = node.entries[depth - node.start]
        shared = shared_run(entry.run, following)
        return Partial(entry.page, shared) if shared else None

    def publish(self, cursor: _Cursor, tokens: Sequence[int], page: int) -> _Cursor | None:
        if len(tokens) != self.page_size:
            raise InvariantViolation(f"a page with {len(tokens)} of {self.page_size} tokens cannot be published")
        node, depth, run = _resolve(cursor), cursor.depth, tuple(tokens)
        if node is None:  # what comes before was evicted: nobody could find the way here
            return None
        following = self._next(node, depth, run)
        if following is None:
            following = self._add(node, depth, run, page)
        return _cursor(following, depth + 1)

    def page_before(self, cursor: _Cursor | None) -> int | None:
        node = None if cursor is None else _resolve(cursor)
        return None if cursor is None or node is None else node.entries[cursor.depth - node.start - 1].page

    def holds(self, page: int) -> bool:
        return page in self._where

    def is_leaf(self, page: int) -> bool:
        node, depth = self._where[page]
        return depth + 1 == node.stop and not node.children

    def move(self, page: int, target: int) -> None:
        node, depth = self._where[target] = self._where.pop(page)
        node.entries[depth - node.start] = node.entries[depth - node.start]._replace(page=target)

    def forget(self, page: int) -> Forgotten:
        node, depth = self._where[page]
        at = depth - node.start
        if at == 0 and node.parent is not None:
            del node.parent.children[node.parent.place(_first_run(node))]
        gone = node.entries[at:]
        del node.entries[at:]
        for lost in list(node.below()):
            gone += lost.entries
            lost.entries, lost.children = [], []  # a cursor that still points here finds its entry missing
        node.children = []
        for entry in gone:
            del self._where[entry.page]
        if at == 0 and node.parent is not None:
            node = node.parent
        leaves = [node.entries[-1].page] if node.entries and not node.children else []
        return Forgotten([entry.page for entry in gone[1:]], leaves)

    def pages(self) -> set[int]:
        return set(self._where)

    def edges(self, salt: Salt = None) -> list[Edge]:
        """All edges of one salt's tree: each before those that continue it, siblings in the order of their tokens."""
        root, edges = self._roots.get(salt), list[Edge]()
        ahead: list[tuple[_Node, int | None]] = [(node, None) for node in reversed(root.children)] if root else []
        while ahead:
            node, parent = ahead.pop()
            ahead += [(child, len(edges)) for child in reversed(node.children)]
            edges.append(Edge(parent, [entry.page for entry in node.entries], [entry.run for entry in node.entries]))
        return edges

    def check(self) -> None:
        seen: dict[int, tuple[_Node, int]] = {}
        for salt, root in self._roots.items():
            if root.start or root.entries or root.parent:
                raise InvariantViolation(f"the root of salt {salt!r} is an edge")
            for node in (root, *root.below()):
                if any(not child.entries for child in node.children):
                    raise InvariantViolation(f"an edge at depth {node.stop} is empty")
                firsts = [_first_run(child) for child in node.children]
                if firsts != sorted(set(firsts)):
                    raise InvariantViolation(f"children at depth {node.stop} are out of order, or begin alike")
                if any(child.parent is not node or child.start != node.stop for child in node.children):
                    raise InvariantViolation(f"a child at depth {node.stop} does not hang where its parent ends")
                for depth, entry in enumerate(node.entries, start=node.start):
                    if len(entry.run) != self.page_size or entry.page in seen:
                        raise InvariantViolation(f"page {entry.page} stands twice in the tree, or is not full")
                    seen[entry.page] = (node, depth)
        if seen != self._where:
            raise InvariantViolation(f"pages {sorted(seen.keys() ^ self._where.keys())} are not where they should be")

    def _run(self, tokens: Sequence[int], depth: int) -> Run:
        return tuple(tokens[depth * self.page_size : (depth + 1) * self.page_size])

    def _next(self, node: _Node, depth: int, run: Run) -> _Node | None:
        """The node, this one or a child, in which ``run`` follows at ``depth``."""
        if depth == node.stop:
            return node.child(run)
        return node if node.entries[depth - node.start].run == run else None

    def _add(self, node: _Node, depth: int, run: Run, page: int) -> _Node:
        """``run`` follows at ``depth``, where nothing equal does yet. Returns the node that has it."""
        self._stamp += 1
        entry = _Entry(run, page, self._stamp)
        if depth < node.stop:
            node = self._split(node, depth)
        if node.parent is not None and not node.children:  # the end of an edge simply goes on
            node.entries.append(entry)
        else:
            parent, node = node, _Node(node, depth, [entry])
            parent.children.insert(parent.place(run), node)
        self._where[page] = (node, depth)
        return node

    def _split(self, tail: _Node, depth: int) -> _Node:
        """What stands before ``depth`` becomes an edge of its own, which is returned."""
        assert tail.parent is not None
        parent, count = tail.parent, depth - tail.start
        head = _Node(parent, tail.start, tail.entries[:count])
        parent.children[parent.place(_first_run(tail))] = head
        head.children = [tail]
        tail.parent, tail.start, tail.entries = head, depth, tail.entries[count:]
        for at, entry in enumerate(head.entries, start=head.start):
            self._where[entry.page] = (head, at)
        return head


def _first_run(node: _Node) -> Run:
    return node.entries[0].run


def _first_page(node: _Node) -> int:
    return node.entries[0].page


def _cursor(node: _Node, depth: int) -> _Cursor:
    return _Cursor(node, depth, node.entries[depth - node.start - 1].stamp if depth else 0)


def _resolve(cursor: _Cursor) -> _Node | None:
    """The node that has the entry before ``cursor`` (the root at depth 0); None if that was forgotten meanwhile."""
    node, depth, stamp = cursor
    while node.parent is not None and depth <= node.start:
        node = node.parent
    if depth == 0:
        return node
    at = depth - node.start - 1
    return node if at < len(node.entries) and node.entries[at].stamp == stamp else None
