"""Who waits for a page that somebody else computes, and steps in which those who decode stand still."""

from __future__ import annotations

from typing import Any

import pytest

from pagedlab.memory.publication import PublishWhenComputed
from pagedlab.scheduling.admission import Inside
from pagedlab.scheduling.delay import SharedPage
from pagedlab.scheduling.order import ORDERS
from pagedlab.scheduling.plan import StepPlan
from pagedlab.scheduling.request import Sequence
from tests.scheduling.fake_engine import FakeEngine


def engine_of(**wishes: Any) -> FakeEngine:
    """Content can be found when it is computed. Who comes in in the same step could share nothing."""
    return FakeEngine(page_size=4, manager=PublishWhenComputed, **{"delay": SharedPage()} | wishes)


def names(plan: StepPlan) -> list[str]:
    return [chunk.sequence.request.id.removeprefix("request ") for chunk in plan.chunks]


def test_whoever_would_compute_what_another_computes_waits_and_hits_it() -> None:
    """Twins come together: the second computes one token where it would have computed all."""
    computed = []
    for delay in (None, SharedPage()):
        engine = engine_of(delay=delay)
        for last in (1, 2):
            engine.add([7] * 24 + [last], max_tokens=1)
        computed.append([[chunk.num_tokens for chunk in plan.chunks] for plan in engine.run()])
    assert computed == [[[25, 25]], [[25], [1]]]


def test_those_behind_come_in_while_it_waits() -> None:
    engine = engine_of()
    for prompt in ([7] * 12, [7] * 12, [8] * 3):
        engine.add(prompt)
    assert names(engine.step()) == ["0", "2"], (
        "the first takes all that the twin needs; the third has nothing to do with it"
    )
    assert sorted(names(engine.step())) == ["0", "1", "2"]


def test_it_waits_no_longer_than_somebody_computes_the_page() -> None:
    engine = engine_of(budget=16)
    first = engine.add([7] * 40)
    engine.add([7] * 40)
    engine.step()
    engine.abort(first)
    assert names(engine.step()) == ["1"], "it has what was computed, and the rest is its own"


@pytest.mark.parametrize(
    ("prompt", "salt", "delay"),
    [
        ([7] * 4, None, SharedPage()),  # no page of it can be hit: its last token is computed in any case
        ([8] * 12, None, SharedPage()),  # nothing in common
        ([7] * 12, "tenant", SharedPage()),  # other keys and values
        ([7] * 12, None, SharedPage(least_shared=13)),  # too little in common
    ],
)
def test_who_has_nothing_to_win_is_not_put_off(prompt: list[int], salt: object, delay: SharedPage) -> None:
    engine = engine_of(delay=delay)
    engine.add([7] * 12)
    engine.add(prompt, salt=salt)
    assert names(engine.step()) == ["0", "1"]


def test_who_finds_enough_already_is_not_put_off() -> None:
    for most_found, expected in ((None, ["1"]), (8, ["1"]), (7, ["1", "2"])):
        engine = engine_of(delay=SharedPage(most_found=most_found))
        engine.add([7] * 8, max_tokens=1)
        engine.run()
        for _ in range(2):
            engine.add([7] * 14)
        assert names(engine.step()) == expected


def test_nobody_is_put_off_for_ever() -> None:
    class Always:
        def puts_off(self, sequence: Sequence, found: int, inside: Inside) -> bool:
            return sequence.request.id == "request 1" and bool(inside.running)

    engine = engine_of(delay=Always(), max_overtakes=3)
    for _ in range(2):
        engine.add([7] * 5, max_tokens=50)
    came = []
    while "1" not in came:
        engine.add([8], max_tokens=1)
        came += names(engine.step())
        engine.scheduler.manager.check()
    assert came == ["0", "2", "0", "3", "0", "4", "1"], "three who came later went first"
    engine.run()


@pytest.mark.parametrize("order", ["longest_prefix", "depth_first"])
def test_an_order_picks_among_those_who_are_not_put_off(order: str) -> None:
    engine = engine_of(order=ORDERS[order]())
    for prompt in ([7] * 12, [8] * 12, [7] * 12, [8] * 3):
        engine.add(prompt)
    assert sorted(names(engine.step())) == ["0", "1", "3"]
    engine.run()


def test_without_mixing_those_who_decode_stand_still_while_a_prompt_is_computed_and_never_twice() -> None:
    engine = engine_of(delay=None, mixed=False)
    engine.add([7] * 5, max_tokens=6)
    steps = [names(engine.step())]
    for last in (1, 2):
        engine.add([8, last], max_tokens=6)
    engine.scheduler.limits = type(engine.scheduler.limits)(2, 16, 8192)  # one prompt a step
    steps += [names(engine.step()) for _ in range(4)]
    assert steps == [["0"], ["0"], ["1"], ["0", "1"], ["2"]]
    engine.run()


def test_without_mixing_prompts_come_in_at_once_where_nobody_decodes() -> None:
    engine = engine_of(delay=None, mixed=False)
    for _ in range(3):
        engine.add([7] * 5, max_tokens=1)
        assert len(engine.step().chunks) == 1
    assert not engine.scheduler.has_work
