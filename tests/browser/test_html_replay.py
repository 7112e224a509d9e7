"""The HTML export in a real browser, opened from disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page

from pagedlab.memory.replay import PageMap
from pagedlab.view.frames import count, frame_ends
from pagedlab.view.html import page_map_html
from tests.view.make_trace import HOSTILE, make_trace

pytestmark = pytest.mark.browser

TRACE = make_trace(num_pages=96, page_size=8, num_requests=16)
FRAMES = frame_ends(TRACE)


def opened(page: Page, folder: Path) -> None:
    page.context.set_offline(True)
    page.goto(page_map_html(TRACE, folder / "map.html", title=f"A map {HOSTILE}").as_uri())
    page.wait_for_selector(".plm[data-used]")


def shown(page: Page, name: str) -> int:
    return int(page.locator(".plm").get_attribute(f"data-{name}") or "")


def set_slider(page: Page, frame: int) -> PageMap:
    slider = page.get_by_role("slider", name="Step")
    slider.fill(str(frame))
    page.wait_for_selector(f'.plm[data-frame="{frame}"]')
    return TRACE.replay(FRAMES[frame])


def colours_on_canvas(page: Page) -> int:
    script = """() => { const c = document.querySelector("canvas.plm-pages");
        const d = c.getContext("2d").getImageData(0, 0, c.width, c.height).data, seen = new Set();
        for (let i = 0; i < d.length; i += 4) seen.add((d[i] << 16) | (d[i + 1] << 8) | d[i + 2]);
        return seen.size; }"""
    return int(page.evaluate(script))


def test_it_opens_offline_and_draws(page: Page, tmp_path: Path, screenshot: Callable[[Page, str], None]) -> None:
    opened(page, tmp_path)
    set_slider(page, len(FRAMES) // 3)
    assert colours_on_canvas(page) > 10
    screenshot(page, "html replay")
    page.emulate_media(color_scheme="dark")
    page.wait_for_timeout(200)
    screenshot(page, "html replay, dark")
    assert page.errors == []  # type: ignore[attr-defined]


def test_the_slider_and_its_keys_move_through_the_steps(page: Page, tmp_path: Path) -> None:
    opened(page, tmp_path)
    for frame in (3, len(FRAMES) - 2, 10, 0):
        expected = count(set_slider(page, frame)).used
        assert shown(page, "used") == expected
    slider = page.get_by_role("slider", name="Step")
    slider.press("ArrowRight")
    page.wait_for_selector('.plm[data-frame="1"]')
    slider.press("End")
    page.wait_for_selector(f'.plm[data-frame="{len(FRAMES) - 1}"]')
    assert "step" in (slider.get_attribute("aria-valuetext") or "")


def test_play_moves_and_pauses_by_itself_at_the_end(page: Page, tmp_path: Path) -> None:
    opened(page, tmp_path)
    set_slider(page, len(FRAMES) - 4)
    page.get_by_role("button", name="Play").click()
    page.wait_for_selector(f'.plm[data-frame="{len(FRAMES) - 1}"]')
    page.get_by_role("button", name="Play").wait_for()


def test_a_page_can_be_hovered_and_says_what_it_holds_as_text(page: Page, tmp_path: Path) -> None:
    opened(page, tmp_path)
    frame = len(FRAMES) // 3
    page_map = set_slider(page, frame)
    hostile_page = next(p for p in range(96) if page_map.refcount[p] and HOSTILE in texts(page_map, p))
    hover(page, hostile_page)
    tooltip = page.locator(".plm-tooltip")
    tooltip.wait_for()
    words = tooltip.inner_text()
    assert f"Page {hostile_page}" in words
    assert "used" in words
    assert HOSTILE in words
    assert page.locator("img").count() == 0
    assert page.errors == []  # type: ignore[attr-defined]


def test_selecting_a_sequence_in_the_list_draws_its_page_table(page: Page, tmp_path: Path) -> None:
    opened(page, tmp_path)
    set_slider(page, len(FRAMES) // 3)
    before = page.evaluate("document.querySelector('canvas.plm-pages').toDataURL()")
    row = page.locator(".plm-row.plm-running").first
    sequence = int(row.get_attribute("data-sequence") or "")
    row.click()
    page.wait_for_selector(f'.plm[data-selected="{sequence}"]')
    page.wait_for_timeout(100)
    assert page.evaluate("document.querySelector('canvas.plm-pages').toDataURL()") != before
    page.locator("canvas.plm-pages").press("Escape")
    page.wait_for_selector('.plm[data-selected="-1"]')


def test_a_map_of_4096_pages_and_1000_steps_is_scrubbed(page: Page, tmp_path: Path) -> None:
    big = make_trace(num_pages=4096, page_size=16, num_requests=450, max_sequences=64, max_output=200)
    page.goto(page_map_html(big, tmp_path / "big.html").as_uri())
    page.wait_for_selector(".plm[data-used]")
    steps = len(big.steps())
    assert steps >= 1000
    script = """async (frames) => { const times = [];
        for (let i = 0; i < 200; i++) {
            pageMap.show((i * 7919) % frames);
            const start = performance.now(); pageMap.paint(); times.push(performance.now() - start);
        }
        return times.sort((a, b) => a - b); }"""
    times = page.evaluate(script, steps)
    print(
        f"{steps} steps of 4,096 pages: median {times[100]:.1f} ms of script a frame, worst of 200 {times[-1]:.1f} ms"
    )
    assert shown(page, "frame") == (199 * 7919) % steps


def texts(page_map: PageMap, physical: int) -> list[str]:
    content = page_map.content[physical]
    assert content is not None
    sequence, logical = content
    start = logical * TRACE.page_size
    tokens = TRACE.sequences[sequence].tokens[start : start + page_map.filled[physical]]
    assert TRACE.piece is not None
    return [TRACE.piece(token) for token in tokens]


def hover(page: Page, physical: int) -> None:
    box = page.locator("canvas.plm-pages").bounding_box()
    assert box is not None
    script = """(physical) => { const { layout } = pageMap; const columns = layout.columns;
        for (let y = 1; y < layout.height; y += 3) for (let x = 1; x < layout.width; x += 3) {
            const r = pageMap.canvas.getBoundingClientRect();
            if (pageMap.pageUnder({ clientX: r.left + x, clientY: r.top + y }) === physical) return [x, y]; } }"""
    x, y = page.evaluate(script, physical)
    page.mouse.move(box["x"] + x, box["y"] + y)
