# %% [markdown]
# # 01 · The memory bill
#
# **The idea in a line:** weights are paid once, the cache is paid for every token of every user; concurrency is multiplication.
#
# **Afterwards you can**
# - work out, on the back of an envelope, what one token costs in memory, for any model;
# - say how many users fit on a card, and what the limit is made of;
# - explain why prefill and decode strain different parts of the same chip;
# - spot the sentence "the weights are 4-bit, so memory is no problem" as the mistake it is.
#
# **Time:** 60–75 minutes. **Needs:** Python, no GPU. The last section loads a real model of 93 MB
# (see [00 · start here](00_start_here.ipynb)).

# %% [markdown]
# All the formulas live in one small file without dependencies, `pagedlab/arithmetic.py`. This notebook asks it for numbers;
# you should be able to redo each of them by hand.

# %%
from pagedlab import arithmetic
from pagedlab.arithmetic import GIB, KIB, MACHINES, MIB, MODELS
from pagedlab.learn import check
from pagedlab.view.explorer import Explorer, Frame
from pagedlab.view.figures import bar, draw_bars, draw_key, draw_roofline, new_figure, show

print(f"1 KiB = {KIB:,} bytes, 1 MiB = {MIB:,}, 1 GiB = {GIB:,}")

# %% [markdown]
# ## 1 · What one token leaves behind
#
# To produce the next token, a transformer looks back at all tokens before it. It does not recompute them: every layer kept a
# **key** and a **value** for each. That store is the KV cache. Let us count it for a model small enough to draw.

# %%
num_layers, num_kv_heads, head_dim = 2, 1, 4

left_by_one_token = [
    (layer, kind, head, dim)
    for layer in range(num_layers)
    for kind in ("key", "value")
    for head in range(num_kv_heads)
    for dim in range(head_dim)
]
print(
    f"{len(left_by_one_token)} numbers, from {left_by_one_token[0]} to {left_by_one_token[-1]}"
)

# %% [markdown]
# Two layers × (key and value) × one head × four numbers. The formula is those four factors and nothing else.

# %%
arithmetic.kv_values_per_token(num_layers, num_kv_heads, head_dim)

# %% [markdown]
# Now a real model. SmolLM2-135M has 30 layers and 3 KV heads of 64 numbers.

# %%
smol = MODELS["SmolLM2-135M"]
values = arithmetic.kv_values_per_token(smol.num_layers, smol.num_kv_heads, smol.head_dim)
print(f"30 × 2 × 3 × 64 = {values:,} values a token")

# %% [markdown]
# How many bytes that is depends on the bits each number is kept in. Nothing forces the cache to use the same precision as
# the weights: hold on to that thought until section 5.

# %%
for bits in (32, 16, 8, 4):
    size = arithmetic.kv_bytes_per_token(
        smol.num_layers, smol.num_kv_heads, smol.head_dim, bits
    )
    print(
        f"{bits:2} bits: {size:6,} bytes a token, {1000 * size / MIB:4.1f} MiB for 1,000 tokens"
    )


# %% [markdown]
# We will ask for this number often, so here it is as a function of the model alone.


# %%
def per_token(model, bits=16):
    """Bytes that one token leaves in the cache of ``model``."""
    sizes = model.num_layers, model.num_kv_heads, model.head_dim
    return arithmetic.kv_bytes_per_token(*sizes, bits)


for name, m in MODELS.items():
    sizes = f"{m.num_layers} layers × 2 × {m.num_kv_heads:2} × {m.head_dim:3}"
    print(f"{name:13} {sizes}: {per_token(m) / KIB:5.1f} KiB a token")

# %% jupyter={"source_hidden": true}
figure, axes = new_figure(8, 2.2)
bars = [bar(name, text="g", cache=per_token(model) / KIB) for name, model in MODELS.items()]
draw_bars(axes, bars, unit="KiB that one token leaves in a 16-bit cache")
show(
    figure,
    alt="Bars of cache bytes per token: SmolLM2-135M 22.5 KiB, Llama-2-7B 512, Llama-3-8B 128, "
    "Llama-3-70B 320.",
    caption="Bytes per token do not follow model size: Llama-2-7B leaves four times as much as "
    "Llama-3-8B, and more than the 70B model.",
)

# %% [markdown]
# The 7B model is *more* expensive per token than the 70B one. The reason is the third factor above: **grouped-query
# attention**. In Llama-3-8B, four query heads share one key-value head, and only KV heads are cached.

# %%
old, new = MODELS["Llama-2-7B"], MODELS["Llama-3-8B"]
groups = old.num_heads // old.num_kv_heads, new.num_heads // new.num_kv_heads
print(f"query heads that share a KV head: {groups[0]} and {groups[1]}")
print(f"bytes per token: {per_token(old) // per_token(new)} to 1")

# %% [markdown]
# <div class="alert alert-block alert-success"><b>Takeaway 1.</b> Bytes per token = layers × 2 × KV heads × head size × bits / 8.
# Query heads, hidden size and vocabulary do not appear in it.</div>

# %% [markdown]
# ### Try it 1 · by hand
# A model has 40 layers, 40 KV heads of 128 and a 16-bit cache (this is Llama-2-13B). How many **KiB** does one token leave?
# Replace the dots; paper first.
#
# <details><summary>Solution</summary>
#
# 40 × 2 × 40 × 128 = 409,600 values, at 2 bytes 819,200 bytes, which is 800 KiB.
# </details>

# %%
kib_a_token = ...

if kib_a_token is ...:
    print("not answered yet: a whole number of KiB")
else:
    assert kib_a_token * KIB == arithmetic.kv_bytes_per_token(40, 40, 128), (
        "layers × 2 × heads × size × 2 bytes / 1024"
    )
    print("right")

# %% [markdown]
# ### Exercise 01.token_bytes · What a token leaves behind (●○○, 10 min)
# The exercises with a name have files of their own: write `exercises/01_the_memory_bill/token_bytes.py` in any editor, save, and run the cell below. It checks what the file says, and shows the smallest case that is not right yet.

# %%
check("01.token_bytes")

# %% [markdown]
# ## 2 · A bill with two lines
#
# The first line is the weights: paid once, however many users there are. Counting them takes only the shape of the model.


# %%
def gib_of_weights(model, bits=16):
    return arithmetic.weight_bytes(arithmetic.num_parameters(model), bits) / GIB


for name, model in MODELS.items():
    parameters, gib = arithmetic.num_parameters(model), gib_of_weights(model)
    print(f"{name:13} {parameters:14,} parameters, {gib:6.2f} GiB in 16 bits")

# %% [markdown]
# The second line is the cache: it starts at zero and grows with every token of every user. After how many tokens does the
# second line overtake the first?

# %%
for name, model in MODELS.items():
    tokens = arithmetic.weight_bytes(arithmetic.num_parameters(model)) // per_token(model)
    print(f"{name:13} at {tokens:7,} tokens, or {tokens // 2048:3} users with 2,048 each")

# %% [markdown]
# A few dozen users, and most of the memory of a server is cache. So it is worth managing well, and that is what this
# whole course is about.

# %% [markdown]
# ### Exercise 01.pool_pages · Cut what is left into pages (●○○, 10 min)
# A machine, its weights, and the rest cut into pages: `exercises/01_the_memory_bill/pool_pages.py`.

# %%
check("01.pool_pages")

# %% [markdown]
# ## 3 · Concurrency is multiplication
#
# Take the 70B model and one user with 8,192 tokens of context.


# %%
def gib_of_cache(users, tokens_each, model, bits=16):
    return arithmetic.kv_bytes(users, tokens_each, per_token(model, bits)) / GIB


big = MODELS["Llama-3-70B"]
one = gib_of_cache(1, 8192, big)
print(f"8,192 tokens × {per_token(big) // KIB} KiB = {one} GiB for one user")

# %% [markdown]
# 2.5 GiB is nothing to lose sleep over. Now let more of them in.

# %%
for users in (1, 2, 4, 8, 16):
    print(f"{users:2} × {one} GiB = {gib_of_cache(users, 8192, big):4.1f} GiB")

# %% [markdown]
# <div class="alert alert-block alert-success"><b>Takeaway 2: concurrency is multiplication.</b> One request with 2.5 GiB of cache is
# manageable. Sixteen of them are not "a little more": they are 40 GiB, more than half of an 80 GB card.</div>

# %% [markdown]
# The picture of it: Llama-3-8B on a card with 80 GB, users with 8,192 tokens each. The weights are the same grey block
# in every row.

# %%
h100, model = MACHINES["H100"], MODELS["Llama-3-8B"]
card = h100.memory_bytes / GIB
print(
    f"an 80 GB card has {card:.1f} GiB, of which the weights take {gib_of_weights(model):.1f}"
)

# %% jupyter={"source_hidden": true}
bars = []
for users in (1, 8, 32, 64):
    cache = gib_of_cache(users, 8192, model)
    bars.append(bar(f"{users} at once", weights=gib_of_weights(model), cache=cache))
figure, axes = new_figure(8, 2.5)
draw_bars(axes, bars, unit="GiB", extent=90)
axes.axvline(card, color="black", linestyle="--")
axes.text(card + 0.5, -0.1, "the card: 80 GB")
draw_key(axes, {"weights": "weights", "cache": "KV cache"})
show(
    figure,
    alt="Stacked bars of Llama-3-8B in GiB. Weights are 15 in each. Cache is 1 for one user, 8 "
    "for 8, 32 for 32 and 64 for 64 users, which passes the line of an 80 GB card.",
    caption="Weights stay, cache multiplies: with 8,192 tokens each, 64 users of Llama-3-8B no "
    "longer fit on an 80 GB card.",
)

# %% [markdown]
# Turned around, it is the sum every serving system does at start-up: what is left beside the weights, cut into pages.
# (A page is a fixed number of token slots. Why pages? That is the next notebook.)

# %%
page_size = 16
taken = arithmetic.weight_bytes(arithmetic.num_parameters(model))
pages = arithmetic.pool_pages(h100.memory_bytes, taken, page_size, per_token(model))
print(f"{pages:,} pages of {page_size} tokens = {pages * page_size:,} slots beside the weights")

# %% [markdown]
# How many users is that? It depends on whether a user is charged for what they *might* use, or for what they *do* use.

# %%
reserved = arithmetic.contiguous_concurrency(pages * page_size, 8192)
used = arithmetic.paged_concurrency(pages, page_size, 1000)
print(f"{reserved} users if each reserves 8,192 slots")
print(
    f"{used} users if each takes pages for the 1,000 tokens it has: {used / reserved:.1f} × as "
    "many"
)

# %% [markdown]
# Play with it: model, context and users. The static picture above is one frame of this; every frame was computed by the same
# functions, and the sliders only choose among them.


# %%
def bill(model, context, users):
    weights = gib_of_weights(MODELS[model])
    cache = gib_of_cache(users, context, MODELS[model])
    verdict = "fits" if weights + cache <= card else "does not fit"
    title = f"{model}: {weights:.1f} GiB of weights + {cache:.1f} of cache: {verdict}"
    memory = bar("memory", text=".1f", weights=weights, cache=cache)
    return Frame(title, [memory], 1.05 * max(card, weights + cache), (card, "80 GB"))


contexts, users = [512, 1024, 2048, 4096, 8192, 32768], [1, 2, 4, 8, 16, 32, 64, 128]
Explorer(
    {"model": list(MODELS), "context": contexts, "users": users},
    bill,
    unit="GiB",
    start={"model": "Llama-3-8B", "context": 8192, "users": 32},
)

# %% [markdown]
# ### Exercise 01.concurrency · How many at once (●○○, 15 min)
# How many requests run at once, what they need together, and what pages gain: `exercises/01_the_memory_bill/concurrency.py`.

# %%
check("01.concurrency")

# %% [markdown]
# ## 4 · The model that wins is the one that packs
#
# Which model should a single 80 GB card serve? Let us see how many users of 4,096 tokens each leaves room for.

# %%
for name, bits in [("Llama-3-70B", 16), ("Llama-3-70B", 4), ("Llama-3-8B", 16)]:
    weights = gib_of_weights(MODELS[name], bits)
    users = max(0, card - weights) // gib_of_cache(1, 4096, MODELS[name])
    print(
        f"{name:11} in {bits:2} bits: {weights:5.1f} GiB of weights, room for {users:3.0f} "
        "users"
    )

# %% [markdown]
# The smartest model does not load at all in 16 bits. In 4 bits it loads, and then holds fewer than a third of the
# users that the small one does; and each of its tokens reads more memory, so each user waits longer.

# %% [markdown]
# <div class="alert alert-block alert-success"><b>Takeaway 3.</b> The deployment that wins is not always the one with the smartest model, but the
# one that packs well, schedules well and meets its latency targets.</div>

# %% [markdown]
# ## 5 · Two quantisations, two lines of the bill
#
# "We use a 4-bit model, memory is no problem." Look at which line of the bill that touches: 32 users of Llama-3-8B with 8,192
# tokens each.

# %%
for weight_bits, kv_bits in [(16, 16), (4, 16), (16, 4), (4, 4)]:
    weights, cache = gib_of_weights(model, weight_bits), gib_of_cache(32, 8192, model, kv_bits)
    total = f"{weights:5.2f} + {cache:5.2f} = {weights + cache:5.2f} GiB"
    print(f"{weight_bits:2}-bit weights, {kv_bits:2}-bit cache: {total}")

# %% jupyter={"source_hidden": true}
figure, axes = new_figure(8, 2.5)
bars = []
for weight_bits, kv_bits in [(16, 16), (4, 16), (16, 4), (4, 4)]:
    weights, cache = gib_of_weights(model, weight_bits), gib_of_cache(32, 8192, model, kv_bits)
    label = f"weights {weight_bits}, cache {kv_bits} bits"
    bars.append(bar(label, text=".1f", weights=weights, cache=cache))
draw_bars(axes, bars, unit="GiB")
draw_key(axes, {"weights": "weights", "cache": "KV cache"})
show(
    figure,
    alt="Stacked bars in GiB: 16-bit weights and cache 15 and 32; 4-bit weights alone 3.7 and "
    "32; 4-bit cache alone 15 and 8; both 3.7 and 8.",
    caption="Four-bit weights shrink the grey part only. With 32 users of 8,192 tokens the "
    "cache is the larger part, and it did not move.",
)

# %% [markdown]
# <div class="alert alert-block alert-success"><b>Takeaway 4.</b> Quantised weights are not a quantised KV cache. A 4-bit checkpoint may still fill
# 16-bit pages: less memory for the weights does not promise less memory at run time.</div>

# %% [markdown]
# ### Try it 2 · what did it save?
# In the table above, by which percentage did going from 16-bit to 4-bit *weights* shrink the whole bill (cache left at 16 bits)?
# Round to a whole per cent.
#
# <details><summary>Solution</summary>
#
# From 46.96 to 35.74 GiB: 24 per cent, although the weights themselves shrank by 75.
# </details>

# %%
saved_percent = ...

if saved_percent is ...:
    print("not answered yet: a whole per cent")
else:
    before, after = (gib_of_weights(model, b) + gib_of_cache(32, 8192, model) for b in (16, 4))
    right = round(100 * (before - after) / before)
    assert saved_percent == right, "compare the two sums, not the two weights"
    print("right")

# %% [markdown]
# ## 6 · Two beasts in one model
#
# Memory is one half of the bill, time is the other. A step of the model does arithmetic (FLOPs) and moves bytes (weights and cache).
# The ratio of the two, **FLOPs per byte**, decides which of them the chip waits for.
#
# First by hand: one weight, used for one token, then for a hundred.

# %%
for tokens in (1, 100):
    flops, moved = 2 * tokens, 2  # a multiply and an add each; a 16-bit weight is read once
    print(f"{tokens:3} tokens share a weight: {flops / moved:3g} FLOPs for each byte moved")

# %% [markdown]
# That is the whole secret. **Prefill** has many tokens to share each weight it reads, **decode** has one per user. Here for a prompt of 2,048 tokens, and for the one token after it:

# %%
prefill = arithmetic.prefill_cost(model, 2048)
decode = arithmetic.decode_cost(model, [2048])
for name, cost in [("prefill", prefill), ("decode", decode)]:
    work, moved = f"{cost.flops / 1e9:8,.0f} GFLOP", f"{cost.traffic / 1e9:.1f} GB moved"
    print(f"{name:7} {work}, {moved}: {cost.intensity:7,.1f} FLOPs per byte")
print(f"decode moves {prefill.intensity / decode.intensity:,.0f} times as many bytes per FLOP")

# %% [markdown]
# A chip has a ratio of its own: what it can compute against what it can fetch. Work below that ratio waits for memory, work above
# it for arithmetic.

# %%
ridge = arithmetic.ridge_point(h100)
print(f"an H100 can do {ridge:.0f} FLOPs in the time it fetches one byte")
for name, cost in [("prefill", prefill), ("decode", decode)]:
    share = arithmetic.attainable_flops(cost.intensity, h100) / h100.peak_flops
    print(f"{name:7} can use {100 * share:5.1f} % of its arithmetic")

# %% [markdown]
# Drawn on logarithmic axes this is the **roofline**: the slope is the memory, the flat part is the arithmetic.

# %% jupyter={"source_hidden": true}
figure, axes = new_figure(8, 3.6)
steps = {
    "prefill, 2,048 tokens": prefill,
    "prefill, 128 tokens": arithmetic.prefill_cost(model, 128),
}
steps |= {f"decode, {n} at once": arithmetic.decode_cost(model, [2048] * n) for n in (64, 8, 1)}
draw_roofline(axes, h100, steps)
axes.set_title("Llama-3-8B on an H100", loc="left")
show(
    figure,
    alt="Roofline of an H100 with Llama-3-8B. A prefill of 2,048 tokens lies on the flat roof; "
    "decoding one sequence lies far down the slope, 8 and 64 at once higher up it, still "
    "below the ridge.",
    caption="The same model, two beasts: a long prefill reaches the flat roof (arithmetic), "
    "decode climbs the slope (memory) however many sequences share a step.",
)

# %% [markdown]
# <div class="alert alert-block alert-success"><b>Takeaway 5.</b> Prefill works on a whole prompt in parallel and is bound by arithmetic. Decode adds one
# token at a time, re-reads the cache for it, and is bound by memory. One model, two kinds of strain.</div>

# %% [markdown]
# Batching helps decode, because users share the weights. It cannot help without end, because nobody shares the cache: watch
# the intensity as the batch grows.

# %%
for batch in (1, 8, 64, 512, 4096):
    cost = arithmetic.decode_cost(model, [2048] * batch)
    share = arithmetic.kv_bytes(batch, 2048, per_token(model)) / cost.traffic
    print(
        f"{batch:4} at once: {cost.intensity:4.1f} FLOPs per byte; of the bytes "
        f"{100 * share:4.1f} % are cache"
    )

# %% [markdown]
# ### Try it 3 · where is the ceiling?
# Without the weights, what is the intensity of decode attention alone? Per KV head and cached token, a head reads a key and a value of
# `head_dim` numbers at 2 bytes. Each query head that uses it does 2 FLOPs a number for the score and 2 for the sum. In Llama-3-8B four query heads share a KV head.
#
# <details><summary>Solution</summary>
#
# 4 heads × (2 + 2) FLOPs over (1 key + 1 value) × 2 bytes = 4 FLOPs per byte, the size of the group: far below any ridge, and the
# batch size does not appear. Notebook 04 takes attention apart, 06 measures this.
# </details>

# %%
attention_intensity = ...

if attention_intensity is ...:
    print("not answered yet: FLOPs per byte")
else:
    assert attention_intensity == 4 * (2 + 2) / (2 * 2), (
        "head_dim cancels: what is left is the group size"
    )
    print("right")

# %% [markdown]
# ## 7 · Two pulls on one rope
#
# The same arithmetic gives times: a step takes as long as the slower of its FLOPs and its bytes. What does a larger batch do to
# each user, and to all of them together?

# %%
rows = []
for batch in (1, 8, 64, 256):
    step = arithmetic.seconds(arithmetic.decode_cost(model, [2048] * batch), h100)
    rows.append((batch, 1000 * step, batch / step))
    print(
        f"{batch:3} at once: {1000 * step:5.1f} ms between a user's tokens, "
        f"{batch / step:6,.0f} tokens/s for all"
    )

# %% jupyter={"source_hidden": true}
figure, (left, right) = new_figure(8, 2.5, columns=2)
batches = [str(batch) for batch, _, _ in rows]
left.bar(batches, [ms for _, ms, _ in rows], color="#D55E00", hatch="//", edgecolor="white")
left.set(title="each user waits longer", xlabel="sequences at once", ylabel="ms between tokens")
right.bar(batches, [rate for _, _, rate in rows], color="#0072B2")
right.set(title="all together get more", xlabel="sequences at once", ylabel="tokens per second")
show(
    figure,
    alt="Two bar charts over batch sizes 1, 8, 64 and 256: milliseconds between a user's "
    "tokens rise from 5 to 25; tokens per second of all users rise from about 200 to 10,000.",
    caption="Two pulls: from 1 to 256 sequences a step, all users together get "
    f"{rows[-1][2] / rows[0][2]:.0f} times the tokens, and each one waits "
    f"{rows[-1][1] / rows[0][1]:.1f} times as long for the next.",
)

# %% [markdown]
# <div class="alert alert-block alert-success"><b>Takeaway 6.</b> Latency targets and throughput targets pull against each other. Chase the speed of a
# single request and the chip idles; chase packing and the slowest users suffer. Notebook 10 measures both.</div>

# %% [markdown]
# ### Try it 4 · the largest batch that keeps a promise
# You promise at most 10 ms between tokens (2,048 tokens of context, Llama-3-8B, H100, roofline times). What is the largest batch? A loop
# will do.
#
# <details><summary>Solution</summary>
#
# ```python
# largest_batch = max(b for b in range(1, 500) if arithmetic.seconds(arithmetic.decode_cost(model, [2048] * b), h100) <= 0.010)
# ```
# It is 68: the weights take 4.5 ms of the 10, and each sequence adds 80 µs of cache traffic.
# </details>

# %%
largest_batch = ...

if largest_batch is ...:
    print("not answered yet: a number of sequences")
else:
    for batch, promise_kept in [(largest_batch, True), (largest_batch + 1, False)]:
        step = arithmetic.seconds(arithmetic.decode_cost(model, [2048] * batch), h100)
        assert (step <= 0.010) is promise_kept, f"{batch} at once take {1000 * step:.2f} ms"
    print("right")

# %% [markdown]
# ### Exercise 01.planner · A capacity planner (●●○, 20 min)
# All of the chapter in one small class, `exercises/01_the_memory_bill/planner.py`: how many users, how long a context, and which line of the bill to look at.

# %%
check("01.planner")

# %% [markdown]
# ## 8 · The same on a real model
#
# Enough paper. We load SmolLM2-135M into the engine of this project, with a pool of 256 pages of 16 tokens, and compare its cache with
# the formula.

# %%
from pagedlab import LLM, SamplingParams

llm = LLM("smollm2-135m", page_size=16, num_pages=256, progress=False)
config = llm.engine.config
formula = (
    256
    * 16
    * arithmetic.kv_bytes_per_token(
        config.num_layers, config.num_kv_heads, config.head_dim, bits=32
    )
)
print(f"allocated {llm.engine.kv.nbytes:,} bytes, by the formula {formula:,}")
assert llm.engine.kv.nbytes == formula

# %% [markdown]
# The weights are what we counted, too. Here a page is a slice of one tensor, in every layer at once.

# %%
parameters = sum(p.numel() for p in llm.engine.model.parameters())
print(f"{parameters:,} parameters, on paper {arithmetic.num_parameters(config):,}")
print("[layers, keys and values, pages, KV heads, slots, head size]")
layers = llm.engine.kv.layers
print([len(layers), *layers[0].shape])

# %% [markdown]
# Now serve four users at once and count. Each gets its prompt and 24 new tokens; the last token of each is emitted but never fed
# back, so it leaves nothing in the cache.

# %%
prompts = [
    "The capital of France is",
    "Once upon a time",
    "Memory is",
    "One, two, three, four, five,",
]
wish = SamplingParams(max_tokens=24, temperature=0.0, ignore_eos=True)
outputs = llm.generate(prompts, wish, progress=False)
lengths = [len(out.prompt_token_ids) + len(out.outputs[0].token_ids) - 1 for out in outputs]
size = per_token(config, bits=32)
print("tokens cached for each:", lengths)
print(f"{sum(lengths)} tokens × {size:,} bytes = {sum(lengths) * size / MIB:.2f} MiB in use")

# %% [markdown]
# And the reservation that pages replace: had each of the four claimed room for the model's whole context in advance, the bill would
# have been this.

# %%
claimed = arithmetic.contiguous_slots(lengths, config.max_context) * size
paged = arithmetic.paged_slots(lengths, 16) * size
print(f"reserved in advance: {claimed / MIB:,.0f} MiB; in pages of 16: {paged / MIB:.2f} MiB")

# %% [markdown]
# <div class="alert alert-block alert-success"><b>Takeaway 7.</b> The formula is not an estimate: the engine's tensors have exactly that size. What is left to
# design is who gets which part of them, and when.</div>

# %% [markdown]
# ## Quiz
#
# Open the answer that you would give; then open the others, and read why not.

# %%
from pagedlab.learn.quizzes import quiz

quiz("01.four_bits")

# %% [markdown]
# ## Pause and recall
#
# Answer aloud, then unfold.
#
# <details><summary>Which sizes of a model appear in bytes per token, and which do not?</summary>
#
# Layers, KV heads, head size and the bits of the cache. Not the query heads, the hidden size, the feed-forward size or the vocabulary.
# </details>
#
# <details><summary>Why is decode more memory-bound than prefill?</summary>
#
# Both read all weights once a step. Prefill shares that reading among hundreds of tokens, decode among one token a sequence; and every decoding
# sequence re-reads its own cache as well.
# </details>
#
# <details><summary>Why do quantised weights not by themselves make serving cheap?</summary>
#
# They shrink the line of the bill that is paid once. With many users the other line, the cache, is the larger, and it stays at 16 bits unless it is
# quantised itself.
# </details>
#
# <details><summary>Why does a larger batch not cure decode for good?</summary>
#
# Weights are shared by the batch, caches are not. As the batch grows, traffic becomes all cache, and the intensity of attention depends on the
# group size only.
# </details>

# %% [markdown]
# ## Interview questions
#
# <details><summary>Why invest in a smarter allocator before a bigger model? (Avoid: "the best model on paper is automatically the best to serve".)</summary>
#
# Users are served by what is left beside the weights. Reserving 8,192 slots for users who need 1,000 throws away seven eighths of it; an allocator gets
# them back without a new card and without a worse answer. A bigger model takes more of the same memory and leaves fewer users to pay for it.
# </details>
#
# <details><summary>A colleague fits one request with 2.5 GiB of cache and concludes that 16 will be fine on the same card. What do you ask? (Avoid: "nothing, 16 are only a little more".)</summary>
#
# What is free *beside the weights*, and whether the 16 arrive together: 16 × 2.5 is 40 GiB. Then, whether 2.5 GiB is what a request uses or
# what it reserves.
# </details>

# %% [markdown]
# ## Sketch from memory
#
# On paper, without scrolling up: a bar for the card's memory, cut into weights, cache and rest. Beside it the roofline with two dots, *prefill* and *decode*,
# each labelled "compute-heavy" or "memory-heavy". Then compare with sections 3 and 6.

# %% [markdown]
# ## Bridge
#
# You now know what a token costs. You have also seen that a user who *reserves* 8,192 slots and uses 1,000 pays for 8,192. The next notebook,
# [02 · fragmentation](02_fragmentation.ipynb), measures that loss, and cuts it from 5,288 slots to 424.
