# %% [markdown]
# # 12 · Beyond one machine
#
# **The idea in a line:** cut the model across ranks and every page shrinks with it; copy it into replicas and the question becomes who gets which request.
#
# **Afterwards you can**
# - say what a rank of a tensor-parallel group holds, and what it must say to the others;
# - choose between policies of a router, and know what each costs in balance and in cache hits;
# - survive the loss of a replica without a user noticing;
# - put a price on a million tokens.
#
# **Time:** 60–90 minutes. **Needs:** Python, no GPU; [03 · page tables](03_page_tables.ipynb) for pages.

# %%
import random

from pagedlab import arithmetic
from pagedlab.arithmetic import GIB
from pagedlab.engine.ranks import serve_on_ranks
from pagedlab.learn import check
from pagedlab.memory.manager import CacheManager
from pagedlab.memory.prefix_hash import HashPrefixCache
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
# Load is half of it. Each replica has a prefix cache of its own, and a chat's next turn is cheap only where the last one was computed. Forty chats of six turns, four replicas, each with room for some of the chats only.


# %%
def chats(number=40, turns=6, seed=12):
    """Prompts in order of arrival: each turn of a chat begins with all the turns before."""
    rng, said = random.Random(seed), {chat: [chat] * 32 for chat in range(number)}
    order = [chat for chat in range(number) for _ in range(turns)]
    rng.shuffle(order)
    for chat in order:
        said[chat] = said[chat] + [rng.randrange(1000, 9999) for _ in range(32)]
        yield list(said[chat])


prompts = list(chats())
print(f"{len(prompts)} prompts, {sum(map(len, prompts)):,} tokens")

# %% [markdown]
# Behind each router stand four real cache managers, without a model: a prompt is admitted, its pages are published, and what was not hit counts as work.


# %%
def fleet(choose, num_replicas=4, num_pages=120):
    """The share of prompt tokens found in the caches, and the tokens that each replica computes."""
    replicas = [
        CacheManager(num_pages, 16, prefix_cache=HashPrefixCache(16))
        for _ in range(num_replicas)
    ]
    work, rng = [0] * num_replicas, random.Random(1)
    for number, prompt in enumerate(chats()):
        at = choose(number, prompt, replicas, work, rng)
        hit = replicas[at].admit(number, prompt).num_hit
        replicas[at].publish(number, prompt, len(prompt))
        replicas[at].release(number)
        work[at] += len(prompt) - hit
    stats = [replica.stats for replica in replicas]
    return sum(s.hit_tokens for s in stats) / sum(s.queried_tokens for s in stats), work


print("a pool of 120 pages holds", 120 * 16, "tokens of 34,560")

# %% [markdown]
# Four policies. `prefix` here asks every replica what it has; the exercise does it the way real routers do, from memory.


# %%
def prefix(number, prompt, replicas, work, rng):
    found = [replica.lookup(prompt) for replica in replicas]
    if max(found) >= 0.3 * len(prompt):
        return found.index(max(found))
    return work.index(min(work))


policies = {
    "random": lambda number, prompt, replicas, work, rng: at_random(work, rng),
    "round robin": lambda number, prompt, replicas, work, rng: number % len(replicas),
    "two choices": lambda number, prompt, replicas, work, rng: two_choices(work, rng),
    "prefix": prefix,
}
results = {name: fleet(choose) for name, choose in policies.items()}
for name, (rate, work) in results.items():
    even = max(work) / (sum(work) / len(work))
    print(
        f"{name:12} hit rate {rate:4.0%}, computed {sum(work):6,}, busiest {even:.2f} × the mean"
    )
assert results["prefix"][0] > max(
    rate for name, (rate, _) in results.items() if name != "prefix"
)

# %% jupyter={"source_hidden": true}
figure, axes = new_figure(8, 2.6)
draw_bars(
    axes,
    [
        Bar(
            name, [Segment(tokens, "abcd"[at], f"{tokens:,}") for at, tokens in enumerate(work)]
        )
        for name, (_, work) in results.items()
    ],
    unit="tokens computed, one segment a replica",
)
show(
    figure,
    alt="Four bars of four segments, one bar a policy: random, round robin, two choices, prefix. "
    "The bar of prefix is the shortest.",
    caption="What four replicas compute for the same chats. A segment is a replica: equal segments "
    "are balance, a short bar is work that was found in a cache.",
)

# %% [markdown]
# <div class="alert alert-block alert-success"><b>Takeaway 2.</b> For replicas with caches, the router is part of the cache. Balance is what it must not lose on the way.</div>

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
# ### Exercise 12.failover · A replica is lost (●●○, 20 min)
# The table behind it, in `exercises/12_beyond_one_machine/failover.py`: everything exactly once, even when the dead go on talking.

# %%
check("12.failover")

# %% [markdown]
# ## 6 · Prefill here, decode there
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
# ## 7 · What a million tokens cost
#
# An hour is paid for whether tokens come out or not. The prices and speeds here are examples; put in your own.

# %%
for utilisation in (1.0, 0.5, 0.1):
    cost = 3.60 / (1000 * 3600 * utilisation) * 1e6
    print(
        f"3.60 $ an hour, 1,000 tokens a second, used to {utilisation:4.0%}: {cost:5.2f} $ a million"
    )

# %% [markdown]
# <div class="alert alert-block alert-success"><b>Takeaway 3.</b> Price per hour over tokens per hour really asked for. Filling a machine is worth as much as speeding it up.</div>

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
# ## Sketch from memory
#
# Draw one page table and two ranks: the same page numbers on both, each with half of the heads, and an arrow for the sum. Beside it four replicas behind a router, a chat's three turns, and one replica crossed out.
#
# ## Bridge
#
# Shards, routers and prices all rest on the same engine. Chapter 13, *your own engine*, puts what you wrote in its place: your pool, tables, cache, scheduler and kernel serve the model.
