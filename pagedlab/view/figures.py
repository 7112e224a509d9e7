"""Pictures for the notebooks: the same bytes on every run, readable without colour, described in words.

``show`` puts a matplotlib figure into a notebook as SVG and PNG with a text alternative and a caption. Colours are
Okabe and Ito's, which most colour-blind readers tell apart; every kind also has a hatch, and every part a label.
matplotlib is imported when the first figure is made.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any, NamedTuple

from pagedlab.arithmetic import attainable_flops, ridge_point
from pagedlab.memory.table import HOLE
from pagedlab.view.palette import GUIDE, OWNERS
from pagedlab.view.svg import SvgFigure
from pagedlab.view.undrawn import Undrawn, keeps_pictures, kept_picture, undrawn_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from pagedlab.arithmetic import Machine, StepCost
    from pagedlab.memory.contiguous import ContiguousAllocator

#: kind -> colour, hatch. The kinds are what slots and bytes can be spent on; a, b, c, d are owners of pages.
STYLES: Mapping[str, tuple[str, str]] = {
    "used": (OWNERS[6], ""),
    "waste": (OWNERS[5], "////"),
    "free": ("#F4F4F4", ""),
    "weights": ("#999999", "||||"),
    "cache": (OWNERS[1], ""),
    "a": (OWNERS[0], ""),
    "b": (OWNERS[1], "////"),
    "c": (OWNERS[2], "----"),
    "d": (OWNERS[3], "\\\\\\\\"),
    "shared": (OWNERS[4], "xx"),
}

STYLE: dict[Any, Any] = {
    "svg.hashsalt": "pagedlab",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "hatch.linewidth": 0.6,
    "hatch.color": "#FFFFFF",
    "legend.frameon": False,
}


class Segment(NamedTuple):
    """A stretch of a bar: so much of one kind."""

    value: float
    kind: str
    text: str = ""


class Bar(NamedTuple):
    """A labelled bar; with ``page_size`` its page boundaries are drawn."""

    label: str
    segments: Sequence[Segment]
    page_size: float | None = None


def bar(label: str, *, page_size: float | None = None, text: str = ",.0f", **kinds: float) -> Bar:
    """``bar("A", used=800, waste=224)``: segments by kind, each labelled with its value as ``text`` formats it."""
    segments = [Segment(value, kind, format(value, text)) for kind, value in kinds.items()]
    return Bar(label, segments, page_size)


def new_figure(
    width: float = 8.0, height: float = 2.6, columns: int = 1, rows: int = 1, **kwargs: Any
) -> tuple[Figure, Any]:
    """A figure of ``width`` by ``height`` inches and its axes: one, or an array of ``columns``, or of ``rows`` too."""
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError:
        if keeps_pictures():
            return undrawn_figure(columns, rows)  # type: ignore[return-value]
        raise

    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        return figure, figure.subplots(rows, columns, **kwargs)


def draw_bars(axes: Axes, bars: Sequence[Bar], *, unit: str, extent: float | None = None) -> None:
    """Bars of segments, first bar on top. A text too long for its segment is left out; none is cut by a page's edge."""
    extent = extent or 1.05 * max(sum(segment.value for segment in bar.segments) for bar in bars)
    for row, bar in enumerate(bars):
        left = 0.0
        for value, kind, text in bar.segments:
            colour, hatch = STYLES[kind]
            axes.barh(row, value, 0.62, left, color=colour, hatch=hatch, edgecolor="white", linewidth=0.5)
            if value > 0.012 * len(text) * extent:
                _label(axes, left + value / 2, row, text, kind, on=colour if bar.page_size else None)
            left += value
        if bar.page_size:
            edges = [bar.page_size * i for i in range(1, round(left / bar.page_size))]
            axes.vlines(edges, row - 0.31, row + 0.31, color="white", linewidth=1.2)
    axes.set_yticks(range(len(bars)), [bar.label for bar in bars])
    axes.set_ylim(len(bars) - 0.5, -0.5)
    axes.set_xlabel(unit)
    axes.spines["left"].set_visible(False)
    axes.tick_params(left=False)
    axes.set_xlim(0, extent)


def draw_line_of_slots(axes: Axes, allocator: ContiguousAllocator, names: Mapping[int, str]) -> None:
    """One line of slots: who reserved which run, how much of it is used, where the gaps are."""
    for run in allocator.free_runs():
        _box(axes, run.start, 0, len(run), "free", f"free {len(run)}")
    for reservation in allocator.reservations:
        start, used, tail = reservation.start, reservation.used, reservation.num_slots - reservation.used
        _box(axes, start, 0, used, "used", f"{names[reservation.sequence]} {used}")
        _box(axes, start + used, 0, tail, "waste", str(tail) if tail > allocator.num_slots / 30 else "")
    _bare(axes, allocator.num_slots, 1)


def draw_pages(axes: Axes, pages: Sequence[tuple[str, str]], columns: int, *, numbers: bool = True) -> None:
    """A pool as a grid of ``columns``: for each physical page its (kind, text)."""
    rows = -(-len(pages) // columns)
    for number, (kind, text) in enumerate(pages):
        row, column = divmod(number, columns)
        _box(axes, column + 0.04, rows - 1 - row + 0.05, 0.92, kind, text, height=0.9)
        if numbers:
            _label(axes, column + 0.16, rows - row - 0.19, str(number), kind, size=6.5)
    _bare(axes, columns, rows)


def draw_page_table(axes: Axes, tables: Mapping[str, Sequence[int]], num_pages: int) -> None:
    """Logical rows above the physical pages they point at. The keys name the rows; kinds a, b, c ... colour them.

    A HOLE (``memory/table.py``) in a row is drawn as what it is: a place without a page.
    """
    owners: dict[int, list[int]] = {}
    left, height = 0.0, 0.8
    for index, (name, pages) in enumerate(tables.items()):
        kind = "abcd"[index % 4]
        axes.text(left, 3 + height + 0.12, f"{name}: logical pages", fontsize=9, va="bottom")
        for logical, page in enumerate(pages):
            if page == HOLE:
                _box(axes, left + logical + 0.04, 3, 0.92, "free", str(logical), height=height)
                continue
            owners.setdefault(page, []).append(index)
            _box(axes, left + logical + 0.04, 3, 0.92, kind, str(logical), height=height)
            axes.plot([left + logical + 0.5, page + 0.5], [3, height], color="#444444", linewidth=1.1, marker=".")
        left += len(pages) + 1
    for page in range(num_pages):
        names = owners.get(page, [])
        kind = "free" if not names else "shared" if len(names) > 1 else "abcd"[names[0] % 4]
        _box(axes, page + 0.04, 0, 0.92, kind, str(page), height=height)
    axes.text(0, -0.15, "physical pages", fontsize=9, va="top")
    _bare(axes, max(num_pages, left - 1), 4.2, bottom=-0.6)


def draw_roofline(axes: Axes, machine: Machine, steps: Mapping[str, StepCost]) -> None:
    """What ``machine`` can reach at each intensity, and where steps stand under that roof."""
    ridge = ridge_point(machine)
    intensities = [ridge / 2000, ridge, ridge * 20]
    axes.loglog(intensities, [attainable_flops(x, machine) / 1e12 for x in intensities], color="black", linewidth=1.5)
    axes.axvline(ridge, color=GUIDE, linestyle=":", linewidth=1)
    for index, (name, cost) in enumerate(steps.items()):
        reached = attainable_flops(cost.intensity, machine) / 1e12
        marker, colour = "osD^vP"[index % 6], OWNERS[index % len(OWNERS)]
        axes.plot(cost.intensity, reached, marker, color=colour, markeredgecolor="black", markersize=9, label=name)
    axes.set_xlabel("intensity, FLOPs per byte")
    axes.set_ylabel("attainable TFLOP/s")
    axes.legend(loc="lower right", frameon=False)


def draw_key(axes: Axes, names: Mapping[str, str]) -> None:
    """A legend above the drawing: kind -> what it stands for here."""
    if isinstance(axes, Undrawn):
        return
    from matplotlib.patches import Patch

    patches = []
    for kind, name in names.items():
        colour, hatch = STYLES[kind]
        patches.append(Patch(facecolor=colour, hatch=hatch, edgecolor="white", label=name))
    axes.legend(handles=patches, frameon=False, ncols=len(names), loc="lower left", bbox_to_anchor=(0, 1), borderpad=0)


def show(picture: Figure | SvgFigure | Undrawn, *, caption: str, alt: str = "") -> None:
    """Display a figure as SVG and PNG described by ``alt``, and under it a caption that stands alone.

    A picture of pages brings its own ``alt``. What could not be drawn here is shown as it was kept, if it was.
    """
    from IPython.display import display

    data: dict[str, Any]
    if isinstance(picture, SvgFigure):
        alt, data = alt or picture.alt, picture.mime_bundle()
    elif isinstance(picture, Undrawn):
        kept = kept_picture(caption)
        data = {} if kept is None else {"image/svg+xml": kept}
    else:
        data = {"image/svg+xml": svg(picture, alt), "image/png": png(picture)}
    metadata = {kind: {"alt": alt} for kind in ("image/svg+xml", "image/png")}
    display(data | {"text/plain": f"[figure: {alt}]"}, metadata=metadata, raw=True)
    display({"text/markdown": f"*{caption}*", "text/plain": caption}, raw=True)


def svg(figure: Figure, alt: str) -> str:
    """``figure`` as SVG text without a date, named by ``alt`` for screen readers."""
    import matplotlib as mpl

    buffer = io.StringIO()
    with mpl.rc_context(STYLE):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Title": alt})
    text = buffer.getvalue()
    return text[text.index("<svg") :].replace("<svg ", f'<svg role="img" aria-label="{escape(alt)}" ', 1)


def png(figure: Figure) -> bytes:
    import matplotlib as mpl

    buffer = io.BytesIO()
    with mpl.rc_context(STYLE):
        figure.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
    return buffer.getvalue()


def _box(
    axes: Axes, left: float, bottom: float, width: float, kind: str, text: str = "", *, height: float = 1.0
) -> None:
    if isinstance(axes, Undrawn):
        return
    from matplotlib.patches import Rectangle

    colour, hatch = STYLES[kind]
    edge = GUIDE if kind == "free" else "white"
    axes.add_patch(Rectangle((left, bottom), width, height, facecolor=colour, hatch=hatch, edgecolor=edge, lw=0.8))
    if text:
        _label(axes, left + width / 2, bottom + height / 2, text, kind)


def _label(axes: Axes, x: float, y: float, text: str, kind: str, *, size: float = 8.5, on: str | None = None) -> None:
    """A plate keeps hatching, and edges of pages, from under the text: white, or of the colour ``on``."""
    _, hatch = STYLES[kind]
    ground = "white" if hatch else on
    plate = {"facecolor": ground, "alpha": 0.85 if hatch else 1, "edgecolor": "none", "pad": 1.2} if ground else None
    ink = "white" if kind == "used" else "black"
    axes.text(x, y, text, ha="center", va="center", fontsize=size, color=ink, bbox=plate)


def _bare(axes: Axes, width: float, height: float, *, bottom: float = 0.0) -> None:
    """Axes without axes: the drawing speaks for itself."""
    axes.set_xlim(-0.01 * width, 1.01 * width)
    axes.set_ylim(bottom - 0.05, height + 0.05)
    axes.set_axis_off()
