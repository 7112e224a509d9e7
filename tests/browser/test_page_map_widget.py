"""The page map as the widget of a notebook, without one: a model of its own listens to everything that is sent."""

from __future__ import annotations

import base64
import struct
import zlib
from itertools import product
from typing import TYPE_CHECKING, Any

import pytest

from pagedlab.memory.events import Trace
from pagedlab.view.page_map import PageMapWidget, page_map, page_maps
from pagedlab.view.palette import ON_OWNERS, OWNERS
from tests.view.make_trace import make_trace, piece

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

pytestmark = pytest.mark.browser

#: Renders two views of one model. `told`: all that reaches the kernel; `hear`: what it says, as bytes in base64.
SHOW = """async ([script, packet, moment]) => {
    const bytes = (text) => new DataView(Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer);
    const module = await import(`data:text/javascript;base64,${script}`);
    const state = { _packet: bytes(packet), _moment: moment }, told = [], heard = [];
    const model = { get: (name) => state[name], on: (name, action) => name === "msg:custom" && heard.push(action),
        send: (message) => told.push(message), set: (...it) => told.push(it), save_changes: () => told.push("save") };
    const widget = await module.default();
    await widget.initialize({ model });
    const show = (n) => widget.render({ model, el: document.getElementById(`view-${n}`) });
    const hear = (text) => heard.forEach((action) => action({}, [bytes(text)]));
    Object.assign(globalThis, { told, hear, ends: await Promise.all([1, 2].map(show)) });
}"""


def show(page: Page, widget: PageMapWidget) -> None:
    page.set_content(f"<style>{PageMapWidget._css}</style><main id='view-1'></main><main id='view-2'></main>")
    script, packet = (base64.b64encode(data).decode() for data in (PageMapWidget._esm.encode(), widget._packet))
    page.evaluate(SHOW, [script, packet, widget._moment])
    page.wait_for_selector("#view-2 .plm-panel[data-used]")


def view(page: Page, number: int = 1) -> Locator:
    return page.locator(f"#view-{number}")


def engines(many: bool) -> list[Trace]:
    return [make_trace(96, 8, 16, num_host_pages=60, seed=seed) for seed in range(1 + many)]


@pytest.mark.parametrize("many", [False, True], ids=["one", "two side by side"])
def test_moving_pointing_selecting_playing_and_saving_send_nothing_to_the_kernel(page: Page, many: bool) -> None:
    traces = engines(many)
    show(page, page_maps(traces))
    assert page.evaluate("told") == [{"have": [trace.end for trace in traces]}], "asked once whether it is young"
    slider = view(page).locator("input[type=range]")
    for moment in range(0, 60, 3):
        slider.fill(str(moment))
    for key in ("ArrowRight", "End", "Home", "PageUp", " ", " "):
        slider.press(key)
    for name in ("Play", "Pause", "Step back", "Step forward", "First step", "Last step"):
        view(page).get_by_role("button", name=name).click()
    slider.fill("12")
    for panel in view(page).locator(".plm-panel").all():
        pages = panel.locator("canvas.plm-pages")
        box = pages.bounding_box()
        assert box is not None
        for x in range(40, 400, 30):
            page.mouse.move(box["x"] + x, box["y"] + box["height"] - 20)
        page.mouse.down()
        page.mouse.up()
        panel.locator(".plm-row").first.click()
        for key in ("ArrowRight", "ArrowDown", "Enter", "Escape"):
            pages.press(key)
    with page.expect_download():
        view(page).get_by_role("button", name="Save as SVG").click()
    assert len(page.evaluate("told")) == 1
    assert page.errors == []  # type: ignore[attr-defined]


def test_two_engines_are_followed_live_and_whoever_looked_back_stays_there(page: Page) -> None:
    """What comes in one go is taken in its order; a view that missed something asks, once."""
    whole = engines(True)
    growing = [Trace(96, 8), Trace(96, 8)]
    for trace in growing:
        trace.piece = piece
    widget = page_maps(growing)
    sent: list[bytes] = [widget._packet]

    def grow(engine: int, steps: int) -> None:
        source, trace = whole[engine], growing[engine]
        for event in list(source)[len(trace) : source.steps()[len(trace.steps()) + steps]]:
            trace.record(*event)
        sent.append(widget._feed.news() or b"")

    grow(0, 5)
    widget._packet = widget._feed.whole()
    show(page, widget)
    hear = lambda told: page.evaluate("hear", base64.b64encode(told).decode())  # noqa: E731
    first, second = (view(page, n).locator(".plm-panel") for n in (1, 2))
    view(page, 2).locator("input").fill("2")
    page.wait_for_selector("#view-2 .plm[data-moment='2']")
    grow(0, 3)
    grow(1, 4)
    grow(0, 2)
    for told in sent[2:]:
        hear(told)
    page.wait_for_selector("#view-1 .plm-panel:first-child[data-frame='10']")
    assert first.nth(1).get_attribute("data-frame") == "4", "at its own end"
    assert [panel.get_attribute("data-frame") for panel in second.all()] == ["2", "2"]
    grow(1, 1)
    grow(1, 1)
    hear(sent[-1])
    page.wait_for_function("told.length === 2")
    assert page.evaluate("told[1]") == {"have": [growing[0].end, growing[1].end - _news(sent[-2:])]}
    hear(widget._feed.whole())
    page.wait_for_selector("#view-1 .plm-panel:nth-child(2)[data-frame='6']")
    page.evaluate("ends.forEach((end) => end())")
    assert page.locator(".plm").count() == 0
    assert page.errors == []  # type: ignore[attr-defined]


def _news(packets: list[bytes]) -> int:
    """Events in packets of the second engine alone."""
    events = 0
    for packet in map(zlib.decompress, packets):
        (length,) = struct.unpack_from("<i", packet, 4)
        (header,) = struct.unpack_from("<i", packet, 8)
        events += (length - 4 - header) // 16
    return events


@pytest.mark.parametrize("many", [False, True], ids=["one", "two side by side"])
def test_everything_that_takes_keys_has_a_name_and_keeps_its_keys_from_jupyterlab(page: Page, many: bool) -> None:
    show(page, page_maps(engines(many), titles=["left", "right"] if many else ()))
    reached = []
    script = """() => { const it = document.activeElement; return it.closest("#view-1") &&
        [it.ariaLabel, it.dataset.lmSuppressShortcuts, getComputedStyle(it).outlineStyle]; }"""
    page.keyboard.press("Tab")
    while (told := page.evaluate(script)) is not None:
        reached.append(told)
        page.keyboard.press("Tab")
    of_a_map = ["Pages: arrow keys move, Enter selects the owner, Escape lets go", "Sequences"]
    buttons = ["First step", "Step back", "Play", "Step forward", "Last step", "Speed", "Save as SVG", "Step"]
    assert [it[0] for it in reached] == of_a_map * (1 + many) + buttons
    assert {tuple(it[1:]) for it in reached} == {("true", "solid")}, "and the focus is seen"
    groups = view(page).get_by_role("group").all()
    assert [group.get_attribute("aria-label") for group in groups] == (["left", "right"] if many else [])


def test_pages_and_sequences_can_be_gone_through_with_keys_and_are_told(page: Page) -> None:
    (trace,) = engines(False)
    show(page, page_maps([trace], at=14))
    said = view(page).get_by_role("status")
    pages, sequences = view(page).locator("canvas.plm-pages"), view(page).get_by_role("listbox")
    for key, number in (("ArrowRight", 0), ("ArrowRight", 1), ("ArrowDown", 33), ("ArrowLeft", 32), ("ArrowUp", 0)):
        pages.press(key)
        said.get_by_text(f"Page {number}: ").wait_for()
    owner = next(id for id, it in trace.replay(trace.steps()[15]).sequences.items() if 0 in it.pages)
    pages.press("Enter")
    page.wait_for_selector(f"#view-1 .plm[data-selected='{owner}']")
    sequences.press("ArrowDown")
    page.wait_for_selector(f"#view-1 .plm:not([data-selected='{owner}'])")
    chosen = sequences.get_by_role("option", selected=True)
    assert chosen.get_attribute("id") == sequences.get_attribute("aria-activedescendant") != ""
    assert int(chosen.get_attribute("aria-setsize") or "") > 1
    sequences.press("Escape")
    page.wait_for_selector("#view-1 .plm[data-selected='-1']")


#: Contrast of every text with what is behind it, by the formula of WCAG 2.
CONTRAST = """() => {
    const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
    const over = (...colours) => { canvas.clearRect(0, 0, 1, 1);
        for (const colour of colours) { canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1); }
        return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3); };
    const linear = (v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
    const luminance = ([r, g, b]) => 0.2126 * linear(r / 255) + 0.7152 * linear(g / 255) + 0.0722 * linear(b / 255);
    const found = {};
    for (const it of document.querySelectorAll("#view-1 .plm *")) {
        const own = [...it.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
        if (!own || !it.checkVisibility() || it.closest(".plm-live")) continue;
        const behind = [];
        for (let at = it; at; at = at.parentElement) behind.unshift(getComputedStyle(at).backgroundColor);
        const ground = over("white", ...behind), ink = over("white", ...behind, getComputedStyle(it).color);
        const [light, dark] = [luminance(ink), luminance(ground)].sort((a, b) => b - a);
        const name = `${it.tagName} ${it.className || it.parentElement.className}`;
        found[name] = Math.min(found[name] ?? 21, (light + 0.05) / (dark + 0.05));
    }
    return found; }"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_stands_out_from_what_is_behind_it(page: Page, scheme: Any) -> None:
    page.emulate_media(color_scheme=scheme)
    show(page, page_maps(engines(True), at=20))
    view(page).locator(".plm-row").first.click()
    page.wait_for_selector("#view-1 .plm-panel:not([data-selected='-1'])")
    contrast = page.evaluate(CONTRAST)
    assert len(contrast) > 10
    assert {name: ratio for name, ratio in contrast.items() if ratio < 4.5} == {}


def test_numbers_stand_out_from_the_colours_of_owners() -> None:
    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in parts]
        return sum(share * v for share, v in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    for ground, ink in zip(OWNERS, ON_OWNERS, strict=True):
        dark, light = sorted((luminance(ground), luminance(ink)))
        assert (light + 0.05) / (dark + 0.05) >= 4.5, (ground, ink)


def test_states_differ_without_their_colours(page: Page) -> None:
    """The same owner's pages in shades of grey: no two of the legend's swatches look alike."""
    show(page, page_map(make_trace(96, 8, 16, num_host_pages=60, partial_hits=True, beams=True, seed=3)))
    script = """() => [...document.querySelectorAll("#view-1 .plm-legend span:not([hidden]) canvas")].map((it) => {
        const { data } = it.getContext("2d").getImageData(0, 0, it.width, it.height);
        return Array.from({ length: data.length / 4 }, (_, i) => data[4 * i + 3] / 255 *
            (0.2126 * data[4 * i] + 0.7152 * data[4 * i + 1] + 0.0722 * data[4 * i + 2]) + 255 - data[4 * i + 3]); })"""
    swatches = page.evaluate(script)
    assert len(swatches) == 8
    for (i, one), (j, other) in product(enumerate(swatches), repeat=2):
        if i < j:
            assert sum(abs(a - b) > 40 for a, b in zip(one, other, strict=True)) >= 10, (i, j)
