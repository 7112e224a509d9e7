"""Conversations with their texts: turns that follow from each other, and a list that is read as far as it is needed."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagedlab.errors import InvalidTrace
from pagedlab.scheduling.load import Offer
from pagedlab.simulate import records
from pagedlab.simulate.arrivals import Poisson, Replay
from pagedlab.simulate.content import MOST_TOKENS
from pagedlab.simulate.records import json_list
from pagedlab.simulate.sharegpt import ShareGPT, by_words

SYSTEM, ASKED, SAID, MORE, DONE = "be kind", "what is a page", "sixteen slots", "and then", "a table of them"


def talk(*messages: tuple[str, str]) -> dict[str, object]:
    return {"id": "x_0", "conversations": [{"from": speaker, "value": said} for speaker, said in messages]}


def write(folder: Path, content: object) -> Path:
    path = folder / "talks.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def all_of(offer: Offer) -> list[Offer]:
    followers = offer.then(offer.at + 1.0) if offer.then else ()
    return [offer, *(later for follower in followers for later in all_of(follower))]


def test_a_conversation_is_turns_that_each_carry_all_that_was_said(tmp_path):
    path = write(tmp_path, [talk(("human", ASKED), ("gpt", SAID), ("human", MORE), ("gpt", DONE))])
    (offer,) = ShareGPT(path).offers()
    first, second = all_of(offer)
    assert (first.prompt, list(first.output)) == (by_words(ASKED), by_words(SAID))
    assert second.prompt == by_words(f"{ASKED} {SAID} {MORE}") and list(second.output) == by_words(DONE)
    assert (first.num_output, second.num_output) == (2, 4)
    assert second.at > first.at + 1.0 and second.session == first.session and second.kind == "sharegpt"


def test_whoever_speaks_before_an_answer_is_answered_and_what_nobody_answers_is_left_out(tmp_path):
    talks = [
        talk(("system", SYSTEM), ("human", ASKED), ("human", MORE), ("gpt", SAID), ("human", "bye")),
        talk(("gpt", SAID), ("human", ASKED), ("gpt", DONE)),  # it begins in the middle, as many in the data set do
        talk(("human", ASKED)),
        talk(),
        talk(("human", ""), ("gpt", SAID), ("gpt", "")),
        talk(("user", ASKED), ("assistant", ""), ("assistant", SAID)),
    ]
    offers = list(ShareGPT(write(tmp_path, talks)).offers())
    assert [offer.prompt for offer in offers] == [
        by_words(f"{SYSTEM} {ASKED} {MORE}"),
        by_words(f"{SAID} {ASKED}"),
        by_words(ASKED),
    ]
    assert [offer.then for offer in offers] == [None] * 3


def test_a_tokenizer_of_ones_own_makes_the_tokens(tmp_path):
    seen = []

    def tokenize(text: str) -> tuple[int, ...]:
        seen.append(text)
        return tuple(map(ord, text.encode().decode()))

    path = write(tmp_path, [talk(("human", "né \ud800"), ("gpt", "ok"))])
    (offer,) = ShareGPT(path, tokenize=tokenize).offers()
    assert seen == ["né ?", "ok"]  # half a character, which JSON can hold and UTF-8 cannot
    assert offer.prompt == [*map(ord, "né ?")] and offer.num_output == 2


def test_equal_words_are_equal_tokens():
    assert by_words("a b  a\n") == [by_words("a")[0], by_words("b")[0], by_words("a")[0]]
    assert all(0 <= token < MOST_TOKENS for token in by_words("¿qué? 页 🙂"))


def test_moments_come_from_an_arrival_process_and_a_seed(tmp_path):
    path = write(tmp_path, [talk(("human", ASKED), ("gpt", SAID), ("human", MORE), ("gpt", DONE))] * 20)
    moments = [
        [o.at for first in ShareGPT(path, Poisson(5.0)).offers(seed) for o in all_of(first)] for seed in (1, 1, 2)
    ]
    assert moments[0] == moments[1] != moments[2]
    assert [o.at for o in ShareGPT(path, Poisson(5.0)).offers(1)] == list(islice(Poisson(5.0).moments(1), 20))
    assert [o.at for o in ShareGPT(path, Replay((0.0, 2.0))).offers()] == [0.0, 2.0]
    assert len(list(ShareGPT(path).offers(sessions=7))) == 7


def test_a_list_is_read_only_as_far_as_it_is_asked_for(tmp_path):
    path = write(tmp_path, "[" + json.dumps(talk(("human", ASKED), ("gpt", SAID))) + ", {oh no")
    assert len(list(ShareGPT(path).offers(sessions=1))) == 1
    with pytest.raises(InvalidTrace, match="line 1: it is not JSON"):
        list(ShareGPT(path).offers())


objects = st.lists(
    st.dictionaries(st.sampled_from("ab[]{\n"), st.text('x"\\\n,]}é', max_size=9), max_size=3), max_size=9
)


@given(objects, st.sampled_from([None, 0, 2]), st.integers(1, 70), st.booleans())
def test_a_list_is_the_same_in_pieces_of_any_size_and_lines_are_where_entries_begin(
    tmp_path_factory, expected, indent, chunk, ascii_only
):
    path = tmp_path_factory.getbasetemp() / "list"
    written = json.dumps(expected, indent=indent, ensure_ascii=ascii_only)
    path.write_text(f"\n {written}\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(records, "_CHUNK", chunk)
        rows = list(json_list(path))
    assert [row.cells for row in rows] == expected
    lines = path.read_text().splitlines()
    assert all("{" in lines[row.line - 1] for row in rows)
    assert [row.line for row in rows] == sorted(row.line for row in rows)
    if indent is None:
        assert {row.line for row in rows} <= {2}


@pytest.mark.parametrize(
    ("content", "line", "column", "words"),
    [
        ("", 1, "", "there is the end"),
        ("{}", 1, "", "there is '{'; a list"),
        ("\n[1]", 2, "", "there is 1; it must be an object"),
        ('[{"conversations": []}\n;', 2, "", "there is ';'"),
        ('[{"conversations": []}', 1, "", "there is the end; a list"),
        ("[]\n x", 2, "", "more after the end"),
        ('[{"conversations":\n oops', 2, "", "not JSON"),
        ('[{"conversations": 3}]', 1, "conversations", "there is 3; it must be a list"),
        ('[\n{"conversations": [3]}]', 2, "conversations", "must be a list"),
        ('[{"conversations": [{"from": "human"}]}]', 1, "value", "there is nothing; it must be text"),
        ('[{"conversations": [{"from": 1, "value": ""}]}]', 1, "from", "there is 1; it must be text"),
        ("[" * 100_000, 1, "", "not JSON"),
        ('[{"a": ' + "9" * 5000 + "}]", 1, "", "not JSON"),
    ],
)
def test_what_is_not_in_the_format_is_named_with_its_place(tmp_path, content, line, column, words):
    path = write(tmp_path, content)
    with pytest.raises(InvalidTrace) as caught:
        list(ShareGPT(path).offers())
    assert (caught.value.path, caught.value.line, caught.value.column) == (path, line, column)
    assert words in str(caught.value)


def test_an_entry_without_an_end_is_refused_before_it_fills_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "_MOST_CHARS", 1000)
    path = write(tmp_path, '[{"a": "' + "x" * 1_000_000)
    read = []
    monkeypatch.setattr(records, "_refuse_other_encodings", lambda path, line, text: read.append(len(text)))
    with pytest.raises(InvalidTrace, match="not JSON"):
        list(json_list(path))
    assert sum(read) < 300_000


pieces = st.lists(
    st.sampled_from([*'[]{},:"\\\n ', '"conversations"', '"from"', '"value"', '"gpt"', '"human"', "\\ud800", "é", "0"])
    | st.sampled_from(["\xff", "\ufeff", "null", json.dumps(talk(("human", "a"), ("gpt", "b")))]),
    max_size=30,
).map("".join)


@given(pieces, st.sampled_from(["utf-8", "latin-1", "utf-16"]))
def test_whatever_a_file_holds_it_is_read_or_refused(tmp_path_factory, content, encoding):
    path = tmp_path_factory.getbasetemp() / "anything"
    path.write_bytes(content.encode(encoding, errors="replace"))
    try:
        offers = list(ShareGPT(path).offers())
    except InvalidTrace:
        return
    assert all(offer.prompt and offer.num_output >= 1 for offer in offers)
