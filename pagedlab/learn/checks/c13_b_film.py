"""Chapter 13: the learner's manager as the page map sees it."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from pagedlab.errors import OutOfPages
from pagedlab.learn.exercise import exercise
from pagedlab.learn.judge import Judge

SIZE = 4


@exercise(
    "13.film",
    "On the page map",
    difficulty=2,
    minutes=30,
    needs=("torch",),
    after=("13.manager",),
    hints=(
        "Each method is the same three lines: remember how things were, call super(), say what is different now.",
        "extend: walk over the table with enumerate and compare with a *copy* of the table as it was. publish: what "
        "was added to self.fresh is what is new.",
        "before = list(self.tables.pages[sequence])\nsuper().extend(sequence, num_tokens)\n"
        "for logical, page in enumerate(self.tables.pages[sequence]):\n    if logical >= len(before): …ALLOCATE\n"
        "    elif page != before[logical]: …ALLOCATE, COPY, RELEASE",
    ),
)
def film(mine: ModuleType, judge: Judge) -> None:
    from hypothesis import strategies as st

    with judge.rule("a prompt that hits nothing: its pages are allocated, published and given back, tail first"):
        events = ["ALLOCATE 0 of 0: 0", "ALLOCATE 1 of 0: 1", "ADMIT of 0: 0", "PUBLISH 0 of 0: 0"]
        _expect(mine, judge, 4, [("admit", 0, "abcdef", 9)], events)
        events += ["RELEASE 1 of 0: 1", "RELEASE 0 of 0: 0"]
        _expect(mine, judge, 4, [("admit", 0, "abcdef", 9), ("release", 0, "", 0)], events)
    with judge.rule("a hit is a share"):
        steps = [("admit", 0, "abcdef", 9), ("release", 0, "", 0), ("admit", 1, "abcdxy", 9)]
        _expect(mine, judge, 4, steps, ["ALLOCATE 2 of 1: 1", "SHARE 0 of 1: 0", "ADMIT of 1: 4"], last=3)
    with judge.rule("a fork shares; a copy is allocated, copied into, and its source released"):
        steps = [("admit", 0, "abcdef", 9), ("fork", 0, "", 0)]
        _expect(mine, judge, 4, steps, ["FORK of 10: 0", "SHARE 0 of 10: 0", "SHARE 1 of 10: 1"], last=3)
        steps.append(("extend", 0, "gh", 1))
        _expect(mine, judge, 4, steps, ["ALLOCATE 2 of 0: 1", "COPY 2 of 0: 1", "RELEASE 1 of 0: 1"], last=3)
    with judge.rule("an eviction comes before the page is allocated anew"):
        steps = [("admit", 0, "abcd", 9), ("release", 0, "", 0), ("admit", 1, "efgh", 9)]
        events = ["EVICT 0", "ALLOCATE 0 of 1: 0", "ADMIT of 1: 0", "PUBLISH 0 of 1: 0"]
        _expect(mine, judge, 1, steps, events, last=4)
    with judge.rule("what fails says nothing"):
        _expect(mine, judge, 1, [("admit", 0, "abcdef", 9)], [])
    with judge.rule("after any operations, the page map shows what is there"):
        kind = st.sampled_from(["admit", "admit", "extend", "extend", "fork", "release"])
        step = st.tuples(kind, st.integers(0, 3), st.text("ab", min_size=1, max_size=14), st.integers(1, 9))
        judge.prove(lambda steps: _shown(mine, judge, steps), st.lists(step, max_size=14))


Step = tuple[str, int, str, int]


def _expect(
    mine: ModuleType, judge: Judge, num_pages: int, steps: list[Step], wanted: list[str], last: int | None = None
) -> None:
    """The events of all steps, or the last so many of them."""
    manager, case = _played(mine, judge, num_pages, steps)
    events = [_said(event) for event in manager.trace]
    judge.row(events if last is None else events[-last:], wanted, case, "events")


def _shown(mine: ModuleType, judge: Judge, steps: list[Step]) -> None:
    manager, case = _played(mine, judge, 5, steps)
    page_map = manager.trace.replay()
    wanted = {
        "state": [str(manager.pool.state(page)) for page in range(5)],
        "named by": [manager.pool.refcount(page) for page in range(5)],
    } | {f"pages of {sequence}": list(pages) for sequence, pages in manager.tables.pages.items()}
    found = {
        "state": [str(page_map.state(page)) for page in range(5)],
        "named by": list(page_map.refcount),
    } | {
        f"pages of {one}": list(page_map.sequences[one].pages)
        for one in manager.tables.pages
        if one in page_map.sequences
    }
    judge.equal(found, wanted, case=f"{case}: replayed", expected_rows=wanted, actual_rows=found)


def _played(mine: ModuleType, judge: Judge, num_pages: int, steps: list[Step]) -> tuple[Any, str]:
    """A manager to which all of this was done, and how one would say it."""
    from pagedlab.memory.events import Trace
    from pagedlab.memory.prefix_hash import HashPrefixCache

    manager = mine.FilmedManager(num_pages, SIZE, prefix_cache=HashPrefixCache(SIZE), trace=Trace(num_pages, SIZE))
    texts: dict[int, list[int]] = {}
    case = f"pool of {num_pages} pages of {SIZE}"
    for name, sequence, letters, budget in steps:
        if (name == "admit") == (sequence in texts) or (name == "fork" and sequence + 10 in texts):
            continue
        case += f", {name}({sequence}{f', {letters!r}, {budget}' if name in ('admit', 'extend') else ''})"
        judge.trying(case)
        text = texts.get(sequence, []) + list(map(ord, letters))
        try:
            if name == "release":
                manager.release(sequence)
                del texts[sequence]
            elif name == "fork":
                manager.fork(sequence, sequence + 10)
                texts[sequence + 10] = list(texts[sequence])
            else:
                if name == "admit":
                    stop = manager.admit(sequence, text, budget)[1]
                else:
                    stop = min(len(text), manager.tables.num_tokens[sequence] + budget)
                    manager.extend(sequence, stop)
                texts[sequence] = text
                manager.publish(sequence, text, stop)
        except OutOfPages:
            continue
    return manager, case


def _said(event: Any) -> str:
    page = f" {event.page}" if event.page >= 0 else ""
    sequence = f" of {event.sequence}: {event.value}" if event.sequence >= 0 else ""
    return f"{event.kind.name}{page}{sequence}"
