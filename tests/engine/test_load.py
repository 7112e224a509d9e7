"""The real engine, driven by the clock that needs no model."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pagedlab.engine.engine import Engine
from pagedlab.engine.load import EngineUnderLoad
from pagedlab.errors import InvalidConfig
from pagedlab.memory.manager import CacheManager
from pagedlab.models.tiny import tiny_random
from pagedlab.scheduling.limits import Limits
from pagedlab.scheduling.load import Offer, StepTime, VirtualClock, WallClock, WithoutModel, drive, poisson_arrivals
from pagedlab.scheduling.scheduler import Scheduler

OFFERS = [Offer(at, [number % 200] * 9, 5) for number, at in enumerate(poisson_arrivals(1.0, 12, seed=1))]


def tiny_engine(**knobs: object) -> Engine:
    return Engine(tiny_random(), num_pages=24, page_size=4, prefix_cache="none", **knobs)  # type: ignore[arg-type]


def test_on_one_virtual_clock_the_engine_takes_the_very_steps_that_its_scheduler_takes_alone():
    step_time = StepTime(0.3, 0.01, 0.001)
    engine = tiny_engine(max_tokens_per_step=16, max_sequences=4)
    alone = Scheduler(CacheManager(24, 4), Limits(16, 4))
    real = drive(EngineUnderLoad(engine), OFFERS, VirtualClock(step_time))
    assert real == drive(WithoutModel(alone), OFFERS, VirtualClock(step_time))
    engine.check()


def test_on_the_wall_clock_everybody_gets_all_tokens_in_order():
    fast = [Offer(offer.at / 100, offer.prompt, offer.num_output) for offer in OFFERS]
    engine = tiny_engine()
    server = EngineUnderLoad(engine)
    done = drive(server, fast, WallClock())
    server.close()
    assert engine.listeners == [] and not engine.has_work
    assert [len(line.token_times) for line in done.timelines] == [5] * 12
    assert all(
        line.token_times == sorted(line.token_times) and line.token_times[0] > line.due for line in done.timelines
    )


def test_an_engine_that_is_busy_or_guesses_ahead_is_refused():
    busy = tiny_engine()
    busy.add_request([1, 2])
    for engine in (busy, tiny_engine(drafter="prompt_lookup")):
        with pytest.raises(InvalidConfig):
            EngineUnderLoad(engine)


def test_several_answers_and_what_follows_them_take_the_same_steps_with_a_model_and_without():
    def chain(moment: float) -> list[Offer]:
        return [Offer(moment + 0.5, [7] * 6, 3, n=2), Offer(moment + 0.1, [8] * 5, 2)]

    offers = [replace(offer, n=1 + number % 4, then=chain) for number, offer in enumerate(OFFERS)]
    engine = tiny_engine(max_tokens_per_step=16, max_sequences=4)
    alone = Scheduler(CacheManager(24, 4), Limits(16, 4))
    real = drive(EngineUnderLoad(engine), offers, VirtualClock(StepTime(0.3, 0.01)))
    assert real == drive(WithoutModel(alone), offers, VirtualClock(StepTime(0.3, 0.01)))
    assert sorted(len(line.token_times) for line in real.timelines) == [2] * 12 + [3] * 12 + [5] * 12
    engine.check()


def test_a_model_samples_several_answers_so_that_they_differ():
    engine = tiny_engine()
    server = EngineUnderLoad(engine)
    server.submit("four", Offer(0.0, [3, 5, 7], 12, n=4))
    (sequence,) = engine.scheduler.waiting
    while engine.has_work:
        server.step()
    answers = {tuple(stream.output_ids) for stream in sequence.request.sequences}
    assert len(answers) == 4 and {len(answer) for answer in answers} == {12}
