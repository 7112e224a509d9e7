"""Chapter 11, first part: what three of the systems do with their pages.

The oracles are plain: lists that are searched, memories of letters that are really copied.
"""

from __future__ import annotations

from functools import partial
from types import ModuleType
from typing import Any

from pagedlab.learn.exercise import exercise
from pagedlab.learn.judge import Judge


@exercise(
    "11.vllm_free_order",
    "vLLM's free queue",
    difficulty=2,
    minutes=20,
    hints=(
        "The order of the line is everything. Write down for each of the three operations where in it a page goes, or "
        "comes from.",
        "An OrderedDict is a line with an index: popitem(last=False) takes the head, del takes from the middle, a new "
        "key stands at the tail, and move_to_end(page, last=False) puts one at the head.",
        "for logical in reversed(range(len(pages))):\n    self.line[pages[logical]] = None\n"
        "    if logical < num_full: self.hashed.add(…)\n    else: self.line.move_to_end(pages[logical], last=False)",
    ),
)
def vllm_free_order(mine: ModuleType, judge: Judge) -> None:
    from hypothesis import strategies as st

    def line(queue: Any, wanted: list[int], case: str) -> None:
        judge.row(list(queue.line), wanted, case, "line")

    def taken(num_pages: int, count: int) -> tuple[Any, list[int], str]:
        case = f"FreeQueue({num_pages}), {count} pages taken"
        judge.trying(case)
        queue = mine.FreeQueue(num_pages)
        return queue, [queue.take() for _ in range(count)], case

    with judge.rule("pages are taken from the head, in their order"):
        queue, pages, case = taken(4, 3)
        judge.row(pages, [0, 1, 2], case, "taken")
        line(queue, [3], case)
    with judge.rule("the example of the docstring"):
        queue, pages, case = taken(6, 3)
        for call, wanted in (
            ("free([0, 1, 2], 2)", [2, 3, 4, 5, 1, 0]),
            ("take()", [3, 4, 5, 1, 0]),
            ("hit(1)", [3, 4, 5, 0]),
        ):
            case += f"; {call}"
            judge.trying(case)
            eval(f"queue.{call}", {"queue": queue})
            line(queue, wanted, case)
    with judge.rule("what is taken cannot be hit any more, what is hit can be hit again"):
        queue, pages, case = taken(2, 2)
        queue.free(pages, 2)
        queue.hit(0)
        judge.equal(set(queue.hashed), {0, 1}, case=f"{case}; free([0, 1], 2); hit(0): the pages that can be hit")
        queue.free([0], 1)
        queue.take()
        judge.equal(set(queue.hashed), {0}, case=f"{case}; free([0, 1], 2); hit(0); free([0], 1); take()")
    with judge.rule("a page in use, a blank one, and an empty line"):
        queue, pages, case = taken(2, 1)
        for page, what in ((0, "which is in use"), (1, "which is blank")):
            judge.raises(LookupError, partial(queue.hit, page), case=f"{case}; hit({page}), {what}")
        line(queue, [1], f"{case}; after the calls that were refused")
        queue, pages, case = taken(1, 1)
        judge.raises(LookupError, queue.take, case=f"{case}; take()")
    with judge.rule("any day of a pool"):
        moves = st.lists(st.tuples(st.sampled_from(["start", "end", "hit"]), st.integers(0, 5), st.integers(0, 3)))
        judge.prove(lambda plan: _any_pool(mine, judge, plan), moves)


def _any_pool(mine: ModuleType, judge: Judge, plan: list[tuple[str, int, int]]) -> None:
    """Sequences start and end in a pool of six, and cached pages are hit; beside it the rule, spelled out on a list."""
    done = ["FreeQueue(6)"]
    judge.trying(done[0])
    queue: Any = mine.FreeQueue(6)
    line, hashed = list(range(6)), set[int]()
    sequences: list[list[int]] = []
    for what, which, count in plan:
        if what == "start" and 1 <= count <= len(line):
            done.append(f"{count} × take()")
            judge.trying("; ".join(done))
            wanted = [line.pop(0) for _ in range(count)]
            hashed -= set(wanted)
            judge.row([queue.take() for _ in range(count)], wanted, "; ".join(done), "taken")
            sequences.append(wanted)
        elif what == "end" and sequences:
            pages = sequences.pop(which % len(sequences))
            num_full = min(count, len(pages))
            done.append(f"free({pages}, {num_full})")
            judge.trying("; ".join(done))
            queue.free(list(pages), num_full)
            for page in reversed(pages):
                line.insert(len(line) if page in pages[:num_full] else 0, page)
            hashed |= set(pages[:num_full])
        elif what == "hit" and which in line and which in hashed:
            done.append(f"hit({which})")
            judge.trying("; ".join(done))
            queue.hit(which)
            line.remove(which)
            sequences.append([which])
        judge.row(list(queue.line), line, "; ".join(done), "line")
        judge.equal(set(queue.hashed), hashed, case=f"{'; '.join(done)}: the pages that can be hit")


@exercise(
    "11.partial_reuse",
    "A page that agrees in part",
    difficulty=2,
    minutes=25,
    hints=(
        "Two parts: the full pages, which is a while loop over prefixes of the prompt, and then one search among the "
        "pages that continue the last of them.",
        "Work with prompt[:-1] for both: the last token is computed in any case. A candidate is a key that is exactly "
        "one page longer than what was found and begins with it.",
        "for tokens, page in sorted(known.items(), key=lambda item: item[1]):\n"
        "    if len(tokens) == done + page_size and tokens[:done] == tuple(prompt[:done]):\n"
        "        count = alike(tokens[done:], prompt[done:most])",
    ),
)
def partial_reuse(mine: ModuleType, judge: Judge) -> None:
    from hypothesis import strategies as st

    def found(prompt: list[int], known: dict[tuple[int, ...], int], size: int = 4) -> None:
        case = f"pages of {size}, prompt {prompt}, known {known or 'nothing'}"
        judge.trying(case)
        answer = mine.reuse(list(prompt), size, dict(known))
        judge.true(isinstance(answer, tuple) and len(answer) == 3, actual=answer, expected="a Reuse", case=case)
        wanted = _reuse(prompt, size, known)
        rows = [
            {"shared pages": pages, "copied page": [copied], "tokens of it": [n]}
            for pages, copied, n in (wanted, answer)
        ]
        judge.equal(tuple(answer), wanted, case=case, expected_rows=rows[0], actual_rows=rows[1])

    with judge.rule("alike: leading tokens in common"):
        for one, other, count in (([1, 2, 3], [1, 2, 4], 2), ([1, 2], [1, 2, 3], 2), ([5], [6], 0), ([], [1], 0)):
            case = f"alike({one}, {other})"
            judge.trying(case)
            judge.equal(mine.alike(one, other), count, case=case)
    with judge.rule("the example of the docstring, letters as numbers"):
        once, upon, tale = (tuple(map(ord, text)) for text in ("once", " upo", " a t"))
        found([*map(ord, "once a cat")], {once: 7, once + upon: 3, once + tale: 5})
    with judge.rule("nothing is known, or nothing is alike"):
        found([1, 2, 3, 4, 5], {})
        found([1, 2, 3, 4, 5], {(9, 9, 9, 9): 0})
    with judge.rule("a page counts only after what it continues"):
        found([1, 2, 3, 4, 5, 6, 7, 8, 9], {(9, 9, 9, 9): 0, (9, 9, 9, 9, 1, 2, 3, 4): 1})
        found([1, 2, 5, 6, 0], {(1, 2): 0, (8, 8): 1, (8, 8, 5, 6): 2}, size=2)
    with judge.rule("the last token of the prompt is computed, however much is known"):
        found([1, 2, 3, 4], {(1, 2, 3, 4): 6})
        found([1, 2, 3, 4, 5, 6], {(1, 2, 3, 4): 6, (1, 2, 3, 4, 5, 6, 7, 8): 2})
        found([1], {(1, 2, 3, 4): 6})
    with judge.rule("of pages that agree equally far, the smaller number"):
        found([1, 2, 3, 9], {(1, 2, 5, 5): 8, (1, 2, 6, 6): 3, (1, 7, 7, 7): 0})
    with judge.rule("any prompts"):
        tokens = st.lists(st.integers(0, 1), min_size=1, max_size=9)

        def any_known(prompt: list[int], sequences: list[list[int]], size: int) -> None:
            known: dict[tuple[int, ...], int] = {}
            for sequence in sequences:
                for stop in range(size, len(sequence) + 1, size):
                    known.setdefault(tuple(sequence[:stop]), 10 - len(known))
            found(prompt, known, size)

        judge.prove(any_known, tokens, st.lists(tokens, max_size=3), st.integers(1, 4))


def _reuse(prompt: list[int], size: int, known: dict[tuple[int, ...], int]) -> tuple[list[int], int | None, int]:
    """Every candidate is tried, and the one that spares most tokens wins."""
    best: tuple[int, int, list[int], int | None, int] = (0, 0, [], None, 0)
    chain: list[int] = []
    for done in range(0, len(prompt), size):
        if done:
            if tuple(prompt[:done]) not in known:
                break
            chain = [*chain, known[tuple(prompt[:done])]]
        options: list[tuple[int, int, list[int], int | None, int]] = [(done, 0, chain, None, 0)]
        for tokens, page in known.items():
            if len(tokens) == done + size and list(tokens[:done]) == prompt[:done]:
                same = 0
                while done + same < len(prompt) - 1 and same < size and tokens[done + same] == prompt[done + same]:
                    same += 1
                if 0 < same < size:  # a whole page is shared, in the next turn
                    options.append((done + same, -page, chain, page, same))
        best = max([best, *options], key=lambda option: option[:2])
    last = len(prompt) - 1
    if best[0] < last and tuple(prompt[: best[0] + size]) in known and best[0] + size <= last:
        raise AssertionError("a full page was overlooked")
    return best[2], best[3], best[4]


@exercise(
    "11.remap",
    "A swap that changes no table",
    difficulty=2,
    minutes=25,
    hints=(
        "Both swaps are the same move, to another range of places. Which pages move at all, and when may the map "
        "change?",
        "First look whether there are places for all that move, then change the map. What is free is what no entry of "
        "the map names.",
        "moving = [p for p in pages if self.where[p] not in places]\ntargets = [first free places, as many]\n"
        "copies = [(self.where[p], t) for p, t in zip(moving, targets)]\nself.where.update(zip(moving, targets))",
    ),
)
def remap(mine: ModuleType, judge: Judge) -> None:
    from hypothesis import strategies as st

    with judge.rule("the example of the docstring"):
        case = "LogicalPages(2, 2): allocate, allocate, swap_out([0]), allocate, release([1]), swap_in([0])"
        judge.trying(case)
        pages = mine.LogicalPages(2, 2)
        said = [pages.allocate(), pages.allocate(), pages.swap_out([0]), pages.allocate()]
        pages.release([1])
        said.append(pages.swap_in([0]))
        judge.equal(said, [0, 1, [(0, 2)], 2, [(2, 1)]], case=case)
        judge.equal(dict(pages.where), {0: 1, 2: 0}, case=f"the map after {case}")
    with judge.rule("all of them or none: without room nothing changes"):
        case = "LogicalPages(3, 1): three pages, swap_out([0, 1])"
        judge.trying(case)
        pages = mine.LogicalPages(3, 1)
        for _ in range(3):
            pages.allocate()
        judge.raises(LookupError, lambda: pages.swap_out([0, 1]), case=case)
        judge.equal(dict(pages.where), {0: 0, 1: 1, 2: 2}, case=f"the map after {case}")
        judge.raises(LookupError, pages.allocate, case="LogicalPages(3, 1): a fourth page")
    with judge.rule("what is there already stays, and needs no room"):
        case = "LogicalPages(2, 1): two pages, swap_out([0]), swap_out([0])"
        judge.trying(case)
        pages = mine.LogicalPages(2, 1)
        pages.allocate(), pages.allocate()
        judge.equal([pages.swap_out([0]), pages.swap_out([0]), pages.swap_in([1])], [[(0, 2)], [], []], case=case)
    with judge.rule("any day: each logical page keeps its content wherever it goes"):
        moves = st.lists(
            st.tuples(st.sampled_from(["allocate", "release", "swap_out", "swap_in"]), st.sets(st.integers(0, 7)))
        )
        judge.prove(lambda plan: _any_swaps(mine, judge, plan), moves)


def _any_swaps(mine: ModuleType, judge: Judge, plan: list[tuple[str, set[int]]]) -> None:
    """Three device pages and two in host memory, each a letter; copies are made as the learner says."""
    num_device, num_host = 3, 2
    done = [f"LogicalPages({num_device}, {num_host})"]
    judge.trying(done[0])
    pages: Any = mine.LogicalPages(num_device, num_host)
    memory: dict[int, int] = {}  # physical -> the logical page whose content it holds
    where: dict[int, int] = {}
    count = 0
    for what, chosen in plan:
        alive = [logical for logical in sorted(chosen) if logical in where]
        device = what in ("allocate", "swap_in")
        places = range(num_device) if device else range(num_device, num_device + num_host)
        free = [place for place in places if place not in where.values()]
        if what == "allocate":
            done.append("allocate()")
            judge.trying("; ".join(done))
            if not free:
                judge.raises(LookupError, pages.allocate, case="; ".join(done))
                continue
            judge.equal(pages.allocate(), count, case="; ".join(done))
            where[count] = free[0]
            memory[free[0]] = count
            count += 1
        elif what == "release":
            done.append(f"release({alive})")
            judge.trying("; ".join(done))
            pages.release(list(alive))
            for logical in alive:
                del where[logical]
        else:
            done.append(f"{what}({alive})")
            case = "; ".join(done)
            judge.trying(case)
            moving = [logical for logical in alive if where[logical] not in places]
            if len(moving) > len(free):
                judge.raises(LookupError, lambda: getattr(pages, what)(list(alive)), case=case)  # noqa: B023 - now
            else:
                for source, target in getattr(pages, what)(list(alive)):
                    memory[target] = memory.get(source, -1)
                where |= dict(zip(moving, free, strict=False))
        case = "; ".join(done)
        judge.equal(dict(pages.where), where, case=f"the map after {case}")
        judge.row([memory.get(place) for place in where.values()], list(where), f"what is read after {case}", "content")
