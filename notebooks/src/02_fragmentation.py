# %% [markdown]
# # 02 · Fragmentation
#
# **The idea in a line:** reserve the longest a request might become and 5,288 slots of 12,288 are lost; hand out pages as it grows and 424 are.
#
# **Afterwards you can**
# - compute the waste of a reservation and of pages, and state the bound that pages never break;
# - tell internal from external fragmentation, and show a case of each;
# - choose a page size and say what the choice costs;
# - measure all of this on a real engine.
#
# **Time:** 60–75 minutes. **Needs:** Python, no GPU; [01 · the memory bill](01_the_memory_bill.ipynb) for what a slot is (room for one token's
# keys and values). The last section loads a real model.

# %%
import random

from pagedlab import arithmetic
from pagedlab.arithmetic import MIB, MODELS
from pagedlab.errors import OutOfSlots
from pagedlab.learn import check
from pagedlab.memory.contiguous import ContiguousAllocator
from pagedlab.memory.manager import CacheManager
from pagedlab.view.explorer import Explorer, Frame
from pagedlab.view.figures import (
    bar,
    draw_bars,
    draw_key,
    draw_line_of_slots,
    draw_pages,
    new_figure,
    show,
)
from pagedlab.view.palette import GUIDE

slots = arithmetic.contiguous_slots([0] * 12, reservation=1024)
print(f"12 users who reserve 1,024 slots each hold {slots:,}, whether they use them or not")

# %% [markdown]
# ## 1 · The obvious way
#
# A request's length is unknown until it ends. The obvious way is to reserve, in advance and in one piece, room for the longest it may become.
# Here are three requests on a line of 12 slots: each reserves 4, and they stop at 1, 3 and 4.

# %%
line = ContiguousAllocator(num_slots=12)
for sequence, length in enumerate([1, 3, 4]):
    line.reserve(sequence, num_slots=4)
    line.extend(sequence, length)
print(f"reserved {line.num_reserved}, used {line.num_used}, wasted {line.internal_waste}")

# %% jupyter={"source_hidden": true}
figure, axes = new_figure(8, 1.0)
draw_line_of_slots(axes, line, {0: "A", 1: "B", 2: "C"})
show(
    figure,
    alt="A line of 12 slots in three runs of 4. A uses 1 and wastes 3, B uses 3 and wastes 1, "
    "C uses all 4.",
    caption="Three reservations of 4 slots: blue is used, hatched is reserved and never used. "
    "Nobody else may enter a hatched slot.",
)

# %% [markdown]
# The hatched slots are **internal fragmentation**: waste inside what was handed out. Now the same with real sizes. Three requests may
# become 4,096 tokens long; they stop at 800, 2,300 and 3,900.

# %%
lengths = [800, 2300, 3900]
line = ContiguousAllocator(num_slots=3 * 4096)
for sequence, length in enumerate(lengths):
    line.reserve(sequence, num_slots=4096)
    line.extend(sequence, length)
print(f"reserved {line.num_reserved:,}, used {line.num_used:,}, wasted {line.internal_waste:,}")
print(f"{100 * line.internal_waste / line.num_reserved:.0f} % of the memory holds nothing")
by_formula = arithmetic.contiguous_waste(lengths, reservation=4096)
print(f"3 × 4,096 − ({' + '.join(f'{n:,}' for n in lengths)}) = {by_formula:,}")

# %% [markdown]
# <div class="alert alert-block alert-success"><b>Takeaway 1.</b> With a reservation, waste is the unused tail: it depends on how wrong the guess was, and the guess must be
# the worst case.</div>

# %% [markdown]
# ## 2 · Pages
#
# Now cut memory into pages of a fixed size, and give a request another page only when its last one is full. With pages of two slots, our toy requests of 1, 3
# and 4 tokens take 1, 2 and 2 pages.

# %%
for length in [1, 3, 4]:
    pages = arithmetic.pages_needed(length, page_size=2)
    print(f"{length} tokens: {pages} pages = {pages * 2} slots, {pages * 2 - length} wasted")

# %% [markdown]
# The real three, with pages of 256:

# %%
for length in lengths:
    pages = arithmetic.pages_needed(length, 256)
    slots = arithmetic.paged_slots([length], 256)
    print(f"{length:5,} tokens: {pages:2} pages, {slots:5,} slots, {slots - length:3} wasted")
print(f"wasted in all: {arithmetic.paged_waste(lengths, 256)}")

# %%
contiguous = arithmetic.contiguous_waste(lengths, 4096)
paged = arithmetic.paged_waste(lengths, 256)
print(f"{contiguous:,} against {paged}: {contiguous / paged:.1f} times less")

# %% jupyter={"source_hidden": true}
figure, axes = new_figure(8, 3.6)
bars = [bar(f"{n:,} reserved", used=n, waste=4096 - n) for n in lengths]
for n in lengths:
    waste = arithmetic.paged_waste([n], 256)
    bars.append(bar(f"{n:,} in pages", used=n, waste=waste, page_size=256))
draw_bars(axes, bars, unit="slots")
draw_key(axes, {"used": "used", "waste": "held, not used"})
show(
    figure,
    alt="Six bars of slots. Reserved: 800 used and 3,296 wasted, 2,300 and 1,796, 3,900 and "
    "196. In pages of 256: waste of 224, 4 and 196 only.",
    caption="The same three requests twice. Above, each reserves 4,096 slots; below, each "
    "takes pages of 256 as it grows, and only its last page has a hatched rest.",
)

# %% [markdown]
# <div class="alert alert-block alert-success"><b>Takeaway 2.</b> 5,288 slots wasted became 424. Nothing was compressed and no request was told to be shorter: the slots
# were simply not taken before they were needed.</div>

# %% [markdown]
# ## 3 · Two maps
#
# Draw both memories as maps: 12,288 slots are 48 squares of 256. The reservation fills the whole map; the pages leave more than a
# third of it blank, for somebody else.


# %%
def squares(length, held):
    """The state of each square of 256 slots that a request of ``length`` tokens holds."""
    full, part = length // 256, int(length % 256 > 0)
    return ["full"] * full + ["part"] * part + ["waste"] * (held - full - part)


reserved = [(name, state) for name, n in zip("ABC", lengths) for state in squares(n, 16)]
in_pages = []
for name, n in zip("ABC", lengths):
    in_pages += [(name, state) for state in squares(n, arithmetic.pages_needed(n, 256))]
for name, held in [("reserved", reserved), ("in pages", in_pages)]:
    empty = sum(state == "waste" for _, state in held)
    print(f"{name}: {len(held)} squares held, {empty} of them without a single token")

# %% jupyter={"source_hidden": true}
figure, (left, right) = new_figure(8, 3.4, columns=2)
for axes, held, title in [
    (left, reserved, "reserved: 48 of 48 held"),
    (right, in_pages, f"pages: {len(in_pages)} of 48 held"),
]:
    drawn = [
        ("waste", name)
        if state == "waste"
        else (name.lower(), name + ("…" if state == "part" else ""))
        for name, state in held
    ]
    draw_pages(axes, drawn + [("free", "")] * (48 - len(held)), columns=8, numbers=False)
    axes.set_title(title, loc="left")
show(
    figure,
    alt="Two maps of 48 squares. Left: A holds 16 squares of which 12 are empty, B 16 of which "
    "7 are empty, C 16 full. Right: A 4, B 9, C 16 squares, and 19 squares free.",
    caption="Left, what three reservations hold; hatched red squares are held and empty. "
    "Right, what pages hold; pale squares are free for a fourth request. The dots mark a "
    "partly filled square.",
)

# %% [markdown]
# How many more requests could enter? That is the real price of waste: not slots, but users turned away.

# %%
free = 48 - len(in_pages)
more = free // arithmetic.pages_needed(800, 256)
print(f"{free} free pages: {more} more requests of 800 tokens; the reservation admits none")

# %% [markdown]
# ## 4 · The bound
#
# Was 424 luck? Take every possible length from 1 to 4,096 and look for the worst.

# %%
wastes = [arithmetic.paged_waste([length], 256) for length in range(1, 4097)]
worst = max(wastes)
print(
    f"most: {worst}, at {wastes.index(worst) + 1} token; mean: {sum(wastes) / len(wastes):.1f}"
)

# %% [markdown]
# One slot short of a page: only the *last* page of a request can be partly filled, and it holds at least one token. For three requests that makes

# %%
bound = arithmetic.paged_waste_bound(num_requests=3, page_size=256)
print(f"3 × (256 − 1) = {bound}; ours wasted {paged}. A reservation may waste {3 * 4095:,}")

# %% jupyter={"source_hidden": true}
figure, axes = new_figure(8, 2.8)
tokens = range(1, 4097)
axes.plot(
    tokens,
    [4096 - n for n in tokens],
    color="#D55E00",
    linestyle="--",
    label="reservation of 4,096",
)
axes.plot(tokens, wastes, color="#0072B2", label="pages of 256")
axes.set(xlabel="tokens the request turned out to have", ylabel="slots wasted")
axes.legend(frameon=False)
show(
    figure,
    alt="Slots wasted against request length. The reservation's line falls from 4,095 to 0; "
    "the pages' line is a low sawtooth that never exceeds 255.",
    caption="What a request wastes, by its length: a reservation wastes whatever it did not "
    "need, pages at most one slot short of a page, at any length.",
)

# %% [markdown]
# <div class="alert alert-block alert-success"><b>Takeaway 3: the bound.</b> Paged waste is at most the last partial page of each request, never its unused tail: requests × (page size − 1).</div>

# %% [markdown]
# Four requests reserve 2,048 slots each and stop at 600, 900, 1,300 and 1,700. What does the reservation waste, and what do pages of 256? Paper first; then:

# %%
four = [600, 900, 1300, 1700]
held, wasted = arithmetic.contiguous_slots(four, 2048), arithmetic.contiguous_waste(four, 2048)
print(f"reserved {held:,}, wasted {wasted:,}")
print("pages:", [arithmetic.pages_needed(n, 256) for n in four])
print("waste:", [arithmetic.paged_waste([n], 256) for n in four])
print("wasted in pages:", arithmetic.paged_waste(four, 256))

# %% [markdown]
# ### Exercise 02.waste · The four requests (●○○, 15 min)
# The arithmetic of this chapter as four functions, tried on four requests that reserve 2,048 each: `exercises/02_fragmentation/waste.py`. Exercises with a name have files of their own; save yours and run the cell below.

# %%
check("02.waste")

# %% [markdown]
# ## 5 · The other fragmentation
#
# Internal waste is not all. Let reservations have different sizes, and let requests come and go: on a line of 96 slots, four enter and the second and the fourth leave.

# %%
line = ContiguousAllocator(num_slots=96)
for sequence, size in enumerate([28, 20, 30, 18]):
    line.reserve(sequence, size)
    line.extend(sequence, size)
line.release(1)
line.release(3)
print(f"{line.num_free} slots are free, the largest free run has {line.largest_free_run}")

# %% jupyter={"source_hidden": true}
figure, axes = new_figure(8, 1.0)
draw_line_of_slots(axes, line, {0: "A", 2: "C"})
show(
    figure,
    alt="A line of 96 slots: A uses 28, a gap of 20, C uses 30, a gap of 18.",
    caption="No slot is wasted inside a reservation, and still the 38 free slots are no room "
    "for 30: they lie apart.",
)

# %% [markdown]
# A request for 30 comes. There are 38 free slots.

# %%
try:
    line.reserve(4, num_slots=30)
except OutOfSlots as error:
    print(str(error).replace(". ", ".\n"))
share = line.external_fragmentation
print(
    f"external fragmentation: {100 * share:.0f} % of the free slots are outside the largest run"
)

# %% [markdown]
# That is **external fragmentation**: waste *between* what was handed out. Could a cleverer choice of gap avoid it? Let requests come and go at random, and count those turned
# away although the free slots together would have done.


# %%
def arrivals(seed=0, count=3000):
    """Requests of 16 to 400 slots; each leaves some time after it came."""
    draw = random.Random(seed)
    return [(draw.randint(16, 400), draw.randint(1, 40)) for _ in range(count)]


def turned_away_contiguous(best_fit):
    line, leaving, refused = ContiguousAllocator(4096), {}, 0
    for now, (size, stay) in enumerate(arrivals()):
        for sequence in leaving.pop(now, []):
            line.release(sequence)
        try:
            line.reserve(now, size, best_fit=best_fit)
            leaving.setdefault(now + stay, []).append(now)
        except OutOfSlots as error:
            refused += error.free >= size
    return refused


print("turned away though there was room, first fit:", turned_away_contiguous(False))
print("turned away though there was room, best fit: ", turned_away_contiguous(True))


# %% [markdown]
# A better fit is still a fit. With pages there is nothing to fit: any free page is as good as any other.


# %%
def turned_away_paged(page_size=16):
    manager, leaving, refused = CacheManager(4096 // page_size, page_size), {}, 0
    for now, (size, stay) in enumerate(arrivals()):
        for sequence in leaving.pop(now, []):
            manager.release(sequence)
        if manager.pages_for(size) <= manager.num_available:
            manager.admit(now, [0] * size)
            leaving.setdefault(now + stay, []).append(now)
        else:
            refused += manager.num_available * page_size >= size
    return refused


print("turned away though there was room, in pages:", turned_away_paged())

# %% [markdown]
# <div class="alert alert-block alert-success"><b>Takeaway 4.</b> <i>Internal</i> fragmentation is waste inside what was handed out; pages bound it. <i>External</i> fragmentation is free memory in pieces
# too small to use; pages of one size abolish it.</div>

# %% [markdown]
# ### Try it 1 · break it on purpose
# Eight reservations of 8 slots fill a line of 64. Release some of them so that exactly half of the line is free and yet a
# request for 9 slots fails.
#
# <details><summary>Solution</summary>
#
# Every second one: `[0, 2, 4, 6]`. No two gaps touch, so the largest run stays at 8.
# </details>

# %%
release = ...  # a list of sequence numbers between 0 and 7

line = ContiguousAllocator(64)
for sequence in range(8):
    line.reserve(sequence, 8)
if release is ...:
    print("not answered yet: a list such as [0, 1, 2, 3], which is not the answer")
else:
    for sequence in release:
        line.release(sequence)
    assert line.num_free == 32, f"{line.num_free} slots are free, 32 are wanted"
    assert line.largest_free_run < 9, f"there is a run of {line.largest_free_run}"
    print("right: half of the memory is free and cannot be used")

# %% [markdown]
# ### Exercise 02.first_fit · First fit (●●○, 25 min)
# The allocator that pages replaced, in `exercises/02_fragmentation/first_fit.py`, with the number that it dies of.

# %%
check("02.first_fit")

# %% [markdown]
# ### Exercise 02.compaction · Push it together (●○○, 15 min)
# The old cure, and what it costs: `exercises/02_fragmentation/compaction.py`.

# %%
check("02.compaction")

# %% [markdown]
# ## 6 · How large should a page be?
#
# Smaller pages waste less; a page of one slot wastes nothing. So why not one? Take 1,000 chat-like requests (many short ones, a long tail) and look at what else changes.

# %%
draw = random.Random(1)
chat = [min(4096, 1 + int(draw.expovariate(1 / 600))) for _ in range(1000)]
sizes = [2**exponent for exponent in range(11)]
print(f"{len(chat):,} requests, {sum(chat):,} tokens, the longest {max(chat):,}")
print("page sizes:", sizes)

# %%
for size in (1, 16, 256, 1024):
    share = arithmetic.paged_waste(chat, size) / arithmetic.paged_slots(chat, size)
    entries = sum(arithmetic.pages_needed(n, size) for n in chat)
    print(
        f"pages of {size:4}: {100 * share:4.1f} % of slots wasted, {entries:7,} table entries"
    )

# %% [markdown]
# The page table has a price of its own: an entry a page, looked up by every layer of every step, hashed when pages are shared, copied to the device. In *bytes* that price is
# small, as the next cell shows for SmolLM2 in 16 bits.

# %%
smol = MODELS["SmolLM2-135M"]
slot_bytes = arithmetic.kv_bytes_per_token(smol.num_layers, smol.num_kv_heads, smol.head_dim)
for size in (1, 16, 256, 1024):
    waste = arithmetic.paged_waste(chat, size) * slot_bytes / MIB
    table = arithmetic.page_table_bytes(chat, size) / MIB
    print(f"pages of {size:4}: {waste:8.1f} MiB wasted + {table:4.2f} MiB of page tables")

# %% [markdown]
# So memory alone says: one slot a page. What argues against it is *time*. One page of one head is one unbroken tile of memory, and hardware likes
# long unbroken reads.

# %%
for size in (1, 16, 256):
    tile, entries = size * smol.head_dim * 2, arithmetic.pages_needed(4096, size)
    print(
        f"pages of {size:3}: {tile:6,} bytes in one piece, {entries:5,} look-ups for 4,096 "
        "tokens"
    )

# %% jupyter={"source_hidden": true}
figure, (left, right) = new_figure(8, 2.8, columns=2)
shares = [arithmetic.paged_waste(chat, p) / arithmetic.paged_slots(chat, p) for p in sizes]
entries = [arithmetic.page_table_bytes(chat, p, entry_bytes=1) for p in sizes]
left.plot(sizes, [100 * share for share in shares], "o-", color="#D55E00")
left.set(title="slots wasted, %")
right.plot(sizes, entries, "s-", color="#0072B2")
right.set(yscale="log", title="page-table entries")
for axes in (left, right):
    axes.axvline(16, color=GUIDE, linestyle=":")
    axes.set_xscale("log", base=2)
    axes.set_xticks([1, 16, 256, 1024], ["1", "16", "256", "1,024"])
    axes.set_xlabel("page size")
show(
    figure,
    alt="Two curves over page sizes 1 to 1,024. Waste stays under 2 per cent up to 16 and "
    "rises to about half at 1,024; page-table entries fall from 625,000 to about 1,250.",
    caption="What a page size costs and saves, for 1,000 chat-like requests: waste grows with "
    "the page, the table shrinks. The dotted line is 16: most of the table is gone, hardly "
    "any waste has come.",
)

# %% [markdown]
# Slide through the page sizes yourself, with the three requests of section 2.


# %%
def three_requests(page_size):
    waste = {n: arithmetic.paged_waste([n], page_size) for n in lengths}
    bars = [bar(f"{n:,} tokens", used=n, waste=waste[n], page_size=page_size) for n in lengths]
    title = f"pages of {page_size:,}: {sum(waste.values()):,} slots wasted"
    return Frame(title, bars, extent=4608)


page_sizes = [*sizes, 2048, 4096]
Explorer({"page_size": page_sizes}, three_requests, unit="slots", start={"page_size": 256})

# %% [markdown]
# At 4,096 the page *is* the reservation, and the old waste is back.

# %%
print(arithmetic.paged_waste(lengths, 4096), "=", arithmetic.contiguous_waste(lengths, 4096))
assert arithmetic.paged_waste(lengths, 4096) == arithmetic.contiguous_waste(lengths, 4096)

# %% [markdown]
# <div class="alert alert-block alert-success"><b>Takeaway 5.</b> On average a request wastes half a page. Page size trades that against the page table's length and the length of an unbroken read;
# 16 to 64 is where most engines settle.</div>

# %% [markdown]
# ### Exercise 02.page_size · The best page size (●●○, 15 min)
# Empty slots against table entries, both in bytes: find the best page for any crowd of requests in `exercises/02_fragmentation/page_size.py`.

# %%
check("02.page_size")

# %% [markdown]
# ## 7 · Lengths decide
#
# How bad is a reservation really? It depends on how lengths are spread. Four crowds of 1,000 requests, all allowed up to 4,096 tokens:

# %%
draw = random.Random(2)
crowds = {
    "all long": [draw.randint(3500, 4096) for _ in range(1000)],
    "anything": [draw.randint(1, 4096) for _ in range(1000)],
    "chat": chat,
    "mostly one-liners": [
        draw.randint(3000, 4096) if draw.random() < 0.05 else draw.randint(10, 200)
        for _ in range(1000)
    ],
}
for name, crowd in crowds.items():
    print(f"{name:18} mean {sum(crowd) / 1000:6,.0f} tokens, median {sorted(crowd)[500]:5,}")

# %%
useful = {}
for name, crowd in crowds.items():
    reserved = arithmetic.contiguous_slots(crowd, 4096)
    held = [reserved] + [arithmetic.paged_slots(crowd, page_size) for page_size in (256, 16)]
    useful[name] = [100 * sum(crowd) / slots for slots in held]
    print(
        f"{name:18} reserved {useful[name][0]:4.1f} %, pages of 256 {useful[name][1]:4.1f} %, "
        f"of 16 {useful[name][2]:4.1f} %"
    )

# %% jupyter={"source_hidden": true}
figure, axes = new_figure(8, 2.8)
names, hatches = ["reserved", "pages of 256", "pages of 16"], ["//", "", "--"]
colours = ["#D55E00", "#56B4E9", "#0072B2"]
for offset, (label, colour, hatch) in enumerate(zip(names, colours, hatches)):
    places = [row + 0.27 * offset for row in range(len(useful))]
    shares = [share[offset] for share in useful.values()]
    axes.bar(places, shares, 0.25, color=colour, hatch=hatch, edgecolor="white", label=label)
axes.set_xticks([row + 0.27 for row in range(len(useful))], list(useful))
axes.set(ylabel="useful slots, %", ylim=(0, 132), yticks=[0, 25, 50, 75, 100])
axes.legend(ncols=3, frameon=False, loc="upper center")
show(
    figure,
    alt="Grouped bars of useful slots in per cent for four crowds. Reservation: 93, 48, 15 and "
    "7; pages of 256: between 66 and 97; pages of 16: between 97 and 100.",
    caption="The more lengths vary, the worse a reservation does; pages of 16 keep more than "
    "97 % of their slots useful for every crowd.",
)

# %% [markdown]
# ### Try it 2 · a crowd that likes reservations
# Make a list of 1,000 lengths for which a reservation of 4,096 wastes *less* than pages of 256, or find the reason why you cannot.
#
# <details><summary>Solution</summary>
#
# It does not exist: 4,096 is a multiple of 256, so rounding up to pages never passes the reservation. Equal waste is the most a reservation can reach (all lengths
# above 3,840).
# </details>

# %%
odd_crowd = ...

if odd_crowd is ...:
    print("not answered yet: a list of 1,000 lengths between 1 and 4,096")
else:
    assert len(odd_crowd) == 1000 and 1 <= min(odd_crowd) <= max(odd_crowd) <= 4096
    difference = arithmetic.contiguous_waste(odd_crowd, 4096) - arithmetic.paged_waste(
        odd_crowd, 256
    )
    assert difference < 0, f"the reservation wastes {difference} slots more"
    print("right, and a reason to distrust pagedlab/arithmetic.py")

# %% [markdown]
# ## 8 · Measured on the engine
#
# Paper is patient; let a real model serve. Eight questions, answers as long as they turn out (64 tokens at most), pages of 16, and a trace that records everything that happens to every page.

# %%
from pagedlab import LLM, SamplingParams
from pagedlab.view.frames import count

llm = LLM("smollm2-135m", page_size=16, num_pages=256, prefix_cache="none", progress=False)
questions = [
    "What is the capital of France?",
    "What is 2 + 2?",
    "Repeat this: memory is paged.",
    "Thank you!",
    "Translate 'good morning' into French.",
    "What is a page table?",
    "What is an operating system? Answer in one sentence.",
    "Tell me a story about a cat.",
]
chats = [[{"role": "user", "content": question}] for question in questions]
wish = SamplingParams(max_tokens=64, temperature=0.0)
outputs = llm.chat(chats, wish, progress=False)
print("prompt tokens:", [len(out.prompt_token_ids) for out in outputs])
print("output tokens:", [len(out.outputs[0].token_ids) for out in outputs])

# %% [markdown]
# The trace replays to the page map of any step. Here is the fullest one.

# %%
steps = [count(llm.trace.replay(until)) for until in llm.trace.steps()[1:]]
fullest = max(steps, key=lambda counts: counts.slots)
print(
    f"fullest step: {fullest.used} pages, {fullest.slots} slots, {fullest.waste} of them empty"
)
print(f"wasted: {100 * fullest.waste / fullest.slots:.1f} %")

# %% [markdown]
# That is much for pages of 16, and it is right: at that step no request has 50 tokens yet, so the rest of its last page is a fifth of what it holds. The bound of section 4 holds all the same, for every request at
# every step.

# %%
worst = 0
for until in llm.trace.steps()[1:]:
    for view in llm.trace.replay(until).sequences.values():
        if view.pages:
            worst = max(worst, len(view.pages) * 16 - view.computed)
print(f"the most that any request wasted at any step: {worst} slots of the allowed {16 - 1}")
assert worst <= 15

# %% [markdown]
# What would reservations have held? Each of the eight, from its first step to its last, the length it was *allowed*: prompt plus `max_tokens` if the server trusts that number,
# the whole context of the model if it does not.

# %%
allowed = [len(out.prompt_token_ids) + wish.max_tokens for out in outputs]
context = llm.engine.config.max_context
print(f"reserving the whole context: {arithmetic.contiguous_slots(allowed, context):,} slots")
print(f"reserving prompt + max_tokens: {sum(allowed):,} slots")
print(f"pages, at the fullest step: {fullest.slots:,} slots")

# %% jupyter={"source_hidden": true}
figure, axes = new_figure(8, 2.8)
numbers = range(1, len(steps) + 1)
held, filled = [c.slots for c in steps], [c.slots - c.waste for c in steps]
axes.axhline(sum(allowed), color="#D55E00", linestyle="--", label="reserved until all are done")
axes.step(numbers, held, color="#0072B2", where="mid", label="held in pages")
axes.fill_between(numbers, filled, step="mid", color="#56B4E9", label="holding a token")
axes.set(xlabel="step", ylabel="slots", ylim=(0, None))
axes.legend(frameon=False, loc="center right")
show(
    figure,
    alt="Slots over the steps of a real run. The reservation is a flat line at the top; slots "
    "held in pages lie far below it and fall in steps as requests finish; slots holding "
    "tokens lie just below those.",
    caption="A real run of eight requests: what pages hold follows what is needed, step by "
    "step, and the gap between the two is all the waste there is. The dashed line is what "
    "prompt + max_tokens would have reserved.",
)

# %% [markdown]
# The paper that brought pages to serving measured this on real systems (Kwon et al., SOSP 2023). Of the slots that were held, over a whole run, how many held a token? Its figures beside ours:

# %%
filled = 0
held = {"in pages of 16": 0, "reserved, by max_tokens": 0, "reserved, whole context": 0}
for until in llm.trace.steps()[1:]:
    for number, view in llm.trace.replay(until).sequences.items():
        if view.pages:
            filled += view.computed
            for how, slots in zip(held, (16 * len(view.pages), allowed[number], context)):
                held[how] += slots
for how, slots in held.items():
    print(f"our run, {how:24} {100 * filled / slots:4.1f} % useful")
published = {"pages of 16": (96.3,), "reservations": (20.4, 38.2)}
for how, percent in published.items():
    print(f"paper, {how:26} {' to '.join(map(str, percent))} % useful")
print(f"so the paper's pages waste {100 - published['pages of 16'][0]:.1f} %: under 4 %")

# %% [markdown]
# Why not the same? Our requests hold some 50 tokens, on which half a page weighs more, as the next cell shows. Our context has 8,192 slots, that of the paper's models 2,048. And its best reservation knew every length in advance: it lost the slots of tokens still
# to come, and the gaps between its runs.

# %%
for tokens in (50, 200, 400):  # in the cache; the paper's chats have some hundreds
    share = tokens / (tokens + (16 - 1) / 2)
    print(f"requests of {tokens:3} tokens in pages of 16: {100 * share:.1f} % useful")

# %% [markdown]
# <div class="alert alert-block alert-success"><b>Takeaway 6.</b> Less fragmentation means more live requests; more live requests mean more freedom for the scheduler; and that means more throughput
# from the same card. That is why an allocator is worth a notebook.</div>

# %% [markdown]
# ### Try it 3 · predict, then run
# With pages of 64 instead of 16, how many slots would the requests of this run hold in all at the end, if all eight were alive at once? Predict from `final`, the tokens each
# had in the cache.
#
# <details><summary>Solution</summary>
#
# `sum(-(-n // 64) * 64 for n in final)`, which is `arithmetic.paged_slots(final, 64)`.
# </details>

# %%
final = [len(out.prompt_token_ids) + len(out.outputs[0].token_ids) - 1 for out in outputs]
slots_with_64 = ...

if slots_with_64 is ...:
    print("not answered yet; tokens in the cache at the end:", final)
else:
    assert slots_with_64 == arithmetic.paged_slots(final, 64), (
        "round each up to a multiple of 64, then add"
    )
    print("right")

# %% [markdown]
# ## Quiz
#
# Open the answer that you would give; then open the others, and read why not.

# %%
from pagedlab.learn.quizzes import quiz

quiz("02.why_pages")

# %%
quiz("02.last_page")

# %% [markdown]
# ## Pause and recall
#
# <details><summary>Why does contiguous allocation waste memory when lengths vary?</summary>
#
# A run cannot be moved or extended while attention reads it, so it must be as long as the request may ever become. Every request shorter than that wastes the difference, and runs of different
# sizes leave gaps that fit nobody.
# </details>
#
# <details><summary>How much did waste fall with 256-token pages, and what bounds it?</summary>
#
# From 5,288 slots to 424, about twelvefold. At most 255 slots for each request: only the last page can be partly filled.
# </details>
#
# <details><summary>Why does best fit not cure external fragmentation?</summary>
#
# It chooses among the gaps there are. As sizes differ and requests leave in any order, gaps keep appearing that are too short for the next request, whoever gets which.
# </details>
#
# <details><summary>If pages of one slot waste nothing, why are they rare?</summary>
#
# The page table grows sixteenfold against pages of 16, and memory is read in pieces of one token a head. (SGLang does use them, with kernels made for it: notebook 11.)
# </details>

# %% [markdown]
# ## Interview questions
#
# <details><summary>Why pages and not one large contiguous reservation? (Avoid: "contiguous always wins, because GPUs dislike indirection".)</summary>
#
# A reservation wastes whatever the request did not need and leaves gaps that fit nobody; pages waste less than one page a request and leave no gaps. The indirection is one table entry a
# page, read once for a tile of several KiB; the early paged kernels were about a quarter slower and the systems around them still served two to four times as much, because they held more
# requests. Speed of one kernel is not throughput of a server.
# </details>
#
# <details><summary>Your lengths are all between 3,900 and 4,096. Do you still want pages? (Avoid: "no, there is nothing to gain".)</summary>
#
# For waste alone the gain is small: about 2 %. But growth without copying, sharing of prefixes and admission without a contiguous gap come with pages too.
# </details>
#
# <details><summary>Someone proposes pages of 1,024 "to keep the table small". Answer with numbers. (Avoid: "a smaller table is always faster".)</summary>
#
# Half a page, 512 slots, is lost on each request on average. On chat-like requests of 600 tokens that is about half of the memory. The table saved is four bytes for each page given up; a slot of
# even the smallest model is thousands.
# </details>

# %% [markdown]
# ## Sketch from memory
#
# Draw two maps of 12 squares. In the first, three reservations of four squares with lengths 1, 3 and 4; hatch the waste. In the second the same requests in pages of two
# slots (six pages); hatch the waste again. Write the bound under the second. Last, write under both: *fragmentation is waste, not intelligence*.

# %% [markdown]
# ## Bridge
#
# We said "give it another page, any page". Then a request's tokens lie scattered over memory, and something must remember where. That something is small, and the heart of the design:
# [03 · page tables](03_page_tables.ipynb).
