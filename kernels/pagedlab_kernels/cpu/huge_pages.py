"""Memory in pages of 2 MiB, where the system gives them.

A processor finds memory through page tables too: its own, whose pages have 4 KiB. It remembers where some thousands of
pages lie, and a model's weights have a hundred thousand: reading them from end to end, it looks every one of them up.
With pages 512 times as large it need not, and a decode step of SmolLM2 takes about a sixth less.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterable
from functools import cache
from typing import Any

import torch
from torch import Tensor

HUGE_PAGE = 2 << 20  #: bytes
_MADV_HUGEPAGE = 14
_ALIGNMENT = 64  #: bytes; a line of the cache


def prefer_huge_pages(memory: Tensor) -> None:
    """Ask for huge pages under ``memory``, which nobody has touched yet: the system gives a page when it is first
    written. Advice, on Linux: where it is not taken nothing changes but the speed."""
    if sys.platform == "linux" and memory.device.type == "cpu":
        first = -(-memory.data_ptr() // HUGE_PAGE) * HUGE_PAGE
        last = (memory.data_ptr() + memory.nbytes) // HUGE_PAGE * HUGE_PAGE
        if first < last:
            _libc().madvise(ctypes.c_void_p(first), ctypes.c_size_t(last - first), _MADV_HUGEPAGE)


class Region:
    """One stretch of memory for many tensors that are smaller than a huge page, or would begin in the middle of one."""

    def __init__(self, sizes: Iterable[int]) -> None:
        """Room for copies of tensors of so many bytes each."""
        size = sum(map(_rounded_up, sizes))
        memory = torch.empty(size + HUGE_PAGE, dtype=torch.uint8)
        prefer_huge_pages(memory)
        self._free = memory[-memory.data_ptr() % HUGE_PAGE :][:size]

    def copy(self, tensor: Tensor) -> Tensor:
        """``tensor`` again, in here, behind what was copied before."""
        mine = self._free[: tensor.nbytes].view(tensor.dtype).view(tensor.shape)
        self._free = self._free[_rounded_up(tensor.nbytes) :]
        return mine.copy_(tensor)


def _rounded_up(num_bytes: int) -> int:
    return -(-num_bytes // _ALIGNMENT) * _ALIGNMENT


@cache
def _libc() -> Any:
    return ctypes.CDLL(None)
