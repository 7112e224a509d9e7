# %% [markdown]
# # 12 · Beyond one machine
#
# **The idea in a line:** cut the model across ranks and every page shrinks with it; copy it into replicas and the question becomes who gets which request.
#
# **Afterwards you can**
# - say what a rank of a tensor-parallel group holds, and what it must say to the others;
# - choose between policies of a router, and know what each costs in balance and in cache hits;
# - survive the loss of a replica without a user noticing;
# - size a fleet for a day and night, and say what it buys to keep prefill and decode apart;
# - put a price on a million tokens.
#
# **Time:** 75–90 minutes. **Needs:** Python, no GPU; [03 · page tables](03_page_tables.ipynb) for pages, [10 · latency and throughput](10_latency_and_throughput.ipynb) for TTFT and TPOT.

# %%
import random
from collections import Counter
from dataclasses import replace
from functools import partial
from itertools import takewhile

from pagedlab import arithmetic
from pagedlab.arithmetic import GIB
from pagedlab.engine.ranks import serve_on_ranks
from pagedlab.learn import check
from pagedlab.scheduling.latency import Slo, percentile
from pagedlab.scheduling.load import Offer, poisson_arrivals
from pagedlab.view.figures import Bar, Segment, draw_bars, new_figure, show

layers, hidden, heads, kv_heads, head_dim, wide = 32, 4096, 32, 8, 128, 14336
print(f"one layer of an 8B decoder: {heads} query heads, {kv_heads} key-value heads")

# %% [markdown]
# ## 1 · What one rank holds
#
# Heads do not look at each other, so they can live apart. With n ranks, each keeps its share of weights and the keys and values of its own heads. (Norms and embeddings are left out here.)

# %%
attention = 2 * hidden * head_dim * (heads + kv_heads)
weights = 2 * layers * (attention + 3 * hidden * wide)
for ranks in (1, 2, 4):
    token = arithmetic.kv_bytes_per_token(layers, kv_heads // ranks, head_dim)
    left = 24 * GIB - weights // ranks
    print(
        f"{ranks} ranks of 24 GiB: weights {weights / ranks / GIB:4.1f} GiB each, "
        f"{token // 1024:3} KiB a token, room for {left // token:7,} tokens"
    )

# %% [markdown]
# Two ranks have room for more than twice the tokens of one: the weights are paid for once, and all that is left over is pages.

# %% [markdown]
# ### Exercise 12.shard · What one rank holds (●●○, 20 min)
# Heads, weights, pages and traffic of one rank, in `exercises/12_beyond_one_machine/shard.py`; mind the rank count at which key-value heads run out.

# %%
check("12.shard")

# %% [markdown]
# ## 2 · Two real ranks
#
# Two processes now, joined by torch's gloo. Each loads half of the heads and half of the feed-forward of a tiny model, and runs the *same* engine over its own pages; `reduce` adds up their halves.

# %%
prompts = [[10, 20, 30, 40, 50], [7] * 9]
(one,), two = serve_on_ranks(prompts, 6, 1), serve_on_ranks(prompts, 6, 2)
for rank, report in enumerate(two):
    assert report.tokens == one.tokens
    print(
        f"rank {rank}: {report.kv_heads} of {one.kv_heads} KV heads, "
        f"{report.bytes_per_page:,} of {one.bytes_per_page:,} bytes a page"
    )
print("tokens equal to those of a single rank:", two[0].tokens == two[1].tokens == one.tokens)

# %% [markdown]
# Nobody sent a page table. Both ranks schedule for themselves: the same requests in the same order give the same plan, so page 7 is the same page on both.

# %%
print(f"all-reduces: {two[0].reductions} = 2 a layer × 3 layers × 6 steps")
print(f"numbers added up: {two[0].values:,}")

# %% [markdown]
# <div class="alert alert-block alert-success"><b>Takeaway 1.</b> Tensor parallelism cuts pages by heads, never by tokens: one page table serves all ranks, and each holds its slice of every page.</div>

# %% [markdown]
# ### Exercise 12.all_reduce · Ring all-reduce (●●●, 35 min)
# How n ranks get a sum without one of them being in the middle: `exercises/12_beyond_one_machine/all_reduce.py`. The check counts what passes over every wire.

# %%
check("12.all_reduce")

# %% [markdown]
# ## 3 · Replicas, and who gets the next request
#
# Whole copies need no wire between them, only a router. The simplest routers look at nothing, or at two loads. A thousand requests for a hundred replicas, none of which ends:


# %%
def at_random(loads, rng):
    return rng.randrange(len(loads))


def two_choices(loads, rng):
    return min(rng.sample(range(len(loads)), 2), key=lambda replica: loads[replica])


fullest = {}
for choose in (at_random, two_choices):
    rng, loads = random.Random(12), [0] * 100
    for _ in range(1000):
        loads[choose(loads, rng)] += 1
    fullest[choose.__name__] = max(loads)
    print(
        f"{choose.__name__:12} fullest replica {max(loads)}, emptiest {min(loads)}; the mean is 10"
    )

# %% [markdown]
# ### Exercise 12.two_choices · The power of two choices (●○○, 10 min)
# Write it in `exercises/12_beyond_one_machine/two_choices.py`. The two must differ, and every pair must be equally likely.

# %%
check("12.two_choices")

# %% [markdown]
# ## 4 · A fleet with caches
#
# Load is half of it: each replica has a prefix cache of its own, and a chat's next turn is cheap only where the last one was computed. By hand: two replicas, two chats of two turns, pages of 16 tokens. Both routers are sent the same four prompts.

# %%
from pagedlab.simulate.fleet import Fleet
from pagedlab.simulate.simulator import Simulator

first, second = [1] * 32, [2] * 32
turns = [first, first + [3] * 16, second, second + [4] * 16]
offers = [Offer(10.0 * number, prompt, 1) for number, prompt in enumerate(turns)]
tiny = Simulator(None, cost=lambda shape: 1.0, num_pages=16)
for router in ("round_robin", "prefix"):
    requests = Fleet(tiny, 2, router).run(offers).requests
    print(
        f"{router:12} went to {list(requests.replica)}, found {list(requests.num_cached)} tokens"
    )

# %% [markdown]
# `Fleet` is the engine's own scheduler and cache manager, once for each replica, on one clock; a step takes what a cost model says (above: a second). Now in earnest: four L4s serve an 8B model under vLLM's choices. Chats have four turns on average, and their users read for ten seconds before they go on.

# %%
from pagedlab.simulate.arrivals import Poisson
from pagedlab.simulate.lengths import Geometric
from pagedlab.simulate.workload import Chat

l4 = Simulator("vllm", model="Llama-3-8B", gpu="L4")
chats = Chat(arrivals=Poisson(1.2), turns=Geometric(4.0))
print(f"each has {l4.num_pages:,} pages of 16 tokens: room for {16 * l4.num_pages:,} tokens")
wanted = sum(len(offer.prompt) for offer in chats.offers(seed=12, sessions=150))
print(f"the first turns alone of 150 chats: {wanted:,} tokens")

# %% [markdown]
# Four routers. `prefix` is SGLang's: the replica that was sent most of this prompt's beginning, if that is 30 % or more of it; else the one that was sent least. It remembers what it sent, and asks nobody.

# %%
routers = ("round_robin", "two_choices", "least_loaded", "prefix")
served = {name: Fleet(l4, 4, name).run(chats.offers(seed=12, sessions=150)) for name in routers}
print("router        hit rate   TTFT p50    p99")
for name, results in served.items():
    wait = results.percentiles("ttft")
    print(f"{name:12} {results.hit_rate:9.0%} {wait[50]:8.2f} s {wait[99]:4.1f} s")
best_else = max(served[name].hit_rate for name in routers[:3])
assert served["prefix"].hit_rate > 1.5 * best_else

# %% [markdown]
# What was found in a cache nobody has to compute, so the first token comes sooner, and most so for those who waited longest. Is the work that is left shared evenly?


# %%
def work(results, replicas=4):
    """Tokens that each replica computed: of prompts what was not found, and the answers."""
    done, requests = [0] * replicas, results.requests
    for at, prompt, found, said in zip(
        requests.replica, requests.num_prompt, requests.num_cached, requests.num_output
    ):
        done[at] += prompt - found + said
    return done


for name, results in served.items():
    done = work(results)
    busiest = max(done) / (sum(done) / len(done))
    print(f"{name:12} computed {sum(done):7,} tokens, busiest {busiest:.2f} × the mean")

# %% jupyter={"source_hidden": true}
figure, axes = new_figure(8, 2.6)
draw_bars(
    axes,
    [
        Bar(
            name.replace("_", " "),
            [
                Segment(tokens / 1000, "abcd"[at], f"{tokens / 1000:.0f}")
                for at, tokens in enumerate(work(results))
            ],
        )
        for name, results in served.items()
    ],
    unit="thousands of tokens computed, one segment a replica",
)
show(
    figure,
    alt="Four bars of four segments, one bar a router: round robin, two choices, least loaded, "
    "prefix. The bar of prefix is less than half as long as the others.",
    caption="What four replicas compute for the same chats. A segment is a replica: equal segments "
    "are balance, a short bar is work that was found in a cache.",
)

# %% [markdown]
# <div class="alert alert-block alert-success"><b>Takeaway 2.</b> For replicas with caches, the router is part of the cache. Balance is what it must not lose on the way.</div>

# %% [markdown]
# And it can lose it. One document is on everybody's lips: 720 questions in a minute, all with the same beginning, which is of course cached where the first of them went. So the rule has a **load guard**: when loads are more than `gap` requests and more than 1.5 times apart, load decides.

# %%
from pagedlab.simulate.routers import PrefixAware

rush = [
    Offer(at, [7] * 1000 + [100 + number] * 40, 100)
    for number, at in enumerate(poisson_arrivals(rate=12.0, count=720, seed=5))
]
for guard, gap in (("none", 10**9), ("over 64", 64), ("over 8", 8)):
    results = Fleet(l4, 4, partial(PrefixAware, gap=gap)).run(rush)
    counts = Counter(results.requests.replica)
    spread = [counts[replica] for replica in range(4)]
    wait = results.percentiles("ttft")[99]
    print(
        f"guard {guard:8} hit rate {results.hit_rate:.0%}, requests {spread}, TTFT p99 {wait:4.1f} s"
    )

# %% [markdown]
# Without the guard three machines stand idle beside a queue. With it, each of the others computes the document once, and from then on has it too: a hot prefix spreads by itself. All loads in this rule are counted by the router, at no cost in messages; for a thousand replicas a choice takes no longer than for ten.

# %% [markdown]
# ### Exercise 12.prefix_router · A router that knows prefixes (●●○, 25 min)
# Match, load guard and ties, in `exercises/12_beyond_one_machine/prefix_router.py`. It asks no replica: it remembers what it sent where.

# %%
check("12.prefix_router")

# %% [markdown]
# ## 5 · A replica is lost
#
# Its pages are gone; the requests need not be. They are computed again elsewhere, and say the same tokens, since noise depends on seed and position only. What the user has seen already is not sent twice.

# %%
seen, again = [55, 17], [55, 17, 80, 3]
for position, token in enumerate(again):
    if position == len(seen):
        seen.append(token)
print("the second replica makes", len(again), "tokens; the user sees", seen)

# %% [markdown]
# Whoever passes tokens on knows them, and can do better than make them one by one again: the next replica gets prompt *and* said tokens as its prompt, and computes both in one go, as after a preemption. By hand, a second a step: a prompt of 10 tokens, an answer of 10, and the replica is lost after five and a half seconds.

# %%
from pagedlab.simulate.failures import Failure

by_hand = Fleet(tiny, 2, "least_loaded").run(
    [Offer(0.0, [1] * 10, 10)], failures=[Failure(5.5, 0)]
)
print(f"first token at {by_hand.requests.first[0]} s, last at {by_hand.requests.last[0]} s")
totals = by_hand.totals
print(
    f"lost with the pages: {totals.num_lost_tokens} tokens, 10 of the prompt and 4 of the answer"
)
print(f"computed in all: {totals.num_tokens} = 14 before, 15 + 4 after")

# %% [markdown]
# The token at 6.5 s comes half a second late, and that is all the user sees. Now four L4s at twelve requests a second; replica 2 is lost at 90 s, and back, with an empty cache, at 150 s.


# %%
def requests_at(moments, prompts, answers, seed=5):
    """A request at each moment, of its own prompt; lengths in tokens are drawn between bounds."""
    draw = random.Random(seed)
    return [
        Offer(at, [number] * draw.randint(*prompts), draw.randint(*answers))
        for number, at in enumerate(moments)
    ]


steady = requests_at(poisson_arrivals(rate=12.0, count=2880, seed=5), (200, 600), (100, 300))
failed = Fleet(l4, 4, "least_loaded").run(
    steady, failures=[Failure(at=90, replica=2, back_after=60)], sample_every=2.0
)
totals = failed.totals
print(f"asked {len(steady):,}, answered {len(failed.requests):,}")
print(
    f"{totals.num_rerouted} went elsewhere, and {totals.num_lost_tokens:,} tokens in pages were lost"
)
assert len(failed.requests) == len(steady)

# %% [markdown]
# Everybody is answered. What the failure costs is time to the first token, and not only for those who were on that replica:

# %%
print("requests due        TTFT p50     p99")
for phase, start, stop in (
    ("before", 0, 90),
    ("while away", 90, 150),
    ("a minute on", 150, 210),
):
    due_then = zip(failed.requests.due, failed.requests.ttft, strict=True)
    waits = sorted(wait for due, wait in due_then if start <= due < stop)
    half, most = percentile(waits, 50), percentile(waits, 99)
    print(f"{phase:12} {len(waits):5,} {half:8.2f} s {most:5.1f} s")

# %% jupyter={"source_hidden": true}
figure, rows = new_figure(8, 4.2, rows=4, sharex=True, sharey=True)
samples = failed.samples
for number, axes in enumerate(rows):
    states = zip(samples.moment, samples.replica, samples.num_running, samples.num_waiting)
    at = {moment: (run, run + wait) for moment, own, run, wait in states if own == number}
    moments = sorted(set(samples.moment))
    running, both = zip(*(at.get(moment, (0, 0)) for moment in moments))
    axes.fill_between(moments, running, color="#56B4E9", lw=0, label="running")
    axes.fill_between(
        moments, running, both, fc="#D55E00", ec="white", hatch="////", lw=0, label="waiting"
    )
    axes.set_ylabel(f"replica {number}")
    axes.axvspan(90, 150, color="#F4F4F4", zorder=0)
    axes.set_xlim(0, 240)
rows[0].legend(loc="upper left", ncols=2)
rows[-1].set_xlabel("seconds")
show(
    figure,
    alt="Four strips over time, one a replica, each with an area of running requests and one of "
    "waiting requests on top. Strip 2 is empty from 90 to 150 seconds; meanwhile the other three "
    "run more and a queue grows on each, which is gone a few seconds after replica 2 is back.",
    caption="Requests of four replicas, sampled every two seconds. While replica 2 is away (grey) "
    "the others fill up, and what does not fit waits: the wait is for room, not for the failure.",
)

# %% [markdown]
# Nobody was lost, and few lost anything with their replica. Far more had to wait, because three replicas are too few for this load: a failure is paid for in advance, in room that stands idle until then.

# %% [markdown]
# ### Exercise 12.failover · A replica is lost (●●○, 20 min)
# The table behind it, in `exercises/12_beyond_one_machine/failover.py`: everything exactly once, even when the dead go on talking.

# %%
check("12.failover")

# %% [markdown]
# ## 6 · As many replicas as the hour needs
#
# Users sleep. An **autoscaler** looks at the load every few seconds and wants so many replicas that each has `target` requests; a new one needs its time to start, and one that is to go answers first what it has. By hand, with a target of 24:

# %%
from pagedlab.simulate.autoscale import Autoscaler

policy = Autoscaler(target=24, least=1, most=6, every=2.0, startup=5.0, cooldown=20.0)
for load in (0, 24, 25, 100, 500):
    print(f"{load:3} requests inside: {policy.wanted(load)} replicas wanted")

# %% [markdown]
# A day in 24 minutes, so that it can be computed here: a second stands for a minute. Load swings by 80 % around two requests a second. Two fixed fleets, and one that scales, with a start-up of 5 and of 60 "minutes".

# %%
from pagedlab.simulate.arrivals import Diurnal

day = Diurnal(rate=2.0, swing=0.8, period=1440.0)
users = requests_at(
    takewhile(lambda at: at < 1440, day.moments(seed=5)), (500, 1500), (200, 600)
)
slow = replace(policy, startup=60.0)
fleets = {
    "4 always": Fleet(l4, 4, "least_loaded"),
    "5 always": Fleet(l4, 5, "least_loaded"),
    "1 to 6": Fleet(l4, 2, "least_loaded", policy),
    "1 to 6, slow": Fleet(l4, 2, "least_loaded", slow),
}
days = {name: fleet.run(users, sample_every=10.0) for name, fleet in fleets.items()}
slo, price = Slo(ttft=1.0, tpot=0.12), 0.80
print(f"{len(users):,} requests in a day; at {price:.2f} $ an hour of a replica, an example:")
for name, results in days.items():
    mean = results.totals.replica_seconds / results.seconds
    dollars = results.cost_per_million(price)
    print(
        f"{name:12} {mean:.1f} replicas paid for, {dollars:.2f} $ a million tokens, "
        f"{results.attainment(slo):5.1%} in time"
    )

# %% jupyter={"source_hidden": true}
figure, (top, bottom) = new_figure(8, 3.8, rows=2, sharex=True)
moments = range(0, 1440, 10)
hours = [moment / 60 for moment in moments]
top.plot(hours, [day.rate_at(moment) for moment in moments], color="black")
top.set_ylabel("requests a second")
top.set_ylim(0)
for name, style in (("5 always", ":"), ("1 to 6", "-"), ("1 to 6, slow", "--")):
    there = Counter(days[name].samples.moment)
    colour = {":": "#57606A", "-": "#0072B2", "--": "#D55E00"}[style]
    counts = [there[moment] for moment in moments]
    bottom.step(hours, counts, style, where="post", color=colour, label=name)
bottom.set_ylabel("replicas")
bottom.set_ylim(0, 7)
bottom.set_xlabel("hour of the day")
bottom.legend(loc="lower left", ncols=3)
show(
    figure,
    alt="Above, a sine: load over a day, highest at hour 6 and lowest at hour 18. Below, three "
    "lines of replicas: five all day; and two stairs that rise to six and fall to one with the "
    "load, the dashed one about an hour behind.",
    caption="Replicas follow the load (those that still finish their answers included). With a slow "
    "start they follow it late, which is felt while the load grows.",
)

# %% [markdown]
# For less than four replicas cost, the scaled fleet keeps nearly every promise; the four do not. What a slow start takes from it is the morning: so images are kept small, weights near, and the target below what a replica can hold.

# %%
scaled, four = days["1 to 6"], days["4 always"]
cheaper = scaled.cost_per_million(price) / four.cost_per_million(price)
assert scaled.attainment(slo) > 0.99 > four.attainment(slo) + 0.3
print(
    f"against four replicas it costs {cheaper:.0%}, and breaks "
    f"{1 - scaled.attainment(slo):.1%} of its promises instead of {1 - four.attainment(slo):.0%}"
)

# %% [markdown]
# ## 7 · Prefill here, decode there
#
# Prefill and decode load a machine differently, so some fleets keep them apart; then a prompt's pages must travel. Shipping is worth it where the wire is faster than computing anew. A prompt of 4,000 tokens, at an assumed 10,000 tokens a second of prefill:

# %%
prompt_bytes = 4000 * arithmetic.kv_bytes_per_token(layers, kv_heads, head_dim)
recompute = 4000 / 10_000
print(f"{prompt_bytes / GIB:.2f} GiB of pages; computing them anew: {1000 * recompute:.0f} ms")
for gigabits in (1, 10, 100, 400):
    ship = prompt_bytes / (gigabits * 1e9 / 8)
    print(
        f"{gigabits:3} Gbit/s: {1000 * ship:6.0f} ms to ship, {ship / recompute:5.2f} × the time to compute"
    )

# %% [markdown]
# One request by hand: a second a step, ten tokens a second on the wire. The prefill replica computes ten tokens and says the first; their pages travel; the decode replica says two more.

# %%
from pagedlab.simulate.disaggregate import Disaggregated

half = Fleet(tiny, 1)
apart = Disaggregated(half, half, bandwidth=10, latency=0.5, bytes_per_token=1)
results = apart.run([Offer(0.0, [1] * 10, 3)])
print(
    f"first token at {results.requests.first[0]} s, last at {results.requests.last[0]} s = 1 + 10/10 + 0.5 + 2"
)
print(
    f"computed: {results.totals.num_tokens} = 10 + 1 + 1 tokens; the prompt was not computed again"
)

# %% [markdown]
# The pages arrive in the host memory of the decode replica, and come in as those of a swapped sequence do: its own cache manager accounts for them. Four L4s again, prompts of 500 to 3,500 tokens, pages over 100 Gbit/s: all four do both, or p of them prefill and the rest decode. Chunks of 256 tokens instead of 2,048 are the rival cure for the same trouble.

# %%
long = requests_at(poisson_arrivals(rate=2.0, count=300, seed=5), (500, 3500), (50, 250))
small = Simulator("vllm", model="Llama-3-8B", gpu="L4", max_tokens_per_step=256)


def split(prefill):
    parts = (Fleet(l4, number, "least_loaded") for number in (prefill, 4 - prefill))
    return Disaggregated(*parts, bandwidth=100e9 / 8)


ways = {
    "4 do both": Fleet(l4, 4, "least_loaded"),
    "4, chunks of 256": Fleet(small, 4, "least_loaded"),
    "1 + 3": split(1),
    "2 + 2": split(2),
    "3 + 1": split(3),
}
answered = {name: way.run(long) for name, way in ways.items()}
print("                  TTFT p50   p99    TPOT p50    p99")
for name, results in answered.items():
    wait, pace = (results.percentiles(what) for what in ("ttft", "tpot"))
    print(
        f"{name:16} {wait[50]:7.2f} s {wait[99]:4.1f} s {1000 * pace[50]:7.0f} ms {1000 * pace[99]:5.0f} ms"
    )

# %% jupyter={"source_hidden": true}
figure, axes = new_figure(8, 3.0)
for (name, results), mark in zip(answered.items(), "osD^v"):
    across, up = (results.percentiles(what)[99] for what in ("ttft", "tpot"))
    colour = "#56B4E9" if name.startswith("4") else "#E69F00"
    axes.semilogy(across, 1000 * up, mark, color=colour, mec="black", ms=9)
    side, place = ("right", (-8, 4)) if name == "4 do both" else ("left", (8, 4))
    axes.annotate(name, (across, 1000 * up), place, textcoords="offset points", ha=side)
axes.set_xlim(0, 5)
axes.set_yticks([50, 100, 200, 500, 1000], [50, 100, 200, 500, 1000])
axes.minorticks_off()
axes.set_xlabel("TTFT p99, seconds")
axes.set_ylabel("TPOT p99, ms")
show(
    figure,
    alt="Five points of TTFT and TPOT at the 99th percentile. Four lie low: two to two and four that "
    "do both at a second of TTFT, chunks of 256 to their right and a little lower, and one prefill "
    "to three decode far to the right. Three to one lies far above all.",
    caption="The same four machines, shared in five ways. Down is a steady stream, left a quick first "
    "token. Blue: each does both; orange: apart. Only one point is bad: too few to decode.",
)

# %% [markdown]
# Apart, answers run more evenly, and the first token pays for it where prefill has too few machines. With one machine to decode there is no room for everybody's pages: sequences are preempted, and compute their prompts again where nobody planned for prompts.

# %%
tails = {name: results.percentiles("tpot")[99] for name, results in answered.items()}
assert max(tails["1 + 3"], tails["2 + 2"]) < tails["4 do both"] < tails["3 + 1"]
for name in ("4 do both", "1 + 3", "2 + 2", "3 + 1"):
    results = answered[name]
    print(
        f"{name:9} {results.num_preemptions:3} preemptions, {results.totals.num_tokens:,} tokens computed"
    )

# %% [markdown]
# Small chunks reach the same calm without a wire; what splitting adds is that each pool can be sized, and bought, for its own work.

# %% [markdown]
# <div class="alert alert-block alert-success"><b>Takeaway 3.</b> Keep prefill and decode apart, or cut prompts into chunks: both buy a steady stream with a later first token. A split has one more number to get wrong, the ratio.</div>

# %% [markdown]
# ## 8 · What a million tokens cost
#
# An hour is paid for whether tokens come out or not. The prices and speeds here are examples; put in your own.

# %%
for utilisation in (1.0, 0.5, 0.1):
    cost = 3.60 / (1000 * 3600 * utilisation) * 1e6
    print(
        f"3.60 $ an hour, 1,000 tokens a second, used to {utilisation:4.0%}: {cost:5.2f} $ a million"
    )

# %% [markdown]
# For a fleet, hours come from the simulation. The chats of section 4, as a bill for one to four replicas, each at the price of section 6: fewer are cheaper, as long as somebody still answers in time.

# %%
for replicas in (1, 2, 3, 4):
    results = Fleet(l4, replicas, "prefix").run(chats.offers(seed=12, sessions=150))
    print(
        f"replicas: {replicas}, {results.cost_per_million(price):.2f} $ a million tokens, "
        f"{results.attainment(slo):4.0%} in time"
    )

# %% [markdown]
# And two pools may have two prices. Decode wants memory and bandwidth, and little arithmetic: if such a machine is cheaper, the split of section 7 earns its wire.

# %%
for decode in (0.80, 0.60, 0.40):
    dollars = answered["2 + 2"].cost_per_million({"prefill": price, "decode": decode})
    together = answered["4 do both"].cost_per_million(price)
    print(
        f"decode at {decode:.2f} $ an hour: {dollars:.2f} $ a million, against {together:.2f} $ for four that do both"
    )

# %% [markdown]
# <div class="alert alert-block alert-success"><b>Takeaway 4.</b> Price per hour over tokens per hour really asked for. Filling a machine is worth as much as speeding it up.</div>

# %% [markdown]
# ### Exercise 12.cost_per_token · What a million tokens cost (●○○, 10 min)
# Cost, break-even and how many replicas: `exercises/12_beyond_one_machine/cost_per_token.py`.

# %%
check("12.cost_per_token")

# %% [markdown]
# ## Quiz
#
# Open the answer that you would give; then open the others, and read why not.

# %%
from pagedlab.learn.quizzes import quiz

quiz("12.page_tables")

# %% [markdown]
# ## Pause and recall
#
# <details><summary>What does a rank of two hold of page 7?</summary>
#
# The same tokens as the other rank, for half of the key-value heads. The page table is the same on both.
# </details>
#
# <details><summary>Why do two ranks have room for more than twice the tokens of one?</summary>
#
# The weights are in memory once, not twice. What is left of both is more than twice what one had left.
# </details>
#
# <details><summary>What two rules must a cache-aware router weigh?</summary>
#
# Where most of the prompt is cached, and who has least to do. Load must win when the gap is large.
# </details>
#
# <details><summary>A replica is lost in the middle of an answer. What does the next one compute?</summary>
#
# The prompt and the tokens that the user has seen, as one prefill; then it goes on behind them. Nothing is sent twice.
# </details>
#
# <details><summary>Why does an autoscaled fleet fail in the morning, and not in the evening?</summary>
#
# Load grows while new replicas still start. When load falls, there are too many for a while, which costs money and no promise.
# </details>
#
# ## Interview questions
#
# <details><summary>You have eight GPUs and a model that fits on one. One group of eight, or eight replicas? (Avoid: "tensor parallelism is always faster".)</summary>
#
# Replicas need no all-reduce and fail one at a time; the group answers a single request sooner and has more room for pages in all, since it keeps the weights once. If latency and context fit on one, replicas and a router that knows prefixes; else the smallest group that fits.
# </details>
#
# <details><summary>Hit rates fell when you went from one replica to four. Why? (Avoid: "the caches are too small".)</summary>
#
# The router scatters the turns of a chat, so each replica computes what another has. Route by prefix, with a guard for load.
# </details>
#
# <details><summary>Streams stutter whenever somebody sends a long prompt. Would you separate prefill from decode? (Avoid: "yes, everybody does".)</summary>
#
# First make the chunks smaller: that needs no wire, and costs time to first token. Separate them when the two pools should be sized, or bought, apart, when prompts are long, and when the wire is faster than computing; then watch the ratio.
# </details>
#
# ## Sketch from memory
#
# Draw one page table and two ranks: the same page numbers on both, each with half of the heads, and an arrow for the sum. Beside it four replicas behind a router, a chat's three turns, and one replica crossed out.
#
# ## Bridge
#
# Shards, routers and prices all rest on the same engine. Chapter 13, *your own engine*, puts what you wrote in its place: your pool, tables, cache, scheduler and kernel serve the model.
