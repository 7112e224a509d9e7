"""Whatever goes wrong for one caller of an AsyncEngine goes wrong for nobody else, and everybody is told."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any

import pytest
import torch

from pagedlab import LLM, SamplingParams
from pagedlab.engine.async_engine import AsyncEngine
from pagedlab.engine.outputs import RequestOutput
from pagedlab.errors import EngineClosed, InvalidRequest
from pagedlab.models.catalog import LoadedModel
from pagedlab.scheduling.plan import StepPlan
from pagedlab.scheduling.request import FinishReason
from tests.engine.serving import (
    GREEDY,
    LONG,
    REQUESTS,
    Gate,
    assert_nothing_is_left,
    assert_same,
    gated,
    last,
    serve,
    served_alone,
    tokens,
)


@pytest.fixture(scope="module")
def alone(tiny_model: LoadedModel) -> list[RequestOutput]:
    return served_alone(tiny_model)


def assert_the_others_are_as_alone(
    outputs: list[RequestOutput], alone: list[RequestOutput], failed: int, message: str
) -> None:
    for i, (output, expected) in enumerate(zip(outputs, alone, strict=True)):
        if i == failed:
            assert output.finished and output.error is not None and message in output.error
            assert all(completion.finish_reason is FinishReason.ERROR for completion in output.outputs)
        else:
            assert_same(output, expected)


async def all_requests(serving: AsyncEngine, changed: int | None = None, **changes: Any) -> list[RequestOutput]:
    """All of REQUESTS together, one of them changed."""
    return await asyncio.gather(
        *(
            last(serving, prompt, dataclasses.replace(params, **changes) if i == changed else params)
            for i, (prompt, params) in enumerate(REQUESTS)
        )
    )


@pytest.mark.parametrize("victim", [0, 2, 5])
@pytest.mark.parametrize("at", [0, 3])
def test_a_logits_processor_that_raises_ends_its_own_request_only(
    tiny_model: LoadedModel, alone: list[RequestOutput], victim: int, at: int
) -> None:
    def trip(output_ids: list[int], logits: torch.Tensor) -> torch.Tensor:
        if len(output_ids) == at:
            raise ZeroDivisionError("a processor of the caller's own")
        return logits

    llm = LLM(tiny_model, drafter="prompt_lookup")
    outputs = serve(llm, lambda serving: all_requests(serving, victim, logits_processors=[trip]))
    assert_the_others_are_as_alone(outputs, alone, victim, "ZeroDivisionError: a processor of the caller's own")
    assert all(len(own) == at for own in tokens(outputs[victim]))


def test_text_that_cannot_be_decoded_ends_its_own_request_only(
    tiny_model: LoadedModel, alone: list[RequestOutput], monkeypatch: pytest.MonkeyPatch
) -> None:
    llm = LLM(tiny_model)
    make_stream = llm.tokenizer.stream
    streams: list[Any] = []

    class Torn:
        def push(self, token: int) -> str:
            raise UnicodeError("torn")

    def stream() -> Any:
        streams.append(Torn() if len(streams) == 2 else make_stream())
        return streams[-1]

    monkeypatch.setattr(llm.tokenizer, "stream", stream)
    outputs = serve(llm, all_requests)
    failed = [i for i, output in enumerate(outputs) if output.error is not None]
    assert len(failed) == 1
    assert_the_others_are_as_alone(outputs, alone, failed[0], "UnicodeError: torn")


def test_a_step_that_fails_ends_its_own_requests_only(tiny_model: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    llm = LLM(tiny_model)
    run = llm.engine.runner.run

    def fails_once(plan: StepPlan) -> torch.Tensor:
        if plan.step == 2:
            raise MemoryError("no room")
        return run(plan)

    monkeypatch.setattr(llm.engine.runner, "run", fails_once)

    async def scenario(serving: AsyncEngine) -> tuple[RequestOutput, RequestOutput]:
        return await last(serving, "x", GREEDY), await last(serving, "x", GREEDY)

    failed, later = serve(llm, scenario)
    assert failed.error is not None and "no room" in failed.error and "step 2" in failed.error
    assert failed.outputs[0].finish_reason is FinishReason.ERROR
    assert len(tokens(failed)[0]) == 2
    assert later.error is None and tokens(later)[0][:2] == tokens(failed)[0]


def test_a_request_that_can_never_be_served_is_refused_to_its_caller(tiny_model: LoadedModel) -> None:
    async def scenario(serving: AsyncEngine) -> list[RequestOutput | BaseException]:
        wrong = [
            last(serving, [], GREEDY),
            last(serving, [99999], GREEDY),
            last(serving, "x" * 9000, GREEDY),
            last(serving, "x", SamplingParams(regex="[")),
            last(serving, "x", SamplingParams(n=65)),
        ]
        return await asyncio.gather(last(serving, "x", GREEDY), *wrong, return_exceptions=True)

    served, *refused = serve(LLM(tiny_model), scenario, max_waiting=2)
    assert isinstance(served, RequestOutput) and served.finished
    assert [type(error) for error in refused] == [InvalidRequest] * 5


def test_two_requests_cannot_run_under_one_id_but_one_after_the_other(tiny_model: LoadedModel) -> None:
    gate = Gate()

    async def scenario(serving: AsyncEngine) -> None:
        first = asyncio.ensure_future(last(serving, "x", gated(gate), request_id="same"))
        await gate.reached()
        second = asyncio.ensure_future(last(serving, "x", GREEDY, request_id="same"))
        await asyncio.sleep(0)
        gate.open()
        with pytest.raises(InvalidRequest, match="same"):
            await second
        expected = await first
        left = serving.generate("y", LONG, request_id="same")
        await anext(left)
        await left.aclose()
        assert tokens(await last(serving, "x", GREEDY, request_id="same")) == tokens(expected)

    serve(LLM(tiny_model), scenario)


def test_a_loop_that_dies_tells_everybody(tiny_model: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    llm = LLM(tiny_model)
    schedule = llm.engine.scheduler.schedule

    def dies() -> StepPlan:
        plan = schedule()
        if plan.step == 3:
            raise SystemExit("a bug in the scheduler")
        return plan

    monkeypatch.setattr(llm.engine.scheduler, "schedule", dies)

    async def main() -> None:
        async with AsyncEngine(llm.engine, max_waiting=2) as serving:
            waiting = [last(serving, "x", LONG) for _ in range(5)]
            errors = await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), 60)
            with pytest.raises(EngineClosed, match="a bug in the scheduler"):
                await last(serving, "x", GREEDY)
        for error in errors:
            assert isinstance(error, EngineClosed) and isinstance(error.__cause__, SystemExit)
        assert_nothing_is_left(llm)

    asyncio.run(main())
