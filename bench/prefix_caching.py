"""What a prefix cache brings where prompts share much, and what it costs where they share nothing.

    python -m bench.prefix_caching [--quick] [--json FILE]

The same requests are served without a prefix cache, with hashed pages and with a radix tree, which take turns in every
round; tokens are drawn anew for each round, so that no cache knows them from before. Every answer must be the same,
token for token, or the bench fails. Times are processor time, so give it one thread (``OMP_NUM_THREADS=1``); a ratio
is taken within a round. Where nothing is shared, two runs of one engine differ by more than a cache costs: so the
time of the control plane (``Scheduler.schedule`` and ``commit``, where pages are looked up and published) is kept too.

Sizes and rounds are small, so that all of it is some four minutes of processor time: prompts of some hundred tokens,
answers of 8 or fewer, and three rounds where gains are large.
"""

from __future__ import annotations

import argparse
import json
import platform
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from statistics import median
from time import process_time, thread_time
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from pagedlab import LLM, SamplingParams
from pagedlab.models.catalog import load_model
from pagedlab.progress import progress_bar

CACHES = ("none", "hash", "radix")
NUM_PAGES, PAGE_SIZE, TOKENS_A_STEP = 1024, 16, 512

#: vLLM: what its V1 core loses of its throughput at a hit rate of 0, at most (the announcement of V1, January 2025).
#: SGLang: hit rates and the largest gain in throughput, as secondary copies of its paper (arXiv:2312.07104) give them.
PUBLISHED = {"vllm_lost_percent": 1, "sglang_hit_percent": [50, 99], "sglang_times_as_fast": 6.4}


@dataclass(frozen=True)
class Workload:
    """``waves`` of requests; a wave is sent when the one before has ended, as the next turn of a chat is."""

    name: str
    requests: int  #: in a wave
    shared: int  #: tokens that all prompts begin with
    own: int  #: tokens that each wave adds to a request's prompt
    waves: int = 1
    output: int = 8  #: tokens of an answer
    rounds: int = 3


WORKLOADS = (
    Workload("nothing shared", requests=8, shared=0, own=128, rounds=9),
    Workload("a system prompt", requests=8, shared=128, own=48),
    Workload("chats of six turns", requests=2, shared=64, own=64, waves=6),
    Workload("many examples", requests=8, shared=480, own=16, output=4),
)
TINY = (
    Workload("nothing shared", requests=2, shared=0, own=40, output=2, rounds=1),
    Workload("chats of two turns", requests=2, shared=16, own=24, waves=2, output=2, rounds=1),
)


@dataclass(frozen=True)
class Served:
    seconds: float  #: of processor time
    control_seconds: float  #: of them, spent in ``schedule`` and ``commit``
    hit_rate: float
    num_tokens: int  #: of prompts and answers
    answers: list[list[int]]


@dataclass(frozen=True)
class Result:
    """Medians over rounds. What is said of the control plane is what it takes more than without a cache."""

    workload: str
    prefix_cache: str
    rounds: int
    same_answers: int  #: compared with those without a cache, over all rounds
    tokens: int  #: of prompts and answers, in a round
    hit_rate: float
    seconds: float
    times_as_fast: float  #: as without a cache
    between: tuple[float, float]  #: the same in the slowest and in the fastest round
    control_microseconds_more: float  #: a token
    control_percent_more: float  #: of the seconds without a cache


class Stopwatch:
    """Processor time that this thread spends in methods of an object."""

    def __init__(self, owner: Any, *names: str) -> None:
        self.seconds = 0.0
        for name in names:
            setattr(owner, name, self._timed(getattr(owner, name)))

    def _timed(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **named: Any) -> Any:
            start = thread_time()
            try:
                return method(*args, **named)
            finally:
                self.seconds += thread_time() - start

        return timed


def serve(model: Any, workload: Workload, prefix_cache: str, seed: int) -> Served:
    draw = Random(seed)

    def tokens(number: int) -> list[int]:
        return [draw.randrange(1000, 40_000) for _ in range(number)]

    settings = {"page_size": PAGE_SIZE, "num_pages": NUM_PAGES, "max_tokens_per_step": TOKENS_A_STEP}
    llm = LLM(model, prefix_cache=prefix_cache, trace=False, progress=False, **settings)
    params = SamplingParams(temperature=0, max_tokens=workload.output, ignore_eos=True)
    llm.generate([tokens(20)], params, progress=False)  # warm
    manager = llm.engine.manager
    manager.reset_prefix_cache()
    watch = Stopwatch(llm.engine.scheduler, "schedule", "commit")

    seconds, num_tokens = 0.0, 0
    answers: list[list[int]] = []
    prompts = [tokens(workload.shared)] * workload.requests
    for _ in range(workload.waves):
        prompts = [prompt + tokens(workload.own) for prompt in prompts]
        start = process_time()
        outputs = llm.generate(prompts, params, progress=False)
        seconds += process_time() - start
        said = [output.outputs[0].token_ids for output in outputs]
        prompts = [prompt + list(answer) for prompt, answer in zip(prompts, said, strict=True)]
        num_tokens += sum(map(len, prompts))
        answers += [list(answer) for answer in said]
    return Served(seconds, watch.seconds, manager.stats.hit_rate, num_tokens, answers)


def measure(workloads: tuple[Workload, ...]) -> list[Result]:
    """Raises AssertionError when a prefix cache changes an answer."""
    model = load_model("smollm2-135m", progress=False)
    results = []
    with progress_bar("Measuring", sum(workload.rounds for workload in workloads) * len(CACHES)) as advance:
        for workload in workloads:
            served: dict[str, list[Served]] = {cache: [] for cache in CACHES}
            for number in range(workload.rounds):
                first = number % len(CACHES)
                for cache in CACHES[first:] + CACHES[:first]:
                    served[cache].append(serve(model, workload, cache, seed=number))
                    advance(1)
                for cache in CACHES:
                    if served[cache][-1].answers != served["none"][-1].answers:
                        raise AssertionError(f"{workload.name}, round {number}: the {cache} cache changed an answer")
            results += [compared(workload.name, cache, served[cache], served["none"]) for cache in CACHES]
    return results


def compared(workload: str, cache: str, ours: list[Served], without: list[Served]) -> Result:
    rounds = list(zip(ours, without, strict=True))
    ratios = [none.seconds / our.seconds for our, none in rounds]
    more = [our.control_seconds - none.control_seconds for our, none in rounds]
    shares = [extra / none.seconds for extra, none in zip(more, without, strict=True)]
    return Result(
        workload=workload,
        prefix_cache=cache,
        rounds=len(rounds),
        same_answers=sum(len(our.answers) for our in ours),
        tokens=ours[0].num_tokens,
        hit_rate=round(median(our.hit_rate for our in ours), 4),
        seconds=round(median(our.seconds for our in ours), 3),
        times_as_fast=round(median(ratios), 3),
        between=(round(min(ratios), 3), round(max(ratios), 3)),
        control_microseconds_more=round(1e6 * median(more) / ours[0].num_tokens, 4),
        control_percent_more=round(100 * median(shares), 5),
    )


def show(results: list[Result]) -> None:
    table = Table("workload", "cache", "hit rate", "seconds", "times as fast", "between", "control: µs a token more")
    for one in results:
        low, high = one.between
        figures = (f"{one.hit_rate:.0%}", f"{one.seconds:.2f}", f"{one.times_as_fast:.2f}", f"{low:.2f} and {high:.2f}")
        table.add_row(one.workload, one.prefix_cache, *figures, f"{one.control_microseconds_more:+.2f}")
    Console().print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a few requests: does it run?")
    parser.add_argument("--json", type=Path, help="write the results to this file")
    args = parser.parse_args()
    results = measure(TINY if args.quick else WORKLOADS)
    show(results)
    if args.json:
        about = {
            "model": "smollm2-135m",
            "page_size": PAGE_SIZE,
            "processor": platform.machine(),
            "threads": torch.get_num_threads(),
            "python": platform.python_version(),
            "torch": torch.__version__,
            "quick": args.quick,
        }
        report = {"about": about, "published": PUBLISHED, "results": [asdict(result) for result in results]}
        args.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
