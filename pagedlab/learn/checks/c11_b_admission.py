"""Chapter 11, second part: who comes in, by hope or by promise.

The oracles count token by token, in whole numbers where they can.
"""

from __future__ import annotations

from fractions import Fraction
from types import ModuleType
from typing import Any

from pagedlab.learn.exercise import exercise
from pagedlab.learn.judge import Judge


@exercise(
    "11.sglang_ratio",
    "Hope for short answers",
    difficulty=2,
    minutes=25,
    hints=(
        "Four small methods, each a line or two. The only one that asks for care is retract: who goes, and over whom "
        "the sums run then.",
        "min over the places of the list, with a key of three numbers: said, minus the prompt, minus the place. Pop it "
        "first; both sums are over those who stay.",
        "at = min(range(len(inside)), key=lambda i: (inside[i].said, -inside[i].prompt, -i))\n"
        "gone = inside.pop(at)\nself.ratio = max(self.ratio, min(1.0, … / …))",
    ),
)
def sglang_ratio(mine: ModuleType, judge: Judge) -> None:
    from hypothesis import strategies as st

    def people(rows: list[tuple[int, int, int]]) -> list[Any]:
        return [mine.Running(chr(97 + n), *row) for n, row in enumerate(rows)]

    def told(rows: list[tuple[int, int, int]]) -> str:
        return ", ".join(f"{chr(97 + n)}: prompt {p}, said {s} of {m}" for n, (p, s, m) in enumerate(rows))

    with judge.rule("the request of the docstring, and one that has said all"):
        for row, wanted in (((100, 20, 120), 190), ((10, 50, 50), 60), ((10, 0, 5), 13)):
            case = f"ratio 0.7; {told([row])}"
            judge.trying(case)
            judge.equal(mine.NewTokenRatio().expected(people([row])[0]), wanted, case=case)
    with judge.rule("admits: up to the last slot, with what is expected of those inside"):
        for slots, right in ((203, True), (202, False)):
            case = f"ratio 0.7; {told([(100, 20, 120), (10, 0, 5)])}; b asks, {slots} slots"
            judge.trying(case)
            inside = people([(100, 20, 120), (10, 0, 5)])
            judge.equal(mine.NewTokenRatio().admits(inside[1], inside[:1], slots), right, case=case)
    with judge.rule("quiet steps: from 0.7 to 0.1 in 600, and not below"):
        judge.trying("NewTokenRatio(), quiet_step()")
        ratio = mine.NewTokenRatio()
        for steps, share in ((300, 0.4), (300, 0.1), (50, 0.1)):
            for _ in range(steps):
                ratio.quiet_step()
            judge.true(abs(ratio.ratio - share) < 1e-9, actual=ratio.ratio, expected=f"{share}", case="quiet steps")
    with judge.rule("retracted: the least said, then the longest prompt, then the last"):
        for rows, gone in (
            ([(10, 5, 20), (10, 3, 20), (10, 9, 20)], "b"),
            ([(10, 3, 20), (30, 3, 20), (20, 3, 20)], "b"),
            ([(10, 3, 20), (10, 3, 20)], "b"),
        ):
            case = f"{told(rows)}; retract"
            judge.trying(case)
            inside = people(rows)
            judge.equal(mine.NewTokenRatio().retract(inside).name, gone, case=case)
            left = [chr(97 + n) for n in range(len(rows)) if chr(97 + n) != gone]
            judge.row([request.name for request in inside], left, case, "who stays")
    with judge.rule("the ratio rises to what the others have shown, to 1 at most, and never falls"):
        for rows, risen in (
            ([(5, 60, 100), (5, 0, 100)], 0.8),
            ([(5, 90, 100), (5, 0, 100)], 1.0),
            ([(5, 10, 100), (5, 0, 100)], 0.7),
        ):
            case = f"ratio 0.7; {told(rows)}; retract"
            judge.trying(case)
            ratio = mine.NewTokenRatio()
            ratio.retract(people(rows))
            judge.true(abs(ratio.ratio - risen) < 1e-9, actual=ratio.ratio, expected=f"a ratio of {risen}", case=case)
    with judge.rule("the last one stays"):
        case = f"{told([(5, 1, 10)])}; retract"
        judge.trying(case)
        inside, ratio = people([(5, 1, 10)]), mine.NewTokenRatio()
        judge.raises(LookupError, lambda: ratio.retract(inside), case=case)
        judge.equal((len(inside), ratio.ratio), (1, 0.7), case=f"{case}: who is inside, and the ratio")
    with judge.rule("any batch"):
        batches = st.lists(
            st.tuples(st.integers(1, 30), st.integers(0, 20), st.integers(20, 40)), min_size=2, max_size=4
        )

        def any_batch(rows: list[tuple[int, int, int]], slots: int) -> None:
            case = f"ratio 0.5; {told(rows)}"
            judge.trying(case)
            ratio = mine.NewTokenRatio(initial=0.5, floor=0.25, decay_steps=1)
            wanted = [p + s + (m - s) // 2 for p, s, m in rows]
            inside = people(rows)
            judge.row([ratio.expected(request) for request in inside], wanted, case, "expected")
            judge.equal(
                ratio.admits(inside[-1], inside[:-1], slots), sum(wanted) <= slots, case=f"{case}; {slots} slots"
            )
            order = sorted(range(len(rows)), key=lambda n: (-rows[n][1], rows[n][0], n))
            judge.equal(ratio.retract(inside).name, chr(97 + order[-1]), case=f"{case}; retract")
            stay = [rows[n] for n in order[:-1]]
            shown = Fraction(sum(s + 20 for _, s, _ in stay), sum(m for *_, m in stay))
            right = float(max(Fraction(1, 2), min(Fraction(1), shown)))
            judge.true(
                abs(ratio.ratio - right) < 1e-9, actual=ratio.ratio, expected=f"{right}", case=f"{case}; retract"
            )

        judge.prove(any_batch, batches, st.integers(20, 200))


@exercise(
    "11.tgi_admission",
    "Four budgets at the door",
    difficulty=2,
    minutes=25,
    hints=(
        "Take from the head of the line while both budgets hold; look at the ratio at the very end, when you know how "
        "many would come in.",
        "With chunking: the prefill budget is less by one for each who runs, a prompt is cut to what is left, and a "
        "chunk of nothing ends the batch. Without: a prompt that does not fit whole ends it.",
        "left = budgets.max_batch_prefill_tokens - (num_running if chunking else 0)\nfor request in waiting:\n"
        "    promised += …\n    chunk = min(request.prompt, left) if chunking else request.prompt\n"
        "    if promised > … or chunk > left or chunk < 1: break",
    ),
)
def tgi_admission(mine: ModuleType, judge: Judge) -> None:
    from hypothesis import strategies as st

    def batch(
        line: list[tuple[int, int]],
        running: int = 0,
        promised: int = 0,
        since: int = 0,
        budgets: tuple[int, int, float, int] = (8, 40, 0.5, 20),
        chunking: bool = False,
    ) -> None:
        waits = ", ".join(f"{prompt}+{new}" for prompt, new in line) or "nobody"
        case = (
            f"waiting {waits}; {running} run, {promised} promised; {since} steps since; "
            f"{mine.Budgets(*budgets)}; chunking {chunking}"
        )
        judge.trying(case)
        requests = [mine.Waiting(prompt, new) for prompt, new in line]
        answer = mine.next_batch(requests, running, promised, since, mine.Budgets(*budgets), chunking)
        judge.row(answer, _batch(line, running, promised, since, budgets, chunking), case, "comes in")

    three = [(4, 6), (3, 6), (5, 6)]
    with judge.rule("the examples of the docstring"):
        batch(three)
        batch(three, chunking=True)
        batch(three, running=5, promised=50, since=1)
    with judge.rule("the prefill budget: full to the last token, and no one overtakes"):
        batch([(4, 1), (4, 1), (1, 1)])
        batch([(9, 1), (1, 1)])
    with judge.rule("the total budget counts what may come, of those inside as well"):
        batch([(2, 18), (2, 18), (1, 0)])
        batch([(2, 18)], running=1, promised=20, since=99)
        batch([(2, 18)], running=1, promised=21, since=99)
    with judge.rule("too few for a pause of the others, unless they have waited long enough"):
        batch([(1, 1)], running=4, promised=8, since=3)
        batch([(1, 1), (1, 1)], running=4, promised=8, since=3)
        batch([(1, 1), (1, 1)], running=5, promised=8, since=3)
        batch([(1, 1)], running=4, promised=8, since=19)
        batch([(1, 1)], running=4, promised=8, since=20)
    with judge.rule("it is who would come in that counts, not who waits"):
        batch([(7, 1), (7, 1), (7, 1)], running=4, promised=4, since=3)
    with judge.rule("with chunking: no ratio, a smaller budget, and a part of the last prompt"):
        batch([(9, 1)], running=4, promised=4, since=0, chunking=True)
        batch([(2, 1), (2, 1), (2, 1)], running=4, promised=4, chunking=True)
        batch([(2, 1)], running=8, promised=8, chunking=True)
    with judge.rule("nobody waits"):
        batch([])
        batch([], running=3, promised=9, since=30)
    with judge.rule("any line"):
        line = st.lists(st.tuples(st.integers(1, 6), st.integers(0, 6)), max_size=5)
        judge.prove(
            lambda line, running, since, most, total, chunking: batch(
                line, running, 3 * running, since, (most, total, 0.5, 3), chunking
            ),
            *(line, st.integers(0, 6), st.integers(0, 4), st.integers(1, 12), st.integers(5, 40), st.booleans()),
        )


def _batch(
    line: list[tuple[int, int]],
    running: int,
    promised: int,
    since: int,
    budgets: tuple[int, int, float, int],
    chunking: bool,
) -> list[int]:
    """The longest beginning of the line that both budgets allow: every length is tried."""
    prefill, total, ratio, patience = budgets
    prefill -= running if chunking else 0
    allowed = []
    for count in range(len(line) + 1):
        prompts = [prompt for prompt, _ in line[:count]]
        whole = promised + sum(prompt + new for prompt, new in line[:count]) <= total
        room = sum(prompts[:-1]) < prefill if chunking else sum(prompts) <= prefill
        if count == 0 or (whole and room):
            allowed.append(prompts)
    batch = max(allowed, key=len)
    if chunking:
        return [min(prompt, prefill - sum(batch[:at])) for at, prompt in enumerate(batch)]
    worth = len(batch) >= int(ratio * running) or since >= patience
    return batch if worth else []
