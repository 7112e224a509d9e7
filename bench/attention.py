"""Attention over pages on this machine's CPU, raced against gathering first and against memory that needs no pages.

    python bench/attention.py [--quick] [--threads N] [--json FILE]

One layer of SmolLM2 (9 query heads, 3 key-value heads, head_dim 64), pages of 16 tokens, float32. All paths take turns
in every round, so that whatever else the machine does slows all of them; printed are medians over the rounds, and
medians of each round's ratios. Layers take turns too, as in a model: their keys and values do not stay in the caches.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from pagedlab_kernels.batch import PagedBatch
from pagedlab_kernels.cpu.attention import cpu_attention, fallback_attention
from pagedlab_kernels.cpu.native import why_not_native
from pagedlab_kernels.reference import gather_attention

HEADS, KV_HEADS, HEAD_DIM, PAGE_SIZE = 9, 3, 64, 16
SCALE = HEAD_DIM**-0.5
#: More than the last-level cache holds, so that a layer's pages are read from memory.
WORKING_SET = 256 * 2**20


@dataclass(frozen=True)
class Shape:
    batch: int
    context: int
    rows: int  #: query rows a sequence: 1 is decode, more is a chunk of prefill

    @property
    def kv_bytes(self) -> int:
        return 2 * 4 * self.batch * self.context * KV_HEADS * HEAD_DIM


@dataclass(frozen=True)
class Result:
    shape: Shape
    milliseconds: dict[str, float]
    ratios: dict[str, float]  #: how many times as long as the paged kernel another path takes
    gigabytes_per_second: float  #: keys and values over the paged kernel's time


SHAPES = [
    *(Shape(batch, context, 1) for batch in (1, 8, 32) for context in (128, 1024, 4096)),
    *(Shape(1, context, min(context, 512)) for context in (128, 1024, 4096)),
]


def layer(shape: Shape) -> tuple[Tensor, PagedBatch, Tensor]:
    """Pages scattered at random, and the same keys and values contiguous: ``[2, B, Hkv, L, D]``."""
    pages = shape.context // PAGE_SIZE
    contiguous = torch.randn(2, shape.batch, KV_HEADS, shape.context, HEAD_DIM)
    tables = torch.randperm(shape.batch * pages).view(shape.batch, pages)
    kv = torch.empty(2, shape.batch * pages, KV_HEADS, PAGE_SIZE, HEAD_DIM)
    kv[:, tables] = contiguous.unflatten(3, (pages, PAGE_SIZE)).transpose(2, 3)
    tokens = shape.batch * shape.rows
    unused = torch.zeros(tokens, dtype=torch.int64)
    batch = PagedBatch(
        token_ids=unused,
        positions=unused,
        slots=unused,
        query_start=torch.arange(0, tokens + 1, shape.rows, dtype=torch.int32),
        context_lens=torch.full((shape.batch,), shape.context, dtype=torch.int32),
        page_tables=tables.int(),
        page_size=PAGE_SIZE,
        max_query_len=shape.rows,
        max_context_len=shape.context,
    )
    return kv, batch, contiguous


def race(shape: Shape, rounds: int) -> Result:
    layers = [layer(shape) for _ in range(max(1, min(30, WORKING_SET // shape.kv_bytes)))]
    q = torch.randn(shape.batch * shape.rows, HEADS, HEAD_DIM)
    dense_q = q.view(shape.batch, shape.rows, HEADS, HEAD_DIM).transpose(1, 2).contiguous()
    mask = None
    if shape.rows > 1:
        mask = torch.ones(shape.rows, shape.context, dtype=torch.bool).tril(shape.context - shape.rows)

    def dense(contiguous: Tensor) -> Tensor:
        keys, values = contiguous
        return F.scaled_dot_product_attention(dense_q, keys, values, mask, scale=SCALE, enable_gqa=True)

    paths: dict[str, Callable[[Tensor, PagedBatch, Tensor], Tensor]] = {
        "paged": lambda kv, batch, _: cpu_attention(q, kv, batch, SCALE),
        "gather": lambda kv, batch, _: gather_attention(q, kv, batch, SCALE),
        "fallback": lambda kv, batch, _: fallback_attention(q, kv, batch, SCALE),
        "contiguous": lambda _kv, _batch, contiguous: dense(contiguous),
    }
    expected = dense(layers[0][2]).transpose(1, 2).flatten(0, 1)
    torch.testing.assert_close(paths["paged"](*layers[0]), expected, rtol=1e-4, atol=1e-5)

    seconds: dict[str, list[float]] = {name: [] for name in paths}
    for turn in range(rounds):
        for name, path in paths.items():
            path(*layers[2 * turn % len(layers)])  # so that it finds the caches as it leaves them itself
            start = time.perf_counter()
            path(*layers[(2 * turn + 1) % len(layers)])
            seconds[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    ratios = {
        name: statistics.median(other / ours for other, ours in zip(times, seconds["paged"], strict=True))
        for name, times in seconds.items()
        if name != "paged"
    }
    milliseconds = {name: 1e3 * median for name, median in medians.items()}
    return Result(shape, milliseconds, ratios, shape.kv_bytes / medians["paged"] / 1e9)


def read_bandwidth() -> float:
    """Gigabytes a second that summing a large tensor reads, at its best."""
    numbers = torch.ones(WORKING_SET // 4)
    times = []
    for _ in range(10):
        start = time.perf_counter()
        numbers.sum()
        times.append(time.perf_counter() - start)
    return numbers.nbytes / min(times) / 1e9


def machine() -> dict[str, str | int]:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return {
        "processor": model or platform.processor() or platform.machine(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "kernel": why_not_native() or "native",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few rounds")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", type=Path, help="keep the results in this file")
    options = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(options.threads)

    about, before = machine(), read_bandwidth()
    print(", ".join(f"{key} {value}" for key, value in about.items()))
    print(f"\n{'shape':>26} {'paged':>10} {'gather':>9} {'fallback':>9} {'contiguous':>11} {'GB/s':>7}")
    results = []
    for shape in SHAPES:
        result = race(shape, 5 if options.quick else 25)
        results.append(result)
        kind = "decode" if shape.rows == 1 else f"chunk of {shape.rows}"
        columns = f"{result.milliseconds['paged']:7.2f} ms {result.ratios['gather']:8.2f}x"
        columns += f" {result.ratios['fallback']:8.2f}x {result.ratios['contiguous']:10.2f}x"
        print(
            f"{kind:>13} {shape.batch:>3} × {shape.context:>6} {columns} {result.gigabytes_per_second:7.1f}", flush=True
        )
    bandwidth = max(before, read_bandwidth())
    print(f"\nn x: that path takes n times as long as the paged kernel. Reading memory, at best: {bandwidth:.1f} GB/s")
    if options.json:
        report = {"machine": about, "read_gigabytes_per_second": bandwidth, "results": [asdict(r) for r in results]}
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
