"""Who may come in, and what each policy promises about those who did."""

from __future__ import annotations

import random

import pytest

from pagedlab.scheduling.admission import (
    AdmissionPolicy,
    GuaranteedNoEvict,
    Inside,
    MaxUtilisation,
    OptimisticRatio,
    ReserveEverything,
    WholePromptFit,
)
from pagedlab.scheduling.request import Sequence
from tests.scheduling.fake_engine import FakeEngine


def running(engine: FakeEngine) -> list[int]:
    return [sequence.request.arrival for sequence in engine.scheduler.running]


def under_load(engine: FakeEngine, seed: int) -> list[int]:
    """Random requests, to the end of all. Returns how many sequences were preempted in each step."""
    draw = random.Random(seed)
    preempted: list[int] = []
    for _ in range(40):
        for _ in range(draw.randint(0, 2)):
            prompt = [draw.randrange(2)] * draw.randint(1, 10)
            engine.add(prompt, max_tokens=draw.choice([1, 3, 9]), n=draw.choice([1, 1, 2]))
        if engine.scheduler.has_work:
            preempted.append(len(engine.step().preempted))
    return preempted + [len(plan.preempted) for plan in engine.run()]


def test_max_utilisation_lets_in_whoever_has_a_page_to_begin_with() -> None:
    engine = FakeEngine(num_pages=6, budget=9, cache=None, admission=MaxUtilisation())
    engine.add([1] * 8, max_tokens=3)
    engine.add([2] * 20, max_tokens=3)
    engine.step()
    assert running(engine) == [0, 1], "one token of the second fits the budget, and a page the pool"
    engine.run()


def test_a_whole_prompt_must_fit_beside_what_is_left_of_the_prompts_inside() -> None:
    engine = FakeEngine(num_pages=6, budget=9, cache=None, admission=WholePromptFit())
    engine.add([1] * 8, max_tokens=3)
    engine.add([2] * 20, max_tokens=3)
    engine.add([3] * 4, max_tokens=3)
    engine.step()
    assert running(engine) == [0], "five pages are not there, and nobody overtakes"
    engine.run()


@pytest.mark.parametrize("seed", range(5))
def test_reserving_everything_holds_prompt_and_max_tokens_of_all_who_are_inside(seed: int) -> None:
    engine = FakeEngine(num_pages=16, admission=ReserveEverything())
    pages_for = engine.manager.pages_for
    prove = engine._prove_memory

    def prove_reservation() -> None:
        prove()
        assert sum(pages_for(inside.request.most_slots) for inside in engine.scheduler.running) <= 16

    engine._prove_memory = prove_reservation  # type: ignore[method-assign]
    assert sum(under_load(engine, seed)) == 0


@pytest.mark.parametrize("cache", [None, "hash", "radix"])
def test_guaranteed_no_evict_never_throws_anybody_out(cache: str | None) -> None:
    thrown_out = 0
    for seed in range(8):
        assert sum(under_load(FakeEngine(num_pages=12, cache=cache, admission=GuaranteedNoEvict()), seed)) == 0
        thrown_out += sum(under_load(FakeEngine(num_pages=12, cache=cache, admission=MaxUtilisation()), seed))
    assert thrown_out > 0, "the same load was meant to be too much for the others"


def test_guaranteed_no_evict_lets_more_in_than_a_reservation_where_pages_are_shared() -> None:
    most = {}
    for admission in (ReserveEverything(), GuaranteedNoEvict()):
        engine = FakeEngine(num_pages=12, admission=admission)
        for number in range(4):
            engine.add([1] * 24 + [number], max_tokens=4)
        engine.step()
        most[type(admission)] = len(engine.scheduler.running)
        engine.run()
    assert most == {ReserveEverything: 1, GuaranteedNoEvict: 4}


def test_the_optimistic_ratio_falls_while_all_is_quiet_and_rises_when_somebody_was_thrown_out() -> None:
    policy = OptimisticRatio(initial=0.5, floor=0.2, decay_steps=10, more=2)
    engine = FakeEngine(num_pages=8, cache=None, admission=policy)
    for number in range(4):
        engine.add([number] * 4, max_tokens=20)
    ratios = [policy.ratio]
    plans = []
    while engine.scheduler.has_work:
        plans.append(engine.step())
        ratios.append(policy.ratio)
    assert any(plan.preempted for plan in plans)
    for before, plan, after in zip(ratios, plans, ratios[1:], strict=False):
        if plan.preempted:
            assert after >= before
        else:
            assert after == pytest.approx(max(0.2, before - 0.03))
        assert 0.2 <= after <= 1


def test_a_policy_of_your_own_is_a_constructor_argument_and_nobody_starves_of_it() -> None:
    class Nobody(AdmissionPolicy):
        asked = 0

        def admits(self, sequence: Sequence, inside: Inside) -> bool:
            self.asked += 1
            return False

    policy = Nobody()
    engine = FakeEngine(admission=policy)
    for number in range(3):
        engine.add([number] * 4, max_tokens=3)
    while engine.scheduler.has_work:
        engine.step()
        assert len(engine.scheduler.running) <= 1
    engine.prove_idle()
    assert policy.asked > 0
