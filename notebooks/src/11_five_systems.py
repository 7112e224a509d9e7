# %% [markdown]
# # 11 · Five systems
#
# **The idea in a line:** the mechanisms are the same everywhere; a system is a set of choices, and a trace shows what each choice costs.
#
# **Afterwards you can**
# - name what makes vLLM, TensorRT-LLM, SGLang, LMDeploy and TGI themselves, in terms of pages, queues and budgets;
# - run each of them, as a preset, on the real model, and show that none of them changes a token;
# - read waste, hit rate, preemptions and latencies of all five off one trace, and explain every difference;
# - say for a given load which choices will win, and check it.
#
# **Time:** 75–90 minutes, and as long again for all exercises. **Needs:** Python, no GPU; chapters 07, 08 and 10. Section 7 loads a real model.

# %%
from pagedlab.learn import check
from pagedlab.learn.quizzes import quiz
from pagedlab.scheduling.request import Request
from pagedlab.scheduling.sampling import SamplingParams
from pagedlab.systems import SYSTEMS, TGI, VLLM, LMDeploy, SGLang, TensorRTLLM, preset
from pagedlab.view.figures import new_figure, show
from pagedlab.view.palette import OWNERS

print(", ".join(SYSTEMS))

# %% [markdown]
# ## 1 · Presets
#
# A **preset** is a frozen record of a system's options under its own names. `knobs()` translates them into those of this engine, which has been built so that each of the five is a composition of the same pieces.

# %%
print(f"{'':13} page  tokens a step  admission            gives way")
for name in SYSTEMS:
    knobs = preset(name).knobs()
    admission = knobs["admission"]
    admission = admission if isinstance(admission, str) else type(admission).__name__
    print(
        f"{preset(name).title:13} {knobs['page_size']:4}  {knobs['max_tokens_per_step']:13,}  "
        f"{admission:20} {knobs['victim']}"
    )

# %% [markdown]
# A preset is honest about what it is not. Each says which state of the system it describes, what it keeps and what it leaves out; here is one of them.

# %%
system = TensorRTLLM()
print(system.title, "·", system.seen, "·", system.documented)
for line in system.kept[:3]:
    print("  kept:    ", line)
for line in system.left_out[:2]:
    print("  left out:", line)


# %% [markdown]
# Two helpers for what follows: one puts a request in line, the other takes a step. No model is loaded; plans need none.


# %%
def ask(scheduler, name, prompt, most):
    """Put a request in line that will have ``most`` tokens of output."""
    params = SamplingParams(max_tokens=most, temperature=0, ignore_eos=True)
    scheduler.add(Request(name, prompt, params))


def step(scheduler):
    """One step; every token is 0. Returns its plan."""
    plan = scheduler.schedule()
    scheduler.commit(plan, [[0] for _ in plan.samples])
    return plan


scheduler = VLLM(block_size=4).scheduler(num_slots=32)
ask(scheduler, "A", list(range(9)), 1)
plan = step(scheduler)
print(
    f"a pool of {scheduler.manager.pool.num_pages} pages; the step computed {plan.num_tokens} tokens"
)

# %% [markdown]
# ## 2 · vLLM: a queue that never searches
#
# A has ended. Its first two pages are full and can be hit again, the third is not; which of the eight will be taken next?

# %%
states = [str(scheduler.manager.pool.state(page)) for page in range(8)]
print(states)
print("blank, in their order: ", scheduler.manager.pool.free_pages())
print("cached, next to go first:", scheduler.manager.store.queue.in_order())

# %% [markdown]
# Blank pages go first, as they are worth nothing. Of the cached ones page 1 goes before page 0: a sequence gives its pages back last page first, so a tail is evicted before its head, without which it could never be hit.

# %% [markdown]
# ### Exercise 11.vllm_free_order · vLLM's free queue (●●○, 20 min)
# The whole policy of eviction is an order in one line. Write it in `exercises/11_five_systems/vllm_free_order.py`: where pages join it, and how one leaves it from the middle.

# %%
check("11.vllm_free_order")

# %% [markdown]
# The other rule that makes vLLM itself: in a step in which somebody had to give way, nobody comes in. Whoever came would take pages that are already too few.

# %%
scheduler = VLLM(block_size=4).scheduler(num_slots=32)
ask(scheduler, "A", [1] * 12, 12)
ask(scheduler, "B", [2] * 12, 12)
for _ in range(3):
    step(scheduler)
ask(scheduler, "C", [3], 2)
while not (plan := step(scheduler)).preempted:
    pass
print("gave way:", [sequence.request.id for sequence in plan.preempted])
print("running: ", [sequence.request.id for sequence in scheduler.running])
print("waiting: ", [sequence.request.id for sequence in scheduler.waiting])

# %% [markdown]
# <div class="alert alert-block alert-success"><b>Takeaway 1.</b> vLLM admits whoever's next chunk fits, and takes back when it was wrong. Everything it does is O(1) a page.</div>
#
# ## 3 · SGLang: every token counts
#
# A page of one token, and a radix tree over tokens: a hit ends where prompts part, not at the last full page before. Two prompts share 45 tokens.

# %%
for system in (SGLang(), VLLM(), LMDeploy()):
    scheduler = system.scheduler(num_slots=512)
    ask(scheduler, "A", list(range(60)), 1)
    step(scheduler)
    ask(scheduler, "B", [*range(45), 900, 901], 2)
    step(scheduler)
    print(f"{system.title:9} finds {scheduler.running[0].num_cached:2} of 45 shared tokens")

# %% [markdown]
# Its second mark is optimism. Most answers end before their limit, so a request is expected to use only a *share* of its `max_new_tokens`; the share falls while all goes well, and rises when somebody had to be retracted.

# %%
scheduler = SGLang().scheduler(num_slots=600)
for number in range(60):
    ask(scheduler, str(number), [1000 * number + i for i in range(10)], 20 + 60 * (number % 4))
shares, retracted = [], []
while scheduler.has_work:
    plan = step(scheduler)
    shares.append(scheduler.admission.ratio)
    if plan.preempted:
        retracted.append(len(shares) - 1)
first = retracted[0]
print(f"retractions in steps {retracted}")
print(f"the share before the first: {shares[first - 1]:.3f}, after it: {shares[first]:.3f}")

# %% jupyter={"source_hidden": true}
figure, axes = new_figure(7, 2.6)
axes.plot(range(len(shares)), shares, color=OWNERS[0])
axes.plot(
    retracted, [shares[at] for at in retracted], "D", color=OWNERS[1], markeredgecolor="black"
)
axes.set_xlabel("step")
axes.set_ylabel("share expected")
axes.set_ylim(0, 1)
show(
    figure,
    alt="A line that falls slowly from 0.7, and jumps up at each diamond, where a request was retracted.",
    caption="SGLang's share of max_new_tokens. Each diamond is a step in which somebody was retracted: the hope was too high, and the share rises.",
)

# %% [markdown]
# ### Exercise 11.sglang_ratio · Hope for short answers (●●○, 25 min)
# Write the share in `exercises/11_five_systems/sglang_ratio.py`: what to expect of a request, who is retracted, and by how much hope falls and rises.

# %%
check("11.sglang_ratio")

# %% [markdown]
# <div class="alert alert-block alert-success"><b>Takeaway 2.</b> SGLang hits to the token, and learns from its own mistakes how much to hope for.</div>
#
# ## 4 · TensorRT-LLM: nothing is taken back
#
# Pages of 32 would lose much where prompts part inside a page. So it copies that page and uses the part that agrees: a **partial** hit.

# %%
for partial in (True, False):
    scheduler = TensorRTLLM(enable_partial_reuse=partial).scheduler(num_slots=512)
    ask(scheduler, "A", list(range(64)), 8)
    step(scheduler)
    ask(scheduler, "B", [*range(45), 900, 901], 2)
    plan = step(scheduler)
    found = scheduler.running[1].num_cached
    print(f"partial reuse {partial!s:5}: {found} tokens found, pages copied {len(plan.copies)}")

# %% [markdown]
# ### Exercise 11.partial_reuse · A page that agrees in part (●●○, 25 min)
# Find the full pages, and then the one page that is worth a copy, in `exercises/11_five_systems/partial_reuse.py`.

# %%
check("11.partial_reuse")

# %% [markdown]
# Its default policy, `GUARANTEED_NO_EVICT`, admits only who can finish with the pages that are left. Its other one admits more and pauses whoever started last.

# %%
for policy in ("GUARANTEED_NO_EVICT", "MAX_UTILIZATION"):
    system = TensorRTLLM(tokens_per_block=8, capacity_scheduler_policy=policy)
    scheduler = system.scheduler(num_slots=256)
    for number in range(8):
        ask(scheduler, str(number), [100 * number + i for i in range(20)], 40)
    steps = paused = most = 0
    while scheduler.has_work:
        plan = step(scheduler)
        steps, paused = steps + 1, paused + len(plan.preempted)
        most = max(most, len(plan.chunks))
    print(f"{policy:20} {steps:3} steps, at most {most} in one, {paused:2} pauses")

# %% [markdown]
# <div class="alert alert-block alert-success"><b>Takeaway 3.</b> A guarantee is bought with pages that stand empty for what may come; a pause with tokens computed twice.</div>
#
# ## 5 · LMDeploy: large pages, small numbers
#
# Pages of 64 tokens make short tables and wide loads, and waste more at each end. What it is known for is the other lever: a cache in 8 or 4 bits a number. For Llama-3-8B:

# %%
from pagedlab.arithmetic import MODELS, kv_bytes_per_token, num_parameters, weight_bytes

llama = MODELS["Llama-3-8B"]
heads = llama.num_layers * llama.num_kv_heads * 2
for bits in (16, 8, 4):
    scales = (
        0 if bits == 16 else heads * 2 * 2
    )  # a scale and a zero of 2 bytes, for each token and head
    per_token = (
        kv_bytes_per_token(llama.num_layers, llama.num_kv_heads, llama.head_dim, bits) + scales
    )
    print(f"{bits:2} bits: {per_token:7,} bytes a token, {2**30 // per_token:6,} tokens a GiB")

# %% [markdown]
# Its swap is bookkeeping, too: a table names *logical* pages, and a map below it says where each of them is, on the device or in host memory. A swap changes the map, and no table.

# %% [markdown]
# ### Exercise 11.remap · A swap that changes no table (●●○, 25 min)
# Write that map in `exercises/11_five_systems/remap.py`: out and back, each as a whole or not at all.

# %%
check("11.remap")

# %% [markdown]
# ## 6 · TGI: promise, then serve
#
# The router admits whoever's prompt and `max_new_tokens` fit beside all others', as if each would use all of it. Nobody is ever preempted; but what is promised and not used serves nobody.

# %%
for system in (TGI(), SGLang(), VLLM()):
    scheduler = system.scheduler(num_slots=1000)
    for number in range(20):
        ask(scheduler, str(number), [100 * number + i for i in range(40)], 160)
    step(scheduler)
    used = scheduler.manager.pool.num_used * scheduler.manager.page_size
    print(
        f"{system.title:6} admits {len(scheduler.running):2} of 20 at once, who hold {used:3} of 1,000 slots"
    )

# %% [markdown]
# Without chunking, a prefill stops everybody who decodes. So it has to be worth it: enough must wait (`waiting_served_ratio`, 0.3 of those who run), or 20 steps must have passed. Ten are running when some more arrive:

# %%
from pagedlab.scheduling.load import Offer, StepTime, VirtualClock, WithoutModel, drive

for late in (3, 2):
    running = [Offer(0.0, [number, 1, 2], 60) for number in range(10)]
    waiting = [Offer(2.0, [number, 5, 6], 2) for number in range(100, 100 + late)]
    server = WithoutModel(TGI(chunking=False).scheduler(num_slots=4096))
    run = drive(server, running + waiting, VirtualClock(StepTime(fixed=1.0, per_token=0.0)))
    waited = run.timelines[-1].ttft
    print(f"{late} late ones have their first token after {waited:.0f} steps")

# %% [markdown]
# ### Exercise 11.tgi_admission · Four budgets at the door (●●○, 25 min)
# Four budgets decide who comes in next, in `exercises/11_five_systems/tgi_admission.py`. It is a page of rules, and each of them has a reason.

# %%
check("11.tgi_admission")

# %% [markdown]
# TGI is often run with weights of 4 bits, and then surprises its users: the cache stays in 16. A GPU of 80 GiB, Llama-3-8B, contexts of 2,048:

# %%
gib, parameters = 2**30, num_parameters(llama)
per_user = 2048 * kv_bytes_per_token(llama.num_layers, llama.num_kv_heads, llama.head_dim, 16)
for bits in (16, 4):
    weights = weight_bytes(parameters, bits)
    users = (80 * gib - weights) // per_user
    print(
        f"weights of {bits:2} bits: {weights / gib:4.1f} GiB, and {users} users' cache fills the other "
        f"{(80 * gib - weights) / gib:.1f}"
    )

# %%
quiz("11.no_preemption")

# %% [markdown]
# <div class="alert alert-block alert-success"><b>Takeaway 4.</b> A reservation is the promise of chapter 02 again, only in a counter and no longer in memory: no fragments, and the same unused tail.</div>
#
# ## 7 · None of them changes a token
#
# Before any comparison, the test that everything rests on. One model, two turns of eight chats, and all five as `LLM(…, system=…)`: the tokens must be equal.

# %%
import random

from pagedlab import LLM, load_model

model = load_model("smollm2-135m", progress=False)
draw = random.Random(11)
opening = [500 + draw.randrange(3000) for _ in range(75)]
first_turn = [opening + [500 + draw.randrange(3000) for _ in range(9)] for _ in range(8)]
wish = SamplingParams(max_tokens=12, temperature=0.0, ignore_eos=True)
answers, found = {}, {}
for name in SYSTEMS:
    llm = LLM(model, system=name, num_pages=preset(name).pages_for(2048))
    said = [o.outputs[0].token_ids for o in llm.generate(first_turn, wish, progress=False)]
    second_turn = [
        p + s + [700 + i] for i, (p, s) in enumerate(zip(first_turn, said, strict=True))
    ]
    outputs = llm.generate(second_turn, wish, progress=False)
    answers[name] = [said, [o.outputs[0].token_ids for o in outputs]]
    found[name] = sum(o.num_cached_tokens for o in outputs)
    llm.check()
same = all(answer == answers["vllm"] for answer in answers.values())
print("the tokens of all five are equal:", same)
assert same

# %%
asked = sum(len(prompt) for prompt in second_turn)
for name, tokens in found.items():
    print(f"{preset(name).title:13} found {tokens:3} of {asked} tokens of the second turn")

# %%
quiz("11.same_tokens")

# %% [markdown]
# ## 8 · One trace
#
# Now the load. Chats that begin with one of three system prompts, three turns each; a turn's prompt holds everything said before. Answers have 10 to 80 tokens, and each request *asked* for up to 256: that is how people ask.


# %%
from pagedlab.scheduling.load import END, poisson_arrivals


def chats(sessions, rate, seed=3, allowed=256):
    """Offers of ``sessions`` chats, ``rate`` of them beginning a second."""
    draw = random.Random(seed)
    openings = [[1000 * n + i for i in range(180 + 13 * n)] for n in range(1, 4)]
    offers = []
    for number, at in enumerate(poisson_arrivals(rate, sessions, seed)):
        history = list(draw.choice(openings))
        for turn in range(3):
            first = 100_000 + 1000 * number + 100 * turn
            history += range(first, first + draw.randint(10, 40))
            length = draw.randint(10, 80)
            offers.append(Offer(at, list(history), length, max(length, allowed)))
            history += [0] * (length - 1) + [END]
            at += 4 + 4 * draw.random()
    return offers


trace = sorted(chats(sessions=100, rate=2.0), key=lambda offer: offer.at)
prompts = [len(offer.prompt) for offer in trace]
print(f"{len(trace)} requests, prompts of {min(prompts)} to {max(prompts)} tokens")

# %% [markdown]
# Memory for 3,072 tokens each. Time is virtual: a step costs 25 ms, half a millisecond for each token, and a microsecond for each token of context. So only *decisions* differ, and every number is the same on every machine.

# %%
SLOTS = 3072
machine = StepTime(fixed=0.025, per_token=0.0005, per_context=0.000001)


def serve(system, offers, trace=None):
    """The run of a system under these offers, and its scheduler."""
    scheduler = system.scheduler(SLOTS, trace=trace)
    run = drive(WithoutModel(scheduler), offers, VirtualClock(machine))
    scheduler.manager.check()
    return run, scheduler


runs = {name: serve(preset(name), trace) for name in SYSTEMS}
whole = all(
    len(timeline.token_times) == offer.num_output
    for run, _ in runs.values()
    for timeline, offer in zip(run.timelines, trace, strict=True)
)
print("everybody got every token:", whole)

# %%
from pagedlab.scheduling.latency import percentile

print(f"{'':13} waste  hits  gave way  in a step   TTFT p50   p90   TPOT p90")
for name, (run, scheduler) in runs.items():
    used = sum(s.pages_used * scheduler.manager.page_size for s in run.steps)
    waste = sum(s.slots_wasted for s in run.steps) / used
    stats = scheduler.manager.stats
    ttft = [t.ttft for t in run.timelines]
    tpot = [t.tpot for t in run.timelines]
    print(
        f"{preset(name).title:13} {waste:5.1%}  {stats.hit_tokens / stats.queried_tokens:4.0%}  "
        f"{sum(t.num_preemptions for t in run.timelines):8}  {run.mean_batch:9.1f}  "
        f"{percentile(ttft, 50):7.2f} s {percentile(ttft, 90):5.2f} {1e3 * percentile(tpot, 90):7.0f} ms"
    )

# %% [markdown]
# Read it column by column. *Waste* follows the page size: none with pages of one token, most with 64. (The paper that began all this reports under 4 % for pages of 16.) *Hits* follow it too, but for TensorRT-LLM, whose partial hits make up for its pages of 32.
#
# *Gave way* is the price of admitting more, *in a step* its reward.

# %% jupyter={"source_hidden": true}
figure, rows = new_figure(8.4, 8.0, rows=5)
end = max(run.seconds for run, _ in runs.values())
for axes, (name, (run, scheduler)) in zip(rows, runs.items(), strict=True):
    size = scheduler.manager.page_size
    at = [s.stop for s in run.steps]
    tokens = [s.pages_used * size - s.slots_wasted for s in run.steps]
    wasted = [s.slots_wasted for s in run.steps]
    cached = [s.pages_cached * size for s in run.steps]
    axes.stackplot(
        *(at, tokens, wasted, cached),
        colors=[OWNERS[0], "black", OWNERS[1]],
        hatch=["", "", "////"],
        edgecolor="white",
        linewidth=0,
        labels=["tokens in use", "wasted", "cached"],
    )
    axes.set(xlim=(0, end), ylim=(0, SLOTS), title=preset(name).title, ylabel="slots")
rows[0].legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=3, fontsize=8, frameon=False)
rows[-1].set_xlabel("seconds, the same clock for all")
show(
    figure,
    alt="Five stacked charts on one time axis: tokens in use at the bottom, a thin black band of waste, cached pages above.",
    caption="Who used what, when. vLLM and LMDeploy fill memory with running requests; TGI and TensorRT-LLM leave the larger part to what is only cached, and take longer to finish.",
)

# %% [markdown]
# ## 9 · What a promise is worth
#
# Now the question of chapter 10: up to which rate do nine of ten requests have their first token within a second, and their others every 60 ms? It is found by bisection, a run for each rate tried.

# %%
from pagedlab.scheduling.latency import Slo, attainment, largest_rate

promise = Slo(ttft=1.0, tpot=0.060)


def best_rate(system, **load):
    """Chats a second up to which 90 % of requests meet the promise."""

    def share(rate):
        return attainment(serve(system, chats(40, rate, **load))[0].timelines, promise)

    return largest_rate(share, 0.9, 0.1, 8.0, 0.1) or 0.0


asked_much = {name: best_rate(preset(name)) for name in SYSTEMS}
asked_exactly = {name: best_rate(preset(name), allowed=1) for name in SYSTEMS}
print(f"{'':13} asked for 256   asked for what they use")
for name in SYSTEMS:
    print(
        f"{preset(name).title:13} {asked_much[name]:13.2f}   {asked_exactly[name]:.2f} chats a second"
    )

# %% jupyter={"source_hidden": true}
figure, axes = new_figure(8.4, 3.2)
titles = [preset(name).title for name in SYSTEMS]
for offset, rates, colour, hatch, label in (
    (-0.2, asked_much, OWNERS[0], "", "everybody asks for 256"),
    (0.2, asked_exactly, OWNERS[1], "////", "everybody asks for what they use"),
):
    places = [at + offset for at in range(len(titles))]
    axes.bar(
        places,
        list(rates.values()),
        0.38,
        color=colour,
        hatch=hatch,
        edgecolor="white",
        label=label,
    )
axes.set_xticks(range(len(titles)), titles)
axes.set_ylabel("chats a second")
axes.legend(frameon=False)
show(
    figure,
    alt="Pairs of bars for five systems: with exact limits those that reserve gain most.",
    caption="The highest rate at which nine of ten requests keep the promise. Who reserves for the limit that was asked for gains most when users ask for what they use.",
)

# %% [markdown]
# The two that never take anything back live from good limits. With `max_tokens` near the truth TensorRT-LLM comes up to the others; TGI, which counts every prompt as if nothing were shared, stays behind. vLLM and LMDeploy do not look at limits at all.

# %%
gain = {name: asked_exactly[name] / asked_much[name] for name in SYSTEMS}
most = sorted(gain, key=gain.get, reverse=True)[:2]
print("what exact limits bring:", {preset(n).title: f"{gain[n]:.2f}×" for n in SYSTEMS})
print("who gains most:", " and ".join(sorted(preset(name).title for name in most)))

# %% [markdown]
# ### One knob at a time
#
# A preset is a starting point. Each line changes one option of one system, under the first kind of load, where everybody asks for 256.

# %%
variants = {
    "TensorRT-LLM, MAX_UTILIZATION": TensorRTLLM(capacity_scheduler_policy="MAX_UTILIZATION"),
    "TensorRT-LLM, no partial reuse": TensorRTLLM(enable_partial_reuse=False),
    "SGLang, longest prefix first": SGLang(schedule_policy="lpm"),
    "SGLang, no radix cache": SGLang(disable_radix_cache=True),
    "LMDeploy, pages of 16": LMDeploy(cache_block_seq_len=16),
    "vLLM, no prefix cache": VLLM(enable_prefix_caching=False),
}
for label, system in variants.items():
    name = next(name for name, kind in SYSTEMS.items() if isinstance(system, kind))
    rate = best_rate(system)
    print(f"{label:31} {rate:.2f} chats a second ({rate / asked_much[name]:.2f}× the default)")

# %% [markdown]
# Two options do nothing here. Order matters once a line has formed, and below the promise there is none; partial pages matter where prompts part inside a page, and these part after their system prompt, near the end of one.
#
# <div class="alert alert-block alert-success"><b>Takeaway 5.</b> No set of choices wins everywhere. Short answers under high limits favour hope, honest limits favour promises, and shared prefixes favour whoever hits to the token.</div>

# %% [markdown]
# ### Try it 1 · a quantised cache, on this trace
# int8 pages of LMDeploy take 72 bytes where bf16 takes 128, for a head of 64 numbers. By which factor does memory for tokens grow? To two decimals.
#
# <details><summary>Solution</summary>
#
# 128 / 72 = 1.78: 64 bytes of codes, and a scale and a zero of 4 bytes each in this engine.
# </details>

# %%
factor = ...  # a number like 1.23

if factor is ...:
    print("not answered yet; with int4 it would be", round(128 / 40, 2))
else:
    assert factor == round(128 / 72, 2), "bytes before, by bytes after"
    print("right")

# %% [markdown]
# ### Try it 2 · who is first?
# Sixteen requests wait in SGLang's line, and `schedule_policy="lpm"`. One of them shares 200 tokens with what is cached, but came last. Who comes in first: "the first to arrive" or "the one that shares"?
#
# <details><summary>Solution</summary>
#
# The one that shares: with 128 or fewer waiting the longest cached prefix goes first, since its pages may be evicted while it waits. It cannot overtake for ever: the scheduler counts.
# </details>

# %%
who = ...  # "the first to arrive" or "the one that shares"

if who is ...:
    print("not answered yet; the line is looked through while no more than 128 wait")
else:
    scheduler = SGLang(schedule_policy="lpm").scheduler(num_slots=1000)
    ask(scheduler, "cached", list(range(200)), 1)
    step(scheduler)
    for number in range(15):
        ask(scheduler, "the first to arrive", [1000 + 300 * number + i for i in range(250)], 4)
    ask(scheduler, "the one that shares", [*range(200), 7], 4)
    assert who == step(scheduler).chunks[0].sequence.request.id, (
        "look at `pick` in scheduling/order.py"
    )
    print("right")

# %% [markdown]
# ## Pause and recall
#
# Answer aloud, then unfold.
#
# <details><summary>What does each of the five do when a running request needs a page and there is none?</summary>
#
# vLLM: the last running one gives way by recompute. SGLang: the one with the least output is retracted. TensorRT-LLM and TGI: it cannot happen with their defaults. LMDeploy: the last in line, and its conversation is computed again when it is back.
# </details>
#
# <details><summary>Why does a partial hit need a copy?</summary>
#
# The page goes on differently for the other request, and somebody may still read it as it was. What agrees is copied, what follows is written into the copy.
# </details>
#
# <details><summary>Why do quantised weights not by themselves make serving cheap?</summary>
#
# The cache stays as it was, and it is what grows with users. A 4-bit checkpoint with a 16-bit cache runs out of memory a little later, that is all.
# </details>
#
# ## Interview questions
#
# <details><summary>Which of the five is the fastest? (Avoid: a name.)</summary>
#
# Ask for load, limits and promise first. On this chapter's trace the order changes when users ask for what they use, and again with one option. Kernels, which this trace leaves out, decide the rest.
# </details>
#
# <details><summary>Preemptions went up from 0 to 2 % after an upgrade. Is that bad? (Avoid: "yes, work is done twice".)</summary>
#
# Not by itself: it may be the price of a larger batch. Look at goodput and at the tail of TPOT: if they are as good or better, memory is only used better.
# </details>
#
# <details><summary>Why not always pages of one token? (Avoid: "they waste nothing, so always".)</summary>
#
# A table entry a token, and a tree to walk at every admission; kernels then load rows of a hundred bytes, not pages of two thousand (chapter 05). It pays where prefixes are shared at odd lengths.
# </details>
#
# ## Sketch from memory
#
# Draw five columns. In each: the page, who may come in, who gives way, and what is kept when a request ends. Under it, one line a column: what it pays, and for what.
#
# <details><summary>Compare</summary>
#
# vLLM: 16, next chunk fits, the last, hashed pages; pays preemptions for full memory. SGLang: 1, a share of the limit, the least output, a tree; pays bookkeeping for hits. TensorRT-LLM: 32, who can finish, nobody, a tree with priorities; pays empty pages for calm. LMDeploy: 64, whole prompts, the last, a trie; pays waste for wide pages and small numbers. TGI: everything reserved, nobody, a trie; pays batch size for certainty.
# </details>
#
# ## Bridge
#
# Five systems on one machine each. Chapter 12, *beyond one machine*, cuts the model over several ranks, and sends requests to the replica that has their prefix.
