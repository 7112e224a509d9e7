"""Public traces: small files of the same shape that we made, read back; and what is said of files that are not."""

from __future__ import annotations

import csv
import io
import json
import re
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagedlab.errors import InvalidQuantity, InvalidTrace
from pagedlab.scheduling.load import Offer
from pagedlab.simulate.content import MOST_TOKENS
from pagedlab.simulate.traces import TRACES, Azure, BurstGPT, Mooncake, Trace

AZURE_2023 = """\
TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 18:15:46.6805900,374,44
2023-11-16 18:15:50.9951690,396,109
2023-11-16 18:15:50.9951690,12,1
"""
AZURE_2024 = """\
TIMESTAMP,ContextTokens,GeneratedTokens
2024-05-10 00:00:00.009930+00:00,2162,5
2024-05-10 00:00:00+00:00,1,1
"""
BURST = """\
Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type
5,ChatGPT,472,18,490,Conversation log
45,ChatGPT,1087,0,1087,Conversation log
118,GPT-4,417,276,693,API log
"""
BURST_SESSIONS = """\
Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,Log Type
19440110.0,1722ac82-0a46,43,GPT-4,906,446,1352,Conversation log
19440161.5,,2,ChatGPT,36,29,65,API log
"""


def write(folder: Path, content: str | bytes) -> Path:
    path = folder / "trace"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def shape(offers: list[Offer]) -> list[tuple[float, int, int]]:
    return [(pytest.approx(o.at, abs=1e-6), len(o.prompt), o.num_output) for o in offers]


def test_azure_2023_has_moments_without_an_offset(tmp_path):
    offers = list(Azure(write(tmp_path, AZURE_2023)).offers())
    assert shape(offers) == [(0.0, 374, 44), (4.314579, 396, 109), (4.314579, 12, 1)]
    assert {offer.kind for offer in offers} == {"azure"}


def test_azure_2024_has_moments_with_an_offset_and_with_and_without_a_fraction(tmp_path):
    header, *rows = AZURE_2024.splitlines(keepends=True)
    offers = list(Azure(write(tmp_path, header + "".join(rows[::-1]))).offers())
    assert shape(offers) == [(0.0, 1, 1), (0.00993, 2162, 5)]


def test_offsets_from_utc_count(tmp_path):
    rows = "2024-05-10 02:00:00+02:00,1,1\n2024-05-10T00:00:01Z,1,1\n2024-05-10 00:00:03,1,1\n"
    offers = Azure(write(tmp_path, "TIMESTAMP,ContextTokens,GeneratedTokens\n" + rows)).offers()
    assert [offer.at for offer in offers] == pytest.approx([0, 1, 3])


def test_burstgpt_leaves_out_requests_that_failed(tmp_path):
    assert shape(list(BurstGPT(write(tmp_path, BURST)).offers())) == [(0.0, 472, 18), (113.0, 417, 276)]


def test_burstgpt_names_sessions_where_the_release_has_them(tmp_path):
    offers = list(BurstGPT(write(tmp_path, BURST_SESSIONS)).offers())
    assert shape(offers) == [(0.0, 906, 446), (51.5, 36, 29)]
    assert [offer.session for offer in offers] == ["1722ac82-0a46", ""]


def test_mooncake_ids_that_are_equal_are_tokens_that_are_equal(tmp_path):
    rows = [(27_482, 1200, 52, [46, 47, 2353]), (30_535, 1100, 26, [46, 47, 2366]), (30_535, 700, 1, [47, 46])]
    lines = "".join(json.dumps(dict(zip(FIELDS, row, strict=False))) + "\n" for row in rows)
    first, second, third = Mooncake(write(tmp_path, lines)).offers()
    assert shape([first, second, third]) == [(0.0, 1200, 52), (3.053, 1100, 26), (3.053, 700, 1)]
    assert first.prompt[:1024] == second.prompt[:1024] and first.prompt[1024] != second.prompt[1024]
    assert third.prompt[:512] == first.prompt[512:1024] and third.prompt[512:] == first.prompt[:188]


def test_mooncake_blocks_without_a_name_are_nobody_elses(tmp_path):
    lines = '{"timestamp": 0, "input_length": 40, "output_length": 1, "hash_ids": [3]}\n' * 2
    lines += '{"timestamp": 1.5, "input_length": 40, "output_length": 1}\n'
    first, second, third = Mooncake(write(tmp_path, lines), block_size=16).offers()
    assert first.prompt[:16] == second.prompt[:16] != third.prompt[:16]
    assert len({offer.prompt[16] for offer in (first, second, third)}) == 3
    assert third.at == 0.0015


def test_a_trace_can_be_entered_late_replayed_faster_and_left_early(tmp_path):
    path = write(
        tmp_path, "Timestamp,Request tokens,Response tokens\n" + "".join(f"{t},{t},1\n" for t in range(10, 100))
    )
    offers = list(BurstGPT(path, start=5.0, speed=10.0).offers(sessions=3))
    assert shape(offers) == [(0.0, 15, 1), (0.1, 16, 1), (0.2, 17, 1)]
    assert shape(list(BurstGPT(path, start=89.0).offers())) == [(0.0, 99, 1)]
    assert list(BurstGPT(path).offers(sessions=0)) == list(BurstGPT(path, start=1000.0).offers()) == []


def test_a_trace_is_read_only_as_far_as_it_is_asked_for(tmp_path):
    path = write(tmp_path, BURST + "not a moment,a,b,c,d,e\n")
    assert len(list(islice(BurstGPT(path).offers(), 2))) == 2
    with pytest.raises(InvalidTrace, match="line 5, Timestamp"):
        list(BurstGPT(path).offers())


def test_prompts_share_nothing_and_streams_have_texts_of_their_own(tmp_path):
    path = write(tmp_path, AZURE_2023)
    firsts = [offer.prompt[0] for stream in (0, 1 << 32) for offer in Azure(path).offers(first_text=stream)]
    assert len(set(firsts)) == 6


@pytest.mark.parametrize(
    "dress",
    [
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text.replace("\n", "\r"),
        lambda text: "\ufeff" + text,
        lambda text: text.replace("\n", "\n\n"),
        lambda text: text.rstrip("\n"),
        lambda text: text.replace(",", '","').replace("\n", '"\n"').join('""').removesuffix('""'),
        lambda text: text.replace(",", " , "),
    ],
    ids=["CRLF", "CR", "byte order mark", "empty lines", "no last end", "quotes", "spaces"],
)
def test_the_same_file_from_another_system_is_the_same_trace(tmp_path, dress):
    expected = list(BurstGPT(write(tmp_path, BURST)).offers())
    assert list(BurstGPT(write(tmp_path, dress(BURST))).offers()) == expected


FIELDS = "timestamp", "input_length", "output_length", "hash_ids"
AZURE_HEADER = "TIMESTAMP,ContextTokens,GeneratedTokens\n"
MOMENT = "2023-11-16 18:15:46,"


@pytest.mark.parametrize(
    ("trace", "content", "line", "column", "words"),
    [
        (Azure, "", 1, "TIMESTAMP", "must name this column"),
        (Azure, "TIMESTAMP,ContextTokens\n", 1, "GeneratedTokens", "names 'TIMESTAMP, ContextTokens'"),
        (Azure, AZURE_HEADER + MOMENT + "3\n", 2, "GeneratedTokens", "there is nothing"),
        (Azure, AZURE_HEADER + MOMENT + "3,-1\n", 2, "GeneratedTokens", "'-1'; it must be a number from 0"),
        (Azure, AZURE_HEADER + MOMENT + "3,1\n" + MOMENT + "x,1\n", 3, "ContextTokens", "'x'; it must be"),
        (Azure, AZURE_HEADER + MOMENT + "1.5,1\n", 2, "ContextTokens", "a whole number"),
        (Azure, AZURE_HEADER + MOMENT + "1e12,1\n", 2, "ContextTokens", "to 10000000"),
        (Azure, AZURE_HEADER + MOMENT + "nan,1\n", 2, "ContextTokens", "'nan'"),
        (Azure, AZURE_HEADER + "yesterday,1,1\n", 2, "TIMESTAMP", "'yesterday'; it must be a moment such as"),
        (Azure, AZURE_HEADER + MOMENT + "1,1\n2023-11-16 18:15:45,1,1\n", 3, "", "sort the file"),
        (Azure, (AZURE_HEADER + MOMENT + "3,1\n").encode() + b"\xff", 3, "", "not UTF-8"),
        (Azure, AZURE_HEADER + '"' + "x" * 200_000 + '"\n', 2, "", "not CSV"),
        (Mooncake, "[]\n", 1, "", "must be an object"),
        (Mooncake, "\n{\n", 2, "", "not JSON"),
        (Mooncake, "[" * 100_000, 1, "", "not JSON"),
        (Mooncake, '{"timestamp": ' + "9" * 5000 + "}", 1, "", "not JSON"),
        (Mooncake, '{"timestamp": NaN}', 1, "timestamp", "nan; it must be a number"),
        (Mooncake, '{"timestamp": true}', 1, "timestamp", "True; it must be a number"),
        (Mooncake, '{"timestamp": 0, "input_length": 9}', 1, "output_length", "there is nothing"),
        (
            Mooncake,
            '{"timestamp": 0, "input_length": 9, "output_length": 1, "hash_ids": 5}',
            1,
            "hash_ids",
            "a list of 1",
        ),
        (
            Mooncake,
            '{"timestamp": 0, "input_length": 512, "output_length": 1, "hash_ids": [1, 2]}',
            1,
            "hash_ids",
            "[1, 2]; it must be a list of 1 numbers at most, one for each 512",
        ),
        (
            Mooncake,
            '{"timestamp": 0, "input_length": 9, "output_length": 1, "hash_ids": ["a"]}',
            1,
            "hash_ids",
            "whole numbers from 0 to 4294967295",
        ),
    ],
)
def test_what_is_not_in_the_format_is_named_with_its_place(tmp_path, trace, content, line, column, words):
    path = write(tmp_path, content)
    with pytest.raises(InvalidTrace) as caught:
        list(trace(path).offers())
    error = caught.value
    assert (error.path, error.line, error.column) == (path, line, column)
    assert words in str(error) and str(error).startswith(f"{path}, line {line}")


def test_a_file_that_is_not_there_is_an_error_of_ours(tmp_path):
    for path in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(InvalidTrace, match="cannot be read"):
            list(Azure(path).offers())


def test_a_replay_that_cannot_be_is_refused_when_it_is_made():
    for options in ({"speed": 0.0}, {"start": -1.0}, {"start": float("inf")}):
        with pytest.raises(InvalidQuantity, match="must be"):
            Azure("trace", **options)
    with pytest.raises(InvalidQuantity, match="must be"):
        Mooncake("trace", block_size=0)


rows_of_requests = st.lists(
    st.tuples(st.integers(0, 10**6), st.integers(0, 2000), st.integers(0, 2000)), max_size=20
).map(lambda rows: sorted(rows, key=lambda row: row[0]))


@given(rows_of_requests, st.sampled_from([BurstGPT, Mooncake]))
def test_what_was_written_is_read_back(tmp_path_factory, rows, trace):
    path = tmp_path_factory.getbasetemp() / "written"
    if trace is BurstGPT:
        table = io.StringIO()
        csv.writer(table).writerows([("Log Type", "Response tokens", "Timestamp", "Request tokens")])
        csv.writer(table).writerows(("a, b", answer, moment / 1000, prompt) for moment, prompt, answer in rows)
        path.write_text(table.getvalue(), newline="")
    else:
        path.write_text("\n".join(json.dumps(dict(zip(FIELDS, row, strict=False))) for row in rows))
    first = rows[0][0] if rows else 0
    expected = [((moment - first) / 1000, prompt, answer) for moment, prompt, answer in rows if prompt and answer]
    assert shape(list(trace(path).offers())) == expected


pieces = st.lists(
    st.sampled_from([*'\n\r,"{}[]:0123456789.-+eT\\ \t\x00\ufeff\ud800é\u2028１', "null", "true", "1e999", "NaN"])
    | st.sampled_from(['"timestamp"', '"input_length"', '"output_length"', '"hash_ids"'])
    | st.sampled_from(["2023-11-16 18:15:46", "0001-01-01T00+23:59", "9999-12-31T23:59:59-23:59"]),
    max_size=30,
).map(lambda parts: "".join(parts).encode("utf-8", "surrogatepass"))


def read(trace: Trace) -> list[Offer] | InvalidTrace:
    try:
        return list(trace.offers())
    except InvalidTrace as error:
        return error


@given(
    st.sampled_from(sorted(TRACES.values(), key=str)),
    st.sampled_from([b"", AZURE_HEADER.encode(), BURST.encode(), AZURE_2023.encode(), b'{"timestamp": 0, "input_']),
    st.binary(max_size=40) | pieces,
)
def test_whatever_a_file_holds_it_is_read_or_refused(tmp_path_factory, trace, beginning, rest):
    path = tmp_path_factory.getbasetemp() / "anything"
    path.write_bytes(beginning + rest)
    result = read(trace(path))
    if isinstance(result, InvalidTrace):
        assert 1 <= result.line <= 1 + len(re.findall(b"\r\n|\r|\n", beginning + rest))
    else:
        assert all(0 <= token < MOST_TOKENS for offer in result for token in offer.prompt)
        assert [offer.at for offer in result] == sorted(offer.at for offer in result)


cells = st.sampled_from([None, True, "1", "é", [], [0], [-1], [1.5], ["1"], {}, float("nan"), float("inf")])
cells |= st.integers(-3, 3000) | st.floats() | st.integers(10**8, 10**400)


@given(st.fixed_dictionaries({}, optional=dict.fromkeys(FIELDS, cells)))
def test_whatever_values_an_object_has_it_is_read_or_refused_with_a_column(tmp_path_factory, row):
    path = tmp_path_factory.getbasetemp() / "object"
    path.write_text(json.dumps(row))
    result = read(Mooncake(path))
    assert not isinstance(result, InvalidTrace) or (result.line == 1 and result.column in FIELDS)
