"""LMDeploy's logical pages: a swap that changes no table.

A page table here names *logical* pages. One map for all of them says where each one is: numbers below ``num_device``
are pages of the device, those from ``num_device`` on are pages of host memory. To swap a page out is to copy its
content and to change one entry of the map; every table that names it stays as it is.

Two device pages (0, 1) and two host pages (2, 3):

    allocate() -> 0, allocate() -> 1      map: 0 → 0, 1 → 1
    swap_out([0]) -> [(0, 2)]             map: 0 → 2, 1 → 1     copy page 0 of the device to page 2, in host memory
    allocate() -> 2                       map: 0 → 2, 1 → 1, 2 → 0
    release([1]); swap_in([0]) -> [(2, 1)]

Each of them takes the lowest physical number that is free, and happens as a whole or not at all.
"""


class LogicalPages:
    def __init__(self, num_device: int, num_host: int) -> None:
        self.num_device, self.num_host = num_device, num_host
        self.where: dict[int, int] = {}  #: logical -> physical
        self._next = 0

    def allocate(self) -> int:
        """A new logical page, on the device. Numbers count up and are not used again.

        Raises LookupError where the device has no free page.
        """
        raise NotImplementedError("11.remap: allocate is yours to write")

    def release(self, pages: list[int]) -> None:
        """Nobody needs these logical pages any more, wherever they are."""
        raise NotImplementedError("11.remap: release is yours to write")

    def swap_out(self, pages: list[int]) -> list[tuple[int, int]]:
        """Move logical pages to host memory. Returns the copies to make: (from, to), physical, in the order given.

        Those that are there already stay. Raises LookupError, and nothing changes, where host memory has no room for
        all of the others.
        """
        raise NotImplementedError("11.remap: swap_out is yours to write")

    def swap_in(self, pages: list[int]) -> list[tuple[int, int]]:
        """Move logical pages to the device, in the same way."""
        raise NotImplementedError("11.remap: swap_in is yours to write")

    raise NotImplementedError("11.remap: swap_in is yours to write")
