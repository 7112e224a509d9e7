"""Realistic traces without a model: the real scheduler and cache manager serve scripted requests.

Tokens stand for words; one of them is hostile, as a model's output may be.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from pagedlab.memory.events import Trace
from pagedlab.memory.manager import CacheManager
from pagedlab.memory.prefix_cache import PrefixCache
from pagedlab.memory.prefix_hash import HashPrefixCache
from pagedlab.scheduling.drafts import Drafter
from pagedlab.scheduling.limits import Limits
from pagedlab.scheduling.plan import StepPlan
from pagedlab.scheduling.request import FinishReason, Request, Sequence
from pagedlab.scheduling.sampling import SamplingParams
from pagedlab.scheduling.scheduler import Scheduler

HOSTILE = "<img src=x onerror=alert(1)>"
WORDS = [" the", " page", " of", " a", " model", "\n", " é", " 漢", "</script>", HOSTILE, " keys", " values", "."]


def piece(token: int) -> str:
    return WORDS[token % len(WORDS)]


class Guesses:
    """Drafts at random: how many of them turn out right is for ``_sample`` to say."""

    def __init__(self, draw: random.Random) -> None:
        self._draw = draw

    def propose(self, sequence: Sequence, most: int) -> list[int]:
        return [self._draw.randrange(100) for _ in range(min(most, 4))]


def make_trace(
    num_pages: int = 64,
    page_size: int = 16,
    num_requests: int = 18,
    *,
    max_prompt: int = 160,
    max_output: int = 60,
    max_tokens_per_step: int = 96,
    max_sequences: int = 16,
    max_events: int = 1_000_000,
    max_steps: int | None = None,
    seed: int = 0,
    prefix_cache: Callable[[int], PrefixCache] = HashPrefixCache,
    beams: bool = False,
    drafts: bool = False,
    pin: bool = False,
    **memory: Any,
) -> Trace:
    """Requests that share a prefix, fork (n > 1), chunk, preempt, evict and finish, all recorded.

    ``memory`` goes to the CacheManager: host pages (which preemption then swaps to), partial hits, a window. With
    ``beams`` every fourth request is a beam search; with ``drafts`` sequences speculate.
    """
    draw = random.Random(seed)
    trace = Trace(num_pages, page_size, max_events=max_events)
    trace.piece = piece
    manager = CacheManager(num_pages, page_size, prefix_cache=prefix_cache(page_size), trace=trace, **memory)
    limits = Limits(max_tokens_per_step, max_sequences, num_pages * page_size)
    drafter: Drafter | None = Guesses(draw) if drafts else None
    scheduler = Scheduler(manager, limits, swap=manager.host.num_pages > 0, drafter=drafter)
    system_prompt = [draw.randrange(100) for _ in range(3 * page_size + 2)]
    for number in range(num_requests):
        own = [9, *(draw.randrange(100) for _ in range(draw.randint(1, max_prompt)))]
        prompt = system_prompt + own if number % 3 else own
        wide = {"beam_width": 2} if beams and number % 4 == 2 else {"n": 2 if number % 5 == 4 else 1}
        params = SamplingParams(**wide, max_tokens=draw.randint(2, max_output), ignore_eos=True)  # type: ignore[arg-type]
        scheduler.add(Request(f"chat-{number}", prompt, params))
    step = 0
    while scheduler.has_work and (max_steps is None or step < max_steps):
        plan = scheduler.schedule()
        scheduler.commit(plan, [_sample(row.sequence, row.drafts, draw) for row in plan.samples])
        _branch(scheduler, plan, draw)
        manager.check()
        step += 1
        if pin and step == 10:
            scheduler.pin(-2, system_prompt)
        if pin and step == 30:
            manager.release(-2)
    return trace


def _sample(sequence: Sequence, drafts: tuple[int, ...], draw: random.Random) -> list[int]:
    """As many of the drafts as the dice say, and the token after them. A beam awaits the choice of its request."""
    if sequence.request.params.beam_width:
        return []
    return [*drafts[: draw.randint(0, len(drafts)) if drafts else 0], draw.randrange(100)]


def _branch(scheduler: Scheduler, plan: StepPlan, draw: random.Random) -> None:
    """Beam searches whose beams all await go on, and fork and lose beams at random."""
    for request in dict.fromkeys(row.sequence.request for row in plan.samples):
        beams, width = request.alive, request.params.beam_width
        if not width or not beams or not all(beam.awaits for beam in beams):
            continue
        winners = sorted((draw.choice(beams) for _ in range(width)), key=beams.index)
        going_on = scheduler.branch(request, [(beam, draw.randrange(100)) for beam in winners])
        for beam in going_on:
            if scheduler.is_full(beam):
                scheduler.finish(beam, FinishReason.LENGTH)
