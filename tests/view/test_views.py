"""The pictures made by Python: right, deterministic, described in words, and safe whatever a model wrote."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from rich.console import Console

from pagedlab.memory.events import NONE, Trace
from pagedlab.memory.table import HOLE
from pagedlab.view.frames import Follower, copied_slots, count, holes_of, owners_of_pages
from pagedlab.view.html import page_map_html
from pagedlab.view.page_map import page_map
from pagedlab.view.svg import page_map_svg, page_table_svg
from pagedlab.view.terminal import TerminalPageMap, headline
from tests.view.make_trace import HOSTILE, make_trace

HOSTILE_LABEL = "</title><script>alert(1)</script>"


@pytest.fixture(scope="module")
def trace() -> Trace:
    return make_trace(num_pages=40, page_size=8, num_requests=12, max_steps=30)


@pytest.fixture(scope="module")
def running(trace: Trace) -> int:
    return next(key for key, view in trace.replay().sequences.items() if view.pages)


def test_the_same_trace_gives_the_same_picture_in_another_process(trace: Trace) -> None:
    program = (
        "from tests.view.make_trace import make_trace\n"
        "from pagedlab.view.svg import page_map_svg\n"
        "print(page_map_svg(make_trace(num_pages=40, page_size=8, num_requests=12, max_steps=30)))\n"
    )
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=root, check=True)
    assert done.stdout.strip() == str(page_map_svg(trace)).strip()


def test_a_picture_says_in_words_what_it_shows(trace: Trace, running: int) -> None:
    figure, counts = page_map_svg(trace, select=running), count(trace.replay())
    for number, word in ((counts.used, "used"), (counts.cached, "cached"), (counts.free, "free")):
        assert re.search(rf"\b{number}\b[^.]*{word}", figure.alt), (number, word, figure.alt)
    root = ElementTree.fromstring(str(figure))
    names = {child.tag.rpartition("}")[2] for child in root}
    assert {"title", "desc"} <= names


def test_text_from_outside_cannot_become_markup_in_a_picture() -> None:
    trace = make_trace(num_pages=40, page_size=8, num_requests=6, max_steps=12)
    first = next(key for key, view in trace.replay().sequences.items() if view.pages)
    trace.describe(first, HOSTILE_LABEL, trace.sequences[first].tokens)
    svg = str(page_map_svg(trace, select=first, title=HOSTILE_LABEL))
    assert "<script" not in svg
    texts = [element.text or "" for element in ElementTree.fromstring(svg).iter()]
    assert any(HOSTILE_LABEL in text for text in texts)


@pytest.mark.parametrize("step", [-5, 10**6])
def test_a_step_that_the_trace_does_not_hold_is_refused(trace: Trace, step: int) -> None:
    with pytest.raises(LookupError, match="this trace holds steps 0 to"):
        page_map_svg(trace, step=step)


def test_an_unknown_sequence_is_refused(trace: Trace) -> None:
    with pytest.raises(LookupError):
        page_map_svg(trace, select=10**6)


def test_the_page_table_sketch_names_every_physical_page() -> None:
    figure = page_table_svg([0, 7, 2, 11], 12)
    texts = [element.text for element in ElementTree.fromstring(str(figure)).iter() if element.text]
    for page in ("0", "7", "2", "11"):
        assert page in texts


def test_the_html_file_holds_no_text_of_the_model_outside_its_data(trace: Trace, tmp_path: Path) -> None:
    page = page_map_html(trace, tmp_path / "map.html", title=HOSTILE_LABEL).read_text()
    assert HOSTILE not in page and HOSTILE_LABEL not in page
    assert "Content-Security-Policy" in page
    assert not re.search(r"""(?:src|href)=["']|https?://(?!www\.w3\.org)|@import|url\((?!#)""", page)


def test_a_widget_has_a_picture_beside_it_and_a_repr_without_an_address(trace: Trace) -> None:
    widget = page_map(trace)
    assert repr(widget) == "PageMap(40 pages × 8 slots, 30 steps)"
    bundle = widget._repr_mimebundle_()
    assert bundle is not None
    data, metadata = bundle
    assert data["text/plain"] == repr(widget) or "0x" not in data["text/plain"]
    assert {"image/png", "image/svg+xml", "application/vnd.jupyter.widget-view+json"} <= data.keys()
    assert metadata["image/png"]["alt"]


def test_the_terminal_shows_every_state_without_colour(trace: Trace) -> None:
    console = Console(width=140, no_color=True, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(TerminalPageMap(trace))
    text, counts = console.export_text(), count(trace.replay())
    legend = text.splitlines()[-1]
    cells = "\n".join(text.splitlines()[1:-1])
    assert cells.count("░░░") == counts.cached
    assert cells.count(" · ") == counts.free
    assert len(re.findall(r"×\d", cells)) == counts.shared
    assert text.splitlines()[0] == str(headline(trace.replay().step, counts))
    for state in ("used", "partly filled", "shared", "cached", "free"):
        assert state in legend


@pytest.fixture(scope="module")
def rich_trace() -> Trace:
    """Swapped sequences, pages evicted to host memory, hits in part, beams, and a pin at its end."""
    knobs: dict[str, Any] = {"num_host_pages": 60, "partial_hits": True, "beams": True, "pin": True}
    trace = make_trace(num_pages=96, page_size=8, num_requests=16, max_prompt=110, seed=3, max_steps=13, **knobs)
    counts = count(trace.replay())
    assert counts.host_pages and counts.swapped and counts.host_tokens
    return trace


@pytest.fixture(scope="module")
def windowed_trace() -> Trace:
    return make_trace(num_pages=96, page_size=8, num_requests=16, max_prompt=110, seed=1, max_steps=12, window=24)


def test_what_is_in_host_memory_is_said_under_the_pages_in_words_and_in_the_terminal(rich_trace: Trace) -> None:
    counts = count(rich_trace.replay())
    said = f"{counts.host_pages} cached pages, {counts.host_tokens} tokens of {counts.swapped} swapped out"
    figure = page_map_svg(rich_trace)
    assert f"Host memory: {said}" in str(figure)
    assert f"host memory: {said}" in figure.alt
    assert str(headline(12, counts)).endswith(f"host memory: {said}")
    swapped = next(key for key, view in rich_trace.replay().sequences.items() if view.swapped)
    tokens = rich_trace.replay().sequences[swapped].swapped
    assert f"{tokens} tokens in host memory (swapped out)" in str(page_map_svg(rich_trace, select=swapped))


def test_nothing_is_said_of_a_host_memory_that_is_not_there(trace: Trace) -> None:
    assert "host" not in str(page_map_svg(trace)).lower()
    assert "host" not in str(headline(0, count(trace.replay())))
    assert "copied" not in str(page_map_svg(trace))


def test_slots_that_were_copied_are_those_a_partial_hit_found(rich_trace: Trace) -> None:
    page_map = rich_trace.replay()
    copies = {page: copied_slots(page_map, page) for page in range(96) if copied_slots(page_map, page)}
    assert copies
    for page, slots in copies.items():
        sequence, logical = page_map.content[page] or (NONE, NONE)
        assert page_map.sequences[sequence].pages[logical] == page
        assert page_map.sequences[sequence].hit == 8 * logical + slots
    assert "copied in part" in str(page_map_svg(rich_trace))


def test_pages_given_back_leave_a_gap_in_the_page_table_and_point_nowhere(windowed_trace: Trace) -> None:
    page_map = windowed_trace.replay()
    sequence, view = max(page_map.sequences.items(), key=lambda entry: holes_of(entry[1]))
    holes = holes_of(view)
    assert holes > 2
    svg = str(page_map_svg(windowed_trace, select=sequence))
    assert f"{len(view.pages)} logical pages, the first {holes} of them given back" in svg
    assert "given back</text>" in svg
    assert sum(map(len, owners_of_pages(page_map))) == sum(page_map.refcount)


def test_the_page_table_sketch_has_a_place_without_a_page() -> None:
    figure = page_table_svg([HOLE, 7, 2], 12)
    assert "0 → given back, 1 → 7, 2 → 2" in figure.alt
    assert str(figure).count("C") < str(page_table_svg([3, 7, 2], 12)).count("C")


def test_a_pin_is_no_sequence_and_is_called_what_it_is(rich_trace: Trace) -> None:
    page_map = rich_trace.replay()
    pin = next(key for key in page_map.sequences if key < NONE)
    pages = page_map.sequences[pin].pages
    assert pages
    figure = page_map_svg(rich_trace, select=pin)
    assert f"pin 1: {len(pages)} pages of a prefix" in str(figure)
    counts = count(page_map)
    total = counts.running + counts.waiting + counts.preempted + counts.swapped + counts.finished
    assert total == len(page_map.sequences) - 1


def test_following_a_growing_trace_is_the_same_as_replaying_it() -> None:
    source = make_trace(num_pages=24, page_size=4, num_requests=8, max_prompt=20)
    growing = Trace(24, 4, max_events=100)
    follower = Follower(growing)
    for number, event in enumerate(source):
        growing.record(*event)
        if number % 29 == 0:
            followed, replayed = vars(follower.now()).copy(), vars(growing.replay()).copy()
            told, sequences = followed.pop("sequences"), replayed.pop("sequences")
            assert followed == replayed
            # Folding drops ended sequences whose tokens no page holds; a follower may still know them.
            assert {key: told[key] for key in sequences} == sequences
