"""The live page map: a widget that shows every page, step by step, while the engine runs and afterwards."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import anywidget
import traitlets

from pagedlab.memory.events import Trace
from pagedlab.view import assets
from pagedlab.view.feed import Feeds
from pagedlab.view.maps_svg import draw_side_by_side
from pagedlab.view.side_by_side import SideBySide
from pagedlab.view.svg import SvgFigure, page_map_svg

#: Seconds between two packets while the engine runs.
INTERVAL = 0.1

#: A browser needs a moment to load the widget, and hears nothing until then. For so many seconds every packet repeats
#: those before it: a busy kernel could not answer the question for what was missed.
LOADING = 5.0


class PageMapWidget(anywidget.AnyWidget):
    """Whole traces cross to the browser once; moving through them asks nothing of the kernel.

    ``refresh()`` sends what happened since. Called after every step, it is live.
    """

    _esm = assets.script()
    _css = assets.style()
    _packet = traitlets.Bytes(b"").tag(sync=True)
    _moment = traitlets.Float(None, allow_none=True).tag(sync=True)

    def __init__(self, shown: SideBySide, at: float | None = None) -> None:
        self._shown, self._feed = shown, Feeds(shown)
        self._start, self._sent = time.monotonic(), 0.0
        super().__init__(_packet=self._feed.whole(), _moment=None if at is None else shown.moment(at))
        self.on_msg(self._answer)

    def refresh(self, *, now: bool = False) -> None:
        """Send the new events; at most ten times a second, unless it must be ``now``."""
        clock = time.monotonic()
        if self.comm is None or (not now and clock - self._sent < INTERVAL):
            return
        packet = self._feed.news(remember=clock - self._start > LOADING)
        if packet is not None:
            self._sent = clock
            self.send({}, [packet])

    def _answer(self, _widget: object, message: dict[str, Any], _buffers: object) -> None:
        """A view says how many events of each trace it has."""
        if message.get("have") != [trace.end for trace in self._shown.traces]:
            self.send({}, [self._feed.whole()])

    def __repr__(self) -> str:
        told = [
            f"{trace.num_pages} pages × {trace.page_size} slots, {len(trace.steps())} steps"
            for trace in self._shown.traces
        ]
        if len(told) > 1:
            told = [f"{title}: {words}" for title, words in zip(self._shown.titles, told, strict=True)]
        return f"PageMap({'; '.join(told)})"

    def _still(self) -> SvgFigure:
        shown = self._shown
        if len(shown.traces) == 1:
            return page_map_svg(shown.traces[0])
        moment = shown.end if self._moment is None else self._moment
        return draw_side_by_side(shown, moment, [None] * len(shown.traces), "Side by side")

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]] | None:
        """The widget, and for readers without a kernel the same map as a picture."""
        self.refresh(now=True)
        shown = super()._repr_mimebundle_(**kwargs)
        if shown is None:
            return None
        data, metadata = shown
        still = self._still()
        return still.mime_bundle() | data, metadata | {"image/png": {"alt": still.alt}}


def page_map(trace: Trace) -> PageMapWidget:
    """The page map of a trace, at its newest step."""
    return PageMapWidget(SideBySide([trace]))


def page_maps(
    traces: Sequence[Trace],
    *,
    titles: Sequence[str] = (),
    seconds: Sequence[Sequence[float]] | None = None,
    at: float | None = None,
) -> PageMapWidget:
    """The page maps of several engines side by side: one slider, one play button, one clock for all.

    ``seconds[i][j]`` is when step j of trace i ended; without them the clock counts steps. It opens ``at`` a second
    (or a step's number), or at the end. Raises as ``page_maps_svg`` does.
    """
    return PageMapWidget(SideBySide(traces, titles, seconds), at)
