"""Grow a sequence, or change nothing.

A sequence owns whole pages and uses a number of slots in them. Before a step it is given room for its new tokens: the
room left in its last page comes first, then new pages from the pool. If the pool cannot give all of them, none is
taken: whoever asked will wait, or take pages from somebody, and ask again.
"""

from pagedlab.errors import OutOfPages
from pagedlab.learn import solved

PagePool = solved("03.pool").PagePool


class Tables:
    """The page tables of all sequences over one pool. Sequences are known by a number."""

    def __init__(self, pool: PagePool, page_size: int) -> None:
        self.pool = pool
        self.page_size = page_size
        self.pages: dict[int, list[int]] = {}  #: sequence -> physical pages, in logical order
        self.num_tokens: dict[int, int] = {}  #: sequence -> tokens it has room for

    def extend(self, sequence: int, num_tokens: int) -> list[int]:
        """Room for ``num_tokens`` tokens *in all*; a sequence that is not known yet begins with none.

        Returns the pages that were added, in logical order: none when the last page had room enough, or when the
        sequence has room for more already. Raises OutOfPages(asked, free, cached) when the pool has too few free
        pages, and then nothing has changed: no page, no sequence.
        """
        # BEGIN SOLUTION
        held = self.pages.get(sequence, [])
        needed = max(0, -(-num_tokens // self.page_size) - len(held))
        if needed > self.pool.num_free:
            raise OutOfPages(needed, self.pool.num_free, self.pool.num_cached)
        added = [self.pool.take() for _ in range(needed)]
        self.pages[sequence] = held + added
        self.num_tokens[sequence] = max(num_tokens, self.num_tokens.get(sequence, 0))
        return added
        # END SOLUTION

    def release(self, sequence: int) -> None:
        """Give back all pages of a sequence, its *last* page first, none of them kept. It is known no longer."""
        # BEGIN SOLUTION
        for page in reversed(self.pages.pop(sequence)):
            self.pool.drop(page, keep=False)
        del self.num_tokens[sequence]
        # END SOLUTION


# Why: the question "will it fit?" comes before the first page is taken; undoing half an allocation is where leaks come
# from. The tail goes first because the head of a sequence is what another prompt is likely to share: with a cache, what
# is freed first is evicted first.
