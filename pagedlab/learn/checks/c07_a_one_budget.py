"""Chapter 07, first part: batches, the budget of a step, prompts in chunks.

The oracles count: places step by step, tokens one by one.
"""

from __future__ import annotations

from itertools import pairwise
from types import ModuleType
from typing import Any

from pagedlab.learn.exercise import exercise
from pagedlab.learn.judge import Judge
from pagedlab.memory.manager import CacheManager
from pagedlab.scheduling.limits import Limits
from pagedlab.scheduling.rehearsal import Arrival, rehearse
from pagedlab.scheduling.scheduler import Scheduler


@exercise(
    "07.static_batching",
    "What it costs to wait for the longest",
    difficulty=1,
    minutes=15,
    hints=(
        "The work done is sum(lengths), whoever does it when. So idle = steps × places - sum(lengths), and only the "
        "number of steps is left to find.",
        "Static: a batch lasts as long as its longest; slice the list. Continuous: keep for each place the step from "
        "which it is free; the next request takes the place that is free first.",
        "free_from = [0] * places\nfor length in lengths:\n    place = free_from.index(min(free_from))\n"
        "    free_from[place] += length\nsteps = max(free_from)",
    ),
)
def static_batching(mine: ModuleType, judge: Judge) -> None:
    from hypothesis import strategies as st

    def counted(lengths: list[int], places: int) -> None:
        for name, continuous in (("static", False), ("continuous", True)):
            case = f"{name}({lengths}, {places})"
            judge.trying(case)
            rows = _places(lengths, places, continuous)
            wanted = (len(rows[0]) if rows else 0, sum(row.count("·") for row in rows))
            judge.equal(
                getattr(mine, name)(list(lengths), places),
                wanted,
                case=case,
                why="\n".join(f"place {number}: {' '.join(row)}" for number, row in enumerate(rows)),
            )

    with judge.rule("the four requests of the drawing, on two places"):
        counted([3, 8, 2, 5], 2)
    with judge.rule("equal lengths: both waste nothing but the places of a last batch that is not full"):
        counted([4, 4, 4, 4], 2)
        counted([4, 4, 4], 2)
    with judge.rule("fewer requests than places, and none at all"):
        counted([5], 4)
        counted([], 3)
    with judge.rule("any lengths on any number of places"):
        judge.prove(counted, st.lists(st.integers(1, 9), max_size=8), st.integers(1, 4))


def _places(lengths: list[int], places: int, continuous: bool) -> list[list[str]]:
    """Who is in each place in each step: counted step by step."""
    line, left = list(enumerate(lengths)), [0] * places
    rows: list[list[str]] = [[] for _ in range(places)]
    names = ["·"] * places
    while line or any(left):
        if continuous or not any(left):
            for place in range(places):
                if not left[place] and line:
                    number, left[place] = line.pop(0)
                    names[place] = chr(65 + number)
        for place in range(places):
            rows[place].append(names[place] if left[place] else "·")
            left[place] = max(0, left[place] - 1)
    return rows


@exercise(
    "07.budget",
    "One budget, no phases",
    difficulty=2,
    minutes=20,
    hints=(
        "Do not ask whether a sequence is in its prompt. What it lacks is num_tokens - num_computed, whoever it is.",
        "One loop over the running ones, then those of the waiting ones that find a place. Each gets "
        "min(what it lacks, what is left of the budget); nothing at all is no chunk.",
        "for sequence in running + waiting[: max(0, places - len(running))]:\n    start = sequence.num_computed\n"
        "    stop = min(sequence.num_tokens, start + budget)\n    if stop > start:\n        …",
    ),
)
def budget(mine: ModuleType, judge: Judge) -> None:
    from hypothesis import strategies as st

    Lacks = list[tuple[int, int]]  # (computed, tokens) of each

    def shared(running: Lacks, waiting: Lacks, budget: int, places: int) -> None:
        names = iter("ABCDEFGHIJKLMNOP")
        lines = [[mine.Sequence(next(names), tokens, done) for done, tokens in line] for line in (running, waiting)]
        told = [", ".join(f"{s.name} {s.num_computed} of {s.num_tokens}" for s in line) or "nobody" for line in lines]
        case = f"running {told[0]}; waiting {told[1]}; budget {budget}, places {places}"
        judge.trying(case)
        before = [[(s.name, s.num_tokens, s.num_computed) for s in line] for line in lines]
        chunks = mine.share_out(lines[0], lines[1], budget, places)
        judge.true(
            isinstance(chunks, list) and all(isinstance(chunk, tuple) and len(chunk) == 3 for chunk in chunks),
            actual=chunks,
            expected="a list of (sequence, start, stop)",
            case=case,
        )
        found = [f"{sequence.name} {start}:{stop}" for sequence, start, stop in chunks]
        wanted = _shared(before[0], before[1], budget, places)
        judge.equal(found, wanted, case=case, expected_rows={"chunks": wanted}, actual_rows={"chunks": found})
        after = [[(s.name, s.num_tokens, s.num_computed) for s in line] for line in lines]
        judge.equal(after, before, case=f"{case}: lists and sequences afterwards")

    with judge.rule("A decodes, B is in its prompt, C waits: 1 + 3 + 4 tokens"):
        shared([(9, 10), (4, 7)], [(0, 20)], 8, 4)
    with judge.rule("the running ones come first, in their order, until the budget is spent"):
        shared([(0, 5), (0, 5)], [(0, 1)], 8, 4)
        shared([(3, 4), (6, 7), (2, 3)], [(0, 9)], 2, 8)
    with judge.rule("whoever waits needs a place as well"):
        shared([(3, 4)], [(0, 2), (0, 2)], 9, 2)
        shared([(3, 4), (4, 5)], [(0, 2)], 9, 2)
    with judge.rule("no chunk is empty: a spent budget, or nothing that it lacks"):
        shared([(4, 4), (1, 3)], [(0, 3)], 4, 4)
    with judge.rule("a waiting one may have tokens already, from the prefix cache or from before it gave way"):
        shared([], [(16, 20), (0, 9)], 6, 4)
    with judge.rule("any step"):
        done = st.integers(0, 6)
        running = st.lists(st.tuples(done, st.integers(0, 5)).map(lambda pair: (pair[0], sum(pair))), max_size=4)
        waiting = st.lists(st.tuples(done, st.integers(1, 5)).map(lambda pair: (pair[0], sum(pair))), max_size=4)
        judge.prove(shared, running, waiting, st.integers(0, 12), st.integers(1, 6))


def _shared(running: list[Any], waiting: list[Any], budget: int, places: int) -> list[str]:
    """Token by token: who has not all is given the next one."""
    found = []
    for number, (name, tokens, done) in enumerate([*running, *waiting]):
        if number >= len(running) and number >= places:
            break
        stop = done
        while stop < tokens and budget:
            stop, budget = stop + 1, budget - 1
        if stop > done:
            found.append(f"{name} {done}:{stop}")
    return found


@exercise(
    "07.chunked_prefill",
    "From steps to a life",
    difficulty=2,
    minutes=30,
    after=("07.budget",),
    hints=(
        "Keep two lists, running and waiting, of sequences whose two numbers you move. One turn of a while loop is one "
        "step: share out, let in, compute.",
        "After a chunk num_computed = stop. Only if that equals num_tokens is there a new token: num_tokens += 1. With "
        "prompt + output tokens it has ended: out of running, though its last token is not computed.",
        "chunks = share_out(running, waiting, budget, places)\nfor sequence, start, stop in chunks:\n"
        "    sequence.num_computed = stop\n    if stop == sequence.num_tokens:\n        sequence.num_tokens += 1\n"
        "        if sequence.num_tokens == …: running.remove(sequence)",
    ),
)
def chunked_prefill(mine: ModuleType, judge: Judge) -> None:
    from hypothesis import strategies as st

    def lived(prompts: list[int], outputs: list[int], budget: int, places: int) -> None:
        case = f"timeline({prompts}, {outputs}, {budget}, {places})"
        judge.trying(case)
        steps = [[tuple(chunk) for chunk in step] for step in mine.timeline(prompts, outputs, budget, places)]
        for request, (prompt, output) in enumerate(zip(prompts, outputs, strict=True)):
            computed = [n for step in steps for number, a, b in step if number == request for n in range(a, b)]
            judge.equal(
                computed,
                list(range(prompt + output - 1)),
                case=f"{case}: tokens of request {request}, as they were computed",
                why="each token exactly once, in order, and the very last one never",
            )
        wanted = _timeline(prompts, outputs, budget, places)
        for number in range(max(len(wanted), len(steps))):
            rows = [
                [f"{r} {a}:{b}" for r, a, b in (line[number] if number < len(line) else [])] for line in (wanted, steps)
            ]
            label = f"step {number}"
            where = f"{case}: step {number}"
            judge.equal(rows[1], rows[0], case=where, expected_rows={label: rows[0]}, actual_rows={label: rows[1]})
        for request, prompt in enumerate(prompts):
            case = f"gaps({wanted}, {request}, {prompt})"
            judge.trying(case)
            judge.equal(list(mine.gaps(wanted, request, prompt)), _gaps(wanted, request, prompt), case=case)

    with judge.rule("one prompt alone, in chunks of the budget, then token by token"):
        lived([5], [3], 2, 1)
    with judge.rule("the two requests of the example: decode first, then what is left of a prompt"):
        lived([2, 5], [3, 1], 4, 2)
    with judge.rule("a place that becomes free is taken in the next step"):
        lived([2, 2, 2], [2, 3, 2], 8, 2)
    with judge.rule("a budget of one token: still everybody ends"):
        lived([2, 1], [2, 2], 1, 2)
    with judge.rule("any requests"):
        requests = st.lists(st.tuples(st.integers(1, 7), st.integers(1, 4)), min_size=1, max_size=4)
        judge.prove(
            lambda pairs, budget, places: lived([p for p, _ in pairs], [o for _, o in pairs], budget, places),
            requests,
            st.integers(1, 8),
            st.integers(1, 3),
            examples=60,
        )


def _timeline(prompts: list[int], outputs: list[int], budget: int, places: int) -> list[list[tuple[int, int, int]]]:
    """What the engine's own scheduler does, with pages enough for all."""
    arrivals = [Arrival(prompt, output) for prompt, output in zip(prompts, outputs, strict=True)]
    manager = CacheManager(len(prompts) * 16, 1)
    rehearsal = rehearse(arrivals, Scheduler(manager, Limits(budget, places)))
    return [[(part.request, part.start, part.stop) for part in step.parts] for step in rehearsal.steps]


def _gaps(steps: list[list[tuple[int, int, int]]], request: int, prompt: int) -> list[int]:
    work = [sum(stop - start for _, start, stop in step) for step in steps]
    ends = [n for n, step in enumerate(steps) if any(r == request and stop >= prompt for r, _, stop in step)]
    return [sum(work[last + 1 : this + 1]) for last, this in pairwise(ends)]
