# %% [markdown]
# # 04 · Attention over pages
#
# **The idea in a line:** a softmax is a sum, and a sum may be made in any order and in any number of parts: keys can live on pages anywhere, and nobody has to collect them first.
#
# **Afterwards you can**
# - compute attention page by page, reading each key and value once, with three numbers to remember;
# - say why a weight of zero does not protect you from a number that must not be read;
# - split a context into parts, compute them apart, and merge the results exactly;
# - write the attention function that serves a model.
#
# **Time:** 75–90 minutes. **Needs:** Python and a little torch, no GPU; [03 · page tables](03_page_tables.ipynb) for slots and tables.

# %%
import json
import math
from pathlib import Path

import torch

from pagedlab import LLM, SamplingParams
from pagedlab.learn import check
from pagedlab.view.figures import draw_page_table, new_figure, show
from pagedlab.view.palette import GUIDE, LINES
from pagedlab_kernels import get_attention
from pagedlab_kernels.batch import PagedBatch

torch.manual_seed(4)
torch.set_printoptions(precision=3, sci_mode=False)
print("e to the 0, 1 and 2:", [round(math.exp(x), 3) for x in range(3)])

# %% [markdown]
# ## 1 · One query, three keys, by hand
#
# A token asks: its **query** is compared with the **key** of every token before it, and of itself. The better a key fits, the more of that token's **value** it takes home. Three tokens, keys and values of two numbers each:

# %%
keys = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
values = torch.tensor([[10.0, 0.0], [0.0, 10.0], [6.0, 6.0]])
query = torch.tensor([1.0, 1.0])

scores = keys @ query
print("how well each key fits:", scores.tolist())

# %% [markdown]
# Scores become **weights** by the exponential, divided by their sum so that together they are one: the softmax. (Real models divide scores by √d first; we leave that out until section 10.)

# %%
exponentials = scores.exp()
weights = exponentials / exponentials.sum()
print("exponentials:", exponentials, "sum:", round(float(exponentials.sum()), 3))
print("weights:     ", weights)
print("taken home:  ", weights @ values)

# %% [markdown]
# Check one number with a pocket calculator: the third weight is e² / (e + e + e²) = 7.389 / 12.826 = 0.576.

# %%
round(math.exp(2) / (2 * math.exp(1) + math.exp(2)), 3)


# %% [markdown]
# That is all of attention, for one head and one query:


# %%
def attention(query, keys, values):
    """``query: [D]``, ``keys`` and ``values: [L, D]`` -> ``[D]``."""
    weights = (keys @ query).softmax(0)
    return weights @ values


attention(query, keys, values)

# %% [markdown]
# ### Try it 1 · a new token
# A fourth token arrives with key (2, 0) and value (0, 0). Without running anything: does the result's first number grow or shrink?
#
# <details><summary>Solution</summary>
#
# It shrinks. The new score is 2, as large as the third one; the sum of exponentials grows from 12.826 to 20.215, all old weights shrink by the same factor, and the new token brings nothing.
# </details>

# %%
grows_or_shrinks = ...

if grows_or_shrinks is ...:
    print("not answered yet: 'grows' or 'shrinks'")
else:
    more = torch.cat((keys, torch.tensor([[2.0, 0.0]])))
    grown = attention(query, more, torch.cat((values, torch.zeros(1, 2))))[0]
    truth = "grows" if grown > attention(query, keys, values)[0] else "shrinks"
    assert grows_or_shrinks == truth, "which weights change when one more exponential is added?"
    print("right")

# %% [markdown]
# ## 2 · The softmax does not care who stands where
#
# Nothing in those lines knows which key came first. Shuffle the tokens, keys and values together, and the result is the same: a sum does not care about order.

# %%
order = [2, 0, 1]
print(attention(query, keys, values))
print(attention(query, keys[order], values[order]))

# %% [markdown]
# "But the order of words matters!" It does, and the model knows it: before a key is stored it is *rotated* by its position (RoPE). The position is inside the key. Where the key is kept in memory has no meaning.

# %% [markdown]
# <div class="alert alert-block alert-success"><b>Takeaway 1.</b> Attention is a weighted mean over a set. Keys carry their positions inside; their addresses mean nothing. So they may lie on pages in any order.</div>
#
# ## 3 · Pages, and the detour of collecting them
#
# Now a row of 10 tokens with keys of 4 numbers, and the same tokens on pages of 4 slots: pages 5, 0 and 3 of a memory with 7. All that nobody has written is **poison**: not a number.

# %%
length, dim, page_size = 10, 4, 4
table = [5, 0, 3]
query, keys, values = torch.randn(dim), torch.randn(length, dim), torch.randn(length, dim)

key_pages = torch.full((7, page_size, dim), torch.nan)
value_pages = key_pages.clone()
for token in range(length):
    page, offset = table[token // page_size], token % page_size
    key_pages[page, offset], value_pages[page, offset] = keys[token], values[token]
print("slots that hold a key:", int((~key_pages.isnan()).all(2).sum()), "of", 7 * page_size)

# %% jupyter={"source_hidden": true}
figure, axes = new_figure(height=1.9)
draw_page_table(axes, {"one sequence": table}, 7)
show(
    figure,
    caption="Ten tokens on three pages of four slots. The last page is half empty.",
    alt="A row of three logical pages, 0, 1 and 2, linked to the physical pages 5, 0 and 3 of seven.",
)

# %% [markdown]
# The simplest way: collect the pages into a row, cut off what lies past the last token, go on as before.


# %%
def gather_attention(query, key_pages, value_pages, table, length):
    keys = key_pages[table].flatten(0, 1)[:length]
    values = value_pages[table].flatten(0, 1)[:length]
    return attention(query, keys, values)


result = gather_attention(query, key_pages, value_pages, table, length)
print("the same:", torch.equal(result, attention(query, keys, values)))

# %% [markdown]
# It is right, and it is what many systems began with. What does it cost? Every byte of the cache is read from its page, written to the row, and read again from the row: three trips for one, in every layer, for every token that is made.

# %%
trips = {"pages are read": 1, "the row is written": 1, "the row is read": 1}
cache_bytes = 8192 * 2 * 8 * 128 * 2  # 8,192 tokens, one layer of Llama-3-8B in bfloat16
print(f"one layer of one sequence: {cache_bytes / 2**20:.0f} MiB of keys and values")
print(f"moved by gathering: {sum(trips.values()) * cache_bytes / 2**20:.0f} MiB")

# %% [markdown]
# ### Exercise 04.gather · Collect the pages (●○○, 10 min)
# The detour once more, as a function for any table, in `exercises/04_attention_over_pages/gather.py`. Of the last page it may touch only what holds tokens: the rest is poison.

# %%
check("04.gather")

# %% [markdown]
# ## 4 · Reading them where they lie
#
# So: no row. Walk over the tokens, find each key through the table, keep only its *score*, a single number. Then walk once more for the values.


# %%
def two_pass_attention(query, key_pages, value_pages, table, length):
    places = [(table[t // page_size], t % page_size) for t in range(length)]
    scores = torch.stack([key_pages[place] @ query for place in places])
    weights = scores.softmax(0)
    return sum(
        weight * value_pages[place] for weight, place in zip(weights, places, strict=True)
    )


result = two_pass_attention(query, key_pages, value_pages, table, length)
torch.testing.assert_close(result, attention(query, keys, values))
print("the same, to within rounding; numbers kept on the way:", length, "scores")

# %% [markdown]
# Better: nothing is copied. But all scores must be known before the first value is weighed, because the softmax divides by their sum. For 100,000 tokens that is 100,000 numbers to keep, for each of many heads. Can we do without?

# %% [markdown]
# ## 5 · A softmax that never looks back
#
# First a danger. Scores can be large, and exponentials are larger:

# %%
print(torch.tensor([100.0, 1000.0]).exp())
print("a weight:", (torch.tensor(1000.0).exp() / torch.tensor(1000.0).exp()).item())

# %% [markdown]
# The cure is old: subtract the largest score from all of them. Every exponential is divided by the same number, so the weights stay, and no exponential is above 1.

# %%
large = torch.tensor([998.0, 1000.0])
print((large - large.max()).exp() / (large - large.max()).exp().sum())
print(torch.tensor([-2.0, 0.0]).softmax(0))

# %% [markdown]
# Now walk over the tokens and keep only three things: the **largest** score so far, the **total** of exponentials relative to it, and the weighted sum of values so far, **acc**umulated. When a larger score turns up, all that was summed is too big by the
# factor e^(new − old): shrink it, and go on. This is the *online softmax* (Milakov and Gimelshein, 2018); by hand, with scores 1, 3, 2 and values 10, 20, 30:

# %%
largest, total, acc = -math.inf, 0.0, 0.0
for score, value in [(1.0, 10.0), (3.0, 20.0), (2.0, 30.0)]:
    before, largest = largest, max(largest, score)
    shrink, weight = math.exp(before - largest), math.exp(score - largest)
    total, acc = total * shrink + weight, acc * shrink + weight * value
    print(f"score {score:.0f}: shrink by {shrink:.3f}, add {weight:.3f}", end=" → ")
    print(f"total {total:.3f}, acc {acc:6.3f}")
print("result:", round(acc / total, 4))

# %%
weights = torch.tensor([1.0, 3.0, 2.0]).softmax(0)
round(float(weights @ torch.tensor([10.0, 20.0, 30.0])), 4)

# %% [markdown]
# The first token shrank what was before it by e^(−∞) = 0: nothing was there. The second one, larger, shrank the first to e^(1−3) = 0.135. The third left all as it was.

# %% [markdown]
# ### Exercise 04.online_softmax · The softmax that never looks back (●●○, 20 min)
# What was done by hand above, with vectors for values, as `exercises/04_attention_over_pages/online_softmax.py`. Its scores come from an iterator: looking back is impossible.

# %%
check("04.online_softmax")

# %% [markdown]
# ## 6 · Page by page
#
# One token at a time is slow; hardware likes tiles. A page is a natural tile: compare the query with all keys of the page at once, then one step of the online softmax for the whole page. The scores of the unfilled slots are set to −∞, for e^(−∞) is 0.


# %%
def one_page(state, query, keys, values, filled):
    """The state ``(largest, total, acc)`` after a page of which ``filled`` slots hold a token."""
    largest, total, acc = state
    scores = keys @ query
    scores[filled:] = -math.inf
    top = torch.maximum(largest, scores.max())
    shrink, weights = (largest - top).exp(), (scores - top).exp()
    return top, total * shrink + weights.sum(), acc * shrink + weights @ values


state = torch.tensor(-math.inf), torch.tensor(0.0), torch.zeros(dim)
for logical, page in enumerate(table):
    filled = min(page_size, length - logical * page_size)
    state = one_page(state, query, key_pages[page], value_pages[page], filled)
    print(f"after page {page} with {filled} tokens: total = {state[1]:.3f}, acc = {state[2]}")

# %% [markdown]
# Two pages were fine and the third made everything *not a number*. Why? The weights of the two empty slots are exactly 0. But the slots hold poison, and

# %%
print("0 × nan =", 0 * math.nan, "· 0 × inf =", 0 * math.inf)

# %% [markdown]
# In a real engine the slots past the end hold whatever the last owner left: old values, mostly harmless, so that the bug hides for months. Then one of them is infinite. **A zero weight does not protect: what may not be read must not be multiplied.** So the values are masked as
# well, or only the filled part is loaded.


# %%
def one_page(state, query, keys, values, filled):
    largest, total, acc = state
    scores = keys[:filled] @ query  # only what is there is read
    top = torch.maximum(largest, scores.max())
    shrink, weights = (largest - top).exp(), (scores - top).exp()
    return top, total * shrink + weights.sum(), acc * shrink + weights @ values[:filled]


state = torch.tensor(-math.inf), torch.tensor(0.0), torch.zeros(dim)
for logical, page in enumerate(table):
    filled = min(page_size, length - logical * page_size)
    state = one_page(state, query, key_pages[page], value_pages[page], filled)
    seen = logical * page_size + filled
    torch.testing.assert_close(
        state[2] / state[1], attention(query, keys[:seen], values[:seen])
    )
    print(f"after page {page}: right for the first {seen} tokens")

# %% [markdown]
# Notice what the last line proved: the state is right after *every* page, not only at the end. At any moment acc / total is attention over all tokens seen so far.
#
# <div class="alert alert-block alert-success"><b>Takeaway 2.</b> Each page is read once, in place, in any order. Between pages (largest, total, acc) is all that is kept. The length of the context appears nowhere.</div>

# %% [markdown]
# ### Try it 2 · any order
# The loop went through the table from front to back. Change `visit` to another order of the three logical pages and see whether the result cares.
#
# <details><summary>Solution</summary>
#
# Any order will do, `[2, 0, 1]` say: a page brings its own number of filled slots along. Kernels use this: several workers take pages as they come.
# </details>

# %%
visit = [0, 1, 2]

state = torch.tensor(-math.inf), torch.tensor(0.0), torch.zeros(dim)
for logical in visit:
    filled = min(page_size, length - logical * page_size)
    state = one_page(
        state, query, key_pages[table[logical]], value_pages[table[logical]], filled
    )
assert sorted(visit) == [0, 1, 2], "each page once"
torch.testing.assert_close(state[2] / state[1], attention(query, keys, values))
print("the same result in the order", "of the table" if visit == [0, 1, 2] else "you chose")

# %% [markdown]
# ## 7 · Heads that share
#
# Models have many query heads, and newer ones let a *group* of them share one key-value head: SmolLM2 has 9 and 3, so 3 queries read the same pages. Nothing changes but that `query` becomes three rows, and largest and total a number for each of them.


# %%
def one_page_of_group(state, queries, keys, values, filled):
    """``queries: [G, D]``; ``largest`` and ``total: [G]``, ``acc: [G, D]``. A page is read once for all of them."""
    largest, total, acc = state
    scores = queries @ keys[:filled].T  # [G, filled]
    top = torch.maximum(largest, scores.amax(1))
    shrink, weights = (largest - top).exp(), (scores - top[:, None]).exp()
    return (
        top,
        total * shrink + weights.sum(1),
        acc * shrink[:, None] + weights @ values[:filled],
    )


queries = torch.randn(3, dim)
state = torch.full((3,), -math.inf), torch.zeros(3), torch.zeros(3, dim)
for logical, page in enumerate(table):
    filled = min(page_size, length - logical * page_size)
    state = one_page_of_group(state, queries, key_pages[page], value_pages[page], filled)
each = torch.stack([attention(query, keys, values) for query in queries])
torch.testing.assert_close(state[2] / state[1][:, None], each)
print("three heads, every page read once; pages read:", len(table))

# %% [markdown]
# How much arithmetic is done for a byte that is read? For a token and a KV head: D numbers of key and D of value are read. Each of the G queries does D multiplications and additions with the key, and as many with the value: 4·G·D operations.

# %%
for model, group in {"9 heads over 3": 3, "32 over 8": 4, "32 over 32": 1}.items():
    operations, bytes_read = 4 * group * 128, 2 * 128 * 2  # bfloat16
    print(f"{model:>14}: {operations / bytes_read:.0f} operations for each byte")

# %% [markdown]
# A GPU can do some 300 operations in the time it reads one byte, a laptop some 10. Decoding never comes near that: **it waits for memory**, and the only way to be fast is to read everything once, and nothing else. Chapter 06 makes a chapter of it.

# %% [markdown]
# ## 8 · Split and merge
#
# One sequence of 100,000 tokens, a chip with 132 processors: if one of them walks through all pages, 131 watch. But the state of section 6 was right after any set of pages. So let several walkers each take some pages, and **merge** what they found, which is
# the same step again: bring both states to the larger maximum, then add.


# %%
def merge(one, other):
    """The state of both sets of tokens together."""
    largest = torch.maximum(one[0], other[0])
    first, second = (one[0] - largest).exp(), (other[0] - largest).exp()
    return largest, one[1] * first + other[1] * second, one[2] * first + other[2] * second


def walk(pages):
    """The state after these logical pages."""
    state = torch.tensor(-math.inf), torch.tensor(0.0), torch.zeros(dim)
    for logical in pages:
        filled = min(page_size, length - logical * page_size)
        page = table[logical]
        state = one_page(state, query, key_pages[page], value_pages[page], filled)
    return state


together = merge(walk([0]), walk([1, 2]))
torch.testing.assert_close(together[2] / together[1], attention(query, keys, values))
print("two walkers, merged:", together[2] / together[1])

# %% [markdown]
# Often a walker reports its finished result acc / total, and the other two in one number: the log of its sum of exponentials, **lse** = largest + log total. A result then counts as much as its e^lse. Two walkers with lse 2 and 3 weigh e² : e³, as if each were a single token with that score.

# %%
found = [walk([0]), walk([1, 2])]
means = torch.stack([acc / total for _, total, acc in found])
lse = torch.stack([largest + total.log() for largest, total, _ in found])
print("weights of the two parts:", lse.softmax(0))
torch.testing.assert_close(lse.softmax(0) @ means, attention(query, keys, values))
print("merged by lse:", lse.softmax(0) @ means)

# %% [markdown]
# A softmax of softmaxes: attention over parts is attention over the parts' results. The name of the method in kernels is *split-KV*, or Flash-Decoding.

# %% [markdown]
# Is the merged result *exactly* the same? On paper yes; in a computer additions round, and in another order they round differently. Usually nobody minds, but somebody who compares two runs bit by bit does. Then the cuts must not depend on who else is in the batch: parts of a fixed size.

# %%
many = torch.randn(4096)
in_order, in_parts = many.sum(), many.view(64, 64).sum(1).sum()
print("sums agree to a millionth of their terms:", bool((in_order - in_parts).abs() < 4096e-6))
print(
    "parts of one size give the same bits every time:",
    torch.equal(in_parts, many.view(64, 64).sum(1).sum()),
)

# %% [markdown]
# <div class="alert alert-block alert-success"><b>Takeaway 3.</b> The states of any two sets of tokens merge into that of both. So a context may be split among workers, a shared prefix attended to once for everybody, or a cache spread over machines: merge, and nobody sees the seam.</div>

# %% [markdown]
# ### Exercise 04.merge · Merge two partial attentions (●●○, 20 min)
# Two workers, or twenty, and some of them found nothing: write the merge in `exercises/04_attention_over_pages/merge.py`.

# %%
check("04.merge")

# %% [markdown]
# ## 9 · Many queries: prefill
#
# A prompt arrives as a *chunk*, many new tokens at once, each with a query. The last sees everything; the one before it, everything but the last. For most pages this makes no difference, for they are older than the whole chunk. Only the pages
# that the chunk itself lies on need a mask.

# %%
context, chunk = 22, 6  # tokens in the cache after this step, of which the last 6 are new
positions = torch.arange(context - chunk, context)
visible = torch.arange(context)[None, :] <= positions[:, None]  # [rows, tokens]
for row, position in zip(visible, positions, strict=True):
    print(f"token {position}:", "".join("█" if seen else "·" for seen in row))

# %%
pages = -(-context // page_size)
whole = [p for p in range(pages) if visible[:, p * page_size : (p + 1) * page_size].all()]
print(
    f"{len(whole)} of {pages} pages are seen whole by every row; {pages - len(whole)} need the mask"
)

# %% [markdown]
# Decode is a chunk of one, and needs no mask at all. That is why an engine need not tell the two apart: sequences with one new token and sequences with hundreds share a step (chapter 07).

# %% [markdown]
# ### Exercise 04.window · A window, and the pages behind it (●●○, 20 min)
# Some layers see only the last W tokens, and what lies behind can be given back. Write in `exercises/04_attention_over_pages/window.py` which pages those are, and attention to what is left.

# %%
check("04.window")

# %% [markdown]
# ### Exercise 04.paged_attention · Attention where the keys lie (●●●, 45 min)
# Everything so far in one function, for all heads and several rows: `exercises/04_attention_over_pages/paged_attention.py`. Chapter 13 hands it to the engine.

# %%
check("04.paged_attention")

# %% [markdown]
# ## 10 · Yours serves a model
#
# All together, for a whole step: a batch of sequences, each with some new tokens, several heads, pages of one big tensor `kv: [2, pages, KV heads, slots, D]`. It is the loop of section 7 inside three others.


# %%
def one_row(queries, kv, table, sees):
    """One token's ``queries: [G, D]`` over the first ``sees`` tokens of ``kv: [2, pages, slots, D]``."""
    (group, dim), size = queries.shape, kv.shape[2]
    state = torch.full((group,), -math.inf), torch.zeros(group), torch.zeros(group, dim)
    for logical in range(-(-sees // size)):
        keys, values = kv[:, table[logical]]
        filled = min(size, sees - logical * size)
        state = one_page_of_group(state, queries, keys, values, filled)
    return state[2] / state[1][:, None]


torch.testing.assert_close(
    one_row(queries, torch.stack((key_pages, value_pages)), table, length), each
)
print("one token, all its pages: as in section 7")


# %%
def paged_attention(q, kv, batch, scale):
    """``q: [T, H, D]``, the new tokens of all sequences back to back -> ``[T, H, D]``."""
    out, group, starts = (
        torch.empty_like(q),
        q.shape[1] // kv.shape[2],
        batch.query_start.tolist(),
    )
    for b, context in enumerate(batch.context_lens.tolist()):
        table = batch.page_tables[b].tolist()
        for row in range(starts[b], starts[b + 1]):
            sees = context - (starts[b + 1] - 1 - row)  # the last row sees all
            for head in range(kv.shape[2]):
                mine = slice(head * group, (head + 1) * group)
                out[row, mine] = one_row(scale * q[row, mine], kv[:, :, head], table, sees)
    return out


print("sequences, rows and heads are loops; the idea is still", one_page_of_group.__name__)

# %% [markdown]
# To try it: two sequences, one decoding, one in the middle of its prompt, in memory full of poison.

# %%
torch.manual_seed(0)
heads, kv_heads, dim, size = 6, 2, 8, 4
kv = torch.full((2, 9, kv_heads, size, dim), torch.nan)
tables = torch.tensor([[7, 2, 4], [0, 5, -1]], dtype=torch.int32)
contexts, rows = [10, 6], [1, 4]
for pages, context in zip(tables.tolist(), contexts, strict=True):
    for position in range(context):
        kv[:, pages[position // size], :, position % size] = torch.randn(2, kv_heads, dim)
q = torch.randn(sum(rows), heads, dim)
print(
    "rows of queries:",
    tuple(q.shape),
    "· of",
    kv.isnan().sum().item(),
    "numbers nothing is known",
)

# %% [markdown]
# What a kernel is told of a step is a `PagedBatch`. Beside ours, the package's own two paths, one that gathers and one in C that reads in place.

# %%
unused = torch.zeros(
    sum(rows), dtype=torch.int64
)  # tokens, positions, slots: the model's business
batch = PagedBatch(
    token_ids=unused,
    positions=unused,
    slots=unused,
    query_start=torch.tensor([0, 1, 5], dtype=torch.int32),
    context_lens=torch.tensor(contexts, dtype=torch.int32),
    page_tables=tables,
    page_size=size,
    max_query_len=max(rows),
    max_context_len=max(contexts),
)
mine = paged_attention(q, kv, batch, dim**-0.5)
for name in ("reference", "cpu"):
    torch.testing.assert_close(mine, get_attention(name)(q, kv, batch, dim**-0.5))
    print(f"equal to {name!r}, all {mine.numel()} numbers")

# %% [markdown]
# And now the real thing: hand the function to an engine. It is called in every layer of every step, for prompts and for new tokens, and the model says what it says with the package's own.

# %%
wish = SamplingParams(max_tokens=8, temperature=0.0, ignore_eos=True)
prompts = ["Pages live anywhere", "A softmax is"]
said = {}
for name, function in {"mine": paged_attention, "cpu": "cpu"}.items():
    llm = LLM("tiny-random", page_size=4, num_pages=64, attention=function, progress=False)
    outputs = llm.generate(prompts, wish, progress=False)
    said[name] = [output.outputs[0].token_ids for output in outputs]
print(said["mine"][0])
print("the same tokens:", said["mine"] == said["cpu"])

# %% [markdown]
# <div class="alert alert-block alert-success"><b>Takeaway 4.</b> You have written an attention function that serves a model from scattered pages. What is left is speed: the same loops, with tiles that fit the machine.</div>
#
# ## 11 · What it buys, measured
#
# The package's own CPU path is this chapter in C: pages in place, the online softmax, groups, splits. Its bench races it against gathering first, and against torch's own attention over memory without pages, and keeps the results in the repository. Decode at 4,096 tokens:

# %%
root = next(p for p in [Path.cwd(), *Path.cwd().parents] if (p / "bench").is_dir())
report = json.loads((root / "bench/results/attention.json").read_text(encoding="utf-8"))
decode = [r for r in report["results"] if r["shape"]["rows"] == 1]
contexts, lines = sorted({r["shape"]["context"] for r in decode}), {}
for r in decode:
    lines.setdefault((r["shape"]["model"], r["shape"]["batch"]), []).append(
        r["ratios"]["gather"]
    )
rows = [r for r in decode if r["shape"]["context"] == 4096]
for row in rows:
    shape, ratios = row["shape"], row["ratios"]
    print(
        f"{shape['model']:>13}, batch {shape['batch']:2}: gathering takes {ratios['gather']:4.1f}× as long, "
        f"torch without pages {ratios['contiguous']:3.1f}×"
    )

# %% jupyter={"source_hidden": true}
figure, panels = new_figure(height=3.0, columns=2)
for axes, model in zip(panels, dict.fromkeys(r["shape"]["model"] for r in rows), strict=True):
    for batch_size, marker, colour in zip((1, 8, 32), "os^", LINES, strict=False):
        line = lines[model, batch_size]
        axes.plot(contexts, line, marker=marker, color=colour, label=f"batch {batch_size}")
    axes.axhline(1, color=GUIDE, linestyle=":")
    axes.set_xscale("log", base=2)
    axes.set_xticks(contexts, [f"{context:,}" for context in contexts])
    axes.set(title=model, xlabel="tokens of context", ylim=(0, 23))
panels[0].set_ylabel("time of gathering ÷ time in place")
panels[0].legend()
show(
    figure,
    caption="How many times as long a decode step's attention takes when pages are gathered first, "
    "on one machine (bench/results/attention.json says which). Above the dotted line, reading in place wins.",
    alt="Two line charts, one a model: how many times as long gathering takes, by context, for three batches. All "
    "lines lie above 1; Llama-3-8B's rise to about 20 at long contexts.",
)

# %% [markdown]
# And the table itself, what does it cost? The same kernel once more, over scattered pages of 16 and over *one page* that holds a whole sequence: contiguous memory, all else equal. The first paged kernel was 20 to 26 % slower than a contiguous one (Kwon et al., SOSP 2023).

# %%
report = json.loads((root / "bench/results/page_table_cost.json").read_text(encoding="utf-8"))
for r in report["results"]:
    shape, slower = r["shape"], 100 * r["ratio"] - 100
    print(f"{shape['model']:>13}, {shape['context']:6,} tokens: pages cost {slower:+3.0f} %")
low, high = 20, 26  # the paper, of its attention kernel on a GPU
print(f"the paper's kernel: +{low} to +{high} %, and 2 to 4 times the throughput all the same")

# %% [markdown]
# For the longer context the price comes near the paper's, if not for the same reasons. Theirs was paid for look-ups and branches on a GPU; ours, most likely, because a processor that reads one long run fetches ahead, and begins anew at each page's border. It is a price on attention alone, and buys the batch that all else lives on.

# %% [markdown]
# ## Quiz
#
# Open the answer that you would give; then open the others, and read why not.

# %%
from pagedlab.learn.quizzes import quiz

quiz("04.order")

# %%
quiz("04.merge")

# %% [markdown]
# ## Pause and recall
#
# <details><summary>Why may keys lie anywhere?</summary>
#
# Attention is a weighted mean over a set; a sum does not care about order. The position of a token is inside its key.
# </details>
#
# <details><summary>Which three things does the online softmax keep, and what happens when a larger score turns up?</summary>
#
# The largest score, the total of exponentials relative to it, and the weighted sum of values. Both sums are multiplied by e^(old largest − new largest), then the new terms are added.
# </details>
#
# <details><summary>A slot past the end of a context has weight 0. Why must its value not be touched all the same?</summary>
#
# 0 × inf and 0 × nan are nan. Old memory may hold either.
# </details>
#
# <details><summary>How are the results of two parts of a context merged?</summary>
#
# Weighed by their shares of all exponentials: a softmax over their lse = largest + log total.
# </details>

# %% [markdown]
# ## Interview questions
#
# <details><summary>What does PagedAttention change in the mathematics of attention? (Avoid: "it approximates attention to save memory".)</summary>
#
# Nothing. It is exact. What changes is where keys and values are found (through a table), and that makes the online softmax the natural way to compute it: tile by tile, without a row that holds everything.
# </details>
#
# <details><summary>Why does decode attention not get faster on a chip with twice the arithmetic? (Avoid: "the kernel is badly written".)</summary>
#
# It does a few operations for each byte it reads: G with bfloat16, with G query heads on a KV head. It waits for memory. Twice the bandwidth, half the bytes (a narrower cache) or more heads on a KV head would help.
# </details>
#
# <details><summary>A long context is served alone, and the GPU is nearly idle. What would you look at first? (Avoid: "a larger batch", for there is nobody else.)</summary>
#
# Whether the context is split. With one program a KV head there are 8 programs for 132 processors. Split-KV makes as many parts as it takes, and a small kernel merges them.
# </details>
#
# <details><summary>The same prompt gives other tokens when the server is busy. How can that be, at temperature 0? (Avoid: "it cannot, so memory is corrupt".)</summary>
#
# Sums are made in another order: another number of splits, another matrix kernel for another batch. The last digits differ, and once in a while two tokens are nearly tied. Fixed splits and batch-invariant kernels cure it, at some cost.
# </details>

# %% [markdown]
# ## Sketch from memory
#
# Draw a query, three pages in memory out of order, and the state (largest, total, acc) travelling from page to page. Below it the same with two walkers, and a merge. Write at each arrow what is carried. Last line: a softmax is a sum.
#
# <details><summary>Compare</summary>
#
# Along the arrows travel two numbers and a vector, never a row of scores. At the merge both states are brought to the larger maximum before they are added.
# </details>
#
# ## Bridge
#
# Our function is right and slow: Python walks where hardware could run. In [05 · the Triton decode kernel](05_triton_decode_kernel.ipynb) each walker becomes a program on a GPU, and a tile of keys becomes one load. You will step through it here, without a GPU.
