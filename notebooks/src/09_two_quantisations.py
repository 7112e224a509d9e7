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
from pagedlab.arithmetic import GIB, MIB, MODELS
from pagedlab.engine.kv_cache import KVCache
from pagedlab.learn import check, solved
from pagedlab.models.catalog import fetch, load_model
from pagedlab.models.gguf import GGUFFile
from pagedlab.view.explorer import Explorer, Frame
from pagedlab.view.figures import bar, draw_bars, draw_key, new_figure, show
from pagedlab.view.palette import OWNERS

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
for (kv, size), colour, marker in zip(page.items(), OWNERS, "os^Dv"):
    cache = [count / 16 * size / MIB for count in tokens]
    axes.plot(tokens, cache, color=colour, marker=marker, ms=4, label=f"cache, {kv}")
for wide in (4, 8, 16, 32):
    total = arithmetic.num_parameters(model.config) * wide / 8 / MIB
    axes.axhline(total, color="#57606A", lw=1, ls=":")
    axes.text(tokens[0], total * 1.06, f"weights, {wide} bits", size=8, color="#57606A")
axes.set(xscale="log", yscale="log", xlabel="live tokens, all users together", ylabel="MiB")
axes.set_xticks(tokens[::2], [f"{count:,}" for count in tokens[::2]])
axes.legend(fontsize=8, ncols=2)
show(
    figure,
    alt="Cache size against live tokens for five formats, rising lines, and four horizontal lines "
    "for weights in 4, 8, 16 and 32 bits.",
    caption="Where a rising line crosses a dotted one, the cache outweighs the weights. A step to "
    "the next narrower cache moves the crossing as far as a step to wider weights would.",
)

# %% [markdown]
# ### Exercise 09.crossover · When the cache outweighs the weights (●○○, 15 min)
# The two lines of the bill, where they cross, and what a step in either saves: `exercises/09_two_quantisations/crossover.py`.

# %%
check("09.crossover")

# %% [markdown]
# The same for a model of a size that is served: Llama-3-8B, weights and cache in every pair of formats, 32 users of 4,096 tokens.

# %%
llama = MODELS["Llama-3-8B"]
parameters = arithmetic.num_parameters(llama)
print("weights\\cache" + "".join(f"{bits:>9} bits" for bits in (4, 8, 16, 32)))
for wide in (4, 8, 16, 32):
    row = [
        (
            parameters * wide / 8
            + arithmetic.kv_bytes(32, 4096, arithmetic.kv_bytes_per_token(32, 8, 128, bits))
        )
        / GIB
        for bits in (4, 8, 16, 32)
    ]
    print(f"{wide:5} bits   " + "".join(f"{total:10.1f} GiB" for total in row))

# %% jupyter={"source_hidden": true}
figure, axes = new_figure(8, 2.2)
bars = []
for wide, narrow in ((16, 16), (4, 16), (4, 8), (4, 4)):
    cache = (
        arithmetic.kv_bytes(32, 4096, arithmetic.kv_bytes_per_token(32, 8, 128, narrow)) / GIB
    )
    label = f"weights {wide}, cache {narrow}"
    bars.append(bar(label, text=".1f", weights=parameters * wide / 8 / GIB, cache=cache))
draw_bars(axes, bars, unit="GiB")
draw_key(axes, {"weights": "weights", "cache": "KV cache"})
show(
    figure,
    alt="Stacked bars of weights and cache in GiB for four pairs of formats.",
    caption="Llama-3-8B with 32 users of 4,096 tokens. Four-bit weights leave the cache as it was; "
    "what is left of the bill is nearly all cache.",
)

# %% [markdown]
# Move the sliders: users, context, and the two formats. (Scales are left out here.)


# %%
def frame(users, context, weight_bits, cache_bits):
    token = arithmetic.kv_bytes_per_token(32, 8, 128, cache_bits)
    both = parameters * weight_bits / 8 / GIB, users * context * token / GIB
    larger = "the cache" if both[1] > both[0] else "the weights"
    rows = [bar("Llama-3-8B", text=".1f", weights=both[0], cache=both[1])]
    return Frame(f"{sum(both):.1f} GiB; {larger} weigh more", rows, 100, (80, "80 GiB"))


Explorer(
    {
        "users": [1, 8, 32],
        "context": [512, 4096, 16384],
        "weight_bits": [4, 16],
        "cache_bits": [4, 8, 16],
    },
    frame,
    unit="GiB",
    start={"users": 8, "context": 4096, "weight_bits": 4, "cache_bits": 16},
)

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
# Not by looking: a sample that reads well proves nothing. At each place of a text that the model has not seen, compare what it *predicts* from an exact cache with what it predicts from a rounded one.

# %%
TEXT = """A library that lends books by the page would be a strange place. You ask for a novel, and the
clerk hands you a slip with numbers: shelf nine, shelf two, shelf forty. Every shelf holds sixteen lines, no
more, and the lines of one book may stand anywhere in the building. It sounds like chaos, and yet nobody
ever waits for a free row of shelves, because no book needs one. When two readers want the same first
chapter, they are sent to the same shelves, and only where their stories part does each get a shelf of his
own. At night the clerk walks along the shelves that nobody reads and decides which of them to clear. She
begins with those that have stood untouched the longest. In the morning somebody will ask for one of them,
and she will copy it again from the archive, line by line, and think that a larger building would be nice.
But she knows that a larger building fills up as well. What matters is not how many shelves there are, but
how few of them are half empty.""".replace("\n", " ")
tokens = model.tokenizer.encode(TEXT)
print(len(tokens), "tokens, about", len(tokens) // 16, "pages")

# %% [markdown]
# ### Exercise 09.divergence · How wrong is it? (●●○, 20 min)
# The Kullback–Leibler divergence between two predictions, from logits, without overflow: `exercises/09_two_quantisations/divergence.py`.

# %%
check("09.divergence")

# %% [markdown]
# One step of the engine computes the whole text, with keys and values written into pages of the format and read back from there. We ask for the logits of every token.


# %%
@torch.inference_mode()
def logits(kv_dtype, model=model):
    """``[tokens, vocabulary]``: what the model predicts after each token of the text."""
    engine = LLM(model, kv_dtype=kv_dtype, num_pages=32, prefix_cache=None).engine
    engine.add_request(tokens, SamplingParams(max_tokens=1))
    batch = engine.runner.batch(engine.scheduler.schedule())
    every = torch.arange(len(tokens))
    attend, write = engine.runner.attention, engine.kv.write
    return engine.model(batch, engine.kv.layers, attend, every, None, write).double()


exact = logits("float32")
print(tuple(exact.shape), "predictions, finite:", bool(exact.isfinite().all()))

# %%
divergence = solved("09.divergence").divergence
nats = {kv: float(divergence(exact, logits(kv)).mean()) for kv in FORMATS[1:]}
for kv, mean in sorted(nats.items(), key=lambda item: item[1]):
    print(
        f"{kv:9} {page['float32'] / page[kv]:4.1f} times smaller, below 1e{math.ceil(math.log10(mean))} nats"
    )
assert nats["int4"] > 100 * nats["int8"] and nats["int8"] < nats["fp8"]
print("int4 is over 100 times as wrong as int8; int8 less than fp8, at nearly the same size")

# %% [markdown]
# A nat is a lot: 0.01 means that, on average, the right next token keeps 99 % of its probability. Everything down to fp8 is far below; int4 with one scale a row is not for this model.

# %%
perplexity = solved("09.divergence").perplexity
following = torch.tensor(tokens[1:])
before = perplexity(exact[:-1], following)
grown = {kv: perplexity(logits(kv)[:-1], following) / before - 1 for kv in ("int8", "int4")}
assert abs(grown["int8"]) < 0.01 and grown["int4"] > 0.1
print("perplexity with an int8 cache: within 1 %; with int4: over 10 % worse")

# %% [markdown]
# Keys and values are not alike. Keys have a few channels (places in the row) that are large in every token; values do not. That is why KIVI (2024) quantises keys by channel and values by token.

# %%
engine = LLM(model, num_pages=32, prefix_cache=None).engine
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
root = next(p for p in [Path.cwd(), *Path.cwd().parents] if (p / "bench").is_dir())
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
# LMDeploy reports, for Llama 2 7B and 13B, 27 to 28 % more requests a second with an int8 cache and 39 % with int4. Why so little, if twice and four times as many fit?

# %%
gained = {kv: page["bfloat16"] / page[kv] for kv in ("int8", "int4")}
for kv, reported in (("int8", "+27–28 %"), ("int4", "+39 %")):
    print(
        f"{kv}: {gained[kv]:.2f} times the chats of bfloat16; requests a second, LMDeploy: {reported}"
    )

# %% [markdown]
# More chats at once do not make a chip faster. They amortise the weights over a larger batch, which helps until arithmetic is the limit (chapter 06), and dequantising costs arithmetic too. Room and rate are different things: the first is what you may count on.

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
# ### Try it 1 · the fourth line
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
