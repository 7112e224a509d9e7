"""An exercise as a learner solves it in JupyterLab: type into the file, save, run the cell that checks it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from pagedlab.learn.exercise import find
from pagedlab.learn.workbook import source_of_solution, stub_text
from tests.browser.lab import IN_FRONT, Lab

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

NAME, NOTEBOOK = "01.token_bytes", "notebooks/01_the_memory_bill.ipynb"
UNWRITTEN = "raise NotImplementedError"


@pytest.mark.browser
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_an_answer_typed_into_the_editor_turns_the_card(
    page: Page, jupyterlab: Lab, screenshot: Callable[[Page, str], None]
) -> None:
    exercise = find(NAME)
    path = f"exercises/{exercise.file}"
    answers = re.findall(r"# BEGIN SOLUTION\n\s*(\S.*)\n\s*# END SOLUTION", source_of_solution(exercise))
    assert len(answers) == stub_text(exercise).count(UNWRITTEN), "every answer is a line, and can be typed"
    jupyterlab.open_notebook(page, NOTEBOOK)
    try:
        run_cell(page, "from pagedlab.learn import check")
        card = run_cell(page, f'check("{NAME}")')
        assert "○ not written yet" in card.inner_text()
        assert "token_bytes is yours to write" in card.inner_text()
        card.get_by_text("Hint 1 of").click()
        assert exercise.hints[0] in card.inner_text()
        screenshot(page, "exercise, not written yet")

        show(page, path)
        type_over(page, UNWRITTEN, "return 2")
        screenshot(page, "exercise, in the editor")
        save(page)
        show(page, NOTEBOOK)
        card = run_cell(page, f'check("{NAME}")')
        assert "✗ not right yet" in card.inner_text() and "yours" in card.inner_text()
        screenshot(page, "exercise, not right yet")

        show(page, path)
        type_over(page, "return 2", answers[0])
        for answer in answers[1:]:
            type_over(page, UNWRITTEN, answer)
        save(page)
        assert UNWRITTEN not in (jupyterlab.folder / path).read_text()
        show(page, NOTEBOOK)
        card = run_cell(page, f'check("{NAME}")')
        assert "✓ solved" in card.inner_text() and "✗" not in card.inner_text()
        screenshot(page, "exercise, solved")
    finally:
        jupyterlab.end_kernels()
        (jupyterlab.folder / path).write_text(stub_text(exercise))


def show(page: Page, path: str) -> None:
    """Open a file in front, beside what is open."""
    page.evaluate("async (path) => { await jupyterapp.commands.execute('docmanager:open', { path }); }", path)
    page.wait_for_function("(path) => jupyterapp.shell.currentWidget?.context?.path === path", arg=path)


def type_over(page: Page, old: str, new: str) -> None:
    """Select the rest of the first line that holds ``old``, from its indentation on, and type ``new``."""
    line = page.locator(".jp-FileEditor:visible .cm-line", has_text=old).first
    line.click()
    page.keyboard.press("Home")
    page.keyboard.press("Shift+End")
    page.keyboard.type(new)
    page.locator(".jp-FileEditor:visible .cm-line", has_text=new).first.wait_for()


def save(page: Page) -> None:
    page.keyboard.press("Control+s")
    page.wait_for_function("!jupyterapp.shell.currentWidget.context.model.dirty")


def run_cell(page: Page, source: str) -> Locator:
    """Run the first cell that holds ``source``. Returns its outputs."""
    script = f"""async (source) => {{ {IN_FRONT}
        const at = panel.content.widgets.findIndex((cell) => cell.model.sharedModel.getSource().includes(source));
        panel.content.activeCellIndex = at;
        panel.content.deselectAll();
        await jupyterapp.commands.execute("notebook:run-cell");
        return at; }}"""
    at = page.evaluate(script, source)
    assert at >= 0, f"no cell holds {source}"
    outputs = page.locator(".jp-Notebook > .jp-Cell, .jp-Notebook .jp-WindowedPanel-viewport > .jp-Cell").nth(at)
    outputs.scroll_into_view_if_needed()
    return outputs.locator(".jp-Cell-outputArea")
