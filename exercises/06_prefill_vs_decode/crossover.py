"""Two places where things turn over.

*The batch at which decode stops waiting for memory.* A step of B sequences does 2 · weights · B operations (let us
leave attention's out) and moves the weights once, and B caches. More sequences mean more operations for the same
weights; but each brings its own cache, and with a long context no batch is ever large enough.

*The context at which attention outweighs the matrices.* One more token costs 2 · weights operations in matrices, and
``attention`` operations for each token before it.
"""


def batch_at_ridge(weights: int, weight_bytes: int, cache_bytes: int, ridge: float) -> int | None:
    """The smallest B for which 2 · weights · B ≥ ridge · (weight_bytes + B · cache_bytes); None if there is none.

    ``cache_bytes``: of one sequence. All numbers are above 0, but for cache_bytes, which may be 0.
    """
    raise NotImplementedError("06.crossover: batch_at_ridge is yours to write")


def context_at_parity(weights: int, attention: int) -> int:
    """The smallest number of cached tokens c for which attention · c ≥ 2 · weights."""
    raise NotImplementedError("06.crossover: context_at_parity is yours to write")
