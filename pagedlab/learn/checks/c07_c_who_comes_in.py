"""Chapter 07, the end: who comes in, and the step with real pages.

The oracles are the engine's own scheduler and cache manager, and a short definition of a line with bounded overtaking.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

from pagedlab.learn.exercise import exercise
from pagedlab.learn.judge import Judge
from pagedlab.memory.manager import CacheManager
from pagedlab.memory.prefix_hash import HashPrefixCache
from pagedlab.scheduling.limits import Limits
from pagedlab.scheduling.plan import StepPlan
from pagedlab.scheduling.rehearsal import Arrival, rehearse
from pagedlab.scheduling.request import Request
from pagedlab.scheduling.sampling import SamplingParams
from pagedlab.scheduling.scheduler import Scheduler
from pagedlab.scheduling.victims import lowest_priority


@exercise(
    "07.admission",
    "Who may come in",
    difficulty=2,
    minutes=25,
    hints=(
        "Watermark: what would be available afterwards, against what must be left. admit: go along the line once, and "
        "remember whom you stepped over.",
        "Before anybody comes in behind those you stepped over, ask whether one of them was overtaken `most` times "
        "already: then it is over. Afterwards each of them was overtaken once more.",
        "for request in list(waiting):\n    if len(admitted) == places or any(p.overtakes >= most for p in passed):\n"
        "        break\n    if num_free - request.pages < keep:\n        passed.append(request)\n    else:\n        …",
    ),
)
def admission(mine: ModuleType, judge: Judge) -> None:
    from hypothesis import strategies as st

    def line(pages: list[int], overtakes: list[int] | None = None) -> list[Any]:
        return [
            mine.Waiting(chr(65 + number), wanted, overtakes[number] if overtakes else 0)
            for number, wanted in enumerate(pages)
        ]

    def told(waiting: list[Any]) -> str:
        return ", ".join(
            f"{w.name} wants {w.pages}" + f" (overtaken {w.overtakes})" * (w.overtakes > 0) for w in waiting
        )

    def let_in(waiting: list[Any], free: int, places: int, keep: int, most: int) -> None:
        case = f"line: {told(waiting) or 'nobody'}; admit with {free} free, {places} places, keep {keep}, most {most}"
        judge.trying(case)
        wanted, rest = _admitted([(w.name, w.pages, w.overtakes) for w in waiting], free, places, keep, most)
        found = [request.name for request in mine.admit(waiting, free, places, keep, most)]
        judge.equal(found, wanted, case=case, expected_rows={"come in": wanted}, actual_rows={"come in": found})
        left = [(w.name, w.overtakes) for w in waiting]
        judge.equal(left, rest, case=f"{case}: who still waits, and how often each was overtaken")

    with judge.rule("Watermark: in an engine's scheduler, a share of the pool stays available"):
        for share, prompts in ((0.25, [8, 8, 8, 4]), (0.0, [16, 16, 4]), (0.5, [4, 4, 12])):
            case = f"Watermark({share}), pool of 8 pages of 4, prompts {prompts}: who comes in first"
            judge.trying(case)
            scheduler = Scheduler(CacheManager(8, 4), Limits(256, 8), admission=mine.Watermark(share))
            plan = _first_plan(scheduler, prompts)
            left, wanted = 8, []
            for number, prompt in enumerate(prompts):
                if number and left - prompt // 4 < share * 8:  # nobody inside: the first is not asked
                    break
                left -= prompt // 4
                wanted.append(str(number))
            found = [chunk.sequence.request.id for chunk in plan.chunks]
            judge.equal(found, wanted, case=case, expected_rows={"come in": wanted}, actual_rows={"come in": found})
    with judge.rule("Watermark: what is in the prefix cache already costs no page"):
        case = "Watermark(0.25), pool of 8 pages of 4: two requests with the same 16 tokens, each with one of its own"
        judge.trying(case)
        manager = CacheManager(8, 4, prefix_cache=HashPrefixCache(4))
        scheduler = Scheduler(manager, Limits(256, 8), admission=mine.Watermark(0.25))
        for number in (0, 1):
            scheduler.add(Request(str(number), [*range(16), 100 + number], SamplingParams(max_tokens=2)))
        found = [chunk.sequence.request.id for chunk in scheduler.schedule().chunks]
        judge.equal(found, ["0", "1"], case=case)
    with judge.rule("the line of the example: B passes A once, and then nobody does"):
        let_in(line([12, 3, 6, 4]), 10, 8, 2, 1)
    with judge.rule("everybody fits: in order, as long as there are places"):
        let_in(line([1, 2, 3]), 10, 2, 0, 4)
        let_in(line([2, 2]), 4, 5, 0, 0)
    with judge.rule("most = 0 is strict: behind one that does not fit, the line stands still"):
        let_in(line([9, 1]), 4, 5, 0, 0)
    with judge.rule("one that was overtaken often enough is waited for"):
        let_in(line([9, 1], [2, 0]), 4, 5, 0, 2)
        let_in(line([3, 9, 1], [0, 2, 0]), 4, 5, 0, 2)
        let_in(line([9, 8, 1, 1, 1], [1, 0, 0, 0, 0]), 6, 5, 0, 3)
    with judge.rule("any line"):
        waiting = st.lists(st.tuples(st.integers(1, 6), st.integers(0, 3)), max_size=6)
        judge.prove(
            lambda people, case: let_in(line([p for p, _ in people], [o for _, o in people]), *case),
            waiting,
            st.tuples(*(st.integers(0, most) for most in (12, 4, 3, 3))),
        )


def _first_plan(scheduler: Scheduler, prompts: list[int]) -> StepPlan:
    for number, prompt in enumerate(prompts):
        tokens = [100 * number + position for position in range(prompt)]
        scheduler.add(Request(str(number), tokens, SamplingParams(max_tokens=2)))
    return scheduler.schedule()


def _admitted(
    waiting: list[tuple[str, int, int]], free: int, places: int, keep: int, most: int
) -> tuple[list[str], list[tuple[str, int]]]:
    """Who comes in, and who is left with how many overtakings."""
    inside: list[str] = []
    overtaken = {name: times for name, _, times in waiting}
    for place, (name, pages, _) in enumerate(waiting):
        before = [other for other, _, _ in waiting[:place] if other not in inside]
        if len(inside) < places and free - pages >= keep and all(overtaken[other] < most for other in before):
            inside.append(name)
            free -= pages
            for other in before:
                overtaken[other] += 1
    return inside, [(name, overtaken[name]) for name, _, _ in waiting if name not in inside]


@exercise(
    "07.scheduler",
    "The step, with real pages",
    difficulty=3,
    minutes=45,
    hints=(
        "Both loops are those of 07.budget, with a question in the middle that the manager may answer with OutOfPages. "
        "Running: somebody gives way, ask again. Waiting: nobody more comes in.",
        "Go over a copy of self.running, since victims leave it, and skip whoever is not in it any more. A while loop "
        "asks until there is room, or until the sequence was itself the victim.",
        "for sequence in list(self.running):\n    …\n    while sequence in self.running:\n        try:\n"
        "            self.manager.extend(sequence.id, stop)\n        except OutOfPages:\n"
        "            self.preempt(plan, self.victim(self.running[max(1, self.running.index(sequence)):]))\n"
        "        else:\n            self.put(plan, sequence, start, stop); …; break",
    ),
)
def scheduler(mine: ModuleType, judge: Judge) -> None:
    from hypothesis import strategies as st

    def served(arrivals: list[Arrival], budget: int, places: int, num_pages: int, cached: bool = False) -> None:
        told = ", ".join(
            f"{a.num_prompt} + {a.output}"
            + f" at step {a.at}" * (a.at > 0)
            + f" priority {a.priority}" * (a.priority > 0)
            for a in arrivals
        )
        case = f"requests {told}; budget {budget}, {places} places, {num_pages} pages of 2, the least urgent gives way"
        judge.trying(case)
        wanted, found = (
            _planned(make, arrivals, Limits(budget, places), num_pages, cached)
            for make in (Scheduler, mine.BudgetScheduler)
        )
        for number, (own, theirs) in enumerate(zip(wanted, found, strict=False)):
            where = f"{case}: step {number}"
            judge.equal(theirs, own, case=where, expected_rows=own, actual_rows=theirs)
        judge.equal(len(found), len(wanted), case=f"{case}: number of steps")

    with judge.rule("one request: its prompt in chunks of the budget, then a token a step"):
        served([Arrival(7, 3)], 4, 2, 8)
    with judge.rule("running first, then who waits, as long as budget and places last"):
        served([Arrival(2, 4), Arrival(6, 2, 1), Arrival(2, 2, 1), Arrival(1, 1, 1)], 5, 3, 16)
    with judge.rule("no page for a running one: the last gives way, and nobody comes in during that step"):
        served([Arrival(3, 6), Arrival(3, 6), Arrival(1, 1, 2)], 16, 4, 6)
    with judge.rule("whoever is chosen to give way: never the first in line, nor anybody served already"):
        served([Arrival(2, 6, priority=2), Arrival(2, 6), Arrival(2, 6)], 16, 4, 6)
        served([Arrival(2, 6), Arrival(2, 6, priority=2), Arrival(2, 6)], 16, 4, 6)
    with judge.rule("no page for who waits: the line stands still, and nobody overtakes"):
        served([Arrival(6, 3), Arrival(8, 2), Arrival(1, 2)], 16, 4, 5)
    with judge.rule("what the prefix cache holds is not computed again"):
        same = tuple(range(6))
        served([Arrival(same, 2), Arrival((*same, 9), 2, 3), Arrival(4, 2, 3)], 8, 4, 8, cached=True)
    with judge.rule("any requests, beside the engine's own scheduler"):
        request = st.tuples(st.integers(1, 6), st.integers(1, 5), st.integers(0, 4), st.integers(0, 2))
        judge.prove(
            lambda people, budget, places, pages: served(
                [Arrival(p, o, at, priority=urgent) for p, o, at, urgent in sorted(people, key=lambda r: r[2])],
                budget,
                places,
                pages,
            ),
            st.lists(request, min_size=1, max_size=5),
            st.integers(1, 10),
            st.integers(1, 4),
            st.integers(6, 10),
            examples=60,
        )


def _planned(
    make: type[Scheduler], arrivals: list[Arrival], limits: Limits, num_pages: int, cached: bool
) -> list[dict[str, list[str]]]:
    """What each step computes, of whom it takes a token, and who gives way."""
    manager = CacheManager(num_pages, 2, prefix_cache=HashPrefixCache(2) if cached else None)
    told: list[dict[str, list[str]]] = []

    def watch(plan: StepPlan) -> None:
        manager.check()
        told.append(
            {
                "chunks": [f"{chunk.sequence.id} {chunk.start}:{chunk.stop}" for chunk in plan.chunks],
                "new tokens": [str(row.sequence.id) for row in plan.samples],
                "give way": [str(sequence.id) for sequence in plan.preempted],
            }
        )

    rehearse(arrivals, make(manager, limits, victim=lowest_priority), max_steps=400, watch=watch)
    return told
