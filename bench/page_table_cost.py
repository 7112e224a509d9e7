"""What looking pages up costs a kernel: the same CPU kernel over scattered pages of 16 and over one page a sequence.

    python -m bench.page_table_cost [--quick] [--json FILE]

One page that holds a whole sequence is contiguous memory: the table has one entry, and the rows of a head follow each
other to the end. All else is equal (keys, values, kernel, arithmetic), so the ratio is the price of the table and of
the scatter. Both take turns, layer by layer, and another one first in each round; layers do not stay in the caches.
A ratio is the median over all turns: what else the machine does slows both of a turn, or falls out.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from bench.attention import WORKING_SET, Shape, layer, machine

import torch  # isort: skip
from rich.console import Console
from rich.table import Table
from torch import Tensor

from pagedlab_kernels.batch import PagedBatch
from pagedlab_kernels.cpu.attention import cpu_attention
from pagedlab_kernels.cpu.huge_pages import prefer_huge_pages

SHAPES = [Shape(model, 8, context, 1) for model in ("SmolLM2-135M", "Llama-3-8B") for context in (1024, 4096)]


@dataclass(frozen=True)
class Result:
    shape: Shape
    milliseconds: dict[str, float]
    ratio: float  #: how many times as long attention over pages of 16 takes as over one page a sequence
    turns: int


def one_page_each(batch: PagedBatch, contiguous: Tensor) -> tuple[Tensor, PagedBatch]:
    """``contiguous: [2, B, Hkv, L, D]`` as a pool of B pages of L slots, scattered like the small ones."""
    order = torch.randperm(contiguous.shape[1])
    kv = torch.empty_like(contiguous)
    prefer_huge_pages(kv)
    kv[:, order] = contiguous
    return kv, replace(batch, page_tables=order.int()[:, None], page_size=contiguous.shape[3])


def race(shape: Shape, rounds: int) -> Result:
    count = max(2, min(30, WORKING_SET // shape.kv_bytes))
    q = torch.randn(shape.batch, shape.heads.query, shape.heads.dim)
    pairs = []
    for _ in range(count):
        kv, batch, contiguous = layer(shape)
        pairs.append({"pages of 16": (kv, batch), "one page": one_page_each(batch, contiguous)})
    ways = list(pairs[0])
    results = [cpu_attention(q, *pairs[0][way], shape.heads.dim**-0.5) for way in ways]
    torch.testing.assert_close(results[0], results[1])

    taken: dict[str, list[float]] = {way: [] for way in ways}
    for number in range(rounds * count):
        pair = pairs[number % count]
        for way in ways if number // count % 2 else ways[::-1]:
            start = time.perf_counter()
            cpu_attention(q, *pair[way], shape.heads.dim**-0.5)
            taken[way].append(time.perf_counter() - start)
    ratio = statistics.median(a / b for a, b in zip(*taken.values(), strict=True))
    return Result(
        shape,
        {way: round(1e3 * statistics.median(seconds), 4) for way, seconds in taken.items()},
        round(ratio, 3),
        rounds * count,
    )


def show(results: list[Result]) -> None:
    table = Table("model", "batch", "context", "pages of 16", "one page", "pages ÷ one page")
    for one in results:
        shape, (paged, whole) = one.shape, one.milliseconds.values()
        sizes = (shape.model, str(shape.batch), f"{shape.context:,}")
        table.add_row(*sizes, f"{paged:.2f} ms", f"{whole:.2f} ms", f"{one.ratio:.2f}")
    Console().print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the smallest shape, few rounds: does it run?")
    parser.add_argument("--json", type=Path, help="write the results to this file")
    args = parser.parse_args()
    results = [race(shape, 3 if args.quick else 41) for shape in (SHAPES[:1] if args.quick else SHAPES)]
    show(results)
    if args.json:
        report = {"machine": machine(), "quick": args.quick, "results": [asdict(one) for one in results]}
        args.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
