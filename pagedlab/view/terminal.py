"""The page map in a terminal: a coloured cell a page, with marks that need no colour."""

from __future__ import annotations

from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.style import Style
from rich.text import Text

from pagedlab.memory.events import Trace
from pagedlab.memory.replay import PageMap
from pagedlab.view.frames import Counts, Follower, count, host_facts, owners_of_pages
from pagedlab.view.palette import is_pin, owner_colour, text_colour

CELL = 4  # characters a page: three for what it says, one between it and the next
LEVELS = " ▁▂▃▄▅▆▇█"  # how full a page is

CACHED = Style(color="bright_black")
FREE = Style(color="bright_black", dim=True)


class TerminalPageMap:
    """Draws the newest step of a growing trace; a frame costs its new events only.

    A used page shows its owner's number on the owner's colour and, while it fills, how full it is; a shared one shows
    its reference count; a cached page is dotted and a free one is a single faint dot. What is in host memory stands in
    the headline.
    """

    def __init__(self, trace: Trace) -> None:
        self._follower = Follower(trace)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        page_map = self._follower.now()
        yield Group(headline(page_map.step, count(page_map)), *_rows(page_map, options.max_width), _legend())


def headline(step: int, counts: Counts) -> Text:
    """One line that says it all where nothing can be drawn."""
    waiting = counts.waiting + counts.preempted + counts.swapped
    host = host_facts(counts)
    return Text(
        f"step {step:>3}: {counts.running} running, {waiting} waiting, "
        f"{counts.finished} finished; pages: {counts.used} used ({counts.shared} shared), {counts.cached} cached, "
        f"{counts.free} free; {counts.waste} slots wasted{'; ' + host if host else ''}"
    )


def _rows(page_map: PageMap, width: int) -> list[Text]:
    owners = owners_of_pages(page_map)
    columns = max(1, (width - 6) // CELL)
    columns -= columns % 8 if columns > 8 else 0  # rows that begin at round numbers
    rows = []
    for first in range(0, page_map.num_pages, columns):
        row = Text(f"{first:>5} ", style=FREE, no_wrap=True)
        for page in range(first, min(first + columns, page_map.num_pages)):
            row.append_text(_cell(page_map, page, owners[page])).append(" ")
        rows.append(row)
    return rows


def _cell(page_map: PageMap, page: int, owners: list[int]) -> Text:
    references, filled = page_map.refcount[page], page_map.filled[page]
    if not references:
        return Text("░░░", CACHED) if page_map.published[page] else Text(" · ", FREE)
    owner = owners[0]
    style = Style(color=text_colour(owner), bgcolor=owner_colour(owner), bold=references > 1)
    if references > 1:
        return Text(f"×{references}".center(3), style)
    if is_pin(owner):
        return Text("pin", style)
    full = LEVELS[filled * (len(LEVELS) - 1) // page_map.page_size] if filled < page_map.page_size else " "
    return Text(f"{owner % 100:>2}{full}", style)


def _legend() -> Text:
    owner = Style(color=text_colour(1), bgcolor=owner_colour(1))
    shared = owner + Style(bold=True)
    entries = [
        (" 1 ", owner, "used, by its owner"),
        (" 1▄", owner, "partly filled"),
        ("×2 ", shared, "shared"),
        ("░░░", CACHED, "cached"),
        (" · ", FREE, "free"),
    ]
    legend = Text("      ")
    for sample, style, meaning in entries:
        legend.append(sample, style).append(f" {meaning}   ")
    return legend
