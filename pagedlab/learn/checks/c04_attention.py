"""Chapter 04: attention over pages, in torch."""

from __future__ import annotations

import math
from types import ModuleType
from typing import Any

from pagedlab.learn.exercise import exercise
from pagedlab.learn.judge import Judge


@exercise(
    "04.gather",
    "Collect the pages",
    difficulty=1,
    minutes=10,
    needs=("torch",),
    hints=(
        "Indexing a tensor with a list of page numbers copies those pages, in the order of the list.",
        "kv[:, pages] is [2, pages, P, D]. Make one row of the two middle dimensions, then cut it to the length.",
        "rows = kv[:, pages].flatten(1, 2)[:, :length]",
    ),
)
def gather(mine: ModuleType, judge: Judge) -> None:
    import torch
    from hypothesis import strategies as st

    def collected(pages: list[int], length: int) -> None:
        kv, keys, values = _written(7, pages, length)
        case = f"pages of 4: gather(kv, {pages}, {length})"
        judge.trying(case)
        found = mine.gather(kv, list(pages), length)
        judge.equal(len(found), 2, case=f"{case}: keys and values")
        for name, theirs, wanted in (("keys", found[0], keys), ("values", found[1], values)):
            judge.equal(tuple(torch.as_tensor(theirs).shape), tuple(wanted.shape), case=f"{case}: shape of {name}")
            at = [int(row[0]) if bool(row.isfinite().all()) else "nan" for row in torch.as_tensor(theirs)]
            rows = {name: [int(row[0]) for row in wanted]}
            judge.equal(at, rows[name], case=f"{case}: {name}", expected_rows=rows, actual_rows={name: at})
            judge.close(theirs, wanted, case=f"{case}: {name}")

    with judge.rule("the pages in the table's order"):
        collected([2, 0], 8)
    with judge.rule("of the last page only what holds tokens"):
        collected([5, 0, 3], 10)
        collected([5], 1)
    with judge.rule("pages that were given in advance are not looked at"):
        collected([5, 0, 3, 6], 8)
        collected([1, 4, 2], 3)
    with judge.rule("any table"):
        pages = st.permutations(range(7)).flatmap(lambda order: st.integers(1, 6).map(lambda n: list(order)[:n]))
        judge.prove(
            lambda table, part: collected(table, max(1, round(part * 4 * len(table)))), pages, st.floats(0.0, 1.0)
        )


@exercise(
    "04.online_softmax",
    "The softmax that never looks back",
    difficulty=2,
    minutes=20,
    needs=("torch",),
    hints=(
        "Begin with largest = -inf, total = 0, acc = zeros. What must happen to total and acc when largest grows?",
        "Both are multiplied by e^(old largest - new largest). Watch -inf - (-inf), which is nan: skip such a score.",
        "before, largest = largest, max(largest, score)\nshrink, weight = math.exp(before - largest), "
        "math.exp(score - largest)\ntotal = total * shrink + weight",
    ),
)
def online_softmax(mine: ModuleType, judge: Judge) -> None:
    import torch
    from hypothesis import strategies as st

    def averaged(scores: list[float], values: list[list[float]], dim: int) -> None:
        pairs = list(zip(scores, map(torch.tensor, values), strict=True))
        case = (
            f"online_softmax of {', '.join(f'({s:g}, {v})' for s, v in zip(scores, values, strict=True)) or 'nothing'}"
        )
        judge.trying(case)
        counts = [(score, value) for score, value in pairs if score > -math.inf]
        wanted = torch.zeros(dim, dtype=torch.float64)
        if counts:
            weights = torch.tensor([score for score, _ in counts], dtype=torch.float64).softmax(0)
            wanted = weights @ torch.stack([value for _, value in counts]).double()
        judge.close(mine.online_softmax(iter(pairs), dim), wanted, case=case)

    with judge.rule("by hand: scores 1, 3, 2 and values 10, 20, 30"):
        averaged([1.0, 3.0, 2.0], [[10.0], [20.0], [30.0]], 1)
    with judge.rule("one value alone is the result, and nothing gives zeros"):
        averaged([-3.0], [[4.0, 5.0]], 2)
        averaged([], [], 2)
    with judge.rule("large scores do not overflow, very small ones do not vanish"):
        averaged([1000.0, 1001.0], [[1.0], [2.0]], 1)
        averaged([1001.0, 1000.0], [[1.0], [2.0]], 1)
        averaged([-1000.0, -1001.0], [[1.0], [2.0]], 1)
    with judge.rule("a score of -inf does not count, whatever its value is and wherever it stands"):
        averaged([-math.inf, 1.0], [[math.nan], [2.0]], 1)
        averaged([1.0, -math.inf, 2.0], [[1.0], [math.inf], [3.0]], 1)
        averaged([-math.inf, -math.inf], [[math.nan], [1.0]], 1)
    with judge.rule("any row of scores"):
        number = st.one_of(st.just(-math.inf), st.floats(-2000, 2000, width=32))
        judge.prove(
            lambda scores: averaged(scores, [[float(at), 1.0] for at in range(len(scores))], 2),
            st.lists(number, max_size=8),
        )


@exercise(
    "04.merge",
    "Merge two partial attentions",
    difficulty=2,
    minutes=20,
    needs=("torch",),
    hints=(
        "It is a softmax over the parts' lse. What do you subtract before you take exponentials?",
        "top = the largest lse; each part's share is e^(lse - top). Leave empty parts out before you multiply.",
        "shares = [(out, math.exp(lse - top)) for out, lse in parts if lse > -math.inf]\n"
        "lse of all = top + math.log(sum of the shares)",
    ),
)
def merge(mine: ModuleType, judge: Judge) -> None:
    import torch
    from hypothesis import strategies as st

    def attended(scores: list[float]) -> tuple[Any, float]:
        """What a worker hands over, its value number i being [i, 1]."""
        if not scores:
            return torch.tensor([math.nan, math.nan]), -math.inf
        row = torch.tensor(scores, dtype=torch.float64)
        values = torch.stack((row, torch.ones(len(row), dtype=torch.float64)), 1)  # so that order cannot matter
        return (row.softmax(0) @ values).float(), float(row.logsumexp(0))

    def merged(*split: list[float]) -> None:
        parts = [attended(scores) for scores in split]
        case = f"merge of the parts with scores {', '.join(map(str, split))}"
        judge.trying(case)
        out, lse = mine.merge(list(parts))
        wanted, wanted_lse = attended([score for scores in split for score in scores])
        if wanted_lse == -math.inf:
            wanted = torch.zeros(2)
        judge.close(out, wanted, case=f"{case}: out")
        judge.close(lse, wanted_lse, case=f"{case}: lse")

    with judge.rule("two parts with one token each"):
        merged([0.0], [0.0])
        merged([1.0], [3.0])
    with judge.rule("a part counts for as much as its exponentials, not for one"):
        merged([1.0, 1.0, 1.0], [1.0])
    with judge.rule("lse is handed on: merged parts can be merged again"):
        case = "merge of (merge of [1.0] and [2.0, 3.0]) and [2.5]"
        judge.trying(case)
        inner = mine.merge([attended([1.0]), attended([2.0, 3.0])])
        judge.close(mine.merge([inner, attended([2.5])])[0], attended([1.0, 2.0, 3.0, 2.5])[0], case=case)
    with judge.rule("large scores do not overflow"):
        merged([1000.0, 1001.0], [1002.0])
        merged([-1000.0], [-1001.0])
        merged([0.0], [1000.0])
    with judge.rule("an empty part changes nothing, wherever it stands"):
        merged([], [1.0, 2.0])
        merged([1.0], [], [2.0])
        merged([], [])
    with judge.rule("any split of any row"):
        scores = st.lists(st.floats(-1000, 1000, width=32), max_size=4)
        judge.prove(lambda split: merged(*split), st.lists(scores, min_size=1, max_size=4))


@exercise(
    "04.paged_attention",
    "Attention where the keys lie",
    difficulty=3,
    minutes=45,
    needs=("torch",),
    hints=(
        "First make it right for R = 1 and H = 1: the loop over pages of 04.online_softmax, with a page in place of a "
        "token. Then let largest, total and acc be [R, Hkv, G] and [R, Hkv, G, D].",
        "Cut the page to its filled slots before you multiply. A slot at position first + s is hidden from row i when "
        "it is larger than length - R + i; the scores of hidden slots are -inf.",
        'scores = torch.einsum("rkgd,ksd->rkgs", queries, keys).masked_fill(hidden[:, None, None], -torch.inf)\n'
        "top = torch.maximum(largest, scores.amax(-1))\n"
        "shrink, weights = (largest - top).exp(), (scores - top[..., None]).exp()",
    ),
)
def paged_attention(mine: ModuleType, judge: Judge) -> None:
    import torch
    from hypothesis import strategies as st

    def attended(rows: int, length: int, heads: tuple[int, int], dim: int = 4, size: int = 4, spare: int = 0) -> None:
        """``heads``: query heads and KV heads. ``spare``: entries of the table past what is needed."""
        torch.manual_seed(rows * 100 + length)
        needed = -(-length // size)
        order = torch.randperm(needed + 3).tolist()
        pages, free = order[:needed], order[needed:]
        kv = torch.full((2, needed + 3, heads[1], size, dim), torch.nan)
        keys, values = torch.randn(2, length, heads[1], dim)
        for position in range(length):
            kv[0, pages[position // size], :, position % size] = keys[position]
            kv[1, pages[position // size], :, position % size] = values[position]
        q = torch.randn(rows, heads[0], dim)
        case = f"{rows} of {length} tokens, {heads[0]} heads over {heads[1]}, pages of {size}: {pages}"
        judge.trying(case)
        found = mine.paged_attention(q.clone(), kv.clone(), pages + free[:spare], length, dim**-0.5)
        wanted = _oracle(q, keys, values, dim**-0.5)
        if isinstance(found, torch.Tensor) and found.shape == wanted.shape and bool(found.isnan().any()):
            judge.wrong(expected="numbers", actual="nan", case=case, why="a slot that nobody has written was read")
        judge.close(found, wanted, case=case, within=1e-4)

    with judge.rule("one token, one head, one full page"):
        attended(1, 4, (1, 1))
        attended(1, 1, (1, 1))
    with judge.rule("several pages, the last one partly filled: poison stays where it is"):
        attended(1, 10, (1, 1))
        attended(1, 9, (2, 2))
    with judge.rule("entries of the table past the end are not followed"):
        attended(1, 8, (1, 1), spare=2)
    with judge.rule("query heads share KV heads: the first G read the first"):
        attended(1, 7, (6, 2))
    with judge.rule("several rows, each up to its own position and no further"):
        attended(2, 10, (1, 1))
        attended(10, 10, (2, 1))
        attended(5, 6, (4, 2))
    with judge.rule("large scores do not overflow"):
        torch.manual_seed(0)
        q, kv = 200 * torch.ones(1, 1, 4), torch.ones(2, 2, 1, 4, 4)
        judge.trying("queries of 200, keys of 1")
        judge.close(mine.paged_attention(q, kv, [1, 0], 6, 1.0), torch.ones(1, 1, 4), case="queries of 200, keys of 1")
    with judge.rule("any shape"):
        judge.prove(
            lambda length, back, kv_heads, group, size: attended(
                max(1, length - back), length, (kv_heads * group, kv_heads), 3, size, back % 3
            ),
            st.integers(1, 20),
            st.integers(0, 20),
            st.integers(1, 3),
            st.integers(1, 3),
            st.integers(1, 6),
            examples=60,
        )


@exercise(
    "04.window",
    "A window, and the pages behind it",
    difficulty=2,
    minutes=20,
    needs=("torch",),
    hints=(
        "Which is the first position that the token at `position` still sees? Which page is it on?",
        "Everything on the pages before that one is behind. Look only at positions from there to `position`, one by "
        "one or as a tensor.",
        "first = max(0, position - window + 1)\nfor seen in range(first, position + 1):\n"
        "    key, value = kv[:, pages[seen // size], seen % size]",
    ),
)
def window(mine: ModuleType, judge: Judge) -> None:
    import torch
    from hypothesis import strategies as st

    with judge.rule("pages that nobody sees any more are behind"):
        for position, size, reach, wanted in ((21, 4, 7, 3), (5, 4, 100, 0), (7, 4, 4, 1), (6, 4, 4, 0), (9, 1, 1, 9)):
            case = f"num_behind({position}, page_size={size}, window={reach})"
            judge.trying(case)
            judge.equal(mine.num_behind(position, size, reach), wanted, case=case)

    def attended(position: int, size: int, reach: int) -> None:
        torch.manual_seed(position)
        first, dim = max(0, position - reach + 1), 3
        pages = list(range(position // size + 2))[::-1]
        kv = torch.full((2, len(pages), size, dim), torch.nan)
        keys, values = torch.randn(2, position + 1, dim)
        for seen in range(first, position + 1):
            kv[0, pages[seen // size], seen % size] = keys[seen]
            kv[1, pages[seen // size], seen % size] = values[seen]
        behind = first // size
        table = [-1] * behind + pages[behind : position // size + 1]
        query = torch.randn(dim)
        case = f"position {position}, window {reach}, pages of {size}, table {table}"
        judge.trying(case)
        found = mine.attend(query, kv, table, position, reach, 0.5)
        wanted = (0.5 * keys[first:].double() @ query.double()).softmax(0) @ values[first:].double()
        if isinstance(found, torch.Tensor) and found.shape == wanted.shape and bool(found.isnan().any()):
            judge.wrong(expected="numbers", actual="nan", case=case, why="something outside the window was read")
        judge.close(found, wanted, case=case)

    with judge.rule("a window longer than the context: all of it is seen"):
        attended(5, 4, 100)
        attended(0, 4, 1)
    with judge.rule("only the window is seen: what is behind may be gone, what comes after is nobody's"):
        attended(21, 4, 7)
        attended(8, 4, 1)
    with judge.rule("any position, page size and window"):
        judge.prove(attended, st.integers(0, 30), st.integers(1, 6), st.integers(1, 12))


def _written(num_pages: int, pages: list[int], length: int) -> tuple[Any, Any, Any]:
    """Memory ``[2, N, 4, 2]`` of poison with ``length`` tokens on ``pages``; their keys and values. A key begins with
    its position, a value with its position + 100."""
    import torch

    kv = torch.full((2, num_pages, 4, 2), torch.nan)
    keys = torch.stack((torch.arange(length), torch.arange(length) % 3), 1).float()
    values = keys + 100
    for position in range(length):
        kv[0, pages[position // 4], position % 4] = keys[position]
        kv[1, pages[position // 4], position % 4] = values[position]
    return kv, keys, values


def _oracle(q: Any, keys: Any, values: Any, scale: float) -> Any:
    """The formula in float64, row by row and head by head."""
    import torch

    out = torch.empty(q.shape, dtype=torch.float64)
    (rows, heads, _), length, group = q.shape, keys.shape[0], q.shape[1] // keys.shape[1]
    for row in range(rows):
        seen = length - rows + row + 1
        for head in range(heads):
            scores = scale * keys[:seen, head // group].double() @ q[row, head].double()
            out[row, head] = scores.softmax(0) @ values[:seen, head // group].double()
    return out
