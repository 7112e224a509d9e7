# %% [markdown]
# # 09 · Two quantisations
#
# **The idea in a line:** weights are not the cache. A checkpoint in 4 bits says nothing about the pages it will fill; they have formats, costs and errors of their own.
#
# **Afterwards you can**
# - read a 4-bit checkpoint and say how many bits a weight really takes;
# - find the number of tokens at which the cache outweighs the weights, for any pair of formats;
# - quantise a page by hand, and say what scales cost;
# - measure what a rounded cache does to a model's predictions, without looking at samples.
#
# **Time:** 60–75 minutes. **Needs:** Python, no GPU; [01 · the memory bill](01_the_memory_bill.ipynb). The real model (93 MB) is fetched once.

# %%
import json
import math
from collections import Counter
from pathlib import Path

import torch

from pagedlab import LLM, SamplingParams, arithmetic
from pagedlab.arithmetic import GIB, MACHINES, MIB, MODELS
from pagedlab.engine.kv_cache import KVCache
from pagedlab.learn import check, solved
from pagedlab.models.catalog import fetch, load_model
from pagedlab.models.gguf import GGUFFile
from pagedlab.view.explorer import Explorer, Frame
from pagedlab.view.figures import bar, new_figure, show
from pagedlab.view.palette import GUIDE, LINES

print("a bit more or less, over a billion numbers:", f"{10**9 // 8 / MIB:.0f} MiB")

# %% [markdown]
# ## 1 · What is in a 4-bit checkpoint
#
# The file of this course's model says Q4_1: blocks of 32 weights, 4 bits each, and a scale and a minimum in 16 bits for each block. Let us ask the file itself.

# %%
file = GGUFFile(fetch("smollm2-135m", progress=False))
held, numbers = Counter(), Counter()
for info in file.tensors.values():
    held[info.format.name] += info.nbytes
    numbers[info.format.name] += math.prod(info.shape)
for name in held:
    bits = 8 * held[name] / numbers[name]
    print(
        f"{name:5} {numbers[name]:12,} weights in {bits:4.1f} bits: {held[name] / MIB:5.1f} MiB"
    )
bits = 8 * sum(held.values()) / sum(numbers.values())
print(f"all in all {bits:.2f} bits a weight")

# %% [markdown]
# Five bits, not four: scales and minima cost a fifth. And the embedding, a fifth of this small model, is kept in 8 bits. Nothing in the file says how *keys and values* are to be kept: they do not exist yet.

# %% [markdown]
# ## 2 · What a page is kept in
#
# That is the engine's own choice, one knob: `kv_dtype`. Here is one page of 16 tokens of the real model, in all its formats.

# %%
model = load_model("smollm2-135m", progress=False)
FORMATS = ("float32", "bfloat16", "int8", "fp8", "int4")
page = {kv: KVCache(model.config, 1, 16, kv).bytes_per_page for kv in FORMATS}
for kv, size in page.items():
    print(
        f"{kv:9} {size:8,} bytes a page, {page['float32'] / size:4.2f} times smaller than float32"
    )

# %% [markdown]
# int8 is not quite four times smaller than float32, and int4 not eight times: each row of 64 numbers has a scale and a zero beside it, 8 bytes. fp8 needs a scale only.

# %% [markdown]
# <div class="alert alert-block alert-success"><b>Takeaway 1.</b> Weights and cache are quantised by different people, at different times, in different formats. A checkpoint's bits are about the first line of the bill only.</div>

# %% [markdown]
# ## 3 · The bill, line by line
#
# A server with the 4-bit file and pages in 16 bits, which is how most run. The weights are paid once; the cache grows with every token that is alive.

# %%
weights = sum(held.values())
for users in (1, 8, 64, 256):
    cache = users * 512 // 16 * page["bfloat16"]
    share = cache / (cache + weights)
    print(
        f"{users:3} users of 512 tokens: cache {cache / MIB:6.0f} MiB, {100 * share:2.0f} % of all"
    )

# %% [markdown]
# When does the cache outweigh the weights? For this small model with its three KV heads, after a few thousand tokens: a handful of users.

# %%
for kv, size in page.items():
    print(f"{kv:9} {math.ceil(weights / size) * 16:7,} tokens weigh as much as the checkpoint")

# %% jupyter={"source_hidden": true}
figure, axes = new_figure(8, 3.0)
tokens = [2**n for n in range(8, 18)]
for (kv, size), colour, marker in zip(page.items(), LINES[::-1], "o^sDv"):
    cache = [count / 16 * size / MIB for count in tokens]
    axes.plot(tokens, cache, color=colour, marker=marker, ms=4, label=f"cache, {kv}")
for wide in (4, 8, 16, 32):
    total = arithmetic.num_parameters(model.config) * wide / 8 / MIB
    axes.axhline(total, color=GUIDE, lw=1, ls=":")
    axes.text(tokens[0], total * 1.06, f"weights, {wide} bits", size=8, color=GUIDE)
axes.set(xscale="log", yscale="log", xlabel="live tokens, all users together", ylabel="MiB")
axes.set_xticks(tokens[::2], [f"{count:,}" for count in tokens[::2]])
axes.legend(fontsize=8, frameon=False, loc="lower right")
show(
    figure,
    alt="Cache size against live tokens for five formats, rising lines, and four horizontal lines "
    "for weights in 4, 8, 16 and 32 bits.",
    caption="Where a rising line crosses a dotted one, the cache outweighs the weights. A step to "
    "the next narrower cache moves the crossing about as far as a step to wider weights would.",
)

# %% [markdown]
# ### Exercise 09.crossover · When the cache outweighs the weights (●○○, 15 min)
# The two lines of the bill, where they cross, and what a step in either saves: `exercises/09_two_quantisations/crossover.py`.

# %%
check("09.crossover")

# %% [markdown]
# The same for a model of a size that is served: Llama-3-8B, with 32 users of 4,096 tokens. Weights in four widths down, the five formats of pages across, scales included:

# %%
llama = MODELS["Llama-3-8B"]
parameters = arithmetic.num_parameters(llama)
user = {kv: 4096 // 16 * KVCache(llama, 1, 16, kv).bytes_per_page / GIB for kv in FORMATS[::-1]}
weights_of = {wide: arithmetic.weight_bytes(parameters, wide) / GIB for wide in (4, 8, 16, 32)}
print("GiB      " + "".join(f"{kv:>10}" for kv in user))
for wide, gib in weights_of.items():
    row = "".join(f"{gib + 32 * one:10.1f}" for one in user.values())
    print(f"{wide:2} bits  {row}")

# %% [markdown]
# Read a row, then a column: with 32 users, pages in int4 and not bf16 save as much as weights in 4 bits and not 16. With fewer users the weights save more, with more users the pages; so the picture goes over users.

# %% jupyter={"source_hidden": true}
figure, panels = new_figure(8.4, 5.6, columns=2, rows=2, sharex=True, sharey=True)
users, card = [2**n for n in range(8)], MACHINES["H100"].memory_bytes / GIB
for axes, (wide, gib) in zip(panels.flat, weights_of.items()):
    for (kv, one), colour, marker in zip(user.items(), LINES, "vDs^o"):
        total = [gib + count * one for count in users]
        axes.plot(users, total, color=colour, marker=marker, ms=4, lw=1.2, label=kv)
    axes.axhline(2 * gib, color=GUIDE, ls=":")
    axes.axhline(card, color="black", ls="--", lw=1)
    axes.text(1, card * 1.1, "80 GB card", size=8)
    axes.text(1, 2 * gib * 0.92, "twice the weights", size=8, color=GUIDE, va="top")
    axes.set(title=f"weights in {wide} bits", xscale="log", yscale="log", ylim=(3, 500))
    axes.set_xticks(users, [f"{count}" for count in users])
for axes in panels[1]:
    axes.set_xlabel("users of 4,096 tokens")
for axes in panels[:, 0]:
    axes.set_ylabel("weights and cache, GiB")
panels[1, 1].legend(fontsize=8, frameon=False, loc="lower right", ncols=2)
show(
    figure,
    alt="Four panels, for weights in 4, 8, 16 and 32 bits. In each, five lines of weights and cache in GiB rise with "
    "the number of users, float32 pages first and steepest, int4 last. Lines for 4-bit weights are nearly straight; "
    "for 32 bits they are flat up to some tens of users.",
    caption="Llama-3-8B: all memory over users, for four widths of weights and five formats of pages. Where a line "
    "crosses the dotted one, the cache outweighs the weights; where it crosses the dashed one, the card is full.",
)

# %% [markdown]
# The crossing itself, in users: from there on the cache is the larger part of the bill.

# %%
print("users    " + "".join(f"{kv:>10}" for kv in user))
for wide, gib in weights_of.items():
    row = "".join(f"{math.ceil(gib / one):10}" for one in user.values())
    print(f"{wide:2} bits  {row}")

# %% [markdown]
# Move the sliders: users, context, and the two formats.


# %%
def frame(users, context, weight_bits, pages):
    both = weights_of[weight_bits], users * context / 4096 * user[pages]
    larger = "the cache weighs" if both[1] > both[0] else "the weights weigh"
    rows = [bar("Llama-3-8B", text=".1f", weights=both[0], cache=both[1])]
    most = 1.05 * max(card, sum(both))
    return Frame(f"{sum(both):.1f} GiB; {larger} more", rows, most, (card, "80 GB"))


contexts = [512, 2048, 4096, 16384]
sizes = {"users": [1, 4, 16, 64], "context": contexts}
formats = {"weight_bits": list(weights_of), "pages": list(user)}
start = {"users": 16, "context": 4096, "weight_bits": 4, "pages": "bfloat16"}
Explorer(sizes | formats, frame, unit="GiB", start=start)

# %% [markdown]
# <div class="alert alert-block alert-success"><b>Takeaway 2.</b> Few tokens: quantise the weights. Many tokens: quantise the cache. Count before you choose.</div>

# %% [markdown]
# ## 4 · Eight bits by hand
#
# A row of numbers, its smallest and its largest: spread 256 steps between them, and write down at which step each number stands. With 2 bits there are 4 steps:

# %%
row = torch.tensor([0.0, 1.0, 4.0])
scale = (row.max() - row.min()) / 3
codes = ((row - row.min()) / scale).round()
print("codes:", [int(code) for code in codes], "· scale:", round(float(scale), 3))
print("read back:", [round(float(number), 2) for number in codes * scale + row.min()])

# %% [markdown]
# ### Exercise 09.quantise · Scale and zero (●●○, 20 min)
# Rows of any numbers, each with a scale and a zero of its own: `exercises/09_two_quantisations/quantise.py`.

# %%
check("09.quantise")

# %% [markdown]
# ### Exercise 09.pack · Two numbers in a byte (●○○, 15 min)
# There is no 4-bit memory: two codes share a byte. Pack them, unpack them, and count a page's bytes in `exercises/09_two_quantisations/pack.py`.

# %%
check("09.pack")

# %% [markdown]
# Why a scale for each row? One large number stretches the steps of everybody who shares its scale. Here is a page of eight rows, one of them ten times as large, in 4 bits with a scale a row and with one for all.

# %%
torch.manual_seed(9)
rows = torch.randn(8, 64)
rows[3] *= 10
quantise = solved("09.quantise")


def error(x):
    """Root mean square of what 4 bits change, of the seven ordinary rows."""
    off = quantise.dequantise(*quantise.quantise(x, 4)).reshape(8, 64) - rows
    return float(off[[0, 1, 2, 4, 5, 6, 7]].square().mean().sqrt())


a_row, for_all = error(rows), error(rows.reshape(1, -1))
print("one scale for all is", "over 4" if for_all > 4 * a_row else "not 4", "times as wrong")
assert for_all > 4 * a_row

# %% [markdown]
# ## 5 · How wrong is the model?
#
# Not by looking: a sample that reads well proves nothing. At each place of a real text, compare what the model *predicts* from an exact cache with what it predicts from a rounded one. Ours is a winter walk from Thoreau's *Walden* (1854). Nothing was tuned on it.

# %%
root = next(p for p in [Path.cwd(), *Path.cwd().parents] if (p / "bench").is_dir())
TEXT = " ".join((root / "notebooks/walden.txt").read_text(encoding="utf-8").split())
tokens = model.tokenizer.encode(TEXT)
print(len(tokens), "tokens, about", len(tokens) // 16, "pages")
print(f"{TEXT[:72]} …")

# %% [markdown]
# ### Exercise 09.divergence · How wrong is it? (●●○, 20 min)
# The Kullback–Leibler divergence between two predictions, from logits, without overflow: `exercises/09_two_quantisations/divergence.py`.

# %%
check("09.divergence")

# %% [markdown]
# One step of the engine computes the whole text, with keys and values written into pages of the format and read back from there. We ask for the logits of every token.


# %%
whole = {"num_pages": 64, "max_tokens_per_step": 1024, "prefix_cache": "none"}  # in one step


@torch.inference_mode()
def logits(kv_dtype):
    """``[tokens, vocabulary]``: what the model predicts after each token of the text."""
    engine = LLM(model, kv_dtype=kv_dtype, **whole).engine
    engine.add_request(tokens, SamplingParams(max_tokens=1))
    batch = engine.runner.batch(engine.scheduler.schedule())
    every = torch.arange(len(tokens))
    attend, write = engine.runner.attention, engine.kv.write
    return engine.model(batch, engine.kv.layers, attend, every, None, write).cpu()


exact = logits("float32")
print(tuple(exact.shape), "predictions, finite:", bool(exact.isfinite().all()))

# %%
measures, following = solved("09.divergence"), torch.tensor(tokens[1:])
before = measures.perplexity(exact[:-1], following)
nats, worse = {}, {}
for kv in FORMATS[1:]:
    rounded = logits(kv)
    nats[kv] = float(measures.divergence(exact, rounded).mean())
    worse[kv] = measures.perplexity(rounded[:-1], following) / before - 1
    smaller = page["float32"] / page[kv]
    print(f"{kv:9} {smaller:3.1f} times smaller: {nats[kv]:.0e} nats of KL a token")
assert nats["int8"] < nats["fp8"] < nats["int4"] / 10

# %% [markdown]
# A nat is a lot: at 0.01, a token drawn from the exact prediction keeps on average 99 % of its probability in the rounded one. Everything down to fp8 is below; int4 with one scale a row is not for this model.

# %%
print(f"int4 is over 100 times as wrong as int8: {nats['int4'] > 100 * nats['int8']}")
print(f"int8 is less wrong than fp8, at nearly the same size: {nats['int8'] < nats['fp8']}")
print(f"perplexity, int8: within 1 % of exact: {abs(worse['int8']) < 0.01}")
print(f"perplexity, int4: over 5 % worse: {worse['int4'] > 0.05}")

# %% [markdown]
# Keys and values are not alike. Keys have a few channels (places in the row) that are large in every token; values do not. That is why KIVI (2024) quantises keys by channel and values by token.

# %%
engine = LLM(model, **whole).engine
engine.add_request(tokens, SamplingParams(max_tokens=1))
engine.step()
filled = len(tokens) // 16 * 16
ratios = []
for layer in engine.kv.layers:
    both = layer[:, : filled // 16].float().abs()  # [2, pages, heads, slots, D]
    channels = both.mean((1, 3))  # [2, heads, D]: how large each channel is
    ratios.append((channels.amax(-1) / channels.median(-1).values).mean(-1))
keys, values = torch.stack(ratios).median(0).values.tolist()
assert keys > 1.5 * values
print("the largest channel of a key stands out more than that of a value:", keys > 1.5 * values)

# %% [markdown]
# <div class="alert alert-block alert-success"><b>Takeaway 3.</b> int8 with a scale for each token and head halves a 16-bit cache and costs next to nothing. int4 halves it again and must be measured on your model and your text.</div>

# %% [markdown]
# ## 6 · And the weights?
#
# Ours are 5 bits in the file, and read as float32. The engine can keep them in 8 bits while it runs: a quarter of the memory, and less to read for every token.

# %%
race = json.loads((root / "bench/results/race_one_request.json").read_text(encoding="utf-8"))
median = {(r["workload"], r["peer"]): r["median_seconds"] for r in race["results"]}
faster = median["decode", "pagedlab"] / median["decode", "pagedlab, int8"]
print(f"decode, one request: {faster:.1f} times as fast with weights in 8 bits as in 32")

# %% [markdown]
# That is the *other* quantisation: it saves reading weights, which is most of what a lone decode does. With many users the cache is what is read, and then it is its format that counts.

# %% [markdown]
# ## 7 · What it buys: users
#
# The same memory, cut into pages of each format. 256 MiB for pages, chats of 1,024 tokens:

# %%
room = 256 * MIB
for kv, size in page.items():
    users = arithmetic.paged_concurrency(room // size, 16, 1024)
    print(f"{kv:9} {room // size:5,} pages, {users:3} chats at once")

# %% [markdown]
# Are that many more requests done in a second, too? `bench/kv_formats.py` tried it: 40 requests wait for 24 MiB of pages. LMDeploy's documentation reports the same for Llama 2 7B and 13B on a GPU:

# %%
kept = json.loads((root / "bench/results/kv_formats.json").read_text(encoding="utf-8"))
for one in kept["results"]:
    live, gain = one["live"], 100 * one["gain"] - 100
    line = f"{one['kv_dtype']:9} {live:4.1f} requests live, {gain:+3.0f} % requests a second"
    if one["lmdeploy"]:
        reported = "–".join(
            f"{100 * times - 100:.0f}" for times in dict.fromkeys(one["lmdeploy"])
        )
        line += f"; LMDeploy: +{reported} %"
    print(line)

# %% [markdown]
# Room and rate are different things. With twice the requests live a step takes longer, for only the weights are shared (chapter 06), and narrow numbers must be widened before use. So both gain far less than room. That the figures lie so close is chance: another model on another machine, and a pool chosen so small that bf16 leaves a batch of seven; a roomier pool would gain less.

# %% [markdown]
# One of the five systems shows the gap best: TGI often serves 4-bit weights (GPTQ, AWQ) with a 16-bit cache, reserves all that a request could need, and so runs out of cache while the weights look small.

# %%
gptq = parameters * 4 / 8 / GIB
token = arithmetic.kv_bytes_per_token(32, 8, 128)
for reserved in (2048, 8192):
    users = int((24 * GIB * 0.9 - gptq * GIB) // (reserved * token))
    print(
        f"24 GiB card, 4-bit weights {gptq:.1f} GiB, {reserved:,} tokens reserved each: {users} users"
    )

# %% [markdown]
# ### Try it 1 · the same card, int4 pages
# The same card and weights, 2,048 tokens each, and a cache in int4 (leave scales out): how many users?
#
# <details><summary>Solution</summary>
#
# Four times as many bytes' worth: (24 · 0.9 − 3.7) GiB over 2,048 · 32 KiB: 285.
# </details>

# %%
users_in_int4 = ...

if users_in_int4 is ...:
    print("not answered yet: a number of users, more than", users)
else:
    narrow = arithmetic.kv_bytes_per_token(32, 8, 128, 4)
    assert users_in_int4 == int((24 * GIB * 0.9 - gptq * GIB) // (2048 * narrow)), (
        "what is left beside the weights, over the bytes of 2,048 tokens"
    )
    print("right")

# %% [markdown]
# ## Quiz
#
# Open the answer that you would give; then open the others, and read why not.

# %%
from pagedlab.learn.quizzes import quiz

quiz("09.long_prompts")

# %% [markdown]
# ## Pause and recall
#
# <details><summary>Why do quantised weights not by themselves make serving cheap?</summary>
#
# They shrink the line of the bill that is paid once. What grows with users and context is the cache, and it stays in whatever format the engine keeps it.
# </details>
#
# <details><summary>How many bits does a weight of a "4-bit" file take, and why?</summary>
#
# Five here: a scale and a minimum for every 32 weights, and some tensors are kept wider.
# </details>
#
# <details><summary>Why has every row of a page its own scale?</summary>
#
# One large row would stretch the steps of all others; and a page is written token by token, so a scale over several tokens would have to change after some of them were written.
# </details>

# %% [markdown]
# ## Interview questions
#
# <details><summary>We moved to a 4-bit model and still run out of memory at 40 users. What happened? (Avoid: "the quantisation did not work".)</summary>
#
# It worked on the weights. Forty users' caches are in 16 bits as before, and were the larger part. Look at tokens alive times bytes a token; then quantise the cache, cut contexts, or share prefixes.
# </details>
#
# <details><summary>How would you decide between fp8 and int8 for the cache? (Avoid: "fp8, because the hardware has it".)</summary>
#
# Measure KL on your own text. fp8 has 3 bits of mantissa everywhere; int8 with a zero spreads 256 steps over each row's own range and is finer for most rows. Then look at what the attention kernel reads fastest.
# </details>

# %% [markdown]
# ## Sketch from memory
#
# Two bars side by side, weights and cache; under each its format, its bits, and who chooses it. Draw the second bar for 1 user and for 64. Write the number of tokens at which they are equal.
#
# <details><summary>Compare</summary>
#
# The left bar never moves with users. Equal at weights · weight bits / (values a token · cache bits) tokens.
# </details>

# %% [markdown]
# ## Bridge
#
# Bytes are settled; what do users feel? How long until the first token, how long between two, and how many users may come before either breaks its promise: [10 · latency and throughput](10_latency_and_throughput.ipynb).
