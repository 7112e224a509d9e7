"""Workloads drawn at random, served by the engine, and held against a plain loop, token for token.

The model computes in float64 over pages in float32, so that no two ways of computing a logit differ by enough to
change a token: a token that differs is a bug. ``python -m tests.engine.workload`` goes on where CI stops.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any

import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from pagedlab.engine.engine import Engine
from pagedlab.engine.outputs import RequestOutput
from pagedlab.models.catalog import LoadedModel, load_model
from pagedlab.models.tiny import TINY_CONFIG, tiny_random
from pagedlab.scheduling.request import FinishReason
from pagedlab.scheduling.sampling import SamplingParams
from tests.engine.oracle import beams, generated
from tests.memory.draws import MANAGERS
from tests.systems.variants import VARIANTS

Knobs = dict[str, Any]
SIZES = ("page_size", "num_pages", "num_host_pages", "max_tokens_per_step", "max_sequences")


@dataclass(frozen=True)
class Arrival:
    step: int  #: it comes before this step
    prompt: tuple[int, ...]
    params: SamplingParams
    priority: int = 0
    salt: int = 0
    abort_after: int | None = None  #: it is withdrawn so many steps after it came


@dataclass(frozen=True)
class Workload:
    arrivals: tuple[Arrival, ...]
    knobs: Knobs
    window: int | None = None  #: the most that a layer of the model looks back, in tokens


@cache
def model(window: int | None) -> LoadedModel:
    if window is None:
        return load_model("tiny-random", dtype=torch.float64)
    windows = tuple(window - layer % 2 for layer in range(TINY_CONFIG.num_layers))
    return tiny_random(config=replace(TINY_CONFIG, layer_windows=windows), dtype=torch.float64)


@cache
def expected(window: int | None, prompt: tuple[int, ...], params: SamplingParams) -> list[list[int]]:
    if params.beam_width:
        return beams(model(window), list(prompt), params)
    return [generated(model(window), list(prompt), params, index) for index in range(params.n)]


def shared_text(which: int) -> tuple[int, ...]:
    """Three texts that prompts may begin with. They repeat themselves, so that drafts are found in them."""
    return tuple(b"pages are like books, books are like pages. "[which:] * 3)


@st.composite
def params(draw: st.DrawFn) -> SamplingParams:
    if draw(st.integers(0, 4)) == 0:
        return SamplingParams(
            beam_width=draw(st.integers(1, 3)),
            max_tokens=draw(st.integers(1, 8)),
            length_penalty=draw(st.sampled_from([0.0, 1.0, 2.0, -0.5])),
            stop_token_ids=tuple(range(draw(st.sampled_from([0, 60])))),
            seed=0,
        )
    return SamplingParams(
        n=draw(st.sampled_from([1, 1, 1, 2, 3])),
        max_tokens=draw(st.integers(1, 24)),
        temperature=draw(st.sampled_from([0.0, 0.0, 0.7, 1.5])),
        seed=draw(st.integers(0, 3)),
        stop_token_ids=tuple(range(draw(st.sampled_from([0, 0, 8])))),
        repetition_penalty=draw(st.sampled_from([1.0, 1.0, 1.3])),
        ignore_eos=draw(st.booleans()),
    )


@st.composite
def arrivals(draw: st.DrawFn) -> Arrival:
    begins = shared_text(draw(st.integers(0, 2)))[: draw(st.sampled_from([0, 1, 16, 33, 48, 64, 90]))]
    ends = draw(st.lists(st.integers(0, 255), min_size=0 if begins else 1, max_size=12))
    return Arrival(
        step=draw(st.integers(0, 12)),
        prompt=(*begins, *ends),
        params=draw(params()),
        priority=draw(st.integers(0, 2)),
        salt=draw(st.sampled_from([0, 0, 0, 1])),
        abort_after=draw(st.sampled_from([None] * 6 + [0, 1, 3, 8])),
    )


@st.composite
def workloads(draw: st.DrawFn) -> Workload:
    """From pools in which the largest request only just fits to pools that hold everything."""
    come = tuple(draw(st.lists(arrivals(), min_size=1, max_size=8)))
    page_size = draw(st.sampled_from([1, 2, 3, 4, 7, 8, 16, 64]))
    needed = max(-(-(len(a.prompt) + (a.params.max_tokens or 0) - 1) // page_size) for a in come)
    widest = max(max(a.params.n, a.params.beam_width or 1) for a in come)
    host = draw(st.sampled_from([0, 0, 4, 60]))
    knobs: Knobs = {
        "page_size": page_size,
        "num_pages": max(1, needed) + draw(st.sampled_from([0, 0, 1, 2, 5, 20, 200])),
        "num_host_pages": host,
        "max_tokens_per_step": draw(st.sampled_from([8, 9, 16, 50, 512])),
        "max_sequences": draw(st.sampled_from([widest, widest + 1, 8, 64]).filter(lambda most: most >= widest)),
        "prefix_cache": draw(st.sampled_from(["none", "hash", "radix"])),
        "partial_hits": draw(st.booleans()),
        "eviction": draw(st.sampled_from(["lru", "lfu", "fifo", "priority"])),
        "preemption": draw(st.sampled_from(["recompute", "swap"])) if host else "recompute",
        "order": draw(st.sampled_from(["fcfs", "priority", "shortest", "longest_prefix", "depth_first"])),
        "admission": draw(
            st.sampled_from(
                [
                    "max_utilisation",
                    "max_utilisation",
                    "whole_prompt",
                    "reserve_everything",
                    "guaranteed_no_evict",
                    "optimistic_ratio",
                ]
            )
        ),
        "victim": draw(st.sampled_from(["last_in_line", "last_arrived", "lowest_priority", "least_output"])),
        "drafter": draw(st.sampled_from([None, "prompt_lookup"])),
        "delay": draw(st.sampled_from(["none", "shared_page"])),
        "mixed": draw(st.sampled_from([True, True, False])),
        "manager": partial(
            draw(st.sampled_from(list(MANAGERS.values()))),
            last_freed_first=draw(st.booleans()),
            whole_sequences=draw(st.booleans()),
        ),
    }
    system = draw(st.sampled_from([None, None, *VARIANTS]))
    if system is not None:  # a preset's choices, in place of those above that are not sizes
        sizes = {knob: knobs[knob] for knob in SIZES if knob != "num_host_pages" or host}
        knobs = VARIANTS[system].knobs() | sizes
        del knobs["kv_dtype"]
    return Workload(come, knobs, draw(st.sampled_from([None, None, None, 8, 30])))


def serve(workload: Workload) -> Counter[str]:
    """Serve it; raise AssertionError where a token differs, pages leak or nothing moves. Returns what happened."""
    engine = Engine(model(workload.window), attention="reference", kv_dtype="float32", **workload.knobs)
    for layer in engine.kv.layers:
        layer.fill_(torch.nan)  # memory that was not written must not be read
    latest: dict[str, RequestOutput] = {}
    came = Counter[str]()
    step = 0
    while engine.has_work or step <= max(a.step for a in workload.arrivals):
        for number, arrival in enumerate(workload.arrivals):
            if arrival.step == step:
                engine.add_request(
                    list(arrival.prompt),
                    arrival.params,
                    request_id=str(number),
                    priority=arrival.priority,
                    salt=arrival.salt,
                )
            if arrival.abort_after is not None and arrival.step + arrival.abort_after == step:
                withdrawn = engine.abort(str(number))
                if withdrawn is not None:
                    latest[str(number)] = withdrawn
        engine.check()
        for output in engine.step():
            _grew(latest.get(output.request_id), output)
            latest[output.request_id] = output
        engine.check()
        step += 1
        assert step < 5_000, "nothing moves any more"
    for number, arrival in enumerate(workload.arrivals):
        _compare(workload.window, arrival, latest[str(number)])
        came["aborted"] += _was_withdrawn(latest[str(number)])
        came["preemptions"] += latest[str(number)].num_preemptions
        came["requests"] += 1
        came["tokens"] += sum(len(sequence.token_ids) for sequence in latest[str(number)].outputs)
    manager = engine.manager
    came.update(vars(manager.stats))
    assert manager.pool.num_used == 0
    assert not manager.sequences and not manager.host.swapped
    manager.reset_prefix_cache()
    assert manager.pool.num_free == manager.pool.num_pages
    assert manager.host.num_available == manager.host.num_pages
    engine.check()
    came["steps"] += step
    return came


def _grew(before: RequestOutput | None, after: RequestOutput) -> None:
    """What was streamed once is not taken back. (Beams are: another may become the best.)"""
    assert after.error is None, after.error
    if before is None or after.outputs[0].cumulative_logprob is not None:
        return
    for old, new in zip(before.outputs, after.outputs, strict=False):
        assert new.token_ids[: len(old.token_ids)] == old.token_ids


def _compare(window: int | None, arrival: Arrival, output: RequestOutput) -> None:
    want = expected(window, arrival.prompt, arrival.params)
    got = [sequence.token_ids for sequence in output.outputs]
    assert output.finished
    if not _was_withdrawn(output):
        assert got == want, (arrival, got, want)
    elif not arrival.params.beam_width:
        assert all(one == other[: len(one)] for one, other in zip(got, want, strict=False)), (arrival, got, want)


def _was_withdrawn(output: RequestOutput) -> bool:
    return any(sequence.finish_reason is FinishReason.ABORT for sequence in output.outputs)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.engine.workload", description=__doc__)
    parser.add_argument("--workloads", type=int, default=10_000, help="how many (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the first draw (%(default)s)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    total, start = Counter[str](), time.monotonic()

    @settings(
        max_examples=args.workloads,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink],
    )
    @given(workloads())
    def run(workload: Workload) -> None:
        total.update(serve(workload))
        total["workloads"] += 1
        if total["workloads"] % 100 == 0:
            print(f"{time.monotonic() - start:7.0f} s  " + _line(total), flush=True)

    run()
    print("every token was that of the plain loop: " + _line(total))
    return 0


def _line(total: Counter[str]) -> str:
    return ", ".join(f"{value:,} {name}" for name, value in sorted(total.items()))


if __name__ == "__main__":
    sys.exit(main())
