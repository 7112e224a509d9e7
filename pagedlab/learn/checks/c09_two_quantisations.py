"""Chapter 09: fewer bits, and what they cost."""

from __future__ import annotations

import math
from types import ModuleType
from typing import Any

from pagedlab.learn.exercise import exercise
from pagedlab.learn.judge import Judge

NEEDS = ("torch",)


@exercise(
    "09.quantise",
    "Scale and zero",
    difficulty=2,
    minutes=20,
    needs=NEEDS,
    hints=(
        "Which two numbers of a row fix the mapping? Over which dimension?",
        "amin and amax over the last dimension, with keepdim=True. Watch the row without a range.",
        "scale = torch.where(scale == 0, torch.ones_like(scale), scale)\nq = ((x - zero) / scale).round()",
    ),
)
def quantise(mine: ModuleType, judge: Judge) -> None:
    import torch
    from hypothesis import strategies as st

    def kept(rows: list[list[float]], bits: int) -> None:
        x = torch.tensor(rows)
        case = f"quantise({rows}, {bits})"
        judge.trying(case)
        q, scale, zero = mine.quantise(x.clone(), bits)
        judge.equal(q.dtype, torch.uint8, case=f"{case}: the type of q")
        judge.equal(
            (tuple(scale.shape), tuple(zero.shape)), ((len(rows), 1),) * 2, case=f"{case}: shapes of scale and zero"
        )
        judge.true(
            int(q.max()) <= 2**bits - 1, actual=int(q.max()), expected=f"at most {2**bits - 1}", case=f"{case}: q"
        )
        span = x.amax(1) - x.amin(1)
        steps = torch.where(span == 0, torch.ones(()), span / (2**bits - 1))
        judge.close(scale[:, 0], steps, case=f"{case}: scales")
        back = mine.dequantise(q, scale, zero)
        off = (back - x).abs().amax(1)
        judge.true(
            bool((off <= steps * 0.501 + 1e-5 * x.abs().amax()).all()),
            actual=[round(float(one), 4) for one in off],
            expected=f"off by at most half a step: {[round(float(one) / 2, 4) for one in steps]}",
            case=f"{case}, read back",
        )

    with judge.rule("by hand: [0, 1, 4] in 2 bits is [0, 1, 3]"):
        judge.trying("quantise([[0, 1, 4]], 2)")
        q, scale, zero = mine.quantise(torch.tensor([[0.0, 1.0, 4.0]]), 2)
        judge.row([int(one) for one in q[0]], [0, 1, 3], "quantise([[0, 1, 4]], 2)", "q")
        judge.close(mine.dequantise(q, scale, zero), [[0.0, 4 / 3, 4.0]], case="read back")
    with judge.rule("every row has a scale and a zero of its own"):
        kept([[0.0, 1.0, 2.0], [-100.0, 50.0, 100.0]], 8)
    with judge.rule("rows on one side of 0 use the whole range"):
        kept([[10.0, 10.5, 11.0]], 4)
        kept([[-3.0, -2.0, -2.5]], 8)
    with judge.rule("a row without a range is read back as it was"):
        kept([[5.0, 5.0], [0.0, 0.0]], 8)
        kept([[-7.0, -7.0], [1.0, 2.0]], 4)
    with judge.rule("any rows, off by half a step at most"):
        number = st.integers(-800, 800).map(lambda tenths: tenths / 8)
        row = st.lists(number, min_size=4, max_size=4)
        judge.prove(kept, st.lists(row, min_size=1, max_size=3), st.sampled_from([2, 4, 8]))


@exercise(
    "09.pack",
    "Two numbers in a byte",
    difficulty=1,
    minutes=15,
    needs=NEEDS,
    hints=(
        "Which places go into the low half? x[..., 0::2] has them.",
        "low | (high << 4) packs; packed & 15 and packed >> 4 unpack, and then they must be dealt out in turn.",
        "return torch.stack((packed & 15, packed >> 4), -1).flatten(-2)",
    ),
)
def pack(mine: ModuleType, judge: Judge) -> None:
    import torch
    from hypothesis import strategies as st

    def packed(row: list[int]) -> None:
        q = torch.tensor(row, dtype=torch.uint8)
        wanted = [low + 16 * high for low, high in zip(row[::2], row[1::2], strict=True)]
        judge.trying(f"pack({row})")
        found = mine.pack(q)
        judge.row([int(one) for one in found], wanted, f"pack({row})", "bytes")
        judge.equal(found.dtype, torch.uint8, case=f"pack({row}): its type")
        judge.row([int(one) for one in mine.unpack(found)], row, f"unpack(pack({row}))", "numbers")

    with judge.rule("by hand: [3, 10, 0, 15] is [163, 240]"):
        packed([3, 10, 0, 15])
    with judge.rule("any row, there and back"):
        row = st.lists(st.tuples(st.integers(0, 15), st.integers(0, 15)), max_size=5)
        judge.prove(lambda pairs: packed([number for pair in pairs for number in pair]), row)
    with judge.rule("more than one row"):
        judge.trying("a tensor of 2 × 3 × 4")
        q = torch.arange(24, dtype=torch.uint8).reshape(2, 3, 4) % 16
        judge.equal(tuple(mine.pack(q).shape), (2, 3, 2), case="the shape of pack of a tensor of 2 × 3 × 4")
        judge.close(mine.unpack(mine.pack(q)).float(), q.float(), case="a tensor of 2 × 3 × 4, there and back")
    with judge.rule("a page in bytes, with its scales and zeros"):
        for size, heads, dim, bits in (
            (16, 3, 64, 16),
            (16, 3, 64, 8),
            (16, 3, 64, 4),
            (1, 1, 128, 4),
            (16, 8, 128, 32),
        ):
            case = f"page_bytes({size}, {heads}, {dim}, {bits})"
            judge.trying(case)
            wanted = 2 * size * heads * (dim * bits // 8 + (4 if bits < 16 else 0))
            judge.equal(mine.page_bytes(size, heads, dim, bits), wanted, case=case)
        judge.equal(mine.page_bytes(1, 1, 64, 8, 4), 144, case="page_bytes(1, 1, 64, 8, 4)")


@exercise(
    "09.divergence",
    "How wrong is it?",
    difficulty=2,
    minutes=20,
    needs=NEEDS,
    hints=(
        "What does it change if the same number is subtracted from all logits of a row?",
        "log p = shifted − log Σ e^shifted, with the largest logit subtracted first. KL needs both logarithms, and p.",
        "p, q = log_probabilities(exact), log_probabilities(rounded)\nreturn (p.exp() * (p - q)).sum(-1)",
    ),
)
def divergence(mine: ModuleType, judge: Judge) -> None:
    import torch
    from hypothesis import strategies as st

    def compared(one: list[float], other: list[float]) -> None:
        a, b = torch.tensor([one]), torch.tensor([other])
        judge.trying(f"log_probabilities([{one}])")
        judge.close(mine.log_probabilities(a), a.double().log_softmax(-1), case=f"log_probabilities([{one}])")
        p, q = a.double().log_softmax(-1), b.double().log_softmax(-1)
        case = f"divergence([{one}], [{other}])"
        judge.trying(case)
        judge.close(mine.divergence(a, b), (p.exp() * (p - q)).sum(-1), case=case, within=1e-4)

    with judge.rule("equal predictions: 0"):
        compared([1.0, 2.0, 3.0], [1.0, 2.0, 3.0])
        compared([1.0, 2.0, 3.0], [11.0, 12.0, 13.0])
    with judge.rule("it is not symmetric: the exact one comes first"):
        compared([0.0, math.log(3.0)], [0.0, 0.0])
        compared([0.0, 0.0], [0.0, math.log(3.0)])
    with judge.rule("large logits do not overflow"):
        compared([1000.0, 1001.0], [1001.0, 1000.0])
        compared([-1000.0, -999.0], [0.0, 1.0])
    with judge.rule("any logits"):
        number = st.integers(-400, 400).map(lambda tenths: tenths / 10)
        row = st.lists(number, min_size=3, max_size=3)
        judge.prove(compared, row, row)
    with judge.rule("perplexity: 1 for a perfect guess, the number of tokens for none at all"):
        cases: list[tuple[Any, list[int], float]] = [
            ([[0.0, 100.0], [100.0, 0.0]], [1, 0], 1.0),
            ([[0.0, 0.0, 0.0, 0.0]], [2], 4.0),
            ([[0.0, math.log(3.0)], [0.0, 0.0]], [1, 0], math.exp(-(math.log(0.75) + math.log(0.5)) / 2)),
        ]
        for logits, tokens, wanted in cases:
            case = f"perplexity({logits}, {tokens})"
            judge.trying(case)
            judge.close(mine.perplexity(torch.tensor(logits), torch.tensor(tokens)), wanted, case=case)


@exercise(
    "09.crossover",
    "When the cache outweighs the weights",
    difficulty=1,
    minutes=15,
    hints=(
        "Both sides in bits: weights · weight_bits against tokens · values · cache_bits.",
        "Divide and round up. For what is saved, write before and after in bits.",
        "return -(-weights * weight_bits // (values_per_token * cache_bits))",
    ),
)
def crossover(mine: ModuleType, judge: Judge) -> None:
    from hypothesis import strategies as st

    def parity(weights: int, bits: int, values: int, cache_bits: int) -> None:
        judge.trying(f"weight_bytes({weights}, {bits})")
        judge.equal(
            mine.weight_bytes(weights, bits), math.ceil(weights * bits / 8), case=f"weight_bytes({weights}, {bits})"
        )
        case = f"tokens_at_parity({weights}, {bits}, {values}, {cache_bits})"
        judge.trying(case)
        wanted = math.ceil(weights * bits / (values * cache_bits))
        judge.equal(mine.tokens_at_parity(weights, bits, values, cache_bits), wanted, case=case)

    with judge.rule("8 billion weights in 4 bits, 65,536 values a token in 16: 30,518 tokens"):
        parity(8_000_000_000, 4, 65_536, 16)
    with judge.rule("odd numbers of 4-bit weights are rounded up"):
        parity(3, 4, 1, 16)
        parity(1, 4, 8, 8)
    with judge.rule("any model"):
        bits = st.sampled_from([4, 8, 16, 32])
        judge.prove(parity, st.integers(1, 5000), bits, st.integers(1, 100), bits)
    with judge.rule("what is saved, of all memory"):
        cases: list[tuple[tuple[int, ...], dict[str, int], float]] = [
            ((100, 16, 0, 10, 16), {"weights_to": 4}, 0.75),
            ((100, 16, 10, 10, 16), {"weights_to": 4}, 0.375),
            ((100, 4, 30, 10, 16), {"cache_to": 8}, 1 - (400 + 2400) / (400 + 4800)),
            ((100, 16, 10, 10, 16), {"weights_to": 8, "cache_to": 8}, 0.5),
            ((100, 16, 10, 10, 16), {}, 0.0),
        ]
        for arguments, to, wanted in cases:
            case = (
                f"saved({', '.join(map(str, arguments))}{''.join(f', {name}={value}' for name, value in to.items())})"
            )
            judge.trying(case)
            judge.close(mine.saved(*arguments, **to), wanted, case=case)
