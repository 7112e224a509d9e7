"""The browser replays a trace exactly as Python does, frame by frame."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from pagedlab.memory.events import Trace
from pagedlab.memory.replay import PageMap
from pagedlab.view.feed import Feed
from pagedlab.view.frames import count, frame_ends
from tests.view.make_trace import make_trace, piece

HERE = Path(__file__).parent
MODULE = HERE.parents[1] / "pagedlab" / "view" / "page_map_replay.js"

pytestmark = pytest.mark.skipif(shutil.which("node") is None, reason="the JavaScript replay is run by Node.js")


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
    return {
        "step": page_map.step,
        "hit_tokens": page_map.hit_tokens,
        "refcount": page_map.refcount,
        "published": page_map.published,
        "filled": page_map.filled,
        "content": [None if content is None else list(content) for content in page_map.content],
        "sequences": {
            str(key): [v.pages, v.computed, v.prompt, v.hit, v.preemptions, -1 if v.finish is None else int(v.finish)]
            for key, v in page_map.sequences.items()
        },
        "counts": {"used": counts.used, "cached": counts.cached, "free": counts.free, "waste": counts.waste},
    }


def expected_texts(trace: Trace) -> list[list[str]]:
    page_map, texts = trace.replay(), []
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
