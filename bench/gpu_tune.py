"""What the constants of the Triton kernels should be on this GPU: tries them, beside those that are in force.

    python -m bench.gpu_tune decode    tiles, warps and stages of the decode kernel
    python -m bench.gpu_tune prefix    from how many saved bytes on a shared prefix is better read once

Prints what was found. What it teaches goes into ``decode_constants`` and ``shared_prefix.WORTH`` by hand.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import product
from typing import Any

import torch
from rich.console import Console
from rich.progress import track

from bench.gpu_cases import HEADS, Shape, a_case
from bench.gpu_timing import Timer, replayed
from pagedlab_kernels import paged_decode as kernel
from pagedlab_kernels.shared_prefix import cascade_decode, num_blocks, prefix_constants
from pagedlab_kernels.triton_attention import triton_attention

SHAPES = [Shape(heads, *size) for heads in HEADS for size in ((1, 16384), (32, 4096), (128, 1024))]
CHOICES = {"TILE": (16, 32, 64, 128, 256), "num_warps": (2, 4, 8), "num_stages": (2, 3, 4, 5, 6)}


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.gpu_tune", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("decode", "prefix"))
    options = parser.parse_args()
    if not torch.cuda.is_available():
        Console(stderr=True).print("bench.gpu_tune needs a GPU that torch sees; there is none", soft_wrap=True)
        sys.exit(2)
    (tune_decode if options.what == "decode" else tune_prefix)(Console(), Timer())


def tune_decode(console: Console, timer: Timer) -> None:
    for shape in SHAPES:
        copies = max(1, min(64, 4 * timer.cache_bytes // shape.kv_bytes + 1))
        cases = [a_case(shape, "cuda", seed) for seed in range(copies)]
        calls = [lambda case=case: triton_attention(case.q, case.kv, case.batch, case.scale) for case in cases]
        found: dict[tuple[int, ...], float] = {}
        tries = list(product(*CHOICES.values()))
        for values in track(tries, str(shape), console=Console(stderr=True)):
            with decode_compiled_for(**dict(zip(CHOICES, values, strict=True))):
                try:
                    found[values] = best_of(calls, timer) / copies
                except Exception:  # more shared memory or registers than there are
                    continue
        present = best_of(calls, timer) / copies
        console.print(f"{shape}: now {1e3 * present:.1f} µs")
        for values in sorted(found, key=found.__getitem__)[:5]:
            named = ", ".join(f"{name} {value}" for name, value in zip(CHOICES, values, strict=True))
            console.print(f"  {1e3 * found[values]:.1f} µs, {present / found[values]:.2f} ×: {named}")


@contextmanager
def decode_compiled_for(**changes: int) -> Iterator[None]:
    before = kernel.decode_constants

    def changed(*arguments: Any, **named: Any) -> dict[str, int | str]:
        return before(*arguments, **named) | changes

    kernel.decode_constants = changed
    try:
        yield
    finally:
        kernel.decode_constants = before


def tune_prefix(console: Console, timer: Timer) -> None:
    """``saved``: bytes that plain decode reads and the cascade does not."""
    console.print("saved, MiB   plain, µs   cascade, µs   gain")
    rows = []
    for heads, batch, prefix in product(HEADS, (2, 8, 32, 128), (256, 1024, 4096, 16384)):
        shape = Shape(heads, batch, prefix + 256)
        if 4 * shape.num_bytes > torch.cuda.mem_get_info()[0]:
            continue
        cases = []
        for seed in range(max(1, min(16, 4 * timer.cache_bytes // shape.kv_bytes + 1))):
            case = a_case(shape, "cuda", seed)
            tables, common = case.batch.page_tables.clone(), prefix // shape.page_size
            tables[:, :common] = tables[0, :common]
            cases.append(replace(case, batch=replace(case.batch, page_tables=tables, common_pages=common)))
        one = cases[0]
        assert isinstance(one.kv, torch.Tensor)
        blocks = num_blocks(one.q, one.kv, prefix_constants(one.q, one.kv))
        saved = (batch - blocks) * shape.kv_bytes // batch * prefix // shape.context
        alone = [replace(case.batch, common_pages=0) for case in cases]
        plain = [
            lambda case=case, own=own: triton_attention(case.q, case.kv, own, case.scale)
            for case, own in zip(cases, alone, strict=True)
        ]
        cascade = [lambda case=case: cascade_decode(case.q, case.kv, case.batch, case.scale) for case in cases]
        rows.append((saved, *(1e3 * best_of(calls, timer) / len(cases) for calls in (plain, cascade))))
    for saved, alone_took, took in sorted(rows):
        console.print(f"{saved / 2**20:10.1f} {alone_took:11.1f} {took:13.1f} {alone_took / took:6.2f}")


def best_of(calls: list[Any], timer: Timer, rounds: int = 7) -> float:
    run, _ = replayed(calls)
    return statistics.median(timer.milliseconds(run) for _ in range(rounds))


if __name__ == "__main__":
    main()
