"""How much of a prompt is there already?

The cache knows some pages by their keys (08.chained_hash). Walk from the first page on, as long as each is known; where
one is missing, the search ends, whatever may be known after it: a page can be used only with all that comes before it.

And one rule that everybody forgets once: **at least one token must be computed.** Keys and values can be found in
pages; the logits from which the next token is sampled cannot. A prompt of 8 tokens in pages of 4, both known, hits
one page.
"""

from collections.abc import Hashable

from pagedlab.learn import solved

page_keys = solved("08.chained_hash").page_keys


def longest_hit(known: dict[bytes, int], tokens: list[int], page_size: int, salt: Hashable = None) -> list[int]:
    """The pages that hold the beginning of ``tokens``, in order. ``known``: key -> page. There is at least one
    token."""
    # BEGIN SOLUTION
    pages = []
    for key in page_keys(tokens[:-1], page_size, salt):
        if key not in known:
            break
        pages.append(known[key])
    return pages
    # END SOLUTION


# Why: leaving the last token out before the pages are counted is the whole rule: what is left can be hit completely.
# A cache that forgets it works for months, until two users send the same prompt with a length of full pages.
