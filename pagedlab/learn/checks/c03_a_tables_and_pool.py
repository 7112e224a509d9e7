"""Chapter 03, first half: page tables, the free queue, reference counts.

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
        "A linked list can, if a table says where each page stands. Python has both in one: collections.OrderedDict.",
        "self._waiting = OrderedDict.fromkeys(range(num_pages))\nself._waiting.popitem(last=False)  # from the front\n"
        "del self._waiting[page]            # from anywhere",
    ),
)
def free_queue(mine: ModuleType, judge: Judge) -> None:
    from hypothesis import strategies as st

    with judge.rule("all pages wait at first, page 0 in front"):
        judge.trying("FreeQueue(4)")
        queue = mine.FreeQueue(4)
        judge.row(queue.pages(), [0, 1, 2, 3], "FreeQueue(4).pages()")
        judge.equal(len(queue), 4, case="len(FreeQueue(4))")
    with judge.rule("first in, first out"):
        case = "FreeQueue(3): take, take, give_back(1), give_back(0)"
        judge.trying(case)
        queue = mine.FreeQueue(3)
        judge.equal([queue.take(), queue.take()], [0, 1], case="FreeQueue(3): take, take")
        queue.give_back(1)
        queue.give_back(0)
        judge.row(queue.pages(), [2, 1, 0], case)
    with judge.rule("a page leaves from the middle, and the order of the others stays"):
        judge.trying("FreeQueue(4): remove(2)")
        queue = mine.FreeQueue(4)
        queue.remove(2)
        judge.row(queue.pages(), [0, 1, 3], "FreeQueue(4): remove(2)")
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
                judge.row(queue.pages(), wanted, ", ".join(done))
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
        "Only the last drop moves a page. share has two cases: a used page counts up; a cached one leaves its set too.",
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
        wanted_books, found_books = _books(own), _books(theirs)
        judge.equal(found_books, wanted_books, case=case, expected_rows=wanted_books, actual_rows=found_books)


def _books(pool: Any) -> dict[str, list[Any]]:
    """What each of the four pages of a pool is, how many hold it, and what is free and cached."""
    return {
        "state": [str(pool.state(page)) for page in range(4)],
        "references": [pool.refcount(page) for page in range(4)],
        "free queue": pool.free_pages(),
        "cached": sorted(pool.cached_pages()),
    }


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
