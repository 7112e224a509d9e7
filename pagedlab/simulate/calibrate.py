"""Calibrate: steps that a real engine took, and the cost model that fits them best.

    cost = fitted(measured_steps(llm.engine))
    Simulator("vllm", cost=cost, num_pages=512).run(offers)

The time of a step bends with its number of tokens: a few rows are bound by reading weights, many by arithmetic, and
kernels change in between. So that part is a broken line; what rows of logits, sequences, context and pairs cost beside
it is proportional. No part may be negative, and errors count in proportion to the step, by their size and not by its
square: a step in which the machine did something else weighs as little as it should.
"""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, NamedTuple, Protocol

from pagedlab.errors import InvalidConfig, InvalidQuantity
from pagedlab.progress import progress_bar
from pagedlab.scheduling.latency import percentile
from pagedlab.scheduling.plan import StepPlan
from pagedlab.scheduling.sampling import SamplingParams
from pagedlab.scheduling.scheduler import Scheduler
from pagedlab.simulate.cost import StepShape, shape_of


class Steppable(Protocol):
    """What is asked of an engine."""

    scheduler: Scheduler
    listeners: list[Callable[[StepPlan], None]]

    @property
    def has_work(self) -> bool: ...
    def add_request(self, prompt: Any, params: SamplingParams) -> str: ...
    def step(self) -> Any: ...


class MeasuredStep(NamedTuple):
    shape: StepShape
    seconds: float


def measured_steps(
    engine: Steppable,
    *,
    batches: Sequence[int] = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32),
    prompts: Sequence[int] = (16, 48, 128, 400),
    num_output: int = 12,
    vocab_size: int = 1000,
    seed: int = 0,
    clock: Callable[[], float] = time.perf_counter,
    progress: bool = False,
) -> list[MeasuredStep]:
    """Steps of many shapes: for each of ``batches`` as many requests, twice, with lengths drawn from ``prompts``.

    Prompts are random tokens below ``vocab_size``. What does not fit beside the others waits, as ever. ``clock``: time
    passes by it; where other programs run too, that of the processor (``time.process_time``) says more, with one
    thread. Raises InvalidConfig for an engine that is at work.
    """
    is_idle = not engine.has_work
    if not is_idle:
        raise InvalidConfig("an engine that has requests was to be measured; wait until they have ended")
    draw, steps, plans = Random(seed), list[MeasuredStep](), list[StepPlan]()
    params = SamplingParams(max_tokens=num_output, temperature=0, ignore_eos=True)
    most = min(engine.scheduler.max_sequence_tokens - num_output, max(prompts))
    engine.listeners.append(plans.append)
    try:
        with progress_bar("Measuring steps", 2 * len(batches), show=progress) as advance:
            for batch in (*batches, *batches):
                for _ in range(batch):
                    length = min(most, draw.choice(prompts))
                    engine.add_request([draw.randrange(vocab_size) for _ in range(length)], params)
                while engine.has_work:
                    start = clock()
                    engine.step()
                    seconds = clock() - start
                    steps.append(MeasuredStep(shape_of(plans.pop()), seconds))
                advance(1)
    finally:
        engine.listeners.remove(plans.append)
    return steps


@dataclass(frozen=True)
class Measured:
    """Seconds of a step: a broken line over its tokens, and so much for each row, sequence, context token and pair."""

    knots: tuple[int, ...]  #: numbers of tokens, rising
    at_knots: tuple[float, ...]  #: seconds
    per_row: float = 0.0
    per_sequence: float = 0.0
    per_context: float = 0.0
    per_pair: float = 0.0

    def __post_init__(self) -> None:
        if len(self.knots) != len(self.at_knots) or not self.knots or list(self.knots) != sorted(set(self.knots)):
            raise InvalidConfig(
                f"knots {self.knots} with seconds {self.at_knots} were given; knots rise, and each has its seconds"
            )

    def __call__(self, shape: StepShape) -> float:
        beside = self.per_row * shape.num_rows + self.per_sequence * shape.num_sequences
        beside += self.per_context * shape.context + self.per_pair * shape.pairs
        return beside + sum(weight * self.at_knots[at] for at, weight in _between(self.knots, shape.num_tokens))

    def error(self, steps: Iterable[MeasuredStep], percent: int = 50) -> float:
        """A percentile of how far it is off, as a share of the step."""
        return percentile((abs(self(shape) / seconds - 1) for shape, seconds in steps), percent)


def fitted(steps: Sequence[MeasuredStep]) -> Measured:
    """The cost model of the least sum of relative errors, none of whose parts is negative.

    Least absolute errors by reweighting least squares; each of those by coordinate descent, which stays at zero or
    above (Franc, Hlaváč and Navara, 2005). Raises InvalidQuantity for fewer than 20 steps.
    """
    if len(steps) < 20:
        raise InvalidQuantity(f"{len(steps)} steps were given to fit a cost model to; give at least 20")
    knots = _knots([shape.num_tokens for shape, _ in steps])
    rows = [_parts(knots, shape) for shape, _ in steps]
    scale = [max(row[part] for row in rows) or 1.0 for part in range(len(knots) + 4)]
    table = [
        [value / size / step.seconds for value, size in zip(row, scale, strict=True)]
        for row, step in zip(rows, steps, strict=True)
    ]
    weights, found = [1.0] * len(table), [0.0] * len(scale)
    for _ in range(30):
        found = _least_squares(table, weights, found)
        off = [abs(sum(value * part for value, part in zip(row, found, strict=True)) - 1) for row in table]
        weights = [1 / max(error, 1e-3) for error in off]
    values = [part / size for part, size in zip(found, scale, strict=True)]
    return Measured(knots, tuple(values[: len(knots)]), *values[len(knots) :])


def _knots(tokens: list[int]) -> tuple[int, ...]:
    """Numbers of tokens at which the line may bend: about a half more each time, with steps on both sides."""
    knots, ordered = [min(tokens)], sorted(set(tokens))
    for number in ordered:
        if number >= max(knots[-1] + 1, 1.4 * knots[-1]):
            knots.append(number)
    return tuple(knots)


def _between(knots: Sequence[int], number: int) -> list[tuple[int, float]]:
    """The knots around ``number`` with their weights; beyond the last one the last piece goes on."""
    if len(knots) == 1 or number <= knots[0]:
        return [(0, 1.0)]
    at = min(bisect_right(knots, number), len(knots) - 1)
    share = (number - knots[at - 1]) / (knots[at] - knots[at - 1])
    return [(at - 1, 1 - share), (at, share)]


def _parts(knots: Sequence[int], shape: StepShape) -> list[float]:
    parts = [0.0] * len(knots) + [shape.num_rows, shape.num_sequences, shape.context, shape.pairs]
    for at, weight in _between(knots, shape.num_tokens):
        parts[at] += weight
    return parts


def _least_squares(table: list[list[float]], weights: list[float], start: list[float]) -> list[float]:
    """x >= 0 for which the weighted squares of ``table`` x - 1 are least."""
    size = len(start)
    gram = [[0.0] * size for _ in range(size)]
    right = [0.0] * size
    for row, weight in zip(table, weights, strict=True):
        there = [(at, value) for at, value in enumerate(row) if value]
        for at, value in there:
            right[at] += weight * value
            for other, second in there:
                gram[at][other] += weight * value * second
    found = list(start)
    for _ in range(500):
        change = 0.0
        for at in range(size):
            if gram[at][at] == 0.0:
                continue
            slope = sum(map(float.__mul__, gram[at], found)) - right[at]
            new = max(0.0, found[at] - slope / gram[at][at])
            change = max(change, abs(new - found[at]))
            found[at] = new
        if change < 1e-9:
            break
    return found
