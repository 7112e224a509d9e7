"""What requests share of each other: chats, pins, salts, adapters' pages, host memory."""

from __future__ import annotations

import pytest

from pagedlab import LLM, SamplingParams
from pagedlab.errors import InvalidRequest
from pagedlab.memory.eviction import Retention
from pagedlab.models.catalog import LoadedModel
from tests.engine.oracle import greedy

CACHES = pytest.mark.parametrize("prefix_cache", ["hash", "radix"])


def wish(max_tokens: int = 8) -> SamplingParams:
    return SamplingParams(temperature=0, max_tokens=max_tokens, ignore_eos=True)


@CACHES
def test_a_second_turn_hits_the_pages_that_the_first_turn_generated(tiny_model: LoadedModel, prefix_cache: str) -> None:
    """Behaviour 30."""
    llm = LLM(tiny_model, page_size=4, prefix_cache=prefix_cache)
    prompt = list(b"user: hello, ")
    first = llm.generate(prompt, wish(20))[0].outputs[0].token_ids
    chat = prompt + first + list(b" user: and then?")
    second = llm.generate(chat, wish())[0]
    written = len(prompt) + len(first) - 1  # the last token was never computed
    assert second.num_cached_tokens == written // 4 * 4 > len(prompt)
    assert second.outputs[0].token_ids == greedy(tiny_model, chat, 8)


@CACHES
@pytest.mark.parametrize("drafter", [None, "prompt_lookup"])
def test_pages_filled_by_accepted_drafts_are_hit_and_rejected_drafts_never(
    tiny_model: LoadedModel, prefix_cache: str, drafter: str | None
) -> None:
    """Behaviour 33."""
    llm = LLM(tiny_model, page_size=4, prefix_cache=prefix_cache, drafter=drafter)
    prompt = list(b"over and over and over and over and over")
    first = llm.generate(prompt, wish(24))[0].outputs[0].token_ids
    assert first == greedy(tiny_model, prompt, 24)
    again = llm.generate([*prompt, *first, 7], wish())[0]
    assert again.num_cached_tokens == (len(prompt) + len(first) - 1) // 4 * 4
    assert again.outputs[0].token_ids == greedy(tiny_model, [*prompt, *first, 7], 8)


@CACHES
def test_a_prompt_that_differs_within_a_page_copies_what_it_has_in_common(
    tiny_model: LoadedModel, prefix_cache: str
) -> None:
    llm = LLM(tiny_model, page_size=16, prefix_cache=prefix_cache, partial_hits=True)
    llm.generate(list(b"0123456789abcdef0123456789abcdef!"), wish())
    other = list(b"0123456789abcdef0123456789ABCDEF!")
    output = llm.generate(other, wish())[0]
    assert output.num_cached_tokens == 26
    assert output.outputs[0].token_ids == greedy(tiny_model, other, 8)


@CACHES
def test_a_pinned_prefix_survives_what_evicts_everything_else(tiny_model: LoadedModel, prefix_cache: str) -> None:
    llm = LLM(tiny_model, page_size=4, num_pages=24, prefix_cache=prefix_cache)
    system = list(b"You are a book of pages.")
    llm.generate(system, wish(1))
    name = llm.engine.pin(system)
    for number in range(6):
        llm.generate([number] * 40, wish())
    assert llm.generate([*system, 1, 2], wish())[0].num_cached_tokens == len(system) // 4 * 4
    llm.engine.unpin(name)
    llm.check()
    assert llm.engine.manager.pool.num_used == 0
    for number in range(6):
        llm.generate([number + 50] * 60, wish())
    assert llm.generate([*system, 1, 2], wish())[0].num_cached_tokens == 0


def test_a_pin_that_would_wedge_somebody_is_refused(tiny_model: LoadedModel) -> None:
    llm = LLM(tiny_model, page_size=4, num_pages=10)
    prompt = list(b"sixteen letters.")
    llm.generate(prompt, wish(1))
    llm.engine.add_request([1] * 20, wish(20))
    with pytest.raises(InvalidRequest, match="pinned"):
        llm.engine.pin(prompt)
    while llm.engine.has_work:
        llm.engine.step()
    llm.engine.unpin(llm.engine.pin(prompt))


def test_what_is_to_be_retained_outlives_what_is_not(tiny_model: LoadedModel) -> None:
    llm = LLM(tiny_model, page_size=4, num_pages=24, eviction="priority")
    llm.engine.add_request(list(b"keep this prompt"), wish(1), retention=[Retention(priority=90)])
    while llm.engine.has_work:
        llm.engine.step()
    for number in range(8):
        llm.generate([number] * 40, wish())
    assert llm.generate(list(b"keep this prompt!"), wish())[0].num_cached_tokens == 16


@CACHES
def test_evicted_pages_come_back_from_host_memory_and_say_the_same(tiny_model: LoadedModel, prefix_cache: str) -> None:
    llm = LLM(tiny_model, page_size=4, num_pages=16, num_host_pages=64, prefix_cache=prefix_cache)
    prompt = list(b"a prompt that goes to the host and back")
    want = llm.generate(prompt, wish())[0].outputs[0].token_ids
    for number in range(4):
        llm.generate([number] * 50, wish())
    again = llm.generate(prompt, wish())[0]
    stats = llm.engine.manager.stats
    assert stats.offloads > 0 and stats.returns >= len(prompt) // 4
    assert again.num_cached_tokens == (len(prompt) - 1) // 4 * 4
    assert again.outputs[0].token_ids == want == greedy(tiny_model, prompt, 8)


def test_swapped_sequences_go_on_without_computing_anything_again(tiny_model: LoadedModel) -> None:
    """Behaviours 25 and 35."""
    prompts = [[number, 5, 6, 7] * 4 for number in range(4)]
    llm = LLM(tiny_model, page_size=4, num_pages=20, num_host_pages=64, preemption="swap", prefix_cache="none")
    computed = 0

    def count(plan: object) -> None:
        nonlocal computed
        computed += plan.num_tokens  # type: ignore[attr-defined]

    llm.engine.listeners.append(count)
    outputs = llm.generate(prompts, wish(24))
    assert sum(output.num_preemptions for output in outputs) > 0
    assert llm.engine.manager.stats.swaps == sum(output.num_preemptions for output in outputs)
    assert computed == 4 * (16 + 24 - 1), "every token was computed once"
    assert [output.outputs[0].token_ids for output in outputs] == [greedy(tiny_model, p, 24) for p in prompts]
