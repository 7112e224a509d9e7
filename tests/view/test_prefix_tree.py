"""The picture of the radix tree: every page once, in its place, told in words, and safe whatever a prompt says."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagedlab.errors import InvalidConfig
from pagedlab.memory.eviction import least_recently_used, leaves_first
from pagedlab.memory.manager import CacheManager
from pagedlab.memory.prefix_hash import HashPrefixCache
from pagedlab.memory.prefix_radix import RadixPrefixCache
from pagedlab.view.prefix_tree import prefix_tree_svg


def a_manager(*texts: str, num_pages: int = 60) -> CacheManager:
    """Each text is served by the sequence of its number, in pages of two letters."""
    order = leaves_first(least_recently_used)
    manager = CacheManager(num_pages, 2, prefix_cache=RadixPrefixCache(2), eviction=order)
    for sequence, text in enumerate(texts):
        tokens = list(map(ord, text))
        manager.admit(sequence, tokens)
        manager.publish(sequence, tokens, len(tokens))
        manager.begin_step(sequence)
    return manager


def letters(tokens: object) -> str:
    return "".join(map(chr, tokens))  # type: ignore[call-overload]


def texts_of(svg: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(svg).iter() if element.tag.endswith("text")]


def test_every_edge_is_told_with_its_pages_and_their_tokens() -> None:
    figure = prefix_tree_svg(a_manager("aabb", "aacc", "dd"), words=letters, title="Three")
    assert figure.alt == (
        "Three. 4 edges, 4 pages: 4 used, 0 cached. from the root, edge 0: page 0 “aa”; after edge 0, edge 1: "
        "page 1 “bb”; after edge 0, edge 2: page 2 “cc”; from the root, edge 3: page 3 “dd”."
    )


def test_a_cached_page_says_when_it_goes_and_the_line_is_the_managers_own() -> None:
    manager = a_manager("aabb", "aacc", num_pages=5)
    manager.release(1)
    manager.release(0)
    shown = texts_of(str(prefix_tree_svg(manager, words=letters)))
    assert {"2 · 1st out", "1 · 2nd out", "0 · 3rd out"} <= set(shown)
    manager.admit(2, [0] * 6)  # two free pages, and one that is evicted
    assert sorted(manager.prefix_cache.pages()) == [0, 1]


@given(st.lists(st.text("ab", min_size=1, max_size=9), min_size=1, max_size=6), st.sets(st.integers(0, 5)))
def test_every_page_of_the_tree_is_drawn_once_and_no_two_on_one_place(texts: list[str], ended: set[int]) -> None:
    manager = a_manager(*texts)
    for sequence in ended & set(manager.sequences):
        manager.release(sequence)
    shown = texts_of(str(prefix_tree_svg(manager, words=letters)))
    numbers = [int(found[1]) for text in shown if (found := re.fullmatch(r"(\d+)(?: · \d+(?:st|nd|rd|th) out)?", text))]
    assert sorted(numbers) == sorted(manager.prefix_cache.pages())
    svg = ElementTree.fromstring(str(prefix_tree_svg(manager, words=lambda run: "")))
    places = [(e.get("x"), e.get("y")) for e in svg.iter() if e.tag.endswith("text") and " out" not in (e.text or "")]
    assert len(places) == len(set(places))


def test_text_from_a_prompt_cannot_become_markup() -> None:
    manager = a_manager("<script>alert(1)</script>")
    svg = str(prefix_tree_svg(manager, words=letters, title="</title><script>"))
    assert "<script" not in svg
    assert "<s" in texts_of(svg)


def test_an_empty_tree_says_so() -> None:
    assert "nothing is cached" in texts_of(str(prefix_tree_svg(a_manager())))


def test_what_cannot_be_drawn_is_refused_with_the_reason() -> None:
    with pytest.raises(InvalidConfig, match="HashPrefixCache; only a RadixPrefixCache"):
        prefix_tree_svg(CacheManager(4, 2, prefix_cache=HashPrefixCache(2)))
    with pytest.raises(InvalidConfig, match="50 pages deep"):
        prefix_tree_svg(a_manager("ab" * 50))
