"""Small words for the tests of presets: requests, steps, loads, and the real model."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from typing import Any

from pagedlab import LLM, SamplingParams
from pagedlab.models.tiny import tiny_random
from pagedlab.scheduling.load import Offer, Run, StepTime, VirtualClock, WithoutModel, drive
from pagedlab.scheduling.plan import StepPlan
from pagedlab.scheduling.request import Request
from pagedlab.scheduling.sampling import SamplingParams as Params
from pagedlab.scheduling.scheduler import Scheduler
from pagedlab.systems import System

TICK = StepTime(fixed=1.0, per_token=0.0)


def one(scheduler: Scheduler, name: str, prompt: Sequence[int], most: int, **wishes: Any) -> Request:
    """A request in line, that will have ``most`` tokens of output."""
    request = Request(name, list(prompt), Params(max_tokens=most, temperature=0, ignore_eos=True), **wishes)
    scheduler.add(request)
    return request


def step(scheduler: Scheduler, token: int = 0) -> StepPlan:
    """One step, in which everybody says ``token``."""
    plan = scheduler.schedule()
    scheduler.manager.check()
    scheduler.commit(plan, [[token] for _ in plan.samples])
    scheduler.manager.check()
    return plan


def alone(scheduler: Scheduler, name: str, prompt: Sequence[int], most: int = 1, **wishes: Any) -> Request:
    """A request from its beginning to its end."""
    request = one(scheduler, name, prompt, most, **wishes)
    while not request.finished:
        step(scheduler)
    return request


def names(plan: StepPlan) -> list[str]:
    return [chunk.sequence.request.id for chunk in plan.chunks]


def pages(scheduler: Scheduler, request: Request) -> list[int]:
    return list(scheduler.manager.table(request.sequences[0].id).pages)


def found(scheduler: Scheduler, tokens: Iterable[int]) -> int:
    """Tokens that a prompt which begins so, and goes on, would find cached."""
    return scheduler.manager.lookup([*tokens, -5])


def offers(count: int, seed: int) -> list[Offer]:
    """Requests of three families that come at once, each family with a prefix of its own."""
    draw = random.Random(seed)
    prefixes = [[family * 1000 + i for i in range(70)] for family in range(3)]
    made: list[Offer] = []
    for number in range(count):
        tail = [10_000 + 100 * number + i for i in range(draw.randint(1, 60))]
        made.append(Offer(0.0, draw.choice(prefixes) + tail, draw.randint(4, 60)))
    return made


def served(scheduler: Scheduler, requests: Iterable[Offer]) -> Run:
    run = drive(WithoutModel(scheduler), requests, VirtualClock(TICK))
    scheduler.manager.check()
    return run


def preemptions(run: Run) -> int:
    return sum(timeline.num_preemptions for timeline in run.timelines)


def chats(count: int, seed: int) -> list[list[int]]:
    """Prompts for the tiny model, some of which begin alike."""
    draw = random.Random(seed)
    prompts = [[draw.randrange(200) for _ in range(draw.randint(5, 90))] for _ in range(count)]
    return [*prompts, [*prompts[0][:40], 7, 8], [*prompts[0][:70], 9]]


def said(system: System | str | None, prompts: list[list[int]], *, most: int = 20, **knobs: Any) -> tuple[Any, LLM]:
    """What the tiny model says to them, all at once; and who said it."""
    llm = LLM(tiny_random(), system=system, **knobs)
    wish = SamplingParams(max_tokens=most, temperature=0, ignore_eos=True)
    outputs = llm.generate(prompts, wish, progress=False)
    llm.check()
    return [output.outputs[0].token_ids for output in outputs], llm
