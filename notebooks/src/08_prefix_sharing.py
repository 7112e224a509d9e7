# %% [markdown]
# # 08 · Prefix sharing
#
# **The idea in a line:** what two requests begin with alike is computed once and held once, for as long as anybody may ask for it.
#
# **Afterwards you can**
# - follow a page's references from its first owner to its eviction;
# - count pages and copies when several answers, or several beams, share a prompt;
# - chain page keys by hand, and say why they are chained;
# - predict hits over a chat, and which cached page is evicted next;
# - explain what a radix tree knows that a table of hashes does not;
# - say what a prefix cache costs where nothing is shared, what it brings where much is, and what a salt protects.
#
# **Time:** 75–90 minutes, and as long again for all exercises. **Needs:** Python, no GPU, no model; [03 · page tables](03_page_tables.ipynb) for pools, forks and copies.

# %%
import json
import random
from itertools import accumulate
from pathlib import Path

from pagedlab.arithmetic import MACHINES, MODELS, Chunk, seconds, step_cost
from pagedlab.learn import check
from pagedlab.memory.events import EventKind, FinishCode, Trace
from pagedlab.memory.eviction import Retention, least_recently_used, leaves_first
from pagedlab.memory.manager import CacheManager
from pagedlab.memory.prefix_hash import HashPrefixCache, hash_page
from pagedlab.memory.prefix_radix import RadixPrefixCache
from pagedlab.view.explorer import Explorer, Frame
from pagedlab.view.figures import bar, draw_bars, draw_key, draw_pages, new_figure, show
from pagedlab.view.page_map import page_map
from pagedlab.view.prefix_tree import prefix_tree_svg
from pagedlab.view.svg import page_map_svg

print("a token is a byte here:", list(b"page"))

# %% [markdown]
# ## 1 · One system prompt, two requests
#
# Pages of 4. Both requests begin with the same 16 letters and go on differently: which pages will the second one's table name?


# %%
def ids(text):
    return list(text.encode())


def serve(sequence, text):
    """Admit, compute and publish; returns how many tokens were found."""
    tokens = ids(text)
    trace.describe(sequence, f"request {sequence}", tokens=tokens)
    hit = manager.admit(sequence, tokens).num_hit
    manager.record(EventKind.COMPUTE, sequence=sequence, value=len(tokens))
    manager.publish(sequence, tokens, len(tokens))
    return hit


trace, system = Trace(num_pages=12, page_size=4), "Answer politely."
manager = CacheManager(12, 4, prefix_cache=HashPrefixCache(4), trace=trace)
for sequence, question in enumerate(("Who is it?", "Why?")):
    hit = serve(sequence, system + question)
    print(f"{len(system + question)} tokens, {hit} found:", manager.table(sequence).pages)
print("references:", [manager.pool.refcount(page) for page in range(9)])

# %% jupyter={"source_hidden": true}
show(
    page_map_svg(trace, select=1, title="Two requests, one system prompt"),
    caption="Request 1 reads pages 0 to 3, which request 0 computed; only what follows them is "
    "its own.",
)

# %% [markdown]
# The pool counts **references**: table entries that name a page. Now request 0 ends. Which of its seven pages are free afterwards?

# %%
manager.release(0)
manager.record(EventKind.FINISH, sequence=0, value=FinishCode.STOP)
for page in range(7):
    print(page, manager.pool.refcount(page), manager.pool.state(page))

# %% [markdown]
# Pages 0 to 3 lost one of two references, and request 1 reads on. Pages 4 and 5 are full and stay, **cached**, for whoever asks the same; page 6 was half full, so nobody could find it, and is free. Step through it, and watch the references.

# %%
page_map(trace)

# %% [markdown]
# <div class="alert alert-block alert-success"><b>Takeaway 1.</b> Sharing saves twice: pages that need not be held, and tokens that need not be computed. A page is used while anybody names it; after that a full page is cached until its room is needed.</div>
#
# ## 2 · Four answers to one prompt
#
# A user wants four answers (`n=4`). The prompt is computed once and **forked**: its table is copied, its pages are not. Ten tokens in pages of 4, so the third page is half full.

# %%
forks = CacheManager(12, 4)
forks.admit(0, ids("Once there"))
for child in (1, 2, 3):
    forks.fork(0, child)
print("tables:    ", [forks.table(sequence).pages for sequence in range(4)])
print("references:", [forks.pool.refcount(page) for page in range(3)])

# %% [markdown]
# Now each of the four writes something else into page 2. **Copy-on-write**: whoever writes while others read copies the page first. The last of them finds itself alone, and writes in place.


# %%
def named(manager, sequences):
    """For each of ten pages the letters of the sequences, a, b, c ..., that name it."""
    tables = [manager.table(sequence).pages for sequence in sequences]
    return [
        "".join(letter for letter, table in zip("abcd", tables) if page in table)
        for page in range(10)
    ]


strip = [named(forks, range(4))]
for sequence, letter in enumerate("abcd"):
    forks.extend(sequence, 13)
    strip.append(named(forks, range(4)))
    pages, left = forks.table(sequence).pages, forks.pool.refcount(2)
    print(f"{letter} wrote three tokens: {pages}; page 2 has {left} references left")
names = sum(len(forks.table(sequence)) for sequence in range(4))
print(f"{names} table entries, {forks.pool.num_used} pages, {forks.stats.copies} copies")


# %% jupyter={"source_hidden": true}
def draw_strip(strip, rows):
    figure, axes = new_figure(8, 0.6 * len(strip))
    kind = {"": "free", "a": "a", "b": "b", "c": "c", "d": "d"}
    draw_pages(
        axes,
        [(kind.get(who, "shared"), who) for row in strip for who in row],
        10,
        numbers=False,
    )
    for row, name in enumerate(rows):
        axes.text(-0.15, len(rows) - 0.5 - row, name, ha="right", va="center")
    for page in range(10):
        axes.text(page + 0.5, -0.2, f"page {page}", ha="center", va="center", fontsize=8)
    axes.set(xlim=(-1.2, 10.1), ylim=(-0.4, len(rows) + 0.05))
    return figure


show(
    draw_strip(strip, ["forked", "a wrote", "b wrote", "c wrote", "d wrote"]),
    alt="Ten pages after the fork and after each of four writes. Pages 0 and 1 are named by "
    "a, b, c and d throughout. Page 2 is named by all four at first, then by b, c and d, "
    "then by c and d, and by d alone in the end.",
    caption="Who names which page. Each writer but the last leaves page 2 to the others and goes "
    "on in a copy of it; then everybody needs a fourth page.",
)

# %% [markdown]
# ### Exercise 08.samples · What n answers cost (●○○, 15 min)
# Count pages and copies for any prompt in `exercises/08_prefix_sharing/samples.py`.

# %%
check("08.samples")

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
    rows = [bar("alone", waste=alone), bar("shared", shared=held)]
    return Frame(
        f"{alone} pages alone, {held} shared: {100 - 100 * held / alone:.0f} % saved", rows, 600
    )


Explorer(
    {"prompt": [24, 100, 500, 1000], "answers": [2, 4, 8]},
    frame,
    unit="pages",
    start={"prompt": 500, "answers": 4},
)

# %% [markdown]
# **Beam search** forks at every step, and drops what was not chosen. Here are three, a, b and c, over four steps; `parents` says which of the last three each new one continues.

# %%
film = Trace(num_pages=10, page_size=4)
beams, texts, live, strip = CacheManager(10, 4, trace=film), {0: "Once upon"}, [0, 0, 0], []
beams.admit(0, ids(texts[0]))


def next_step(step, parents):
    beams.begin_step(step)
    children = [3 * step + place for place in (1, 2, 3)]
    for child, parent, letter in zip(children, parents, "abc"):
        texts[child] = texts[live[parent]] + letter
        film.describe(child, f"beam {letter} of step {step}", ids(texts[child]))
        beams.fork(live[parent], child)
    for beam in set(live):
        beams.release(beam)
        beams.record(EventKind.FINISH, sequence=beam, value=FinishCode.PRUNED)
    for child in children:
        beams.extend(child, len(texts[child]))
        beams.record(EventKind.COMPUTE, sequence=child, value=len(texts[child]))
    return children


print(
    beams.table(0).pages, "for", len(texts[0]), "tokens: the third page has room for three more"
)

# %%
print("step  continue   tables of a, b and c                      entries  pages  copies")
for step, parents in enumerate([(0, 1, 2), (0, 0, 2), (1, 1, 0), (2, 2, 2)]):
    copies, live = beams.stats.copies, next_step(step, parents)
    tables = [beams.table(beam).pages for beam in live]
    strip.append(named(beams, live))
    counts = (
        f"{sum(map(len, tables)):7}  {beams.pool.num_used:5}  {beams.stats.copies - copies:6}"
    )
    names = ", ".join("abc"[parent] for parent in parents) if step else "prompt"
    print(f"{step:4}  {names:9}  {'  '.join(map(str, tables)):40}  {counts}")

# %% jupyter={"source_hidden": true}
show(
    draw_strip(strip, [f"step {step}" for step in range(4)]),
    alt="Ten pages in each of four steps, and which of the beams a, b and c name them. Pages "
    "0 and 1 are named by all three in every step. The third page of each beam is its own "
    "until step 3, when all continue the same one.",
    caption="A beam that nobody continues gives its pages back at once "
    "(page 4 after step 0), and one that all continue is held once (page 5 in step 3).",
)

# %% [markdown]
# A fork of a partly filled page costs a copy before the first write; step 3 forks where a page has just filled up, and copies nothing. Step through it:

# %%
page_map(film)

# %% [markdown]
# Measured with a real model, beside the PagedAttention paper (SOSP 2023). Our prompts have the paper's mean lengths, but not its texts, and another model answers: the kinds agree, not the digits.

# %%
root = next(p for p in [Path.cwd(), *Path.cwd().parents] if (p / "bench").is_dir())
report = json.loads((root / "bench/results/sharing.json").read_text(encoding="utf-8"))
print("pages saved, from two sequences to six:")
for workload in ("Alpaca", "ShareGPT"):
    for kind in ("parallel sampling", "beam search"):
        rows = [r for r in report["results"] if (r["workload"], r["kind"]) == (workload, kind)]
        ours, (low, high) = [r["saved_percent"] for r in rows], rows[0]["paper_percent"]
        print(
            f"{workload:8} {kind:17} ours {min(ours):.1f}–{max(ours):.1f} %, paper {low}–{high} %"
        )

# %% [markdown]
# <div class="alert alert-block alert-success"><b>Takeaway 2.</b> A fork costs references, not pages; the first write into a shared page costs one copy. Beams share more than samples, for they are forked from each other again and again.</div>
#
# ## 3 · A name for a page
#
# Forks know their parent. How does a stranger's request find pages that another has filled? Each full page gets a **key**. "door" stands in both of these texts, after different beginnings.

# %%
red, old = hash_page(b"", ids("red ")), hash_page(b"", ids("old "))
print("alone:  ", hash_page(b"", ids("door")).hex()[:8], hash_page(b"", ids("door")).hex()[:8])
print("chained:", hash_page(red, ids("door")).hex()[:8], hash_page(old, ids("door")).hex()[:8])

# %% [markdown]
# A page's keys and values depend on all tokens before them (chapter 04), so its name must, too: the key of the page before is hashed with the page's own tokens. A hash to do by hand, with pages of 2:


# %%
def toy_key(parent, page):
    return (3 * parent + sum(page)) % 10


for prompt in ([(1, 2), (3, 4)], [(2, 2), (3, 4)], [(2, 1), (3, 4)]):
    print(prompt, "keys", list(accumulate(prompt, toy_key, initial=0))[1:])

# %% [markdown]
# After another beginning, (3, 4) has another key. But the third prompt has the first one's keys, and other tokens: a collision. The real keys have 16 bytes, and behind each the cache keeps the tokens, and compares them.
#
# ### Try it 1 · chain by hand
# Which keys have the pages of the prompt (5, 1), (2, 2), (0, 9)?
#
# <details><summary>Solution</summary>
#
# 3·0 + 6 = 6; 3·6 + 4 = 22, so 2; 3·2 + 9 = 15, so 5: [6, 2, 5].
# </details>

# %%
my_keys = ...

if my_keys is ...:
    print("not answered yet: three digits")
else:
    right = list(accumulate([(5, 1), (2, 2), (0, 9)], toy_key, initial=0))[1:]
    assert my_keys == right, (
        "three times the key before, plus the page's tokens; the last digit"
    )
    print("right")

# %% [markdown]
# ### Exercise 08.chained_hash · A chained hash (●○○, 15 min)
# Write the keys of all full pages in `exercises/08_prefix_sharing/chained_hash.py`.

# %%
check("08.chained_hash")

# %% [markdown]
# One token must always be computed: pages hold keys and values, and the next token is sampled from logits. So the same 8 tokens again find only one page of 4.

# %%
twice = CacheManager(8, 4, prefix_cache=HashPrefixCache(4))
twice.admit(0, ids("red door"))
twice.publish(0, ids("red door"), 8)
for text in ("red door", "red door!"):
    print(f"{text!r}: {twice.lookup(ids(text))} of {len(text)} tokens found")

# %% [markdown]
# ### Exercise 08.longest_hit · The longest hit (●●○, 15 min)
# Walk the keys in `exercises/08_prefix_sharing/longest_hit.py`, and leave one token over.

# %%
check("08.longest_hit")

# %% [markdown]
# <div class="alert alert-block alert-success"><b>Takeaway 3.</b> A page's key chains all tokens before it. Only full pages have one, and at least one token of a prompt is computed.</div>
#
# ## 4 · A chat
#
# Every turn sends the whole conversation again, the answers included. What was computed for them is found, too.

# %%
manager, trace = CacheManager(64, 4, prefix_cache=HashPrefixCache(4)), Trace(64, 4)
chat, turns = system, []
for turn in range(5):
    chat += f" Question {turn}? Answer {turn}."
    turns.append((serve(turn, chat), len(chat)))
    manager.release(turn)
    found, tokens = turns[-1]
    print(f"turn {turn}: {tokens:3} tokens, {found:3} found, {tokens - found} computed")
asked = manager.stats.queried_tokens
computed = asked - manager.stats.hit_tokens
print(f"hit rate {100 * manager.stats.hit_rate:.0f} %: {computed} of {asked} tokens computed")

# %% jupyter={"source_hidden": true}
figure, axes = new_figure(8, 2.6)
rows = [
    bar(f"turn {turn}", shared=found, used=tokens - found)
    for turn, (found, tokens) in enumerate(turns)
]
draw_bars(axes, rows, unit="tokens of the prompt", extent=140)
draw_key(axes, {"shared": "found in the cache", "used": "computed"})
show(
    figure,
    alt="Five bars, one for each turn of a chat, growing by 22 tokens a turn. After the first "
    "turn only 22 to 24 tokens of each are computed; all others were found in the cache.",
    caption="The prompt grows with every turn; what must be computed does not. Without a cache "
    "the work of a whole chat grows with the square of its turns.",
)

# %% [markdown]
# ### Try it 2 · the next turn
# Turn 5 adds 22 tokens again. How many of its 148 tokens are found? Pages of 4; turn 4 had 126.
#
# <details><summary>Solution</summary>
#
# 126 tokens fill 31 pages of 4, and all of them were published: 124. The two tokens after them lie in a page that was never full.
# </details>

# %%
found_next = ...

if found_next is ...:
    print("not answered yet: a multiple of the page size")
else:
    right = manager.lookup(ids(chat + " Question 5? Answer 5."))
    assert found_next == right, "how many full pages did turn 4 leave?"
    print("right")

# %% [markdown]
# ## 5 · Who goes first
#
# Between turns nobody uses these pages. When room is needed the **least recently used** goes, and of a sequence the tail before the head: four cached pages, and two newcomers of one page each.

# %%
small = CacheManager(4, 4, prefix_cache=HashPrefixCache(4))
small.admit(0, ids("red door old key"))
small.publish(0, ids("red door old key"), 16)
small.release(0)
for sequence, text in ((1, "wolf"), (2, "bear")):
    small.admit(sequence, ids(text))
    left = small.lookup(ids("red door old key!"))
    print(f"after {text!r}: {left} of the first 16 tokens can still be found")

# %% [markdown]
# Is that the best order? It depends on what is asked. Eight tutors have a system prompt each, and the pool is too small for all. In one workload half of the prompts come once and never again; in the other three tutors are the favourites, and others take their place all the time.


# %%
def requests(changing, number=400):
    """Prompts of 21 tokens: the 16 of a system prompt, and a question that nobody repeats."""
    draw = random.Random(3)
    systems = [f"{letter} is your tutor." for letter in "ABCDEFGH"]
    for at in range(number):
        if changing:
            favourites = [(8 * at // number + later) % 8 for later in range(3)]
            weights = [12 if one in favourites else 1 for one in range(8)]
            yield draw.choices(systems, weights)[0] + f"{at:04}?"
        elif draw.random() < 0.5:
            yield draw.choices(systems[:4], [4, 3, 2, 1])[0] + f"{at:04}?"
        else:
            yield f"{at:04} comes once.{at:04}?"


for changing in (False, True):
    print([text for text, _ in zip(requests(changing), range(3))])

# %% [markdown]
# **LRU** looks at the last use, **LFU** at the number of hits, **FIFO** at age alone. **Priority** is TensorRT-LLM's: a request may wish that some of its tokens are kept longer; here all tutors wish that for their system prompt. The last row has room for everything.


# %%
def hit_rate(changing, eviction="lru", kept=(), pages=20):
    pool = CacheManager(pages, 4, prefix_cache=HashPrefixCache(4), eviction=eviction)
    for sequence, text in enumerate(requests(changing)):
        pool.admit(sequence, ids(text), retention=kept if "tutor" in text else ())
        pool.publish(sequence, ids(text), len(text))
        pool.release(sequence)
    return 100 * pool.stats.hit_rate


wish = {"eviction": "priority", "kept": [Retention(priority=60, start=0, stop=16)]}
choices = {name: {"eviction": name.lower()} for name in ("LRU", "LFU", "FIFO")}
choices |= {"priority": wish, "no limit": {"pages": 4000}}
rates = {
    name: [hit_rate(changing, **choice) for changing in (False, True)]
    for name, choice in choices.items()
}
for name, (once, change) in rates.items():
    print(f"{name:8}   half come once {once:3.0f} %   favourites change {change:3.0f} %")

# %% jupyter={"source_hidden": true}
figure, pair = new_figure(8, 2.6, columns=2, sharey=True)
for number, (axes, title) in enumerate(zip(pair, ("half come once", "favourites change"))):
    rows = [bar(name, text=".0f", shared=rate[number]) for name, rate in rates.items()]
    draw_bars(axes, rows, unit="tokens found, in %", extent=85)
    axes.set_title(title)
show(
    figure,
    alt="Two bar charts of hit rates under four eviction orders and without a limit. Where "
    "half of the prompts come once, LFU and priority are ahead of LRU and FIFO; where "
    "favourites change, priority and LRU are ahead of LFU and FIFO.",
    caption="The same pool of 20 pages. LFU is not fooled by prompts that come once, but clings "
    "to the favourites of yesterday; a wish that tells what will come again serves both.",
)

# %%
assert rates["LFU"][0] > rates["LRU"][0] and rates["LRU"][1] > rates["LFU"][1]
best = [max(rates[name][workload] for name in ("LRU", "LFU", "FIFO")) for workload in (0, 1)]
assert rates["priority"][0] > best[0] and rates["priority"][1] > best[1]
print("LFU is ahead in one, LRU in the other; knowing beats guessing in both")

# %% [markdown]
# ### Exercise 08.lru · Who goes first (●●○, 20 min)
# Write the line of idle pages in `exercises/08_prefix_sharing/lru.py`.

# %%
check("08.lru")

# %% [markdown]
# <div class="alert alert-block alert-success"><b>Takeaway 4.</b> No order of eviction is best for every workload. LRU forgets yesterday and is fooled by crowds that come once; counting hits is the reverse. Whoever knows what will be asked again should say so.</div>

# %% [markdown]
# ## 6 · A tree of prompts
#
# A **radix tree** keeps all prompts at once. An edge is a run of pages; where two prompts part, the edge is split, and the two rests hang below it. Four prompts go in, one after the other:

# %%
shelf = CacheManager(
    24, 4, prefix_cache=RadixPrefixCache(4), eviction=leaves_first(least_recently_used)
)
polite = "You are polite. "
prompts = [polite + "Who is it now?!", polite + "Why do you ask me", "Tell me a joke!!"]
for sequence, text in enumerate([*prompts, polite + "Who is it at my door?"]):
    hit = shelf.admit(sequence, ids(text)).num_hit
    shelf.publish(sequence, ids(text), len(text))
    edges = [edge.pages for edge in shelf.prefix_cache.edges()]
    print(f"{text!r}: {hit} found\n   edges {edges}")

# %% [markdown]
# Prompts 0 and 2 end. Nobody uses the pages that were theirs alone; they stay, cached, until room is needed.

# %%
for ended in (0, 2):
    shelf.release(ended)
print("the line, next to go first:", shelf.store.queue.in_order())

# %% jupyter={"source_hidden": true}
show(
    prefix_tree_svg(
        shelf, words=lambda run: bytes(run).decode(), title="Four prompts in one tree"
    ),
    caption="An edge ends where prompts part. Coloured pages are used, and cached ones stand in "
    "line: a page goes only after those that continue it, so leaves go first.",
)

# %% [markdown]
# A newcomer wants four pages more than are free: the first four of the line must go. What somebody uses is safe, however old it is.

# %%
shelf.admit(9, [0] * (4 * (shelf.pool.num_free + 4)))
for text in (prompts[0], prompts[2]):
    print(f"{text!r}: {shelf.lookup(ids(text + '!'))} of {len(text)} tokens left")

# %% [markdown]
# SGLang's pages hold one token, so a hit ends where prompts part; our edges split between pages. TensorRT-LLM gets as far with larger pages: a **partial hit** copies the page that begins alike, and uses it as far as it serves.

# %%
for partial in (False, True):
    tree = CacheManager(16, 4, prefix_cache=RadixPrefixCache(4), partial_hits=partial)
    tree.admit(0, ids("red door, left"))
    tree.publish(0, ids("red door, left"), 14)
    tree.begin_step(1)  # what is to be copied must have been computed
    print("partial hits:" if partial else "whole pages: ", tree.lookup(ids("red door, right")))

# %% [markdown]
# What the tree knows, and the table of hashes does not:
#
# | | hashes | tree |
# | --- | --- | --- |
# | a page is found by | its key: a hash of its tokens and of the key before | its place: compared with the run that follows on the edge |
# | the same content, computed twice | both pages can be hit | the first can; the second stays with who computed it |
# | a tail goes before its head | because it was released first | because it is a leaf |

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
# <div class="alert alert-block alert-success"><b>Takeaway 5.</b> Hashes and tree find the same full pages. The tree keeps what prompts have in common in its shape, so it also says where they part and what must go first.</div>
#
# ## 7 · What it costs, and what it brings
#
# A cache that never hits still hashes, looks up and remembers. A committed run of the real engine (`bench/prefix_caching.py`) served the same requests without a cache, with hashes and with a tree. First, requests that share nothing:

# %%
bench = json.loads((root / "bench/results/prefix_caching.json").read_text(encoding="utf-8"))
results = {(one["workload"], one["prefix_cache"]): one for one in bench["results"]}
for cache in ("hash", "radix"):
    one = results["nothing shared", cache]
    found, (low, high) = 100 * one["hit_rate"], one["between"]
    print(
        f"{cache:5} {found:.0f} % found, {one['times_as_fast']:.3f} times as fast as without",
        end=" ",
    )
    print(f"(between {low:.3f} and {high:.3f})")
    more, percent = one["control_microseconds_more"], one["control_percent_more"]
    print(f"      control plane: {more:.2f} µs a token more, {percent:.3f} % of the time")
answers = sum(one["same_answers"] for (_, cache), one in results.items() if cache != "none")
print(f"all {answers} answers with a cache are those without, token for token")

# %% [markdown]
# Two rounds of one engine differ by more than a cache costs, so look at the control plane. As a share it vanishes here, but that proves little: on one core our steps are slow. What would the same microseconds be beside an H100 at its roof (chapter 06), with Llama-3-8B?

# %%
steps = {"a prompt of 512": [Chunk(0, 512)], "64 decodes": [Chunk(1000, 1)] * 64}
on_paper, more = {}, results["nothing shared", "hash"]["control_microseconds_more"]
for name, chunks in steps.items():
    whole = 1e6 * seconds(step_cost(MODELS["Llama-3-8B"], chunks), MACHINES["H100"])
    tokens = sum(chunk.num_tokens for chunk in chunks)
    on_paper[name] = 100 * tokens * more / whole
    print(f"{name:15} {whole / 1000:5.2f} ms at least; the cache adds {on_paper[name]:.1f} %")
limit = bench["published"]["vllm_lost_percent"]
print(f"vLLM V1, announced: under {limit} %")

# %% jupyter={"source_hidden": true}
figure, axes = new_figure(8, 2.0)
percents = {
    f"measured here, {cache}": results["nothing shared", cache]["control_percent_more"]
    for cache in ("hash", "radix")
} | {f"on paper, H100, {name}": percent for name, percent in on_paper.items()}
axes.barh(list(percents), list(percents.values()), color="#D55E00", height=0.6)
for row, percent in enumerate(percents.values()):
    axes.text(percent + 0.05, row, f"{percent:.2f} %", va="center", fontsize=9)
axes.axvline(limit, color="black", linestyle="--", linewidth=1)
axes.text(limit + 0.05, -0.1, f"vLLM V1, announced: under {limit} %", fontsize=9)
axes.set(xlabel="% of the time without a cache", ylim=(3.5, -0.5))
show(
    figure,
    alt="Four bars. Measured here, a cache adds some hundredths of a per cent. On paper, beside "
    "an H100, it adds less than one per cent to 64 decodes and several per cent to a prompt. A "
    "dashed line marks the 1 per cent that vLLM V1 announced to stay under.",
    caption="What a prefix cache adds where nothing is shared. Beside our slow steps it vanishes; "
    "beside a GPU at its roof, with nothing to hide behind, prompts feel it.",
)

# %% [markdown]
# Now requests that share: a system prompt before each, chats of six turns, and few-shot prompts that are nearly all examples.

# %%
points = {"hash": [], "radix": []}
for (_, cache), one in results.items():
    if cache in points:
        points[cache].append((100 * one["hit_rate"], one["times_as_fast"]))
names = list(dict.fromkeys(workload for workload, _ in results))
print("                     found   times as fast: hash, tree   at most")
for name, (found, fast), (_, tree) in zip(names, *points.values()):
    bound = 100 / (100 - found)
    print(f"{name:20} {found:4.0f} %              {fast:5.2f} {tree:5.2f}     {bound:5.2f}")
low, high = bench["published"]["sglang_hit_percent"]
most = bench["published"]["sglang_times_as_fast"]
print(f"SGLang, reported: {low}–{high} % found, up to {most} times the throughput")

# %% jupyter={"source_hidden": true}
figure, axes = new_figure(8, 3.4)
hits = range(88)
axes.plot(hits, [100 / (100 - hit) for hit in hits], "k:", label="bound: 1 / (1 − hit rate)")
axes.plot(*zip(*points["hash"]), "o", color="#0072B2", label="here, hash")
axes.plot(*zip(*points["radix"]), "s", color="#D55E00", ms=9, mfc="none", label="here, tree")
for name, at in zip(names, points["hash"]):
    axes.annotate(name, at, (8, -12), textcoords="offset points")
label = f"SGLang, reported: up to {most}"
axes.plot([low, high], [most, most], color="#009E73", linewidth=3, label=label)
axes.set(xlabel="hit rate in %", ylabel="times as fast", xlim=(-3, 103), ylim=(0, 8))
axes.legend(loc="upper left")
show(
    figure,
    alt="Times as fast over hit rate, for four workloads; hashes and tree are nearly equal. Level "
    "at 0 per cent, they rise with the hit rate, below a dotted bound, to over five times. A green "
    "line from 50 to 99 per cent marks the 6.4 times that are reported of SGLang.",
    caption="How many times as fast as without a cache: the gain follows the hit rate, below the "
    "dotted bound, for what is not found must be computed, and answers decoded all the same.",
)

# %% [markdown]
# The published figures are not ours, and count something else.
#
# - **vLLM V1** told what a whole server on GPUs loses of its throughput at a hit rate of 0, prompts and decode together. Ours is the time of `schedule` and `commit` alone, and on paper nothing hides it: the GPU reaches its roof, and waits for Python. Real GPUs take longer for a step, so the share is smaller there.
# - **SGLang**, as secondary copies of its paper report it, was compared with other systems of its time, and the highest gain is that of the best of many programs. There shared pages also make room for larger batches. Our requests are few and memory was never short, so nothing was gained but tokens that need not be computed; hence the bound.

# %% [markdown]
# <div class="alert alert-block alert-success"><b>Takeaway 6.</b> A miss costs a fraction of a microsecond a token, a hit saves the token. So leave the cache on: what it costs is small and does not grow, and what it brings follows the hit rate, up to 1 / (1 − hit rate).</div>
#
# ## 8 · Attending once
#
# Shared pages are held once, but plain decode reads them for every sequence. **Cascade attention** reads the prefix once for all, each one's own rest apart, and merges (chapter 04); [FlashInfer](https://flashinfer.ai/2024/02/02/cascade-inference.html) measured what that is worth in time. The package's Triton kernel does so, too, and has not been measured on a GPU yet. What can be counted here is the tokens that are read:

# %%
for sequences, prefix, own in ((4, 1000, 100), (64, 8000, 100), (256, 32000, 256)):
    ratio = sequences * (prefix + own) / (prefix + sequences * own)
    print(f"{sequences:3} sequences, prefix {prefix:5}: {ratio:4.1f} times fewer tokens read")
print("FlashInfer, time on an H100: up to 31 times as fast as vLLM's kernel of early 2024,")
print("                             up to 26 times as fast as its own without cascade")

# %% [markdown]
# Where reading is all that takes time, the count is a bound: 26 times needs many sequences, and little of their own. The step from 26 to 31 is not cascade's but that of a better kernel. And queries that share their keys make one matrix product, which matrix units do faster than many vectors.

# %% [markdown]
# ## 9 · A cache tells
#
# Whoever can see how long a prompt takes can see whether it hit (`lookup` stands in for the clock here). Pages of one token make the worst case: a neighbour guesses a secret letter by letter. A **salt** keeps tenants apart.


# %%
def guessed(salt):
    """What a neighbour finds out about a PIN that was sent with the salt "shop"."""
    leaky = CacheManager(16, 1, prefix_cache=HashPrefixCache(1))
    leaky.admit(0, ids("PIN 471"), salt="shop")
    leaky.publish(0, ids("PIN 471"), 7)
    known = "PIN "
    for _ in range(3):
        hits = [
            d for d in "0123456789" if leaky.lookup(ids(known + d + "!"), salt) > len(known)
        ]
        known += hits[0] if hits else "?"
    return known


for salt in ("shop", "stranger"):
    print(f"with the salt {salt!r}: {guessed(salt)}")

# %% [markdown]
# <div class="alert alert-block alert-success"><b>Takeaway 7.</b> A shared cache is a channel. Share within a tenant, and salt between tenants.</div>
#
# ## Quiz
#
# Open the answer that you would give; then open the others, and read why not.

# %%
from pagedlab.learn.quizzes import quiz

quiz("08.why_sharing")

# %%
quiz("08.found")

# %%
quiz("08.crowd")

# %% [markdown]
# ## Pause and recall
#
# <details><summary>When is a page used, when cached, when free?</summary>
#
# Used while a table names it, however many do. Cached when nobody names it, but its content can be found: it was full, and had a key. Free when it holds nothing that anybody could find.
# </details>
#
# <details><summary>Four answers fork from a prompt that ends within a page. How many copies are made?</summary>
#
# Three: everybody but the last writes into a copy. None, if the prompt fills its last page.
# </details>
#
# <details><summary>Why are page keys chained?</summary>
#
# Keys and values depend on every token before them; equal tokens after another beginning are another content.
# </details>
#
# <details><summary>Why is at least one token of a prompt computed, even if all its pages are there?</summary>
#
# The next token is sampled from the logits of the last one, and pages hold keys and values only.
# </details>
#
# <details><summary>Why does the tail of a sequence go before its head?</summary>
#
# Without its head a tail can never be hit; a head without its tail still serves.
# </details>
#
# <details><summary>What bounds the gain of a hit rate of 75 %?</summary>
#
# A quarter of the prompt is still computed, so prefill is at most four times as fast; decode is as slow as before.
# </details>
#
# ## Interview questions
#
# <details><summary>Why prefix sharing on top of page reuse? (Avoid: "prefix caching only speeds up the tokenizer".)</summary>
#
# Reuse hands out blank pages again. Sharing keeps what is in them: no second computation of the prefix, no second copy of it.
# </details>
#
# <details><summary>Our hit rate fell to nothing when we put the date and the user's name into the system prompt. Why? (Avoid: "the cache is too small".)</summary>
#
# A key chains all tokens before it, so one new token at the beginning renames every page after it. Put what is the same for all first, and what differs last.
# </details>
#
# <details><summary>Should prefix caching be off where prompts share little? (Avoid: "a miss costs as much as a hit saves".)</summary>
#
# A miss costs a hash and an entry for each page, microseconds beside the much longer time of computing it; and cached pages lie in room that was free anyway, and go first. Measure the hit rate, and switch it off for privacy rather than for speed.
# </details>
#
# <details><summary>Two tenants share a server and a system prompt. May they share its pages? (Avoid: "pages hold no text, so nothing leaks".)</summary>
#
# That a prompt was fast says that somebody sent its beginning before. A system prompt that is public may be shared; what follows is a secret, so salt by tenant, or share only up to the public part.
# </details>
#
# ## Sketch from memory
#
# Two rows of logical pages above one row of physical pages. Let both begin with the same two pages, mark that prefix, and write the reference counts below. Then let one of them end: which counts change, and which pages are cached, which free?
#
# <details><summary>Compare</summary>
#
# Section 1's two pictures: shared pages count two and then one; of what one had alone, full pages are cached, and the last one, half full, is free.
# </details>
#
# ## Bridge
#
# Fewer pages for the same tokens is one way; fewer bytes in each page is the other. Chapter 09 looks at two quantisations, and at why they are not one.
