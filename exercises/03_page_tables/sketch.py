"""Draw the sketch of the chapter in text: one row of logical pages, one row of physical pages.

A request sees its pages in order: 0, 1, 2 … Its page table says in which physical page each of them lives. Draw both
rows as lists of strings. For the table [0, 7, 2, 11] in a pool of 12 pages:

    logical   ["0", "1", "2", "3"]
    physical  ["0", "·", "2", "·", "·", "·", "·", "1", "·", "·", "·", "3"]

In the physical row, each page shows the logical page that lives in it, and "·" (a middle dot) where there is none.
"""


def sketch(pages: list[int], num_pages: int) -> tuple[list[str], list[str]]:
    """The logical row of a request with the table ``pages``, and the physical row of a pool of ``num_pages``."""
    raise NotImplementedError("03.sketch: sketch is yours to write")
