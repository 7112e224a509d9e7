"""The set-up asks for the build of torch that suits the machine, and starts over when it was cut short."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tools import install

ROOT = Path(__file__).resolve().parents[2]


def program(folder: Path, name: str, script: str) -> Path:
    """A program of ours on the PATH, in place of the system's."""
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


def test_without_a_gpu_linux_gets_a_cpu_build_of_torch() -> None:
    torch, *rest = install.requirements("linux", gpu=False)
    assert torch == "torch==2.13.0+cpu"
    assert "triton==3.7.1" in rest


def test_with_a_gpu_no_cpu_build_is_forced() -> None:
    assert install.requirements("linux", gpu=True)[0] == "torch==2.13.0"
    assert install.index_arguments(["/no/such/pip"], "torch==2.13.0") == []


def test_there_is_no_triton_for_macos() -> None:
    assert install.requirements("darwin", gpu=False)[0] == "torch==2.13.0"
    assert not any(wanted.startswith("triton") for wanted in install.requirements("darwin", gpu=False))


def test_what_is_installed_is_what_pyproject_allows() -> None:
    from packaging.requirements import Requirement

    from tests.project.test_dependencies import declared

    limits = {Requirement(text).name: Requirement(text).specifier for text in declared()}
    assert limits["torch"].contains(install.TORCH)
    assert limits["triton"].contains(install.TRITON)


def test_pytorchs_own_index_is_asked_only_when_pips_index_has_no_cpu_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TORCH_CPU_INDEX", raising=False)
    finds, misses = program(tmp_path, "finds", "exit 0"), program(tmp_path, "misses", "exit 1")
    assert install.index_arguments([str(finds)], "torch==2.13.0+cpu") == []
    assert install.index_arguments([str(misses)], "torch==2.13.0+cpu") == ["--extra-index-url", install.TORCH_CPU_INDEX]
    monkeypatch.setenv("TORCH_CPU_INDEX", "https://example.org/cpu")
    assert install.index_arguments([str(misses)], "torch==2.13.0+cpu")[1] == "https://example.org/cpu"


@pytest.mark.parametrize(("status", "seen"), [(0, True), (9, False)])
def test_a_gpu_counts_when_its_driver_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int, seen: bool
) -> None:
    if Path("/proc/driver/nvidia/gpus").is_dir():
        pytest.skip("this machine has an NVIDIA GPU")
    program(tmp_path, "nvidia-smi", f"exit {status}")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert install.has_nvidia_gpu() is seen


# A copy of the repository's set-up, with a Python that makes environments of nothing but a pip that obeys.

FAKE_PYTHON = f"""\
if [ "$1 $2" = "-m venv" ]; then
    mkdir -p "$3/bin" && cp "$0" "$3/bin/python" && echo made >> log
elif [ "$1 $2" = "-m pip" ]; then
    case "$*" in
        *--dry-run*) exit 0 ;;
        *) echo pip >> log; test ! -e cut ;;
    esac
else
    exec {sys.executable} "$@"
fi
"""


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "tools").mkdir()
    for name in ("Makefile", "pyproject.toml", "tools/install.py"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    python = program(tmp_path, "python", FAKE_PYTHON)
    # The set-up starts the Python that it runs on: tell it that this is ours.
    text = (tmp_path / "tools/install.py").read_text(encoding="utf-8")
    (tmp_path / "tools/install.py").write_text(text.replace("sys.executable", repr(str(python))), encoding="utf-8")
    monkeypatch.delenv("MAKEFLAGS", raising=False)
    return tmp_path


def setup(checkout: Path) -> int:
    return subprocess.run(["make", "setup", f"PYTHON={sys.executable}"], cwd=checkout, capture_output=True).returncode


def log(checkout: Path) -> list[str]:
    return (checkout / "log").read_text(encoding="utf-8").split()


def test_a_second_make_does_nothing(checkout: Path) -> None:
    assert setup(checkout) == setup(checkout) == 0
    assert log(checkout) == ["made", "pip"]


def test_a_changed_pyproject_is_installed_into_the_same_environment(checkout: Path) -> None:
    setup(checkout)
    (checkout / ".venv/mine").touch()
    stamp = (checkout / ".venv/installed").stat().st_mtime
    os.utime(checkout / "pyproject.toml", (stamp + 1, stamp + 1))
    assert setup(checkout) == 0
    assert log(checkout) == ["made", "pip", "made", "pip"]
    assert (checkout / ".venv/mine").exists()


def test_a_set_up_that_was_cut_short_starts_over(checkout: Path) -> None:
    (checkout / "cut").touch()
    assert setup(checkout) != 0
    (checkout / "cut").unlink()
    (checkout / ".venv/half").touch()
    assert setup(checkout) == 0
    assert log(checkout) == ["made", "pip", "made", "pip"]
    assert not (checkout / ".venv/half").exists()
    assert setup(checkout) == 0
    assert len(log(checkout)) == 4
