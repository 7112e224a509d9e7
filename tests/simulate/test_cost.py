"""What a step costs: the roofline, and shapes of plans."""

from __future__ import annotations

import random

import pytest

from pagedlab.arithmetic import MACHINES, MODELS, Chunk, Machine, seconds, step_cost
from pagedlab.errors import InvalidConfig
from pagedlab.memory.manager import CacheManager
from pagedlab.scheduling.request import Request
from pagedlab.scheduling.sampling import SamplingParams
from pagedlab.scheduling.scheduler import Scheduler
from pagedlab.simulate.cost import Roofline, StepShape, named, shape_of


def shape(chunks: list[Chunk]) -> StepShape:
    pairs = sum(sum(range(start + 1, start + count + 1)) for start, count in chunks)
    context = sum(start + count for start, count in chunks)
    return StepShape(sum(count for _, count in chunks), len(chunks), len(chunks), context, pairs)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("bits", [(16, 16), (4, 16), (8, 8)])
def test_the_roofline_is_that_of_the_arithmetic(name, bits):
    draw = random.Random(name)
    machine = MACHINES["H100"]
    roofline = Roofline(MODELS[name], machine, *bits, flops_reached=1.0, bandwidth_reached=1.0, overhead=0.0)
    for _ in range(50):
        chunks = [Chunk(draw.randrange(3000), draw.choice((1, 1, 500))) for _ in range(draw.randint(1, 40))]
        least = seconds(step_cost(MODELS[name], chunks, *bits), machine)
        assert roofline(shape(chunks)) == pytest.approx(least, rel=1e-9)


def test_two_ranks_halve_what_is_read_and_pay_for_adding_up():
    model, machine = MODELS["Llama-3-8B"], MACHINES["H100"]
    decode = StepShape(1, 1, 1, 1000, 1000)
    one, two = (Roofline(model, machine, ranks=ranks, overhead=0.0)(decode) for ranks in (1, 2))
    assert one / 2 < two < one
    slow = Roofline(model, machine, ranks=2, overhead=0.0, link=1e9)
    sent = 2 * model.num_layers * model.hidden_size * 2  # two sums a layer, 16 bits; a ring of two moves each once
    assert slow(decode) - one / 2 == pytest.approx(sent / 1e9)


def test_the_shape_of_a_plan_counts_what_the_plan_computes():
    scheduler = Scheduler(CacheManager(100, 4))
    for number, length in enumerate((5, 9)):
        scheduler.add(Request(str(number), list(range(100 * number, 100 * number + length)), SamplingParams()))
    plan = scheduler.schedule()
    assert shape_of(plan) == StepShape(14, 2, 2, 14, 15 + 45)
    scheduler.commit(plan, [[1], [2]])
    assert shape_of(scheduler.schedule()) == StepShape(2, 2, 2, 6 + 10, 6 + 10)


def test_pages_are_what_memory_leaves_beside_the_weights():
    model = MODELS["Llama-3-8B"]
    roofline = Roofline(model, Machine(1e12, 1e12, 20 * 10**9))
    pages = roofline.num_pages(16, share=1.0)
    taken = 16 * roofline.bytes_per_token * pages + 2 * 8_030_261_248
    assert 0 <= 20 * 10**9 - taken < 16 * roofline.bytes_per_token


def test_impossible_shares_and_unknown_names_are_refused_with_what_there_is():
    with pytest.raises(InvalidConfig, match=r"flops_reached=1\.5"):
        Roofline(MODELS["Llama-3-8B"], MACHINES["H100"], flops_reached=1.5)
    with pytest.raises(InvalidConfig, match="there are SmolLM2-135M"):
        named("GPT-9", "H100")
    with pytest.raises(InvalidConfig, match="there are L4"):
        named("Llama-3-8B", "abacus")
