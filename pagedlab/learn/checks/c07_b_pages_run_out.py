"""Chapter 07, second part: who gives way when pages run out, and how its tokens come back.

The oracles are the engine's own victims and scheduler, and a memory of letters beside the tables.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

from pagedlab.errors import OutOfPages
from pagedlab.learn.exercise import exercise
from pagedlab.learn.judge import Judge
from pagedlab.memory.manager import CacheManager
from pagedlab.memory.pool import PagePool
from pagedlab.scheduling import victims as ours
from pagedlab.scheduling.limits import Limits
from pagedlab.scheduling.rehearsal import Arrival, rehearse
from pagedlab.scheduling.request import Request, Sequence
from pagedlab.scheduling.sampling import SamplingParams
from pagedlab.scheduling.scheduler import Scheduler


def sequences(arrivals: list[int], priorities: list[int] | None = None) -> list[Sequence]:
    """Running sequences, named a, b, c …, that arrived in this order and are so urgent."""
    found = []
    for number, arrival in enumerate(arrivals):
        request = Request(chr(97 + number), [1], SamplingParams(), arrival=arrival)
        request.priority = priorities[number] if priorities else 0
        found.append(Sequence(number, request, 0, [1]))
    return found


@exercise(
    "07.victim",
    "Who gives way",
    difficulty=2,
    minutes=20,
    hints=(
        "Both choices are a max over the candidates with the right key. For make_room, write down who may be chosen at "
        "all before you ask choose anything.",
        "The candidates are running from the asking one on, but never running[0]. Remove each victim from them, count "
        "its pages, and stop when there are enough or when the asking one was chosen.",
        "candidates = running[max(1, running.index(asking)) :]\nwhile needed > 0 and asking not in victims:\n"
        "    victim = choose(candidates)\n    candidates.remove(victim)\n    …",
    ),
)
def victim(mine: ModuleType, judge: Judge) -> None:
    from hypothesis import strategies as st

    def chosen(name: str, own: Any, people: list[tuple[int, int]]) -> None:
        candidates = sequences([arrival for arrival, _ in people], [priority for _, priority in people])
        told = ", ".join(
            f"{s.request.id} (arrival {s.request.arrival}, priority {s.request.priority})" for s in candidates
        )
        case = f"{name}([{told}])"
        judge.trying(case)
        found = getattr(mine, name)(list(candidates))
        judge.true(isinstance(found, Sequence), actual=found, expected="one of the candidates", case=case)
        judge.equal(found.request.id, own(candidates).request.id, case=case)

    def made(waits: list[int], asking: int, needed: int, priorities: list[int] | None = None) -> None:
        running = sequences(list(range(len(waits))), priorities)
        pages = {sequence.id: count for sequence, count in zip(running, waits, strict=True)}
        choose = ours.lowest_priority if priorities else ours.last_arrived
        held = ", ".join(
            f"{s.request.id} holds {pages[s.id]}" + (f", priority {s.request.priority}" if priorities else "")
            for s in running
        )
        who = "least urgent" if priorities else "newest"
        case = f"{held}; {running[asking].request.id} asks for {needed}; the {who} first"
        judge.trying(case)
        found = mine.make_room(list(running), running[asking], dict(pages), needed, choose)
        wanted = _victims(running, asking, pages, needed, choose)
        rows = [[sequence.request.id for sequence in row] for row in (wanted, found)]
        judge.equal(rows[1], rows[0], case=case, expected_rows={"victims": rows[0]}, actual_rows={"victims": rows[1]})

    people = st.lists(
        st.tuples(st.integers(0, 9), st.integers(0, 3)), min_size=1, max_size=5, unique_by=lambda pair: pair[0]
    )
    with judge.rule("newest: the last to arrive, wherever it stands"):
        chosen("newest", ours.last_arrived, [(4, 0), (9, 0), (2, 0)])
        judge.prove(lambda line: chosen("newest", ours.last_arrived, line), people)
    with judge.rule("least urgent: the largest number; of equals the newest"):
        chosen("least_urgent", ours.lowest_priority, [(0, 5), (1, 0), (2, 5), (3, 1)])
        judge.prove(lambda line: chosen("least_urgent", ours.lowest_priority, line), people)
    with judge.rule("the three cases of the drawing"):
        made([3, 2, 4], asking=0, needed=5)
        made([3, 2, 4], asking=1, needed=1)
        made([3, 2, 4], asking=2, needed=1)
    with judge.rule("no more than must, and nobody once the asking one waits itself"):
        made([3, 2, 4, 1], asking=1, needed=4)
        made([1, 2, 1], asking=1, needed=3)
        made([3, 2], asking=1, needed=0)
    with judge.rule("the first in line never gives way, nor does anybody before the asking one"):
        made([3, 2, 4], asking=0, needed=1, priorities=[9, 1, 0])
        made([3, 2, 4], asking=2, needed=1, priorities=[9, 5, 0])
    with judge.rule("any batch"):

        def any_batch(line: list[tuple[int, int]], data: Any) -> None:
            asking = data.draw(st.integers(0, len(line) - 1))
            waits = [pages for pages, _ in line]
            made(waits, asking, data.draw(st.integers(0, sum(waits[max(1, asking) :]))), [urgent for _, urgent in line])

        judge.prove(
            any_batch, st.lists(st.tuples(st.integers(1, 4), st.integers(0, 2)), min_size=2, max_size=5), st.data()
        )
    with judge.rule("in the engine's own scheduler: who is preempted when"):
        arrivals = [Arrival(6, 8, priority=priority) for priority in (1, 0, 2, 1)]
        for name, own in (("newest", ours.last_arrived), ("least_urgent", ours.lowest_priority)):
            case = f"four requests of 6 + 8 tokens, priorities 1, 0, 2, 1, 10 pages of 4: victim={name}"
            judge.trying(case)
            told = [_preempted(arrivals, choose) for choose in (own, getattr(mine, name))]
            judge.equal(told[1], told[0], case=case, why="(step, requests) of every preemption")


def _victims(
    running: list[Sequence], asking: int, pages: dict[int, int], needed: int, choose: ours.VictimChoice
) -> list[Sequence]:
    left = [sequence for place, sequence in enumerate(running) if place >= asking and place != 0]
    found: list[Sequence] = []
    while needed > 0:
        found.append(choose(left))
        if found[-1] is running[asking]:
            break
        left.remove(found[-1])
        needed -= pages[found[-1].id]
    return found


def _preempted(arrivals: list[Arrival], choose: Any) -> list[tuple[int, list[int]]]:
    rehearsal = rehearse(arrivals, Scheduler(CacheManager(10, 4), Limits(64, 8), victim=choose), max_steps=500)
    return [(number, step.preempted) for number, step in enumerate(rehearsal.steps) if step.preempted]


@exercise(
    "07.swap",
    "Recompute or swap",
    difficulty=3,
    minutes=30,
    after=("03.extend", "03.pool"),
    hints=(
        "A swap is an allocation on the other side: ask whether everything fits before you take the first page. Then "
        "which list must survive, device pages or host pages?",
        "Out: a host page for each page, in logical order; release the sequence; remember host pages and tokens. In: "
        "extend gives fresh pages, all or nothing; only then free the host pages.",
        "copies = [(page, self.host.take()) for page in pages]\nself.release(sequence)\n…\n"
        "fresh = self.extend(sequence, num_tokens)   # raises before anything has changed\n"
        "return list(zip(host_pages, fresh))",
    ),
)
def swap(mine: ModuleType, judge: Judge) -> None:
    from hypothesis import strategies as st

    def priced(case: tuple[int, int, float, int, float], wanted: str) -> None:
        told = f"cheaper({', '.join(map(str, case))})"
        judge.trying(told)
        judge.equal(mine.cheaper(*case), wanted, case=told)

    def away(num_pages: int, host: int, tokens: int) -> Any:
        tables = mine.SwappingTables(PagePool(num_pages), 4, host)
        tables.extend(6, 4)
        tables.extend(7, tokens)
        return tables

    with judge.rule("cheaper: out and in again, against computing it once more"):
        priced((100, 10, 1000.0, 1000, 4e6), "swap")
        priced((100, 10, 1000.0, 1000, 1e6), "recompute")
        priced((100, 10, 1000.0, 1000, 2e6), "recompute")
        priced((100, 10, 1000.0, 1000, 2.1e6), "swap")
    with judge.rule("cheaper: whole pages are moved, however few tokens are in the last"):
        priced((101, 100, 1000.0, 1000, 3e6), "recompute")
        priced((200, 100, 1000.0, 1000, 3e6), "swap")
    with judge.rule("out: a host page for each page, in logical order; the device pages are free"):
        case = "pool of 4 pages of 4, 3 host pages: extend(6, 4), extend(7, 6), swap_out(7)"
        judge.trying(case)
        tables = away(4, 3, 6)
        copies = tables.swap_out(7)
        judge.equal([source for source, _ in copies], [1, 2], case=f"{case}: the device pages, in order")
        judge.equal(sorted({target for _, target in copies}), [0, 1], case=f"{case}: the host pages")
        judge.row(sorted(tables.pool.free_pages()), [1, 2, 3], case)
        judge.row(sorted(tables.host.free_pages()), [2], case, "free on the host")
        judge.equal((7 in tables.pages, 7 in tables.swapped), (False, True), case=f"{case}: in pages, in swapped?")
    with judge.rule("no room on the host: None, and nothing has changed"):
        case = "pool of 4 pages of 4, 1 host page: extend(6, 4), extend(7, 6), swap_out(7)"
        judge.trying(case)
        tables = away(4, 1, 6)
        judge.equal(tables.swap_out(7), None, case=case)
        judge.row(tables.pages.get(7), [1, 2], case, "table")
        judge.row(tables.host.free_pages(), [0], case, "free on the host")
    with judge.rule("in: fresh pages, and the host pages are free again"):
        case = "pool of 4 pages of 4, 3 host pages: extend(6, 4), extend(7, 6), swap_out(7), extend(8, 4), swap_in(7)"
        judge.trying(case)
        tables = away(4, 3, 6)
        left = [target for _, target in tables.swap_out(7)]
        tables.extend(8, 4)
        back = tables.swap_in(7)
        judge.equal([source for source, _ in back], left, case=f"{case}: the host pages, in order")
        judge.equal([target for _, target in back], list(tables.pages[7]), case=f"{case}: the copies fill its table")
        judge.equal(tables.num_tokens[7], 6, case=f"{case}: its tokens")
        judge.row(sorted(tables.host.free_pages()), [0, 1, 2], case, "free on the host")
        judge.equal(7 in tables.swapped, False, case=f"{case}: is it still swapped?")
    with judge.rule("no room on the device: OutOfPages, and nothing has changed"):
        case = "pool of 3 pages of 4, 3 host pages: extend(6, 4), extend(7, 6), swap_out(7), extend(8, 4), swap_in(7)"
        judge.trying(case)
        tables = away(3, 3, 6)
        left = [target for _, target in tables.swap_out(7)]
        tables.extend(8, 4)
        judge.raises(OutOfPages, lambda: tables.swap_in(7), case=case)
        judge.equal(7 in tables.pages, False, case=f"{case}: is it in pages?")
        judge.equal(tables.pool.num_free, 1, case=f"{case}: free device pages")
        judge.equal(tables.host.num_free, 1, case=f"{case}: free host pages")
        tables.release(8)
        judge.equal([source for source, _ in tables.swap_in(7)], left, case=f"{case}, release(8), swap_in(7)")
    with judge.rule("whoever leaves and comes back, everybody reads its own tokens"):
        step = st.tuples(
            st.sampled_from(["extend", "extend", "out", "in", "release"]), st.integers(0, 2), st.integers(1, 5)
        )
        judge.prove(lambda steps: _swapped(mine, judge, steps), st.lists(step, max_size=12))


def _swapped(mine: ModuleType, judge: Judge, steps: list[tuple[str, int, int]]) -> None:
    """A memory of letters on both sides beside the tables."""
    tables = mine.SwappingTables(PagePool(5), 2, 3)
    device: dict[int, list[str]] = {page: ["?", "?"] for page in range(5)}
    host: dict[int, list[str]] = {page: ["?", "?"] for page in range(3)}
    texts: dict[int, str] = {}
    done = ["5 pages of 2, 3 host pages"]
    for number, (step, sequence, more) in enumerate(steps):
        inside, outside = sequence in tables.pages, sequence in tables.swapped
        if (
            (step == "extend" and outside)
            or (step in ("out", "release") and not inside)
            or (step == "in" and not outside)
        ):
            continue
        text = texts.get(sequence, "")
        told = f"extend({sequence}, {len(text) + more})" if step == "extend" else f"swap_{step}({sequence})"
        done.append(f"release({sequence})" if step == "release" else told)
        judge.trying(", ".join(done))
        try:
            if step == "extend":
                tables.extend(sequence, len(text) + more)
                texts[sequence] = text + chr(65 + number) * more
                for position in range(len(text), len(texts[sequence])):
                    device[tables.pages[sequence][position // 2]][position % 2] = texts[sequence][position]
            elif step == "out":
                for source, target in tables.swap_out(sequence) or ():
                    host[target] = list(device[source])
            elif step == "in":
                for source, target in tables.swap_in(sequence):
                    device[target] = list(host[source])
            else:
                tables.release(sequence)
                del texts[sequence]
        except OutOfPages:
            done[-1] += " is refused"
        for name, pages in tables.pages.items():
            found = "".join(device[pages[i // 2]][i % 2] for i in range(len(texts[name])))
            rows = [{f"tokens of {name}": list(row)} for row in (texts[name], found)]
            judge.equal(found, texts[name], case=", ".join(done), expected_rows=rows[0], actual_rows=rows[1])
        held = sum(len(pages) for pages, _ in tables.swapped.values())
        judge.equal(
            tables.host.num_used, held, case=f"{', '.join(done)}: host pages used, and held by swapped sequences"
        )
        held = sum(map(len, tables.pages.values()))
        judge.equal(tables.pool.num_used, held, case=f"{', '.join(done)}: device pages used, and in tables")
