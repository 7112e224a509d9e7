# %% [markdown]
# # 10 · Latency and throughput
#
# **The idea in a line:** serving is balance: what makes the machine busy makes somebody wait, and only a promise in seconds says how much is too much.
#
# **Afterwards you can**
# - read TTFT, TPOT and E2E off a request's time stamps, and say which part of the engine each one blames;
# - load a server without flattering it, and name the mistake that most load tests make;
# - find the rate at which goodput falls away, and explain why it lies below the capacity;
# - choose token budget and batch limit from a Pareto front instead of from a feeling.
#
# **Time:** 75–90 minutes. **Needs:** Python, no GPU; [03 · page tables](03_page_tables.ipynb). Section 9 loads a real model.

# %%
import itertools
import json
from pathlib import Path

import pagedlab
from pagedlab.learn import check
from pagedlab.memory.manager import CacheManager
from pagedlab.scheduling import latency
from pagedlab.scheduling.admission import AdmissionPolicy
from pagedlab.scheduling.latency import Slo, Timeline, attainment, percentile
from pagedlab.scheduling.limits import Limits
from pagedlab.scheduling.load import (
    Offer,
    StepTime,
    VirtualClock,
    WithoutModel,
    drive,
    poisson_arrivals,
)
from pagedlab.scheduling.scheduler import Scheduler
from pagedlab.view.explorer import Explorer, Frame
from pagedlab.view.figures import bar, draw_bars, new_figure, show
from pagedlab.view.palette import LINES

print("E2E = TTFT + TPOT × (tokens - 1)")

# %% [markdown]
# ## 1 · Three latencies
#
# A request is due at 10.0 seconds, and its four tokens come at 10.5, 10.7, 10.9 and 11.1. The reader waits half a second for the first word; then text flows at five tokens a second.

# %%
timeline = Timeline(due=10.0, token_times=[10.5, 10.7, 10.9, 11.1])
print(f"TTFT {timeline.ttft:.1f} s, TPOT {timeline.tpot:.1f} s, E2E {timeline.e2e:.1f} s")

# %% [markdown]
# The first token waits for the queue and for prefill. The gaps after it are decode: that is why the first token is no part of TPOT. The two have different causes and different cures.

# %% [markdown]
# ### Exercise 10.request_latencies · TTFT, TPOT, E2E (●○○, 10 min)
# Turn time stamps into these three in `exercises/10_latency_and_throughput/request_latencies.py`. An answer of one token has no pace.

# %%
check("10.request_latencies")

# %% [markdown]
# ## 2 · Averages lie
#
# Nine answers take 0.1 seconds, one takes 10. Nobody has seen the average.

# %%
waits = [0.1] * 9 + [10.0]
print(
    f"mean {sum(waits) / 10:.2f} s; p50 {percentile(waits, 50)} s, p90 {percentile(waits, 90)} s"
)
print(f"p99 {percentile(waits, 99)} s: of ten samples, that is the worst one")

# %% [markdown]
# A tail is met more often than it seems. A page that makes twenty calls is as slow as its slowest: if one call in a hundred is slow, how many pages are?

# %%
for calls in (1, 5, 20, 100):
    print(f"{calls:3} calls: {1 - 0.99**calls:4.0%} of pages meet the slowest 1 %")

# %% [markdown]
# <div class="alert alert-block alert-success"><b>Takeaway 1.</b> Report p50 and p99, never the mean alone, and say of how many samples: a p99 of forty requests is their maximum.</div>

# %% [markdown]
# ### Exercise 10.percentile · A percentile, exactly (●○○, 10 min)
# Write the nearest rank in `exercises/10_latency_and_throughput/percentile.py`. One trap is in floating point.

# %%
check("10.percentile")

# %% [markdown]
# ## 3 · The wait that was not counted
#
# A server takes one request at a time. Three are due at 0, 1 and 2 seconds; the first takes 5 seconds, for a stall, the others 1 each. An **open loop** sends each when it is due.

# %%
due, service, free = [0, 1, 2], [5, 1, 1], 0
for at, seconds in zip(due, service, strict=True):
    sent = max(at, free)
    free = sent + seconds
    print(
        f"due {at}, answered {free}: the user waited {free - at} s; counted from sending, {seconds} s"
    )

# %% [markdown]
# A **closed loop** waits for an answer before it sends on, so it asks less just when the server is slow. Its numbers are those of the last column: one stall of 5 seconds, measured once, though three users felt it. The name for it is **coordinated omission**.

# %% [markdown]
# ### Exercise 10.omission · The wait that was not counted (●●○, 15 min)
# Write both loops in `exercises/10_latency_and_throughput/omission.py`. The answers come at the very same moments in both.

# %%
check("10.omission")

# %% [markdown]
# Users do not know of each other, so their arrivals are a **Poisson process**: independent gaps, exponentially distributed. It bunches more than one expects. Here are twenty arrivals at one a second, a mark each.

# %%
arrivals = poisson_arrivals(rate=1.0, count=20, seed=1)
line = ["·"] * 60
for at in arrivals:
    place = min(59, int(at * 2))
    line[place] = "2" if line[place] == "1" else "1"
print("".join(line), "half a second each")
print(f"shortest gap {min(b - a for a, b in itertools.pairwise(arrivals)):.2f} s")

# %% [markdown]
# ### Exercise 10.poisson_arrivals · Arrivals that nobody coordinates (●●○, 15 min)
# Make such arrivals in `exercises/10_latency_and_throughput/poisson_arrivals.py`, the same ones for the same seed.

# %%
check("10.poisson_arrivals")

# %% [markdown]
# <div class="alert alert-block alert-success"><b>Takeaway 2.</b> Fix the arrivals before the first request is sent, and count each wait from when the request was due.</div>
#
# ## 4 · A clock that costs what a step costs
#
# Seconds differ from machine to machine, decisions need not. We drive the engine's own scheduler and page pool, and let a *virtual clock* say what each step takes: a fixed part, a part for every token, a part for every token of context.
# The three numbers come from a committed run of the real engine (`bench/load.py`).

# %%
root = Path(pagedlab.__file__).parents[1]
measured = json.loads((root / "bench" / "results" / "load.json").read_text())
fit = measured["step_time"]
cost = StepTime(fit["fixed"], fit["per_token"], fit["per_context"])
print(
    f"fitted to {fit['steps']:,} steps; half of them are off by less than {fit['median_relative_error']:.0%}"
)
print(f"the fixed part costs as much as {cost.fixed / cost.per_token:.1f} tokens")

# %% [markdown]
# Requests have prompts of 16 to 192 tokens and outputs of 8 to 32, as in that run. `serve` sends them at a rate, and gives back the moments of every token.


# %%
def load(rate, count=300, seed=3):
    """Poisson arrivals at ``rate`` a second; the lengths are the same at every rate."""
    lengths = [(p, o) for p in (16, 32, 64, 192) for o in (8, 16, 32)]
    times = poisson_arrivals(rate, count, seed)
    picks = [lengths[7 * i % 12] for i in range(count)]
    return [Offer(at, [0] * p, o) for at, (p, o) in zip(times, picks, strict=True)]


def serve(offers, budget=256, most=16, pages=1024, step_time=cost, **knobs):
    scheduler = Scheduler(CacheManager(pages, 16), Limits(budget, most), **knobs)
    return drive(WithoutModel(scheduler), offers, VirtualClock(step_time))


alone = serve(load(1.0, count=1))
assert percentile([step.num_sequences for step in alone.steps], 99) == 1
print(
    f"one request alone: {len(alone.steps)} steps for {len(alone.timelines[0].token_times)} tokens"
)

# %% [markdown]
# The **capacity** is what it serves when there is always somebody waiting. Rates are shares of it from here on.

# %%
burst = serve(load(1e6))
capacity = len(burst.timelines) / burst.seconds
print(
    f"utilisation {burst.utilisation:.0%}, {burst.mean_batch:.1f} sequences in a step on average"
)
unit = serve(load(0.01 * capacity, count=24))
ttft_alone = percentile([t.ttft for t in unit.timelines], 50)
tpot_alone = percentile([t.tpot for t in unit.timelines], 50)
print(f"alone, the first token takes as long as {ttft_alone / tpot_alone:.1f} later ones")

# %% [markdown]
# ## 5 · The knee
#
# Now the rate rises, to the capacity and past it. Latencies are printed as multiples of what a request gets alone.

# %%
shares = (0.2, 0.4, 0.6, 0.8, 0.9, 1.0, 1.2)
runs = {share: serve(load(share * capacity)) for share in shares}
print("load  TTFT p50    p99  TPOT p50    p99  busy  batch")
for share, run in runs.items():
    ttft = [t.ttft / ttft_alone for t in run.timelines]
    tpot = [t.tpot / tpot_alone for t in run.timelines]
    waits = " ".join(f"{percentile(v, p):8.1f}" for v in (ttft, tpot) for p in (50, 99))
    print(f"{share:4.0%} {waits}  {run.utilisation:4.0%} {run.mean_batch:6.1f}")

# %% jupyter={"source_hidden": true}
figure, (left, right) = new_figure(8, 3.0, columns=2)
for axes, name, base in ((left, "ttft", ttft_alone), (right, "tpot", tpot_alone)):
    for percent, marker, colour in (
        (50, "o", "#0072B2"),
        (90, "s", "#009E73"),
        (99, "^", "#D55E00"),
    ):
        values = [
            percentile([getattr(t, name) / base for t in run.timelines], percent)
            for run in runs.values()
        ]
        axes.semilogy(
            [100 * s for s in shares], values, marker=marker, color=colour, label=f"p{percent}"
        )
    axes.set_xlabel("load, % of capacity")
    axes.set_title(f"{name.upper()}, times that of a request alone")
left.legend()
show(
    figure,
    alt="Two line charts over load. TTFT stays low and then bends upwards steeply near 100 per "
    "cent, p99 first. TPOT rises early and then stays level once the batch is full.",
    caption="The first token waits in a queue that has no bound; the later ones wait in a batch "
    "that has one. So TTFT has a knee near the capacity, and TPOT a ceiling.",
)

# %% [markdown]
# Two different curves. TPOT rises early, because every sequence that joins makes the step longer, and stops rising when the batch is full. TTFT is quiet until the queue grows faster than it drains.
#
# The oldest result of queueing theory has that shape: with random arrivals and random work at a single server, time in the system is service time / (1 − utilisation).

# %%
for busy in (0.5, 0.8, 0.9, 0.95, 0.99):
    print(f"busy {busy:.0%}: {1 / (1 - busy):5.1f} times the service time")
assert runs[0.4].utilisation > 0.5
print(f"ours at 40 % load is busy {runs[0.4].utilisation:.0%} of the time already")

# %% [markdown]
# The last line is what batching adds to the textbook. An engine that is busy is not full: at low load its steps are small and wasteful, and as load rises the batch grows before the queue does. **Utilisation says that a step ran, not that it was worth its weights.**

# %% [markdown]
# Beyond the capacity there is no steady state at all. The longer the test, the worse the percentiles: here is the median wait of each third of the run at 120 %.

# %%
for share in (0.6, 1.2):
    lines = runs[share].timelines
    thirds = [
        percentile([t.ttft / ttft_alone for t in lines[i : i + 100]], 50) for i in (0, 100, 200)
    ]
    print(
        f"load {share:4.0%}: TTFT p50 of each third {', '.join(f'{third:.1f}' for third in thirds)}"
    )

# %% [markdown]
# <div class="alert alert-block alert-success"><b>Takeaway 3.</b> Below the knee a percentile is a property of the server. Above it, it is a property of how long you measured. Leave out the warm-up, and check that the last third looks like the one before.</div>
#
# ## 6 · Goodput
#
# A promise makes the difference between busy and useful. Ours: the first token within 15 times, and each later one within 8 times, of what a request gets alone. **Goodput** counts the requests a second that met both.

# %%
slo = Slo(ttft=15 * ttft_alone, tpot=8 * tpot_alone)
print("load  tokens/s  met the SLO  goodput")
most_tokens = max(run.tokens_per_second for run in runs.values())
good = {}
for share, run in runs.items():
    good[share] = attainment(run.timelines, slo) * len(run.timelines) / run.seconds / capacity
    tokens = run.tokens_per_second / most_tokens
    print(
        f"{share:4.0%} {tokens:9.0%} {attainment(run.timelines, slo):12.0%} {good[share]:8.0%}"
    )

# %% [markdown]
# Tokens a second, read alone, call the overloaded server the best one. It is the busiest, and for its users it is broken.

# %% jupyter={"source_hidden": true}
figure, axes = new_figure(8, 2.8)
percents = [100 * share for share in shares]
tokens = [100 * run.tokens_per_second / most_tokens for run in runs.values()]
useful = [100 * good[share] for share in shares]
axes.plot(percents, tokens, "o-", color="#0072B2", label="tokens a second, % of the most")
axes.plot(percents, useful, "s--", color="#D55E00", label="goodput, % of capacity")
axes.set_xlabel("load, % of capacity")
axes.set_ylim(0, 105)
axes.legend(loc="lower right")
show(
    figure,
    alt="Over rising load, tokens a second climb and stay near their maximum, while goodput "
    "climbs with them at first and then falls away.",
    caption="Throughput does not see the knee, goodput does. Whoever sizes a fleet by the blue "
    "line promises what the orange one cannot keep.",
)

# %% [markdown]
# ### Exercise 10.goodput · Served, and in time (●●○, 15 min)
# Count in `exercises/10_latency_and_throughput/goodput.py`. What never got an answer counts too.

# %%
check("10.goodput")

# %% [markdown]
# How much load may it be given, if 90 % of requests are promised to be good? And if 99 %? Bisection needs one experiment for each halving.

# %%
for promised in (0.9, 0.99):
    tried = []

    def share_good(share, tried=tried):
        tried.append(share)
        return attainment(serve(load(share * capacity)).timelines, slo)

    best = latency.largest_rate(share_good, promised, 0.05, 1.2, tolerance=0.05)
    print(f"{promised:.0%} good: up to {best:.0%} of capacity, after {len(tried)} experiments")

# %% [markdown]
# ### Exercise 10.slo_search · The most load that keeps the promise (●●●, 20 min)
# Write the search in `exercises/10_latency_and_throughput/slo_search.py`, with few experiments and an answer that was measured.

# %%
check("10.slo_search")

# %% [markdown]
# What stays idle for the promise's sake is paid for. If a machine costs the same every hour, a good token costs what the machine costs, divided by good tokens.

# %%
best_share = max(good, key=good.get)
for share in (0.2, 0.6, 1.2):
    print(
        f"at {share:4.0%} load a request in time costs {good[best_share] / good[share]:5.1f} times the least"
    )
print(f"cheapest at {best_share:.0%} load")

# %% [markdown]
# <div class="alert alert-block alert-success"><b>Takeaway 4.</b> Latency and throughput pull against each other. Chase the speed of a single request and the machine idles; chase packing and the tail blows up. The SLO says where to stop.</div>
#
# ## 7 · Two knobs
#
# The **token budget** bounds a step, so it bounds how long a running reader waits while somebody's prompt is computed. With a small budget prompts come in slices. Load 60 %, and prompts of 400 tokens among short ones:

# %%
mixed = [
    Offer(o.at, [0] * 400, 4) if i % 10 == 0 else o for i, o in enumerate(load(0.6 * capacity))
]
print("budget   gap p50  gap p99  TTFT p50")
for budget in (32, 64, 128, 512):
    lines = serve(mixed, budget=budget).timelines
    gaps = [gap / tpot_alone for line in lines for gap in line.gaps]
    first = percentile([line.ttft / ttft_alone for line in lines], 50)
    print(f"{budget:6} {percentile(gaps, 50):9.1f} {percentile(gaps, 99):8.1f} {first:9.1f}")

# %% [markdown]
# Look along both columns: the smallest budget has the calmest gaps, and prompts crawl.
#
# The **batch limit** bounds how many share a step. More of them read the weights together, so tokens a second rise; and each of them waits for all.

# %%
for most in (1, 2, 4, 8, 16, 32):
    run = serve(load(1e6), most=most)
    pace = percentile([t.tpot / tpot_alone for t in run.timelines], 50)
    print(
        f"at most {most:2}: {run.tokens_per_second / burst.tokens_per_second:5.0%} of the tokens a second, TPOT p50 {pace:4.1f}"
    )

# %% [markdown]
# Both at once, at 90 % load: each setting is a point. A setting is *dominated* when another one has at least its throughput at no more latency. What is left is the **Pareto front**.

# %%
points = []
for budget in (32, 64, 128, 256, 512):
    for most in (4, 8, 16, 32):
        run = serve(load(0.9 * capacity), budget=budget, most=most)
        slow = percentile([t.tpot / tpot_alone for t in run.timelines], 99)
        points.append((budget, most, run.tokens_per_second / most_tokens, slow))
front = latency.pareto_front(points, lambda p: round(p[2], 6), lambda p: round(p[3], 6))
print(f"{len(front)} of {len(points)} settings are on the front")
for budget, most, tokens, slow in front:
    print(
        f"budget {budget:3}, at most {most:2}: {tokens:4.0%} of the tokens, TPOT p99 {slow:4.1f}"
    )

# %% jupyter={"source_hidden": true}
figure, axes = new_figure(8, 3.2)
marks = {4: "o#E69F00", 8: "s#56B4E9", 16: "D#009E73", 32: "^#CC79A7"}
for most, mark in marks.items():
    across = [p[3] for p in points if p[1] == most]
    up = [100 * p[2] for p in points if p[1] == most]
    axes.plot(across, up, mark[0], color=mark[1:], mec="black", label=f"at most {most}")
axes.plot([p[3] for p in front], [100 * p[2] for p in front], "k-", label="the front")
axes.set_xlabel("TPOT p99, times that of a request alone")
axes.set_ylabel("tokens a second, % of the most")
axes.legend(loc="lower right")
show(
    figure,
    alt="Twenty settings of token budget and batch limit as points of tail latency and "
    "throughput. A line joins those that no other setting beats; the rest lie below it.",
    caption="Twenty settings at 90 % load. Those on the line are choices between throughput and "
    "tail latency; every other one gives something away for nothing.",
)

# %% [markdown]
# ### Exercise 10.pareto · Nothing to regret (●●○, 15 min)
# Find the front in `exercises/10_latency_and_throughput/pareto.py`.

# %%
check("10.pareto")

# %% [markdown]
# ## 8 · A smarter allocator before a bigger model
#
# The same memory, three deployments. *Contiguous* reserves 1,024 slots for everybody who comes in, since nobody knows how long an answer will be. *Paged* takes pages as they are needed. *Bigger* is a model with four times the weights to read, paged: its steps take four times as long, and its tokens twice the memory.


# %%
class ReserveContext(AdmissionPolicy):
    """Room for the longest context that anybody may have, for everybody inside."""

    def admits(self, sequence, inside):
        reserved = 1024 * (1 + len(inside.running))
        return reserved <= inside.manager.pool.num_pages * inside.manager.page_size


big = StepTime(4 * cost.fixed, 4 * cost.per_token, 2 * cost.per_context)
deployments = {
    "contiguous": {"pages": 192, "admission": ReserveContext()},
    "paged": {"pages": 192},
    "bigger, paged": {"pages": 96, "step_time": big},
}
for name, knobs in deployments.items():
    run = serve(load(1e6), **knobs)
    print(
        f"{name:14} {run.mean_batch:4.1f} in a step, {run.tokens_per_second / burst.tokens_per_second:4.0%} of the tokens a second"
    )

# %% [markdown]
# How much load does each carry within the same SLO, for nine requests in ten? A user's patience does not grow with the model: the promise stays as it was.

# %%
carried = {}
for name, knobs in deployments.items():

    def share_good(share, knobs=knobs):
        return attainment(serve(load(share * capacity), **knobs).timelines, slo)

    carried[name] = latency.largest_rate(share_good, 0.9, 0.01, 1.2, tolerance=0.02) or 0.0
    print(f"{name:14} up to {carried[name]:4.0%} of capacity")
assert carried["paged"] > carried["contiguous"] >= carried["bigger, paged"]

# %% jupyter={"source_hidden": true}
figure, axes = new_figure(8, 1.8)
draw_bars(
    axes,
    [bar(name, used=100 * share) for name, share in carried.items()],
    unit="load carried within the SLO, % of capacity",
)
show(
    figure,
    alt="Bars of the load carried within the SLO: the paged deployment carries the most, the "
    "contiguous one less, the bigger model least or none.",
    caption="The same memory and the same promise. Pages let more requests in; a bigger model "
    "makes each step slower and leaves less room.",
)

# %% [markdown]
# Less fragmentation lets more requests live at once; more live requests give the scheduler more to choose from; fuller steps cost less a token. The bigger model may answer better. What it must also do is answer in time.

# %% [markdown]
# <div class="alert alert-block alert-success"><b>Takeaway 5.</b> The deployment that wins is not always the one with the smartest model, but the one that packs well, schedules well and meets its latency targets.</div>
#
# ## 9 · The real engine
#
# Now SmolLM2 itself on a wall clock. `python -m bench.load` measured its capacity with all requests at once and then sent Poisson arrivals at shares of it; the committed run was made on a shared two-core machine, so only ratios are worth reading.

# %%
alone_s = measured["alone"]
for rate in measured["rates"]:
    first, pace = (rate[k]["p90"] / alone_s[k] for k in ("ttft", "tpot"))
    print(
        f"load {rate['share']:4.0%}: TTFT p90 {first:5.1f}, TPOT p90 {pace:4.1f} times alone; "
        f"busy {rate['utilisation']:.0%}, batch {rate['mean_batch']:.1f}"
    )

# %% jupyter={"source_hidden": true}
figure, (left, right) = new_figure(8, 3.0, columns=2)
for axes, name in ((left, "ttft"), (right, "tpot")):
    for key, marker, colour in (("p50", "o", "#0072B2"), ("p90", "s", "#D55E00")):
        values = [rate[name][key] / alone_s[name] for rate in measured["rates"]]
        axes.semilogy(
            [100 * rate["share"] for rate in measured["rates"]],
            values,
            marker=marker,
            color=colour,
            label=key,
        )
    axes.set_xlabel("load, % of capacity")
    axes.set_title(f"{name.upper()}, times that of a request alone")
left.legend()
show(
    figure,
    alt="Measured TTFT and TPOT of the real engine over load, as multiples of a request alone: "
    "both rise with load, and by far the most from 90 per cent on.",
    caption="The real engine, forty requests at each rate: noisier than the virtual clock, "
    "because the machine was shared, and too short for the queue to grow without end.",
)

# %% [markdown]
# Token budget × batch limit on the real engine, at 90 % load. Which settings would you not have to regret?

# %%
front = latency.pareto_front(
    measured["settings"],
    throughput=lambda s: s["tokens_per_second"],
    latency=lambda s: s["tpot"]["p90"],
)
print(f"{len(front)} of {len(measured['settings'])} settings are on the front")
for s in front:
    tokens = s["tokens_per_second"] / front[-1]["tokens_per_second"]
    print(
        f"budget {s['max_tokens_per_step']:3}, at most {s['max_sequences']:2}: {tokens:4.0%} of "
        f"the tokens a second, TPOT p90 {s['tpot']['p90'] / alone_s['tpot']:.1f} times alone"
    )

# %% [markdown]
# Play with the promise: choose a load and an SLO, and see how many of the measured requests would have met it. Every request's latencies are in the file, so any promise can be tried afterwards.


# %%
def promise(load, ttft, tpot):
    rate = next(r for r in measured["rates"] if r["share"] == load / 100)
    slo = Slo(ttft * alone_s["ttft"], tpot * alone_s["tpot"])
    lines = [Timeline(0.0, [first, first + pace]) for first, pace, _ in rate["requests"]]
    good = 100 * attainment(lines, slo)
    goodput = good / 100 * rate["requests_per_second"] / measured["capacity"]
    title = f"load {load} %: {good:.0f} % in time, goodput {goodput:.0%} of capacity"
    return Frame(
        title, [bar("requests", used=good, waste=100 - good)], 100, (90, "promised: 90 %")
    )


Explorer(
    {
        "load": [round(100 * r["share"]) for r in measured["rates"]],
        "ttft": [5, 10, 15, 20, 30],
        "tpot": [2, 4, 6, 8, 12],
    },
    promise,
    unit="% of requests (in time, then late)",
    start={"load": 60, "ttft": 15, "tpot": 8},
)

# %% [markdown]
# Last, your own machine: the real model, a dozen requests at a gentle rate and the same dozen all at once. Seconds are yours; the claim holds everywhere.

# %%
from pagedlab import LLM
from pagedlab.engine.load import EngineUnderLoad
from pagedlab.scheduling.load import WallClock

engine = LLM(
    "smollm2-135m", num_pages=512, max_sequences=4, prefix_cache="none", progress=False
).engine
server = EngineUnderLoad(engine)
single = drive(server, [Offer(0.0, [504] * 16, 8)], WallClock()).seconds
medians = []
for gap in (2 * single, 0.0):
    offers = [Offer(i * gap, [504] * 16, 8) for i in range(12)]
    medians.append(
        percentile([t.ttft for t in drive(server, offers, WallClock()).timelines], 50)
    )
engine.check()
assert medians[1] > medians[0]
print(
    "twelve at once wait longer for their first token than twelve in turn:",
    medians[1] > medians[0],
)

# %% [markdown]
# ## 10 · What this machine cannot reach
#
# An 8B model on an H100, thousands of chats, a dozen settings: no laptop measures that. The **simulator** runs the very same scheduler and page pool, and asks a roofline how long a step of that size would take there. First one request whose cost fits on paper.

# %%
from pagedlab.arithmetic import MACHINES, MODELS, prefill_cost, seconds
from pagedlab.simulate import WORKLOADS, Simulator

h100 = Simulator("vllm", model="Llama-3-8B", gpu="H100")
alone = h100.run([Offer(0.0, list(range(2000)), 2)])
least = seconds(prefill_cost(MODELS["Llama-3-8B"], 2000), MACHINES["H100"])
print(f"{h100.num_pages:,} pages of 16 tokens fit beside the weights")
print(f"2,000 prompt tokens: {1000 * alone.requests.ttft[0]:.0f} ms simulated")
print(f"at the H100's peak they would take {1000 * least:.0f} ms")

# %% [markdown]
# The difference is what the cost model assumes: kernels that reach 60 % of the peak, and 2 ms a step for everything else. How far can that be trusted? `python -m bench.calibration` fitted a cost model to measured steps of SmolLM2, and then served seven loads that were not part of that: for real, and on the simulator's clock.

# %%
fitted = json.loads((root / "bench" / "results" / "calibration.json").read_text())
figures = ("tokens/s", "TTFT p50", "p90", "TPOT p50", "p90", "E2E p50", "p90")
print("simulated over real, less 1" + "".join(f"{name:>9}" for name in figures))
for row in fitted["workloads"]:
    errors = "".join(f"{error:+9.0%}" for error in row["errors"].values())
    print(f"{row['workload']:15} at {row['share']:.0%} load{errors}")
print(
    f"the median of all {sum(len(row['errors']) for row in fitted['workloads'])} errors is "
    f"{fitted['error_median']:.1%}; nine in ten are below {fitted['error_p90']:.0%}"
)

# %% jupyter={"source_hidden": true}
figure, axes = new_figure(6, 3.2)
axes.fill_between(
    (0.02, 15), (0.018, 13.5), (0.022, 16.5), color="#EEEEEE", label="within 10 %"
)
for at, name in enumerate(("ttft", "tpot", "e2e")):
    for percent, face in (("p50", LINES[at]), ("p90", "white")):
        real, there = (
            [row[kind][f"{name}_{percent}"] for row in fitted["workloads"]]
            for kind in ("real", "simulated")
        )
        style = {"marker": "os^"[at], "color": LINES[at], "mfc": face, "ls": ""}
        axes.loglog(real, there, label=f"{name.upper()} {percent}", **style)
axes.set_xlabel("seconds, real engine")
axes.set_ylabel("seconds, simulated")
axes.legend(fontsize=7)
show(
    figure,
    alt="Simulated against real seconds for TTFT, TPOT and E2E, medians and 90th percentiles of seven loads. Nearly all "
    "points lie in a band of ten per cent around the diagonal; a few 90th percentiles lie below it.",
    caption="Simulated against real latencies of seven loads. What lies in the band is within 10 %.",
)

# %% [markdown]
# Throughput is nearly exact, and so are most medians; what is off are tails, because the 90th percentile of twenty requests is hardly more than one of them, and a step sooner or later decides who waits for whom. So trust a simulator with shares, knees and what-ifs, and with a tail only where many requests make it. Now a load, in three lines.


# %%
def chats(rate, seconds=25):
    return WORKLOADS["chat"].make(rate).offers(seed=10, sessions=round(rate * seconds))


calm = h100.run(chats(rate=4))
print(calm.table()[["num_prompt", "num_cached", "num_output"]].describe().loc[["mean", "max"]])
print(f"found in the cache: {calm.hit_rate:.0%} of the prompts")

# %% [markdown]
# A session is one chat of a few turns; each turn carries everything said before it, so most of a prompt has been computed already. Then the knee, at a promise of half a second to the first token and 25 ms for each later one.

# %%
promised = Slo(ttft=0.5, tpot=0.025)
reached = {rate: h100.run(chats(rate)) for rate in (4, 8, 16, 24, 32)}
print("chats/s  TTFT p50     p99   TPOT p99   tokens/s   in time")
for rate, run in reached.items():
    first, pace = run.percentiles("ttft"), run.percentiles("tpot")
    print(
        f"{rate:7} {1000 * first[50]:6.0f} ms {1000 * first[99]:5.0f} ms {1000 * pace[99]:7.1f} ms"
        f" {run.tokens_per_second:10,.0f} {run.attainment(promised):9.0%}"
    )

# %% jupyter={"source_hidden": true}
figure, (left, right) = new_figure(8, 3.0, columns=2)
runs_there = reached.values()
blue, orange = (
    {"color": "#0072B2", "marker": "o"},
    {"color": "#D55E00", "marker": "s", "ls": "--"},
)
for name, style in (("ttft", blue), ("tpot", orange)):
    tail = [1000 * run.percentiles(name)[99] for run in runs_there]
    left.semilogy(list(reached), tail, label=f"{name.upper()} p99, ms", **style)
right.plot(list(reached), [run.requests_per_second for run in runs_there], label="all", **blue)
right.plot(
    list(reached), [run.goodput(promised) for run in runs_there], label="in time", **orange
)
right.set_title("requests a second")
for axes in (left, right):
    axes.set_xlabel("new chats a second")
    axes.legend()
show(
    figure,
    alt="Two line charts over the rate of chats. TTFT p99 is flat and then jumps a hundredfold; TPOT p99 rises a "
    "little. Requests a second go on rising, while those in time fall back.",
    caption="A simulated H100 under chats: the knee of section 5 again, on a machine that is not here.",
)

# %% [markdown]
# TPOT meets its ceiling because the preset lets 128 sequences in at once, and TTFT has its knee for the same reason: the others wait at the door. So what if the door were wider?

# %%
for most in (64, 128, 256):
    run = Simulator("vllm", model="Llama-3-8B", gpu="H100", max_sequences=most).run(chats(24))
    print(
        f"at most {most:3}: TTFT p99 {1000 * run.percentiles('ttft')[99]:6.0f} ms, "
        f"TPOT p99 {1000 * run.percentiles('tpot')[99]:4.1f} ms, in time {run.attainment(promised):4.0%}"
    )

# %% [markdown]
# And what does a million tokens cost? For each machine the largest of these rates that keeps 95 % in time, then the price of an hour over the tokens of an hour. The prices are examples: put in your own.

# %%
for gpu, dollars_an_hour in (("A100", 1.80), ("H100", 3.00), ("H200", 3.60)):
    there = Simulator("vllm", model="Llama-3-8B", gpu=gpu, max_sequences=256)
    tried = {rate: there.run(chats(rate)) for rate in (4, 8, 16, 24)}
    best = max(rate for rate, run in tried.items() if run.attainment(promised) >= 0.95)
    run = tried[best]
    print(
        f"{gpu}: {best:2.0f} chats a second in time, {run.tokens_per_second:6,.0f} tokens a second, "
        f"{run.cost_per_million(dollars_an_hour):.2f} $ a million tokens"
    )

# %% [markdown]
# ## Quiz
#
# Open the answer that you would give; then open the others, and read why not.

# %%
from pagedlab.learn.quizzes import quiz

quiz("10.allocator_first")

# %% [markdown]
# ## Pause and recall
#
# <details><summary>Which of TTFT and TPOT has a ceiling under overload, and why?</summary>
#
# TPOT: once the batch is full, a step cannot grow any more. TTFT has none: the queue grows as long as more come than leave.
# </details>
#
# <details><summary>What does a closed loop hide?</summary>
#
# The waits of requests that it did not send because it was waiting itself. It asks less just when the server is slow.
# </details>
#
# <details><summary>Why is 100 % utilisation no proof of a well-used machine?</summary>
#
# A step of one sequence reads all weights for one token, and keeps the machine as busy as a step of sixteen.
# </details>
#
# <details><summary>Why is goodput not the smaller of two attainments, one for TTFT and one for TPOT?</summary>
#
# The misses may be different requests. Each request must be asked about both.
# </details>
#
# ## Interview questions
#
# <details><summary>Why a smarter allocator before a bigger model? (Avoid: "the best model on paper is automatically the best to serve".)</summary>
#
# At the same memory, less fragmentation means more live requests, fuller steps and a lower cost for each token; the gain comes without changing an answer. A bigger model makes every step slower and leaves less room for the cache, and users who wait too long do not see its better answer.
# </details>
#
# <details><summary>Your p99 TTFT doubled at the same request rate. Where do you look? (Avoid: "decode got slower".)</summary>
#
# At the queue and at prefill: longer prompts, fewer prefix hits, preemptions for lack of pages, longer outputs that hold their places. If TPOT did not move, decode is not where it comes from.
# </details>
#
# <details><summary>A vendor shows 3 times the tokens a second. What do you ask?</summary>
#
# At which latency, for which lengths, open or closed loop, at steady state or in a burst; and how many requests a second met an SLO.
# </details>
#
# ## Sketch from memory
#
# Load on the horizontal axis, up to 120 % of capacity. Draw throughput, goodput, TTFT p99 and TPOT p99; mark the knee, and the load you would run at.
#
# <details><summary>Compare</summary>
#
# Throughput rises and stays level. Goodput follows it and falls away before the capacity. TTFT p99 bends upwards without end at the knee, TPOT p99 rises early and meets a ceiling. You run where goodput is still what was promised.
# </details>
#
# ## Bridge
#
# Order, admission, budget, eviction: every system answers these questions, and each answers them in its own way. Chapter 11, *five systems*, gives one trace to five sets of answers.
