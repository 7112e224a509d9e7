"""Nothing wedges: what can never be served is refused on arrival, with the numbers; everything else ends."""

from __future__ import annotations

from typing import Any

import pytest

from pagedlab.errors import InvalidRequest
from pagedlab.scheduling.limits import Limits
from pagedlab.scheduling.request import FinishReason
from pagedlab.scheduling.sampling import SamplingParams
from tests.scheduling.fake_engine import FakeEngine

page_sizes = pytest.mark.parametrize("page_size", [1, 2, 4, 7, 16])


@page_sizes
def test_a_request_larger_than_the_pool_is_refused_and_the_others_run_on(page_size: int) -> None:
    """Behaviour 32."""
    engine = FakeEngine(page_size=page_size, num_pages=3)
    slots = 3 * page_size
    running = engine.add([1] * page_size, max_tokens=2)
    engine.step()
    before = (engine.trace.end, len(engine.scheduler.waiting), engine.manager.pool.free_pages())
    with pytest.raises(InvalidRequest, match=f"asks for {slots + 2} tokens .*pool {slots} slots.*raise num_pages"):
        engine.add([2] * (slots + 1), max_tokens=1)
    with pytest.raises(InvalidRequest):
        engine.add([2], max_tokens=slots + 1)
    assert (engine.trace.end, len(engine.scheduler.waiting), engine.manager.pool.free_pages()) == before
    behind = engine.add([3] * page_size, max_tokens=2)
    engine.run()
    assert (running.arrival, behind.arrival) == (0, 1), "a refused request has no place in line"
    assert [request.sequences[0].num_output for request in (running, behind)] == [2, 2]


@page_sizes
def test_a_request_that_fills_the_pool_to_its_last_slot_is_served(page_size: int) -> None:
    """Behaviour 32: the last token is said and not computed, so it needs no slot."""
    slots = 3 * page_size
    for num_prompt in (1, page_size, slots - 1, slots):
        engine = FakeEngine(page_size=page_size, num_pages=3)
        request = engine.add([1] * num_prompt, max_tokens=slots + 1 - num_prompt)
        engine.run()
        assert request.sequences[0].num_tokens == slots + 1


@page_sizes
@pytest.mark.parametrize("max_context", [10_000, 9])
def test_a_request_without_a_limit_grows_until_pool_or_context_is_full_and_ends(
    page_size: int, max_context: int
) -> None:
    """Behaviour 32: alone, and growing past the pool."""
    engine = FakeEngine(page_size=page_size, num_pages=4, max_context=max_context)
    alone = engine.add([1], max_tokens=None)
    engine.run()
    other = engine.add([1, 2], max_tokens=None)
    beside = engine.add([3], max_tokens=None)
    engine.run(max_steps=5000)
    for request in (alone, other, beside):
        (sequence,) = request.sequences
        assert sequence.num_tokens == min(max_context, 4 * page_size + 1)
        assert sequence.finish_reason is FinishReason.LENGTH


@page_sizes
def test_many_sequences_of_one_request_in_a_pool_for_one_end_one_after_the_other(page_size: int) -> None:
    """Behaviour 32."""
    engine = FakeEngine(page_size=page_size, num_pages=3, max_sequences=4)
    request = engine.add([1] * page_size, max_tokens=2 * page_size, n=4)
    engine.run()
    assert [sequence.num_output for sequence in request.sequences] == [2 * page_size] * 4


@pytest.mark.parametrize(
    ("prompt", "wish", "message"),
    [
        ([], {}, "an empty prompt"),
        (
            [1] * 50,
            {"max_tokens": 1},
            "asks for 51 tokens .50 in its prompt.; a sequence may have 50 .max_context 50",
        ),
        ([1] * 50, {"max_tokens": None}, "asks for 51 tokens"),
        ([1], {"max_tokens": 50}, "asks for 51 tokens"),
        ([1], {"n": 9}, "asks for n=9 sequences; 8 may run at once"),
    ],
)
def test_an_impossible_request_is_refused_with_the_numbers(
    prompt: list[int], wish: dict[str, Any], message: str
) -> None:
    """Behaviour 32."""
    engine = FakeEngine(max_context=50, max_sequences=8)
    with pytest.raises(InvalidRequest, match=message):
        engine.add(prompt, **wish)
    assert not engine.scheduler.has_work
    assert engine.trace.end == 0
    engine.add([1], max_tokens=49)
    engine.run()


@pytest.mark.parametrize("name", ["max_tokens_per_step", "max_sequences", "max_context"])
def test_limits_are_at_least_one(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name}=0 was asked for"):
        Limits(**{name: 0})


@pytest.mark.parametrize(
    "wish",
    [
        *({"n": 0}, {"max_tokens": 0}, {"min_tokens": -1}, {"min_tokens": 17}, {"max_tokens": 3, "min_tokens": 4}),
        *({"temperature": -0.1}, {"temperature": float("nan")}, {"temperature": float("inf")}, {"top_k": -1}),
        *({"top_p": 0.0}, {"top_p": 1.1}, {"top_p": float("nan")}, {"min_p": -0.1}, {"min_p": 1.1}),
        *({"repetition_penalty": 0.0}, {"presence_penalty": float("nan")}, {"frequency_penalty": float("inf")}),
        *({"logit_bias": {1: float("nan")}}, {"stop": ""}, {"stop": ["a", ""]}, {"logprobs": -1}),
    ],
)
def test_sampling_parameters_that_make_no_sense_are_refused_by_name(wish: dict[str, Any]) -> None:
    *_, name = wish
    with pytest.raises(InvalidRequest, match=f"{name}=.* was asked for; it must be"):
        SamplingParams(**wish)


def test_sampling_parameters_take_what_vllm_takes() -> None:
    params = SamplingParams(max_tokens=None, min_tokens=1000, stop="\n", stop_token_ids=[2], temperature=0)
    assert params.stop == ("\n",)
    assert params.stop_token_ids == (2,)
