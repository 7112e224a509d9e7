"""vLLM's free queue.

One line holds every page that no running sequence uses, blank ones and those whose content can still be hit alike. The
next page is always taken from its head, so the line's order *is* the policy of eviction. Pages join it when a sequence
ends:

- one by one, its last page first;
- a page whose content can be hit goes to the tail of the line: it is to stay as long as it can;
- a page that nobody can hit, such as a last page that is not full, goes to the very head: it is worth nothing.

And a page that is hit leaves the line, wherever it stands. That has to be quick: no search through the line.

Pages 0 to 5, all blank; a sequence takes 0, 1 and 2, of which two are full:

    line                  3 4 5
    free([0, 1, 2], 2)    2 3 4 5 1 0      2 is not full; 1, the tail of what can be hit, goes before 0
    take() -> 2           3 4 5 1 0
    hit(1)                3 4 5 0
"""

from collections import OrderedDict


class FreeQueue:
    def __init__(self, num_pages: int) -> None:
        """Pages 0, 1, 2 … in this order, all of them blank."""
        self.line: OrderedDict[int, None] = OrderedDict.fromkeys(range(num_pages))  #: who is next stands first
        self.hashed: set[int] = set()  #: pages whose content can be hit, in the line or in use

    def take(self) -> int:
        """The page at the head. Its content cannot be hit any more. Raises LookupError when the line is empty."""
        # BEGIN SOLUTION
        if not self.line:
            raise LookupError("all pages are in use")
        page, _ = self.line.popitem(last=False)
        self.hashed.discard(page)
        return page
        # END SOLUTION

    def hit(self, page: int) -> None:
        """Somebody uses ``page`` from now on, for its content: it leaves the line and can be hit as before.

        Raises LookupError for a page that is not in the line, or cannot be hit; then nothing changes.
        """
        # BEGIN SOLUTION
        if page not in self.line or page not in self.hashed:
            raise LookupError(f"page {page} cannot be hit")
        del self.line[page]
        # END SOLUTION

    def free(self, pages: list[int], num_full: int) -> None:
        """A sequence ends that held ``pages``, in its logical order; the first ``num_full`` can be hit from now on."""
        # BEGIN SOLUTION
        for logical in reversed(range(len(pages))):
            page = pages[logical]
            self.line[page] = None
            if logical < num_full:
                self.hashed.add(page)
            else:
                self.line.move_to_end(page, last=False)
        # END SOLUTION


# Why: a single line serves as pool and as LRU, and each operation costs O(1). An ordered dictionary is a doubly linked
# list with an index: vLLM builds the same by hand, from links inside its page records, to spare the allocations.
