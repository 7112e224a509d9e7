"""A JupyterLab of its own, over a copy of the course as ``make lab`` opens it. Nothing in the repository changes."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pagedlab.learn import progress, workbook

if TYPE_CHECKING:
    from playwright.sync_api import Page

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))

#: The notebook in front, once JupyterLab and its kernel are there; every script below begins with it.
IN_FRONT = """
    await jupyterapp.restored;
    const panel = jupyterapp.shell.currentWidget;
    await panel.context.ready;
    await panel.sessionContext.ready;
"""


@dataclass(frozen=True)
class Lab:
    """``folder`` holds notebooks/ and exercises/, all of them unsolved."""

    address: str
    token: str
    folder: Path

    def open(self, page: Page, path: str) -> None:
        """Open one file, in a workspace of its own so that nothing else is restored beside it."""
        workspace = "".join(letter if letter.isalnum() else "-" for letter in path)
        page.goto(f"{self.address}/lab/workspaces/{workspace}/tree/{path}?token={self.token}")
        page.wait_for_function("globalThis.jupyterapp?.shell?.currentWidget?.context", timeout=120_000)
        page.evaluate("async () => { await jupyterapp.restored; await jupyterapp.shell.currentWidget.context.ready; }")

    def open_notebook(self, page: Page, path: str) -> None:
        self.open(page, path)
        page.wait_for_selector(".jp-Notebook-ExecutionIndicator[data-status='idle']", timeout=120_000)

    def end_kernels(self) -> None:
        """Give their memory back before the next notebook."""
        for session in self._ask("GET", "sessions"):
            self._ask("DELETE", f"sessions/{session['id']}")

    def _ask(self, method: str, path: str) -> Any:
        headers = {"Authorization": f"token {self.token}"}
        with urllib.request.urlopen(
            urllib.request.Request(f"{self.address}/api/{path}", method=method, headers=headers), timeout=60
        ) as answer:
            return json.loads(answer.read() or "null")


def run_all(page: Page) -> None:
    """Run all cells of the notebook in front, and wait until the last has run or one has failed."""
    page.evaluate(f"async () => {{ {IN_FRONT} await jupyterapp.commands.execute('notebook:run-all-cells'); }}")


def code_cells(page: Page) -> list[dict[str, Any]]:
    """The code cells of the notebook in front as nbformat holds them, outputs included."""
    script = f"async () => {{ {IN_FRONT} return panel.content.model.toJSON().cells; }}"
    return [cell for cell in page.evaluate(script) if cell["cell_type"] == "code"]


@contextmanager
def serve(folder: Path) -> Iterator[Lab]:
    """Start JupyterLab over a copy of the course in ``folder``, and end it. Raises RuntimeError or TimeoutError."""
    (folder / "notebooks").mkdir()
    for notebook in NOTEBOOKS:
        shutil.copy(notebook, folder / "notebooks")
    shutil.copy(ROOT / "notebooks" / "walden.txt", folder / "notebooks")  # 09 reads it
    shutil.copytree(ROOT / "bench" / "results", folder / "bench" / "results")  # notebooks draw what was measured
    workbook.init(folder / "exercises")
    # Cells out of sight are in the document too, and no news is fetched.
    _choose(folder, "notebook-extension/tracker", {"windowingMode": "none"})
    _choose(folder, "apputils-extension/notification", {"fetchNews": "false", "checkForUpdates": False})
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    lab = Lab(f"http://127.0.0.1:{port}", secrets.token_hex(16), folder)
    settings = os.environ | {
        "JUPYTER_CONFIG_DIR": str(folder / ".config"),
        "JUPYTER_DATA_DIR": str(folder / ".data"),
        "JUPYTER_TOKEN": lab.token,
        progress.VARIABLE: str(folder / "progress.json"),
    }
    settings.pop(workbook.VARIABLE, None)  # the exercises are found as a learner's are: above the notebook
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--port={port}", "--ip=127.0.0.1"]
    command += ["--ServerApp.port_retries=0", f"--ServerApp.root_dir={folder}"]
    command += ["--expose-app-in-browser"]  # as `jupyterapp`: its commands can be run by name
    with (folder / "server.log").open("w") as log:
        server = subprocess.Popen(command, cwd=folder, env=settings, stdout=log, stderr=log)
        try:
            _wait_until_it_answers(f"{lab.address}/api", server)
            yield lab
        finally:
            server.terminate()
            server.wait(30)


def _choose(folder: Path, plugin: str, chosen: dict[str, Any]) -> None:
    path = folder / ".config" / "lab" / "user-settings" / "@jupyterlab" / f"{plugin}.jupyterlab-settings"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(chosen))


def _wait_until_it_answers(url: str, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise RuntimeError(f"JupyterLab ended with status {server.returncode}")
        try:
            urllib.request.urlopen(url, timeout=5).close()
        except OSError:
            time.sleep(0.5)
        else:
            return
    raise TimeoutError("JupyterLab did not answer within two minutes")
