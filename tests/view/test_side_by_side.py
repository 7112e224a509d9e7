"""Several traces on one clock: the same frames in Python, in JavaScript, in the picture and in the widget."""

from __future__ import annotations

import json
import math
import re
import shutil
import struct
import subprocess
import zlib
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagedlab.errors import InvalidQuantity
from pagedlab.memory.events import EventKind, Trace
from pagedlab.view.feed import Feed, Feeds
from pagedlab.view.frames import count, frame_ends, holes_of
from pagedlab.view.html import page_maps_html
from pagedlab.view.maps_svg import page_maps_svg
from pagedlab.view.page_map import page_map, page_maps
from pagedlab.view.side_by_side import SideBySide
from tests.view.make_trace import make_trace

HERE = Path(__file__).parent
VIEWS = HERE.parents[1] / "pagedlab" / "view"
HOSTILE_TITLE = "</title><script>alert(1)</script>"


def steps(*numbers: int) -> Trace:
    """A trace of steps of these numbers, in each of which one page is allocated."""
    trace = Trace(max(1, len(numbers)), 4)
    for page, number in enumerate(numbers):
        trace.record(EventKind.STEP, value=number)
        trace.record(EventKind.ALLOCATE, page, 0, page)
    return trace


@pytest.fixture(scope="module")
def pair() -> list[Trace]:
    """The same requests, preempted by recompute and by swap."""
    knobs: dict[str, Any] = {"num_pages": 64, "page_size": 8, "num_requests": 12, "max_prompt": 60}
    return [make_trace(**knobs), make_trace(**knobs, num_host_pages=40, partial_hits=True)]


@pytest.fixture(scope="module")
def times(pair: list[Trace]) -> list[list[float]]:
    """Steps of the first take longer."""
    return [
        [0.5 * n for n in range(1, len(pair[0].steps()) + 1)],
        [0.2 * n for n in range(1, len(pair[1].steps()) + 1)],
    ]


def test_without_seconds_steps_of_the_same_number_stand_side_by_side() -> None:
    shown = SideBySide([steps(0, 1, 2), steps(0, 1, 2, 3, 4)])
    assert [shown.frames(moment) for moment in range(6)] == [[0, 0], [1, 1], [2, 2], [3, 3], [3, 4], [3, 5]]
    assert shown.end == 5 == shown.moment(4) == shown.moment(None)
    assert [shown.say(moment) for moment in (0, 1, 5)] == ["before the first step", "step 0", "step 4"]


def test_a_trace_whose_oldest_steps_are_folded_away_joins_at_its_own_numbers() -> None:
    shown = SideBySide([steps(0, 1, 2, 3), steps(2, 3)])
    assert [shown.frames(moment) for moment in range(5)] == [[0, 0], [1, 0], [2, 0], [3, 1], [4, 2]]


def test_traces_without_steps_are_told_event_by_event() -> None:
    one, two = Trace(2, 4), Trace(2, 4)
    for page in range(2):
        one.record(EventKind.ALLOCATE, page, 0, page)
    two.record(EventKind.ALLOCATE, 0, 0, 0)
    shown = SideBySide([one, two])
    assert [shown.frames(moment) for moment in range(3)] == [[0, 0], [1, 1], [2, 1]]
    assert shown.say(2) == "event 2"


def test_with_seconds_each_shows_the_last_step_that_it_had_ended_by_then() -> None:
    shown = SideBySide([steps(0, 1), steps(0, 1, 2)], seconds=[[1.0, 4.0], [0.5, 1.0, 1.5]])
    expected = {0: [0, 0], 0.5: [0, 1], 0.99: [0, 1], 1: [1, 2], 1.5: [1, 3], 3.9: [1, 3], 4: [2, 3]}
    assert {moment: shown.frames(moment) for moment in expected} == expected
    assert (shown.end, shown.say(1.5)) == (4.0, "1.50 s")


@given(st.data())
def test_a_clock_in_seconds_never_runs_backwards_and_shows_every_step(data: st.DataObject) -> None:
    ends = [
        sorted(data.draw(st.lists(st.floats(0, 100, allow_nan=False), min_size=1, max_size=8), label="seconds"))
        for _ in range(2)
    ]
    shown = SideBySide([steps(*range(len(moments))) for moments in ends], seconds=ends)
    moments = sorted({0.0, *ends[0], *ends[1]})
    frames = [shown.frames(moment) for moment in moments]
    assert frames == [[sum(end <= moment for end in one) for one in ends] for moment in moments]
    assert frames == sorted(frames)
    assert frames[-1] == [len(one) for one in ends]


@pytest.mark.parametrize(
    ("knobs", "told"),
    [
        ({"titles": ["one"]}, "2 traces and 1 titles"),
        ({"seconds": [[1.0, 2.0]]}, "the seconds of 1 traces"),
        ({"seconds": [[1.0, 2.0], [1.0]]}, "1 seconds were given for trace 1, which holds 2 steps"),
        ({"seconds": [[1.0, 2.0], [2.0, 1.0]]}, "the seconds of trace 1 fall"),
        ({"seconds": [[-1.0, 2.0], [1.0, 2.0]]}, "the seconds of trace 0 fall"),
        ({"seconds": [[1.0, math.nan], [1.0, 2.0]]}, "the seconds of trace 0 fall"),
        ({"seconds": [[1.0, math.inf], [1.0, 2.0]]}, "the seconds of trace 0 fall"),
    ],
)
def test_what_does_not_fit_together_is_refused(knobs: dict[str, Any], told: str) -> None:
    with pytest.raises(InvalidQuantity, match=told):
        page_maps([steps(0, 1), steps(0, 1)], **knobs)


def test_no_trace_a_moment_beyond_the_end_and_unknown_sequences_are_refused() -> None:
    with pytest.raises(InvalidQuantity, match="0 traces"):
        page_maps([])
    pair = [steps(0, 1), steps(0, 1, 2)]
    with pytest.raises(LookupError, match="3 was asked for; the clock goes from before the first step to step 2"):
        page_maps(pair, at=3)
    with pytest.raises(LookupError, match=r"9 was asked for; the clock goes from 0\.00 s to 3\.00 s"):
        page_maps_svg(pair, 9, seconds=[[1, 2], [1, 2, 3]])
    with pytest.raises(LookupError, match="sequence 5 of engine 2"):
        page_maps_svg(pair, select=[None, 5])
    with pytest.raises(InvalidQuantity, match="1 selections were given for 2 traces"):
        page_maps_svg(pair, select=[0])


@pytest.mark.skipif(shutil.which("node") is None, reason="the JavaScript clock is run by Node.js")
@pytest.mark.parametrize("kind", ["steps", "late", "events", "seconds"])
def test_the_clock_in_the_browser_is_the_same_clock(
    kind: str, pair: list[Trace], times: list[list[float]], tmp_path: Path
) -> None:
    traces = {"late": [steps(0, 1, 2, 3, 4, 5), steps(3, 4)], "events": [Trace(2, 4), Trace(2, 4)]}.get(kind, pair)
    for page in range(2):
        if kind == "events":
            traces[0].record(EventKind.ALLOCATE, page, 0, page)
    shown = SideBySide(traces, ["A", "B"], times if kind == "seconds" else None)
    scale = 10 if kind == "seconds" else 1
    moments = [moment / scale for moment in range(int(shown.end * scale) + 1)]
    (tmp_path / "packet").write_bytes(Feeds(shown).whole())
    (tmp_path / "moments").write_text(json.dumps(moments))
    command = ["node", HERE / "clock_in_node.mjs", VIEWS, tmp_path / "packet", tmp_path / "moments"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    clock = json.loads(done.stdout)
    assert (clock["end"], clock["titles"]) == (shown.end, ["A", "B"])
    ticks = sorted({0.0, *sum(times, [])}) if kind == "seconds" else list(range(int(shown.end) + 1))
    for moment, told in zip(moments, clock["told"], strict=True):
        assert (told["frames"], told["said"]) == (shown.frames(moment), shown.say(moment)), moment
        reached = max(tick for tick in ticks if tick <= moment)
        assert told["after"] == min((tick for tick in ticks if tick > moment), default=shown.end), moment
        assert told["before"] == max((tick for tick in ticks if tick < reached), default=0), moment


def test_the_picture_says_of_each_engine_what_it_holds_at_that_moment(
    pair: list[Trace], times: list[list[float]]
) -> None:
    figure = page_maps_svg(pair, 4.1, titles=["recompute", "swap"], seconds=times, title="Two ways")
    assert figure.alt.startswith("Page maps, Two ways, 4.10 s. ")
    for title, trace, frame in zip(("recompute", "swap"), pair, (8, 20), strict=True):
        counts = count(trace.replay(frame_ends(trace)[frame]))
        assert f"{title}: {counts.used} pages used ({counts.shared} shared), {counts.cached} cached" in figure.alt
        assert f">{counts.used} used, {counts.shared} shared  ·  {counts.cached} cached" in str(figure)


def test_the_picture_is_well_formed_and_the_same_each_time_whatever_a_title_says(pair: list[Trace]) -> None:
    draw = lambda: str(page_maps_svg(pair, 9, titles=[HOSTILE_TITLE, "B"], title=HOSTILE_TITLE))  # noqa: E731
    assert draw() == draw()
    texts = [element.text or "" for element in ElementTree.fromstring(draw()).iter()]
    assert any(HOSTILE_TITLE in text for text in texts) and "<script" not in draw()


def test_a_selected_sequence_has_its_page_table_drawn_over_its_own_map_alone(pair: list[Trace]) -> None:
    running = next(key for key, view in pair[0].replay(frame_ends(pair[0])[10]).sequences.items() if view.pages)
    plain, chosen = (str(page_maps_svg(pair, 9, select=select)) for select in ((), [running, None]))
    assert f">#{running} " not in plain
    assert chosen.count(f">#{running} ") == 1
    view = pair[0].replay(frame_ends(pair[0])[10]).sequences[running]
    links = len(view.pages) - holes_of(view)
    curves = [len(re.findall(r"\dC[\d.]+ ", svg)) for svg in (plain, chosen)]
    assert curves == [0, 2 * links], "each link once, on a ground of its own"


@pytest.mark.parametrize("engines", range(1, 8))
def test_any_number_of_engines_stands_within_the_picture(engines: int) -> None:
    """Pages of one slot too, in thousands; five are compared in chapter 11."""
    sizes = [(3072, 1), (192, 16), (96, 32), (48, 64), (7, 400), (1, 3072), (1000, 3)]
    traces = [Trace(*size) for size in sizes[:engines]]
    for trace in traces:
        trace.record(EventKind.STEP, value=0)
        trace.record(EventKind.ALLOCATE, trace.num_pages - 1, 0, 0)
    root = ElementTree.fromstring(str(page_maps_svg(traces)))
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    xs, ys = zip(*((float(e.attrib["x"]), float(e.attrib["y"])) for e in root.iter() if "x" in e.attrib), strict=True)
    assert min(xs) >= 0 and max(xs) <= width and max(ys) < height


def test_one_widget_carries_all_traces_and_a_picture_of_the_moment_it_opens_at(
    pair: list[Trace], times: list[list[float]]
) -> None:
    widget = page_maps(pair, titles=["A", "B"], seconds=times, at=4.1)
    assert repr(widget) == (
        f"PageMap(A: 64 pages × 8 slots, {len(times[0])} steps; B: 64 pages × 8 slots, {len(times[1])} steps)"
    )
    assert widget._moment == 4.1
    bundle = widget._repr_mimebundle_()
    assert bundle is not None
    data, metadata = bundle
    assert data["image/svg+xml"] == str(page_maps_svg(pair, 4.1, titles=["A", "B"], seconds=times))
    assert "4.10 s" in metadata["image/png"]["alt"] and data["image/png"]
    assert page_maps(pair, at=3)._moment == 4, "three steps after the first"
    assert page_map(pair[0])._moment is None


def test_html_of_several_opens_at_its_moment_and_holds_no_title_outside_its_data(
    pair: list[Trace], tmp_path: Path
) -> None:
    page = page_maps_html(pair, tmp_path / "maps.html", titles=[HOSTILE_TITLE, "B"], at=3, title="Two").read_text()
    assert HOSTILE_TITLE not in page
    assert "new Film(packet)), 4.0);" in page


def packets(told: bytes) -> list[bytes]:
    whole, found = zlib.decompress(told), list[bytes]()
    while whole:
        (length,) = struct.unpack_from("<i", whole)
        found.append(whole[4 : 4 + length])
        whole = whole[4 + length :]
    return found


def test_news_of_one_engine_says_nothing_of_the_other() -> None:
    one, two = steps(0), steps(0)
    feeds, alone = Feeds(SideBySide([one, two])), Feed(two, "engine 2")
    assert packets(feeds.whole())[1] == alone.whole()
    assert feeds.news() is None
    two.record(EventKind.STEP, value=1)
    news = feeds.news()
    assert news is not None
    assert packets(news) == [b"", alone.news()]


def test_a_view_that_missed_something_is_told_all(monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = steps(0), steps(0)
    widget = page_maps([one, two])
    sent: list[bytes] = []
    monkeypatch.setattr(widget, "send", lambda _content, buffers: sent.extend(buffers))
    widget._answer(widget, {"have": [2, 2]}, None)
    assert not sent
    two.record(EventKind.STEP, value=1)
    widget._answer(widget, {"have": [2, 2]}, None)
    assert [len(packet) > 0 for packet in packets(sent[0])] == [True, True]
