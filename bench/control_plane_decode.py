"""What a decode step costs beside the model: a batch of sequences that each get one token a step.

Three parts are timed, each for all sequences of a step at once:

- ``schedule``: Scheduler.schedule(): a chunk for each sequence, a slot for its token, its full pages published;
- ``tables``: ModelRunner.run() with a model that computes nothing: token ids, positions, slots and page tables as
  tensors in host memory, and the rows to sample from;
- ``commit``: Scheduler.commit(): the tokens appended, ends looked for.

Left out: the model, the sampler, detokenising, and the copying of tensors to a device.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, cast

import torch
from torch import Tensor

from bench.control_plane_load import PAGE_SIZE, STEPS, passer_by, prompt
from bench.control_plane_report import Figure, Seconds, measure
from pagedlab.engine.runner import ModelRunner
from pagedlab.memory.copies import PageCopy
from pagedlab.memory.events import Trace
from pagedlab.memory.manager import CacheManager
from pagedlab.memory.prefix_hash import HashPrefixCache
from pagedlab.scheduling.limits import Limits
from pagedlab.scheduling.request import Request
from pagedlab.scheduling.sampling import SamplingParams
from pagedlab.scheduling.scheduler import Scheduler
from pagedlab_kernels.batch import PagedBatch

NEVER = 2**30


@dataclass(frozen=True)
class Decode:
    """``full``: all pages that nobody uses hold cached content, so every new page evicts an old one."""

    sequences: int
    context: int
    pool_pages: int
    full: bool = False
    trace: bool = False
    prefix_cache: bool = True


def manager_for(case: Decode) -> CacheManager:
    manager = CacheManager(
        case.pool_pages,
        PAGE_SIZE,
        prefix_cache=HashPrefixCache(PAGE_SIZE) if case.prefix_cache else None,
        trace=Trace(case.pool_pages, PAGE_SIZE, max_events=100_000) if case.trace else None,
    )
    if case.full:
        fill(manager, case.pool_pages)
    return manager


def fill(manager: CacheManager, pages: int, *, run: int = 64) -> None:
    """Leave ``pages`` pages cached, by sequences of ``run`` pages that came and went."""
    for number in range(-(-pages // run)):
        num_tokens = min(run, pages - number * run) * PAGE_SIZE
        leave_cached(manager, passer_by(number, num_tokens))


def leave_cached(manager: CacheManager, tokens: list[int]) -> None:
    """A sequence that comes, has its full pages computed, and goes."""
    manager.begin_step(0)
    manager.admit(NEVER, tokens)
    manager.publish(NEVER, tokens, len(tokens))
    manager.release(NEVER)


class Nothing(torch.nn.Module):
    """The model that computes nothing, and its cache."""

    layers = ()
    write = None

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.empty(0))

    def forward(self, batch: PagedBatch, layers: object, attention: object, rows: Tensor, *more: object) -> Tensor:
        return rows

    def copy_pages(self, copies: Sequence[PageCopy]) -> None:
        assert not copies


class DecodeLoad:
    """``case.sequences`` sequences whose prompts are computed: from here on each step decodes."""

    def __init__(self, case: Decode) -> None:
        self.case = case
        self.manager = manager_for(case)
        limits = Limits(NEVER, case.sequences, NEVER)
        self.scheduler = Scheduler(self.manager, limits)
        nothing = cast(Any, Nothing())
        self.runner = ModelRunner(nothing, nothing, self.manager, nothing)
        params = SamplingParams(temperature=0, max_tokens=None, ignore_eos=True)
        for number in range(case.sequences):
            self.scheduler.add(Request(str(number), prompt(number, case.context), params))
        self.tokens = [[7] for _ in range(case.sequences)]
        self.scheduler.commit(self.scheduler.schedule(), self.tokens)

    def run(self) -> Seconds:
        """Seconds a sequence and step."""
        schedule = tables = commit = 0.0
        for _ in range(STEPS):
            start = time.thread_time()
            plan = self.scheduler.schedule()
            scheduled = time.thread_time()
            self.runner.run(plan)
            batched = time.thread_time()
            self.scheduler.commit(plan, self.tokens)
            done = time.thread_time()
            schedule += scheduled - start
            tables += batched - scheduled
            commit += done - batched
        work = STEPS * self.case.sequences
        parts = {"schedule": schedule / work, "tables": tables / work, "commit": commit / work}
        return {**parts, "total": sum(parts.values())}


def decode(series: str, case: Decode, rounds: int) -> Figure:
    return measure(series, "a sequence and step", asdict(case), DecodeLoad(case).run, rounds=rounds)
