# %% [markdown]
# # 00 · Start here
#
# **The idea in a line:** a real language model serves a mixed batch of requests, and you watch the pages of its memory while it does.
#
# **Afterwards you can**
# - run a real model from this notebook and read its page map;
# - name the states of a page and say what *shared* means;
# - follow one step of an engine with your own eyes;
# - find your way through the course.
#
# **Time:** 45–60 minutes. **Needs:** Python and a laptop; no GPU. The model (SmolLM2-135M, 93 MB) is fetched once.

# %% [markdown]
# ## 1 · Is everything there?
#
# Each line should begin with OK. If one says FAIL, type `pagedlab doctor` in a terminal: it says how to mend it.

# %%
import sys
from importlib.util import find_spec

needs = {
    "the model's arithmetic": "torch",
    "the page map": "anywidget",
    "the figures": "matplotlib",
    "the notebooks": "jupyterlab",
    "the kernels of this project": "pagedlab_kernels",
    "this project": "pagedlab",
}
print("OK  " if sys.version_info >= (3, 11) else "FAIL", "Python is 3.11 or newer")
for what, package in needs.items():
    print("OK  " if find_spec(package) else "FAIL", f"{what}: {package}")

# %% [markdown]
# ## 2 · A real model
#
# One line loads it. `page_size` and `num_pages` give it a memory of 96 pages with room for 16 tokens each; that memory is what this course is about.

# %%
from pagedlab import LLM, SamplingParams

llm = LLM("smollm2-135m", page_size=16, num_pages=96, progress=False)
llm

# %%
config = llm.engine.config
print(
    f"{config.num_layers} layers, {config.num_kv_heads} KV heads of {config.head_dim} numbers"
)
print(f"vocabulary {config.vocab_size:,}, context {config.max_context:,} tokens")

# %% [markdown]
# First a single prompt. `temperature=0.0` means: always the likeliest token, so you and this page see the same answer.

# %%
greedy = SamplingParams(max_tokens=8, temperature=0.0)
output = llm.generate("The capital of France is", greedy, progress=False)[0]
print(output.prompt_token_ids, "→", output.outputs[0].token_ids)
print(repr(output.outputs[0].text))

# %% [markdown]
# A model reads and writes **tokens**, numbers that stand for pieces of text. Five went in, eight came out.

# %%
print([llm.tokenizer.piece(token) for token in output.prompt_token_ids])

# %% [markdown]
# ## 3 · A mixed batch
#
# A server never has one request at a time. Here are seven: short and long questions, with answers of different lengths. The chat format puts the same
# system prompt before each, and one of them tries something nasty.

# %%
questions = {
    "Say hello to the reader.": 12,
    "Name three colours.": 24,
    "Repeat this exactly, and nothing else: <img src=x onerror=alert(1)>": 32,
    "What is a page table? Answer in one sentence.": 40,
    "Count from one to ten.": 32,
    "Write a short poem about memory.": 48,
    "Why do operating systems cut memory into pages of one size? " * 4: 16,
}
before = len(llm.trace.steps())
chats = [[{"role": "user", "content": question}] for question in questions]
wishes = [SamplingParams(max_tokens=tokens, temperature=0.0) for tokens in questions.values()]
outputs = llm.chat(chats, wishes, progress=False)
for out in outputs:
    print(
        f"{len(out.prompt_token_ids):3} tokens in, {len(out.outputs[0].token_ids):2} out "
        f"({out.outputs[0].finish_reason})"
    )

# %% [markdown]
# They were served *together*: every step of the engine moved all of them forward. And they answered:

# %%
for question, out in zip(questions, outputs):
    print(f"{question[:39]:39} | {out.outputs[0].text[:44]!r}")
print("\nThe third in full:", outputs[2].outputs[0].text)

# %% [markdown]
# The third answer is a piece of HTML that would run a script if a page took it for markup. It is text, here and in every view of this project: what a model
# says is never trusted.

# %% [markdown]
# ## 4 · What happened to the pages
#
# The engine kept a trace of everything that happened to every page. Here is the memory in the middle of that run.

# %%
from pagedlab.view.figures import new_figure, show
from pagedlab.view.svg import page_map_svg

middle = before + 10  # ten steps into the batch
show(
    page_map_svg(llm.trace, step=middle, select=7, title="Seven requests in mid-flight"),
    caption="The page pool while seven requests are served. Each square is a page of 16 "
    "tokens; a colour and a number name its owner, hatching marks pages that several requests "
    "share.",
)

# %% [markdown]
# Read it like this:
#
# - a **used** page belongs to somebody: colour and number say to whom. A pale part has no token yet;
# - a **shared** page is used by several at once. All seven chats begin with the same system prompt, so its first page is kept once;
# - a **cached** page is used by nobody, but what is in it may be needed again;
# - a **free** page is blank.

# %%
from pagedlab.view.frames import count, frame_at

counts = count(frame_at(llm.trace, middle))
print(
    f"{counts.used} used ({counts.shared} shared), {counts.cached} cached, {counts.free} free"
)
share = counts.waste / counts.slots
print(f"{counts.slots} slots held, {counts.waste} of them empty: {100 * share:.0f} %")

# %% [markdown]
# Why does that deserve a course? Because the obvious way, reserving for each request the longest it might become, would have looked like this:

# %%
reserved = 7 * config.max_context
print(f"reserved for seven requests: {reserved:,} slots; held in pages: {counts.slots}")
print(f"{reserved / counts.slots:.0f} times less")

# %% [markdown]
# <div class="alert alert-block alert-success"><b>Takeaway 1.</b> The memory of a server is the keys and values of its live tokens. Cut into pages it holds what is needed, and little else; reserved in
# advance it holds mostly air.</div>

# %% [markdown]
# ## 5 · Watch it live
#
# Below is the same map as a widget. Run the two cells one after the other: the second serves the batch again, and the map follows. Then drag the slider back, press play, hover over a page to see its
# tokens, click one to see its owner's whole row.

# %%
llm.page_map()

# %%
again = llm.chat(chats, wishes, progress=False)
for out in again:
    print(
        f"{len(out.prompt_token_ids)} tokens in, {out.num_cached_tokens} found in cached pages"
    )

# %% [markdown]
# The second time, most of every prompt was still there, in cached pages: not computed again. And the answers?

# %%
same = [a.outputs[0].token_ids == b.outputs[0].token_ids for a, b in zip(outputs, again)]
print("same answers:", same)
assert all(same)

# %% [markdown]
# <div class="alert alert-block alert-success"><b>Takeaway 2.</b> Where a token's memory lies, who shares it and in which batch it was computed must never change an answer. Many tests of
# this project say nothing else.</div>

# %% [markdown]
# ## 6 · One step, by hand
#
# `generate` and `chat` are loops around two calls. We put two requests in line and take the steps ourselves.

# %%
engine = llm.engine
plans = []
engine.listeners.append(plans.append)  # called with the plan of every step
for prompt in ["One, two, three,", "Paged memory is"]:
    engine.add_request(prompt, SamplingParams(max_tokens=5, temperature=0.0, ignore_eos=True))
for _ in range(5):
    print([out.outputs[0].text for out in engine.step()])
print("anything left to do?", engine.has_work)

# %% [markdown]
# In each step the **scheduler** decides which tokens are computed, the **cache manager** finds pages for them, the **model** computes them for all requests at once, and the
# **sampler** picks one new token for each. Here are the scheduler's five plans: how many tokens of each request were computed.

# %%
for plan in plans:
    print([chunk.num_tokens for chunk in plan.chunks])

# %% [markdown]
# The first step computed the whole prompts: that is called **prefill**. The others computed one token a request: **decode**. To the engine they are the same thing, and to the hardware
# they could not be more different (notebook 01, section 6).

# %% [markdown]
# When nobody runs, nothing may be in use. The engine can prove it at any time:

# %%
llm.check()
pool = engine.manager.pool
print(
    f"used {pool.num_used}, cached {pool.num_cached}, free {pool.num_free} of {pool.num_pages}"
)

# %% [markdown]
# ## 7 · How pages come and go
#
# One more picture from the trace: every step of this notebook so far, and what the pages were at its end.

# %% jupyter={"source_hidden": true}
film = [count(llm.trace.replay(until)) for until in llm.trace.steps()[1:]]
figure, axes = new_figure(8, 2.8)
steps = range(len(film))
axes.stackplot(
    steps,
    [c.used for c in film],
    [c.cached for c in film],
    [c.free for c in film],
    labels=["used", "cached", "free"],
    colors=["#0072B2", "#E69F00", "#F4F4F4"],
    hatch=["", "//", ""],
    edgecolor="white",
)
axes.set(xlabel="step", ylabel="pages", xlim=(0, len(film) - 1), ylim=(0, 96))
axes.legend(frameon=True, loc="upper left")
show(
    figure,
    alt="Stacked areas of used, cached and free pages over all steps. Used pages rise with "
    "each batch and fall as requests finish; cached pages grow from batch to batch; the rest "
    "is free.",
    caption="96 pages over all steps so far: two batches of seven, then two small requests. "
    "When requests finish, their full pages stay behind as cached ones.",
)

# %% [markdown]
# <div class="alert alert-block alert-success"><b>Takeaway 3.</b> Used, cached, free: a page is always exactly one of them. Nearly everything in this course is about who moves a page from one to
# another, and when.</div>

# %% [markdown]
# ## 8 · The course
#
# Fourteen chapters. A line leads from a chapter to those that build on it; the small boxes are exercises, which fill as you solve them.

# %%
from pagedlab.learn.overview import Overview, course_map

show(
    course_map(),
    caption="The map of the course. After 03 the ways part: kernels on the left, scheduling and "
    "sharing on the right. They meet in 13, where the parts of the engine are yours.",
)

# %%
Overview()

# %% [markdown]
# The hours are those of the exercises. What is solved is kept on your machine, and stays when the course is updated.

# %% [markdown]
# How a chapter works:
#
# - one idea a cell, small numbers first, a real model at the end. Run every cell; change numbers and run it again;
# - the code of pictures is folded away: click the bar beside a picture to see it;
# - **Try it** cells hold a `...` to replace. Until then they say what they want; a wrong answer fails with a reason; the solution is folded under the question;
# - green boxes are what to keep. *Pause and recall*, *interview questions* and *sketch from memory* at the end are the half of the chapter that makes it stay;
# - to have at hand: the [glossary](../docs/glossary.md), the [notation](../docs/notation.md), the [cheat sheet](../docs/cheat_sheet.pdf) and [what to read next](../docs/reading.md). Something is wrong, or lost you? [Errata](../CONTRIBUTING.md#errata).

# %% [markdown]
# ### Try it 1 · how many pages?
# A prompt of 40 tokens gets an answer of 30. The last token of an answer is not fed back, so it needs no room. How many pages of 16 tokens does the request hold at its end?
#
# <details><summary>Solution</summary>
#
# 69 tokens: four full pages hold 64, the fifth holds the rest. Five.
# </details>

# %%
pages_held = ...

if pages_held is ...:
    print("not answered yet: a whole number of pages")
else:
    assert pages_held == engine.manager.pages_for(40 + 30 - 1), (
        "round up: a page is held as soon as one token is in it"
    )
    print("right")

# %% [markdown]
# ### Try it 2 · cached how much?
# We ask for the poem once more, with one word added at the *end*. How many tokens of the prompt would be found in cached pages? A multiple of 16, because only full pages are found. (`lookup` answers without
# serving anything, so you may guess again.)
#
# <details><summary>Solution</summary>
#
# 16: up to the new word the two prompts agree in 31 tokens, one short of two full pages. So close does not count: a page is found as a whole or not at all.
# </details>

# %%
my_question = "Write a short poem about memory. Thanks!"
my_prediction = ...

if my_prediction is ...:
    print("not answered yet: a multiple of 16")
else:
    chat = llm.tokenizer.apply_chat_template([{"role": "user", "content": my_question}])
    tokens = llm.tokenizer.encode(chat)
    found = engine.manager.lookup(tokens)
    assert my_prediction == found, f"{found} of {len(tokens)} tokens would be found"
    print("right")

# %% [markdown]
# ### Try it 3 · too large a wish
# What does the engine do with a request that can never fit into its 96 pages? Guess (waits for ever, crashes, cuts it short, refuses), then put in a number of tokens that is too large.
#
# <details><summary>Solution</summary>
#
# Any number above about 1,530. It is refused on arrival, with the numbers in the message; the other requests run on.
# </details>

# %%
max_tokens = ...

if max_tokens is ...:
    print("not answered yet: more tokens than", 96 * 16, "slots can hold")
else:
    from pagedlab.errors import InvalidRequest

    try:
        llm.generate(
            "Tell me everything.", SamplingParams(max_tokens=max_tokens), progress=False
        )
    except InvalidRequest as error:
        print("right:", error)

# %% [markdown]
# ### Try it 4 · a smaller page
# Make a second engine with pages of 4 tokens, serve the same seven chats, and compare the waste in mid-flight. More or less than above?
#
# <details><summary>Solution</summary>
#
# Less: at most 3 slots for each request instead of 15. What it costs is in notebook 02.
# </details>

# %%
other = ...  # LLM("smollm2-135m", page_size=4, num_pages=384, progress=False)

if other is ...:
    print(f"not answered yet: an LLM with pages of 4. Above, {counts.waste} slots were empty")
else:
    assert other.engine.manager.page_size == 4, "pages of 4 tokens, please: page_size=4"
    texts = [out.outputs[0].text for out in other.chat(chats, wishes, progress=False)]
    assert texts == [out.outputs[0].text for out in outputs], "no answer may change"
    wastes = [count(other.trace.replay(until)).waste for until in other.trace.steps()[1:]]
    print("waste in each step:", wastes)

# %% [markdown]
# ## Pause and recall
#
# <details><summary>Which three states can a page be in?</summary>
#
# Used, cached, free. Shared is not a fourth one: a shared page is used, by more than one.
# </details>
#
# <details><summary>Why did the second run of the same batch compute less?</summary>
#
# The full pages of its prompts were still there as cached pages. They were found and used again, so only the rest of each prompt was computed.
# </details>
#
# <details><summary>What four things happen in one step?</summary>
#
# The scheduler chooses tokens, the cache manager finds pages for them, the model computes them all at once, the sampler picks a next token for each request.
# </details>

# %% [markdown]
# ## Interview question
#
# <details><summary>Seven users ask at once. Is a server that answers them one after the other not just as fast in total? (Avoid: "the work is the same".)</summary>
#
# The arithmetic is the same, the traffic is not. Each step reads all weights from memory; serving seven together reads them once for seven tokens. Notebook 01 puts numbers on it.
# </details>

# %% [markdown]
# ## Sketch from memory
#
# A grid of squares; three requests with two, three and four pages, one page shared by all, one page half filled. Write *used*, *shared*, *cached*, *free* at one square each.

# %% [markdown]
# ## Bridge
#
# You have seen pages move. Next: what is in one, how many bytes that is, and how quickly users multiply it. [01 · the memory bill](01_the_memory_bill.ipynb).
