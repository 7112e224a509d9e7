"""What lies between the race's figures and the arithmetic: the least time each workload can take on that machine.

    python -m bench.limits

A perfect engine computes every prompt in one step, a beginning that prompts share once, and then one token for each
request in every step, for which it reads all weights and the request's own keys and values. A step takes as long as its
bytes or its FLOPs, whichever takes longer (the roofline). What the machine can do is taken from what it was seen to do
in the other benches: the quickest product of matrices with 512 rows, of float32 and of int8 weights, whose products are
sums of whole numbers (``results/linear.json``), and the median rate of reading a large tensor
(``results/attention.json``).
"""

from __future__ import annotations

import argparse
import json
import os
from itertools import takewhile
from pathlib import Path
from statistics import median
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from bench.linear import HEAD, LAYER, LAYERS
from bench.race_report import kept_results
from bench.race_workloads import Workload, workloads
from pagedlab.arithmetic import MODELS, Chunk, Machine, StepCost, decode_cost, seconds, step_cost

RESULTS = Path(__file__).parent / "results"
MODEL = MODELS["SmolLM2-135M"]
BITS = {"pagedlab": 32, "pagedlab, int8": 8}  #: of our weights; pages have 32
PRODUCTS = {
    32: ("panels", "F.linear", "oneDNN"),
    8: ("panels, int8",),
}  #: of weights with so many bits, as bench.linear names them


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.limits", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.parse_args()
    linear, attention = (read(name) for name in ("linear", "attention"))
    machines = {bits: machine_of(bits, linear, attention) for bits in BITS.values()}
    race = kept_results(RESULTS)
    console = Console(width=100)
    console.print(
        f"{machines[32].peak_flops / 1e9:.0f} GFLOP/s in float32, {machines[8].peak_flops / 1e9:.0f} with int8 weights "
        f"and {machines[32].bandwidth / 1e9:.1f} GB/s were seen; "
        "the least time, and what was taken (medians of the rounds of the race that is kept):"
    )
    table = Table(box=box.SIMPLE)
    for heading in ("", "", "least, s", "of it memory", "taken, s", "least / taken"):
        table.add_column(heading, justify="right" if heading else "left")
    for shape in workloads(0, MODEL.vocab_size):
        for peer, bits in BITS.items():
            machine = machines[bits]
            steps = perfect_steps(shape, bits)
            least = sum(seconds(step, machine) for step in steps)
            memory = sum(step.traffic / machine.bandwidth for step in steps if bound_by_memory(step, machine))
            taken = next(r.median_seconds for r in race if (r.workload, r.peer) == (shape.name, peer))
            row = f"{least:.2f}", f"{memory / least:.0%}", f"{taken:.2f}", f"{least / taken:.0%}"
            table.add_row(shape.name, peer, *row)
    console.print(table)


def read(name: str) -> dict[str, Any]:
    contents: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    return contents


def machine_of(weight_bits: int, linear: dict[str, Any], attention: dict[str, Any]) -> Machine:
    """What was seen: the most arithmetic with such weights, and the usual rate of reading."""
    most_rows = max(linear["results"], key=lambda result: result["rows"])
    weights = LAYERS * sum(a * b for a, b in LAYER) + HEAD[0] * HEAD[1]
    quickest = min(most_rows["milliseconds"][name] for name in PRODUCTS[weight_bits])
    bandwidth = median(result["gigabytes_per_second"] / result["of_read_bandwidth"] for result in attention["results"])
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return Machine(2 * weights * most_rows["rows"] / (quickest / 1e3), bandwidth * 1e9, memory)


def perfect_steps(workload: Workload, weight_bits: int) -> list[StepCost]:
    """The prompts, which bring each request's first token; then a step for each token more."""
    lengths = [len(prompt) for prompt in workload.prompts]
    same = (len(set(column)) == 1 for column in zip(*workload.prompts, strict=False))
    shared = sum(takewhile(bool, same)) if len(lengths) > 1 else 0
    chunks = [Chunk(0, lengths[0]), *(Chunk(shared, length - shared) for length in lengths[1:])]
    tokens_later = [[length + later for length in lengths] for later in range(workload.new_tokens - 1)]
    return [step_cost(MODEL, chunks, weight_bits, 32)] + [
        decode_cost(MODEL, contexts, weight_bits, 32) for contexts in tokens_later
    ]


def bound_by_memory(step: StepCost, machine: Machine) -> bool:
    return step.traffic / machine.bandwidth > step.flops / machine.peak_flops


if __name__ == "__main__":
    main()
