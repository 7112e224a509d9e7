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
    raise NotImplementedError("08.samples: not_shared is yours to write")


def shared(n: int, prompt: int, answer: int, page_size: int) -> int:
    """Pages when all ``n`` share what they can."""
    raise NotImplementedError("08.samples: shared is yours to write")


def copies(n: int, prompt: int, page_size: int) -> int:
    """Pages that are copied before somebody writes."""
    raise NotImplementedError("08.samples: copies is yours to write")
