"""Chapter 13: attention in every layer, and what a whole engine holds and wastes."""

from __future__ import annotations

from types import ModuleType, SimpleNamespace
from typing import Any

from pagedlab.learn.exercise import exercise
from pagedlab.learn.judge import Judge
from pagedlab.memory.table import PageTable

SIZE = 4


@exercise(
    "13.attention",
    "Your attention, in every layer",
    difficulty=1,
    minutes=15,
    needs=("torch",),
    after=("04.paged_attention",),
    hints=(
        "A loop over the sequences of the batch. Which rows of q are those of sequence b?",
        "query_start has one entry more than there are sequences: rows query_start[b] to query_start[b + 1]. A "
        "sequence of n tokens has ceil(n / P) pages.",
        "rows = slice(starts[b], starts[b + 1])\npages = batch.page_tables[b, : -(-length // size)].tolist()\n"
        "out[rows] = paged_attention(q[rows], kv, pages, length, scale)",
    ),
)
def attention(mine: ModuleType, judge: Judge) -> None:
    from hypothesis import strategies as st

    from pagedlab.learn.checks.c13_model import same_tokens

    with judge.rule("one sequence that decodes"):
        _attended(mine, judge, [(5, 1)])
    with judge.rule("several sequences, each over its own pages"):
        _attended(mine, judge, [(5, 1), (3, 1), (8, 1)])
    with judge.rule("chunks of prompts beside single tokens"):
        _attended(mine, judge, [(6, 6), (9, 1), (7, 3)])
    with judge.rule("any batch"):
        sequence = st.integers(1, 12).flatmap(lambda length: st.tuples(st.just(length), st.integers(1, length)))
        judge.prove(
            lambda sequences: _attended(mine, judge, sequences),
            st.lists(sequence, min_size=1, max_size=4),
            examples=30,
        )
    with judge.rule("it serves a model: the engine's own tokens"):
        same_tokens(judge, "LLM(tiny, attention=attend)", attention=mine.attend)


def _attended(mine: ModuleType, judge: Judge, sequences: list[tuple[int, int]]) -> None:
    """Beside the formula; ``sequences``: tokens in the cache, and how many of them are new. All else is poison."""
    import torch

    from pagedlab_kernels.batch import PagedBatch
    from pagedlab_kernels.reference import oracle_attention

    torch.manual_seed(0)
    needed = [-(-length // SIZE) for length, _ in sequences]
    order = torch.randperm(sum(needed) + 2).tolist()
    kv = torch.full((2, len(order), 2, SIZE, 4), torch.nan)
    tables = torch.full((len(sequences), max(needed) + 1), order[-1], dtype=torch.int32)  # that page is poison
    for number, (length, _) in enumerate(sequences):
        for position in range(length):
            page = order[sum(needed[:number]) + position // SIZE]
            tables[number, position // SIZE] = page
            kv[:, page, :, position % SIZE] = torch.randn(2, 2, 4)
    starts = [0]
    for _, new in sequences:
        starts.append(starts[-1] + new)
    unused = torch.zeros(starts[-1], dtype=torch.int64)
    batch = PagedBatch(
        token_ids=unused,
        positions=unused,
        slots=unused,
        query_start=torch.tensor(starts, dtype=torch.int32),
        context_lens=torch.tensor([length for length, _ in sequences], dtype=torch.int32),
        page_tables=tables,
        page_size=SIZE,
        max_query_len=max(new for _, new in sequences),
        max_context_len=max(length for length, _ in sequences),
    )
    q = torch.randn(starts[-1], 4, 4)
    case = " and ".join(f"{new} new of {length} tokens" for length, new in sequences)
    judge.trying(case)
    judge.close(mine.attend(q, kv, batch, 0.5), oracle_attention(q, kv, batch, 0.5), case=case, within=1e-4)


@exercise(
    "13.watch",
    "What it wastes",
    difficulty=2,
    minutes=20,
    needs=("torch",),
    hints=(
        "Count pages, not table entries: which container has each page once?",
        "A dict from page to tokens in it. Logical page number i of a table holds min(size, num_tokens - i * size).",
        "for logical, page in enumerate(table.pages):\n    tokens = min(size, table.num_tokens - logical * size)\n"
        "    filled[page] = max(tokens, filled.get(page, 0))",
    ),
)
def watch(mine: ModuleType, judge: Judge) -> None:
    from hypothesis import strategies as st

    with judge.rule("one sequence: whole pages are held, tokens fill them"):
        for tokens, wanted in ((1, (4, 1)), (4, (4, 4)), (6, (8, 6))):
            _expect(mine, judge, [[PageTable(SIZE, list(range(-(-tokens // SIZE))), tokens)]], [wanted])
    with judge.rule("a shared page is held once, and filled as far as the one that fills it most"):
        shared = [PageTable(SIZE, [0, 1], 6), PageTable(SIZE, [0, 2], 7)]
        _expect(mine, judge, [shared], [(12, 9)])
        forked = [PageTable(SIZE, [0, 1], 6), PageTable(SIZE, [0, 1], 7), PageTable(SIZE, [0, 1], 5)]
        _expect(mine, judge, [forked], [(8, 7)])
    with judge.rule("one reading a step; most_held and waste are over all of them"):
        steps = [[PageTable(SIZE, [0, 1], 5)], [], [PageTable(SIZE, [3], 4), PageTable(SIZE, [2], 1)]]
        seen = _expect(mine, judge, steps, [(8, 5), (0, 0), (8, 5)])
        judge.equal(seen.most_held, 8, case="most_held of [(8, 5), (0, 0), (8, 5)]")
        judge.close(seen.waste, 0.375, case="waste of [(8, 5), (0, 0), (8, 5)]")
        uneven = _expect(mine, judge, [[PageTable(SIZE, [0, 1, 2], 12)], [PageTable(SIZE, [0], 1)]], [(12, 12), (4, 1)])
        judge.equal(uneven.most_held, 12, case="most_held of [(12, 12), (4, 1)]")
        judge.close(uneven.waste, 3 / 16, case="waste of [(12, 12), (4, 1)]", why="sums, not a mean of shares")
    with judge.rule("where nothing was held, nothing was wasted"):
        nothing = _expect(mine, judge, [], [])
        judge.equal((nothing.most_held, nothing.waste), (0, 0.0), case="most_held and waste before any step")
        judge.equal(_expect(mine, judge, [[]], [(0, 0)]).waste, 0.0, case="waste of a step in which nobody runs")
    with judge.rule("a real engine, beside its own page map"):
        judge.prove(
            lambda number, size: _beside_the_map(mine, judge, number, size),
            st.integers(1, 8),
            st.sampled_from([1, 3, 4, 16]),
            examples=8,
        )


def _expect(mine: ModuleType, judge: Judge, steps: list[list[PageTable]], wanted: list[tuple[int, int]]) -> Any:
    """Readings of an engine that has these tables after its steps, one list a step."""
    scheduler = SimpleNamespace(running=[])
    tables: dict[int, PageTable] = {}
    manager = SimpleNamespace(page_size=SIZE, table=tables.__getitem__)
    engine = SimpleNamespace(manager=manager, scheduler=scheduler, listeners=[])
    case = "; ".join(" and ".join(f"{t.pages} with {t.num_tokens} tokens" for t in step) or "nobody" for step in steps)
    judge.trying(f"tables after each step: {case}")
    seen = mine.Watch(SimpleNamespace(engine=engine))
    for step in steps:
        tables.clear()
        tables.update(enumerate(step))
        scheduler.running = [SimpleNamespace(id=number) for number in tables]
        for listener in engine.listeners:
            listener(None)
    judge.equal([tuple(reading) for reading in seen.readings], wanted, case=f"tables after each step: {case}")
    return seen


def _beside_the_map(mine: ModuleType, judge: Judge, number: int, page_size: int) -> None:
    from pagedlab.engine.llm import LLM
    from pagedlab.learn.checks.c13_model import prompts, tiny
    from pagedlab.scheduling.sampling import SamplingParams
    from pagedlab.view.frames import count

    case = f"{number} prompts, pages of {page_size}"
    judge.trying(case)
    llm = LLM(tiny(), page_size=page_size, num_pages=800 // page_size)
    seen = mine.Watch(llm)
    wanted: list[tuple[int, int]] = []

    def read_map(plan: Any) -> None:
        counts = count(llm.trace.replay())
        wanted.append((counts.slots, counts.slots - counts.waste))

    llm.engine.listeners.append(read_map)
    params = SamplingParams(temperature=0, max_tokens=4, ignore_eos=True)
    llm.generate(prompts()[:number], params, progress=False)
    judge.equal([tuple(reading) for reading in seen.readings], wanted, case=case)


@exercise(
    "13.serve",
    "Your engine",
    difficulty=1,
    minutes=10,
    needs=("torch",),
    after=("03.pool", "07.scheduler", "08.prefix_cache", "13.attention", "13.film"),
    hints=(
        "Which of the five are classes that the engine makes, and which are objects that you make?",
        "pool, prefix_cache and attention are handed over ready: PagePool(num_pages), PrefixCache(page_size), attend.",
        "return LLM(model, page_size=page_size, num_pages=num_pages, pool=PagePool(num_pages), …, scheduler=Scheduler)",
    ),
)
def serve(mine: ModuleType, judge: Judge) -> None:
    from pagedlab.learn.checks.c13_model import ours, prompts, tiny
    from pagedlab.scheduling.sampling import SamplingParams

    with judge.rule("the five parts are yours"):
        case = "serve(tiny, num_pages=30, page_size=4)"
        judge.trying(case)
        llm = mine.serve(tiny(), num_pages=30, page_size=4)
        engine = llm.engine
        parts = {
            "pool": (engine.manager.pool, mine.PagePool),
            "prefix_cache": (engine.manager.prefix_cache, mine.PrefixCache),
            "manager": (engine.manager, mine.Manager),
            "scheduler": (engine.scheduler, mine.Scheduler),
        }
        for name, (part, kind) in parts.items():
            judge.equal(type(part).__name__, kind.__name__, case=f"{case}: {name}")
        judge.true(
            engine.runner.attention is mine.attend,
            actual=engine.runner.attention,
            expected="attend",
            case=f"{case}: attention",
        )
    with judge.rule("its memory is what was asked for"):
        for pages, size in ((30, 4), (9, 16)):
            case = f"serve(tiny, num_pages={pages}, page_size={size})"
            judge.trying(case)
            manager = mine.serve(tiny(), num_pages=pages, page_size=size).engine.manager
            found = [manager.pool.num_pages, manager.page_size, manager.prefix_cache.page_size]
            judge.equal(found, [pages, size, size], case=f"{case}: pages, page size, page size of the cache")
    with judge.rule("other knobs go to LLM"):
        case = "serve(tiny, max_sequences=3)"
        judge.trying(case)
        judge.equal(mine.serve(tiny(), max_sequences=3).engine.scheduler.limits.max_sequences, 3, case=case)
    with judge.rule("it serves the model: the engine's own tokens"):
        case = "serve(tiny, num_pages=24, page_size=4).generate(…)"
        judge.trying(case)
        llm = mine.serve(tiny(), num_pages=24, page_size=4, max_tokens_per_step=24)
        params = SamplingParams(temperature=0, max_tokens=10, ignore_eos=True)
        outputs = llm.generate(prompts(), params, progress=False)
        for number, (output, wanted) in enumerate(zip(outputs, ours(), strict=True)):
            judge.row(output.outputs[0].token_ids, wanted, f"{case}: the answer to prompt {number}", "tokens")
        llm.check()
