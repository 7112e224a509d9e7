"""Chapter 05: Triton kernels, run by Triton's interpreter. Tensors are tiny: every lane is Python."""

from __future__ import annotations

import math
from types import ModuleType

from pagedlab.learn.exercise import exercise
from pagedlab.learn.judge import Judge

NEEDS = ("torch", "triton")


@exercise(
    "05.tile",
    "Load a tile",
    difficulty=1,
    minutes=20,
    needs=NEEDS,
    hints=(
        "Which rows are this program's? Which columns? Those are two rows of lanes; together they make a tile.",
        "rows[:, None] * row_stride + columns[None, :] are the offsets of a tile. The mask has the same shape, and "
        "goes to the load and to the store.",
        "there = (rows[:, None] < num_rows) & (columns[None, :] < num_columns)\n"
        "tile = tl.load(x_ptr + rows[:, None] * row_stride + columns[None, :], mask=there)",
    ),
)
def tile(mine: ModuleType, judge: Judge) -> None:
    import torch

    def copied(rows: int, columns: int, stride: int, block: int = 2) -> None:
        memory = torch.full((rows * stride + 8,), torch.nan)
        x = memory.as_strided((rows, columns), (stride, 1))
        x.copy_(torch.arange(rows * columns).reshape(rows, columns))
        case = f"{rows} × {columns} numbers, rows {stride} apart, {block} rows a program"
        judge.trying(case)
        judge.close(mine.copy(x, block), x.clone(), case=case)

    with judge.rule("one tile that is full"):
        copied(2, 4, 4)
    with judge.rule("several programs, each with its own rows"):
        copied(6, 2, 2)
        copied(4, 4, 4, 1)
    with judge.rule("rows that lie apart"):
        copied(4, 4, 7)
    with judge.rule("the matrix ends inside the tile, below and to the right"):
        copied(5, 4, 4)
        copied(2, 3, 3)
        copied(5, 3, 5, 4)
    with judge.rule("nothing is written past the end"):
        judge.trying("the kernel on a matrix of 3 × 3, its result inside a larger memory")
        memory, x = torch.full((16,), -1.0), torch.ones(3, 3)
        mine.copy_kernel[(2,)](memory, x, 3, 3, 3, ROWS=2, COLUMNS=4)
        judge.close(memory, torch.tensor([1.0] * 9 + [-1.0] * 7), case="3 × 3 ones into memory of -1")


@exercise(
    "05.write_kv",
    "Write where it belongs",
    difficulty=2,
    minutes=25,
    needs=NEEDS,
    hints=(
        "Load the slot of this program's token. What are its page and its offset?",
        "Keys and values have the same address but for which * num_pages * HEADS * P * D in front. Skip a slot of -1.",
        "target = ((page * HEADS + head) * P + offset) * D + d\n"
        "tl.store(kv_ptr + target, tl.load(key_ptr + (token * HEADS + head) * D + d))",
    ),
)
def write_kv(mine: ModuleType, judge: Judge) -> None:
    import torch

    def written(slots: list[int], heads: int = 1, size: int = 4, pages: int = 3) -> None:
        torch.manual_seed(len(slots))
        memory = torch.full(
            (2 * pages * heads * size * 2 + 512,), -1.0
        )  # with room around it, for a slot that is wrong
        kv = memory[256:-256].view(2, pages, heads, size, 2)
        key, value = torch.rand(2, len(slots), heads, 2)
        wanted = kv.clone()
        for token, slot in enumerate(slots):
            if slot >= 0:
                wanted[0, slot // size, :, slot % size] = key[token]
                wanted[1, slot // size, :, slot % size] = value[token]
        case = f"slots {slots}, pages of {size}, {heads} heads"
        judge.trying(case)
        mine.write(kv, key, value, torch.tensor(slots))
        for name, which in (("keys", 0), ("values", 1)):
            full = [int((one[which, :, 0, :, 0] >= 0).sum()) for one in (kv, wanted)]
            judge.equal(full[0], full[1], case=f"{case}: slots that hold {name}")
            judge.close(kv[which], wanted[which], case=f"{case}: {name}")

    with judge.rule("one token in the first slot"):
        written([0])
    with judge.rule("page and offset from the slot"):
        written([6])
        written([11, 4])
    with judge.rule("every head its own tile"):
        written([5, 2], heads=3)
    with judge.rule("a slot of -1 writes nothing"):
        written([3, -1, 7])
        written([-1])
    with judge.rule("pages of any size"):
        written([0, 5, 14], heads=2, size=5)
        written([2], size=1)


@exercise(
    "05.decode",
    "A decode kernel",
    difficulty=3,
    minutes=60,
    needs=NEEDS,
    seconds=40.0,
    after=("04.paged_attention",),
    hints=(
        "First load the page's number from the table, then its tile of keys: what is the address of slot s, number d?",
        "tile = ((page * HEADS + head) * P + slot)[:, None] * D + d[None, :]; values lie num_pages * HEADS * P * D "
        "further on. Mask both loads by logical * P + slot < length, with other=0.0.",
        "scores = scale * tl.sum(q[:, None, :] * keys[None, :, :], 2)\n"
        'scores = tl.where(there[None, :], scores, float("-inf"))\n'
        "acc = acc * shrink[:, None] + tl.sum(weights[:, :, None] * values[None, :, :], 1)",
    ),
)
def decode(mine: ModuleType, judge: Judge) -> None:
    import torch

    def decoded(lengths: list[int], heads: int = 1, group: int = 1, size: int = 4, dim: int = 4) -> None:
        torch.manual_seed(sum(lengths))
        needed = [-(-length // size) for length in lengths]
        order = torch.randperm(sum(needed) + 1).tolist()
        kv = torch.full((2, len(order), heads, size, dim), torch.nan)
        tables = torch.full((len(lengths), max(needed)), order[-1], dtype=torch.int32)  # that page is poison
        rows = torch.randn(2, sum(lengths), heads, dim)
        q, at = torch.randn(len(lengths), heads * group, dim), 0
        wanted = torch.empty(q.shape, dtype=torch.float64)
        for number, length in enumerate(lengths):
            own = rows[:, sum(lengths[:number]) : sum(lengths[:number]) + length]
            for position in range(length):
                page = order[at + position // size]
                tables[number, position // size] = page
                kv[:, page, :, position % size] = own[:, position]
            at += needed[number]
            for head in range(heads * group):
                scores = 0.5 * own[0, :, head // group].double() @ q[number, head].double()
                wanted[number, head] = scores.softmax(0) @ own[1, :, head // group].double()
        case = f"contexts of {lengths} tokens, {heads * group} heads over {heads}, pages of {size}"
        judge.trying(case)
        found = mine.decode(q, kv, tables, torch.tensor(lengths, dtype=torch.int32), 0.5)
        if bool(found.isnan().any()):
            judge.wrong(expected="numbers", actual="nan", case=case, why="a slot that nobody has written was read")
        judge.close(found, wanted, case=case, within=1e-4)

    with judge.rule("one full page, one head"):
        decoded([4])
    with judge.rule("several pages, found through the table"):
        decoded([12])
    with judge.rule("the last page is not full: poison stays where it is"):
        decoded([1])
        decoded([6])
    with judge.rule("sequences of different lengths, each with its own row of the table"):
        decoded([5, 9, 2])
    with judge.rule("heads: KV heads apart, query heads of a group together"):
        decoded([6], heads=2)
        decoded([6, 3], heads=2, group=2)
        decoded([5], group=4, size=8, dim=2)
    with judge.rule("large scores do not overflow"):
        judge.trying("queries of 300, keys of 1")
        q, kv = torch.full((1, 1, 4), 300.0), torch.ones(2, 2, 1, 4, 4)
        tables, lens = torch.tensor([[1, 0]], dtype=torch.int32), torch.tensor([6], dtype=torch.int32)
        judge.close(mine.decode(q, kv, tables, lens, 1.0), torch.ones(1, 1, 4), case="queries of 300, keys of 1")


@exercise(
    "05.merge_splits",
    "Merge the splits",
    difficulty=2,
    minutes=25,
    needs=NEEDS,
    after=("04.merge",),
    hints=(
        "Three rows of lanes: this program's row, the splits, the numbers of a head.",
        "Load lse with other=-inf, so that lanes which are not there weigh nothing. An empty split's result may be "
        "nan: do not load it.",
        'lse = tl.load(lse_ptr + row * num_splits + s, mask=s < num_splits, other=float("-inf"))\n'
        "weights = tl.exp(lse - tl.max(lse, 0))\nparts = tl.load(…, mask=(weights > 0)[:, None], other=0.0)",
    ),
)
def merge_splits(mine: ModuleType, judge: Judge) -> None:
    import torch

    def merged(lse: list[list[float]]) -> None:
        torch.manual_seed(1)
        scores = torch.tensor(lse)
        parts = torch.randn(*scores.shape, 4).masked_fill((scores == -math.inf)[..., None], torch.nan)
        weights = scores.double().softmax(1)
        wanted = (weights[..., None] * parts.double().nan_to_num()).sum(1)
        case = f"lse {lse}"
        judge.trying(case)
        judge.close(mine.merge(parts, scores), wanted, case=case)

    with judge.rule("two splits"):
        merged([[0.0, 0.0]])
        merged([[1.0, 3.0]])
    with judge.rule("a number of splits that is no power of two"):
        merged([[0.5, 1.0, -1.0]])
        merged([[2.0]])
    with judge.rule("every row its own weights"):
        merged([[0.0, 1.0], [3.0, 2.0], [0.0, 0.0]])
        merged([[0.0, 1.0, 2.0], [3.0, 2.0, 5.0]])
    with judge.rule("an empty split changes nothing, even when it left nan"):
        merged([[1.0, -math.inf]])
        merged([[-math.inf, 0.0, -math.inf]])
    with judge.rule("large scores do not overflow"):
        merged([[1000.0, 1001.0]])
        merged([[-1000.0, -1001.0]])


@exercise(
    "05.splits",
    "How many splits",
    difficulty=1,
    minutes=15,
    hints=(
        "Two upper bounds, and a lower one of 1.",
        "divmod(pages, splits) gives everybody's share and how many get one page more.",
        "share, more = divmod(pages, splits)\nstart = split * share + min(split, more)",
    ),
)
def splits(mine: ModuleType, judge: Judge) -> None:
    from hypothesis import strategies as st

    def counted(sequences: int, heads: int, pages: int, processors: int, waves: int = 2, least: int = 4) -> None:
        case = f"number_of_splits({sequences}, {heads}, {pages}, {processors}, waves={waves}, least={least})"
        judge.trying(case)
        wanted = max(1, min(processors * waves // (sequences * heads), pages // least))
        found = mine.number_of_splits(sequences, heads, pages, processors, waves=waves, least=least)
        judge.equal(found, wanted, case=case)

    with judge.rule("one long request on 132 processors: 33 splits"):
        counted(1, 8, 1000, 132)
    with judge.rule("a short context has few pages to share out"):
        counted(1, 8, 20, 132)
        counted(1, 8, 3, 132)
        counted(1, 8, 0, 132)
    with judge.rule("programs enough without splits"):
        counted(64, 8, 1000, 132)
    with judge.rule("any machine"):
        number = st.integers(1, 40)
        judge.prove(
            lambda sequences, heads, pages, processors, waves, least: counted(
                sequences, heads, pages, processors, waves, least
            ),
            *(number, number, st.integers(0, 200), st.integers(1, 200), st.integers(1, 4), st.integers(1, 8)),
        )
    with judge.rule("each page in one split, shares that differ by one page at most, the larger ones first"):
        for pages, parts in ((10, 3), (4, 4), (3, 5), (100, 7), (0, 2)):
            case = f"pages_of_split({pages}, {parts}, …)"
            judge.trying(case)
            shares = [list(mine.pages_of_split(pages, parts, split)) for split in range(parts)]
            judge.row([page for share in shares for page in share], list(range(pages)), case, "pages")
            sizes = [pages // parts + (split < pages % parts) for split in range(parts)]
            judge.row([len(share) for share in shares], sizes, case, "shares")
