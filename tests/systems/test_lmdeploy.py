"""What makes LMDeploy itself: logical pages, matches that count when a step commits, whole conversations, few bits."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from pagedlab import LLM, SamplingParams
from pagedlab.errors import OutOfPages
from pagedlab.memory.copies import PageCopy
from pagedlab.memory.prefix_hash import HashPrefixCache
from pagedlab.models.tiny import tiny_random
from pagedlab.scheduling.request import FinishReason
from pagedlab.scheduling.scheduler import Scheduler
from pagedlab.systems import LMDeploy
from tests.memory.proofs import snapshot
from tests.systems.serving import alone, chats, found, names, one, pages, said, step

SWAPPING = LMDeploy(cache_block_seq_len=4, enable_prefix_caching=False, eviction_type="copy", num_cpu_blocks=20)


def scheduler_of(num_pages: int, **knobs: Any) -> Scheduler:
    """Pages of 4 tokens."""
    return LMDeploy(cache_block_seq_len=4).scheduler(4 * num_pages, **knobs)


# Logical pages


def test_a_swap_copies_pages_and_changes_the_map_and_no_table():
    scheduler = SWAPPING.scheduler(32)
    manager = scheduler.manager
    for name in "ab":
        one(scheduler, name, [ord(name)] * 9, 20)
    step(scheduler)
    victim = scheduler.running[1]
    table, logical = manager.table(victim.id), manager.logical(victim.id)
    while not (plan := step(scheduler)).preempted:
        logical = manager.logical(victim.id)
        physical = list(table.pages)
    assert plan.preempted == [victim] and manager.logical(victim.id) == logical
    assert all(manager.map.where[number] >= 8 for number in logical), "host pages are numbered from 8 on"
    assert plan.copies[: len(physical)] == [
        PageCopy(source, manager.map.where[number]) for source, number in zip(physical, logical, strict=True)
    ]
    while victim not in scheduler.running:
        step(scheduler)
    assert manager.table(victim.id) is table and manager.logical(victim.id)[: len(logical)] == logical
    assert all(page < 8 for page in table.pages) and victim.num_computed > 9, "nothing was computed again"


def test_a_swapped_conversation_says_on_the_real_model_what_it_would_have_said():
    system = LMDeploy(cache_block_seq_len=8, enable_prefix_caching=False, eviction_type="copy", num_cpu_blocks=200)
    prompts = chats(8, seed=4)
    plain, _ = said(None, prompts, most=60, num_pages=512)
    mine, llm = said(system, prompts, most=60, num_pages=system.pages_for(320))
    assert mine == plain and llm.engine.manager.stats.swaps > 0


def test_what_the_prefix_cache_or_another_reads_is_computed_again_in_place_of_a_swap():
    system = LMDeploy(cache_block_seq_len=4, eviction_type="copy", num_cpu_blocks=20)
    scheduler = system.scheduler(32)
    for name in "ab":
        one(scheduler, name, [ord(name)] * 9, 20)
    while not step(scheduler).preempted:
        pass
    assert scheduler.manager.stats.swaps == 0 and not scheduler.manager.host.swapped


def test_host_memory_is_for_those_who_give_way_not_for_what_is_evicted():
    scheduler = LMDeploy(cache_block_seq_len=4, num_cpu_blocks=20).scheduler(16)
    alone(scheduler, "a", range(9))
    alone(scheduler, "b", range(50, 64))
    assert scheduler.manager.stats.evictions > 0 == scheduler.manager.stats.offloads


# A match is tentative


def test_a_match_that_does_not_fit_leaves_no_trace():
    scheduler = scheduler_of(6)
    manager = scheduler.manager
    alone(scheduler, "a", range(9))
    one(scheduler, "b", range(100, 114), 3)
    step(scheduler)
    prompt = [*range(8), *range(200, 208)]  # two pages hit, and no room for two more
    before = snapshot(manager)
    with pytest.raises(OutOfPages):
        manager.admit(-1, prompt)
    assert snapshot(manager) == before
    one(scheduler, "c", prompt, 3)
    assert names(step(scheduler)) == ["b"]
    assert (manager.stats.hit_tokens, found(scheduler, range(8))) == (0, 8)


def test_a_match_whose_step_fails_is_rolled_back_statistics_and_all():
    scheduler = scheduler_of(16)
    alone(scheduler, "a", range(9))
    manager = scheduler.manager
    cached, stats = manager.pool.cached_pages(), vars(manager.stats).copy()
    one(scheduler, "b", [*range(8), *range(200, 208)], 3)
    scheduler.schedule()
    assert manager.stats.hit_tokens == 8 and manager.pool.num_used == 4
    (failed,) = scheduler.abandon()
    manager.check()
    assert failed.finish_reason is FinishReason.ERROR
    assert manager.pool.cached_pages() == cached and vars(manager.stats) == stats
    assert found(scheduler, [*range(8), *range(200, 208)]) == 8, "what the step was to bring is not there"


def test_behind_the_hash_tokens_are_compared():
    scheduler = scheduler_of(16, prefix_cache=HashPrefixCache(4, hash_page=lambda parent, tokens: b"the same for all"))
    for first in (0, 100, 200):
        alone(scheduler, str(first), range(first, first + 9))
    assert [found(scheduler, range(first, first + 8)) for first in (0, 100, 200, 300)] == [8, 8, 8, 0]


# Conversations


def test_the_conversation_left_longest_ago_goes_whole_and_comes_back_without_an_error():
    scheduler = scheduler_of(9)
    first, second = range(13), range(100, 113)
    alone(scheduler, "first chat", first)
    alone(scheduler, "second chat", second)
    alone(scheduler, "somebody", range(200, 213))  # four pages: three are blank
    assert (found(scheduler, first[:12]), found(scheduler, second[:12])) == (0, 12)
    assert scheduler.manager.stats.evictions == 3, "for the sake of one page"
    again = alone(scheduler, "first chat, next turn", [*first, 7, 8], most=3)
    assert again.sequences[0].num_cached == 0 and again.sequences[0].num_output == 3


def test_a_chat_may_go_on_for_ever_and_says_what_it_would_have_said_in_endless_memory():
    """On the real model: three chats by turns, in memory for hardly more than one."""
    histories = {system: [list(prompt[:20]) for prompt in chats(3, seed=6)[:3]] for system in ("plain", "small")}
    llms = {
        "plain": LLM(tiny_random(), num_pages=512),
        "small": LLM(tiny_random(), system=LMDeploy(cache_block_seq_len=8), num_pages=10),
    }
    found_tokens = []
    for turn in range(4):
        for name, llm in llms.items():
            for history in histories[name]:
                (output,) = llm.generate(
                    [history], SamplingParams(max_tokens=8, temperature=0, ignore_eos=True), progress=False
                )
                history += [*output.outputs[0].token_ids, turn]
                llm.check()
                if name == "small":
                    found_tokens.append(output.num_cached_tokens)
    assert histories["plain"] == histories["small"]
    assert 0 in found_tokens[3:] and llms["small"].engine.manager.stats.evictions > 0


# Few bits


@pytest.mark.parametrize(
    ("policy", "dtype", "bytes_per_vector"), [(0, "float32", 64), (8, "int8", 24), (4, "int4", 16)]
)
def test_quant_policy_says_how_many_bits_a_number_of_the_cache_has(policy: int, dtype: str, bytes_per_vector: int):
    """A vector of 16 numbers: in 8 or 4 bits each, with a scale and a zero of 4 bytes."""
    llm = LLM(tiny_random(), system=LMDeploy(quant_policy=policy), num_pages=8)
    config = llm.engine.config
    assert (llm.engine.kv.kv_dtype, config.head_dim) == (dtype, 16)
    assert llm.engine.kv.bytes_per_page == 64 * config.num_layers * 2 * config.num_kv_heads * bytes_per_vector


@pytest.mark.parametrize(("policy", "bound"), [(8, 0.02), (4, 0.35)])
def test_a_quantised_cache_changes_logits_by_little_and_serves_in_little_memory(policy: int, bound: float):
    logits = {}
    for bits in (0, policy):
        llm = LLM(tiny_random(), system=LMDeploy(quant_policy=bits, cache_block_seq_len=8), num_pages=40)
        seen: list[torch.Tensor] = []
        sampler = llm.engine.sampler
        llm.engine.sampler = lambda rows, samples, seen=seen, real=sampler: (
            seen.append(rows.clone()) or real(rows, samples)
        )
        llm.generate(chats(8, seed=7), SamplingParams(max_tokens=6, temperature=0, ignore_eos=True), progress=False)
        llm.check()
        logits[bits] = torch.cat(seen[:1])
    error = (logits[policy] - logits[0]).norm() / logits[0].norm()
    assert 0 < error < bound


def test_pages_shared_by_two_requests_of_a_step_are_the_tries():
    scheduler = scheduler_of(16)
    twins = [one(scheduler, name, [*range(8), last], 3) for name, last in (("a", 90), ("b", 91))]
    step(scheduler)
    first, second = (pages(scheduler, twin) for twin in twins)
    assert first[:2] == second[:2] and first[2] != second[2]
