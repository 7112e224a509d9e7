"""Matrices in groups of 4 or 8 bits (``linear_groups.h`` says why), and how they lie in panels.

32 weights that follow each other in a row share a scale and a least value, both float16: 5 bits a weight. With 8 bits
for each weight the least value is -128 scales, and needs no place: 8.5 bits.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from pagedlab_kernels.kv_format import KV_DTYPES

GROUP = 32  #: weights that share a scale; the C constant of the same name
PANEL = 16  #: outputs of a panel; the C constant of the same name
FORMATS = {4: len(KV_DTYPES), 8: len(KV_DTYPES) + 1}  #: the C constants GROUPS4 and GROUPS8
_LARGEST_FLOAT16 = 65504.0


class Groups(NamedTuple):
    """A matrix ``[out, in]`` whose weights are ``scale * code + least``."""

    codes: Tensor  #: [out, in] uint8, each below 2 ** bits
    scales: Tensor  #: [out, in / GROUP] float16
    least: Tensor | None  #: the same, with 4 bits; with 8 it is -128 scales

    @property
    def bits(self) -> int:
        return 8 if self.least is None else 4

    @property
    def matrix(self) -> Tensor:
        """``[out, in]`` float32; only the sum is rounded."""
        scales = self.scales.float()[..., None]
        least = -128 * scales if self.least is None else self.least.float()[..., None]
        return torch.addcmul(least, scales, self.codes.unflatten(1, (-1, GROUP)).float()).flatten(1)


def fits_groups(weight: Tensor) -> bool:
    """Whether ``weight: [out, in]`` is whole groups, of numbers that float16 can scale."""
    return weight.shape[1] % GROUP == 0 and bool(weight.abs().amax() <= _LARGEST_FLOAT16)


def quantize(weight: Tensor, bits: int) -> Groups:
    """The ladder of a group starts at its least number and ends at its largest (4 bits), or reaches as far up as down
    (8 bits); each number takes the nearest step."""
    numbers = weight.float().unflatten(1, (-1, GROUP))
    low, high = numbers.aminmax(dim=-1)
    if bits == 4:
        scales, least = ((high - low) / 15).half(), low.half()
        starts = least.float()
    else:
        scales, least = (torch.maximum(high, -low) / 127).half(), None
        starts = -128 * scales.float()
    steps = torch.where(scales == 0, 1.0, scales.float())[..., None]
    codes = ((numbers - starts[..., None]) / steps).round_().clamp_(0, 2**bits - 1)
    return Groups(codes.to(torch.uint8).flatten(1), scales, least)


def pack(matrix: Groups) -> Tensor:
    """-> ``[out / PANEL, in / GROUP, bytes]`` uint8: of each group scales, least values, words."""
    codes = matrix.codes.unflatten(1, (-1, GROUP))
    if matrix.bits == 4:
        codes = codes[..., 0::2] | codes[..., 1::2] << 4
    words = codes.unflatten(2, (-1, 4)).unflatten(0, (-1, PANEL)).permute(0, 2, 3, 1, 4)
    shared = [one for one in (matrix.scales, matrix.least) if one is not None]
    halves = [one.unflatten(0, (-1, PANEL)).transpose(1, 2).contiguous().view(torch.uint8) for one in shared]
    return torch.cat((*halves, words.flatten(2)), dim=2)


def grouped(panels: Tensor) -> bool:
    """Whether these are panels of groups."""
    return panels.dtype == torch.uint8


def bits_of(panels: Tensor) -> int:
    return 4 if panels.shape[2] == PANEL * (4 + GROUP // 2) else 8


def unpack(panels: Tensor) -> Groups:
    """What ``pack`` was given."""
    return rows_of(panels, torch.arange(len(panels) * PANEL))


def rows_of(panels: Tensor, ids: Tensor) -> Groups:
    """Rows ``ids: [n]`` of the packed matrix."""
    bits, panel, output = bits_of(panels), ids // PANEL, ids % PANEL
    halves, words = panels.split((PANEL * (4 if bits == 4 else 2), PANEL * GROUP * bits // 8), dim=2)
    codes = words.unflatten(2, (-1, PANEL, 4))[panel, :, :, output].flatten(1)
    if bits == 4:
        codes = torch.stack((codes & 15, codes >> 4), dim=-1).flatten(1)
    shared = halves.view(torch.float16).unflatten(2, (-1, PANEL))[panel, :, :, output]
    return Groups(codes, shared[:, :, 0], shared[:, :, 1] if bits == 4 else None)
