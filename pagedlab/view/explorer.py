"""Explorer: sliders over a function of a few choices, drawn as bars.

Every combination is computed in Python when the widget is made and sent once; moving a slider only picks another
frame in the browser, without a message to the kernel.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

import anywidget
import traitlets

from pagedlab.view.figures import STYLES, Bar, draw_bars, new_figure, png


@dataclass(frozen=True)
class Frame:
    """What one combination of choices looks like."""

    title: str  #: the finding in a line, numbers included
    bars: Sequence[Bar]
    extent: float  #: where the axis ends
    limit: tuple[float, str] | None = None  #: a line across all bars, and its name


class Explorer(anywidget.AnyWidget):
    """A slider for each of ``choices``, and the frame that ``frame(**choice)`` returns for where they stand.

    ``start`` names the values shown first; a choice that is not in it starts at its first value.
    """

    _esm = Path(__file__).with_name("explorer.js").read_text(encoding="utf-8")
    _choices: Any = traitlets.List().tag(sync=True)
    _frames: Any = traitlets.List().tag(sync=True)
    _styles: Any = traitlets.Dict().tag(sync=True)
    _unit: Any = traitlets.Unicode().tag(sync=True)
    _start: Any = traitlets.List().tag(sync=True)

    def __init__(
        self,
        choices: Mapping[str, Sequence[Any]],
        frame: Callable[..., Frame],
        *,
        unit: str,
        start: Mapping[str, Any] | None = None,
    ) -> None:
        start = start or {}
        self.frames = {
            values: frame(**dict(zip(choices, values, strict=True))) for values in product(*choices.values())
        }
        self.at_start = self.frames[tuple(start.get(name, values[0]) for name, values in choices.items())]
        super().__init__(
            _choices=[[name.replace("_", " "), [str(value) for value in values]] for name, values in choices.items()],
            _frames=[asdict(frame) for frame in self.frames.values()],
            _styles={kind: list(style) for kind, style in STYLES.items()},
            _unit=unit,
            _start=[list(values).index(start.get(name, values[0])) for name, values in choices.items()],
        )

    def __repr__(self) -> str:
        return f"Explorer({' × '.join(name for name, _ in self._choices)}: {len(self.frames)} frames)"

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        data, metadata = super()._repr_mimebundle_(**kwargs) or ({}, {})
        data["text/plain"] = repr(self)
        try:
            data["image/png"] = self._still()
        except ImportError:  # no matplotlib, as in a browser: there the widget itself is alive
            return data, metadata
        return data, metadata | {"image/png": {"alt": self.at_start.title}}

    def _still(self) -> bytes:
        """The frame it starts with, for readers without a kernel."""
        frame = self.at_start
        figure, axes = new_figure(8, 0.9 + 0.42 * len(frame.bars))
        draw_bars(axes, frame.bars, unit=self._unit, extent=frame.extent)
        axes.set_title(frame.title)
        if frame.limit:
            axes.axvline(frame.limit[0], color="black", linestyle="--", linewidth=1)
        return png(figure)
