"""Linear maps: one, and several of the same input computed as one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from operator import is_
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pagedlab_kernels.cpu import groups
from pagedlab_kernels.cpu import linear as panels
from pagedlab_kernels.cpu.decoder import Panels
from pagedlab_kernels.cpu.huge_pages import Region

if TYPE_CHECKING:
    from pagedlab.models.lora import LoraBatch


class Linear(nn.Module):
    """``x @ weight.T + bias`` for ``weight: [out, in]``. How the product is computed is decided here only.

    Before it serves on a CPU the weight is packed into panels of 16 outputs, in which memory is read at full speed
    (``linear.c``). ``matrix`` is ``[out, in]`` all the same, and so is what ``state_dict`` holds.
    """

    def __init__(self, in_features: int, out_features: int, *, bias: bool = False, group_bits: int = 4) -> None:
        """``group_bits``: of a weight, once they are kept in groups."""
        super().__init__()
        self.name = ""  #: in the model, as checkpoints and adapters name it
        self.out_features, self.group_bits = out_features, group_bits
        self.weight = nn.Parameter(torch.empty(out_features, in_features), requires_grad=False)
        self.bias = nn.Parameter(torch.empty(out_features), requires_grad=False) if bias else None
        self.scales: Tensor | None = None  #: ``[out]`` float32, of int8 weights

    @property
    def packed(self) -> bool:
        return self.weight.dim() > 2

    @property
    def matrix(self) -> Tensor:
        """``[out, in]``; a copy where the weight is packed."""
        weight = panels.unpack(self.weight) if self.packed else self.weight
        return weight if self.scales is None else weight * self.scales[:, None]

    def pack(self) -> None:
        """Into panels where this machine can multiply with them; out of panels where it cannot."""
        if not self.packed and panels.fits_panels(self.weight):
            self.weight = nn.Parameter(panels.pack(self.weight), requires_grad=False)
        elif self.packed and self.weight.device.type != "cpu":
            self.weight, self.scales = nn.Parameter(self.matrix, requires_grad=False), None

    def to_int8(self) -> None:
        """Keep the weight in 8 bits, with a scale for each output, if it can be packed; else leave it as it is."""
        matrix = self.matrix
        if self.scales is None and panels.fits_panels(matrix):
            codes, self.scales = panels.quantize_rows(matrix)
            self.weight = nn.Parameter(panels.pack(codes), requires_grad=False)

    def to_groups(self) -> None:
        """Keep the weight in groups of ``group_bits``, if it can be packed so; else leave it as it is."""
        if groups.grouped(self.weight):
            return
        matrix = self.matrix
        if panels.fits_panels(matrix) and groups.fits_groups(matrix):
            self.keep_groups(groups.quantize(matrix, self.group_bits))

    def keep_groups(self, matrix: groups.Groups) -> None:
        """These in place of the weight; their number of outputs must be one of whole panels."""
        self.weight, self.scales = nn.Parameter(groups.pack(matrix), requires_grad=False), None

    def move(self, copy: Callable[[Tensor], Tensor]) -> None:
        """The weight to where ``copy`` puts it."""
        self.weight = nn.Parameter(copy(self.weight), requires_grad=False)

    def panels(self) -> Panels | None:
        """For native code; None where it is not packed."""
        return Panels(self.weight, self.scales, _float32(self.bias)) if self.packed else None

    def rows(self, ids: Tensor) -> Tensor:
        """Rows ``ids: [n]`` of the matrix -> ``[n, in]``: of an embedding, the tokens' vectors."""
        if not self.packed:
            return F.embedding(ids, self.weight)
        rows = panels.rows_of(self.weight, ids)
        return rows if self.scales is None else rows * self.scales[ids, None]

    def forward(self, x: Tensor, lora: LoraBatch | None = None) -> Tensor:
        product = linear(x, self.weight, self.scales, self.bias)
        return product if lora is None else lora.add_to(product, x, self.name)

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        destination[f"{prefix}weight"] = self.matrix


def linear(x: Tensor, weight: Tensor, scales: Tensor | None, bias: Tensor | None) -> Tensor:
    """``weight``: ``[out, in]``, or in panels."""
    if weight.dim() > 2:
        return panels.panel_linear(x, weight, scales, bias)
    if _HAS_ONEDNN and x.dtype == torch.float32 and x.device.type == "cpu":
        # oneDNN's kernel, which F.linear leaves to BLAS in float32: 1.3 to 2 times as fast on x86.
        product: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
        return product
    return F.linear(x, weight, bias)


_HAS_ONEDNN = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


class Stack:
    """Linear maps of one input, computed as one: their weights become slices of a whole, which is read in one go."""

    def __init__(self, *parts: Linear) -> None:
        self.parts = parts
        self._sizes = [part.out_features for part in parts]
        self._joined: tuple[Tensor, Tensor | None, Tensor | None] | None = None
        self._slices: tuple[Tensor, ...] = ()  #: what the parts had as weights when they were joined

    def join(self) -> None:
        """Call it when the parts have their weights, packed or not, where they are to stay."""
        weights: list[Tensor] = [part.weight for part in self.parts]
        if self.joined or len({(*weight.shape[1:], weight.dtype) for weight in weights}) > 1:
            return
        self._joined = (
            torch.cat(weights),
            _cat(part.scales for part in self.parts),
            _cat(part.bias for part in self.parts),
        )
        self._hand_out_slices()

    def move(self, copy: Callable[[Tensor], Tensor]) -> None:
        """The whole to where ``copy`` puts it."""
        assert self._joined is not None
        weight, scales, bias = self._joined
        self._joined = copy(weight), scales, bias
        self._hand_out_slices()

    def _hand_out_slices(self) -> None:
        assert self._joined is not None
        pieces = self._joined[0].split([len(part.weight) for part in self.parts])
        for part, piece in zip(self.parts, pieces, strict=True):
            part.weight = nn.Parameter(piece, requires_grad=False)
        self._slices = tuple(part.weight for part in self.parts)

    @property
    def joined(self) -> bool:
        """Not if somebody has given a part another weight since."""
        return self._joined is not None and all(map(is_, (part.weight for part in self.parts), self._slices))

    def panels(self) -> Panels | None:
        """Of the whole, for native code; None where the parts are not packed and joined."""
        if self._joined is None or not self.joined or not self.parts[0].packed:
            return None
        weight, scales, bias = self._joined
        return Panels(weight, scales, _float32(bias))

    def __call__(self, x: Tensor, lora: LoraBatch | None = None) -> list[Tensor]:
        """Of each part its product, ``[T, out]``."""
        if self._joined is None or not self.joined:
            return [part(x, lora) for part in self.parts]
        products = list(linear(x, *self._joined).split(self._sizes, -1))
        if lora is not None:
            products = [lora.add_to(product, x, part.name) for part, product in zip(self.parts, products, strict=True)]
        return products


def settle(owners: Sequence[Linear | Stack]) -> None:
    """Weights that are packed, one behind the other in memory of their own; once."""
    packed = [owner for owner in owners if owner.panels() is not None]
    if len({_weight(owner).untyped_storage().data_ptr() for owner in packed}) > 1:
        region = Region(_weight(owner).nbytes for owner in packed)
        for owner in packed:
            owner.move(region.copy)


def _weight(owner: Linear | Stack) -> Tensor:
    panels = owner.panels()
    assert panels is not None
    return panels.weight


def _float32(bias: Tensor | None) -> Tensor | None:
    return None if bias is None else bias.float()


def _cat(tensors: Iterable[Tensor | None]) -> Tensor | None:
    """All of them one after the other; None if there are none."""
    there = [tensor for tensor in tensors if tensor is not None]
    return torch.cat(there) if there else None
