"""Realistic traces without a model: the real scheduler and cache manager serve scripted requests.

Tokens stand for words; one of them is hostile, as a model's output may be.
"""

from __future__ import annotations

import random

from pagedlab.memory.events import Trace
from pagedlab.memory.manager import CacheManager
from pagedlab.memory.prefix_hash import HashPrefixCache
from pagedlab.scheduling.request import Request
from pagedlab.scheduling.sampling import SamplingParams
from pagedlab.scheduling.scheduler import Limits, Scheduler

HOSTILE = "<img src=x onerror=alert(1)>"
WORDS = [" the", " page", " of", " a", " model", "\n", " é", " 漢", "</script>", HOSTILE, " keys", " values", "."]


def piece(token: int) -> str:
    return WORDS[token % len(WORDS)]


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
) -> Trace:
    """Requests that share a prefix, fork (n > 1), chunk, preempt, evict and finish, all recorded."""
    draw = random.Random(seed)
    trace = Trace(num_pages, page_size, max_events=max_events)
    trace.piece = piece
    manager = CacheManager(num_pages, page_size, prefix_cache=HashPrefixCache(page_size), trace=trace)
    scheduler = Scheduler(manager, Limits(max_tokens_per_step, max_sequences, num_pages * page_size))
    system_prompt = [draw.randrange(100) for _ in range(3 * page_size + 2)]
    for number in range(num_requests):
        own = [9, *(draw.randrange(100) for _ in range(draw.randint(1, max_prompt)))]
        prompt = system_prompt + own if number % 3 else own
        params = SamplingParams(n=2 if number % 5 == 4 else 1, max_tokens=draw.randint(2, max_output), ignore_eos=True)
        scheduler.add(Request(f"chat-{number}", prompt, params))
    while scheduler.has_work and (max_steps is None or max_steps > 0):
        plan = scheduler.schedule()
        scheduler.commit(plan, [draw.randrange(100) for _ in plan.samples])
        max_steps = None if max_steps is None else max_steps - 1
    return trace
