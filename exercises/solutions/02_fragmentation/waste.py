"""The arithmetic of waste.

Four requests reserve 2,048 slots each and use 600, 900, 1,300 and 1,700 of them. Reserved in advance: 8,192 slots,
3,692 wasted. In pages of 256 they hold 3, 4, 6 and 7 pages; waste 168, 124, 236 and 92: 620 in all.
"""


def reserved_waste(used: list[int], reservation: int) -> int:
    """Slots that are reserved and never used. Raises ValueError when a request uses more than its reservation."""
    # BEGIN SOLUTION
    if any(tokens > reservation for tokens in used):
        raise ValueError(f"{max(used)} tokens do not fit into a reservation of {reservation}")
    return len(used) * reservation - sum(used)
    # END SOLUTION


def pages_held(used: list[int], page_size: int) -> list[int]:
    """Pages of each request. One without tokens holds none."""
    # BEGIN SOLUTION
    return [-(-tokens // page_size) for tokens in used]
    # END SOLUTION


def page_waste(used: list[int], page_size: int) -> list[int]:
    """Wasted slots of each request."""
    # BEGIN SOLUTION
    return [pages * page_size - tokens for pages, tokens in zip(pages_held(used, page_size), used, strict=True)]
    # END SOLUTION


def most_waste(num_requests: int, page_size: int) -> int:
    """The most that so many requests can waste, whatever their lengths: the bound."""
    # BEGIN SOLUTION
    return num_requests * (page_size - 1)
    # END SOLUTION


# Why: with pages, only the last one of each request can have empty slots, so waste is bounded by the page and not by
# what might have been asked for. -(-n // size) rounds up without floats, which lose count above 2**53.
