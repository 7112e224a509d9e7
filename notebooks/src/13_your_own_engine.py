# %% [markdown]
# # 13 · Your own engine
#
# **The idea in a line:** everything you wrote in this course, a pool, tables, a prefix cache, a scheduler and attention, serves a real model through the same `LLM(...)` as the package's own parts.
#
# **Afterwards you can**
# - name the five parts of an engine and say what each of them knows, and what it must not know;
# - replace them one by one in an engine that runs, and prove after each that no answer has changed;
# - write a cache manager, the part that holds the others together;
# - measure what an engine holds, wastes, hits and costs, and put two engines side by side.
#
# **Time:** 90 minutes, and two to three hours with the exercises. **Needs:** Python, no GPU. The exercises of chapters [03](03_page_tables.ipynb), [04](04_attention_over_pages.ipynb), [07](07_continuous_batching.ipynb) and [08](08_prefix_sharing.ipynb): where one of yours is not solved yet, ours stands in, and the notebook says so.

# %%
from time import perf_counter

from pagedlab import LLM, SamplingParams
from pagedlab.errors import InvariantViolation
from pagedlab.learn import check, solved
from pagedlab.learn.workbook import stand_ins
from pagedlab.models.catalog import load_model
from pagedlab.view.figures import new_figure, show
from pagedlab.view.palette import LINES
from pagedlab.view.svg import page_map_svg

PARTS = {
    "pool": "03.pool",
    "tables": "03.fork",
    "attention": "04.paged_attention",
    "scheduler": "07.scheduler",
    "prefix cache": "08.prefix_cache",
}
modules = {part: solved(name) for part, name in PARTS.items()}
for part, name in PARTS.items():
    print(f"{part:>12}: {'ours stands in' if name in stand_ins else 'yours'} ({name})")

# %% [markdown]
# ## 1 · Five parts that know little of each other
#
# An engine is a loop: choose tokens, find pages, compute, sample. Each part has its own language, and that is what makes them exchangeable.
#
# | part | it knows | it does not know |
# | --- | --- | --- |
# | scheduler | requests, numbers of tokens, a budget | pages |
# | cache manager | which sequence holds which pages | what a token means, when it runs |
# | pool | how many hold a page | who they are |
# | prefix cache | the content of full pages | who holds them |
# | attention | addresses of keys and values | requests, the pool |
#
# `LLM(...)` takes each of them as an argument, by these very names. What does it use when you name none?

# %%
tiny = load_model("tiny-random", progress=False)
llm = LLM(tiny, page_size=4, num_pages=24, max_tokens_per_step=24)
engine = llm.engine
for part in (
    engine.manager.pool,
    engine.manager.prefix_cache,
    engine.manager,
    engine.scheduler,
):
    print(type(part).__module__, "·", type(part).__name__)

# %% [markdown]
# A tiny model with random weights will do for now: it talks nonsense, but always the same. Its memory is far too small on purpose. Eight prompts, every second of which begins alike, must take turns in 24 pages of 4.

# %%
shared = [(7 * i) % 251 for i in range(14)]
prompts = [[(i * i + 31 * number) % 251 for i in range(3 + 5 * number)] for number in range(8)]
prompts = [shared[: 14 - n] + p if n % 2 else p for n, p in enumerate(prompts)]
greedy = SamplingParams(temperature=0.0, max_tokens=10, ignore_eos=True)
print("tokens in the prompts:", [len(prompt) for prompt in prompts])
print("slots:", 24 * 4, "for", sum(map(len, prompts)) + 8 * 9, "tokens in all")


# %%
def answers(llm):
    """The tokens of every answer; afterwards nothing may be in use."""
    outputs = llm.generate(prompts, greedy, progress=False)
    llm.check()
    assert llm.engine.manager.pool.num_used == 0
    return [output.outputs[0].token_ids for output in outputs]


ours = answers(llm)
stats = llm.engine.manager.stats
print("the first answer:", ours[0])
print(f"{llm.engine.scheduler.num_steps} steps, {stats.evictions} evictions")

# %% [markdown]
# These answers are the yardstick. **Whatever we replace, no token may change**: where a key lies, who shares it and when it was computed have no meaning to the model.

# %% [markdown]
# ## 2 · Your pool
#
# The smallest part first. The engine's manager asks a pool for `take`, `share`, `drop` and `blank`, and yours knows all four.

# %%
PagePool = modules["pool"].PagePool
llm = LLM(tiny, page_size=4, max_tokens_per_step=24, pool=PagePool(24))
print("the same answers:", answers(llm) == ours)
print("pages used now:", llm.engine.manager.pool.num_used)

# %% [markdown]
# What if it were wrong? Here is a pool that forgets, now and then, that a page was given back. The answers are still right, and that is the danger: a leak is silent until memory is gone.


# %%
class LeakyPool(PagePool):
    """Every third page that nobody needs any more is forgotten."""

    drops = 0

    def drop(self, page, *, keep):
        self.drops += 1
        if self.drops % 3 == 0 and self.refcount(page) == 1:
            return 0  # "it is free now", it says, and does nothing
        return super().drop(page, keep=keep)


llm = LLM(tiny, page_size=4, max_tokens_per_step=24, pool=LeakyPool(24), max_sequences=1)
first = llm.generate(prompts[:1], greedy, progress=False)[0].outputs[0].token_ids
print("the first answer is right:", first == ours[0])
try:
    llm.check()
except InvariantViolation as error:
    print("but:", error)

# %% [markdown]
# `check()` compares two records of one truth: the counts in the pool, and the entries in all tables (03.audit). Every test of this project calls it after every step.

# %% [markdown]
# <div class="alert alert-block alert-success"><b>Takeaway 1.</b> Right answers do not prove right memory. An engine must be able to prove its books at any moment, and its tests must ask it to.</div>

# %% [markdown]
# ## 3 · Your prefix cache
#
# Next, the index that finds pages by their content. It is asked for `match` when somebody comes in, `publish` when a page is full, `forget` when one is evicted.

# %%
PrefixCache = modules["prefix cache"].PrefixCache
llm = LLM(tiny, page_size=4, num_pages=24, max_tokens_per_step=24, prefix_cache=PrefixCache(4))
print("the same answers:", answers(llm) == ours)
mine, theirs = llm.engine.manager.stats, stats
print("tokens hit:", mine.hit_tokens, "· with the engine's own:", theirs.hit_tokens)

# %% [markdown]
# ## 4 · The manager
#
# Pool, tables and cache meet in the cache manager: it admits, extends, forks and releases, and evicts when pages are short. This is the one part that you have not written yet, and the heart of the engine.

# %% [markdown]
# ### Exercise 13.manager · The cache manager (●●●, 75 min)
# Write it in `exercises/13_your_own_engine/manager.py`, from your pool and your tables. Everything in it is about order: ask before you take, hold before you evict.

# %%
check("13.manager")

# %% [markdown]
# The engine makes its manager itself, because it knows how many pages there are; so it is given the class. (Until yours is solved, ours stands in here too.)

# %%
Manager = solved("13.manager").Manager
llm = LLM(tiny, page_size=4, num_pages=24, max_tokens_per_step=24, manager=Manager)
print("the same answers:", answers(llm) == ours)
mine = llm.engine.manager.stats
print("evictions:", mine.evictions, "· the engine's own manager:", theirs.evictions)
print("tokens hit:", mine.hit_tokens, "·", theirs.hit_tokens)

# %% [markdown]
# Not only the answers are the same, but every decision on the way: the same pages were hit, the same evicted. A specification that is precise leaves no room for two behaviours.

# %% [markdown]
# ## 5 · On the page map
#
# The page map draws a trace, and your manager records none: on the map it does not exist yet. A dozen lines around it change that.

# %% [markdown]
# ### Exercise 13.film · On the page map (●●○, 30 min)
# Write `FilmedManager` in `exercises/13_your_own_engine/film.py`: your manager, which tells a trace what it does to every page.

# %%
check("13.film")

# %%
FilmedManager = solved("13.film").FilmedManager
yours = LLM(
    tiny,
    page_size=4,
    num_pages=24,
    max_tokens_per_step=24,
    manager=FilmedManager,
    max_sequences=4,
)
package = LLM(tiny, page_size=4, num_pages=24, max_tokens_per_step=24, max_sequences=4)
print("the same answers:", answers(yours) == answers(package) == ours)
print("events:", len(yours.trace), "·", len(package.trace), "(the engine's own)")

# %% [markdown]
# Both films can be stopped anywhere. At the fourteenth step, your engine:

# %%
show(
    page_map_svg(yours.trace, step=14, title="Your manager, step 14"),
    caption="24 pages while your manager serves up to four sequences at once. Colours and "
    "numbers name owners, hatching marks pages that are shared, dots mark cached ones.",
)

# %%
show(
    page_map_svg(package.trace, step=14, title="The engine's own manager, step 14"),
    caption="The same step with the engine's own manager: the same pages belong to the same "
    "sequences. Two programs, one specification.",
)

# %%
frames = range(len(package.trace.steps()))
pages_of = []
for llm in (yours, package):
    ends = [*llm.trace.steps()[1:], len(llm.trace)]
    maps = [llm.trace.replay(end) for end in ends]
    pages_of.append([[v.pages for v in m.sequences.values()] for m in maps])
same = sum(a == b for a, b in zip(*pages_of))
print(f"{same} of {len(frames)} steps: every page table is the same")

# %% [markdown]
# <div class="alert alert-block alert-success"><b>Takeaway 2.</b> The manager is where an engine is right or wrong. Two managers that follow one specification cannot be told apart, page by page, step by step.</div>

# %% [markdown]
# ## 6 · Your scheduler
#
# Who computes what in the next step: one budget, no phases (chapter 07). Yours is the engine's scheduler with a step of your own, so it is given as a class, too.

# %%
Scheduler = modules["scheduler"].BudgetScheduler
plans = {}
for name, part in {"yours": {"scheduler": Scheduler}, "the engine's": {}}.items():
    llm = LLM(tiny, page_size=4, num_pages=24, max_tokens_per_step=24, **part)
    plans[name] = []
    llm.engine.listeners.append(
        lambda plan, kept=plans[name]: kept.append([chunk.num_tokens for chunk in plan.chunks])
    )
    print(f"{name:>12}: the same answers:", answers(llm) == ours)
print("the same plan in every step:", plans["yours"] == plans["the engine's"])
print("the first five:", plans["yours"][:5])

# %% [markdown]
# Read the first five plans: prompts are cut where the budget of 24 tokens ends, and sequences that decode get their one token beside them.

# %% [markdown]
# ## 7 · Your attention
#
# In chapter 04 you wrote attention for one sequence. A step has many, with different numbers of new tokens: rows back to back.

# %% [markdown]
# ### Exercise 13.attention · Your attention, in every layer (●○○, 15 min)
# Write `attend` in `exercises/13_your_own_engine/attention.py`: your function, for each sequence of a batch.

# %%
check("13.attention")

# %%
attend = solved("13.attention").attend
llm = LLM(tiny, page_size=4, num_pages=24, max_tokens_per_step=24, attention=attend)
print("the same answers:", answers(llm) == ours)

# %% [markdown]
# Equal tokens, though not equal bits: your sums are made in another order than those of the package's kernel. How far apart are the two on the same step?

# %%
from pagedlab_kernels import get_attention

calls = []


def both(q, kv, batch, scale):
    """Yours, and beside it the package's own; the largest difference is kept."""
    out = attend(q, kv, batch, scale)
    calls.append(float((out - get_attention("cpu")(q, kv, batch, scale)).abs().max()))
    return out


answers(LLM(tiny, page_size=4, num_pages=24, max_tokens_per_step=24, attention=both))
print(f"{len(calls)} calls; never further apart than a hundred thousandth:", max(calls) < 1e-5)

# %% [markdown]
# ## 8 · All of it at once
#
# Each part was tried alone, in an engine whose other parts were known to be right. Now nothing of the engine's own is left but the loop.

# %% [markdown]
# ### Exercise 13.serve · Your engine (●○○, 10 min)
# One call in `exercises/13_your_own_engine/serve.py`: `LLM(...)` with all five parts yours.

# %%
check("13.serve")

# %%
serve = solved("13.serve").serve
llm = serve(tiny, num_pages=24, page_size=4, max_tokens_per_step=24)
print("the same answers:", answers(llm) == ours)

# %% [markdown]
# <div class="alert alert-block alert-success"><b>Takeaway 3.</b> Replace one part at a time, and compare with what ran before. Five small proofs are easier than one large search for a bug.</div>

# %% [markdown]
# ## 9 · A real model
#
# SmolLM2 with 135 million parameters, 30 layers, 9 query heads over 3 KV heads; one system prompt, four users.

# %%
model = load_model("smollm2-135m", progress=False)
system = {"role": "system", "content": "You are a patient teacher. You answer in one sentence."}
questions = [
    "What is a page table?",
    "Why is the sky blue?",
    "What is two plus three?",
    "Name a colour.",
]
chats = [[system, {"role": "user", "content": question}] for question in questions]
wish = SamplingParams(temperature=0.0, max_tokens=16)
engines = {
    "yours": serve(model, num_pages=48, page_size=16),
    "the package's": LLM(model, num_pages=48, page_size=16),
}
print({name: type(llm.engine.manager).__name__ for name, llm in engines.items()})

# %% [markdown]
# To compare more than answers, we watch both while they run.

# %% [markdown]
# ### Exercise 13.watch · What it wastes (●●○, 20 min)
# Write `Watch` in `exercises/13_your_own_engine/watch.py`: after every step, how many slots are held, and how many of them hold a token.

# %%
check("13.watch")

# %%
Watch = solved("13.watch").Watch
seen, said, seconds = {}, {}, {}
for name, llm in engines.items():
    seen[name] = Watch(llm)
    start = perf_counter()
    said[name] = [out.outputs[0].text for out in llm.chat(chats, wish, progress=False)]
    seconds[name] = perf_counter() - start
    llm.check()
for question, one in zip(questions, said["yours"]):
    print(f"{question:26} {one[:60]!r}")

# %% [markdown]
# A real model, served from pages that you handed out. Here they are, one step before the end:

# %%
last = engines["yours"].engine.scheduler.num_steps - 1
show(
    page_map_svg(engines["yours"].trace, step=last - 1, title="SmolLM2 on your pages"),
    caption="Your pool while your engine answers four chats. The hatched page is the system prompt, "
    "which all four share; each other page belongs to one of them.",
)

# %% [markdown]
# And beside the package's own engine:

# %%
print(f"{'':20}{'yours':>12}{'the package':>14}")
one, other = engines["yours"].engine, engines["the package's"].engine
rows = {
    "steps": [e.scheduler.num_steps for e in (one, other)],
    "prompt tokens hit": [e.manager.stats.hit_tokens for e in (one, other)],
    "slots held at most": [watch.most_held for watch in seen.values()],
    "of these wasted": [f"{100 * watch.waste:.1f} %" for watch in seen.values()],
}
for name, (mine, theirs) in rows.items():
    print(f"{name:20}{mine:>12}{theirs:>14}")
print("the same words:", said["yours"] == said["the package's"])

# %% [markdown]
# Memory and decisions are equal to the last slot. What is not equal is speed:

# %%
slower = seconds["yours"] / seconds["the package's"]
print("in the same number of steps:", rows["steps"][0] == rows["steps"][1])

# %% [markdown]
# How much longer yours takes depends on your machine and on what else it does, so it is not printed here; `slower` holds it. Nearly all of it is attention: Python walks over pages where the package's kernel is compiled. The bookkeeping, which is what this course is about, costs next to nothing.

# %% jupyter={"source_hidden": true}
figure, axes = new_figure(8, 2.8)
for (name, watch), colour, style in zip(seen.items(), LINES, ("-", "--")):
    axes.plot([held for held, _ in watch.readings], style, color=colour, label=f"held, {name}")
    axes.plot(
        [filled for _, filled in watch.readings],
        style,
        color=colour,
        lw=1,
        label=f"filled, {name}",
    )
axes.set(xlabel="step", ylabel="slots", ylim=(0, None))
axes.legend(ncols=2)
show(
    figure,
    alt="Slots held and filled after each step, for both engines; the lines coincide.",
    caption="Slots held and slots filled after each step while four chats are answered. The lines "
    "of the two engines lie on each other; between held and filled lies the waste, never a page "
    "a sequence.",
)

# %% [markdown]
# ## 10 · Ask again
#
# The second time, the prompts are still there, in cached pages. Yours finds them as the package does.

# %%
for name, llm in engines.items():
    outputs = llm.chat(chats, wish, progress=False)
    hit = [out.num_cached_tokens for out in outputs]
    same = [out.outputs[0].text for out in outputs] == said[name]
    print(
        f"{name:>13}: {hit} tokens of {[len(o.prompt_token_ids) for o in outputs]} hit; same: {same}"
    )

# %% [markdown]
# Sixteen of thirty-two, though all of it is known? The last token must be computed, for logits are in no cache; so the second page, which ends with it, cannot be hit as a whole.

# %% [markdown]
# ### Try it 1 · how many were computed?
# In the second round, how many prompt tokens did the engine compute for the four chats together? Take it from the line above.
#
# <details><summary>Solution</summary>
#
# The sum over the chats of prompt tokens less hit tokens. At least one a chat: logits come only from a token that is computed.
# </details>

# %%
computed = ...

if computed is ...:
    print("not answered yet: a number of tokens")
else:
    assert computed == sum(len(o.prompt_token_ids) - o.num_cached_tokens for o in outputs), (
        "prompt tokens less hit tokens, over all four"
    )
    print("right")

# %% [markdown]
# ## 11 · What yours cannot do
#
# The package's parts do more: swap to host memory, beams and several samples in one request, sliding windows, quantised pages, drafts, adapters. All of that is more of the same: a page has one owner at a time or is counted, a copy comes before a write, and nothing is forgotten when something fails.
#
# Where to read on, in the order in which an engineer would:
#
# - `pagedlab/memory/manager.py` and `holdings.py`: your manager, with host memory, windows and pins;
# - `pagedlab/scheduling/scheduler.py`: your scheduler, with beams, drafts and bounded overtaking;
# - `kernels/pagedlab_kernels/`: your attention, in C for a CPU and in Triton for a GPU;
# - `pagedlab/engine/engine.py`: the loop, and what happens when a step fails.

# %% [markdown]
# ### Try it 2 · break something
# Give the tiny model an engine in which one part is broken on purpose, and see who notices: the answers, `check()`, or nobody. For a start, an attention whose scale is twice what it should be.
#
# <details><summary>Solution</summary>
#
# `broken = lambda q, kv, batch, scale: attend(q, kv, batch, 2 * scale)`. The answers change at once, and `check()` sees nothing, for memory is in order. A leaking pool is the other way round.
# </details>

# %%
broken = ...  # a function (q, kv, batch, scale) -> tensor like q

if broken is ...:
    print("not answered yet: an attention function with a fault in it")
else:
    llm = LLM(tiny, page_size=4, num_pages=64, attention=broken)
    outputs = llm.generate(prompts[1:], greedy, progress=False)
    llm.check()
    said_so = [out.outputs[0].token_ids for out in outputs]
    assert said_so != ours[1:], "the answers are still right: what is broken?"
    print("right: the answers changed, and check() saw nothing")

# %% [markdown]
# ## Quiz
#
# Open the answer that you would give; then open the others, and read why not.

# %%
from pagedlab.learn.quizzes import quiz

quiz("13.what_is_proved")

# %% [markdown]
# ## Pause and recall
#
# <details><summary>Name the five parts of an engine, and for each one thing that it must not know.</summary>
#
# Scheduler (no pages), cache manager (no meaning of tokens), pool (no owners), prefix cache (no owners, no counts), attention (no requests).
# </details>
#
# <details><summary>Why must hit pages be held before room is made for the others?</summary>
#
# They may be cached ones, in line to be evicted. Making room could evict the very pages that were just found.
# </details>
#
# <details><summary>How much memory did contiguous reservation waste on three requests, and pages of 256 tokens?</summary>
#
# 5,288 slots against 424 (chapter 02). Yours wastes less than a page a sequence, whatever the page.
# </details>
#
# <details><summary>Which faults change answers, and which do not?</summary>
#
# Wrong addresses, masks and lost copies change answers. Leaks, wrong counts and bad eviction do not, until memory is gone. The first are found by comparing tokens, the second by proving the books.
# </details>

# %% [markdown]
# ## Interview questions
#
# <details><summary>A new eviction policy halves the work of your tests, and every answer is right. Do you ship it? (Avoid: "yes, the tests pass".)</summary>
#
# Eviction never shows in answers: a page that is evicted too early is only computed again. Ask the books after every step, replay the trace of real traffic, and compare hits, evictions and preemptions with the policy before.
# </details>
#
# <details><summary>You replace the attention kernel of a running service. How do you know that it is right? (Avoid: "the outputs look fine".)</summary>
#
# Compare numbers with a slow oracle in float64 on random shapes, with poison wherever nothing may be read; compare greedy tokens of whole workloads with the engine before, under memory so short that everything is preempted and shared; then roll out to a part of the traffic.
# </details>

# %% [markdown]
# ## Sketch from memory
#
# One row of logical pages, one row of physical pages, one shared prefix marked. Around it the five parts, with an arrow for everything that one asks of another. Write at each arrow what is handed over. Last line: *fragmentation is waste, not intelligence.*
#
# <details><summary>Compare</summary>
#
# Scheduler → manager: extend, admit, publish, release (numbers of tokens). Manager → pool: take, share, drop, blank (page numbers). Manager → cache: match, publish, forget (content). Engine → attention: tables and slots (addresses).
# </details>

# %% [markdown]
# ## Bridge
#
# The course ends here, and the engine does not. One more thing lives beside the cache in a server's memory: **adapters** (LoRA), small matrices that teach one model many behaviours without training it anew. A server with a thousand of them meets the question of this course again, for they come and go, most of them idle, a few of them hot.
#
# - A page pool can hold them, too: what is in a page then is not keys and values but weights.
# - `LLM(..., adapters={"name": folder})` serves several already, each row of a batch with its own.
# - The next chapter of the story asks how to teach new behaviour without retraining everything.
