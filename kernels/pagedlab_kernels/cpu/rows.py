"""What a layer does row by row (``rows.c``), where there is a compiler, tensors are float32 and on a CPU."""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor

from pagedlab.errors import InvalidQuantity
from pagedlab_kernels.cpu.native import Placing, native_library
from pagedlab_kernels.cpu.store import as_store
from pagedlab_kernels.kv_format import LayerKV


def runs_natively(*tensors: Tensor) -> bool:
    """Whether the functions below can take these."""
    return (
        all(one.dtype == torch.float32 and one.device.type == "cpu" and one.stride(-1) == 1 for one in tensors)
        and native_library() is not None
    )


def rms_norm(x: Tensor, weight: Tensor, eps: float, *, offset: float = 0.0) -> Tensor:
    """``x: [..., D]`` over the root of its mean square, times ``weight + offset`` -> ``[..., D]``."""
    rows = x.reshape(-1, x.shape[-1])
    out = torch.empty(x.shape)
    _library().rms_norm(
        rows.data_ptr(),
        rows.stride(0),
        weight.data_ptr(),
        offset,
        eps,
        out.data_ptr(),
        *rows.shape,
        torch.get_num_threads(),
    )
    return out


def rotate_and_write(q: Tensor, k: Tensor, v: Tensor, cos: Tensor, sin: Tensor, kv: LayerKV, slots: Tensor) -> Tensor:
    """Rotate ``q: [T, H, D]`` (returned) and ``k: [T, Hkv, D]``; put ``k`` and ``v`` into ``slots: [T]`` of ``kv``.

    ``cos`` and ``sin``: ``[T, 1, D / 2]``; ``kv``: contiguous, in any format. Raises InvalidQuantity, and writes
    nothing, if a slot is not in the pool.
    """
    rotated = torch.empty(q.shape)
    task = Placing(
        *(one.data_ptr() for one in (q, k, v, cos, sin, slots, rotated)),
        as_store(kv),
        *(one.stride(0) for one in (q, k, v)),
        *q.shape[:2],
        *kv.shape[2:5:2],
        kv.shape[3],
        kv.shape[1],
    )
    if _library().rotate_and_write(ctypes.byref(task), torch.get_num_threads()):
        raise bad_slots(slots, kv.shape[1] * kv.shape[3])
    return rotated


def bad_slots(slots: Tensor, num_slots: int) -> InvalidQuantity:
    return InvalidQuantity(
        f"slots from {int(slots.min())} to {int(slots.max())} were to be written; the pool has slots 0 to "
        f"{num_slots - 1}"
    )


def gated(gate: Tensor, up: Tensor, *, gelu: bool) -> Tensor:
    """``activation(gate) * up`` for two ``[T, F]`` of equal strides; the activation is SiLU, or GELU by its tanh."""
    out = torch.empty(gate.shape)
    _library().gated(
        gate.data_ptr(),
        up.data_ptr(),
        gate.stride(0),
        gelu,
        out.data_ptr(),
        *gate.shape,
        torch.get_num_threads(),
    )
    return out


def _library() -> ctypes.CDLL:
    library = native_library()
    assert library is not None, "ask runs_natively first"
    return library
