"""A layer's keys and values as the C code sees them."""

from __future__ import annotations

from pagedlab_kernels.cpu.native import Store
from pagedlab_kernels.kv_format import KV_DTYPES, PLAIN, LayerKV, QuantizedKV

#: The C enum ``Format``.
_FORMATS = {PLAIN.get(name, name): number for number, name in enumerate(KV_DTYPES)}


def as_store(kv: LayerKV) -> Store:
    """``kv: [2, N, Hkv, P, D]`` contiguous. Lives no longer than its tensors."""
    kv_dtype, parts = (kv.kv_dtype, kv.parts) if isinstance(kv, QuantizedKV) else (kv.dtype, (kv,))
    numbers, scales, zeros = [part.data_ptr() for part in parts] + [None] * (3 - len(parts))
    return Store(numbers, scales, zeros, parts[0].shape[-1] * parts[0].itemsize, _FORMATS[kv_dtype])
