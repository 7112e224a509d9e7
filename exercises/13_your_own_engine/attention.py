"""Your attention, as an engine calls it.

In every layer of every step the engine calls one function for the whole batch. What it is given:

- ``q: [T, H, D]``: the queries of all new tokens of all sequences, back to back;
- ``kv: [2, N, Hkv, P, D]``: this layer's cache, as in 04.paged_attention;
- ``batch``, which says whose tokens these are: rows ``query_start[b]`` to ``query_start[b + 1]`` belong to sequence b.
  ``context_lens[b]`` is how many tokens it has in the cache, the new ones included, and ``page_tables[b]`` its table, a
  row of a tensor that is wide enough for the longest of them: what stands in it past the sequence's own pages may be
  anything, and must not be followed;
- ``scale``, for the scores.

``query_start``, ``context_lens`` and ``page_tables`` are tensors of whole numbers; ``tolist()`` makes lists of them.
"""

import torch
from torch import Tensor

from pagedlab.learn import solved
from pagedlab_kernels.batch import PagedBatch

paged_attention = solved("04.paged_attention").paged_attention


def attend(q: Tensor, kv: Tensor, batch: PagedBatch, scale: float) -> Tensor:
    """``[T, H, D]``: for each sequence, 04.paged_attention over its own rows, pages and context."""
    raise NotImplementedError("13.attention: attend is yours to write")
