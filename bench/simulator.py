"""How fast the simulator is: processor time of one core, and memory, for a chat workload through one replica.

    python -m bench.simulator [--quick] [--million] [--json FILE]

Every row is a process of its own. ``plain``: the same load with every sequence looked at in every step; its results are
the same, which is checked where both are run.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

RATE = 8.0  #: sessions a second: an H100 is well used by them, and not overrun
REQUESTS_OF_A_SESSION = 2  #: on average


@dataclass(frozen=True)
class Measured:
    name: str
    system: str
    requests: int
    prompt_tokens: float  #: of a request, on average
    output_tokens: float
    batch: float  #: sequences in a step, on average
    cpu_seconds: float
    microseconds_a_request: float
    peak_mib: float
    digest: str  #: of the results


def measure(name: str, system: str, sessions: int, fast: bool) -> Measured:
    from pagedlab.simulate.arrivals import Poisson
    from pagedlab.simulate.simulator import Simulator
    from pagedlab.simulate.workload import Chat

    simulator = Simulator(system, model="Llama-3-8B", gpu="H100", fast=fast)
    start = time.process_time()
    results = simulator.run(Chat(arrivals=Poisson(RATE)).offers(seed=1, sessions=sessions))
    seconds = time.process_time() - start
    requests, count = results.requests, len(results.requests)
    return Measured(
        name,
        system,
        count,
        round(sum(requests.num_prompt) / count, 1),
        round(requests.output_tokens / count, 1),
        round(requests.output_tokens / results.totals.num_steps, 1),
        round(seconds, 2),
        round(1e6 * seconds / count, 1),
        round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
        f"{sum(requests.last):.6f} {results.totals.evictions} {results.hit_rate:.9f}",
    )


def in_a_process_of_its_own(name: str, system: str, requests: int, fast: bool = True) -> Measured:
    words = (name, system, str(requests // REQUESTS_OF_A_SESSION), str(fast))
    run = subprocess.run(
        [sys.executable, "-m", "bench.simulator", "--row", *words], capture_output=True, text=True, check=True
    )
    return Measured(**json.loads(run.stdout))


def show(rows: list[Measured]) -> None:
    table = Table("", "system", "requests", "prompt", "output", "batch", "CPU s", "µs each", "peak MiB", padding=(0, 0))
    for row in rows:
        lengths = (f"{row.prompt_tokens:.0f}", f"{row.output_tokens:.0f}", f"{row.batch:.0f}")
        costs = (f"{row.cpu_seconds:.1f}", f"{row.microseconds_a_request:.0f}", f"{row.peak_mib:.0f}")
        table.add_row(row.name, row.system, f"{row.requests:,}", *lengths, *costs)
    Console().print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a few requests: does it run?")
    parser.add_argument("--million", action="store_true", help="a million requests, too")
    parser.add_argument("--json", type=Path, help="write the results to this file")
    parser.add_argument("--row", nargs=4, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.row:
        name, system, sessions, fast = args.row
        print(json.dumps(asdict(measure(name, system, int(sessions), fast == "True"))))
        return
    few, many = (400, 1_000) if args.quick else (5_000, 100_000)
    about = {
        "processor": platform.machine(),
        "python": platform.python_version(),
        "load_before": round(os.getloadavg()[0], 2),
        "cores": os.cpu_count(),
        "quick": args.quick,
    }
    rows = [in_a_process_of_its_own(name, "vllm", few, name == "fast") for name in ("plain", "fast")]
    if rows[0].digest != rows[1].digest:
        raise AssertionError(f"what is not looked at has changed something: {rows}")
    rows += [in_a_process_of_its_own("fast", system, many) for system in ("vllm", "lmdeploy")]
    if args.million:
        rows += [in_a_process_of_its_own("fast", system, 1_000_000) for system in ("lmdeploy", "vllm")]
    show(rows)
    if args.json:
        report = {"about": about, "rows": [asdict(row) for row in rows]}
        args.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
