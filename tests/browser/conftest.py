"""A browser, and a JupyterLab for it to open. Where one is missing tests are skipped, or fail where CI wants them."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.browser.lab import Lab, serve

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

ROOT = Path(__file__).resolve().parents[2]
SCREENSHOTS = ROOT / "artifacts" / "screenshots"

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",  # 64 MB of it, as in a container, are too few
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def missing(reason: str) -> None:
    pytest.fail(reason) if os.environ.get("PAGEDLAB_REQUIRE_BROWSER") == "1" else pytest.skip(reason)


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of a browser."""
    if importlib.util.find_spec("playwright") is None:
        missing("there is no playwright to drive a browser with: pip install playwright")
    from playwright.sync_api import sync_playwright

    names = ("chromium", "chromium-browser", "google-chrome")
    installed = next((path for name in names if (path := shutil.which(name))), None)
    if installed is None:
        with sync_playwright() as playwright:
            installed = playwright.chromium.executable_path
        if not Path(installed).exists():
            missing("there is no Chromium: install it, or run `playwright install chromium`")
    return installed


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    """While it is there, asyncio thinks that a loop runs in this thread: no longer than the tests of a file, then."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page that notes what goes wrong in it, in ``page.errors``."""
    page = browser.new_page(viewport={"width": 1280, "height": 1000})
    errors: list[str] = []
    page.errors = errors  # type: ignore[attr-defined]
    page.on("pageerror", lambda error: errors.append(f"uncaught: {error}"))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("dialog", lambda dialog: (errors.append(f"dialog: {dialog.message}"), dialog.dismiss()))
    yield page
    page.close()


@pytest.fixture
def screenshot() -> Callable[[Page, str], None]:
    """Keep a picture of the page for people to look at."""

    def take(page: Page, name: str) -> None:
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=SCREENSHOTS / f"{name}.png")

    return take


@pytest.fixture(scope="session")
def jupyterlab(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A JupyterLab of its own. (Without a browser to open it, none is started.)"""
    if importlib.util.find_spec("jupyterlab") is None:
        missing("there is no JupyterLab: pip install jupyterlab")
    with serve(tmp_path_factory.mktemp("lab")) as lab:
        yield lab
