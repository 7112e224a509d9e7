"""Walk a page table: from a position of a sequence to the place of its token.

A page table is a list: entry 0 is the physical page of logical page 0, and so on. The *slot* of a token is one number
for its place in the whole memory: physical page × page size + offset in the page.
"""


def locate(pages: list[int], page_size: int, position: int) -> tuple[int, int]:
    """``(physical page, offset)`` of the token at ``position``.

    Raises IndexError for a position that no page of the table holds, negative ones among them.
    """
    raise NotImplementedError("03.locate: locate is yours to write")


def slots(pages: list[int], page_size: int, start: int, stop: int) -> list[int]:
    """The slot of every position in ``range(start, stop)``: what a kernel is given to write new tokens."""
    raise NotImplementedError("03.locate: slots is yours to write")
