"""Attention over pages on a GPU, beside whoever else attends there.

    python -m bench.gpu_attention [--quick] [--seconds N] [--only TEXT] [--peers NAME …] [--json FILE]
    python -m bench.gpu_attention --check

Decode for batches of 1 to 256 and contexts of 128 to 65,536 tokens, and chunks of prompts, with the heads of
Llama-3-8B, Qwen3-0.6B and SmolLM2-135M. Everybody gets the same numbers; what can be prepared is prepared before.
Calls are replayed from a CUDA graph where a peer lets itself be captured, so that Python's time is in no figure; they
go round over copies of the case that together are several times the second-level cache, so that every byte comes from
memory. Peers take turns in every round; milliseconds are medians over the rounds.

``of copy``: the bytes of keys and values, over what a copy of a large tensor reads and writes in the same time.
``--check`` compares all peers with float64 on small shapes and takes no time; it runs on a CPU as well
(TRITON_INTERPRET=1).
"""

from __future__ import annotations

import argparse
import datetime
import json
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
import triton
from rich.console import Console
from rich.progress import track

from bench.gpu_cases import HEADS, Case, Heads, Shape, a_case
from bench.gpu_peers import PEERS, Attend, Unavailable
from bench.gpu_report import show
from bench.gpu_timing import Timer, bandwidth, replayed

BOUND = 3e-2  #: the largest error that bfloat16 is let to make, for numbers of about 1


@dataclass
class Result:
    shape: Shape
    milliseconds: dict[str, float]
    graph: dict[str, bool]  #: whether it was replayed, or launched from Python
    gigabytes_per_second: float = 0.0  #: ours
    of_copy: float = 0.0
    refused: dict[str, str] = field(default_factory=dict)  #: peer -> why it is not among them

    def finish(self, copy: float) -> None:
        if "pagedlab" in self.milliseconds:
            rate = self.shape.kv_bytes / (self.milliseconds["pagedlab"] / 1e3)
            self.gigabytes_per_second, self.of_copy = round(rate / 1e9, 1), round(rate / copy, 4)


def shapes(*, quick: bool) -> list[Shape]:
    """What is raced, the most telling first: time may be short."""
    batches, contexts = (
        ((1, 16, 128), (1024, 8192)) if quick else ((1, 8, 32, 128, 256), (128, 1024, 4096, 16384, 65536))
    )
    pages = (16,) if quick else (16, 64)
    decode = [
        Shape(heads, batch, context, 1, page)
        for page in pages
        for heads in HEADS
        for context in reversed(contexts)
        for batch in reversed(batches)
    ]
    narrow = [replace(one, kv_dtype=kind) for kind in ("fp8", "int8") for one in decode if one.context in (8192, 16384)]
    chunks = [
        Shape(heads, batch, context, rows)
        for heads in HEADS
        for batch, context, rows in ((1, 2048, 2048), (1, 8192, 512), (4, 8192, 512), (1, 32768, 2048), (8, 8192, 4))
    ]
    return [
        *(one for one in decode if one.page_size == 16),
        *chunks,
        *narrow,
        *(one for one in decode if one.page_size > 16),
    ]


def race(shape: Shape, peers: Sequence[str], rounds: int, timer: Timer) -> Result:
    """Who is wrong or fails is refused, be it us."""
    copies = max(1, min(64, 4 * timer.cache_bytes // shape.kv_bytes + 1))
    cases = [a_case(shape, "cuda", seed) for seed in range(copies)]
    result, runs = Result(shape, {}, {}), {}
    for name in peers:
        try:
            calls = prepared(name, cases)
        except Unavailable as error:
            result.refused[name] = str(error)
            continue
        except Exception as error:  # a peer's own
            result.refused[name] = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
            continue
        runs[name], result.graph[name] = replayed(calls)
    times: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(rounds + 1):
        for name, run in runs.items():
            took = timer.milliseconds(run) / copies
            if turn:  # the first warms up
                times[name].append(took)
    result.milliseconds = {name: round(statistics.median(took), 5) for name, took in times.items()}
    return result


def prepared(name: str, cases: Sequence[Case]) -> list[Attend]:
    """Raises Unavailable if what the peer returns is wrong."""
    calls = [PEERS[name](case) for case in cases]
    error = cases[0].error(calls[0]())
    bound = BOUND * (10 if cases[0].shape.kv_dtype in ("fp8", "int8", "int4") else 1)
    if not error <= bound:
        raise Unavailable(f"its result is off by {error:.2g}; {bound} would do")
    return calls


def check(device: str, console: Console) -> int:
    """All peers on small shapes. Returns how many of our own results are wrong."""
    tiny, wrong = Heads("tiny", 6, 2, 64), 0
    for shape in (
        Shape(tiny, 2, 96),
        Shape(tiny, 2, 64, 16),
        Shape(tiny, 1, 128, 5),
        Shape(tiny, 2, 64, 1, 16, "int8"),
    ):
        case = a_case(shape, device)
        for name in PEERS:
            try:
                prepared(name, [case])
                verdict = "right"
            except Unavailable as error:
                verdict = str(error)
            except Exception as error:
                verdict = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
            wrong += name == "pagedlab" and verdict != "right"
            console.print(f"{shape}: {name}: {verdict}", markup=False, highlight=False)
    return wrong


def machine() -> dict[str, Any]:
    device = torch.cuda.get_device_properties(0)
    return {
        "device": device.name,
        "processors": device.multi_processor_count,
        "memory_gib": round(device.total_memory / 2**30),
        "cuda": torch.version.cuda,
        "torch": torch.__version__,
        "triton": triton.__version__,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.gpu_attention", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="few shapes: a minute or two")
    parser.add_argument("--seconds", type=float, default=540.0, help="begin no shape after so many")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--only", default="", metavar="TEXT", help="only shapes whose description has this in it")
    parser.add_argument("--peers", nargs="+", choices=list(PEERS), default=list(PEERS), metavar="NAME")
    parser.add_argument("--json", type=Path, help="keep the report in this file")
    parser.add_argument("--check", action="store_true", help="compare with float64 on small shapes, and time nothing")
    options = parser.parse_args()
    console, there = Console(), torch.cuda.is_available()
    if options.check:
        sys.exit(1 if check("cuda" if there else "cpu", console) else 0)
    if not there:
        message = "bench.gpu_attention needs a GPU that torch sees; there is none. --check runs without"
        Console(stderr=True).print(message, soft_wrap=True)
        sys.exit(2)

    start, timer = time.monotonic(), Timer()
    about, results, skipped = machine() | {"copy_gigabytes_per_second": round(bandwidth() / 1e9, 1)}, [], {}
    chosen = [shape for shape in shapes(quick=options.quick) if options.only in str(shape)]
    for shape in track(chosen, "racing", console=Console(stderr=True)):
        free = torch.cuda.mem_get_info()[0]
        if time.monotonic() - start > options.seconds:
            skipped[str(shape)] = "no time was left"
        elif 1.2 * shape.num_bytes > free:
            skipped[str(shape)] = f"it takes {shape.num_bytes / 2**30:.0f} GiB, and {free / 2**30:.0f} are free"
        else:
            results.append(race(shape, options.peers, options.rounds, timer))
            results[-1].finish(about["copy_gigabytes_per_second"] * 1e9)
        torch.cuda.empty_cache()
    report = {"about": about, "results": [asdict(result) for result in results], "skipped": skipped}
    if options.json:  # before anything else can go wrong
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    show(report, console)


if __name__ == "__main__":
    main()
