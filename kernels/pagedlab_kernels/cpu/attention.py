"""cpu_attention: the native kernel behind the interface that every attention path has."""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor

from pagedlab_kernels.batch import PagedBatch
from pagedlab_kernels.cpu.native import Attention, native_library
from pagedlab_kernels.reference import gather_attention


def cpu_attention(q: Tensor, kv: Tensor, batch: PagedBatch, scale: float) -> Tensor:
    """``q: [T, H, D]``, ``kv: [2, N, Hkv, P, D]`` -> ``[T, H, D]``, all float32 on the CPU.

    Decode rows and prefill chunks, in any mix. Nothing is gathered and nothing that grows with the context is
    allocated. Without a compiler, or for another dtype, pages are gathered instead.
    """
    library = native_library()
    if library is None or q.dtype != torch.float32 or kv.dtype != torch.float32:
        return gather_attention(q, kv, batch, scale)
    _check(q, kv, batch)
    q, out = q.contiguous(), torch.empty_like(q, memory_format=torch.contiguous_format)
    tables = batch.page_tables if batch.page_tables.stride(1) == 1 else batch.page_tables.contiguous()
    query_start, context_lens = batch.query_start.contiguous(), batch.context_lens.contiguous()
    task = Attention(
        q=q.data_ptr(),
        k=kv[0].data_ptr(),
        v=kv[1].data_ptr(),
        out=out.data_ptr(),
        tables=tables.data_ptr(),
        query_start=query_start.data_ptr(),
        context_lens=context_lens.data_ptr(),
        table_stride=tables.stride(0),
        num_sequences=batch.num_sequences,
        num_heads=q.shape[1],
        num_kv_heads=kv.shape[2],
        head_dim=q.shape[2],
        page_size=kv.shape[3],
        scale=scale,
    )
    if library.paged_attention(ctypes.byref(task), torch.get_num_threads()) != 0:
        raise MemoryError("no memory for partial attention results")
    return out


def _check(q: Tensor, kv: Tensor, batch: PagedBatch) -> None:
    """What the kernel takes for granted: a wrong shape must not become a wild pointer."""
    _, _, num_kv_heads, page_size, head_dim = kv.shape
    if q.dim() != 3 or q.shape[2] != head_dim or q.shape[1] % num_kv_heads:
        raise ValueError(f"queries of shape {tuple(q.shape)} do not fit a cache of shape {tuple(kv.shape)}")
    if not kv.is_contiguous() or kv.device.type != "cpu" or q.device.type != "cpu":
        raise ValueError("the CPU kernel needs queries and one contiguous cache tensor in host memory")
    if page_size != batch.page_size:
        raise ValueError(f"the batch says pages of {batch.page_size} tokens, the cache has pages of {page_size}")
    for name in ("page_tables", "query_start", "context_lens"):
        if getattr(batch, name).dtype != torch.int32:
            raise ValueError(f"{name} is {getattr(batch, name).dtype}; it must be int32")
    if (
        batch.page_tables.shape[1] * page_size < batch.max_context_len
        or batch.page_tables.shape[0] < batch.num_sequences
    ):
        raise ValueError(f"page tables of shape {tuple(batch.page_tables.shape)} are too small for the batch")
