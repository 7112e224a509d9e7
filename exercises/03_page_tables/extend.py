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
        raise NotImplementedError("03.extend: extend is yours to write")

    def release(self, sequence: int) -> None:
        """Give back all pages of a sequence, its *last* page first, none of them kept. It is known no longer."""
        raise NotImplementedError("03.extend: release is yours to write")
