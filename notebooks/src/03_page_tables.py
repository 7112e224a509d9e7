# %% [markdown]
# # 03 · Page tables
#
# **The idea in a line:** a sequence sees its tokens in one unbroken row; a small table sends each row of slots to a page anywhere in memory.
#
# **Afterwards you can**
# - translate any position of a sequence into its page, offset and slot;
# - follow a pool of pages through allocate, extend and free, and predict the next page it hands out;
# - say what a reference count counts, and when a page must be copied before it is written;
# - check the tables of a running engine yourself.
#
# **Time:** 60–75 minutes. **Needs:** Python, no GPU; [02 · fragmentation](02_fragmentation.ipynb) for why memory is cut into pages at all.
# The last sections load a real model.

# %%
import random
from copy import deepcopy

from pagedlab.errors import OutOfPages
from pagedlab.learn import check
from pagedlab.memory.events import EventKind, FinishCode, Trace
from pagedlab.memory.manager import CacheManager
from pagedlab.memory.pool import PagePool
from pagedlab.memory.prefix_hash import HashPrefixCache
from pagedlab.memory.table import PageTable
from pagedlab.view.figures import draw_page_table, new_figure, show
from pagedlab.view.page_map import page_map
from pagedlab.view.svg import page_map_svg, page_table_svg

print("quotient and remainder, all the mathematics of this notebook:", divmod(700, 256))

# %% [markdown]
# ## 1 · One row, scattered
#
# Operating systems met this problem long ago: programs want one long row of memory, and the machine has frames lying free here and there. Their answer was the page
# table. Let us store 19 letters in a memory of 6 pages with 4 slots each; the pages that happen to be free are 4, 1, 5, 0 and 2.

# %%
text, page_size, pages = "PAGES LIVE ANYWHERE", 4, [4, 1, 5, 0, 2]
memory = [["·"] * page_size for _ in range(6)]
for position, letter in enumerate(text):
    logical, offset = divmod(position, page_size)
    memory[pages[logical]][offset] = letter
for number, page in enumerate(memory):
    print(number, "".join(page))

# %% [markdown]
# Read from top to bottom it is nonsense. Read in the order of the table it is the sentence again, and a dot where the last page has room left.

# %%
"".join("".join(memory[page]) for page in pages)

# %% [markdown]
# Three words for the rest of the course. A **logical page** is the first, second, third … row of a sequence. A **physical page** is a place in memory. The **page table** is
# the list that leads from one to the other: `pages` above.

# %% [markdown]
# ## 2 · The same as a class
#
# `PageTable` is that list, and how many tokens it holds. It finds any position with one division.

# %%
table = PageTable(page_size=4, pages=[4, 1, 5, 0, 2], num_tokens=19)
for position in (0, 5, 18):
    page, offset = table.locate(position)
    print(
        f"position {position:2}: page {page}, offset {offset}, letter {memory[page][offset]!r}"
    )

# %% [markdown]
# Kernels want a single number, the **slot**: page × page size + offset. It says where in the whole memory one token's key and value live.

# %%
print(table.slots(0, 8))
print(f"{table.num_slots} slots, {table.num_tokens} tokens, {table.waste} wasted")

# %% [markdown]
# Positions that hold no token have no place: asking is an error, not a guess.

# %%
try:
    table.locate(19)
except IndexError as error:
    print(error)

# %% [markdown]
# <div class="alert alert-block alert-success"><b>Takeaway 1.</b> page = table[position // page size], offset = position mod page size, slot = page × page size + offset. That is
# the whole of virtual memory for a KV cache.</div>
#
# ## 3 · The sketch
#
# Here is the drawing that this chapter wants you to keep: one request, four logical pages, and the physical pages 0, 7, 2 and 11.

# %%
sketch = PageTable(page_size=16, pages=[0, 7, 2, 11], num_tokens=56)
for position in (0, 15, 16, 40, 55):
    page, offset = sketch.locate(position)
    print(
        f"position {position:2} → logical page {position // 16} → physical page {page:2}, "
        f"offset {offset:2}, slot {page * 16 + offset:3}"
    )
show(
    page_table_svg(
        sketch.pages,
        12,
        page_size=16,
        num_tokens=56,
        title="Logical in order, physical anywhere",
    ),
    caption="Above, what the request sees: pages 0 to 3 in order, the last one half full. "
    "Below, where they are: pages 0, 7, 2 and 11 of the pool.",
)

# %% [markdown]
# ### Try it 1 · one slot by hand
# Same table: pages of 16, physical pages 0, 7, 2, 11. In which slot does the token at position 50 live?
#
# <details><summary>Solution</summary>
#
# 50 = 3 × 16 + 2: logical page 3, which is physical page 11, offset 2. Slot 11 × 16 + 2 = 178.
# </details>

# %%
slot_of_50 = ...

if slot_of_50 is ...:
    print("not answered yet: a slot number, below", 12 * 16)
else:
    assert slot_of_50 == sketch.slots(50, 51)[0], (
        "which logical page is 50 in, and how far into it?"
    )
    print("right")

# %% [markdown]
# ### Exercise 03.sketch · The sketch (●○○, 10 min)
# The drawing above as a function: both rows, in letters, in `exercises/03_page_tables/sketch.py`.

# %%
check("03.sketch")

# %% [markdown]
# ### Exercise 03.locate · Walk the page table (●○○, 10 min)
# The most important lines of a memory system, for one position and for a range of them: `exercises/03_page_tables/locate.py`. A position that the table does not hold must be loud.

# %%
check("03.locate")

# %% [markdown]
# ## 4 · The pool
#
# Who knows which pages are free? The **pool**. It hands out free pages in the order in which they became free, and counts for each page how many tables name it. A
# page that comes back goes to the end of the queue.

# %%
pool = PagePool(num_pages=4)
first, second = pool.take(), pool.take()
print("taken:", first, second, "· free queue:", pool.free_pages())
print("states:", [str(pool.state(page)) for page in range(4)])

pool.drop(first, keep=False)
print("free queue:", pool.free_pages())
print("next page handed out:", pool.take())

# %% [markdown]
# ### Exercise 03.free_queue · The free queue (●●○, 15 min)
# Write the queue in `exercises/03_page_tables/free_queue.py`. What makes it interesting: a page that is wanted again leaves from the middle, and nobody may walk there.

# %%
check("03.free_queue")

# %% [markdown]
# ## 5 · Where 0, 7, 2, 11 came from
#
# Nobody chose those numbers. The **cache manager** owns pool and tables and has three verbs: `admit` a sequence, `extend` it, `release` it. We drive it by hand, with a
# trace that writes everything down. Sequence A enters first and needs one page.

# %%
A, B, C, D, E, F = range(6)
trace = Trace(num_pages=12, page_size=16)
manager = CacheManager(num_pages=12, page_size=16, trace=trace)


def fill(sequence, num_tokens):
    """Slots for ``num_tokens`` tokens in all, and the tokens written into them."""
    if sequence not in manager.sequences:
        trace.describe(sequence, "ABCDEF"[sequence], tokens=list(range(num_tokens)))
        manager.admit(sequence, [0] * num_tokens)
    manager.extend(sequence, num_tokens)
    manager.record(EventKind.COMPUTE, sequence=sequence, value=num_tokens)
    return manager.table(sequence)


print("A:", fill(A, 16))
print("free queue:", manager.pool.free_pages())

# %% [markdown]
# Then others arrive: B and C with a page each, D with four.

# %%
print("B:", fill(B, 16))
print("C:", fill(C, 16))
print("D:", fill(D, 64))
print("free queue:", manager.pool.free_pages())

# %% [markdown]
# Now A grows past its first page. Its neighbours are taken, which would be the end of a contiguous reservation. Here it is one more entry.

# %%
print("A:", fill(A, 32))
print("E:", fill(E, 48))
print("free queue:", manager.pool.free_pages())

# %% [markdown]
# C finishes: page 2 goes to the end of the queue, behind 11. F arrives and takes 11. A grows again. At last F finishes, and A grows into the page it left.


# %%
def leave(sequence):
    manager.release(sequence)
    manager.record(EventKind.FINISH, sequence=sequence, value=FinishCode.STOP)


leave(C)
print("free queue:", manager.pool.free_pages())
print("F:", fill(F, 16))
print("A:", fill(A, 48))
leave(F)
print("A:", fill(A, 56))

# %% jupyter={"source_hidden": true}
show(
    page_map_svg(trace, select=A, title="Twelve pages after all that"),
    caption="The pool at the end: A's four logical pages above, linked to 0, 7, 2 and 11; B, D "
    "and E hold the others. The numbers on the pages are the sequences' numbers, A = 0.",
)

# %% [markdown]
# The same as a live map: the slider steps through every event of the trace, so you can watch A collect its pages. Click a page to see its owner's row.

# %%
page_map(trace)

# %% [markdown]
# <div class="alert alert-block alert-success"><b>Takeaway 2.</b> Scatter is not a defect to be repaired. It is what is left when pages go to whoever needs one next, and the
# table makes it invisible.</div>

# %% [markdown]
# ### Try it 2 · predict the pool
# Release B, then D. Which pages are in the free queue, first to last? (A sequence gives its pages back last page first; notebook 08 shows why.)
#
# <details><summary>Solution</summary>
#
# `[1, 6, 5, 4, 3]`
# </details>

# %%
free_queue = ...  # a list of page numbers

if free_queue is ...:
    print(f"not answered yet; B holds {manager.table(B).pages}, D {manager.table(D).pages}")
else:
    twin = deepcopy(manager)  # the next section still needs the original
    twin.release(B)
    twin.release(D)
    assert free_queue == twin.pool.free_pages(), "B's page first, then D's from its tail"
    print("right")

# %% [markdown]
# ## 6 · Refused, and nothing changed
#
# The pool is full now. D has four full pages and wants one more token.

# %%
before = (manager.pool.free_pages(), [list(manager.table(s).pages) for s in manager.sequences])
try:
    manager.extend(D, 65)
except OutOfPages as error:
    print(str(error).replace(". ", ".\n"))
after = (manager.pool.free_pages(), [list(manager.table(s).pages) for s in manager.sequences])
print("anything changed?", before != after)

# %% [markdown]
# A refusal that changes nothing is what makes it safe to try again. B finishes, and the same call goes through.

# %%
manager.release(B)
manager.extend(D, 65)
print("D:", manager.table(D))

# %% [markdown]
# <div class="alert alert-block alert-success"><b>Takeaway 3.</b> An operation on memory happens as a whole or not at all. Half an allocation is a leak with a delay.</div>
#
# ## 7 · The bound, under fire
#
# Two promises were made: no sequence ever wastes a whole page, and nothing leaks. `check()` proves the books after every operation; let us give it a few thousand random ones.

# %%
draw, worst, refused = random.Random(3), 0, 0
manager = CacheManager(num_pages=40, page_size=8)
for number in range(3000):
    alive = manager.sequences
    try:
        if not alive or draw.random() < 0.2:
            manager.admit(number, [0] * draw.randint(1, 60))
        elif draw.random() < 0.75:
            sequence = draw.choice(alive)
            manager.extend(sequence, manager.table(sequence).num_tokens + draw.randint(1, 5))
        else:
            manager.release(draw.choice(alive))
    except OutOfPages:
        refused += 1
    manager.check()
    worst = max([worst] + [manager.table(s).waste for s in manager.sequences])
for sequence in manager.sequences:
    manager.release(sequence)
print(
    f"3,000 operations, {refused} refused; most slots wasted by one sequence: {worst} of a "
    "page of 8"
)
print(
    f"after the last release: {manager.pool.num_used} pages used, {manager.pool.num_free} free"
)

# %% [markdown]
# ## 8 · Two tables, one page
#
# Nothing says that a physical page may stand in one table only. Two requests that begin with the same tokens can name the same pages for that beginning. The pool counts the names:
# that is the **reference count**.
#
# Pages of 4; a system prompt of 8 tokens; A adds three tokens of its own, B two.

# %%
system = [10, 11, 12, 13, 14, 15, 16, 17]
tokens_a, tokens_b = system + [1, 2, 3], system + [7, 8]
manager = CacheManager(num_pages=10, page_size=4, prefix_cache=HashPrefixCache(4))
admitted = manager.admit(A, tokens_a)
manager.publish(A, tokens_a, num_tokens=11)
print("A:", manager.table(A).pages, "· found in cache:", admitted.num_hit)

# %% [markdown]
# `publish` said: these tokens are computed, their *full* pages may be found by others. Now B arrives.

# %%
admitted = manager.admit(B, tokens_b)
print(f"B: {manager.table(B).pages} · found in cache: {admitted.num_hit} tokens")
print("references to pages 0 to 4:", [manager.pool.refcount(page) for page in range(5)])

# %% jupyter={"source_hidden": true}
figure, axes = new_figure(8, 3.0)
draw_page_table(axes, {"A": manager.table(A).pages, "B": manager.table(B).pages}, 10)
show(
    figure,
    alt="Two rows of three logical pages each, A and B. The first two of both lead to physical "
    "pages 0 and 1, which are marked as shared; the third of A leads to 2, the third of B to "
    "3.",
    caption="A shared prefix: the first two logical pages of A and of B are the same physical "
    "pages, crossed yellow; only the last page of each is its own.",
)

# %% [markdown]
# A finishes. Its references go, B's stay: nothing that B reads may disappear.

# %%
manager.release(A)
print("references to pages 0 to 4:", [manager.pool.refcount(page) for page in range(5)])
print("states:", [str(manager.pool.state(page)) for page in range(5)])

# %% [markdown]
# Then B finishes as well. The prefix is now used by nobody, and still worth something: it stays as **cached** pages, until someone hits them or their room is needed.

# %%
manager.release(B)
print("states:", [str(manager.pool.state(page)) for page in range(5)])
print("a third request would find", manager.lookup(system + [5]), "tokens")

# %% [markdown]
# <div class="alert alert-block alert-success"><b>Takeaway 4.</b> A page is used (somebody's table names it), cached (nobody does, but its content can be found) or free. The reference count is the
# number of table entries that name it, no more and no less.</div>

# %% [markdown]
# ### Exercise 03.pool · States and reference counts (●●○, 20 min)
# Three states, one count, four moves: write them in `exercises/03_page_tables/pool.py`, on top of your free queue. Your pool will serve a real model in chapter 13.

# %%
check("03.pool")

# %% [markdown]
# ## 9 · Copy before you write
#
# One prompt, two answers: the second sequence is a **fork** of the first. At first they share everything, the half-filled last page included.

# %%
manager = CacheManager(num_pages=10, page_size=4)
manager.admit(A, [0] * 6)
manager.fork(A, B)
print("A:", manager.table(A).pages, "· B:", manager.table(B).pages)
print("references:", {page: manager.pool.refcount(page) for page in (0, 1)})

# %% [markdown]
# B's next token belongs in slot 2 of page 1. But A reads that page too, and will write there itself. So B gets a copy, made before the token is written.

# %%
manager.extend(B, 7)
print("to be copied before the step computes:", manager.take_copies())
print("A:", manager.table(A).pages, "· B:", manager.table(B).pages)
print("references:", {page: manager.pool.refcount(page) for page in (0, 1, 2)})
manager.extend(A, 7)
print("A writes its own next token; to be copied:", manager.take_copies())

# %% [markdown]
# And A? Page 1 is its own again, so it writes in place: nothing to copy.

# %% jupyter={"source_hidden": true}
figure, axes = new_figure(8, 3.0)
draw_page_table(axes, {"A": manager.table(A).pages, "B": manager.table(B).pages}, 10)
show(
    figure,
    alt="Two rows of two logical pages. Both first ones lead to physical page 0, shared; A's "
    "second leads to page 1, B's second to page 2.",
    caption="After copy-on-write: the full page 0 stays shared for good, because nobody will "
    "ever write into it; the page that was half full now exists twice.",
)

# %% [markdown]
# <div class="alert alert-block alert-success"><b>Takeaway 5.</b> A page with more than one reference is never written. Whoever must write copies first, and only the last page can ever need it.</div>

# %% [markdown]
# ### Exercise 03.extend · Grow, or change nothing (●●○, 20 min)
# Write growth that happens as a whole or not at all, in `exercises/03_page_tables/extend.py`. It uses your pool if you have written it already, and ours if not.

# %%
check("03.extend")

# %% [markdown]
# ### Exercise 03.fork · Fork, and copy before you write (●●●, 30 min)
# Write fork and append in `exercises/03_page_tables/fork.py`. The check keeps a memory of letters beside your tables, and every sequence must find what it wrote.

# %%
check("03.fork")

# %% [markdown]
# ## 10 · The real thing
#
# Now the engine. Three requests with a real model, twelve steps; `add_request` and `step` are what `generate` is made of.

# %%
from pagedlab import LLM, SamplingParams

llm = LLM("smollm2-135m", page_size=8, num_pages=48, progress=False)
wish = SamplingParams(max_tokens=24, temperature=0.0, ignore_eos=True)
for prompt in [
    "A page table is a list of",
    "Operating systems cut memory into frames of one size, and programs never notice, because",
    "Seven plus five is",
]:
    llm.engine.add_request(prompt, wish)
for _ in range(12):
    llm.engine.step()
print("sequences that hold pages:", llm.engine.manager.sequences)

# %% [markdown]
# Their tables, straight from the manager. The three grew at the same time, so their pages are interleaved.

# %%
for sequence in llm.engine.manager.sequences:
    print(sequence, llm.engine.manager.table(sequence))

# %% [markdown]
# The trace saw every event from outside. Replayed, it must arrive at the same tables.

# %%
replayed = llm.trace.replay()
for sequence in llm.engine.manager.sequences:
    assert replayed.sequences[sequence].pages == llm.engine.manager.table(sequence).pages
print(
    "tables of live sequences equal to what the trace says:", len(llm.engine.manager.sequences)
)

# %% jupyter={"source_hidden": true}
show(
    page_map_svg(llm.trace, select=1, title="Three requests in mid-flight"),
    caption="The engine's pool after twelve steps. Request 1 is selected: its logical row "
    "above, its physical pages linked. The last page of each request is partly filled.",
)

# %% [markdown]
# A page is real memory, a slice of a tensor. Let us read the keys of request 1 in layer 0 through its table: pages gathered in logical order, then one row a token.

# %%
table = llm.engine.manager.table(1)
keys = llm.engine.kv.layers[0][0]  # [pages, KV heads, slots, head size]
gathered = keys[table.pages].transpose(1, 2).flatten(0, 1)[: replayed.sequences[1].computed]
print("all keys of the layer:", tuple(keys.shape))
print("those of request 1, in order:", tuple(gathered.shape), "= tokens, KV heads, head size")

# %% [markdown]
# The test of the whole idea: serve the same prompt alone, in pages of another size, in other places. The keys must be the same, because a token does not care where it lives.

# %%
alone = LLM("smollm2-135m", page_size=5, num_pages=20, progress=False)
alone.engine.add_request(
    "Operating systems cut memory into frames of one size, and programs never notice, because",
    wish,
)
for _ in range(12):
    alone.engine.step()
other = alone.engine.manager.table(0)
again = alone.engine.kv.layers[0][0][other.pages].transpose(1, 2).flatten(0, 1)[: len(gathered)]
print("pages then:", table.pages, "· pages now:", other.pages)
print("same keys, to within rounding:", bool((gathered - again).abs().max() < 1e-3))

# %% [markdown]
# Let all finish. Every page comes back, and the engine can prove it.

# %%
for engine in (llm.engine, alone.engine):
    while engine.has_work:
        engine.step()
    engine.check()
    print(
        f"used {engine.manager.pool.num_used}, cached {engine.manager.pool.num_cached}, free "
        f"{engine.manager.pool.num_free}"
    )

# %% [markdown]
# The whole run as a live map. Drag the slider back to the middle and click a page.

# %%
llm.page_map()

# %% [markdown]
# ### Exercise 03.audit · Audit the books (●●○, 15 min)
# `engine.check()` proved the books. Write such a proof in `exercises/03_page_tables/audit.py`: it is given tables, counts and queues, some of them wrong.

# %%
check("03.audit")

# %% [markdown]
# ## 11 · What does the detour cost?
#
# "GPUs dislike indirection." How much of it is there? For one page, the table adds four bytes to read; the page itself, in every layer, is a little more.

# %%
config = llm.engine.config
entry, page = 4, 16 * config.kv_values_per_token * 2
print(
    f"one entry of {entry} bytes leads to a page of {page:,} bytes: {100 * entry / page:.4f} % "
    "more to read"
)

# %% [markdown]
# <div class="alert alert-block alert-success"><b>Takeaway 6.</b> The indirection is paid once a page, not once a number. What it buys is memory without holes, growth without copying, and sharing.</div>
#
# ## Quiz
#
# Open the answer that you would give; then open the others, and read why not.

# %%
from pagedlab.learn.quizzes import quiz

quiz("03.next_page")

# %% [markdown]
# ## Pause and recall
#
# <details><summary>What does a page table map to what, and what does a slot add?</summary>
#
# The logical pages of one sequence, in order, to physical pages anywhere. A slot is page × page size + offset: the place of a single token.
# </details>
#
# <details><summary>Which three states can a page be in, and what moves it between them?</summary>
#
# Free → used: it is allocated. Used → cached: the last reference goes and its content was published. Used → free: the last reference goes and it was not. Cached → used: a request hits it. Cached → free: it is
# evicted.
# </details>
#
# <details><summary>Why can only the last page of a sequence need a copy?</summary>
#
# Tokens are only ever appended. All pages before the last one are full, and a full page is never written again.
# </details>
#
# <details><summary>Why must a failed allocation leave everything as it was?</summary>
#
# The scheduler answers a refusal by waiting or by taking pages from somebody, and then tries again. Whatever a failed attempt kept would be lost, or counted twice.
# </details>
#
# ## Interview questions
#
# <details><summary>Where would you look first if the server's memory shrinks over days, although no request is running? (Avoid: "restart it every night".)</summary>
#
# At the reference counts. When idle, used must be 0 and cached + free the whole pool. A count above the number of table entries that name the page never reaches zero, and the page is lost.
# </details>
#
# <details><summary>Two sequences share a half-filled page and both write into it without a copy. What does a user see? (Avoid: "a crash, so a test would have found it".)</summary>
#
# Each attends to a key and a value that belong to the other's token: fluent, plausible text that is sometimes wrong, and not reproducible alone. No crash. That is why it is an invariant and not a test case.
# </details>
#
# ## Sketch from memory
#
# One row of logical pages, one row of physical pages, lines between them; two requests, one shared prefix marked. Around it four labels: *prefill*, *decode*, *cache*, *concurrency*; write at each whether it is
# compute-heavy or memory-heavy. Last line: fragmentation is waste, not intelligence.
#
# <details><summary>Compare</summary>
#
# The picture of section 8, with labels: prefill is compute-heavy; decode, cache and concurrency are memory-heavy: decode re-reads the cache, the cache grows with every token, and concurrency multiplies it.
# </details>
#
# ## Bridge
#
# We gathered the keys into one row before we used them. An engine that did that for every step would copy its whole cache again and again. [04 · attention over pages](04_attention_over_pages.ipynb) shows why it need not: the softmax does not care
# where the keys live.
