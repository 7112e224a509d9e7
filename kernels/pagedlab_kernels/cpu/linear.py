"""Matrices in panels, and products with them (``linear.c`` says why). Groups in panels: ``groups.py``."""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor

from pagedlab_kernels.cpu import groups
from pagedlab_kernels.cpu.groups import PANEL
from pagedlab_kernels.cpu.native import Matrix, native_library
from pagedlab_kernels.kv_format import KV_DTYPES

_FORMATS = {torch.float32: 0, torch.bfloat16: 1, torch.float16: 2, torch.int8: KV_DTYPES.index("int8")}


def fits_panels(weight: Tensor) -> bool:
    """Whether ``weight: [out, in]`` can be packed here, in 8 bits as well, and multiplied with."""
    outputs, inputs = weight.shape
    return (
        weight.device.type == "cpu"
        and weight.dtype in _FORMATS
        and outputs % PANEL == 0
        and inputs % 2 == 0
        and native_library() is not None
    )


def pack(weight: Tensor) -> Tensor:
    """``weight: [out, in]`` -> ``[out / PANEL, in, PANEL]``; int8, whose numbers are multiplied in pairs
    (``linear_int8.h``) -> ``[out / PANEL, in / 2, PANEL, 2]``."""
    panels = weight.unflatten(0, (-1, PANEL))
    if weight.dtype == torch.int8:
        panels = panels.unflatten(2, (-1, 2))
    return panels.transpose(1, 2).contiguous()


def unpack(panels: Tensor) -> Tensor:
    """What ``pack`` was given; of groups, the matrix that they stand for."""
    if groups.grouped(panels):
        return groups.unpack(panels).matrix
    return panels.transpose(1, 2).flatten(0, 1).flatten(1)


def rows_of(panels: Tensor, ids: Tensor) -> Tensor:
    """Rows ``ids: [n]`` of the packed matrix -> ``[n, in]``."""
    if groups.grouped(panels):
        return groups.rows_of(panels, ids).matrix
    return panels[ids // PANEL, :, ids % PANEL].flatten(1)


def in_features(panels: Tensor) -> int:
    return panels.shape[1] * groups.GROUP if groups.grouped(panels) else panels[0].numel() // PANEL


def quantize_rows(weight: Tensor) -> tuple[Tensor, Tensor]:
    """``weight: [out, in]`` -> int8 codes of the same shape and ``scales: [out]`` float32; about ``codes * scales``.

    Each row has a scale of its own, its largest number over 127: symmetric, for weights lie around 0.
    """
    scales = weight.float().abs().amax(1) / 127
    codes = weight.float() / torch.where(scales == 0, 1.0, scales)[:, None]
    return codes.round_().to(torch.int8), scales


def panel_linear(x: Tensor, panels: Tensor, scales: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
    """``x: [T, in]`` times the transposed matrix, times ``scales: [out]``, plus ``bias: [out]`` -> ``[T, out]``.

    Computed in float32, and returned in the type of ``x``. A row's result does not depend on the other rows. Beside
    int8, the numbers of ``x`` are rounded to 16 bits, 64 of them to multiples of one step.
    """
    library = native_library()
    if library is None or x.shape[-1] != in_features(panels) or x.dim() != 2 or not panels.is_contiguous():
        raise ValueError(
            f"x of shape {tuple(x.shape)} does not fit panels of shape {tuple(panels.shape)}, or there is no compiler"
        )
    numbers = x.float() if x.stride(1) == 1 else x.float().contiguous()
    scales, bias = (None if one is None else one.float() for one in (scales, bias))
    out = torch.empty(x.shape[0], len(panels) * PANEL)
    fault = library.panel_product(
        ctypes.byref(as_matrix(panels, scales, bias)),
        numbers.data_ptr(),
        numbers.stride(0),
        out.data_ptr(),
        x.shape[0],
        False,
        torch.get_num_threads(),
    )
    if fault:
        raise MemoryError(f"no memory to multiply {x.shape[0]} rows of {x.shape[1]} numbers")
    return out.to(x.dtype)


def as_matrix(panels: Tensor, scales: Tensor | None, bias: Tensor | None) -> Matrix:
    """What the C functions take; ``scales`` and ``bias``: float32. Lives no longer than the tensors."""
    return Matrix(
        panels.data_ptr(),
        None if scales is None else scales.data_ptr(),
        None if bias is None else bias.data_ptr(),
        groups.FORMATS[groups.bits_of(panels)] if groups.grouped(panels) else _FORMATS[panels.dtype],
        in_features(panels),
        len(panels) * PANEL,
    )
