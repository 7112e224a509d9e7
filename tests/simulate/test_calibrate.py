"""A cost model from steps that an engine took."""

from __future__ import annotations

import json
import random
from dataclasses import asdict

import pytest

from pagedlab import LLM
from pagedlab.errors import InvalidConfig, InvalidQuantity
from pagedlab.models.tiny import tiny_random
from pagedlab.simulate.calibrate import Measured, MeasuredStep, fitted, measured_steps
from pagedlab.simulate.cost import StepShape
from pagedlab.simulate.simulator import Simulator

TRUE = Measured((1, 16, 256), (0.02, 0.05, 0.9), 1e-3, 2e-4, 1e-7, 3e-9)


def shapes(count: int, seed: int) -> list[StepShape]:
    draw = random.Random(seed)
    made = []
    for _ in range(count):
        sequences = draw.randint(1, 32)
        prefill = draw.choice((0, 0, draw.randint(1, 400)))
        context = sequences * draw.randint(10, 2000)
        pairs = context + prefill * draw.randint(1, 300)
        made.append(StepShape(sequences + prefill, sequences, sequences, context, pairs))
    return made


def test_a_model_without_noise_is_found_again():
    found = fitted([MeasuredStep(shape, TRUE(shape)) for shape in shapes(400, 1)])
    held_back = [MeasuredStep(shape, TRUE(shape)) for shape in shapes(200, 2)]
    assert found.error(held_back, 50) < 0.01
    assert found.error(held_back, 90) < 0.05


def test_steps_in_which_the_machine_did_something_else_hardly_count():
    draw = random.Random(3)
    noisy = [
        MeasuredStep(shape, TRUE(shape) * (10.0 if draw.random() < 0.1 else draw.uniform(0.98, 1.02)))
        for shape in shapes(500, 3)
    ]
    held_back = [MeasuredStep(shape, TRUE(shape)) for shape in shapes(200, 4)]
    assert fitted(noisy).error(held_back, 50) < 0.02


def test_no_part_is_negative_and_more_tokens_beyond_the_last_knot_cost_more():
    found = fitted([MeasuredStep(shape, TRUE(shape)) for shape in shapes(100, 5)])
    assert min(*found.at_knots, found.per_row, found.per_sequence, found.per_context, found.per_pair) >= 0
    small, large = (StepShape(tokens, 1, 1, 1, 1) for tokens in (found.knots[-1], 2 * found.knots[-1]))
    assert TRUE(large) > TRUE(small)


def test_a_cost_model_is_kept_as_numbers():
    kept = json.loads(json.dumps(asdict(TRUE)))
    assert Measured(**kept | {name: tuple(kept[name]) for name in ("knots", "at_knots")}) == TRUE


def test_a_real_engine_is_measured_and_simulated():
    engine = LLM(tiny_random(), num_pages=200, max_tokens_per_step=64, trace=False, progress=False).engine
    steps = measured_steps(engine, batches=(1, 2, 5), prompts=(5, 30, 90), num_output=6, vocab_size=200)
    assert not engine.has_work
    assert engine.listeners == []
    assert {shape.num_rows for shape, _ in steps} >= {1, 2, 5}
    assert max(shape.num_tokens for shape, _ in steps) == 64
    assert all(seconds > 0 for _, seconds in steps)
    cost = fitted(steps)
    assert cost(StepShape(1, 1, 1, 10, 10)) > 0
    assert Simulator(None, cost=cost, num_pages=200).run([]).seconds == 0


def test_an_engine_at_work_and_too_few_steps_are_refused():
    engine = LLM(tiny_random(), num_pages=20, progress=False).engine
    engine.add_request([1, 2, 3])
    with pytest.raises(InvalidConfig, match="wait until they have ended"):
        measured_steps(engine)
    with pytest.raises(InvalidQuantity, match="19 steps"):
        fitted([MeasuredStep(StepShape(1, 1, 1, 1, 1), 1.0)] * 19)
    with pytest.raises(InvalidConfig, match="knots rise"):
        Measured((2, 1), (0.1, 0.2))
