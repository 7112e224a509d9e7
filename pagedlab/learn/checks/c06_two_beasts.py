"""Chapter 06: operations, bytes, and what a step waits for."""

from __future__ import annotations

import math
from types import ModuleType

from pagedlab.learn.exercise import exercise
from pagedlab.learn.judge import Judge


@exercise(
    "06.flops",
    "Count the operations",
    difficulty=1,
    minutes=15,
    hints=(
        "The first new token sees the cached ones and itself. The second sees one more.",
        "new · cached, and then 1 + 2 + … + new. A pair costs 4 · head_dim in each head of each layer.",
        "return 2 * weights * new + 4 * num_layers * num_heads * head_dim * pairs(cached, new)",
    ),
)
def flops(mine: ModuleType, judge: Judge) -> None:
    from hypothesis import strategies as st

    def seen(cached: int, new: int) -> int:
        return sum(cached + row + 1 for row in range(new))

    def counted(cached: int, new: int, weights: int, layers: int, heads: int, dim: int) -> None:
        judge.trying(f"pairs({cached}, {new})")
        judge.equal(mine.pairs(cached, new), seen(cached, new), case=f"pairs({cached}, {new})")
        case = f"flops({cached}, {new}, {weights}, {layers}, {heads}, {dim})"
        judge.trying(case)
        wanted = 2 * weights * new + layers * heads * 4 * dim * seen(cached, new)
        judge.equal(mine.flops(cached, new, weights, layers, heads, dim), wanted, case=case)

    with judge.rule("three tokens of a new prompt, by hand: 648"):
        counted(0, 3, 100, 1, 1, 2)
    with judge.rule("one token after ten others: 288"):
        counted(10, 1, 100, 1, 1, 2)
    with judge.rule("a chunk in the middle of a prompt"):
        counted(5, 4, 10, 2, 3, 4)
    with judge.rule("any chunk of any model"):
        number = st.integers(1, 20)
        judge.prove(
            lambda cached, new, weights, layers, heads, dim: counted(cached, new, weights, layers, heads, dim),
            *(st.integers(0, 30), number, st.integers(1, 1000), number, number, number),
        )


@exercise(
    "06.traffic",
    "Count the bytes",
    difficulty=1,
    minutes=15,
    hints=(
        "What is read once a step, and what once a sequence?",
        "Weights once. Cached tokens are read; new ones are written and read.",
        "return weight_bytes + sum(cached + 2 * new for cached, new in chunks) * token_bytes",
    ),
)
def traffic(mine: ModuleType, judge: Judge) -> None:
    from hypothesis import strategies as st

    def moved(chunks: list[tuple[int, int]], weights: int, token: int) -> None:
        case = f"traffic({chunks}, {weights}, {token})"
        judge.trying(case)
        wanted = weights + token * sum(cached + new + new for cached, new in chunks)
        judge.equal(mine.traffic(list(chunks), weights, token), wanted, case=case)
        new = sum(new for _, new in chunks)
        case = f"bytes_a_token({chunks}, {weights}, {token})"
        if new:
            judge.close(mine.bytes_a_token(list(chunks), weights, token), wanted / new, case=case)
        else:
            judge.raises(ValueError, lambda: mine.bytes_a_token(list(chunks), weights, token), case=case)

    with judge.rule("by hand: a decode and a small prompt, 172 bytes"):
        moved([(10, 1), (0, 3)], 100, 4)
    with judge.rule("the weights are read once, however many there are"):
        moved([(10, 1)] * 8, 1000, 1)
        moved([(0, 64)], 1000, 1)
    with judge.rule("a step without new tokens"):
        moved([], 100, 4)
    with judge.rule("any step"):
        chunk = st.tuples(st.integers(0, 50), st.integers(1, 20))
        judge.prove(moved, st.lists(chunk, max_size=6), st.integers(1, 500), st.integers(1, 20))


@exercise(
    "06.roofline",
    "Under the roof",
    difficulty=1,
    minutes=10,
    hints=(
        "Two limits; the lower one holds.",
        "Memory lets intensity × bandwidth operations a second through, the chip does peak. For time, the slower wins.",
        "return min(peak, intensity * bandwidth)",
    ),
)
def roofline(mine: ModuleType, judge: Judge) -> None:
    from hypothesis import strategies as st

    def under(operations: float, moved: float, peak: float, bandwidth: float) -> None:
        arguments = (operations, moved, peak, bandwidth)
        judge.trying(f"limit{arguments}")
        bound = "arithmetic" if operations * bandwidth >= peak * moved else "memory"
        judge.equal(mine.limit(*arguments), bound, case=f"limit{arguments}")
        judge.trying(f"seconds{arguments}")
        wanted = operations / peak if bound == "arithmetic" else moved / bandwidth
        judge.close(mine.seconds(*arguments), wanted, case=f"seconds{arguments}")
        intensity = operations / moved
        judge.trying(f"attainable({intensity}, {peak}, {bandwidth})")
        reached = mine.attainable(intensity, peak, bandwidth)
        judge.close(reached, operations / wanted, case=f"attainable({intensity}, {peak}, {bandwidth})")

    with judge.rule("by hand: peak 100, bandwidth 10"):
        under(20, 10, 100, 10)
        under(500, 10, 100, 10)
    with judge.rule("at the ridge both limits hold, and it is called arithmetic"):
        under(100, 10, 100, 10)
    with judge.rule("an H100 at 1 and at 954 operations a byte"):
        under(1.0, 1.0, 989e12, 3.35e12)
        under(954.0, 1.0, 989e12, 3.35e12)
    with judge.rule("any step on any machine"):
        power = st.integers(0, 12).map(lambda exponent: 2.0**exponent)  # products of them are exact
        judge.prove(lambda operations, moved, peak, bandwidth: under(operations, moved, peak, bandwidth), *[power] * 4)


@exercise(
    "06.crossover",
    "Where it turns over",
    difficulty=2,
    minutes=20,
    hints=(
        "Write the inequality with everything that has a B on one side.",
        "B · (2 · weights − ridge · cache_bytes) ≥ ridge · weight_bytes. What if the bracket is not positive?",
        "gained = 2 * weights - ridge * cache_bytes\n"
        "return math.ceil(ridge * weight_bytes / gained) if gained > 0 else None",
    ),
)
def crossover(mine: ModuleType, judge: Judge) -> None:
    from hypothesis import strategies as st

    def turned(weights: int, size: int, cache: int, ridge: int) -> None:
        case = f"batch_at_ridge({weights}, {size}, {cache}, {ridge})"
        judge.trying(case)
        found = mine.batch_at_ridge(weights, size, cache, ridge)

        def enough(batch: int) -> bool:
            return 2 * weights * batch >= ridge * (size + batch * cache)

        if 2 * weights <= ridge * cache:
            judge.equal(found, None, case=case, why="each sequence brings more bytes than it can use")
        else:
            holds = isinstance(found, int) and found >= 1 and enough(found) and not (found > 1 and enough(found - 1))
            judge.true(holds, actual=found, expected="the smallest batch for which it holds", case=case)

    with judge.rule("without caches: weights of 2 bytes, a ridge of 300: 300 sequences"):
        turned(1000, 2000, 0, 300)
    with judge.rule("caches make it more"):
        turned(1000, 2000, 2, 300)
        turned(1000, 2000, 6, 300)
    with judge.rule("with long contexts there is no such batch"):
        turned(1000, 2000, 7, 300)
        turned(10, 10, 20, 1)
    with judge.rule("any model"):
        number = st.integers(1, 300)
        judge.prove(turned, number, number, st.integers(0, 9), st.integers(1, 60))
    with judge.rule("the context at which attention outweighs the matrices"):
        for weights, attention, wanted in ((100, 8, 25), (100, 7, 29), (1, 100, 1), (50, 100, 1), (51, 100, 2)):
            case = f"context_at_parity({weights}, {attention})"
            judge.trying(case)
            judge.equal(mine.context_at_parity(weights, attention), wanted, case=case)


@exercise(
    "06.chunk_budget",
    "A prompt beside the decodes",
    difficulty=2,
    minutes=20,
    after=("06.roofline",),
    hints=(
        "How long is the step with the decodes alone? How many tokens fit into that time?",
        "step_seconds(decodes) / compute tokens fit, rounded down; the decodes take some of them.",
        "left = budget - decodes\nreturn -(-prompt // left)",
    ),
)
def chunk_budget(mine: ModuleType, judge: Judge) -> None:
    from hypothesis import strategies as st

    def beside(decodes: int, compute: int, memory: int) -> None:
        case = f"free_tokens({decodes}, {compute}, {memory})"
        judge.trying(case)
        alone = max(compute * decodes, memory)
        judge.equal(mine.free_tokens(decodes, compute, memory), alone // compute - decodes, case=case)

    with judge.rule("a step takes as long as the slower of the two"):
        for tokens, wanted in ((1, 20.0), (20, 20.0), (21, 21.0), (0, 20.0)):
            judge.trying(f"step_seconds({tokens}, 1.0, 20.0)")
            judge.close(mine.step_seconds(tokens, 1.0, 20.0), wanted, case=f"step_seconds({tokens}, 1.0, 20.0)")
    with judge.rule("eight decodes leave room for twelve tokens"):
        beside(8, 1, 20)
        judge.trying("free_tokens(8, 0.1, 2.0)")
        judge.equal(mine.free_tokens(8, 0.1, 2.0), 12, case="free_tokens(8, 0.1, 2.0)")
    with judge.rule("where decodes are compute-bound already, nothing is free"):
        beside(30, 1, 20)
        beside(7, 3, 20)
    with judge.rule("any machine, in whole milliseconds"):
        judge.prove(beside, st.integers(1, 40), st.integers(1, 9), st.integers(1, 90))
    with judge.rule("how long a prompt takes in chunks"):
        for prompt, decodes, budget in ((100, 8, 20), (96, 8, 20), (1, 0, 1), (5, 3, 4)):
            case = f"steps_for_prompt({prompt}, {decodes}, {budget})"
            judge.trying(case)
            judge.equal(
                mine.steps_for_prompt(prompt, decodes, budget), math.ceil(prompt / (budget - decodes)), case=case
            )
        judge.raises(ValueError, lambda: mine.steps_for_prompt(5, 8, 8), case="steps_for_prompt(5, 8, 8)")
