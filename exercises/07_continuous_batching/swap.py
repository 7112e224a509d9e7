"""Recompute or swap.

A victim loses its pages. When it comes back, their content must be there again: either it is computed once more, as if
it were a prompt (*recompute*), or it was copied to host memory in time and is copied back (*swap*).

Copies move whole pages, and they move twice, out and in. The page numbers of before mean nothing afterwards: somebody
else lives there. A swapped sequence comes back to *fresh* pages, in the same logical order.

    pages of 4, sequence 7 with 6 tokens in pages [3, 0]
    swap_out(7)    [(3, 0), (0, 1)]    device page 3 is copied to host page 0, page 0 to host page 1
    swap_in(7)     [(0, 5), (1, 2)]    host page 0 is copied to device page 5, page 1 to page 2
"""

from pagedlab.learn import solved

PagePool = solved("03.pool").PagePool
Tables = solved("03.extend").Tables


def cheaper(
    num_tokens: int, page_size: int, tokens_per_second: float, bytes_per_token: int, bytes_per_second: float
) -> str:
    """``"recompute"`` or ``"swap"``, whichever takes less time for a sequence of ``num_tokens``; recompute when equal.

    ``tokens_per_second`` are computed in a prompt; ``bytes_per_token`` of keys and values are moved between device and
    host with ``bytes_per_second``.
    """
    raise NotImplementedError("07.swap: cheaper is yours to write")


class SwappingTables(Tables):
    """Tables of sequences that can leave for host memory. (``extend`` and ``release`` are yours already.)"""

    def __init__(self, pool: PagePool, page_size: int, num_host_pages: int) -> None:
        super().__init__(pool, page_size)
        self.host = PagePool(num_host_pages)
        self.swapped: dict[int, tuple[list[int], int]] = {}  #: sequence -> its host pages in logical order, its tokens

    def swap_out(self, sequence: int) -> list[tuple[int, int]] | None:
        """All pages of ``sequence`` go to the host, and come back to the pool; it is in ``swapped``, not in ``pages``.

        Returns the copies ``(device page, host page)``, in logical order. None, and nothing has changed, when the host
        has too few free pages.
        """
        raise NotImplementedError("07.swap: swap_out is yours to write")

    def swap_in(self, sequence: int) -> list[tuple[int, int]]:
        """``sequence`` is back in fresh pages, with as many tokens as it left with; its host pages are free again.

        Returns the copies ``(host page, device page)``, in logical order. Raises OutOfPages, and nothing has changed,
        when the pool has too few free pages.
        """
        raise NotImplementedError("07.swap: swap_in is yours to write")
