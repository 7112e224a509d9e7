"""Walk a page table: from a position of a sequence to the place of its token.

A page table is a list: entry 0 is the physical page of logical page 0, and so on. The *slot* of a token is one number
for its place in the whole memory: physical page × page size + offset in the page.
"""


def locate(pages: list[int], page_size: int, position: int) -> tuple[int, int]:
    """``(physical page, offset)`` of the token at ``position``.

    Raises IndexError for a position that no page of the table holds, negative ones among them.
    """
    # BEGIN SOLUTION
    if not 0 <= position < len(pages) * page_size:
        raise IndexError(f"position {position}: the table holds {len(pages) * page_size} slots")
    logical, offset = divmod(position, page_size)
    return pages[logical], offset
    # END SOLUTION


def slots(pages: list[int], page_size: int, start: int, stop: int) -> list[int]:
    """The slot of every position in ``range(start, stop)``: what a kernel is given to write new tokens."""
    # BEGIN SOLUTION
    found = []
    for position in range(start, stop):
        page, offset = locate(pages, page_size, position)
        found.append(page * page_size + offset)
    return found
    # END SOLUTION


# Why: one division does it, whatever the length of the sequence. Python's list[-1] would quietly answer for position
# -1 with the last page: an index that is checked before it is used is what makes a wrong position loud.
