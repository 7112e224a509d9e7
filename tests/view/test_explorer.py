"""The explorer: every frame computed in Python, sliders that need no kernel."""

from __future__ import annotations

import base64
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from pagedlab.view.explorer import Explorer, Frame
from pagedlab.view.figures import bar

HOSTILE = "<img src=x onerror=alert(1)>"


def frame(page_size: int, users: int) -> Frame:
    waste = users * (page_size - 1)
    return Frame(f"{waste} wasted {HOSTILE}", [bar("A", used=10, waste=waste)], 100.0, (50.0, "limit"))


@pytest.fixture
def explorer() -> Explorer:
    return Explorer({"page_size": [1, 4, 8], "users": [1, 2]}, frame, unit="slots", start={"page_size": 4})


def test_every_combination_is_computed_once(explorer):
    assert list(explorer.frames) == [(1, 1), (1, 2), (4, 1), (4, 2), (8, 1), (8, 2)]
    assert explorer.frames[8, 2].title.startswith("14 wasted")
    assert explorer.at_start is explorer.frames[4, 1]


def test_its_text_says_what_it_is_and_holds_no_address(explorer):
    assert repr(explorer) == "Explorer(page size × users: 6 frames)"


def test_readers_without_a_kernel_see_the_first_frame(explorer):
    data, metadata = explorer._repr_mimebundle_()
    assert data["image/png"].startswith(b"\x89PNG")
    assert data["text/plain"] == repr(explorer)
    assert metadata["image/png"]["alt"] == explorer.at_start.title


@pytest.fixture(scope="module")
def page() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("Chromium is not installed")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser.new_page()
        browser.close()


@pytest.mark.browser
def test_a_slider_picks_another_frame_in_the_browser(explorer, page):
    script = base64.b64encode(Explorer._esm.encode()).decode()
    page.set_content("<main></main>")
    page.evaluate(
        """async ([script, state]) => {
            const module = await import(`data:text/javascript;base64,${script}`);
            module.default.render({ model: { get: (name) => state[name] }, el: document.querySelector("main") });
        }""",
        [script, {name: getattr(explorer, name) for name in ("_choices", "_frames", "_styles", "_unit", "_start")}],
    )
    assert page.inner_text("[role=status]") == f"3 wasted {HOSTILE}"
    page.focus("input >> nth=0")
    page.keyboard.press("ArrowRight")
    assert page.inner_text("[role=status]") == f"7 wasted {HOSTILE}"
    assert page.get_attribute("input >> nth=0", "aria-valuetext") == "8"
    page.focus("input >> nth=1")
    page.keyboard.press("ArrowRight")
    assert page.inner_text("[role=status]") == f"14 wasted {HOSTILE}"
    assert "14" in page.text_content("main svg")
    assert page.query_selector("main img") is None
