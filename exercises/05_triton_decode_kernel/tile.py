"""Load a tile: offsets and masks.

A kernel sees addresses, not shapes. Number ``[row, column]`` of a matrix lies ``row * row_stride + column`` numbers
after its first. A program copies one tile of ``ROWS × COLUMNS`` numbers; where the matrix ends inside the tile, the
lanes past the end must neither read nor write: what lies there belongs to somebody else.

A matrix of 5 × 3 in tiles of 2 × 4 needs 3 programs; the last one has one row, and all have three columns.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor


@triton.jit
def copy_kernel(out_ptr, x_ptr, row_stride, num_rows, num_columns, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """Program i copies rows ``i * ROWS`` and following of ``x`` into ``out``, which has no gaps between its rows.

    ``tl.arange(0, ROWS)`` counts lanes; ``[:, None]`` and ``[None, :]`` make a tile of two rows of lanes.
    """
    raise NotImplementedError("05.tile: copy_kernel is yours to write")


def copy(x: Tensor, rows: int = 2) -> Tensor:
    """Written already: launches one program for every ``rows`` rows of ``x``, whose rows may lie apart."""
    out = torch.empty(x.numel() + 64)[: x.numel()].view(x.shape)  # some room behind it, for a mask that is wrong
    columns = triton.next_power_of_2(x.shape[1])
    grid = (triton.cdiv(x.shape[0], rows),)
    copy_kernel[grid](out, x, x.stride(0), *x.shape, ROWS=rows, COLUMNS=columns)
    return out
