"""Time on a GPU: graphs, events, and what memory can do."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Run = Callable[[], object]


class Timer:
    def __init__(self) -> None:
        self.cache_bytes = int(torch.cuda.get_device_properties(0).L2_cache_size)
        self._start, self._end = (torch.cuda.Event(enable_timing=True) for _ in range(2))

    def milliseconds(self, run: Run) -> float:
        """From the first byte to the last, as the GPU sees it."""
        torch.cuda.synchronize()
        self._start.record()
        run()
        self._end.record()
        torch.cuda.synchronize()
        return float(self._start.elapsed_time(self._end))


def replayed(calls: Sequence[Callable[[], Tensor]]) -> tuple[Run, bool]:
    """One run is every call once: from a CUDA graph if they can be captured, which is said."""
    for call in (*calls, *calls):  # compile, choose, allocate
        call()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(graph):
            kept = [call() for call in calls]
        graph.replay()
        torch.cuda.synchronize()
    except Exception:
        torch.cuda.synchronize()

        def launch() -> object:
            return [call() for call in calls]

        return launch, False

    def replay(_kept: object = kept) -> object:
        return graph.replay()

    return replay, True


def bandwidth(num_bytes: int = 2 << 30) -> float:
    """Bytes a second that a copy within the GPU's memory reads and writes."""
    source = torch.empty(num_bytes, dtype=torch.uint8, device="cuda")
    target, timer = torch.empty_like(source), Timer()
    times = [timer.milliseconds(lambda: target.copy_(source)) for _ in range(12)]
    return 2 * num_bytes / (statistics.median(times[2:]) / 1e3)
