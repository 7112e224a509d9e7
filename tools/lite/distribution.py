"""Pyodide with the wheels of the course: what the browser loads, all of it from the folder that is served.

npm's ``pyodide`` brings Python itself. Every package is a pure wheel: from PyPI, from JupyterLite's kernel, or ours; a
lock file of our own names them, so that Pyodide loads them when it starts and looks nowhere else.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from hashlib import sha256
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]

#: What the course imports, as pyproject.toml pins it.
OURS = ("anywidget", "traitlets", "platformdirs", "ipywidgets", "ipython", "hypothesis")

#: What those and the kernel need in turn.
THEIRS = (
    *(
        "asttokens",
        "comm",
        "decorator",
        "executing",
        "ipython-pygments-lexers",
        "jedi",
        "matplotlib-inline",
        "micropip",
    ),
    *("packaging", "parso", "prompt-toolkit", "psygnal", "pure-eval", "pygments", "six", "sortedcontainers"),
    *("stack-data", "typing-extensions", "wcwidth"),
)

#: Of npm's package: the rest is for Node, for consoles and for debugging.
PYODIDE_FILES = ("pyodide.mjs", "pyodide.asm.mjs", "pyodide.asm.wasm", "python_stdlib.zip")


def requirements() -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = project["dependencies"] + project["optional-dependencies"]["course"]
    pinned = {re.match(r"[\w-]+", text)[0]: text for text in declared}  # type: ignore[index]
    return [*(pinned[name] for name in OURS), *THEIRS]


def wheels(folder: Path, python_version: str) -> None:
    """Pure wheels from pip's own indexes, and ours, built here."""
    folder.mkdir(parents=True, exist_ok=True)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    pure = ["--only-binary=:all:", "--platform=any", "--implementation=py", "--abi=none"]
    where = ["--no-deps", f"--python-version={python_version}", f"--dest={folder}"]
    subprocess.run([*pip, "download", *where, *pure, *requirements()], check=True)
    subprocess.run([*pip, "wheel", "--no-deps", "--no-build-isolation", f"--wheel-dir={folder}", str(ROOT)], check=True)


def pyodide(folder: Path, version: str) -> None:
    """npm's package of Python for browsers, unpacked."""
    folder.mkdir(parents=True, exist_ok=True)
    archive = folder / f"pyodide-{version}.tgz"
    if not archive.exists():
        npm = shutil.which("npm")
        if npm is None:
            raise SystemExit("npm was asked for Pyodide; there is none here: install Node.js, which brings it")
        subprocess.run(
            [npm, "pack", "--silent", f"pyodide@{version}"], cwd=folder, check=True, stdout=subprocess.DEVNULL
        )
    with tarfile.open(archive) as packed:
        for name in (*PYODIDE_FILES, "pyodide-lock.json"):
            content = packed.extractfile(f"package/{name}")
            assert content is not None
            (folder / name).write_bytes(content.read())


def lock(source: Path, found: list[Path]) -> dict[str, Any]:
    """Pyodide's lock file, with the wheels found in place of its own packages."""
    told = json.loads(source.read_text(encoding="utf-8"))
    return {**told, "packages": {str(entry["name"]): entry for entry in map(_entry, found)}}


def _entry(wheel: Path) -> dict[str, object]:
    name, version = wheel.name.split("-")[:2]
    return {
        "name": re.sub(r"[-_.]+", "-", name).lower(),
        "version": version,
        "file_name": wheel.name,
        "install_dir": "site",
        "sha256": sha256(wheel.read_bytes()).hexdigest(),
        "package_type": "package",
        "imports": sorted(_modules(wheel)),
        "depends": [],
        "unvendored_tests": False,
    }


def _modules(wheel: Path) -> set[str]:
    tops = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    return {name.removesuffix(".py") for name in tops if re.fullmatch(r"\w+(\.py)?", name)}
