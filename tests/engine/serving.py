"""Callers of an AsyncEngine, for tests: what they ask for, and what they would get alone."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

import torch

from pagedlab import LLM, SamplingParams
from pagedlab.engine.async_engine import AsyncEngine
from pagedlab.engine.outputs import RequestOutput
from pagedlab.models.catalog import LoadedModel
from pagedlab.scheduling.request import FinishReason

Result = TypeVar("Result")

GREEDY = SamplingParams(temperature=0, max_tokens=12, ignore_eos=True)
LONG = SamplingParams(temperature=0, max_tokens=200, ignore_eos=True)

#: Requests that anybody may make.
REQUESTS: list[tuple[str, SamplingParams]] = [
    ("Pages are", GREEDY),
    ("Pages are shared", SamplingParams(seed=1, max_tokens=20, ignore_eos=True)),
    ("Pages are shared by", SamplingParams(seed=2, n=3, max_tokens=9, ignore_eos=True)),
    ("x", SamplingParams(seed=3, max_tokens=30, top_p=0.9)),
    ("The quick brown fox jumps over the lazy dog. " * 2, SamplingParams(seed=4, max_tokens=5, logprobs=2)),
    ("digits: ", SamplingParams(seed=5, max_tokens=30, regex="[0-9]{4,9}")),
    ("äöü", SamplingParams(temperature=0, max_tokens=40, stop="e", ignore_eos=True)),
    ("beams", SamplingParams(beam_width=2, max_tokens=6, ignore_eos=True)),
]


def serve(llm: LLM, scenario: Callable[[AsyncEngine], Awaitable[Result]], **knobs: Any) -> Result:
    """What ``scenario`` says. Afterwards nothing is left in the engine."""

    async def main() -> Result:
        async with AsyncEngine(llm.engine, **knobs) as serving:
            return await asyncio.wait_for(scenario(serving), 120)

    result = asyncio.run(main())
    assert_nothing_is_left(llm)
    return result


def assert_nothing_is_left(llm: LLM) -> None:
    llm.check()
    assert llm.engine.manager.pool.num_used == 0
    assert not llm.engine.has_work


async def last(serving: AsyncEngine, prompt: str | list[int], params: SamplingParams, **options: Any) -> RequestOutput:
    return await exhaust(serving.generate(prompt, params, **options))


async def exhaust(outputs: AsyncIterator[RequestOutput]) -> RequestOutput:
    return [output async for output in outputs][-1]


def tokens(output: RequestOutput) -> list[list[int]]:
    return [completion.token_ids for completion in output.outputs]


class Gate:
    """A logits processor at which the step stands still until it is opened."""

    def __init__(self, at_token: int = 0) -> None:
        self.at_token, self._reached, self._opened = at_token, threading.Event(), threading.Event()

    def __call__(self, output_ids: list[int], logits: torch.Tensor) -> torch.Tensor:
        if len(output_ids) == self.at_token:
            self._reached.set()
            assert self._opened.wait(60)
        return logits

    async def reached(self) -> None:
        assert await asyncio.to_thread(self._reached.wait, 60)

    def open(self) -> None:
        self._opened.set()


def gated(gate: Gate, params: SamplingParams = GREEDY) -> SamplingParams:
    return dataclasses.replace(params, logits_processors=[gate])


def served_alone(loaded: LoadedModel) -> list[RequestOutput]:
    """What each of REQUESTS brings when nobody else is there."""
    return [LLM(loaded).generate(prompt, params, progress=False)[0] for prompt, params in REQUESTS]


def said(output: RequestOutput) -> list[tuple[list[int], str, FinishReason | None, int | str | None]]:
    return [(own.token_ids, own.text, own.finish_reason, own.stop_reason) for own in output.outputs]


def assert_same(output: RequestOutput, expected: RequestOutput) -> None:
    assert said(output) == said(expected)
    assert output.finished and output.error is None
