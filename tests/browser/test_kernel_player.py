"""The kernel player in a browser: step by step, program by program, without a kernel."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from pagedlab.view.kernel_player import KernelPlayer
from pagedlab.view.kernel_svg import kernel_svg
from tests.view.test_kernel_svg import HOSTILE, a_trace

if TYPE_CHECKING:
    from playwright.sync_api import Page


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_player_goes_through_steps_and_programs(
    page: Page, scheme: str, screenshot: Callable[[Page, str], None]
) -> None:
    trace = a_trace()
    player = KernelPlayer(trace, title=HOSTILE)
    texts = [kernel_svg(trace, step=step, title=HOSTILE).alt for step in range(8)] + [
        kernel_svg(trace, title=HOSTILE).alt
    ]
    script, film = (base64.b64encode(data).decode() for data in (KernelPlayer._esm.encode(), player._film))
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    page.set_content(f"<style>{KernelPlayer._css}</style><main></main>")
    page.evaluate(
        """async ([script, film]) => {
            const module = await import(`data:text/javascript;base64,${script}`);
            const bytes = Uint8Array.from(atob(film), (letter) => letter.charCodeAt(0));
            const model = { get: () => new DataView(bytes.buffer) };
            await module.default.render({ model, el: document.querySelector("main") });
        }""",
        [script, film],
    )

    def shown() -> str | None:
        assert page.evaluate("document.querySelector('main img').decode().then(() => true)")
        return page.get_attribute("main img", "alt")

    assert shown() == texts[0]
    page.focus("input")
    page.keyboard.press("ArrowRight")
    assert shown() == texts[1] == page.text_content("[role=status]")
    assert page.get_attribute("input", "aria-valuetext") == "step 2 of 8"
    page.click("[title='Next program']")
    assert shown() == texts[4]
    page.click("[title='Step forward']")
    assert shown() == texts[5]
    screenshot(page, f"kernel player {scheme}")
    page.click("[title='Program before']")
    assert shown() == texts[4]
    page.click("[title='Program before']")
    assert shown() == texts[0]
    page.click("[title='Play']")
    page.wait_for_function("document.querySelector('main input').getAttribute('aria-valuetext') === 'everything'")
    assert shown() == texts[8]
    assert page.get_attribute(".plm-play", "title") == "Play"
    assert page.errors == []  # type: ignore[attr-defined]
