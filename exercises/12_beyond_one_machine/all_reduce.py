"""Ring all-reduce: everybody ends up with the sum, and nobody sends more than anybody else.

n ranks, each with a vector of its own; all want the sum of all vectors. Sent to one rank, added there and sent back,
everything passes through a single wire. On a ring each rank only ever sends to its right-hand neighbour, a piece at a
time. Cut each vector into n equal *pieces*:

1. *Reduce-scatter*, n - 1 rounds. In each, every rank sends one piece, and adds the piece that arrives to its own.
   Afterwards every rank has one piece of which it knows the whole sum.
2. *All-gather*, n - 1 rounds. The finished pieces go round; what arrives replaces what was there.

Two ranks, vectors 1 2 and 10 20, pieces of one value:

    round   rank 0 sends   rank 1 sends   afterwards
    1       piece 0: 1     piece 1: 20    rank 0: 1 22      rank 1: 11 20      each has one finished piece
    2       piece 1: 22    piece 0: 11    rank 0: 11 22     rank 1: 11 22
"""

from collections.abc import Callable

Vector = list[int]
#: ``exchange(outgoing) -> incoming``: what rank r sends, ``outgoing[r]``, is what rank r + 1 gets; the last sends to
#: rank 0. One call is one round.
Exchange = Callable[[list[Vector]], list[Vector]]


def all_reduce(vectors: list[Vector], exchange: Exchange) -> list[Vector]:
    """Of each rank, the sum of all ``vectors``, which stay as they are.

    All have the same length, a multiple of the number of ranks n. Values pass between ranks through ``exchange`` only,
    in 2 (n - 1) rounds, in each of which every rank sends one piece. One rank has nothing to exchange.
    """
    raise NotImplementedError("12.all_reduce: all_reduce is yours to write")
