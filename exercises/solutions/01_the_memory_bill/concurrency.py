"""Concurrency is multiplication.

One request with 2.5 GiB of cache is manageable; sixteen of them are 40 GiB. Turned around: how many requests run at
once in a pool of pages? A request of n tokens needs whole pages, so nine tokens in pages of four cost as much as
twelve.

A pool of 10 pages of 4 tokens: requests of 9 tokens need 3 pages each, and 3 of them fit. With reservations of 16
tokens in the same 40 slots, 2 would.
"""


def at_once(num_pages: int, page_size: int, tokens_each: int) -> int:
    """Requests of ``tokens_each`` tokens that fit into the pool at the same time."""
    # BEGIN SOLUTION
    return num_pages // -(-tokens_each // page_size)
    # END SOLUTION


def gib_needed(users: int, tokens_each: int, token_bytes: int, page_size: int) -> float:
    """GiB (2**30 bytes) of pages for so many users, each with ``tokens_each`` tokens of ``token_bytes`` bytes."""
    # BEGIN SOLUTION
    return users * -(-tokens_each // page_size) * page_size * token_bytes / 2**30
    # END SOLUTION


def gained(num_pages: int, page_size: int, tokens_each: int, reservation: int) -> float:
    """How many times as many requests run at once as when each reserves ``reservation`` slots in the same memory.

    Raises ValueError where not even one reservation fits.
    """
    # BEGIN SOLUTION
    reserved = num_pages * page_size // reservation
    if reserved == 0:
        raise ValueError(f"{num_pages * page_size} slots hold no reservation of {reservation}")
    return at_once(num_pages, page_size, tokens_each) / reserved
    # END SOLUTION


# Why: rounding happens per request, before the division: adding up tokens first and rounding once would promise room
# that nobody can use. The gain is what the whole course is about; the longer the reservation, the larger it is.
