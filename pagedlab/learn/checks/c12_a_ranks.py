"""Chapter 12, first half: what ranks hold, what they say to each other, what it costs."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import ModuleType

from pagedlab.learn.exercise import exercise
from pagedlab.learn.judge import Judge

Vector = list[int]

LLAMA_8B = (32, 4096, 32, 8, 128, 14336)
SMALL = (3, 96, 6, 2, 16, 160)


@exercise(
    "12.shard",
    "What one rank holds",
    difficulty=2,
    minutes=20,
    hints=(
        "Which of these are divided among the ranks for good, and which only until there are no more of them?",
        "KV heads of a rank: max(1, num_kv_heads // ranks). Weights of keys and values follow them.",
        "attention = hidden * head_dim * (2 * heads + 2 * kv_heads)   # q and o, k and v\n"
        "feed_forward = 3 * hidden * intermediate // ranks\nreturn num_layers * (attention + feed_forward)",
    ),
)
def shard(mine: ModuleType, judge: Judge) -> None:
    def model(shape: tuple[int, ...]) -> object:
        return mine.Model(*shape)

    def shares(shape: tuple[int, ...], ranks: int) -> tuple[int, int]:
        return shape[2] // ranks, -(-shape[3] // ranks)

    with judge.rule("8 query and 2 KV heads, as in the table"):
        for ranks, wanted in ((1, (8, 2)), (2, (4, 1)), (4, (2, 1)), (8, (1, 1))):
            case = f"heads_of(8 query, 2 KV heads, ranks={ranks})"
            judge.trying(case)
            judge.equal(tuple(mine.heads_of(model((1, 64, 8, 2, 8, 128)), ranks)), wanted, case=case)
    with judge.rule("a cut that is not even is refused"):
        for shape, ranks in ((SMALL, 4), ((1, 64, 12, 4, 8, 96), 6), (SMALL, 0)):
            case = f"heads_of(Model{shape}, ranks={ranks})"
            judge.raises(ValueError, lambda s=shape, r=ranks: mine.heads_of(model(s), r), case=case)  # type: ignore[misc]
        case = "weights_of(Model(1, 64, 8, 8, 8, 100), ranks=8)"
        judge.raises(ValueError, lambda: mine.weights_of(model((1, 64, 8, 8, 8, 100)), 8), case=case)
    with judge.rule("weights: all of them on one rank, a share on several, keys and values copied when heads run out"):
        for shape, ranks in ((SMALL, 1), (SMALL, 2), ((2, 64, 8, 2, 8, 128), 4), (LLAMA_8B, 8), (LLAMA_8B, 16)):
            case = f"weights_of(Model{shape}, ranks={ranks})"
            judge.trying(case)
            heads, kv_heads = shares(shape, ranks)
            wanted_weights = shape[0] * (
                2 * shape[1] * shape[4] * (heads + kv_heads) + 3 * shape[1] * (shape[5] // ranks)
            )
            judge.equal(mine.weights_of(model(shape), ranks), wanted_weights, case=case)
    with judge.rule("pages: what the weights leave, in pages of this rank's heads"):
        for shape, ranks, memory, page_size, bits in (
            (SMALL, 1, 2**20, 16, 16),
            (SMALL, 2, 2**20, 16, 16),
            (SMALL, 1, 1000, 16, 16),
            (LLAMA_8B, 1, 24 * 2**30, 16, 16),
            (LLAMA_8B, 2, 24 * 2**30, 16, 16),
            (LLAMA_8B, 16, 24 * 2**30, 32, 8),
        ):
            case = f"pages_of(Model{shape}, ranks={ranks}, memory={memory}, page_size={page_size}, bits={bits})"
            judge.trying(case)
            _, kv_heads = shares(shape, ranks)
            page = page_size * 2 * shape[0] * kv_heads * shape[4] * bits // 8
            left = max(0, memory - mine.weights_of(model(shape), ranks) * bits // 8)
            judge.equal(mine.pages_of(model(shape), ranks, memory, page_size, bits), left // page, case=case)
    with judge.rule("two rows a layer and token are added up, and none on a single rank"):
        for shape, ranks, bits in ((LLAMA_8B, 1, 16), (LLAMA_8B, 2, 16), (LLAMA_8B, 8, 16), (SMALL, 2, 32)):
            case = f"reduced_bytes(Model{shape}, ranks={ranks}, bits={bits})"
            judge.trying(case)
            wanted_bytes = 0 if ranks == 1 else 2 * shape[0] * shape[1] * bits // 8
            judge.equal(mine.reduced_bytes(model(shape), ranks, bits), wanted_bytes, case=case)


@exercise(
    "12.all_reduce",
    "Ring all-reduce",
    difficulty=3,
    minutes=35,
    hints=(
        "Follow one piece round the ring: it leaves a rank, grows at the next, and must leave that one a round later.",
        "In round t rank r sends piece (r - t) % n, in both halves. What arrives is what its left neighbour sent.",
        "for turn in range(2 * (n - 1)):\n    incoming = exchange([held[r][(r - turn) % n] for r in range(n)])\n"
        "    for r in range(n):\n        piece = (r - 1 - turn) % n\n  # first half: add; second: replace",
    ),
)
def all_reduce(mine: ModuleType, judge: Judge) -> None:
    from hypothesis import strategies as st

    def summed(vectors: list[Vector]) -> None:
        n, size = len(vectors), len(vectors[0]) // len(vectors)
        case = f"all_reduce({vectors}, exchange)"
        judge.trying(case)
        sent: list[list[int]] = []

        def exchange(outgoing: list[Vector]) -> list[Vector]:
            judge.true(
                len(outgoing) == n, actual=f"{len(outgoing)} lists", expected=f"a list from each of {n}", case=case
            )
            sent.append([len(values) for values in outgoing])
            judge.true(len(sent) <= 2 * n, actual="more rounds", expected=f"{2 * (n - 1)} rounds", case=case)
            return [list(outgoing[rank - 1]) for rank in range(n)]

        before = [list(vector) for vector in vectors]
        found = [list(vector) for vector in mine.all_reduce(vectors, exchange)]
        total = [sum(values) for values in zip(*before, strict=True)]
        rows = [{f"rank {rank}": answer for rank, answer in enumerate(side)} for side in ([total] * n, found)]
        judge.equal(found, [total] * n, case=case, expected_rows=rows[0], actual_rows=rows[1])
        judge.equal(sent, [[size] * n] * (2 * (n - 1)), case=f"values sent by each rank in each round of {case}")
        judge.equal(vectors, before, case=f"the vectors after {case}")

    with judge.rule("two ranks, by hand"):
        summed([[1, 2], [10, 20]])
    with judge.rule("one rank is done already"):
        summed([[3, 4, 5]])
    with judge.rule("three ranks, pieces of two values"):
        summed([[1, 2, 3, 4, 5, 6], [10, 20, 30, 40, 50, 60], [100, 200, 300, 400, 500, 600]])
    with judge.rule("any number of ranks: the sum everywhere, one piece a rank and round"):
        shapes = st.tuples(st.integers(1, 5), st.integers(0, 3))
        vectors = shapes.flatmap(
            lambda shape: st.lists(
                st.lists(st.integers(-9, 9), min_size=shape[0] * shape[1], max_size=shape[0] * shape[1]),
                min_size=shape[0],
                max_size=shape[0],
            )
        )
        judge.prove(summed, vectors)


@exercise(
    "12.cost_per_token",
    "What a million tokens cost",
    difficulty=1,
    minutes=10,
    hints=(
        "How many tokens does the machine make in an hour of the day as it really is?",
        "Price of the hour, divided by the tokens of the hour, times a million. An hour has 3,600 seconds.",
        "price_per_hour / (tokens_per_second * 3600 * utilisation) * 1e6\n"
        "# break even: at full use it costs per_million(…); at a share u it costs that divided by u",
    ),
)
def cost_per_token(mine: ModuleType, judge: Judge) -> None:
    from hypothesis import strategies as st

    def near(call: Callable[[], float], wanted: float, case: str) -> None:
        judge.trying(case)
        found = call()
        right = isinstance(found, (int, float)) and math.isclose(found, wanted, rel_tol=1e-9)
        judge.true(right, actual=found, expected=f"{wanted:.6g}", case=case)

    money, speed, share = st.floats(0.1, 100), st.floats(1, 1e5), st.floats(0.01, 1)
    with judge.rule("3.60 an hour, 1,000 tokens a second, half used: 2.00 a million"):
        near(lambda: mine.per_million(3.6, 1000, 0.5), 2.0, "per_million(3.6, 1000, 0.5)")
        near(lambda: mine.per_million(3.6, 1000), 1.0, "per_million(3.6, 1000)")
    with judge.rule("no machine is used more than wholly, and an idle one has no price a token"):
        for use in (0.0, -0.5, 1.01):
            judge.raises(
                ValueError,
                lambda use=use: mine.per_million(3.6, 1000, use),  # type: ignore[misc]
                case=f"per_million(3.6, 1000, {use})",
            )
    with judge.rule("at the break-even both cost the same"):
        near(lambda: mine.break_even(3.6, 1000, 4.0), 0.25, "break_even(3.6, 1000, 4.0)")
        near(lambda: mine.break_even(3.6, 1000, 0.5), 2.0, "break_even(3.6, 1000, 0.5)")

        def same(price: float, tokens: float, used: float) -> None:
            others = price / (tokens * 3600 * used) * 1e6
            near(lambda: mine.per_million(price, tokens, used), others, f"per_million({price}, {tokens}, {used})")
            near(lambda: mine.break_even(price, tokens, others), used, f"break_even({price}, {tokens}, {others})")

        judge.prove(same, money, speed, share)
    with judge.rule("replicas: whole ones, none loaded beyond the limit, the spare ones on top"):
        cases = ((5000, 1000, 0.5, 0, 10), (5001, 1000, 0.5, 0, 11), (5000, 1000, 0.5, 2, 12))
        for demand, of_one, limit, spare, wanted in (*cases, (0, 1000, 0.5, 1, 2), (100, 1000, 0.8, 0, 1)):
            case = f"replicas_for({demand}, {of_one}, {limit}, {spare})"
            judge.trying(case)
            judge.equal(mine.replicas_for(demand, of_one, limit, spare), wanted, case=case)
