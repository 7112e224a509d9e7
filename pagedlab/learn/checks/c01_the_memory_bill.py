"""Chapter 01: bytes, pages and users."""

from __future__ import annotations

from types import ModuleType

from pagedlab import arithmetic
from pagedlab.learn.exercise import exercise
from pagedlab.learn.judge import Judge

GIB = 2**30


@exercise(
    "01.token_bytes",
    "What a token leaves behind",
    difficulty=1,
    minutes=10,
    hints=(
        "What does each layer keep of a token? Of which heads?",
        "layers × 2 (key and value) × KV heads × numbers of a head, then from bits to bytes.",
        "return num_layers * 2 * num_kv_heads * head_dim * bits // 8",
    ),
)
def token_bytes(mine: ModuleType, judge: Judge) -> None:
    from hypothesis import strategies as st

    def counted(layers: int, heads: int, dim: int, bits: int) -> None:
        case = f"token_bytes({layers}, {heads}, {dim}, {bits})"
        judge.trying(case)
        wanted = arithmetic.kv_bytes_per_token(layers, heads, dim, bits)
        judge.equal(mine.token_bytes(layers, heads, dim, bits), wanted, case=case)

    with judge.rule("one layer, one head, one number: a key and a value"):
        counted(1, 1, 1, 8)
        counted(1, 1, 4, 16)
    with judge.rule("Llama-3-8B: 128 KiB at 16 bits"):
        judge.trying("token_bytes(32, 8, 128)")
        judge.equal(mine.token_bytes(32, 8, 128), 128 * 1024, case="token_bytes(32, 8, 128)")
    with judge.rule("4 bits: two numbers share a byte"):
        counted(30, 3, 64, 4)
    with judge.rule("any model"):
        even = st.integers(1, 64).map(lambda number: 2 * number)
        judge.prove(counted, st.integers(1, 90), st.integers(1, 64), even, st.sampled_from([4, 8, 16, 32]))
    with judge.rule("grouped queries divide the bill"):
        for query, key, wanted in ((32, 8, 4), (9, 3, 3), (32, 32, 1), (71, 1, 71)):
            judge.trying(f"shrinks_by({query}, {key})")
            judge.equal(mine.shrinks_by(query, key), wanted, case=f"shrinks_by({query}, {key})")


@exercise(
    "01.pool_pages",
    "Cut what is left into pages",
    difficulty=1,
    minutes=10,
    hints=(
        "Who takes memory before the pool does?",
        "Only a share of the memory is to be used: apply it first, then take off weights and step, then divide.",
        "pages = (int(memory_bytes * utilisation) - weight_bytes - step_bytes) // page_bytes",
    ),
)
def pool_pages(mine: ModuleType, judge: Judge) -> None:
    from hypothesis import strategies as st

    def cut(memory: int, weights: int, step: int, page: int, *share: float) -> None:
        said = (memory, weights, step, page, *share)
        judge.trying(f"pool_pages{said}")
        wanted = (int(memory * (*share, 1.0)[0]) - weights - step) // page
        if wanted < 1:
            judge.raises(ValueError, lambda: mine.pool_pages(*said), case=f"pool_pages{said}")
        else:
            judge.equal(mine.pool_pages(*said), wanted, case=f"pool_pages{said}")

    with judge.rule("what is left beside weights and step, in whole pages"):
        cut(100, 40, 10, 10)
        cut(100, 40, 10, 20)
        cut(100, 41, 10, 7)
    with judge.rule("the example: 24 GiB, 0.9 of it, 16 GiB of weights"):
        cut(24 * GIB, 16 * GIB, GIB, 2 * 2**20, 0.9)
    with judge.rule("no room for a page is an error, not zero"):
        cut(100, 95, 0, 10)
        cut(100, 90, 5, 10)
        cut(100, 120, 0, 10)
    with judge.rule("any machine"):
        number = st.integers(0, 60)
        judge.prove(
            lambda memory, weights, step, page, share: cut(memory, weights, step, page, share),
            *(st.integers(1, 200), number, number, st.integers(1, 20), st.sampled_from([1.0, 0.5, 0.9])),
        )


@exercise(
    "01.concurrency",
    "How many at once",
    difficulty=1,
    minutes=15,
    hints=(
        "How many pages does one request need? Round before you divide.",
        "-(-tokens // page_size) rounds up. The pool holds num_pages divided by that, rounded down.",
        "return num_pages // -(-tokens_each // page_size)",
    ),
)
def concurrency(mine: ModuleType, judge: Judge) -> None:
    from hypothesis import strategies as st

    def fit(pages: int, size: int, tokens: int) -> None:
        case = f"at_once({pages}, {size}, {tokens})"
        judge.trying(case)
        judge.equal(mine.at_once(pages, size, tokens), arithmetic.paged_concurrency(pages, size, tokens), case=case)

    with judge.rule("whole pages for each: 10 pages of 4 hold 3 requests of 9 tokens"):
        fit(10, 4, 9)
        fit(10, 4, 8)
        fit(10, 4, 1)
    with judge.rule("one that is too long does not fit at all"):
        fit(2, 4, 9)
    with judge.rule("any pool"):
        judge.prove(fit, st.integers(1, 60), st.integers(1, 20), st.integers(1, 100))
    with judge.rule("2.5 GiB for one is 40 GiB for sixteen"):
        for users, wanted in ((1, 2.5), (16, 40.0)):
            case = f"gib_needed({users}, 20480, 131072, 16)"
            judge.trying(case)
            judge.close(mine.gib_needed(users, 20_480, 131_072, 16), wanted, case=case)
        judge.trying("gib_needed(2, 9, 2**30, 4)")
        judge.close(mine.gib_needed(2, 9, GIB, 4), 24.0, case="gib_needed(2, 9, 2**30, 4)", why="whole pages")
    with judge.rule("what pages gain over reservations in the same memory"):
        for arguments, wanted in (((10, 4, 9, 16), 1.5), ((64, 16, 100, 512), 4.5), ((4, 4, 16, 16), 1.0)):
            judge.trying(f"gained{arguments}")
            judge.close(mine.gained(*arguments), wanted, case=f"gained{arguments}")
        judge.raises(ValueError, lambda: mine.gained(2, 4, 3, 16), case="gained(2, 4, 3, 16)")


@exercise(
    "01.planner",
    "A capacity planner",
    difficulty=2,
    minutes=20,
    hints=(
        "All three questions begin with the same number: pages beside the weights.",
        "Each user gets the same number of whole pages: num_pages // users. The longest context fills them.",
        "return self.num_pages // users * self.page_size",
    ),
)
def planner(mine: ModuleType, judge: Judge) -> None:
    from hypothesis import strategies as st

    def planned(memory: int, weights: int, token: int, size: int, users: int, context: int) -> None:
        plan = f"Plan({memory}, {weights}, {token}, {size})"
        judge.trying(plan)
        mine_plan = mine.Plan(memory, weights, token, size)
        pages = max(0, memory - weights) // (token * size)
        each = arithmetic.pages_needed(context, size)
        judge.equal(mine_plan.num_pages, pages, case=f"{plan}.num_pages")
        judge.equal(mine_plan.users(context), pages // each, case=f"{plan}.users({context})")
        judge.equal(mine_plan.longest_context(users), pages // users * size, case=f"{plan}.longest_context({users})")
        bill = "weights" if weights >= users * each * size * token else "cache"
        judge.equal(mine_plan.bottleneck(users, context), bill, case=f"{plan}.bottleneck({users}, {context})")

    with judge.rule("by hand: 8 slots in pages of 2"):
        planned(8, 0, 1, 2, 2, 4)
        planned(8, 0, 1, 2, 3, 3)
    with judge.rule("weights come first; where they take everything, nobody is served"):
        planned(100, 60, 2, 4, 2, 5)
        planned(100, 120, 2, 4, 2, 5)
    with judge.rule("Llama-3-8B on 80 GiB: 16 users of 20,480 tokens"):
        planned(80 * GIB, 16 * GIB, 131_072, 16, 16, 20_480)
    with judge.rule("the longest context for the users that fit is at least what they asked for"):
        case = "Plan(1000, 100, 3, 5): users(17), and longest_context of so many"
        judge.trying(case)
        plan = mine.Plan(1000, 100, 3, 5)
        longest = plan.longest_context(plan.users(17))
        judge.true(longest >= 17, actual=longest, expected="at least 17", case=case)
    with judge.rule("any plan"):
        number = st.integers(1, 9)
        judge.prove(planned, st.integers(0, 500), st.integers(0, 500), number, number, number, st.integers(1, 50))
