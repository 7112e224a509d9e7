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
        raise NotImplementedError("03.fork: fork is yours to write")

    def append(self, sequence: int) -> tuple[int, int] | None:
        """Room for one token more, which ``sequence`` is about to write.

        Returns ``(source, copy)`` when the page it writes into was shared: ``source`` must be copied into the new page
        ``copy``, which stands in the table from now on. Returns None when nothing need be copied. Raises OutOfPages,
        with nothing changed, when a page is needed and none is free.
        """
        raise NotImplementedError("03.fork: append is yours to write")
