"""The static site opened from a disk, without a network: it can be walked through, and its widgets are alive."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page

from tools.site.build import build

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Chapter 08 has a page map and an explorer, and needs no model: it is run for them."""
    return build(tmp_path_factory.mktemp("site"), live=["08"]).parent


@pytest.fixture
def offline(page: Page) -> Page:
    page.context.set_offline(True)
    page.on("request", lambda request: _only_from_disk(page, request.url))
    return page


def _only_from_disk(page: Page, address: str) -> None:
    if not address.startswith(("file:", "data:")):
        page.errors.append(f"asked a network for {address}")  # type: ignore[attr-defined]


def test_one_can_walk_through_the_course(offline: Page, site: Path, screenshot: Callable[[Page, str], None]) -> None:
    offline.goto((site / "index.html").as_uri())
    screenshot(offline, "site, index")
    offline.get_by_role("link", name="02 fragmentation").first.click()
    assert offline.title() == "02 fragmentation · pagedlab"
    offline.click("a[rel=next]")
    assert offline.title() == "03 page tables · pagedlab"
    offline.click(".side .sections >> text=The sketch")
    assert offline.url.endswith("#3-the-sketch")
    offline.click("text=exercises/03_page_tables/sketch.py >> nth=0")
    assert offline.url.endswith("exercises_03.html#03.sketch")
    offline.click("nav[aria-label=Papers] >> text=Glossary")
    offline.click("tr#page-table >> text=03")
    assert offline.locator("h1").inner_text().startswith("03 · Page tables")
    assert offline.locator("main img").evaluate_all("(all) => all.filter((it) => !it.naturalWidth).length") == 0
    assert offline.errors == []  # type: ignore[attr-defined]


def test_the_map_leads_to_the_chapters(offline: Page, site: Path) -> None:
    offline.goto((site / "index.html").as_uri())
    offline.click(".map a[aria-label='07 continuous batching']")
    assert offline.title() == "07 continuous batching · pagedlab"


def test_its_widgets_are_alive_without_a_kernel(
    offline: Page, site: Path, screenshot: Callable[[Page, str], None]
) -> None:
    offline.goto((site / "08_prefix_sharing.html").as_uri())
    offline.wait_for_function("[...document.querySelectorAll('.widget')].every((it) => it.dataset.alive)")
    page_map, explorer = offline.locator(".widget .plm").first, offline.locator(".widget:not(:has(.plm))")
    page_map.get_by_role("slider", name="Step").fill("2")
    offline.wait_for_selector('.plm[data-frame="2"]')
    used = page_map.get_attribute("data-used")
    assert used and int(used) > 0
    said = explorer.locator("p[role=status]").inner_text()
    explorer.get_by_role("slider").first.press("ArrowRight")
    assert explorer.locator("p[role=status]").inner_text() != said
    assert offline.locator("noscript").count() == 3, "and where no script runs, their pictures"
    page_map.scroll_into_view_if_needed()
    screenshot(offline, "site, page map")
    assert offline.errors == []  # type: ignore[attr-defined]


def test_the_theme_is_the_readers_and_stays_chosen(
    offline: Page, site: Path, screenshot: Callable[[Page, str], None]
) -> None:
    paper = "getComputedStyle(document.body).backgroundColor"
    offline.emulate_media(color_scheme="dark")
    offline.goto((site / "08_prefix_sharing.html").as_uri())
    dark = offline.evaluate(paper)
    offline.wait_for_selector(".plm")
    assert offline.evaluate("getComputedStyle(document.querySelector('.plm')).backgroundColor") == dark
    under = "[...document.querySelectorAll('.widget svg')].map((it) => getComputedStyle(it).backgroundColor)"
    assert set(offline.evaluate(under)) == {"rgba(0, 0, 0, 0)"}, (
        "what is drawn in the ink of the page lies on its paper"
    )
    screenshot(offline, "site, dark")
    offline.click("#theme")
    light = offline.evaluate(paper)
    assert light == "rgb(255, 255, 255)" != dark
    offline.click("a[rel=prev]")
    offline.wait_for_url("**/07_*.html")
    assert offline.evaluate(paper) == light
    offline.set_viewport_size({"width": 400, "height": 900})
    assert offline.evaluate("document.documentElement.scrollWidth") == 400, "nothing hangs over the edge of a telephone"
    assert offline.errors == []  # type: ignore[attr-defined]
