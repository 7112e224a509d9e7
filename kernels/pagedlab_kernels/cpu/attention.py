"""cpu_attention: the native kernel behind the interface that every attention path has."""

from __future__ import annotations

import ctypes
import threading

import torch
from torch import Tensor

from pagedlab.errors import InvalidQuantity
from pagedlab_kernels.batch import PagedBatch
from pagedlab_kernels.cpu.native import Attention, native_library
from pagedlab_kernels.cpu.store import as_store
from pagedlab_kernels.kv_format import LayerKV, QuantizedKV
from pagedlab_kernels.reference import gather_attention

_this_thread = threading.local()


def cpu_attention(q: Tensor, kv: LayerKV, batch: PagedBatch, scale: float, *, window: int | None = None) -> Tensor:
    """``q: [T, H, D]``, ``kv: [2, N, Hkv, P, D]`` -> ``[T, H, D]``, in the CPU's memory.

    Decode rows and prefill chunks, in any mix, over pages of every format. Nothing is gathered, nothing that grows with
    the context is allocated, and all arithmetic is made in float32. Without a compiler, pages are gathered instead.

    Raises ValueError where tensors do not fit together, and InvalidQuantity for a page outside the pool, rows out of
    order, a context that its page table cannot hold or an empty window.
    """
    batch.check_fits(q, kv, window)
    if q.device.type != "cpu":
        raise ValueError(f"the CPU path needs tensors in the CPU's memory; these are on {q.device}")
    library = native_library()
    if library is None:
        return fallback_attention(q, kv, batch, scale, window=window)
    queries = q.float().contiguous()
    out = torch.empty_like(queries, memory_format=torch.contiguous_format)
    tables = batch.page_tables if batch.page_tables.stride(1) == 1 else batch.page_tables.contiguous()
    query_start, context_lens = batch.query_start.contiguous(), batch.context_lens.contiguous()
    num_tokens, num_heads, head_dim = q.shape
    task = Attention(  # by position, in the order of its fields: names cost as much as a short context
        queries.data_ptr(),
        out.data_ptr(),
        as_store(kv),
        tables.data_ptr(),
        query_start.data_ptr(),
        context_lens.data_ptr(),
        tables.stride(0),
        tables.shape[1],
        num_tokens,
        batch.num_sequences,
        num_heads,
        kv.shape[2],
        head_dim,
        batch.page_size,
        kv.shape[1],
        batch.reach(window),
        scale,
    )
    fault = library.paged_attention(ctypes.byref(task), torch.get_num_threads())
    if fault:
        raise in_words(fault, batch, kv.shape[1])
    return out.to(q.dtype)


def in_words(fault: int, batch: PagedBatch, num_pages: int) -> Exception:
    """What the kernel's return value means."""
    if fault == 1:
        return MemoryError(f"no memory for what is computed on the way for {batch.num_tokens} rows")
    room = f"{batch.page_tables.shape[1]} pages of {batch.page_size} tokens"
    return InvalidQuantity(
        {
            2: f"query_start does not rise from 0 to {batch.num_tokens}, the number of query rows",
            3: f"a context is shorter than its own query rows, or longer than its page table ({room})",
            4: f"a page table names a page that is not there: the pool has pages 0 to {num_pages - 1}",
        }[fault]
    )


def fallback_attention(q: Tensor, kv: LayerKV, batch: PagedBatch, scale: float, *, window: int | None = None) -> Tensor:
    """Gathers into memory that is kept from call to call: fresh memory costs as much as the copy itself."""
    if isinstance(kv, QuantizedKV):
        return gather_attention(q, kv, batch, scale, window=window)
    pages = -(-batch.max_context_len // batch.page_size)
    needed = 2 * pages * kv[0, 0].numel()
    scratch: Tensor | None = getattr(_this_thread, "scratch", None)
    if scratch is None or scratch.numel() < needed or scratch.dtype != kv.dtype:
        with torch.inference_mode(False):  # or it could not be written outside of inference mode, later
            scratch = torch.empty(1 << (needed - 1).bit_length(), dtype=kv.dtype)
        _this_thread.scratch = scratch
    return gather_attention(q, kv, batch, scale, window=window, scratch=scratch)
