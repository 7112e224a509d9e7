"""The page map's own button for a picture: what is on the screen, as an SVG file."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import pytest

from pagedlab.view.frames import count, frame_ends
from pagedlab.view.html import page_map_html, page_maps_html
from tests.view.make_trace import HOSTILE, make_trace

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser

TRACE = make_trace(96, 8, 16, num_host_pages=60, partial_hits=True, beams=True, max_prompt=110, max_output=80, seed=3)
FRAME = 14


def saved(page: Page, path: Path, prepare: str) -> str:
    """What the button saves, pressed with a key; without a network, as the file's own policy wants it."""
    page.context.set_offline(True)
    page.goto(path.as_uri())
    page.wait_for_selector(".plm-panel[data-used]")
    page.evaluate(f"() => {{ {prepare}; pageMap.paint(); }}")
    with page.expect_download() as download:
        page.get_by_role("button", name="Save as SVG").press("Enter")
    assert download.value.suggested_filename.endswith(".svg")
    return Path(download.value.path()).read_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_file_looks_as_the_screen_does(page: Page, browser: Browser, tmp_path: Path, scheme: str) -> None:
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    prepare = f"pageMap.show({FRAME}); pageMap.panels[0].select(8)"
    svg = saved(page, page_map_html(TRACE, tmp_path / "map.html"), prepare)
    layers = "(({ canvas, over }) => [canvas, over].map((it) => it.toDataURL()))(pageMap.panels[0])"
    screen, ground = page.evaluate(layers), page.evaluate("pageMap.look.theme.bg")
    another = page.evaluate(f"(pageMap.show({FRAME + 3}), pageMap.paint(), {layers})")
    reader = browser.new_page()  # the replay's own policy loads no picture
    script = """async ([svg, screen, ground]) => {
        const load = async (src) => { const image = new Image(); image.src = src; await image.decode(); return image; };
        const layers = await Promise.all(screen.map(load));
        const { width, height } = layers[0];
        const pixels = (draw) => { const ctx = new OffscreenCanvas(width, height).getContext("2d");
            ctx.fillStyle = ground; ctx.fillRect(0, 0, width, height); draw(ctx);
            return ctx.getImageData(0, 0, width, height).data; };
        const file = await load(`data:image/svg+xml;base64,${svg}`);
        const one = pixels((ctx) => ctx.drawImage(file, -16, -16 - 46));
        const two = pixels((ctx) => layers.forEach((layer) => ctx.drawImage(layer, 0, 0)));
        let apart = 0;
        for (let i = 0; i < one.length; i += 4)
            apart += [0, 1, 2].some((c) => Math.abs(one[i + c] - two[i + c]) > 48);
        return apart / (width * height); }"""
    encoded = base64.b64encode(svg.encode()).decode()
    apart, from_another = (reader.evaluate(script, [encoded, seen, ground]) for seen in (screen, another))
    reader.close()
    assert apart < 0.03 < from_another, "only the edges of letters may differ"


def test_the_file_says_what_it_shows_and_text_stays_text(page: Page, tmp_path: Path) -> None:
    trace = make_trace(96, 8, 16)
    label = f"{HOSTILE}\x07]]>"
    trace.describe(0, label, trace.sequences[0].tokens)
    svg = saved(
        page, page_map_html(trace, tmp_path / "map.html"), f"pageMap.show({FRAME}); pageMap.panels[0].select(0)"
    )
    root = ElementTree.fromstring(svg)
    tags = {element.tag.rpartition("}")[2] for element in root.iter()}
    assert {"title", "desc", "pattern"} <= tags and not tags & {"script", "img", "image", "foreignObject", "style"}
    counts = count(trace.replay(frame_ends(trace)[FRAME]))
    words = " ".join(element.text or "" for element in root.iter())
    assert (
        f"step 13 of {len(trace.steps()) - 1}: {counts.used} pages used, {counts.cached} cached, {counts.free} free"
        in words
    )
    assert f"#0 {HOSTILE}\ufffd]]>" in words
    assert page.errors == []  # type: ignore[attr-defined]


def test_maps_side_by_side_are_saved_side_by_side(page: Page, tmp_path: Path) -> None:
    path = page_maps_html([TRACE, TRACE], tmp_path / "maps.html", titles=["left", "right"], at=13)
    root = ElementTree.fromstring(saved(page, path, ""))
    texts = [element.text or "" for element in root.iter()]
    assert [text for text in texts if text.startswith(("left ·", "right ·"))] == [
        f"{title} · 96 × 8 · step 13 of {len(TRACE.steps()) - 1}" for title in ("left", "right")
    ]
    assert not any("Select a page" in text for text in texts), "a file does not say what one could do"
