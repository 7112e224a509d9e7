"""The HTML export in a real browser, opened from disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pagedlab.memory.events import FinishCode
from pagedlab.memory.replay import PageMap
from pagedlab.view.frames import count, frame_ends, holes_of
from pagedlab.view.html import page_map_html
from tests.view.make_trace import HOSTILE, make_trace

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

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


def test_what_memory_does_beyond_its_pages_is_shown(
    page: Page, tmp_path: Path, screenshot: Callable[[Page, str], None]
) -> None:
    """Sequences in host memory, pages evicted there, hits in part, a pin, and beams that were pruned."""
    trace = make_trace(
        96, 8, 16, num_host_pages=60, partial_hits=True, beams=True, pin=True, max_prompt=110, max_output=80, seed=3
    )
    page.goto(page_map_html(trace, tmp_path / "map.html").as_uri())
    page.wait_for_selector(".plm[data-used]")
    maps = [trace.replay(end) for end in frame_ends(trace)]
    frame = next(i for i, m in enumerate(maps) if i > 10 and count(m).swapped and any(id < -1 for id in m.sequences))
    counts, swapped = count(maps[frame]), next(id for id, v in maps[frame].sequences.items() if v.swapped)
    page.evaluate(
        "([frame, id]) => { pageMap.show(frame); pageMap.panels[0].select(id); pageMap.paint(); }", [frame, swapped]
    )
    words = " ".join(page.locator(".plm-host").inner_text().split())
    assert f"{counts.host_pages} cached page" in words
    assert f"{counts.swapped} swapped out, {counts.host_tokens} tokens" in words
    assert row_of(page, swapped).inner_text().split("\n")[-2:] == [
        "swapped out",
        f"{maps[frame].sequences[swapped].swapped} tokens in host memory, waits",
    ]
    assert page.get_by_text("copied in part").is_visible()
    screenshot(page, "host memory")
    page.evaluate("pageMap.panels[0].select(-2); pageMap.paint()")
    assert row_of(page, -2).get_attribute("aria-selected") == "true"
    page.evaluate("pageMap.panels[0].select(-1); pageMap.show(Infinity); pageMap.paint()")
    assert row_of(page, -2).count() == 0, "a pin that was taken off is gone"
    pruned = next(id for id, v in maps[-1].sequences.items() if v.finish is FinishCode.PRUNED)
    assert row_of(page, pruned).inner_text().split("\n")[-2] == "pruned"
    assert page.errors == []  # type: ignore[attr-defined]


def test_pages_that_were_given_back_are_one_gap_in_the_page_table(
    page: Page, tmp_path: Path, screenshot: Callable[[Page, str], None]
) -> None:
    trace = make_trace(96, 8, 16, window=24, max_prompt=110, max_output=120, seed=1)
    page.goto(page_map_html(trace, tmp_path / "map.html").as_uri())
    page.wait_for_selector(".plm[data-used]")
    frame = 12
    sequence, view = max(trace.replay(frame_ends(trace)[frame]).sequences.items(), key=lambda entry: holes_of(entry[1]))
    holes = holes_of(view)
    assert holes > 2
    page.evaluate(
        "([frame, id]) => { pageMap.show(frame); pageMap.panels[0].select(id); pageMap.paint(); }", [frame, sequence]
    )
    assert f"{len(view.pages) - holes} of {len(view.pages)} pages" in row_of(page, sequence).inner_text()
    under = """(x) => { const [map] = pageMap.panels, r = map.canvas.getBoundingClientRect();
        return map.pageUnder({ clientX: r.left + x, clientY: r.top + 50 }); }"""
    assert [page.evaluate(under, x) for x in (60, 90)] == [-1, -1], "two places stand for all that are gone"
    assert page.evaluate(under, 38 + 2.5 * 36) == view.pages[holes]
    assert not page.locator(".plm-host").is_visible()
    assert not page.get_by_text("copied in part").is_visible()
    screenshot(page, "sliding window")
    assert page.errors == []  # type: ignore[attr-defined]


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


def row_of(page: Page, sequence: int) -> Locator:
    """A sequence's row in the list, which is in the document only when it is in sight."""
    script = """(id) => { const { list } = pageMap.panels[0];
        list.box.scrollTop = 42 * list.ids.indexOf(id); list.measure(); list.draw(); }"""
    page.evaluate(script, sequence)
    return page.locator(f".plm-row[data-sequence='{sequence}']")


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
    script = """(physical) => { const [map] = pageMap.panels, { layout } = map;
        for (let y = 1; y < layout.height; y += 3) for (let x = 1; x < layout.width; x += 3) {
            const r = map.canvas.getBoundingClientRect();
            if (map.pageUnder({ clientX: r.left + x, clientY: r.top + y }) === physical) return [x, y]; } }"""
    x, y = page.evaluate(script, physical)
    page.mouse.move(box["x"] + x, box["y"] + y)
