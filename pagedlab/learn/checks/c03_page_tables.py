"""Chapter 03: page tables, the free queue, reference counts, forks.

The oracles are the engine's own classes where it has them, and short definitions of the right answer elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

from pagedlab.errors import InvariantViolation, OutOfPages
from pagedlab.learn.exercise import exercise
from pagedlab.learn.judge import Judge
from pagedlab.memory import pool as ours
from pagedlab.memory.table import PageTable


@exercise(
    "03.sketch",
    "The sketch",
    difficulty=1,
    minutes=10,
    hints=(
        "The logical row only counts. All the information of the physical row is in the table: read it entry by entry.",
        "Begin with a physical row of dots, one a page. Then go over the table with enumerate: logical number, page.",
        'physical = ["·"] * num_pages\nfor number, page in enumerate(pages):\n    physical[page] = …',
    ),
)
def sketch(mine: ModuleType, judge: Judge) -> None:
    from hypothesis import strategies as st

    def drawn(pages: list[int], num_pages: int) -> None:
        case = f"sketch({pages}, {num_pages})"
        judge.trying(case)
        answer = mine.sketch(list(pages), num_pages)
        judge.true(isinstance(answer, tuple) and len(answer) == 2, actual=answer, expected="two rows", case=case)
        wanted = (
            [str(number) for number in range(len(pages))],
            [str(pages.index(page)) if page in pages else "·" for page in range(num_pages)],
        )
        rows = [{"logical": row[0], "physical": row[1]} for row in (wanted, answer)]
        judge.equal((list(answer[0]), list(answer[1])), wanted, case=case, expected_rows=rows[0], actual_rows=rows[1])

    with judge.rule("the chapter's own sketch: 0, 7, 2, 11 of 12 pages"):
        drawn([0, 7, 2, 11], 12)
    with judge.rule("any table, in a pool of any size"):
        pools = st.integers(1, 14).flatmap(
            lambda size: st.tuples(st.lists(st.integers(0, size - 1), unique=True), st.just(size))
        )
        judge.prove(lambda case: drawn(*case), pools)


@exercise(
    "03.locate",
    "Walk the page table",
    difficulty=1,
    minutes=10,
    hints=(
        "Which logical page is a position in, and how far into it? One division answers both.",
        "divmod(position, page_size) is (logical page, offset). The table sends the first to a physical page.",
        "logical, offset = divmod(position, page_size)\nreturn pages[logical], offset\n"
        "# and before that: is position one that the table holds? pages[-1] exists in Python!",
    ),
)
def locate(mine: ModuleType, judge: Judge) -> None:
    from hypothesis import strategies as st

    tables = st.tuples(st.lists(st.integers(0, 99), min_size=1, max_size=6, unique=True), st.integers(1, 9))

    with judge.rule("position 50 of the chapter's table lives in page 11, offset 2"):
        judge.trying("locate([0, 7, 2, 11], 16, 50)")
        judge.equal(mine.locate([0, 7, 2, 11], 16, 50), (11, 2), case="locate([0, 7, 2, 11], 16, 50)")
    with judge.rule("every position of any table"):

        def located(table: tuple[list[int], int]) -> None:
            pages, size = table
            for position in range(len(pages) * size):
                case = f"locate({pages}, {size}, {position})"
                judge.trying(case)
                wanted = PageTable(size, pages, len(pages) * size).locate(position)
                judge.equal(mine.locate(list(pages), size, position), wanted, case=case)

        judge.prove(located, tables)
    with judge.rule("a position that no page holds is an error, not a guess"):
        for position in (-1, 32, 100):
            judge.raises(
                IndexError,
                lambda position=position: mine.locate([4, 1], 16, position),  # type: ignore[misc]
                case=f"locate([4, 1], 16, {position})",
                why="a wrong position that is answered reads somebody else's keys",
            )
    with judge.rule("slots of a range, across page boundaries"):

        def slots(table: tuple[list[int], int], data: Any) -> None:
            pages, size = table
            start = data.draw(st.integers(0, len(pages) * size))
            stop = data.draw(st.integers(start, len(pages) * size))
            case = f"slots({pages}, {size}, {start}, {stop})"
            judge.trying(case)
            wanted = PageTable(size, pages, len(pages) * size).slots(start, stop)
            found = list(mine.slots(list(pages), size, start, stop))
            judge.equal(found, wanted, case=case, expected_rows={"slots": wanted}, actual_rows={"slots": found})

        judge.prove(slots, tables, st.data())


@exercise(
    "03.free_queue",
    "The free queue",
    difficulty=2,
    minutes=15,
    hints=(
        "First in, first out is easy for many containers. Which of them also forgets an entry in the middle quickly?",
        "A linked list can, if a table says where each page stands in it. Python has both in one: collections.OrderedDict.",
        "self._waiting = OrderedDict.fromkeys(range(num_pages))\nself._waiting.popitem(last=False)  # from the front\n"
        "del self._waiting[page]            # from anywhere",
    ),
)
def free_queue(mine: ModuleType, judge: Judge) -> None:
    from hypothesis import strategies as st

    with judge.rule("all pages wait at first, page 0 in front"):
        judge.trying("FreeQueue(4)")
        queue = mine.FreeQueue(4)
        _row(judge, queue.pages(), [0, 1, 2, 3], "FreeQueue(4).pages()")
        judge.equal(len(queue), 4, case="len(FreeQueue(4))")
    with judge.rule("first in, first out"):
        case = "FreeQueue(3): take, take, give_back(1), give_back(0)"
        judge.trying(case)
        queue = mine.FreeQueue(3)
        judge.equal([queue.take(), queue.take()], [0, 1], case="FreeQueue(3): take, take")
        queue.give_back(1)
        queue.give_back(0)
        _row(judge, queue.pages(), [2, 1, 0], case)
    with judge.rule("a page leaves from the middle, and the order of the others stays"):
        judge.trying("FreeQueue(4): remove(2)")
        queue = mine.FreeQueue(4)
        queue.remove(2)
        _row(judge, queue.pages(), [0, 1, 3], "FreeQueue(4): remove(2)")
    with judge.rule("mistakes are loud: an empty queue, a page twice, a page that does not wait"):
        queue = mine.FreeQueue(1)
        judge.raises(ValueError, lambda: queue.give_back(0), case="FreeQueue(1): give_back(0), which waits already")
        queue.take()
        judge.raises(IndexError, queue.take, case="FreeQueue(1): take, take")
        judge.raises(KeyError, lambda: queue.remove(0), case="FreeQueue(1): take, remove(0)")
    with judge.rule("any sequence of operations, beside a plain list"):
        operations = st.lists(
            st.tuples(st.sampled_from(["take", "give_back", "remove"]), st.integers(0, 5)), max_size=12
        )

        def beside_a_list(steps: list[tuple[str, int]]) -> None:
            queue, wanted, done = mine.FreeQueue(6), list(range(6)), ["FreeQueue(6)"]
            for step, page in steps:
                if step == "take" and wanted:
                    done.append("take()")
                    judge.trying(", ".join(done))
                    judge.equal(queue.take(), wanted.pop(0), case=", ".join(done))
                elif (step == "give_back" and page not in wanted) or (step == "remove" and page in wanted):
                    done.append(f"{step}({page})")
                    judge.trying(", ".join(done))
                    getattr(queue, step)(page)
                    wanted.append(page) if step == "give_back" else wanted.remove(page)
                _row(judge, queue.pages(), wanted, ", ".join(done))
                judge.equal(len(queue), len(wanted), case=", ".join(done))

        judge.prove(beside_a_list, operations)
    with judge.rule("no operation walks through the queue"):
        few, many = (_comparisons(mine, size) for size in (50, 800))
        judge.true(
            many <= 3 * few + 50,
            actual=f"{many} comparisons of pages with 800 waiting, {few} with 50",
            expected="as many with 800 pages waiting as with 50",
            case="remove and give_back of the page that stands last",
            why="an engine does this for every page of every request that ends",
        )


@exercise(
    "03.pool",
    "States and reference counts",
    difficulty=2,
    minutes=20,
    after=("03.free_queue",),
    hints=(
        "Write down for each arrow of the drawing what changes in the queue, in the counts and in the cached set.",
        "Only the last drop moves a page. share has two cases: a used page counts up; a cached one leaves the set first.",
        "def drop(self, page, *, keep):\n    if self._refcount[page] == 0: raise InvariantViolation(…)\n"
        "    self._refcount[page] -= 1\n    if self._refcount[page] == 0:\n        …  # cached or back to the queue\n"
        "    return self._refcount[page]",
    ),
)
def pool(mine: ModuleType, judge: Judge) -> None:
    from hypothesis import strategies as st

    with judge.rule("take: the next free page, one reference"):
        _beside_ours(mine, judge, [("take", 0, True), ("take", 0, True)])
    with judge.rule("share and drop: the page stays used until the last reference goes"):
        _beside_ours(mine, judge, [("take", 0, True), ("share", 0, True), ("drop", 0, False), ("drop", 0, False)])
    with judge.rule("the last drop keeps the content where it is wanted, and a hit brings the page back"):
        _beside_ours(mine, judge, [("take", 0, True), ("drop", 0, True), ("share", 0, True)])
    with judge.rule("blank: a cached page gives up its content and goes to the end of the queue"):
        _beside_ours(mine, judge, [("take", 0, True), ("drop", 0, True), ("blank", 0, True)])
    with judge.rule("what cannot be is refused: no page free, a drop too many, sharing what is free"):
        _beside_ours(mine, judge, [("take", 0, True)] * 5)
        _beside_ours(mine, judge, [("take", 0, True), ("drop", 0, True), ("drop", 0, True)])
        _beside_ours(mine, judge, [("share", 1, True)])
        _beside_ours(mine, judge, [("take", 0, True), ("blank", 0, True)])
    with judge.rule("any sequence of operations, beside the engine's own pool"):
        step = st.tuples(st.sampled_from(["take", "take", "share", "drop", "blank"]), st.integers(0, 3), st.booleans())
        judge.prove(lambda steps: _beside_ours(mine, judge, steps), st.lists(step, max_size=14))


def _beside_ours(mine: ModuleType, judge: Judge, steps: list[tuple[str, int, bool]]) -> None:
    """The same operations on both pools: the same answers, the same refusals, the same books."""
    theirs, own, done = mine.PagePool(4), ours.PagePool(4), ["PagePool(4)"]
    for name, page, keep in steps:
        arguments, named = ([], {}) if name == "take" else ([page], {"keep": keep} if name == "drop" else {})
        said = ", ".join([*map(str, arguments), *(f"{key}={value}" for key, value in named.items())])
        done.append(f"{name}({said})")
        case = ", ".join(done)
        judge.trying(case)
        wanted = _outcome(lambda: getattr(own, name)(*arguments, **named))  # noqa: B023
        found = _outcome(lambda: getattr(theirs, name)(*arguments, **named))  # noqa: B023
        if isinstance(wanted, type) or isinstance(found, type):
            judge.equal(_told(found), _told(wanted), case=case)
        elif name in ("take", "drop"):
            judge.equal(found, wanted, case=case)
        books = [
            {"state": [str(pool.state(page)) for page in range(4)], "references": [pool.refcount(p) for p in range(4)]}
            | {"free queue": pool.free_pages(), "cached": sorted(pool.cached_pages())}
            for pool in (own, theirs)
        ]
        judge.equal(books[1], books[0], case=case, expected_rows=books[0], actual_rows=books[1])


@exercise(
    "03.extend",
    "Grow, or change nothing",
    difficulty=2,
    minutes=20,
    after=("03.pool",),
    hints=(
        "How many pages does a sequence of n tokens need in all? How many of them does it have?",
        "Ask num_free before the first take. -(-n // size) rounds up. A sequence that is refused must not even be known.",
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
            _row(judge, mine.Tables(ours.PagePool(6), 4).extend(0, tokens), pages, case, "added")
    with judge.rule("the room left in the last page comes first"):
        case = "pages of 4: extend(0, 5), extend(0, 8), extend(0, 9)"
        judge.trying(case)
        tables = mine.Tables(ours.PagePool(6), 4)
        added = [list(tables.extend(0, tokens)) for tokens in (5, 8, 9)]
        judge.equal(added, [[0, 1], [], [2]], case=case)
        _row(judge, tables.pages[0], [0, 1, 2], case, "table")
    with judge.rule("all or nothing: a refusal changes neither pool nor tables"):
        case = "pool of 3 pages of 4: extend(0, 5), then extend(1, 8)"
        judge.trying(case)
        tables = mine.Tables(ours.PagePool(3), 4)
        tables.extend(0, 5)
        judge.raises(OutOfPages, lambda: tables.extend(1, 8), case=case)
        _row(judge, tables.pool.free_pages(), [2], case, "free queue")
        judge.equal(1 in tables.pages, False, case=f"{case}: is sequence 1 known?")
    with judge.rule("release: the last page first, and the sequence is forgotten"):
        case = "pool of 4 pages of 4: extend(0, 12), release(0)"
        judge.trying(case)
        tables = mine.Tables(ours.PagePool(4), 4)
        tables.extend(0, 12)
        tables.release(0)
        _row(judge, tables.pool.free_pages(), [3, 2, 1, 0], case, "free queue")
        judge.equal(0 in tables.pages or 0 in tables.num_tokens, False, case=f"{case}: is sequence 0 known?")
    with judge.rule("any sequence of operations: no slot is missing, less than a page is wasted, nothing leaks"):
        step = st.tuples(st.booleans(), st.integers(0, 2), st.integers(1, 14))

        def sound(steps: list[tuple[bool, int, int]]) -> None:
            tables, done = mine.Tables(ours.PagePool(5), 4), ["pool of 5 pages of 4"]
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
        "A fork shares: what must every page of the parent learn? A write needs a page of its own: how do you see that?",
        "divmod(tokens, page_size): offset 0 means a fresh page, nothing is shared there. Otherwise look at the count of "
        "the page that is written into.",
        "if self.pool.refcount(pages[logical]) > 1:\n    copy = self.pool.take()      # first make sure there is one\n"
        "    source, pages[logical] = pages[logical], copy\n    self.pool.drop(source, keep=False)",
    ),
)
def fork(mine: ModuleType, judge: Judge) -> None:
    from hypothesis import strategies as st

    def family(num_pages: int, tokens: int, children: int) -> Any:
        tables = mine.ForkingTables(ours.PagePool(num_pages), 4)
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
        _row(judge, tables.pages[1], [0, 1], case, "table of the fork")
        _row(judge, counts(tables), [2, 2, 0, 0, 0, 0], case, "references")
        judge.equal(tables.pages[0] is tables.pages[1], False, case=f"{case}: do both have the same list?")
    with judge.rule("whoever writes first into a shared page copies it; the other then writes in place"):
        case = "pages of 4: extend(0, 6), fork(0, 1), append(1), append(0)"
        judge.trying(case)
        tables = family(6, 6, 1)
        judge.equal([tables.append(1), tables.append(0)], [(1, 2), None], case=case)
        _row(judge, tables.pages[1], [0, 2], case, "table of the fork")
        _row(judge, counts(tables), [2, 1, 1, 0, 0, 0], case, "references")
    with judge.rule("after a full page comes a fresh one: nothing is copied"):
        case = "pages of 4: extend(0, 8), fork(0, 1), append(1)"
        judge.trying(case)
        tables = family(6, 8, 1)
        judge.equal(tables.append(1), None, case=case)
        _row(judge, tables.pages[1], [0, 1, 2], case, "table of the fork")
    with judge.rule("no page for the copy: refused, and nothing has changed"):
        case = "pool of 2 pages of 4: extend(0, 6), fork(0, 1), append(1)"
        judge.trying(case)
        tables = family(2, 6, 1)
        judge.raises(OutOfPages, lambda: tables.append(1), case=case)
        _row(judge, counts(tables), [2, 2], case, "references")
        judge.equal(tables.num_tokens[1], 6, case=f"{case}: num_tokens")
    with judge.rule("whatever is forked and written, everybody reads its own tokens"):
        step = st.tuples(st.sampled_from(["fork", "append", "append", "release"]), st.integers(0, 3))
        judge.prove(
            lambda first, steps: _memory(mine, judge, first, steps), st.integers(1, 9), st.lists(step, max_size=12)
        )


def _memory(mine: ModuleType, judge: Judge, first: int, steps: list[tuple[str, int]]) -> None:
    """A memory of letters beside the tables: each sequence must find what it wrote."""
    tables = mine.ForkingTables(ours.PagePool(24), 4)
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
        "names.count(page), free.count(page) and page in cached are all that you need; the order of the four answers is "
        "that of the list.",
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


def _row(judge: Judge, found: Any, wanted: list[int], case: str, label: str = "free queue") -> None:
    rows = list(found) if isinstance(found, (list, tuple)) else [found]
    judge.equal(found, wanted, case=case, expected_rows={label: wanted}, actual_rows={label: rows})


def _outcome(call: Callable[[], Any]) -> Any:
    """What ``call`` returns, or the kind of refusal that it raises."""
    try:
        return call()
    except (OutOfPages, InvariantViolation) as error:
        return type(error)


def _told(outcome: Any) -> str:
    return f"{outcome.__name__} is raised" if isinstance(outcome, type) else "it is accepted"


class _Page(int):
    """A page number that counts how often it is compared."""

    compared = 0

    def __eq__(self, other: object) -> bool:
        _Page.compared += 1
        return int(self) == other

    __hash__ = int.__hash__


def _comparisons(mine: ModuleType, size: int) -> int:
    """How often pages are compared while the last one leaves a queue of ``size`` and comes back, ten times."""
    queue = mine.FreeQueue(size)
    _Page.compared = 0
    for _ in range(10):
        queue.remove(_Page(size - 1))
        queue.give_back(_Page(size - 1))
    return _Page.compared
