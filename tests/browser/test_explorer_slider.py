"""The explorer's sliders in a browser: another frame, without a kernel."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import pytest

from pagedlab.view.explorer import Explorer
from tests.view.test_explorer import HOSTILE, frame

if TYPE_CHECKING:
    from playwright.sync_api import Page


@pytest.mark.browser
def test_a_slider_picks_another_frame_in_the_browser(page: Page) -> None:
    explorer = Explorer({"page_size": [1, 4, 8], "users": [1, 2]}, frame, unit="slots", start={"page_size": 4})
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
