"""Your prefix cache, as an engine calls it.

It is an index: it knows which content each full page holds, and finds pages by it. It never counts references and does
not choose what is evicted; the cache manager tells it. A *cursor* says how far a sequence's tokens are known: here the
key of its last known page (08.chained_hash), or the root, before its first.

    cursor = cache.match(tokens, max_pages, salt).cursor      the longest run of known pages, and where it ends
    cursor = cache.publish(cursor, tokens_of_a_page, page)    this page holds what comes next
    cache.forget(page)                                        it was evicted: it must not be found again

Two pages may come to hold the same content (two requests that computed it in the same step). Keep both: ``holds`` is
true of both, ``match`` may give either, and when one is forgotten the other still serves.

The engine takes it as it is: ``LLM(model, prefix_cache=PrefixCache(16), page_size=16)``.
"""

from collections.abc import Hashable, Sequence
from hashlib import sha256

from pagedlab.errors import InvariantViolation
from pagedlab.learn import solved
from pagedlab.memory.prefix_cache import Forgotten, Match

digest = solved("08.chained_hash").digest


class PrefixCache:
    """Content of full pages, by chained keys."""

    def __init__(self, page_size: int) -> None:
        self.page_size = page_size
        self.by_key: dict[bytes, set[int]] = {}  #: key -> pages that hold this content; never an empty set
        self.key_of: dict[int, bytes] = {}  #: page -> its key

    def match(self, tokens: Sequence[int], max_pages: int, salt: Hashable = None) -> Match:
        """``Match(pages, cursor)``: the known pages that ``tokens`` begins with, ``max_pages`` at most.

        The root is ``sha256(repr(salt).encode()).digest()``, as in 08.chained_hash. Nothing changes.
        """
        raise NotImplementedError("08.prefix_cache: match is yours to write")

    def publish(self, cursor: bytes, tokens: Sequence[int], page: int) -> bytes:
        """``page`` holds ``tokens``, one full page, after ``cursor``. Returns the cursor after it.

        A page that is held already keeps its key.
        """
        raise NotImplementedError("08.prefix_cache: publish is yours to write")

    def holds(self, page: int) -> bool:
        """The content of ``page`` can be hit."""
        raise NotImplementedError("08.prefix_cache: holds is yours to write")

    def forget(self, page: int) -> Forgotten:
        """The content of ``page``, which it holds, must not be hit again. Returns ``Forgotten()``."""
        raise NotImplementedError("08.prefix_cache: forget is yours to write")

    def pages(self) -> set[int]:
        """All pages that it holds."""
        raise NotImplementedError("08.prefix_cache: pages is yours to write")

    # What follows is written already: what an engine asks besides.

    def partial(self, cursor: bytes, following: Sequence[int]) -> None:
        """Pages are hit as a whole or not at all."""

    def is_leaf(self, page: int) -> bool:
        """Nothing is known of what continues a page, so all may be evicted in any order."""
        return True

    def move(self, page: int, target: int) -> None:
        """The content of ``page`` stands in page ``target`` from now on (it went to host memory, or came back)."""
        key = self.key_of.pop(page)
        self.by_key[key].remove(page)
        self.by_key[key].add(target)
        self.key_of[target] = key

    def check(self) -> None:
        """Both indexes say the same."""
        pairs = {(page, key) for key, pages in self.by_key.items() for page in pages}
        if pairs != set(self.key_of.items()) or not all(self.by_key.values()):
            raise InvariantViolation("the two indexes of the prefix cache disagree")
