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
    # BEGIN SOLUTION
    pages = -(-num_tokens // page_size)
    recompute = num_tokens / tokens_per_second
    swap = 2 * pages * page_size * bytes_per_token / bytes_per_second
    return "swap" if swap < recompute else "recompute"
    # END SOLUTION


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
        # BEGIN SOLUTION
        pages, num_tokens = self.pages[sequence], self.num_tokens[sequence]
        if len(pages) > self.host.num_free:
            return None
        copies = [(page, self.host.take()) for page in pages]
        self.release(sequence)
        self.swapped[sequence] = [host for _, host in copies], num_tokens
        return copies
        # END SOLUTION

    def swap_in(self, sequence: int) -> list[tuple[int, int]]:
        """``sequence`` is back in fresh pages, with as many tokens as it left with; its host pages are free again.

        Returns the copies ``(host page, device page)``, in logical order. Raises OutOfPages, and nothing has changed,
        when the pool has too few free pages.
        """
        # BEGIN SOLUTION
        pages, num_tokens = self.swapped[sequence]
        fresh = self.extend(sequence, num_tokens)
        for page in pages:
            self.host.drop(page, keep=False)
        del self.swapped[sequence]
        return list(zip(pages, fresh, strict=True))
        # END SOLUTION


# Why: both costs grow with the tokens, so it is the machine that decides, not the length: bytes over the bus against
# FLOPs. vLLM's V1 has dropped swapping: a victim's pages often still lie in the prefix cache when it comes back.
