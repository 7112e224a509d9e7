# %% [markdown]
# # 11 · Five systems
#
# **The idea in a line:** the mechanisms are the same everywhere; a system is a set of choices, and a trace shows what each choice costs.
#
# **Afterwards you can**
# - name what makes vLLM, TensorRT-LLM, SGLang, LMDeploy and TGI themselves, in terms of pages, queues and budgets;
# - run each of them, as a preset, on the real model, and show that none of them changes a token;
# - read waste, hit rate, preemptions and latencies of all five off one trace, and explain every difference;
# - name for each of them a load that it serves best, one that it serves badly, and the reason for both.
#
# **Time:** 75–90 minutes, and as long again for all exercises. **Needs:** Python, no GPU; chapters 07, 08 and 10. Section 7 loads a real model; the rest is simulated, and takes half a minute.

# %%
import random
from collections import namedtuple
from dataclasses import replace
from itertools import count, islice

from IPython.display import display

from pagedlab.learn import check
from pagedlab.learn.quizzes import quiz
from pagedlab.memory.events import Trace
from pagedlab.scheduling.latency import Slo
from pagedlab.scheduling.load import Offer, poisson_arrivals
from pagedlab.scheduling.request import Request
from pagedlab.scheduling.sampling import SamplingParams
from pagedlab.simulate.arrivals import Poisson
from pagedlab.simulate.simulator import Simulator
from pagedlab.simulate.workload import Chat
from pagedlab.systems import SYSTEMS, TGI, VLLM, LMDeploy, SGLang, TensorRTLLM, preset
from pagedlab.view.figures import bar, draw_bars, draw_key, new_figure, show
from pagedlab.view.maps_svg import page_maps_svg
from pagedlab.view.page_map import page_maps
from pagedlab.view.palette import LINES, OWNERS

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
# A preset is honest about what it is not. Each says which state of the system it describes, what it keeps and what it leaves out; unfold the one that you know best.

# %%
for system in SYSTEMS.values():
    lists = "\n".join(
        f"**{what}**\n\n" + "".join(f"- {line}\n" for line in lines)
        for what, lines in (("Kept", system.kept), ("Left out", system.left_out))
    )
    counts = f"{system.title} · {len(system.kept)} kept, {len(system.left_out)} left out"
    fold = f"<details><summary>{counts}</summary>\n\n{system.seen}\n\n{lists}\n</details>"
    display({"text/markdown": fold, "text/plain": counts}, raw=True)


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
axes.plot(range(len(shares)), shares, color=LINES[0])
axes.plot(
    retracted, [shares[at] for at in retracted], "D", color=LINES[1], markeredgecolor="black"
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
from pagedlab.arithmetic import MODELS, kv_bytes_per_token

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
from pagedlab.scheduling.load import StepTime, VirtualClock, WithoutModel, drive

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

# %%
quiz("11.no_preemption")

# %% [markdown]
# <div class="alert alert-block alert-success"><b>Takeaway 4.</b> A reservation is the promise of chapter 02 again, only in a counter and no longer in memory: no fragments, and the same unused tail.</div>
#
# ## 7 · None of them changes a token
#
# Before any comparison, the test that everything rests on. One model, two turns of eight chats, and all five as `LLM(…, system=…)`: the tokens must be equal.

# %%
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
# That holds where formats are the same. TGI is often run with 4-bit weights beside a cache in 16 bits; LMDeploy's users change the cache, to int8 or int4. Then some tokens may differ, and how many is a measurement, not a promise.

# %%
tgi = LLM("smollm2-135m", system=TGI(quantize="gptq"), num_pages=2048, progress=False)
plain = model.model.weight_bytes
packed = tgi.engine.model.weight_bytes
page = tgi.engine.kv.bytes_per_page
print(f"weights: {plain / 2**20:.0f} MiB in float32, {packed / 2**20:.0f} MiB in 4 bits")
print(f"a token of cache: {page:,} bytes, of {tgi.engine.kv.kv_dtype}")
print(
    f"so the weights weigh as much as {packed // page:,} tokens; in float32, {plain // page:,}"
)

# %%
answers_in = {}
for bits in (0, 8, 4):
    llm = LLM(model, system=LMDeploy(quant_policy=bits), num_pages=32)
    outputs = llm.generate(first_turn, wish, progress=False)
    answers_in[bits] = [o.outputs[0].token_ids for o in outputs]
    print(f"quant_policy={bits}: {llm.engine.kv.bytes_per_page // 64:6,} bytes a token")
assert answers_in[0] == answers["vllm"][0]
print("int4 changes some of these answers:", answers_in[4] != answers_in[0])

# %% [markdown]
# ## 8 · One trace
#
# Now the load, small enough that every page can be seen. Twenty chats of two turns, which begin with one of two system prompts; a turn's prompt holds everything said before, and each request *asks* for up to 64 tokens and gets 8 to 40.


# %%
def load(
    chats, rate, words, answers, opening=0, openings=1, turns=1, allowed=1, think=1.0, seed=1
):
    """``chats``, ``rate`` of them beginning a second; every token that is new is nobody else's."""
    draw, unused = random.Random(seed), count()

    def text(length):
        return list(islice(unused, length))

    begins, offers = [text(opening) for _ in range(openings)], []
    for at in poisson_arrivals(rate, chats, seed):
        history = draw.choice(begins)
        for _ in range(turns):
            history = history + text(draw.randint(*words))
            answer = text(draw.randint(*answers))
            most = max(len(answer), allowed)
            offers.append(Offer(at, history, len(answer), most, output=answer))
            history, at = history + answer, at + think * (1 + draw.random())
    return sorted(offers, key=lambda offer: offer.at)


one_trace = load(
    20, 10, (10, 30), (8, 40), opening=56, openings=2, turns=2, allowed=64, think=2.0
)
print(f"{len(one_trace)} requests")

# %% [markdown]
# All get memory for the same 1,024 tokens, and cut it into pages as they do. The simulator runs each system's own scheduler and cache manager without a model, on one virtual clock: a step takes 20 ms, half a millisecond for each token computed, and a microsecond for each token of context.

# %%
SLOTS = 1024
Moment = namedtuple("Moment", "end running used wasted cached")


def step_seconds(shape):
    return 0.020 + 0.0005 * shape.num_tokens + 0.000001 * shape.context


def serve(system, offers, slots=SLOTS):
    """What the simulator says of a system, everything that happened to its pages, its steps."""
    system = preset(system)
    pages, size = system.pages_for(slots), system.tokens_per_page
    trace, steps = Trace(pages, size), []

    def look(now, replica):
        manager, running = replica.scheduler.manager, replica.scheduler.running
        wasted = sum(manager.table(sequence.id).waste for sequence in running)
        used, cached = manager.pool.num_used * size, manager.pool.num_cached * size
        steps.append(Moment(now, len(running), used, wasted, cached))

    simulator = Simulator(system, cost=step_seconds, num_pages=pages)
    return simulator.run(offers, trace=trace, on_step=look), trace, steps


print(f"one request alone takes {serve('vllm', one_trace[:1])[0].seconds:.2f} s")

# %%
runs = {name: serve(name, one_trace) for name in SYSTEMS}
for name, (results, trace, steps) in runs.items():
    pages = f"{trace.num_pages:,} pages of {trace.page_size}"
    print(
        f"{preset(name).title:13} {pages:17} {len(steps)} steps, {results.totals.num_tokens:,} tokens computed"
    )
outputs = {results.requests.output_tokens for results, _, _ in runs.values()}
whole = outputs == {sum(offer.num_output for offer in one_trace)}
print("everybody got every token:", whole)
assert whole

# %% [markdown]
# ### Five maps, one clock
#
# Early on, at the same moment: the load is the same, but nobody holds the same. Look for the system prompts, held once where pages are shared, and for the ends of pages, empty where pages are large.

# %%
titles = [preset(name).title for name in SYSTEMS]
traces = [trace for _, trace, _ in runs.values()]
seconds = [[step.end for step in steps] for _, _, steps in runs.values()]
still = page_maps_svg(
    traces, 0.9, titles=titles, seconds=seconds, title="One load, five systems"
)
show(
    still,
    caption="Five systems at one moment of one clock, each with memory for 1,024 tokens. A square is a page: 64 of 16 tokens, 32 of 32, 1,024 of one, 16 of 64, 1,024 of one.",
)

# %% [markdown]
# The same as a film: one slider, one clock. Play it, and watch who fills memory with running requests, who with what is only cached, and who sends somebody back into the line. Under it, who held what on average.

# %%
page_maps(traces, titles=titles, seconds=seconds, at=2.2)

# %% jupyter={"source_hidden": true}
shares = {}
for name, (_, _, steps) in runs.items():
    used, wasted, cached = (
        sum(getattr(step, what) for step in steps) / len(steps)
        for what in ("used", "wasted", "cached")
    )
    shares[name] = {"used": used - wasted, "waste": wasted, "cache": cached}
    shares[name]["free"] = SLOTS - used - cached
figure, axes = new_figure(8.4, 2.9)
draw_bars(
    axes,
    [bar(preset(name).title, **kinds) for name, kinds in shares.items()],
    unit="slots",
    extent=SLOTS,
)
draw_key(axes, {"used": "tokens in use", "waste": "wasted", "cache": "cached", "free": "free"})
show(
    figure,
    alt="Five bars of 1,024 slots: LMDeploy's has the widest wasted part, SGLang and TGI have none.",
    caption="What memory held, on average over steps. Waste grows with the page; what nobody uses at the moment is kept as cache.",
)

# %% [markdown]
# ### The table
#
# A promise makes latencies comparable: the first token within half a second, the others every 40 ms. **Goodput** is how many requests a second had both.

# %%
promise = Slo(ttft=0.5, tpot=0.040)
print(f"{'':13} waste  hits  gave way  evicted  TTFT p50   p90  TPOT p90  goodput")
waste, hits = {}, {}
for name, (results, trace, _) in runs.items():
    waste[name] = shares[name]["waste"] / (shares[name]["used"] + shares[name]["waste"])
    hits[name] = results.hit_rate
    ttft, tpot = results.percentiles("ttft"), results.percentiles("tpot")
    print(
        f"{preset(name).title:13} {waste[name]:5.1%}  {hits[name]:4.0%}  {results.num_preemptions:8}"
        f"  {results.totals.evictions * trace.page_size:7,}  {ttft[50]:6.2f} s {ttft[90]:5.2f}"
        f"  {1e3 * tpot[90]:5.0f} ms  {results.goodput(promise):7.2f}"
    )

# %% [markdown]
# Read it column by column; evictions are counted in tokens. *Waste* follows the page size, *hits* too, but for one: TensorRT-LLM's partial hits make up for its pages of 32. *Gave way* is the price of admitting more; the two that promise never pay it, and pay in TTFT.

# %%
by_page = sorted(SYSTEMS, key=lambda name: preset(name).tokens_per_page)
assert [waste[name] for name in by_page] == sorted(waste.values())
assert max(hits, key=hits.get) == "sglang"
assert hits["tensorrt_llm"] > hits["vllm"] > hits["lmdeploy"]
paying = [name for name in SYSTEMS if runs[name][0].num_preemptions]
waiting = {name: runs[name][0].percentiles("ttft")[90] for name in SYSTEMS}
assert not {"tensorrt_llm", "tgi"} & set(paying)
print("sent somebody back:", ", ".join(preset(name).title for name in paying))
for name in ("vllm", "sglang", "tensorrt_llm", "tgi"):
    running = sum(step.running for step in runs[name][2]) / len(runs[name][2])
    print(f"{preset(name).title:13} {running:.1f} run at once, TTFT p90 {waiting[name]:.2f} s")
assert min(waiting["tensorrt_llm"], waiting["tgi"]) > max(waiting["vllm"], waiting["sglang"])

# %% [markdown]
# LMDeploy's hits deserve a second look. Its pages of 64 hold more than either system prompt, so no page of a prompt is the same for two users; with pages of 16 it is another system.

# %%
for size in (64, 32, 16):
    results, _, steps = serve(LMDeploy(cache_block_seq_len=size), one_trace)
    print(
        f"LMDeploy, pages of {size}: hits {results.hit_rate:4.0%}, goodput {results.goodput(promise):.2f}"
    )

# %% [markdown]
# <div class="alert alert-block alert-success"><b>Takeaway 5.</b> One load, five maps. The page decides what is wasted and what can be hit, admission decides who waits and who is sent back, and latencies are the sum of these.</div>
#
# ## 9 · Where each wins
#
# Five loads, each with its own promise, made so that one idea of one system is what matters. LMDeploy comes twice: its int4 pages hold 3.2 times the tokens in the same bytes, for heads of 64 numbers, so it is compared on its own. Three seeds each, so that nobody wins by chance.

# %%
loads = {
    "short answers, high limits": (
        Slo(1.0, 0.060),
        (60, 24, (20, 60), (5, 30)),
        {"allowed": 200},
    ),
    "prompts that part in a page": (
        Slo(1.0, 0.035),
        (80, 24, (10, 20), (10, 30)),
        {"opening": 45, "openings": 3},
    ),
    "long shared chats": (
        Slo(0.5, 0.040),
        (12, 8, (10, 30), (10, 30)),
        {"opening": 100, "openings": 2, "turns": 5},
    ),
    "long answers": (Slo(1.0, 0.050), (50, 13, (10, 20), (60, 100)), {}),
    "long answers, an even pace": (Slo(2.0, 0.0275), (50, 7, (10, 20), (60, 100)), {}),
}
for label, (wanted, numbers, _) in loads.items():
    print(
        f"{label:28} first token in {wanted.ttft} s, then one every {1e3 * wanted.tpot:.1f} ms; "
        f"{numbers[1]} a second"
    )

# %%
INT4_SLOTS = SLOTS * 128 // 40
contenders = {preset(name).title: (preset(name), SLOTS) for name in SYSTEMS}
contenders["LMDeploy, int4"] = LMDeploy(quant_policy=4), INT4_SLOTS


def tries(system, slots, label):
    """Three runs of a load, each with its steps."""
    _, numbers, options = loads[label]
    return [serve(system, load(*numbers, **options, seed=seed), slots) for seed in (1, 2, 3)]


played = {
    (label, title): tries(*contenders[title], label) for label in loads for title in contenders
}
goodput = {}
for (label, title), three in played.items():
    goodput[label, title] = sum(results.goodput(loads[label][0]) for results, _, _ in three) / 3
winner = {label: max(titles, key=lambda title: goodput[label, title]) for label in loads}
for label, title in winner.items():
    int4 = goodput[label, "LMDeploy, int4"] / goodput[label, title]
    print(f"{label:28} {title:13} LMDeploy with int4 pages: {int4:.2f} times that")
assert list(winner.values()) == ["vLLM", "TensorRT-LLM", "SGLang", "vLLM", "TGI"]

# %% jupyter={"source_hidden": true}
figure, axes = new_figure(8.8, 3.3)
for row, label in enumerate(loads):
    best = goodput[label, winner[label]]
    for column, title in enumerate(contenders):
        good = goodput[label, title]
        style = {"color": "#CCCCCC"} if good < best else {"color": OWNERS[1], "hatch": "////"}
        axes.barh(row, 0.5 * good / best, 0.3, left=column, edgecolor="white", **style)
        axes.text(column, row - 0.22, f"{good:.1f}", fontsize=9)
axes.set(xlim=(-0.05, len(contenders)), ylim=(len(loads) - 0.6, -0.6))
axes.set_yticks(range(len(loads)), loads)
axes.set_xticks([column + 0.3 for column in range(len(contenders))], contenders)
axes.xaxis.tick_top()
axes.tick_params(length=0)
axes.spines[:].set_visible(False)
show(
    figure,
    alt="A table of bars, five loads by six systems. Ahead in their rows are vLLM, TensorRT-LLM, SGLang, vLLM and TGI; LMDeploy with int4 pages passes them in the rows of long chats and of long answers.",
    caption="Goodput: requests a second that kept the load's promise. Hatched: the best of the five with pages of 16 bits, and int4 pages where they pass it.",
)


# %%
def compare(label, *titles):
    """What a mechanism leaves behind in three runs. Returns each system's mean of requests that run at once."""
    at_once = {}
    for title in titles:
        results = [results for results, _, _ in played[label, title]]
        steps = [step for _, _, steps in played[label, title] for step in steps]
        at_once[title] = sum(step.running for step in steps) / len(steps)
        print(
            f"{title:13} {at_once[title]:4.1f} at once, {max(step.running for step in steps):2} at most, "
            f"{sum(one.num_preemptions for one in results):2} preempted, "
            f"waste {sum(s.wasted for s in steps) / sum(s.used for s in steps):4.0%}, "
            f"hits {sum(one.hit_rate for one in results) / 3:3.0%}, "
            f"TPOT p99 {1e3 * max(one.percentiles('tpot')[99] for one in results):2.0f} ms"
        )
    return at_once


at_once = compare("short answers, high limits", *titles)
assert max(at_once[title] for title in ("TensorRT-LLM", "SGLang", "TGI")) < at_once["vLLM"] / 2

# %% [markdown]
# **vLLM** never looks at a limit: as many run as fit, and a few preemptions are a small price. Whoever reserves for 200 tokens that do not come runs half as many or fewer. LMDeploy does as vLLM does, in pages whose ends stay empty.

# %%
at_once = compare("prompts that part in a page", "TensorRT-LLM", "vLLM", "SGLang", "TGI")

# %% [markdown]
# **TensorRT-LLM** finds all 45 shared tokens by copying a part of a page, where vLLM finds the 32 before it and runs out of pages. SGLang finds them too, but lets in whoever may fit, and each token computed beside mine makes my step longer than this promise allows. TGI shares a prompt only when its request has ended.

# %%
at_once = compare("long shared chats", "SGLang", "vLLM", "TensorRT-LLM", "LMDeploy")
computed = {
    title: sum(one.totals.num_tokens for one, _, _ in played["long shared chats", title])
    for title in titles
}
print("tokens computed:", ", ".join(f"{title} {total:,}" for title, total in computed.items()))
assert min(computed, key=computed.get) == "SGLang"

# %% [markdown]
# **SGLang** hits to the token and evicts to the token: it keeps what fits, cuts off what does not, and computes least. LMDeploy's large pages are few: a chat that leaves takes its pages with it as a whole.

# %%
even = "long answers, an even pace"
at_once = compare(even, "TGI", "TensorRT-LLM", "SGLang", "vLLM")
assert at_once["TensorRT-LLM"] < at_once["TGI"] < min(at_once["SGLang"], at_once["vLLM"])
looser = {t: sum(one.goodput(Slo(2.0, 0.050)) for one, _, _ in played[even, t]) for t in titles}
print("with 50 ms in place of 27.5, the best of the five:", max(looser, key=looser.get))
assert max(looser, key=looser.get) != "TGI"

# %% [markdown]
# **TGI** never sends anybody back, nor does TensorRT-LLM; but its slots are single tokens, so it promises exactly what could come, and more requests fit. Those who hope run more at once: better for a first token, and too much for this pace. Loosen it, and another system is the best.

# %%
long = "long answers"
fp8 = {
    "vLLM, fp8": (VLLM(kv_cache_dtype="fp8"), 2 * SLOTS),
    "SGLang, fp8": (SGLang(kv_cache_dtype="fp8_e4m3"), 2 * SLOTS),
    "LMDeploy, int8": (LMDeploy(quant_policy=8), SLOTS * 128 // 72),
    "LMDeploy, int4": contenders["LMDeploy, int4"],
}
in_bits = {}
for title, (system, slots) in fp8.items():
    played[long, title] = tries(system, slots, long)
    good = [results.goodput(loads[long][0]) for results, _, _ in played[long, title]]
    in_bits[title] = sum(good) / 3
    print(
        f"{title:14} {slots:,} tokens in the same bytes, goodput {in_bits[title]:.1f} "
        f"({in_bits[title] / goodput[long, winner[long]]:.1f} times {winner[long]}'s in 16 bits)"
    )
assert sorted(in_bits, key=in_bits.get)[0::3] == ["LMDeploy, int8", "LMDeploy, int4"]

# %% [markdown]
# **LMDeploy** in 16 bits is first nowhere here; its answer to short memory is another one, and works for anybody who shrinks the cache. Its int8 keeps scales and is behind the others' fp8; only int4 is ahead of them. What it costs in quality is chapter 09's question.
#
# And where does each lose? As a share of the best of the five, its worst load:

# %%
for title in titles:
    share = {label: goodput[label, title] / goodput[label, winner[label]] for label in loads}
    worst = min(share, key=share.get)
    print(f"{title:13} {share[worst]:4.0%} of the best: {worst}")
    assert share[worst] < 0.25

# %% [markdown]
# <div class="alert alert-block alert-success"><b>Takeaway 6.</b> No set of choices wins everywhere. Hope wins where answers end early, promises win where a pace must be kept, hits to the token win where prompts are shared, and fewer bits win where a full memory, and not the pace, is what keeps requests waiting.</div>
#
# ## 10 · At the scale of a real machine
#
# The same simulator, with Llama-3-8B on an H100 under a roofline: a burst of chats. So that half a minute of simulation is enough to fill memory, each system gets a small part of what the H100 has left.

# %%
h100 = Simulator("sglang", model="Llama-3-8B", gpu="H100")
BIG = 24_576
print(f"beside the weights there is room for {h100.num_pages:,} tokens; here {BIG:,} are used")


def asking_for(most, offers):
    """The same offers, and what follows them, each with a limit of ``most`` tokens or more."""
    for offer in offers:
        allowed, then = max(most, offer.num_output), offer.then
        follow = then and (lambda end, then=then: asking_for(most, then(end)))
        yield replace(offer, allowed=allowed, then=follow)


def on_h100(system, most):
    system = preset(system)
    simulator = Simulator(
        system, model="Llama-3-8B", gpu="H100", num_pages=system.pages_for(BIG)
    )
    burst = Chat(arrivals=Poisson(20.0)).offers(seed=1, sessions=75)
    return simulator.run(asking_for(most, burst))


big = {(name, most): on_h100(name, most) for most in (1, 2048) for name in SYSTEMS}
answered = {len(results.requests) for results in big.values()}
print(f"requests answered, by each: {answered}")

# %%
pace = Slo(ttft=0.5, tpot=0.020)
for most, asked in ((1, "what they use"), (2048, "2,048 tokens")):
    print(f"everybody asks for {asked}")
    for name in SYSTEMS:
        results = big[name, most]
        ttft, tpot = results.percentiles("ttft"), results.percentiles("tpot")
        print(
            f"  {preset(name).title:13} TTFT p50 {ttft[50]:5.2f} s, p99 {ttft[99]:5.2f} s  "
            f"TPOT p99 {1e3 * tpot[99]:3.0f} ms  hits {results.hit_rate:3.0%}  "
            f"kept the promise {results.attainment(pace):4.0%}, {results.goodput(pace):.2f} a second"
        )

# %% jupyter={"source_hidden": true}
figure, both = new_figure(8.6, 2.8, columns=2)
for axes, what in zip(both, ("TTFT p99, seconds", "goodput, requests a second"), strict=True):
    for offset, most, colour, hatch, label in (
        (-0.2, 1, OWNERS[0], "", "ask for what they use"),
        (0.2, 2048, OWNERS[1], "////", "ask for 2,048"),
    ):
        values = [
            big[name, most].percentiles("ttft")[99]
            if what.startswith("TTFT")
            else big[name, most].goodput(pace)
            for name in SYSTEMS
        ]
        places = [at + offset for at in range(len(values))]
        axes.bar(
            places, values, 0.38, color=colour, hatch=hatch, edgecolor="white", label=label
        )
    axes.set_xticks(range(len(titles)), titles, rotation=20)
    axes.set_title(what)
both[0].legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.62, 1))
show(
    figure,
    alt="Two groups of paired bars: with high limits TGI, TensorRT-LLM and SGLang wait for seconds at p99 and lose goodput; vLLM and LMDeploy do not change.",
    caption="A burst of chats on an H100. Who looks at limits suffers from high ones: TGI and TensorRT-LLM most, SGLang less; vLLM and LMDeploy do not look.",
)

# %% [markdown]
# The two that promise everything live from good limits, and even with exact ones they hold back what an answer has yet to say. Pages matter less than in the toy: prompts and answers are hundreds of tokens long, and a page of 64 is a small part of them.

# %%
gain = {
    name: big[name, 1].attainment(pace) / big[name, 2048].attainment(pace) for name in SYSTEMS
}
most = sorted(gain, key=gain.get, reverse=True)[:2]
print("what exact limits bring:", {preset(n).title: f"{gain[n]:.2f}×" for n in SYSTEMS})
print("who gains most:", " and ".join(sorted(preset(name).title for name in most)))
hit_rates = [big[name, 1].hit_rate for name in ("lmdeploy", "vllm", "sglang")]
print("hits with pages of 64, 16 and 1:", ", ".join(f"{hit:.1%}" for hit in hit_rates))
assert gain["vllm"] == gain["lmdeploy"] == 1 and hit_rates == sorted(hit_rates)

# %% [markdown]
# What the simulator leaves out: kernels are the same for all, and so is the time to plan a step. A page of one token is dearer to keep books on and to read through than it looks here.
#
# <div class="alert alert-block alert-success"><b>Takeaway 7.</b> At scale the order of the five hangs on what users ask for, more than on pages. Measure your own limits before you choose.</div>

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
# Ask for load, limits and promise first. Five loads of this chapter have four winners, and with a looser promise, or a cache of fewer bits, there are others. Kernels, which this trace leaves out, decide the rest.
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
