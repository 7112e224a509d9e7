"""Prefill and decode, profiled: where their time goes, and how far each is from the roof of the machine it runs on.

    python -m bench.profile [--quick] [--device cuda] [--json FILE]

Each step is timed as the engine runs it, several times, and its median is what the roofline is drawn from. Then the
same step is run once more under torch's profiler, layer by layer and with labels (``pagedlab.engine.profiling``), for
the shares of each kind of work. The roof is measured in the same process, before and after: the better of the two.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from pathlib import Path
from random import Random
from statistics import median
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from pagedlab import LLM, SamplingParams
from pagedlab.arithmetic import Machine
from pagedlab.engine.ceilings import measured_machine
from pagedlab.engine.profiling import ProfiledStep, profiled

PROMPTS = (16, 64, 256, 1024)  #: tokens of a prompt that is computed in one step
BATCHES = (1, 2, 4, 8, 16, 32, 64)  #: sequences that decode together,
CONTEXT = 128  #: each after so many tokens
ROUNDS = 5  #: of prefill; decode steps are taken as many of one run
FILMED = ("prefill of 256", "decode of 1")  #: whose spans are kept


def prompts(count: int, length: int, draw: Random) -> list[list[int]]:
    """Random tokens: no two begin alike, and no prefix cache has seen them."""
    return [[draw.randrange(1000, 40_000) for _ in range(length)] for _ in range(count)]


def timed(llm: LLM, count: int, length: int, draw: Random) -> tuple[float, list[float]]:
    """Seconds of the first step, which computes all prompts, and of each of the steps after it."""
    seconds = []
    wish = SamplingParams(max_tokens=ROUNDS + 1, temperature=0.0, ignore_eos=True)
    for prompt in prompts(count, length, draw):
        llm.engine.add_request(prompt, wish)
    while llm.engine.has_work:
        start = time.perf_counter()
        llm.engine.step()  # its tokens are on the CPU when it returns: nothing is left running
        seconds.append(time.perf_counter() - start)
    return seconds[0], seconds[1:]


def traced(llm: LLM, count: int, length: int, draw: Random) -> list[ProfiledStep]:
    wish = SamplingParams(max_tokens=3, temperature=0.0, ignore_eos=True)
    with profiled(llm.engine) as profile:
        llm.generate(prompts(count, length, draw), wish, progress=False)  # type: ignore[arg-type]
    return profile.steps


def result(name: str, kind: str, size: int, seconds: float, step: ProfiledStep, llm: LLM) -> dict[str, Any]:
    cost = step.cost(llm.engine.config)
    found: dict[str, Any] = {
        "name": name,
        "kind": kind,
        "size": size,
        "milliseconds": round(1e3 * seconds, 3),
        "flops": cost.flops,
        "bytes": cost.traffic,
        "profiled_milliseconds": round(1e3 * step.seconds, 3),
        "by_kind": {str(part): round(1e3 * value, 3) for part, value in step.by_kind().items()},
    }
    if name in FILMED:
        spans = [[str(span.kind), round(1e3 * span.start, 3), round(1e3 * span.seconds, 3)] for span in step.spans]
        found["spans_in_milliseconds"] = spans
    return found


def measure(device: str, sizes: tuple[int, ...], batches: tuple[int, ...]) -> dict[str, Any]:
    draw = Random(1)
    before = measured_machine(device)
    most = max(max(sizes), max(batches) * CONTEXT)
    knobs: dict[str, Any] = {"max_tokens_per_step": most, "num_pages": 1024, "prefix_cache": "none", "trace": False}
    llm = LLM("smollm2-135m", device=device, progress=False, **knobs)
    timed(llm, 2, 64, draw)  # warm
    results = []
    for size in sizes:
        seconds = median(timed(llm, 1, size, draw)[0] for _ in range(ROUNDS))
        results.append(result(f"prefill of {size}", "prefill", size, seconds, traced(llm, 1, size, draw)[0], llm))
    for batch in batches:
        seconds = median(timed(llm, batch, CONTEXT, draw)[1])
        results.append(
            result(f"decode of {batch}", "decode", batch, seconds, traced(llm, batch, CONTEXT, draw)[1], llm)
        )
    llm.check()
    after = measured_machine(device)
    roof = Machine(max(before.peak_flops, after.peak_flops), max(before.bandwidth, after.bandwidth), after.memory_bytes)
    return {"machine": {"peak_flops": round(roof.peak_flops), "bandwidth": round(roof.bandwidth)}, "results": results}


def about(device: str) -> dict[str, Any]:
    return {
        "model": "smollm2-135m, float32",
        "device": torch.cuda.get_device_name() if device == "cuda" else platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "load_before": round(os.getloadavg()[0], 2),
        "context": CONTEXT,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.profile", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="few sizes: to see that it runs")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--json", type=Path, help="where to keep the results")
    options = parser.parse_args()
    described = about(options.device)  # the load before this run adds to it
    sizes, batches = ((64,), (1, 4)) if options.quick else (PROMPTS, BATCHES)
    report = {"about": described, **measure(options.device, sizes, batches)}
    machine = report["machine"]
    console = Console(width=110)
    console.print(f"{machine['peak_flops'] / 1e9:.0f} GFLOP/s and {machine['bandwidth'] / 1e9:.1f} GB/s were measured.")
    table = Table()
    for heading in ("step", "ms", "FLOPs a byte", "GFLOP/s", "GB/s", "matrices", "attention"):
        table.add_column(heading, justify="left" if heading == "step" else "right")
    for found in report["results"]:
        seconds, kinds = found["milliseconds"] / 1e3, found["by_kind"]
        whole = sum(kinds.values())
        rates = f"{found['flops'] / seconds / 1e9:.1f}", f"{found['bytes'] / seconds / 1e9:.1f}"
        shares = f"{kinds['matrices'] / whole:.0%}", f"{kinds['attention over pages'] / whole:.0%}"
        row = found["name"], f"{found['milliseconds']:.1f}", f"{found['flops'] / found['bytes']:.2f}", *rates, *shares
        table.add_row(*row)
    console.print(table)
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
