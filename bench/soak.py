"""Hours of random load on one engine: memory must stay flat, nothing may leak, nobody may wait for ever.

    python -m bench.soak --minutes 60 [--json FILE]

The tiny random model serves requests that arrive whether or not it keeps up (an open loop; Poisson, with bursts),
counted in steps, so that a seed gives the same load everywhere. Prompts share prefixes or go on with an earlier answer;
there are several samples and beams of one prompt, priorities, salts, pins, requests that are withdrawn, refused, or
fail. The pool is short, so that sequences are swapped out and cached pages evicted, to host memory too. Drafts are on.

Among them are canaries, whose tokens are known: they were generated when the engine had nothing else to do.

A line a minute shows memory and the state of the pool. At the end everything is drained, and a verdict given.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import time
import traceback
from collections import Counter, deque
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import psutil
import torch

from bench.control_plane_report import about
from pagedlab.engine.engine import Engine
from pagedlab.engine.outputs import RequestOutput
from pagedlab.errors import InvalidRequest, OutOfPages
from pagedlab.memory.events import Trace
from pagedlab.models.catalog import load_model
from pagedlab.scheduling.request import FinishReason
from pagedlab.scheduling.sampling import SamplingParams

CHECK_EVERY = 50  #: steps
#: Nobody may take so many steps from arrival to end.
WEDGED = 50_000
#: Of which no object may be left when nobody runs.
OF_REQUESTS = ("Request", "Sequence", "Live", "Holding", "Swapped", "BeamSearch")

Knobs = dict[str, Any]
KNOBS: Knobs = {
    "page_size": 16,
    "num_pages": 128,
    "num_host_pages": 96,
    "max_tokens_per_step": 192,
    "max_sequences": 24,
    "max_context": 1024,
    "partial_hits": True,
    "preemption": "swap",
    "order": "priority",
    "drafter": "prompt_lookup",
    "attention": "reference",
}


@dataclass(frozen=True)
class Ask:
    prompt: list[int]
    params: SamplingParams
    priority: int = 0
    salt: int = 0
    abort_after: int | None = None  #: steps
    canary: int | None = None


class Traffic:
    """Requests at random; the same seed draws the same ones for the same engine."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.prefixes = [self.tokens(self.random.randint(8, 260)) for _ in range(24)]
        self.answers: deque[list[int]] = deque(maxlen=32)  #: prompt and output of requests that ended
        self.canaries = [self.tokens(length) for length in (3, 16, 33, 90, 170)]
        self.rate, self._until = 0.0, 0

    def tokens(self, count: int) -> list[int]:
        """A text that repeats itself now and then, as texts do: so there are drafts."""
        word = [self.random.randrange(256) for _ in range(max(1, count // 3))]
        return (word * 3 + [self.random.randrange(256) for _ in range(3)])[:count]

    def arrivals(self, step: int) -> int:
        """Requests that arrive before ``step``: Poisson, at a rate that changes every few hundred steps."""
        if step >= self._until:
            self.rate = self.random.choice([0.05, 0.15, 0.2, 0.35, 1.0])
            self._until = step + self.random.randint(50, 100 if self.rate > 0.5 else 600)
        count, waited = 0, self.random.expovariate(self.rate)
        while waited < 1:
            count, waited = count + 1, waited + self.random.expovariate(self.rate)
        return count

    def ask(self) -> Ask:
        random = self.random
        if random.random() < 0.1:
            number = random.randrange(len(self.canaries))
            return Ask(self.canaries[number], canary_params(), random.randrange(3), canary=number)
        begins = random.choice(self.answers) if self.answers and random.random() < 0.3 else random.choice(self.prefixes)
        prompt = begins[: random.choice([len(begins), random.randint(1, len(begins))])][:700]
        prompt = [*prompt, *self.tokens(random.randint(1, 60))]
        abort_after = random.randint(0, 80) if random.random() < 0.12 else None
        salt = int(random.random() < 0.05)
        return Ask(prompt, self._params(), random.randrange(3), salt, abort_after)

    def _params(self) -> SamplingParams:
        random = self.random
        max_tokens = min(240, 1 + int(random.expovariate(1 / 40)))
        if random.random() < 0.08:
            return SamplingParams(beam_width=random.randint(1, 3), max_tokens=min(40, max_tokens))
        if random.random() < 0.01:
            return SamplingParams(max_tokens=100_000)  # more than any sequence may have: it is refused
        if random.random() < 0.01:
            return SamplingParams(max_tokens=max_tokens, logits_processors=[fail_at_the_fifth_token])
        return SamplingParams(
            n=random.choice([1, 1, 1, 1, 2, 3]),
            max_tokens=max_tokens,
            temperature=random.choice([0.0, 0.0, 0.8, 1.5]),
            seed=random.randrange(100),
            stop_token_ids=tuple(range(random.choice([0, 0, 2]))),
            logprobs=random.choice([None, None, None, 2]),
            ignore_eos=True,
        )


def canary_params() -> SamplingParams:
    return SamplingParams(temperature=0.0, max_tokens=24, ignore_eos=True)


def fail_at_the_fifth_token(output: list[int], logits: torch.Tensor) -> torch.Tensor:
    if len(output) == 4:
        raise RuntimeError("a failure on purpose")
    return logits


@dataclass
class Minute:
    """How things stand. ``objects``: of our own classes, by name."""

    seconds: float
    step: int
    rss_megabytes: float
    objects: dict[str, int]
    used: int
    cached: int
    free: int
    host_free: int
    running: int
    waiting: int
    trace_events: int
    trace_sequences: int
    counts: dict[str, int]


@dataclass
class Soak:
    engine: Engine
    traffic: Traffic
    counts: Counter[str] = field(default_factory=Counter)
    asked: dict[str, tuple[int, Ask]] = field(default_factory=dict)
    aborts: dict[int, list[str]] = field(default_factory=dict)
    pins: deque[int] = field(default_factory=deque)
    step: int = 0
    expected: list[list[int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        for canary in self.traffic.canaries:
            self.engine.add_request(canary, canary_params())
            while self.engine.has_work:
                outputs = self.engine.step()
            self.expected.append(outputs[0].outputs[0].token_ids)

    def take_a_step(self, *, arrivals: bool) -> None:
        """Raises AssertionError or InvariantViolation where something is wrong."""
        if arrivals:
            for _ in range(self.traffic.arrivals(self.step)):
                self._arrive(self.traffic.ask())
            if self.traffic.random.random() < 0.002:
                self._pin()
        for request_id in self.aborts.pop(self.step, ()):
            withdrawn = self.engine.abort(request_id)
            if withdrawn is not None:
                self._ended(withdrawn)
        for output in self.engine.step():
            if output.finished:
                self._ended(output)
        if self.step % CHECK_EVERY == 0:
            self.engine.check()
            self.counts["checks"] += 1
            oldest = min((arrived for arrived, _ in self.asked.values()), default=self.step)
            self.counts["longest life, steps"] = max(self.counts["longest life, steps"], self.step - oldest)
            assert self.step - oldest < WEDGED, f"a request that came before step {oldest} has not ended"
        self.step += 1

    def drain(self) -> None:
        """Nobody comes any more. Everything must end, and every page come back."""
        while self.pins:
            self.engine.unpin(self.pins.popleft())
        start = self.step
        while self.engine.has_work:
            self.take_a_step(arrivals=False)
            assert self.step - start < WEDGED, "nobody comes any more, and yet there is work"
        manager = self.engine.manager
        assert not self.asked, f"requests {list(self.asked)} never ended"
        assert not manager.pool.num_used and not manager.sequences and not manager.host.swapped, "pages leaked"
        manager.reset_prefix_cache()
        assert manager.pool.num_free == manager.pool.num_pages, "pages leaked"
        assert manager.host.num_available == manager.host.num_pages, "host pages leaked"
        self.engine.check()

    def minute(self, seconds: float) -> Minute:
        gc.collect()
        objects = Counter(type(o).__name__ for o in gc.get_objects() if str(type(o).__module__).startswith("pagedlab"))
        manager, scheduler, trace = self.engine.manager, self.engine.scheduler, self.engine.trace
        stats = manager.stats
        return Minute(
            seconds=round(seconds, 1),
            step=self.step,
            rss_megabytes=round(psutil.Process().memory_info().rss / 2**20, 1),
            objects=dict(sorted(objects.items())),
            used=manager.pool.num_used,
            cached=manager.pool.num_cached,
            free=manager.pool.num_free,
            host_free=manager.host.num_available,
            running=len(scheduler.running),
            waiting=len(scheduler.waiting) + len(scheduler.asleep),
            trace_events=0 if trace is None else len(trace),
            trace_sequences=0 if trace is None else len(trace.sequences),
            counts={**self.counts, **vars(stats)},
        )

    def _arrive(self, ask: Ask) -> None:
        self.counts["arrived"] += 1
        try:
            name = self.engine.add_request(ask.prompt, ask.params, priority=ask.priority, salt=ask.salt or None)
        except InvalidRequest:
            self.counts["refused"] += 1
            return
        self.asked[name] = (self.step, ask)
        if ask.abort_after is not None:
            self.aborts.setdefault(self.step + ask.abort_after, []).append(name)

    def _pin(self) -> None:
        """One prefix at a time is held, whether cached or not."""
        while self.pins:
            self.engine.unpin(self.pins.popleft())
        try:
            self.pins.append(self.engine.pin(self.traffic.random.choice(self.traffic.prefixes)))
            self.counts["pins"] += 1
        except (InvalidRequest, OutOfPages):  # the latter: it is in host memory, and there is no room
            self.counts["pins refused"] += 1

    def _ended(self, output: RequestOutput) -> None:
        _, ask = self.asked.pop(output.request_id)
        reasons = {sequence.finish_reason for sequence in output.outputs}
        self.counts["ended"] += 1
        self.counts["tokens"] += sum(len(sequence.token_ids) for sequence in output.outputs)
        self.counts["preemptions"] += output.num_preemptions
        if FinishReason.ABORT in reasons:
            self.counts["withdrawn"] += 1
            return
        if FinishReason.ERROR in reasons:
            assert ask.params.logits_processors, f"request {output.request_id} failed: {output.error}"
            self.counts["failed on purpose"] += 1
            return
        first = output.outputs[0].token_ids
        self.traffic.answers.append([*ask.prompt, *first])
        if ask.canary is not None:
            assert first == self.expected[ask.canary], f"canary {ask.canary}: {first}, not {self.expected[ask.canary]}"
            self.counts["canaries right"] += 1


def slope(minutes: list[Minute]) -> float:
    """Megabytes an hour that the process grew by in the second half: the line with the least squares."""
    half = minutes[len(minutes) // 2 :]
    x, y = [m.seconds / 3600 for m in half], [m.rss_megabytes for m in half]
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    spread = sum((a - mean_x) ** 2 for a in x)
    return sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True)) / spread if spread else 0.0


def verdict(minutes: list[Minute], end: Minute, failure: str | None) -> dict[str, Any]:
    """``ok``: nothing was wrong, nothing is left, and memory grows by less than 5 % an hour."""
    growth = slope(minutes)
    left = {name: end.objects[name] for name in OF_REQUESTS if name in end.objects}
    flat = growth < 0.05 * minutes[-1].rss_megabytes
    return {
        "ok": failure is None and not left and flat,
        "failure": failure,
        "megabytes_per_hour": round(growth, 2),
        "left": left,
    }


def line(minute: Minute) -> str:
    counts = minute.counts
    return (
        f"{minute.seconds / 60:6.1f} min  step {minute.step:>9,}  RSS {minute.rss_megabytes:7.1f} MB  "
        f"objects {sum(minute.objects.values()):>6,}  pages {minute.used}/{minute.cached}/{minute.free}  "
        f"run {minute.running} wait {minute.waiting}  trace {minute.trace_events:,}/{minute.trace_sequences}  "
        f"{counts.get('tokens', 0):,} tokens, {counts.get('ended', 0):,} ended, {counts['swaps']:,} swaps, "
        f"{counts.get('canaries right', 0):,} canaries and {counts.get('checks', 0):,} checks right"
    )


def run(minutes: float, every: float, seed: int, knobs: Knobs) -> dict[str, Any]:
    torch.set_num_threads(1)
    # In float64 no two ways to batch differ by enough to change a token.
    engine = Engine(load_model("tiny-random", dtype=torch.float64), kv_dtype="float32", seed=seed, **(KNOBS | knobs))
    # A short trace: what it remembers is full within minutes, and old events are folded for the rest of the hour.
    engine.trace = engine.manager.store.trace = Trace(
        engine.manager.pool.num_pages, KNOBS["page_size"], max_events=100_000
    )
    soak = Soak(engine, Traffic(seed))
    seen: list[Minute] = []
    failure = None
    start = time.monotonic()
    try:
        while (seconds := time.monotonic() - start) < 60 * minutes:
            soak.take_a_step(arrivals=True)
            if seconds >= every * len(seen):
                seen.append(soak.minute(seconds))
                print(line(seen[-1]), flush=True)
        soak.drain()
    except Exception as error:
        traceback.print_exc()
        failure = f"step {soak.step}: {type(error).__name__}: {error}"
    end = soak.minute(time.monotonic() - start)
    judged = verdict(seen, end, failure)
    return {
        "about": about("pagedlab", seed=seed, minutes=minutes, **(KNOBS | knobs)),
        "minutes": [asdict(minute) for minute in seen],
        "end": asdict(end),
        "verdict": judged,
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.soak", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--every", type=float, default=60, help="seconds between two lines (%(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--prefix-cache", default="hash", choices=["none", "hash", "radix"])
    parser.add_argument("--json", type=Path, help="keep the report in this file")
    options = parser.parse_args()
    report = run(options.minutes, options.every, options.seed, {"prefix_cache": options.prefix_cache})
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(report["verdict"], indent=1))
    return 0 if report["verdict"]["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
