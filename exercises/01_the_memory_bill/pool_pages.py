"""How many pages does a machine have room for?

Memory is taken by three things: the weights, what a step needs while it computes (activations), and the pool of pages,
which gets the rest. Engines do it in this order: load the weights, try the largest step, measure, and cut what is left
into pages. A share of memory is kept free for everything else that runs there (``utilisation`` 0.9 leaves a tenth).

24 GiB, 0.9 of it to be used, 16 GiB of weights, 1 GiB for a step, 2 MiB a page: 4.6 GiB are left, 2,355 pages.
"""


def pool_pages(memory_bytes: int, weight_bytes: int, step_bytes: int, page_bytes: int, utilisation: float = 1.0) -> int:
    """Whole pages in what is left. Raises ValueError where there is no room for even one."""
    raise NotImplementedError("01.pool_pages: pool_pages is yours to write")
