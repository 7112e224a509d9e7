"""Attention over pages on this machine's CPU, raced against gathering first and against memory that needs no pages.

    python -m bench.attention [--quick] [--threads N] [--json FILE]

One layer of SmolLM2-135M and one of Llama-3-8B, pages of 16 tokens, float32. All paths take turns in every round, so
that whatever else the machine does slows all of them; printed are medians over the rounds, and medians of each round's
ratios. Layers take turns too, as in a model: their keys and values do not stay in the caches. Beside each round runs a
sum over a large tensor, so that what the paged kernel reads in a second is compared with what can be read at that time.
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

import pagedlab  # noqa: F401  (before torch: it chooses how torch's threads wait)

import torch  # isort: skip
import torch.nn.functional as F
from torch import Tensor

from pagedlab_kernels.batch import PagedBatch
from pagedlab_kernels.cpu.attention import cpu_attention, fallback_attention
from pagedlab_kernels.cpu.huge_pages import prefer_huge_pages
from pagedlab_kernels.cpu.native import why_not_native
from pagedlab_kernels.reference import gather_attention

PAGE_SIZE = 16
#: More than the last-level cache holds, so that a layer's pages are read from memory.
WORKING_SET = 256 * 2**20
FEWEST_ROUNDS, MOST_ROUNDS = 3, 51


@dataclass(frozen=True)
class Heads:
    query: int
    kv: int
    dim: int


HEADS = {"SmolLM2-135M": Heads(9, 3, 64), "Llama-3-8B": Heads(32, 8, 128)}


@dataclass(frozen=True)
class Shape:
    model: str
    batch: int
    context: int
    rows: int  #: query rows a sequence: 1 is decode, more is a chunk of prefill

    @property
    def heads(self) -> Heads:
        return HEADS[self.model]

    @property
    def kv_bytes(self) -> int:
        return 2 * 4 * self.batch * self.context * self.heads.kv * self.heads.dim


@dataclass(frozen=True)
class Result:
    shape: Shape
    milliseconds: dict[str, float]
    ratios: dict[str, float]  #: how many times as long as the paged kernel another path takes
    gigabytes_per_second: float  #: keys and values over the paged kernel's time
    of_read_bandwidth: float  #: the same over what a sum reads in a second in the same round
    rounds: int


CONTEXTS = (128, 1024, 4096, 16384)
SHAPES = [
    *(Shape(model, batch, context, 1) for model in HEADS for batch in (1, 8, 32) for context in CONTEXTS),
    *(Shape(model, 1, context, min(context, 512)) for model in HEADS for context in CONTEXTS),
]


def layer(shape: Shape) -> tuple[Tensor, PagedBatch, Tensor]:
    """Pages scattered at random, and the same keys and values contiguous: ``[2, B, Hkv, L, D]``."""
    pages = shape.context // PAGE_SIZE
    contiguous = torch.randn(2, shape.batch, shape.heads.kv, shape.context, shape.heads.dim)
    tables = torch.randperm(shape.batch * pages).view(shape.batch, pages)
    kv = torch.empty(2, shape.batch * pages, shape.heads.kv, PAGE_SIZE, shape.heads.dim)
    prefer_huge_pages(kv)  # as the engine does
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


def race(shape: Shape, seconds: float, to_sum: Tensor) -> Result:
    """As many rounds as last so long, but at least 3."""
    layers = [layer(shape) for _ in range(max(1, min(30, WORKING_SET // shape.kv_bytes)))]
    heads, scale = shape.heads, shape.heads.dim**-0.5
    q = torch.randn(shape.batch * shape.rows, heads.query, heads.dim)
    dense_q = q.view(shape.batch, shape.rows, heads.query, heads.dim).transpose(1, 2).contiguous()
    mask = None
    if shape.rows > 1:
        mask = torch.ones(shape.rows, shape.context, dtype=torch.bool).tril(shape.context - shape.rows)

    def dense(contiguous: Tensor) -> Tensor:
        keys, values = contiguous
        return F.scaled_dot_product_attention(dense_q, keys, values, mask, scale=scale, enable_gqa=True)

    paths: dict[str, Callable[[Tensor, PagedBatch, Tensor], object]] = {
        "paged": lambda kv, batch, _: cpu_attention(q, kv, batch, scale),
        "gather": lambda kv, batch, _: gather_attention(q, kv, batch, scale),
        "fallback": lambda kv, batch, _: fallback_attention(q, kv, batch, scale),
        "contiguous": lambda _kv, _batch, contiguous: dense(contiguous),
        "sum": lambda _kv, _batch, _contiguous: to_sum.sum(),
    }
    expected = dense(layers[0][2]).transpose(1, 2).flatten(0, 1)
    torch.testing.assert_close(paths["paged"](*layers[0]), expected, rtol=1e-4, atol=1e-5)

    rounds: list[dict[str, float]] = []
    end = time.perf_counter() + seconds
    while len(rounds) < FEWEST_ROUNDS or (len(rounds) < MOST_ROUNDS and time.perf_counter() < end):
        mine = 2 * len(rounds)
        times = {}
        for name, path in paths.items():
            path(*layers[mine % len(layers)])  # so that it finds the caches as it leaves them itself
            start = time.perf_counter()
            path(*layers[(mine + 1) % len(layers)])
            times[name] = time.perf_counter() - start
        rounds.append(times)

    def median(of: Callable[[dict[str, float]], float]) -> float:
        return round(statistics.median(map(of, rounds)), 4)

    others = ("gather", "fallback", "contiguous")
    return Result(
        shape,
        {name: median(lambda one, name=name: 1e3 * one[name]) for name in ("paged", *others)},  # type: ignore[misc]
        {name: median(lambda one, name=name: one[name] / one["paged"]) for name in others},  # type: ignore[misc]
        median(lambda one: shape.kv_bytes / one["paged"] / 1e9),
        median(lambda one: shape.kv_bytes / one["paged"] / (to_sum.nbytes / one["sum"])),
        len(rounds),
    )


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

    about, to_sum = machine(), torch.ones(WORKING_SET // 4)
    print(", ".join(f"{key} {value}" for key, value in about.items()))
    columns = f"{'paged':>11} {'gather':>8} {'fallback':>9} {'contiguous':>11} {'GB/s':>6} {'of a sum':>9}"
    print(f"\n{'':>42}{columns}")
    results = []
    for shape in SHAPES:
        if options.quick and shape.kv_bytes > 2**28:
            continue
        result = race(shape, 1 if options.quick else 20, to_sum)
        results.append(result)
        kind = "decode" if shape.rows == 1 else f"chunk of {shape.rows}"
        row = f"{result.milliseconds['paged']:8.2f} ms {result.ratios['gather']:7.2f}x"
        row += f" {result.ratios['fallback']:8.2f}x {result.ratios['contiguous']:10.2f}x"
        row += f" {result.gigabytes_per_second:6.1f} {result.of_read_bandwidth:8.0%}"
        print(f"{shape.model:>13} {kind:>13} {shape.batch:>3} × {shape.context:>6} {row}", flush=True)
    print("\nn x: that path takes n times as long as the paged kernel.")
    if options.json:
        report = {"machine": about, "results": [asdict(r) for r in results]}
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
