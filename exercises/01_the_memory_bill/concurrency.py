"""Concurrency is multiplication.

One request with 2.5 GiB of cache is manageable; sixteen of them are 40 GiB. Turned around: how many requests run at
once in a pool of pages? A request of n tokens needs whole pages, so nine tokens in pages of four cost as much as
twelve.

A pool of 10 pages of 4 tokens: requests of 9 tokens need 3 pages each, and 3 of them fit. With reservations of 16
tokens in the same 40 slots, 2 would.
"""


def at_once(num_pages: int, page_size: int, tokens_each: int) -> int:
    """Requests of ``tokens_each`` tokens that fit into the pool at the same time."""
    raise NotImplementedError("01.concurrency: at_once is yours to write")


def gib_needed(users: int, tokens_each: int, token_bytes: int, page_size: int) -> float:
    """GiB (2**30 bytes) of pages for so many users, each with ``tokens_each`` tokens of ``token_bytes`` bytes."""
    raise NotImplementedError("01.concurrency: gib_needed is yours to write")


def gained(num_pages: int, page_size: int, tokens_each: int, reservation: int) -> float:
    """How many times as many requests run at once as when each reserves ``reservation`` slots in the same memory.

    Raises ValueError where not even one reservation fits.
    """
    raise NotImplementedError("01.concurrency: gained is yours to write")
