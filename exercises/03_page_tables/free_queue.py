"""The free queue: which page is handed out next.

Free pages wait in the order in which they became free: first in, first out. One thing makes the queue special: a free
page whose content is wanted again (a prefix that somebody asks for) is taken out *from the middle*. In an engine with
a million pages that may not cost a walk through the queue.
"""


class FreeQueue:
    """All of ``num_pages`` pages at first, page 0 in front. Every operation takes the same time however many wait."""

    def __init__(self, num_pages: int) -> None:
        raise NotImplementedError("03.free_queue: __init__ is yours to write")

    def take(self) -> int:
        """The page that has waited longest; it leaves the queue. Raises IndexError when none waits."""
        raise NotImplementedError("03.free_queue: take is yours to write")

    def give_back(self, page: int) -> None:
        """``page`` goes to the end of the queue. Raises ValueError if it waits there already."""
        raise NotImplementedError("03.free_queue: give_back is yours to write")

    def remove(self, page: int) -> None:
        """``page`` leaves the queue from wherever it stands. Raises KeyError if it does not wait."""
        raise NotImplementedError("03.free_queue: remove is yours to write")

    def pages(self) -> list[int]:
        """All that wait, the next one first."""
        raise NotImplementedError("03.free_queue: pages is yours to write")

    def __len__(self) -> int:
        """How many wait."""
        raise NotImplementedError("03.free_queue: __len__ is yours to write")
