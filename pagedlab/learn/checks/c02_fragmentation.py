"""Chapter 02: waste within and between."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from pagedlab import arithmetic
from pagedlab.learn.exercise import exercise
from pagedlab.learn.judge import Judge

FOUR = [600, 900, 1300, 1700]


@exercise(
    "02.waste",
    "The four requests",
    difficulty=1,
    minutes=15,
    hints=(
        "How many pages hold 600 tokens, if a page holds 256?",
        "Round up: -(-tokens // page_size). What is held, less what is used, is waste.",
        "return [-(-tokens // page_size) for tokens in used]",
    ),
)
def waste(mine: ModuleType, judge: Judge) -> None:
    from hypothesis import strategies as st

    with judge.rule("four reservations of 2,048: 3,692 slots wasted"):
        judge.trying(f"reserved_waste({FOUR}, 2048)")
        judge.equal(mine.reserved_waste(list(FOUR), 2048), 3692, case=f"reserved_waste({FOUR}, 2048)")
        judge.raises(ValueError, lambda: mine.reserved_waste([5, 9], 8), case="reserved_waste([5, 9], 8)")
        judge.equal(mine.reserved_waste([5, 8], 8), 3, case="reserved_waste([5, 8], 8)")
    with judge.rule("the same four in pages of 256"):
        judge.trying(f"pages_held({FOUR}, 256)")
        judge.row(mine.pages_held(list(FOUR), 256), [3, 4, 6, 7], f"pages_held({FOUR}, 256)", "pages")
        judge.row(mine.page_waste(list(FOUR), 256), [168, 124, 236, 92], f"page_waste({FOUR}, 256)", "wasted")
    with judge.rule("a length that ends with its page wastes nothing; no tokens hold no page"):
        judge.trying("page_waste([256, 257, 0, 1], 256)")
        judge.row(mine.pages_held([256, 257, 0, 1], 256), [1, 2, 0, 1], "pages_held([256, 257, 0, 1], 256)", "pages")
        judge.row(
            mine.page_waste([256, 257, 0, 1], 256), [0, 255, 0, 255], "page_waste([256, 257, 0, 1], 256)", "wasted"
        )

    def bounded(lengths: list[int], size: int) -> None:
        judge.trying(f"page_waste({lengths}, {size})")
        wanted = [arithmetic.paged_waste([tokens], size) for tokens in lengths]
        judge.row(mine.page_waste(list(lengths), size), wanted, f"page_waste({lengths}, {size})", "wasted")
        judge.equal(
            mine.reserved_waste(list(lengths), 50),
            arithmetic.contiguous_waste(lengths, 50),
            case=f"reserved_waste({lengths}, 50)",
        )

    with judge.rule("any lengths"):
        judge.prove(bounded, st.lists(st.integers(0, 50), max_size=6), st.integers(1, 20))
    with judge.rule("the bound is what the worst lengths reach, and no more"):
        for number, size in ((3, 256), (1, 1), (0, 16), (7, 16)):
            judge.trying(f"most_waste({number}, {size})")
            judge.equal(mine.most_waste(number, size), number * (size - 1), case=f"most_waste({number}, {size})")


@exercise(
    "02.page_size",
    "The best page size",
    difficulty=2,
    minutes=15,
    hints=(
        "Two costs: empty slots, in bytes, and entries of the tables, in bytes.",
        "Both follow from the number of pages. For the choice: min with a key that is a pair.",
        "return min(candidates, key=lambda size: (overhead(lengths, size, token_bytes), -size))",
    ),
)
def page_size(mine: ModuleType, judge: Judge) -> None:
    from hypothesis import strategies as st

    def cost(lengths: list[int], size: int, token: int) -> int:
        return arithmetic.paged_waste(lengths, size) * token + arithmetic.page_table_bytes(lengths, size)

    def counted(lengths: list[int], size: int, token: int) -> None:
        case = f"overhead({lengths}, {size}, {token})"
        judge.trying(case)
        judge.equal(mine.overhead(list(lengths), size, token), cost(lengths, size, token), case=case)

    def chosen(lengths: list[int], token: int, candidates: list[int]) -> None:
        case = f"best_page_size({lengths}, {token}, {candidates})"
        judge.trying(case)
        wanted = min(candidates, key=lambda size: (cost(lengths, size, token), -size))
        judge.equal(mine.best_page_size(list(lengths), token, list(candidates)), wanted, case=case)

    with judge.rule("by hand: 10 tokens of 8 bytes in pages of 1, 4 and 16"):
        for size in (1, 4, 16):
            counted([10], size, 8)
    with judge.rule("several requests, each with a table of its own"):
        counted([10, 3, 16], 4, 8)
        counted([], 4, 8)
    with judge.rule("the least overhead wins"):
        chosen([10], 8, [1, 4, 16])
        chosen([10, 100, 1000], 1, [1, 2, 4, 8, 16, 32])
        chosen([700], 1000, [1, 16, 256])
    with judge.rule("of equals, the largest, wherever it stands in the list"):
        chosen([8], 1, [8, 16, 4, 12])
        chosen([4], 4, [5, 1, 2, 4])
        chosen([], 4, [2, 8, 4])
    with judge.rule("any lengths"):
        lengths = st.lists(st.integers(0, 60), max_size=5)
        judge.prove(counted, lengths, st.integers(1, 20), st.integers(1, 9))
        sizes = st.lists(st.integers(1, 20), min_size=1, max_size=5, unique=True)
        judge.prove(chosen, lengths, st.integers(1, 9), sizes)


@exercise(
    "02.first_fit",
    "First fit",
    difficulty=2,
    minutes=25,
    hints=(
        "Sort the runs by where they begin. What lies between the end of one and the beginning of the next?",
        "Walk over the sorted runs with `at`, the end of what came before; add a run of length 0 at the very end, so "
        "that the last gap is found as well.",
        "for start, length in [*sorted(self.runs.values()), (self.num_slots, 0)]:\n    if start > at: a gap\n"
        "    at = start + length",
    ),
)
def first_fit(mine: ModuleType, judge: Judge) -> None:
    from hypothesis import strategies as st

    def line(allocator: Any) -> list[str]:
        cells = ["·"] * allocator.num_slots
        for request, (start, length) in allocator.runs.items():
            for slot in range(start, min(start + length, len(cells))):
                cells[slot] = chr(97 + request) if cells[slot] == "·" else "!"
        return cells

    def played(num_slots: int, steps: list[tuple[int, int]]) -> Any:
        """Requests with a number of slots are allocated, those with 0 are released."""
        allocator, case = mine.FirstFit(num_slots), f"{num_slots} slots"
        wanted = ["·"] * num_slots
        for request, slots in steps:
            letter = chr(97 + request)
            if (slots == 0) != (letter in wanted):
                continue
            case += f", release({request})" if slots == 0 else f", allocate({request}, {slots})"
            judge.trying(case)
            if slots == 0:
                allocator.release(request)
                wanted = ["·" if cell == letter else cell for cell in wanted]
            else:
                at = "".join(wanted).find("·" * slots)
                judge.equal(allocator.allocate(request, slots), at >= 0, case=case)
                if at >= 0:
                    wanted[at : at + slots] = [letter] * slots
            judge.row(line(allocator), wanted, case, "slots")
            gaps = [(found.start(), len(found.group())) for found in _gaps("".join(wanted))]
            judge.equal([tuple(gap) for gap in allocator.gaps()], gaps, case=f"{case}: gaps()")
            free = sum(length for _, length in gaps)
            lost = 1 - max(length for _, length in gaps) / free if gaps else 0.0
            judge.close(allocator.lost, lost, case=f"{case}: lost")
        return allocator

    with judge.rule("an empty line is one gap; a full one has none and loses nothing"):
        judge.trying("FirstFit(10)")
        judge.equal([tuple(gap) for gap in mine.FirstFit(10).gaps()], [(0, 10)], case="FirstFit(10).gaps()")
        played(10, [(0, 10)])
    with judge.rule("the first gap that is long enough, from the left"):
        played(10, [(0, 3), (1, 3), (2, 3), (1, 0), (3, 2), (4, 1)])
        played(10, [(0, 2), (1, 2), (0, 0), (2, 3)])
    with judge.rule("enough memory, and none to be had"):
        played(10, [(0, 3), (1, 3), (2, 3), (1, 0), (3, 4)])
    with judge.rule("gaps that touch are one gap"):
        played(10, [(0, 3), (1, 3), (2, 3), (0, 0), (1, 0), (3, 6)])
        played(9, [(0, 3), (1, 3), (2, 3), (1, 0), (2, 0), (3, 6)])
    with judge.rule("a request that has nothing cannot be released"):
        judge.trying("release(7) of a new FirstFit(10)")
        judge.raises(KeyError, lambda: mine.FirstFit(10).release(7), case="release(7) of a new FirstFit(10)")
    with judge.rule("any sequence of operations"):
        step = st.tuples(st.integers(0, 4), st.integers(0, 5))
        judge.prove(lambda steps: played(12, steps) and None, st.lists(step, max_size=12))


def _gaps(line: str) -> Any:
    import re

    return re.finditer("·+", line)


@exercise(
    "02.compaction",
    "Push it together",
    difficulty=1,
    minutes=15,
    hints=(
        "From left to right, where does each run go?",
        "Each goes to `at`, the end of those before it; it was moved if it was somewhere else.",
        "packed[name] = (at, length)\nmoved += length if start != at else 0\nat += length",
    ),
)
def compaction(mine: ModuleType, judge: Judge) -> None:
    from hypothesis import strategies as st

    def packed(lengths: list[tuple[int, int]], shuffled: bool) -> None:
        """Runs of these lengths, each after a gap."""
        runs, at, wanted, moved, end = {}, 0, {}, 0, 0
        for number, (gap, length) in enumerate(lengths):
            name = chr(97 + number)
            at += gap
            runs[name], wanted[name] = (at, length), (end, length)
            moved += length if at != end else 0
            at, end = at + length, end + length
        given = dict(reversed(runs.items())) if shuffled else dict(runs)
        case = f"compact({given})"
        judge.trying(case)
        found = mine.compact(given)
        judge.equal(dict(found[0]), wanted, case=f"{case}: the runs")
        judge.equal(found[1], moved, case=f"{case}: slots moved")
        judge.equal(given, runs, case=f"{case}: what was given, afterwards")

    with judge.rule("by hand: aaa...ccc. becomes aaaccc...."):
        packed([(0, 3), (3, 3)], False)
    with judge.rule("what lies far left already does not move"):
        packed([(0, 3), (0, 2)], False)
        packed([(0, 3), (0, 2), (1, 4)], False)
        packed([], False)
    with judge.rule("in the order of the slots, whatever the order of the names"):
        packed([(2, 1), (1, 4), (0, 2)], True)
    with judge.rule("any line"):
        judge.prove(packed, st.lists(st.tuples(st.integers(0, 3), st.integers(1, 4)), max_size=6), st.booleans())
    with judge.rule("worth it where less is moved than is read in the steps that it saves"):
        for arguments, wanted in (((99, 10, 10), True), ((100, 10, 10), False), ((1, 0, 10), False), ((0, 1, 1), True)):
            judge.trying(f"pays_off{arguments}")
            judge.equal(mine.pays_off(*arguments), wanted, case=f"pays_off{arguments}")
