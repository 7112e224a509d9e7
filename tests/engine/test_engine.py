"""The step loop on the tiny random model: equal tokens however scheduled, exact ends, nothing leaked."""

from __future__ import annotations

import random

import pytest
import torch

from pagedlab import LLM, SamplingParams
from pagedlab.engine.outputs import RequestOutput
from pagedlab.errors import InvalidConfig, InvalidRequest, StepFailed
from pagedlab.memory.manager import CacheManager
from pagedlab.memory.prefix_hash import HashPrefixCache
from pagedlab.models.catalog import LoadedModel
from pagedlab.scheduling.scheduler import Scheduler
from tests.engine.oracle import greedy, logits_of_last

GREEDY = SamplingParams(temperature=0, max_tokens=12, ignore_eos=True)


def some_prompts(count: int = 8, seed: int = 1) -> list[list[int]]:
    """Lengths 1 to 70, every other one beginning with the same 20 tokens."""
    draw = random.Random(seed)
    shared = [draw.randrange(256) for _ in range(20)]
    prompts = [[draw.randrange(256) for _ in range(draw.randint(1, 50))] for _ in range(count)]
    return [shared + prompt if i % 2 else prompt for i, prompt in enumerate(prompts)]


def token_ids(outputs: list[RequestOutput]) -> list[list[int]]:
    return [completion.token_ids for output in outputs for completion in output.outputs]


def assert_nothing_is_left(llm: LLM) -> None:
    llm.check()
    assert llm.engine.manager.pool.num_used == 0
    assert not llm.engine.has_work
    assert not any(llm.engine.is_running(str(i)) for i in range(100))


@pytest.fixture(scope="module")
def expected(tiny_model: LoadedModel) -> list[list[int]]:
    return [greedy(tiny_model, prompt, 12) for prompt in some_prompts()]


@pytest.mark.parametrize("attention", ["reference", "cpu"])
@pytest.mark.parametrize(
    "knobs",
    [
        {},
        {"page_size": 1, "num_pages": 1000},
        {"page_size": 7},
        {"page_size": 256, "num_pages": 16},
        {"max_tokens_per_step": 1},
        {"max_tokens_per_step": 16},
        {"max_sequences": 1},
        {"max_sequences": 3, "max_tokens_per_step": 9},
        {"prefix_cache": "none"},
        {"page_size": 4, "num_pages": 22, "max_tokens_per_step": 32},
        {"page_size": 4, "num_pages": 22, "prefix_cache": "none"},
    ],
    ids=str,
)
def test_greedy_tokens_do_not_depend_on_how_they_were_scheduled(
    tiny_model: LoadedModel, expected: list[list[int]], knobs: dict[str, object], attention: str
) -> None:
    llm = LLM(tiny_model, attention=attention, **knobs)
    outputs = llm.generate(some_prompts(), GREEDY)
    assert token_ids(outputs) == expected
    if knobs.get("num_pages") == 22:
        assert sum(output.num_preemptions for output in outputs) > 0, "the pool was meant to be too small"
    assert_nothing_is_left(llm)


def test_a_second_run_hits_the_first_ones_pages_and_says_the_same(
    tiny_model: LoadedModel, expected: list[list[int]]
) -> None:
    llm = LLM(tiny_model, page_size=4)
    llm.generate(some_prompts(), GREEDY)
    again = llm.generate(some_prompts(), GREEDY)
    assert token_ids(again) == expected
    for output in again:
        assert output.num_cached_tokens == (len(output.prompt_token_ids) - 1) // 4 * 4


def test_freed_memory_is_never_read(tiny_model: LoadedModel, expected: list[list[int]]) -> None:
    llm = LLM(tiny_model, page_size=4, num_pages=40)
    for layer in llm.engine.kv.layers:
        layer.fill_(torch.nan)
    assert token_ids(llm.generate(some_prompts(), GREEDY)) == expected


def test_sampled_tokens_depend_on_the_seed_and_not_on_the_company(tiny_model: LoadedModel) -> None:
    params = [SamplingParams(seed=i, max_tokens=10, top_p=0.95, ignore_eos=True) for i in range(8)]
    together = LLM(tiny_model).generate(some_prompts(), params)
    tight = LLM(tiny_model, page_size=4, num_pages=22, max_tokens_per_step=16)
    assert token_ids(tight.generate(some_prompts(), params)) == token_ids(together)
    alone = LLM(tiny_model, prefix_cache="none").generate(some_prompts()[5], params[5])
    assert token_ids(alone) == [token_ids(together)[5]]
    other = LLM(tiny_model).generate(some_prompts()[5], SamplingParams(seed=99, max_tokens=10, ignore_eos=True))
    assert token_ids(other) != token_ids(alone)


def test_n_sequences_share_the_prompt_and_go_their_own_ways(tiny_model: LoadedModel) -> None:
    llm = LLM(tiny_model, page_size=4)
    params = SamplingParams(n=4, seed=3, max_tokens=9, ignore_eos=True)
    prompt = some_prompts()[1]
    output = llm.generate(prompt, params)[0]
    assert [completion.index for completion in output.outputs] == [0, 1, 2, 3]
    assert len({tuple(completion.token_ids) for completion in output.outputs}) == 4
    computed_once = llm.engine.manager.stats
    assert computed_once.queried_tokens == len(prompt)
    assert computed_once.copies == (3 if len(prompt) % 4 else 0)
    assert_nothing_is_left(llm)
    tight = LLM(tiny_model, page_size=4, num_pages=len(prompt) // 4 + 6)
    crowded = tight.generate(prompt, params)[0]
    assert crowded.num_preemptions > 0
    assert token_ids([crowded]) == token_ids([output])


def test_logprobs_are_those_of_the_model(tiny_model: LoadedModel) -> None:
    prompt = some_prompts()[2]
    params = SamplingParams(temperature=0, max_tokens=3, logprobs=5, ignore_eos=True)
    completion = LLM(tiny_model).generate(prompt, params)[0].outputs[0]
    assert completion.logprobs is not None
    for position, entry in enumerate(completion.logprobs):
        exact = logits_of_last(tiny_model, prompt + completion.token_ids[:position]).log_softmax(-1)
        assert set(entry) == set(exact.topk(5).indices.tolist())
        for token, logprob in entry.items():
            assert logprob == pytest.approx(exact[token].item(), abs=1e-4)
    assert completion.cumulative_logprob == pytest.approx(sum(max(e.values()) for e in completion.logprobs))


def test_a_sequence_ends_at_a_stop_id_and_the_text_leaves_it_out(tiny_model: LoadedModel) -> None:
    prompt = some_prompts()[0]
    free = LLM(tiny_model).generate(prompt, GREEDY)[0].outputs[0].token_ids
    last = next(i for i in range(3, 12) if free[i] not in free[:i])
    params = SamplingParams(temperature=0, max_tokens=12, ignore_eos=True, stop_token_ids=[free[last]])
    completion = LLM(tiny_model).generate(prompt, params)[0].outputs[0]
    assert completion.token_ids == free[: last + 1]
    assert (completion.finish_reason, completion.stop_reason) == ("stop", free[last])
    assert completion.text == tiny_model.tokenizer.decode(free[:last])


@pytest.mark.parametrize("page_size", [1, 4, 16])
def test_the_text_ends_before_the_first_stop_string(tiny_model: LoadedModel, page_size: int) -> None:
    llm = LLM(tiny_model, page_size=page_size)
    prompt = some_prompts()[3]
    whole = llm.generate(prompt, GREEDY)[0].outputs[0].text
    for length in (1, 2, 3):
        stop = whole[4 : 4 + length]
        params = SamplingParams(temperature=0, max_tokens=12, ignore_eos=True, stop=stop)
        completion = llm.generate(prompt, params)[0].outputs[0]
        assert completion.text == whole[: whole.index(stop)]
        assert (completion.finish_reason, completion.stop_reason) == ("stop", stop)
    assert_nothing_is_left(llm)


def test_min_tokens_keeps_a_stop_string_from_ending_the_text(tiny_model: LoadedModel) -> None:
    llm = LLM(tiny_model)
    whole = llm.generate(some_prompts()[3], GREEDY)[0].outputs[0]
    params = SamplingParams(temperature=0, max_tokens=12, min_tokens=12, ignore_eos=True, stop=whole.text[:1])
    assert llm.generate(some_prompts()[3], params)[0].outputs[0].token_ids == whole.token_ids


def test_max_tokens_none_fills_the_context_and_ends(tiny_model: LoadedModel) -> None:
    llm = LLM(tiny_model, page_size=4, num_pages=10)
    params = SamplingParams(temperature=0, max_tokens=None, ignore_eos=True)
    completion = llm.generate([1, 2, 3], params)[0].outputs[0]
    assert (len(completion.token_ids), completion.finish_reason) == (4 * 10 + 1 - 3, "length")
    llm = LLM(tiny_model, max_context=20)
    completion = llm.generate([1, 2, 3], params)[0].outputs[0]
    assert (len(completion.token_ids), completion.finish_reason) == (17, "length")
    assert_nothing_is_left(llm)


def test_an_impossible_request_is_refused_on_arrival_and_the_others_run_on(tiny_model: LoadedModel) -> None:
    llm = LLM(tiny_model, page_size=4, num_pages=10)
    kept = llm.engine.add_request([1, 2, 3], GREEDY)
    for prompt, params in [
        (list(range(60)), GREEDY),  # larger than the pool
        ([1, 2, 3], SamplingParams(max_tokens=60)),  # alone and growing past it
        ([], GREEDY),
        ([5, tiny_model.config.vocab_size], GREEDY),
        ([1], SamplingParams(logit_bias={-1: 1.0})),
        ([1], SamplingParams(n=65)),
    ]:
        with pytest.raises(InvalidRequest):
            llm.engine.add_request(prompt, params)
    with pytest.raises(InvalidRequest, match="running already"):
        llm.engine.add_request([1], GREEDY, request_id=kept)
    with pytest.raises(InvalidRequest, match=r"asks for 72 tokens \(60 in its prompt\); a sequence may have 41"):
        llm.generate([[1], list(range(60))], GREEDY)
    while llm.engine.has_work:
        outputs = llm.engine.step()
    assert outputs[0].request_id == kept and outputs[0].finished
    assert_nothing_is_left(llm)


@pytest.mark.parametrize("steps", [0, 1, 2, 6])
def test_abort_gives_the_pages_back_at_once(tiny_model: LoadedModel, steps: int) -> None:
    llm = LLM(tiny_model, page_size=4, max_tokens_per_step=16)
    request_id = llm.engine.add_request(
        some_prompts()[1] + [9] * 20, SamplingParams(n=2, max_tokens=20, ignore_eos=True)
    )
    for _ in range(steps):
        llm.engine.step()
    output = llm.engine.abort(request_id)
    assert output is not None and output.finished
    assert {completion.finish_reason for completion in output.outputs} == {"abort"}
    assert llm.engine.abort(request_id) is None
    assert_nothing_is_left(llm)


def test_a_name_that_a_caller_chose_is_not_given_to_another(tiny_model: LoadedModel) -> None:
    llm = LLM(tiny_model)
    llm.engine.add_request("x", GREEDY, request_id="1")
    assert len({llm.engine.add_request("y", GREEDY) for _ in range(3)} | {"1"}) == 4


def test_what_was_told_of_a_request_does_not_change_afterwards(tiny_model: LoadedModel) -> None:
    llm = LLM(tiny_model)
    llm.engine.add_request("x", GREEDY)
    (first,) = llm.engine.step()
    llm.engine.step()
    assert first.metrics.num_output == 1


def test_only_what_is_pinned_can_be_unpinned(tiny_model: LoadedModel) -> None:
    llm = LLM(tiny_model, page_size=4)
    llm.generate(list(range(9)), GREEDY, progress=False)
    name = llm.engine.pin(list(range(9)))
    llm.engine.add_request("x", GREEDY)
    llm.engine.step()
    for wrong in (1, name - 1):
        with pytest.raises(InvalidRequest, match=rf"nothing is pinned as {wrong}; there are pins \[{name}\]"):
            llm.engine.unpin(wrong)
    llm.engine.unpin(name)


def test_a_failed_step_ends_its_sequences_and_publishes_nothing(
    tiny_model: LoadedModel, expected: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    llm = LLM(tiny_model, page_size=4)
    prompts = some_prompts()
    first = llm.engine.add_request(prompts[1], GREEDY)

    def broken(*args: object) -> None:
        raise RuntimeError("planted")

    with monkeypatch.context() as patch:
        patch.setattr(llm.engine.runner, "attention", broken)
        with pytest.raises(StepFailed, match="planted") as failure:
            llm.engine.step()
    assert [output.request_id for output in failure.value.outputs] == [first]
    assert failure.value.outputs[0].outputs[0].finish_reason == "error"
    assert llm.engine.manager.pool.num_cached == 0
    assert_nothing_is_left(llm)
    assert token_ids(llm.generate(prompts, GREEDY)) == expected


def test_an_interrupt_in_the_middle_of_a_step_leaves_a_sound_engine(
    tiny_model: LoadedModel, expected: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    llm = LLM(tiny_model, page_size=4)

    def interrupted(*args: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(llm.engine.runner, "attention", interrupted)
        with pytest.raises(KeyboardInterrupt):
            llm.generate(some_prompts(), GREEDY)
    assert_nothing_is_left(llm)
    assert token_ids(llm.generate(some_prompts(), GREEDY)) == expected


def test_a_request_aborted_while_its_step_runs_gets_no_token_and_harms_nobody(
    tiny_model: LoadedModel, expected: list[list[int]]
) -> None:
    llm = LLM(tiny_model, page_size=4)
    sampler = llm.engine.sampler

    def aborting(*args: object) -> object:
        llm.engine.abort("withdrawn")
        return sampler(*args)  # type: ignore[arg-type]

    llm.engine.sampler = aborting  # type: ignore[assignment]
    llm.engine.add_request(some_prompts()[1], GREEDY, request_id="withdrawn")
    assert token_ids(llm.generate(some_prompts(), GREEDY)) == expected
    assert_nothing_is_left(llm)


def test_your_own_pool_cache_order_and_attention_serve_the_model(
    tiny_model: LoadedModel, expected: list[list[int]]
) -> None:
    from pagedlab.memory.pool import PagePool
    from pagedlab.scheduling.order import Priority
    from pagedlab_kernels.reference import gather_attention

    calls = 0

    def attention(*args: object) -> torch.Tensor:
        nonlocal calls
        calls += 1
        return gather_attention(*args)  # type: ignore[arg-type]

    class MyPool(PagePool):
        pass

    llm = LLM(
        tiny_model,
        page_size=4,
        pool=MyPool(100),
        prefix_cache=HashPrefixCache(4),
        order=Priority(),
        attention=attention,
    )
    assert token_ids(llm.generate(some_prompts(), GREEDY)) == expected
    assert calls > 0 and isinstance(llm.engine.manager.pool, MyPool)


def test_your_own_manager_and_scheduler_serve_the_model(tiny_model: LoadedModel, expected: list[list[int]]) -> None:
    class MyManager(CacheManager):
        pass

    class MyScheduler(Scheduler):
        pass

    llm = LLM(tiny_model, page_size=4, num_pages=100, manager=MyManager, scheduler=MyScheduler)
    assert token_ids(llm.generate(some_prompts(), GREEDY)) == expected
    assert type(llm.engine.manager) is MyManager and type(llm.engine.scheduler) is MyScheduler


@pytest.mark.parametrize(
    "knobs",
    [
        {"page_size": 0},
        {"num_pages": 0},
        {"num_host_pages": -1},
        {"max_context": 10**9},
        {"num_pages": 10**9},
        {"prefix_cache": "tree"},
        {"eviction": "newest"},
        {"preemption": "pause"},
        {"preemption": "swap"},  # without host memory to swap to
        {"order": "loudest"},
        {"admission": "everyone"},
        {"victim": "me"},
        {"drafter": "oracle"},
        {"kv_dtype": "int3"},
    ],
)
def test_an_engine_that_cannot_be_built_says_which_setting_to_change(
    tiny_model: LoadedModel, knobs: dict[str, object]
) -> None:
    with pytest.raises(InvalidConfig, match=next(iter(knobs))):
        LLM(tiny_model, **knobs)


def test_the_trace_tells_the_same_story_as_the_pool(tiny_model: LoadedModel) -> None:
    llm = LLM(tiny_model, page_size=4, num_pages=30)
    llm.generate(some_prompts(), GREEDY)
    page_map, pool = llm.trace.replay(), llm.engine.manager.pool
    assert [page_map.state(page) for page in range(30)] == [pool.state(page) for page in range(30)]
    for page in range(30):
        if page_map.content[page] is not None:
            sequence, logical = page_map.content[page]
            tokens = llm.trace.sequences[sequence].tokens[logical * 4 : logical * 4 + page_map.filled[page]]
            assert tokens, "a page that holds something holds some sequence's tokens"
