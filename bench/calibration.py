"""How near the simulator comes to the real engine: the same requests, served for real and on the simulator's clock.

    python -m bench.calibration [--quick] [--json FILE]

First the engine is measured: steps of many shapes, and the cost model that fits them
(``pagedlab.simulate.calibrate``). Then it serves workloads that were not part of that, with open-loop arrivals, and
the simulator serves the same ones under that cost model. Seconds are the processor's own, with one thread, so what
other programs do hardly counts: a step takes as long as it computed, and while there is nothing to do the clock jumps
to the next arrival. Rates are shares of what the machine can do, as the simulator sees it. An error is the simulated
figure over the real one, less 1. A few steps are measured again before each workload, and the share by which the
machine has become slower or faster since is kept beside it (``drift``): it is not corrected for.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from pagedlab import LLM
from pagedlab.engine.load import EngineUnderLoad
from pagedlab.models.catalog import LoadedModel, load_model
from pagedlab.scheduling.latency import percentile
from pagedlab.scheduling.load import Offer, drive
from pagedlab.simulate.arrivals import Gamma, OnOff
from pagedlab.simulate.calibrate import Measured, MeasuredStep, fitted, measured_steps
from pagedlab.simulate.lengths import Constant, LogNormal, Uniform
from pagedlab.simulate.simulator import Simulator
from pagedlab.simulate.within import within_vocabulary
from pagedlab.simulate.workload import Agents, Chat, Documents, FewShot, Sampling, Workload

KNOBS: dict[str, Any] = {"num_pages": 1024, "max_tokens_per_step": 256, "max_sequences": 16, "prefix_cache": "hash"}
SHORT = LogNormal(40, 0.8, low=4, high=300)
ANSWER = Uniform(8, 48)
CALM, BUSY = 0.4, 0.9  #: shares of the capacity
SPANS = ("ttft", "tpot", "e2e")
AGENTS = Agents(
    toolbox_tokens=Constant(96), task=SHORT, observation=SHORT, answer=ANSWER, branches=Uniform(1, 2), depth=Constant(3)
)


@dataclass(frozen=True)
class Case:
    name: str
    workload: Workload  #: with arrivals of one session a second, which are made faster or slower
    share: float
    sessions: int = 24


CASES = (
    Case("chat, calm", Chat(system_tokens=Constant(96), words=SHORT, answer=ANSWER, think_seconds=2.0), CALM, 14),
    Case("chat, busy", Chat(system_tokens=Constant(96), words=SHORT, answer=ANSWER, think_seconds=2.0), BUSY, 14),
    Case("chat in bursts", Chat(arrivals=OnOff(1.0), words=SHORT, answer=ANSWER, think_seconds=2.0), 0.6, 14),
    Case("documents", Documents(document_tokens=Uniform(300, 700), answer=ANSWER), 0.6, 10),
    Case("few-shot", FewShot(template_tokens=Constant(256), answer=Uniform(4, 16)), BUSY),
    Case("agents", AGENTS, 0.6, 5),
    Case("uneven arrivals", Sampling(arrivals=Gamma(1.0, 2.0), n=1, words=SHORT, answer=ANSWER), BUSY),
)


def offers_of(case: Case, rate: float, vocab_size: int) -> list[Offer]:
    """``rate`` sessions a second. Nobody can tell what the model will answer: later turns hit what was asked only."""
    quick = (replace(offer, at=offer.at / rate) for offer in case.workload.offers(seed=5, sessions=case.sessions))
    return list(islice(_without_answers(within_vocabulary(quick, vocab_size)), case.sessions))


def _without_answers(offers: Iterator[Offer]) -> Iterator[Offer]:
    for offer in offers:
        then = offer.then
        follow = None if then is None else (lambda end, then=then: list(_without_answers(iter(then(end)))))
        yield replace(offer, output=None, then=follow)


def figures(tokens_per_second: float, **latencies: list[float]) -> dict[str, float]:
    """What is compared. Latencies in seconds."""
    percents = ((name, values, percent) for name, values in latencies.items() for percent in (50, 90))
    return {"tokens_per_second": tokens_per_second} | {f"{n}_p{p}": percentile(values, p) for n, values, p in percents}


class ProcessorClock:
    """What this process computed, and the gaps in which it had nothing to do."""

    def __init__(self) -> None:
        self._now, self._last = 0.0, time.process_time()

    def now(self) -> float:
        return self._now

    def wait_until(self, moment: float) -> None:
        self._now, self._last = max(self._now, moment), time.process_time()

    def step_done(self, num_tokens: int, num_context: int) -> None:
        last, self._last = self._last, time.process_time()
        self._now += self._last - last


def real(model: LoadedModel, offers: list[Offer]) -> dict[str, float]:
    engine = LLM(model, progress=False, trace=False, **KNOBS).engine
    run = drive(EngineUnderLoad(engine), offers, ProcessorClock())
    engine.check()
    spans = {name: [getattr(line, name) for line in run.timelines] for name in ("ttft", "tpot", "e2e")}
    return figures(
        run.tokens_per_second, **{name: [v for v in values if v is not None] for name, values in spans.items()}
    )


def simulated(cost: Measured, offers: list[Offer]) -> dict[str, float]:
    results = Simulator(None, cost=cost, **KNOBS).run(offers)
    return figures(results.tokens_per_second, **{name: getattr(results.requests, name) for name in SPANS})


def capacity(cost: Measured, case: Case, vocab_size: int) -> float:
    """Sessions a second when there is always somebody waiting, by the simulator."""
    at_once = offers_of(case, 1e6, vocab_size)
    return case.sessions / Simulator(None, cost=cost, **KNOBS).run(at_once).seconds


def measure(cases: tuple[Case, ...], batches: tuple[int, ...]) -> dict[str, Any]:
    model = load_model("smollm2-135m", progress=False)
    vocab_size = model.config.vocab_size
    engine = LLM(model, progress=False, trace=False, **KNOBS | {"prefix_cache": "none"}).engine
    measured_steps(engine, batches=batches[:1], prompts=(16,), vocab_size=vocab_size)  # warm

    def steps(batches: tuple[int, ...], seed: int) -> list[MeasuredStep]:
        return measured_steps(engine, batches=batches, vocab_size=vocab_size, seed=seed, clock=time.process_time)

    known = steps(batches, seed=0)
    cost = fitted(known)
    rows = []
    for number, case in enumerate(cases, start=1):
        again = steps(batches[1::3], seed=number)
        drift = median(seconds / cost(shape) for shape, seconds in again) - 1
        offers = offers_of(case, case.share * capacity(cost, case, vocab_size), vocab_size)
        ours, theirs = simulated(cost, offers), real(model, offers)
        errors = {name: ours[name] / theirs[name] - 1 for name in theirs}
        rows.append(
            {
                "workload": case.name,
                "share": case.share,
                "real": theirs,
                "simulated": ours,
                "errors": errors,
                "drift": drift,
            }
        )
    off = sorted(abs(error) for row in rows for error in row["errors"].values())
    return {
        "cost": asdict(cost),
        "steps": {"count": len(known), "error_p50": cost.error(known), "error_p90": cost.error(known, 90)},
        "workloads": rows,
        "error_median": median(off),
        "error_p90": percentile(off, 90),
    }


def show(report: dict[str, Any]) -> None:
    names = list(report["workloads"][0]["errors"])
    heads = [name.replace("tokens_per_second", "tokens/s").replace("_", " ") for name in names]
    table = Table("workload", *heads, "drift", title="simulated over real, less 1", padding=(0, 0))
    for row in report["workloads"]:
        table.add_row(row["workload"], *(f"{row['errors'][name]:+.0%}" for name in names), f"{row['drift']:+.0%}")
    Console().print(table)
    Console().print(
        f"the median error is {report['error_median']:.1%}, nine in ten are below {report['error_p90']:.1%}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two small workloads: does it run?")
    parser.add_argument("--json", type=Path, help="write the results to this file")
    args = parser.parse_args()
    torch.set_num_threads(1)
    about = {
        "model": "smollm2-135m, float32",
        "knobs": KNOBS,
        "processor": platform.machine(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "seconds": "of the processor, one thread",
        "quick": args.quick,
    }
    quick = tuple(replace(case, sessions=3) for case in (CASES[3], CASES[5]))
    report = measure(quick, (1, 4)) if args.quick else measure(CASES, (1, 2, 3, 4, 6, 8, 12, 16, 24, 32))
    show(report)
    if args.json:
        args.json.write_text(json.dumps({"about": about, **report}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
