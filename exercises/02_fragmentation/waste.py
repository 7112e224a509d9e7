"""The arithmetic of waste.

Four requests reserve 2,048 slots each and use 600, 900, 1,300 and 1,700 of them. Reserved in advance: 8,192 slots,
3,692 wasted. In pages of 256 they hold 3, 4, 6 and 7 pages; waste 168, 124, 236 and 92: 620 in all.
"""


def reserved_waste(used: list[int], reservation: int) -> int:
    """Slots that are reserved and never used. Raises ValueError when a request uses more than its reservation."""
    raise NotImplementedError("02.waste: reserved_waste is yours to write")


def pages_held(used: list[int], page_size: int) -> list[int]:
    """Pages of each request. One without tokens holds none."""
    raise NotImplementedError("02.waste: pages_held is yours to write")


def page_waste(used: list[int], page_size: int) -> list[int]:
    """Wasted slots of each request."""
    raise NotImplementedError("02.waste: page_waste is yours to write")


def most_waste(num_requests: int, page_size: int) -> int:
    """The most that so many requests can waste, whatever their lengths: the bound."""
    raise NotImplementedError("02.waste: most_waste is yours to write")
