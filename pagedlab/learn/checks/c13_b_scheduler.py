"""Chapter 13: the scheduler, beside the engine's own."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from pagedlab.learn.exercise import exercise
from pagedlab.learn.judge import Judge

SIZE = 4


@exercise(
    "13.scheduler",
    "The scheduler",
    difficulty=3,
    minutes=60,
    needs=("torch",),
    after=("13.manager",),
    hints=(
        "Write schedule_waiting and commit first: with them, one request after the other is served whole. Then "
        "schedule_running without make_room, and preemption last.",
        "A chunk of a running sequence goes from num_computed to min(num_tokens, num_computed + budget); plan_chunk "
        "sees to it that it samples only at num_tokens. Loop over a copy of self.running: victims leave it.",
        "while True:\n    try:\n        self.manager.extend(sequence.id, num_tokens)\n        return True\n"
        "    except OutOfPages:\n        victim = self.running[-1]\n        self.preempt(victim, plan)\n"
        "        if victim is sequence:\n            return False",
    ),
)
def scheduler(mine: ModuleType, judge: Judge) -> None:
    from hypothesis import strategies as st

    from pagedlab.learn.checks.c13_model import same_tokens

    with judge.rule("one request: its prompt, then a token at a time"):
        _expect(mine, judge, [(0, 3, 3)], [["0: 0-3 →"], ["0: 3-4 →"], ["0: 4-5 →"], []])
    with judge.rule("a prompt is cut where the budget ends, and only its last part samples"):
        _expect(mine, judge, [(0, 10, 1)], [["0: 0-4"], ["0: 4-8"], ["0: 8-10 →"]], budget=4)
    with judge.rule("those that run come first; who waits gets what is left"):
        wanted = [["0: 0-3 →", "1: 0-1"], ["0: 3-4 →", "1: 1-4"], ["1: 4-6 →"]]
        _expect(mine, judge, [(0, 3, 2), (0, 6, 1)], wanted, budget=4)
    with judge.rule("no more sequences than places"):
        wanted = [["0: 0-2 →", "1: 0-2 →"], ["0: 2-3 →", "1: 2-3 →"], ["2: 0-2 →"]]
        _expect(mine, judge, [(0, 2, 2), (0, 2, 2), (0, 2, 1)], wanted, places=2)
    with judge.rule("where the first in line does not fit, nobody overtakes"):
        wanted = [["0: 0-8 →"], ["0: 8-9 →"], ["1: 0-12 →", "2: 0-2 →"]]
        _expect(mine, judge, [(0, 8, 2), (0, 12, 1), (0, 2, 1)], wanted, pages=4)
    with judge.rule("the youngest gives way, waits at its place, and starts anew"):
        wanted = [
            ["0: 0-4 →", "1: 0-4 →", "2: 0-3 →"],
            ["0: 4-5 →", "1 gave way", "2 gave way"],
            ["0: 5-6 →"],
            ["1: 0-5 →", "2: 0-4 →"],
        ]
        _expect(mine, judge, [(0, 4, 3), (0, 4, 2), (0, 3, 2)], wanted, pages=3)
    with judge.rule("any load, beside the engine's own scheduler: the same plan at every step"):
        request = st.tuples(st.integers(0, 6), st.integers(1, 14), st.integers(1, 8))
        judge.prove(
            lambda requests, budget, places: _beside_ours(mine, judge, sorted(requests), budget, places),
            st.lists(request, min_size=1, max_size=6),
            st.integers(1, 12),
            st.integers(1, 4),
        )
    with judge.rule("it serves a model: the engine's own tokens, with far too few pages for everybody"):
        same_tokens(judge, "LLM(tiny, num_pages=24, page_size=4, scheduler=Scheduler)", scheduler=mine.Scheduler)


#: When it arrives (a step), tokens in its prompt, tokens it is to make.
Load = list[tuple[int, int, int]]


def _expect(
    mine: ModuleType,
    judge: Judge,
    load: Load,
    wanted: list[list[str]],
    *,
    budget: int = 64,
    places: int = 8,
    pages: int = 32,
) -> None:
    case = f"prompts of {', '.join(str(prompt) for _, prompt, _ in load)} tokens, budget {budget}, {places} places, "
    case += f"{pages} pages of {SIZE}"
    judge.trying(case)
    found = _steps(mine.Scheduler, load, budget, places, pages, stop_after=len(wanted))
    _compare(judge, found, wanted, case)


def _beside_ours(mine: ModuleType, judge: Judge, load: Load, budget: int, places: int) -> None:
    from pagedlab.scheduling.scheduler import Scheduler

    pages = max(-(-(prompt + output) // SIZE) for _, prompt, output in load) + 1
    said = ", ".join(f"{prompt} tokens at step {arrival} for {output} more" for arrival, prompt, output in load)
    case = f"{said}; budget {budget}, {places} places, {pages} pages of {SIZE}"
    judge.trying(case)
    wanted = _steps(Scheduler, load, budget, places, pages, alike=True)
    _compare(judge, _steps(mine.Scheduler, load, budget, places, pages, len(wanted), alike=True), wanted, case)


def _compare(judge: Judge, found: list[list[str]], wanted: list[list[str]], case: str) -> None:
    """Step by step; the first that differs is shown, with the one before it."""
    for number, (theirs, own) in enumerate(zip(found, wanted, strict=True)):
        rows = [{f"step {at}": steps[at] for at in range(max(0, number - 1), number + 1)} for steps in (wanted, found)]
        judge.equal(theirs, own, case=f"{case}: step {number}", expected_rows=rows[0], actual_rows=rows[1])


def _steps(
    kind: Any, load: Load, budget: int, places: int, pages: int, stop_after: int | None = None, *, alike: bool = False
) -> list[list[str]]:
    """What each step computes ("→": and samples) and who gave way, until all is done, over the engine's own manager.

    ``alike``: all prompts begin alike, and there is a prefix cache: they hit what those before them have filled.
    """
    from pagedlab.memory.manager import CacheManager
    from pagedlab.memory.prefix_hash import HashPrefixCache
    from pagedlab.scheduling.limits import Limits
    from pagedlab.scheduling.request import Request
    from pagedlab.scheduling.sampling import SamplingParams

    manager = CacheManager(pages, SIZE, prefix_cache=HashPrefixCache(SIZE) if alike else None)
    scheduler = kind(manager, Limits(budget, places, 64, max_overtakes=1))
    steps: list[list[str]] = []
    while len(steps) < stop_after if stop_after is not None else len(steps) < 500:
        for number, (arrival, prompt, output) in enumerate(load):
            if arrival == len(steps):
                tokens = [0 if alike else number] * prompt
                scheduler.add(Request(str(number), tokens, SamplingParams(max_tokens=output, ignore_eos=True)))
        if stop_after is None and not scheduler.has_work and len(steps) > load[-1][0]:
            break
        plan = scheduler.schedule()
        sampled = {row.chunk for row in plan.samples}
        steps.append(
            [
                f"{chunk.sequence.request.id}: {chunk.start}-{chunk.stop}{' →' * (at in sampled)}"
                for at, chunk in enumerate(plan.chunks)
            ]
            + sorted(f"{sequence.request.id} gave way" for sequence in plan.preempted)
        )
        scheduler.commit(plan, [[len(steps) % 3] for _ in plan.samples])
        manager.check()
    return steps
