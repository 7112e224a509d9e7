"""Who attends in the GPU suite: each peer takes a case and returns a function that attends once.

What can be prepared is prepared before: layouts, plans, compilation. A peer that is not installed, or cannot do what is
asked, raises Unavailable with the reason.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.gpu_cases import Case, is_quantised
from pagedlab_kernels import get_attention

Attend = Callable[[], Tensor]  #: -> [B * rows, H, D]


class Unavailable(Exception):
    """Says why."""


def pagedlab(case: Case) -> Attend:
    attention = get_attention("triton")
    return lambda: attention(case.q, case.kv, case.batch, case.scale)


def sdpa(backend: str) -> Callable[[Case], Attend]:
    """torch's attention over contiguous, padded tensors, by one of its backends."""

    def prepare(case: Case) -> Attend:
        from torch.nn.attention import SDPBackend, sdpa_kernel
        from torch.nn.attention.bias import causal_lower_right

        _plain_only(case)
        shape, q, (keys, values) = case.shape, case.dense_q(), case.contiguous
        mask = causal_lower_right(shape.rows, shape.context) if 1 < shape.rows < shape.context else None
        causal, chosen = shape.rows == shape.context, getattr(SDPBackend, backend)

        def attend() -> Tensor:
            with sdpa_kernel(chosen):
                out = F.scaled_dot_product_attention(
                    q, keys, values, mask, is_causal=causal, scale=case.scale, enable_gqa=True
                )
            return out.transpose(1, 2).flatten(0, 1)

        return attend

    return prepare


def varlen(case: Case) -> Attend:
    """torch's FlashAttention over packed sequences: over pages where this version has tables, else contiguous."""
    _plain_only(case)
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError as error:
        raise Unavailable(f"torch {torch.__version__} has none: {error}") from error
    import inspect

    shape, options = case.shape, inspect.signature(varlen_attn).parameters
    ends = torch.arange(0, shape.batch + 1, dtype=torch.int32, device=case.q.device) * shape.context
    arguments: dict[str, Any] = {"scale": case.scale, "enable_gqa": True, "window_size": (-1, 0)}
    if unknown := set(arguments) - set(options):
        raise Unavailable(f"torch {torch.__version__}'s takes no {', '.join(sorted(unknown))}")
    if "block_table" in options and isinstance(case.kv, Tensor):
        keys, values = case.kv.transpose(2, 3).contiguous()  # [N, P, Hkv, D]
        arguments |= {"block_table": case.batch.page_tables, "seqused_k": case.batch.context_lens}
        packed: Tensor | None = None
    else:
        keys, values = case.contiguous.transpose(2, 3).flatten(1, 2).contiguous()  # [B * L, Hkv, D]
        packed = ends

    def attend() -> Tensor:
        out = varlen_attn(case.q, keys, values, case.batch.query_start, packed, shape.rows, shape.context, **arguments)
        assert isinstance(out, Tensor)
        return out

    return attend


def flashinfer(case: Case) -> Attend:
    _plain_only(case)
    try:
        import flashinfer as library
    except ImportError as error:
        raise Unavailable(f"flashinfer cannot be imported: {error}") from error
    shape, heads, device = case.shape, case.shape.heads, case.q.device
    pages = shape.context // shape.page_size
    starts = torch.arange(0, shape.batch + 1, dtype=torch.int32, device=device) * pages
    last = torch.full((shape.batch,), shape.page_size, dtype=torch.int32, device=device)
    tables, room = case.batch.page_tables.flatten(), torch.empty(256 << 20, dtype=torch.uint8, device=device)
    sizes = (heads.query, heads.kv, heads.dim, shape.page_size)
    if shape.rows == 1:
        wrapper = library.BatchDecodeWithPagedKVCacheWrapper(room, "HND", use_tensor_cores=heads.query >= 4 * heads.kv)
        wrapper.plan(starts, tables, last, *sizes, q_data_type=case.q.dtype, kv_data_type=case.q.dtype)
    else:
        wrapper = library.BatchPrefillWithPagedKVCacheWrapper(room, "HND")
        start, types = case.batch.query_start, {"q_data_type": case.q.dtype, "kv_data_type": case.q.dtype}
        wrapper.plan(start, starts, tables, last, *sizes, causal=True, **types)
    keys, values = case.kv
    return lambda: wrapper.run(case.q, (keys, values))


def pallas(case: Case) -> Attend:
    """JAX's paged decode for GPUs. Its calls are launched from Python one by one: small ones show that."""
    _plain_only(case)
    if case.shape.rows > 1:
        raise Unavailable("it has decode only")
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    try:
        import jax
        from jax.experimental.pallas.ops.gpu.paged_attention import paged_attention
    except ImportError as error:
        raise Unavailable(f"jax cannot be imported: {error}") from error
    if jax.default_backend() != "gpu":
        raise Unavailable("jax sees no GPU")
    assert isinstance(case.kv, Tensor)
    keys, values = (jax.dlpack.from_dlpack(part.transpose(0, 1).contiguous()) for part in case.kv)  # [Hkv, N, P, D]
    q = jax.dlpack.from_dlpack((case.q * case.scale).contiguous())
    tables, lengths = (jax.dlpack.from_dlpack(one) for one in (case.batch.page_tables, case.batch.context_lens))
    splits = max(1, min(16, case.shape.context // case.shape.page_size // 8))

    def attend() -> Tensor:
        out = paged_attention(q, keys, values, tables, lengths, k_splits=splits)
        out.block_until_ready()
        return torch.from_dlpack(out)

    return attend


#: The first is us. Those named "SDPA" read contiguous memory, which no paged engine has.
PEERS: dict[str, Callable[[Case], Attend]] = {
    "pagedlab": pagedlab,
    "SDPA, flash": sdpa("FLASH_ATTENTION"),
    "SDPA, efficient": sdpa("EFFICIENT_ATTENTION"),
    "SDPA, cuDNN": sdpa("CUDNN_ATTENTION"),
    "SDPA, math": sdpa("MATH"),
    "torch varlen": varlen,
    "FlashInfer": flashinfer,
    "JAX Pallas": pallas,
}


def _plain_only(case: Case) -> None:
    if is_quantised(case):
        raise Unavailable(f"pages in {case.shape.kv_dtype} are ours alone")
