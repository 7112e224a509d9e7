"""Many callers at once: each gets what it would have got alone, and who leaves takes nothing along."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pagedlab import LLM, SamplingParams
from pagedlab.engine.async_engine import AsyncEngine
from pagedlab.engine.outputs import RequestOutput
from pagedlab.errors import EngineBusy, EngineClosed, InvalidConfig, InvariantViolation
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
    exhaust,
    gated,
    last,
    serve,
    served_alone,
    tokens,
)


@pytest.fixture(scope="module")
def alone(tiny_model: LoadedModel) -> list[RequestOutput]:
    return served_alone(tiny_model)


@settings(max_examples=25, deadline=None)
@given(
    clients=st.lists(
        st.tuples(
            st.integers(0, len(REQUESTS) - 1),
            st.integers(0, 6),  # how late it comes
            st.one_of(st.none(), st.integers(0, 8)),  # how soon it goes
            st.sampled_from(["leave", "cancel", "close", "abort"]),
        ),
        min_size=1,
        max_size=24,
    ),
    num_pages=st.sampled_from([34, 60, 400]),
    max_waiting=st.sampled_from([None, 1, 4]),
    drafter=st.sampled_from([None, "prompt_lookup"]),
)
def test_whoever_stays_gets_what_it_gets_alone_whoever_else_comes_and_goes(
    tiny_model: LoadedModel,
    alone: list[RequestOutput],
    clients: list[tuple[int, int, int | None, str]],
    num_pages: int,
    max_waiting: int | None,
    drafter: str | None,
) -> None:
    llm = LLM(tiny_model, page_size=4, num_pages=num_pages, max_tokens_per_step=32, drafter=drafter)
    violations = []

    def prove(plan: StepPlan) -> None:
        try:
            llm.engine.check()
        except InvariantViolation as violation:
            violations.append(violation)

    llm.engine.listeners.append(prove)

    async def client(serving: AsyncEngine, number: int, late: int, soon: int | None, how: str) -> None:
        await asyncio.sleep(late / 500)
        prompt, params = REQUESTS[clients[number][0]]
        own = asyncio.ensure_future(watch(serving, number, prompt, params, soon, how))
        if soon is not None and how == "cancel":
            await asyncio.sleep(soon / 200)
            own.cancel()
        await asyncio.wait([own])
        if not own.cancelled():
            own.result()

    async def watch(
        serving: AsyncEngine, number: int, prompt: str, params: SamplingParams, soon: int | None, how: str
    ) -> None:
        seen = 0
        async with aclosing(serving.generate(prompt, params, request_id=f"client {number}")) as outputs:
            async for newest in outputs:
                output, seen = newest, seen + 1
                if seen == soon and how in ("leave", "close"):
                    return
                if seen == soon and how == "abort":
                    serving.abort(f"client {number}")
        if output.outputs[0].finish_reason is not FinishReason.ABORT:
            assert_same(output, alone[clients[number][0]])

    async def scenario(serving: AsyncEngine) -> None:
        await asyncio.gather(*(client(serving, i, *rest) for i, (_, *rest) in enumerate(clients)))  # type: ignore[arg-type]

    serve(llm, scenario, max_waiting=max_waiting)
    assert not violations


def test_a_hundred_callers_share_one_engine(tiny_model: LoadedModel, alone: list[RequestOutput]) -> None:
    async def scenario(serving: AsyncEngine) -> list[RequestOutput]:
        return await asyncio.gather(*(last(serving, *REQUESTS[i % len(REQUESTS)]) for i in range(100)))

    for i, output in enumerate(serve(LLM(tiny_model), scenario)):
        assert_same(output, alone[i % len(REQUESTS)])


# A stream of outputs


def test_outputs_are_cumulative_and_the_last_one_is_finished(tiny_model: LoadedModel) -> None:
    async def scenario(serving: AsyncEngine) -> list[RequestOutput]:
        return [output async for output in serving.generate("Pages are", GREEDY, request_id="mine")]

    outputs = serve(LLM(tiny_model), scenario)
    assert [output.finished for output in outputs] == [False] * (len(outputs) - 1) + [True]
    assert {output.request_id for output in outputs} == {"mine"}
    for before, after in pairwise(outputs):
        assert after.outputs[0].text.startswith(before.outputs[0].text)
        assert tokens(after)[0][: len(tokens(before)[0])] == tokens(before)[0]
    assert len(tokens(outputs[-1])[0]) == 12


def test_a_slow_caller_skips_states_but_misses_nothing(tiny_model: LoadedModel) -> None:
    llm = LLM(tiny_model)

    async def scenario(serving: AsyncEngine) -> tuple[list[RequestOutput], RequestOutput]:
        outputs = serving.generate("Pages are", GREEDY)
        seen = [await anext(outputs)]
        quick = await last(serving, "Pages are", LONG)  # while 200 tokens come, nobody looks
        return seen + [output async for output in outputs], quick

    seen, quick = serve(llm, scenario)
    assert 2 <= len(seen) <= 3, "what was missed came as one"
    assert tokens(seen[-1])[0] == tokens(quick)[0][:12]


def test_the_event_loop_runs_while_a_step_stands_still(tiny_model: LoadedModel) -> None:
    gate = Gate()

    async def scenario(serving: AsyncEngine) -> RequestOutput:
        request = asyncio.ensure_future(last(serving, "x", gated(gate)))
        await gate.reached()
        for _ in range(100):  # were this loop the step's, it would stand still, too
            await asyncio.sleep(0)
        assert not request.done()
        gate.open()
        return await request

    assert serve(LLM(tiny_model), scenario).finished


# Leaving


@pytest.mark.parametrize("how", ["cancel", "close", "abort"])
def test_who_leaves_takes_part_in_no_further_step(tiny_model: LoadedModel, how: str) -> None:
    llm, gate = LLM(tiny_model), Gate(at_token=5)
    steps: list[set[str]] = []
    used: list[int] = []

    def note(plan: StepPlan) -> None:
        steps.append({chunk.sequence.request.id for chunk in plan.chunks})
        used.append(llm.engine.manager.pool.num_used)

    async def scenario(serving: AsyncEngine) -> int:
        outputs = serving.generate("A prompt that takes pages. " * 4, LONG, request_id="leaver")
        await anext(outputs)
        staying = asyncio.ensure_future(last(serving, "x", gated(gate), request_id="stayer"))
        await gate.reached()
        during = len(steps)  # number of the step that stands still
        if how == "cancel":
            going = asyncio.ensure_future(exhaust(outputs))
            await asyncio.sleep(0)
            going.cancel()
            await asyncio.wait([going])
            assert going.cancelled()
        elif how == "close":
            await outputs.aclose()
        else:
            serving.abort("leaver")
        gate.open()
        assert len(tokens(await staying)[0]) == 12
        if how == "abort":
            assert (await exhaust(outputs)).outputs[0].finish_reason is FinishReason.ABORT
        return during

    llm.engine.listeners.append(note)
    during = serve(llm, scenario)
    assert steps[during] == {"leaver", "stayer"}
    assert steps[during + 1 :] == [{"stayer"}] * 6
    assert used[during] > 1 and used[during + 1 :] == [1] * 5 + [0]


def test_leaving_the_loop_is_enough(tiny_model: LoadedModel) -> None:
    llm, gate = LLM(tiny_model), Gate(at_token=3)
    steps: list[StepPlan] = []
    llm.engine.listeners.append(steps.append)

    async def scenario(serving: AsyncEngine) -> None:
        async for output in serving.generate("x", gated(gate, LONG)):
            if len(tokens(output)[0]) == 3:
                break
        for _ in range(5):  # the interpreter hands what was left to the event loop
            await asyncio.sleep(0)
        gate.open()

    serve(llm, scenario)
    assert len(steps) in (3, 4), "the fourth step may have begun when it left"


def test_who_leaves_in_the_line_outside_gives_up_its_place(tiny_model: LoadedModel) -> None:
    gate = Gate()

    async def scenario(serving: AsyncEngine) -> RequestOutput:
        first = asyncio.ensure_future(last(serving, "x", gated(gate)))
        await gate.reached()
        impatient, patient = (asyncio.ensure_future(last(serving, "y", GREEDY)) for _ in range(2))
        await asyncio.sleep(0)
        impatient.cancel()
        await asyncio.wait([impatient])
        gate.open()
        await first
        return await patient

    assert serve(LLM(tiny_model), scenario, max_waiting=1).finished


# Back-pressure


def test_callers_wait_their_turn_or_are_told_that_there_is_no_place(tiny_model: LoadedModel) -> None:
    gate, order = Gate(), []

    async def caller(serving: AsyncEngine, name: str) -> None:
        outputs = serving.generate("x", GREEDY)
        await anext(outputs)
        order.append(name)
        await exhaust(outputs)

    async def scenario(serving: AsyncEngine) -> None:
        first = asyncio.ensure_future(last(serving, "x", gated(gate)))
        await gate.reached()
        in_line = [asyncio.ensure_future(caller(serving, name)) for name in "abcd"]
        await asyncio.sleep(0)
        with pytest.raises(EngineBusy, match="1 requests wait"):
            await anext(serving.generate("x", GREEDY, wait=False))
        assert not order
        gate.open()
        await asyncio.gather(first, *in_line)
        await last(serving, "x", GREEDY, wait=False)

    serve(LLM(tiny_model), scenario, max_waiting=1)
    assert order == list("abcd")


def test_a_request_that_has_its_first_token_waits_no_more(tiny_model: LoadedModel) -> None:
    gate = Gate(at_token=3)

    async def scenario(serving: AsyncEngine) -> RequestOutput:
        outputs = serving.generate("x", gated(gate))
        await anext(outputs)
        second = asyncio.ensure_future(last(serving, "y", GREEDY, wait=False))
        await gate.reached()
        gate.open()
        await exhaust(outputs)
        return await second

    assert serve(LLM(tiny_model), scenario, max_waiting=1).finished


def test_max_waiting_is_at_least_one(tiny_model: LoadedModel) -> None:
    with pytest.raises(InvalidConfig, match="max_waiting=0"):
        AsyncEngine(LLM(tiny_model).engine, max_waiting=0)


# Beginning and end


def test_shutdown_lets_accepted_requests_end_and_takes_no_more(tiny_model: LoadedModel) -> None:
    async def scenario(serving: AsyncEngine) -> RequestOutput:
        outputs = serving.generate("x", LONG)
        await anext(outputs)
        rest = asyncio.ensure_future(anext(outputs))
        await serving.shutdown()
        with pytest.raises(EngineClosed, match="shut down"):
            await last(serving, "y", GREEDY)
        await rest
        return await exhaust(outputs)

    output = serve(LLM(tiny_model), scenario)
    assert output.finished and len(tokens(output)[0]) == 200


def test_shutdown_without_drain_aborts(tiny_model: LoadedModel) -> None:
    async def scenario(serving: AsyncEngine) -> list[RequestOutput]:
        outputs = [serving.generate("x", LONG) for _ in range(3)]
        for one in outputs:
            await anext(one)
        await serving.shutdown(drain=False)
        return [await exhaust(one) for one in outputs]

    for output in serve(LLM(tiny_model), scenario):
        assert output.finished and output.outputs[0].finish_reason is FinishReason.ABORT


def test_a_shutdown_that_is_cancelled_aborts_what_it_waited_for(tiny_model: LoadedModel) -> None:
    gate = Gate(at_token=3)

    async def scenario(serving: AsyncEngine) -> RequestOutput:
        request = asyncio.ensure_future(last(serving, "x", gated(gate, LONG)))
        await gate.reached()
        closing = asyncio.ensure_future(serving.shutdown())
        await asyncio.sleep(0)
        closing.cancel()
        await asyncio.wait([closing])
        gate.open()
        return await request

    output = serve(LLM(tiny_model), scenario)
    assert output.outputs[0].finish_reason is FinishReason.ABORT
    assert len(tokens(output)[0]) == 4


def test_an_exception_in_the_block_aborts_what_runs(tiny_model: LoadedModel) -> None:
    llm = LLM(tiny_model)

    async def main() -> None:
        async with AsyncEngine(llm.engine) as serving:
            await anext(serving.generate("x", LONG))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        asyncio.run(main())
    assert_nothing_is_left(llm)


def test_who_waits_outside_is_told_when_the_engine_closes(tiny_model: LoadedModel) -> None:
    gate = Gate()

    async def scenario(serving: AsyncEngine) -> None:
        first = asyncio.ensure_future(last(serving, "x", gated(gate)))
        await gate.reached()
        outside = [asyncio.ensure_future(last(serving, "y", GREEDY)) for _ in range(3)]
        await asyncio.sleep(0)
        closing = asyncio.ensure_future(serving.shutdown())
        await asyncio.sleep(0)
        gate.open()
        await asyncio.wait([first, closing, *outside])
        assert first.result().finished
        assert all(isinstance(task.exception(), EngineClosed) for task in outside)

    serve(LLM(tiny_model), scenario, max_waiting=1)


def test_an_engine_that_was_not_entered_or_was_left_says_so(tiny_model: LoadedModel) -> None:
    async def main() -> None:
        serving = AsyncEngine(LLM(tiny_model).engine)
        await serving.shutdown()
        with pytest.raises(EngineClosed, match="async with"):
            await last(serving, "x", GREEDY)
        async with serving:
            await last(serving, "x", GREEDY)
        with pytest.raises(EngineClosed, match="entered before"):
            async with serving:
                pass

    asyncio.run(main())
