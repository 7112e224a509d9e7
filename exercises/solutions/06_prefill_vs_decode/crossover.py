"""Two places where things turn over.

*The batch at which decode stops waiting for memory.* A step of B sequences does 2 · weights · B operations (let us
leave attention's out) and moves the weights once, and B caches. More sequences mean more operations for the same
weights; but each brings its own cache, and with a long context no batch is ever large enough.

*The context at which attention outweighs the matrices.* One more token costs 2 · weights operations in matrices, and
``attention`` operations for each token before it.
"""

# BEGIN SOLUTION
import math

# END SOLUTION


def batch_at_ridge(weights: int, weight_bytes: int, cache_bytes: int, ridge: float) -> int | None:
    """The smallest B for which 2 · weights · B ≥ ridge · (weight_bytes + B · cache_bytes); None if there is none.

    ``cache_bytes``: of one sequence. All numbers are above 0, but for cache_bytes, which may be 0.
    """
    # BEGIN SOLUTION
    gained = 2 * weights - ridge * cache_bytes
    return math.ceil(ridge * weight_bytes / gained) if gained > 0 else None
    # END SOLUTION


def context_at_parity(weights: int, attention: int) -> int:
    """The smallest number of cached tokens c for which attention · c ≥ 2 · weights."""
    # BEGIN SOLUTION
    return -(-2 * weights // attention)
    # END SOLUTION


# Why: batching amortises weights only. Where `gained` is not positive, the bytes of one more sequence's cache cost
# more time than its arithmetic uses: the limit of long contexts, and the reason why smaller caches (GQA, int8) are
# worth so much.
