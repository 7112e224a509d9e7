"""Notebook 00 in real JupyterLab: it runs, its live page map draws, moves and explains, and text stays text."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import nbformat
import pytest

from tests.browser.lab import Lab, run_all

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.mark.timeout(600)
def test_notebook_00_runs_and_its_page_map_is_alive(
    page: Page, jupyterlab: Lab, screenshot: Callable[[Page, str], None]
) -> None:
    jupyterlab.open_notebook(page, "notebooks/00_start_here.ipynb")
    run_all(page)

    live_map = page.locator(".jp-OutputArea .plm").first
    live_map.wait_for(timeout=300_000)
    assert page.locator(".jp-RenderedText[data-mime-type='application/vnd.jupyter.error']").count() == 0
    live_map.scroll_into_view_if_needed()
    page.wait_for_timeout(500)
    screenshot(page, "notebook 00")
    last = int(live_map.get_attribute("data-frame") or "")
    assert last > 10, "the map followed the run"

    slider = live_map.get_by_role("slider", name="Step")
    middle = last // 2
    slider.fill(str(middle))
    page.wait_for_selector(f'.plm[data-frame="{middle}"]')
    assert int(live_map.get_attribute("data-used") or "") > 0
    slider.press("ArrowRight")  # JupyterLab would take an arrow key for one of its own
    page.wait_for_selector(f'.plm[data-frame="{middle + 1}"]')

    box = live_map.locator("canvas.plm-pages").bounding_box()
    assert box is not None
    tooltip = live_map.locator(".plm-tooltip")
    for x in range(60, int(box["width"]), 12):
        page.mouse.move(box["x"] + x, box["y"] + box["height"] - 20)
        if tooltip.is_visible():
            break
    assert "Page" in tooltip.inner_text()
    live_map.locator(".plm-row").first.click()
    page.wait_for_timeout(300)
    assert live_map.get_attribute("data-selected") != "-1"
    screenshot(page, "notebook 00, a sequence selected")

    assert "onerror" in page.locator(".jp-Notebook").inner_text(), "the hostile text is there, as text"
    assert page.locator(".jp-OutputArea img[src='x']").count() == 0
    assert page.errors == []  # type: ignore[attr-defined]


def write_notebook(path: Path, cells: list[str]) -> None:
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(cell) for cell in cells],
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}},
    )
    nbformat.write(notebook, path)


@pytest.mark.timeout(600)
def test_a_map_shown_before_the_run_follows_it_to_its_end_in_the_dark_theme_too(
    page: Page, jupyterlab: Lab, screenshot: Callable[[Page, str], None]
) -> None:
    cells = [
        "from pagedlab import LLM, SamplingParams\n"
        "llm = LLM('tiny-random', num_pages=48, page_size=8, max_tokens_per_step=40)\n"
        "llm.page_map()",
        "prompts = [list(range(n, n + 9 * n)) for n in range(2, 14)]\n"
        "outputs = llm.generate(prompts, SamplingParams(max_tokens=40, ignore_eos=True), progress=False)\n"
        "print('steps taken:', len(llm.trace.steps()))",
    ]
    write_notebook(jupyterlab.folder / "live.ipynb", cells)
    jupyterlab.open_notebook(page, "live.ipynb")
    run_all(page)
    steps = page.locator(".jp-RenderedText", has_text="steps taken:")
    steps.wait_for(timeout=120_000)
    page.wait_for_selector(f".plm[data-frame='{int(steps.inner_text().split(':')[1])}'][data-used='0']")
    page.get_by_role("slider", name="Step").fill("20")
    page.locator(".plm-row").nth(2).click()
    page.evaluate("jupyterapp.commands.execute('apputils:change-theme', { theme: 'JupyterLab Dark' })")
    page.wait_for_selector("body[data-jp-theme-light='false']", state="attached")
    page.wait_for_timeout(1000)
    screenshot(page, "live map, JupyterLab dark")


@pytest.mark.timeout(600)
def test_two_engines_on_one_clock_are_followed_live_and_scrubbing_asks_the_kernel_nothing(
    page: Page, jupyterlab: Lab, screenshot: Callable[[Page, str], None]
) -> None:
    cells = [
        "from pagedlab import LLM, SamplingParams\n"
        "from pagedlab.view.page_map import page_maps\n"
        "knobs = dict(num_pages=48, page_size=8, max_tokens_per_step=40)\n"
        "engines = [LLM('tiny-random', **knobs), LLM('tiny-random', **knobs, preemption='swap', num_host_pages=40)]\n"
        "maps = page_maps([llm.trace for llm in engines], titles=['recompute', 'swap'])\n"
        "maps",
        "prompts = [list(range(n, n + 9 * n)) for n in range(2, 14)]\n"
        "for llm in engines:\n"
        "    llm.engine.listeners.append(lambda plan: maps.refresh())\n"
        "    llm.generate(prompts, SamplingParams(max_tokens=40, ignore_eos=True), progress=False)\n"
        "maps.refresh(now=True)\n"
        "print('steps taken:', *(len(llm.trace.steps()) for llm in engines))",
    ]
    write_notebook(jupyterlab.folder / "two.ipynb", cells)
    sent: list[bytes] = []
    page.on(
        "websocket",
        lambda socket: socket.on(
            "framesent", lambda frame: sent.append(frame.encode() if isinstance(frame, str) else frame)
        ),
    )
    jupyterlab.open_notebook(page, "two.ipynb")
    run_all(page)
    said = page.locator(".jp-RenderedText", has_text="steps taken:")
    said.wait_for(timeout=120_000)
    steps = [int(number) for number in said.inner_text().split(":")[1].split()]
    for place, number in enumerate(steps, start=1):
        page.wait_for_selector(f".plm-panel:nth-child({place})[data-frame='{number}'][data-used='0']")
    page.evaluate("jupyterapp.commands.execute('apputils:change-theme', { theme: 'JupyterLab Dark' })")
    page.wait_for_selector("body[data-jp-theme-light='false']", state="attached")
    page.wait_for_timeout(1000)
    assert any(b"comm_msg" in frame for frame in sent), "a widget's messages are seen here"
    sent.clear()
    slider = page.get_by_role("slider", name="Step")
    for moment in range(0, max(steps), 3):
        slider.fill(str(moment))
    slider.fill("20")
    slider.press("ArrowRight")  # JupyterLab would take an arrow key for one of its own
    for panel in page.locator(".plm-panel").all():
        page.wait_for_selector(".plm-panel[data-frame='21']")
        panel.locator(".plm-row").nth(1).click()
    page.wait_for_timeout(300)
    assert [panel.get_attribute("data-frame") for panel in page.locator(".plm-panel").all()] == ["21", "21"]
    assert not [frame for frame in sent if b"comm_msg" in frame]
    screenshot(page, "two engines, JupyterLab dark")
    assert page.errors == []  # type: ignore[attr-defined]
