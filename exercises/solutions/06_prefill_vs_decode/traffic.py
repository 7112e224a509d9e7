"""How many bytes does a step move?

At the least: every weight once, whatever the number of tokens; the keys and values of each sequence's cached tokens
once, read; those of its new tokens twice: written, and read by attention. This is the least traffic: numbers that
travel between layers are small beside it, and stay on the chip where kernels are good.

A step is a list of chunks (cached, new). 100 bytes of weights, 4 bytes a token: [(10, 1), (0, 3)] moves
100 + (10 + 2) · 4 + 6 · 4 = 172 bytes.
"""


def traffic(chunks: list[tuple[int, int]], weight_bytes: int, token_bytes: int) -> int:
    """Bytes moved by one step."""
    # BEGIN SOLUTION
    return weight_bytes + sum(cached + 2 * new for cached, new in chunks) * token_bytes
    # END SOLUTION


def bytes_a_token(chunks: list[tuple[int, int]], weight_bytes: int, token_bytes: int) -> float:
    """Bytes moved for each new token of the step. Raises ValueError for a step without new tokens."""
    # BEGIN SOLUTION
    new = sum(new for _, new in chunks)
    if new == 0:
        raise ValueError("a step without new tokens moves bytes for nobody")
    return traffic(chunks, weight_bytes, token_bytes) / new
    # END SOLUTION


# Why: weights are paid once a step and the cache once a sequence. So a prompt of a thousand tokens pays a thousandth
# of the weights for each, a lone decode all of them, and a batch of decodes shares the weights but never the caches.
