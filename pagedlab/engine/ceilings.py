"""The roof over this machine, measured: how fast it multiplies and how fast it reads."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import torch

from pagedlab.arithmetic import Machine
from pagedlab_kernels.cpu.huge_pages import prefer_huge_pages

SIDE = 1536  #: of the square matrices: large enough for full speed, and a fraction of a second on a laptop
READ = 256 << 20  #: bytes: more than any cache holds
ROUNDS = 7


def measured_machine(device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> Machine:
    """The most FLOP/s and bytes/s seen in some rounds of a product of matrices, and of a sum.

    These are what torch's own routines reach, so a kernel that is better than they are can stand a little above this
    roof. A data sheet's figures, which nothing reaches, are higher.
    """
    device = torch.device(device)
    left, right = (torch.randn(SIDE, SIDE, dtype=dtype, device=device) for _ in range(2))
    memory = torch.empty(READ // dtype.itemsize, dtype=dtype, device=device)
    prefer_huge_pages(memory)
    memory.fill_(1.0)
    flops = 2 * SIDE**3 / _least_seconds(lambda: left @ right, device)
    bandwidth = READ / _least_seconds(memory.sum, device)
    return Machine(flops, bandwidth, _memory_bytes(device))


def _least_seconds(work: Callable[[], object], device: torch.device) -> float:
    """Of the rounds after a first one that warms up."""
    seconds = []
    for _ in range(ROUNDS + 1):
        start = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    return min(seconds[1:])


def _memory_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[1]
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
