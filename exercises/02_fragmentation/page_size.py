"""How large should a page be?

Small pages waste little, but their tables grow: one entry of 4 bytes for each page of each request, and every look-up
goes through it. Large pages are the other way round. In between lies the least *overhead*: wasted slots, and what the
table takes, both counted in bytes.

One request of 10 tokens, 8 bytes a token: pages of 1 waste nothing and need 10 entries, 40 bytes; pages of 4 waste 2
slots (16 bytes) and need 3 entries: 28 bytes; pages of 16 waste 6 slots (48 bytes) and need one entry: 52.
"""

ENTRY_BYTES = 4


def overhead(lengths: list[int], page_size: int, token_bytes: int) -> int:
    """Bytes lost to empty slots and to page tables, for requests of these lengths."""
    raise NotImplementedError("02.page_size: overhead is yours to write")


def best_page_size(lengths: list[int], token_bytes: int, candidates: list[int]) -> int:
    """The candidate with the least overhead. Of equals, the largest: it makes the fewest look-ups."""
    raise NotImplementedError("02.page_size: best_page_size is yours to write")
