"""What attention needs to know about one step: the batch as tensors.

Notation used in every kernel: T tokens in the step, B sequences, H query heads, Hkv key-value heads,
G = H / Hkv query heads that share one key-value head, D head_dim, P page_size, N pages in the pool.

The cache of one layer is one tensor ``kv: [2, N, Hkv, P, D]``; ``kv[0]`` holds keys, ``kv[1]`` values.
One page of one head, ``kv[0, page, head]``, is a contiguous ``[P, D]`` tile.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class PagedBatch:
    """One step's chunks, back to back: rows ``query_start[b]:query_start[b + 1]`` belong to sequence b.

    The query rows of a sequence are its *last* tokens: row i of sequence b stands at position
    ``context_lens[b] - query_lens[b] + i`` and attends to every position up to and including its own.
    A decode row is a chunk of one; prefill, chunked prefill and decode are not told apart.
    """

    token_ids: Tensor  #: [T] int64
    positions: Tensor  #: [T] int64, position of each token in its sequence
    slots: Tensor  #: [T] int64, where each token's key and value are written: page * P + offset
    query_start: Tensor  #: [B + 1] int32
    context_lens: Tensor  #: [B] int32, tokens of each sequence in the cache once this step's are written
    page_tables: Tensor  #: [B, max_pages] int32; entries past ceil(context_len / P) are undefined: never read them
    page_size: int
    max_query_len: int
    max_context_len: int

    @property
    def num_tokens(self) -> int:
        return self.token_ids.shape[0]

    @property
    def num_sequences(self) -> int:
        return self.context_lens.shape[0]

    @property
    def decode_only(self) -> bool:
        """Every sequence has exactly one query row."""
        return self.max_query_len == 1


#: ``attention(q [T, H, D], kv [2, N, Hkv, P, D], batch, scale) -> [T, H, D]``
AttentionFn = Callable[[Tensor, Tensor, PagedBatch, float], Tensor]
