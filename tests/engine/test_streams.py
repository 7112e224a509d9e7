"""Streams of one engine: each says what its request would say alone, and hears of its own failures only."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from pagedlab import LLM
from pagedlab.errors import RequestAborted, RequestFailed
from pagedlab.models.catalog import LoadedModel
from pagedlab.scheduling.plan import StepPlan
from tests.engine.serving import GREEDY, assert_nothing_is_left

PROMPTS = [list(b"Pages are shared by"), list(b"A second caller")]


def test_a_stream_says_what_generate_says(tiny_model: LoadedModel) -> None:
    llm = LLM(tiny_model)
    whole = llm.generate(PROMPTS[1], GREEDY)[0].outputs[0]
    pieces = list(llm.stream(PROMPTS[1], GREEDY))
    assert [token for piece in pieces for token in piece.token_ids] == whole.token_ids
    assert "".join(piece.text for piece in pieces) == whole.text


def test_two_streams_by_turns_and_one_left_early_do_not_disturb_each_other(tiny_model: LoadedModel) -> None:
    llm = LLM(tiny_model)
    first, second = llm.stream(PROMPTS[0], GREEDY), llm.stream(PROMPTS[1], GREEDY)
    left = [next(first).token_ids, next(second).token_ids, next(first).token_ids]
    first.close()
    rest = [piece.token_ids for piece in second]
    alone = LLM(tiny_model).generate(PROMPTS[1], GREEDY)[0].outputs[0].token_ids
    assert sum([left[1], *rest], []) == alone
    assert_nothing_is_left(llm)


def test_a_stream_whose_request_fails_says_so_after_what_came_before(tiny_model: LoadedModel) -> None:
    def trip(tokens: list[int], logits: torch.Tensor) -> torch.Tensor:
        if len(tokens) == 3:
            raise ZeroDivisionError("planted in a processor")
        return logits

    llm = LLM(tiny_model)
    stream = llm.stream("x", replace(GREEDY, logits_processors=[trip]))
    assert [len(next(stream).token_ids) for _ in range(4)] == [1, 1, 1, 0]
    with pytest.raises(RequestFailed, match="ZeroDivisionError: planted in a processor"):
        next(stream)
    assert not llm.engine.has_work


def test_a_step_that_fails_is_told_to_the_streams_that_were_in_it_whoever_made_it(
    tiny_model: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    llm = LLM(tiny_model, max_sequences=1)
    first, second = llm.stream("x", GREEDY), llm.stream("y", GREEDY)
    next(first)
    run, failures = llm.engine.runner.run, iter([True])

    def fails_once(plan: StepPlan) -> torch.Tensor:
        if next(failures, False):
            raise RuntimeError("planted")
        return run(plan)

    monkeypatch.setattr(llm.engine.runner, "run", fails_once)
    alone = [token for piece in LLM(tiny_model).stream("y", GREEDY) for token in piece.token_ids]
    assert [token for piece in second for token in piece.token_ids] == alone, "it waited, and was not in that step"
    assert next(first).token_ids == [], "it ended in that step"
    with pytest.raises(RequestFailed, match="planted"):
        next(first)


def test_a_caller_whose_request_is_aborted_by_another_is_told(tiny_model: LoadedModel) -> None:
    llm = LLM(tiny_model)
    stream = llm.stream(PROMPTS[0], GREEDY)
    next(stream)
    llm.engine.abort("0")
    with pytest.raises(RequestAborted):
        next(stream)
