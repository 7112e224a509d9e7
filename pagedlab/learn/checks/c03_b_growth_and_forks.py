"""Chapter 03, second half: growing, forking, and the audit of the books."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from pagedlab.errors import OutOfPages
from pagedlab.learn.exercise import exercise
from pagedlab.learn.judge import Judge
from pagedlab.memory.pool import PagePool


@exercise(
    "03.extend",
    "Grow, or change nothing",
    difficulty=2,
    minutes=20,
    after=("03.pool",),
    hints=(
        "How many pages does a sequence of n tokens need in all? How many of them does it have?",
        "Ask num_free before the first take. -(-n // size) rounds up. A refused sequence must not even be known.",
        "needed = max(0, -(-num_tokens // self.page_size) - len(held))\nif needed > self.pool.num_free:\n"
        "    raise OutOfPages(needed, self.pool.num_free, self.pool.num_cached)\nadded = [self.pool.take() for …]",
    ),
)
def extend(mine: ModuleType, judge: Judge) -> None:
    from hypothesis import strategies as st

    with judge.rule("whole pages: 1 token takes one, 4 take one, 5 take two"):
        for tokens, pages in ((1, [0]), (4, [0]), (5, [0, 1]), (9, [0, 1, 2])):
            case = f"pages of 4: extend(0, {tokens})"
            judge.trying(case)
            judge.row(mine.Tables(PagePool(6), 4).extend(0, tokens), pages, case, "added")
    with judge.rule("the room left in the last page comes first"):
        case = "pages of 4: extend(0, 5), extend(0, 8), extend(0, 9)"
        judge.trying(case)
        tables = mine.Tables(PagePool(6), 4)
        added = [list(tables.extend(0, tokens)) for tokens in (5, 8, 9)]
        judge.equal(added, [[0, 1], [], [2]], case=case)
        judge.row(tables.pages[0], [0, 1, 2], case, "table")
    with judge.rule("all or nothing: a refusal changes neither pool nor tables"):
        case = "pool of 3 pages of 4: extend(0, 5), then extend(1, 8)"
        judge.trying(case)
        tables = mine.Tables(PagePool(3), 4)
        tables.extend(0, 5)
        judge.raises(OutOfPages, lambda: tables.extend(1, 8), case=case)
        judge.row(tables.pool.free_pages(), [2], case, "free queue")
        judge.equal(1 in tables.pages, False, case=f"{case}: is sequence 1 known?")
    with judge.rule("release: the last page first, and the sequence is forgotten"):
        case = "pool of 4 pages of 4: extend(0, 12), release(0)"
        judge.trying(case)
        tables = mine.Tables(PagePool(4), 4)
        tables.extend(0, 12)
        tables.release(0)
        judge.row(tables.pool.free_pages(), [3, 2, 1, 0], case, "free queue")
        judge.equal(0 in tables.pages or 0 in tables.num_tokens, False, case=f"{case}: is sequence 0 known?")
    with judge.rule("any sequence of operations: no slot is missing, less than a page is wasted, nothing leaks"):
        step = st.tuples(st.booleans(), st.integers(0, 2), st.integers(1, 14))

        def sound(steps: list[tuple[bool, int, int]]) -> None:
            tables, done = mine.Tables(PagePool(5), 4), ["pool of 5 pages of 4"]
            for grow, sequence, tokens in steps:
                if grow:
                    wanted = max(tokens, tables.num_tokens.get(sequence, 0))
                    held = len(tables.pages.get(sequence, []))
                    fits = max(0, -(-wanted // 4) - held) <= tables.pool.num_free
                    done.append(f"extend({sequence}, {tokens})")
                    judge.trying(", ".join(done))
                    if not fits:
                        judge.raises(OutOfPages, lambda: tables.extend(sequence, tokens), case=", ".join(done))  # noqa: B023
                        continue
                    tables.extend(sequence, tokens)
                    judge.equal(len(tables.pages[sequence]), -(-wanted // 4), case=f"{', '.join(done)}: pages held")
                    judge.equal(tables.num_tokens[sequence], wanted, case=f"{', '.join(done)}: num_tokens")
                elif sequence in tables.pages:
                    done.append(f"release({sequence})")
                    judge.trying(", ".join(done))
                    tables.release(sequence)
                held = sum(map(len, tables.pages.values()))
                judge.equal(tables.pool.num_used, held, case=f"{', '.join(done)}: pages used and pages in tables")

        judge.prove(sound, st.lists(step, max_size=10))


@exercise(
    "03.fork",
    "Fork, and copy before you write",
    difficulty=3,
    minutes=30,
    after=("03.extend", "03.pool"),
    hints=(
        "A fork shares: what must every page of the parent learn? When does a write need a page of its own?",
        "divmod(tokens, page_size): offset 0 means a fresh page, nothing is shared there. Otherwise look at the count "
        "of the page that is written into.",
        "if self.pool.refcount(pages[logical]) > 1:\n    copy = self.pool.take()      # first make sure there is one\n"
        "    source, pages[logical] = pages[logical], copy\n    self.pool.drop(source, keep=False)",
    ),
)
def fork(mine: ModuleType, judge: Judge) -> None:
    from hypothesis import strategies as st

    def family(num_pages: int, tokens: int, children: int) -> Any:
        tables = mine.ForkingTables(PagePool(num_pages), 4)
        tables.extend(0, tokens)
        for child in range(1, children + 1):
            tables.fork(0, child)
        return tables

    def counts(tables: Any) -> list[int]:
        return [tables.pool.refcount(page) for page in range(tables.pool.num_pages)]

    with judge.rule("a fork names its parent's pages and copies none"):
        case = "pages of 4: extend(0, 6), fork(0, 1)"
        judge.trying(case)
        tables = family(6, 6, 1)
        judge.row(tables.pages[1], [0, 1], case, "table of the fork")
        judge.row(counts(tables), [2, 2, 0, 0, 0, 0], case, "references")
        judge.equal(tables.pages[0] is tables.pages[1], False, case=f"{case}: do both have the same list?")
    with judge.rule("whoever writes first into a shared page copies it; the other then writes in place"):
        case = "pages of 4: extend(0, 6), fork(0, 1), append(1), append(0)"
        judge.trying(case)
        tables = family(6, 6, 1)
        judge.equal([tables.append(1), tables.append(0)], [(1, 2), None], case=case)
        judge.row(tables.pages[1], [0, 2], case, "table of the fork")
        judge.row(counts(tables), [2, 1, 1, 0, 0, 0], case, "references")
    with judge.rule("after a full page comes a fresh one: nothing is copied"):
        case = "pages of 4: extend(0, 8), fork(0, 1), append(1)"
        judge.trying(case)
        tables = family(6, 8, 1)
        judge.equal(tables.append(1), None, case=case)
        judge.row(tables.pages[1], [0, 1, 2], case, "table of the fork")
    with judge.rule("no page for the copy: refused, and nothing has changed"):
        case = "pool of 2 pages of 4: extend(0, 6), fork(0, 1), append(1)"
        judge.trying(case)
        tables = family(2, 6, 1)
        judge.raises(OutOfPages, lambda: tables.append(1), case=case)
        judge.row(counts(tables), [2, 2], case, "references")
        judge.equal(tables.num_tokens[1], 6, case=f"{case}: num_tokens")
    with judge.rule("whatever is forked and written, everybody reads its own tokens"):
        step = st.tuples(st.sampled_from(["fork", "append", "append", "release"]), st.integers(0, 3))
        judge.prove(
            lambda first, steps: _memory(mine, judge, first, steps), st.integers(1, 9), st.lists(step, max_size=12)
        )


def _memory(mine: ModuleType, judge: Judge, first: int, steps: list[tuple[str, int]]) -> None:
    """A memory of letters beside the tables: each sequence must find what it wrote."""
    tables = mine.ForkingTables(PagePool(24), 4)
    memory: dict[tuple[int, int], str] = {}
    texts = {0: ""}
    done = [f"pages of 4: extend(0, {first})"]
    tables.extend(0, first)
    for position in range(first):
        texts[0] += chr(97 + position)
        memory[tables.pages[0][position // 4], position % 4] = texts[0][-1]
    for number, (step, sequence) in enumerate(steps):
        if sequence not in texts or (step == "release" and len(texts) == 1):
            continue
        child = number + 10
        done.append({"fork": f"fork({sequence}, {child})"}.get(step, f"{step}({sequence})"))
        judge.trying(", ".join(done))
        if step == "fork":
            tables.fork(sequence, child)
            texts[child] = texts[sequence]
        elif step == "append":
            copied = tables.append(sequence)
            if copied is not None:
                for offset in range(4):
                    memory[copied[1], offset] = memory.get((copied[0], offset), "?")
            position = len(texts[sequence])
            texts[sequence] += chr(65 + number)
            memory[tables.pages[sequence][position // 4], position % 4] = texts[sequence][-1]
        else:
            tables.release(sequence)
            del texts[sequence]
        for name, text in texts.items():
            found = "".join(memory.get((tables.pages[name][i // 4], i % 4), "?") for i in range(len(text)))
            rows = [{f"tokens of {name}": list(row)} for row in (text, found)]
            judge.equal(found, text, case=", ".join(done), expected_rows=rows[0], actual_rows=rows[1])
        names = [page for pages in tables.pages.values() for page in pages]
        wanted = [names.count(page) for page in range(24)]
        judge.equal([tables.pool.refcount(p) for p in range(24)], wanted, case=f"{', '.join(done)}: reference counts")


@exercise(
    "03.audit",
    "Audit the books",
    difficulty=2,
    minutes=15,
    hints=(
        "For each page, ask both witnesses: its count, and how often the tables name it. Then ask where a page with "
        "count 0 lives.",
        "names.count(page), free.count(page) and page in cached are all that you need. The four answers come in the "
        "order of the list.",
        "named = sum(pages.count(page) for pages in tables.values())\nhomes = free.count(page) + (page in cached)\n"
        "if count > named: …\nelif count < named: …\nelif count == 0 and homes == 0: …\nelif …",
    ),
)
def audit(mine: ModuleType, judge: Judge) -> None:
    cases: list[tuple[str, tuple[Any, ...], dict[int, str]]] = [
        ("books that balance", ({0: [1, 0], 1: [1]}, [1, 2, 0, 0], [3], {2}), {}),
        ("a forgotten drop", ({0: [0]}, [1, 1, 0], [2], set()), {1: "leaked"}),
        ("a forgotten share", ({0: [0], 1: [0]}, [1, 0], [1], set()), {0: "at risk"}),
        ("a page that vanished", ({0: [0]}, [1, 0, 0], [2], set()), {1: "lost"}),
        ("freed twice", ({}, [0, 0], [0, 1, 0], set()), {0: "twice"}),
        ("free and cached", ({}, [0, 0], [0, 1], {1}), {1: "twice"}),
        ("given away while it is read", ({0: [1]}, [0, 1], [0, 1], set()), {1: "twice"}),
        ("cached while it is read", ({0: [0]}, [1], [], {0}), {0: "twice"}),
        ("freed while a table names it", ({0: [0]}, [0], [0], set()), {0: "at risk"}),
        ("several at once", ({0: [3, 4], 1: [3]}, [1, 0, 0, 1, 1], [1], set()), {0: "leaked", 2: "lost", 3: "at risk"}),
        ("named twice by one table", ({0: [2, 2]}, [0, 0, 1], [0, 1], set()), {2: "at risk"}),
    ]
    for name, (tables, refcounts, free, cached), wanted in cases:
        with judge.rule(name):
            case = f"audit({tables}, {refcounts}, {free}, {cached})"
            judge.trying(case)
            judge.equal(mine.audit(tables, refcounts, free, cached), wanted, case=case)
