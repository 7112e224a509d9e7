"""Chapter 13: the cache manager, beside the engine's own."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

from pagedlab.errors import OutOfPages
from pagedlab.learn.exercise import exercise
from pagedlab.learn.judge import Judge

SIZE = 4


@exercise(
    "13.manager",
    "The cache manager",
    difficulty=3,
    minutes=75,
    needs=("torch",),
    after=("03.fork", "03.pool"),
    hints=(
        "Begin with make_room: it is the only place that evicts. Then pages_needed and extend, which asks it; then "
        "admit; publish and release last. Each method needs those before it.",
        "admit: match, count what is missing, refuse if that is more than num_available without the hit pages that are "
        "idle now; share the hit pages and take them out of idle; make the tables' entry; then extend does the rest.",
        "match = self.prefix_cache.match(tokens, (len(tokens) - 1) // self.page_size, salt)\n"
        "were_idle = [page for page in match.pages if self.pool.state(page) is PageState.CACHED]\n"
        "if missing > self.num_available - len(were_idle): raise OutOfPages(…)\n"
        "for page in match.pages: self.pool.share(page)\nself.tables.pages[sequence] = list(match.pages)\n"
        "self.extend(sequence, num_tokens)",
    ),
)
def manager(mine: ModuleType, judge: Judge) -> None:
    from hypothesis import strategies as st

    from pagedlab.learn.checks.c13_model import same_tokens

    with judge.rule("a new sequence gets room for what the budget allows"):
        for text, budget, wanted, pages in (("abcdef", 9, (0, 6), 2), ("abcdef", 3, (0, 3), 1), ("a", 1, (0, 1), 1)):
            world = World(mine, 4)
            judge.equal(tuple(world.admit(judge, 0, text, budget)), wanted, case=world.case)
            judge.equal(len(world.manager.tables.pages[0]), pages, case=f"{world.case}: pages held")
    with judge.rule("what was published and released is hit; its pages are cached, the last one in line first"):
        world = World(mine, 3)
        world.live(judge, 0, "abcdefgh")
        judge.row(world.manager.idle, [1, 0], world.case, "idle")
        judge.equal(tuple(world.admit(judge, 1, "abcdxyz")), (4, 7), case=world.case)
        judge.row(world.manager.tables.pages[1], [0, 2], world.case, "table")
    with judge.rule("the last token is computed, however much is known"):
        world = World(mine, 4)
        world.live(judge, 0, "abcdefgh")
        judge.equal(tuple(world.admit(judge, 1, "abcdefgh")), (4, 8), case=world.case)
    with judge.rule("when free pages run out, the page that has been idle longest is evicted"):
        world = World(mine, 2)
        world.live(judge, 0, "abcd")
        world.live(judge, 1, "efgh")
        world.admit(judge, 2, "1234")
        case = f"{world.case}: what of abcd and efgh can be hit?"
        found = [world.manager.lookup(list(map(ord, text))) for text in ("abcd.", "efgh.")]
        judge.equal(found, [0, 4], case=case)
        judge.row(world.manager.idle, [1], world.case, "idle")
    with judge.rule("hit pages are held before room is made for the others"):
        world = World(mine, 3)
        world.live(judge, 0, "abcd")
        world.live(judge, 1, "efgh")
        judge.equal(tuple(world.admit(judge, 2, "abcd12345678")), (4, 12), case=world.case)
        judge.row(world.manager.tables.pages[2], [0, 2, 1], world.case, "table")
    with judge.rule("a refusal changes nothing"):
        world = World(mine, 3)
        world.live(judge, 0, "abcdefgh")
        world.admit(judge, 1, "abcdxyz")
        judge.raises(OutOfPages, lambda: world.admit(judge, 2, "12345678"), case=world.case)
        judge.row(world.manager.idle, [1], world.case, "idle")
        judge.equal(sorted(world.manager.tables.pages), [1], case=f"{world.case}: sequences that are known")
        world.admit(judge, 3, "efgh")
        judge.raises(OutOfPages, lambda: world.extend(judge, 1, 12), case=world.case)
        judge.equal(world.manager.tables.num_tokens[1], 7, case=f"{world.case}: num_tokens of sequence 1")
    with judge.rule("forks share; whoever writes first into a shared page is given a copy of it"):
        world = World(mine, 6)
        world.admit(judge, 0, "abcdef")
        world.fork(judge, 0, 1)
        world.extend(judge, 1, 7)
        world.extend(judge, 0, 7)
        judge.equal([tuple(copy) for copy in world.manager.take_copies()], [(1, 2)], case=world.case)
        judge.row(world.manager.tables.pages[1], [0, 2], world.case, "table of the fork")
    with judge.rule("what a fork fills is found after all that comes before it"):
        world = World(mine, 6)
        world.admit(judge, 0, "abcdef")
        world.publish(judge, 0, "abcdef")
        world.fork(judge, 0, 1)
        world.extend(judge, 1, 8)
        world.publish(judge, 1, "abcdefgh")
        found = world.manager.lookup(list(b"abcdefgh."))
        judge.equal(found, 8, case=f"{world.case}: tokens of 'abcdefgh.' that are hit")
    with judge.rule("who grows, or is given a copy, may have a cached page evicted too"):
        world = World(mine, 3)
        world.live(judge, 0, "abcd")
        world.live(judge, 1, "efgh")
        world.admit(judge, 2, "wxyz")
        world.extend(judge, 2, 5)
        judge.row(world.manager.tables.pages[2], [2, 0], world.case, "table")
        world.fork(judge, 2, 3)
        world.extend(judge, 3, 6)
        judge.equal([tuple(copy) for copy in world.manager.take_copies()], [(0, 1)], case=world.case)
    with judge.rule("any sequence of operations, beside the engine's own manager"):
        letters = st.text("ab", min_size=1, max_size=14)
        kind = st.sampled_from(["admit", "admit", "extend", "extend", "fork", "release"])
        step = st.tuples(kind, st.integers(0, 3), letters, st.integers(1, 9))
        judge.prove(lambda steps: _beside_ours(mine, judge, steps), st.lists(step, max_size=14), examples=150)
    with judge.rule("it serves a model: the engine's own tokens, with far too few pages for everybody"):
        same_tokens(judge, "LLM(tiny, num_pages=24, page_size=4, manager=Manager)", manager=mine.Manager)


class World:
    """The learner's manager over the engine's pool and prefix cache, and what was done with it so far."""

    def __init__(self, mine: ModuleType, num_pages: int) -> None:
        from pagedlab.memory.pool import PagePool
        from pagedlab.memory.prefix_hash import HashPrefixCache

        self.case = f"pool of {num_pages} pages of {SIZE}"
        self.manager = mine.Manager(num_pages, SIZE, pool=PagePool(num_pages), prefix_cache=HashPrefixCache(SIZE))

    def _do(self, judge: Judge, text: str, call: Callable[[], Any]) -> Any:
        self.case += f", {text}"
        judge.trying(self.case)
        return call()

    def admit(self, judge: Judge, sequence: int, text: str, budget: int = 99) -> Any:
        said = f"admit({sequence}, {text!r}, {budget})"
        return self._do(judge, said, lambda: self.manager.admit(sequence, list(map(ord, text)), budget))

    def extend(self, judge: Judge, sequence: int, num_tokens: int) -> None:
        self._do(judge, f"extend({sequence}, {num_tokens})", lambda: self.manager.extend(sequence, num_tokens))

    def fork(self, judge: Judge, parent: int, child: int) -> None:
        self._do(judge, f"fork({parent}, {child})", lambda: self.manager.fork(parent, child))

    def publish(self, judge: Judge, sequence: int, text: str) -> None:
        said = f"publish({sequence}, {text!r}, {len(text)})"
        self._do(judge, said, lambda: self.manager.publish(sequence, list(map(ord, text)), len(text)))

    def live(self, judge: Judge, sequence: int, text: str) -> None:
        """A whole life: admitted, published, released."""
        self.admit(judge, sequence, text)
        self.publish(judge, sequence, text)
        self._do(judge, f"release({sequence})", lambda: self.manager.release(sequence))


def _beside_ours(mine: ModuleType, judge: Judge, steps: list[tuple[str, int, str, int]]) -> None:
    """The same operations on both managers: the same answers, the same refusals, the same books."""
    from pagedlab.memory.manager import CacheManager
    from pagedlab.memory.pool import PagePool
    from pagedlab.memory.prefix_hash import HashPrefixCache

    own = CacheManager(5, SIZE, prefix_cache=HashPrefixCache(SIZE))
    theirs = mine.Manager(5, SIZE, pool=PagePool(5), prefix_cache=HashPrefixCache(SIZE))
    texts: dict[int, str] = {}  #: of each sequence, what it holds or may come to hold
    case = f"pool of 5 pages of {SIZE}"
    for name, sequence, letters, budget in steps:
        if (name == "admit") == (sequence in texts) or (name == "fork" and sequence + 10 in texts):
            continue
        text = texts.get(sequence, "") + (letters if name in ("admit", "extend") else "")
        case += ", " + {
            "admit": f"admit({sequence}, {text!r}, {budget}) and publish",
            "extend": f"extend({sequence}) by {budget} of {text!r} and publish",
            "fork": f"fork({sequence}, {sequence + 10})",
            "release": f"release({sequence})",
        }.get(name, name)
        judge.trying(case)
        wanted, found = (_outcome(manager, name, sequence, list(map(ord, text)), budget) for manager in (own, theirs))
        judge.equal(found, wanted, case=case)
        if wanted != "OutOfPages":
            texts[sequence + 10 if name == "fork" else sequence] = text
            if name == "release":
                del texts[sequence]
        books = [
            {"free": [m.pool.num_free], "cached": [m.pool.num_cached], "used": [m.pool.num_used]}
            | {f"pages of {one}": [len(m.table(one).pages)] for one in texts}
            | {"copies": [len(m.take_copies())]}
            for m in (own, theirs)
        ]
        judge.equal(books[1], books[0], case=case, expected_rows=books[0], actual_rows=books[1])


def _outcome(manager: Any, name: str, sequence: int, tokens: list[int], budget: int) -> Any:
    """What an operation answers, or that there were too few pages."""
    try:
        if name == "fork":
            return manager.fork(sequence, sequence + 10)
        if name == "release":
            return manager.release(sequence)
        if name == "admit":
            hit, stop = manager.admit(sequence, tokens, budget)
        else:
            hit, stop = None, min(len(tokens), manager.table(sequence).num_tokens + budget)
            manager.extend(sequence, stop)
    except OutOfPages:
        return "OutOfPages"
    manager.publish(sequence, tokens, stop)
    return hit, stop
