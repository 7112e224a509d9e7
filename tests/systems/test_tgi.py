"""What makes TGI itself: four token budgets at the door, full reservation, and a trie of prompts that have ended."""

from __future__ import annotations

import pytest

from pagedlab import LLM
from pagedlab.memory.pool import PageState
from pagedlab.models.linear import Linear
from pagedlab.scheduling.load import Offer
from pagedlab.systems import TGI, SGLang, System
from pagedlab_kernels.cpu.native import why_not_native
from tests.systems.serving import alone, found, names, offers, one, preemptions, served, step


def first_tokens(system: System, late: int) -> list[float]:
    """When ``late`` requests that come after two steps, while ten decode, have their first token."""
    running = [Offer(0.0, [n, 1, 2], 100) for n in range(10)]
    waiting = [Offer(2.0, [n, 5, 6], 2) for n in range(100, 100 + late)]
    run = served(system.scheduler(10_000), running + waiting)
    return [timeline.token_times[0] for timeline in run.timelines[10:]]


# The four budgets


def test_max_batch_prefill_tokens_bounds_what_of_prompts_a_step_computes_less_those_who_run():
    scheduler = TGI(max_batch_prefill_tokens=20).scheduler(1000)
    for number in range(3):
        one(scheduler, str(number), range(100 * number, 100 * number + 12), 9)
    plans = [step(scheduler) for _ in range(3)]
    assert [[(c.start, c.stop) for c in plan.chunks] for plan in plans] == [
        [(0, 12), (0, 8)],
        [(12, 13), (8, 12), (0, 12)],
        [(13, 14), (12, 13), (12, 13)],
    ]


def test_without_chunking_prompts_come_in_whole_or_wait():
    scheduler = TGI(max_batch_prefill_tokens=20, chunking=False).scheduler(1000)
    for number, length in enumerate((12, 8, 1)):
        one(scheduler, str(number), range(100 * number, 100 * number + length), 9)
    assert names(step(scheduler)) == ["0", "1"], "20 tokens; the third is one too many"
    assert names(step(scheduler)) == ["0", "1"]
    assert names(step(scheduler)) == ["2"]


def test_what_is_cached_of_a_prompt_takes_nothing_of_the_prefill_budget():
    scheduler = TGI(max_batch_prefill_tokens=20, chunking=False).scheduler(1000)
    alone(scheduler, "cached", range(20))
    for number in range(2):
        one(scheduler, str(number), [*range(20), *range(100, 108), number], 9)
    assert names(step(scheduler)) == ["0", "1"]


def test_max_batch_total_tokens_counts_what_could_come_in_tokens():
    scheduler = TGI(max_batch_total_tokens=100).scheduler(1000)
    for number in range(3):
        one(scheduler, str(number), [number] * 20, 25)  # 45 tokens each
    step(scheduler)
    assert len(scheduler.running) == 2 and len(scheduler.waiting) == 1


def test_waiting_served_ratio_and_max_waiting_tokens_say_when_a_prefill_is_worth_it():
    patient = TGI(chunking=False)
    assert first_tokens(patient, 3) == [3.0] * 3, "three wait for ten: the ratio of 0.3 is reached"
    assert first_tokens(patient, 2) == [22.0] * 2, "two do not, and come in when 20 steps have passed without anybody"
    assert first_tokens(TGI(chunking=False, max_waiting_tokens=5), 2) == [7.0] * 2
    assert first_tokens(TGI(chunking=False, waiting_served_ratio=0.2), 2) == [3.0] * 2
    assert first_tokens(TGI(), 2) == [3.0] * 2, "with chunking nobody is held up, and nobody waits"


def test_without_chunking_those_who_decode_stand_still_during_a_prefill_and_never_twice():
    scheduler = TGI(chunking=False, waiting_served_ratio=0.0, max_concurrent_requests=3).scheduler(1000)
    one(scheduler, "a", range(10), 9)
    seen = [names(step(scheduler))]
    for number in range(2):
        one(scheduler, f"b{number}", range(100 * number + 100, 100 * number + 110), 9)
        seen.append(names(step(scheduler)))
    seen += [names(step(scheduler)) for _ in range(2)]
    assert seen == [["a"], ["a"], ["b0", "b1"], ["a", "b0", "b1"], ["a", "b0", "b1"]]


# Reservation


def test_everything_is_reserved_and_nobody_is_ever_preempted():
    for system in (TGI(), TGI(chunking=False)):
        run = served(system.scheduler(768), offers(40, 7))
        eager = served(SGLang().scheduler(768), offers(40, 7))
        assert preemptions(run) == 0
        assert max(s.num_sequences for s in run.steps) < max(s.num_sequences for s in eager.steps)


def test_a_reservation_counts_a_prompt_and_all_that_could_be_said_as_if_nothing_were_shared():
    scheduler = TGI().scheduler(100)
    for number in range(3):
        one(scheduler, str(number), [7] * 30, 21)  # 50 slots each: the last token needs none
    assert names(step(scheduler)) == ["0", "1"]
    assert scheduler.manager.pool.num_used < 100, "there are pages left, and they are promised"


# The trie


def test_only_a_prompt_enters_the_trie_and_only_when_its_request_has_ended():
    scheduler = TGI().scheduler(1000)
    request = one(scheduler, "a", range(30), 5)
    step(scheduler)
    twin = one(scheduler, "twin", range(30), 5)
    step(scheduler)
    assert twin.sequences[0].num_cached == 0, "it shares nothing with one that runs"
    while scheduler.has_work:
        step(scheduler)
    tokens = request.sequences[0].token_ids
    assert len(tokens) == 35 and found(scheduler, tokens) == 30, "what was said is not kept"
    assert scheduler.manager.pool.num_cached == 30, "nor what two computed twice"


def test_eviction_cuts_the_tail_of_the_leaf_that_was_used_longest_ago():
    scheduler = TGI().scheduler(100)
    for first in (0, 100):
        alone(scheduler, str(first), range(first, first + 40))
    alone(scheduler, "other", range(200, 225))  # 20 blank ones, and 5 that are cached
    kept = [found(scheduler, range(first, first + 40)) for first in (0, 100)]
    assert kept == [35, 40], "of one leaf the last five tokens, and no more"
    states = [scheduler.manager.pool.state(page) for page in range(100)]
    assert states.count(PageState.CACHED) == 35 + 40 + 25


def test_a_leaf_that_was_hit_is_used_later_than_one_that_was_not():
    scheduler = TGI().scheduler(100)
    for first in (0, 100):
        alone(scheduler, str(first), range(first, first + 40))
    alone(scheduler, "hit", range(40))
    alone(scheduler, "other", range(200, 225))
    assert [found(scheduler, range(first, first + 40)) for first in (0, 100)] == [40, 35]


# Weights and cache


def test_weights_are_quantised_where_asked_for_and_the_cache_stays_in_16_bits():
    assert TGI().weights() is None and TGI().knobs()["kv_dtype"] is None
    system = TGI(quantize="eetq")
    assert system.weights() == "int8" and system.knobs()["kv_dtype"] == "bfloat16"
    assert TGI(quantize="eetq", kv_cache_dtype="fp8_e4m3fn").knobs()["kv_dtype"] == "fp8"


@pytest.mark.skipif(why_not_native() is not None, reason=f"weights in few bits take a C compiler: {why_not_native()}")
@pytest.mark.parametrize(("quantize", "bits"), [("eetq", 8), ("gptq", 5), ("awq", 5), ("bitsandbytes-nf4", 5)])
def test_a_model_that_tgi_loads_keeps_its_weights_in_few_bits_while_it_runs_and_its_pages_in_16(quantize, bits):
    llm = LLM("tiny-random", system=TGI(quantize=quantize), num_pages=512, progress=False)
    (output,) = llm.generate([[1, 2, 3]], progress=False)
    assert len(output.outputs[0].token_ids) > 0
    matrices = [part for part in llm.engine.model.layers.modules() if isinstance(part, Linear)]
    assert {8 * part.weight.nbytes / part.matrix.numel() for part in matrices} == {bits}
    assert llm.engine.kv.kv_dtype == "bfloat16"
