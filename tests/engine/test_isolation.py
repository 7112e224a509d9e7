"""What goes wrong with one request ends that request alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch

from pagedlab import LLM, SamplingParams
from pagedlab.engine import live
from pagedlab.engine.beam_search import BeamSearch
from pagedlab.errors import InvalidRequest, StepFailed
from pagedlab.models.catalog import LoadedModel
from tests.engine.oracle import greedy

PROMPTS = [list(b"one prompt"), list(b"another prompt"), list(b"a third")]
GREEDY = SamplingParams(temperature=0, max_tokens=8, ignore_eos=True)


def raising(tokens: list[int], logits: torch.Tensor) -> torch.Tensor:
    if len(tokens) == 3:
        raise ValueError("planted in a processor")
    return logits


def not_numbers(tokens: list[int], logits: torch.Tensor) -> torch.Tensor:
    return logits * float("nan") if len(tokens) == 3 else logits


def serve(llm: LLM, wishes: list[SamplingParams]) -> list[Any]:
    ids = [llm.engine.add_request(prompt, wish) for prompt, wish in zip(PROMPTS, wishes, strict=True)]
    latest: dict[str, Any] = {}
    while llm.engine.has_work:
        latest.update({output.request_id: output for output in llm.engine.step()})
        llm.check()
    assert llm.engine.manager.pool.num_used == 0
    return [latest[request_id] for request_id in ids]


@pytest.mark.parametrize("processor", [raising, not_numbers])
@pytest.mark.parametrize("n", [1, 2])
def test_a_failure_in_sampling_harms_nobody_else(
    tiny_model: LoadedModel, processor: Callable[..., torch.Tensor], n: int
) -> None:
    bad = SamplingParams(temperature=0, max_tokens=8, ignore_eos=True, n=n, logits_processors=[processor])
    outputs = serve(LLM(tiny_model, page_size=4), [GREEDY, bad, GREEDY])
    for at in (0, 2):
        assert outputs[at].error is None
        assert outputs[at].outputs[0].token_ids == greedy(tiny_model, PROMPTS[at], 8)
    failed = outputs[1]
    assert failed.finished and {sequence.finish_reason for sequence in failed.outputs} == {"error"}
    assert "planted" in failed.error or "NaN" in failed.error or "nan" in failed.error
    assert failed.outputs[0].token_ids == greedy(tiny_model, PROMPTS[1], 3), "what came before stays"


def test_a_failure_in_detokenising_harms_nobody_else(tiny_model: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    class Fragile(live.OutputText):
        pushed = 0

        def push(self, token: int, *, may_stop: bool = True) -> str | None:
            self.pushed += 1
            if self._stop == ("never",) and self.pushed == 4:
                raise UnicodeError("planted in the detokeniser")
            return super().push(token, may_stop=may_stop)

    monkeypatch.setattr(live, "OutputText", Fragile)
    bad = SamplingParams(temperature=0, max_tokens=8, ignore_eos=True, stop="never")
    outputs = serve(LLM(tiny_model, page_size=4), [GREEDY, bad, GREEDY])
    assert [output.error for output in outputs] == [None, "UnicodeError: planted in the detokeniser", None]
    assert outputs[1].outputs[0].finish_reason == "error"
    for at in (0, 2):
        assert outputs[at].outputs[0].token_ids == greedy(tiny_model, PROMPTS[at], 8)


def test_a_failure_among_beams_ends_all_of_them(tiny_model: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    observe = BeamSearch.observe

    def failing(self: BeamSearch, beam: Any, logits: torch.Tensor) -> None:
        if beam.num_output == 2:
            raise ValueError("planted in the search")
        observe(self, beam, logits)

    monkeypatch.setattr(BeamSearch, "observe", failing)
    outputs = serve(LLM(tiny_model, page_size=4), [GREEDY, SamplingParams(beam_width=3, max_tokens=8), GREEDY])
    assert [output.error for output in outputs] == [None, "ValueError: planted in the search", None]
    assert {beam.finish_reason for beam in outputs[1].outputs} == {"error"}


def test_a_failure_in_choosing_among_beams_ends_their_search_alone(
    tiny_model: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(self: BeamSearch) -> None:
        raise OverflowError("planted in the choice")

    monkeypatch.setattr(BeamSearch, "advance", failing)
    outputs = serve(LLM(tiny_model, page_size=4), [GREEDY, SamplingParams(beam_width=3, max_tokens=8), GREEDY])
    assert [output.error for output in outputs] == [None, "OverflowError: planted in the choice", None]


@pytest.mark.parametrize("wish", [GREEDY, SamplingParams(temperature=0, max_tokens=8, ignore_eos=True, logprobs=1)])
def test_a_text_whose_end_cannot_be_decoded_ends_its_own_request_only(
    tiny_model: LoadedModel, monkeypatch: pytest.MonkeyPatch, wish: SamplingParams
) -> None:
    class Fragile(live.OutputText):
        def finish(self) -> None:
            if self._stop == ("never",):
                raise UnicodeError("planted at the end")
            super().finish()

    monkeypatch.setattr(live, "OutputText", Fragile)
    outputs = serve(LLM(tiny_model, page_size=4), [GREEDY, replace(wish, stop="never"), GREEDY])
    assert [output.error for output in outputs] == [None, "UnicodeError: planted at the end", None]


def test_a_request_that_makes_no_sense_is_refused_before_it_can_stand_in_anybodys_way(tiny_model: LoadedModel) -> None:
    llm = LLM(tiny_model)
    for prompt, wishes in (
        ([1.0, 2.0], {}),
        (["x"], {}),
        ([1, 2], {"salt": ["a", "list"]}),
        ([1, 2], {"retention": [{"priority": 3}]}),
    ):
        with pytest.raises(InvalidRequest, match=r"token 1\.0|token 'x'|salt \['a', 'list'\]|retention"):
            llm.engine.add_request(prompt, GREEDY, **wishes)
    assert not llm.engine.has_work


def test_a_failed_step_ends_whole_requests_and_says_why_in_their_outputs(
    tiny_model: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    llm = LLM(tiny_model, page_size=4, num_pages=14)
    wishes = [SamplingParams(n=3, max_tokens=30, ignore_eos=True, seed=1), GREEDY, GREEDY]
    for prompt, wish in zip(PROMPTS, wishes, strict=True):
        llm.engine.add_request(prompt, wish)
    while not llm.engine.scheduler.waiting or llm.engine.scheduler.waiting[0].num_preemptions == 0:
        llm.engine.step()  # until some of the three wait again, and are not in the next step

    def broken(*args: object, **others: object) -> None:
        raise RuntimeError("planted in the model")

    with monkeypatch.context() as patch:
        patch.setattr(llm.engine.runner, "attention", broken)
        with pytest.raises(StepFailed) as failure:
            llm.engine.step()
    assert all("planted in the model" in output.error and output.finished for output in failure.value.outputs)
    while llm.engine.has_work:
        llm.engine.step()
        llm.check()
    assert llm.engine.manager.pool.num_used == 0


def test_a_victim_choice_that_fails_ends_those_in_its_step_and_what_they_were_to_bring(tiny_model: LoadedModel) -> None:
    def failing(running: Sequence[Any]) -> Any:
        raise ArithmeticError("planted in a choice")

    llm = LLM(tiny_model, page_size=4, num_pages=5, victim=failing)
    first, second = (llm.engine.add_request(prompt, GREEDY) for prompt in (PROMPTS[0], PROMPTS[2]))
    llm.engine.step()
    llm.engine.step()  # the second has filled its pages, and there are no others
    with pytest.raises(StepFailed, match=rf"step 2 failed, and with it requests {first}: planted in a choice"):
        llm.engine.step()
    llm.check()
    assert not llm.engine.is_running(first) and llm.engine.is_running(second)
    while llm.engine.has_work:
        (output,) = llm.engine.step()
    assert output.outputs[0].token_ids == greedy(tiny_model, PROMPTS[2], 8)


def test_an_order_that_fails_is_heard_of_and_nothing_changes(
    tiny_model: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    llm = LLM(tiny_model, page_size=4, order="longest_prefix")
    name = llm.engine.add_request(PROMPTS[0], GREEDY)

    def failing(waiting: object, lookup: object) -> int:
        raise ArithmeticError("planted in an order")

    with monkeypatch.context() as patch:
        patch.setattr(llm.engine.scheduler.order, "pick", failing)
        with pytest.raises(ArithmeticError, match="planted in an order"):
            llm.engine.step()
    llm.check()
    assert llm.engine.is_running(name)
    while llm.engine.has_work:
        (output,) = llm.engine.step()
    assert output.outputs[0].token_ids == greedy(tiny_model, PROMPTS[0], 8)


def test_a_listener_that_fails_is_dropped_with_a_warning_and_no_token_is_lost(tiny_model: LoadedModel) -> None:
    llm = LLM(tiny_model, page_size=4)

    def failing(plan: object) -> None:
        raise ValueError("planted in a view")

    llm.engine.listeners.append(failing)
    with pytest.warns(UserWarning, match="planted in a view"):
        output = llm.generate(PROMPTS[0], GREEDY)[0]
    assert output.outputs[0].token_ids == greedy(tiny_model, PROMPTS[0], 8)
    assert llm.engine.listeners == []
