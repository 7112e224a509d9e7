"""KV formats: in what numbers the keys and values of a layer are kept.

A vector is the key or the value of one token in one KV head, D numbers. What it is kept in, and how far a number x may
be from the one that was written (``ulp``: float32's own rounding, at most 2^-21 of the vector's largest magnitude):

    format      bytes a vector    error of x at most
    float32     4 D               0
    bfloat16    2 D               |x| / 256
    float16     2 D               |x| / 2048, or 2^-25 below 2^-14; infinite beyond 65504
    int8        D + 8             scale / 2 + ulp, where scale = (largest - smallest) / 255
    int4        D / 2 + 8         scale / 2 + ulp, where scale = (largest - smallest) / 15
    fp8         D + 4             |x| / 16 + ulp; scale / 1024 + ulp below scale / 64, where scale = largest |x| / 448

Attention over normally distributed numbers is then off, in the root mean square, by 0.2 % (bfloat16), 0.03 % (float16),
0.7 % (int8), 12 % (int4) and 3 % (fp8).

int8 and int4 are asymmetric, as LMDeploy's are: a code is a step on a ladder that starts at ``zero``, the vector's own
smallest number, and rises by ``scale``. So a vector whose numbers are all equal is kept exactly. fp8 is e4m3: sign, 4
bits of exponent, 3 of mantissa, at most 448 (Micikevicius et al., arXiv:2209.05433). vLLM and SGLang give it one scale
for a whole tensor, 1 unless somebody calibrated it, which cuts off at 448 and loses what is below 2^-10; a scale for
each vector costs 4 bytes and needs no calibration. Scales and zeros are float32: no vector is too large for them.
A number that is not finite makes its whole vector NaN in these three.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, TypeAlias

import torch
from torch import Tensor

from pagedlab.errors import InvalidConfig

PLAIN = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
KV_DTYPES = (*PLAIN, "int8", "int4", "fp8")

_LEVELS = {"int8": 255, "int4": 15}  #: steps of the ladder
_LARGEST_FP8 = 448.0


@dataclass(frozen=True)
class QuantizedKV:
    """Keys and values of one layer in int8, int4 or fp8, each vector with a scale of its own.

    It has the shape and the dtype of the tensor that it stands for. int4 keeps two codes a byte: number i in the low
    half of byte i, number i + D / 2 in the high half.
    """

    kv_dtype: str  #: "int8", "int4" or "fp8"
    codes: Tensor  #: [2, N, Hkv, P, D] uint8; int4: [2, N, Hkv, P, D / 2]
    scales: Tensor  #: [2, N, Hkv, P] float32
    zeros: Tensor | None = None  #: [2, N, Hkv, P] float32: what code 0 means; fp8 has none

    def __post_init__(self) -> None:
        if len(self.parts) != len(kv_parts(self.kv_dtype, self.shape[-1])):
            raise ValueError(f"{self.kv_dtype} pages have {'zeros' if self.zeros is None else 'no zeros'}")
        if self.codes.dtype != torch.uint8:
            raise ValueError(f"codes are {self.codes.dtype}; they must be torch.uint8")
        for part in self.parts[1:]:
            if part.dtype != torch.float32 or part.shape != self.codes.shape[:-1] or part.device != self.codes.device:
                raise ValueError(
                    f"scales and zeros must be torch.float32 of shape {tuple(self.codes.shape[:-1])} on "
                    f"{self.codes.device}; there are {part.dtype} of shape {tuple(part.shape)} on {part.device}"
                )

    @cached_property
    def parts(self) -> tuple[Tensor, ...]:
        return (self.codes, self.scales) if self.zeros is None else (self.codes, self.scales, self.zeros)

    @cached_property
    def shape(self) -> torch.Size:
        *leading, width = self.codes.shape
        return torch.Size((*leading, 2 * width if self.kv_dtype == "int4" else width))

    @property
    def dtype(self) -> torch.dtype:
        return torch.float32

    @property
    def device(self) -> torch.device:
        return self.codes.device

    def dim(self) -> int:
        return self.codes.dim()

    def is_contiguous(self) -> bool:
        return all(part.is_contiguous() for part in self.parts)


#: Keys and values of one layer: ``[2, N, Hkv, P, D]`` in float32, bfloat16 or float16, or quantised.
LayerKV: TypeAlias = Tensor | QuantizedKV


def kv_parts(kv_dtype: str, head_dim: int) -> list[tuple[tuple[int, ...], torch.dtype]]:
    """The tensors that pages of this format are kept in: of each, what one vector has in it, as a shape and a dtype.

    One tensor, or codes, scales and (but for fp8) zeros. Raises InvalidConfig for a format that there is not.
    """
    if kv_dtype in PLAIN:
        return [((head_dim,), PLAIN[kv_dtype])]
    if kv_dtype not in KV_DTYPES:
        raise InvalidConfig(f"kv_dtype={kv_dtype!r} was asked for; there are {', '.join(KV_DTYPES)}")
    if kv_dtype == "int4" and head_dim % 2:
        raise InvalidConfig(f"int4 keeps two numbers a byte, and head_dim is {head_dim}; use kv_dtype='int8'")
    width = head_dim // 2 if kv_dtype == "int4" else head_dim
    own = [((), torch.float32)] * (1 if kv_dtype == "fp8" else 2)
    return [((width,), torch.uint8), *own]


def as_layer(kv_dtype: str, parts: list[Tensor]) -> LayerKV:
    """The tensors that ``kv_parts`` asks for, each with ``[2, N, Hkv, P]`` in front, as keys and values of a layer."""
    return parts[0] if kv_dtype in PLAIN else QuantizedKV(kv_dtype, *parts)


class WriteFn(Protocol):
    """``k`` and ``v: [T, Hkv, D]`` into their ``slots: [T]`` of ``kv: [2, N, Hkv, P, D]``: see ``write_kv``."""

    def __call__(self, k: Tensor, v: Tensor, kv: LayerKV, slots: Tensor) -> None: ...


def write_kv(k: Tensor, v: Tensor, kv: LayerKV, slots: Tensor) -> None:
    """Put the keys and values of T new tokens, ``k`` and ``v: [T, Hkv, D]``, into their ``slots: [T]``, in the format
    that is kept there. Every slot must lie in the pool. torch raises IndexError for one beyond the end, and counts a
    negative one from there; in Triton (``write_kv.py``) neither is written."""
    page_size = kv.shape[3]
    page, offset = slots // page_size, slots % page_size
    if isinstance(kv, QuantizedKV):
        written = quantize(torch.stack((k, v), dim=1), kv.kv_dtype)
        for part, new in zip(kv.parts, written, strict=True):
            part[:, page, :, offset] = new
    else:
        kv[0, page, :, offset] = k.to(kv.dtype)
        kv[1, page, :, offset] = v.to(kv.dtype)


def gather_pages(kv: LayerKV, pages: Tensor, *, out: Tensor | None = None) -> Tensor:
    """Copies of ``pages: [n]``, one after the other -> ``[2, Hkv, n, P, D]``, in float32 if they were quantised.

    ``out`` may lend memory of that shape to a plain format.
    """
    if isinstance(kv, QuantizedKV):
        return dequantize(kv.kv_dtype, *(part.transpose(1, 2).index_select(2, pages) for part in kv.parts))
    return torch.index_select(kv.transpose(1, 2), 2, pages, out=out)


def quantize(x: Tensor, kv_dtype: str) -> tuple[Tensor, ...]:
    """Vectors ``x: [..., D]`` as codes, scales and (but for fp8) zeros, in the shapes and dtypes of ``kv_parts``."""
    x = x.float()
    if kv_dtype == "fp8":
        scales = x.abs().amax(-1) / _LARGEST_FP8
        # Not every torch rounds what is beyond 448 back to it: some make it NaN.
        numbers = (x / _divisible(scales)).clamp(-_LARGEST_FP8, _LARGEST_FP8)
        return numbers.to(torch.float8_e4m3fn).view(torch.uint8), scales
    levels = _LEVELS[kv_dtype]
    zeros, largest = x.aminmax(dim=-1)
    scales = (largest - zeros) / levels
    codes = ((x - zeros[..., None]) / _divisible(scales)).round_().clamp_(max=levels).to(torch.uint8)
    if kv_dtype == "int4":
        low, high = codes.chunk(2, dim=-1)
        codes = low | high << 4
    return codes, scales, zeros


def dequantize(kv_dtype: str, codes: Tensor, scales: Tensor, zeros: Tensor | None = None) -> Tensor:
    """What ``quantize`` wrote, as float32 ``[..., D]``."""
    if zeros is None:
        return codes.view(torch.float8_e4m3fn).float() * scales[..., None]
    if kv_dtype == "int4":
        codes = torch.cat((codes & 15, codes >> 4), dim=-1)
    return torch.addcmul(zeros[..., None], scales[..., None], codes.float())


def _divisible(scales: Tensor) -> Tensor:
    """A vector of one number over and over has scale 0, and code 0 whatever it is divided by."""
    return torch.where(scales == 0, 1.0, scales)[..., None]
