"""The live page map: a widget that shows every page, step by step, while the engine runs and afterwards."""

from __future__ import annotations

import time
from typing import Any

import anywidget
import traitlets

from pagedlab.memory.events import Trace
from pagedlab.view import assets
from pagedlab.view.feed import Feed
from pagedlab.view.svg import page_map_svg

#: Seconds between two packets while the engine runs.
INTERVAL = 0.1

#: A browser needs a moment to load the widget, and hears nothing until then. For so many seconds every packet repeats
#: those before it: a busy kernel could not answer the question for what was missed.
LOADING = 5.0


class PageMapWidget(anywidget.AnyWidget):
    """The whole trace crosses to the browser once; moving through it asks nothing of the kernel.

    ``refresh()`` sends what happened since. Called after every step, it is live.
    """

    _esm = assets.script()
    _css = assets.style()
    _packet = traitlets.Bytes(b"").tag(sync=True)

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self._feed = Feed(trace)
        self._start, self._sent = time.monotonic(), 0.0
        super().__init__(_packet=self._feed.whole())
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
        """A view says how many events it has."""
        if message.get("have") != self.trace.end:
            self.send({}, [self._feed.whole()])

    def __repr__(self) -> str:
        steps = len(self.trace.steps())
        return f"PageMap({self.trace.num_pages} pages × {self.trace.page_size} slots, {steps} steps)"

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]] | None:
        """The widget, and for readers without a kernel the same map as a picture."""
        self.refresh(now=True)
        shown = super()._repr_mimebundle_(**kwargs)
        if shown is None:
            return None
        data, metadata = shown
        still = page_map_svg(self.trace)
        return still.mime_bundle() | data, metadata | {"image/png": {"alt": still.alt}}


def page_map(trace: Trace) -> PageMapWidget:
    """The page map of a trace, at its newest step."""
    return PageMapWidget(trace)
