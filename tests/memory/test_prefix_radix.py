"""RadixPrefixCache: edges, splits between pages, and cursors that survive both splits and losses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pagedlab.errors import InvariantViolation
from pagedlab.memory.prefix_cache import Partial
from pagedlab.memory.prefix_radix import RadixPrefixCache
from tests.memory.serving import A, B, C, D, leave, make_manager, page_sizes, pages_of, published, serve


def runs(page_size: int, *tokens: int) -> list[int]:
    """A text of whole pages, each of one token."""
    return [token for token in tokens for _ in range(page_size)]


def write(cache: RadixPrefixCache, text: Sequence[int], pages: Sequence[int], salt: str | None = None) -> list[Any]:
    """Publish all of a text; returns the cursor after 0, 1, 2 … pages."""
    cursors, size = [cache.match([], 0, salt).cursor], cache.page_size
    for at, page in enumerate(pages):
        cursors.append(cache.publish(cursors[-1], text[at * size : (at + 1) * size], page))
        cache.check()
    return cursors


def edges(cache: RadixPrefixCache) -> list[list[int]]:
    """The pages of every edge."""
    nodes = {id(node): node for node, _ in cache._where.values()}
    return sorted([entry.page for entry in node.entries] for node in nodes.values())


@page_sizes
def test_an_edge_is_split_where_texts_part_and_always_between_pages(page_size: int) -> None:
    cache = RadixPrefixCache(page_size)
    write(cache, runs(page_size, A, A, A, A), [0, 1, 2, 3])
    assert edges(cache) == [[0, 1, 2, 3]]
    parting = runs(page_size, A, A, A)
    parting[-1] = B  # in the third page, at its last token
    write(cache, parting, [10, 11, 12])
    assert edges(cache) == [[0, 1], [2, 3], [12]], "the pages 10 and 11 hold what 0 and 1 hold"
    assert cache.match([*parting, A], 3, None).pages == [0, 1, 12]
    write(cache, runs(page_size, A, B), [20, 21])
    assert edges(cache) == [[0], [1], [2, 3], [12], [21]]


@page_sizes
def test_one_content_has_one_page_and_the_cursor_moves_on_past_it(page_size: int) -> None:
    cache = RadixPrefixCache(page_size)
    write(cache, runs(page_size, A, B), [0, 1])
    cursors = write(cache, runs(page_size, A, B, C), [5, 6, 7])
    assert cache.pages() == {0, 1, 7}
    assert not cache.holds(5)
    assert cache.publish(cursors[-1], [D] * page_size, 8) is not None
    assert cache.match(runs(page_size, A, B, C, D, A), 4, None).pages == [0, 1, 7, 8]


@page_sizes
@pytest.mark.parametrize("depth", [0, 1, 2, 3, 4])
def test_a_cursor_is_still_good_after_its_edge_was_split_anywhere(page_size: int, depth: int) -> None:
    for order in ([1, 2, 3], [3, 2, 1], [2, 1, 3]):
        cache = RadixPrefixCache(page_size)
        cursor = write(cache, runs(page_size, A, A, A, A), [0, 1, 2, 3])[depth]
        for at in order:
            write(cache, runs(page_size, *[A] * at, B), [*range(10, 10 + at), 20 + at])
        assert edges(cache) == [[0], [1], [2], [3], [21], [22], [23]]
        assert cache.publish(cursor, [C] * page_size, 30) is not None
        cache.check()
        assert cache.match(runs(page_size, *[A] * depth, C, A), depth + 1, None).pages == [*range(depth), 30]


@page_sizes
def test_losing_a_page_cuts_off_all_that_continues_it_and_names_the_new_leaf(page_size: int) -> None:
    cache = RadixPrefixCache(page_size)
    write(cache, runs(page_size, A, A, A, A), [0, 1, 2, 3])
    write(cache, runs(page_size, A, A, B, B), [0, 1, 12, 13])
    assert [cache.is_leaf(page) for page in (0, 1, 2, 3, 12, 13)] == [False, False, False, True, False, True]
    lost = cache.forget(12)
    assert (set(lost.cut_off), list(lost.leaves)) == ({13}, []), "page 1 still goes on with 2"
    lost = cache.forget(2)
    assert (set(lost.cut_off), list(lost.leaves)) == ({3}, [1])
    write(cache, runs(page_size, A, A, A, A), [0, 1, 2, 3])
    write(cache, runs(page_size, A, A, B, B), [0, 1, 12, 13])
    lost = cache.forget(1)
    cache.check()
    assert (set(lost.cut_off), list(lost.leaves)) == ({2, 3, 12, 13}, [0])
    assert cache.pages() == {0}
    assert cache.match(runs(page_size, A, A, A), 3, None).pages == [0]


@page_sizes
def test_a_cursor_to_what_was_lost_publishes_nothing_even_when_its_like_came_back(page_size: int) -> None:
    cache = RadixPrefixCache(page_size)
    text = runs(page_size, A, A, A)
    cursors = write(cache, text, [0, 1, 2])
    cache.forget(1)
    assert [cache.publish(cursor, [B] * page_size, 9) for cursor in cursors[2:]] == [None, None]
    assert cache.pages() == {0}
    write(cache, text, [0, 4, 5])
    assert [cache.publish(cursor, [B] * page_size, 9) for cursor in cursors[2:]] == [None, None]
    assert cache.publish(cursors[1], [B] * page_size, 9) is not None, "page 0 was there all the time"
    cache.check()


@given(data=st.data(), page_size=st.integers(1, 3))
@settings(max_examples=150, deadline=None, derandomize=True)
def test_every_cursor_ever_given_publishes_where_it_stands_or_not_at_all(data: st.DataObject, page_size: int) -> None:
    """Against a dictionary from texts to pages, with random writers, moves and losses."""
    cache, model = RadixPrefixCache(page_size), dict[tuple[int, ...], int]()
    born: dict[tuple[int, ...], int] = {}  #: when a text's last page was published
    cursors: list[tuple[Any, tuple[int, ...], int]] = [(cache.match([], 0, None).cursor, (), 0)]
    for page in range(data.draw(st.integers(1, 25))):
        what = data.draw(st.sampled_from(["publish", "publish", "publish", "match", "forget", "move"]))
        if what == "publish":
            cursor, text, birth = data.draw(st.sampled_from(cursors))
            longer = text + tuple(data.draw(st.lists(st.integers(0, 1), min_size=page_size, max_size=page_size)))
            after = cache.publish(cursor, longer[len(text) :], page)
            assert (after is not None) == (not text or born.get(text) == birth)
            if after is not None:
                if longer not in model:
                    model[longer], born[longer] = page, page + 1
                cursors.append((after, longer, born[longer]))
        elif what == "match":
            wanted = tuple(data.draw(st.lists(st.integers(0, 1), max_size=5 * page_size)))
            match = cache.match(wanted, len(wanted) // page_size, None)
            found = [wanted[: (at + 1) * page_size] for at in range(len(wanted) // page_size)]
            known = next((at for at, text in enumerate(found) if text not in model), len(found))
            assert match.pages == [model[text] for text in found[:known]]
            cursors.append((match.cursor, wanted[: known * page_size], born.get(wanted[: known * page_size], 0)))
        elif model and what == "forget":
            lost = data.draw(st.sampled_from(sorted(model)))
            gone = {text: model[text] for text in model if text[: len(lost)] == lost}
            assert {model[lost], *cache.forget(model[lost]).cut_off} == set(gone.values())
            for text in gone:
                del model[text], born[text]
        elif model:
            text = data.draw(st.sampled_from(sorted(model)))
            cache.move(model[text], 100 + page)
            model[text] = 100 + page
        cache.check()
        assert cache.pages() == set(model.values())
        for text, held in model.items():
            goes_on = any(len(other) > len(text) and other[: len(text)] == text for other in model)
            assert cache.is_leaf(held) == (not goes_on)


@pytest.mark.parametrize("page_size", [2, 3, 4, 7, 16])
def test_the_best_partial_match_is_found_inside_an_edge_and_among_its_children(page_size: int) -> None:
    cache = RadixPrefixCache(page_size)

    def partial(tokens: list[int], max_pages: int) -> Partial | None:
        match = cache.match(tokens, max_pages, None)
        start = len(match.pages) * page_size
        return cache.partial(match.cursor, tokens[start : start + page_size])

    write(cache, runs(page_size, A, B, B), [0, 1, 2])
    wanted = runs(page_size, A, B)
    wanted[-1] = C
    assert partial(wanted, 2) == Partial(1, page_size - 1), "inside the edge"
    other = [B] + [D] * (page_size - 1)
    write(cache, runs(page_size, A) + other, [0, 11])
    rival = Partial(11, 1) if page_size == 2 else Partial(1, page_size - 1)
    assert partial(wanted, 2) == rival, "the most alike of two children"
    assert partial(runs(page_size, A) + other, 1) == Partial(11, page_size)
    assert partial(runs(page_size, A, C), 2) is None


@page_sizes
def test_pages_that_are_used_are_never_evicted_though_nothing_locks_the_tree(page_size: int) -> None:
    manager = make_manager(6, page_size, "radix")
    text = runs(page_size, A, A, A)
    serve(manager, 0, text)
    held = pages_of(manager, 0)
    serve(manager, 1, runs(page_size, A, A, B))
    leave(manager, 1)
    for token in (C, D):
        serve(manager, 2, runs(page_size, token, token, token))
        assert set(held) <= published(manager)
        leave(manager, 2)
    assert manager.lookup([*text, B]) == 3 * page_size


class CountingTokens(list[int]):
    """Tokens that count how many of them were looked at."""

    read = 0

    def __getitem__(self, at: Any) -> Any:
        found = super().__getitem__(at)
        self.read += len(found) if isinstance(at, slice) else 1
        return found


@page_sizes
@pytest.mark.parametrize("cache", ["hash", "radix"])
def test_a_match_looks_at_the_pages_that_match_and_one_more(page_size: int, cache: str) -> None:
    manager = make_manager(40, page_size, cache)
    for name in range(6):
        serve(manager, name, runs(page_size, A, *[B + name] * 4))
    for num_matching, text in ((0, [0]), (1, [A]), (3, [A, C, C])):
        tokens = CountingTokens(runs(page_size, *text, *[99] * 1000))
        assert len(manager.prefix_cache.match(tokens, 1000, None).pages) == num_matching
        assert tokens.read <= (num_matching + 2) * page_size


def misplace(cache: RadixPrefixCache) -> None:
    node, depth = cache._where[1]
    cache._where[1] = (node, depth + 1)


def lose_a_page(cache: RadixPrefixCache) -> None:
    del cache._where[1]


def hang_a_child_elsewhere(cache: RadixPrefixCache) -> None:
    cache._where[12][0].start += 1


def orphan_a_child(cache: RadixPrefixCache) -> None:
    cache._where[12][0].parent = None


def empty_an_edge(cache: RadixPrefixCache) -> None:
    cache._where[12][0].entries.clear()
    del cache._where[12]


def begin_alike(cache: RadixPrefixCache) -> None:
    node = cache._where[12][0]
    node.entries[0] = node.entries[0]._replace(run=cache._where[1][0].entries[0].run)


def shorten_a_run(cache: RadixPrefixCache) -> None:
    node = cache._where[0][0]
    node.entries[0] = node.entries[0]._replace(run=(A,))


def enter_a_page_twice(cache: RadixPrefixCache) -> None:
    node = cache._where[12][0]
    node.entries[0] = node.entries[0]._replace(page=0)


SPOILERS = [
    *[misplace, lose_a_page, hang_a_child_elsewhere, orphan_a_child],
    *[empty_an_edge, begin_alike, shorten_a_run, enter_a_page_twice],
]


@pytest.mark.parametrize("spoil", SPOILERS)
def test_check_finds_a_tree_that_was_spoiled(spoil: Callable[[RadixPrefixCache], None]) -> None:
    """Behaviour 40."""
    cache = RadixPrefixCache(2)
    keep = write(cache, [A, A, A, A], [0, 1])
    keep += write(cache, [A, A, B, B], [0, 12])
    cache.check()
    spoil(cache)
    with pytest.raises(InvariantViolation):
        cache.check()
