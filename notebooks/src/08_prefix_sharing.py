# %% [markdown]
# # 08 · Prefix sharing
#
# **The idea in a line:** what two requests begin with alike is computed once and held once, for as long as anybody may ask for it.
#
# **Afterwards you can**
# - count pages and copies when several answers share a prompt;
# - chain page hashes by hand, and say why they are chained;
# - predict hits over a chat, and which cached page is evicted next;
# - explain what a radix tree changes, and what a salt protects.
#
# **Time:** 60–75 minutes. **Needs:** Python, no GPU, no model; [03 · page tables](03_page_tables.ipynb) for pools, forks and copies.

# %%
import json
from pathlib import Path

from pagedlab.learn import check
from pagedlab.memory.events import EventKind, Trace
from pagedlab.memory.manager import CacheManager
from pagedlab.memory.prefix_hash import HashPrefixCache, hash_page
from pagedlab.memory.prefix_radix import RadixPrefixCache
from pagedlab.view.explorer import Explorer, Frame
from pagedlab.view.figures import bar, show
from pagedlab.view.page_map import page_map
from pagedlab.view.svg import page_map_svg


def ids(text):
    """Token ids: simply the bytes of the text."""
    return list(text.encode())


print(ids("page"))

# %% [markdown]
# ## 1 · One system prompt, two requests
#
# Pages of 4. Both requests begin with the same 16 letters, and go on differently.

# %%
trace = Trace(num_pages=12, page_size=4)
manager = CacheManager(12, 4, prefix_cache=HashPrefixCache(4), trace=trace)


def serve(sequence, text, salt=None):
    """Admit, compute and publish; returns how many tokens were found."""
    tokens = ids(text)
    trace.describe(sequence, f"request {sequence}", tokens=tokens)
    hit = manager.admit(sequence, tokens, salt=salt).num_hit
    manager.record(EventKind.COMPUTE, sequence=sequence, value=len(tokens))
    manager.publish(sequence, tokens, len(tokens))
    return hit


system = "Answer politely."
for sequence, question in enumerate(("Who is it?", "Why?")):
    hit = serve(sequence, system + question)
    print(f"{len(system + question)} tokens, {hit} found:", manager.table(sequence).pages)
print("references:", [manager.pool.refcount(page) for page in range(9)])

# %% jupyter={"source_hidden": true}
show(
    page_map_svg(trace, select=1, title="Two requests, one system prompt"),
    caption="Request 1 reads pages 0 to 3, which request 0 computed; only what follows them is its own.",
)

# %% [markdown]
# The same as a live map: step through it and watch the references.

# %%
page_map(trace)

# %% [markdown]
# <div class="alert alert-block alert-success"><b>Takeaway 1.</b> Sharing saves twice: pages that need not be held, and tokens that need not be computed.</div>
#
# ## 2 · Four answers to one prompt
#
# Forks share all pages, and whoever writes into a shared last page copies it first. The last of them writes in place.

# %%
forks = CacheManager(20, 4)
forks.admit(0, [0] * 10)
for child in (1, 2, 3):
    forks.fork(0, child)
for sequence in range(4):
    forks.extend(sequence, 13)
names = sum(len(forks.table(sequence)) for sequence in range(4))
print(f"{names} table entries, {forks.pool.num_used} pages, {forks.stats.copies} copies")

# %% [markdown]
# The longer the prompt beside the answers, the more is saved. Move the sliders: answers of 64 tokens, pages of 16.


# %%
def frame(prompt, answers):
    forks = CacheManager(2000, 16)
    forks.admit(0, [0] * prompt)
    for child in range(1, answers):
        forks.fork(0, child)
    for sequence in range(answers):
        forks.extend(sequence, prompt + 64)
    alone, held = answers * -(-(prompt + 64) // 16), forks.pool.num_used
    rows = [bar("alone", used=alone), bar("shared", used=held)]
    return Frame(f"{alone} pages alone, {held} shared", rows, 700)


Explorer({"prompt": [24, 100, 500, 1000], "answers": [2, 4, 8]}, frame, unit="pages")

# %% [markdown]
# ### Exercise 08.samples · What n answers cost (●○○, 15 min)
# Count pages and copies for any prompt in `exercises/08_prefix_sharing/samples.py`.

# %%
check("08.samples")

# %% [markdown]
# Measured with a real model, beside the PagedAttention paper (SOSP 2023). Our prompts have the paper's mean lengths, but not its texts, and another model answers: the kinds agree, not the digits.

# %%
root = next(p for p in [Path.cwd(), *Path.cwd().parents] if (p / "bench").is_dir())
report = json.loads((root / "bench/results/sharing.json").read_text(encoding="utf-8"))
for workload in ("Alpaca", "ShareGPT"):
    for kind in ("parallel sampling", "beam search"):
        rows = [r for r in report["results"] if (r["workload"], r["kind"]) == (workload, kind)]
        ours = [r["saved_percent"] for r in rows]
        low, high = rows[0]["paper_percent"]
        print(
            f"{workload:8} {kind:17} ours {min(ours):.1f}–{max(ours):.1f} %, paper {low}–{high} %"
        )

# %% [markdown]
# ## 3 · A name for a page
#
# How does a request find pages that another has filled? Each full page has a key. "door" stands in both of these texts, after different beginnings.

# %%
red = hash_page(b"", ids("red "))
old = hash_page(b"", ids("old "))
print("alone equal:  ", hash_page(b"", ids("door")) == hash_page(b"", ids("door")))
print("chained equal:", hash_page(red, ids("door")) == hash_page(old, ids("door")))

# %% [markdown]
# Keys and values depend on all tokens before them, so the key must too: it hashes the key of the page before with the page's own tokens.
#
# ### Exercise 08.chained_hash · A chained hash (●○○, 15 min)
# Write the keys of all full pages in `exercises/08_prefix_sharing/chained_hash.py`.

# %%
check("08.chained_hash")

# %% [markdown]
# One token must always be computed, for pages hold no logits. The same 8 tokens again find only one page of 4.

# %%
twice = CacheManager(8, 4, prefix_cache=HashPrefixCache(4))
twice.admit(0, ids("red door"))
twice.publish(0, ids("red door"), 8)
print(
    twice.lookup(ids("red door")),
    "found;",
    twice.lookup(ids("red door!")),
    "with one token more",
)

# %% [markdown]
# ### Exercise 08.longest_hit · The longest hit (●●○, 15 min)
# Walk the keys in `exercises/08_prefix_sharing/longest_hit.py`, and leave one token over.

# %%
check("08.longest_hit")

# %% [markdown]
# <div class="alert alert-block alert-success"><b>Takeaway 2.</b> A page's key chains all before it. Only full pages have one, and at least one token of a prompt is computed.</div>
#
# ## 4 · A chat
#
# Every turn sends the whole conversation again. With a cache, only what is new is computed.

# %%
manager, trace = CacheManager(64, 4, prefix_cache=HashPrefixCache(4)), Trace(64, 4)
chat = system
for turn in range(5):
    chat += f" Question {turn}? Answer {turn}."
    hit = serve(turn, chat)
    manager.release(turn)
    print(f"turn {turn}: {len(chat):3} tokens, {hit:3} found, {len(chat) - hit} computed")
print(f"hit rate {100 * manager.stats.hit_tokens / manager.stats.queried_tokens:.0f} %")

# %% [markdown]
# Between turns nobody uses these pages; they are **cached**. When room is needed the least recently used goes, the tail of a sequence before its head.

# %%
small = CacheManager(4, 4, prefix_cache=HashPrefixCache(4))
small.admit(0, ids("red door old key"))
small.publish(0, ids("red door old key"), 16)
small.release(0)
for sequence, text in ((1, "wolf"), (2, "bear")):
    small.admit(sequence, ids(text))
    print(f"evictions: {sequence}; found of the first:", small.lookup(ids("red door old key!")))

# %% [markdown]
# ### Exercise 08.lru · Who goes first (●●○, 20 min)
# Write the line of idle pages in `exercises/08_prefix_sharing/lru.py`.

# %%
check("08.lru")

# %% [markdown]
# ## 5 · A tree of prompts
#
# A radix tree keeps all prompts at once and splits an edge where two part. Its nodes may end at any token; ours split between pages, and a partial hit copies the page that begins alike.

# %%
for partial in (False, True):
    tree = CacheManager(16, 4, prefix_cache=RadixPrefixCache(4), partial_hits=partial)
    tree.admit(0, ids("red door, left"))
    tree.publish(0, ids("red door, left"), 14)
    tree.begin_step(1)  # what is to be copied must have been computed
    print("partial hits" if partial else "whole pages ", tree.lookup(ids("red door, right")))

# %% [markdown]
# ### Exercise 08.radix · Split an edge (●●●, 40 min)
# Match and insert, token by token, in `exercises/08_prefix_sharing/radix.py`.

# %%
check("08.radix")

# %% [markdown]
# ### Exercise 08.leaf_lru · Leaves first (●●○, 20 min)
# Evict from such a tree in `exercises/08_prefix_sharing/leaf_lru.py`: leaves that nobody uses.

# %%
check("08.leaf_lru")

# %% [markdown]
# ### Exercise 08.prefix_cache · A prefix cache for the engine (●●●, 40 min)
# Put it together in `exercises/08_prefix_sharing/prefix_cache.py`; chapter 13 plugs it into the engine.

# %%
check("08.prefix_cache")

# %% [markdown]
# ## 6 · Attending once
#
# Shared pages are held once, but plain decode reads them for every sequence. Cascade attention reads the prefix once for all and merges (chapter 04); FlashInfer reports up to 31× against a kernel that does not. The package's Triton kernel does so, too, and has not been measured on a GPU yet; counted in tokens read, at best:

# %%
for sequences, prefix, own in ((4, 1000, 100), (64, 8000, 100), (256, 32000, 256)):
    ratio = sequences * (prefix + own) / (prefix + sequences * own)
    print(f"{sequences:3} sequences, prefix {prefix:5}: {ratio:4.1f} times fewer tokens read")

# %% [markdown]
# ## 7 · A cache tells
#
# Whoever can see how long a prompt takes can see whether it hit (`lookup` stands in for the clock here). Pages of one token make the worst case: a neighbour guesses a secret letter by letter. A **salt** keeps tenants apart.

# %%
for attacker in ("shop", "stranger"):
    leaky = CacheManager(16, 1, prefix_cache=HashPrefixCache(1))
    leaky.admit(0, ids("PIN 471"), salt="shop")
    leaky.publish(0, ids("PIN 471"), 7)
    known = "PIN "
    for _ in range(3):
        known += next(
            (
                d
                for d in "0123456789"
                if leaky.lookup(ids(known + d + "!"), salt=attacker) > len(known)
            ),
            "?",
        )
    print(f"salt {attacker!r}: {known}")

# %% [markdown]
# <div class="alert alert-block alert-success"><b>Takeaway 3.</b> A shared cache is a channel. Share within a tenant, and salt between tenants.</div>

# %% [markdown]
# ## Quiz
#
# Open the answer that you would give; then open the others, and read why not.

# %%
from pagedlab.learn.quizzes import quiz

quiz("08.why_sharing")

# %% [markdown]
# ## Pause and recall
#
# <details><summary>Why are page hashes chained?</summary>
#
# Keys and values depend on every token before them; equal tokens after another beginning are another content.
# </details>
#
# <details><summary>Why does the tail of a sequence go before its head?</summary>
#
# Without its head a tail can never be hit; a head without its tail still serves.
# </details>
#
# ## Interview question
#
# <details><summary>Why prefix sharing on top of page reuse? (Avoid: "prefix caching only speeds up the tokenizer".)</summary>
#
# Reuse hands out blank pages again. Sharing keeps what is in them: no second computation of the prefix, no second copy of it.
# </details>
#
# ## Sketch from memory
#
# Two rows of logical pages above one row of physical pages. Let both begin with the same two pages, mark that prefix, and write the reference counts below.
#
# <details><summary>Compare</summary>
#
# The picture of section 1: the shared pages count two, all others one.
# </details>
#
# ## Bridge
#
# Fewer pages for the same tokens is one way; fewer bytes in each page is the other. Chapter 09 looks at two quantisations, and at why they are not one.
