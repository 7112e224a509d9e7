"""Build: contents, Python and its packages, and JupyterLite around them, into one folder of static files."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat

from pagedlab.learn import progress, workbook
from pagedlab.view import undrawn
from tools.lite import chapters, distribution

ROOT = distribution.ROOT
CACHE = ROOT / "build" / "lite-cache"

#: Names another Python that has JupyterLite, in place of the one that runs this.
VARIABLE = "PAGEDLAB_LITE_PYTHON"

#: What benches measured, for chapters that read it.
RESULTS = ("sharing.json", "prefix_caching.json")

#: Where the kernel finds the contents.
DRIVE = "/drive"

#: Cells out of sight are in the page too, so that the browser's own search finds them.
OVERRIDES = {"@jupyterlab/notebook-extension:tracker": {"windowingMode": "none"}}

# JupyterLite's other pages look for the script in this one.
_INDEX = """<!doctype html>
<meta charset="utf-8">
<title>pagedlab</title>
<script id="jupyter-config-data" type="application/json" data-jupyter-lite-root=".">{}</script>
<meta http-equiv="refresh" content="0; url=lab/index.html?path=welcome.ipynb">
<a href="lab/index.html?path=welcome.ipynb">pagedlab, in your browser</a>
"""

_WELCOME = """# pagedlab, in your browser

Nothing is installed and nothing is asked of a network: Python runs in this page. The first start takes some seconds.

{chapters}

Exercises lie in `exercises/`: open a file beside a notebook, write, save, and run its `check(...)` cell. They stay in
this browser. A check here shares its process with your notebook: code that never ends is stopped where it can be, and
memory has no limit but the browser's. Other chapters need torch: get the course, and `make lab`.
"""


def lite_python() -> str:
    return os.environ.get(VARIABLE) or sys.executable


def versions() -> tuple[str, str]:
    """Of Pyodide and of its Python, as the kernel that is installed wants them.

    Raises SystemExit where JupyterLite is not installed.
    """
    ask = "from jupyterlite_pyodide_kernel import constants as c; print(c.PYODIDE_VERSION, c.PYODIDE_PYTHON_VERSION)"
    answer = subprocess.run([lite_python(), "-c", ask], capture_output=True, text=True, check=False)
    if answer.returncode:
        raise SystemExit('JupyterLite is not installed here: python -m pip install -e ".[lite]" brings it')
    pyodide, python = answer.stdout.split()
    return pyodide, python


def build(out: Path, *, work: Path = ROOT / "build" / "lite-work") -> Path:
    """Write the edition into ``out``, which is replaced, and return its index. ``work``: for what is between."""
    pyodide_version, python_version = versions()
    shutil.rmtree(work, ignore_errors=True)
    contents(work / "contents")
    python = work / "static" / "pyodide"
    python.mkdir(parents=True)
    packages = _distribution(python, pyodide_version, python_version)
    (work / "jupyter-lite.json").write_text(json.dumps(settings(packages)), encoding="utf-8")
    (work / "overrides.json").write_text(json.dumps(OVERRIDES), encoding="utf-8")
    if out.exists():
        shutil.rmtree(out)
    command = [lite_python(), "-m", "jupyterlite_core.app", "build", "--apps=lab", "--no-sourcemaps"]
    command += [f"--lite-dir={work}", f"--contents={work / 'contents'}", f"--output-dir={out.resolve()}"]
    subprocess.run(command, check=True, cwd=work, stdout=subprocess.DEVNULL)
    (out / "index.html").write_text(_INDEX, encoding="utf-8")
    return out / "index.html"


def contents(folder: Path) -> None:
    """What the reader sees in the file browser: a welcome, chapters, exercises, and the results that chapters read."""
    chapters.write(folder)
    links = "\n".join(f"- [{stem[:2]} {stem[3:].replace('_', ' ')}]({stem}.ipynb)" for stem in chapters.CHAPTERS)
    welcome = chapters.notebook_of([nbformat.v4.new_markdown_cell(_WELCOME.format(chapters=links), id="welcome")])
    (folder / "welcome.ipynb").write_text(json.dumps(welcome, ensure_ascii=False), encoding="utf-8")
    workbook.init(folder / "exercises")
    for chapter in (folder / "exercises").iterdir():
        if chapter.name not in chapters.CHAPTERS:
            shutil.rmtree(chapter)
    results = folder / "bench" / "results"
    results.mkdir(parents=True)
    for name in RESULTS:
        shutil.copy(ROOT / "bench" / "results" / name, results)


def _distribution(folder: Path, pyodide_version: str, python_version: str) -> list[str]:
    """Fill the folder that Pyodide is loaded from. Returns the names of the packages in it."""
    distribution.pyodide(CACHE, pyodide_version)
    for name in distribution.PYODIDE_FILES:
        shutil.copy(CACHE / name, folder)
    distribution.wheels(folder, python_version)
    for wheel in kernel_wheels():
        shutil.copy(wheel, folder)
    lock = distribution.lock(CACHE / "pyodide-lock.json", sorted(folder.glob("*.whl")))
    (folder / "pyodide-lock.json").write_text(json.dumps(lock), encoding="utf-8")
    return sorted(lock["packages"])


def kernel_wheels() -> list[Path]:
    """The kernel's own wheels lie in its extension of JupyterLab."""
    ask = "import sys; print(sys.prefix)"
    prefix = subprocess.run([lite_python(), "-c", ask], capture_output=True, text=True, check=True).stdout.strip()
    extension = Path(prefix) / "share/jupyter/labextensions/@jupyterlite/pyodide-kernel-extension/static/pypi"
    return [wheel for wheel in sorted(extension.glob("*.whl")) if not wheel.name.startswith("widgetsnbextension-3")]


def settings(packages: list[str]) -> dict[str, object]:
    """JupyterLite's own: what the kernel loads when it starts, and where the course keeps what it keeps."""
    kernel = {
        "disablePyPIFallback": True,
        "loadPyodideOptions": {
            "packages": packages,
            "env": {
                progress.VARIABLE: f"{DRIVE}/exercises/progress.json",
                workbook.VARIABLE: f"{DRIVE}/exercises",
                undrawn.VARIABLE: f"{DRIVE}/pictures",
            },
        },
    }
    return {
        "jupyter-lite-schema-version": 0,
        "jupyter-config-data": {
            "appName": "pagedlab",
            "exposeAppInBrowser": True,  # as `jupyterapp`: its commands can be run by name
            "disabledExtensions": ["@jupyterlab/apputils-extension:announcements"],
            "litePluginSettings": {"@jupyterlite/pyodide-kernel-extension:kernel": kernel},
        },
    }
