"""Chapter 08, first half: keys, hits, the line to be evicted, and what sharing saves."""

from __future__ import annotations

from hashlib import sha256
from types import ModuleType
from typing import Any

from pagedlab.learn.exercise import exercise
from pagedlab.learn.judge import Judge


@exercise(
    "08.chained_hash",
    "A chained hash",
    difficulty=1,
    minutes=15,
    hints=(
        "Each key is made of two things. What is the first of them for page 0?",
        "Walk over the full pages only, and carry the key along: it is the parent of the next.",
        "for start in range(0, len(tokens) - page_size + 1, page_size):\n"
        "    key = digest(key, tokens[start : start + page_size])",
    ),
)
def chained_hash(mine: ModuleType, judge: Judge) -> None:
    from hypothesis import strategies as st

    def keys(tokens: list[int], size: int, salt: Any = None) -> list[bytes]:
        said = f"page_keys({tokens}, {size}{'' if salt is None else f', {salt!r}'})"
        judge.trying(said)
        return list(mine.page_keys(list(tokens), size, salt))

    with judge.rule("one key for each full page, none for the rest"):
        for tokens, number in (([1, 2, 3], 0), ([1, 2, 3, 4], 1), ([1, 2, 3, 4, 5], 1), (list(range(9)), 2), ([], 0)):
            judge.equal(len(keys(tokens, 4)), number, case=f"page_keys({tokens}, 4): how many")
    with judge.rule("a prompt and its continuation share the keys of what they have in common"):
        judge.equal(
            keys([1, 2, 3, 4, 5], 2), keys([1, 2, 3, 4, 9, 9], 2)[:2], case="[1, 2, 3, 4, 5] and [1, 2, 3, 4, 9, 9]"
        )
    with judge.rule("equal tokens after different beginnings get different keys"):
        one, other = keys([1, 1, 7, 7], 2), keys([2, 2, 7, 7], 2)
        judge.true(
            one[1] != other[1],
            actual="equal keys",
            expected="different keys",
            case="second pages of [1, 1, 7, 7] and [2, 2, 7, 7]",
        )
        repeated = keys([7, 7, 7, 7], 2)
        judge.true(
            repeated[0] != repeated[1],
            actual="equal keys",
            expected="different keys",
            case="both pages of [7, 7, 7, 7]",
        )
    with judge.rule("another salt, other keys; the same salt, the same keys"):
        judge.true(
            keys([1, 2], 2, "a") != keys([1, 2], 2, "b"),
            actual="equal keys",
            expected="different keys",
            case="salts 'a' and 'b'",
        )
        judge.equal(keys([1, 2], 2, "a"), keys([1, 2], 2, "a"), case="salt 'a', twice")
    with judge.rule("exactly as it is written"):
        judge.prove(
            lambda tokens, size, salt: judge.equal(
                keys(tokens, size, salt), _keys(tokens, size, salt), case=f"page_keys({tokens}, {size}, {salt!r})"
            ),
            st.lists(st.integers(0, 3), max_size=9),
            st.integers(1, 4),
            st.sampled_from([None, "tenant", 7]),
        )


def _keys(tokens: list[int], size: int, salt: Any = None) -> list[bytes]:
    keys = [sha256(repr(salt).encode()).digest()]
    for page in range(len(tokens) // size):
        keys.append(sha256(keys[-1] + repr(list(tokens[page * size : (page + 1) * size])).encode()).digest())
    return keys[1:]


@exercise(
    "08.longest_hit",
    "The longest hit",
    difficulty=2,
    minutes=15,
    after=("08.chained_hash",),
    hints=(
        "Two things end the walk: a page that is not known, and the end of what may be hit.",
        "The last token must be computed, so it does not count: ask for the keys of tokens[:-1].",
        "for key in page_keys(tokens[:-1], page_size, salt):\n    if key not in known: break\n"
        "    pages.append(known[key])",
    ),
)
def longest_hit(mine: ModuleType, judge: Judge) -> None:
    from hypothesis import strategies as st

    def hit(stored: list[int], forgotten: set[int], tokens: list[int], *, size: int = 2, salt: Any = None) -> None:
        """``stored`` lies on pages 10, 11 …; those of ``forgotten`` are known no more."""
        known = {key: 10 + at for at, key in enumerate(_keys(stored, size)) if at not in forgotten}
        case = f"pages of {size}; known: {stored}" + (f" but not its page {sorted(forgotten)}" if forgotten else "")
        case += f"; longest_hit of {tokens}" + (f" with salt {salt!r}" if salt else "")
        judge.trying(case)
        wanted: list[int] = []
        for key in _keys(tokens[: len(tokens) - 1], size, salt):
            if key not in known:
                break
            wanted.append(known[key])
        judge.row(list(mine.longest_hit(dict(known), list(tokens), size, salt)), wanted, case, "pages")

    with judge.rule("pages from the first one on, in order"):
        hit([1, 2, 3, 4], set(), [1, 2, 3, 4, 5])
        hit([1, 2, 3, 4], set(), [1, 2, 9, 9, 5])
    with judge.rule("nothing is known of it"):
        hit([1, 2], set(), [3, 4, 5])
        hit([], set(), [1])
    with judge.rule("at least one token is computed"):
        hit([1, 2, 3, 4], set(), [1, 2, 3, 4])
        hit([1, 2], set(), [1, 2])
    with judge.rule("where one page is missing, what comes after cannot be used"):
        hit([1, 2, 3, 4, 5, 6], {1}, [1, 2, 3, 4, 5, 6, 7])
        hit([1, 2, 3, 4], {0}, [1, 2, 3, 4, 5])
    with judge.rule("another salt hits nothing"):
        hit([1, 2], set(), [1, 2, 3], salt="another tenant")
    with judge.rule("any prompt"):
        tokens = st.lists(st.integers(0, 1), min_size=1, max_size=8)
        judge.prove(
            lambda stored, forgotten, prompt, size: hit(stored, forgotten, prompt, size=size),
            tokens,
            st.sets(st.integers(0, 3), max_size=2),
            tokens,
            st.integers(1, 3),
        )


@exercise(
    "08.lru",
    "Who goes first",
    difficulty=2,
    minutes=20,
    hints=(
        "Which of the standard library's containers keeps an order, and lets go of a member in its middle at once?",
        "collections.OrderedDict: assign to add at the end, del to leave, popitem(last=False) for the first.",
        "for page in reversed(pages):\n    self._line[page] = None",
    ),
)
def lru(mine: ModuleType, judge: Judge) -> None:
    from hypothesis import strategies as st

    def played(steps: list[tuple[str, Any]]) -> tuple[Any, list[Any], str]:
        line, answers, case = mine.EvictionLine(), [], "a new line"
        for name, argument in steps:
            case += f", {name}({'' if argument is None else argument})"
            judge.trying(case)
            answers.append(line.evict() if name == "evict" else getattr(line, name)(argument))
        return line, answers, case

    with judge.rule("the tail of a sequence before its head"):
        line, _, case = played([("release", [4, 7, 2])])
        judge.row(line.pages(), [2, 7, 4], case, "line")
    with judge.rule("idle longest goes first"):
        line, answers, case = played([("release", [4, 7]), ("release", [5]), ("evict", None)])
        judge.equal(answers[-1], 7, case=case)
        judge.row(line.pages(), [4, 5], case, "line")
    with judge.rule("who is hit leaves, and comes back at the end"):
        line, _, case = played([("release", [4, 7, 2]), ("hit", 7)])
        judge.row(line.pages(), [2, 4], case, "line")
        line, _, case = played([("release", [4, 7, 2]), ("hit", 2), ("release", [2])])
        judge.row(line.pages(), [7, 4, 2], case, "line")
    with judge.rule("asked for what is not there, it says so"):
        line, _, case = played([("release", [1]), ("evict", None)])
        judge.raises(IndexError, line.evict, case=f"{case}, evict()")
        judge.raises(KeyError, lambda: line.hit(1), case=f"{case}, hit(1)")
    with judge.rule("any sequence of operations"):
        step = st.tuples(
            st.sampled_from(["release", "release", "hit", "evict"]), st.lists(st.integers(0, 7), unique=True)
        )
        judge.prove(lambda steps: _line_beside_a_list(mine, judge, steps), st.lists(step, max_size=10))
    with judge.rule("a page leaves the middle without a walk"):
        case = "200,000 pages in line, 100,000 of them hit"
        judge.trying(case)
        line = mine.EvictionLine()
        line.release(list(range(200_000)))
        for page in range(0, 200_000, 2):
            line.hit(page)
        judge.equal(line.evict(), 199_999, case=case)


def _line_beside_a_list(mine: ModuleType, judge: Judge, steps: list[tuple[str, list[int]]]) -> None:
    line, wanted, case = mine.EvictionLine(), list[int](), "a new line"
    for name, pages in steps:
        fresh = [page for page in pages if page not in wanted]
        if name == "release":
            case += f", release({fresh})"
            judge.trying(case)
            line.release(list(fresh))
            wanted += reversed(fresh)
        elif name == "hit" and set(pages) & set(wanted):
            page = next(page for page in pages if page in wanted)
            case += f", hit({page})"
            judge.trying(case)
            line.hit(page)
            wanted.remove(page)
        elif name == "evict" and wanted:
            case += ", evict()"
            judge.trying(case)
            judge.equal(line.evict(), wanted.pop(0), case=case)
        judge.row(line.pages(), wanted, case, "line")


@exercise(
    "08.samples",
    "What n answers cost",
    difficulty=1,
    minutes=15,
    hints=(
        "Which pages of the prompt will never be written again?",
        "Only full pages of the prompt stay shared. Everything from there on, each of the n has to itself in the end.",
        "full = prompt // page_size\nfull + n * (pages of one whole sequence - full)",
    ),
)
def samples(mine: ModuleType, judge: Judge) -> None:
    from hypothesis import strategies as st

    def counted(n: int, prompt: int, answer: int, size: int) -> None:
        wanted = _samples(n, prompt, answer, size)
        for name, arguments in (
            ("not_shared", (n, prompt, answer, size)),
            ("shared", (n, prompt, answer, size)),
            ("copies", (n, prompt, size)),
        ):
            case = f"{name}{arguments}"
            judge.trying(case)
            judge.equal(getattr(mine, name)(*arguments), wanted[name], case=case)

    with judge.rule("by hand: a prompt of 10, 4 answers of 3, pages of 4"):
        counted(4, 10, 3, 4)
    with judge.rule("a prompt that ends with a full page: nothing is copied"):
        counted(4, 8, 3, 4)
        counted(2, 16, 1, 16)
    with judge.rule("one answer shares with nobody"):
        counted(1, 10, 3, 4)
        counted(1, 3, 1, 4)
    with judge.rule("a prompt shorter than a page"):
        counted(3, 2, 1, 4)
        counted(3, 2, 9, 4)
    with judge.rule("any numbers, beside the engine's own manager"):
        judge.prove(counted, st.integers(1, 5), st.integers(1, 20), st.integers(1, 9), st.integers(1, 6))


def _samples(n: int, prompt: int, answer: int, size: int) -> dict[str, int]:
    """What the engine's cache manager does with such a request."""
    from pagedlab.memory.manager import CacheManager

    manager = CacheManager(n * (prompt + answer), size)
    manager.admit(0, list(range(prompt)))
    for child in range(1, n):
        manager.fork(0, child)
    for token in range(answer):
        for sequence in range(n):
            manager.extend(sequence, prompt + token + 1)
    alone = manager.pages_for(prompt + answer)
    return {"not_shared": n * alone, "shared": manager.pool.num_used, "copies": manager.stats.copies}
