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
    # BEGIN SOLUTION
    more, fewer = max(ranks, model.num_kv_heads), min(ranks, model.num_kv_heads)
    if ranks < 1 or model.num_heads % ranks or more % fewer:
        raise ValueError(f"{model.num_heads} query and {model.num_kv_heads} KV heads cannot be cut for {ranks} ranks")
    return model.num_heads // ranks, max(1, model.num_kv_heads // ranks)
    # END SOLUTION


def weights_of(model: Model, ranks: int) -> int:
    """Weights of one rank in all layers: projections of queries, keys, values and output, and the three matrices of a
    gated feed-forward, whose ``intermediate_size`` the ranks divide. (Norms and embeddings are left out.)

    Raises ValueError where the cut is not even.
    """
    # BEGIN SOLUTION
    heads, kv_heads = heads_of(model, ranks)
    if model.intermediate_size % ranks:
        raise ValueError(f"a feed-forward of {model.intermediate_size} cannot be cut for {ranks} ranks")
    attention = model.hidden_size * model.head_dim * (2 * heads + 2 * kv_heads)
    feed_forward = 3 * model.hidden_size * model.intermediate_size // ranks
    return model.num_layers * (attention + feed_forward)
    # END SOLUTION


def pages_of(model: Model, ranks: int, memory: int, page_size: int, bits: int = 16) -> int:
    """Pages that fit in one rank's ``memory`` bytes, once its weights are in it. Weights and pages have ``bits``."""
    # BEGIN SOLUTION
    _, kv_heads = heads_of(model, ranks)
    page = page_size * 2 * model.num_layers * kv_heads * model.head_dim * bits // 8
    return max(0, memory - weights_of(model, ranks) * bits // 8) // page
    # END SOLUTION


def reduced_bytes(model: Model, ranks: int, bits: int = 16) -> int:
    """Bytes a token that the ranks add up: the size of the rows, whatever the network makes of them."""
    # BEGIN SOLUTION
    return 0 if ranks == 1 else 2 * model.num_layers * model.hidden_size * bits // 8
    # END SOLUTION


# Why: a group is worth more than its ranks, because the weights are paid for once and all that is left over is pages:
# twice the memory gives more than twice the pages. It ends where KV heads do: beyond that, ranks keep copies.
