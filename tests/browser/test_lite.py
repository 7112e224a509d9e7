"""The edition without install: Python in the page, nothing asked of a network, widgets alive, an exercise solved."""

from __future__ import annotations

import functools
import re
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import nbformat
import pytest
from playwright.sync_api import Page

from pagedlab.learn.exercise import find
from pagedlab.learn.workbook import source_of_solution
from tests.browser.lab import run_all
from tools.lite import build as tool
from tools.lite.chapters import CHAPTERS, for_a_browser

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(600)]

#: What JupyterLite says on its console, and looks for in vain on its own server.
NOT_OURS = ("Failed to load resource", "Failed to update the table of contents")


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The edition, served as files."""
    if shutil.which("npm") is None:
        pytest.skip("there is no npm, which brings Pyodide")
    folder = tmp_path_factory.mktemp("lite")
    try:
        tool.versions()
        tool.build(folder / "site", work=folder / "work")
    except SystemExit as reason:
        pytest.skip(str(reason))
    except subprocess.CalledProcessError as error:
        pytest.skip(f"what it is made of cannot be fetched here: {error.cmd[0]} ended with {error.returncode}")
    serving = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder / "site")))
    threading.Thread(target=serving.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{serving.server_port}"
    serving.shutdown()


@pytest.fixture
def lab(page: Page, address: str) -> Iterator[Callable[[str], Page]]:
    """Opens a chapter, and runs it. Whatever is asked of another address is refused, and noted."""

    def only_files(route: Any) -> None:
        if route.request.url.startswith((address, "data:", "blob:")):
            route.continue_()
        else:
            page.errors.append(f"asked a network for {route.request.url}")  # type: ignore[attr-defined]
            route.abort()

    page.context.route("**/*", only_files)

    def opened(stem: str) -> Page:
        page.goto(f"{address}/lab/index.html?path={stem}.ipynb")
        page.wait_for_selector(".jp-Notebook .jp-CodeCell", timeout=120_000)
        page.wait_for_selector(".jp-Notebook-ExecutionIndicator[data-status='idle']", timeout=180_000)
        return page

    yield opened
    ours = [error for error in page.errors if not any(word in error for word in NOT_OURS)]  # type: ignore[attr-defined]
    assert ours == []


def ran(page: Page) -> list[dict[str, Any]]:
    """Forget what the course gave, run all cells, and return them."""
    page.evaluate("jupyterapp.restored.then(() => jupyterapp.commands.execute('notebook:clear-all-cell-outputs'))")
    assert page.locator(".jp-Notebook .jp-OutputArea-output").count() == 0
    run_all(page)
    script = """() => {
        const cells = jupyterapp.shell.currentWidget.content.model.toJSON().cells;
        const code = cells.filter((cell) => cell.cell_type === "code");
        const busy = document.querySelector(".jp-Notebook-ExecutionIndicator").dataset.status !== "idle";
        const prompts = [...document.querySelectorAll(".jp-CodeCell .jp-InputPrompt")];
        const waits = prompts.some((prompt) => prompt.textContent.includes("*"));
        return !busy && !waits && code.every((cell) => cell.execution_count) ? cells : null; }"""
    return page.wait_for_function(script, timeout=300_000).json_value()


def texts(cell: dict[str, Any]) -> list[str]:
    """What it printed and returned, but for what differs between machines and editions: pictures, and errors' lines."""
    found = []
    for output in cell["outputs"]:
        text = output.get("text") or output.get("data", {}).get("text/plain", "")
        text = text if isinstance(text, str) else "".join(text)
        found += [text.strip()] if output["output_type"] in ("stream", "execute_result") else []
    return found


@pytest.mark.parametrize("stem", CHAPTERS)
def test_a_chapter_gives_in_a_browser_what_it_gave_in_the_course(
    lab: Callable[[str], Page], stem: str, screenshot: Callable[[Page, str], None]
) -> None:
    page = lab(stem)
    cells = [cell for cell in ran(page) if cell["cell_type"] == "code"]
    screenshot(page, f"lite {stem}")
    expected = [cell for cell in for_a_browser(stem)[0].cells if cell.cell_type == "code"]
    assert [cell["source"] for cell in cells] == [cell.source for cell in expected]
    for cell, should in zip(cells, expected, strict=True):
        assert [output for output in cell["outputs"] if output["output_type"] == "error"] == [], cell["source"]
        assert texts(cell) == texts(should), cell["source"]


def test_it_opens_with_a_welcome_that_leads_to_the_chapters(
    lab: Callable[[str], Page], address: str, page: Page
) -> None:
    page.goto(address)
    page.wait_for_url("**/lab/index.html?path=welcome.ipynb", timeout=60_000)
    page.get_by_role("link", name="03 page tables").click(timeout=60_000)
    page.get_by_role("heading", name="03 · Page tables").wait_for(timeout=60_000)


def test_its_widgets_are_alive(lab: Callable[[str], Page], screenshot: Callable[[Page, str], None]) -> None:
    page = lab("08_prefix_sharing")
    ran(page)
    page_map = page.locator(".jp-OutputArea .plm").first
    page_map.get_by_role("slider", name="Step").fill("2")
    page.wait_for_selector('.plm[data-frame="2"]')
    assert int(page_map.get_attribute("data-used") or "") > 0
    explorer = page.locator(".jp-OutputArea-output:has(p[role=status])").first
    said = explorer.locator("p[role=status]").inner_text()
    explorer.get_by_role("slider").first.press("ArrowRight")
    assert explorer.locator("p[role=status]").inner_text() != said
    page_map.scroll_into_view_if_needed()
    screenshot(page, "lite, page map")


def test_an_exercise_is_solved_there(lab: Callable[[str], Page], screenshot: Callable[[Page, str], None]) -> None:
    page = lab("03_page_tables")
    exercise = find("03.extend")
    endless = "class Tables:\n    def __init__(self, *_):\n        while True: pass\n"
    page.evaluate(SAVE, [f"exercises/{exercise.file}", endless])
    assert "your code does not come back" in checked(page, exercise.name)
    page.evaluate(SAVE, [f"exercises/{exercise.file}", source_of_solution(exercise)])
    card = checked(page, exercise.name)
    assert card.startswith("✓ solved · 03.extend") and "03.pool is not solved yet: ours stands in" in card
    screenshot(page, "lite, exercise")


SAVE = """([path, content]) => jupyterapp.serviceManager.contents.save(
    path, { type: "file", format: "text", mimetype: "text/x-python", content })"""


def checked(page: Page, name: str) -> str:
    """The card of an exercise, from a new cell at the end."""
    script = """async (code) => {
        await jupyterapp.restored;
        const panel = jupyterapp.shell.currentWidget;
        await panel.sessionContext.ready;
        const result = panel.sessionContext.session.kernel.requestExecute({ code });
        let html = "";
        result.onIOPub = (message) => { html = message.content?.data?.["text/html"] ?? html; };
        await result.done;
        const card = document.createElement("div");
        card.innerHTML = html;
        return card.innerText; }"""
    return str(page.evaluate(script, f'from pagedlab.learn import check\ncheck("{name}")')).strip()


def test_what_needs_a_model_is_shown_as_it_ran() -> None:
    notebook, pictures = for_a_browser("03_page_tables")
    code = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    assert "LLM(" not in code and "llm." not in code and 'check("03.audit")' in code
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    assert text.count("Needs a real model") > 5 and "![" in text
    assert set(re.findall(r"\]\((\d\d_\w+)\.ipynb\)", text)) <= set(CHAPTERS)
    nbformat.validate(notebook)
    assert pictures and all(name.endswith(".svg") for name in pictures)
