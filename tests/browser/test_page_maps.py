"""Page maps side by side in a real browser: one clock for all, and each map its own selection."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pagedlab.memory.events import EventKind
from pagedlab.view.frames import count, frame_ends
from pagedlab.view.html import page_maps_html
from pagedlab.view.side_by_side import SideBySide
from tests.view.make_trace import HOSTILE, make_trace

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

pytestmark = pytest.mark.browser

REQUESTS: dict[str, Any] = {"num_requests": 16, "max_prompt": 110, "max_output": 60}
PAIR = [
    make_trace(96, 8, **REQUESTS),
    make_trace(96, 8, **REQUESTS, num_host_pages=60, partial_hits=True, max_tokens_per_step=48),
]
TITLES = ["recompute", f"swap {HOSTILE}"]
#: The first takes longer over a step than the second.
SECONDS = [
    [0.4 * n for n in range(1, len(PAIR[0].steps()) + 1)],
    [0.15 * n for n in range(1, len(PAIR[1].steps()) + 1)],
]


@pytest.fixture
def by_steps(page: Page, tmp_path: Path) -> Page:
    return opened(page, page_maps_html(PAIR, tmp_path / "maps.html", titles=TITLES, at=20))


@pytest.fixture
def by_seconds(page: Page, tmp_path: Path) -> Page:
    return opened(page, page_maps_html(PAIR, tmp_path / "maps.html", titles=TITLES, seconds=SECONDS, at=4.1))


def opened(page: Page, path: Path) -> Page:
    page.context.set_offline(True)
    page.goto(path.as_uri())
    page.wait_for_selector(".plm-panel[data-used]")
    return page


def frames(page: Page) -> list[int]:
    return [int(panel.get_attribute("data-frame") or "") for panel in page.locator(".plm-panel").all()]


def slider(page: Page) -> Locator:
    return page.locator(".plm input[type=range]")


def stands_at(page: Page, shown: SideBySide, moment: float) -> None:
    """Each map shows its own frame of this moment, with what Python counts in it."""
    page.wait_for_function("(m) => Math.abs(document.querySelector('.plm').dataset.moment - m) < 1e-9", arg=moment)
    assert frames(page) == shown.frames(moment)
    for panel, trace, frame in zip(page.locator(".plm-panel").all(), shown.traces, frames(page), strict=True):
        assert panel.get_attribute("data-used") == str(count(trace.replay(frame_ends(trace)[frame])).used)


def test_one_slider_moves_all_maps_to_the_step_of_the_same_number(by_steps: Page) -> None:
    shown = SideBySide(PAIR)
    stands_at(by_steps, shown, 21)
    assert by_steps.get_by_role("slider", name="Step").get_attribute("aria-valuetext") == "step 20"
    shorter = min(len(trace.steps()) for trace in PAIR)
    for moment in (3, int(shown.end), shorter + 2, 0):
        slider(by_steps).fill(str(moment))
        stands_at(by_steps, shown, moment)
    for key, moment in (("ArrowRight", 1), ("ArrowUp", 2), ("ArrowLeft", 1), ("End", shown.end), ("Home", 0)):
        slider(by_steps).press(key)
        stands_at(by_steps, shown, moment)
    assert by_steps.errors == []  # type: ignore[attr-defined]


def test_in_seconds_a_key_goes_to_the_next_moment_at_which_any_engine_went_on(by_seconds: Page) -> None:
    shown = SideBySide(PAIR, TITLES, SECONDS)
    stands_at(by_seconds, shown, 4.1)
    ticks = sorted({0.0, *SECONDS[0], *SECONDS[1]})
    at = max(place for place, tick in enumerate(ticks) if tick <= 4.1)
    for key, place in (("ArrowRight", at + 1), ("ArrowRight", at + 2), ("ArrowLeft", at + 1), ("ArrowDown", at)):
        by_seconds.get_by_role("slider", name="Second").press(key)
        stands_at(by_seconds, shown, ticks[place])
    by_seconds.get_by_role("button", name="Step forward").click()
    stands_at(by_seconds, shown, ticks[at + 1])
    slider(by_seconds).fill("2.05")
    stands_at(by_seconds, shown, 2.05)
    assert slider(by_seconds).get_attribute("aria-valuetext") == "2.05 s"
    by_seconds.get_by_role("button", name="Last step").click()
    stands_at(by_seconds, shown, shown.end)
    assert by_seconds.errors == []  # type: ignore[attr-defined]


def test_play_takes_all_maps_to_the_end_and_pauses(by_seconds: Page) -> None:
    shown = SideBySide(PAIR, TITLES, SECONDS)
    by_seconds.get_by_role("combobox", name="Speed").select_option("4")
    slider(by_seconds).fill(str(shown.end - 1.5))
    by_seconds.get_by_role("button", name="Play").click()
    by_seconds.get_by_role("button", name="Pause").wait_for()
    by_seconds.get_by_role("button", name="Play").wait_for()
    stands_at(by_seconds, shown, shown.end)


def test_each_map_keeps_its_own_selection_and_its_own_pointed_page(
    by_steps: Page, screenshot: Callable[[Page, str], None]
) -> None:
    left, right = by_steps.locator(".plm-panel").all()
    chosen = []
    for panel in (left, right):
        row = panel.locator(".plm-row.plm-running").nth(len(chosen))
        chosen.append(row.get_attribute("data-sequence") or "")
        row.click()
    selected = [f".plm-panel:nth-child({n})[data-selected='{id}']" for n, id in enumerate(chosen, 1)]
    for selector in selected:
        by_steps.wait_for_selector(selector)
    slider(by_steps).fill("25")
    by_steps.wait_for_selector(".plm[data-moment='25']")
    right.locator("canvas.plm-pages").press("ArrowRight")
    tooltips = by_steps.locator(".plm-tooltip").all()
    tooltips[1].wait_for()
    assert "Page 0" in tooltips[1].inner_text() and tooltips[0].is_hidden()
    screenshot(by_steps, "side by side, two selected")
    right.locator("canvas.plm-pages").press("Escape")
    by_steps.wait_for_selector(".plm-panel:nth-child(2)[data-selected='-1']")
    by_steps.wait_for_selector(selected[0])
    assert by_steps.errors == []  # type: ignore[attr-defined]


def test_who_listens_hears_of_every_engine_once_the_slider_rests(by_seconds: Page) -> None:
    slider(by_seconds).fill("3")
    words = []
    shown = SideBySide(PAIR, TITLES, SECONDS)
    for trace, frame in zip(PAIR, shown.frames(3), strict=True):
        counts = count(trace.replay(frame_ends(trace)[frame]))
        words.append(f"{counts.used} pages used, {counts.cached} cached, {counts.free} free")
    by_seconds.get_by_role("status").get_by_text(
        f"3.00 s. recompute: {words[0]}; swap {HOSTILE}: {words[1]}."
    ).wait_for()
    lost = sum(event.kind is EventKind.PREEMPT for event in PAIR[0])
    first, second = (it.get_attribute("aria-label") or "" for it in by_seconds.locator("canvas.plm-timeline").all())
    assert first == f"Used and cached pages over all steps: {lost} preempted"
    assert "swapped out" in second and "back from host memory" in second
    assert by_seconds.locator("img").count() == 0, "a title is text"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 700])
def test_five_engines_stand_in_the_page_without_scrolling_sideways(
    page: Page, tmp_path: Path, scheme: Any, width: int, screenshot: Callable[[Page, str], None]
) -> None:
    sizes = [(192, 16), (96, 32), (3072, 1), (48, 64), (768, 4)]
    traces = [make_trace(*size, **REQUESTS) for size in sizes]
    page.set_viewport_size({"width": width, "height": 1600})
    page.emulate_media(color_scheme=scheme)
    opened(page, page_maps_html(traces, tmp_path / "maps.html", titles=["A", "B", "C", "D", "E"], at=12))
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    boxes = [canvas.bounding_box() for canvas in page.locator("canvas.plm-pages").all()]
    heights = [box["height"] for box in boxes if box]
    assert len(heights) == 5
    assert max(heights) < 1.5 * min(heights), "the same memory takes about the same area"
    screenshot(page, f"five engines, {scheme}, {width}")
    assert page.errors == []  # type: ignore[attr-defined]
