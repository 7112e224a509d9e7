"""Five systems as presets: the same tokens, each with what makes it itself."""

from __future__ import annotations

import random
from collections.abc import Iterable

import pytest

from pagedlab import LLM, SamplingParams
from pagedlab.errors import InvalidConfig
from pagedlab.memory.pool import PageState
from pagedlab.models.tiny import tiny_random
from pagedlab.scheduling.load import Offer, Run, StepTime, VirtualClock, WithoutModel, drive
from pagedlab.scheduling.request import Request
from pagedlab.scheduling.sampling import SamplingParams as Params
from pagedlab.scheduling.scheduler import Scheduler
from pagedlab.systems import SYSTEMS, TGI, VLLM, LMDeploy, SGLang, System, TensorRTLLM, preset

NAMES = list(SYSTEMS)
TICK = StepTime(fixed=1.0, per_token=0.0)


def offers(count: int, seed: int, *, at_once: bool = True) -> list[Offer]:
    """Requests of three families, each with a prefix of its own."""
    draw = random.Random(seed)
    prefixes = [[family * 1000 + i for i in range(70)] for family in range(3)]
    made: list[Offer] = []
    for number in range(count):
        tail = [10_000 + 100 * number + i for i in range(draw.randint(1, 60))]
        moment = 0.0 if at_once else 2.0 * number
        made.append(Offer(moment, draw.choice(prefixes) + tail, draw.randint(4, 60)))
    return made


def served(scheduler: Scheduler, requests: Iterable[Offer]) -> Run:
    run = drive(WithoutModel(scheduler), requests, VirtualClock(TICK))
    scheduler.manager.check()
    return run


def one(scheduler: Scheduler, name: str, prompt: list[int], most: int) -> Request:
    request = Request(name, prompt, Params(max_tokens=most, temperature=0, ignore_eos=True))
    scheduler.add(request)
    return request


def step(scheduler: Scheduler) -> None:
    plan = scheduler.schedule()
    scheduler.commit(plan, [[0] for _ in plan.samples])


@pytest.mark.parametrize("name", NAMES)
def test_every_preset_says_the_tokens_that_the_plain_engine_says(name):
    model = tiny_random()
    draw = random.Random(1)
    prompts = [[draw.randrange(200) for _ in range(draw.randint(5, 90))] for _ in range(12)]
    prompts += [[*prompts[0][:40], 7, 8], [*prompts[0][:70], 9]]
    wish = SamplingParams(max_tokens=20, temperature=0, ignore_eos=True)
    plain = LLM(model, num_pages=512).generate(prompts, wish, progress=False)
    system = preset(name)
    llm = LLM(model, system=name, num_pages=system.pages_for(1024))
    mine = llm.generate(prompts, wish, progress=False)
    assert [o.outputs[0].token_ids for o in mine] == [o.outputs[0].token_ids for o in plain]
    assert llm.engine.manager.page_size == system.tokens_per_page
    llm.check()
    assert llm.engine.manager.pool.num_used == 0


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("seed", range(3))
def test_every_preset_serves_everybody_in_little_memory_and_keeps_its_books(name, seed):
    scheduler = preset(name).scheduler(768)
    run = served(scheduler, offers(40, seed))
    assert [len(t.token_times) for t in run.timelines] == [o.num_output for o in offers(40, seed)]
    assert scheduler.manager.pool.num_used == 0


@pytest.mark.parametrize("name", NAMES)
def test_a_preset_says_what_it_keeps_and_leaves_out_and_where_it_is_documented(name):
    system = SYSTEMS[name]
    assert len(system.kept) >= 4 and len(system.left_out) >= 3
    assert system.documented.startswith("https://") and "2026" in system.seen
    assert set(system().knobs()) == set(VLLM().knobs()) | ({"partial_hits"} if name == "tensorrt_llm" else set())


def test_knobs_given_beside_a_preset_win():
    llm = LLM(tiny_random(), system=VLLM(max_num_seqs=3), page_size=8, num_pages=16)
    assert llm.engine.manager.page_size == 8 and llm.engine.scheduler.limits.max_sequences == 3


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: preset("vlm"), "system='vlm' was asked for; this preset knows 'vllm', 'tensorrt_llm'"),
        (lambda: SGLang(schedule_policy="lof").knobs(), "schedule_policy='lof' .* knows 'fcfs', 'lpm'"),
        (lambda: LMDeploy(quant_policy=2).knobs(), "quant_policy='2' .* knows '0', '8', '4'"),
        (lambda: TensorRTLLM(capacity_scheduler_policy="x").knobs(), "knows 'GUARANTEED_NO_EVICT', 'MAX_UTILIZATION'"),
        (lambda: LMDeploy().pages_for(63), "LMDeploy was given memory for 63 tokens; its pages hold 64. Give it more"),
    ],
)
def test_what_a_preset_does_not_know_is_refused_with_what_it_does(make, says):
    with pytest.raises(InvalidConfig, match=says):
        make()


# What makes each one itself


def test_vllm_evicts_a_sequences_tail_before_its_head_and_blank_pages_before_both():
    scheduler = VLLM(block_size=4).scheduler(24)
    one(scheduler, "a", list(range(9)), 1)  # two full pages, and a third that nobody can hit
    step(scheduler)
    pool = scheduler.manager.pool
    assert [pool.state(page) for page in range(3)] == [PageState.CACHED, PageState.CACHED, PageState.FREE]
    taken = [one(scheduler, str(number), [100 * number + i for i in range(20)], 1) for number in (1,)]
    scheduler.schedule()
    table = scheduler.manager.table(taken[0].sequences[0].id).pages
    assert table[:4] == [3, 4, 5, 2] and table[4] == 1, "blank ones first, then the tail of what can be hit"
    assert scheduler.manager.prefix_cache.holds(0)


def test_vllm_admits_nobody_in_a_step_that_preempted():
    scheduler = VLLM(block_size=4).scheduler(32)
    first, second = one(scheduler, "a", [1] * 12, 12), one(scheduler, "b", [2] * 12, 12)
    for _ in range(4):
        step(scheduler)
    one(scheduler, "c", [3], 2)  # it would fit where b was
    while not second.sequences[0].num_preemptions:
        step(scheduler)
    assert [s.request.id for s in scheduler.running] == ["a"] and len(scheduler.waiting) == 2
    assert first.sequences[0].num_preemptions == 0


def test_guaranteed_no_evict_never_preempts_where_max_utilization_does():
    careful = TensorRTLLM(tokens_per_block=8)
    bold = TensorRTLLM(tokens_per_block=8, capacity_scheduler_policy="MAX_UTILIZATION")
    runs = [served(system.scheduler(768), offers(40, 5)) for system in (careful, bold)]
    preempted = [sum(t.num_preemptions for t in run.timelines) for run in runs]
    assert preempted[0] == 0 < preempted[1]
    assert max(s.num_sequences for s in runs[1].steps) > max(s.num_sequences for s in runs[0].steps)


def test_tensorrt_llm_uses_the_part_of_a_page_that_two_prompts_share():
    hits = {}
    for partial in (True, False):
        scheduler = TensorRTLLM(enable_partial_reuse=partial).scheduler(512)
        one(scheduler, "a", list(range(64)), 1)
        step(scheduler)
        other = one(scheduler, "b", [*range(50), 900, 901], 1)
        step(scheduler)
        hits[partial] = other.sequences[0].num_cached
    assert hits == {True: 50, False: 32}


def test_sglang_hits_to_the_last_token_that_is_shared_where_pages_of_16_round_down():
    hits = []
    for system in (SGLang(), VLLM()):
        scheduler = system.scheduler(512)
        one(scheduler, "a", list(range(60)), 1)
        step(scheduler)
        other = one(scheduler, "b", [*range(45), 900, 901], 1)
        step(scheduler)
        hits.append(other.sequences[0].num_cached)
    assert hits == [45, 32]


def test_sglangs_ratio_falls_while_all_goes_well_and_rises_when_somebody_is_retracted():
    scheduler = SGLang().scheduler(200)
    ratios, preempted = [scheduler.admission.ratio], []
    for number in range(6):
        one(scheduler, str(number), [100 * number + i for i in range(10)], 60)
    while scheduler.has_work:
        plan = scheduler.schedule()
        scheduler.commit(plan, [[0] for _ in plan.samples])
        ratios.append(scheduler.admission.ratio)
        preempted.append(bool(plan.preempted))
    assert ratios[0] == 0.7 and any(preempted)
    for before, after, retracted in zip(ratios, ratios[1:], preempted, strict=False):
        assert after >= before if retracted else after < before


def test_lmdeploys_cache_takes_the_bits_that_quant_policy_says_and_still_serves():
    dtypes = [
        LLM(tiny_random(), system=LMDeploy(quant_policy=bits), num_pages=8).engine.kv.kv_dtype for bits in (0, 8, 4)
    ]
    assert dtypes == ["float32", "int8", "int4"]


def test_tgi_reserves_everything_and_never_preempts():
    run = served(TGI().scheduler(768), offers(40, 7))
    eager = served(SGLang().scheduler(768), offers(40, 7))
    assert sum(t.num_preemptions for t in run.timelines) == 0
    assert run.mean_batch < eager.mean_batch


def test_tgis_total_budget_counts_what_could_come_in_tokens():
    scheduler = TGI(max_batch_total_tokens=100).scheduler(1000)
    for number in range(3):
        one(scheduler, str(number), [number] * 20, 25)  # 45 tokens each
    step(scheduler)
    assert len(scheduler.running) == 2 and len(scheduler.waiting) == 1


def test_without_chunking_tgi_lets_prefills_wait_for_their_ratio_or_for_20_steps():
    def first_token(system: System, late: int) -> list[float]:
        first = [Offer(0.0, [n, 1, 2], 100) for n in range(10)]
        later = [Offer(2.0, [n, 5, 6], 2) for n in range(100, 100 + late)]
        run = served(system.scheduler(10_000), first + later)
        return [t.token_times[0] for t in run.timelines[10:]]

    patient = TGI(chunking=False)
    assert first_token(patient, 3) == [3.0] * 3, "three wait for ten: the ratio of 0.3 is reached"
    assert first_token(patient, 2) == [22.0] * 2, "two do not, and come in after 20 steps without anybody"
    assert first_token(TGI(), 2) == [3.0] * 2
