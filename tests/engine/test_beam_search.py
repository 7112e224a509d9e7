"""Beam search: the beams of the textbook, however many pages there are for them."""

from __future__ import annotations

import pytest
import torch

from pagedlab import LLM, SamplingParams
from pagedlab.errors import InvalidRequest
from pagedlab.models.catalog import LoadedModel, load_model
from tests.engine.oracle import beams

PROMPT = list(b"pages are like books")


@pytest.fixture(scope="module")
def exact_model() -> LoadedModel:
    return load_model("tiny-random", dtype=torch.float64)


def wish(width: int, **others: object) -> SamplingParams:
    return SamplingParams(beam_width=width, **{"max_tokens": 10, "ignore_eos": True, **others})  # type: ignore[arg-type]


def found(llm: LLM, params: SamplingParams) -> list[list[int]]:
    return [beam.token_ids for beam in llm.generate(PROMPT, params)[0].outputs]


@pytest.mark.parametrize("width", [1, 2, 5])
def test_the_beams_are_those_of_the_textbook_best_first(exact_model: LoadedModel, width: int) -> None:
    llm = LLM(exact_model, page_size=4, attention="reference", kv_dtype="float32")
    assert found(llm, wish(width)) == beams(exact_model, PROMPT, wish(width))
    logprobs = [beam.cumulative_logprob for beam in llm.generate(PROMPT, wish(width))[0].outputs]
    assert logprobs == sorted(logprobs, reverse=True)
    llm.check()
    assert llm.engine.manager.pool.num_used == 0


@pytest.mark.parametrize("length_penalty", [-1.0, 0.0, 0.6, 1.0, 3.0])
def test_a_search_that_ends_early_has_missed_nothing(exact_model: LoadedModel, length_penalty: float) -> None:
    params = wish(3, length_penalty=length_penalty, stop_token_ids=tuple(range(80)))
    llm = LLM(exact_model, page_size=4, attention="reference", kv_dtype="float32")
    assert found(llm, params) == beams(exact_model, PROMPT, params)


def test_beams_that_cannot_all_have_pages_take_turns_and_stay_the_same(exact_model: LoadedModel) -> None:
    alone = -(-(len(PROMPT) + 9) // 4)
    tight = LLM(exact_model, page_size=4, num_pages=alone, attention="reference", kv_dtype="float32")
    output = tight.generate(PROMPT, wish(4))[0]
    assert [beam.token_ids for beam in output.outputs] == beams(exact_model, PROMPT, wish(4))
    assert tight.engine.manager.pool.num_used == 0


def test_beams_share_all_pages_but_those_that_are_written(exact_model: LoadedModel) -> None:
    llm = LLM(exact_model, page_size=4, attention="reference", kv_dtype="float32", prefix_cache="none")
    most = 0

    def observe(plan: object) -> None:
        nonlocal most
        most = max(most, llm.engine.manager.pool.num_used)

    llm.engine.listeners.append(observe)
    llm.generate(PROMPT, wish(4))
    full_prompt_pages, alone = len(PROMPT) // 4, -(-(len(PROMPT) + 10) // 4)
    assert most <= full_prompt_pages + 4 * (alone - full_prompt_pages)


def test_a_beam_that_ends_at_a_stop_keeps_its_reason_and_its_text_leaves_it_out(exact_model: LoadedModel) -> None:
    llm = LLM(exact_model, attention="reference", kv_dtype="float32")
    stops = tuple(range(128))
    output = llm.generate(PROMPT, wish(3, stop_token_ids=stops))[0]
    stopped = [beam for beam in output.outputs if beam.finish_reason == "stop"]
    assert stopped
    assert exact_model.tokenizer is not None
    for beam in stopped:
        assert beam.stop_reason == beam.token_ids[-1] and beam.stop_reason in stops
        assert beam.text == exact_model.tokenizer.decode(beam.token_ids[:-1])


def test_a_withdrawn_search_gives_back_every_page(exact_model: LoadedModel) -> None:
    llm = LLM(exact_model, page_size=4, num_pages=20, attention="reference", kv_dtype="float32")
    for steps in range(6):
        request_id = llm.engine.add_request(PROMPT, wish(4))
        for _ in range(steps):
            llm.engine.step()
        output = llm.engine.abort(request_id)
        assert output is not None and output.finished
        assert {beam.finish_reason for beam in output.outputs} == {"abort"}
        llm.check()
        assert llm.engine.manager.pool.num_used == 0 and not llm.engine.has_work


def test_beams_cannot_be_streamed_nor_be_more_than_may_run(exact_model: LoadedModel) -> None:
    llm = LLM(exact_model, max_sequences=4)
    with pytest.raises(InvalidRequest, match="beam_width=2"):
        llm.stream(PROMPT, wish(2))
    with pytest.raises(InvalidRequest, match="max_sequences"):
        llm.generate(PROMPT, wish(5))


def test_a_search_in_which_every_token_ends_ends_with_the_likeliest(tiny_model: LoadedModel) -> None:
    params = SamplingParams(beam_width=2, max_tokens=5, stop_token_ids=range(tiny_model.config.vocab_size))
    (output,) = LLM(tiny_model).generate("x", params, progress=False)
    (best,) = LLM(tiny_model).generate("x", SamplingParams(temperature=0, max_tokens=1), progress=False)
    assert len(output.outputs) == 2
    assert {len(beam.token_ids) for beam in output.outputs} == {1}
    assert output.outputs[0].token_ids == best.outputs[0].token_ids
