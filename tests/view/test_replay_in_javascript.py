"""The browser replays a trace exactly as Python does, frame by frame."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from pagedlab.memory.events import NONE, EventKind, Trace
from pagedlab.memory.prefix_hash import HashPrefixCache
from pagedlab.memory.prefix_radix import RadixPrefixCache
from pagedlab.memory.replay import PageMap
from pagedlab.view.feed import Feed
from pagedlab.view.frames import copied_slots, count, frame_ends, holes_of, status_of
from pagedlab.view.palette import is_pin
from tests.view.make_trace import make_trace, piece

HERE = Path(__file__).parent
MODULE = HERE.parents[1] / "pagedlab" / "view" / "page_map_film.js"

pytestmark = pytest.mark.skipif(shutil.which("node") is None, reason="the JavaScript replay is run by Node.js")


COUNTED = ["used", "cached", "free", "shared", "waste", "running", "waiting", "swapped", "host_pages", "host_tokens"]


def in_node(packets: list[bytes], folder: Path) -> dict[str, Any]:
    paths = []
    for number, packet in enumerate(packets):
        paths.append(folder / f"{number}.bin")
        paths[-1].write_bytes(packet)
    command = ["node", str(HERE / "replay_in_node.mjs"), str(MODULE), *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)  # type: ignore[no-any-return]


def as_python_has_it(page_map: PageMap) -> dict[str, Any]:
    counts = count(page_map)
    views = page_map.sequences.items()
    return {
        "step": page_map.step,
        "hit_tokens": page_map.hit_tokens,
        "refcount": page_map.refcount,
        "published": page_map.published,
        "filled": page_map.filled,
        "content": [None if content is None else list(content) for content in page_map.content],
        "host": sorted(page_map.host),
        "sequences": {
            str(key): [
                v.pages,
                v.computed,
                v.prompt,
                v.hit,
                v.preemptions,
                -1 if v.finish is None else int(v.finish),
                v.swapped,
            ]
            for key, v in views
        },
        "statuses": {str(key): status_of(v).split()[0] for key, v in views if not is_pin(key)},
        "holes": {str(key): holes_of(v) for key, v in views},
        "copied": [copied_slots(page_map, page) for page in range(page_map.num_pages)],
        "counts": [getattr(counts, name) for name in COUNTED],
    }


def expected_texts(trace: Trace) -> list[list[str]]:
    page_map, texts = trace.replay(), list[list[str]]()
    for content, filled in zip(page_map.content, page_map.filled, strict=True):
        if content is None:
            texts.append([])
            continue
        sequence, logical = content
        start = logical * trace.page_size
        texts.append([piece(token) for token in trace.sequences[sequence].tokens[start : start + filled]])
    return texts


@pytest.mark.parametrize("seed", range(6))
def test_every_frame_of_a_film_is_what_python_replays(seed: int, tmp_path: Path) -> None:
    page_size = 1 + 3 * seed
    trace = make_trace(num_pages=20 + 100 // page_size, page_size=page_size, num_requests=12, max_prompt=20, seed=seed)
    film = in_node([Feed(trace).whole()], tmp_path)
    assert len(film["frames"]) == len(frame_ends(trace)) > 10
    for frame, end in zip(film["frames"], frame_ends(trace), strict=True):
        assert frame == as_python_has_it(trace.replay(end))
    assert film["texts"] == expected_texts(trace)


#: What a cache manager can do beyond pages that are shared, evicted and recomputed, and the events that show it.
MEMORY: dict[str, tuple[dict[str, Any], set[EventKind]]] = {
    "host pages, swap": ({"num_host_pages": 20}, {EventKind.OFFLOAD, EventKind.FILL, EventKind.RESUME}),
    "partial hits": ({"partial_hits": True}, {EventKind.FILL}),
    "window": ({"window": 10, "num_host_pages": 8}, {EventKind.OFFLOAD, EventKind.FORK}),
    "beams": ({"beams": True}, {EventKind.FORK, EventKind.COPY}),
    "drafts": ({"drafts": True}, {EventKind.PREEMPT}),
    "all": (
        {"num_host_pages": 12, "partial_hits": True, "beams": True, "drafts": True, "pin": True, "eviction": "lfu"},
        {EventKind.OFFLOAD, EventKind.FILL, EventKind.RESUME, EventKind.COPY},
    ),
}


@pytest.mark.parametrize("name", MEMORY)
def test_every_event_of_all_that_memory_can_do_is_replayed_as_in_python(name: str, tmp_path: Path) -> None:
    knobs, expected = MEMORY[name]
    for number, cache in enumerate((HashPrefixCache, RadixPrefixCache)):
        whole = make_trace(
            num_pages=44, page_size=4, num_requests=14, max_prompt=30, seed=number + 1, prefix_cache=cache, **knobs
        )
        assert expected <= {event.kind for event in whole}
        # A trace without steps has a frame after every event.
        trace, replayed = Trace(44, 4), PageMap(44, 4)
        for event in whole:
            if event.kind is not EventKind.STEP:
                trace.record(*event)
        frames = in_node([Feed(trace).whole()], tmp_path)["frames"]
        assert frames[0] == as_python_has_it(replayed)
        for frame, event in zip(frames[1:], trace, strict=True):
            replayed.apply(event)
            assert frame == as_python_has_it(replayed), event


@pytest.mark.parametrize("knobs", [{"num_host_pages": 12, "partial_hits": True, "beams": True}, {"window": 10}])
def test_what_is_on_the_host_and_what_was_given_back_survive_folding(knobs: dict[str, Any], tmp_path: Path) -> None:
    trace = make_trace(num_pages=44, page_size=4, num_requests=14, max_prompt=30, max_events=600, max_steps=30, **knobs)
    assert trace.folded > 0
    assert trace.base.host or any(NONE in view.pages for view in trace.base.sequences.values())
    film = in_node([Feed(trace).whole()], tmp_path)
    for frame, end in zip(film["frames"], frame_ends(trace), strict=True):
        assert frame == as_python_has_it(trace.replay(end))


def test_a_trace_that_was_folded_starts_from_its_base(tmp_path: Path) -> None:
    trace = make_trace(num_pages=24, page_size=4, num_requests=12, max_prompt=20, max_events=150)
    assert trace.folded > 0
    film = in_node([Feed(trace).whole()], tmp_path)
    for frame, end in zip(film["frames"], frame_ends(trace), strict=True):
        assert frame == as_python_has_it(trace.replay(end))
    assert film["texts"] == expected_texts(trace)


def test_packets_sent_while_the_engine_runs_add_up_to_the_whole(tmp_path: Path) -> None:
    whole = make_trace(num_pages=30, page_size=4, num_requests=10, max_prompt=20)
    growing = Trace(30, 4)
    growing.piece = piece
    feed = Feed(growing)
    packets = [feed.whole()]
    for number, event in enumerate(whole):
        if event.sequence >= 0 and event.sequence not in growing.sequences:
            growing.describe(event.sequence, *whole.sequences[event.sequence])
        growing.record(*event)
        if number % 37 == 36:
            news = feed.news()
            assert news is not None
            packets.append(news)
    packets.append(feed.news() or b"")
    assert feed.news() is None
    live = in_node([packet for packet in packets if packet], tmp_path)
    assert live == in_node([Feed(whole).whole()], tmp_path)
