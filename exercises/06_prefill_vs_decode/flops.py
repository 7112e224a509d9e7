"""How much arithmetic is in a step?

Two kinds. *Matrices*: each new token meets every weight of the layers once; a multiplication and an addition are two
operations. *Attention*: each new token meets every token before it, and itself, in every query head: a product with its
key, and one with its value, ``4 · head_dim`` operations for each pair and head.

100 weights, 1 layer of 1 head with 2 numbers. Three tokens of a new prompt: 3 · 200 for the matrices; pairs: 1 + 2 +
3 = 6, each 8 operations. 648 in all. One token after ten others: 200 + 11 · 8 = 288.
"""


def pairs(cached: int, new: int) -> int:
    """How many (token, token it sees) pairs a chunk of ``new`` tokens has after ``cached`` others."""
    raise NotImplementedError("06.flops: pairs is yours to write")


def flops(cached: int, new: int, weights: int, num_layers: int, num_heads: int, head_dim: int) -> int:
    """Operations of the chunk: matrices with ``weights`` weights in all layers together, and attention."""
    raise NotImplementedError("06.flops: flops is yours to write")
