"""What attention needs to know about one step: the batch as tensors.

Notation used in every kernel: T tokens in the step, B sequences, H query heads, Hkv key-value heads,
G = H / Hkv query heads that share one key-value head, D head_dim, P page_size, N pages in the pool, W window.

The cache of one layer is one tensor ``kv: [2, N, Hkv, P, D]``; ``kv[0]`` holds keys, ``kv[1]`` values.
One page of one head, ``kv[0, page, head]``, is a contiguous ``[P, D]`` tile. Its numbers may be narrower than those of
the queries, or quantised (``kv_format.py``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from pagedlab.errors import InvalidQuantity
from pagedlab_kernels.kv_format import PLAIN, LayerKV

_DTYPES = frozenset(PLAIN.values())


@dataclass(frozen=True)
class PagedBatch:
    """One step's chunks, back to back: rows ``query_start[b]:query_start[b + 1]`` belong to sequence b.

    The query rows of a sequence are its *last* tokens: row i of sequence b stands at position
    ``context_lens[b] - query_lens[b] + i`` and attends to every position up to and including its own; with a window W,
    to the last W of them. A decode row is a chunk of one; prefill, chunked prefill and decode are not told apart.

    Of a sequence's page table, entries past ceil(context_len / P) are undefined, and so, with a window, are those of
    pages that lie wholly behind what its first row sees: the pages have been given back. Neither may be followed.
    """

    token_ids: Tensor  #: [T] int64
    positions: Tensor  #: [T] int64, position of each token in its sequence
    slots: Tensor  #: [T] int64, where each token's key and value are written: page * P + offset
    query_start: Tensor  #: [B + 1] int32
    context_lens: Tensor  #: [B] int32, tokens of each sequence in the cache once this step's are written
    page_tables: Tensor  #: [B, max_pages] int32: logical page -> physical page
    page_size: int
    max_query_len: int
    max_context_len: int
    common_pages: int = 0  #: so many pages at the beginning of every table are the same, full ones; 0: not known

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

    def reach(self, window: int | None) -> int:
        """How many tokens a row attends to at most, itself included: without a window, all there can be."""
        return self.max_context_len if window is None else window

    def check_fits(self, q: Tensor, kv: LayerKV, window: int | None = None) -> None:
        """Raises ValueError unless ``q``, ``kv`` and this batch agree in shape and device, their types are known ones,
        the cache is contiguous and the window not empty. A kernel takes that for granted: it sees addresses, not
        shapes."""
        shapes = f"queries of shape {tuple(q.shape)} do not fit a cache of shape {tuple(kv.shape)}"
        if q.dim() != 3 or kv.dim() != 5 or kv.shape[0] != 2:
            raise ValueError(f"{shapes}: they must be [T, H, D] and [2, N, Hkv, P, D]")
        if q.shape[2] != kv.shape[4] or q.shape[1] % kv.shape[2]:
            raise ValueError(f"{shapes}: D must be equal, and H a multiple of Hkv")
        if q.dtype not in _DTYPES or kv.dtype not in _DTYPES or q.device != kv.device:
            raise ValueError(
                f"queries are {q.dtype} on {q.device}, the cache is {kv.dtype} on {kv.device}; "
                f"each may be {', '.join(PLAIN)}, and both must be on one device"
            )
        if not kv.is_contiguous():
            raise ValueError("the cache must be one contiguous tensor")
        if kv.shape[3] != self.page_size:
            raise ValueError(f"the batch says pages of {self.page_size} tokens, the cache has pages of {kv.shape[3]}")
        if window is not None and window < 1:
            raise InvalidQuantity(f"a window of {window} tokens was asked for; a token sees at least itself")
        self.check_indices(q.device)

    def check_indices(self, device: torch.device) -> None:
        """Raises ValueError unless the tensors that lead to sequences and pages are what they are said to be, on
        ``device``."""
        pages = max(self.page_tables.shape[-1], -(-self.max_context_len // self.page_size))
        indices = {
            "query_start": (self.num_sequences + 1,),
            "context_lens": (self.num_sequences,),
            "page_tables": (self.num_sequences, pages),
        }
        for name, shape in indices.items():
            index = getattr(self, name)
            if index.shape != shape or index.dtype != torch.int32 or index.device != device:
                raise ValueError(
                    f"{name} is {index.dtype} of shape {tuple(index.shape)} on {index.device}; "
                    f"it must be torch.int32 of shape {shape} on {device}"
                )


class AttentionFn(Protocol):
    """``q: [T, H, D]``, ``kv: [2, N, Hkv, P, D]`` -> ``[T, H, D]``.

    ``window``: a row attends to this many tokens at most, its own the last of them. It is named only where a layer has
    one: a function without that parameter serves every model without windows.
    """

    def __call__(
        self, q: Tensor, kv: LayerKV, batch: PagedBatch, scale: float, *, window: int | None = None
    ) -> Tensor: ...
