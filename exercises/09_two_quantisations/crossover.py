"""When does the cache outweigh the weights?

A checkpoint in 4 bits is small, and it says nothing about the cache: that grows with every token of every user, in
whatever format *it* is kept. Two formats, two lines of the bill.

8 billion weights in 4 bits are 4 GB. With 128 KiB a token (16 bits), 30,518 tokens weigh as much: 15 users of 2,048.
"""


def weight_bytes(weights: int, bits: int) -> int:
    """Bytes of the weights, rounded up to whole bytes."""
    raise NotImplementedError("09.crossover: weight_bytes is yours to write")


def tokens_at_parity(weights: int, weight_bits: int, values_per_token: int, cache_bits: int) -> int:
    """The smallest number of tokens whose cache takes at least as much as the weights.

    ``values_per_token``: numbers that a token leaves, keys and values of all layers.
    """
    raise NotImplementedError("09.crossover: tokens_at_parity is yours to write")


def saved(
    weights: int,
    weight_bits: int,
    tokens: int,
    values_per_token: int,
    cache_bits: int,
    *,
    weights_to: int = 0,
    cache_to: int = 0,
) -> float:
    """The share of all memory that is saved by ``weights_to`` bits, ``cache_to`` bits, or both (0: as it is)."""
    raise NotImplementedError("09.crossover: saved is yours to write")
