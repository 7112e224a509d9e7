# %% [markdown]
# # 07 · Continuous batching
#
# **The idea in a line:** every step has one budget of tokens, and whoever lacks tokens gets some of it: no batch to wait for, no phases to switch between.
#
# **Afterwards you can**
# - say what static batching wastes, and count it;
# - plan a step by hand: one budget, running first, then waiting, prompts in chunks;
# - explain who gives way when pages run out, and what recomputing and swapping cost;
# - weigh admission policies against each other, and bound how long anybody waits;
# - show, with the engine's own scheduler, why less fragmentation means more throughput.
#
# **Time:** 75–90 minutes, and as long again for all exercises. **Needs:** Python, no GPU, no model; [03 · page tables](03_page_tables.ipynb) for pages and pools.
#
# Nothing here computes a single key or value. The scheduler and the cache manager are the engine's own; a *rehearsal* gives them requests and makes up the tokens. Time is counted in steps, work in
# tokens, so every number is the same on every machine.

# %%
import random

from pagedlab import arithmetic
from pagedlab.arithmetic import MACHINES, MODELS, Chunk
from pagedlab.learn import check
from pagedlab.memory.events import Trace
from pagedlab.memory.manager import CacheManager
from pagedlab.memory.prefix_hash import HashPrefixCache
from pagedlab.scheduling.admission import AdmissionPolicy, MaxUtilisation
from pagedlab.scheduling.limits import Limits
from pagedlab.scheduling.rehearsal import Arrival, rehearse
from pagedlab.scheduling.scheduler import Scheduler
from pagedlab.view.batches import batch_svg, stay_bars
from pagedlab.view.explorer import Explorer, Frame
from pagedlab.view.figures import show
from pagedlab.view.page_map import page_map
from pagedlab.view.svg import page_map_svg

alone = rehearse([Arrival(prompt=5, output=3)], Scheduler(CacheManager(8, page_size=4)))
print(
    [f"tokens {part.start} to {part.stop - 1}" for step in alone.steps for part in step.parts]
)

# %% [markdown]
# Three steps for three tokens of output: the first computes the whole prompt and says a token, each other one computes the token said before. The last token is said and never computed.
#
# ## 1 · A step for many costs little more than a step for one
#
# A decode step must read all weights, whoever it is for. On paper, for Llama-3-8B on an H100 with 1,000 tokens of context each:

# %%
llama, h100 = MODELS["Llama-3-8B"], MACHINES["H100"]


def milliseconds(chunks):
    """The least time that the roofline allows for a step of these chunks."""
    return 1000 * arithmetic.seconds(arithmetic.step_cost(llama, chunks), h100)


one = milliseconds([Chunk(1000, 1)])
for sequences in (1, 4, 16, 64):
    step = milliseconds([Chunk(1000, 1)] * sequences)
    print(f"{sequences:2} sequences: a step takes {step / one:.2f} times as long as for one,")
    print(f"   and brings {sequences / (step / one):4.1f} times the tokens a second")

# %% [markdown]
# So tokens per step is nearly tokens per second, and an empty place in a batch is a token not said. Filling places is the scheduler's whole job.
#
# <div class="alert alert-block alert-success"><b>Takeaway 1.</b> Weights are read once a step, not once a sequence. Up to where caches and arithmetic catch up, a step with more sequences in it is nearly free.</div>
#
# ## 2 · Waiting for the longest
#
# The first servers took requests as a training loop takes samples: fill a batch, run it until all have ended, take the next. As an admission policy for our scheduler that is one line: who comes in, comes in
# with everybody else, before anybody has computed anything.


# %%
class StaticBatching(AdmissionPolicy):
    def admits(self, sequence, inside):
        return all(other.num_computed == 0 for other in inside.running)


def serve(arrivals, *, pages=64, page_size=4, budget=32, places=4, **wishes):
    manager = CacheManager(pages, page_size)
    return rehearse(arrivals, Scheduler(manager, Limits(budget, places), **wishes))


lengths = [3, 8, 2, 5, 6, 1, 4, 9, 2, 2]
ten = [Arrival(prompt=4, output=length) for length in lengths]
static = serve(ten, admission=StaticBatching())
print(
    f"{static.num_output} tokens in {static.num_steps} steps: {static.tokens_per_step:.2f} a step"
)

# %% jupyter={"source_hidden": true}
show(
    batch_svg(static, title="Static batching", places=4),
    caption="Ten requests, four places. A batch lasts as long as its longest: everything grey is a "
    "place whose request has ended and which nobody may take yet.",
)

# %% [markdown]
# **Continuous batching** lets the next request in as soon as a place is free, in the middle of everybody else's answers (Orca, OSDI 2022, calls it iteration-level scheduling). That is what the scheduler does when
# nobody forbids it.

# %%
continuous = serve(ten)
assert continuous.num_output == static.num_output
print(
    f"the same tokens in {continuous.num_steps} steps: {continuous.tokens_per_step:.2f} a step"
)

# %% jupyter={"source_hidden": true}
show(
    batch_svg(continuous, title="Continuous batching", places=4, steps=static.num_steps),
    caption="The same ten requests, the same four places, the same scale. F comes in the moment A "
    "has ended; grey is left only at the end, when nobody waits any more.",
)

# %% [markdown]
# ### Exercise 07.static_batching · What it costs to wait for the longest (●○○, 15 min)
# Count it yourself in `exercises/07_continuous_batching/static_batching.py`: steps and idle places of both ways, for any list of lengths.

# %%
check("07.static_batching")

# %% [markdown]
# Ten requests are a drawing. How much is it for many? Lengths of answers are spread widely: let us draw 400 of them, most short and a few long.

# %%
draw = random.Random(7)
many = [Arrival(prompt=1, output=1 + int(draw.expovariate(1 / 40))) for _ in range(400)]
for places in (2, 8, 32):
    waits = serve(many, pages=8000, places=places, admission=StaticBatching())
    flows = serve(many, pages=8000, places=places)
    print(
        f"{places:2} places: {waits.num_steps:5,} steps static, {flows.num_steps:5,} continuous: "
        f"{waits.num_steps / flows.num_steps:.1f} times the tokens a step"
    )

# %% [markdown]
# The larger the batch, the worse the wait: the longest of 32 is much longer than the longest of 2, and the mean stays what it is.
#
# ### Try it 1 · by hand
# Lengths 6, 2, 2, 2 on two places, in this order. How many steps does each way take?
#
# <details><summary>Solution</summary>
#
# Static: (6, 2) takes 6, (2, 2) takes 2: 8 steps. Continuous: the second place serves 2 + 2 + 2 beside the 6: 6 steps.
# </details>

# %%
static_steps, continuous_steps = ..., ...

if static_steps is ... or continuous_steps is ...:
    print("not answered yet: two numbers of steps for", [6, 2, 2, 2])
else:
    by_hand = [Arrival(prompt=1, output=length) for length in (6, 2, 2, 2)]
    found = [
        serve(by_hand, places=2, admission=policy).num_steps
        for policy in (StaticBatching(), None)
    ]
    assert [static_steps, continuous_steps] == found, "draw two rows, and one box a step"
    print("right")

# %% [markdown]
# <div class="alert alert-block alert-success"><b>Takeaway 2.</b> A static batch is as slow as its longest member. Continuous batching decides anew in every step who is in it.</div>
#
# ## 3 · One budget, no phases
#
# When a request comes in, its prompt must be computed; the others go on token by token. Many systems kept two kinds of steps for that, prefill steps and decode steps, and rules for switching. Look at what a step
# really needs to know of each sequence: how many tokens it has, and how many of them are computed.

# %%
trio = [Arrival(prompt=3, output=5), Arrival(prompt=9, output=3, at=1), Arrival(5, 2, at=2)]
rehearsal = serve(trio, budget=6, places=3)
for number, step in enumerate(rehearsal.steps):
    told = [f"{'ABC'[part.request]} {part.start}:{part.stop}" for part in step.parts]
    print(f"step {number}: {step.num_tokens} tokens · {'  '.join(told)}")

# %% [markdown]
# Read it as a budget of 6 tokens that is given out. A decodes, so it lacks one token and gets one; B gets what is left, then the rest of its prompt; C finds whatever remains. A prompt, a part of a prompt and
# a single token are all the same: *start* to *stop*.

# %% jupyter={"source_hidden": true}
show(
    batch_svg(rehearsal, title="One budget of 6 tokens a step", places=3),
    caption="Hatched: tokens of a prompt. Below, what each step computes: full steps mix the prompt "
    "of one with the next token of another, and no step computes more than the budget.",
)

# %% [markdown]
# The rule in full: running sequences first, in their order, each as many tokens as it lacks and the budget still has; then whoever waits, in order, by the same rule. vLLM's V1 scheduler works so, and ours.
#
# ### Exercise 07.budget · One budget, no phases (●●○, 20 min)
# Write that rule in `exercises/07_continuous_batching/budget.py`. If you find yourself asking whether a sequence is in its prompt, there is a shorter way.

# %%
check("07.budget")

# %% [markdown]
# <div class="alert alert-block alert-success"><b>Takeaway 3.</b> A sequence has tokens, and computed tokens. A step moves the second number towards the first, within one budget. Prefill, decode and recomputation are names for how large the gap is.</div>
#
# ## 4 · Chunked prefill
#
# What if the budget is so large that any prompt fits in whole? Then whoever decodes beside it feels it: the next token comes only after the whole step. First the price on paper, for 16 decoding sequences
# and one prompt beside them.

# %%
decoding = [Chunk(1000, 1)] * 16
quiet = milliseconds(decoding)
for prompt in (64, 256, 512, 2048, 8192):
    print(
        f"a chunk of {prompt:5,} tokens beside 16 decodes: the step takes "
        f"{milliseconds([*decoding, Chunk(0, prompt)]) / quiet:5.2f} times as long"
    )

# %% [markdown]
# Up to about 256 tokens the chunk is free: the step waits for weights anyway, and the arithmetic units were idle. Beyond, every reader waits. So let us count gaps between tokens in *work*: tokens computed by
# anybody since one's own last token.

# %%
readers = [Arrival(prompt=4, output=24, name=name) for name in "ABC"]
book = Arrival(prompt=72, output=3, at=4, name="book")
runs = {budget: serve([*readers, book], budget=budget) for budget in (96, 24, 12, 6)}
print("budget   A's longest gap   book: steps to its first token   all steps")
for budget, run in runs.items():
    print(f"{budget:6}   {max(run.gaps(0)):15}   {run.first_token(3):29}   {run.num_steps:9}")

# %% jupyter={"source_hidden": true}
show(
    batch_svg(runs[96], title="The prompt in one piece: budget 96", places=4),
    caption="Step 4 computes 75 tokens. A, B and C have a token in it like in any other step, but "
    "that step takes as long as its 75 tokens do: every reader's stream stops for it.",
)

# %% jupyter={"source_hidden": true}
show(
    batch_svg(runs[12], title="The prompt in chunks: budget 12", places=4),
    caption="The same prompt in eight chunks of 9. No step computes more than 12 tokens, and the "
    "readers never wait for more; the book has its first token seven steps later.",
)

# %% [markdown]
# The budget is a dial between two latencies. Small, and tokens stream smoothly while prompts wait; large, and prompts are answered at once while streams stutter (Sarathi-Serve, OSDI 2024, made the case). Throughput wants it
# where a step just stops being free, a few hundred tokens here.

# %%
for budget, run in runs.items():
    assert max(run.gaps(0)) <= budget, "whoever runs is served first in every step"
chunks = [
    part.stop - part.start
    for step in runs[12].steps
    for part in step.parts
    if part.request == 3
]
print("chunks of the book at budget 12:", chunks, "· prompt tokens:", sum(chunks[:8]))

# %% [markdown]
# ### Exercise 07.chunked_prefill · From steps to a life (●●○, 30 min)
# Run your budget rule to the end, in `exercises/07_continuous_batching/chunked_prefill.py`: sequences come in, compute, say tokens and leave; and measure the gaps. Every token must be computed exactly once.

# %%
check("07.chunked_prefill")

# %% [markdown]
# <div class="alert alert-block alert-success"><b>Takeaway 4.</b> Chunking trades the first token of a long prompt for the smoothness of everybody else's stream, and the token budget is the exchange rate. The longest gap of a running sequence is one budget.</div>
#
# ## 5 · When pages run out
#
# Places and budget are chosen in advance; pages are not. Whoever runs needs a new page every few tokens, and one day none is left. Twelve pages of 4 slots, and three requests that will want more than that together.

# %%
hungry = [Arrival(6, 16, name="A"), Arrival(6, 14, 1, name="B"), Arrival(6, 12, 2, name="C")]
needed = [arithmetic.pages_needed(one.num_prompt + one.output - 1, 4) for one in hungry]
trace = Trace(num_pages=12, page_size=4)
scheduler = Scheduler(CacheManager(12, 4, trace=trace), Limits(32, 4))
crowded = rehearse(hungry, scheduler)
at = next(number for number, step in enumerate(crowded.steps) if step.preempted)
print(f"pages wanted in the end: {needed} = {sum(needed)} of 12")
print(f"step {at}: {'ABC'[crowded.steps[at].preempted[0]]} gave way")

# %% jupyter={"source_hidden": true}
show(
    batch_svg(crowded, title="Preemption by recompute", places=3, pages=True),
    caption="The pool is full, A asks for a page, and C, the last in line, gives all of its own "
    "back. When there is room again it comes back and computes what it had once more, hatched.",
)

# %% [markdown]
# The same moment as pages; a number on a page is its owner's, A = 0. One step before:

# %% jupyter={"source_hidden": true}
show(
    page_map_svg(trace, step=at - 1, title="Before: every page is taken"),
    caption="Three sequences, twelve pages, none free. The last page of each is full or nearly so: "
    "in the next step somebody asks in vain.",
)

# %% jupyter={"source_hidden": true}
show(
    page_map_svg(trace, step=at, title="After: C has given way"),
    caption="C waits and holds nothing. Of the four pages that it gave back one has gone to A, "
    "which got on in this very step, and three are free.",
)

# %% [markdown]
# What does it cost? C's tokens are computed twice; what it has *said* is not lost, since its answer so far is computed like a prompt. The whole story as a live map, every event of it:

# %%
page_map(trace)

# %%
roomy = serve(hungry, pages=64)
print(
    f"tokens computed with room for all: {roomy.num_tokens}, with 12 pages: {crowded.num_tokens}"
)
print(f"computed twice: {crowded.num_tokens - roomy.num_tokens}")
assert crowded.num_output == roomy.num_output

# %% [markdown]
# Who should give way? The last to arrive has waited least and has least to lose, and then the oldest always gets on, whatever happens: that is why nothing can wedge. Orders by urgency need one rule more: the
# first in line is never a victim, or two could take pages from each other for ever.

# %% [markdown]
# ### Exercise 07.victim · Who gives way (●●○, 20 min)
# Write two choices, and who may be chosen at all, in `exercises/07_continuous_batching/victim.py`. Your choice is a function that the engine takes: `LLM(…, victim=least_urgent)`.

# %%
check("07.victim")

# %% [markdown]
# ## 6 · Or swap
#
# The other way: copy the victim's pages to host memory, and copy them back later. Same requests, same twelve pages, eight pages of host memory beside them; and a third way, recompute with a prefix cache,
# which keeps what nobody overwrites.

# %%
ways = {
    "recompute": (CacheManager(12, 4), False),
    "recompute, with a prefix cache": (
        CacheManager(12, 4, prefix_cache=HashPrefixCache(4)),
        False,
    ),
    "swap": (CacheManager(12, 4, num_host_pages=8), True),
}
for name, (manager, swap) in ways.items():
    copies = []
    run = rehearse(
        hungry,
        Scheduler(manager, Limits(32, 4), swap=swap),
        watch=lambda plan, copies=copies: copies.extend(plan.copies),
    )
    print(
        f"{name:31} {run.num_tokens - roomy.num_tokens:2} tokens computed twice, "
        f"{len(copies)} pages copied"
    )

# %% [markdown]
# A swapped sequence comes back to other pages than it left. Its table is all that changes: host pages are numbered from 12 on, behind those of the device.

# %%
swaps, swap_trace = [], Trace(num_pages=12, page_size=4)
manager = CacheManager(12, 4, num_host_pages=8, trace=swap_trace)
rehearse(
    hungry,
    Scheduler(manager, Limits(32, 4), swap=True),
    watch=lambda plan: plan.copies and swaps.append((plan.step, plan.copies)),
)
for step, copies in swaps:
    direction = "out" if copies[0].target >= 12 else "in "
    print(f"step {step:2} {direction}", [f"{copy.source} → {copy.target}" for copy in copies])

# %% jupyter={"source_hidden": true}
show(
    page_map_svg(swap_trace, step=swaps[0][0], title="Out: C lies in host memory"),
    caption="C holds no page of the pool, and yet nothing that it computed is lost: four pages of "
    "host memory keep it.",
)

# %% jupyter={"source_hidden": true}
show(
    page_map_svg(swap_trace, step=swaps[1][0], select=2, title="In: the same tokens elsewhere"),
    caption="C is back, in the same logical order, in pages 4, 8, 10 and 7. The table hides the "
    "move from everything that reads through it.",
)

# %% [markdown]
# Which is cheaper on a real machine? A token's keys and values cross the bus twice; or its FLOPs are done again. Both are proportional to the tokens, so one number decides: the bus speed at which they are
# equal. Here it is on paper, with prompts of 2,048 tokens on an H100.

# %%
for name in ("SmolLM2-135M", "Llama-3-8B", "Llama-3-70B"):
    shape = MODELS[name]
    prefill = arithmetic.seconds(arithmetic.prefill_cost(shape, 2048), h100) / 2048
    moved = 2 * arithmetic.kv_bytes_per_token(
        shape.num_layers, shape.num_kv_heads, shape.head_dim
    )
    print(
        f"{name:12}  {moved / 1024:5,.0f} KiB a token there and back, {1e6 * prefill:6.1f} µs to compute: "
        f"equal at {moved / prefill / 1e9:5.1f} GB/s"
    )

# %% [markdown]
# The larger the model, the dearer its FLOPs beside its bytes, and the better a swap looks. Against it speaks that many small copies of single pages reach less than a bus promises, and that a prefix cache makes
# recomputing cheaper, as above. vLLM's V1 dropped swapping on purpose; ours keeps it as a choice (`preemption="swap"`).

# %% [markdown]
# ### Exercise 07.swap · Recompute or swap (●●●, 30 min)
# Price both, then write the bookkeeping in `exercises/07_continuous_batching/swap.py`: out to host pages, back to fresh ones, all or nothing each time. It grows from your tables of chapter 03.

# %%
check("07.swap")

# %% [markdown]
# <div class="alert alert-block alert-success"><b>Takeaway 5.</b> When pages run out, the newest gives way and the oldest gets on. A victim loses time, never tokens: its answer so far is computed again as if it were a prompt, or copied back into other pages.</div>
#
# ## 7 · Who may come in
#
# Preemption is a repair. Whether it is needed is decided earlier, when somebody is let in. A hundred and twenty requests may say up to 200 tokens each, but most stop much earlier, and nobody knows when. The pool
# has 256 pages of 16; below, the engine's own policies, from the most careful to the boldest.

# %%
draw = random.Random(4)
crowd = [
    Arrival(draw.randint(20, 300), 1 + min(199, int(draw.expovariate(1 / 60))), allowed=200)
    for _ in range(120)
]
work = sum(one.num_prompt + one.output - 1 for one in crowd)  # tokens that must be computed
mean = sum(one.output for one in crowd) / len(crowd)
print(f"{work:,} tokens to compute; an answer has {mean:.0f} tokens on average, of 200 allowed")

# %%
from pagedlab.scheduling.admission import ADMISSIONS


def in_memory(policy, **wishes):
    scheduler = Scheduler(
        CacheManager(256, 16), Limits(512, 64, 512), admission=policy, **wishes
    )
    return rehearse(crowd, scheduler)


careful_first = ["reserve_everything", "guaranteed_no_evict", "optimistic_ratio"]
for name in [*careful_first, "max_utilisation"]:
    run = in_memory(ADMISSIONS[name]())
    print(
        f"{name:20} {run.num_steps:4} steps, {run.tokens_per_step:5.2f} tokens a step, "
        f"{run.num_preemptions:2} gave way, {run.num_tokens - work:5,} tokens computed twice"
    )

# %% [markdown]
# Reserving for the longest answer is safe and slow; letting everybody in is fast, and pays with work done twice. The optimists in between expect a share of the longest answer. A **watermark** is the simplest compromise: whoever comes in must leave
# a few pages for those inside, who will need one each before long.
#
# ### Exercise 07.admission · Who may come in (●●○, 25 min)
# In `exercises/07_continuous_batching/admission.py` write a watermark that the engine takes, and a line in which a small request may overtake a large one, but not for ever.

# %%
check("07.admission")

# %% [markdown]
# Yours goes to work at once (ours, until yours is written): the same crowd, and more and more pages kept.

# %%
from pagedlab.learn import solved

Watermark = solved("07.admission").Watermark
for share in (0, 1 / 32, 1 / 16, 1 / 8, 1 / 4):
    run = in_memory(Watermark(share))
    print(
        f"keep {256 * share:2.0f} of 256 pages: {run.num_steps} steps, {run.num_preemptions:2} gave way, "
        f"{run.num_tokens - work:5,} tokens computed twice"
    )

# %% [markdown]
# Eight pages of 256 spare nearly all repairs, for four steps more; and a step that computes nothing twice is a shorter step.
#
# ## 8 · Nobody waits for ever
#
# Who is next, among those who wait? The shortest prompt first gives the smallest mean wait, and lets a long one starve as long as short ones keep coming. One request of 40 tokens, then two short ones every
# step:

# %%
from pagedlab.scheduling.order import FirstComeFirstServed, Priority, ShortestFirst

stream = [Arrival(40, 4, name="long"), *[Arrival(4, 4, at=i // 2) for i in range(160)]]


def waits(order, most):
    limits = Limits(8, 4, max_overtakes=most)
    run = rehearse(stream, Scheduler(CacheManager(64, 4), limits, order=order))
    short = sum(run.first_token(number) for number in range(1, 161)) / 160
    return (
        f"the long one waits {run.first_token(0):3} steps, a short one {short:4.1f} on average"
    )


print("first come first served:", waits(FirstComeFirstServed(), 256))
for most in (1000, 16, 4):
    print(f"shortest first, {most:4} overtakes at most:", waits(ShortestFirst(), most))

# %% [markdown]
# A bound on overtaking turns a hope into a promise: after so many, the one that waits goes first. Its price is the mean: nothing is left of what short requests won by going first. The same bound guards priorities, where an urgent stream could starve everybody else.

# %%
shop = [
    Arrival(4, 8, at=0, priority=5, name="batch job"),
    *[Arrival(4, 3, at=number // 2, priority=0) for number in range(40)],
]
for most in (1000, 8):
    limits = Limits(6, 2, max_overtakes=most)
    run = rehearse(shop, Scheduler(CacheManager(64, 4), limits, order=Priority()))
    print(
        f"overtaken {most:4} times at most: the batch job has its first token after "
        f"{run.first_token(0):2} of {run.num_steps} steps"
    )

# %% jupyter={"source_hidden": true}
show(
    batch_svg(run, title="Urgent ones first, eight times at most", places=2),
    caption="Two places, and two urgent requests every step. The batch job, which came first, is "
    "passed by B to I, eight of them; then it is overdue, and the next free place is its own.",
)

# %% [markdown]
# <div class="alert alert-block alert-success"><b>Takeaway 6.</b> Admission decides how full the pool runs, the order decides who waits, and a bound on overtaking decides that nobody waits for ever. All three are small functions beside one loop.</div>
#
# ## 9 · Why less fragmentation means more throughput
#
# Now put the chapters together. Two servers with the same memory, 4,096 slots, and the same scheduler. One reserves 512 slots in a row for each request, the longest it may become; the other has pages of 16.


# %%
class Contiguous(AdmissionPolicy):
    """A run of ``reserve`` slots for each, as long as the memory has such runs."""

    def __init__(self, reserve):
        self.reserve = reserve

    def admits(self, sequence, inside):
        slots = inside.manager.pool.num_pages * inside.manager.page_size
        return (len(inside.running) + 1) * self.reserve <= slots


servers = {"contiguous": in_memory(Contiguous(512)), "paged": in_memory(MaxUtilisation())}
for name, run in servers.items():
    live = sum(len(step.running) for step in run.steps) / run.num_steps
    held = sum(step.pages_used for step in run.steps) / run.num_steps / 256
    print(
        f"{name:10}  memory in use {100 * held:2.0f} %  →  {live:4.1f} live requests  →  "
        f"{run.tokens_per_step:5.2f} tokens a step  →  {run.num_steps:5,} steps"
    )

# %% [markdown]
# The chain, from left to right: less fragmentation, more live requests, more for the scheduler to choose from, more tokens a step. Not one FLOP was saved; the paged server even computed some tokens twice. What moved is
# utilisation, and with it the tail of the waits and the cost of a token.

# %%
slow, fast = servers["contiguous"], servers["paged"]
for name, run in servers.items():
    first = sorted(run.first_token(number) for number in range(len(crowd)))
    print(f"{name:10}  first token after {first[60]} steps (median), {first[113]} (19 of 20)")
more = fast.num_tokens - slow.num_tokens
print(f"the paged server computed {more:,} tokens more ({100 * more / slow.num_tokens:.0f} %)")
print(f"and was done in {100 * fast.num_steps / slow.num_steps:.0f} % of the steps")
assert fast.tokens_per_step > 1.9 * slow.tokens_per_step

# %% [markdown]
# The paper that brought pages to serving measured 2 to 4 times the throughput at equal latency (Kwon et al., SOSP 2023). Here tokens a step are counted and not seconds, in which a fuller step costs more. And any such number depends on how far the reserved length lies from the true one:

# %%
published = 2, 4
for reserve in (512, 1024, 2048):
    reserving = in_memory(Contiguous(reserve))
    times = fast.tokens_per_step / reserving.tokens_per_step
    print(
        f"{reserve:5,} slots reserved for each: pages bring {times:.1f} times the tokens a step"
    )
print(f"the paper: {published[0]} to {published[1]} times the requests a second, equal latency")

# %% [markdown]
# Small enough to be drawn: 18 requests, 256 slots. Contiguous, with runs of 64:

# %%
draw = random.Random(11)
few = [Arrival(draw.randint(4, 16), draw.randint(3, 24), allowed=40) for _ in range(18)]
pair = [
    rehearse(few, Scheduler(CacheManager(32, 8), Limits(48, 10, 64), admission=policy))
    for policy in (Contiguous(64), MaxUtilisation())
]
print(
    "steps:",
    [run.num_steps for run in pair],
    "· live at most:",
    [run.most_running for run in pair],
)

# %% jupyter={"source_hidden": true}
show(
    batch_svg(pair[0], title="256 slots, runs of 64", pages=True, steps=pair[0].num_steps),
    caption="Four runs fit, so four requests live at once, although all of their tokens together "
    "would fit into half of the memory, drawn below as pages of 8.",
)

# %% jupyter={"source_hidden": true}
show(
    batch_svg(pair[1], title="256 slots, pages of 8", pages=True, steps=pair[0].num_steps),
    caption="The same requests on the same scale: ten live at once, the pool is just full "
    "at its peak, and all is over in little more than half the steps.",
)

# %% [markdown]
# <div class="alert alert-block alert-success"><b>Takeaway 7.</b> Paging raises throughput by keeping more requests alive in the same memory. A new request needs no fresh stretch of it, so it can come in at any step: paging and continuous batching need each other.</div>
#
# ## 10 · Turn the dials
#
# Token budget, places, pages: three dials. The same eighteen requests, arriving one a step; every setting is served in advance, and moving a slider only picks a picture.

# %%
arriving = [Arrival(one.prompt, one.output, at=number) for number, one in enumerate(few)]


def setting(token_budget, max_sequences, pages):
    manager = CacheManager(pages, 8)
    run = rehearse(arriving, Scheduler(manager, Limits(token_budget, max_sequences)))
    gap = max(max(run.gaps(number), default=0) for number in range(18))
    first = sum(run.first_token(number) for number in range(18)) / 18
    title = (
        f"{run.num_steps} steps, {run.tokens_per_step:.1f} tokens a step; first token after "
        f"{first:.1f} steps; longest gap {gap} tokens; {run.num_preemptions} gave way"
    )
    return Frame(title, stay_bars(run, max_sequences), extent=160)


Explorer(
    {"token_budget": [4, 8, 16, 32, 64], "max_sequences": [2, 4, 8], "pages": [8, 12, 16, 64]},
    setting,
    unit="steps",
    start={"token_budget": 16, "max_sequences": 4, "pages": 16},
)

# %% [markdown]
# ### Try it 2 · find the knee
# With 64 pages and 8 places, which is the smallest token budget of the five that finishes in as few steps as the largest? Turn the dial, or call `setting`.
#
# <details><summary>Solution</summary>
#
# 32: the largest takes 43 steps, so does 32, and 16 takes 45. A larger budget only makes the longest gap worse.
# </details>

# %%
smallest_budget = ...  # one of 4, 8, 16, 32, 64

if smallest_budget is ...:
    print("not answered yet; at budget 64:", setting(64, 8, 64).title.split(",")[0])
else:
    told = {size: setting(size, 8, 64).title.split(",")[0] for size in (4, 8, 16, 32, 64)}
    assert smallest_budget == min(size for size in told if told[size] == told[64]), told
    print("right")

# %% [markdown]
# ## 11 · The step with real pages
#
# Everything of this chapter meets in `Scheduler.schedule` and its two halves, one for those who run and one for those who wait. You have written its parts.
#
# ### Exercise 07.scheduler · The step, with real pages (●●●, 45 min)
# Write both loops in `exercises/07_continuous_batching/scheduler.py`, for the engine's own cache manager, which can say no. In chapter 13 this scheduler serves the real model.

# %%
check("07.scheduler")

# %% [markdown]
# ## 12 · What five systems choose
#
# The mechanisms are the same everywhere; the choices differ. (As of November 2026, from their sources and documentation: [vLLM](https://docs.vllm.ai), [SGLang](https://docs.sglang.ai),
# [TensorRT-LLM](https://nvidia.github.io/TensorRT-LLM), [LMDeploy](https://lmdeploy.readthedocs.io), [TGI](https://huggingface.co/docs/text-generation-inference).)
#
# | | a step | who may come in | when pages run out |
# | --- | --- | --- | --- |
# | vLLM (V1) | one budget, no phases; running first; 2,048 tokens by default | whoever's whole prompt fits the pages that are left | the last running one, or the least urgent, recomputes; nobody comes in during that step |
# | SGLang | first come first served, or the longest cached prefix first | prompt + a share of max_tokens; the share falls from 0.7 to 0.1 while all goes well | the one with the least output and the longest prompt is retracted, and the share rises |
# | TensorRT-LLM | in-flight batching | guaranteed_no_evict (default): who can finish with the pages left; or max_utilisation: one step's need | never by default; else the one that started last is paused |
# | LMDeploy | a cache that is kept by session | a session may go on for ever | whole sequences are evicted, the longest unused session first, and recomputed when they come back |
# | TGI | token budgets for prefill (4,096) and for the whole batch; without chunking, a prefill waits until 0.3 times as many wait as run, or for 20 decode steps | everything a request could need is reserved | never |

# %%
from pagedlab.scheduling.victims import VICTIMS

choices = {
    "vLLM": ("whole_prompt", "last_in_line"),
    "SGLang": ("optimistic_ratio", "least_output"),
    "TensorRT-LLM": ("guaranteed_no_evict", "last_arrived"),
    "TGI": ("reserve_everything", "last_in_line"),
}
for system, (admission, victim) in choices.items():
    run = in_memory(ADMISSIONS[admission](), victim=VICTIMS[victim])
    worst = max(max(run.gaps(number), default=0) for number in range(120))
    print(
        f"{system:12}  {run.tokens_per_step:5.2f} tokens a step, {run.num_preemptions:2} gave way, "
        f"longest gap {worst:6,} tokens"
    )

# %% [markdown]
# These are four choices on our scheduler, not four systems: kernels, caches and defaults are left out, and the requests are made up. What the rows do show is the trade that each made. More tokens a step, and
# now and then a reader who waits long for the next token because its sequence gave way; or an even stream from a pool that is never full. Chapter 11 builds all five.

# %% [markdown]
# ## Quiz
#
# Open the answer that you would give; then open the others, and read why not.

# %%
from pagedlab.learn.quizzes import quiz

quiz("07.budget")

# %%
quiz("07.preempt")

# %% [markdown]
# ## Pause and recall
#
# <details><summary>Why is a static batch slow, and why does it get worse with its size?</summary>
#
# All places wait for the longest answer. The more members, the longer the longest, while the mean stays the same.
# </details>
#
# <details><summary>Which two numbers of a sequence does a scheduler without phases look at?</summary>
#
# How many tokens it has and how many of them are computed. The difference is what it lacks: a prompt, a rest of one, a single token, or everything again after it gave way.
# </details>
#
# <details><summary>What bounds the gap between two tokens of a running sequence?</summary>
#
# The token budget of a step, as long as it runs and is served in every step: running ones are served first. If it is preempted, nothing but the wait for its return.
# </details>
#
# <details><summary>Who gives way when pages run out, and who never does?</summary>
#
# By default the last in line. Never the first in line, and nobody who has its pages in this step already. So somebody always gets on.
# </details>
#
# <details><summary>Name the chain from fragmentation to throughput.</summary>
#
# Less fragmentation, more live requests in the same memory, more sequences a step, more tokens for each time the weights are read.
# </details>
#
# ## Interview questions
#
# <details><summary>Users complain that streams stutter whenever somebody pastes a long document. What do you change? (Avoid: "a larger batch".)</summary>
#
# Prompts are computed in one step, so everybody's next token waits for the whole prompt. Chunk it: lower the token budget to where a step with a chunk takes barely longer than one without. The document's own first token
# comes a little later.
# </details>
#
# <details><summary>Throughput drops when load rises past a point, and the GPU is busy all the time. What would you look at? (Avoid: "the GPU is too slow".)</summary>
#
# At preemptions: sequences are let in, thrown out and computed again, so steps are full of tokens that were computed before. Let fewer in: a watermark, a policy that expects longer answers, fewer sequences.
# </details>
#
# <details><summary>Recompute or swap? (Avoid: "copying is always cheaper than computing".)</summary>
#
# Both grow with the tokens. Compare bytes a token over the real bus speed, twice, with FLOPs a token over what prefill reaches. A prefix cache makes recomputing cheaper, since full pages may still be there; small
# copies make swapping dearer; host memory must be there at all.
# </details>
#
# ## Sketch from memory
#
# Four rows for places, time to the right. Draw A (short), B (long), C and D, then let E come in where A ends. Hatch the prompt of E in three chunks, and mark in which steps the others have their tokens.
# Below, one bar a step under the line of the budget. At last, let the pool run out: who leaves, and what is hatched when it comes back?
#
# <details><summary>Compare</summary>
#
# Section 2's second picture for the places, section 4's second one for chunks and budget, section 5's for the cross and for the hatching after it: everything that it had, its answer included.
# </details>
#
# ## Bridge
#
# Every prompt here was computed from its first token, even when a hundred requests began with the same words. [08 · prefix sharing](08_prefix_sharing.ipynb) lets a request find the pages that another has filled: fewer tokens to compute,
# fewer pages to hold, and a scheduler with even more room.
