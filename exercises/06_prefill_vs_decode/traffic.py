"""How many bytes does a step move?

At the least: every weight once, whatever the number of tokens; the keys and values of each sequence's cached tokens
once, read; those of its new tokens twice: written, and read by attention. This is the least traffic: numbers that
travel between layers are small beside it, and stay on the chip where kernels are good.

A step is a list of chunks (cached, new). 100 bytes of weights, 4 bytes a token: [(10, 1), (0, 3)] moves
100 + (10 + 2) · 4 + 6 · 4 = 172 bytes.
"""


def traffic(chunks: list[tuple[int, int]], weight_bytes: int, token_bytes: int) -> int:
    """Bytes moved by one step."""
    raise NotImplementedError("06.traffic: traffic is yours to write")


def bytes_a_token(chunks: list[tuple[int, int]], weight_bytes: int, token_bytes: int) -> float:
    """Bytes moved for each new token of the step. Raises ValueError for a step without new tokens."""
    raise NotImplementedError("06.traffic: bytes_a_token is yours to write")
