"""Open-loop load on the real engine: latencies at rising rates, and what token budget and batch limit do to them.

    python -m bench.load [--quick] [--json FILE]

Requests of random tokens arrive as a Poisson process, and each is due at a moment that the server cannot move. First
all of them at once: that is the capacity, in requests a second, and rates are given as shares of it, so that what is
kept says more than how fast one machine was. Each request's wait counts from when it was due. The time of every step is
then fitted (least squares, relative error) by a fixed part, a part for each token and one for each token of context:
the notebook's virtual clock runs on those three numbers.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
from dataclasses import asdict
from pathlib import Path
from random import Random
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from pagedlab import LLM
from pagedlab.engine.load import EngineUnderLoad
from pagedlab.scheduling.latency import Slo, Timeline, attainment, percentile
from pagedlab.scheduling.load import Offer, Run, Step, StepTime, WallClock, drive, poisson_arrivals

SHARES = (0.2, 0.4, 0.6, 0.8, 0.9, 1.0, 1.2)  #: of the capacity
BUDGETS, PLACES = (16, 64, 256), (2, 4, 8, 16)
PROMPTS, OUTPUTS = (16, 32, 64, 192), (8, 16, 32)  #: lengths in tokens, drawn evenly
FRONT_SHARE = 0.9  #: the load under which settings are compared
PERCENTS = (50, 90, 99)


def offers(arrivals: list[float], seed: int) -> list[Offer]:
    """The same lengths for the same seed, whatever the arrivals; token ids that no prefix cache has seen."""
    draw = Random(seed)
    lengths = [(draw.choice(PROMPTS), draw.choice(OUTPUTS)) for _ in arrivals]
    return [
        Offer(at, [draw.randrange(1000, 40_000) for _ in range(num_prompt)], num_output)
        for at, (num_prompt, num_output) in zip(arrivals, lengths, strict=True)
    ]


def served(model: Any, arrivals: list[float], seed: int, **knobs: Any) -> Run:
    settings = {"max_tokens_per_step": 256, "max_sequences": 16, "num_pages": 1024, "prefix_cache": "none"}
    engine = LLM(model, progress=False, trace=False, **(settings | knobs)).engine
    drive(EngineUnderLoad(engine), offers([0.0] * 2, seed + 1000), WallClock())  # warm
    run = drive(EngineUnderLoad(engine), offers(arrivals, seed), WallClock())
    engine.check()
    return run


def summary(run: Run) -> dict[str, Any]:
    """Seconds, and what they come to; ``requests``: ttft, tpot and e2e of each, to recompute any SLO from."""

    def spread(values: list[float]) -> dict[str, float]:
        return {f"p{percent}": round(percentile(values, percent), 4) for percent in PERCENTS}

    lines = run.timelines
    latencies = {
        "ttft": [line.ttft or 0.0 for line in lines],
        "tpot": [line.tpot or 0.0 for line in lines],
        "e2e": [line.e2e or 0.0 for line in lines],
    }
    return {
        "requests_per_second": round(len(lines) / run.seconds, 3),
        "tokens_per_second": round(run.tokens_per_second, 2),
        "utilisation": round(run.utilisation, 3),
        "mean_batch": round(run.mean_batch, 2),
        **{name: spread(values) for name, values in latencies.items()},
        "itl": spread([gap for line in lines for gap in line.gaps]),
        "requests": [[round(value, 4) for value in row] for row in zip(*latencies.values(), strict=True)],
    }


def fit(steps: list[Step]) -> StepTime:
    """Non-negative least squares of the relative error, by leaving out what comes out negative."""
    rows = torch.tensor([[1.0, step.num_tokens, step.num_context] for step in steps], dtype=torch.float64)
    seconds = torch.tensor([step.stop - step.start for step in steps], dtype=torch.float64)
    kept = [0, 1, 2]
    while True:
        weighted = rows[:, kept] / seconds[:, None]
        found = torch.linalg.lstsq(weighted, torch.ones(len(steps), 1, dtype=torch.float64)).solution.flatten().tolist()
        if min(found) >= 0:
            parts = dict(zip(kept, found, strict=True))
            return StepTime(*(parts.get(column, 0.0) for column in range(3)))
        kept.remove(kept[found.index(min(found))])


def off(step_time: StepTime, steps: list[Step]) -> float:
    """The median of the relative error of a step's time."""
    errors = (abs(step_time(s.num_tokens, s.num_context) / (s.stop - s.start) - 1) for s in steps)
    return percentile(errors, 50)


def measure(num_requests: int, shares: tuple[float, ...], budgets: tuple[int, ...], places: tuple[int, ...]) -> Any:
    model = _loaded()
    burst = served(model, [0.0] * num_requests, seed=1)
    capacity = num_requests / burst.seconds
    alone = served(model, [0.0], seed=2)
    steps, rates, settings = [*burst.steps], [], []
    for share in shares:
        run = served(model, poisson_arrivals(share * capacity, num_requests, seed=3), seed=1)
        steps += run.steps
        rates.append({"share": share, "rate": round(share * capacity, 3), **summary(run)})
    for budget in budgets:
        for most in places:
            knobs = {"max_tokens_per_step": budget, "max_sequences": most}
            arrivals = poisson_arrivals(FRONT_SHARE * capacity, num_requests, seed=3)
            run = served(model, arrivals, seed=1, **knobs)
            settings.append(knobs | {k: v for k, v in summary(run).items() if k != "requests"})
    fitted = fit(steps)
    return {
        "capacity": round(capacity, 3),
        "alone": {"ttft": alone.timelines[0].ttft, "tpot": alone.timelines[0].tpot},
        "step_time": asdict(fitted) | {"median_relative_error": round(off(fitted, steps), 3), "steps": len(steps)},
        "rates": rates,
        "settings": settings,
    }


def _loaded() -> Any:
    from pagedlab.models.catalog import load_model

    return load_model("smollm2-135m", progress=False)


def show(report: dict[str, Any]) -> None:
    table = Table("load", "TTFT p50", "p99", "TPOT p50", "p99", "utilisation", "good at 5 × alone")
    slo = Slo(*(5 * report["alone"][name] for name in ("ttft", "tpot")))
    for rate in report["rates"]:
        lines = [Timeline(0.0, [t, t + p]) for t, p, _ in rate["requests"]]
        row = (rate["ttft"]["p50"], rate["ttft"]["p99"], rate["tpot"]["p50"], rate["tpot"]["p99"])
        good = f"{attainment(lines, slo):.0%}"
        table.add_row(f"{rate['share']:.0%}", *(f"{1e3 * v:.0f} ms" for v in row), f"{rate['utilisation']:.0%}", good)
    Console().print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a few requests: does it run?")
    parser.add_argument("--json", type=Path, help="write the results to this file")
    args = parser.parse_args()
    about = {
        "model": "smollm2-135m, float32",
        "processor": platform.machine(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "load_before": round(os.getloadavg()[0], 2),
        "cores": os.cpu_count(),
        "quick": args.quick,
        "note": "other programs ran on the machine: trust ratios, not seconds",
    }
    report = measure(6, (0.5, 1.0), (64,), (4,)) if args.quick else measure(40, SHARES, BUDGETS, PLACES)
    show(report)
    if args.json:
        args.json.write_text(json.dumps({"about": about, **report}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
