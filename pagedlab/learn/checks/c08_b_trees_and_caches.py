"""Chapter 08, second half: radix trees, and a prefix cache that an engine can use."""

from __future__ import annotations

import random
from types import ModuleType
from typing import Any

from pagedlab.learn.exercise import exercise
from pagedlab.learn.judge import Judge


@exercise(
    "08.radix",
    "Split an edge",
    difficulty=3,
    minutes=40,
    hints=(
        "Insert walks down as long as whole edges fit. Two things can happen at the end of the walk: an edge that must "
        "be split, or a rest that hangs below a node.",
        "To split (run, child) after `shared` tokens: a new node in the middle, whose only child is the rest of the "
        "run with the old child; the edge from above becomes run[:shared] with the middle node.",
        "middle = Node({run[shared]: (run[shared:], child)})\nnode.children[rest[0]] = (run[:shared], middle)",
    ),
)
def radix(mine: ModuleType, judge: Judge) -> None:
    from hypothesis import strategies as st

    def grown(*texts: str) -> Any:
        root, kept = mine.Node(), list[str]()
        for text in texts:
            case = f"{', '.join(f'insert({one!r})' for one in (*kept, text))}"
            judge.trying(case)
            known = max((_common(text, one) for one in kept), default=0)
            judge.equal(mine.insert(root, tuple(map(ord, text))), len(text) - known, case=f"{case}: new tokens")
            kept.append(text)
            wanted, found = _trie(kept), _edges(root)
            judge.equal(found, wanted, case=case, expected_rows={"tree": wanted}, actual_rows={"tree": found})
        return root

    def matched(root: Any, texts: list[str], text: str) -> None:
        case = f"{', '.join(f'insert({one!r})' for one in texts)}, match({text!r})"
        judge.trying(case)
        before = _edges(root)
        wanted = max((_common(text, one) for one in texts), default=0)
        judge.equal(mine.match(root, tuple(map(ord, text))), wanted, case=case)
        judge.equal(_edges(root), before, case=f"{case}: the tree afterwards")

    with judge.rule("shared_length counts what two runs have in common"):
        for one, other in (("cart", "cash"), ("ca", "cart"), ("x", "y"), ("", "a"), ("abc", "abc")):
            judge.trying(f"shared_length({one!r}, {other!r})")
            found = mine.shared_length(tuple(map(ord, one)), tuple(map(ord, other)))
            judge.equal(found, _common(one, other), case=f"shared_length({one!r}, {other!r})")
    with judge.rule("a first prompt is one edge; a continuation hangs below it"):
        grown("cart")
        grown("ca", "cart")
        grown("a", "b")
    with judge.rule("prompts that part ways split an edge"):
        grown("cart", "cash")
        grown("cart", "ca")
        grown("cart", "cash", "ca", "carp")
    with judge.rule("what is there already changes nothing"):
        grown("cart", "cart")
        grown("cart", "cash", "ca")
    with judge.rule("a match may end anywhere, and changes nothing"):
        root = grown("cart", "cash")
        for text in ("car", "cartoon", "cab", "x", "", "cash"):
            matched(root, ["cart", "cash"], text)
    with judge.rule("any prompts"):
        words = st.lists(st.text("ab", max_size=6), max_size=6)
        judge.prove(lambda texts, text: matched(grown(*texts), texts, text), words, st.text("ab", max_size=6))


def _common(one: str, other: str) -> int:
    return next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _edges(node: Any, before: str = "") -> list[str]:
    """Every edge as "what comes before + its run", in order; a key that is not its run's first token is marked."""
    found = []
    for first, (run, child) in sorted(node.children.items()):
        text = "".join(map(chr, run))
        right = bool(run) and run[0] == first
        found += [
            f"{before}+{text}" if right else f"{before}+{text} under {chr(first)!r}",
            *_edges(child, before + text),
        ]
    return found


def _trie(texts: list[str], before: str = "") -> list[str]:
    """The edges of the one radix tree of these texts: it ends an edge where a text ends, or where two part ways."""
    found = []
    rests = [text[len(before) :] for text in texts if text.startswith(before) and len(text) > len(before)]
    for first in sorted({rest[0] for rest in rests}):
        group = [rest for rest in rests if rest[0] == first]
        run = min(group, key=len)
        for rest in group:
            run = run[: _common(run, rest)]
        found += [f"{before}+{run}", *_trie(texts, before + run)]
    return found


@exercise(
    "08.leaf_lru",
    "Leaves first",
    difficulty=2,
    minutes=20,
    hints=(
        "Who may go at all? Ask that anew after each one that went.",
        "Collect (parent, child) of all nodes without children and without users; take the one with the least "
        "last_used.",
        "_, parent, leaf = min(leaves, key=lambda leaf: leaf[0])\nparent.children.remove(leaf)",
    ),
)
def leaf_lru(mine: ModuleType, judge: Judge) -> None:
    from hypothesis import strategies as st

    Shape = list[tuple[int, int, int, int]]  # parent's number, tokens, last used, users

    def tree(shape: Shape) -> Any:
        nodes = [mine.Node("root")]
        for number, (parent, tokens, used, users) in enumerate(shape):
            node = mine.Node(chr(97 + number), tokens, used, users)
            nodes[parent].children.append(node)
            nodes.append(node)
        return nodes[0]

    def evicted(shape: Shape, num_tokens: int) -> None:
        names = ["root", *(chr(97 + number) for number in range(len(shape)))]
        said = ", ".join(
            f"{names[n + 1]} below {names[parent]} ({tokens} tokens, at {used}{', in use' * bool(users)})"
            for n, (parent, tokens, used, users) in enumerate(shape)
        )
        case = f"{said or 'an empty tree'}; evict {num_tokens} tokens"
        judge.trying(case)
        judge.row(list(mine.evict(tree(shape), num_tokens)), _leaves_gone(shape, num_tokens), case, "gone")

    with judge.rule("by hand: the tree of the text"):
        evicted([(0, 4, 9, 0), (0, 2, 3, 0), (1, 2, 5, 0), (1, 6, 7, 0)], 3)
    with judge.rule("nobody goes while something hangs below, however old"):
        evicted([(0, 4, 1, 0), (1, 2, 5, 0)], 1)
    with judge.rule("a parent whose last child has gone is a leaf"):
        evicted([(0, 4, 1, 0), (1, 2, 5, 0), (0, 1, 9, 0)], 5)
    with judge.rule("who is used stays, and so do those above"):
        evicted([(0, 4, 1, 0), (1, 2, 2, 1), (0, 3, 9, 0)], 5)
    with judge.rule("no more than is needed; all that may go where it is not enough"):
        evicted([(0, 2, 1, 0), (0, 2, 2, 0), (0, 2, 3, 0)], 4)
        evicted([(0, 2, 1, 0), (0, 2, 2, 0)], 9)
        evicted([(0, 2, 1, 0)], 0)
        evicted([], 5)
    with judge.rule("the tree is left without them"):
        root = tree([(0, 4, 1, 0), (1, 2, 5, 0)])
        judge.trying("evict 1 token, then what is left")
        mine.evict(root, 1)
        judge.equal([child.name for child in root.children[0].children], [], case="children of a, once b has gone")
    with judge.rule("any tree"):
        judge.prove(
            lambda seed, size, tokens: evicted(_random_tree(seed, size), tokens),
            st.integers(0, 200),
            st.integers(0, 7),
            st.integers(0, 12),
        )


def _random_tree(seed: int, size: int) -> list[tuple[int, int, int, int]]:
    draw = random.Random(seed)
    ages = draw.sample(range(50), size)
    return [(draw.randint(0, n), draw.randint(1, 4), ages[n], int(draw.random() < 0.2)) for n in range(size)]


def _leaves_gone(shape: list[tuple[int, int, int, int]], num_tokens: int) -> list[str]:
    left, gone = dict(enumerate(shape, start=1)), list[str]()
    while num_tokens > 0:
        parents = {parent for parent, *_ in left.values()}
        ready = [n for n, (_, _, _, users) in left.items() if n not in parents and not users]
        if not ready:
            break
        oldest = min(ready, key=lambda n: left[n][2])
        num_tokens -= left.pop(oldest)[1]
        gone.append(chr(96 + oldest))
    return gone


@exercise(
    "08.prefix_cache",
    "A prefix cache for the engine",
    difficulty=3,
    minutes=40,
    after=("08.chained_hash",),
    hints=(
        "Two dicts in step: whatever enters or leaves one, enters or leaves the other. Begin with publish and forget.",
        "match is 08.longest_hit with max_pages in place of the rule about the last token: the manager sees to that. "
        "It must return the key of the last page it found, or the root.",
        "key = digest(cursor, list(tokens))\nself.by_key.setdefault(key, set()).add(page)\nself.key_of[page] = key",
    ),
)
def prefix_cache(mine: ModuleType, judge: Judge) -> None:
    from hypothesis import strategies as st

    def lookup(cache: Any, text: str, case: str, most: int = 9, salt: Any = None) -> list[int]:
        judge.trying(f"{case}, match({text!r}, {most})")
        return list(cache.match(list(map(ord, text)), most, salt).pages)

    def store(cache: Any, text: str, pages: list[int], salt: Any = None) -> str:
        case = f"pages of 2: {text!r} published on {pages}"
        judge.trying(case)
        cursor = cache.match([], 0, salt).cursor
        for number, page in enumerate(pages):
            cursor = cache.publish(cursor, list(map(ord, text[number * 2 : number * 2 + 2])), page)
        return case

    with judge.rule("what was published is found, from the first page on"):
        cache = mine.PrefixCache(2)
        case = store(cache, "abcdef", [5, 3, 8])
        for text, wanted in (("abcdef", [5, 3, 8]), ("abcdxx", [5, 3]), ("cdef", []), ("a", [])):
            judge.row(lookup(cache, text, case), wanted, f"{case}, match({text!r})", "pages")
        judge.row(lookup(cache, "abcdef", case, 1), [5], f"{case}, match('abcdef', 1)", "pages")
    with judge.rule("publishing goes on where a match ended"):
        cache = mine.PrefixCache(2)
        case = store(cache, "abcd", [1, 2])
        judge.trying(f"{case}; then 'xy' on page 3 after the match of 'ab'")
        cache.publish(cache.match(list(map(ord, "ab")), 9, None).cursor, list(map(ord, "xy")), 3)
        for text, wanted in (("abxy", [1, 3]), ("abcd", [1, 2]), ("xy", [])):
            judge.row(lookup(cache, text, case), wanted, f"{case}, 'xy' on 3 after 'ab', match({text!r})", "pages")
    with judge.rule("what is forgotten cannot be hit, nor what comes after it"):
        cache = mine.PrefixCache(2)
        case = f"{store(cache, 'abcdef', [5, 3, 8])}, forget(3)"
        judge.trying(case)
        cache.forget(3)
        judge.row(lookup(cache, "abcdef", case), [5], f"{case}, match('abcdef')", "pages")
        judge.equal([cache.holds(page) for page in (5, 3, 8)], [True, False, True], case=f"{case}: holds 5, 3, 8")
        judge.equal(set(cache.pages()), {5, 8}, case=f"{case}: pages()")
    with judge.rule("two pages with the same content: one serves when the other is forgotten"):
        cache = mine.PrefixCache(2)
        case = f"{store(cache, 'ab', [1])} and on [2], forget(1)"
        store(cache, "ab", [2])
        judge.trying(case)
        cache.forget(1)
        judge.row(lookup(cache, "abc", case), [2], f"{case}, match('abc')", "pages")
    with judge.rule("a page that is held keeps its key"):
        cache = mine.PrefixCache(2)
        case = f"{store(cache, 'ab', [1])}, and the same once more"
        store(cache, "ab", [1])
        judge.equal(set(cache.pages()), {1}, case=f"{case}: pages()")
        cache.forget(1)
        judge.row(lookup(cache, "ab", case), [], f"{case}, forget(1), match('ab')", "pages")
    with judge.rule("tenants do not see each other"):
        cache = mine.PrefixCache(2)
        case = store(cache, "ab", [1], "ann")
        judge.row(lookup(cache, "ab", case, salt="bob"), [], f"{case} for 'ann', match('ab') for 'bob'", "pages")
        judge.row(lookup(cache, "ab", case, salt="ann"), [1], f"{case} for 'ann', match('ab') for 'ann'", "pages")
    with judge.rule("it serves the engine's manager: the same hits as the engine's own cache"):
        kind = st.sampled_from(["admit", "admit", "extend", "release"])
        step = st.tuples(kind, st.integers(0, 3), st.text("ab", min_size=1, max_size=10), st.integers(1, 9))
        judge.prove(lambda steps: _same_hits(mine, judge, steps), st.lists(step, max_size=14))


def _same_hits(mine: ModuleType, judge: Judge, steps: list[tuple[str, int, str, int]]) -> None:
    """The engine's manager over both caches."""
    from pagedlab.errors import OutOfPages
    from pagedlab.memory.manager import CacheManager
    from pagedlab.memory.prefix_hash import HashPrefixCache

    managers = [CacheManager(6, 2, prefix_cache=cache) for cache in (HashPrefixCache(2), mine.PrefixCache(2))]
    texts: dict[int, str] = {}
    case = "6 pages of 2"
    for name, sequence, letters, budget in steps:
        if (name == "admit") == (sequence in texts):
            continue
        text = texts.get(sequence, "") + (letters if name != "release" else "")
        case += f", {name}({sequence}{f', {text!r}, {budget}' if name != 'release' else ''})"
        judge.trying(case)
        outcomes: list[Any] = []
        for manager in managers:
            try:
                outcomes.append(_step(manager, name, sequence, list(map(ord, text)), budget))
            except OutOfPages:
                outcomes.append("OutOfPages")
        judge.equal(outcomes[1], outcomes[0], case=case)
        managers[1].check()
        if name == "release":
            del texts[sequence]
        elif outcomes[0] != "OutOfPages":
            texts[sequence] = text


def _step(manager: Any, name: str, sequence: int, tokens: list[int], budget: int) -> Any:
    """What an operation answers: of an admission, what was hit and what there is room for."""
    if name == "release":
        return manager.release(sequence)
    if name == "admit":
        hit, stop = manager.admit(sequence, tokens, budget)
    else:
        hit, stop = None, min(len(tokens), manager.table(sequence).num_tokens + budget)
        manager.extend(sequence, stop)
    manager.publish(sequence, tokens, stop)
    return hit, stop
