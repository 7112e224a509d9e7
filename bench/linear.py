"""A step's matrix products on this machine's CPU: matrices in panels, beside torch's own two ways.

    python -m bench.linear [--threads N] [--rounds N] [--json FILE]

All matrices of SmolLM2-135M, its head included, once each, for several numbers of rows; int4 keeps the head in 8 bits,
as the engine does. All paths take turns in every round, so that whatever else the machine does slows all of them;
printed are medians over the rounds, and medians of each round's ratio to panels in float32.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import pagedlab  # noqa: F401  (before torch: it chooses how torch's threads wait)

import torch  # isort: skip
import torch.nn.functional as F
from torch import Tensor

from bench.attention import machine
from pagedlab_kernels.cpu import groups
from pagedlab_kernels.cpu.linear import in_features, pack, panel_linear, quantize_rows

#: in, out: joined projections of attention, its output, gate and up, down; then the head.
LAYER, LAYERS, HEAD = [(576, 960), (576, 576), (576, 3072), (1536, 576)], 30, (576, 49152)
ROWS = (1, 2, 4, 8, 16, 32, 128, 512)


@dataclass(frozen=True)
class Result:
    rows: int
    milliseconds: dict[str, float]
    ratios: dict[str, float]  #: how many times as long as panels in float32 another path takes


def paths() -> dict[str, Callable[[dict[int, Tensor]], object]]:
    """By name, a function of inputs: in -> ``[rows, in]``."""
    plain = [torch.randn(outputs, inputs) for inputs, outputs in [*LAYER * LAYERS, HEAD]]
    panels = [pack(weight) for weight in plain]
    halves = [weight.bfloat16() for weight in panels]
    eighths = []
    for weight in plain:
        codes, scales = quantize_rows(weight)
        eighths.append((pack(codes), scales))
    grouped = [groups.pack(groups.quantize(weight, 8 if weight.shape == HEAD[::-1] else 4)) for weight in plain]
    return {
        "panels": lambda x: [panel_linear(x[weight.shape[1]], weight) for weight in panels],
        "panels, bfloat16": lambda x: [panel_linear(x[weight.shape[1]], weight) for weight in halves],
        "panels, int8": lambda x: [panel_linear(x[in_features(weight)], weight, scales) for weight, scales in eighths],
        "panels, int4": lambda x: [panel_linear(x[in_features(weight)], weight) for weight in grouped],
        "F.linear": lambda x: [F.linear(x[weight.shape[1]], weight) for weight in plain],
        "oneDNN": lambda x: [
            torch.ops.mkldnn._linear_pointwise(x[weight.shape[1]], weight, None, "none", [], "") for weight in plain
        ],
    }


def race(rows: int, all_paths: dict[str, Callable[[dict[int, Tensor]], object]], rounds: int) -> Result:
    inputs = {size: torch.randn(rows, size) for size, _ in LAYER}
    seconds: dict[str, list[float]] = {name: [] for name in all_paths}
    for turn in range(rounds + 1):
        for name, path in all_paths.items():
            start = time.perf_counter()
            path(inputs)
            if turn:  # the first warms up
                seconds[name].append(time.perf_counter() - start)
    ours = seconds["panels"]
    ratios = {
        name: round(statistics.median(other / mine for other, mine in zip(times, ours, strict=True)), 3)
        for name, times in seconds.items()
        if name != "panels"
    }
    return Result(rows, {name: round(1e3 * statistics.median(times), 2) for name, times in seconds.items()}, ratios)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.linear", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", type=Path, help="keep the results in this file")
    options = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(options.threads)

    about, all_paths = machine(), paths()
    print(", ".join(f"{key} {value}" for key, value in about.items()))
    print(f"\n{'rows':>5} {'panels':>11}" + "".join(f"{name:>18}" for name in list(all_paths)[1:]))
    results = []
    for rows in ROWS:
        result = race(rows, all_paths, options.rounds)
        results.append(result)
        others = "".join(f"{ratio:>17.2f}x" for ratio in result.ratios.values())
        print(f"{rows:>5} {result.milliseconds['panels']:8.1f} ms{others}", flush=True)
    print("\nn x: that path takes n times as long as panels in float32.")
    if options.json:
        report = {"machine": about, "results": [asdict(result) for result in results]}
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
