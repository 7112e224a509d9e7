"""Draw the sketch of the chapter in text: one row of logical pages, one row of physical pages.

A request sees its pages in order: 0, 1, 2 … Its page table says in which physical page each of them lives. Draw both
rows as lists of strings. For the table [0, 7, 2, 11] in a pool of 12 pages:

    logical   ["0", "1", "2", "3"]
    physical  ["0", "·", "2", "·", "·", "·", "·", "1", "·", "·", "·", "3"]

In the physical row, each page shows the logical page that lives in it, and "·" (a middle dot) where there is none.
"""


def sketch(pages: list[int], num_pages: int) -> tuple[list[str], list[str]]:
    """The logical row of a request with the table ``pages``, and the physical row of a pool of ``num_pages``."""
    # BEGIN SOLUTION
    logical = [str(number) for number in range(len(pages))]
    physical = ["·"] * num_pages
    for number, page in enumerate(pages):
        physical[page] = str(number)
    return logical, physical
    # END SOLUTION


# Why: the table is read from logical to physical, so the loop goes over the table. Going over the pool and asking for
# each page "who lives here?" is a search; real engines never ask it.
