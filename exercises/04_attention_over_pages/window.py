"""Sliding windows: attend to the last W tokens, and let go of the pages behind.

Some layers of some models see only the last W tokens, their own included. What lies behind will never be read again, so
its pages can be given back while the sequence runs on. Its table then says -1 (a hole) for each page that is gone.

With W = 7 and pages of 4, the token at position 21 sees positions 15 to 21: one slot of logical page 3, all of page 4,
two slots of page 5. Logical pages 0, 1 and 2 are gone for good.
"""

import torch
from torch import Tensor


def num_behind(position: int, page_size: int, window: int) -> int:
    """How many leading pages neither the token at ``position`` nor any later one can see any more."""
    raise NotImplementedError("04.window: num_behind is yours to write")


def attend(query: Tensor, kv: Tensor, pages: list[int], position: int, window: int, scale: float) -> Tensor:
    """``[D]``: attention of the token at ``position`` to the last ``window`` tokens, for one head.

    ``query: [D]``, ``kv: [2, N, P, D]``. Holes must not be followed, and what lies outside the window, before it or
    after the position, must not get in: it may be nan.
    """
    raise NotImplementedError("04.window: attend is yours to write")
