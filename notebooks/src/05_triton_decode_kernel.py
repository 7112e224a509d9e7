# %% [markdown]
# # 05 · The Triton decode kernel
#
# **The idea in a line:** the same attention as in 04, one program per tile: each walker becomes a program on a GPU, each page that it visits a load.
#
# **Afterwards you can**
# - write a Triton kernel that reads keys and values through a page table, and say what every line of it is for;
# - watch which program read which bytes, and hold the count against the formula;
# - find the loads, the matrix products and the registers in what the compiler made of it, without a GPU;
# - place decode on a GPU's roofline, and say why a faster matrix unit would not help it.
#
# **Time:** 75–90 minutes. **Needs:** Linux (elsewhere there is no Triton, and the chapter can be read), no GPU; [04 · attention over pages](04_attention_over_pages.ipynb) for the online softmax and the merge.

# %% [markdown]
# Triton compiles Python functions for GPUs. It can also *interpret* them: each program runs as ordinary Python, one after the other, on any machine. It decides which when it is imported, so the wish must be there before.

# %%
import os

os.environ["TRITON_INTERPRET"] = "1"  # before anything imports Triton

import inspect
import json
import re
from pathlib import Path

import torch
import triton
import triton.language as tl

from pagedlab.arithmetic import MACHINES, StepCost, ridge_point
from pagedlab.learn import check
from pagedlab.view.figures import draw_roofline, new_figure, show
from pagedlab.view.kernel_player import KernelPlayer
from pagedlab.view.kernel_svg import KernelFilm, kernel_svg
from pagedlab.view.palette import GUIDE, OWNERS
from pagedlab_kernels.paged_decode import decode_constants, paged_decode, paged_decode_kernel
from pagedlab_kernels.trace_kernel import trace_kernel

print("interpreted:", bool(triton.knobs.runtime.interpret))

# %% [markdown]
# ## 1 · A program and its lanes
#
# A kernel is launched as a **grid** of programs. All run the same lines; the only thing that tells them apart is `tl.program_id`. A program works on whole blocks of numbers at once, its *lanes*, a power of two of them, and a **mask** says which lanes may touch memory.


# %%
@triton.jit
def sign_kernel(out_ptr, n, BLOCK: tl.constexpr):
    """Every program writes its own number over its share of ``out: [n]``."""
    program = tl.program_id(0)
    i = program * BLOCK + tl.arange(0, BLOCK)
    tl.store(out_ptr + i, program, mask=i < n)


out = torch.full((12,), -1, dtype=torch.int32)
sign_kernel[(3,)](out, 10, BLOCK=4)
print(out.tolist())

# %% [markdown]
# Ten numbers in blocks of four are three programs; in the last one two lanes have nothing to do. Without the mask they would have written over the two −1, which belong to somebody else. Loads work the same way: an *array of addresses* goes in, an array of numbers comes out. Here one program sums the rows of a page of four tokens; check the first by hand.


# %%
@triton.jit
def row_sums_kernel(page_ptr, out_ptr, filled, P: tl.constexpr, D: tl.constexpr):
    """``page: [P, D]`` -> the sum of each of its first ``filled`` rows."""
    slot, d = tl.arange(0, P), tl.arange(0, D)
    at = slot[:, None] * D + d[None, :]  # [P, D] addresses, counted in numbers
    rows = tl.load(page_ptr + at, mask=(slot < filled)[:, None], other=0.0)
    tl.store(out_ptr + slot, tl.sum(rows, 1), mask=slot < filled)


page = torch.arange(16.0).view(4, 4)
page[3] = torch.nan  # nobody has written this slot
sums = torch.full((4,), -1.0)
row_sums_kernel[(1,)](page, sums, 3, P=4, D=4)
print("0 + 1 + 2 + 3 =", sums[0].item(), "· all:", sums.tolist())

# %% [markdown]
# `trace_kernel` watches an interpreted kernel: every load and store, of every program, with its addresses. Nothing in the kernel changes.

# %%
with trace_kernel(page=page, sums=sums) as trace:
    row_sums_kernel[(1,)](page, sums, 3, P=4, D=4)
for _, program, access in trace.walk():
    print(f"program {program.id}: {access.kind} {access.tensor}, numbers {access.elements}")
print("lanes that asked for nothing:", [access.masked for _, _, access in trace.walk()])

# %% [markdown]
# ### Exercise 05.tile · Load a tile (●○○, 20 min)
# The first kernel of your own, in `exercises/05_triton_decode_kernel/tile.py`: it copies a matrix tile by tile. The check runs it in the interpreter, as everything here.

# %%
check("05.tile")

# %% [markdown]
# <div class="alert alert-block alert-success"><b>Takeaway 1.</b> A program is told apart by its number only. It computes addresses, loads blocks under a mask, and stores blocks under a mask. What is masked out is not touched.</div>
#
# ## 2 · Memory full of poison
#
# Our world: two sequences of 40 and 21 tokens, on pages of 8 slots in a memory of 12 pages; two KV heads, and three query heads on each of them. Every number that no token wrote is *not a number*, and what a table does not use is −1.

# %%
torch.manual_seed(5)
group, kv_heads, dim, page_size, num_pages = 3, 2, 16, 8, 12
lengths = torch.tensor([40, 21], dtype=torch.int32)
tables = torch.tensor([[7, 2, 9, 0, 4], [10, 5, 1, -1, -1]], dtype=torch.int32)

kv = torch.full((2, num_pages, kv_heads, page_size, dim), torch.nan)
for table, length in zip(tables.tolist(), lengths.tolist()):
    for token in range(length):
        kv[:, table[token // page_size], :, token % page_size] = torch.randn(2, kv_heads, dim)
q = torch.randn(2, kv_heads * group, dim)
print(f"of {kv.numel():,} numbers {kv.isnan().sum().item():,} are poison")

# %% [markdown]
# What is right, we know from chapter 04: gather, then softmax. Here in float64; every kernel below has to agree with it to 0.00001.


# %%
def gathered(q, kv, tables, lengths):
    """Attention of one query row a sequence, ``q: [B, H, D]`` -> ``[B, H, D]`` float64."""
    out, (_, _, kv_heads, size, dim) = torch.empty(q.shape, dtype=torch.float64), kv.shape
    for b, length in enumerate(lengths.tolist()):
        pages = tables[b, : -(-length // size)].long()
        keys, values = kv[:, pages].double().transpose(1, 2).flatten(2, 3)[:, :, :length]
        queries = q[b].double().view(kv_heads, -1, dim)
        weights = (queries @ keys.transpose(1, 2) * dim**-0.5).softmax(2)
        out[b] = (weights @ values).flatten(0, 1)
    return out


expected = gathered(q, kv, tables, lengths)


def verdict(out):
    error = (out.double() - expected).abs().amax((1, 2))
    return ["right" if e < 1e-5 else "not a number" if e.isnan() else "wrong" for e in error]


print("the reference:", verdict(expected), "· zeros would be", verdict(torch.zeros_like(q)))

# %% [markdown]
# ## 3 · One program a sequence and KV head
#
# The heart is a load through the page table: token t stands in page `table[t // P]`, slot `t % P`, so the *page numbers* are loaded first, one a token, and from them come the addresses of the keys. These two dependent loads are all that paging costs.
#
# The queries of a group share everything, so one program serves all three. Matrix units want at least 16 rows; a mask keeps the 13 that are missing from being loaded or stored.


# %%
@triton.jit
def load_vectors(base_ptr, table_ptr, token, there, D: tl.constexpr, P: tl.constexpr):
    """Keys (or values) of some tokens of this program's KV head, [tokens, D]."""
    kv_head, num_kv_heads = tl.program_id(1), tl.num_programs(1)
    page = tl.load(table_ptr + token // P, mask=there, other=0)
    row = (page * num_kv_heads + kv_head) * P + token % P
    at = row[:, None] * D + tl.arange(0, D)[None, :]
    return tl.load(base_ptr + at, mask=there[:, None], other=0.0)


@triton.jit
def load_group(q_ptr, G: tl.constexpr, D: tl.constexpr):
    """This program's queries, [16, D]; where they lie in [B, H, D]; which are there."""
    sequence, kv_head, num_kv_heads = tl.program_id(0), tl.program_id(1), tl.num_programs(1)
    g = tl.arange(0, 16)
    head = (sequence * num_kv_heads + kv_head) * G + g
    rows, in_group = head[:, None] * D + tl.arange(0, D)[None, :], (g < G)[:, None]
    return tl.load(q_ptr + rows, mask=in_group, other=0.0), rows, in_group


print("kv is [2, pages, KV heads, slots, D] =", list(kv.shape), "· rows:", group, "of 16")

# %% [markdown]
# Now the simplest kernel: the whole context as a single block of `LONGEST` tokens. For a lesson it has a switch: with `WHOLE_PAGES` it reads each page to its end, "as the bytes are there anyway", and leaves it to the scores to hide what is past the last token.


# %%
@triton.jit
def whole_kernel(
    q_ptr, keys_ptr, values_ptr, table_ptr, length_ptr, out_ptr, scale, stride,
    G: tl.constexpr, D: tl.constexpr, P: tl.constexpr,
    LONGEST: tl.constexpr, WHOLE_PAGES: tl.constexpr,
):  # fmt: skip
    table_ptr += tl.program_id(0) * stride
    length = tl.load(length_ptr + tl.program_id(0))
    token = tl.arange(0, LONGEST)
    there = token < (tl.cdiv(length, P) * P if WHOLE_PAGES else length)

    q, rows, in_group = load_group(q_ptr, G, D)
    keys = load_vectors(keys_ptr, table_ptr, token, there, D, P)
    values = load_vectors(values_ptr, table_ptr, token, there, D, P)

    scores = tl.dot(q, tl.trans(keys)) * scale
    scores = tl.where((token < length)[None, :], scores, float("-inf"))
    weights = tl.exp(scores - tl.max(scores, 1)[:, None])
    mean = tl.dot(weights, values) / tl.sum(weights, 1)[:, None]
    tl.store(out_ptr + rows, mean, mask=in_group)


print("programs: one for each of", 2, "sequences ×", kv_heads, "KV heads")


# %%
def launch(kernel, grid, **constants):
    out = torch.full_like(q, torch.nan)
    kernel[grid](
        q, *kv, tables, lengths, out, dim**-0.5, tables.stride(0),
        G=group, D=dim, P=page_size, **constants,
    )  # fmt: skip
    return out


out = launch(whole_kernel, (2, kv_heads), LONGEST=64, WHOLE_PAGES=False)
print("sequence 0 and 1:", verdict(out))
out = launch(whole_kernel, (2, kv_heads), LONGEST=64, WHOLE_PAGES=True)
print("with whole pages:", verdict(out))

# %% [markdown]
# Sequence 0 fills its five pages; sequence 1 leaves three slots of its last one empty. Their weight is exactly 0, but 0 × nan is nan, so what is past the end must not be *loaded*.
#
# ### Exercise 05.write_kv · Write where it belongs (●●○, 25 min)
# Before keys can be read they must be written: a kernel that puts each new token into its slot, in `exercises/05_triton_decode_kernel/write_kv.py`.

# %%
check("05.write_kv")

# %% [markdown]
# ## 4 · Tile by tile
#
# A block of 64 tokens fits into the registers of one program, 100,000 do not. So the program walks: a **tile** of 16 tokens at a time. At first as in section 4 of chapter 04, in two walks: one for the sum of the exponentials, one for the values.


# %%
@triton.jit
def two_walks_kernel(
    q_ptr, keys_ptr, values_ptr, table_ptr, length_ptr, out_ptr, scale, stride,
    G: tl.constexpr, D: tl.constexpr, P: tl.constexpr, TILE: tl.constexpr):  # fmt: skip
    table_ptr += tl.program_id(0) * stride
    length = tl.load(length_ptr + tl.program_id(0))
    q, rows, in_group = load_group(q_ptr, G, D)
    largest = tl.full([16], float("-inf"), tl.float32)
    total, acc = tl.zeros([16], tl.float32), tl.zeros([16, D], tl.float32)
    for walk in range(2):
        for first in range(0, length, TILE):
            token = first + tl.arange(0, TILE)
            there = token < length
            keys = load_vectors(keys_ptr, table_ptr, token, there, D, P)
            scores = tl.dot(q, tl.trans(keys)) * scale + tl.where(there, 0.0, float("-inf"))
            if walk == 0:
                largest = tl.maximum(largest, tl.max(scores, 1))
            else:
                weights = tl.exp(scores - largest[:, None])
                values = load_vectors(values_ptr, table_ptr, token, there, D, P)
                total, acc = total + tl.sum(weights, 1), acc + tl.dot(weights, values)
    tl.store(out_ptr + rows, acc / total[:, None], mask=in_group)


print(verdict(launch(two_walks_kernel, (2, kv_heads), TILE=16)))

# %% [markdown]
# It is right. What does it cost? The trace counts how often each byte of the pages was asked for, and we hold it against what must be read: for each token and KV head a key and a value of D numbers.

# %%
must = 2 * int(lengths.sum()) * kv_heads * dim * kv.element_size()
with trace_kernel(kv=kv, tables=tables) as two_walks:
    launch(two_walks_kernel, (2, kv_heads), TILE=16)
traffic = two_walks.traffic("kv")
print("must be read:", must, "bytes · was read:", traffic.bytes, "bytes")
print("so often → so many bytes:", traffic.times)
print("accesses outside of every tensor:", len(two_walks.strays()))

# %% [markdown]
# ## 5 · One walk: the online softmax
#
# Chapter 04's three numbers, `largest`, `total` and `acc`, for 16 rows at once. When a tile brings a larger score, what was summed so far shrinks by e^(old − new).


# %%
@triton.jit
def add_tile(q, keys, values, seen, scale, largest, total, acc):
    """The state after one more tile: section 6 of chapter 04, in Triton."""
    scores = tl.where(seen[None, :], tl.dot(q, tl.trans(keys)) * scale, float("-inf"))
    new_largest = tl.maximum(largest, tl.max(scores, 1))
    weights = tl.exp(scores - new_largest[:, None])
    shrink = tl.exp(largest - new_largest)
    acc = acc * shrink[:, None] + tl.dot(weights, values)
    return new_largest, total * shrink + tl.sum(weights, 1), acc


print("state of a program:", 16 + 16 + 16 * dim, "numbers, whatever the context")


# %%
@triton.jit
def one_walk_kernel(
    q_ptr, keys_ptr, values_ptr, table_ptr, length_ptr, out_ptr, scale, stride,
    G: tl.constexpr, D: tl.constexpr, P: tl.constexpr, TILE: tl.constexpr):  # fmt: skip
    table_ptr += tl.program_id(0) * stride
    length = tl.load(length_ptr + tl.program_id(0))
    q, rows, in_group = load_group(q_ptr, G, D)
    largest = tl.full([16], float("-inf"), tl.float32)
    total, acc = tl.zeros([16], tl.float32), tl.zeros([16, D], tl.float32)
    for first in range(0, length, TILE):
        token = first + tl.arange(0, TILE)
        there = token < length
        keys = load_vectors(keys_ptr, table_ptr, token, there, D, P)
        values = load_vectors(values_ptr, table_ptr, token, there, D, P)
        largest, total, acc = add_tile(q, keys, values, there, scale, largest, total, acc)
    tl.store(out_ptr + rows, acc / total[:, None], mask=in_group)


with trace_kernel(kv=kv, tables=tables) as one_walk:
    print(verdict(launch(one_walk_kernel, (2, kv_heads), TILE=16)))
traffic = one_walk.traffic("kv")
print("was read:", traffic.bytes, "of", must, "· so often:", traffic.times)

# %% [markdown]
# ### Exercise 05.decode · A decode kernel (●●●, 60 min)
# Now the whole walk, in `exercises/05_triton_decode_kernel/decode.py`: pages through the table, masked loads, the online softmax, a group of heads at once.

# %%
check("05.decode")

# %% [markdown]
# <div class="alert alert-block alert-success"><b>Takeaway 2.</b> Every byte of the cache is read once, and no byte that is not of the cache. For a kernel that waits for memory this is all that can be done about the amount; what is left is to keep the memory busy.</div>
#
# ## 6 · Split and merge
#
# One program a KV head: a single sequence on 8 KV heads keeps 8 of an H100's 132 processors awake. So the grid gets a third number, the **split**. Each program takes a share of the tiles and leaves its mean and its lse; a second kernel weighs the means.


# %%
@triton.jit
def split_kernel(
    q_ptr, keys_ptr, values_ptr, table_ptr, length_ptr, means_ptr, lse_ptr, scale, stride,
    G: tl.constexpr, D: tl.constexpr, P: tl.constexpr, TILE: tl.constexpr):  # fmt: skip
    split, num_splits = tl.program_id(2), tl.num_programs(2)
    table_ptr += tl.program_id(0) * stride
    length = tl.load(length_ptr + tl.program_id(0))
    share = tl.cdiv(tl.cdiv(length, num_splits), TILE) * TILE  # whole tiles
    q, _, _ = load_group(q_ptr, G, D)
    largest = tl.full([16], float("-inf"), tl.float32)
    total, acc = tl.zeros([16], tl.float32), tl.zeros([16, D], tl.float32)
    for first in range(split * share, tl.minimum((split + 1) * share, length), TILE):
        token = first + tl.arange(0, TILE)
        there = token < length
        keys = load_vectors(keys_ptr, table_ptr, token, there, D, P)
        values = load_vectors(values_ptr, table_ptr, token, there, D, P)
        largest, total, acc = add_tile(q, keys, values, there, scale, largest, total, acc)
    leave_split(means_ptr, lse_ptr, split, num_splits, (largest, total, acc), G, D)


print("a program is now (sequence, KV head, split)")


# %% [markdown]
# What a split leaves: its mean, and lse = largest + log total. An empty split has seen nothing, total = 0: it must leave a *finite* mean and lse = −∞, or 0 × nan poisons the merge.


# %%
@triton.jit
def leave_split(means_ptr, lse_ptr, split, num_splits, state, G: tl.constexpr, D: tl.constexpr):
    """Into means: [B, H, splits, D] and lse: [B, H, splits]."""
    largest, total, acc = state
    g, d = tl.arange(0, 16), tl.arange(0, D)
    head = (tl.program_id(0) * tl.num_programs(1) + tl.program_id(1)) * G + g
    at = head * num_splits + split
    found = tl.where(total > 0, total, 1.0)
    mean_at = means_ptr + at[:, None] * D + d[None, :]
    tl.store(mean_at, acc / found[:, None], mask=(g < G)[:, None])
    lse = tl.where(total > 0, largest + tl.log(found), float("-inf"))
    tl.store(lse_ptr + at, lse, mask=g < G)


print("what a split leaves for a query head:", dim, "+ 1 numbers")


# %%
@triton.jit
def merge_kernel(means_ptr, lse_ptr, out_ptr, splits, D: tl.constexpr, SPLITS: tl.constexpr):
    """One program a query head: the softmax over splits weighs their means."""
    head, split, d = tl.program_id(0), tl.arange(0, SPLITS), tl.arange(0, D)
    there = split < splits
    lse = tl.load(lse_ptr + head * splits + split, mask=there, other=float("-inf"))
    at = (head * splits + split)[:, None] * D + d[None, :]
    means = tl.load(means_ptr + at, mask=there[:, None], other=0.0)
    share = tl.exp(lse - tl.max(lse, 0))
    tl.store(out_ptr + head * D + d, tl.sum(means * (share / tl.sum(share, 0))[:, None], 0))


print("one idea: a softmax of softmaxes")

# %%
num_splits = 4
means = torch.full((2, kv_heads * group, num_splits, dim), torch.nan)
lse = torch.full(means.shape[:3], torch.nan)
out = torch.full_like(q, torch.nan)
with trace_kernel(kv=kv, tables=tables) as split_trace:
    split_kernel[(2, kv_heads, num_splits)](
        q, *kv, tables, lengths, means, lse, dim**-0.5, tables.stride(0),
        G=group, D=dim, P=page_size, TILE=16,
    )  # fmt: skip
    merge_kernel[(2 * kv_heads * group,)](means, lse, out, num_splits, D=dim, SPLITS=4)
print(verdict(out), "· pages read so often:", split_trace.traffic("kv").times)
print("shares of the splits, sequence 0:", [round(x, 2) for x in lse[0, 0].softmax(0).tolist()])
print("shares of the splits, sequence 1:", [round(x, 2) for x in lse[1, 0].softmax(0).tolist()])

# %% [markdown]
# Forty tokens are three tiles and 21 are two, so of four splits one or two stay empty: their share is 0, and nothing else happened. What the splits cost is written between the two kernels:

# %%
written, read = split_trace.bytes_by_tensor("store"), split_trace.bytes_by_tensor("load")
for name in ("means_ptr", "lse_ptr"):
    print(f"{name:>9}: {written[name]:5,} bytes written, {read[name]:5,} read again")
long = 2 * 4096 * dim * 4  # one split of 4,096 tokens, one KV head
left = group * (dim + 1) * 4
print(f"a split of 4,096 tokens reads {long:,} bytes, leaves {left}: {100 * left / long:.2f} %")

# %% [markdown]
# ### Exercise 05.splits · How many splits (●○○, 15 min)
# How many splits, and whose pages: arithmetic, in `exercises/05_triton_decode_kernel/splits.py`.

# %%
check("05.splits")

# %% [markdown]
# ### Exercise 05.merge_splits · Merge the splits (●●○, 25 min)
# The second, small kernel, which brings the splits together: `exercises/05_triton_decode_kernel/merge_splits.py`.

# %%
check("05.merge_splits")

# %% [markdown]
# ## 7 · The library's own
#
# `paged_decode` is what you have built, grown up: any group and head size, tiles that suit the type, windows, soft caps, pages in 8 and 4 bits. The *same tokens* go onto pages of 1 and of 16 slots, in bfloat16, with SmolLM2's heads; what a window of 20 does not see is poisoned too.


# %%
def paged_world(keys_values, page_size, first=0):
    """``[2, L, Hkv, D]`` from token ``first`` on, on shuffled pages full of poison: (kv, table)."""
    length, kv_heads, dim = keys_values.shape[1:]
    pages = -(-length // page_size)
    table = torch.randperm(pages + 3, generator=torch.Generator().manual_seed(1))[:pages]
    shape = 2, pages + 3, kv_heads, page_size, dim
    kv = torch.full(shape, torch.nan, dtype=keys_values.dtype)
    for token in range(first, length):
        kv[:, table[token // page_size], :, token % page_size] = keys_values[:, token]
    return kv, table[None].int()


long_q = torch.randn(1, 9, 64).bfloat16()  # SmolLM2: 9 query heads, 3 KV heads, D = 64
tokens = torch.randn(2, 100, 3, 64).bfloat16()
context = torch.tensor([100], dtype=torch.int32)
kv16, table16 = paged_world(tokens, 16)
print("pages of 16:", tuple(kv16.shape), "· its table:", table16[0].tolist())

# %%
for window in (None, 20):
    seen = tokens if window is None else tokens[:, -window:]
    wanted = gathered(long_q, *paged_world(seen, 16), torch.tensor([seen.shape[1]]))
    for size in (1, 16):
        kv_p, table_p = paged_world(tokens, size, first=100 - seen.shape[1])
        how = {"max_context": 100, "window": window, "num_splits": 2}
        out = paged_decode(long_q, kv_p, table_p, context, 64**-0.5, **how)
        error = float((out.double() - wanted).abs().max())
        assert error < 0.01, error  # bfloat16 keeps 8 bits
        print(f"window {window}, pages of {size:2}: right to 0.01")

# %% [markdown]
# ## 8 · Every load on the map
#
# Now the trace of it, as a picture: who asked for which slots of which pages, keys on the left, values on the right. Two shades are the two splits, and the three rows of a page its KV heads.

# %%
with trace_kernel(kv=kv16, tables=table16) as trace:
    paged_decode(long_q, kv16, table16, context, 64**-0.5, max_context=100, num_splits=2)
for launched in trace.launches:
    print(f"{launched.kernel}: a grid of {launched.grid}, {len(launched.programs)} programs")
traffic = trace.traffic("kv")
print("pages, so often → bytes:", traffic.times)

# %% jupyter={"source_hidden": true}
show(
    kernel_svg(trace, title="One decode step, 100 tokens, pages of 16"),
    caption="What the decode kernel read of ten pages: every slot that holds a token, once; of the last page "
    "the four that are filled; of the three pages that nobody owns nothing.",
)

# %% [markdown]
# And one moment of it: a program in its first tile. It has loaded its length, its queries and the page numbers of 64 tokens; now it asks for the 64 keys of its KV head, which lie on four pages.

# %%
film = KernelFilm(trace)
key_loads = [n for n, step in enumerate(film.steps) if step.access.source.startswith("k = ")]
for number in range(key_loads[0] + 2):
    access = film.steps[number].access
    size = f"{access.num_bytes:5} bytes for {len(access.elements):4} lanes"
    print(f"{access.kind} {access.tensor:10} {size}: {access.source[:44]}")

# %% jupyter={"source_hidden": true}
show(
    kernel_svg(trace, step=key_loads[4], title="One load of keys"),
    caption="One load, framed: 64 keys of KV head 2. Its four pages lie apart, but within a page its slots are one "
    "run of bytes.",
)

# %% [markdown]
# Play it: each step is one load or store of one program. (Without a running kernel you see the whole picture once more.)

# %%
KernelPlayer(trace, title="One decode step, load by load")

# %% [markdown]
# Count the bytes, and hold them against the formula at the top of `paged_decode.py`: 2 · L · D · 2 bytes a KV head, and a little else.

# %%
formula = 2 * 100 * 64 * 2 * 3
everything = sum(trace.bytes_by_tensor("load").values()) + sum(
    trace.bytes_by_tensor("store").values()
)
assert traffic.bytes == formula
print(f"formula: {formula:,} · keys and values in the trace: {traffic.bytes:,}")
for kind in ("load", "store"):
    print(f"{kind:>5}:", dict(sorted(trace.bytes_by_tensor(kind).items())))

# %% [markdown]
# The page table was asked for again by every KV head; those bytes are in a cache by then. Here the context is short, so queries and partial results weigh something; at 4,096 tokens they vanish. Next, in what pieces the pages are read.

# %%
for size in (1, 16):
    kv_p, table_p = paged_world(tokens, size)
    with trace_kernel(kv=kv_p) as other:
        paged_decode(long_q, kv_p, table_p, context, 64**-0.5, max_context=100, num_splits=2)
    runs = other.traffic("kv").run_lengths
    print(f"pages of {size:2}: runs of so many bytes → how often: {runs}")

# %% [markdown]
# With pages of one slot, a run is a row: 64 numbers of 2 bytes, 128 bytes. With 16 slots it is the whole page of a head, 2,048. (100 tokens fill six pages; the seventh has four slots, 512 bytes.)
#
# <div class="alert alert-block alert-success"><b>Takeaway 3.</b> Do not guess what a kernel reads: watch it. Interpreted, every load has an address, and bytes, repeats and runs can be counted, compared with the formula and drawn.</div>

# %% [markdown]
# ## 9 · What the compiler makes of it
#
# A process that interprets cannot compile, so we ask another one. It needs no GPU: Triton brings its own assembler, and is simply told what to compile for. `sm_90` is an H100.

# %%
CHILD = """
import json, re, subprocess, sys, lesson, triton
from pathlib import Path
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

def build(name, types, constants):
    kernel = getattr(lesson, name)
    kinds = dict.fromkeys(constants, "constexpr")
    signature = {it: kinds.get(it) or types.get(it, "i32") for it in kernel.arg_names}
    pointers = [(i,) for i, kind in enumerate(signature.values()) if kind[0] == "*"]
    aligned = {at: [["tt.divisibility", 16]] for at in pointers}
    fixed = {it: value for it, value in constants.items() if it in kernel.arg_names}
    options = {it: value for it, value in constants.items() if it not in kernel.arg_names}
    source = ASTSource(kernel, signature, fixed, aligned)
    made = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options)
    Path("kernel.cubin").write_bytes(made.asm["cubin"])
    tool = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
    said = subprocess.check_output([tool, "--dump-resource-usage", "kernel.cubin"], text=True)
    used = {key: int(re.search(key + r":(\\d+)", said)[1]) for key in ("REG", "STACK")}
    return used | {it: made.asm[it] for it in ("ttgir", "ptx")} | {"shared": made.metadata.shared}

print(json.dumps([build(*task) for task in json.load(sys.stdin)]))
"""
print("a program of", len(CHILD.splitlines()), "lines, for another process")


# %%
import subprocess
import sys
import tempfile


def compiled(lesson, *tasks):
    """Compile kernels of the module text ``lesson`` for an H100. A task: (name, types, constants)."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "lesson.py").write_text(lesson)
        done = subprocess.run(
            [sys.executable, "-c", CHILD], cwd=folder, input=json.dumps(tasks), text=True,
            capture_output=True, env=os.environ | {"TRITON_INTERPRET": "0"},
        )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


fixed = decode_constants(3, 64, 16, "plain", widen=False, exact=True, hip=False)
print({name: fixed[name] for name in ("TILE", "GROUP_PADDED", "num_warps")})

# %%
types = {"q_ptr": "*bf16", "kv_ptr": "*bf16", "table_ptr": "*i32", "length_ptr": "*i32"}
types |= {"partial_ptr": "*fp32", "lse_ptr": "*fp32", "scale": "fp32", "softcap": "fp32"}
tasks = []
for head_dim, size in (64, 16), (64, 1), (36, 16):
    constants = decode_constants(3, head_dim, size, "plain", False, True, hip=False)
    constants |= {"CAPPED": False, "scales_ptr": None, "zeros_ptr": None}
    tasks.append((paged_decode_kernel.fn.__name__, types, constants))
library = f"from {paged_decode_kernel.fn.__module__} import {paged_decode_kernel.fn.__name__}"
decode, pages_of_one, narrow = compiled(library, *tasks)
print("registers of a thread:", decode["REG"], "· bytes spilled:", decode["STACK"])

# %% [markdown]
# Two of the texts on the way are worth reading: **TTGIR** says which thread holds which numbers of a block, and **PTX** is NVIDIA's assembly language, one thread's view.
#
# ### TTGIR: who holds what
# The layout of the tile of keys, as the compiler chose it:

# %%
copy = next(it for it in decode["ttgir"].splitlines() if "async_copy" in it and "x64x" in it)
name = re.search(r"ptr<bf16>, (#\w+)>", copy)[1]
layout = re.search(rf"^{name} = .*$", decode["ttgir"], re.M)[0]
print(layout.replace("warpsPer", "\n    warpsPer"))
_, numbers, rows, threads, *_ = map(int, re.findall(r"\d+", layout.split("=", 1)[1]))
print(f"a thread takes {numbers} numbers: {2 * numbers} bytes, as many as an instruction can")
print(f"{threads} threads take a row: {threads * 2 * numbers} bytes, 64 numbers of bfloat16")
print(f"a warp of {rows * threads} threads takes {rows} rows at a time")

# %% [markdown]
# That is what "wide" means: a row of 128 bytes is a whole number of 16-byte pieces, it begins at a multiple of 16, and so eight neighbouring threads fetch it with one instruction each. And 128 bytes are four sectors of 32, all of them used.
#
# ### PTX: the landmarks
# Four instructions tell the story, and a fifth by not being there. Which of them copy from the pages, and how wide?


# %%
def copy_widths(kernel):
    """Bytes that each kind of copy from memory into shared memory takes at once."""
    found = re.findall(r"cp\.async\.c[ag]\.shared[^;]*?, 0x([0-9a-f]+)", kernel["ptx"])
    return sorted({int(width, 16) for width in found})


assert copy_widths(decode) == [4, 16]
line = next(line for line in decode["ptx"].splitlines() if "cp.async.cg" in line)
print(re.sub(r"%\w+", "%…", line).strip(), "\n")
for landmark, meaning in {
    "cp.async.cg.shared.global": "keys, values: memory → shared memory, while the program computes",
    "cp.async.wait_group": "wait for a tile that was asked for earlier",
    "ldmatrix.sync": "shared memory → registers, as the matrix unit wants it",
    "mma.sync.aligned.m16n8k16": "the product: 16 rows, bfloat16 in, float32 sums",
    "wgmma": "Hopper's wide product: needs 64 rows, and a group has 3",
}.items():
    print(f"{'yes' if landmark in decode['ptx'] else 'no ':3} {landmark:26} {meaning}")
print("bytes a copy:", copy_widths(decode), "(4: an entry of the page table; 16: 0x10 above)")

# %% [markdown]
# `cp.async` needs no register for what is on its way, and no thread that waits: the next tiles are under way while this one is multiplied. How many? A tile has 128 tokens (interpreted, in float32, it had 64); the rest is division.

# %%
tile, shared = 128 * 64 * 2, decode["shared"]
print(f"a tile of keys: {tile // 1024} KiB; of keys and values: {2 * tile // 1024} KiB")
print(f"a program has {shared / 1024:.0f} KiB: {shared // (2 * tile)} tiles of both under way")
by_registers = 65536 // (decode["REG"] * 4 * 32)  # a processor has 65,536; 4 warps of 32
by_memory = 228 * 1024 // (shared + 1024)  # 228 KiB on an H100; each program pays 1 KiB more
print(f"programs on one processor: {by_registers} by registers, {by_memory} by shared memory")

# %% [markdown]
# Three programs of 4 warps on a processor that could hold 64 warps: low *occupancy*, and no fault. What hides the wait is not the number of threads but the bytes under way.
#
# ### When rows are narrow
# Does the page size matter for the width? And what if a row were no multiple of 16 bytes, as with heads of 36 numbers, 72 bytes?

# %%
assert copy_widths(pages_of_one) == copy_widths(decode)
print("D = 64, pages of 16:", copy_widths(decode))
print("D = 64, pages of  1:", copy_widths(pages_of_one), "· a row is a row, wherever its page")
print("D = 36, pages of 16:", copy_widths(narrow), "· rows begin at multiples of 8 bytes only")

# %% [markdown]
# And if a page kept its keys the other way, [D, slots], so that the slots of one dimension lie together? A small kernel that reads a tile both ways; first what the trace says, then what the compiler says.


# %%
@triton.jit
def read_kernel(
    kv_ptr, table_ptr, out_ptr, length, D: tl.constexpr, P: tl.constexpr, ACROSS: tl.constexpr
):
    """The sum of each key: of pages [P, D], or ACROSS, of pages [D, P]."""
    token, d = tl.arange(0, 32), tl.arange(0, 64)
    there = token < length
    page = tl.load(table_ptr + token // P, mask=there, other=0)
    if ACROSS:
        at = page[:, None] * P * D + d[None, :] * P + (token % P)[:, None]
    else:
        at = (page * P + token % P)[:, None] * D + d[None, :]
    keys = tl.load(kv_ptr + at, mask=there[:, None] & (d < D)[None, :], other=0.0)
    tl.store(out_ptr + token, tl.sum(keys.to(tl.float32), 1), mask=there)


pages, row = torch.randn(4, 16 * 64).bfloat16(), torch.tensor([2, 0], dtype=torch.int32)
for across in (False, True):
    with trace_kernel(pages=pages) as reading:
        read_kernel[(1,)](pages, row, torch.empty(32), 32, D=64, P=16, ACROSS=across)
    (access,) = [access for _, _, access in reading.walk() if access.tensor == "pages"]
    layout, run = "[D, slots]" if across else "[slots, D]", len(access.runs[0])
    print(f"{layout}: lanes side by side ask for {run:4} bytes in a row")

# %%
types = {"kv_ptr": "*bf16", "table_ptr": "*i32", "out_ptr": "*fp32"}
lesson = "import triton\nimport triton.language as tl\n\n\n" + inspect.getsource(read_kernel.fn)
tasks = {}
for head_dim, across in (64, False), (36, False), (33, False), (64, True):
    name = f"[{head_dim}, slots]" if across else f"[slots, {head_dim}]"
    tasks[name] = "read_kernel", types, {"D": head_dim, "P": 16, "ACROSS": across}
widths = {}
for name, kernel in zip(tasks, compiled(lesson, *tasks.values())):
    loads = set(re.findall(r"ld\.global(?:\.v(\d))?\.b(\d+)", kernel["ptx"]))
    ((vector, bits),) = loads - {("", "32")}  # those are for the page table
    widths[name] = int(vector or 1) * int(bits) // 8
    print(f"pages {name}: keys are loaded {widths[name]:2} bytes at a time")
assert list(widths.values()) == [16, 8, 2, 2]

# %% [markdown]
# ## 10 · All kernels, four GPUs
#
# The repository keeps what every kernel compiles to, and a test compiles them again and compares. The two numbers to look at: **registers** (an NVIDIA thread has at most 255, an AMD one 512) and **spilled** bytes, registers that had to move to memory.

# %%
root = next(p for p in [Path.cwd(), *Path.cwd().parents] if (p / "bench").is_dir())
report = json.loads((root / "bench/results/compiled_kernels.json").read_text(encoding="utf-8"))
print(len(report["rows"]), "rows; kernels:", len({r["kernel"] for r in report["rows"]}))
most = max(
    (r for r in report["rows"] if r["target"].startswith("sm")), key=lambda r: r["registers"]
)
print("most registers on NVIDIA:", most["registers"], "·", most["kernel"], "on", most["target"])
print("kernels that spill:", sum(r["spilled"] > 0 for r in report["rows"]))

# %% jupyter={"source_hidden": true}
figure, axes = new_figure(height=4.2)
targets = ("sm_80", "sm_90", "sm_100", "gfx942")
stores = "bf16 over bf16", "fp32 over fp32", "bf16 over int8", "bf16 over int4", "bf16 over fp8"
names = [f"decode {store}, D {d}, G 4, P 16" for d in (64, 128) for store in stores]
registers = {(r["target"], r["kernel"]): r["registers"] for r in report["rows"]}
for n, (target, marker, colour) in enumerate(zip(targets, "os^D", OWNERS)):
    ys = [y + 0.12 * n - 0.18 for y, name in enumerate(names) if (target, name) in registers]
    xs = [registers[target, name] for name in names if (target, name) in registers]
    axes.plot(xs, ys, marker, color=colour, markeredgecolor="black", label=target)
axes.axvline(255, color=GUIDE, linestyle=":")
axes.set_yticks(range(len(names)), [name[7:-11] for name in names])
axes.set(xlabel="registers of a thread", xlim=(0, 300), ylim=(len(names) - 0.5, -0.5))
axes.hlines(range(len(names)), 0, 300, color="#EEEEEE", linewidth=19, zorder=0)
axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
show(
    figure,
    caption="Registers of the decode kernel by type of queries and pages, head size and target, as compiled (not run). "
    "Dotted: the most that an NVIDIA thread may have.",
    alt="Dots: registers of ten variants of the decode kernel on four targets, all of them below 255.",
)

# %% [markdown]
# ## 11 · The roofline
#
# For a token and a KV head: 2 · D numbers are read, and each of G queries does 4 · D operations with them. At 2 bytes a number that is G operations a byte. The trace agrees, but for what is read besides:

# %%
flops = 4 * 3 * 100 * 64 * 3  # 4 · G · L · D, three KV heads
print("by formula, keys and values alone:", flops / formula, "operations a byte")
print(f"by the trace, everything counted: {flops / everything:.2f}, at 100 tokens")
h100 = MACHINES["H100"]
peak, bandwidth = h100.peak_flops / 1e12, h100.bandwidth / 1e12
print(f"an H100 by its data sheet: {peak:.0f} TFLOP/s (dense bfloat16), {bandwidth} TB/s")
print(f"to be bound by arithmetic takes {ridge_point(h100):.0f} operations a byte")


# %%
def attention_cost(rows, context, group, dim=128):
    """One KV head: ``rows`` new tokens at the end of ``context``, in bfloat16."""
    pairs = sum(range(context - rows + 1, context + 1))  # (query, key) that see each other
    moved = 2 * context * dim * 2 + 2 * rows * group * dim * 2  # keys, values; queries, results
    return StepCost(flops=4 * group * dim * pairs, traffic=moved)


steps = {f"decode, G = {g}": attention_cost(1, 4096, g) for g in (1, 4, 8)}
steps["prefill of 2,048, G = 4"] = attention_cost(2048, 2048, 4)
for name, cost in steps.items():
    share = min(1.0, cost.intensity / ridge_point(h100))
    print(f"{name:>23}: {cost.intensity:6.1f} a byte, at most {100 * share:5.1f} % of the peak")

# %% jupyter={"source_hidden": true}
figure, axes = new_figure(height=3.2)
draw_roofline(axes, h100, steps)
axes.set_title("Attention on an H100: the data sheet's roof", loc="left")
show(
    figure,
    caption="What attention could reach on an H100 at best, by its data sheet: nothing here was measured. Decode stands on the "
    "slope, where only bandwidth counts; prefill under the flat roof.",
    alt="Roofline of an H100: decode with groups of 1, 4 and 8 far down the slope, a prefill of 2,048 tokens on the roof.",
)

# %% [markdown]
# Decode with G = 4 can use about one hundredth of the arithmetic. The padding from 3 rows to 16 costs nothing that anyone would notice. So a decode kernel is judged by one number: the share of the memory's bandwidth that it reaches.

# %%
measured = sorted((root / "bench/results").glob("gpu_attention*.json"))
print("GPU results:", ", ".join(path.name for path in measured) or "not measured yet")

# %% [markdown]
# ### Try it 1 · four bits
# Pages in int4, G = 4, arithmetic as before, scales left aside. How many operations a byte?
#
# <details><summary>Solution</summary>
#
# 16: a number is half a byte, a quarter of bfloat16's two, so 4 times G. Still far below 295; but a quarter of the bytes is a quarter of the time.
# </details>

# %%
operations_a_byte = ...

if operations_a_byte is ...:
    print("not answered yet: a number")
else:
    assert operations_a_byte == 4 * 4 * 128 / (2 * 128 * 0.5), "4·G·D operations, 2·D numbers"
    print("right")

# %% [markdown]
# <div class="alert alert-block alert-success"><b>Takeaway 4.</b> Decode does G operations a byte where an H100 could do 295. Read every byte once, in wide loads, with enough of them under way: a decode kernel has no other task.</div>
#
# ## Quiz
#
# Open the answer that you would give; then open the others, and read why not.

# %%
from pagedlab.learn.quizzes import quiz

quiz("05.splits")

# %%
quiz("05.interpreter")

# %% [markdown]
# ## Pause and recall
#
# <details><summary>What is the only thing that tells two programs of a launch apart?</summary>
#
# `tl.program_id`. Addresses, masks and shares of the work are computed from it.
# </details>
#
# <details><summary>What does reading through a page table add to a kernel?</summary>
#
# One dependent load a tile: the page numbers, 4 bytes for P tokens, before the keys' addresses are known. Asked for some tiles ahead, it hides.
# </details>
#
# <details><summary>Which two loads of the decode kernel must be masked, and why is a score of −∞ not enough?</summary>
#
# Keys and values past the end (and entries of the table). A weight of 0 times nan is nan.
# </details>
#
# <details><summary>Why are the loads 16 bytes wide, and what would make them narrow?</summary>
#
# Rows of D numbers lie together and begin at multiples of 16 bytes. An odd head size, or pages kept as [D, slots], takes one of the two away.
# </details>
#
# <details><summary>Why does the kernel use mma and not wgmma?</summary>
#
# wgmma multiplies 64 rows; a group has 3 to 8. Padded to 16, mma fits, and arithmetic is not what it waits for.
# </details>
#
# ## Interview questions
#
# <details><summary>Your paged decode kernel reaches 40 % of the bandwidth at batch 1 and 90 % at batch 64. What is wrong? (Avoid: "paging is slow for small batches, use contiguous memory".)</summary>
#
# Too few programs: 1 × KV heads of them for 132 processors. Split the context. The page table is the same in both cases, so paging is not the reason.
# </details>
#
# <details><summary>Would a page size of 1 make loads narrow? (Avoid: "yes, small pages mean small reads".)</summary>
#
# No: a row is the unit, and a row of 64 bfloat16 is 128 bytes, four full sectors. More of the page table is read: 4 bytes for each token, beside 256 of keys and values.
# </details>
#
# <details><summary>The profiler says that tensor cores are used 2 % of the time during decode. Is the kernel bad? (Avoid: "yes, it wastes the chip".)</summary>
#
# Look at the bandwidth. At G operations a byte, all of the bandwidth feeds them useful work for G parts in 295. More arithmetic units would only idle more.
# </details>
#
# <details><summary>The compiler reports low occupancy. Should registers be cut until it rises? (Avoid: "more warps always hide more latency".)</summary>
#
# Not for its own sake. Asynchronous copies hide the wait with bytes under way, not with warps. Fewer registers may spill, and a spill is memory traffic, the one thing there is too little of.
# </details>
#
# ## Sketch from memory
#
# Draw one program: its queries, 16 rows of which 3 are real; a page table; a tile of keys gathered from two pages; the state (largest, total, acc). Mark each arrow with the instruction that carries it (`cp.async`, `ldmatrix`, `mma`) and its width. Beside it a second program, another split, and the merge below both.
#
# <details><summary>Compare</summary>
#
# Page numbers come first (4 bytes each), then keys and values into shared memory (16 bytes a thread), then matrices into registers. What leaves a program is a mean and a log-sum-exp a head, nothing else.
# </details>
#
# ## Bridge
#
# On the roofline prefill and decode stand at opposite ends, and yet they share a model, a GPU and a step. In [06 · prefill against decode](06_prefill_vs_decode.ipynb) both are measured for real, and you will see what each of them waits for.
