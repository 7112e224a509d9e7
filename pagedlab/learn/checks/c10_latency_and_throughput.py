"""Chapter 10: latencies, load and goodput."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from pagedlab.learn.exercise import exercise
from pagedlab.learn.judge import Judge


def _near(judge: Judge, actual: Any, expected: Any, case: str, why: str = "") -> None:
    """Numbers, None, or lists of them, but for the rounding of floats."""

    def same(a: Any, e: Any) -> bool:
        if isinstance(e, list):
            return isinstance(a, (list, tuple)) and len(a) == len(e) and all(map(same, a, e))
        if e is None or a is None or isinstance(a, bool) or not isinstance(a, (int, float)):
            return a is e
        return bool(abs(a - e) <= 1e-9 * max(1.0, abs(e)))

    if not same(actual, expected):
        judge.equal(actual, expected, case=case, why=why)


@exercise(
    "10.percentile",
    "A percentile, exactly",
    difficulty=1,
    minutes=10,
    hints=(
        "Sort a copy. Of n samples, how many must be at most the answer?",
        "At least percent × n / 100 of them, rounded up: that is the rank, counted from 1.",
        "rank = -(-len(samples) * percent // 100)\nreturn sorted(samples)[rank - 1]",
    ),
)
def percentile(mine: ModuleType, judge: Judge) -> None:
    from hypothesis import strategies as st

    def tried(samples: list[int], percent: int) -> Any:
        judge.trying(f"percentile({samples}, {percent})" if len(samples) < 30 else judge.case)
        return mine.percentile(samples, percent)

    with judge.rule("by hand: of 10, 20, 30, 40 the median is 20, the 51st percentile 30"):
        for percent, value in ((50, 20), (51, 30), (75, 30), (76, 40), (99, 40), (25, 10), (1, 10)):
            judge.equal(tried([10, 20, 30, 40], percent), value)
    with judge.rule("the samples may come in any order, and keep it"):
        samples = [30, 10, 40, 20]
        judge.equal(tried(samples, 50), 20)
        judge.row(samples, [30, 10, 40, 20], "percentile([30, 10, 40, 20], 50): the list afterwards", "samples")
    with judge.rule("a p99 of few samples is their maximum"):
        judge.equal(tried([5], 99), 5)
        judge.equal(tried(list(range(1, 21)), 99), 20)
    with judge.rule("whole ranks are not rounded up: p of the numbers 1 to 100 is p"):
        for percent in range(1, 101):
            judge.trying(f"percentile(range(1, 101), {percent})")
            judge.equal(mine.percentile(range(1, 101), percent), percent, why="0.07 * 100 is 7.000000000000001")
    with judge.rule("no samples, 0 per cent and 101 per cent are refused"):
        for samples, percent in (([], 50), ([1], 0), ([1], 101)):
            judge.trying(f"percentile({samples}, {percent})")
            judge.raises(ValueError, lambda: mine.percentile(samples, percent))  # noqa: B023
    with judge.rule("any samples: the smallest value that enough of them do not exceed"):

        def smallest(samples: list[int], percent: int) -> None:
            enough = [v for v in samples if 100 * sum(s <= v for s in samples) >= percent * len(samples)]
            judge.equal(tried(samples, percent), min(enough))

        judge.prove(smallest, st.lists(st.integers(0, 9), min_size=1, max_size=12), st.integers(1, 100))


@exercise(
    "10.request_latencies",
    "TTFT, TPOT, E2E",
    difficulty=1,
    minutes=10,
    hints=(
        "Four tokens have three gaps between them.",
        "TPOT = (last - first) / (tokens - 1). With a single token there is nothing to divide.",
        "gaps = len(token_times) - 1\ntpot = (token_times[-1] - token_times[0]) / gaps if gaps else None",
    ),
)
def request_latencies(mine: ModuleType, judge: Judge) -> None:
    from hypothesis import strategies as st

    def tried(arrival: float, times: list[float]) -> list[Any]:
        judge.trying(f"latencies({arrival}, {times})")
        found = mine.latencies(arrival, times)
        return [found.ttft, found.tpot, found.e2e]

    with judge.rule("by hand: due at 10.0, tokens from 10.5 on: 0.5, 0.2 and 1.1 s"):
        _near(
            judge, tried(10.0, [10.5, 10.7, 10.9, 11.1]), [0.5, 0.2, 1.1], "latencies(10.0, [10.5, 10.7, 10.9, 11.1])"
        )
    with judge.rule("one token: TTFT is E2E, and there is no pace"):
        _near(judge, tried(2.0, [3.0]), [1.0, None, 1.0], "latencies(2.0, [3.0])")
    with judge.rule("uneven gaps: the mean of all gaps, not the last or the middle one"):
        _near(judge, tried(0.0, [1.0, 1.5, 4.0]), [1.0, 1.5, 4.0], "latencies(0.0, [1.0, 1.5, 4.0])")
    with judge.rule("two tokens of one step: a pace of 0, which is not None"):
        _near(judge, tried(0.0, [1.0, 1.0]), [1.0, 0.0, 1.0], "latencies(0.0, [1.0, 1.0])")
    with judge.rule("no token: refused"):
        judge.trying("latencies(0.0, [])")
        judge.raises(ValueError, lambda: mine.latencies(0.0, []))
    with judge.rule("any request: E2E = TTFT + TPOT × (tokens - 1)"):

        def adds_up(arrival: int, gaps: list[int]) -> None:
            times = [float(arrival + sum(gaps[: i + 1])) for i in range(len(gaps))]
            ttft, rest = float(gaps[0]), gaps[1:]
            expected = [ttft, sum(rest) / len(rest) if rest else None, float(sum(gaps))]
            _near(judge, tried(float(arrival), times), expected, f"latencies({float(arrival)}, {times})")

        judge.prove(adds_up, st.integers(0, 5), st.lists(st.integers(0, 4), min_size=1, max_size=5))


@exercise(
    "10.poisson_arrivals",
    "Arrivals that nobody coordinates",
    difficulty=2,
    minutes=15,
    hints=(
        "Draw gaps, and add them up.",
        "random.Random(seed) is a stream of its own; it has expovariate.",
        "draw, now = Random(seed), 0.0\nnow += draw.expovariate(rate)   # for each request",
    ),
)
def poisson_arrivals(mine: ModuleType, judge: Judge) -> None:
    import random
    from itertools import pairwise
    from statistics import fmean, pstdev

    def tried(rate: float, count: int, seed: int) -> list[float]:
        judge.trying(f"poisson_arrivals({rate}, {count}, {seed})")
        return list(mine.poisson_arrivals(rate, count, seed))

    with judge.rule("so many arrivals, in order, the first after a gap"):
        found = tried(4.0, 50, 1)
        judge.equal(len(found), 50, case="len(poisson_arrivals(4.0, 50, 1))")
        judge.true(found == sorted(found) and found[0] > 0, actual=found[:4], expected="rising times, none at 0")
        judge.equal(tried(4.0, 0, 1), [])
    with judge.rule("the seed decides: the same again, and another one otherwise"):
        random.seed(5)
        once = tried(4.0, 5, 1)
        random.seed(6)
        judge.row(tried(4.0, 5, 1), once, "poisson_arrivals(4.0, 5, 1), twice", "arrivals")
        judge.true(tried(4.0, 5, 2) != once, actual=once, expected="other arrivals for seed 2 than for seed 1")
    with judge.rule("nobody else's random numbers are disturbed"):
        random.seed(7)
        undisturbed = random.random()
        random.seed(7)
        tried(4.0, 5, 1)
        judge.equal(random.random(), undisturbed, case="random.random() after poisson_arrivals(4.0, 5, 1)")
    many = [0.0, *tried(4.0, 4000, 3)]
    gaps = [later - sooner for sooner, later in pairwise(many)]
    case = "gaps of poisson_arrivals(4.0, 4000, 3)"
    with judge.rule("at 4 a second, gaps are 0.25 s on average"):
        judge.true(0.23 < fmean(gaps) < 0.27, actual=fmean(gaps), expected="a mean of about 0.25", case=case)
    with judge.rule("gaps are exponential: as wide as their mean, and 37 % of them longer than it"):
        judge.true(
            0.22 < pstdev(gaps) < 0.28, actual=pstdev(gaps), expected="a standard deviation of about 0.25", case=case
        )
        longer = sum(gap > 0.25 for gap in gaps) / len(gaps)
        judge.true(0.34 < longer < 0.40, actual=longer, expected="about 0.37 of them longer than 0.25 s", case=case)
    with judge.rule("the same seed at twice the rate: the same pattern, twice as fast"):
        slow, fast = tried(2.0, 20, 9), tried(4.0, 20, 9)
        _near(judge, fast, [at / 2 for at in slow], "poisson_arrivals(4.0, 20, 9), and half of those at rate 2.0")
    with judge.rule("a rate of 0 is refused"):
        judge.trying("poisson_arrivals(0, 3, 1)")
        judge.raises(ValueError, lambda: mine.poisson_arrivals(0, 3, 1))


@exercise(
    "10.omission",
    "The wait that was not counted",
    difficulty=2,
    minutes=15,
    hints=(
        "Keep one number: when the server is free again.",
        "It begins at max(free, due). Open: the end less *due*. Closed: the end less when it was *sent*.",
        "sent = max(free, at)\nfree = sent + seconds\nopen: free - at, closed: (sent, free - sent)",
    ),
)
def omission(mine: ModuleType, judge: Judge) -> None:
    from hypothesis import strategies as st

    def both(due: list[float], service: list[float], opened: list[float], sent: list[float]) -> None:
        case = f"open_loop({due}, {service})"
        judge.trying(case)
        _near(judge, list(mine.open_loop(due, service)), opened, case)
        case = f"closed_loop({due}, {service})"
        judge.trying(case)
        measured = [list(pair) for pair in mine.closed_loop(due, service)]
        _near(judge, measured, [list(pair) for pair in zip(sent, service, strict=True)], case)

    with judge.rule("by hand: one stall of 5 s, felt three times and measured once"):
        both([0, 1, 2], [5, 1, 1], [5, 5, 5], [0, 5, 6])
    with judge.rule("a server that idles: nobody waits, and both loops agree"):
        both([1, 10, 20], [2, 3, 4], [2, 3, 4], [1, 10, 20])
    with judge.rule("the backlog drains before the last one"):
        both([0, 1, 9], [4, 2, 1], [4, 5, 1], [0, 4, 9])
    with judge.rule("any load: an open loop counts the queue, a closed loop of one does not"):

        def counted(pairs: list[tuple[int, int]]) -> None:
            due = [float(sum(gap for gap, _ in pairs[: i + 1])) for i in range(len(pairs))]
            service, opened = [float(seconds) for _, seconds in pairs], []
            for i, at in enumerate(due):  # the longest of: everything from request j on, back to back
                opened.append(max(due[j] + sum(service[j : i + 1]) for j in range(i + 1)) - at)
            both(due, service, opened, [at + wait - s for at, wait, s in zip(due, opened, service, strict=True)])

        judge.prove(counted, st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4)), max_size=5))


@exercise(
    "10.goodput",
    "Served, and in time",
    difficulty=2,
    minutes=15,
    hints=(
        "Ask every request about both bounds; count requests, not bounds.",
        "None means two things here: without a first token a miss, without a pace nothing to miss.",
        "request.ttft is not None and request.ttft <= ttft and (request.tpot is None or request.tpot <= tpot)",
    ),
)
def goodput(mine: ModuleType, judge: Judge) -> None:
    from hypothesis import strategies as st

    def run(pairs: list[tuple[float | None, float | None]], good: int, seconds: float = 2.0) -> None:
        requests = [mine.Served(*pair) for pair in pairs]
        judge.trying(f"goodput({pairs}, {seconds}, ttft=1.0, tpot=0.1)")
        _near(judge, mine.goodput(requests, seconds, 1.0, 0.1), good / seconds, judge.case)
        judge.trying(f"attainment({pairs}, ttft=1.0, tpot=0.1)")
        _near(judge, mine.attainment(requests, 1.0, 0.1), good / len(pairs) if pairs else 1.0, judge.case)

    with judge.rule("by hand: three requests in 2 seconds, one of them good"):
        run([(0.5, 0.05), (0.5, 0.20), (3.0, 0.05)], 1)
    with judge.rule("both bounds, and of the same request"):
        run([(0.5, 0.20), (3.0, 0.05)], 0)
    with judge.rule("exactly on the bound is in time"):
        run([(1.0, 0.1)], 1)
    with judge.rule("one token has no pace to miss; its wait counts"):
        run([(0.5, None), (1.5, None)], 1)
    with judge.rule("no answer at all is a miss, and it is counted"):
        run([(None, None), (0.5, 0.05)], 1)
        run([], 0)
    with judge.rule("any run: good requests over seconds, and over all requests"):
        value, pace = st.sampled_from([None, 0.5, 1.0, 1.5]), st.sampled_from([None, 0.05, 0.1, 0.2])

        def counts(pairs: list[tuple[float | None, float | None]], seconds: int) -> None:
            run(pairs, sum(t is not None and t <= 1.0 and (p or 0) <= 0.1 for t, p in pairs), float(seconds))

        judge.prove(counts, st.lists(st.tuples(value, pace), max_size=4), st.integers(1, 4))


@exercise(
    "10.slo_search",
    "The most load that keeps the promise",
    difficulty=3,
    minutes=20,
    hints=(
        "Try both ends first. What is then known of each?",
        "Keep it true that low met the promise and high missed it; move one of them to the middle.",
        "while high - low > tolerance:\n    middle = (low + high) / 2\n    if share(middle) >= promised: low = …",
    ),
)
def slo_search(mine: ModuleType, judge: Judge) -> None:
    from math import ceil, log2

    from hypothesis import strategies as st

    def search(share: Any, promised: float, low: float, high: float, tolerance: float) -> tuple[Any, list[float]]:
        tried: list[float] = []

        def experiment(rate: float) -> float:
            tried.append(rate)
            if len(tried) > 60:
                judge.wrong(expected="few experiments", actual=f"more than {len(tried) - 1}")
            return float(share(rate))

        return mine.largest_rate(experiment, promised, low, high, tolerance), tried

    with judge.rule("by hand: a cliff at 5 a second is found between 0 and 8"):
        judge.trying("share 1.0 up to rate 5, then 0: largest_rate(share, 0.9, 0, 8, 1)")
        found, _ = search(lambda rate: rate <= 5, 0.9, 0, 8, 1)
        judge.equal(found, 5)
    with judge.rule("a promise that even the lowest rate misses: None"):
        judge.trying("share 0.5 everywhere: largest_rate(share, 0.9, 1, 8, 1)")
        judge.equal(search(lambda rate: 0.5, 0.9, 1, 8, 1)[0], None)
    with judge.rule("a promise that the highest rate keeps: that rate, after two experiments at most"):
        judge.trying("share exactly 0.9 everywhere: largest_rate(share, 0.9, 1, 8, 1)")
        found, tried = search(lambda rate: 0.9, 0.9, 1, 8, 1)
        judge.equal(found, 8)
        judge.true(len(tried) <= 2, actual=tried, expected="experiments at 1 and at 8 only")
    with judge.rule("a share that falls slowly: 0.99 is promised where 0.9 would allow more"):
        for promised, right in ((0.9, 4.0), (0.99, 0.25)):
            judge.trying(f"share 1 - rate / 40: largest_rate(share, {promised}, 0, 16, 0.25)")
            found, _ = search(lambda rate: 1 - rate / 40, promised, 0, 16, 0.25)
            judge.true(found is not None and abs(found - right) <= 0.25, actual=found, expected=f"about {right}")
    with judge.rule("any cliff: a rate that was tried and met it, one just above that missed it, few experiments"):

        def bracketed(cliff: int, top: int, tolerance: int) -> None:
            high = float(cliff + top)
            judge.trying(f"share 1.0 up to rate {cliff}, then 0: largest_rate(share, 0.9, 0, {high}, {tolerance})")
            found, tried = search(lambda rate: rate <= cliff, 0.9, 0.0, high, tolerance)
            judge.true(found in tried and found <= cliff, actual=found, expected=f"a tried rate up to {cliff}: {tried}")
            above = [rate for rate in tried if rate > cliff]
            near = found == high or (above and min(above) - found <= tolerance)
            judge.true(near, actual=f"{found}, tried {tried}", expected=f"a miss tried within {tolerance} above it")
            most = 2 + max(0, ceil(log2(high / tolerance)))
            judge.true(
                len(tried) <= most, actual=f"{len(tried)} experiments: {tried}", expected=f"at most {most} of them"
            )
            judge.true(len(set(tried)) == len(tried), actual=tried, expected="no rate twice")

        judge.prove(bracketed, st.integers(0, 40), st.integers(1, 60), st.integers(1, 4))


@exercise(
    "10.pareto",
    "Nothing to regret",
    difficulty=2,
    minutes=15,
    hints=(
        "Write dominates first: as good in both, better in one.",
        "A point stays if no point of the list dominates it. Nothing dominates itself.",
        "[p for p in points if not any(dominates(other, p) for other in points)], sorted by latency",
    ),
)
def pareto(mine: ModuleType, judge: Judge) -> None:
    from hypothesis import strategies as st

    def names(settings: list[tuple[float, float]]) -> list[str]:
        points = [mine.Point("ABCDEFGH"[i], *setting) for i, setting in enumerate(settings)]
        judge.trying(f"front of {settings}, (throughput, latency) of A, B, C …")
        return [point.name for point in mine.front(points)]

    with judge.rule("by hand: A and B are the front, C and D are not"):
        judge.row(names([(100, 1.0), (200, 2.0), (150, 2.5), (200, 3.0)]), ["A", "B"], label="front")
    with judge.rule("the lowest latency first, whatever order they came in"):
        judge.row(names([(300, 3.0), (100, 1.0), (200, 2.0)]), ["B", "C", "A"], label="front")
    with judge.rule("as good in one and worse in the other is dominated"):
        judge.row(names([(100, 1.0), (100, 2.0)]), ["A"], label="front")
        judge.row(names([(100, 1.0), (200, 1.0)]), ["B"], label="front")
    with judge.rule("equal points both stay, and none dominates the other"):
        judge.row(names([(100, 1.0), (100, 1.0)]), ["A", "B"], label="front")
        twin = mine.Point("A", 100, 1.0)
        judge.trying("dominates(A, A) with A = (100, 1.0)")
        judge.equal(bool(mine.dominates(twin, mine.Point("B", 100, 1.0))), False)
    with judge.rule("any settings: those and only those that nobody dominates"):

        def undominated(settings: list[tuple[int, int]]) -> None:
            def beaten(t: int, s: int) -> bool:
                return any(a >= t and b <= s and (a, b) != (t, s) for a, b in settings)

            stay = [i for i, setting in enumerate(settings) if not beaten(*setting)]
            right = ["ABCDEFGH"[i] for i in sorted(stay, key=lambda i: settings[i][1])]
            judge.row(names(list(settings)), right, judge.case, "front")

        judge.prove(undominated, st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), max_size=5))
