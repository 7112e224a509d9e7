"""The wheel carries what it must, and works beside transformers; so does the editable install."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOLUTIONS = ROOT / "exercises" / "solutions"

#: `kernels` is another project's import name, and transformers looks for it.
BESIDE_TRANSFORMERS = """
import pagedlab, pagedlab_kernels, transformers, transformers.utils
from pagedlab.view import page_map
from pagedlab_kernels import get_attention
get_attention("reference")
transformers.LlamaForCausalLM
print(pagedlab.__file__, pagedlab_kernels.__file__)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*build, "--wheel-dir", str(folder), str(ROOT)], check=True)
    (built,) = folder.glob("*.whl")
    return built


def test_the_wheel_carries_every_file_of_both_packages_and_nothing_else(wheel: Path) -> None:
    carried = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    expected = {
        str(path.relative_to(parent))
        for parent, package in ((ROOT, "pagedlab"), (ROOT / "kernels", "pagedlab_kernels"))
        for path in (parent / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    } | {
        f"pagedlab/learn/solutions/{path.relative_to(SOLUTIONS).as_posix()}"
        for path in SOLUTIONS.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert carried == expected
    assert {Path(name).suffix for name in carried} >= {".py", ".js", ".css", ".c", ".typed"}
    assert "pagedlab/view/page_map.js" in carried


def test_the_wheel_says_who_may_use_it_and_how_it_is_started(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    (info,) = {name.partition("/")[0] for name in archive.namelist() if ".dist-info/" in name}
    assert f"{info}/licenses/LICENSE" in archive.namelist()
    assert "License-Expression: Apache-2.0" in archive.read(f"{info}/METADATA").decode()
    assert "pagedlab = pagedlab.__main__:main" in archive.read(f"{info}/entry_points.txt").decode()


@pytest.mark.slow
def test_both_packages_are_imported_from_the_wheel_beside_transformers(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(site)]
    subprocess.run([*install, str(wheel)], check=True)
    output = python(BESIDE_TRANSFORMERS, cwd=tmp_path, PYTHONPATH=str(site))
    assert output.split() == [str(site / "pagedlab/__init__.py"), str(site / "pagedlab_kernels/__init__.py")]


@pytest.mark.slow
def test_both_packages_are_imported_from_the_editable_install_beside_transformers(tmp_path: Path) -> None:
    output = python(BESIDE_TRANSFORMERS, cwd=tmp_path)
    assert output.split() == [
        str(ROOT / "pagedlab/__init__.py"),
        str(ROOT / "kernels/pagedlab_kernels/__init__.py"),
    ]


def test_there_is_no_package_named_kernels() -> None:
    assert not (ROOT / "kernels/__init__.py").exists()


def python(code: str, *, cwd: Path, **environment: str) -> str:
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=cwd, env=os.environ | environment, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    return run.stdout
