"""Fork a sequence, and copy before you write.

One prompt, several answers: a fork begins with the very pages of its parent, the half-filled last one included. Nothing
is copied until somebody writes. Writing goes only into the last page (tokens are appended), and only while it has room;
a page that more than one table names must be copied first.
"""

from pagedlab.errors import OutOfPages
from pagedlab.learn import solved

Tables = solved("03.extend").Tables


class ForkingTables(Tables):
    """Tables whose sequences may share pages."""

    def fork(self, parent: int, child: int) -> None:
        """``child`` begins with the tokens and the pages of ``parent``, none of which is copied."""
        # BEGIN SOLUTION
        for page in self.pages[parent]:
            self.pool.share(page)
        self.pages[child] = list(self.pages[parent])
        self.num_tokens[child] = self.num_tokens[parent]
        # END SOLUTION

    def append(self, sequence: int) -> tuple[int, int] | None:
        """Room for one token more, which ``sequence`` is about to write.

        Returns ``(source, copy)`` when the page it writes into was shared: ``source`` must be copied into the new page
        ``copy``, which stands in the table from now on. Returns None when nothing need be copied. Raises OutOfPages,
        with nothing changed, when a page is needed and none is free.
        """
        # BEGIN SOLUTION
        pages, used = self.pages[sequence], self.num_tokens[sequence]
        logical, offset = divmod(used, self.page_size)
        if offset == 0:
            self.extend(sequence, used + 1)
            return None
        copied = None
        if self.pool.refcount(pages[logical]) > 1:
            if self.pool.num_free == 0:
                raise OutOfPages(1, 0, self.pool.num_cached)
            source, copy = pages[logical], self.pool.take()
            pages[logical] = copy
            self.pool.drop(source, keep=False)
            copied = (source, copy)
        self.num_tokens[sequence] = used + 1
        return copied
        # END SOLUTION


# Why: full pages are never written again, so only the last page can need a copy: one page a fork at most, whatever the
# length. The last of the sharers finds the count at one and writes in place: no copy for whom nobody else reads.
