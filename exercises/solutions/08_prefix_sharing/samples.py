"""What n answers to one prompt cost, with and without sharing.

A user wants n samples. Without sharing, each is a sequence of its own: prompt and answer, n times over. With pages
that are shared, the prompt is held once. Its full pages are never written again, so they are shared to the end. Its
last page, if it is not full, is copied by everybody who writes into it, but for the last one, who writes in place.

A prompt of 10 tokens, 4 answers of 3 tokens, pages of 4: each sequence needs ceil(13 / 4) = 4 pages.

    not shared    4 · 4 = 16 pages
    shared        2 full prompt pages + 4 · 2 of their own = 10, and 3 copies were made
"""


def not_shared(n: int, prompt: int, answer: int, page_size: int) -> int:
    """Pages of ``n`` sequences of ``prompt + answer`` tokens each. ``answer`` is at least 1, for this and the
    others."""
    # BEGIN SOLUTION
    return n * -(-(prompt + answer) // page_size)
    # END SOLUTION


def shared(n: int, prompt: int, answer: int, page_size: int) -> int:
    """Pages when all ``n`` share what they can."""
    # BEGIN SOLUTION
    full = prompt // page_size
    return full + n * (-(-(prompt + answer) // page_size) - full)
    # END SOLUTION


def copies(n: int, prompt: int, page_size: int) -> int:
    """Pages that are copied before somebody writes."""
    # BEGIN SOLUTION
    return n - 1 if prompt % page_size else 0
    # END SOLUTION


# Why: the longer the prompt, the more there is to share; the paper measured 6 to 31 % less memory for samples, and 38
# to 66 % for beams, whose answers share pages as well. Never more than one page a sequence is copied, whatever the
# length.
