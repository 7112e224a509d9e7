"""Five systems as presets: what is common to them, and the same tokens from all."""

from __future__ import annotations

import inspect
from dataclasses import fields

import pytest

from pagedlab import LLM
from pagedlab.engine import llm as llm_module
from pagedlab.engine.engine import Engine
from pagedlab.errors import InvalidConfig
from pagedlab.models.tiny import tiny_random
from pagedlab.systems import SYSTEMS, TGI, VLLM, LMDeploy, SGLang, System, TensorRTLLM, preset
from tests.systems.serving import chats, offers, said, served
from tests.systems.variants import VARIANTS

NAMES = list(SYSTEMS)

every_variant = pytest.mark.parametrize("system", VARIANTS.values(), ids=VARIANTS.keys())


@every_variant
def test_every_preset_says_the_tokens_that_the_plain_engine_says(system: System):
    """With much memory and with hardly enough, in a first turn and in a second that goes on from it."""
    first = chats(12, seed=1)
    plain, _ = said(None, first, num_pages=512)
    second = [prompt + answer + [5] for prompt, answer in zip(first, plain, strict=True)]
    plain_second, _ = said(None, second, num_pages=512)
    for num_slots in (4096, 384):
        mine, llm = said(system, first + second, num_pages=system.pages_for(num_slots))
        assert mine == plain + plain_second
        assert llm.engine.manager.page_size == system.tokens_per_page
        assert llm.engine.manager.pool.num_used == 0


@every_variant
@pytest.mark.parametrize("seed", range(2))
def test_every_preset_serves_everybody_in_little_memory_and_keeps_its_books(system: System, seed: int):
    scheduler = system.scheduler(768)
    run = served(scheduler, offers(40, seed))
    assert [len(t.token_times) for t in run.timelines] == [o.num_output for o in offers(40, seed)]
    assert scheduler.manager.pool.num_used == 0


@pytest.mark.parametrize("name", NAMES)
def test_a_preset_says_what_it_keeps_and_leaves_out_and_where_it_is_documented(name):
    system = SYSTEMS[name]
    assert len(system.kept) >= 4 and len(system.left_out) >= 3
    assert system.documented.startswith("https://") and "2026" in system.seen
    assert all(field.name in inspect.getdoc(system) or field.default is not None for field in fields(system))


@every_variant
def test_a_preset_answers_what_every_system_must_and_names_only_knobs_of_the_engine(system: System):
    knobs = system.knobs()
    policies = {"page_size", "max_tokens_per_step", "max_sequences", "prefix_cache", "eviction", "order", "admission"}
    assert policies | {"victim", "preemption", "manager", "kv_dtype"} <= set(knobs)
    assert set(knobs) <= set(inspect.signature(Engine).parameters)


def test_policies_that_remember_are_new_every_time():
    assert all(kind().knobs()["admission"] is not kind().knobs()["admission"] for kind in (SGLang, TGI))


def test_knobs_given_beside_a_preset_win():
    llm = LLM(tiny_random(), system=VLLM(max_num_seqs=3), page_size=8, num_pages=16)
    assert llm.engine.manager.page_size == 8 and llm.engine.scheduler.limits.max_sequences == 3


def test_a_models_weights_are_those_of_the_preset_unless_the_caller_says_others(monkeypatch):
    asked = []

    def load(model, *, weights, **others):
        asked.append(weights)
        return tiny_random()

    monkeypatch.setattr(llm_module, "load_model", load)
    for system, weights in (
        (TGI(quantize="eetq"), None),
        (TGI(quantize="gptq"), None),
        (TGI(quantize="eetq"), "other"),
        (TGI(), None),
        (VLLM(), None),
    ):
        LLM("tiny-random", system=system, weights=weights, num_pages=64)
    LLM(tiny_random(), system=TGI(quantize="eetq"), num_pages=64)
    assert asked == ["int8", "int4", "other", None, None], "a model that is loaded keeps what it has"


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: preset("vlm"), "system='vlm' was asked for; this preset knows 'vllm', 'tensorrt_llm'"),
        (lambda: SGLang(schedule_policy="lof").knobs(), "schedule_policy='lof' .* knows 'fcfs', 'lpm', 'dfs-weight'"),
        (lambda: LMDeploy(quant_policy=2).knobs(), "quant_policy='2' .* knows '0', '8', '4'"),
        (lambda: LMDeploy(eviction_type="none").knobs(), "eviction_type='none' .* knows 'recompute', 'copy'"),
        (lambda: TensorRTLLM(capacity_scheduler_policy="x").knobs(), "knows 'GUARANTEED_NO_EVICT', 'MAX_UTILIZATION'"),
        (lambda: TGI(quantize="exl2").knobs(), "quantize='exl2' .* knows 'None', 'eetq'"),
        (lambda: LMDeploy().pages_for(63), "LMDeploy was given memory for 63 tokens; its pages hold 64. Give it more"),
    ],
)
def test_what_a_preset_does_not_know_is_refused_with_what_it_does(make, says):
    with pytest.raises(InvalidConfig, match=says):
        make()
