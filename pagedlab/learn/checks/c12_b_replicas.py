"""Chapter 12, second half: who gets a request, and what happens when a replica is lost."""

from __future__ import annotations

import random
from types import ModuleType
from typing import Any

from pagedlab.learn.exercise import exercise
from pagedlab.learn.judge import Judge


@exercise(
    "12.two_choices",
    "The power of two choices",
    difficulty=1,
    minutes=10,
    hints=(
        "Two draws may land on the same replica. How do you draw two that differ?",
        "random.Random has sample(): so many different members of a sequence. It refuses more than there are.",
        "drawn = rng.sample(range(len(loads)), min(2, len(loads)))\nreturn min(drawn, key=…)",
    ),
)
def two_choices(mine: ModuleType, judge: Judge) -> None:
    rng = random.Random(12)
    with judge.rule("of two replicas, the less loaded; of one, that one"):
        for loads, wanted in (([4, 1], 1), ([0, 7], 0), ([3], 0)):
            case = f"two_choices({loads}, rng)"
            judge.trying(case)
            for _ in range(20):
                judge.equal(mine.two_choices(list(loads), rng), wanted, case=case)
    with judge.rule("of four, every pair is equally likely: the idle one wins 3 of 6 pairs, the fullest none"):
        loads, wins = [5, 0, 3, 9], [0, 0, 0, 0]
        case = f"two_choices({loads}, rng), 6,000 times"
        judge.trying(case)
        for _ in range(6000):
            wins[mine.two_choices(list(loads), rng)] += 1
        near = all(abs(won - of_6 * 1000) < 200 for won, of_6 in zip(wins, (1, 3, 2, 0), strict=True))
        judge.true(near and not wins[3], actual=wins, expected="about [1000, 3000, 2000, 0] wins", case=case)
    with judge.rule("equal loads: nobody is left out"):
        case = "two_choices([2, 2, 2], rng), 300 times"
        judge.trying(case)
        chosen = {mine.two_choices([2, 2, 2], rng) for _ in range(300)}
        judge.equal(chosen, {0, 1, 2}, case=case)
    with judge.rule("spread: each choice sees the requests before it"):
        case = "spread(7, 3, the least loaded, rng)"
        judge.trying(case)
        seen: list[list[int]] = []

        def least(loads: Any, rng: random.Random) -> int:
            seen.append(list(loads))
            return list(loads).index(min(loads))

        judge.row(mine.spread(7, 3, least, rng), [3, 2, 2], case, "loads")
        judge.equal(
            seen[:4], [[0, 0, 0], [1, 0, 0], [1, 1, 0], [1, 1, 1]], case=f"loads that the choices of {case} saw"
        )
        judge.row(mine.spread(0, 2, least, rng), [0, 0], "spread(0, 2, the least loaded, rng)", "loads")


@exercise(
    "12.prefix_router",
    "A router that knows prefixes",
    difficulty=2,
    minutes=25,
    hints=(
        "Three rules, one after another, each with its own number for a replica; the smallest number wins.",
        "min(replicas, key=lambda r: (preference[r], loads[r], r)) settles all ties. What is preference in each rule?",
        "rule 1: loads; rule 2: minus the match; rule 3: len(self.remembered[r])\n"
        "# and at the end: self.remembered[chosen].update(self.beginnings(prompt))",
    ),
)
def prefix_router(mine: ModuleType, judge: Judge) -> None:
    from hypothesis import strategies as st

    with judge.rule("beginnings: whole pages, the shortest first"):
        for prompt, pages in (([7, 7, 1, 2, 5], [(7, 7), (7, 7, 1, 2)]), ([7], []), ([1, 2], [(1, 2)])):
            case = f"pages of 2: beginnings({prompt})"
            judge.trying(case)
            found = [tuple(one) for one in mine.PrefixRouter(2, 2).beginnings(prompt)]
            judge.equal(found, pages, case=case)
    with judge.rule("the turns of a chat stay together; a prompt that nobody knows goes where least is remembered"):
        chat = [[1, 1, 2, 2], [9, 9, 8, 8], [1, 1, 2, 2, 3, 3], [9, 9, 8, 8, 7, 7]]
        _beside_ours(mine, judge, 2, {}, [(prompt, [0, 0]) for prompt in chat], [0, 1, 0, 1])
    with judge.rule("a match below the share of the prompt is no match, one at the share is"):
        short = [([1, 1], [0, 0]), ([1, 1, *range(20, 28)], [0, 0]), ([5, 5], [0, 0]), ([1, 1, 6, 6], [0, 0])]
        _beside_ours(mine, judge, 2, {"cover": 0.5}, short, [0, 1, 0, 0])
    with judge.rule("load wins where the gap is large: in requests and in proportion, both"):
        known, prompt = ([1, 1, 2, 2], [0, 0]), [1, 1, 2, 2, 3, 3]
        for loads, wanted in (([65, 0], 1), ([64, 0], 0), ([200, 130], 1), ([200, 134], 0), ([195, 130], 0)):
            _beside_ours(mine, judge, 2, {}, [known, (prompt, loads)], [0, wanted])
    with judge.rule("equal ones: the less loaded, then the lower number"):
        _beside_ours(mine, judge, 3, {}, [([1, 1], [2, 1, 1]), ([5, 5], [2, 3, 2])], [1, 0])
    with judge.rule("any prompts and loads"):
        prompts = st.lists(st.integers(0, 1), min_size=1, max_size=7)
        sent = st.lists(st.tuples(prompts, st.lists(st.integers(0, 9), min_size=3, max_size=3)), max_size=8)
        judge.prove(lambda steps: _beside_ours(mine, judge, 3, {"gap": 4, "cover": 0.4}, steps), sent)


def _beside_ours(
    mine: ModuleType,
    judge: Judge,
    replicas: int,
    settings: dict[str, float],
    sent: list[tuple[list[int], list[int]]],
    wanted: list[int] | None = None,
) -> None:
    """The learner's router beside the rule itself, spelled out over lists of all prompts that were sent."""
    gap, ratio, cover = (settings.get(name, value) for name, value in (("gap", 64), ("ratio", 1.5), ("cover", 0.3)))
    said = ", ".join(f"{name}={value}" for name, value in settings.items())
    done = [f"PrefixRouter({replicas}, 2{', ' if said else ''}{said})"]
    judge.trying(done[0])
    router: Any = mine.PrefixRouter(replicas, 2, **settings)
    known: list[set[tuple[int, ...]]] = [set() for _ in range(replicas)]
    for number, (prompt, loads) in enumerate(sent):
        pages = [tuple(prompt[: 2 * i]) for i in range(1, len(prompt) // 2 + 1)]
        matches = [2 * sum(page in one for page in pages) for one in known]
        if max(loads) - min(loads) > gap and max(loads) > ratio * min(loads):
            preference = list(loads)
        elif max(matches) >= cover * len(prompt):
            preference = [-match for match in matches]
        else:
            preference = [len(one) for one in known]
        right = min((preference[r], loads[r], r) for r in range(replicas))[2]
        done.append(f"route({prompt}, loads={loads})")
        case = ", ".join(done)
        judge.trying(case)
        found = [router.match(list(prompt), replica) for replica in range(replicas)]
        judge.equal(found, matches, case=f"the matches before {case}")
        judge.equal(router.route(list(prompt), list(loads)), right, case=case)
        assert wanted is None or wanted[number] == right
        known[right].update(pages)


@exercise(
    "12.failover",
    "A replica is lost",
    difficulty=2,
    minutes=20,
    hints=(
        "Every message names its replica. Which single table says whether that replica still has a say?",
        "self.working.get(request) != replica answers for tokens and for ends. Then compare position and length.",
        "lost = [request for request in self.streams if self.working.get(request) == replica]\n"
        "for request in lost: del self.working[request]\nself.waiting[:0] = lost",
    ),
)
def failover(mine: ModuleType, judge: Judge) -> None:
    from hypothesis import strategies as st

    with judge.rule("the example of the docstring, token by token"):
        front, case = _front(mine, judge, ["a"])
        front.assign(0)
        said: list[object] = [front.token(0, "a", 0, 55), front.lose(0), front.assign(1)]
        said += [front.token(1, "a", 0, 55), front.token(1, "a", 1, 17), front.token(0, "a", 1, 99)]
        judge.equal(said, [True, ["a"], "a", False, True, False], case=f"{case}; then as in the docstring")
        judge.row(front.streams["a"], [55, 17], "what the user of 'a' has seen", "tokens")
    with judge.rule("what is lost waits before all others, in the order of submission, and only once"):
        front, case = _front(mine, judge, ["a", "b", "c", "d", "e"])
        for replica in (0, 1, 0):
            front.assign(replica)
        judge.row(front.lose(0), ["a", "c"], f"{case}; a and c to 0, b to 1; lose(0)", "requeued")
        judge.row(front.waiting, ["a", "c", "d", "e"], f"{case}; a and c to 0, b to 1; lose(0)", "waiting")
        judge.row(front.lose(0), [], "lose(0) again", "requeued")
        judge.row(front.waiting, ["a", "c", "d", "e"], "lose(0) again", "waiting")
        case = "lose(0), then a and c to 1; a stays where it is, b too; lose(1)"
        judge.trying(case)
        front.assign(1)
        front.assign(1)
        judge.row(front.lose(1), ["a", "b", "c"], case, "requeued")
    with judge.rule("what has ended is not requeued; a lost replica cannot end anything"):
        front, case = _front(mine, judge, ["a", "b"])
        front.assign(0)
        front.assign(0)
        judge.equal(front.end(0, "a"), True, case="end(0, 'a')")
        judge.row(front.lose(0), ["b"], "end(0, 'a'), lose(0)", "requeued")
        judge.equal(front.end(0, "b"), False, case="lose(0), end(0, 'b')")
        judge.equal((set(front.ended), list(front.waiting)), ({"a"}, ["b"]), case="what has ended, and what waits")
    with judge.rule("a token that was left out is an error"):
        front, case = _front(mine, judge, ["a"])
        front.assign(0)
        judge.raises(ValueError, lambda: front.token(0, "a", 1, 5), case=f"{case}, assign(0), token(0, 'a', 1, 5)")
    with judge.rule("whatever is lost, and when: every stream is whole in the end"):
        steps = st.lists(st.tuples(st.sampled_from(["work", "work", "work", "lose", "ghost"]), st.integers(0, 2)))
        judge.prove(lambda plan: _any_day(mine, judge, plan), steps)


def _front(mine: ModuleType, judge: Judge, requests: list[str]) -> tuple[Any, str]:
    case = f"submit {', '.join(requests)}"
    judge.trying(case)
    front = mine.Front()
    for request in requests:
        front.submit(request)
    return front, case


def _any_day(mine: ModuleType, judge: Judge, plan: list[tuple[str, int]]) -> None:
    """Three replicas serve four requests of three tokens, are lost as ``plan`` says, and talk on when they are."""
    names = ["a", "b", "c", "d"]
    front, case = _front(mine, judge, names)
    jobs: dict[int, tuple[str, int]] = {}  # replica -> request, tokens made
    ghosts: list[tuple[int, str, int]] = []
    finish = [("work", replica) for _ in range(8) for replica in range(3)]
    for what, replica in [*plan, *finish, *finish]:
        judge.trying(f"{case}; {plan}")
        if what == "lose":
            front.lose(replica)
            if replica in jobs:
                ghosts.append((replica, *jobs.pop(replica)))
        elif what == "ghost":
            for dead, request, made in ghosts:
                if jobs.get(dead, ("",))[0] != request:  # else it was given the same request anew
                    front.token(dead, request, made, -1)
                    front.end(dead, request)
        elif replica not in jobs:
            request = front.assign(replica)
            if request is not None:
                jobs[replica] = (request, 0)
        else:
            request, made = jobs[replica]
            if made == 3:
                front.end(replica, request)
                del jobs[replica]
            else:
                front.token(replica, request, made, 100 * names.index(request) + made)
                jobs[replica] = (request, made + 1)
    wanted = {name: [100 * number + i for i in range(3)] for number, name in enumerate(names)}
    streams = {name: list(front.streams[name]) for name in names}
    judge.equal(streams, wanted, case=f"{case}; {plan}", expected_rows=wanted, actual_rows=streams)
    judge.equal(set(front.ended), set(names), case=f"{case}; {plan}")
