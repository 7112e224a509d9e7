# %% [markdown]
# # 06 · Prefill against decode
#
# **The idea in a line:** two beasts live in one model: prefill waits for arithmetic, decode waits for memory.
#
# **Afterwards you can**
# - count the operations and the bytes of any step on paper, and say what the step will wait for;
# - profile a running engine, read its timeline, and open the same trace in a viewer of your choice;
# - measure the roof over your own machine, and place steps under it;
# - say what a larger batch does for decode, and from which context on it does nothing more.
#
# **Time:** 75–90 minutes. **Needs:** Python, no GPU; [03 · page tables](03_page_tables.ipynb). Sections 4 to 7 profile a real model.

# %%
import json
from pathlib import Path
from time import perf_counter

import pagedlab
from pagedlab.arithmetic import (
    MACHINES,
    MODELS,
    Chunk,
    Machine,
    ModelShape,
    decode_cost,
    prefill_cost,
    ridge_point,
    seconds,
    step_cost,
)
from pagedlab.engine.ceilings import measured_machine
from pagedlab.engine.profiling import Kind, profiled
from pagedlab.learn import check
from pagedlab.learn.quizzes import quiz
from pagedlab.view import timeline
from pagedlab.view.figures import draw_roofline, new_figure, show

print(", ".join(Kind))

# %% [markdown]
# ## 1 · Two kinds of step, by hand
#
# A request lives through two phases. **Prefill** computes all tokens of the prompt in one step; **decode** then adds one token a step. The model is the same; what differs is how many tokens meet its weights at once.
#
# Let us count with a model that fits on a napkin: one layer, one head of two numbers, a hidden state of four.

# %%
napkin = ModelShape(
    num_layers=1,
    hidden_size=4,
    num_heads=1,
    num_kv_heads=1,
    head_dim=2,
    intermediate_size=6,
    vocab_size=10,
)
for name, cost in {
    "prefill of 3 tokens": prefill_cost(napkin, 3, weight_bits=32, kv_bits=32),
    "decode after 3 tokens": decode_cost(napkin, [3], weight_bits=32, kv_bits=32),
}.items():
    print(f"{name:22} {cost.flops:5} FLOPs, {cost.traffic:4} bytes")

# %% [markdown]
# Three tokens cost over twice the operations of one, for nearly the same bytes: the weights, which come from memory once a step, whether one token waits for them or three.
#
# Operations are of two kinds. In *matrices* each new token meets each weight, in a multiplication and an addition. In *attention* each new token meets every token before it, and itself.

# %% [markdown]
# ### Exercise 06.flops · Count the operations (●○○, 15 min)
# Count them in `exercises/06_prefill_vs_decode/flops.py`: matrices first, then the pairs of attention.

# %%
check("06.flops")

# %% [markdown]
# Bytes are of two kinds, too: the weights, and the keys and values. Cached ones are read once; new ones are written, and read.

# %% [markdown]
# ### Exercise 06.traffic · Count the bytes (●○○, 15 min)
# Count them in `exercises/06_prefill_vs_decode/traffic.py`, for a step of any chunks.

# %%
check("06.traffic")

# %% [markdown]
# ## 2 · One number tells them apart
#
# Operations divided by bytes is the **arithmetic intensity** of a step. Here it is for Llama-3-8B in 16 bits, for prompts and for a lone decode.

# %%
llama = MODELS["Llama-3-8B"]
for tokens in (1, 16, 128, 1024, 4096):
    cost = prefill_cost(llama, tokens)
    print(f"prefill of {tokens:5,}: {cost.intensity:8,.1f} FLOPs a byte")
alone = decode_cost(llama, [1024])
print(f"decode after 1,024: {alone.intensity:6.1f}")

# %% [markdown]
# A prompt's intensity grows with its length, for it shares the weights among its tokens. Decode has one token to share them with. Turned around: how many more bytes does decode move for each operation?

# %%
prompt_step = prefill_cost(llama, 1024)
times = prompt_step.intensity / alone.intensity
print(f"decode moves {times:,.0f} times as many bytes per FLOP as a prefill of 1,024")

# %% [markdown]
# <div class="alert alert-block alert-success"><b>Takeaway 1.</b> The same matrices in both phases. Prefill multiplies each weight that it reads with hundreds of tokens, decode with one for each sequence.</div>
#
# ## 3 · The roof
#
# A machine has two limits: operations a second, and bytes a second. Work of low intensity runs into the second, work of high intensity into the first; where they meet is the **ridge point**.

# %%
h100 = MACHINES["H100"]
print(f"{h100.peak_flops / 1e12:,.0f} TFLOP/s in bf16, {h100.bandwidth / 1e12:.2f} TB/s")
print(f"ridge at {ridge_point(h100):.0f} FLOPs a byte")

# %% [markdown]
# ### Exercise 06.roofline · Under the roof (●○○, 10 min)
# Write the roof in `exercises/06_prefill_vs_decode/roofline.py`: what can be reached, which limit it is, how long a step takes.

# %%
check("06.roofline")

# %% jupyter={"source_hidden": true}
figure, axes = new_figure(7, 3.4)
steps = {
    "decode, 1 sequence": alone,
    "decode, 16 sequences": decode_cost(llama, [1024] * 16),
    "decode, 256 sequences": decode_cost(llama, [1024] * 256),
    "prefill of 128": prefill_cost(llama, 128),
    "prefill of 1,024": prompt_step,
}
draw_roofline(axes, h100, steps)
show(
    figure,
    alt="A roofline of an H100 with five steps of Llama-3-8B: decode on the slope, the long prefill on the flat roof.",
    caption="Llama-3-8B in bf16 under the data sheet's roof of an H100. Left of the dotted ridge a step waits for memory, right of it for arithmetic.",
)

# %% [markdown]
# Look at the distance between the first marker and the flat roof: that is arithmetic which a lone decode leaves unused. The next line computes it.

# %%
used = alone.flops / seconds(alone, h100) / h100.peak_flops
print(f"a lone decode can use {used:.1%} of the H100's arithmetic")
print(f"and takes {1e3 * seconds(alone, h100):.1f} ms a token, at best")

# %% [markdown]
# ## 4 · Profile it for real
#
# So far it was paper. Now the engine of this package serves SmolLM2, and torch's profiler writes down what happens when. First the prompt, 512 tokens in one step; then eight steps of one token.

# %%
llm = pagedlab.LLM(
    "smollm2-135m", max_tokens_per_step=2048, prefix_cache="none", progress=False
)
wish = pagedlab.SamplingParams(max_tokens=9, temperature=0.0, ignore_eos=True)
prompt = [1000 + 7 * number for number in range(512)]
llm.generate(prompt, wish, progress=False)  # warm: nothing is loaded or compiled later
trace_file = Path("06_prefill_vs_decode.trace.json")

with profiled(llm.engine, trace_file) as profile:
    llm.generate(prompt, wish, progress=False)
prefill, *decodes = profile.steps
print(f"{prefill.num_tokens} tokens in the first step, then {len(decodes)} steps of one")
assert [step.num_tokens for step in decodes] == [1] * 8

# %% [markdown]
# `profiled` puts labels around the parts of a step for as long as its block lasts. Each labelled stretch became a span: its kind, when it began, how long it took.

# %%
kinds = [span.kind for span in decodes[0].spans]
for kind in (Kind.MATRICES, Kind.ATTENTION, Kind.BETWEEN, Kind.SAMPLING, Kind.SCHEDULING):
    print(f"{kind:22} {kinds.count(kind):4} spans")

# %% [markdown]
# Count them against the model: 30 layers, each with four products (q, k and v are one; so are gate and up), and the head: 121. One attention a layer. The numbers are the same in prefill and decode.

# %%
prefill_kinds = [span.kind for span in prefill.spans]
assert prefill_kinds == kinds
print("the same spans in the same order:", prefill_kinds == kinds)

# %% [markdown]
# What is *not* the same is what they wait for. Each claim below is computed from your machine's own profile; the numbers behind it differ from machine to machine, so only the claim is kept.

# %%
config = llm.engine.config
decode = sorted(decodes, key=lambda step: step.seconds)[len(decodes) // 2]


def rates(step):
    """FLOP/s and bytes/s that a profiled step reached."""
    cost = step.cost(config)
    return cost.flops / step.seconds, cost.traffic / step.seconds


claims = {
    "prefill reaches over 4 times the FLOP/s of decode": rates(prefill)[0]
    > 4 * rates(decode)[0],
    "decode moves over 4 times the bytes a second of prefill": rates(decode)[1]
    > 4 * rates(prefill)[1],
    "both spend most of their time in matrices": all(
        max(step.by_kind(), key=step.by_kind().get) is Kind.MATRICES
        for step in (prefill, decode)
    ),
}
for claim, holds in claims.items():
    print(f"{claim}: {holds}")
assert all(claims.values())

# %% [markdown]
# ### The timeline
#
# `bench/profile.py` made such profiles on a quiet machine and kept them. The first figure is a prefill of 256 tokens, the second a decode step of one: a lane for each kind of work, and a mark wherever it was going on.

# %%
root = Path(pagedlab.__file__).parents[1]
kept = json.loads((root / "bench" / "results" / "profile.json").read_text())
results = {result["name"]: result for result in kept["results"]}
about = kept["about"]
print(f"{about['model']}, {about['threads']} threads of an {about['device']} processor")
print(f"{len(results)} kinds of step, from {next(iter(results))} to {list(results)[-1]}")

# %% jupyter={"source_hidden": true}
figure, rows = new_figure(8.4, 4.6, rows=2)
for axes, name in zip(rows, ("prefill of 256", "decode of 1"), strict=True):
    spans = results[name]["spans_in_milliseconds"]
    stretches = [timeline.Stretch(kind, at / 1e3, long / 1e3) for kind, at, long in spans]
    timeline.draw_timeline(axes, stretches, results[name]["profiled_milliseconds"] / 1e3)
    axes.set_title(name)
rows[0].set_xlabel("")
lasted = [results[name]["profiled_milliseconds"] for name in ("prefill of 256", "decode of 1")]
show(
    figure,
    alt="Two timelines with five lanes each. In both the lane of matrices is marked nearly throughout; attention has thirty short marks, one a layer.",
    caption="Two steps of SmolLM2 as they were profiled. The pattern repeats thirty times, once a layer, and the last product is the head. "
    f"The prefill takes {lasted[0] / lasted[1]:.0f} times as long, for 256 times the tokens.",
)

# %% [markdown]
# Both timelines look alike, and that is the point: you cannot *see* what a step waits for. In prefill the matrices' lane is arithmetic, in decode the same lane is waiting for weights to arrive.

# %%
long, short = results["prefill of 256"], results["decode of 1"]
print(f"prefill of 256: {long['milliseconds'] / 256:5.2f} ms a token")
print(f"decode of 1:    {short['milliseconds']:5.2f} ms a token")
print(
    f"a token of the prompt is {256 * short['milliseconds'] / long['milliseconds']:.0f} times as cheap"
)

# %% [markdown]
# Now yours. The next figure is drawn anew on every machine, and is the one kind of output that our checks do not compare.

# %% tags=["nbval-ignore-output"]
figure, rows = new_figure(8.4, 4.6, rows=2)
for axes, (name, step) in zip(
    rows, {"prefill of 512": prefill, "decode of 1": decode}.items(), strict=True
):
    stretches = [timeline.Stretch(*vars(span).values()) for span in step.spans]
    timeline.draw_timeline(axes, stretches, step.seconds)
    axes.set_title(name)
rows[0].set_xlabel("")
show(
    figure,
    alt="Two timelines, of a prefill of 512 tokens and of a decode step, with a lane for each kind of work.",
    caption="The same two kinds of step, as your machine took them while this notebook ran.",
)

# %% [markdown]
# ### The same trace in a viewer
#
# `profiled` has also written the trace to a file beside this notebook, in Chrome's format. Drop it on [ui.perfetto.dev](https://ui.perfetto.dev), or open it in `chrome://tracing`: there you can zoom into one product of one layer, with every torch operator inside.

# %%
events = json.loads(trace_file.read_text())["traceEvents"]
names = [event["name"] for event in events if event.get("ph") == "X"]
print(
    f"{trace_file}: {names.count('step')} steps, {names.count('attention over pages')} attentions"
)

# %% [markdown]
# ### Try it 1 · how many labels
# How many spans of attention does the file hold if the answer has 20 tokens instead of 9? Reckon, do not run.
#
# <details><summary>Solution</summary>
#
# One step for the prompt, which brings the first token, and 19 for the others: 20 steps of 30 layers, so 600.
# </details>

# %%
attentions = ...  # a number

if attentions is ...:
    print("not answered yet; with 9 tokens it is", names.count("attention over pages"))
else:
    assert attentions == 20 * config.num_layers, "each token is sampled after one step"
    print("right")

# %% [markdown]
# ## 5 · Time by kind of work
#
# Add up the spans of each kind, and divide by the step. Attention's share is the one to watch.

# %% jupyter={"source_hidden": true}
figure, axes = new_figure(8.4, 4.2)
shown = [
    "prefill of 16",
    "prefill of 256",
    "prefill of 1024",
    "decode of 1",
    "decode of 8",
    "decode of 64",
]
timeline.draw_shares(axes, {name: results[name]["by_kind"] for name in shown})
show(
    figure,
    alt="Stacked bars of six steps. Matrices take most in all; attention grows from a few per cent to about a fifth.",
    caption="Where the time of a step goes. A longer prompt raises attention's share, for its pairs grow with the square; so does a larger batch, which shares the weights and not the caches.",
)

# %%
for name in shown:
    parts = results[name]["by_kind"]
    share = parts["attention over pages"] / sum(parts.values())
    print(f"{name:16} attention {share:4.0%}")

# %% [markdown]
# An honest footnote. To be labelled, the model ran layer by layer from Python; unwatched, this engine computes all layers of a step in one native call. The difference is what watching costs.

# %%
for name in ("prefill of 256", "decode of 1"):
    watched, plain = results[name]["profiled_milliseconds"], results[name]["milliseconds"]
    print(f"{name:15} {plain:6.1f} ms, profiled {watched / plain - 1:+.0%}")

# %% [markdown]
# <div class="alert alert-block alert-success"><b>Takeaway 2.</b> A profile shows where time goes, not why. The why is in two counts, operations and bytes, and in the roof.</div>
#
# ## 6 · The roof over this machine
#
# A data sheet promises what nothing reaches. So let us measure: the quickest of some products of large matrices, and of some sums over 256 MiB.

# %%
here = measured_machine()
print("the ridge lies between 1 and 1,000 FLOPs a byte:", 1 < ridge_point(here) < 1000)
assert 1 < ridge_point(here) < 1000

# %%
kept_machine = Machine(kept["machine"]["peak_flops"], kept["machine"]["bandwidth"], 0)
print(
    f"kept: {kept_machine.peak_flops / 1e9:.0f} GFLOP/s, {kept_machine.bandwidth / 1e9:.0f} GB/s,"
)
print(f"the ridge at {ridge_point(kept_machine):.0f} FLOPs a byte in float32")

# %% jupyter={"source_hidden": true}
figure, axes = new_figure(8.4, 4.4)
points = [
    timeline.Reached(
        one["flops"] / one["bytes"],
        one["flops"] / one["milliseconds"] * 1e3,
        one["kind"],
        str(one["size"]),
    )
    for one in kept["results"]
]
timeline.draw_reached(axes, kept_machine, points)
show(
    figure,
    alt="A measured roofline. Decode's points climb along the slope as the batch grows from 1 to 64; prefill's points lie to the right, below the flat roof.",
    caption="Measured steps under a measured roof. A number is a batch (decode) or a prompt's tokens (prefill). Batch size moves decode along the slope.",
)

# %% [markdown]
# Follow the round markers. At batch 1 decode stands close under the slope: it reads nearly as fast as the machine can. Each doubling moves it to the right, and up; towards the ridge it falls behind the roof, where neither limit alone explains a step.

# %%
for size in (1, 8, 64):
    one = results[f"decode of {size}"]
    reads = one["bytes"] / one["milliseconds"] * 1e3 / kept_machine.bandwidth
    works = one["flops"] / one["milliseconds"] * 1e3 / kept_machine.peak_flops
    print(f"decode of {size:2}: {reads:4.0%} of the bandwidth, {works:4.0%} of the arithmetic")

# %% [markdown]
# On that machine prefill reaches about half of what torch's best product does. The gap is no law of nature: its processor has wider instructions than our kernels use, and the roof is how one finds out.

# %%
best = max(
    one["flops"] / one["milliseconds"] * 1e3
    for one in kept["results"]
    if one["kind"] == "prefill"
)
print(f"the best prefill: {best / kept_machine.peak_flops:.0%} of the measured peak")

# %% [markdown]
# ### A GPU's, when there is one
#
# The same bench runs on a GPU. Its results stand here as soon as somebody has made them; until then we say so.

# %%
on_gpu = root / "bench" / "results" / "profile_gpu.json"
if on_gpu.exists():
    measured = json.loads(on_gpu.read_text())
    print(measured["about"]["device"])
    for one in measured["results"]:
        print(f"{one['name']:16} {one['milliseconds']:8.2f} ms")
else:
    print("not measured yet: python -m bench.profile --device cuda")

# %% [markdown]
# ## 7 · Batch size moves decode
#
# On your machine, now: sequences of 128 tokens decode together, 1, 4 and 16 of them, and we take the median of eight steps.


# %%
def decode_seconds(batch: int) -> float:
    """The median of the steps in which ``batch`` sequences get a token each, seconds."""
    for number in range(batch):
        llm.engine.add_request([1000 + 131 * number + i for i in range(128)], wish)
    llm.engine.step()  # the prompts
    times = []
    while llm.engine.has_work:
        start = perf_counter()
        llm.engine.step()
        times.append(perf_counter() - start)
    return sorted(times)[len(times) // 2]


taken = {batch: decode_seconds(batch) for batch in (1, 4, 16)}
more = (16 / taken[16]) / (1 / taken[1])
print("16 sequences bring over 2 times the tokens a second of one:", more > 2)
assert more > 2

# %% tags=["nbval-ignore-output"]
figure, axes = new_figure(8.4, 4.0)
own = []
for batch, step_seconds in taken.items():
    cost = decode_cost(config, [128] * batch, 32, 32)
    own.append(
        timeline.Reached(cost.intensity, cost.flops / step_seconds, "decode", str(batch))
    )
cost = prefill_cost(config, 512, 32, 32)
own.append(timeline.Reached(cost.intensity, cost.flops / prefill.seconds, "prefill", "512"))
timeline.draw_reached(axes, here, own)
show(
    figure,
    alt="The reader's own roofline, with three decode steps on its slope and a prefill at its right.",
    caption="Your machine's roof, and four of your own steps under it.",
)

# %%
quiz("06.batch")

# %% [markdown]
# ### Where a larger batch ends
#
# Sequences share the weights, but each brings its own cache. With long contexts the traffic becomes all cache, and intensity stops growing. Llama-3-8B in bf16, contexts down, batches across:

# %%
batches = (1, 16, 64, 256, 1024)
print("context  " + "".join(f"B={batch:<7,}" for batch in batches))
for context in (128, 1024, 8192, 32768):
    found = [decode_cost(llama, [context] * batch).intensity for batch in batches]
    print(f"{context:7,}  " + "".join(f"{value:<9.1f}" for value in found))

# %% [markdown]
# Read the last line: from 16 sequences to 1,024 next to nothing is gained. Attention over a cache does a few FLOPs a byte, whatever the batch; only fewer bytes help, such as shared KV heads, a quantised cache (chapter 09) or a shared prefix (chapter 08).

# %%
at_32k = [decode_cost(llama, [32768] * batch).intensity for batch in (16, 1024)]
print(f"64 times the sequences, {at_32k[1] / at_32k[0]:.2f} times the intensity")

# %% [markdown]
# ### Exercise 06.crossover · Where it turns over (●●○, 20 min)
# Solve for both turning points in `exercises/06_prefill_vs_decode/crossover.py`: the batch that reaches the ridge, if there is one, and the context at which attention outweighs the matrices.

# %%
check("06.crossover")

# %% [markdown]
# <div class="alert alert-block alert-success"><b>Takeaway 3.</b> Batching amortises weights, never caches. It moves decode towards the ridge while contexts are short, and nowhere when they are long.</div>
#
# ## 8 · Two beasts in one step
#
# Decode leaves arithmetic idle; prefill leaves bandwidth idle. One step with both uses both: let 32 sequences decode on an H100, and add tokens of somebody's prompt.

# %%
decoding = [Chunk(1024, 1)] * 32
sizes = [0, 64, 128, 192, 256, 320, 384, 512, 768, 1024]
times_ms = [
    1e3 * seconds(step_cost(llama, decoding + ([Chunk(0, size)] if size else [])), h100)
    for size in sizes
]
for size, ms in zip(sizes, times_ms, strict=True):
    print(f"{size:5,} prompt tokens beside them: {ms:5.2f} ms")

# %% jupyter={"source_hidden": true}
figure, axes = new_figure(7, 2.8)
axes.plot(sizes, times_ms, "o-", color="#0072B2", markeredgecolor="black")
axes.set_ylim(0, None)
axes.set_xlabel("prompt tokens in the step, beside 32 decodes")
axes.set_ylabel("least time, ms")
show(
    figure,
    alt="A line that is nearly flat up to 384 tokens and rises steadily from there.",
    caption="The least time of a step on an H100: up to nearly 400 tokens of a prompt ride along almost for nothing; from there on, every one makes 32 users wait.",
)

# %% [markdown]
# The bend is the ridge, seen from above. A **token budget** near it takes a prompt in chunks that cost the others next to nothing: that is chunked prefill, and chapter 07 builds a scheduler on it.

# %%
slowest_free = max(
    size for size, ms in zip(sizes, times_ms, strict=True) if ms < 1.05 * times_ms[0]
)
print(f"up to {slowest_free} tokens the step grows by less than 5 %")
print("and it never gets shorter:", times_ms == sorted(times_ms))

# %% [markdown]
# ### Exercise 06.chunk_budget · A prompt beside the decodes (●●○, 20 min)
# Find the free tokens, and the steps that a prompt takes under a budget, in `exercises/06_prefill_vs_decode/chunk_budget.py`.

# %%
check("06.chunk_budget")

# %% [markdown]
# ### Try it 2 · a smaller cache
# With an int8 cache (`kv_bits=8`) instead of 16 bits: by which factor does the intensity of 64 sequences at 32,768 tokens grow? To one decimal.
#
# <details><summary>Solution</summary>
#
# 1.9: at that length nearly all bytes are cache, so half the bits are nearly twice the intensity. The call is `decode_cost(llama, [32768] * 64, kv_bits=8)`.
# </details>

# %%
factor = ...  # a number like 1.3

if factor is ...:
    print("not answered yet; in 16 bits:", round(decode_cost(llama, [32768] * 64).intensity, 1))
else:
    costs = [decode_cost(llama, [32768] * 64, kv_bits=bits).intensity for bits in (16, 8)]
    assert factor == round(costs[1] / costs[0], 1), "divide the two intensities"
    print("right")

# %% [markdown]
# ## 9 · What follows for the memory of the machine
#
# Four words, and what each of them weighs on. **Prefill** is heavy on arithmetic; **decode** on memory traffic; the **cache** is what decode reads; **concurrency** multiplies the cache.

# %%
for users in (1, 16):
    gib = users * 8192 * 2 * 32 * 8 * 128 * 2 / 2**30
    print(
        f"{users:2} users of 8,192 tokens: {gib:5.1f} GiB of cache, read again for every token"
    )

# %%
quiz("06.bottleneck")

# %% [markdown]
# ## Pause and recall
#
# Answer aloud, then unfold.
#
# <details><summary>Why is decode more memory-bound than prefill?</summary>
#
# Each step reads all weights, and each sequence's cache. Prefill shares this reading among all tokens of the prompt, decode has one token a sequence to share it with.
# </details>
#
# <details><summary>What does the ridge point say, and in which unit?</summary>
#
# FLOPs per byte: the intensity at which a machine's arithmetic and its memory are both fully used. Below it more bandwidth helps, above it more arithmetic.
# </details>
#
# <details><summary>Both timelines look alike. Where is the difference?</summary>
#
# Not in the lanes but in what a lane waits for: the same matrices are bound by arithmetic in prefill and by the arrival of weights in decode.
# </details>
#
# <details><summary>Why does batching help less the longer contexts are?</summary>
#
# Weights are read once for all; caches are not shared. With long contexts traffic is nearly all cache, and its intensity depends on how many query heads share a KV head, not on the batch.
# </details>
#
# ## Interview questions
#
# <details><summary>Why is decode, not prefill, the memory bottleneck? (Avoid: "both stress the same resources in the same way".)</summary>
#
# They run the same matrices but at different intensity: a prompt of a thousand tokens does hundreds of FLOPs for each byte, one decoding sequence about one. Against a ridge of some hundreds the first is bound by arithmetic, the second by memory. The wrong answer looks at the model and not at the step.
# </details>
#
# <details><summary>Your GPU shows 100 % utilisation while one user decodes. Is it well used? (Avoid: "yes, it is busy".)</summary>
#
# The figure says that some kernel was running all the time, not that it did much: it was waiting for weights. Compare FLOP/s and bytes/s with the roof; a lone decode reaches under one per cent of the arithmetic.
# </details>
#
# <details><summary>Would you buy a chip with twice the FLOP/s, or one with twice the bandwidth? (Avoid: "FLOP/s, for a model is arithmetic".)</summary>
#
# Ask for the work. Long prompts and short answers: FLOP/s. Chats with long answers: bandwidth, as most steps are left of the ridge. And more memory may beat both, since it holds a larger batch.
# </details>
#
# ## Sketch from memory
#
# Draw the roof with its slope, its flat part and the ridge. Mark prefill, a lone decode, and an arrow for a growing batch. Under it write *prefill*, *decode*, *cache*, *concurrency*, and beside each: heavy on arithmetic, or on memory.
#
# <details><summary>Compare</summary>
#
# Prefill sits on the flat part: arithmetic. Decode sits on the slope: memory. The cache is memory that decode reads in every step; concurrency multiplies it, and also moves decode to the right, until contexts are long. Under everything: fragmentation is waste, not intelligence.
# </details>
#
# ## Bridge
#
# One step can hold both beasts, and should. Which tokens go into it, whose, and how many? [07 · continuous batching](07_continuous_batching.ipynb) writes the scheduler that decides.
