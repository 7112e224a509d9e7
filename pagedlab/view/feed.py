"""Feed: a trace as packets of bytes, for readers that replay it themselves (``page_map_film.js``).

A packet is: the length of its header as int32, the header as JSON, spaces up to a multiple of four bytes, and the
events as rows of four int32 (``memory/events.py``); all little-endian. The header of the first packet carries the
pool, the base, a title and the seconds at which steps ended; every header carries

``cursor``     the number of events recorded before the packet's first one
``sequences``  ``{id: [label, start, tokens from start on]}`` for sequences that are new or have grown
``pieces``     ``{token id: text}`` for token ids not named before

Several traces on one clock travel as one: each one's packet behind its length as int32, 0 where it has no news, and
all of it deflated (zlib), to about a quarter.
"""

from __future__ import annotations

import json
import struct
import sys
import zlib
from array import array
from collections.abc import Sequence
from typing import Any

from pagedlab.memory.events import NONE, Trace
from pagedlab.memory.replay import PageMap
from pagedlab.view.palette import ON_OWNERS, OWNERS
from pagedlab.view.side_by_side import SideBySide


class Feed:
    """What one reader of a trace was told, and what it has yet to hear."""

    def __init__(self, trace: Trace, title: str = "", seconds: Sequence[float] | None = None) -> None:
        self._trace, self._title, self._seconds = trace, title, seconds
        self._cursor = 0
        self._num_tokens: dict[int, int] = {}
        self._pieces: set[int] = set()

    def whole(self) -> bytes:
        """Everything: what a reader starts from."""
        trace = self._trace
        self._cursor, self._num_tokens, self._pieces = trace.folded, {}, set()
        header = {
            "num_pages": trace.num_pages,
            "page_size": trace.page_size,
            "base": _base(trace.base) if trace.folded else None,
            "title": self._title,
            "seconds": None if self._seconds is None else list(self._seconds),
            "colours": OWNERS,
            "text_colours": ON_OWNERS,
        }
        return self._packet(header, remember=True)

    def news(self, *, remember: bool = True) -> bytes | None:
        """What came since the last packet, None if nothing did. Unless ``remember``, the next packet repeats it."""
        if self._cursor < self._trace.folded:
            return self.whole()
        if self._cursor == self._trace.end:
            return None
        return self._packet({}, remember)

    def _packet(self, header: dict[str, Any], remember: bool) -> bytes:
        trace = self._trace
        events, end = trace.since(self._cursor)
        header |= {"cursor": self._cursor, "sequences": {}, "pieces": {}}
        for sequence, info in trace.sequences.items():
            start = self._num_tokens.get(sequence, 0)
            tokens = info.tokens[start:]
            if tokens or sequence not in self._num_tokens:
                header["sequences"][sequence] = [info.label, start, tokens]
        if trace.piece is not None:
            used = {token for _, _, tokens in header["sequences"].values() for token in tokens}
            header["pieces"] = {token: trace.piece(token) for token in sorted(used - self._pieces)}
        if remember:
            self._cursor = end
            self._num_tokens |= {key: start + len(tokens) for key, (_, start, tokens) in header["sequences"].items()}
            self._pieces |= header["pieces"].keys()
        return _pack(header, events)


class Feeds:
    """What one reader of several traces was told, and what it has yet to hear."""

    def __init__(self, shown: SideBySide) -> None:
        seconds: Sequence[Sequence[float] | None] = shown.seconds or [None] * len(shown.traces)
        self._feeds = [Feed(*told) for told in zip(shown.traces, shown.titles, seconds, strict=True)]

    def whole(self) -> bytes:
        return _join([feed.whole() for feed in self._feeds])

    def news(self, *, remember: bool = True) -> bytes | None:
        """As of ``Feed.news``."""
        packets = [feed.news(remember=remember) for feed in self._feeds]
        return _join([packet or b"" for packet in packets]) if any(packets) else None


def _join(packets: Sequence[bytes]) -> bytes:
    framed = b"".join(struct.pack("<i", len(packet)) + packet for packet in packets)
    return zlib.compress(framed, 1)  # the best level saves a tenth more, and takes ten times as long


def _pack(header: dict[str, Any], events: bytes) -> bytes:
    if sys.byteorder == "big":
        rows = array("i", events)
        rows.byteswap()
        events = rows.tobytes()
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    return struct.pack("<i", len(text)) + text + events


def _base(page_map: PageMap) -> dict[str, Any]:
    return {
        "step": page_map.step,
        "hit_tokens": page_map.hit_tokens,
        "refcount": page_map.refcount,
        "published": [int(published) for published in page_map.published],
        "filled": page_map.filled,
        "content": [(NONE, NONE) if content is None else content for content in page_map.content],
        "host": sorted(page_map.host),
        "sequences": [
            [
                key,
                view.pages,
                view.computed,
                view.prompt,
                view.hit,
                view.preemptions,
                NONE if view.finish is None else view.finish,
                view.swapped,
            ]
            for key, view in page_map.sequences.items()
        ],
    }
