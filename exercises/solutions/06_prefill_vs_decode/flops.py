"""How much arithmetic is in a step?

Two kinds. *Matrices*: each new token meets every weight of the layers once; a multiplication and an addition are two
operations. *Attention*: each new token meets every token before it, and itself, in every query head: a product with its
key, and one with its value, ``4 · head_dim`` operations for each pair and head.

100 weights, 1 layer of 1 head with 2 numbers. Three tokens of a new prompt: 3 · 200 for the matrices; pairs: 1 + 2 +
3 = 6, each 8 operations. 648 in all. One token after ten others: 200 + 11 · 8 = 288.
"""


def pairs(cached: int, new: int) -> int:
    """How many (token, token it sees) pairs a chunk of ``new`` tokens has after ``cached`` others."""
    # BEGIN SOLUTION
    return new * cached + new * (new + 1) // 2
    # END SOLUTION


def flops(cached: int, new: int, weights: int, num_layers: int, num_heads: int, head_dim: int) -> int:
    """Operations of the chunk: matrices with ``weights`` weights in all layers together, and attention."""
    # BEGIN SOLUTION
    return 2 * weights * new + 4 * num_layers * num_heads * head_dim * pairs(cached, new)
    # END SOLUTION


# Why: the first term grows with the tokens, the second with their square. For a short prompt "two operations a weight
# and token" is all there is; from some context on (06.crossover) attention outweighs it. KV heads do not appear:
# sharing keys saves bytes, not operations.
