"""What one rank of a tensor-parallel group holds.

Tensor parallelism cuts every layer across *ranks*: each computes some heads of attention and some columns of the
feed-forward, for all tokens. Heads do not look at each other, so a rank keeps the keys and values of its own heads
only: pages shrink with the weights. Twice a layer, after attention and after the feed-forward, the ranks add up what
each has computed (an *all-reduce* of one row of ``hidden_size`` values a token).

Query heads are always divided. Key-value heads are divided while there are enough of them; with more ranks than
key-value heads, several ranks keep a copy of the same one. 8 query heads and 2 key-value heads:

    ranks                     1   2   4   8
    query heads of a rank     8   4   2   1
    KV heads of a rank        2   1   1   1      from here on, copies
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Model:
    num_layers: int
    hidden_size: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    intermediate_size: int


def heads_of(model: Model, ranks: int) -> tuple[int, int]:
    """(query heads, key-value heads) of one rank.

    Raises ValueError where the cut is not even: ranks must divide the query heads, and divide the key-value heads or
    be a multiple of them.
    """
    raise NotImplementedError("12.shard: heads_of is yours to write")


def weights_of(model: Model, ranks: int) -> int:
    """Weights of one rank in all layers: projections of queries, keys, values and output, and the three matrices of a
    gated feed-forward, whose ``intermediate_size`` the ranks divide. (Norms and embeddings are left out.)

    Raises ValueError where the cut is not even.
    """
    raise NotImplementedError("12.shard: weights_of is yours to write")


def pages_of(model: Model, ranks: int, memory: int, page_size: int, bits: int = 16) -> int:
    """Pages that fit in one rank's ``memory`` bytes, once its weights are in it. Weights and pages have ``bits``."""
    raise NotImplementedError("12.shard: pages_of is yours to write")


def reduced_bytes(model: Model, ranks: int, bits: int = 16) -> int:
    """Bytes a token that the ranks add up: the size of the rows, whatever the network makes of them."""
    raise NotImplementedError("12.shard: reduced_bytes is yours to write")
