"""The free queue: which page is handed out next.

Free pages wait in the order in which they became free: first in, first out. One thing makes the queue special: a free
page whose content is wanted again (a prefix that somebody asks for) is taken out *from the middle*. In an engine with
a million pages that may not cost a walk through the queue.
"""

# BEGIN SOLUTION
from collections import OrderedDict

# END SOLUTION


class FreeQueue:
    """All of ``num_pages`` pages at first, page 0 in front. Every operation takes the same time however many wait."""

    def __init__(self, num_pages: int) -> None:
        # BEGIN SOLUTION
        self._waiting = OrderedDict.fromkeys(range(num_pages))
        # END SOLUTION

    def take(self) -> int:
        """The page that has waited longest; it leaves the queue. Raises IndexError when none waits."""
        # BEGIN SOLUTION
        if not self._waiting:
            raise IndexError("no page is free")
        return self._waiting.popitem(last=False)[0]
        # END SOLUTION

    def give_back(self, page: int) -> None:
        """``page`` goes to the end of the queue. Raises ValueError if it waits there already."""
        # BEGIN SOLUTION
        if page in self._waiting:
            raise ValueError(f"page {page} is free already")
        self._waiting[page] = None
        # END SOLUTION

    def remove(self, page: int) -> None:
        """``page`` leaves the queue from wherever it stands. Raises KeyError if it does not wait."""
        # BEGIN SOLUTION
        del self._waiting[page]
        # END SOLUTION

    def pages(self) -> list[int]:
        """All that wait, the next one first."""
        # BEGIN SOLUTION
        return list(self._waiting)
        # END SOLUTION

    def __len__(self) -> int:
        """How many wait."""
        # BEGIN SOLUTION
        return len(self._waiting)
        # END SOLUTION


# Why: an ordered dict is a hash map over a doubly linked list, which is what vLLM writes by hand for its free queue.
# A deque gives and takes as quickly, but ``deque.remove`` walks.
